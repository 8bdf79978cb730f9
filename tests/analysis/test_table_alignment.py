"""CKA, Procrustes and neighbours: against brute force, unchanged by rotation and scale, near chance for unrelated tables."""

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes

from table_alignment import LEAST_TOKENS, align, linear_cka, nearest, procrustes_residual, shared_neighbours

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 12)) * np.linspace(2, 0.3, 12)
Y = X @ RNG.normal(size=(12, 9)) + 0.5 * RNG.normal(size=(120, 9))
UNRELATED = RNG.normal(size=(120, 12))


def kernel_cka(x, y):
    """Unbiased CKA from the kernels themselves (Song et al. 2012, eq. 5)."""
    n = len(x)

    def hsic(first, second):
        first, second = (kernel - np.diag(np.diag(kernel)) for kernel in (first, second))
        one = np.ones(n)
        sums = (one @ first @ one) * (one @ second @ one) / ((n - 1) * (n - 2))
        return (np.trace(first @ second) + sums - 2 / (n - 2) * one @ first @ second @ one) / (n * (n - 3))

    of_x, of_y = (values @ values.T for values in (x, y))
    return hsic(of_x, of_y) / np.sqrt(hsic(of_x, of_x) * hsic(of_y, of_y))


def test_cka_is_that_of_the_kernels():
    for other in (Y, UNRELATED):
        assert linear_cka(X, other) == pytest.approx(kernel_cka(X, other), abs=1e-10)


def test_procrustes_is_the_distance_after_the_best_rotation():
    x, y = (values - values.mean(axis=0) for values in (X, UNRELATED))
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    rotation, _ = orthogonal_procrustes(y, x)
    assert procrustes_residual(X, UNRELATED) == pytest.approx(np.square(x - y @ rotation).sum() / 2)


def test_neighbours_are_those_of_all_cosines():
    centred = X - X.mean(axis=0)
    units = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    cosine = units @ units.T
    np.fill_diagonal(cosine, -2)
    expected = np.argsort(-cosine, axis=1)[:, :10]
    assert (np.sort(nearest(X), axis=1) == np.sort(expected, axis=1)).all()
    first, second = nearest(X), nearest(Y)
    shares = [len(set(a) & set(b)) / 10 for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    assert shared_neighbours(first, second) == pytest.approx(shares)


@pytest.mark.parametrize("change", ["rotation", "scale", "shift"])
def test_rotation_scale_and_shift_change_nothing(change):
    rotation = np.linalg.qr(RNG.normal(size=(12, 12)))[0]
    moved = {"rotation": X @ rotation, "scale": 7.5 * X, "shift": X + 3.0}[change]
    assert linear_cka(X, moved) == pytest.approx(1)
    assert procrustes_residual(X, moved) == pytest.approx(0, abs=1e-9)
    assert (np.sort(nearest(X), axis=1) == np.sort(nearest(moved), axis=1)).all()
    assert linear_cka(moved, Y) == pytest.approx(linear_cka(X, Y))
    assert procrustes_residual(moved, UNRELATED) == pytest.approx(procrustes_residual(X, UNRELATED))


def test_unrelated_tables_lie_at_the_null():
    many = [linear_cka(X, RNG.normal(size=(120, 12))) for _ in range(40)]
    assert abs(np.mean(many)) < 0.02
    found = align(X, UNRELATED)
    assert abs(found.cka.value) < 0.1
    assert abs(found.null["cka"]) < 0.1
    assert found.procrustes.value == pytest.approx(found.null["procrustes"], abs=0.06)
    assert found.neighbours.value == pytest.approx(10 / 119, abs=0.03)
    assert found.null["neighbours"] == pytest.approx(10 / 119)


def test_related_tables_are_told_from_the_null_with_intervals():
    found = align(X, Y)
    assert found.cka.interval[0] < found.cka.value < found.cka.interval[1]
    assert found.cka.interval[0] > found.null["cka"]
    assert found.procrustes.interval[1] < found.null["procrustes"]
    assert found.neighbours.interval[0] > found.null["neighbours"]
    assert align(X, Y, intervals=False).cka.interval is None


def test_jackknife_intervals_cover_the_populations_cka():
    rng = np.random.default_rng(1)
    mixing = rng.normal(size=(6, 6))

    def draw(n):
        x = rng.normal(size=(n, 6))
        return x, x @ mixing + 2 * rng.normal(size=(n, 6))

    truth = linear_cka(*draw(20000))
    inside = 0
    for _ in range(40):
        low, high = align(*draw(150)).cka.interval
        inside += low <= truth <= high
    assert inside >= 33


def test_few_tokens_and_flat_tables_give_no_number():
    assert align(X[: LEAST_TOKENS - 1], Y[: LEAST_TOKENS - 1]) is None
    assert np.isnan(linear_cka(np.ones((60, 3)), X[:60]))
    assert np.isnan(procrustes_residual(np.ones((60, 3)), X[:60]))
    assert np.isnan(linear_cka(X[:3], Y[:3]))


def test_many_tokens_are_sampled(monkeypatch):
    monkeypatch.setattr("table_alignment.MOST_TOKENS", 60)
    assert align(X, Y).tokens == 60
