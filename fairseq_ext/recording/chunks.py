"""Reading the chunks of a stream, several at a time, to see that each is whole by its checksum and what its values are like."""

from __future__ import annotations

import collections
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TextIO, TypeVar

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

from .contents import Array
from .space import readable

Item = TypeVar("Item")
Result = TypeVar("Result")
LONG = 30.0  # seconds between lines of progress where standard error is no terminal
SHORT = 0.5  # ... and where it is one


@dataclass
class Values:
    """What the chunks of one array along ``update`` hold, for each of its first n records.

    Attributes:
        errors: record number to what is wrong with a chunk that holds it: the first found.
        missing: bool [n], a chunk of the record is not there.
        finite: bool [n], every value is finite; true where nothing was read.
        present: bool [n], some value is not NaN.
        total: float64 [n], sum of the values that are finite.
    """

    n: int
    errors: dict[int, str] = field(default_factory=dict)
    missing: NDArray[np.bool_] = field(init=False)
    finite: NDArray[np.bool_] = field(init=False)
    present: NDArray[np.bool_] = field(init=False)
    total: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.missing, self.present = np.zeros(self.n, bool), np.zeros(self.n, bool)
        self.finite, self.total = np.ones(self.n, bool), np.zeros(self.n)


@dataclass(frozen=True)
class Chunk:
    """One chunk to be read: of the array ``name``, at ``place`` in its grid."""

    name: str
    place: tuple[int, ...]
    domain: tuple[slice, ...]


class Progress:
    """A line about long work: rewritten in place on a terminal, else a new one every half minute; none for short work.

    Args:
        what: what is done, e.g. ``checking runs/a/dump.zarr``.
        total: bytes to be read.
        out: where it is said.
        clock: seconds.
    """

    def __init__(
        self, what: str, total: int, out: TextIO = sys.stderr, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.what, self.total, self.out, self.clock = what, total, out, clock
        self.done, self._said, self._open = 0, clock(), False
        self._terminal = out.isatty()

    def add(self, size: int) -> None:
        """Count bytes that were read."""
        self.done += size
        if self.clock() - self._said < (SHORT if self._terminal else LONG):
            return
        self._said = self.clock()
        share = 100 * self.done / max(self.total, self.done, 1)
        line = f"{self.what}: {share:.0f} % ({readable(self.done)} of {readable(max(self.total, self.done))})"
        print(f"\r{line}\x1b[K" if self._terminal else line, end="" if self._terminal else "\n", file=self.out, flush=True)  # fmt: skip
        self._open = self._terminal

    def close(self) -> None:
        """Clear the terminal's line."""
        if self._open:
            print("\r\x1b[K", end="", file=self.out, flush=True)
            self._open = False


def workers() -> int:
    """Chunks that are read at once: more than the cores, for a disk answers several; their number bounds the memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, 2 * cores)


def in_parallel(
    work: Callable[[Item], Result], items: Iterable[Item], threads: int | None = None
) -> Iterator[tuple[Item, Result]]:
    """Results of ``work`` in the order of the items; at most as many are under way, or wait to be taken, as there are threads."""
    threads = threads or workers()
    waiting: collections.deque[tuple[Item, Future[Result]]] = collections.deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="chunks") as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(work, item)))
                if len(waiting) >= threads:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def read_values(
    arrays: dict[str, Array],
    handles: dict[str, ts.TensorStore],
    length: int,
    wanted: NDArray[np.bool_],
    progress: Progress,
) -> dict[str, Values]:
    """Read every chunk of the arrays that holds a wanted record of the first ``length``.

    Args:
        arrays: by name, each along ``update`` and no shorter than ``length``.
        handles: the same arrays, opened.
        wanted: bool [length].
    """
    found = {name: Values(length) for name in arrays}

    def jobs() -> Iterator[Chunk]:
        for name, array in arrays.items():
            for place in array.chunk_places(length):
                domain = array.domain(place, length)
                if wanted[domain[0]].any():
                    yield Chunk(name, place, domain)

    def read(chunk: Chunk) -> Any:
        return _read(arrays[chunk.name], handles[chunk.name], chunk)

    for chunk, (problem, size, seen) in in_parallel(read, jobs()):
        values, records = found[chunk.name], chunk.domain[0]
        progress.add(size)
        if problem is None and seen is None:
            values.missing[records] = True
        elif problem is not None:
            for record in range(records.start, records.stop):
                values.errors.setdefault(record, problem)
        else:
            finite, present, total = seen
            values.finite[records] &= finite
            values.present[records] |= present
            values.total[records] += total
    return found


def _read(array: Array, handle: ts.TensorStore, chunk: Chunk) -> tuple[str | None, int, Any]:
    """What is wrong with a chunk, its bytes on disk, and by record: all finite, any not NaN, sum. Nothing at all: there is no file."""
    file = array.chunk_file(chunk.place)
    where = f"{chunk.name}/{file.relative_to(array.folder)}"
    try:
        size = file.stat().st_size
        if array.chunk_bytes is not None and size > array.chunk_bytes:  # tensorstore reads no further
            return f"{where} is damaged ({size:,} bytes, expected {array.chunk_bytes:,})", 0, None
        values = handle[chunk.domain].read().result()
    except FileNotFoundError:
        return None, 0, None
    except (OSError, ValueError) as error:
        return f"{where} is damaged ({reason(error)})", 0, None
    axes = tuple(range(1, values.ndim))
    if not array.is_float:
        return None, size, (True, True, values.sum(axes, dtype=np.float64))
    finite = np.isfinite(values)
    whole, present = finite.all(axes), ~np.isnan(values).all(axes)
    return None, size, (whole, present, 0.0)


def reason(error: BaseException) -> str:
    """What tensorstore says of a file, without the file's name and the place in its own sources."""
    text = " ".join(str(error).split())
    if "igest mismatch" in text:
        return "its checksum does not fit"
    if "Not enough data" in text or "expected at least" in text:
        return "it is cut short"
    return text[:160]
