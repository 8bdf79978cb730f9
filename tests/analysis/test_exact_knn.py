"""Exact neighbours in blocks, against scikit-learn and against analysis/neighbours.py."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

import exact_knn
from exact_knn import cosine_neighbours, euclidean_neighbours, largest_columns
from neighbours import nearest


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(exact_knn, "BLOCK_VALUES", 10_000)


@pytest.mark.parametrize(("points", "dim", "k"), [(1500, 20, 90), (1500, 2, 10), (37, 5, 36), (11, 3, 1)])
def test_euclidean_neighbours_are_those_of_scikit_learn(points, dim, k):
    values = np.random.default_rng(0).normal(size=(points, dim)).astype(np.float32) + 5  # far from the origin
    places, distances = euclidean_neighbours(values, k)
    expected, ranked = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(values.astype(float)).kneighbors()
    assert (places == ranked).mean() > 0.999  # two of nearly equal distance may change places
    assert distances == pytest.approx(expected, abs=1e-4)


def test_neighbours_of_a_sample_are_among_all_points():
    values = np.random.default_rng(1).normal(size=(400, 8))
    sample = np.array([7, 399, 0])
    places, distances = euclidean_neighbours(values, 6, sample)
    whole_places, whole_distances = euclidean_neighbours(values, 6)
    assert np.array_equal(places, whole_places[sample])
    assert np.array_equal(distances, whole_distances[sample])


def test_points_that_coincide_are_each_others_neighbours():
    values = np.zeros((300, 4), np.float32)
    values[:4] = 1
    places, distances = euclidean_neighbours(values, 3)
    assert sorted(places[0]) == [1, 2, 3]
    assert not distances.any()
    assert not (places == np.arange(300)[:, None]).any()


@pytest.mark.parametrize("centred", [False, True])
def test_cosine_neighbours_are_those_of_the_slow_search(centred):
    rng = np.random.default_rng(2)
    values = (rng.normal(size=(900, 12)) + 0.5).astype(np.float32)
    values[[3, 800]] = 0
    candidates = np.setdiff1d(np.arange(900), [0, 1, 2, 899])
    queries = np.array([5, 3, 0, 899, 800, 700, 6])
    centre = values.mean(axis=0) if centred else None
    found = cosine_neighbours(values, queries, candidates, 7, centre=centre)
    expected = nearest(values, queries, candidates, 7, centre=centre)
    assert np.array_equal(found.rows, expected.rows)
    assert found.cosines == pytest.approx(expected.cosines, abs=1e-5, nan_ok=True)
    assert (found.rows[[1, 4]] == -1).all()


def test_fewer_candidates_than_neighbours_leave_places_empty():
    values = np.eye(5, dtype=np.float32) + 0.1
    found = cosine_neighbours(values, np.array([0, 4]), np.array([0, 1, 2]), 4)
    assert (found.rows >= 0).sum(axis=1).tolist() == [2, 2]
    assert np.isnan(found.cosines[found.rows < 0]).all()
    assert (cosine_neighbours(np.zeros((5, 3)), np.array([0]), np.arange(5), 2).rows == -1).all()


@pytest.mark.parametrize("k", [0, 10])
def test_too_many_neighbours_are_refused(k):
    with pytest.raises(ValueError, match="expected k from 1 to 9 among 10 candidates"):
        euclidean_neighbours(np.zeros((10, 2)), k)


@pytest.mark.parametrize(("rows", "width", "k"), [(70, 1300, 10), (5, 41, 10), (9, 10, 10), (3, 129, 1)])
def test_largest_columns_are_those_of_a_sort_and_ties_go_to_the_first(rows, width, k):
    values = np.random.default_rng(3).integers(0, 4 * width, (rows, width)).astype(np.float32)  # some values are equal
    values[0] = -np.inf
    values[0, width // 2] = 1
    found = largest_columns(values, k)
    assert np.array_equal(found[1:], np.argsort(-values[1:], axis=1, kind="stable")[:, :k])
    assert found[0, 0] == width // 2


@pytest.mark.parametrize("k", [0, 6])
def test_more_columns_than_there_are_are_refused(k):
    with pytest.raises(ValueError, match="expected k from 1 to 5 among 5 columns"):
        largest_columns(np.zeros((2, 5), np.float32), k)
