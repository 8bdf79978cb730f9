"""The rows that categories are tested on: least squares in each stratum, no trend over token count left, an exact permutation test."""

from __future__ import annotations

import category_tables_made as made
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import clustering
from category_space import SPACES, WORDS, category_rows
from category_strata import Strata, make_strata
from category_tests import measure, prepare
from dump import Dump

DIM = 16


def a_table(kind="all", seed=0, rows=1200):
    """A made vocabulary and a table float32 (rows, DIM) of one kind."""
    vocabulary = made.vocabulary(rows)
    return vocabulary, made.table(kind, vocabulary.frequency, DIM, np.random.default_rng((seed, 31)))


def of_length_one(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def least_squares(values, strata: Strata, counts):
    """Unit residuals float64 (rows, dim) by LAPACK, zero for rows in no stratum."""
    result = np.zeros(values.shape)
    for rows in strata.rows:
        line = np.stack([np.ones(len(rows)), np.log(1 + counts[rows].astype(np.float64))], axis=1)
        inside = values[rows].astype(np.float64)
        solved, _, _, _ = np.linalg.lstsq(line, inside, rcond=None)
        result[rows] = of_length_one(inside - line @ solved)
        alone = (
            np.diagonal(line @ np.linalg.pinv(line)) > 1 - 1e-9
        )  # the line goes through the row: no residual but rounding
        result[rows[alone]] = 0
    return result


@pytest.mark.parametrize("kind", made.KINDS)
def test_rows_are_the_unit_residuals_of_least_squares_in_each_stratum(kind):
    vocabulary, values = a_table(kind)
    found = category_rows(values, vocabulary.strata, vocabulary.counts)
    assert found.dtype == np.float32
    assert found == pytest.approx(least_squares(values, vocabulary.strata, vocabulary.counts), abs=2e-6)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(60, 400),
    highest=st.sampled_from([1, 2, 40, 10**9]),
    offset=st.sampled_from([0, 3, 1e4]),
    seed=st.integers(0, 10**6),
)
def test_any_counts_and_offsets_give_the_residuals_of_least_squares(rows, highest, offset, seed):
    rng = np.random.default_rng(seed)
    texts = [str(text) for text in rng.choice([" a", "b", " C"], rows)]
    counts, candidates = rng.integers(0, highest, rows), rng.random(rows) < 0.9
    strata = make_strata(texts, counts, candidates, 60)
    values = (rng.normal(size=(rows, DIM)) + offset * rng.normal(size=DIM)).astype(np.float32)
    found = category_rows(values, strata, counts)
    assert found == pytest.approx(least_squares(values, strata, counts), abs=2e-6)
    assert not found[~candidates].any()


@pytest.mark.parametrize("count", [0, 1, 7, 10**9])
def test_strata_of_equal_counts_lose_their_mean_and_no_more(count):
    """They have no slope, and neither has their rounding."""
    texts = [f" {made.word(row)}" for row in range(450)]
    counts = np.full(450, count)
    values = np.random.default_rng(3).normal(2, 1, (450, DIM)).astype(np.float32)
    strata = make_strata(texts, counts, np.ones(450, bool))
    found = category_rows(values, strata, counts)
    assert len(strata.rows) == 4
    for rows in strata.rows:
        expected = of_length_one(values[rows] - values[rows].mean(axis=0, dtype=np.float64))
        assert found[rows] == pytest.approx(expected, abs=1e-6)


def test_strata_of_tokens_that_never_occur_lose_their_mean_and_others_a_line():
    vocabulary = made.vocabulary(2400, size=50)
    values = made.table("all", vocabulary.frequency, DIM, np.random.default_rng(6))
    found = category_rows(values, vocabulary.strata, vocabulary.counts)
    level = [not np.ptp(vocabulary.counts[rows]) for rows in vocabulary.strata.rows]
    assert 0 < sum(level) < len(level)
    for rows, same in zip(vocabulary.strata.rows, level, strict=True):
        centred = of_length_one(values[rows] - values[rows].mean(axis=0, dtype=np.float64))
        assert (np.abs(found[rows] - centred).max() < 1e-6) == same


@pytest.mark.parametrize("space", SPACES)
def test_rows_in_no_stratum_are_zero_and_change_nothing(space):
    vocabulary, values = a_table()
    candidates = np.random.default_rng(1).random(len(values)) < 0.8
    strata = make_strata(vocabulary.texts, vocabulary.counts, candidates)
    found = category_rows(values, strata, vocabulary.counts, space)
    assert not found[~candidates].any()
    assert found[candidates].any(axis=1).all()
    other = np.where(candidates[:, None], values, np.float32(1e6))
    assert np.array_equal(category_rows(other, strata, vocabulary.counts, space), found)


