"""The measure of C4.2: near 1 for independent increments, low for noise, high for an oscillation, none when too short."""

from __future__ import annotations

import numpy as np
import pytest

from curves import Curve
from oscillation import FEWEST_POINTS, momentum_memory, oscillation

UPDATES = np.arange(1, 6001)
TREND = 1 - np.exp(-UPDATES / 400)


def ratios(make, count: int = 30) -> np.ndarray:
    rng = np.random.default_rng(0)
    found = [oscillation(Curve(UPDATES, TREND + make(rng)), 600, memory=50, seed=k) for k in range(count)]
    return np.array([[entry.ratio, *entry.interval] for entry in found])


def momentum(rng: np.random.Generator) -> np.ndarray:
    steps, smeared = rng.normal(0, 0.002, len(UPDATES)), np.zeros(len(UPDATES))
    for place in range(1, len(steps)):
        smeared[place] = 0.9 * smeared[place - 1] + 0.1 * steps[place]
    return np.cumsum(smeared)


def test_independent_batches_do_not_oscillate() -> None:
    walk = ratios(lambda rng: np.cumsum(rng.normal(0, 0.002, len(UPDATES))), 100)
    assert 0.9 < walk[:, 0].mean() < 1.1
    assert (walk[:, 1] > 2).mean() < 0.05
    assert (walk[:, 1] <= walk[:, 0]).all()
    assert (walk[:, 0] <= walk[:, 2]).all()


def test_momentum_is_not_taken_for_an_oscillation() -> None:
    found = ratios(momentum)
    assert np.median(found[:, 0]) < 1.6
    assert (found[:, 1] > 2).mean() < 0.1


def test_noise_about_a_smooth_trend_does_not_oscillate() -> None:
    noise = ratios(lambda rng: rng.normal(0, 0.002, len(UPDATES)), 10)
    assert (noise[:, 2] < 2).all()


@pytest.mark.parametrize("period", [1200, 2500])
def test_an_oscillation_is_found_with_its_period(period: int) -> None:
    wave = 0.02 * np.sin(2 * np.pi * UPDATES / period)
    found = ratios(lambda rng: wave + np.cumsum(rng.normal(0, 0.0001, len(UPDATES))), 5)
    assert (found[:, 1] > 2).all()
    single = oscillation(Curve(UPDATES, TREND + wave), 600, memory=50)
    assert period / 2 < single.period < period * 2


def test_a_short_or_sparse_run_has_no_value() -> None:
    short = oscillation(Curve(UPDATES[:300], TREND[:300]), 30, memory=50)
    assert np.isnan(short.ratio)
    assert short.interval is None
    assert f"{FEWEST_POINTS} needed" in short.reason
    powers = 2 ** np.arange(13)
    sparse = oscillation(Curve(powers, TREND[powers - 1]), 400, memory=50)
    assert sparse.interval is None
    flat = oscillation(Curve(UPDATES, np.ones(len(UPDATES))), 600, memory=50)
    assert "does not vary" in flat.reason


@pytest.mark.parametrize(
    ("optimizer", "memory"),
    [
        ({"adam_betas": "(0.9, 0.98)"}, 50),
        ({"adam_betas": [0.95, 0.98]}, 100),
        ({"momentum": 0.0}, 5),
        ({"adam_betas": "nonsense"}, 50),
        ({}, 50),
        (None, 50),
    ],
)
def test_the_spacing_follows_the_optimisers_momentum(optimizer: object, memory: int) -> None:
    assert momentum_memory({"config": {"optimizer": optimizer}}) == memory
