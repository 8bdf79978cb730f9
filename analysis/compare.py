"""Two dumps side by side: curves over updates, and the geometry of their snapshots at the same update.

    python analysis/compare.py runs/E5/adam/seed1/dump.zarr runs/E5/coupled/seed1/dump.zarr --out DIR

The two must have the same vocabulary; frequency groups are those of the first. Snapshots are compared at the last update
that both hold (or at --update). Differences are second minus first; their intervals are over tokens, the same tokens
drawn for both. One pair of runs says nothing of other seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bootstrap import percentile_interval, pooled, stratified_means
from claims import Estimate
from cli import parser, plain, print_table, run, write_json
from correlation import pearson
from curves import Curve, read_curves
from dump import Dump, Group, Table, run_place, signature
from geometry import RowGeometry, group_means, row_geometry, snapshot_statistics
from plots import OKABE_ITO, group_colours, group_label, new_figure, save, update_axis

CURVES = ("mean_cosine", "common_cosine", "spearman_all")
SINGLE = ("mean_cosine", "common_cosine", "common_norm", "norm_mean", "pearson_seen", "spearman_seen", "pearson_all")


@dataclass(frozen=True)
class Difference:
    """One statistic of both dumps at the compared update; `difference` is None where it is not a mean over tokens."""

    name: str
    first: float
    second: float
    difference: Estimate | None


@dataclass(frozen=True)
class Comparison:
    """Two runs: statistics and row mean cosine by group at `update`, and curves of each by its own groups."""

    signatures: tuple[str, str]
    labels: tuple[str, str]
    update: int
    groups: list[Group]
    second_groups: list[Group]
    statistics: list[Difference]
    mean_cosine_group: list[Difference]
    row_correlation: float
    curves: tuple[dict[str, Curve], dict[str, Curve]]


def compare(first: Dump, second: Dump, table: str | None = None, *, update: int | None = None) -> Comparison:
    """Compare two dumps. Raises DumpError: other vocabularies, no update of which both hold a snapshot."""
    tables = first.table(table), second.table(table)
    check_same_vocabulary(*tables)
    if update is None:
        common = np.intersect1d(tables[0].snapshot_updates, tables[1].snapshot_updates)
        if not len(common):
            raise tables[1].error(f"no update of which both this dump and {first.path} hold a snapshot")
        update = int(common[-1])
    rows: list[RowGeometry] = []
    numbers = []
    for entry in tables:
        values = entry.snapshot(update)
        rows.append(row_geometry(values, entry))
        numbers.append(snapshot_statistics(values, entry))
    groups = tables[0].groups
    per_row = {
        "mean_cosine": rows[1].mean_cosine - rows[0].mean_cosine,
        "common_cosine": rows[1].common_cosine - rows[0].common_cosine,
        "norm_mean": rows[1].norms - rows[0].norms,
    }
    both = rows[0].pool & rows[1].pool
    totals = {name: _over_tokens(numbers_of_rows, tables[0], both) for name, numbers_of_rows in per_row.items()}
    means = [group_means(entry.mean_cosine, tables[0].group, entry.live, len(groups)) for entry in rows]
    by_group = _by_group(per_row["mean_cosine"], tables[0], both)
    return Comparison(
        signatures=(signature(first, tables[0], update), signature(second, tables[1], update)),
        labels=_labels(first, second),
        update=update,
        groups=groups,
        second_groups=tables[1].groups,
        statistics=[
            Difference(name, numbers[0][name], numbers[1][name], totals.get(name)) for name in (*SINGLE, "spearman_all")
        ],
        mean_cosine_group=[
            Difference(group.name, float(means[0][group.index]), float(means[1][group.index]), by_group[group.index])
            for group in groups
            if group.rows
        ],
        row_correlation=pearson(rows[0].mean_cosine[both], rows[1].mean_cosine[both]),
        curves=tuple(read_curves(entry, [*CURVES, "mean_cosine_group"]) for entry in tables),  # type: ignore[arg-type]
    )


def check_same_vocabulary(first: Table, second: Table) -> None:
    """Raise DumpError unless row k is the same token in both tables."""
    if first.rows != second.rows:
        raise second.error(
            f"{second.rows} rows, but {first.rows} in {first.dump.path}: dumps of different dictionaries cannot be compared"
        )
    different = [row for row, (a, b) in enumerate(zip(first.texts, second.texts, strict=True)) if a != b]
    if different:
        row = different[0]
        raise second.error(
            f"another dictionary than {first.dump.path}: {len(different)} rows differ, the first is row {row} "
            f"({second.texts[row]!r}, there {first.texts[row]!r}); dumps of different dictionaries cannot be compared"
        )


def figures(result: Comparison, out: Path) -> list[Path]:
    """Curves of both runs, and the mean cosine by group over updates (first solid, second dashed)."""
    names = {
        "mean_cosine": "mean cosine",
        "common_cosine": "cosine to the common vector",
        "spearman_all": "Spearman, all",
    }
    figure, axes = new_figure(columns=3, width=4.4, height=3.6)
    for axis, (name, label) in zip(axes.flat, names.items(), strict=True):
        for curves, run_label, colour, style in zip(result.curves, result.labels, OKABE_ITO, ("-", "--"), strict=False):
            curve = curves[name]
            axis.plot(curve.updates, curve.values, color=colour, linestyle=style, label=run_label)
        axis.axhline(0, color="black", linewidth=0.6)
        axis.set_title(label)
        update_axis(axis, result.curves[0][name].updates)
    axes[0, 0].legend(loc="best")
    written = save(figure, out, "compare_curves")
    figure, axes = new_figure(width=7.4, height=4.4)
    axis, colours = axes[0, 0], group_colours(result.groups)
    for curves, groups, style in zip(result.curves, (result.groups, result.second_groups), ("-", "--"), strict=True):
        place = {group.name: group.index for group in groups}
        for group in result.groups:
            if group.rows and group.name in place:
                curve = curves["mean_cosine_group"].group(place[group.name])
                label = group_label(group) if style == "-" else None
                axis.plot(curve.updates, curve.values, color=colours[group.index], linestyle=style, label=label)
    axis.axhline(0, color="black", linewidth=0.6)
    axis.set_ylabel("mean cosine to all other counted rows")
    figure.suptitle(
        f"Mean cosine by frequency group\nsolid: {result.labels[0]}; dashed: {result.labels[1]}",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    update_axis(axis, result.curves[0]["mean_cosine_group"].updates)
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title="token count")
    return written + save(figure, out, "compare_groups")


def summary(result: Comparison) -> list[list[str | float]]:
    """The printed table: both values, and the difference with its interval where it is a mean over tokens."""
    lines: list[list[str | float]] = [[f"update {result.update}", *result.labels, "difference", "low", "high"]]
    for prefix, entries in (("", result.statistics), ("mean_cosine ", result.mean_cosine_group)):
        for entry in entries:
            value = entry.second - entry.first
            interval = entry.difference.interval if entry.difference else None
            lines.append([prefix + entry.name, entry.first, entry.second, value, *(interval or ("", ""))])
    return [*lines, ["row mean cosines, Pearson", result.row_correlation, "", "", "", ""]]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    options = parser(__doc__ or "", dumps=2)
    options.add_argument(
        "--update", type=int, metavar="U", help="compare these snapshots (default: the last in common)"
    )
    chosen = options.parse_args(arguments)
    result = compare(*(Dump.open(path) for path in chosen.dumps), chosen.table, update=chosen.update)
    written = [*figures(result, chosen.out), write_json(chosen.out, "compare", plain(result))]
    for text in result.signatures:
        print(text)
    print_table(summary(result))
    print("wrote " + ", ".join(str(path) for path in written))
    return 0


def _over_tokens(per_row: NDArray[np.float64], table: Table, both: NDArray[np.bool_]) -> Estimate:
    stratum = np.where(both, table.group, -1)
    sizes = np.bincount(stratum[both], minlength=len(table.groups))
    samples = stratified_means(per_row, stratum, len(table.groups))
    samples[:, sizes == 1] = group_means(per_row, table.group, both, len(table.groups))[sizes == 1]
    return Estimate(float(per_row[both].mean()), percentile_interval(pooled(samples, sizes)))


def _by_group(per_row: NDArray[np.float64], table: Table, both: NDArray[np.bool_]) -> list[Estimate]:
    samples = stratified_means(per_row, np.where(np.isfinite(per_row), table.group, -1), len(table.groups))
    means = group_means(per_row, table.group, np.isfinite(per_row), len(table.groups))
    return [Estimate(float(mean), percentile_interval(samples[:, index])) for index, mean in enumerate(means)]


def _labels(first: Dump, second: Dump) -> tuple[str, str]:
    """The shortest names that tell two runs apart: arm and seed, else the folders."""
    places = [run_place(dump) for dump in (first, second)]
    names = [f"{place['arm']} seed {place['seed']}" if {"arm", "seed"} <= place.keys() else "" for place in places]
    if all(names) and names[0] == names[1]:
        names = [f"{place['experiment']} {name}" for place, name in zip(places, names, strict=True)]
    if not all(names) or names[0] == names[1]:
        names = [str(first.path), str(second.path)]
    return names[0], names[1]


if __name__ == "__main__":
    run(main)
