"""The streams that explain a drift (docs/dump-format.md): `cause` and `moments` of one table, read and checked.

What a stream's `update` does not list does not exist, and every array must reach that far: a stream that is cut short raises
DumpError. The mean update is always known, so NaN there raises as well; elsewhere NaN is what the recording
could not know (roles of other heads, the state of other optimisers), and stays.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cli import NOT_IN_JSON
from dump import Table
from streams import Node

ROLES = ("input", "positive", "negative")
ROLE_WORDS = {"input": "as input", "positive": "as target", "negative": "as negative in the softmax"}
VECTORS = (
    "gradient_mean",
    *(f"gradient_{role}" for role in ROLES),
    "update_mean",
    "update_coupled",
    "update_decay",
    *(f"push_{role}" for role in ROLES),
)
NUMBERS = ("gradient_sum", "gradient_length", "head_sum", "second_moment_r2", "second_moment_spearman")
BY_GROUP = (
    "gradient_sum_group",
    "gradient_length_group",
    "gradient_along_group",
    *(f"{role}_along_group" for role in ROLES),
    "second_moment_group",
    "update_along_group",
    "update_own_group",
    "update_length_group",
)
ROW_NUMBERS = ("second_moment", "first_moment_norm", "update_norm", "update_along")


@dataclass(frozen=True)
class CauseStream:
    """The stream `cause`: `updates` int64 (n,); `vectors` (n, dim), `numbers` (n,), `by_group` (n, groups) by name, float64."""

    updates: NDArray[np.int64]
    vectors: dict[str, NDArray[np.float64]] = field(metadata=NOT_IN_JSON)
    numbers: dict[str, NDArray[np.float64]] = field(metadata=NOT_IN_JSON)
    by_group: dict[str, NDArray[np.float64]] = field(metadata=NOT_IN_JSON)


@dataclass(frozen=True)
class Moments:
    """The stream `moments` at its last update: float64 (rows,) by name."""

    update: int
    rows: dict[str, NDArray[np.float64]] = field(metadata=NOT_IN_JSON)


def read_cause(table: Table) -> CauseStream | None:
    """The table's stream `cause`; None where it was not recorded or has no record. Raises DumpError."""
    stream = _stream(table, "cause")
    if stream is None:
        return None
    updates = stream.updates()
    if not len(updates):
        return None
    shapes = {name: (len(updates), table.dim) for name in VECTORS}
    shapes |= {name: (len(updates),) for name in NUMBERS}
    shapes |= {name: (len(updates), len(table.groups)) for name in BY_GROUP}
    read = {name: stream.read(name, slice(0, len(updates)), shape).astype(np.float64) for name, shape in shapes.items()}
    finite = np.isfinite(read["update_mean"]).all(axis=1)
    if not finite.all():
        update = int(updates[np.argmin(finite)])
        raise table.error(
            f"cause/update_mean lacks the value of update {update}: a chunk is missing, or training diverged"
        )
    parts = ({name: read[name] for name in names} for names in (VECTORS, NUMBERS, BY_GROUP))
    return CauseStream(updates, *parts)


def read_moments(table: Table) -> Moments | None:
    """The last record of the table's stream `moments`; None where there is none. Raises DumpError."""
    stream = _stream(table, "moments")
    if stream is None:
        return None
    updates = stream.updates()
    if not len(updates):
        return None
    last = len(updates) - 1
    rows = {
        name: stream.read(name, (last,), (len(updates), table.rows)).reshape(-1).astype(np.float64)
        for name in ROW_NUMBERS
    }
    return Moments(int(updates[-1]), rows)


def has_stream(table: Table, name: str) -> bool:
    """Does the dump hold the table's stream, if only an empty one?"""
    return name in _node(table)


def _stream(table: Table, name: str) -> Node | None:
    node = _node(table)
    return node.child(name) if name in node else None


def _node(table: Table) -> Node:
    return Node(table.dump.root, table.error).child(f"tables/{table.name}")
