"""Word lists of semantic and grammatical categories, and their tokens in a vocabulary.

The words stand in `categories.json` beside this module. A word is looked up in the form that it has inside a sentence,
with its leading space (" red"): byte-level BPE has other tokens for a word at the beginning of a line. A word that is
not one token is listed as missing, never replaced by its pieces, and a word that the training text lacks is counted.

A vocabulary whose texts hold no upper-case letter has no " March" but a " march": words are looked up in lower case there,
and those are named that are written like another word then. A row is in one category: in lower case " may" is the month's,
whose category stands first, and the auxiliary verb is named as shared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PATH = Path(__file__).with_name("categories.json")
# Names of special and free rows, whose case says nothing: [CLS], [unused12], <s>, <|endoftext|>.
_BRACKETED = re.compile(r"\s*(\[.*\]|<.*>)\s*", re.DOTALL)


@dataclass(frozen=True)
class Words:
    """The lists as written: words by category, and pairs of opposites, without leading spaces.

    `grammatical` names the categories of function or form (pronouns, comparatives), the others being semantic;
    `other_in_lower_case` the words that are written like another word in lower case (March).
    """

    categories: Mapping[str, tuple[str, ...]]
    opposites: tuple[tuple[str, str], ...]
    grammatical: frozenset[str] = frozenset()
    other_in_lower_case: frozenset[str] = frozenset()


@dataclass(frozen=True)
class CategoryTokens:
    """Where the words of the lists stand in one vocabulary.

    `rows` gives the rows of each category's words in the lists' order, `opposites` pairs of rows; `missing` and
    `missing_opposites` name what is not one token; `unseen` names the words whose token count is zero. `shared` names the
    words whose row an earlier word has, and which are not in `rows`: none unless `lower_case`, with the lists of
    `words()`. `lower_case`: the vocabulary has no upper-case letters; `other_words` of `rows` are other words as well there.
    """

    rows: Mapping[str, tuple[int, ...]]
    missing: Mapping[str, tuple[str, ...]]
    unseen: Mapping[str, tuple[str, ...]]
    opposites: tuple[tuple[int, int], ...]
    missing_opposites: tuple[tuple[str, str], ...]
    lower_case: bool = False
    shared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    other_words: tuple[str, ...] = ()

    def category_of(self) -> dict[int, str]:
        """The category's name by row; each word stands in one category."""
        return {row: name for name, rows in self.rows.items() for row in rows}

    def all_rows(self) -> NDArray[np.int64]:
        """Every row of a category, ascending."""
        return np.array(sorted({row for rows in self.rows.values() for row in rows}), np.int64)

    def report(self) -> str:
        """One to three sentences on what the vocabulary lacks, for the reader of a figure."""
        missing, unseen, shared = _all(self.missing), _all(self.unseen), _all(self.shared)
        found = sum(map(len, self.rows.values())) + len(shared)
        text = f"{found} of {found + len(missing)} category words are one token with a leading space"
        text += f"; not one token: {_listing(missing)}" if missing else ""
        text += f"; left out, their token being an earlier word's: {_listing(shared)}." if shared else "."
        if unseen:
            text += f" Of the words found, {len(unseen)} never occur in the training text: {_listing(unseen)}."
        if self.lower_case:
            text += " The vocabulary has no upper-case letters, so words were looked up in lower case"
            text += f", some being other words there: {_listing(self.other_words)}." if self.other_words else "."
        return text


@cache
def words() -> Words:
    """The lists of `categories.json`."""
    content = json.loads(PATH.read_text(encoding="utf-8"))
    return Words(
        categories={name: tuple(entries) for name, entries in content["categories"].items()},
        opposites=tuple((first, second) for first, second in content["opposites"]),
        grammatical=frozenset(content["grammatical"]),
        other_in_lower_case=frozenset(content["other_words_in_lower_case"]),
    )


def find_tokens(
    texts: Sequence[str],
    counts: NDArray[np.integer],
    lists: Words | None = None,
    *,
    counted: NDArray[np.bool_] | None = None,
) -> CategoryTokens:
    """Map the lists (default: `words()`) to a vocabulary with one text and one token count for each row.

    Whether the vocabulary has upper-case letters is asked of the `counted` rows, bool (rows,); by default of all. Texts in
    square or angle brackets are names, and not asked.
    """
    lists = lists or words()
    asked = texts if counted is None else [text for text, ask in zip(texts, counted, strict=True) if ask]
    lower_case = _is_lower_case(asked)
    row_of = {text: row for row, text in reversed(list(enumerate(texts)))}

    def row(word: str) -> int | None:
        return row_of.get(" " + (word.lower() if lower_case else word))

    taken: set[int] = set()
    rows: dict[str, tuple[int, ...]] = {}
    missing: dict[str, tuple[str, ...]] = {}
    unseen: dict[str, tuple[str, ...]] = {}
    shared: dict[str, tuple[str, ...]] = {}
    other: list[str] = []
    for name, entries in lists.categories.items():
        places = {word: place for word in entries if (place := row(word)) is not None}
        found: dict[str, int] = {}
        for word, place in places.items():
            if place not in taken:
                found[word] = place
                taken.add(place)
        rows[name] = tuple(found.values())
        missing[name] = tuple(word for word in entries if word not in places)
        shared[name] = tuple(word for word in places if word not in found)
        unseen[name] = tuple(word for word, place in found.items() if counts[place] == 0)
        other += [word for word in found if lower_case and word in lists.other_in_lower_case]
    pairs = {pair: (row(pair[0]), row(pair[1])) for pair in lists.opposites}
    two = {pair: (a, b) for pair, (a, b) in pairs.items() if a is not None and b is not None and a != b}
    return CategoryTokens(
        rows=rows,
        missing=missing,
        unseen=unseen,
        opposites=tuple(two.values()),
        missing_opposites=tuple(pair for pair in pairs if pair not in two),
        lower_case=lower_case,
        shared=shared,
        other_words=tuple(other),
    )


def _is_lower_case(texts: Iterable[str]) -> bool:
    """Do the texts hold letters, and none in upper case? One that has no lower case is none: ℝ, in BERT's uncased vocabulary."""
    plain = [text for text in texts if not _BRACKETED.fullmatch(text)]
    return all(text == text.lower() for text in plain) and any(text != text.upper() for text in plain)


def _all(words_of: Mapping[str, Sequence[str]]) -> list[str]:
    """The words of all categories, in order."""
    return [word for entries in words_of.values() for word in entries]


def _listing(entries: Sequence[str], most: int = 12) -> str:
    """Words in a row, the rest as a number."""
    rest = f" and {len(entries) - most} more" if len(entries) > most else ""
    return ", ".join(entries[:most]) + rest
