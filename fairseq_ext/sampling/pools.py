"""The pool: which distinct examples a run draws from, and how many of them are repeated."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError

TOLERANCE = 0.01  # arms are matched in tokens this closely
CANDIDATES = 256  # examples of which pairs are tried to fill a pool


@dataclass(frozen=True)
class Design:
    """What a run draws.

    Attributes:
        pool: (pool,) int32, the examples drawn from; the first ``repeated`` of them ``repeat`` times, the others once.
        rest: (rest,) int32, the examples that follow them in the same order: of the same kind, and not drawn.
        sizes: (pool,) int64, tokens of the pool's examples.
        repeated: how many of the pool's examples are repeated.
        repeat: how often.
        order: ``spread``, ``epochs`` or ``consecutive``.
        updates: of the run.
        batches: of an update, over all ranks and micro-batches.
        seed: the run's.
    """

    pool: NDArray[np.int32]
    rest: NDArray[np.int32]
    sizes: NDArray[np.int64]
    repeated: int
    repeat: int
    order: str
    updates: int
    batches: int
    seed: int

    @property
    def draws(self) -> int:
        """Of the whole run."""
        return self.repeated * self.repeat + len(self.pool) - self.repeated

    @property
    def repeated_tokens(self) -> int:
        """Distinct tokens of the repeated set."""
        return int(self.sizes[: self.repeated].sum())

    @property
    def tokens(self) -> int:
        """Of the whole run."""
        return self.repeated_tokens * (self.repeat - 1) + int(self.sizes.sum())

    @property
    def tokens_per_update(self) -> float:
        return self.tokens / self.updates


@dataclass(frozen=True)
class Request:
    """What is asked for: the options ``--sample-*`` and the run's size. 0 means: not given."""

    kind: str
    repeat: int
    fraction: float
    order: str
    tokens_per_update: int
    pool_tokens: int
    updates: int
    batches: int
    seed: int


def choose_pool(request: Request, order: NDArray[np.int32], sizes: NDArray[np.int64]) -> Design:
    """Take the beginning of an order of the examples as pool.

    Args:
        request: what is asked for.
        order: (usable,) numbers of the usable examples in the order of their kind of pool.
        sizes: (examples,) tokens of every example.

    Raises:
        UserError: the corpus is too small, the options do not fit one another, or no pool comes within 1 % of the tokens asked for.
    """
    if not len(order):
        raise UserError("--sample-pool: expected training examples, found none; prepare the corpus again")
    lengths = sizes[order].astype(np.int64)
    reached = np.cumsum(lengths)
    whole, k, p, updates = int(reached[-1]), request.repeat, request.fraction, request.updates
    if request.kind == "all":
        tokens = request.tokens_per_update * updates or _all_tokens(whole, k, p)
    else:
        tokens = request.tokens_per_update * updates
        if request.pool_tokens:
            drawn = round(request.pool_tokens / (p / k + 1 - p)) if p else request.pool_tokens * k
            if tokens and tokens > drawn * (1 + TOLERANCE):
                raise UserError(
                    f"{updates:,} updates of {request.tokens_per_update:,} tokens need {tokens:,}, but the pool of {request.pool_tokens:,} tokens "
                    f"gives {drawn:,} with --sample-repeat {k}; give a larger pool or repeat, or fewer updates"
                )
            if tokens and tokens < drawn * (1 - TOLERANCE):
                raise UserError(
                    f"a pool of {request.pool_tokens:,} tokens gives {drawn:,} tokens with --sample-repeat {k}, but {updates:,} updates of "
                    f"{request.tokens_per_update:,} take only {tokens:,}, so some repeats would never be drawn; leave --sample-pool-tokens or "
                    "--sample-tokens-per-update out"
                )
            tokens = drawn
    if request.order == "consecutive":
        p = _share_of_groups(p, k, updates)
    small = tokens * p / k if p else tokens / k
    pool_tokens = small + tokens * (1 - p) if p else small
    if pool_tokens > whole * (1 + TOLERANCE):
        raise UserError(
            f"{updates:,} updates of {tokens / updates:,.0f} tokens need a pool of {pool_tokens:,.0f} tokens; the training split has {whole:,} in "
            f"{len(order):,} usable examples; give fewer updates or tokens, or a larger --sample-repeat"
        )
    if request.kind != "all":
        order = _fitted(order, lengths, small)
        lengths = sizes[order].astype(np.int64)
        reached = np.cumsum(lengths)
    repeated = _nearest(reached, small)
    size = repeated
    if p:  # what the set misses of its tokens is shared between the run's tokens and the fraction
        drawn_of_set = int(reached[repeated - 1]) * k
        size = _nearest(reached, reached[repeated - 1] + tokens * math.sqrt(drawn_of_set / (tokens * p)) - drawn_of_set)
    if request.kind == "all":
        if whole > pool_tokens * (1 + TOLERANCE):
            raise UserError(
                f"--sample-pool all draws each of {whole:,} tokens {k} time(s), but {updates:,} updates of {tokens / updates:,.0f} tokens take only "
                f"{tokens:,.0f}; leave --sample-tokens-per-update out (an update then sees {_all_tokens(whole, k, request.fraction) / updates:,.0f} "
                "tokens), or choose --sample-pool random"
            )
        size = len(order)
        repeated = repeated if p else size
    design = Design(
        order[:size].astype(np.int32),
        order[size:].astype(np.int32),
        lengths[:size],
        repeated,
        k,
        request.order,
        updates,
        request.batches,
        request.seed,
    )
    _check(design, tokens, small, p)
    return design


