"""The value of repeated tokens: planted R_D* is found, and what the arms do not allow is refused with a reason."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_constrained import (
    NoFit,
    RepeatedArm,
    closest_r_star,
    effective_tokens,
    equivalent_tokens,
    equivalents,
    fit_r_star,
    value_of_repeat,
)

TOTAL = 1e9
TOKENS = np.geomspace(1e7, TOTAL, 60)


def curve(tokens):
    return 3 + 100 * np.asarray(tokens) ** -0.25


def arms(r_star, repeats=(2, 4, 16)):
    found = []
    for k in repeats:
        loss = float(curve(effective_tokens(TOTAL / k, k - 1, r_star)))
        found.append(RepeatedArm(f"k{k}", TOTAL / k, k, loss))
    return found


def test_the_law_has_its_known_ends():
    """One pass is worth itself; the first repeat of many is worth nearly a new pass; endless repeats are worth R_D* passes."""
    assert effective_tokens(100, 0, 15.39) == 100
    assert effective_tokens(100, 1, 15.39) == pytest.approx(100 + 100 * 15.39 * (1 - np.exp(-1 / 15.39)))
    assert effective_tokens(100, 1e6, 15.39) == pytest.approx(100 * 16.39)
    assert value_of_repeat(100, 4, effective_tokens(100, 3, 15.39)) == pytest.approx(
        0.908, abs=2e-3
    )  # "nearly as good"


@pytest.mark.parametrize("r_star", [0.5, 5.0, 15.39, 60.0])
def test_a_planted_r_star_is_found_through_the_curve(r_star):
    planted = arms(r_star)
    effective = equivalents(planted, TOKENS, curve(TOKENS))
    for arm, value in zip(planted, effective, strict=True):
        assert value == pytest.approx(effective_tokens(arm.unique, arm.repeat - 1, r_star), rel=2e-3)
    assert fit_r_star(planted, effective) == pytest.approx(r_star, rel=0.03)
    exact = [effective_tokens(arm.unique, arm.repeat - 1, r_star) for arm in planted]
    assert fit_r_star(planted, exact) == pytest.approx(r_star, rel=1e-4)


@given(st.floats(0.05, 500), st.integers(2, 60))
def test_one_arm_is_enough_for_an_exact_solution(r_star, k):
    arm = RepeatedArm("k", 1.0, k, 0.0)
    effective = effective_tokens(1.0, k - 1, r_star)
    found = closest_r_star([arm], [effective])
    assert effective_tokens(1.0, k - 1, found) == pytest.approx(effective, rel=1e-3)


def test_a_noisy_curve_is_made_falling_before_it_is_read():
    tokens, losses = np.array([1.0, 2, 4, 8]), np.array([5.0, 4.0, 4.2, 3.0])
    assert equivalent_tokens(4.0, tokens, losses) == pytest.approx(2)
    assert equivalent_tokens(3.5, tokens, losses) == pytest.approx(np.sqrt(4 * 8))
    assert equivalent_tokens(5.0, tokens, losses) == 1
    assert equivalent_tokens(3.0, tokens, losses) == pytest.approx(8)


def test_what_the_arms_do_not_allow_is_said():
    planted, losses = arms(15.39), curve(TOKENS)
    worse = [RepeatedArm(arm.name, arm.unique, arm.repeat, arm.loss + 2) for arm in planted]
    better = [RepeatedArm(arm.name, arm.unique, arm.repeat, 3.1) for arm in planted]
    upside_down = [RepeatedArm(arm.name, arm.unique, arm.repeat, 5 - arm.repeat / 16) for arm in planted]
    for found, points, words in (
        ([], TOKENS, "no arm repeats"),
        (planted, TOKENS[-3:], "3 times; at least 4"),
        (worse, TOKENS, "k2.*above the beginning"),
        (better, TOKENS, "k2.*below the end"),
        (upside_down, TOKENS, "do not rise with the number of repeats"),
    ):
        with pytest.raises(NoFit, match=words):
            equivalents(found, points, losses[-len(points) :])
    with pytest.raises(NoFit, match="worth nothing"):
        fit_r_star(planted, [arm.unique for arm in planted])
    with pytest.raises(NoFit, match="do not bound it"):
        fit_r_star(planted, [TOTAL for _ in planted])
