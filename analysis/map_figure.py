"""The map's figure: every token a grey dot, the category words with a colour and a marker each, labels that fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from categories import CategoryTokens
from plots import new_figure, save

# Seven colours that are told apart by most readers and on paper, times markers of clearly different shape: names are
# matplotlib's and plotly's.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9", "#1b1f24")
MARKERS = (
    ("o", "circle"),
    ("s", "square"),
    ("^", "triangle-up"),
    ("D", "diamond"),
    ("v", "triangle-down"),
    ("P", "cross"),
)


def mark(index: int) -> tuple[str, str, str]:
    """Colour, matplotlib marker and plotly symbol of the category with this place in the lists."""
    # Seven and six have no common divisor: the first 42 pairs all differ.
    matplotlib_marker, plotly_symbol = MARKERS[index % len(MARKERS)]
    return COLOURS[index % len(COLOURS)], matplotlib_marker, plotly_symbol


def draw_map(
    positions: NDArray[np.floating],
    rows: NDArray[np.integer],
    texts: Sequence[str],
    categories: CategoryTokens,
    *,
    title: str,
    note: str,
    out: Path,
    name: str = "map",
) -> list[Path]:
    """Draw `positions` (n, 2) of `rows` (n) and save `name`.png and `name`.pdf below `out`; returns the paths."""
    figure, axes = new_figure(width=11, height=7.6)
    axis = axes[0, 0]
    place_of = {int(row): place for place, row in enumerate(rows)}
    category_of = categories.category_of()
    others = [place for row, place in place_of.items() if row not in category_of]
    axis.scatter(*positions[others].T, s=6, color="#c3cad1", linewidths=0, label="other tokens", zorder=1)
    labels: list[tuple[int, str, str]] = []
    for index, (category, members) in enumerate(categories.rows.items()):
        places = [place_of[row] for row in members if row in place_of]
        if places:
            colour, marker, _ = mark(index)
            axis.scatter(
                *positions[places].T,
                s=26,
                color=colour,
                marker=marker,
                linewidths=0.3,
                edgecolors="white",
                label=category,
                zorder=2,
            )
            labels += [(place, texts[rows[place]].strip(), colour) for place in places]
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(visible=False)
    axis.set_title(title)
    axis.set_xlabel(note, fontsize=7.5, loc="left", color="#57606a")
    axis.legend(
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        title="category",
        ncols=2,
        fontsize=7,
        columnspacing=0.8,
        handletextpad=0.2,
    )
    figure.canvas.draw()  # fixes the layout, so that the labels' sizes are known
    _place_labels(axis, positions, labels)
    return save(figure, out, name)


def _place_labels(axis: Axes, positions: NDArray[np.floating], labels: Sequence[tuple[int, str, str]]) -> None:
    """Write each label right or left of, above or below its point, where it covers no other one; else leave it out.

    The categories take turns, so that each shows some of its words.
    """
    figure = axis.figure
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    frame = axis.get_window_extent(renderer)
    points = axis.transData.transform(positions)
    marked = points[[place for place, _, _ in labels]]
    taken: list[Bbox] = []
    for place, text, colour in _in_turns(labels):
        for dx, dy, across, along in (
            (5, 0, "left", "center"),
            (-5, 0, "right", "center"),
            (0, 5, "center", "bottom"),
            (0, -5, "center", "top"),
        ):
            label = axis.annotate(
                text,
                positions[place],
                (dx, dy),
                textcoords="offset points",
                fontsize=7,
                color=colour,
                ha=across,
                va=along,
                zorder=3,
                annotation_clip=False,
                parse_math=False,
            )
            label.set_in_layout(False)
            box = label.get_window_extent(renderer)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if inside and not any(box.overlaps(other) for other in taken) and not _covers(box, marked, points[place]):
                taken.append(box)
                break
            label.remove()


def _covers(box: Bbox, points: NDArray[np.floating], own: NDArray[np.floating]) -> bool:
    inside = (points[:, 0] > box.x0) & (points[:, 0] < box.x1) & (points[:, 1] > box.y0) & (points[:, 1] < box.y1)
    return bool((inside & (points != own).any(axis=1)).any())


def _in_turns(labels: Sequence[tuple[int, str, str]]) -> list[tuple[int, str, str]]:
    """One label of each colour after the other."""
    queues: dict[str, list[tuple[int, str, str]]] = {}
    for label in labels:
        queues.setdefault(label[2], []).append(label)
    most = max((len(queue) for queue in queues.values()), default=0)
    return [queue[turn] for turn in range(most) for queue in queues.values() if turn < len(queue)]
