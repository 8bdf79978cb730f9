"""What `clustering.py` finds of one table: the tests of categories and opposites by update."""

from __future__ import annotations

from dataclasses import dataclass, field

from categories import CategoryTokens
from category_tests import CategoryTest
from cli import NOT_IN_JSON
from opposites import OppositesTest
from word_sets import WordSetResult


@dataclass(frozen=True)
class SnapshotTests:
    """The tests at one update, against so many random sets; p-values are corrected over this snapshot's categories."""

    update: int
    permutations: int
    categories: tuple[CategoryTest, ...]
    opposites: OppositesTest | None


@dataclass(frozen=True)
class ClusteringResult:
    """One table's tests by update. `few`: categories that were not tested, with their numbers of usable tokens.

    `forms_at`, of clustered categories: the first update from which on, at every later snapshot, both uncorrected p-values are below
    0.01 and the purity at least twice chance. `matching` says what the random sets have in common with the categories.
    """

    dump: str
    signature: str
    snapshots: tuple[SnapshotTests, ...]
    forms_at: dict[str, int]
    few: dict[str, int]
    matching: str
    word_sets: tuple[WordSetResult, ...] = ()
    tokens: CategoryTokens = field(kw_only=True, metadata=NOT_IN_JSON)
    texts: list[str] = field(kw_only=True, metadata=NOT_IN_JSON)

    @property
    def last(self) -> SnapshotTests:
        return self.snapshots[-1]

    def test(self, name: str) -> CategoryTest | None:
        """A category's test at the last snapshot; None where it was not tested."""
        return next((test for test in self.last.categories if test.name == name), None)

    def opposite(self, first: str, second: str) -> tuple[float, float] | None:
        """The cosine of a pair of opposites given as words, and its matched pairs' mean; None where it was not tested."""
        tested = self.last.opposites
        if tested is None:
            return None
        for place, pair in enumerate(tested.pairs):
            if {self.texts[row].strip() for row in pair} == {first, second}:
                return tested.cosines[place], tested.matched[place]
        return None
