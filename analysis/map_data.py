"""What the token map's page shows, measured in a dump: positions, courses over the updates, nearest neighbours.

Neighbours are exact, among all counted rows of the table in its full space: never those of the picture, nor of its 50
components. Courses (norm and cosines over the updates) are of more snapshots than the map has, as many as fit the page.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import projection
from dump import Dump, Table
from exact_knn import cosine_neighbours
from geometry import row_geometry
from map_figure import mark
from map_packing import Codes, pack, quantise, whole, with_step
from page import shown
from plots import group_colours, group_label
from projection import MapResult, Progress
from signatures import run_place

NEIGHBOURS = 5
COURSE_VALUES = 620_000  # tokens times snapshots of a course, at most: 12 snapshots of 50,265 tokens
COURSE_SNAPSHOTS = 24
POSITION_LEVELS = 16383  # of the larger side of all maps: a tenth of a pixel on a screen of 1,600
COSINE_STEP = 0.001
Which = Literal["all", "three", "none"]


@dataclass(frozen=True)
class Courses:
    """`norm`, `cosine` (mean cosine to all other counted rows) and `common` (cosine to the common vector) of the map's n
    tokens at `updates` (t): (t, n) each, NaN for rows of zero norm."""

    updates: tuple[int, ...]
    norm: NDArray[np.float64]
    cosine: NDArray[np.float64]
    common: NDArray[np.float64]


@dataclass(frozen=True)
class Near:
    """Rows (m, n, k) of the nearest counted rows to each of the map's n tokens at `updates` (m), nearest first, and their
    `cosines`; -1 and NaN where there are none."""

    updates: tuple[int, ...]
    rows: NDArray[np.int64]
    cosines: NDArray[np.float32]


def course_updates(table: Table, shown_updates: tuple[int, ...], tokens: int) -> list[int]:
    """The map's updates and, evenly chosen, as many others as fit the page."""
    most = min(COURSE_SNAPSHOTS, COURSE_VALUES // max(tokens, 1))
    others = projection.spread(table.snapshot_updates, max(2, most)).tolist()
    free = [update for update in others if update not in shown_updates]
    room = max(0, most - len(shown_updates))
    kept = projection.spread(np.array(free, np.int64), room).tolist() if room > 1 else free[:room]
    return sorted({*shown_updates, *map(int, kept)})


def neighbour_updates(shown_updates: tuple[int, ...], which: Which) -> tuple[int, ...]:
    """Of which of the map's updates neighbours are looked for."""
    if which == "three":
        return tuple(int(update) for update in projection.spread(np.array(shown_updates), 3))
    return shown_updates if which == "all" else ()


def measure(
    table: Table, result: MapResult, which: Which = "all", progress: Progress = lambda line: None
) -> tuple[Courses, Near]:
    """Read each snapshot once and measure the map's tokens in it. Raises DumpError and GeometryError as reading does."""
    projected = result.projection
    rows, space = projected.rows, projected.space
    updates = course_updates(table, projected.updates, len(rows))
    looked_up = neighbour_updates(projected.updates, which)
    courses = np.full((3, len(updates), len(rows)), np.nan)
    near = Near(
        looked_up,
        np.full((len(looked_up), len(rows), NEIGHBOURS), -1, np.int64),
        np.full((len(looked_up), len(rows), NEIGHBOURS), np.nan, np.float32),
    )
    for index, update in enumerate(updates):
        values = table.snapshot(update)
        geometry = row_geometry(values, table)
        norms = np.where(geometry.live, geometry.norms, np.nan)
        courses[:, index] = norms[rows], geometry.mean_cosine[rows], geometry.common_cosine[rows]
        if update not in looked_up:
            continue
        begun = time.perf_counter()
        centre = geometry.common if space == "centred" else None
        found = cosine_neighbours(values, rows, table.counted_rows, NEIGHBOURS, centre=centre)
        place = looked_up.index(update)
        near.rows[place], near.cosines[place] = found.rows, found.cosines
        seconds = time.perf_counter() - begun
        progress(f"neighbours {place + 1} of {len(looked_up)}: update {update:,}, exact, {seconds:.0f} s")
    return Courses(tuple(updates), *courses), near


def content(
    dump: Dump, table: Table, result: MapResult, courses: Courses, near: Near, *, settings: str = ""
) -> dict[str, Any]:
    """Everything that the page's script reads, as plain JSON values; `settings` says how the map was made."""
    projected = result.projection
    rows = projected.rows
    names = list(result.categories.rows)
    category_of = result.categories.category_of()
    # Tokens are numbered by their place on the map; neighbours that are not on it follow.
    others = np.setdiff1d(near.rows[near.rows >= 0], rows)
    numbered = np.concatenate([rows, others])
    place_of = np.full(table.rows, -1, np.int64)
    place_of[numbered] = np.arange(len(numbered))
    texts = [table.texts[row] for row in numbered.tolist()]
    special = {str(place): text for place, plain in enumerate(texts) if (text := shown(plain)) != f"“{plain}”"}
    layout, data = pack(
        {
            **_positions(projected.positions),
            "row": whole(rows),
            "count": whole(table.counts[rows]),
            "group": whole(table.group[rows].astype(np.int64)),
            "category": whole(
                np.array([names.index(category_of[r]) if r in category_of else -1 for r in rows.tolist()])
            ),
            "norm": quantise(courses.norm, delta=True),
            "cosine": with_step(courses.cosine, -1.001, COSINE_STEP, delta=True),
            "common": with_step(courses.common, -1.001, COSINE_STEP, delta=True),
            "near": whole(np.where(near.rows < 0, -1, place_of[near.rows]).transpose(0, 2, 1)),
            "near_cosine": with_step(near.cosines.transpose(0, 2, 1), -1.02, 0.01, bits=8),
        }
    )
    shades = group_colours(table.groups)
    inside = np.bincount(table.group[rows][table.group[rows] >= 0], minlength=len(table.groups)).tolist()
    return {
        "title": _title(dump),
        "updates": list(projected.updates),
        "signatures": list(result.signatures),
        "preservation": [projection.describe(projected, index) for index in range(len(projected.updates))],
        "space": projected.space,
        "settings": settings,
        "coverage": result.categories.report(),
        "course_updates": list(courses.updates),
        "near_updates": list(near.updates),
        "groups": [
            {"label": group_label(group).split(" (")[0], "tokens": inside[group.index], "colour": shades[group.index]}
            for group in table.groups
        ],
        "categories": [_style(index, name) for index, name in enumerate(names)],
        "texts": texts,
        "shown": special,
        "layout": layout,
        "data": data,
    }


def _positions(positions: NDArray[np.floating]) -> dict[str, Codes]:
    """`x` and `y` (updates, tokens) in the same steps, so that the picture is not stretched."""
    low, high = positions.min(axis=(0, 1)), positions.max(axis=(0, 1))
    step = float((high - low).max()) / POSITION_LEVELS or 1.0
    return {
        axis: with_step(positions[:, :, index], float(low[index]), step, delta=True) for index, axis in enumerate("xy")
    }


def _style(index: int, name: str) -> dict[str, str]:
    colour, _, symbol = mark(index)
    return {"name": name, "colour": colour, "symbol": symbol}


def _title(dump: Dump) -> str:
    place = run_place(dump)
    known = [str(place[key]) for key in ("experiment", "arm") if key in place]
    if "seed" in place:
        known.append(f"seed {place['seed']}")
    return " ".join(known) or dump.path.absolute().parent.name
