"""Layers of known layouts: against a hand computation, and against one another when the same weights are stored otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_folders import BERT, import_model, table, write_model, write_word_piece
from running import read_npz

import layer_files
from dump import Dump

DIM, FFN, HEADS, LAYERS = 8, 12, 2, 3


def weights(seed: int = 1) -> list[dict[str, torch.Tensor]]:
    """Of each layer: q, k, v, o (d, d), key (ffn, d), value (d, ffn), two gains (d)."""
    numbers = np.random.default_rng(seed)
    shapes = {**dict.fromkeys("qkvo", (DIM, DIM)), "key": (FFN, DIM), "value": (DIM, FFN), "g1": (DIM,), "g2": (DIM,)}
    return [
        {n: torch.from_numpy(numbers.normal(size=s).astype(np.float32)) for n, s in shapes.items()}
        for _ in range(LAYERS)
    ]


def as_bert(layers: list[dict[str, torch.Tensor]], prefix: str = "") -> dict[str, torch.Tensor]:
    found = {f"{prefix}{BERT}": table()}
    for number, w in enumerate(layers):
        place = f"{prefix}encoder.layer.{number}."
        found |= {
            f"{place}attention.self.query.weight": w["q"],
            f"{place}attention.self.key.weight": w["k"],
            f"{place}attention.self.value.weight": w["v"],
            f"{place}attention.output.dense.weight": w["o"],
            f"{place}attention.output.LayerNorm.weight": w["g1"],
            f"{place}intermediate.dense.weight": w["key"],
            f"{place}output.dense.weight": w["value"],
            f"{place}output.LayerNorm.weight": w["g2"],
        }
    return found


def as_distilbert(layers: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    found = {f"distilbert.{BERT}": table()}
    for number, w in enumerate(layers):
        place = f"distilbert.transformer.layer.{number}."
        found |= {
            f"{place}attention.q_lin.weight": w["q"],
            f"{place}attention.v_lin.weight": w["v"],
            f"{place}attention.out_lin.weight": w["o"],
            f"{place}sa_layer_norm.weight": w["g1"],
            f"{place}ffn.lin1.weight": w["key"],
            f"{place}ffn.lin2.weight": w["value"],
            f"{place}output_layer_norm.weight": w["g2"],
        }
    return found


def as_gpt2(layers: list[dict[str, torch.Tensor]], prefix: str = "") -> dict[str, torch.Tensor]:
    """Stored (input, output), as its Conv1D is."""
    found = {f"{prefix}wte.weight": table()}
    for number, w in enumerate(layers):
        place = f"{prefix}h.{number}."
        found |= {
            f"{place}attn.c_attn.weight": torch.cat([w["q"], w["k"], w["v"]]).T,
            f"{place}attn.c_proj.weight": w["o"].T,
            f"{place}mlp.c_fc.weight": w["key"].T,
            f"{place}mlp.c_proj.weight": w["value"].T,
            f"{place}ln_1.weight": w["g1"],
            f"{place}ln_2.weight": w["g2"],
        }
    return found


def parameters(folder: Path, tensors: dict[str, torch.Tensor], config: dict[str, Any], *more: object) -> dict[str, Any]:
    model = write_word_piece(write_model(folder / "model", tensors, config))
    import_model(model, "--out", folder / "run", "--vectors", 0, *more)
    return read_npz(folder / "run/parameters.npz")


def cell(found: dict[str, Any], layer: int, kind: str) -> np.ndarray:
    """float32 [n, d], by index."""
    chosen = (found["layer"] == layer) & (found["kind"] == found["about"]["kinds"].index(kind))
    assert found["index"][chosen].tolist() == list(range(chosen.sum()))
    return found["vectors"][chosen]


def assert_by_hand(found: dict[str, Any], layers: list[dict[str, torch.Tensor]], gains: bool) -> None:
    """Keys and values are the matrices; what heads read and write are the factors of each head's product."""
    rank = DIM // HEADS
    for number, layer in enumerate(layers):
        w = {name: value.double().numpy() for name, value in layer.items()}
        attention_gain, key_gain = (w["g1"], w["g2"]) if gains else (np.ones(DIM), np.ones(DIM))
        np.testing.assert_allclose(cell(found, number, "ffn_key"), w["key"] * key_gain, rtol=1e-6)
        np.testing.assert_allclose(cell(found, number, "ffn_value"), w["value"].T, rtol=1e-6)
        read, write = cell(found, number, "attention_read"), cell(found, number, "attention_write")
        for head in range(HEADS):
            part = slice(head * rank, (head + 1) * rank)
            product = w["o"][:, part] @ (w["v"][part] * attention_gain)
            singular = np.linalg.svd(product)[1][:rank]
            np.testing.assert_allclose(np.linalg.norm(read[part], axis=1), singular, rtol=1e-5)
            again = sum(np.outer(write[k], read[k]) / np.linalg.norm(read[k]) for k in range(part.start, part.stop))
            np.testing.assert_allclose(again, product, atol=1e-5)


