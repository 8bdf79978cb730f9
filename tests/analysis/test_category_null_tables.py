"""False positives at the nominal rate in tables without categories, of the most frequent words too; planted ones found, and when they form."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import category_tables_made as made
import numpy as np
import pytest
import zarr
from scipy import stats
from synthetic_dump import CATEGORIES, MAIN_TABLE, write_synthetic_dump

import clustering
from category_result import ClusteringResult
from category_tests import correct, measure, prepare
from dump import Dump, DumpError

TABLES = 50  # of each kind
EACH = 6  # categories in a table
PERMUTATIONS = 499  # twelve p-values corrected by Holm can then be below 0.05
DIM = 24
OUTSIDE = 5e-4  # chance that a right test leaves its binomial band at one side


def band(number, level):
    """How many of `number` independent p-values may be at most `level`."""
    return tuple(stats.binom.ppf([OUTSIDE, 1 - OUTSIDE], number, level))


def null_tests(vocabulary, kind, number):
    """One table without categories, and sets of 4 to 12 rows that are alike in frequency and form: each any of their strata."""
    rng = np.random.default_rng((made.KINDS.index(kind), number))
    unit = made.unit(vocabulary, made.table(kind, vocabulary.frequency, DIM, rng))
    members = {
        str(place): made.like_any(
            vocabulary.strata, made.alike_in_frequency(vocabulary, rng.integers(4, 13), rng), rng
        ).tolist()
        for place in range(EACH)
    }
    categories, few = prepare(members, frozenset(), vocabulary.strata, PERMUTATIONS, seed=number)
    assert not few
    return correct([measure(unit, category, PERMUTATIONS) for category in categories])


def test_false_positives_are_at_the_nominal_rate():
    """200 tables, 1,200 categories. Purity takes few values, so its test rejects less often than it may (2 % at 5 %)."""
    vocabulary = made.vocabulary(2000)
    found = {kind: [null_tests(vocabulary, kind, number) for number in range(TABLES)] for kind in made.KINDS}
    for kind, tables in found.items():
        for name in ("silhouette", "purity"):
            p = np.array([getattr(test, f"p_{name}") for tests in tables for test in tests])
            for level in (0.05, 0.01):
                assert (p <= level).sum() <= band(len(p), level)[1], (kind, name)
    tables = [tests for entries in found.values() for tests in entries]
    every = [test for tests in tables for test in tests]
    silhouette, purity = (np.array([getattr(test, f"p_{name}") for test in every]) for name in ("silhouette", "purity"))
    low, high = band(len(every), 0.05)
    assert low <= (silhouette <= 0.05).sum() <= high
    assert 0.2 * low <= (purity <= 0.05).sum() <= high
    assert stats.kstest(silhouette, "uniform").pvalue > 0.001
    smallest = np.array([min(min(test.holm_silhouette, test.holm_purity) for test in tests) for tests in tables])
    assert (smallest <= 0.05).sum() <= band(len(tables), 0.05)[1]  # families with any false positive
    assert not any(test.clustered for test in every)
    assert abs(np.mean([test.purity.value - test.chance for test in every])) < 0.003


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_categories_are_found_and_others_of_the_same_table_are_not(seed):
    """In a table with drift, norms that go with the frequency and rogue dimensions; sizes as those of word lists."""
    vocabulary, permutations = made.vocabulary(2400), 4999
    rng = np.random.default_rng((10, seed))
    rows = made.table("all", vocabulary.frequency, 32, rng)
    free, members = np.ones(2400, bool), {}
    for size in (8, 10, 12, 12, 16, 20):
        for name in ("planted", "other"):
            chosen = made.alike_in_frequency(vocabulary, 3 * size, rng, spread=0.1)
            used = chosen[free[chosen]][:size]
            members[f"{name} {len(members)}"] = used.tolist()
            free[used] = False
    for name, chosen in members.items():
        if name.startswith("planted"):
            direction = rng.normal(size=32)
            lengths = np.linalg.norm(rows[chosen], axis=1, keepdims=True)
            rows[chosen] += 2 * lengths * direction / np.linalg.norm(direction)
    categories, few = prepare(members, frozenset(), vocabulary.strata, permutations, seed=seed)
    assert not few
    unit = made.unit(vocabulary, rows)
    for test in correct([measure(unit, category, permutations) for category in categories]):
        planted = test.name.startswith("planted")
        assert test.clustered == planted, test.name
        if planted:
            assert max(test.holm_silhouette, test.holm_purity) < 0.01
            assert test.ratio.value >= 2
            assert test.within > test.between + 0.2
            assert test.silhouette.value > test.silhouette_null[2]


# The hard case: members are the most frequent of their stratum, and rows move with their frequency.


@pytest.fixture(scope="module")
def words():
    """A vocabulary, and the strata of its words in small letters, the most frequent stratum first."""
    vocabulary = made.vocabulary(2000)
    strata = [rows for rows in vocabulary.strata.rows if vocabulary.texts[rows[0]][0] == " "]
    strata = [rows for rows in strata if vocabulary.texts[rows[0]].islower()]
    return vocabulary, sorted(strata, key=lambda rows: -vocabulary.counts[rows].sum())


def of_the_top_fifth(rows, rng):
    """Ten of the most frequent fifth of a stratum: not like any of their strata."""
    return rng.choice(rows[-len(rows) // 5 :], 10, replace=False)


def false_positives(vocabulary, choose, strength, space):
    """Of two sets in each of 50 tables: p of silhouette at most 0.05, p of purity at most 0.05, passes (both 0.01, twice chance)."""
    found = []
    for number in range(50):
        rng = np.random.default_rng((20, number))
        unit = made.unit(vocabulary, made.steep(strength, vocabulary.frequency, DIM, rng), space)
        members = {str(place): choose(rng).tolist() for place in range(2)}
        categories, _ = prepare(members, frozenset(), vocabulary.strata, 199, seed=number)
        found += [measure(unit, category, 199) for category in categories]
    return np.array([(test.p_silhouette <= 0.05, test.p_purity <= 0.05, test.passes) for test in found]).sum(axis=0)


@pytest.mark.parametrize(("strength", "centred"), [(1, (42, 19, 5)), (2, (82, 60, 23)), (4, (100, 89, 60))])
def test_the_most_frequent_words_are_no_category_once_the_trend_is_off(words, strength, centred):
    """Counts of the first stratum differ hundredfold: less the common vector alone, any ten of its most frequent words stand together.

    `strength`: the drift in lengths of a row. `centred`: of 100 sets, in that space; with the trend off they are 0, 3 or 4, and 0.
    """
    vocabulary, (top, *_) = words
    assert vocabulary.counts[top[-1]] > 100 * vocabulary.counts[top[0]]
    high = band(100, 0.05)[1]
    found = false_positives(vocabulary, lambda rng: of_the_top_fifth(top, rng), strength, "matched")
    assert (found <= (high, high, 1)).all()
    found = false_positives(vocabulary, lambda rng: of_the_top_fifth(top, rng), strength, "centred")
    assert np.abs(found - centred).max() <= 15  # three standard deviations of 100 sets
    assert found[:2].min() > high


@pytest.mark.parametrize("space", ["matched", "centred"])
def test_words_of_the_middle_strata_are_no_category_in_either_space(words, space):
    """Their counts differ little within a stratum. One stratum, and one word each of ten."""
    vocabulary, (_, *others) = words
    middle, high = others[len(others) // 2], band(100, 0.05)[1]
    for choose in (
        lambda rng: of_the_top_fifth(middle, rng),
        lambda rng: np.array([of_the_top_fifth(rows, rng)[0] for rows in others[:10]]),
    ):
        assert (false_positives(vocabulary, choose, 4, space) <= (high, high, 2)).all()


@pytest.mark.parametrize("strength", [1, 2, 4])
def test_a_planted_category_of_the_most_frequent_words_is_found(words, strength):
    """It moves by 1.2 lengths of a row; the trend over the first stratum takes a part of that off."""
    vocabulary, (top, *_) = words
    for number in range(6):
        rng = np.random.default_rng((30, number))
        rows, members = made.steep(strength, vocabulary.frequency, DIM, rng), of_the_top_fifth(top, rng)
        direction = rng.normal(size=DIM)
        lengths = np.linalg.norm(rows[members], axis=1, keepdims=True)
        rows[members] += 1.2 * lengths * direction / np.linalg.norm(direction)
        (category,), _ = prepare({"top": members.tolist()}, frozenset(), vocabulary.strata, 999, seed=number)
        assert measure(made.unit(vocabulary, rows), category, 999).passes


# When a category forms.


def steps(*passed, updates=(0, 1, 2, 4, 8), clustered=True):
    """Snapshots of one category, a number for each: does it pass there."""
    names = [SimpleNamespace(name="a", passes=bool(value), clustered=clustered) for value in passed]
    return [SimpleNamespace(update=update, categories=(test,)) for update, test in zip(updates, names, strict=False)]


@pytest.mark.parametrize(
    ("passed", "update"),
    [
        ((1, 1, 1, 1, 1), 0),
        ((0, 0, 0, 0, 1), 8),
        ((0, 1, 0, 1, 1), 4),
        ((1, 1, 1, 0, 1), 8),
        ((0, 0, 1, 1, 1), 2),
        ((1,), 0),
    ],
)
def test_a_category_forms_where_it_passes_from_then_on(passed, update):
    assert clustering._forms_at(steps(*passed)) == {"a": update}
    assert clustering._forms_at(steps(*passed, clustered=False)) == {}


PLANTED = {"colours": (1, 4, 8), "months": (0, 1, 2, 4, 8), "pronouns": (8,), "sizes": (0, 1, 2, 4)}


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A dump of noise and a common vector; categories are planted at some updates."""
    path = tmp_path_factory.mktemp("planted") / "dump.zarr"
    made = write_synthetic_dump(path, rows=900, dim=24, updates=8, snapshot_every=8, streams=("snapshots",))
    values = zarr.open_group(path, mode="r+")[f"tables/{MAIN_TABLE}/snapshots/values"]
    rng = np.random.default_rng(0)
    new = rng.normal(size=(5, 900, 24)) + 3 * rng.normal(size=24)
    new[:, made.texts.index("<pad>")] = 0
    for name, words in CATEGORIES.items():
        rows, direction = [made.texts.index(word) for word in words], rng.normal(size=24)
        for place, update in enumerate((0, 1, 2, 4, 8)):
            new[place, rows] += 3 * direction * (update in PLANTED.get(name, ()))
    values[...] = new.astype(np.float32)
    return path


