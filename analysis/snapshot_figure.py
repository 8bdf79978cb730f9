"""The figure of `snapshots.py`: how a table's geometry goes over its snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from dump import Group
from plots import OKABE_ITO, group_colours, group_label, new_figure, save, update_axis

Numbers = dict[str, NDArray[np.float64]]


def figure(
    updates: NDArray[np.int64], numbers: Numbers, groups: Sequence[Group], signature: str, out: Path
) -> list[Path]:
    """Draw `out/snapshots.{png,pdf}`: numbers (updates,) and (updates, groups) by name, as `snapshots.analyse` gives them."""
    drawn, axes = new_figure(columns=3, rows=2, width=4.6, height=3.6)
    cosine, common, norms, correlation, rank, distance = axes.flat
    _by_group(cosine, updates, numbers, "mean_cosine", groups)
    cosine.set(title="Mean cosine to all other counted rows", ylabel="cosine")
    _by_group(common, updates, numbers, "common_cosine", groups)
    common.set(title="Cosine to the common vector", ylabel="cosine")
    _lines(norms, updates, numbers, {"common_norm": "norm of the common vector", "norm_mean": "mean norm of the rows"})
    norms.set(title="Norms", ylabel="norm (units of the weights)", ylim=(0, None))
    named = {f"{kind}_{which}": f"{kind.capitalize()}, {words}" for kind in ("spearman", "pearson")
             for which, words in (("seen", "seen tokens, log count"), ("all", "all, log(count + 1)"))}  # fmt: skip
    _lines(correlation, updates, numbers, named)
    correlation.axhline(0, color="black", linewidth=0.6)
    correlation.set(title="Token count and mean cosine", ylabel="correlation", ylim=(-1.03, 1.03))
    of_rank = {"effective_rank": "effective rank, raw", "effective_rank_centred": "effective rank, centred",
               "participation_ratio": "participation ratio, raw",
               "participation_ratio_centred": "participation ratio, centred"}  # fmt: skip
    _lines(rank, updates, numbers, of_rank)
    rank.set(title="Dimensions in use", ylabel="dimensions", ylim=(0, None))
    of_distance = {"drift": "from the first snapshot (mean)", "moved": "since the snapshot before (root mean square)"}
    _lines(distance, updates, numbers, of_distance)
    distance.set(title="Distance that a row has gone", ylabel="distance (units of the weights)", ylim=(0, None))
    for axis in axes.flat:
        update_axis(axis, updates)
        if axis is not common:
            axis.legend(loc="best", fontsize=7, frameon=True, framealpha=0.8, edgecolor="none")
    handles, labels = common.get_legend_handles_labels()
    cosine.get_legend().remove()
    drawn.legend(handles, labels, loc="outside lower center", ncols=4, title="frequency group (both panels of cosines)")
    drawn.suptitle(signature, x=0.01, ha="left", fontsize=8)
    return save(drawn, out, "snapshots")


def _by_group(axis: Axes, updates: NDArray[np.int64], numbers: Numbers, name: str, groups: Sequence[Group]) -> None:
    for group, colour in zip(groups, group_colours(groups), strict=True):
        if group.rows:
            style = "-" if group.counted else "--"
            axis.plot(updates, numbers[f"{name}_group"][:, group.index], style, color=colour, marker=".", markersize=4,
                      label=group_label(group))  # fmt: skip
    axis.plot(updates, numbers[name], color="black", marker=".", markersize=4, label="all counted rows")
    axis.axhline(0, color="black", linewidth=0.6)


def _lines(axis: Axes, updates: NDArray[np.int64], numbers: Numbers, named: dict[str, str]) -> None:
    styles = zip(named.items(), OKABE_ITO, ("-", "--", ":", "-."), strict=False)
    for (name, label), colour, style in styles:
        axis.plot(updates, numbers[name], style, color=colour, marker=".", markersize=4, label=label)
