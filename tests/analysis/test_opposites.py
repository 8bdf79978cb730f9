"""Opposites: means, intervals and controls by brute force, false positives at the nominal rate, planted pairs, one blob of words."""

from __future__ import annotations

from itertools import permutations

import category_tables_made as made
import numpy as np
import pytest
from scipy import stats

from opposites import OppositesTest, measure, prepare

OUTSIDE = 5e-4  # chance that a right test leaves its binomial band at one side


def measured(unit, pairs, strata, permutations=499, seed=0) -> OppositesTest:
    """The test of the pairs, prepared and measured."""
    prepared = prepare([(int(first), int(second)) for first, second in pairs], strata, permutations, seed)
    assert prepared is not None
    return measure(unit, prepared, permutations, seed)


def like_pairs(vocabulary, number, rng, spread=0.15):
    """Pairs of different rows of the null hypothesis: any rows of strata that lie about one frequency."""
    rows = made.like_any(vocabulary.strata, made.alike_in_frequency(vocabulary, 2 * number, rng, spread), rng)
    return rng.permutation(rows).reshape(number, 2)


def a_table(kind="drift", seed=0, space="centred"):
    """Less the common vector alone, as words of other strata have other matched means then."""
    vocabulary = made.vocabulary(1200)
    rng = np.random.default_rng((seed, 99))
    return vocabulary, made.unit(vocabulary, made.table(kind, vocabulary.frequency, 16, rng), space), rng


def matched_mean(unit, strata, first, second):
    """The mean cosine of all pairs of different tokens, one of each word's stratum, pair by pair."""
    left, right = (strata.rows[strata.of_row[row]] for row in (first, second))
    return np.mean([float(unit[a].astype(float) @ unit[b]) for a in left for b in right if a != b])


def less_matched(unit, strata, pairs):
    """Each first word's cosine with each second one (pairs, pairs) less their matched mean; NaN for a word with itself."""
    result = np.full((len(pairs), len(pairs)), np.nan)
    for row, (first, _) in enumerate(pairs):
        for column, (_, second) in enumerate(pairs):
            if first != second:
                cosine = float(unit[first].astype(float) @ unit[second])
                result[row, column] = cosine - matched_mean(unit, strata, first, second)
    return result


def with_shared_words(vocabulary, rng, number=4):
    """Pairs of any words, three more whose words stand on both sides of others (big small, small big's), two of one stratum."""
    pairs = like_pairs(vocabulary, number, rng).tolist()
    (a, b), (c, d), *_ = pairs
    first, second = vocabulary.strata.rows[2][[5, 60]].tolist()
    return np.array([*pairs, (b, d), (a, c), (first, second), (second, a)])


def test_cosines_matched_means_and_the_difference_are_those_of_brute_force():
    vocabulary, unit, rng = a_table()
    strata = vocabulary.strata
    inside = rng.choice(strata.rows[1], 4, replace=False)
    pairs = [*like_pairs(vocabulary, 6, rng), inside[:2], inside[2:], (strata.rows[0][3], strata.rows[-1][4])]
    found = measured(unit, pairs, strata)
    cosines = [float(unit[first].astype(float) @ unit[second]) for first, second in pairs]
    matched = [matched_mean(unit, strata, first, second) for first, second in pairs]
    assert found.pairs == tuple((int(first), int(second)) for first, second in pairs)
    assert found.cosines == pytest.approx(cosines, abs=1e-5)
    assert found.matched == pytest.approx(matched, abs=1e-5)
    difference = np.subtract(cosines, matched)
    ends = stats.t.interval(0.95, len(pairs) - 1, difference.mean(), stats.sem(difference))
    assert found.difference.value == pytest.approx(difference.mean(), abs=1e-5)
    assert found.difference.interval == pytest.approx(ends, abs=1e-5)
    assert (found.difference.over, found.repaired.over) == ("pairs", "pairs")


