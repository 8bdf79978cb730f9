"""The numbers behind the report's interactive plots, small enough to stand inside the page.

Shown are the category words, the map's tokens and a sample of each frequency group, at the same snapshots as the map.
Nearest neighbours among all counted rows are found at every shown snapshot for the category words, and at the last one
for the other tokens (a search for all of them at every snapshot would take minutes); the page says which it shows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from categories import CategoryTokens
from dump import Table
from exact_knn import cosine_neighbours
from geometry import row_geometry
from map_figure import mark
from page import shown
from plots import group_label
from projection import Projection, describe

SAMPLE = 220  # tokens drawn of each frequency group
NEIGHBOURS = 5
ZERO_PLACE = 0.4  # where tokens of count 0 stand on the logarithmic axis


@dataclass(frozen=True)
class Frame:
    """One snapshot: `cosine` and `norm` of the chosen rows (n,), NaN for rows of zero norm; `near` (n, k) rows and
    `near_cosine` (n, k), with a row of -2 where they were not looked for."""

    cosine: NDArray[np.float64]
    norm: NDArray[np.float64]
    near: NDArray[np.int64]
    near_cosine: NDArray[np.float32]


def choose_rows(table: Table, always: NDArray[np.integer], sample: int = SAMPLE, seed: int = 0) -> NDArray[np.int64]:
    """The rows `always` and `sample` rows drawn from each frequency group (all of a smaller one), ascending."""
    rng = np.random.default_rng(seed)
    chosen = [np.asarray(always, np.int64)]
    for group in table.groups:
        members = np.flatnonzero(table.group == group.index)
        chosen.append(members if len(members) <= sample else rng.choice(members, sample, replace=False))
    return np.unique(np.concatenate(chosen))


def measure(table: Table, update: int, rows: NDArray[np.int64], looked_up: NDArray[np.bool_]) -> Frame:
    """Read one snapshot and measure `rows` (n); neighbours only where `looked_up` (n)."""
    values = table.snapshot(update)
    geometry = row_geometry(values, table)
    near = np.full((len(rows), NEIGHBOURS), -2, np.int64)
    near_cosine = np.full((len(rows), NEIGHBOURS), np.nan, np.float32)
    found = cosine_neighbours(values, rows[looked_up], table.counted_rows, NEIGHBOURS)
    near[looked_up], near_cosine[looked_up] = found.rows, found.cosines
    norms = np.where(geometry.live, geometry.norms, np.nan)
    return Frame(geometry.mean_cosine[rows], norms[rows], near, near_cosine)


def explorer_data(
    table: Table, categories: CategoryTokens, projection: Projection | None, updates: list[int], *, sample: int = SAMPLE
) -> dict[str, Any]:
    """Everything that report.js draws, as plain JSON values. `projection` must be of the same `updates`."""
    category_of = categories.category_of()
    names = list(categories.rows)
    always = categories.all_rows() if projection is None else np.union1d(categories.all_rows(), projection.rows)
    rows = choose_rows(table, always, sample)
    category = np.array([names.index(category_of[row]) if row in category_of else -1 for row in rows.tolist()])
    frames = [measure(table, update, rows, (category >= 0) | (update == updates[-1])) for update in updates]
    near_rows = np.unique(np.concatenate([frame.near[frame.near >= 0] for frame in frames]))
    counts = table.counts[rows]
    return {
        "updates": updates,
        "tokens": {
            "row": rows.tolist(),
            "text": [shown(table.texts[row]) for row in rows],
            "plain": [table.texts[row] for row in rows],
            "count": counts.tolist(),
            "group": table.group[rows].tolist(),
            "category": category.tolist(),
            "x": _places(counts),
        },
        "groups": [group_label(group) for group in table.groups],
        "categories": [_style(index, name) for index, name in enumerate(names)],
        "texts": {str(row): shown(table.texts[row], 24) for row in near_rows.tolist()},
        "frames": [_frame(frame) for frame in frames],
        "map": None if projection is None else _map(projection, rows),
        **_axes(counts, frames),
    }


def _places(counts: NDArray[np.int64]) -> list[float]:
    """Counts for a logarithmic axis; those of 0 side by side around ZERO_PLACE, so that they do not hide one another."""
    zero = counts == 0
    places = counts.astype(np.float64)
    places[zero] = ZERO_PLACE * 10 ** np.linspace(-0.15, 0.15, int(zero.sum()))
    return [round(place, 3) for place in places.tolist()]


def _axes(counts: NDArray[np.int64], frames: list[Frame]) -> dict[str, Any]:
    """Fixed ranges, so that only the points move with the slider; logarithms of the count as Plotly wants them."""
    top = max(1, math.ceil(math.log10(max(int(counts.max()), 1)) + 0.05))
    ticks = [10**power for power in range(top + 1)]
    cosines = np.concatenate([frame.cosine for frame in frames])
    return {
        "x_range": [math.log10(ZERO_PLACE) - 0.3, math.log10(max(int(counts.max()), 1)) + 0.15],
        "x_ticks": [ZERO_PLACE, *ticks],
        "x_labels": ["0", *[f"{tick:,}" for tick in ticks]],
        "y_range": _padded(cosines),
    }


def _padded(values: NDArray[np.floating]) -> list[float]:
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    margin = 0.04 * (high - low) or 0.05
    return [round(low - margin, 4), round(high + margin, 4)]


def _style(index: int, name: str) -> dict[str, str]:
    colour, _, symbol = mark(index)
    return {"name": name, "colour": colour, "symbol": symbol}


def _frame(frame: Frame) -> dict[str, Any]:
    near: list[list[int] | None] = []
    near_cosine: list[list[float | None] | None] = []
    for rows, cosines in zip(frame.near.tolist(), frame.near_cosine.tolist(), strict=True):
        found = [place for place, row in enumerate(rows) if row >= 0]
        looked_up = rows[0] != -2
        near.append([rows[place] for place in found] if looked_up else None)
        near_cosine.append([round(cosines[place], 3) for place in found] if looked_up else None)
    return {
        "cosine": _rounded(frame.cosine, 4),
        "norm": _rounded(frame.norm, 4),
        "near": near,
        "near_cosine": near_cosine,
    }


def _rounded(values: NDArray[np.floating], digits: int) -> list[float | None]:
    return [round(value, digits) if math.isfinite(value) else None for value in values.tolist()]


def _map(projection: Projection, rows: NDArray[np.int64]) -> dict[str, Any]:
    positions = projection.positions
    return {
        "tokens": np.searchsorted(rows, projection.rows).tolist(),
        "positions": [[_rounded(at[:, 0], 2), _rounded(at[:, 1], 2)] for at in positions],
        "preservation": [describe(projection, index) for index in range(len(projection.updates))],
        "x_range": _padded(positions[:, :, 0]),
        "y_range": _padded(positions[:, :, 1]),
    }
