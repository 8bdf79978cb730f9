"""fairseq's binarised splits read and written as arrays, without fairseq: `<split>.bin` holds the rows, `<split>.idx` where each example lies."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corpora.errors import CorpusError

_MAGIC = b"MMIDIDX\x00\x00"
_HEADER = struct.Struct("<9sQBQ")  # magic, version, code of the type, examples; then sizes (int32) and offsets (int64)
_TYPES = {4: np.dtype("<i4"), 5: np.dtype("<i8"), 8: np.dtype("<u2")}  # those that fairseq writes rows in
AGAIN = "prepare the corpus again"


@dataclass(frozen=True)
class Split:
    """A split. `rows` (token,) are its examples one after the other, in the type of the file; `sizes` int64 (example,)."""

    rows: NDArray[Any]
    sizes: NDArray[np.int64]


def read(prefix: Path) -> Split:
    """Read `<prefix>.bin` and `<prefix>.idx`. Raises CorpusError where one is missing, cut short, empty or of another format."""
    data, index = (prefix.with_name(f"{prefix.name}.{suffix}") for suffix in ("bin", "idx"))
    dtype, sizes, offsets = _read_index(index)
    try:
        found = data.stat().st_size
        tokens = int(sizes.sum())
        if found != tokens * dtype.itemsize or not tokens:
            raise CorpusError(
                f"{data} holds {found:,} bytes, {tokens * dtype.itemsize:,} were expected by its index and more than none; {AGAIN}"
            )
        if not np.array_equal(offsets, np.concatenate([[0], np.cumsum(sizes)[:-1]]) * dtype.itemsize):
            raise CorpusError(f"{index}: examples one after the other were expected, others were found; {AGAIN}")
        return Split(np.fromfile(data, dtype), sizes)
    except OSError as error:
        raise CorpusError(f"{data} cannot be read: {error.strerror}; {AGAIN}") from error


def _read_index(index: Path) -> tuple[np.dtype[Any], NDArray[np.int64], NDArray[np.int64]]:
    """Type of the rows, sizes and offsets (in bytes) of the examples."""
    try:
        content = index.read_bytes()
    except OSError as error:
        raise CorpusError(f"{index} cannot be read: {error.strerror}; {AGAIN}") from error
    magic, version, code, examples = _HEADER.unpack_from(content) if len(content) >= _HEADER.size else (b"", 0, 0, 0)
    if magic != _MAGIC or version != 1 or code not in _TYPES:
        raise CorpusError(
            f"{index}: the index of a split that fairseq binarised was expected, another file was found; {AGAIN}"
        )
    if len(content) != _HEADER.size + 12 * examples:
        raise CorpusError(f"{index} was cut short: it lists {examples:,} examples in {len(content):,} bytes; {AGAIN}")
    sizes = np.frombuffer(content, "<i4", examples, _HEADER.size).astype(np.int64)
    return _TYPES[code], sizes, np.frombuffer(content, "<i8", examples, _HEADER.size + 4 * examples)