@pytest.mark.parametrize("prefix", ["", "bert.", "roberta."])
def test_bert(tmp_path: Path, prefix: str) -> None:
    layers = weights()
    found = parameters(tmp_path, as_bert(layers, prefix), {"model_type": "bert", "num_attention_heads": HEADS})
    assert_by_hand(found, layers, gains=False)
    about = found["about"]
    assert (about["layers"], about["dim"], about["heads"], about["ffn"]) == (LAYERS, DIM, HEADS, FFN)
    assert (about["normalize_before"], about["tied"], about["table"]) == (False, True, prefix + BERT)
    assert found["untrained"].shape == (0, *found["vectors"].shape)
    read = layer_files.read_parameters(tmp_path / "run/parameters.npz")
    entry, update = read.check(Dump.open(tmp_path / "run"))
    assert (entry.name, update) == (prefix + BERT, 0)


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_gpt2(tmp_path: Path, prefix: str) -> None:
    layers = weights()
    found = parameters(tmp_path, as_gpt2(layers, prefix), {"model_type": "gpt2", "n_head": HEADS})
    assert_by_hand(found, layers, gains=True)
    assert found["about"]["normalize_before"] is True


def test_the_same_weights_stored_otherwise(tmp_path: Path) -> None:
    """With gains of one, norms before or after make no difference to the vectors."""
    layers = [{**w, "g1": torch.ones(DIM), "g2": torch.ones(DIM)} for w in weights()]
    one = parameters(tmp_path / "bert", as_bert(layers), {"num_attention_heads": HEADS})
    for name, tensors in {"gpt2": as_gpt2(layers), "distilbert": as_distilbert(layers)}.items():
        other = parameters(tmp_path / name, tensors, {"n_head": HEADS, "n_heads": HEADS})
        for array in ("vectors", "layer", "kind", "index"):
            np.testing.assert_allclose(other[array], one[array], rtol=1e-6, atol=1e-7, err_msg=f"{name} {array}")


def test_the_number_of_vectors(tmp_path: Path) -> None:
    found = parameters(tmp_path, as_bert(weights()), {"num_attention_heads": HEADS}, "--vectors", 5)
    assert len(found["vectors"]) == LAYERS * 4 * 5


def without(tensors: dict[str, torch.Tensor], part: str) -> dict[str, torch.Tensor]:
    return {name: value for name, value in tensors.items() if part not in name}


CASES: dict[str, tuple[dict[str, torch.Tensor], dict[str, Any], str]] = {
    "another layout": ({BERT: table()}, {}, "not named as those"),
    "no number of heads": (as_bert(weights()), {}, "number of heads"),
    "heads that do not divide": (as_bert(weights()), {"num_attention_heads": 3}, "do not divide"),
    "a layer is missing": (without(as_bert(weights()), "layer.1."), {"num_attention_heads": 2}, "missing"),
    "norms before the blocks": (
        as_bert(weights()) | {"encoder.layer.0.attention.LayerNorm.weight": torch.ones(DIM)},
        {"num_attention_heads": 2},
        "attention.LayerNorm",
    ),
    "no norm after": (without(as_bert(weights()), ".output.LayerNorm"), {"num_attention_heads": 2}, "it has no"),
    "another width": (as_bert(weights()) | {BERT: table(dim=4)}, {"num_attention_heads": 2}, "share no space"),
    "one key for all heads": (
        as_gpt2(weights()) | {"h.0.attn.c_attn.weight": torch.ones(DIM, DIM + 8)},
        {"n_head": 2},
        "c_attn",
    ),
    "two stacks": (as_gpt2(weights(), "a.") | without(as_gpt2(weights(), "b."), "wte"), {"n_head": 2}, "2 stacks"),
    "not finite": (
        as_bert(weights()) | {"encoder.layer.1.output.dense.weight": torch.full((DIM, FFN), torch.nan)},
        {"num_attention_heads": 2},
        "layer 1 are not finite",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_layers_that_are_left_alone(tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The dump is written all the same, and a line says why there are no vectors."""
    tensors, config, word = CASES[case]
    import_model(write_word_piece(write_model(tmp_path / "model", tensors, config)), "--out", tmp_path / "run")
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("no parameters.npz")]
    assert len(said) == 1
    assert word in said[0]
    assert not (tmp_path / "run/parameters.npz").exists()
    assert len(Dump.open(tmp_path / "run").table().snapshot_updates) == 1
