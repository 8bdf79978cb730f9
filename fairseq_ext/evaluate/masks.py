"""Pseudo-random choices that depend on their key alone: which tokens are masked, which examples are taken.

The numbers are raw 64-bit words of Philox seeded through numpy's ``SeedSequence``, two things that numpy keeps stable between its versions,
and are used by their order only. So every model sees the same masked input wherever it is evaluated.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

MASK_PROB = 0.15
_WORD = float(1 << 64)


def words(key: tuple[int, ...], count: int) -> npt.NDArray[np.uint64]:
    """``count`` pseudo-random 64-bit words, a pure function of the key (numbers >= 0). The first words do not depend on ``count``."""
    return np.random.Philox(np.random.SeedSequence(key)).random_raw(count)


def shuffled(key: tuple[int, ...], count: int) -> npt.NDArray[np.int64]:
    """The numbers 0 to ``count`` - 1 in an order that depends on the key and ``count`` alone."""
    return np.argsort(words(key, count), kind="stable")


def whole_items(key: tuple[int, ...], sizes: Sequence[int], most: int) -> list[int]:
    """Numbers of the items, in an order that depends on the key and their number, until the next one would make them larger than ``most`` together."""
    taken, total = [], 0
    for number in shuffled(key, len(sizes)).tolist():
        total += sizes[number]
        if total > most:
            break
        taken.append(number)
    return taken


def chosen(seed: int, part: int, example: int, repeat: int, tokens: int) -> npt.NDArray[np.int64]:
    """Which of an example's ``tokens`` maskable tokens are masked.

    floor(0.15 n + u) of n tokens, u uniform in [0, 1), so that 15 % are masked on average, and at least one, so that a short example is not
    lost. Drawn without replacement.

    Returns:
        numbers of the chosen tokens, ascending; empty without tokens.
    """
    if tokens == 0:
        return np.zeros(0, dtype=np.int64)
    drawn = words((seed, part, example, repeat), tokens + 1)
    number = max(1, int(MASK_PROB * tokens + float(drawn[0]) / _WORD))
    return np.sort(np.argsort(drawn[1:], kind="stable")[:number])
