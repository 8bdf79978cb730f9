"""The loss of copying without context, against the best guess found by enumeration and by simulation."""

import numpy as np
import pytest

from copying import copying_loss, copying_loss_of


def by_enumeration(counts, kept, replaced):
    """Sum over (true token, what is seen) of -P log2 P(true | seen), all by Bayes' rule."""
    p, size = counts / counts.sum(), len(counts)
    joint = np.zeros((size, size + 1))  # the last column: <mask>
    joint[:, size] = (1 - kept - replaced) * p
    joint[:, :size] = replaced * p[:, None] / size + kept * np.diag(p)
    seen = joint.sum(axis=0)
    given = joint / np.where(seen > 0, seen, 1)
    some = joint > 0
    return -(joint[some] * np.log2(given[some])).sum()


@pytest.mark.parametrize(("kept", "replaced"), [(0.0, 0.0), (0.1, 0.0), (0.0, 0.1)])
def test_what_is_visible_for_certain_or_tells_nothing(kept, replaced):
    counts = np.array([50, 30, 15, 5])
    assert copying_loss(counts, kept, replaced) == pytest.approx(by_enumeration(counts, kept, replaced), abs=1e-9)


@pytest.mark.parametrize(("kept", "replaced"), [(0.1, 0.1), (0.3, 0.05)])
def test_it_is_the_best_guess_up_to_the_random_token_that_is_the_true_one(kept, replaced):
    """A random token equals the true one once in V: the formula counts it as replaced, so it is a little above the best guess."""
    counts = np.random.default_rng(0).integers(1, 1000, 400)
    best = by_enumeration(counts, kept, replaced)
    assert 0 <= copying_loss(counts, kept, replaced) - best < 0.01


def test_it_lies_above_nine_tenths_of_the_entropy_and_below_the_entropy():
    counts = 1e6 // np.arange(1, 5001)  # Zipf
    p = counts / counts.sum()
    entropy = -(p * np.log2(p)).sum()
    assert 0.9 * entropy < copying_loss(counts, 0.1, 0.1) < 0.9 * entropy + 0.2 < entropy


SHARES = {"leave_unmasked_prob": 0.1, "random_token_prob": 0.1}
OTHER = [None, {}, {"leave_unmasked_prob": 0.1}, SHARES | {"leave_unmasked_prob": "x"}]


@pytest.mark.parametrize("task", [*OTHER, SHARES | {"freq_weighted_replacement": True}])
def test_other_tasks_have_none(task):
    assert copying_loss_of({"task": task}, np.arange(5), np.ones(5, bool)) is None


def test_rows_that_are_not_counted_take_no_part():
    counts, counted = np.array([1000, 5, 3, 2]), np.array([False, True, True, True])
    assert copying_loss_of({"task": SHARES}, counts, counted) == copying_loss(counts[1:], 0.1, 0.1)
    assert copying_loss_of({"task": SHARES}, np.zeros(4, int), counted) is None