@pytest.mark.parametrize("space", ["centred", "matched"])
@pytest.mark.parametrize("shared", [False, True])
def test_the_difference_from_other_partners_is_that_of_brute_force(shared, space):
    vocabulary, unit, rng = a_table(space=space)
    pairs = with_shared_words(vocabulary, rng) if shared else like_pairs(vocabulary, 9, rng)
    found = measured(unit, pairs, vocabulary.strata)
    cosines = less_matched(unit, vocabulary.strata, pairs)
    assert np.isnan(cosines).any() == shared
    values = []
    for place in range(len(pairs)):
        others = [other for other in range(len(pairs)) if other != place]
        met = [*cosines[place, others], *cosines[others, place]]
        values.append(cosines[place, place] - np.nanmean(met))
    assert found.repaired.value == pytest.approx(np.mean(values), abs=1e-5)
    ends = stats.t.interval(0.95, len(pairs) - 1, np.mean(values), stats.sem(values))
    assert found.repaired.interval == pytest.approx(ends, abs=1e-5)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("seed", [5, 6, 7])
def test_the_repaired_p_value_is_that_of_all_permutations(shared, seed):
    """Six pairs have 720 ways to be paired; a word with itself counts for nothing, as far as its matched mean goes."""
    vocabulary, unit, rng = a_table(seed=seed)
    pairs = with_shared_words(vocabulary, rng, 2) if shared else like_pairs(vocabulary, 6, rng)
    cosines = np.nan_to_num(less_matched(unit, vocabulary.strata, pairs), nan=0.0)
    every = np.array([cosines[np.arange(6), list(order)].mean() for order in permutations(range(6))])
    exact = (every >= np.trace(cosines) / 6 - 1e-7).mean()
    found = measured(unit, pairs, vocabulary.strata, 19_999)
    assert found.p_repaired == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 20_000) + 1e-4)


def test_other_partners_are_met_at_their_own_matched_mean():
    """Golden: two strata at right angles, rows of each alike. Partners of one stratum have cosine 1, of two 0: as matched pairs have."""
    vocabulary = made.vocabulary(1200)
    left, right = vocabulary.strata.rows[:2]
    unit = np.zeros((1200, 2), np.float32)
    unit[left, 0] = unit[right, 1] = 1
    pairs = [(left[0], left[1]), (left[2], left[3]), (right[0], right[1]), (right[2], right[3])]
    found = measured(unit, pairs, vocabulary.strata)
    assert found.cosines == pytest.approx([1] * 4)
    assert found.matched == pytest.approx([1] * 4)
    assert (found.repaired.value, found.p_repaired) == (pytest.approx(0, abs=1e-6), 1.0)


def test_random_pairs_differ_from_their_matched_mean_by_nothing():
    vocabulary, unit, rng = a_table("all")
    found = measured(unit, like_pairs(vocabulary, 12, rng), vocabulary.strata, 9999)
    low, mean, high = found.null
    assert abs(mean) < 4 * (high - low) / 3.9 / np.sqrt(9999)
    assert low < mean < high


def test_a_word_of_two_pairs_is_one_word_in_the_random_pairs():
    vocabulary = made.vocabulary(800)
    pairs = [(5, 300), (5, 400), (6, 300), (300, 12)]
    prepared = prepare(pairs, vocabulary.strata, 200)
    assert prepared is not None
    drawn = prepared.drawn
    assert drawn.shape == (200, 4, 2)
    assert (drawn[:, 0, 0] == drawn[:, 1, 0]).all()
    assert (drawn[:, 0, 1] == drawn[:, 2, 1]).all()
    assert (drawn[:, 0, 1] == drawn[:, 3, 0]).all()
    assert (drawn[:, :, 0] != drawn[:, :, 1]).all()
    assert (vocabulary.strata.of_row[drawn] == vocabulary.strata.of_row[np.array(pairs)]).all()


def test_a_word_is_never_paired_with_itself():
    """Rows at right angles: no two words have anything in common, so other partners cannot either."""
    vocabulary = made.vocabulary(400)
    unit = np.eye(400, dtype=np.float32)
    found = measured(unit, [(0, 1), (1, 2), (3, 4), (5, 6)], vocabulary.strata)
    assert found.repaired.value == pytest.approx(0)


