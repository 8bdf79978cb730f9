"""What is known of a table's rows before training: token counts, which rows are counted, frequency groups, texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from fairseq.data import Dictionary

SMALLEST_TOP_GROUP = 25
_FILLER = re.compile(r"madeupword\d{4,}")


@dataclass(frozen=True)
class Group:
    """A frequency group: rows whose token count lies in [min_count, max_count]; ``None`` is open."""

    name: str
    min_count: int
    max_count: int | None
    rows: int
    counted: bool


@dataclass(frozen=True)
class Rows:
    """The rows of one table.

    Attributes:
        count: int64 [V], occurrences in the binarised training split.
        counted: bool [V], neither special nor filler.
        group: int16 [V], index into ``groups``; -1 for special rows.
        groups: ``zero``, decades of the count, ``unreachable``.
        texts: V texts, one a row.
        by_side: for a corpus of pairs, int64 [V] occurrences in its ``source`` and its ``target``.
    """

    count: npt.NDArray[np.int64]
    counted: npt.NDArray[np.bool_]
    group: npt.NDArray[np.int16]
    groups: tuple[Group, ...]
    texts: tuple[str, ...]
    by_side: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.count)


def decade_edges(counts: npt.NDArray[np.int64], smallest_top: int = SMALLEST_TOP_GROUP) -> list[tuple[int, int | None]]:
    """The frequency groups' bounds for these token counts.

    The first is (0, 0). Then come decades, (1, 9), (10, 99), ..., up to that of the largest count; decades at the top are joined
    until the last holds at least ``smallest_top`` rows. The last one is open.
    """
    if counts.size == 0 or counts.max() == 0:
        return [(0, 0)]
    lowest = [10**k for k in range(int(np.floor(np.log10(counts.max()))) + 1)]
    while len(lowest) > 1 and (counts >= lowest[-1]).sum() < smallest_top:
        lowest.pop()
    highest: list[int | None] = [low - 1 for low in lowest[1:]]
    return [(0, 0), *zip(lowest, [*highest, None], strict=True)]


def _name(low: int, high: int | None) -> str:
    if high == 0:
        return "zero"
    return f"{low:,}+" if high is None else f"{low:,}-{high:,}"


def describe(
    dictionary: Dictionary,
    counts: npt.NDArray[np.int64],
    texts: list[str] | None = None,
    by_side: dict[str, npt.NDArray[np.int64]] | None = None,
) -> Rows:
    """Describe the rows of a table that belongs to ``dictionary``.

    Args:
        dictionary: fairseq's dictionary of V symbols.
        counts: int64 [V].
        texts: V texts, or ``None`` for the dictionary's own symbols.
        by_side: int64 [V] by side, where the corpus has two.

    Raises:
        ValueError: the lengths differ.
    """
    size = len(dictionary)
    special = np.zeros(size, dtype=bool)
    special[: dictionary.nspecial] = True
    mask = dictionary.indices.get("<mask>")
    if mask is not None:
        special[mask] = True
    filler = np.array([bool(_FILLER.fullmatch(symbol)) for symbol in dictionary.symbols], dtype=bool)
    return divide(special, filler, counts, texts if texts is not None else list(dictionary.symbols), by_side)


def divide(
    special: npt.NDArray[np.bool_],
    filler: npt.NDArray[np.bool_],
    counts: npt.NDArray[np.int64],
    texts: Sequence[str],
    by_side: dict[str, npt.NDArray[np.int64]] | None = None,
) -> Rows:
    """Divide rows into counted ones by frequency group, special ones, and those that no text can ask for.

    Args:
        special: bool [V]; a row that is both special and filler is special.
        filler: bool [V].
        counts: int64 [V].
        texts: V texts.
        by_side: int64 [V] by side, where the corpus has two.

    Raises:
        ValueError: the lengths differ.
    """
    size = len(special)
    if len(counts) != size or len(texts) != size or len(filler) != size:
        raise ValueError(f"expected {size} counts and texts, found {len(counts)} and {len(texts)}")
    filler = filler & ~special
    counted = ~special & ~filler
    group = np.full(size, -1, dtype=np.int16)
    groups = []
    for low, high in decade_edges(counts[counted]):
        member = counted & (counts >= low) & (counts <= (np.iinfo(np.int64).max if high is None else high))
        group[member] = len(groups)
        groups.append(Group(_name(low, high), low, high, int(member.sum()), True))
    group[filler] = len(groups)
    groups.append(Group("unreachable", 0, None, int(filler.sum()), False))
    return Rows(counts.astype(np.int64), counted, group, tuple(groups), tuple(texts), by_side or {})