def test_the_other_spaces_are_less_the_common_vector_and_as_they_are():
    vocabulary, values = a_table()
    inside = np.random.default_rng(1).random(len(values)) < 0.8
    strata = make_strata(vocabulary.texts, vocabulary.counts, inside)
    common = values[inside].astype(np.float64).mean(axis=0)
    centred = category_rows(values, strata, vocabulary.counts, "centred")
    assert centred[inside] == pytest.approx(of_length_one(values[inside] - common), abs=1e-6)
    raw = category_rows(values, strata, vocabulary.counts, "raw")
    assert raw[inside] == pytest.approx(of_length_one(values[inside]), abs=1e-6)
    assert set(WORDS) == set(SPACES) == {"matched", "centred", "raw"}


@pytest.mark.parametrize(("others", "own"), [(0, 1), (0, 10**9), (7, 0), (10**6, 10**6 + 10**4)])
def test_a_row_that_fixes_its_stratums_line_has_no_direction_and_the_others_lose_their_mean(others, own):
    """Its count alone differs: the line goes through it, and what is left is rounding."""
    values = np.random.default_rng(7).normal(2, 1, (120, DIM)).astype(np.float32)
    counts = np.full(120, others)
    counts[50] = own
    strata = make_strata([f" {made.word(row)}" for row in range(120)], counts, np.ones(120, bool))
    found = category_rows(values, strata, counts)
    rest = np.delete(values, 50, axis=0).astype(np.float64)
    assert not found[50].any()
    assert np.delete(found, 50, axis=0) == pytest.approx(of_length_one(rest - rest.mean(axis=0)), abs=1e-6)


def test_two_rows_of_another_count_keep_what_is_between_them():
    values, counts = np.random.default_rng(8).normal(2, 1, (120, DIM)).astype(np.float32), np.zeros(120, np.int64)
    counts[[50, 70]] = 3
    strata = make_strata([f" {made.word(row)}" for row in range(120)], counts, np.ones(120, bool))
    found = category_rows(values, strata, counts)
    between = values[50].astype(np.float64) - values[70]
    assert found[50] == pytest.approx(between / np.linalg.norm(between), abs=1e-6)
    assert found[70] == pytest.approx(-found[50], abs=1e-6)


def test_rows_that_are_all_alike_have_no_direction():
    vocabulary, values = a_table()
    alike = vocabulary.strata.rows[2]
    values[alike] = values[alike[0]]
    found = category_rows(values, vocabulary.strata, vocabulary.counts)
    assert not found[alike].any()
    assert np.count_nonzero(found.any(axis=1)) == len(values) - len(alike)


def test_the_table_itself_is_left_as_it_was():
    vocabulary, values = a_table()
    before = values.copy()
    for space in SPACES:
        category_rows(values, vocabulary.strata, vocabulary.counts, space)
    assert np.array_equal(values, before)


def with_trends(vocabulary, values, amount, rng):
    """To each row a vector of its stratum and another times log (1 + count), both different in each stratum."""
    number, of = len(vocabulary.strata.rows), vocabulary.strata.of_row
    base, slope = amount * rng.normal(size=(2, number, values.shape[1]))
    return values + base[of] + np.log1p(vocabulary.counts)[:, None] * slope[of]


@pytest.mark.parametrize("amount", [0.1, 3.0, 100.0])
def test_trends_over_log_count_change_nothing_whatever_they_are_in_each_stratum(amount):
    """This is what the space is for."""
    vocabulary, values = a_table("norms")
    exact = values.astype(np.float64)
    moved = with_trends(vocabulary, exact, amount, np.random.default_rng(2))
    own = category_rows(exact, vocabulary.strata, vocabulary.counts)
    assert category_rows(moved, vocabulary.strata, vocabulary.counts) == pytest.approx(own, abs=1e-6)
    centred = category_rows(exact, vocabulary.strata, vocabulary.counts, "centred")
    assert np.abs(category_rows(moved, vocabulary.strata, vocabulary.counts, "centred") - centred).max() > 0.05


