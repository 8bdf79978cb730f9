"""Documents: where they begin, and which of them are held out for validation."""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

MODES = ("title", "file", "blank")
RUN = 20  # lines of a block where nothing else divides a text
_TITLE = re.compile(r"= (?!= ).*(?<! =) =")

# What the text is divided by in each mode; `lines` is the last resort for one unbroken text.
RULES = {
    "title": "a file, or a part of one that begins with a line '= Title =' after a blank line",
    "file": "a file",
    "blank": "a block of lines between blank lines",
    "lines": f"a run of {RUN} lines of a file",
}


def number(files: Iterable[Iterable[str]], mode: str) -> Iterator[tuple[int, str]]:
    """The non-empty lines of the files, stripped, each with the number (0, 1, ...) of its document.

    `mode` is a key of `RULES`. A document without text does not count.
    """
    document = -1
    for lines in files:
        begins = after_blank = True
        run = 0
        for raw in lines:
            line = raw.strip()
            if not line:
                begins = begins or mode == "blank"
                after_blank = True
                continue
            if (mode == "title" and after_blank and _TITLE.fullmatch(line)) or (mode == "lines" and run == RUN):
                begins = True
            after_blank = False
            if begins:
                document, begins, run = document + 1, False, 0
            run += 1
            yield document, line


@dataclass
class Census:
    """Hash and size of each document, from one pass over the text."""

    seed: int
    hashes: array[int] = field(default_factory=lambda: array("Q"))
    sizes: array[int] = field(default_factory=lambda: array("Q"))

    def take(self, lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
        """Pass the lines through and note their documents. The hash is of the text and the seed, not of names or order."""
        state = None
        current = -1
        for document, line in lines:
            if document != current:
                if state is not None:
                    self.hashes.append(int.from_bytes(state.digest(), "big"))
                current, state = document, hashlib.blake2b(key=self.seed.to_bytes(8, "big"), digest_size=8)
                self.sizes.append(0)
            assert state is not None
            state.update(line.encode() + b"\n")
            self.sizes[-1] += len(line) + 1
            yield document, line
        if state is not None:
            self.hashes.append(int.from_bytes(state.digest(), "big"))

    @property
    def documents(self) -> int:
        return len(self.sizes)

    def characters(self) -> int:
        return sum(self.sizes)

    def hold_out(self, share: float) -> NDArray[np.bool_]:
        """(document,) which documents are held out; see `hold_out`."""
        return hold_out(np.asarray(self.hashes, dtype=np.uint64), np.asarray(self.sizes, dtype=np.int64), share)


def hold_out(hashes: NDArray[np.uint64], sizes: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """Choose documents, in the order of their hashes, until about `share` of the characters are held out.

    Documents of equal hash (equal text) stay on one side. A document that would bring the held-out text above 1.25 times the share is
    passed over; where all are too large, the smallest is taken. With a single distinct document nothing is held out.
    """
    distinct, inverse = np.unique(hashes, return_inverse=True)
    if len(distinct) < 2:
        return np.zeros(len(hashes), dtype=bool)
    size = np.bincount(inverse, weights=sizes)
    target = share * size.sum()
    chosen = np.zeros(len(distinct), dtype=bool)
    taken = 0.0
    for index in range(len(distinct)):
        if taken >= target:
            break
        if taken + size[index] <= 1.25 * target:
            chosen[index] = True
            taken += size[index]
    if not chosen.any():
        chosen[np.argmin(size)] = True
    return chosen[inverse]
