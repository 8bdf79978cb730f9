"""Silhouette, purity and mean cosines against scikit-learn and brute force, chance by enumeration, Holm, intervals, verdict by category."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product

import category_tables_made as made
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import silhouette_samples
from sklearn.neighbors import NearestNeighbors

import category_tests
from category_null import random_sets
from category_statistics import Measures, expected_purity, holm, make_pool, member_measures, set_measures
from category_tests import CategoryTest, correct, measure, over_members, prepare
from neighbours import unit_rows

NAMES = tuple(Measures.__dataclass_fields__)


def pool_rows(size=80, dim=6, seed=0):
    """Unit rows that are not spread evenly: everything lies about one direction."""
    return unit_rows((np.random.default_rng(seed).normal(size=(size, dim)) + 0.4).astype(np.float32))


@pytest.mark.parametrize(("size", "dim", "members"), [(80, 6, 12), (150, 24, 3), (9, 3, 4), (30, 2, 2), (12, 4, 11)])
def test_the_silhouette_is_that_of_scikit_learn(size, dim, members):
    unit = pool_rows(size, dim)
    places = np.random.default_rng(1).choice(size, members, replace=False)
    inside = np.isin(np.arange(size), places).astype(int)
    expected = silhouette_samples(unit.astype(np.float64), inside, metric="cosine")[places]
    found = member_measures(make_pool(unit, 1), places)
    assert found.silhouette == pytest.approx(expected, abs=1e-5)
    assert found.silhouette.mean() == pytest.approx(expected.mean(), abs=1e-6)


@pytest.mark.parametrize(("size", "members", "k"), [(80, 12, 10), (150, 3, 2), (20, 9, 8), (12, 5, 11)])
def test_purity_and_mean_cosines_are_those_of_brute_force(size, members, k):
    unit = pool_rows(size)
    places = np.random.default_rng(2).choice(size, members, replace=False)
    nearest = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(unit).kneighbors()[1]
    found = member_measures(make_pool(unit, k), places)
    assert found.purity.tolist() == [np.isin(nearest[place], places).mean() for place in places]
    for row, place in enumerate(places):
        cosines = unit.astype(np.float64) @ unit[place]
        others = [cosines[other] for other in places if other != place]
        rest = [cosines[other] for other in range(size) if other not in places]
        assert found.within[row] == pytest.approx(np.mean(others), abs=1e-6)
        assert found.between[row] == pytest.approx(np.mean(rest), abs=1e-6)


def test_no_token_is_its_own_neighbour_and_each_has_k():
    pool = make_pool(pool_rows(60), 7)
    assert not np.diagonal(pool.near).any()
    assert (pool.near.sum(axis=1) == 7).all()
    assert set(np.unique(pool.near)) == {0, 1}
    assert (pool.k, pool.nearest.shape) == (7, (60, 7))
    assert (np.take_along_axis(pool.near, pool.nearest, axis=1) == 1).all()
    assert (np.diff(np.take_along_axis(pool.similar, pool.nearest, axis=1)) <= 0).all()
    assert np.diagonal(pool.similar).tolist() == [1.0] * 60


@settings(max_examples=60, deadline=None)
@given(size=st.integers(4, 40), dim=st.integers(1, 8), seed=st.integers(0, 10**6), data=st.data())
def test_many_sets_give_each_sets_mean_over_members(size, dim, seed, data):
    members = data.draw(st.integers(2, size - 1))
    pool = make_pool(pool_rows(size, dim, seed), data.draw(st.integers(1, size - 1)))
    rng = np.random.default_rng(seed)
    sets = np.array([rng.permutation(size)[:members] for _ in range(7)])
    found = set_measures(pool, sets)
    for row, places in enumerate(sets):
        own = member_measures(pool, places)
        for name in NAMES:
            assert getattr(found, name)[row] == pytest.approx(getattr(own, name).mean(), abs=1e-11)


def test_a_tight_set_far_from_the_rest_has_the_highest_measures_and_equal_rows_none():
    rows = np.tile(np.array([[0.0, 1.0]], np.float32), (20, 1))
    rows[:5] = [1.0, 0.0]
    own = member_measures(make_pool(rows, 4), np.arange(5))
    assert [getattr(own, name).tolist() for name in NAMES] == [[1.0] * 5, [1.0] * 5, [1.0] * 5, [0.0] * 5]
    alike = member_measures(make_pool(np.tile(rows[:1], (20, 1)), 4), np.arange(5))
    assert alike.silhouette.tolist() == [0.0] * 5


@pytest.mark.parametrize("k", [0, 20, 21])
def test_a_pool_needs_k_others(k):
    with pytest.raises(ValueError, match="expected k from 1 to 19 among 20 tokens"):
        make_pool(pool_rows(20), k)


@pytest.mark.parametrize("members", [0, 1, 20])
def test_a_set_has_two_members_at_least_and_leaves_a_rest(members):
    with pytest.raises(ValueError, match=f"expected 2 to 19 members of a pool of 20 tokens, found {members}"):
        member_measures(make_pool(pool_rows(20), 3), np.arange(members))


@pytest.mark.parametrize("drawn", [(1, 2, 1), (2, 0, 2), (3, 3, 1), (0, 4, 0), (1, 1, 5)])
def test_the_expected_purity_is_the_mean_over_all_sets(drawn):
    """Strata of 3, 4 and 5 tokens in mixed order; the three numbers are how many of each a set holds."""
    strata = np.random.default_rng(3).permutation(np.repeat([7, 2, 4], [3, 4, 5]))
    members = [np.flatnonzero(strata == name) for name in (7, 2, 4)]
    pool = make_pool(pool_rows(12, 3), 3)
    every = product(*(combinations(rows, number) for rows, number in zip(members, drawn, strict=True)))
    sets = np.array([sum(parts, ()) for parts in every])
    purities = [member_measures(pool, places).purity.mean() for places in sets]
    for places in (sets[0], sets[-1]):
        assert expected_purity(pool, strata, places) == pytest.approx(np.mean(purities), abs=1e-12)


def test_the_expected_purity_is_that_of_random_sets():
    vocabulary = made.vocabulary(1200)
    unit = made.unit(vocabulary, made.table("all", vocabulary.frequency, 16, np.random.default_rng(4)))
    rows = made.alike_in_frequency(vocabulary, 14, np.random.default_rng(5), spread=0.1)
    pooled = vocabulary.strata.pool(rows)
    pool = make_pool(unit[pooled], 10)
    drawn = random_sets(vocabulary.strata, rows, 6000, np.random.default_rng(6))
    purities = set_measures(pool, np.searchsorted(pooled, drawn)).purity
    expected = expected_purity(pool, vocabulary.strata.of_row[pooled], np.searchsorted(pooled, rows))
    assert abs(purities.mean() - expected) < 4 * purities.std() / np.sqrt(len(purities))
    assert purities.std() / np.sqrt(len(purities)) < 0.02 * expected


@pytest.mark.parametrize(
    ("p", "adjusted"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # 3 x 0.01, 0.04 after 2 x 0.03, 2 x 0.03, 4 x 0.005
        ([0.02, 0.02, 0.02], [0.06, 0.06, 0.06]),
        ([0.9, 0.0001, 0.6], [1.0, 0.0003, 1.0]),
        ([0.2], [0.2]),
        ([], []),
    ],
)
def test_holms_golden_numbers(p, adjusted):
    assert holm(np.array(p)) == pytest.approx(adjusted)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 200).map(lambda number: number / 200), min_size=1, max_size=12), st.floats(0.001, 0.999))
def test_holm_rejects_what_its_procedure_does(p, level):
    """Step down: the smallest of n against level / n, the next against level / (n - 1), up to the first that is not rejected."""
    level += 1e-7 * np.pi  # equal to no multiple of 1/200
    rejected = set()
    for place, index in enumerate(sorted(range(len(p)), key=lambda index: p[index])):
        if p[index] > level / (len(p) - place):
            break
        rejected.add(index)
    assert set(np.flatnonzero(holm(np.array(p)) <= level)) == rejected


# One category's test: intervals, bands, correction.


def a_test(**changes) -> CategoryTest:
    """A made category of twelve rows tested in a made table, with some numbers changed."""
    vocabulary, unit, rows = a_table()
    (category,), _ = prepare({"a": rows.tolist()}, frozenset("a"), vocabulary.strata, 199)
    return replace(measure(unit, category, 199), **changes)


def a_table():
    """A vocabulary, unit rows and the twelve rows of a category."""
    vocabulary = made.vocabulary(1000)
    unit = made.unit(vocabulary, made.table("drift", vocabulary.frequency, 12, np.random.default_rng(7)))
    return vocabulary, unit, np.sort(made.alike_in_frequency(vocabulary, 12, np.random.default_rng(8)))


def test_a_test_holds_the_means_their_intervals_and_the_random_sets_bands():
    vocabulary, unit, rows = a_table()
    (category,), few = prepare({"a": rows.tolist()}, frozenset("a"), vocabulary.strata, 199)
    found = measure(unit, category, 199)
    pooled = vocabulary.strata.pool(rows)
    inside = np.isin(pooled, rows)
    assert (found.rows, found.pool, found.k, found.grammatical, few) == (tuple(rows), len(pooled), 10, True, {})
    expected = silhouette_samples(unit[pooled].astype(float), inside.astype(int), metric="cosine")[inside]
    low, high = stats.t.interval(0.95, 11, expected.mean(), stats.sem(expected))
    assert found.silhouette.value == pytest.approx(expected.mean(), abs=1e-6)
    assert found.silhouette.interval == pytest.approx((low, high), abs=1e-5)
    nearest = NearestNeighbors(n_neighbors=10, metric="cosine", algorithm="brute").fit(unit[pooled]).kneighbors()[1]
    share = inside[nearest[inside]].mean()
    assert found.purity.value == pytest.approx(share)
    assert found.ratio.value == pytest.approx(share / found.chance)
    assert np.array(found.ratio.interval) * found.chance == pytest.approx(np.array(found.purity.interval))
    null = set_measures(make_pool(unit[pooled], 10), category.sets)
    assert abs(found.chance - null.purity.mean()) < 4 * null.purity.std() / np.sqrt(199)
    strata = vocabulary.strata.of_row[pooled]
    assert found.chance == expected_purity(make_pool(unit[pooled], 10), strata, np.flatnonzero(inside))
    for name in ("silhouette", "purity"):
        values = getattr(null, name)
        ends = (*np.quantile(values, [0.025, 0.975]), values.mean())
        assert getattr(found, f"{name}_null") == pytest.approx((ends[0], ends[2], ends[1]))
        reached = (values >= getattr(found, name).value - 1e-9).sum()
        assert getattr(found, f"p_{name}") == (1 + reached) / 200


@pytest.mark.parametrize(("links", "ends"), [(0, (0.0, 1 - 0.025 ** (1 / 12))), (12, (0.025 ** (1 / 12), 1.0))])
def test_purities_without_spread_have_clopper_and_pearsons_interval(links, ends):
    """Golden: of n links none, 1 - (alpha/2)^(1/n) is the upper end."""
    assert category_tests._purity(np.full(4, links / 12), 3).interval == pytest.approx(ends)


@pytest.mark.parametrize("links", [0, 1, 3, 40, 97, 119, 120])
def test_a_purity_without_spread_has_the_exact_binomial_interval(links):
    found = category_tests._purity(np.full(12, links / 120), 10)
    exact = stats.binomtest(links, 120).proportion_ci(0.95, method="exact")
    assert found.interval == pytest.approx((exact.low, exact.high), abs=1e-12)


def test_an_interval_stays_in_the_measures_range_and_needs_three():
    wide = over_members(np.array([-1.0, 1.0, 1.0]), -1, 1)
    assert (wide.value, wide.interval) == (pytest.approx(1 / 3), (-1, 1))
    assert over_members(np.array([0.1, 0.2]), -1, 1).interval is None


@pytest.mark.parametrize(
    ("p_silhouette", "p_purity", "ratio", "others", "clustered"),
    [
        (0.0049, 0.0049, 2.0, 0, True),
        (0.0051, 0.0051, 2.5, 0, False),
        (0.0051, 0.0010, 2.5, 0, True),  # the larger of two is not multiplied
        (0.0010, 0.0110, 9.0, 0, False),
        (0.0110, 0.0010, 9.0, 0, False),
        (0.0001, 0.0001, 1.99, 0, False),
        (0.0001, 0.0001, float("nan"), 0, False),
        (0.0004, 0.0005, 9.0, 9, True),  # 20 x 0.0004, 19 x 0.0005
        (0.0006, 0.0001, 9.0, 9, False),
    ],
)
def test_clustered_needs_both_corrected_p_values_and_twice_chance(p_silhouette, p_purity, ratio, others, clustered):
    one = a_test(p_silhouette=p_silhouette, p_purity=p_purity)
    one = replace(one, ratio=replace(one.ratio, value=ratio))
    rest = [replace(one, name=str(place), p_silhouette=0.5, p_purity=0.5) for place in range(others)]
    assert correct([*rest, one])[-1].clustered == clustered


def test_correction_is_over_all_categories_and_both_measures():
    values = np.random.default_rng(9).integers(1, 60, (5, 2)) / 1000
    tests = [a_test(name=str(place), p_silhouette=a, p_purity=b) for place, (a, b) in enumerate(values.tolist())]
    found = correct(tests)
    assert np.ravel([(entry.holm_silhouette, entry.holm_purity) for entry in found]) == pytest.approx(
        holm(values.ravel())
    )
    assert correct([]) == ()
