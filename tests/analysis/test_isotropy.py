"""Isotropy measures: known cases, and brute force from the papers' formulas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import cosine_similarity
from synthetic_dump import SyntheticDump

from dump import Dump
from isotropy import (
    analyse,
    cosine_contributions,
    effective_rank,
    figures,
    isoscore,
    measure,
    participation_ratio,
    partition_measure,
    second_moment,
    snapshot_isotropy,
)


def paper_isoscore(points: np.ndarray) -> float:
    """Rudman et al. 2022, algorithm 1, step by step on a point cloud."""
    n = points.shape[1]
    turned = PCA().fit_transform(points)
    diagonal = np.diag(np.cov(turned.T))
    normed = np.sqrt(n) * diagonal / np.linalg.norm(diagonal)
    defect = np.linalg.norm(normed - np.ones(n)) / np.sqrt(2 * (n - np.sqrt(n)))
    fraction = (n - defect**2 * (n - np.sqrt(n))) ** 2 / n**2
    return float((n * fraction - 1) / (n - 1))


def test_an_isotropic_gaussian_is_near_one_and_a_line_near_zero() -> None:
    rng = np.random.default_rng(0)
    gaussian = rng.normal(size=(20_000, 12)).astype(np.float32)
    line = np.outer(rng.normal(size=2000), rng.normal(size=12)).astype(np.float32)
    assert measure(gaussian).isoscore > 0.99
    assert measure(line).isoscore == pytest.approx(0, abs=1e-5)
    assert measure(gaussian).effective_rank == pytest.approx(12, abs=0.05)
    assert measure(line).effective_rank == pytest.approx(1, abs=0.01)
    assert measure(line).participation_ratio == pytest.approx(1, abs=1e-4)
    assert measure(gaussian * 0.1).partition > 0.97
    assert measure(gaussian).mean_cosine == pytest.approx(0, abs=0.002)


def test_isoscore_equals_the_papers_algorithm_and_ignores_the_mean() -> None:
    rng = np.random.default_rng(1)
    points = (rng.normal(size=(3000, 8)) @ rng.normal(size=(8, 8))).astype(np.float32)
    expected = paper_isoscore(points.astype(np.float64))
    assert measure(points).isoscore == pytest.approx(expected, abs=1e-4)
    assert measure(points + np.float32(4)).isoscore == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("used", [1, 3, 8])
def test_equal_variance_in_k_dimensions_counts_k(used: int) -> None:
    variances = np.array([2.0] * used + [0.0] * (8 - used))
    assert effective_rank(variances) == pytest.approx(used)
    assert participation_ratio(variances) == pytest.approx(used)
    assert isoscore(variances) == pytest.approx((used - 1) / 7)  # the paper's reading: k - 1 of n - 1


def test_effective_rank_is_of_singular_values_and_participation_of_variances() -> None:
    """Golden, by hand: singular values 2 and 1 have shares 2/3 and 1/3; variances 4 and 1 give 25 / 17."""
    expected = np.exp(-(2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3)))
    assert effective_rank(np.array([4.0, 1.0])) == pytest.approx(expected)
    assert participation_ratio(np.array([4.0, 1.0])) == pytest.approx(25 / 17)


@pytest.mark.parametrize("scale", [0.3, 60.0])
def test_partition_measure_equals_the_sum_of_exponentials(scale: float) -> None:
    """The larger scale overflows float32 when exponentiated as it stands."""
    rng = np.random.default_rng(2)
    vectors = (scale * rng.normal(0.2, 1, (200, 5))).astype(np.float32)
    directions = np.linalg.eigh(second_moment(vectors))[1]
    sums = [np.exp(sign * vectors.astype(np.longdouble) @ c).sum() for c in directions.T for sign in (1, -1)]
    assert partition_measure(vectors, directions) == pytest.approx(float(min(sums) / max(sums)), rel=2e-3)


def test_contributions_sum_to_the_mean_cosine_and_show_a_rogue_dimension() -> None:
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(300, 20)).astype(np.float32)
    vectors[:, 4] += 10
    parts = cosine_contributions(vectors)
    cosines = cosine_similarity(vectors)[np.triu_indices(300, 1)]
    assert parts.sum() == pytest.approx(cosines.mean(), abs=1e-5)
    assert parts[4] / parts.sum() > 0.99
    found = measure(vectors)
    assert found.mean_cosine > 0.7
    assert abs(found.mean_cosine_without_rogue) < 0.02


def test_a_snapshots_variants_are_those_of_its_counted_rows(synthetic: SyntheticDump) -> None:
    found = snapshot_isotropy(Dump.open(synthetic.path).table(), 40)
    live = synthetic.counted & (np.linalg.norm(synthetic.values[40], axis=1) > 0)
    counted = synthetic.values[40][live]
    assert found.rows == len(counted) == 590
    centred = counted - counted.mean(axis=0)
    for name, vectors in (("raw", counted), ("centred", centred), ("standardised", centred / centred.std(axis=0))):
        expected = measure(np.asarray(vectors, np.float32))
        for field in expected.__dataclass_fields__:
            value = getattr(found.variants[name], field)
            assert value == pytest.approx(getattr(expected, field), rel=1e-3, abs=1e-5), (name, field)
    ratio = np.linalg.norm(counted.mean(axis=0)) / np.linalg.norm(counted, axis=1).mean()
    assert found.mean_vector_ratio == pytest.approx(ratio, rel=1e-5)
    assert found.variants["raw"].mean_cosine == pytest.approx(synthetic.statistics["mean_cosine"][40], abs=1e-6)


def test_snapshots_are_spread_and_figures_written(synthetic: SyntheticDump, tmp_path: Path) -> None:
    result = analyse(Dump.open(synthetic.path), snapshots=3)
    assert [snapshot.update for snapshot in result.snapshots][::2] == [0, 40]
    assert all(path.stat().st_size > 1000 for path in figures([result, result], tmp_path))
