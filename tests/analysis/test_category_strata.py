"""Strata by form and token count, and random sets of their rows: each row and pair of a stratum equally likely."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import category_tables_made as made
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from category_null import p_value, random_sets
from category_strata import FormClass, form_class, make_strata
from category_tests import prepare

SMALLEST = 1e-4  # p-value below which a draw is called uneven


@pytest.mark.parametrize(
    ("text", "space", "letters", "capital"),
    [
        (" red", True, "letters", False),
        ("red", False, "letters", False),
        (" Red", True, "letters", True),
        ("RED", False, "letters", True),
        (" 1990", True, "digits", False),
        ("12", False, "digits", False),
        ("\u0663", False, "digits", False),  # Arabic-Indic three
        ("\u00bd", False, "other", False),  # one half is no decimal
        ("1st", False, "other", False),
        (" don't", True, "other", False),
        ("U.S", False, "other", True),
        ("--", False, "other", False),
        (" ", True, "other", False),
        ("", False, "other", False),
        ("\n", False, "other", False),
        (" \ufffd", True, "other", False),
        ("\ud800", False, "other", False),
        (" \u00c9tat", True, "letters", True),
        (" \u4e2d\u6587", True, "letters", False),
        ("\u2126", False, "letters", True),  # the ohm sign is a capital letter
        ("  two", True, "letters", False),
    ],
)
def test_the_form_of_a_text(text, space, letters, capital):
    assert form_class(text) == FormClass(space, letters, capital)


def check_division(texts, counts, candidates, strata):
    """Each candidate in one stratum, the index both ways, ascending counts, later rows first among equals."""
    listed = np.concatenate(strata.rows)
    assert sorted(listed) == np.flatnonzero(candidates).tolist()
    assert (strata.of_row[~candidates] == -1).all()
    assert (strata.place[~candidates] == -1).all()
    for index, rows in enumerate(strata.rows):
        assert (strata.of_row[rows] == index).all()
        assert strata.place[rows].tolist() == list(range(len(rows)))
        keys = [(counts[row], -row) for row in rows]
        assert keys == sorted(keys)


def test_every_candidate_is_in_one_stratum_of_its_form_and_count():
    vocabulary = made.vocabulary(3000)
    candidates = np.random.default_rng(0).random(3000) < 0.9
    strata = make_strata(vocabulary.texts, vocabulary.counts, candidates)
    check_division(vocabulary.texts, vocabulary.counts, candidates, strata)
    forms = [{form_class(vocabulary.texts[row]) for row in rows} for rows in strata.rows]
    assert {len(found) for found in forms} == {1}
    assert strata.merged == ()
    assert strata.matched_by == "form and token count"
    assert {len(rows) for rows in strata.rows} <= set(range(100, 200))
    for form in set(map(frozenset, forms)):
        blocks = [vocabulary.counts[rows] for rows, found in zip(strata.rows, forms, strict=True) if found == form]
        assert len(blocks) == sum(map(len, blocks)) // 100
        assert np.ptp([len(block) for block in blocks]) <= 1
        assert all(before.max() <= after.min() for before, after in pairwise(blocks))


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 700),
    size=st.integers(20, 150),
    seed=st.integers(0, 999),
    highest=st.sampled_from([1, 5, 10**6]),
)
def test_any_vocabulary_is_divided(rows, size, seed, highest):
    rng = np.random.default_rng(seed)
    letters = np.array([" a", "b", " C", "1", " 2", "-", " ..", "\u00bd", "D"])
    texts = [str(text) for text in rng.choice(letters, rows, p=rng.dirichlet(np.ones(len(letters)) / 2))]
    counts, candidates = rng.integers(0, highest, rows), rng.random(rows) < 0.8
    candidates[rng.integers(rows)] = True
    strata = make_strata(texts, counts, candidates, size)
    check_division(texts, counts, candidates, strata)
    assert all(len(block) < 2 * size for block in strata.rows)
    whole = Counter(form_class(texts[row]) for row in np.flatnonzero(candidates))
    few = sum(number < 50 for number in whole.values())
    assert bool(strata.merged) == (few > 0 and len(whole) > 1)
    if candidates.sum() >= 50:
        assert all(len(block) >= min(size, 50) for block in strata.rows)


def test_small_forms_join_others_and_it_is_said():
    texts = [" word"] * 120 + [" Word"] * 30 + ["word"] * 80 + ["12"] * 7 + ["Word"] * 60
    strata = make_strata(texts, np.arange(len(texts), 0, -1), np.ones(len(texts), bool))
    assert strata.merged == (
        "7 tokens of digits without leading space stand with those of letters without leading space",
        "30 tokens of capitalised letters with leading space stand with those of letters with leading space",
    )
    joined = [sorted({form_class(texts[row]) for row in rows}) for rows in strata.rows]
    assert [FormClass(True, "letters", False), FormClass(True, "letters", True)] in joined
    assert [FormClass(False, "digits", False), FormClass(False, "letters", False)] in joined
    assert [FormClass(False, "letters", True)] in joined


def test_one_token_stands_and_two_stand():
    texts = [" word"] * 120 + ["12"] + [" 1990"] * 2 + ["Word"] * 60
    strata = make_strata(texts, np.ones(len(texts), int), np.ones(len(texts), bool))
    assert strata.merged == (
        "1 token of digits without leading space stands with those of capitalised letters without leading space",
        "2 tokens of digits with leading space stand with those of letters with leading space",
    )


def test_a_small_form_without_a_like_joins_the_largest():
    texts = ["word"] * 300 + [" 12"] * 20 + ["-"] * 60
    strata = make_strata(texts, np.ones(380, int), np.ones(380, bool))
    assert strata.merged == (
        "20 tokens of digits with leading space stand with those of letters without leading space",
    )
    assert sorted(map(len, strata.rows)) == [60, 106, 107, 107]


def test_the_words_of_an_uncased_vocabulary_with_pieces():
    texts = [f" {made.word(row)}" for row in range(250)] + [made.word(row) for row in range(150)] + [" 1990"] * 60
    strata = make_strata(texts, np.arange(460)[::-1], np.ones(460, bool))
    assert [len(rows) for rows in strata.rows] == [125, 125, 150, 60]
    assert strata.merged == ()


def test_without_counts_the_rows_order_takes_their_place():
    texts = [made.word(row) for row in range(400)]
    strata = make_strata(texts, np.zeros(400, int), np.ones(400, bool))
    assert strata.matched_by == "form and place in the vocabulary (no token counts are known)"
    assert [rows.tolist() for rows in strata.rows] == [
        list(range(first + 99, first - 1, -1)) for first in (300, 200, 100, 0)
    ]


def test_no_candidate_is_an_error():
    with pytest.raises(ValueError, match="expected rows to divide into strata, found none"):
        make_strata(["a"], np.ones(1, int), np.zeros(1, bool))


def test_the_pool_is_all_rows_of_the_members_strata():
    vocabulary = made.vocabulary(1500)
    members = np.array([3, 4, 700, 1400])
    pool = vocabulary.strata.pool(members)
    of = vocabulary.strata.of_row
    assert pool.tolist() == np.flatnonzero(np.isin(of, of[members])).tolist()


# Random sets. One small vocabulary: two strata, of 12 and 9 rows, that lie mixed.


def two_strata():
    of_row = np.random.default_rng(1).permutation(np.repeat([0, 1, -1], [12, 9, 3]))
    texts = [" ab" if stratum else "12" for stratum in of_row]
    rows = tuple(np.flatnonzero(of_row == index) for index in (0, 1))
    strata = make_strata(texts, np.ones(24, int), of_row >= 0)
    return type(strata)(of_row, np.zeros(24, int), rows, "", ())


def test_a_random_set_has_the_members_strata_and_no_row_twice():
    vocabulary = made.vocabulary(2000)
    rng = np.random.default_rng(2)
    for size in (1, 2, 13, 60):
        members = rng.choice(2000, size, replace=False)
        sets = random_sets(vocabulary.strata, members, 300, rng)
        assert sets.shape == (300, size)
        assert (vocabulary.strata.of_row[sets] == vocabulary.strata.of_row[members]).all()
        assert all(len(set(rows)) == size for rows in sets.tolist())


def test_a_whole_stratum_can_be_drawn():
    strata = two_strata()
    sets = random_sets(strata, np.concatenate(strata.rows), 50, np.random.default_rng(3))
    assert (np.sort(sets, axis=1) == np.sort(np.concatenate(strata.rows))).all()


@pytest.mark.parametrize("drawn", [1, 2, 4, 11])
def test_each_row_of_a_stratum_is_drawn_as_often(drawn):
    """Chi-square of counts of rows drawn without replacement: divided by the variance, times (n - 1) / n."""
    strata, number = two_strata(), 6000
    members = np.concatenate([strata.rows[0][:drawn], strata.rows[1][:2]])
    sets = random_sets(strata, members, number, np.random.default_rng(4))
    for rows, inside, size in ((strata.rows[0], sets[:, :drawn], drawn), (strata.rows[1], sets[:, drawn:], 2)):
        times = np.array([(inside == row).sum() for row in rows])
        share = size / len(rows)
        square = ((times - number * share) ** 2).sum() / (number * share * (1 - share)) * (len(rows) - 1) / len(rows)
        assert SMALLEST < stats.chi2.sf(square, len(rows) - 1) < 1 - SMALLEST
        for column in inside.T:  # each column is a draw of its own
            assert stats.chisquare([(column == row).sum() for row in rows]).pvalue > SMALLEST


def test_each_pair_is_drawn_as_often():
    strata = two_strata()
    members = np.array([*strata.rows[0][[0, 5]], strata.rows[1][3]])
    sets = random_sets(strata, members, 30_000, np.random.default_rng(5))
    ordered = Counter(map(tuple, sets[:, :2].tolist()))
    assert len(ordered) == 12 * 11
    assert stats.chisquare(list(ordered.values())).pvalue > SMALLEST
    across = Counter(map(tuple, sets[:, 1:].tolist()))
    assert len(across) == 12 * 9
    assert stats.chisquare(list(across.values())).pvalue > SMALLEST


def test_a_row_in_no_stratum_or_twice_is_refused():
    strata = two_strata()
    outside = np.flatnonzero(strata.of_row < 0)[0]
    with pytest.raises(ValueError, match=f"row {outside} is in no stratum"):
        random_sets(strata, np.array([strata.rows[0][0], outside]), 5, np.random.default_rng(6))
    with pytest.raises(ValueError, match="twice"):
        random_sets(strata, np.array([strata.rows[0][0]] * 2), 5, np.random.default_rng(6))


def test_a_p_value_counts_the_set_itself_and_equal_values():
    null = np.array([0.1, 0.2, 0.3, 0.4])
    assert [p_value(value, null) for value in (0.5, 0.4, 0.35, 0.1, 0.0)] == [0.2, 0.4, 0.4, 1.0, 1.0]
    assert p_value(0.3 + 1e-12, null) == p_value(0.3 - 1e-12, null) == 0.6
    assert p_value(0.3 + 1e-6, null) == 0.4


def test_categories_that_cannot_be_tested_are_listed():
    vocabulary = made.vocabulary(1000)
    strata, rows = vocabulary.strata, vocabulary.strata.rows
    half = len(rows[0]) // 2
    members = {
        "none": [],
        "two": rows[1][:2].tolist(),
        "twice": [*rows[1][:2], rows[1][0]],
        "three": rows[2][:3].tolist(),
        "half": rows[0][:half].tolist(),
        "more": rows[0][: half + 1].tolist(),
    }
    found, few = prepare(members, frozenset({"three"}), strata, 99)
    assert [category.name for category in found] == ["three", "half"]
    assert few == {"none": 0, "two": 2, "twice": 2, "more": half + 1}
    assert [(category.k, category.grammatical) for category in found] == [(2, True), (10, False)]
    for category in found:
        assert np.array_equal(category.pool[category.places], category.rows)
        assert (strata.of_row[category.pool[category.sets]] == strata.of_row[category.rows]).all()
        assert np.array_equal(category.stratum, strata.of_row[category.pool])
