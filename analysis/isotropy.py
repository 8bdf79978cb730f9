"""Isotropy beyond the mean cosine: raw, centred and standardised, over the snapshots of a dump.

    python analysis/isotropy.py runs/E1/base/seed1/dump.zarr --out DIR

The mean cosine alone is no valid measure of isotropy (Rudman et al. 2022), and one to three dimensions can dominate it
(Timkey & van Schijndel 2021). More isotropic is not better by itself: no claim is decided here.
All measures are of the counted rows of non-zero norm; definitions stand at the functions.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from claims import Claim
from cli import question, run
from curves import spread
from dump import Dump, Table, signature
from geometry import row_geometry
from plots import OKABE_ITO, new_figure, save, update_axis

VARIANTS = ("raw", "centred", "standardised")
SNAPSHOTS_READ = 5
BLOCK = 4096
ROGUE = 3  # dimensions left out in the second mean cosine, as many as the paper found to matter
OPTIONS = {"snapshots": f"measure at most N snapshots, the first and last among them (default {SNAPSHOTS_READ})"}


@dataclass(frozen=True)
class Isotropy:
    """The measures of one set of vectors (n, dim). See the functions of this module for each."""

    mean_cosine: float
    mean_cosine_without_rogue: float
    effective_rank: float
    participation_ratio: float
    isoscore: float
    partition: float


@dataclass(frozen=True)
class SnapshotIsotropy:
    """One snapshot: measures by variant, |mean vector| / mean norm, and each dimension's part of the raw mean cosine."""

    update: int
    rows: int
    variants: dict[str, Isotropy]
    mean_vector_ratio: float
    contributions: NDArray[np.float64]


@dataclass(frozen=True)
class IsotropyResult:
    """One run: the measures of some of its snapshots, the first and the last among them."""

    signature: str
    dim: int
    snapshots: list[SnapshotIsotropy]


def analyse(dump: Dump, table: str | None = None, *, snapshots: int = SNAPSHOTS_READ) -> IsotropyResult:
    """Measure at most `snapshots` snapshots of one run. Raises DumpError (also where it has none), GeometryError."""
    entry = dump.table(table)
    updates = spread(entry.snapshot_updates, snapshots)
    if not len(updates):
        raise entry.error("the dump holds no snapshots, which isotropy needs; record with snapshots")
    measured = [snapshot_isotropy(entry, int(update)) for update in updates]
    return IsotropyResult(signature(dump, entry, int(updates[-1])), entry.dim, measured)


def snapshot_isotropy(table: Table, update: int) -> SnapshotIsotropy:
    """All measures of one snapshot."""
    values = table.snapshot(update)
    rows = row_geometry(values, table)
    counted = values[rows.pool]
    contributions = cosine_contributions(counted)
    return SnapshotIsotropy(
        update=update,
        rows=len(counted),
        variants={
            variant: measure(vectors, moment, contributions if variant == "raw" else None)
            for variant, vectors, moment in _variants(counted)
        },
        mean_vector_ratio=float(np.linalg.norm(rows.common) / rows.norms[rows.pool].mean()),
        contributions=contributions,
    )


def measure(
    vectors: NDArray[np.float32],
    moment: NDArray[np.float64] | None = None,
    contributions: NDArray[np.float64] | None = None,
) -> Isotropy:
    """Every measure of one set of vectors (n, dim), n > 1. Its second moment and contributions, where already known."""
    moment = second_moment(vectors) if moment is None else moment
    mean = vectors.mean(axis=0, dtype=np.float64)
    eigenvalues, eigenvectors = np.linalg.eigh(moment)
    eigenvalues = np.clip(eigenvalues, 0, None)
    parts = cosine_contributions(vectors) if contributions is None else contributions
    kept = np.ones(vectors.shape[1], bool)
    kept[np.argsort(-np.abs(parts))[: min(ROGUE, len(parts) - 1)]] = False
    return Isotropy(
        mean_cosine=float(parts.sum()),
        mean_cosine_without_rogue=float(cosine_contributions(vectors[:, kept]).sum()),
        effective_rank=effective_rank(eigenvalues),
        participation_ratio=participation_ratio(eigenvalues),
        isoscore=isoscore(np.linalg.eigvalsh(moment - np.outer(mean, mean))),
        partition=partition_measure(vectors, eigenvectors),
    )


