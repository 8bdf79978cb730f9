"""Geometry at equal exposure: what follows from exposure alone leaves no difference, however different the exposures are."""

import numpy as np
import pytest

from matched import RowMeasures, bin_edges, exposure_curve, matched_difference


def measures(exposure, value, usable=None):
    usable = np.ones(len(exposure), bool) if usable is None else usable
    return RowMeasures(exposure, np.stack([value, 2 * value], axis=1), usable)


def zipf(rows, scale, seed):
    rng = np.random.default_rng(seed)
    return (scale * rng.permutation(rows) ** 1.5 / rows).astype(np.int64)


def of_exposure(exposure):
    return 0.9 - 0.1 * np.log1p(exposure)


def test_bins_hold_zero_alone_and_every_count_once():
    edges = bin_edges(12_345)
    assert edges[:3].tolist() == [0, 1, 2]
    assert (np.diff(edges) > 0).all()
    assert {10, 100, 1000, 10_000} <= set(edges.tolist())
    assert edges[-1] <= 12_345 < edges[-1] * 1.5
    assert bin_edges(0).tolist() == [0, 1]


def test_geometry_of_exposure_alone_leaves_no_difference():
    """Arms of other exposures, one a step function of the bins: exactly zero, while the plain means differ much."""
    first, second = zipf(4000, 3, 1), zipf(4000, 40, 2)
    step = [0.9 - 0.05 * np.searchsorted(bin_edges(10**7), exposure, side="right") for exposure in (first, second)]
    found = matched_difference(measures(first, step[0]), measures(second, step[1]))
    assert abs(step[0].mean() - step[1].mean()) > 0.2
    assert [entry.value for entry in found.differences] == pytest.approx([0, 0], abs=1e-12)
    assert found.differences[0].interval == pytest.approx((0, 0), abs=1e-12)
    smooth = matched_difference(measures(first, of_exposure(first)), measures(second, of_exposure(second)))
    assert abs(smooth.differences[0].value) < 0.005


def test_a_planted_difference_is_found_with_equal_weights_of_the_bins():
    exposure = np.repeat([0, 5, 5000], [1000, 100, 10])
    noise = np.random.default_rng(0).normal(0, 0.01, len(exposure))
    shift = np.repeat([0.0, 0.3, 0.6], [1000, 100, 10])
    found = matched_difference(measures(exposure, noise + shift), measures(exposure, noise))
    assert found.rows.tolist() == [[1000, 1000], [100, 100], [10, 10]]
    assert found.differences[0].value == pytest.approx(0.3)
    assert found.differences[1].value == pytest.approx(0.6)
    assert found.differences[0].interval == pytest.approx((0.3, 0.3), abs=1e-9)  # the same rows are drawn in both arms


def test_an_interval_covers_the_noise_of_the_rows():
    rng = np.random.default_rng(3)
    exposure = np.repeat([1, 10, 100, 1000], 400)
    first, second = (rng.normal(0, 1, 1600) for _ in range(2))
    found = matched_difference(measures(exposure, first), measures(exposure, second), resamples=500).differences[0]
    half = 1.96 * np.sqrt(2 / 1600)
    assert found.interval[1] - found.interval[0] == pytest.approx(2 * half, rel=0.15)
    assert found.over == "tokens"


def test_thin_bins_and_unusable_rows_take_no_part():
    exposure = np.array([1] * 20 + [50] * 9 + [900] * 20)
    usable = np.ones(len(exposure), bool)
    usable[-20:-5] = False
    value = np.where(usable, 1.0, np.nan)
    found = matched_difference(measures(exposure, value, usable), measures(exposure, value * 0.5, usable))
    assert found.low.tolist() == [1]
    assert found.differences[0].value == 0.5
    curve = exposure_curve(measures(exposure, value, usable))
    assert (curve.low.tolist(), curve.rows.tolist()) == ([1], [20])
    alone = matched_difference(measures(exposure * 0, value, usable), measures(exposure * 0 + 7, value, usable))
    assert np.isnan(alone.differences[0].value)
    assert alone.differences[0].interval is None
