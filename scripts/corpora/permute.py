"""Tokens of a binarised split in random order. Special tokens and the lengths of examples stay where they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corpora.binarised import Split
from corpora.dictionary import SPECIALS

BLOCK = 1 << 22  # tokens sorted at a time within examples: bounds the memory


def over_the_split(split: Split, key: tuple[int, ...]) -> NDArray[Any]:
    """The rows (token,) with all tokens that are not special permuted over the whole split; only frequencies and lengths are left.

    A function of the rows and `key` (numbers >= 0), and of NumPy's version.
    """
    rows = split.rows.copy()
    moves = rows >= len(SPECIALS)
    tokens = rows[moves]
    np.random.default_rng(np.random.SeedSequence(key)).shuffle(tokens)
    rows[moves] = tokens
    return rows


def within_examples(split: Split, key: tuple[int, ...], block: int = BLOCK) -> NDArray[Any]:
    """The rows (token,) with the tokens of each example that are not special permuted among themselves, all orders being equally likely.

    A function of the rows and `key` (numbers >= 0) alone: `block`, the tokens sorted at a time, changes nothing.
    """
    rows = split.rows.copy()
    words = np.random.PCG64(np.random.SeedSequence(key))
    for first, last, start, end in _blocks(split.sizes, block):
        part = rows[start:end]
        drawn = words.random_raw(len(part)) >> np.uint64(32)
        example = np.repeat(np.arange(last - first, dtype=np.uint64), split.sizes[first:last])
        moves = np.flatnonzero(part >= len(SPECIALS))
        order = np.argsort((example[moves] << np.uint64(32)) | drawn[moves], kind="stable")
        part[moves] = part[moves[order]]
    return rows


def _blocks(sizes: NDArray[np.int64], block: int) -> Iterator[tuple[int, int, int, int]]:
    """Neighbouring examples of about `block` tokens together: first and last example, first and last token (the last ones excluded)."""
    ends = np.cumsum(sizes)
    first = 0
    while first < len(sizes):
        start = int(ends[first] - sizes[first])
        last = max(first + 1, int(np.searchsorted(ends, start + block, side="right")))
        yield first, last, start, int(ends[last - 1])
        first = last


def same_counts(one: NDArray[Any], other: NDArray[Any], rows: int) -> bool:
    """Does each of the `rows` rows occur equally often in both?"""
    return len(one) == len(other) and np.array_equal(*(_count(tokens, rows) for tokens in (one, other)))


def _count(tokens: NDArray[Any], rows: int) -> NDArray[np.int64]:
    counts = np.zeros(rows, dtype=np.int64)
    for start in range(0, len(tokens), BLOCK):
        counts += np.bincount(tokens[start : start + BLOCK], minlength=rows)
    return counts
