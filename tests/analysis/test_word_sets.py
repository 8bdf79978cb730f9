"""Word sets: reading, purity against counting by hand, planted clusters, and the chance that the labels permuted give."""

import os
from collections import Counter
from dataclasses import replace
from itertools import permutations as orders
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import word_sets
from cli import plain, print_table
from neighbours import unit_rows
from streams import DumpError
from word_sets import (
    WordSet,
    WordSetError,
    majority_counts,
    majority_shares,
    read_word_sets,
    word_set_purity,
    word_sets_table,
)

RNG = np.random.default_rng(0)
START = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def _same_numbers_in_any_order() -> None:
    """Each test draws from the beginning, whichever ran before it in its process."""
    RNG.bit_generator.state = START


def purity_by_hand(clusters, labels):
    """Of one start and one labelling: the words of the largest category of each cluster, counted one by one."""
    members = {}
    for cluster, label in zip(clusters, labels, strict=True):
        members.setdefault(cluster, []).append(label)
    return sum(max(Counter(entries).values()) for entries in members.values())


def make(sizes, noise, *, dim=12):
    """Texts, unit rows and a set of words w0, w1, ... in categories of the given sizes around random centres."""
    labels = [f"category {place}" for place, size in enumerate(sizes) for _ in range(size)]
    words = [f"w{place}" for place in range(len(labels))]
    centres = np.repeat(RNG.normal(size=(len(sizes), dim)), sizes, axis=0)
    values = centres + noise * RNG.normal(size=centres.shape)
    unit = unit_rows(values.astype(np.float32), values.mean(axis=0))
    order = RNG.permutation(len(words))
    return unit[order], [f" {words[place]}" for place in order], WordSet("made", tuple(words), tuple(labels))


def measure(unit, texts, word_set, **options):
    return word_set_purity(unit, texts, word_set, **{"usable": np.ones(len(texts), bool), **options})


def write(folder, text, name="set.csv"):
    content = text if isinstance(text, bytes) else text.encode()
    (folder / name).write_bytes(content)
    return folder


def test_purity_is_that_of_counting(monkeypatch):
    clusters, labels = RNG.integers(0, 4, (5, 40)), RNG.integers(0, 6, (7, 40))
    expected = [[purity_by_hand(one, other) for one in clusters] for other in labels]
    assert majority_counts(clusters, labels).tolist() == expected
    monkeypatch.setattr(word_sets, "BLOCK_VALUES", 500)  # labellings in several parts
    assert majority_counts(clusters, labels).tolist() == expected
    for label, counts in zip(labels, expected, strict=True):
        assert majority_shares(clusters, label).mean() == pytest.approx(np.mean(counts) / 40)
    assert majority_counts(np.arange(6)[None], np.array([[0, 1, 0, 1, 0, 1]])).tolist() == [[6]]  # a cluster a word


def test_words_of_the_largest_category_count_and_equally_large_ones_share():
    clusters = np.array([[0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1]])
    label = np.array([0, 0, 1, 1, 1, 1])
    assert majority_shares(clusters, label).tolist() == [1, 1, 0.5, 1, 1, 1]
    assert majority_shares(np.array([[0, 0, 0, 0]]), np.array([0, 0, 1, 1])).tolist() == [0.5] * 4


def test_planted_clusters_are_found():
    found = measure(*make([12, 15, 9, 11], 0.05), permutations=199, seed=3)
    assert found.purity.value > 0.9  # single starts of k-means may join two clusters
    assert found.highest == 1
    assert found.lowest <= found.purity.value <= found.highest
    assert found.p == 1 / 200
    assert (found.words, found.found, found.categories, found.starts) == (47, 47, 4, 10)
    low, mean, high = found.chance
    assert 12 / 47 < low < mean < high < found.lowest
    assert found.purity.over == "words"


def test_perfect_clusters_have_purity_1():
    found = measure(*make([20, 20], 0.01), starts=4, permutations=19)
    assert (found.purity.value, found.purity.interval) == (1, (1, 1))
    assert (found.lowest, found.highest, found.p) == (1, 1, 1 / 20)


def test_the_value_and_its_interval_are_those_of_the_words():
    unit, texts, made = make([15, 12, 10], 1.0)
    found = measure(unit, texts, made, starts=7, seed=5, permutations=9)
    rows = [texts.index(f" {word}") for word in made.words]
    seeds = np.random.SeedSequence(5).spawn(2)[0].generate_state(7)
    clusters = word_sets._cluster(unit[rows], 3, [int(seed) for seed in seeds])
    assert len({tuple(each) for each in clusters}) > 1  # the starts differ
    counts = [purity_by_hand(each, made.labels) for each in clusters]
    assert found.purity.value == pytest.approx(np.mean(counts) / 37)
    assert (found.lowest, found.highest) == (min(counts) / 37, max(counts) / 37)
    shares = np.zeros(37)
    for each in clusters:
        for word, label in enumerate(made.labels):
            counted = Counter(other for other, cluster in zip(made.labels, each, strict=True) if cluster == each[word])
            largest = [name for name, number in counted.items() if number == max(counted.values())]
            shares[word] += (label in largest) / len(largest) / 7
    expected = stats.t.interval(0.95, 36, loc=shares.mean(), scale=stats.sem(shares))
    assert found.purity.interval == pytest.approx(expected)