def second_moment(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean of the outer products w w^T (not centred), float64 (dim, dim)."""
    total = np.zeros((vectors.shape[1], vectors.shape[1]))
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : start + BLOCK]
        total += block.T @ block
    return total / len(vectors)


def effective_rank(eigenvalues: NDArray[np.floating]) -> float:
    """exp of the entropy of the normalised singular values (Roy & Vetterli 2007, eq. 3), between 1 and dim.

    `eigenvalues` are those of the second moment: the squared singular values of the matrix, up to a factor.
    """
    singular = np.sqrt(eigenvalues)
    shares = singular[singular > 0] / singular.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def participation_ratio(eigenvalues: NDArray[np.floating]) -> float:
    """(sum of eigenvalues)^2 / sum of their squares, between 1 and dim."""
    return float(eigenvalues.sum() ** 2 / (eigenvalues**2).sum())


def isoscore(variances: NDArray[np.floating]) -> float:
    """IsoScore from the variances along the principal components (Rudman et al. 2022, steps 3 to 8): 0 to 1.

    With the variances scaled to the length sqrt(n), n = dim: defect d = |scaled - 1| / sqrt(2 (n - sqrt n)), share of
    dimensions used (n - d^2 (n - sqrt n))^2 / n^2, rescaled to (n share - 1) / (n - 1). It is 1 where all variances are
    equal and 0 where there is one; the mean plays no part, so raw and centred are the same.
    """
    n = len(variances)
    variances = np.clip(variances, 0, None)
    length = np.linalg.norm(variances)
    if n < 2 or length == 0:
        return math.nan
    scaled = variances / length * math.sqrt(n)
    defect = np.linalg.norm(scaled - 1) / math.sqrt(2 * (n - math.sqrt(n)))
    share = (n - defect**2 * (n - math.sqrt(n))) ** 2 / n**2
    return float((n * share - 1) / (n - 1))


def partition_measure(vectors: NDArray[np.floating], directions: NDArray[np.floating]) -> float:
    """min Z(c) / max Z(c), with Z(c) = sum over w of exp(c . w) (Mu & Viswanath 2018, eq. 5): near 1 where isotropic.

    c runs over the eigenvectors of the second moment (the columns of `directions`), each with both signs, because an
    eigenvector's sign is arbitrary. It depends on the vectors' lengths as well as on their directions.
    """
    columns = directions.astype(vectors.dtype)
    totals = np.full(2 * columns.shape[1], -np.inf)
    for start in range(0, len(vectors), BLOCK):
        dots = vectors[start : start + BLOCK] @ columns
        if np.abs(dots).max() < 80:  # exp and its inverse stay within float32
            exp = np.exp(dots)
            part = np.log(np.concatenate([exp.sum(axis=0, dtype=np.float64), (1 / exp).sum(axis=0, dtype=np.float64)]))
        else:
            part = np.concatenate([logsumexp(dots, axis=0), logsumexp(-dots, axis=0)])
        totals = np.logaddexp(totals, part)
    return float(np.exp(totals.min() - totals.max()))


def cosine_contributions(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Each dimension's part of the mean pairwise cosine, float64 (dim,), summing to it (Timkey & van Schijndel 2021, eq. 3).

    The mean over pairs i != j of u_id u_jd is ((sum_i u_id)^2 - sum_i u_id^2) / (n (n - 1)). Rows of zero norm, which
    leaving out dimensions can make, are left out.
    """
    sums, squares, n = np.zeros(vectors.shape[1]), np.zeros(vectors.shape[1]), 0
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : start + BLOCK].astype(np.float64)
        norms = np.sqrt(np.einsum("ij,ij->i", block, block))
        block /= np.where(norms > 0, norms, 1)[:, None]
        sums += block.sum(axis=0)
        squares += np.einsum("ij,ij->j", block, block)
        n += int((norms > 0).sum())
    return (sums**2 - squares) / (n * (n - 1)) if n > 1 else np.full(vectors.shape[1], np.nan)


def claims(results: Sequence[IsotropyResult]) -> list[Claim]:
    """None: isotropy is reported beside the claims and decides none."""
    return []


