"""The figures of E4's tables: mean cosine against count in each table, and how alike the tables are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from claims import combine_seeds
from correlation import binned_curve
from plots import OKABE_ITO, band, log_count_axis, new_figure, save
from sharing_geometry import GROUPS
from table_alignment import MEASURES

if TYPE_CHECKING:
    from sharing_result import SharingResult

TABLE_COLOURS = {
    "encoder": OKABE_ITO[0],
    "decoder input": OKABE_ITO[1],
    "decoder output": OKABE_ITO[2],
    "decoder input = output": OKABE_ITO[3],
    "all three": OKABE_ITO[5],
}
TABLE_MARKERS = dict(zip(TABLE_COLOURS, "os^Dv", strict=True))
GROUP_COLOURS = dict(zip(GROUPS, ("#000000", OKABE_ITO[0], OKABE_ITO[1], OKABE_ITO[2]), strict=True))
GROUP_MARKERS = dict(zip(GROUPS, "osD^", strict=True))
UNRELATED = "rows in random order"
TITLES = {
    "cka": "linear CKA\n1: same geometry, 0: unrelated",
    "procrustes": "orthogonal Procrustes residual\n0: same up to rotation",
    "neighbours": "shared nearest neighbours\nof 10, as a share",
}


def figures(result: SharingResult, out: Path) -> list[Path]:
    """Both figures where there are dumps of translation."""
    return [] if result.geometry is None else [*_frequency(result, out), *_alignment(result, out)]


def _frequency(result: SharingResult, out: Path) -> list[Path]:
    found = result.geometry
    assert found is not None
    arms = list(dict.fromkeys(arm for arm, _ in found.places))
    figure, axes = new_figure(columns=len(arms), width=4.1, height=3.9)
    largest = max(int(entry.counts.max(initial=1)) for entry in found.tables)
    shown = [binned_curve(entry.counts, entry.row_cosine).quantiles[:, 1:4] for entry in found.tables]
    low, high = min(0.0, *(float(np.nanmin(values)) for values in shown)), max(0.0, *(map(np.nanmax, shown)))
    for axis, arm in zip(axes.flat, arms, strict=True):
        for place, label in [entry for entry in found.places if entry[0] == arm]:
            entries = found.of(place, label)
            colour, marker = TABLE_COLOURS.get(label, "#000000"), TABLE_MARKERS.get(label, "x")
            spearman = combine_seeds([entry.correlations["spearman_seen"] for entry in entries]).value
            for number, entry in enumerate(entries):
                curve = binned_curve(entry.counts, entry.row_cosine)
                axis.plot(
                    curve.count,
                    curve.quantiles[:, 2],
                    color=colour,
                    marker=marker,
                    markersize=3.5,
                    linewidth=1.2,
                    alpha=1 if number == 0 else 0.5,
                    label=f"{label} ({spearman:+.2f})".replace("-", "−") if number == 0 else None,
                )
                if number == 0:
                    band(axis, curve.count, curve.quantiles[:, 1], curve.quantiles[:, 3], colour, alpha=0.15)
                zero = entry.row_cosine[entry.counts == 0]
                if len(zero):
                    axis.plot(0, np.median(zero), color=colour, marker=marker, markersize=6, markeredgecolor="white")
        log_count_axis(axis, largest)
        axis.set_xlabel("token count on the table's sides")
        axis.axhline(0, color="black", linewidth=0.6)
        axis.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
        axis.set_title(f"arm {arm}")
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), title="table (Spearman, seen tokens)")
    axes[0, 0].set_ylabel("mean cosine to all others")
    figure.suptitle(
        f"Token count against mean cosine in each table, update {found.update:,}: medians of bins, bands: middle half of the tokens; at 0: count 0",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    return save(figure, out, "sharing_frequency")


def _alignment(result: SharingResult, out: Path) -> list[Path]:
    found = result.geometry
    assert found is not None
    titles = list(dict.fromkeys(pair.title for pair in found.pairs))
    if not titles:
        return []
    figure, axes = new_figure(columns=len(MEASURES), width=3.7, height=0.62 * len(titles) + 1.9)
    for axis, measure in zip(axes.flat, MEASURES, strict=True):
        named: set[str] = set()
        for pair in found.pairs:
            row = len(titles) - 1 - titles.index(pair.title)
            height = row + 0.27 - 0.18 * list(GROUPS).index(pair.group)
            colour, estimate = GROUP_COLOURS[pair.group], pair.combined[measure]
            if estimate.interval is not None:
                axis.plot(estimate.interval, [height] * 2, color=colour, linewidth=1.5)
            axis.plot(
                estimate.value,
                height,
                color=colour,
                marker=GROUP_MARKERS[pair.group],
                markersize=4.5,
                linestyle="",
                label=None if pair.group in named else GROUPS[pair.group],
            )
            axis.plot(
                pair.at_first[measure],
                height,
                color="#444444",
                marker="|",
                markersize=7,
                linestyle="",
                label=None if named else f"at update {found.first:,}",
            )
            axis.plot(
                pair.null[measure],
                height,
                color="#777777",
                marker="x",
                markersize=4.5,
                linestyle="",
                label=None if named else UNRELATED,
            )
            named.add(pair.group)
        for row in range(len(titles) - 1):
            axis.axhline(row + 0.5, color="#dddddd", linewidth=0.6)
        axis.set_title(TITLES[measure])
        axis.set_yticks(range(len(titles)), list(reversed(titles)) if measure == MEASURES[0] else [""] * len(titles))
        axis.set_ylim(-0.6, len(titles) - 0.4)
        axis.set_xlim(min(-0.02, axis.get_xlim()[0]), 1.04)
        axis.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
        axis.grid(False, axis="y")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    later = (f"at update {found.first:,}", UNRELATED)
    order = sorted(range(len(labels)), key=lambda place: labels[place] in later)
    handles, labels = [handles[place] for place in order], [labels[place] for place in order]
    figure.legend(handles, labels, loc="outside lower center", ncols=6, title="tokens")
    over = " or ".join(dict.fromkeys(pair.combined["cka"].over for pair in found.pairs))
    figure.suptitle(
        f"How alike the tables are, update {found.update:,} (95 % intervals over {over})",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    return save(figure, out, "sharing_alignment")
