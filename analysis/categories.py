"""Word lists of semantic and grammatical categories, and their tokens in a vocabulary.

The words stand in `categories.json` beside this module. A word is looked up in the form that it has inside a sentence,
with its leading space (" red"): byte-level BPE has other tokens for a word at the beginning of a line. A word that is
not one token is listed as missing, never replaced by its pieces, and a word that the training text lacks is counted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PATH = Path(__file__).with_name("categories.json")


@dataclass(frozen=True)
class Words:
    """The lists as written: words by category, and pairs of opposites, without leading spaces."""

    categories: Mapping[str, tuple[str, ...]]
    opposites: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class CategoryTokens:
    """Where the words of the lists stand in one vocabulary.

    `rows` gives the rows of each category's words in the lists' order, `opposites` pairs of rows; `missing` and
    `missing_opposites` name what is not one token; `unseen` names the words whose token count is zero.
    """

    rows: Mapping[str, tuple[int, ...]]
    missing: Mapping[str, tuple[str, ...]]
    unseen: Mapping[str, tuple[str, ...]]
    opposites: tuple[tuple[int, int], ...]
    missing_opposites: tuple[tuple[str, str], ...]

    def category_of(self) -> dict[int, str]:
        """The category's name by row; each word stands in one category."""
        return {row: name for name, rows in self.rows.items() for row in rows}

    def all_rows(self) -> NDArray[np.int64]:
        """Every row of a category, ascending."""
        return np.array(sorted({row for rows in self.rows.values() for row in rows}), np.int64)

    def report(self) -> str:
        """One or two sentences on what the vocabulary lacks, for the reader of a figure."""
        found = sum(len(rows) for rows in self.rows.values())
        missing = [word for words in self.missing.values() for word in words]
        unseen = [word for words in self.unseen.values() for word in words]
        text = f"{found} of {found + len(missing)} category words are one token with a leading space"
        text += f"; not one token: {_listing(missing)}." if missing else "."
        if unseen:
            text += f" Of the words found, {len(unseen)} never occur in the training text: {_listing(unseen)}."
        return text


@cache
def words() -> Words:
    """The lists of `categories.json`."""
    content = json.loads(PATH.read_text(encoding="utf-8"))
    return Words(
        categories={name: tuple(entries) for name, entries in content["categories"].items()},
        opposites=tuple((first, second) for first, second in content["opposites"]),
    )


def find_tokens(texts: Sequence[str], counts: NDArray[np.integer], lists: Words | None = None) -> CategoryTokens:
    """Map the lists (default: `words()`) to a vocabulary with one text and one token count for each row."""
    lists = lists or words()
    row_of = {text: row for row, text in reversed(list(enumerate(texts)))}

    def row(word: str) -> int | None:
        return row_of.get(" " + word)

    rows: dict[str, tuple[int, ...]] = {}
    missing: dict[str, tuple[str, ...]] = {}
    unseen: dict[str, tuple[str, ...]] = {}
    for name, entries in lists.categories.items():
        found = {word: place for word in entries if (place := row(word)) is not None}
        rows[name] = tuple(found.values())
        missing[name] = tuple(word for word in entries if word not in found)
        unseen[name] = tuple(word for word, place in found.items() if counts[place] == 0)
    pairs = [(pair, (row(pair[0]), row(pair[1]))) for pair in lists.opposites]
    return CategoryTokens(
        rows=rows,
        missing=missing,
        unseen=unseen,
        opposites=tuple((a, b) for _, (a, b) in pairs if a is not None and b is not None),
        missing_opposites=tuple(pair for pair, places in pairs if None in places),
    )


def _listing(entries: Sequence[str], most: int = 12) -> str:
    """Words in a row, the rest as a number."""
    rest = f" and {len(entries) - most} more" if len(entries) > most else ""
    return ", ".join(entries[:most]) + rest