def figures(results: Sequence[IsotropyResult], out: Path) -> list[Path]:
    """The measures over updates (first seed solid, further ones pale), and the dimensions' parts of the mean cosine."""
    dim = results[0].dim
    panels = {
        "mean_cosine": ("mean cosine", None),
        "effective_rank": (f"effective rank (of {dim})", dim),
        "participation_ratio": (f"participation ratio (of {dim})", dim),
        "isoscore": ("IsoScore (raw and centred are equal)", 1),
        "partition": ("partition function, min / max", 1),
    }
    figure, axes = new_figure(columns=3, rows=2, width=4.2, height=3.3)
    for axis, (name, (label, top)) in zip(axes.flat, panels.items(), strict=False):
        for variant, colour, style in zip(VARIANTS, OKABE_ITO, ("-", "--", ":"), strict=False):
            for number, result in enumerate(results):
                values = [getattr(snapshot.variants[variant], name) for snapshot in result.snapshots]
                updates = [snapshot.update for snapshot in result.snapshots]
                axis.plot(
                    updates,
                    values,
                    color=colour,
                    linestyle=style,
                    marker="o",
                    markersize=3,
                    alpha=1 if number == 0 else 0.35,
                    label=variant if number == 0 else None,
                )
        axis.set_title(label)
        if top is not None:
            axis.set_ylim(0, top * 1.03)
        update_axis(axis, np.array([snapshot.update for snapshot in results[0].snapshots]), log=False)
    axis = axes.flat[5]
    for number, result in enumerate(results):
        updates = [snapshot.update for snapshot in result.snapshots]
        ratios = [snapshot.mean_vector_ratio for snapshot in result.snapshots]
        axis.plot(updates, ratios, color="black", marker="o", markersize=3, alpha=1 if number == 0 else 0.35)
    axis.set_ylim(0, 1.03)
    axis.set_title("norm of the mean vector / mean norm")
    update_axis(axis, np.array(updates), log=False)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    written = save(figure, out, "isotropy")
    return written + _figure_contributions(results[0], out)


def summary(result: IsotropyResult) -> list[list[str | float]]:
    """The printed table: every measure of the first and last snapshot by variant."""
    ends = [result.snapshots[0], result.snapshots[-1]]
    lines: list[list[str | float]] = [
        ["measure", *[f"{variant} @{end.update}" for end in ends for variant in VARIANTS]]
    ]
    for name in Isotropy.__dataclass_fields__:
        lines.append([name, *[getattr(end.variants[variant], name) for end in ends for variant in VARIANTS]])
    ratios: list[str | float] = ["mean_vector_ratio"]
    for end in ends:
        ratios += [end.mean_vector_ratio, "", ""]
    return [*lines, ratios]


def _variants(
    counted: NDArray[np.float32],
) -> Iterator[tuple[str, NDArray[np.float32], NDArray[np.float64]]]:
    """Name, vectors and second moment: raw; less the mean; less the mean and divided by each dimension's deviation.

    A dimension without deviation stays 0. The second and third moment follow from the first.
    """
    moment = second_moment(counted)
    yield "raw", counted, moment
    mean = counted.mean(axis=0, dtype=np.float64)
    centred = (counted - mean).astype(np.float32)
    moment = moment - np.outer(mean, mean)
    yield "centred", centred, moment
    deviation = centred.std(axis=0, dtype=np.float64)
    deviation[deviation == 0] = 1
    yield "standardised", (centred / deviation).astype(np.float32), moment / np.outer(deviation, deviation)


def _figure_contributions(result: IsotropyResult, out: Path) -> list[Path]:
    figure, axes = new_figure(width=7.0, height=4.0)
    axis = axes[0, 0]
    for snapshot, colour in ((result.snapshots[0], "#999999"), (result.snapshots[-1], OKABE_ITO[0])):
        order = np.argsort(-np.abs(snapshot.contributions))
        parts = np.cumsum(snapshot.contributions[order])
        label = f"update {snapshot.update:,}: mean cosine {parts[-1]:.3f}, largest dimension {order[0]}"
        axis.plot(np.arange(1, len(parts) + 1), parts, color=colour, marker="o", markersize=2, label=label)
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axis.axhline(0, color="black", linewidth=0.6)
    axis.set_xlabel("dimensions, the largest contributions first")
    axis.set_ylabel("part of the mean cosine that they make")
    axis.set_title("Do few dimensions make the mean cosine? (raw)")
    axis.legend(loc="best")
    return save(figure, out, "isotropy_dimensions")


if __name__ == "__main__":
    run(lambda: question(sys.modules[__name__], "isotropy"))