@pytest.mark.parametrize("offset", [10.0, 1e3, 1e5])
def test_a_large_common_offset_costs_no_more_than_the_tables_own_rounding(offset):
    """In float32 a value near 1e5 is known to 1 / 256; the residuals are exact for the table as it is, and as good as that."""
    vocabulary, values = a_table("gaussian")
    moved = (values + offset * np.random.default_rng(4).normal(size=DIM)).astype(np.float32)
    found = category_rows(moved, vocabulary.strata, vocabulary.counts)
    assert found == pytest.approx(least_squares(moved, vocabulary.strata, vocabulary.counts), abs=1e-6)
    own = category_rows(values, vocabulary.strata, vocabulary.counts)
    assert np.abs(found - own).max() < 2 * offset * 2.0**-23 + 1e-6


def test_the_scale_of_a_table_changes_nothing():
    vocabulary, values = a_table()
    own = category_rows(values, vocabulary.strata, vocabulary.counts)
    for scale in (1e-12, 1e12):
        scaled = category_rows(values * np.float32(scale), vocabulary.strata, vocabulary.counts)
        assert scaled == pytest.approx(own, abs=1e-6)


def test_the_permutation_test_stays_exact():
    """160 tables of whatever kind: drift of four row lengths, three clusters, heavy tails; members are any of their strata.

    The residuals do not know which of a stratum's rows are members, so p is uniform on 1/200, 2/200 ... 1 whatever the table is.
    """
    vocabulary, silhouettes, purities = made.vocabulary(800), [], []
    for number in range(160):
        rng = np.random.default_rng((40, number))
        rows = made.steep(4, vocabulary.frequency, DIM, rng)
        rows += 4 * rng.normal(size=(3, DIM))[rng.integers(0, 3, len(rows))]
        rows *= rng.standard_t(3, (len(rows), 1)) ** 2
        members = made.like_any(vocabulary.strata, made.alike_in_frequency(vocabulary, 8, rng), rng)
        unit = made.unit(vocabulary, rows)
        (category,), _ = prepare({"any": members.tolist()}, frozenset(), vocabulary.strata, 199, seed=number)
        test = measure(unit, category, 199)
        silhouettes.append(test.p_silhouette)
        purities.append(test.p_purity)
    jitter = np.random.default_rng(5).uniform(0, 1 / 200, 160)
    assert stats.kstest(np.array(silhouettes) - jitter, "uniform").pvalue > 0.001
    assert (np.array(purities) <= 0.05).sum() <= stats.binom.ppf(0.9995, 160, 0.05)


# What the command makes of it.


def test_the_result_says_in_which_space_it_was_tested(synthetic):
    """Golden: its words; the numbers differ, and without a choice the space is "matched"."""
    dump = Dump.open(synthetic.path)
    found = {space: clustering.analyse(dump, snapshots=1, permutations=99, space=space) for space in SPACES}
    words = {
        "matched": "rows are taken less the trend over log token count of their stratum.",
        "centred": "rows are taken less the common vector.",
        "raw": "rows are taken as they are.",
    }
    assert {space: result.matching.count(words[space]) for space, result in found.items()} == dict.fromkeys(SPACES, 1)
    silhouettes = {space: [test.silhouette.value for test in result.last.categories] for space, result in found.items()}
    assert len({tuple(values) for values in silhouettes.values()}) == 3
    usual = clustering.analyse(dump, snapshots=1, permutations=99)
    assert usual.last == found["matched"].last
    assert usual.matching == found["matched"].matching


@pytest.mark.parametrize("space", [None, *SPACES])
def test_the_command_takes_the_space(synthetic, space, tmp_path, monkeypatch, capsys):
    asked = []

    def analyse(dump, table, **chosen):
        asked.append(chosen.pop("space"))
        return whole(dump, table, snapshots=1, space=asked[-1], **chosen)

    whole = clustering.analyse
    monkeypatch.setattr(clustering, "analyse", analyse)
    monkeypatch.setattr(clustering, "figures", lambda *_: [])
    arguments = [str(synthetic.path), "--out", str(tmp_path), "--permutations", "99"]
    assert clustering.main(arguments + (["--space", space] if space else [])) == 0
    assert asked == [space or "matched"]
    assert f"rows are taken {WORDS[asked[0]]}." in capsys.readouterr().out


def test_the_command_refuses_another_space(synthetic, tmp_path, capsys):
    with pytest.raises(SystemExit):
        clustering.main([str(synthetic.path), "--out", str(tmp_path), "--space", "whitened"])
    assert "invalid choice: 'whitened'" in capsys.readouterr().err