def summary(found: ClusteringResult):
    return [(test.name, test.silhouette.value, test.ratio.value, test.p_silhouette) for test in found.last.categories]


def test_planted_categories_form_when_they_were_planted(planted):
    found = clustering.analyse(Dump.open(planted), permutations=1999)
    assert [(entry.update, entry.permutations) for entry in found.snapshots] == [
        (0, 999),
        (1, 999),
        (2, 999),
        (4, 999),
        (8, 1999),
    ]
    assert found.forms_at == {"colours": 4, "months": 0, "pronouns": 8}
    assert {test.name for test in found.last.categories if test.clustered} == {"colours", "months", "pronouns"}
    assert found.few["weekdays"] == 0
    assert {claim.id: claim.verdict for claim in clustering.claims([found])}["C7.3"] == "holds"
    earlier = clustering.analyse(Dump.open(planted), update=4, permutations=1999)
    assert earlier.forms_at == {"colours": 4, "months": 0, "sizes": 0}
    assert earlier.last.update == 4
    with pytest.raises(DumpError, match="no snapshot of update 5"):
        clustering.analyse(Dump.open(planted), update=5)


@pytest.mark.parametrize("snapshots", [1, 2, 3])
def test_the_last_snapshot_is_always_tested(planted, snapshots):
    found = clustering.analyse(Dump.open(planted), snapshots=snapshots, permutations=199)
    assert (len(found.snapshots), found.last.update, found.last.permutations) == (snapshots, 8, 199)


