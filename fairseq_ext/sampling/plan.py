"""The order of a run's draws, as a pure function of the design: which examples each batch holds.

Draws are numbered over the whole run; a batch is a list of draw numbers. An epoch (in fairseq's sense) is a part of the plan, and all of
it unless the run has more than ``DRAWS_AN_EPOCH`` draws.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .pools import Design

DRAWS_AN_EPOCH = 1 << 22
WINDOW = 32  # updates within which draws are grouped by length
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class EpochPlan:
    """The draws of one epoch.

    Attributes:
        first_draw: number of its first draw.
        examples: (draws,) int32, the example of each draw.
        batches: draw numbers of each batch, (n,) int64; ``design.batches`` of them are an update.
    """

    first_draw: int
    examples: NDArray[np.int32]
    batches: list[NDArray[np.int64]]


class Plan:
    """The order of all draws.

    Args:
        design: what is drawn.
        draws_an_epoch: a run of more draws is cut into epochs of about this many.
    """

    def __init__(self, design: Design, draws_an_epoch: int = DRAWS_AN_EPOCH) -> None:
        self.design = design
        self.epochs = min(max(1, math.ceil(design.draws / draws_an_epoch)), design.updates)
        self._window = _window(design)
        if design.order == "consecutive":
            self._begin_consecutive()
        else:
            self._begin_spread()

    def epoch(self, epoch: int) -> EpochPlan:
        """The plan of an epoch, counted from 1.

        Raises:
            IndexError: the run has no such epoch.
        """
        if not 1 <= epoch <= self.epochs:
            raise IndexError(f"the plan has {self.epochs} epochs, not {epoch}")
        return self._consecutive(epoch - 1) if self.design.order == "consecutive" else self._spread(epoch - 1)

    # -- spread and epochs ---------------------------------------------------------------------------------------------------

    def _times(self, repeat: int) -> tuple[int, NDArray[np.float64]]:
        """How many leading examples of the pool have this repeat, and its time in [0, 1) for each."""
        design = self.design
        number = len(design.pool) if repeat == 0 else design.repeated
        time = uniform(design.seed, repeat, number)
        if design.order == "epochs":
            several = design.repeated
            time[:several] = (time[:several] + repeat) / design.repeat
        return number, time

    def _part_of(self, time: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.minimum((time * self.epochs).astype(np.int64), self.epochs - 1)

    def _begin_spread(self) -> None:
        """Find how many draws and updates each epoch has."""
        design = self.design
        draws, tokens = np.zeros(self.epochs, np.int64), np.zeros(self.epochs, np.int64)
        if self.epochs == 1:
            draws[0], tokens[0] = design.draws, design.tokens
        else:
            for repeat in range(design.repeat):
                number, time = self._times(repeat)
                part = self._part_of(time)
                draws += np.bincount(part, minlength=self.epochs)
                tokens += np.bincount(part, weights=design.sizes[:number], minlength=self.epochs).astype(np.int64)
        self._first_draw = np.concatenate([[0], np.cumsum(draws)])
        reached = np.concatenate([[0], np.cumsum(tokens)])
        self._first_update = np.rint(reached / reached[-1] * design.updates).astype(np.int64)

    def _spread(self, part: int) -> EpochPlan:
        design = self.design
        ranks: list[NDArray[np.int64]] = []
        times: list[NDArray[np.float64]] = []
        for repeat in range(design.repeat):
            number, time = self._times(repeat)
            here = np.flatnonzero(self._part_of(time) == part) if self.epochs > 1 else np.arange(number)
            ranks.append(here)
            times.append(time[here])
        rank = np.concatenate(ranks)
        rank = rank[np.argsort(np.concatenate(times), kind="stable")]
        updates = int(self._first_update[part + 1] - self._first_update[part])
        order, ends = _cut(rank, design.sizes[rank], updates, design.batches, self._window, (design.seed, part))
        first = int(self._first_draw[part])
        numbers = np.arange(first, first + len(rank), dtype=np.int64)
        return EpochPlan(first, design.pool[rank[order]], np.split(numbers, ends[:-1]))

    # -- consecutive ---------------------------------------------------------------------------------------------------------

    def _begin_consecutive(self) -> None:
        """Lay out the updates: each is one content, and a content of the repeated set stands at ``repeat`` updates in a row."""
        design, k = self.design, self.design.repeat
        repeated, once = np.arange(design.repeated), np.arange(design.repeated, len(design.pool))
        groups = design.updates // k
        if len(once):
            groups = max(1, round(design.repeated_tokens * k / design.tokens * design.updates / k))
        contents = [*self._contents(repeated, groups, 1), *self._contents(once, design.updates - groups * k, 2)]
        sequence = np.random.default_rng([design.seed, 3]).permutation(len(contents))
        self._updates = [contents[c] for c in sequence for _ in range(k if c < groups else 1)]
        self._ends = np.cumsum([sum(map(len, content)) for content in self._updates])
        shares = np.arange(1, self.epochs + 1) / self.epochs * self._ends[-1]
        self._edges = np.unique(np.concatenate([[0], np.searchsorted(self._ends, shares) + 1]))  # updates, by draws
        self.epochs = len(self._edges) - 1

    def _contents(self, ranks: NDArray[np.int64], updates: int, key: int) -> Iterator[list[NDArray[np.int64]]]:
        """Cut examples into updates: for each, the ranks in the pool of each of its batches."""
        if not updates:
            return
        design = self.design
        ranks = ranks[np.argsort(uniform(design.seed, key, len(design.pool))[ranks], kind="stable")]
        order, ends = _cut(ranks, design.sizes[ranks], updates, design.batches, WINDOW, (design.seed, key))
        batches = np.split(ranks[order], ends[:-1])
        for update in range(updates):
            yield batches[update * design.batches : (update + 1) * design.batches]

    def _consecutive(self, part: int) -> EpochPlan:
        first_update, end_update = int(self._edges[part]), int(self._edges[part + 1])
        batches = [batch for update in self._updates[first_update:end_update] for batch in update]
        first = int(self._ends[first_update - 1]) if first_update else 0
        ends = np.cumsum([len(batch) for batch in batches])
        numbers = np.arange(first, first + int(ends[-1]), dtype=np.int64)
        return EpochPlan(first, self.design.pool[np.concatenate(batches)], np.split(numbers, ends[:-1]))


def uniform(seed: int, key: int, number: int) -> NDArray[np.float64]:
    """Numbers in [0, 1), each a hash of (seed, key, its position) by SplitMix64 (Steele, Lea & Flood 2014): (number,) float64."""
    with np.errstate(over="ignore"):
        start = _mix(_mix(np.uint64(seed & 0xFFFFFFFFFFFFFFFF) + _GOLDEN) + np.uint64(key) * _GOLDEN)
        z = _mix(start + np.arange(1, number + 1, dtype=np.uint64) * _GOLDEN)
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(z: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def _window(design: Design) -> int:
    """Updates a window has: so few that a repeated example is expected at most once in it."""
    share = design.repeated_tokens * design.repeat / design.tokens
    return max(1, min(WINDOW, math.floor(design.repeated_tokens / (share * design.tokens_per_update))))


def _cut(
    items: NDArray[np.int64],
    sizes: NDArray[np.int64],
    updates: int,
    batches: int,
    window: int,
    key: tuple[int, int],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut draws in order of time into batches of equal tokens, draws of like length together within a window.

    Where an item is drawn again within a window, the later draws are put together among themselves, so that few batches hold copies.

    Args:
        items: (draws,) what is drawn.
        sizes: (draws,) tokens, in order of time; at least as many draws as batches.
        updates: how many.
        batches: of an update.
        window: updates of a window.
        key: of the random numbers.

    Returns:
        (draws,) the draws in their new order, and (updates * batches,) the end of each batch in it.
    """
    windows = math.ceil(updates / window)
    lasts = np.minimum(np.arange(1, windows + 1) * window, updates) * batches  # batches that end with each window
    cuts = _boundaries(sizes, lasts / lasts[-1], lasts)
    order = np.empty(len(sizes), np.int64)
    ends = np.empty(int(lasts[-1]), np.int64)
    begin, done = 0, 0
    for number, (end, last) in enumerate(zip(cuts, lasts, strict=True)):
        draws, parts = sizes[begin:end], int(last) - done
        random = np.random.default_rng([*key, number])
        by_length = np.lexsort([random.random(len(draws)), draws, _copies(items[begin:end])])
        shares = np.arange(1, parts + 1)
        inner = np.split(by_length, _boundaries(draws[by_length], shares / parts, shares)[:-1])
        shuffled = [inner[i] for i in random.permutation(parts)]
        order[begin:end] = begin + np.concatenate(shuffled)
        ends[done:last] = begin + np.cumsum([len(batch) for batch in shuffled])
        begin, done = int(end), int(last)
    return order, ends


def _copies(items: NDArray[np.int64]) -> NDArray[np.int64]:
    """How often each item occurred before, (n,)."""
    by_item = np.argsort(items, kind="stable")
    ordered = items[by_item]
    first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(items) else np.zeros(0, int)
    runs = np.diff(np.concatenate([first, [len(items)]]))
    found = np.empty(len(items), np.int64)
    found[by_item] = np.arange(len(items)) - np.repeat(first, runs)
    return found


def _boundaries(
    sizes: NDArray[np.int64], shares: NDArray[np.float64], at_least: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Where to cut so that the first parts hold the given cumulative shares of the tokens, and parts enough draws.

    ``at_least[i]`` draws must lie before the ``i``-th cut, and as many after it as later parts need.
    """
    reached = np.cumsum(sizes)
    cuts = np.searchsorted(reached - sizes / 2, shares * reached[-1], side="left")
    cuts[-1] = len(sizes)
    steps = np.diff(np.concatenate([[0], at_least]))
    cuts = np.maximum.accumulate(cuts - np.cumsum(steps)) + np.cumsum(steps)  # each part at least its number of draws
    return np.minimum(cuts, len(sizes) - (at_least[-1] - at_least))
