"""The study's picture: t-SNE of the parameter vectors in the embedding space, lower and higher layers. A picture, not evidence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.lines import Line2D

from layer_files import evenly
from layer_trends import lower_layers
from layers_tables import kind_words
from map_figure import MARKERS
from plots import new_figure, save
from projection import describe, project

if TYPE_CHECKING:
    from layers_result import LayersResult

POINTS = 2000
LEAST = 60


def draw_map(result: LayersResult, out: Path, *, points: int = POINTS) -> list[Path]:
    """Draw at most `points` vectors of the main arm's first run; nothing where there are fewer than LEAST."""
    found = result.first.parameters if result.first is not None else None
    if found is None:
        return []
    vectors = found.trained.projected
    layers, kinds, m, dim = vectors.shape
    each = evenly(m, max(1, points // (layers * kinds)))
    chosen = vectors[:, :, each].reshape(-1, dim)
    if len(chosen) < LEAST:
        return []
    layer = np.repeat(np.arange(layers), kinds * len(each))
    kind = np.tile(np.repeat(np.arange(kinds), len(each)), layers)
    mapped = project(lambda _: chosen, [found.snapshot], np.arange(len(chosen)), jobs=1)
    positions = mapped.positions[-1]
    shades = ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0, 0.94, layers)))
    norm = BoundaryNorm(np.arange(layers + 1) - 0.5, layers)
    lower = lower_layers(layers)
    figure, axes = new_figure(columns=2, width=5.6, height=5.2)
    drawn = None
    for axis, part, words in ((axes[0, 0], layer < lower, "lower"), (axes[0, 1], layer >= lower, "higher")):
        axis.scatter(*positions[~part].T, s=5, color="#dcdfe3", linewidths=0, zorder=1)
        for number in range(kinds):
            inside = part & (kind == number)
            drawn = axis.scatter(
                *positions[inside].T,
                s=11,
                c=layer[inside],
                cmap=shades,
                norm=norm,
                marker=MARKERS[number % len(MARKERS)][0],
                linewidths=0,
                zorder=2,
            )
        first, last = layer[part].min(), layer[part].max()
        axis.set_title(f"{words.capitalize()} layers ({first}–{last}); the others grey")
        axis.set_xticks([])
        axis.set_yticks([])
        axis.grid(False)
    axes[0, 0].set_xlabel(
        f"{len(chosen):,} vectors; {describe(mapped, -1).replace('tokens', 'vectors')}", fontsize=7.5, loc="left"
    )
    if drawn is not None:
        ticks = range(0, layers, -(-layers // 13))
        figure.colorbar(drawn, ax=list(axes.flat), label="layer", ticks=list(ticks), shrink=0.85)
    marks = [
        Line2D([], [], linestyle="", marker=MARKERS[number % len(MARKERS)][0], color="#444444", markersize=5)
        for number in range(kinds)
    ]
    figure.legend(
        marks, [kind_words(name) for name in found.kinds], loc="outside lower center", ncols=kinds, title="kind"
    )
    figure.suptitle("t-SNE of parameter vectors in the embedding space: a picture, not evidence", x=0.01, ha="left")
    return save(figure, out, "layers_map")
