"""Geometry of E4's tables: each table by frequency, and how alike the tables are within a run and between arms.

All runs are taken at the last snapshot that they have in common. A token's count is that of the sides that its table serves.
Tables are compared over the counted rows of the joint vocabulary, all that occur in training and by where they occur: on both
sides, in the source text only, in the target text only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bootstrap import percentile_interval
from claims import Estimate, combine_seeds
from cli import NOT_IN_JSON
from correlation import correlation_estimates
from dump import Dump, Table, signature
from frequency import CORRELATIONS
from geometry import mean_pairwise, row_geometry
from streams import DumpError
from table_alignment import MEASURES, Alignment, align

ROLES = {
    "encoder.embed_tokens.weight": "encoder",
    "decoder.embed_tokens.weight": "decoder input",
    "decoder.output_projection.weight": "decoder output",
}
GROUPS = {
    "seen": "all tokens seen in training",
    "both": "seen on both sides",
    "source": "seen in the source only",
    "target": "seen in the target only",
}
Place = tuple[str, str]  # an arm and one of its tables, by its label


@dataclass(frozen=True)
class TableGeometry:
    """One table of one run at one update: correlations of mean cosine and count, mean pairwise cosine, |mean| over mean norm.

    `counts` and `mean_cosine` are those of its counted rows of non-zero norm, for the figure.
    """

    arm: str
    seed: int
    label: str
    name: str
    side: str | None
    update: int
    signature: str
    correlations: dict[str, Estimate]
    mean_cosine: Estimate
    norm_ratio: Estimate
    counts: NDArray[np.int64] = field(metadata=NOT_IN_JSON)
    row_cosine: NDArray[np.float64] = field(metadata=NOT_IN_JSON)

    @property
    def measures(self) -> dict[str, Estimate]:
        return {
            **self.correlations,
            "mean pairwise cosine": self.mean_cosine,
            "norm of mean / mean norm": self.norm_ratio,
        }


@dataclass(frozen=True)
class Pair:
    """Two tables over a group of tokens: one alignment a seed, and each measure over the seeds.

    `begin`: the same at the first snapshot in common, update 0 where it was recorded. Arms of one seed begin with the same first table, so that
    likeness between arms is partly that.
    """

    first: Place
    second: Place
    group: str
    seeds: list[int]
    alignments: list[Alignment]
    begin: list[Alignment]

    @property
    def combined(self) -> dict[str, Estimate]:
        return {name: combine_seeds([getattr(entry, name) for entry in self.alignments]) for name in MEASURES}

    @property
    def at_first(self) -> dict[str, float]:
        """Each measure at the first snapshot in common, mean over the seeds."""
        return {name: float(np.mean([getattr(entry, name).value for entry in self.begin])) for name in MEASURES}

    @property
    def null(self) -> dict[str, float]:
        """What unrelated rows give, mean over the seeds."""
        return {name: float(np.mean([entry.null[name] for entry in self.alignments])) for name in MEASURES}

    @property
    def tokens(self) -> int:
        return min(entry.tokens for entry in self.alignments)

    @property
    def title(self) -> str:
        (arm, one), (other, two) = self.first, self.second
        return f"{arm}: {one} – {two}" if arm == other else f"{arm}: {one} – {other}: {two}"


@dataclass(frozen=True)
class SharingGeometry:
    """Every table of every run at `update`, and the compared pairs; `first`: the first update in common."""

    update: int
    first: int
    tables: list[TableGeometry]
    pairs: list[Pair]

    def of(self, arm: str, label: str) -> list[TableGeometry]:
        return [entry for entry in self.tables if (entry.arm, entry.label) == (arm, label)]

    @property
    def places(self) -> list[Place]:
        """The arms' tables in order."""
        return list(dict.fromkeys((entry.arm, entry.label) for entry in self.tables))


def label(table: Table) -> str:
    """What a table serves: `encoder`, `decoder input`, `decoder input = output`, `all three`."""
    roles = [ROLES[name] for name in (table.name, *table.aliases) if name in ROLES]
    roles = [role for role in ROLES.values() if role in roles]
    if len(roles) == len(ROLES):
        return "all three"
    return "decoder input = output" if len(roles) == 2 and "encoder" not in roles else " = ".join(roles) or table.name


def common_updates(dumps: Sequence[Dump]) -> tuple[int, int]:
    """The first and the last update of which every table of every dump has a snapshot. Raises DumpError where there is none."""
    known = [set(dump.table(name).snapshot_updates.tolist()) for dump in dumps for name in dump.tables]
    shared = set.intersection(*known)
    if not shared:
        raise DumpError("the arms' recordings have no snapshot of one update in common; record them on one schedule")
    return min(shared), max(shared)