def changed(planted, tmp_path, change):
    """The summary of a copy of the dump whose values (updates, rows, dim) were changed in place."""
    copy = tmp_path / "dump.zarr"
    shutil.copytree(planted, copy)
    stored = zarr.open_group(copy, mode="r+")[f"tables/{MAIN_TABLE}/snapshots/values"]
    values = stored[...]
    change(values)
    stored[...] = values
    return clustering.analyse(Dump.open(copy), permutations=199)


def test_a_drift_over_log_count_changes_nothing(planted, tmp_path):
    """All rows move together, and along a second direction the frequent ones the further."""
    counts = Dump.open(planted).table().counts

    def drift(values):
        common, slope = np.random.default_rng(3).normal(size=(2, 24))
        live = values[0].any(axis=1)
        values[:, live] += (2 * common + np.log1p(counts[live])[:, None] * slope).astype(np.float32)

    own, moved = clustering.analyse(Dump.open(planted), permutations=199), changed(planted, tmp_path, drift)
    for one, other in zip(summary(own), summary(moved), strict=True):
        assert one[0] == other[0]
        assert one[1:] == pytest.approx(other[1:], abs=0.006)  # p-values are steps of 1/200


def test_rows_that_are_not_counted_say_nothing_of_the_vocabularys_case(planted, tmp_path):
    def lower(texts):
        return [text.upper() if text.startswith("madeup") else text.lower() for text in texts]

    copy = tmp_path / "dump.zarr"
    shutil.copytree(planted, copy)
    path = copy / "tables" / MAIN_TABLE / "tokens.json"
    path.write_text(json.dumps(lower(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")
    found = clustering.analyse(Dump.open(copy), permutations=199)
    assert found.tokens.lower_case
    assert found.test("months") is not None


def test_an_update_at_which_a_row_has_no_direction_is_left_out(planted, tmp_path):
    def clear(values):
        values[2, 40] = 0

    found = changed(planted, tmp_path, clear)
    assert [entry.update for entry in found.snapshots] == [0, 1, 4, 8]
