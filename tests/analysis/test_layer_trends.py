"""Trends over layers: textbook formulas, intervals that cover on random numbers, and the controls' own scatter in them."""

import numpy as np
import pytest
from layer_runs import FALLING, FLAT, KINDS, RISING, clustered
from scipy import stats

import layer_parameters
from claims import Rule, decide
from embedding_space import embedding_space
from layer_trends import beyond, lower_layers, rise, step


def test_the_slope_and_its_interval_are_those_of_ordinary_least_squares():
    values = np.random.default_rng(0).normal(size=12) - 0.2 * np.arange(12)
    found, expected = rise(values), stats.linregress(np.arange(12), values)
    half = stats.t.ppf(0.975, 10) * expected.stderr
    assert found.value == pytest.approx(11 * expected.slope)
    assert found.estimate.interval == pytest.approx((11 * (expected.slope - half), 11 * (expected.slope + half)))
    assert found.estimate.over == "layers"
    values[[0, 5]] = np.nan
    known = np.isfinite(values)
    assert rise(values).value == pytest.approx(11 * stats.linregress(np.arange(12)[known], values[known]).slope)


def test_the_step_and_its_interval_are_welchs():
    values = np.random.default_rng(1).normal(size=12)
    expected = stats.ttest_ind(values[:7], values[7:], equal_var=False)
    assert step(values).value == pytest.approx(values[:7].mean() - values[7:].mean())
    assert step(values).estimate.interval == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_the_study_has_seven_lower_layers_and_other_models_as_many_in_proportion():
    assert [lower_layers(layers) for layers in (12, 6, 4, 24)] == [7, 4, 2, 14]


def test_the_controls_scatter_widens_the_interval_of_the_difference():
    rng = np.random.default_rng(2)
    values = -0.1 * np.arange(12) + 0.01 * rng.normal(size=12)
    slopes = np.array([-0.04, 0.0, 0.04])
    controls = [slope * np.arange(12) + 0.01 * rng.normal(size=12) for slope in slopes]
    alone, three = beyond(rise, values, controls[1:2]), beyond(rise, values, controls)
    own = np.array([rise(control).value for control in controls])
    assert alone.variance == pytest.approx(rise(values - controls[1]).variance)
    assert three.variance == pytest.approx(rise(values - np.mean(controls, axis=0)).variance + own.var(ddof=1) * 4 / 3)
    assert three.value == pytest.approx(rise(values).value - own.mean())
    assert 2 < three.freedom < 3  # nearly all of it comes from three models
    assert decide(alone.estimate, Rule(high=0)) == "holds"
    assert decide(three.estimate, Rule(high=0)) == "inconclusive"
    assert np.isnan(beyond(rise, values, []).value)


def test_few_layers_and_equal_numbers():
    assert np.isnan(rise(np.arange(3.0)).value)
    assert rise(np.arange(3.0)).estimate.interval is None
    assert np.isnan(step(np.arange(2.0)).value)
    found = beyond(rise, np.ones(12), [np.ones(12), np.ones(12)]).estimate
    assert found.interval == (0, 0)


@pytest.mark.parametrize("statistic", [rise, step])
def test_intervals_over_layers_cover_zero_on_random_numbers(statistic):
    rng = np.random.default_rng(3)
    inside, apart, draws = 0, 0, 1500
    for _ in range(draws):
        values, controls = rng.normal(size=12), rng.normal(size=(3, 12))
        low, high = statistic(values).estimate.interval
        inside += low <= 0 <= high
        low, high = beyond(statistic, values, list(controls)).estimate.interval
        apart += low <= 0 <= high
    assert inside / draws == pytest.approx(0.95, abs=0.02)
    assert 0.94 <= apart / draws <= 1  # the layers' scatter of untrained models counts twice: on the safe side


def profile(space, strength, rng):
    vectors = clustered(rng, strength)
    return layer_parameters.measure(space, vectors, KINDS).series["concentration"].values


def test_random_parameters_show_no_trend_and_planted_ones_are_found():
    """Through all of the measuring: the table, the projection, the clouds."""
    rng = np.random.default_rng(4)
    table = (rng.normal(size=(300, 16)) * np.linspace(2, 0.5, 16)).astype(np.float32)
    space = embedding_space(table, np.ones(300, bool))
    covered, draws = 0, 40
    for _ in range(draws):
        low, high = rise(profile(space, FLAT, rng)).estimate.interval
        covered += low <= 0 <= high
    assert covered / draws >= 0.85  # 0.95 but for 40 draws
    assert rise(profile(space, FALLING, rng)).estimate.interval[1] < -0.15
    assert rise(profile(space, RISING, rng)).estimate.interval[0] > 0.15