def vocabulary(dump: Dump) -> tuple[str, ...]:
    """What must be equal in dumps whose rows are compared: dictionary, rows, width, counts of both sides."""
    table = dump.table()
    corpus = dump.attrs.get("corpus") or {}
    counts = [int(counts @ np.arange(1, table.rows + 1)) for counts in table.count_by_side.values()]
    return (str(corpus.get("dictionary_sha256")), str(table.rows), str(table.dim), *map(str, counts))


def token_groups(table: Table) -> dict[str, NDArray[np.intp]]:
    """Counted rows by GROUPS."""
    source, target = (table.count_by_side[side] > 0 for side in ("source", "target"))
    inside = {"seen": source | target, "both": source & target, "source": source & ~target, "target": target & ~source}
    return {name: np.flatnonzero(chosen & table.counted) for name, chosen in inside.items()}


def table_geometry(dump: Dump, name: str, update: int, *, arm: str, run_seed: int, seed: int = 0) -> TableGeometry:
    """Measure one table at one update; intervals over tokens. Raises DumpError, GeometryError."""
    table = dump.table(name)
    values = table.snapshot(update)
    rows = row_geometry(values, table)
    counts, cosine = table.counts[rows.pool], rows.mean_cosine[rows.pool]
    seen = counts > 0
    found = (
        *correlation_estimates(cosine[seen], np.log(counts[seen]), seed=seed),
        *correlation_estimates(cosine, np.log(counts + 1), seed=seed),
    )
    n = int(rows.pool.sum())
    mean, ratio = _resampled(values[rows.pool], seed)
    return TableGeometry(
        arm=arm,
        seed=run_seed,
        label=label(table),
        name=table.name,
        side=table.side,
        update=update,
        signature=signature(dump, table, update),
        correlations=dict(zip(CORRELATIONS, found, strict=True)),
        mean_cosine=Estimate(mean_pairwise(rows.unit_sum, n), percentile_interval(mean)),
        norm_ratio=Estimate(
            float(np.linalg.norm(rows.common) / rows.norms[rows.pool].mean()), percentile_interval(ratio)
        ),
        counts=counts,
        row_cosine=cosine,
    )


def compare(dumps: Mapping[str, Mapping[int, Dump]], update: int, first_update: int) -> list[Pair]:
    """Every pair of tables within `none` and within `decoder`, and the one table of `all` against each of `none`, by seed."""
    wanted: dict[tuple[Place, Place], list[tuple[int, Table, Table]]] = {}
    for arm in ("none", "decoder"):
        for seed, dump in dumps.get(arm, {}).items():
            tables = [dump.table(name) for name in dump.tables]
            for place, one in enumerate(tables):
                for two in tables[place + 1 :]:
                    wanted.setdefault(((arm, label(one)), (arm, label(two))), []).append((seed, one, two))
    for seed, dump in dumps.get("all", {}).items():
        other = dumps.get("none", {}).get(seed)
        for name in other.tables if other is not None else []:
            one, two = dump.table(), other.table(name)  # type: ignore[union-attr]
            wanted.setdefault((("all", label(one)), ("none", label(two))), []).append((seed, one, two))
    result = []
    for (first, second), entries in wanted.items():
        for group in GROUPS:
            found = [
                (seed, _aligned(one, two, group, update, intervals=len(entries) < 3)) for seed, one, two in entries
            ]
            known = [(seed, entry) for seed, entry in found if entry is not None]
            begin = [_aligned(one, two, group, first_update, intervals=False, nulls=0) for _, one, two in entries]
            if known:
                seeds, alignments = [seed for seed, _ in known], [entry for _, entry in known]
                result.append(Pair(first, second, group, seeds, alignments, [e for e in begin if e is not None]))
    return result


def _aligned(one: Table, two: Table, group: str, update: int, **options: Any) -> Alignment | None:
    rows = token_groups(one)[group]
    return align(one.snapshot(update)[rows], two.snapshot(update)[rows], **options)


def _resampled(
    values: NDArray[np.float32], seed: int, resamples: int = 200
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean pairwise cosine and |mean| / mean norm of rows drawn anew, each (resamples,); see bootstrap.pairwise_cosine_change.

    With c_i the times that row i was drawn: (|sum c_i u_i|^2 - sum c_i^2) / (n^2 - sum c_i^2), pairs of a row with itself left out.
    """
    n = len(values)
    norms = np.linalg.norm(values, axis=1)
    units = values / norms[:, None]
    rng = np.random.default_rng(seed)
    cosine, ratio = np.empty(resamples), np.empty(resamples)
    for place in range(resamples):
        weights = np.bincount(rng.integers(0, n, n), minlength=n).astype(np.float32)
        own = float(weights.astype(np.float64) @ weights)
        total = (weights @ units).astype(np.float64)
        cosine[place] = (total @ total - own) / (n**2 - own)
        ratio[place] = math.sqrt(float(np.square((weights @ values).astype(np.float64)).sum())) / float(weights @ norms)
    return cosine, ratio
