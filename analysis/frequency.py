"""A token's count in the training data against its mean cosine to the other tokens (claims C2.1, C2.2, C2.3).

    python analysis/frequency.py runs/E1/base/seed1/dump.zarr --out DIR

Several dumps are taken as seeds of one arm. The numbers are those of the last snapshot (or of --update). Each correlation
is given twice: seen tokens against log count, and all counted rows against log(count + 1). All intervals are over tokens:
pairs of count and cosine are drawn anew (correlations), or rows within their frequency groups (zero-count against seen).
Pearson weakens late in training although the order stays, because the cosines of rare rows saturate; read it with
Spearman and the curve.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bootstrap import percentile_interval, pooled, stratified_means
from claims import STATEMENTS, Claim, Estimate, Rule, decide_claim, without_value
from cli import NOT_IN_JSON, question, run
from correlation import BinnedCurve, binned_curve, correlation_estimates
from curves import Curve, over_seeds, read_curves, zero_group
from dump import Dump, Group, Table, signature
from geometry import RowGeometry, group_means, row_geometry
from plots import OKABE_ITO, ZERO_COLOUR, band, log_count_axis, new_figure, save, update_axis

CORRELATIONS = ("pearson_seen", "spearman_seen", "pearson_all", "spearman_all")
CLAIMS = ("C2.1", "C2.2", "C2.3")
OPTIONS = {"update": "analyse this snapshot (default: the last)"}


@dataclass(frozen=True)
class FrequencyResult:
    """One run at one snapshot: correlations by name, the binned curve, the zero-count group, and curves over updates.

    `counts` and `mean_cosine` are those of the `pool` (counted rows of non-zero norm), for the scatter plot.
    """

    signature: str
    update: int
    groups: list[Group]
    correlations: dict[str, Estimate]
    zero_minus_seen: Estimate
    zero_quantiles: NDArray[np.float64]
    curve: BinnedCurve
    over_updates: dict[str, Curve]
    counts: NDArray[np.int64] = field(metadata=NOT_IN_JSON)
    mean_cosine: NDArray[np.float64] = field(metadata=NOT_IN_JSON)


def analyse(dump: Dump, table: str | None = None, *, update: int | None = None, seed: int = 0) -> FrequencyResult:
    """Measure one run at `update` (default: the last snapshot). Raises DumpError, GeometryError."""
    entry = dump.table(table)
    if update is None:
        if not len(entry.snapshot_updates):
            raise entry.error("the dump holds no snapshots, which frequency needs; record with snapshots")
        update = int(entry.snapshot_updates[-1])
    rows = row_geometry(entry.snapshot(update), entry)
    counts, cosine = entry.counts[rows.pool], rows.mean_cosine[rows.pool]
    seen = counts > 0
    pearson_seen, spearman_seen = correlation_estimates(cosine[seen], np.log(counts[seen]), seed=seed)
    pearson_all, spearman_all = correlation_estimates(cosine, np.log(counts + 1), seed=seed)
    zero = cosine[~seen]
    return FrequencyResult(
        signature=signature(dump, entry, update),
        update=update,
        groups=entry.groups,
        correlations=dict(zip(CORRELATIONS, (pearson_seen, spearman_seen, pearson_all, spearman_all), strict=True)),
        zero_minus_seen=_zero_minus_seen(entry, rows, seed),
        zero_quantiles=np.quantile(zero, [0.05, 0.25, 0.5, 0.75, 0.95]) if len(zero) else np.full(5, np.nan),
        curve=binned_curve(counts, cosine),
        over_updates=read_curves(entry, CORRELATIONS),
        counts=counts,
        mean_cosine=cosine,
    )


def claims(results: Sequence[FrequencyResult]) -> list[Claim]:
    """C2.1, C2.2 and C2.3 of the seeds of one arm."""
    if not results:
        return [without_value(claim_id, "not run", "no run was found") for claim_id in CLAIMS]
    signatures = [result.signature for result in results]
    shortest = min((result.update for result in results), default=0)

    def parts(kind: str, rule: Rule) -> list[tuple[str, Rule, list[Estimate]]]:
        words = {"seen": "seen tokens, log count", "all": "all counted rows, log(count + 1)"}
        return [
            (f"{kind.capitalize()}, {words[which]}", rule, [r.correlations[f"{kind}_{which}"] for r in results])
            for which in ("seen", "all")
        ]

    pearson = float(np.mean([result.correlations["pearson_seen"].value for result in results]))
    return [
        decide_claim("C2.1", parts("pearson", Rule(high=-0.1)), signatures, note=_strength(pearson), updates=shortest),
        decide_claim("C2.2", parts("spearman", Rule(high=-0.5)), signatures, updates=shortest),
        decide_claim(
            "C2.3",
            [("mean cosine, zero-count minus seen rows", Rule(low=0.05), [r.zero_minus_seen for r in results])],
            signatures,
            note="" if zero_group(results[0].groups) else "the vocabulary has no zero-count token",
            updates=shortest,
        ),
    ]


def figures(results: Sequence[FrequencyResult], out: Path) -> list[Path]:
    """Mean cosine against token count (of the first seed), and the correlations over updates (of all)."""
    return [*_figure_cosine(results[0], out), *_figure_correlation(results, out)]


def summary(result: FrequencyResult) -> list[list[str | float]]:
    """The printed table: each correlation and the zero-count difference with its interval."""
    named = {**result.correlations, "zero_minus_seen": result.zero_minus_seen}
    lines: list[list[str | float]] = [[f"update {result.update}", "value", "low", "high"]]
    for name, estimate in named.items():
        low, high = estimate.interval or (math.nan, math.nan)
        lines.append([name, estimate.value, low, high])
    return lines


def _zero_minus_seen(table: Table, rows: RowGeometry, seed: int) -> Estimate:
    zero = zero_group(table.groups)
    stratum = np.where(rows.pool, table.group, -1)
    groups = len(table.groups)
    sizes = np.bincount(stratum[stratum >= 0], minlength=groups)
    if zero is None or not sizes[zero.index] or sizes.sum() == sizes[zero.index]:
        return Estimate(math.nan, None)
    means = group_means(rows.mean_cosine, table.group, rows.pool, groups)
    samples = stratified_means(rows.mean_cosine, stratum, groups, seed=seed)
    others = np.where(np.arange(groups) == zero.index, 0, sizes)
    samples[:, sizes == 1] = means[sizes == 1]
    return Estimate(
        float(means[zero.index] - pooled(means, others)),
        percentile_interval(samples[:, zero.index] - pooled(samples, others)) if sizes[zero.index] > 1 else None,
    )


def _strength(value: float) -> str:
    """The study calls its Pearson of -0.20 weak; ours in the same words (Evans 1996: 0.2, 0.4, 0.6, 0.8)."""
    words = ("very weak", "weak", "moderate", "strong", "very strong")
    if not math.isfinite(value):
        return ""
    return f"{words[min(int(abs(value) * 5), 4)]}, where the study calls its {STATEMENTS['C2.1'].figure:+.2f} weak"


def _figure_cosine(result: FrequencyResult, out: Path) -> list[Path]:
    figure, axes = new_figure(width=7.4, height=4.6)
    axis = axes[0, 0]
    seen = result.counts > 0
    rng = np.random.default_rng(0)
    # Equal counts would lie on one line; the shift is a tenth of the distance to the next count.
    shifted = result.counts[seen] * 10 ** rng.uniform(-0.02, 0.02, int(seen.sum()))
    size = 3 if len(shifted) > 5000 else 7
    axis.scatter(shifted, result.mean_cosine[seen], s=size, color="#888888", alpha=0.25, linewidth=0, rasterized=True)
    zero = result.mean_cosine[~seen]
    axis.scatter(
        rng.uniform(-0.14, 0.14, len(zero)), zero, s=size, color=ZERO_COLOUR, alpha=0.25, linewidth=0, rasterized=True
    )
    curve, colour = result.curve, OKABE_ITO[0]
    band(axis, curve.count, curve.quantiles[:, 0], curve.quantiles[:, 4], colour, label="5-95 % of tokens", alpha=0.15)
    band(axis, curve.count, curve.quantiles[:, 1], curve.quantiles[:, 3], colour, label="25-75 %", alpha=0.3)
    axis.plot(curve.count, curve.quantiles[:, 2], color=colour, marker="o", markersize=3, label="median of the bin")
    if len(zero):
        low, _, middle, _, high = result.zero_quantiles
        axis.errorbar(
            [0],
            [middle],
            [[middle - low], [high - middle]],
            color=ZERO_COLOUR,
            marker="o",
            markeredgecolor="white",
            capsize=4,
            label=f"count 0: median, 5-95 % ({len(zero):,} tokens)",
        )
    log_count_axis(axis, int(result.counts.max()))
    axis.axhline(0, color="black", linewidth=0.6)
    axis.set_ylabel("mean cosine to all other counted rows")
    values = {name: estimate.value for name, estimate in result.correlations.items()}
    figure.suptitle(
        f"Token count against mean cosine, update {result.update:,}\n"
        f"seen tokens: Pearson {values['pearson_seen']:+.2f}, Spearman {values['spearman_seen']:+.2f}; "
        f"all: {values['pearson_all']:+.2f}, {values['spearman_all']:+.2f}",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    axis.legend(loc="best")
    return save(figure, out, "frequency_cosine")


def _figure_correlation(results: Sequence[FrequencyResult], out: Path) -> list[Path]:
    figure, axes = new_figure(width=7.4, height=4.4)
    axis = axes[0, 0]
    labels = ("Pearson, seen", "Spearman, seen", "Pearson, all", "Spearman, all")
    colours = (OKABE_ITO[1], OKABE_ITO[0], OKABE_ITO[1], OKABE_ITO[0])
    for name, label, colour in zip(CORRELATIONS, labels, colours, strict=True):
        curves = [result.over_updates[name] for result in results]
        if not all(len(curve.updates) for curve in curves):
            continue
        mean, low, high = over_seeds(curves)
        axis.plot(mean.updates, mean.values, color=colour, linestyle="--" if "all" in name else "-", label=label)
        if len(curves) > 1:
            band(axis, mean.updates, low, high, colour)
    for claim_id, colour, kind in (("C2.1", colours[0], "Pearson"), ("C2.2", colours[1], "Spearman")):
        figure_of_study = STATEMENTS[claim_id].figure
        axis.axhline(figure_of_study, color=colour, linewidth=0.9, linestyle=":", label=f"the study's {kind}")
    axis.axhline(0, color="black", linewidth=0.6)
    axis.set_ylim(-1, max(0.3, axis.get_ylim()[1]))
    axis.set_ylabel("correlation of log count and mean cosine")
    seeds = "one seed" if len(results) == 1 else f"mean of {len(results)} seeds, band: lowest to highest"
    axis.set_title(f"Frequency and cosine over training ({seeds})")
    update_axis(axis, results[0].over_updates["spearman_all"].updates)
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return save(figure, out, "frequency_correlation")


if __name__ == "__main__":
    run(lambda: question(sys.modules[__name__], "frequency"))
