"""Strata of tokens that are alike in form and token count: what a category's tokens are compared with.

Each candidate row belongs to one stratum: tokens of one form (leading space, letters or digits, capitalised), in blocks of about SIZE
in order of token count. Under the null hypothesis that a category's words are like any other tokens of their strata, every choice of as
many tokens from each stratum is equally likely, whatever the table's drift or norms: a stratified permutation test is exact
(Good 2005, Permutation, Parametric and Bootstrap Tests of Hypotheses). Strata do not depend on the category, so that members and random
tokens can change places; windows around each member would not have that property.

Where the counts are equal, as for tokens that never occur or where a table came without counts, the order is that of the rows: in
vocabularies of byte-level BPE and WordPiece the frequent tokens come first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SIZE = 100  # tokens of a stratum, about
LEAST = 50  # of a form class; a smaller one joins another


class FormClass(NamedTuple):
    """A token's form: begins with a space; consists of "letters", "digits" or something "other"; begins with a capital."""

    space: bool
    letters: str
    capital: bool

    def __str__(self) -> str:
        start = "with" if self.space else "without"
        kind = "other characters" if self.letters == "other" else self.letters
        return f"{'capitalised ' if self.capital else ''}{kind} {start} leading space"


@dataclass(frozen=True)
class Strata:
    """`of_row` int64 (all rows,): each row's stratum, -1 for no candidate; `place` int64 (all rows,): its place there.

    `rows`: each stratum's rows, ascending by token count; of the same count, later rows first. `matched_by` says by what they are alike,
    `merged` which form classes were too small for a stratum of their own.
    """

    of_row: NDArray[np.int64]
    place: NDArray[np.int64]
    rows: tuple[NDArray[np.int64], ...]
    matched_by: str
    merged: tuple[str, ...]

    def pool(self, members: NDArray[np.integer]) -> NDArray[np.int64]:
        """The rows of all strata that the members belong to, ascending."""
        return np.sort(np.concatenate([self.rows[index] for index in np.unique(self.of_row[members])]))


def form_class(text: str) -> FormClass:
    """The form of a token's text, as the row's text in the dump gives it (" red": with a leading space)."""
    core = text.strip(" ")
    letters = "letters" if core.isalpha() else "digits" if core.isdecimal() else "other"
    return FormClass(text.startswith(" "), letters, core[:1].isupper())


def make_strata(
    texts: Sequence[str], counts: NDArray[np.integer], candidates: NDArray[np.bool_], size: int = SIZE
) -> Strata:
    """Divide the `candidates` bool (rows,) by form and token count `counts` int (rows,) into strata of `size` to 2 `size` - 1 rows.

    A form class of fewer than LEAST rows joins the largest class that differs only in capitalisation, else that begins alike, else
    the largest of all. A stratum is smaller only where its whole class is. Raises ValueError without any candidate.
    """
    rows = np.flatnonzero(candidates)
    if not len(rows):
        raise ValueError("expected rows to divide into strata, found none")
    classes: dict[FormClass, list[int]] = {}
    for row in rows:
        classes.setdefault(form_class(texts[row]), []).append(int(row))
    merged = _merge_small(classes)
    of_row, place = np.full(len(texts), -1, np.int64), np.full(len(texts), -1, np.int64)
    strata: list[NDArray[np.int64]] = []
    for members in classes.values():
        inside = np.array(members, np.int64)
        ordered = inside[np.lexsort((-inside, counts[inside]))]  # a later row of the same count is the rarer one
        for block in np.array_split(ordered, max(1, len(ordered) // size)):
            of_row[block], place[block] = len(strata), np.arange(len(block))
            strata.append(block)
    known = bool(np.ptp(counts[rows])) if len(rows) > 1 else False
    matched_by = "form and token count" if known else "form and place in the vocabulary (no token counts are known)"
    return Strata(of_row, place, tuple(strata), matched_by, tuple(merged))


def _merge_small(classes: dict[FormClass, list[int]]) -> list[str]:
    """Join classes of fewer than LEAST rows to others, smallest first; what was joined, in words."""
    said = []
    while len(classes) > 1:
        small = min(classes, key=lambda form: (len(classes[form]), form))
        if len(classes[small]) >= LEAST:
            break
        others = [form for form in classes if form != small]
        near = [form for form in others if form[:2] == small[:2]] or [form for form in others if form[0] == small[0]]
        target = max(near or others, key=lambda form: (len(classes[form]), form))
        number = len(classes[small])
        said.append(
            f"{number} token{'s' if number > 1 else ''} of {small} stand{'' if number > 1 else 's'} with those of {target}"
        )
        classes[target] += classes.pop(small)
    return said
