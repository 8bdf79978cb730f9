"""The layers of models whose layout is known, as :mod:`..evaluate.parameters` takes them: BERT, RoBERTa, DistilBERT and GPT-2.

A layout is known by its tensors' names and shapes. Models that share some of the names and compute otherwise (norms before the blocks, gates,
factors of the embedding, keys and values of fewer heads) are told apart by what else they have, or do not fit, and are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import UserError
from ..evaluate.parameters import Floats, LayerWeights
from .weights import Weights


class OtherLayout(Exception):
    """The layers cannot be taken: the text says why."""


@dataclass(frozen=True)
class Layout:
    """How a kind of model names the tensors of a layer.

    Attributes:
        name: of the kind.
        layer: pattern of the names that begin with a layer's place; groups `prefix` and `number`.
        parts: names after that place that must be there.
        foreign: names after it that show another kind.
        heads: entries of ``config.json`` that give the number of heads.
        before: whether the norms stand before the blocks.
        read: the layer's weights from a function that gives a part.
    """

    name: str
    layer: re.Pattern[str]
    parts: tuple[str, ...]
    foreign: tuple[str, ...]
    heads: tuple[str, ...]
    before: bool
    read: Callable[[Callable[[str], Floats]], LayerWeights]


def _bert(part: Callable[[str], Floats]) -> LayerWeights:
    return LayerWeights(
        key=part("intermediate.dense.weight"),
        value=part("output.dense.weight"),
        v=part("attention.self.value.weight"),
        o=part("attention.output.dense.weight"),
    )


def _distilbert(part: Callable[[str], Floats]) -> LayerWeights:
    return LayerWeights(
        key=part("ffn.lin1.weight"),
        value=part("ffn.lin2.weight"),
        v=part("attention.v_lin.weight"),
        o=part("attention.out_lin.weight"),
    )


def _gpt2(part: Callable[[str], Floats]) -> LayerWeights:
    """GPT-2's layers are stored (input, output), query, key and value beside one another."""
    fused = part("attn.c_attn.weight")
    d = len(fused)
    if fused.shape != (d, 3 * d):
        raise OtherLayout(f"attn.c_attn.weight has the shape {fused.shape}, GPT-2's is (d, 3 d)")
    return LayerWeights(
        key=part("mlp.c_fc.weight").T,
        value=part("mlp.c_proj.weight").T,
        v=fused[:, 2 * d :].T,
        o=part("attn.c_proj.weight").T,
        key_gain=part("ln_2.weight"),
        v_gain=part("ln_1.weight"),
    )


LAYOUTS = (
    Layout(
        "BERT",
        re.compile(r"(?P<prefix>(?:[\w]+\.)*)encoder\.layer\.(?P<number>\d+)\."),
        (
            "attention.self.value.weight",
            "attention.output.dense.weight",
            "attention.output.LayerNorm.weight",
            "intermediate.dense.weight",
            "output.dense.weight",
            "output.LayerNorm.weight",
        ),
        (
            "attention.LayerNorm.weight",
            "LayerNorm.weight",
            "crossattention.self.value.weight",
            "intermediate_query.dense.weight",
        ),
        ("num_attention_heads",),
        False,
        _bert,
    ),
    Layout(
        "DistilBERT",
        re.compile(r"(?P<prefix>(?:[\w]+\.)*)transformer\.layer\.(?P<number>\d+)\."),
        (
            "attention.v_lin.weight",
            "attention.out_lin.weight",
            "sa_layer_norm.weight",
            "ffn.lin1.weight",
            "ffn.lin2.weight",
            "output_layer_norm.weight",
        ),
        (),
        ("n_heads", "num_attention_heads"),
        False,
        _distilbert,
    ),
    Layout(
        "GPT-2",
        re.compile(r"(?P<prefix>(?:[\w]+\.)*)h\.(?P<number>\d+)\."),
        (
            "attn.c_attn.weight",
            "attn.c_proj.weight",
            "mlp.c_fc.weight",
            "mlp.c_proj.weight",
            "ln_1.weight",
            "ln_2.weight",
        ),
        ("crossattention.c_attn.weight",),
        ("n_head", "num_attention_heads"),
        True,
        _gpt2,
    ),
)


@dataclass(frozen=True)
class Layers:
    """A model's layers, first to last, with the number of heads, the layout's name and whether its norms stand before the blocks."""

    layers: list[LayerWeights]
    heads: int
    layout: str
    before: bool


def read_layers(weights: Weights, config: dict[str, Any], dim: int) -> Layers:
    """The layers of a model whose layout is known.

    Args:
        weights: its tensors.
        config: the content of its ``config.json``.
        dim: width of its input table.

    Raises:
        OtherLayout: the layout is not known, or the layers are not of the table's width.
    """
    for layout in LAYOUTS:
        places: dict[str, dict[int, str]] = {}  # by prefix, what the names of each layer begin with
        for name in weights.entries:
            match = layout.layer.match(name)
            if match:
                places.setdefault(match["prefix"], {})[int(match["number"])] = match[0]
        if not places:
            continue
        if len(places) > 1:
            raise OtherLayout(f"it has {len(places)} stacks of layers ({', '.join(sorted(places))})")
        (begins,) = places.values()
        if sorted(begins) != list(range(len(begins))):
            raise OtherLayout(f"layers are missing: {len(begins)} were found, the last is number {max(begins)}")
        return Layers(*_read(layout, weights, [begins[number] for number in sorted(begins)], config, dim))
    raise OtherLayout("its layers are not named as those of BERT, RoBERTa, DistilBERT or GPT-2 are")


def _read(
    layout: Layout, weights: Weights, begins: list[str], config: dict[str, Any], dim: int
) -> tuple[list[LayerWeights], int, str, bool]:
    for begin in begins:
        missing = [part for part in layout.parts if begin + part not in weights.entries]
        other = [part for part in layout.foreign if begin + part in weights.entries]
        if missing or other:
            what = f"no {begin}{missing[0]}" if missing else f"{begin}{other[0]}"
            raise OtherLayout(f"its layers are named like {layout.name}'s but it has {what}")
    heads = next((config[name] for name in layout.heads if isinstance(config.get(name), int)), None)
    if heads is None:
        raise OtherLayout(f"config.json does not give the number of heads ({' or '.join(layout.heads)})")
    layers = []
    for begin in begins:
        try:
            layers.append(layout.read(lambda part, begin=begin: weights.get_float(begin + part).numpy()))
        except (ValueError, UserError) as error:
            raise OtherLayout(f"the weights of {begin.rstrip('.')} do not fit {layout.name} ({error})") from error
    if any(layer.dim != dim for layer in layers):
        raise OtherLayout(f"its layers are {layers[0].dim} wide and its table {dim}: they share no space")
    if heads < 1 or dim % heads:
        raise OtherLayout(f"config.json gives {heads} heads, which do not divide the width {dim}")
    return layers, heads, layout.name, layout.before