def test_the_result_repeats_with_its_seed():
    unit, texts, made = make([15, 12, 10], 1.0)
    once, again, other = (measure(unit, texts, made, permutations=99, seed=seed) for seed in (1, 1, 2))
    assert once == again
    assert once != other


def test_p_is_uniform_where_labels_mean_nothing():
    found = []
    for seed in range(100):
        unit = unit_rows(RNG.normal(size=(36, 6)).astype(np.float32))
        texts = [f" w{place}" for place in range(36)]
        labels = tuple(RNG.permutation(list("a" * 14 + "b" * 12 + "c" * 10)).tolist())
        made = WordSet("random", tuple(text[1:] for text in texts), labels)
        found.append(measure(unit, texts, made, seed=seed, starts=2, permutations=99))
    p = np.array([result.p for result in found])
    for level in (0.05, 0.1, 0.25, 0.5, 0.75, 0.9):
        error = 3 * np.sqrt(level * (1 - level) / 100)
        assert (
            level - 0.1 - error < (p <= level).mean() < level + error
        )  # equal counts make p a little too large, never small
    difference = np.array([result.purity.value - result.chance[1] for result in found])
    assert abs(difference.mean()) < 3 * difference.std() / 10
    outside = np.mean([not result.chance[0] <= result.purity.value <= result.chance[2] for result in found])
    assert outside < 0.13


def test_the_chance_is_that_of_all_orders_of_the_labels():
    unit, texts, made = make([3, 2, 2], 0.3, dim=4)
    found = measure(unit, texts, made, starts=5, permutations=20_000)
    rows = [texts.index(f" {word}") for word in made.words]
    seeds = np.random.SeedSequence(0).spawn(2)[0].generate_state(5)
    clusters = word_sets._cluster(unit[rows], 3, [int(seed) for seed in seeds])
    numbers = [int(label[-1]) for label in made.labels]
    exact = majority_counts(clusters, np.array(list(orders(numbers)))).mean(axis=1) / 7
    assert found.chance[1] == pytest.approx(exact.mean(), abs=4 * exact.std() / np.sqrt(20_000))
    assert found.p == pytest.approx((exact >= found.purity.value - 1e-9).mean(), abs=0.01)
    assert (found.chance[0], found.chance[2]) == pytest.approx(np.percentile(exact, [2.5, 97.5]))


def test_words_left_out_are_named():
    unit, texts, made = make([6, 5, 4], 0.1)
    more = WordSet(
        "made",
        (*made.words, "pieces", "turquoise", "lonely", "Capital", "hidden"),
        (*made.labels, "category 0", "category 1", "few", "category 2", "category 2"),
        ("seal",),
    )
    texts += ["turqu", "oise", "turquoise", " lonely", " capital", " hidden", "pieces"]
    unit = np.concatenate([unit, unit[:7]])
    usable = np.array([text != " hidden" for text in texts])
    found = measure(unit, texts, more, usable=usable, permutations=9)
    assert found.not_one_token == ("pieces", "turquoise", "Capital")
    assert found.not_usable == ("hidden",)
    assert found.dropped_categories == ("few",)
    assert found.two_categories == ("seal",)
    assert (found.words, found.found, found.categories) == (21, 15, 3)
    sentence = found.report()
    assert sentence.startswith("made: 15 of 21 words in 3 categories; not one token: pieces, turquoise, Capital;")
    assert "one token, but without a usable row: hidden" in sentence
    assert "in two categories: seal" in sentence
    assert "fewer than 2 words left: few." in sentence


def test_only_the_words_rows_count():
    unit, texts, made = make([6, 5, 4], 0.8)
    more = np.concatenate([unit, 5 * RNG.normal(size=(30, 12)).astype(np.float32), unit[::-1]])
    names = [*texts, *[f"w{place}" for place in range(30)], *texts]  # other tokens, and later rows with the same texts
    assert measure(more, names, made, permutations=49) == measure(unit, texts, made, permutations=49)


def test_an_uncased_vocabulary_is_asked_in_lower_case():
    unit, texts, made = make([6, 5, 4], 0.1)
    upper = replace(made, words=tuple(word.upper() for word in made.words))
    assert measure(unit, texts, upper) is None
    found = measure(unit, texts, upper, lower_case=True)
    assert found == measure(unit, texts, made)
    both = replace(made, words=(*made.words, "W0", "W14"), labels=(*made.labels, "category 0", "category 0"))
    found = measure(unit, texts, both, lower_case=True)
    assert found.two_categories == ("w14", "W14")  # one token in lower case, in two categories
    assert (found.words, found.found) == (17, 14)
    assert measure(unit, texts, both).not_one_token == ("W0", "W14")