def test_fewer_than_three_pairs_or_words_outside_the_strata_are_not_tested():
    vocabulary = made.vocabulary(400)
    strata = vocabulary.strata
    assert prepare([], strata, 99) is None
    assert prepare([(0, 1), (2, 3)], strata, 99) is None
    strata.of_row[7] = -1
    assert prepare([(0, 1), (2, 3), (4, 7)], strata, 99) is None
    usable = prepare([(0, 1), (7, 9), (2, 3), (4, 5)], strata, 99)
    assert usable is not None
    assert usable.rows.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_fewer_random_pairs_are_the_first_ones():
    vocabulary, unit, rng = a_table()
    pairs = [tuple(map(int, pair)) for pair in like_pairs(vocabulary, 8, rng)]
    many, few = (prepare(pairs, vocabulary.strata, number) for number in (999, 99))
    assert many is not None
    assert few is not None
    assert measure(unit, many, 999).difference == measure(unit, few, 99).difference
    assert measure(unit, few, 99).p * 100 == pytest.approx(round(measure(unit, few, 99).p * 100))
    assert measure(unit, many, 99).p_repaired == measure(unit, few, 99).p_repaired


def p_values(vocabulary, kind, pairs_of, space="matched", times=50):
    """Of `times` tables without structure: (times, 2), p of the difference and of the repaired difference."""
    found = []
    for number in range(times):
        rng = np.random.default_rng((made.KINDS.index(kind), number, 7))
        unit = made.unit(vocabulary, made.table(kind, vocabulary.frequency, 24, rng), space)
        test = measured(unit, pairs_of(rng), vocabulary.strata, 199, number)
        found.append((test.p, test.p_repaired))
    return np.array(found)


def test_false_positives_are_at_the_nominal_rate():
    """200 tables; pairs in which neither the strata nor the two words' frequencies go together."""
    vocabulary = made.vocabulary(1600)
    p = np.concatenate([p_values(vocabulary, kind, lambda rng: like_pairs(vocabulary, 12, rng)) for kind in made.KINDS])
    low, high = stats.binom.ppf([OUTSIDE, 1 - OUTSIDE], len(p), 0.05)
    for column in p.T:
        assert low <= (column <= 0.05).sum() <= high
        assert stats.kstest(column, "uniform").pvalue > 0.001


def pairs_alike(vocabulary, rng):
    """Twelve pairs, each of one stratum of its own: partners are alike in frequency, as opposites are."""
    chosen = rng.choice(len(vocabulary.strata.rows), 12, replace=False)
    return [rng.choice(vocabulary.strata.rows[index], 2, replace=False) for index in chosen]


@pytest.mark.parametrize("space", ["matched", "centred"])
@pytest.mark.parametrize("kind", made.KINDS)
def test_pairs_of_like_frequency_are_no_false_positives(kind, space):
    """Where rows move with their frequency, words of one frequency have more in common than with the other pairs' words.

    That is in their matched means, which are taken off before other partners are.
    """
    vocabulary = made.vocabulary(1600)
    p = p_values(vocabulary, kind, lambda rng: pairs_alike(vocabulary, rng), space)
    assert ((p <= 0.05).sum(axis=0) <= stats.binom.ppf(1 - OUTSIDE, len(p), 0.05)).all()


def with_words_moved(pair_strength, blob_strength, seed, kind="all"):
    """A table of which twenty pairs' words lie near directions of their own pair and, all of them, near one more."""
    vocabulary = made.vocabulary(1600)
    rng = np.random.default_rng((seed, 11))
    rows = made.table(kind, vocabulary.frequency, 24, rng)
    pairs = like_pairs(vocabulary, 20, rng)
    lengths = np.linalg.norm(rows[pairs], axis=2, keepdims=True)
    blob, own = rng.normal(size=(1, 1, 24)), rng.normal(size=(20, 1, 24))
    for strength, direction in ((blob_strength, blob), (pair_strength, own)):
        rows[pairs] += strength * lengths * direction / np.linalg.norm(direction, axis=2, keepdims=True)
    return measured(made.unit(vocabulary, rows), pairs, vocabulary.strata, 999, seed)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_opposites_are_close_in_both_senses(seed):
    found = with_words_moved(1.2, 0, seed)
    assert max(found.p, found.p_repaired) < 0.01
    assert found.difference.interval[0] > 0.05
    assert found.repaired.interval[0] > 0.05


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_words_of_one_blob_are_close_to_each_other_but_not_in_pairs(seed):
    found = with_words_moved(0, 1.5, seed, "drift")
    assert found.p < 0.01
    assert found.difference.interval[0] > 0.05
    assert found.p_repaired > 0.05
    assert abs(found.repaired.value) < 0.2 * found.difference.value
