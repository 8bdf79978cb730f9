"""The figures of the categories' tests (C7): every category against its random sets, over updates, and the pairs of opposites.

In all of them grey bands hold the middle 95 % of the random sets or pairs, and coloured lines the 95 % interval over tokens or pairs.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from captions import Caption
from category_claims import CATEGORIES, DIFFERENCE
from category_tables import (
    by_difference,
    forms_words,
    interval_words,
    last_opposites,
    number,
    ordered,
    p_words,
    pair_words,
    plain_text,
    smallest,
)
from category_tests import RATIO, SIGNIFICANT
from claims import Estimate
from plots import OKABE_ITO, band, plt, save, update_axis

if TYPE_CHECKING:
    from category_result import ClusteringResult
    from category_tests import CategoryTest
    from opposites import OppositesTest

WIDTH = 9.2  # inches; as wide as the report's page at its own size of text
CLAIMED = tuple(name for names in CATEGORIES.values() for name in names)  # colours, pronouns, sizes, months
STYLES = {False: ("#0072B2", "o"), True: ("#B4530A", "s")}  # semantic, grammatical
BAND, MIDDLE, OTHERS, GUIDE = "#c9ced4", "#4b535c", "#a9b0b8", "#555555"
LETTERS = 16.5  # of the note's size in an inch
SHOWN = 15  # pairs of opposites named at each end

CAPTIONS: dict[str, Caption] = {
    "categories": Caption(
        "Dot plot with a row for each category: silhouette and purity of its tokens with intervals, beside a band of random sets of equally "
        "frequent tokens.",
        "Each category's tokens among tokens of the same form and frequency, in the full space. Silhouette: how much nearer a token is to its "
        "own category than to the rest. Purity: share of its nearest tokens that are of the category. Rows are in order of purity over "
        "chance. What lies in the grey band is what random sets of as many tokens give; filled marks are clustered. Compare a mark with its own "
        "band and not with other rows: bands depend on how many tokens a category has, and how frequent.",
    ),
    "categories_over_updates": Caption(
        "Line plots over updates of the silhouette, and of purity over chance, of colours, pronouns, sizes and months; the other categories are "
        "thin grey lines.",
        "When categories form. A category forms at the first update from which on both p-values (not corrected) stay below 0.01 and its purity "
        "at least twice chance. Earlier snapshots are tested with fewer random sets than the last.",
    ),
    "opposites": Caption(
        "Dumbbell plot of pairs of opposites: the cosine of each pair beside the mean cosine of equally frequent pairs; a histogram of all "
        "differences, and their mean against random pairs.",
        "Left: the pairs whose cosine lies furthest above and furthest below that of matched pairs. Right: all pairs, and their mean. Other "
        "partners is the stricter control: the same words, each with another pair's second word. That opposites are close does not say that "
        "they are closer than other words of one kind, such as two colours.",
    ),
}


def figures(result: ClusteringResult, out: Path) -> list[Path]:
    """Every figure for which there is something to draw; PNG and PDF."""
    parts = (_categories, _over_updates, _opposites)
    with matplotlib.rc_context({"text.parse_math": False}):  # `$` in a text is a `$`
        return [path for draw in parts for path in draw(result, out)]


def _categories(result: ClusteringResult, out: Path) -> list[Path]:
    last = result.snapshots[-1] if result.snapshots else None
    if last is None or not last.categories:
        return []
    rows: list[CategoryTest | str] = []
    for grammatical, words in ((False, "Semantic"), (True, "Grammatical")):
        found = [entry for entry in ordered(last.categories) if entry.grammatical == grammatical]
        rows += [f"{words} ({len(found)})", *found] if found else []
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 0.215 * len(rows) + 2.1), sharey=True)
    beside: dict[str, Any] = {"transform": axes[1].get_yaxis_transform(), "ha": "right", "fontsize": 8.5}
    for axis in axes:
        axis.use_sticky_edges = False  # else a band ends at the frame
    for height, entry in enumerate(rows):
        if not isinstance(entry, str):
            _row(axes[0], height, entry, entry.silhouette, entry.silhouette_null)
            _row(axes[1], height, entry, entry.purity, entry.purity_null)
            ratio = number(entry.ratio.value, digits=1 if entry.ratio.value < 99.95 else 0)
            axes[1].text(1.13, height, ratio, va="center", **beside)
    names = [entry if isinstance(entry, str) else f"{plain_text(entry.name)} ({len(entry.rows)})" for entry in rows]
    axes[0].set_yticks(range(len(rows)), names, fontsize=9)
    for label, entry in zip(axes[0].get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if isinstance(entry, str) else "normal")
    axes[0].set_ylim(len(rows) - 0.4, -0.6)
    axes[0].axvline(0, color="black", linewidth=0.6)
    axes[0].set_title("Silhouette")
    axes[1].set_title("Purity of the nearest tokens")
    axes[1].text(1.13, 0.45, "purity /\nchance", va="bottom", **beside)
    for axis in axes:
        axis.tick_params(axis="y", length=0)
        axis.xaxis.set_major_locator(MaxNLocator(6, steps=(1, 2, 5, 10)))
        axis.tick_params(axis="x", top=True, labeltop=True)
        axis.grid(True, axis="y", alpha=0.35)
    _title(
        figure,
        f"Tokens of {_count(len(last.categories), 'category', 'categories')} at update {last.update:,}",
        f"against {last.permutations:,} random sets of as many tokens each (number of tokens in brackets)",
    )
    colour, marker = STYLES[False]
    marks = [
        (_dot(colour, marker), f"clustered: both p < {SIGNIFICANT:g} (Holm), purity ≥ {RATIO:g} × chance"),
        (_dot(colour, marker, face="white"), "not clustered"),
        (Line2D([], [], color=colour, linewidth=1.3), _interval_words(entry.silhouette for entry in last.categories)),
        (Patch(color=BAND, linewidth=0), "middle 95 % of the random sets"),
        (_dot(MIDDLE, "|", size=9), "mean of the random sets"),
    ]
    _below(figure, marks, result)
    return save(figure, out, "categories")


def _row(axis: Axes, height: int, entry: CategoryTest, found: Estimate, null: tuple[float, float, float]) -> None:
    """The band of the random sets with their mean, the interval and the value."""
    colour, marker = STYLES[entry.grammatical]
    low, middle, high = null
    axis.barh(height, high - low, left=low, height=0.62, color=BAND, linewidth=0, zorder=1)
    axis.plot([middle] * 2, [height - 0.31, height + 0.31], color=MIDDLE, linewidth=1.2, zorder=2)
    if found.interval is not None:
        axis.plot(found.interval, [height] * 2, color=colour, linewidth=1.3, zorder=3)
    face = colour if entry.clustered else "white"
    axis.plot(found.value, height, marker, color=colour, markerfacecolor=face, markersize=5, zorder=4)


def _over_updates(result: ClusteringResult, out: Path) -> list[Path]:
    if len(result.snapshots) < 2 or not result.snapshots[-1].categories:
        return []
    last = {entry.name: entry for entry in ordered(result.snapshots[-1].categories)}
    chosen = [name for name in CLAIMED if name in last] or list(last)[: len(CLAIMED)]
    columns = len(chosen)
    figure, axes = plt.subplots(
        2, columns, figsize=(WIDTH if columns > 2 else 6.4, 6.2), sharex=True, sharey="row", squeeze=False
    )
    for place, name in enumerate(chosen):
        for axis, measure in zip(axes[:, place], ("silhouette", "ratio"), strict=True):
            for other in last:
                if other != name:
                    found = _series(result, other, measure)
                    axis.plot(found.updates, found.values, color=OTHERS, linewidth=0.5, alpha=0.6, zorder=1.5)
            _line(axis, _series(result, name, measure), OKABE_ITO[CLAIMED.index(name) if name in CLAIMED else place])
            if name in result.forms_at:
                axis.axvline(result.forms_at[name], color="black", linewidth=1, linestyle="--", zorder=2)
        formed = (
            f"forms at update {forms_words(result, name)}" if name in result.forms_at else "not clustered at the end"
        )
        axes[0, place].set_title(f"{plain_text(name)}\n{formed}", fontsize=10)
        _update_ticks(axes[1, place], [snapshot.update for snapshot in result.snapshots])
    axes[0, 0].set_ylabel("silhouette")
    axes[1, 0].set_ylabel("purity / chance")
    for axis in axes[0]:
        axis.axhline(0, color="black", linewidth=0.6)
    for axis in axes[1]:
        axis.axhline(RATIO, color=GUIDE, linewidth=1, linestyle=":")
        axis.set_yscale("symlog", base=2, linthresh=1, linscale=0.7)
        axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_ylim(bottom=0)
    counts = sorted({snapshot.permutations for snapshot in result.snapshots})
    _title(
        figure,
        f"When categories form, up to update {result.snapshots[-1].update:,}",
        f"against {' or '.join(f'{count:,}' for count in counts)} random sets each",
    )
    tests = [entry for snapshot in result.snapshots for entry in snapshot.categories if entry.name in chosen]
    marks = [
        (Line2D([], [], color=OKABE_ITO[0], marker="o", markersize=3.5), "the category"),
        (_dot(OKABE_ITO[0], "|", size=9), _interval_words(entry.silhouette for entry in tests)),
        (Patch(color=BAND, alpha=0.75, linewidth=0), "middle 95 % of its random sets"),
        (Line2D([], [], color=OTHERS, linewidth=0.8), "the other categories" if len(last) > 1 else ""),
        (Line2D([], [], color=GUIDE, linewidth=1, linestyle=":"), f"{RATIO:g} times chance"),
        (
            Line2D([], [], color="black", linewidth=1, linestyle="--"),
            "the category forms" if set(chosen) & set(result.forms_at) else "",
        ),
    ]
    _below(figure, marks, result)
    return save(figure, out, "categories_over_updates")


@dataclass(frozen=True)
class _Series:
    """One measure of one category over the snapshots that have it: float64 (snapshots,) each, NaN where not had."""

    updates: NDArray[np.int64]
    values: NDArray[np.float64]
    interval: NDArray[np.float64]  # (snapshots, 2)
    null: NDArray[np.float64]  # (snapshots, 2)


def _series(result: ClusteringResult, name: str, measure: str) -> _Series:
    """`measure`: `silhouette` or `ratio`, whose random sets are those of the purity over chance."""
    found = [(shot.update, entry) for shot in result.snapshots for entry in shot.categories if entry.name == name]
    estimates: list[Estimate] = [getattr(entry, measure) for _, entry in found]
    bands = [
        entry.silhouette_null
        if measure == "silhouette"
        else [end / (entry.chance or math.nan) for end in entry.purity_null]
        for _, entry in found
    ]
    return _Series(
        np.array([update for update, _ in found], np.int64),
        np.array([entry.value for entry in estimates], np.float64),
        np.array([entry.interval or (math.nan, math.nan) for entry in estimates], np.float64).reshape(-1, 2),
        np.array([(low, high) for low, _, high in bands], np.float64).reshape(-1, 2),
    )


def _line(axis: Axes, found: _Series, colour: str) -> None:
    """One category: the band of its random sets, its intervals, its values."""
    band(axis, found.updates, *found.null.T, BAND, alpha=0.75)
    known = np.isfinite(found.interval).all(axis=1)
    axis.vlines(found.updates[known], *found.interval[known].T, color=colour, linewidth=1.1, zorder=2.5)
    axis.plot(found.updates, found.values, color=colour, marker="o", markersize=3, linewidth=1.5, zorder=3)


def _update_ticks(axis: Axes, updates: list[int]) -> None:
    """The update axis with at most five ticks, for narrow panels."""
    update_axis(axis, updates)
    if axis.get_xscale() == "linear":
        axis.xaxis.set_major_locator(MaxNLocator(3, integer=True, steps=(1, 2, 5, 10)))
        return
    top = int(np.log2(max(updates)))
    axis.set_xticks([0, *(2**power for power in range(0, top + 1, max(1, -(-(top + 1) // 3))))])


def _opposites(result: ClusteringResult, out: Path) -> list[Path]:
    found = last_opposites(result)
    if found is None:
        return []
    order = by_difference(found)
    parts = [order] if len(order) <= 2 * SHOWN else [order[:SHOWN], order[-SHOWN:]]
    rows = sum(map(len, parts)) + len(parts) - 1
    figure = plt.figure(figsize=(WIDTH, max(0.215 * rows + 2.2, 5.6)))
    grid = figure.add_gridspec(2, 2, width_ratios=(1.25, 1), height_ratios=(1.35, 1))
    left, upper, lower = (figure.add_subplot(place) for place in (grid[:, 0], grid[0, 1], grid[1, 1]))
    _dumbbells(left, result, found, parts)
    differences = np.subtract(found.cosines, found.matched)
    known = differences[np.isfinite(differences)]
    upper.hist(known, bins=min(24, max(5, len(known) // 3)), color="#7fb2d6", edgecolor="white", linewidth=0.5)
    upper.axvline(0, color="black", linewidth=0.8)
    upper.set_title(f"All {len(order)} pairs")
    upper.set_ylabel("pairs")
    upper.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    upper.set_xlabel("cosine minus matched pairs' mean")
    _means(lower, result, found)
    last = result.snapshots[-1]
    _title(
        figure,
        f"Opposites at update {last.update:,}: {_count(len(order), 'pair', 'pairs')}",
        f"against matched pairs, {last.permutations:,} sets of random pairs, and the same words with other partners",
    )
    colour = STYLES[False][0]
    marks = [
        (_dot(colour, "o"), "cosine of a pair; on the right: mean"),
        (_dot(STYLES[True][0], "o"), "the same, below its matched pairs" if (known < 0).any() else ""),
        (_dot(MIDDLE, "|", size=9), "mean of matched pairs, of random pairs"),
        (Line2D([], [], color=colour, linewidth=1.6), _interval_words([found.difference, found.repaired])),
        (Patch(color=BAND, linewidth=0), "middle 95 % of random pairs"),
        (Line2D([], [], color=GUIDE, linewidth=1, linestyle=":"), f"C7.2 asks for {DIFFERENCE:+g}"),
    ]
    _below(figure, marks, result)
    return save(figure, out, "opposites")


def _dumbbells(axis: Axes, result: ClusteringResult, found: OppositesTest, parts: list[list[int]]) -> None:
    """A row for each pair, the parts divided by an empty row; the places in `parts` are those in `found`."""
    labels: dict[int, str] = {}
    height = 0
    for part in parts:
        for place in part:
            cosine, matched = found.cosines[place], found.matched[place]
            colour = STYLES[cosine < matched][0]
            axis.plot([matched, cosine], [height] * 2, color=colour, linewidth=1.3, alpha=0.6, zorder=2)
            axis.plot(matched, height, "|", color=MIDDLE, markersize=9, markeredgewidth=1.4, zorder=3)
            axis.plot(cosine, height, "o", color=colour, markersize=5, zorder=4)
            labels[height] = pair_words(result, found.pairs[place])
            height += 1
        labels[height] = f"… {len(found.pairs) - sum(map(len, parts))} more …"
        height += 1
    del labels[height - 1]
    axis.set_yticks(list(labels), list(labels.values()), fontsize=9)
    axis.tick_params(axis="y", length=0)
    axis.set_ylim(height - 1.4, -0.6)
    axis.axvline(0, color="black", linewidth=0.6)
    axis.set_xlabel("cosine")
    axis.set_title("Pairs by difference" if len(parts) == 1 else f"The {SHOWN} highest and {SHOWN} lowest differences")


def _means(axis: Axes, result: ClusteringResult, found: OppositesTest) -> None:
    """The mean difference against both controls, with intervals; of the matched pairs also the random pairs' band."""
    floor = smallest(result.snapshots[-1].permutations)
    low, middle, high = found.null
    axis.barh(0, high - low, left=low, height=0.5, color=BAND, linewidth=0, zorder=1)
    axis.plot([middle] * 2, [-0.25, 0.25], color=MIDDLE, linewidth=1.2, zorder=2)
    for height, (entry, p) in enumerate(((found.difference, found.p), (found.repaired, found.p_repaired))):
        colour, marker = STYLES[False]
        if entry.interval is not None:
            axis.plot(entry.interval, [height] * 2, color=colour, linewidth=1.6, zorder=3)
        axis.plot(entry.value, height, marker, color=colour, markersize=6, zorder=4)
        words = f"{interval_words(entry, signed=True)}, p = {p_words(p, at_least=p <= floor)}".replace("= ≤", "≤")
        axis.text(
            0.99,
            height - 0.3,
            words.replace("-", "−"),
            transform=axis.get_yaxis_transform(),
            ha="right",
            va="bottom",
            fontsize=8.5,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
    axis.axvline(0, color="black", linewidth=0.8)
    axis.axvline(DIFFERENCE, color=GUIDE, linewidth=1, linestyle=":")
    axis.set_yticks([0, 1], ["matched pairs", "other partners"], fontsize=9)
    axis.set_ylim(1.6, -0.9)
    axis.use_sticky_edges = False
    axis.margins(x=0.1)
    axis.grid(False, axis="y")
    axis.set_title("Mean cosine, minus that of")
    axis.set_xlabel("difference in cosine")


def _title(figure: Figure, title: str, below: str) -> None:
    figure.suptitle(f"{title}\n{below}", x=0.01, ha="left", fontsize=11)


def _below(figure: Figure, marks: Sequence[tuple[Artist, str]], result: ClusteringResult) -> None:
    """The legend, and under it what the random sets are alike in, and the signature, broken at its bars."""
    wide = int(LETTERS * figure.get_figwidth())
    lines = [*textwrap.wrap(plain_text(result.matching, 1000), wide), ""]
    for field in result.signature.split("|"):
        if lines[-1] and len(lines[-1]) + len(field) > wide:
            lines.append("")
        lines[-1] += f"|{field}" if lines[-1] else field
    inch = 1 / figure.get_figheight()
    figure.text(0.01, 0.06 * inch, "\n".join(lines), fontsize=7, color="#57606a", va="bottom", in_layout=False)
    bottom = (0.125 * len(lines) + 0.06) * inch
    handles, labels = zip(*[mark for mark in marks if mark[1]], strict=True)
    for columns in (3, 2, 1):
        legend = figure.legend(handles, labels, loc="lower left", bbox_to_anchor=(0, bottom), ncols=columns)
        legend.set_in_layout(False)
        extent = legend.get_window_extent()
        if columns == 1 or extent.width < figure.bbox.width:
            break
        legend.remove()
    used = bottom + extent.height / figure.bbox.height + 0.05 * inch
    figure.get_layout_engine().set(rect=(0, used, 1, 1 - used))  # what stands below has its own place


def _dot(colour: str, marker: str, *, face: str | None = None, size: float = 5) -> Line2D:
    return Line2D([], [], color=colour, marker=marker, markerfacecolor=face or colour, linestyle="", markersize=size)


def _count(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"


def _interval_words(estimates: Iterable[Estimate]) -> str:
    """What the intervals are over, for the legend; empty where there are none."""
    over = " or ".join(dict.fromkeys(entry.over for entry in estimates if entry.interval is not None))
    return over and f"95 % interval over {over}"
