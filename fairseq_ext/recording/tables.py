"""Which parameters of a model are embedding tables, and which of them are the same storage."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch

import torch
from torch import Tensor, nn

from ..errors import UserError


@dataclass(frozen=True)
class TableSpec:
    """One embedding table.

    Attributes:
        name: the parameter's name without wrappers, as in the model's state dict.
        aliases: names of parameters that are the same storage.
        parameter: float [V, d], the weights as the model holds them.
    """

    name: str
    aliases: tuple[str, ...]
    parameter: Tensor

    @property
    def rows(self) -> int:
        return self.parameter.shape[0]

    @property
    def dim(self) -> int:
        return self.parameter.shape[1]


def unwrap(model: nn.Module) -> nn.Module:
    """The model without the wrappers of data-parallel training."""
    while isinstance(getattr(model, "module", None), nn.Module):
        model = model.module
    return model


def find_tables(model: nn.Module, row_counts: Iterable[int], patterns: str = "") -> list[TableSpec]:
    """The model's embedding tables, in the order of its state dict.

    Tied parameters share ``data_ptr()`` and are one table: the first name is the table's, the others are aliases.

    Args:
        model: the model, wrapped or not.
        row_counts: lengths of the task's dictionaries; a matrix with so many rows has one row per token.
        patterns: comma list of shell patterns of names; empty selects every matrix with one row per token.

    Raises:
        UserError: nothing is selected, or a pattern selects something that is not such a matrix.
    """
    wanted = [p.strip() for p in patterns.split(",") if p.strip()]
    lengths = set(row_counts)
    state = {k: v for k, v in unwrap(model).state_dict(keep_vars=True).items() if isinstance(v, torch.Tensor)}
    matrices = {k: v for k, v in state.items() if v.dim() == 2 and v.is_floating_point() and v.shape[0] in lengths}
    if wanted:
        for pattern in wanted:
            matched = [name for name in state if fnmatch(name, pattern)]
            if not any(name in matrices for name in matched):
                raise UserError(
                    f"--record-tables: {pattern!r} matches {'no parameter' if not matched else 'no table with one row per token'}; "
                    f"tables are {', '.join(matrices) or 'none'}"
                )
    by_storage: dict[int, list[str]] = {}
    for name, value in matrices.items():
        by_storage.setdefault(value.data_ptr(), []).append(name)
    tables = [
        TableSpec(names[0], tuple(names[1:]), matrices[names[0]])
        for names in by_storage.values()
        if not wanted or any(fnmatch(name, pattern) for name in names for pattern in wanted)
    ]
    if not tables:
        raise UserError(
            f"expected a matrix with one row per token ({sorted(lengths)} rows); the model has none to record"
        )
    return tables
