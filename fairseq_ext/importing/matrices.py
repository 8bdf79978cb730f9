"""Which tensors of a model are tables of token embeddings: of the input, and of the output where it is another one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..errors import UserError
from .weights import Weights

# Ends of names, the usual one first. A name may have any prefix (`bert.`, `model.`, `transformer.`).
INPUTS = (
    "word_embeddings.weight",  # BERT, RoBERTa, DistilBERT, ALBERT, BLOOM
    "shared.weight",  # T5, BART
    "embed_tokens.weight",  # Llama, OPT, fairseq's
    "wte.weight",  # GPT-2
    "tok_embeddings.weight",  # ModernBERT
    "embed_in.weight",  # GPT-NeoX
    "word_embedding.weight",  # XLNet
    "tokens_embed.weight",  # GPT
)
OUTPUTS = (
    "lm_head.weight",
    "lm_head.decoder.weight",
    "cls.predictions.decoder.weight",
    "vocab_projector.weight",
    "embed_out.weight",
    "generator_lm_head.weight",
    "decoder.weight",
    "lm_loss.weight",
)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")  # it becomes a folder's name


@dataclass(frozen=True)
class Matrix:
    """A table in the file: its name, names of tensors with the same values, its shape and its type there."""

    name: str
    aliases: tuple[str, ...]
    rows: int
    dim: int
    dtype: str


def _ends(name: str, ends: Sequence[str]) -> bool:
    return any(name == end or name.endswith(f".{end}") for end in ends)


def _rank(name: str) -> int:
    """Place of the first end in INPUTS that fits."""
    return next((k for k, end in enumerate(INPUTS) if _ends(name, (end,))), len(INPUTS))


def find_matrices(weights: Weights, chosen: Sequence[str] = ()) -> list[Matrix]:
    """The tables of a model: that of the input first, then one of the output if its values are others.

    Args:
        weights: the model's tensors.
        chosen: names that the user gives in place of the search.

    Raises:
        UserError: none is found, several might be the input's, or a chosen one is not there or no matrix.
    """
    entries = weights.entries
    matrices = {name: entry for name, entry in entries.items() if len(entry.shape) == 2 and min(entry.shape) > 0}
    if chosen:
        for name in chosen:
            if name not in matrices:
                found = f"a tensor of the shape {entries[name].shape}" if name in entries else "no such tensor"
                raise UserError(
                    f"--tensor {name}: expected a matrix of the model; found {found}; {_candidates(weights)}"
                )
        return [_matrix(weights, [name]) for name in dict.fromkeys(chosen)]
    inputs = sorted((name for name in matrices if _ends(name, INPUTS)), key=lambda name: (_rank(name), len(name), name))
    if not inputs:
        raise UserError(
            f"expected a table of input embeddings (a name that ends in {', '.join(INPUTS[:4])}, ...); found none; "
            f"name it by --tensor; {_candidates(weights)}"
        )
    groups = _same_values(weights, inputs)
    if len(groups) > 1:
        listed = ", ".join(f"{names[0]} {matrices[names[0]].shape}" for names in groups)
        raise UserError(
            f"expected one table of input embeddings; found {len(groups)} that differ: {listed}; choose by --tensor NAME"
        )
    outputs = [
        name for name in matrices if _ends(name, OUTPUTS) and matrices[name].shape[0] == matrices[inputs[0]].shape[0]
    ]
    together = _same_values(weights, [*groups[0], *sorted(outputs)])
    return [_matrix(weights, names) for names in together]


def _matrix(weights: Weights, names: list[str]) -> Matrix:
    """Of the first of the names, the others being aliases.

    Raises:
        UserError: the name cannot be that of a folder, or the numbers are not floating-point.
    """
    for name in names:
        if not _NAME.fullmatch(name):
            raise UserError(
                f"{weights.files[0]}: the tensor's name {name[:80]!r} has characters other than letters, digits, '.', '_' and '-'"
            )
    entry = weights.entries[names[0]]
    if not entry.floating:
        weights.get_float(names[0])
    return Matrix(names[0], tuple(names[1:]), entry.shape[0], entry.shape[1], entry.dtype)


def _same_values(weights: Weights, names: Sequence[str]) -> list[list[str]]:
    """The names in groups of equal matrices, in the order of their first."""
    groups: list[list[str]] = []
    for name in names:
        mine = weights.entries[name]
        for group in groups:
            other = weights.entries[group[0]]
            same = (mine.shape, mine.dtype) == (other.shape, other.dtype)
            if same and torch.equal(_bits(weights, name), _bits(weights, group[0])):
                group.append(name)
                break
        else:
            groups.append([name])
    return groups


def _bits(weights: Weights, name: str) -> torch.Tensor:
    """The stored bytes, so that NaN equals itself."""
    return weights.get(name).contiguous().view(torch.uint8)


def _candidates(weights: Weights, most: int = 8) -> str:
    """The matrices with the most rows, as words of a message."""
    listed = [
        (name, entry.shape) for name, entry in weights.entries.items() if len(entry.shape) == 2 and entry.floating
    ]
    listed.sort(key=lambda entry: (-entry[1][0], entry[0]))
    shown = ", ".join(f"{name} {shape}" for name, shape in listed[:most])
    return f"candidates are {shown or 'none: the file has no matrix'}"
