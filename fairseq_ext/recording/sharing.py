"""Which embedding tables a model shares, and that a checkpoint loaded into it shares the same.

fairseq loads a checkpoint of a model with shared tables into one without, and the other way round, and says nothing: all names are there.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from .tables import find_tables

OTHER = (
    "it is the checkpoint of another arm; give the --share-* (or --untie-weights-roberta) options that it was trained with, or another "
    "--save-dir or --restore-file"
)


def tables_of(model: nn.Module, row_counts: Iterable[int]) -> dict[str, list[str]]:
    """The model's tables by name with their aliases; empty where it has none with one row per token."""
    try:
        return {table.name: list(table.aliases) for table in find_tables(model, row_counts)}
    except UserError:
        return {}


def words(tables: dict[str, list[str]]) -> str:
    """`3 tables: encoder.embed_tokens.weight, ...`, shared names joined by =."""
    number = f"{len(tables)} table" + "s" * (len(tables) != 1)
    return f"{number}: " + ", ".join(" = ".join((name, *aliases)) for name, aliases in tables.items())


def refuse_other(found: dict[str, list[str]] | None, tables: dict[str, list[str]]) -> None:
    """Refuse a checkpoint that says it has other tables than the model; one that says nothing (stock fairseq's) is not refused here.

    Raises:
        UserError: the tables differ.
    """
    if found is not None and {k: sorted(v) for k, v in found.items()} != {k: sorted(v) for k, v in tables.items()}:
        raise UserError(f"this model has {words(tables)}; the checkpoint has {words(found)}: {OTHER}")


def guard(model: nn.Module, tables: dict[str, list[str]], resumes: bool) -> None:
    """Let the model refuse weights whose tables are not shared as its own are.

    Args:
        model: any of fairseq's.
        tables: its tables with their aliases.
        resumes: whether training goes on from what is loaded; if not, shared weights may be the beginning of separate tables.
    """
    model.register_load_state_dict_pre_hook(partial(_check, tables=tables, resumes=resumes))


def _check(
    module: nn.Module, state: dict[str, Any], prefix: str, *_: Any, tables: dict[str, list[str]], resumes: bool
) -> None:
    """Refuse other tables.

    Raises:
        UserError: what the model shares is not the same in the weights, or what it keeps apart is.
    """
    weights = {
        name: state[prefix + name] for name in itertools.chain(tables, *tables.values()) if prefix + name in state
    }
    for name, aliases in tables.items():
        for alias in aliases:
            if name in weights and alias in weights and not _same(weights[name], weights[alias]):
                raise UserError(f"this model has {words(tables)}; in the checkpoint {name} and {alias} differ: {OTHER}")
    for one, two in itertools.combinations([name for name in tables if name in weights], 2):
        if resumes and _same(weights[one], weights[two]):
            raise UserError(f"this model has {words(tables)}; in the checkpoint {one} and {two} are the same: {OTHER}")


def _same(one: Tensor, two: Tensor) -> bool:
    if one.data_ptr() == two.data_ptr():
        return True
    return one.shape == two.shape and torch.equal(one.nan_to_num(), two.nan_to_num())
