"""How often the words of a test set occur in the training text, on either side of the corpus."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fairseq.data import Dictionary
from fairseq.data.indexed_dataset import MMapIndexedDataset
from numpy.typing import NDArray

START = "▁"  # sentencepiece's mark of a word's first piece
CONTINUES = "@@"  # subword-nmt's mark of a piece that is not the last
LONGEST = 512  # pieces of a word that its hash depends on


def begins_word(symbols: Sequence[str]) -> NDArray[np.bool_] | None:
    """(V,) whether each symbol is the first piece of a word, by sentencepiece's mark; ``None`` where no symbol has it."""
    begins = np.array([symbol.startswith(START) for symbol in symbols])
    return begins if begins.any() else None


def ends_before_end(symbols: Sequence[str]) -> NDArray[np.bool_]:
    """(V,) whether the word goes on after each symbol, by subword-nmt's mark."""
    return np.array([symbol.endswith(CONTINUES) for symbol in symbols])


class Words:
    """Words as 64-bit hashes of their pieces, the same on both sides.

    Args:
        dictionaries: of all sides; a piece is the same one where its symbol is.
    """

    def __init__(self, dictionaries: Sequence[Dictionary]) -> None:
        union: dict[str, int] = {}
        for dictionary in dictionaries:
            for symbol in dictionary.symbols:
                union.setdefault(symbol, len(union))
        self._number = {id(d): np.array([union[s] for s in d.symbols], dtype=np.uint64) for d in dictionaries}
        numbers = np.random.default_rng(20161)
        self._piece = numbers.integers(1, 2**63, len(union), dtype=np.uint64)
        self._place = numbers.integers(0, 2**62, LONGEST, dtype=np.uint64) * np.uint64(2) + np.uint64(1)

    def of(self, dictionary: Dictionary, tokens: NDArray[Any], offsets: NDArray[np.int64]) -> tuple[NDArray, NDArray]:
        """The words of a run of sentences.

        Args:
            tokens: (n,) rows, ``</s>`` included, sentence after sentence.
            offsets: (sentences + 1,) where each begins.

        Returns:
            uint64 (words,) hashes, and int64 (sentences + 1,) where each sentence's words begin. ``</s>`` is no word.
        """
        begins = begins_word(dictionary.symbols)
        if begins is None:
            after = ends_before_end(dictionary.symbols)[tokens]
            starts = np.concatenate([[True], ~after[:-1]]) if len(tokens) else np.zeros(0, dtype=bool)
        else:
            starts = begins[tokens]
        is_end = tokens == dictionary.eos()
        starts = starts | is_end
        starts[offsets[:-1][offsets[:-1] < len(tokens)]] = True
        first = np.flatnonzero(starts)
        if not len(first):
            return np.zeros(0, dtype=np.uint64), np.zeros(len(offsets), dtype=np.int64)
        place = np.minimum(np.arange(len(tokens)) - first[np.cumsum(starts) - 1], LONGEST - 1)
        with np.errstate(over="ignore"):
            terms = self._piece[self._number[id(dictionary)][tokens]] * self._place[place]
            hashes = np.add.reduceat(terms, first)
        kept = ~is_end[first]
        return hashes[kept], np.searchsorted(first[kept], offsets).astype(np.int64)


def read_split(prefix: Path) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The tokens of half a binarised split, and where its sentences begin, (sentences + 1,)."""
    dataset = MMapIndexedDataset(str(prefix))  # kept by name: its sizes are gone (a crash) when it is
    sizes = np.array(dataset.sizes, dtype=np.int64)
    tokens = np.concatenate([dataset[i].numpy() for i in range(len(dataset))]) if len(dataset) else np.zeros(0, int)
    return tokens.astype(np.int64), np.concatenate([[0], np.cumsum(sizes)])


def count_test_words(
    train: dict[str, Path], test: dict[str, Path], dictionaries: dict[str, Dictionary]
) -> dict[str, NDArray[np.int64]]:
    """The arrays of ``words.npz``.

    Args:
        train, test: the halves of the two splits, by ``source`` and ``target``.
        dictionaries: by ``source`` and ``target``.
    """
    words = Words(list(dictionaries.values()))
    known = {}
    for side, dictionary in dictionaries.items():
        hashes, _ = words.of(dictionary, *read_split(train[side]))
        known[side] = np.unique(hashes, return_counts=True)
    result: dict[str, NDArray[np.int64]] = {}
    for name, side in (("source", "source"), ("reference", "target")):
        hashes, offsets = words.of(dictionaries[side], *read_split(test[side]))
        result[f"{name}_offsets"] = offsets
        for other, (there, counts) in known.items():
            place = np.minimum(np.searchsorted(there, hashes), max(0, len(there) - 1))
            found = there[place] == hashes if len(there) else np.zeros(len(hashes), dtype=bool)
            result[f"{name}_count_{other}"] = np.where(found, counts[place], 0).astype(np.int64)
    return result