def test_too_few_words_give_no_result():
    unit, texts, made = make([2, 2, 1], 0.1)
    usable = np.ones(5, bool)
    assert measure(unit, texts, made).categories == 2
    usable[texts.index(" w0")] = False
    assert measure(unit, texts, made, usable=usable) is None
    assert measure(unit, texts, replace(made, labels=("one",) * 5)) is None
    assert measure(unit, texts, WordSet("none", ("x", "y"), ("a", "b"))) is None
    with pytest.raises(ValueError, match="at least 1 start"):
        measure(unit, texts, made, starts=0)


def test_equal_rows_end_without_a_warning():
    unit, texts, made = make([4, 4, 4], 0.1)
    with np.errstate(all="raise"):
        found = measure(np.repeat(unit[:1], 12, axis=0), texts, made, permutations=19)
    assert found.purity.value == pytest.approx(1 / 3)
    assert found.p == 1


def test_the_table_and_the_json(capsys):
    unit, texts, made = make([6, 5, 4], 0.1)
    found = measure(unit, texts, replace(made, two_categories=("seal",)), permutations=99)
    head, row = word_sets_table([found])
    assert len(head) == len(row) == 10
    assert row[:3] == ["made", "15 of 16", "3"]
    assert row[6:] == [f"{found.p:.4f}", "0", "1", "0"]
    assert word_sets_table([]) == [head]
    print_table([head, row])
    assert "15 of 16" in capsys.readouterr().out
    assert plain(found)["purity"]["over"] == "words"


def test_sets_are_read_by_name(tmp_path):
    write(tmp_path, ",category,word\n0,fish,cod\n1,fish, carp \n2,bird,owl\n", "b.csv")
    write(tmp_path, '\ufeffword,category\r\nowl,"bird, big"\r\n\r\n', "a.CSV")
    write(tmp_path, "nothing", "notes.txt")
    first, second = read_word_sets(tmp_path)
    assert first == WordSet("a", ("owl",), ("bird, big",))
    assert second == WordSet("b", ("cod", "carp", "owl"), ("fish", "fish", "bird"))


def test_repeated_words_are_one_and_words_of_two_categories_none(tmp_path):
    rows = "fish,cod\nfish,cod\nfish,seal\nmammal,seal\nmammal,dog\nfish,\nmammal,\n"
    (found,) = read_word_sets(write(tmp_path, "category,word\n" + rows))
    assert found == WordSet("set", ("cod", "dog"), ("fish", "mammal"), ("seal",))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty file"),
        (b"\ncategory,word\n", "empty file or first line"),
        (b"category,word\n", "found none below the header"),
        (b"category,word\nfish,\n", "found none below the header"),
        (b"group,word\nfish,cod\n", "columns category and word, .*found 'group', 'word'"),
        (b"category;word\nfish;cod\n", "with commas between, .*found 'category;word'"),
        (b"category,word,word\nfish,cod,cod\n", "once each"),
        (b"category,word\nfish,cod\nfish,carp,1\n", "line 3: expected the header's 2 columns, found 3"),
        (b"category,word\nfish\n", "line 2: expected the header's 2 columns, found 1"),
        (b"category,word\n,cod\n", "line 2: expected a category, found 'cod'"),
        (b'category,word\nfish,"cod\nfish,carp\n', "line 3: not CSV"),
        (b"category,word\nfish,br\xe8me\n", "expected UTF-8"),
        (b"\xff\xfec\x00", "expected UTF-8"),
    ],
)
def test_a_bad_file_gives_one_line(tmp_path, content, words):
    write(tmp_path, b"category,word\nfish,cod\n", "a.csv")
    with pytest.raises(WordSetError, match=words) as error:
        read_word_sets(write(tmp_path, content))
    assert str(tmp_path / "set.csv") in str(error.value)
    assert "\n" not in str(error.value)
    assert isinstance(error.value, DumpError)  # which the command lines catch


def test_a_folder_without_sets_gives_one_line(tmp_path):
    with pytest.raises(WordSetError, match="expected a folder"):
        read_word_sets(tmp_path / "none")
    with pytest.raises(WordSetError, match="found no such file"):
        read_word_sets(write(tmp_path, "text", "notes.txt"))
    with pytest.raises(WordSetError, match="expected a folder"):
        read_word_sets(tmp_path / "notes.txt")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(WordSetError, match=r"folder\.csv: cannot be read"):
        read_word_sets(tmp_path)


def test_the_real_files():
    place = Path(os.environ.get("EMBEDDING_LAB_DATA") or "none") / "word_sets"
    if not place.is_dir():
        pytest.skip("EMBEDDING_LAB_DATA does not name a folder of real data with word_sets")
    found = {each.name: each for each in read_word_sets(place)}
    known = {"ap": (402, 21), "bless": (200, 17), "essli-2008": (45, 9)}
    assert {name: (len(found[name].words), len(set(found[name].labels))) for name in known} == known
    assert not any(found[name].two_categories for name in known)