def _all_tokens(whole: int, k: int, p: float) -> int:
    """Tokens of a run that draws the whole corpus."""
    return round(whole / (p / k + 1 - p)) if p else whole * k


def _share_of_groups(p: float, k: int, updates: int) -> float:
    """The fraction that whole groups of ``k`` consecutive updates make up.

    Raises:
        UserError: the updates do not divide into such groups.
    """
    if not p:
        if updates % k:
            raise UserError(
                f"--sample-order consecutive trains each update {k} times in a row, so --max-update must be a multiple of --sample-repeat; "
                f"found {updates} and {k}; use {max(k, updates // k * k)} updates"
            )
        return 0.0
    share = round(p * updates / k) * k / updates
    if not 0 < share < 1 or abs(share - p) > TOLERANCE * p:
        raise UserError(
            f"--sample-order consecutive: {p:g} of {updates} updates are no whole number of groups of {k} within 1 % (nearest: {share:g}); "
            "change --max-update, --sample-repeat or --sample-fraction"
        )
    return share


def _nearest(reached: NDArray[np.int64], tokens: float) -> int:
    """How many leading examples hold the number of tokens nearest to ``tokens``; at least one."""
    after = int(np.searchsorted(reached, tokens))
    if after >= len(reached):
        return len(reached)
    if after and tokens - reached[after - 1] <= reached[after] - tokens:
        return after
    return after + 1


def _fitted(order: NDArray[np.int32], lengths: NDArray[np.int64], tokens: float) -> NDArray[np.int32]:
    """An order of which a beginning holds ``tokens`` within half the tolerance, so that any two arms are matched; ``order`` itself where it does, or
    where none is found.

    A set of few examples can miss its tokens by one example's length. Then its last examples, a quarter of its tokens at most, make room for the
    first one or two later ones that fit, looked for among 1.5 times as many tokens, then among three times as many. So a pool remains a subset
    of every pool twice (or four times) as large: of that, the first 1.5 (or three) times as many tokens stay.
    """
    reached, margin = np.cumsum(lengths), TOLERANCE / 2 * tokens
    end = _nearest(reached, tokens)
    if tokens > reached[-1] or abs(int(reached[end - 1]) - tokens) <= margin:
        return order
    most, least = np.searchsorted(reached, (tokens, 0.75 * tokens))
    for last in np.searchsorted(reached, (1.5 * tokens, 3 * tokens), side="right"):
        for kept in range(int(most), int(least), -1):
            chosen = _first_that_fit(lengths[kept:last], tokens - int(reached[kept - 1]), margin)
            if len(chosen):
                later = order[kept:]
                return np.concatenate([order[:kept], later[chosen], np.delete(later, chosen)])
    return order


def _first_that_fit(lengths: NDArray[np.int64], gap: float, margin: float) -> NDArray[np.int64]:
    """The place of the first length, else the places of the first two, that fill a gap; none if there are none."""
    one = np.flatnonzero(np.abs(lengths - gap) <= margin)[:1]
    if len(one):
        return one
    few = lengths[:CANDIDATES]
    pairs = np.argwhere(np.triu(np.abs(few[:, None] + few - gap) <= margin, 1))
    return pairs[np.argmin(pairs[:, 1])] if len(pairs) else one


def _check(design: Design, tokens: float, small: float, p: float) -> None:
    share = design.repeated_tokens * design.repeat / design.tokens
    if abs(design.tokens - tokens) > TOLERANCE * tokens or (p and abs(share - p) > TOLERANCE * p):
        raise UserError(
            f"a set of {small:,.0f} tokens to be repeated {design.repeat} times cannot be had within 1 %: {design.repeated:,} examples hold "
            f"{design.repeated_tokens:,}; give a smaller --sample-repeat, more tokens an update, more updates"
            + (" or a larger --sample-fraction" if p else "")
        )
    if design.draws < design.updates * design.batches:
        raise UserError(
            f"{design.updates:,} updates of {design.batches} batch(es) need as many examples, but only {design.draws:,} are drawn; give more "
            "tokens an update, or fewer updates"
        )
    longest = int(design.sizes.max())
    if longest > design.tokens_per_update:
        raise UserError(
            f"the pool's longest example has {longest:,} tokens, but an update sees {design.tokens_per_update:,.0f}, so updates could not be of "
            f"equal size; give --sample-tokens-per-update at least {longest:,}"
        )
