"""Correlations, bootstrap and binned curves: equal to scipy on the same draws, and intervals that cover the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import bootstrap
from bootstrap import over_updates, pairwise_cosine_change, percentile_interval, pooled, stratified_means
from correlation import (
    BinnedCurve,
    _Ranks,
    _weighted_pearson,
    binned_curve,
    correlation_estimates,
    pearson,
    spearman,
)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(5, 60), ties=st.integers(3, 40))
def test_weighted_correlations_equal_scipy_on_the_drawn_pairs(seed: int, rows: int, ties: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, ties, rows).astype(float), rng.normal(size=rows).round(1)
    weights = np.bincount(rng.integers(0, rows, rows), minlength=rows)
    drawn_x, drawn_y = np.repeat(x, weights), np.repeat(y, weights)
    if np.ptp(drawn_x) == 0 or np.ptp(drawn_y) == 0:
        return
    assert _weighted_pearson(x, y, weights) == pytest.approx(stats.pearsonr(drawn_x, drawn_y).statistic, abs=1e-9)
    ranks = _weighted_pearson(_Ranks(x)(weights), _Ranks(y)(weights), weights)
    assert ranks == pytest.approx(stats.spearmanr(drawn_x, drawn_y).statistic, abs=1e-9)


def test_values_equal_scipy_and_are_nan_without_variation() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=50)
    y = x + rng.normal(size=50)
    assert pearson(x, y) == stats.pearsonr(x, y).statistic
    assert spearman(x, y) == stats.spearmanr(x, y).statistic
    for first, second in correlation_estimates(x, np.ones(50)), correlation_estimates(x[:2], y[:2]):
        assert np.isnan(first.value)
        assert np.isnan(second.value)
        assert first.interval is None
        assert second.interval is None


def test_intervals_cover_the_true_correlation() -> None:
    """Of 150 samples of a bivariate normal, about 95 % of the intervals hold its correlation."""
    rng = np.random.default_rng(1)
    truth = -0.6
    rank_truth = 6 / np.pi * np.arcsin(truth / 2)
    covered = np.zeros(2)
    for sample in range(150):
        x = rng.normal(size=120)
        y = truth * x + np.sqrt(1 - truth**2) * rng.normal(size=120)
        estimates = correlation_estimates(x, y, resamples=150, seed=sample)
        for place, (estimate, value) in enumerate(zip(estimates, (truth, rank_truth), strict=True)):
            assert estimate.interval is not None
            covered[place] += estimate.interval[0] <= value <= estimate.interval[1]
    assert (covered / 150 > 0.88).all()
    assert (covered / 150 < 0.995).all()


def test_stratified_means_spread_as_standard_errors_and_keep_strata_apart() -> None:
    rng = np.random.default_rng(2)
    values = np.concatenate([rng.normal(0, 1, 400), rng.normal(10, 3, 100), [7.0]])
    stratum = np.repeat([0, 1, 2, -1], [400, 100, 1, 0])
    means = stratified_means(values, stratum, 4, resamples=2000)
    assert means.shape == (2000, 4)
    for index, rows in ((0, values[:400]), (1, values[400:500])):
        assert means[:, index].mean() == pytest.approx(rows.mean(), abs=0.02)
        assert means[:, index].std() == pytest.approx(rows.std() / np.sqrt(len(rows)), rel=0.1)
    assert np.isnan(means[:, 2:]).all()
    assert abs(np.corrcoef(means[:, 0], means[:, 1])[0, 1]) < 0.1
    several = stratified_means(np.stack([values, -values], axis=1), stratum, 4, resamples=50)
    np.testing.assert_allclose(several[:, :2, 0], -several[:, :2, 1])
    np.testing.assert_allclose(pooled(means[:, :3], np.array([400, 100, 0])), means[:, :2] @ [0.8, 0.2])


def test_resampling_repeats_with_the_same_seed_whatever_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    values, stratum = np.random.default_rng(3).normal(size=90), np.repeat([0, 1], 45)
    first = stratified_means(values, stratum, 2, resamples=40, seed=5)
    monkeypatch.setattr(bootstrap, "BLOCK_DRAWS", 100)
    np.testing.assert_allclose(first, stratified_means(values, stratum, 2, resamples=40, seed=5))
    assert not np.allclose(first, stratified_means(values, stratum, 2, resamples=40, seed=6))


def test_pairwise_change_equals_brute_force_over_the_drawn_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs of a row with itself, drawn twice, are left out."""
    rng = np.random.default_rng(4)
    before, after = rng.normal(size=(2, 12, 3)).astype(np.float32)
    before /= np.linalg.norm(before, axis=1, keepdims=True)
    after /= np.linalg.norm(after, axis=1, keepdims=True)
    stratum = np.array([0] * 7 + [1] * 5)[rng.permutation(12)]
    kept = []
    original = bootstrap._weights

    def remember(*arguments, **options):
        for weights, part in original(*arguments, **options):
            kept.append(weights)
            yield weights, part

    monkeypatch.setattr(bootstrap, "_weights", remember)
    found = pairwise_cosine_change(before, after, stratum, 2, resamples=20, seed=1)
    for sample in range(20):
        drawn = [np.repeat(np.flatnonzero(stratum == index), kept[index][sample].astype(int)) for index in (0, 1)]
        rows = np.concatenate(drawn)
        assert [len(part) for part in drawn] == [7, 5]
        pairs = [(i, j) for i in rows for j in rows if i != j]
        change = np.mean([after[i] @ after[j] - before[i] @ before[j] for i, j in pairs])
        assert found[sample] == pytest.approx(change, abs=1e-5)


def test_blocks_of_updates_are_neighbours() -> None:
    seen: list[np.ndarray] = []
    over_updates(lambda chosen: seen.append(chosen) or 0.0, 64, resamples=30)
    for chosen in seen:
        assert len(chosen) == 64
        assert chosen.min() >= 0
        assert chosen.max() < 64
        assert (np.diff(chosen.reshape(-1, 4), axis=1) == 1).all()


def test_percentile_interval_needs_finite_values() -> None:
    assert percentile_interval(np.arange(1001.0)) == pytest.approx((25.0, 975.0))
    assert percentile_interval(np.array([np.nan, np.nan, 1.0])) is None


@settings(max_examples=30, deadline=None)
@given(counts=st.lists(st.integers(0, 100_000), min_size=1, max_size=300), least=st.integers(1, 20))
def test_binned_curve_holds_every_seen_token_once(counts: list[int], least: int) -> None:
    array = np.array(counts, np.int64)
    per_row = np.log(array + 1.0)
    curve: BinnedCurve = binned_curve(array, per_row, least=least)
    seen = int((array > 0).sum())
    assert curve.rows.sum() == seen
    if seen >= least:
        assert (curve.rows >= least).all()
    assert (curve.low[1:] > curve.high[:-1]).all()
    assert ((curve.low <= curve.count * 1.001) & (curve.count <= curve.high * 1.001)).all()
    if seen:
        assert (curve.rows @ curve.mean) / seen == pytest.approx(per_row[array > 0].mean())
    for place, rows in enumerate(curve.rows):
        inside = per_row[(array >= curve.low[place]) & (array <= curve.high[place])]
        assert len(inside) == rows
        np.testing.assert_allclose(curve.quantiles[place, 2], np.median(inside))
