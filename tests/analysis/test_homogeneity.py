"""Labels of nearest tokens: against brute force, at chance for random labels, high for planted ones; parts of speech."""

import lzma
from itertools import combinations

import numpy as np
import pytest

from categories import find_tokens
from evaluation import EvaluationError
from homogeneity import GRAMMATICAL, agreement, category_labels, labels, lift, shared_pairs
from parts_of_speech import majority_tags, tags_of_rows

RNG = np.random.default_rng(0)
START = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def _same_numbers_in_any_order() -> None:
    """Each test draws from the beginning, whichever ran before it in its process."""
    RNG.bit_generator.state = START


def label_some(rows=200, share=0.6, names="abc"):
    return {row: str(RNG.choice(list(names))) for row in range(rows) if RNG.random() < share}


def test_pairs_and_chance_are_those_of_all_pairs():
    of = label_some()
    found = labels("test", of, 200)
    nearest = RNG.integers(0, 200, (25, 10))
    nearest = np.array([RNG.choice(200, 10, replace=False) for _ in nearest])
    expected = []
    for rows in nearest:
        pairs = [(one, two) for one, two in combinations(rows, 2) if one in of and two in of]
        expected.append((sum(of[one] == of[two] for one, two in pairs), len(pairs)))
    assert shared_pairs(nearest, found).tolist() == [list(map(float, pair)) for pair in expected]
    everything = list(combinations(of, 2))
    assert found.expected == pytest.approx(np.mean([of[one] == of[two] for one, two in everything]))
    assert found.labelled == len(of)


def test_random_labels_are_at_chance_and_planted_ones_agree():
    nearest = np.array([RNG.choice(200, 10, replace=False) for _ in range(100)])
    null = []
    for _ in range(40):
        found = labels("test", label_some(names="aaabbc"), 200)
        null.append(agreement(shared_pairs(nearest, found).sum(axis=0), found))
    assert abs(np.mean(null)) < 3 * np.std(null) / np.sqrt(40) + 1e-3
    groups = labels("test", {row: str(row // 20) for row in range(200)}, 200)
    within = np.array([RNG.choice(20, 10, replace=False) + 20 * (place % 10) for place in range(100)])
    total = shared_pairs(within, groups).sum(axis=0)
    assert agreement(total, groups) == pytest.approx(1)
    assert lift(total, groups) == pytest.approx(1 / groups.expected)


def test_without_labelled_pairs_there_is_no_number():
    found = labels("test", {0: "a", 1: "a", 2: "b"}, 50)
    assert np.isnan(agreement(shared_pairs(np.array([[0, 5, 6]]), found).sum(axis=0), found))
    assert labels("test", {0: "a", 1: "a"}, 50) is None
    assert labels("test", {0: "a", 1: "b"}, 50) is None
    assert labels("test", {}, 50) is None


def test_categories_are_split_into_grammatical_and_semantic():
    texts = [" he", " she", " in", " on", " red", " green", " dog", " cat", " other"]
    found = {entry.name: entry for entry in category_labels(find_tokens(texts, np.ones(9, int)), 9)}
    assert [*found] == ["grammatical", "semantic"]
    assert (found["grammatical"].of_row >= 0).tolist() == [True] * 4 + [False] * 5
    assert (found["semantic"].of_row >= 0).tolist() == [False] * 4 + [True] * 4 + [False]
    assert found["grammatical"].expected == pytest.approx(2 / 6)
    assert set(GRAMMATICAL) >= {"pronouns", "prepositions"}


LINES = """# text = Run, run
1\tRun\trun\tVERB\t_\t_\t0\t_\t_\t_
2-3\tcan't\t_\t_\t_\t_\t_\t_\t_\t_
2\t,\t,\tPUNCT\t_\t_\t0\t_\t_\t_
3\trun\trun\tNOUN\t_\t_\t0\t_\t_\t_
8.1\trun\trun\tNOUN\t_\t_\t_\t_\t_\t_
"""


def write_treebank(folder, times=3, extra=""):
    text = (LINES + "\n") * times + extra
    (folder / "en_ewt-ud-train.conllu.xz").write_bytes(lzma.compress(text.encode()))


def test_the_usual_part_of_speech_is_counted_by_form(tmp_path):
    more = "".join(f"{number}\trun\trun\tVERB\t_\t_\t0\t_\t_\t_\n" for number in range(1, 5))
    write_treebank(tmp_path, extra=more + "1\trare\trare\tADJ\t_\t_\t0\t_\t_\t_\n1\txx\txx\tX\t_\t_\t0\t_\t_\t_\n" * 1)
    tags = majority_tags(tmp_path)
    assert tags == {"Run": "VERB", ",": "PUNCT", "run": "VERB"}  # run: 4 VERB, 3 NOUN; the empty nodes are none
    assert majority_tags(tmp_path, least=1)["rare"] == "ADJ"
    assert tags_of_rows([" run", "run", ",", " ,", " Run", " none"], tags) == {
        0: "VERB",
        2: "PUNCT",
        3: "PUNCT",
        4: "VERB",
    }


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "found neither"),
        (b"1\trun\n", "expected the ten columns"),
        (b"# none\n", "found none"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_folder_without_a_treebank_gives_one_line(tmp_path, content, words):
    if content is not None:
        (tmp_path / "en_ewt-ud-train.conllu").write_bytes(content)
    with pytest.raises(EvaluationError, match=words) as error:
        majority_tags(tmp_path)
    assert "\n" not in str(error.value)


def test_a_truncated_treebank_gives_one_line(tmp_path):
    write_treebank(tmp_path, times=400)
    path = tmp_path / "en_ewt-ud-train.conllu.xz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(EvaluationError, match="cannot be read"):
        majority_tags(tmp_path)
