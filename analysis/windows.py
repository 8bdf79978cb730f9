"""Decodes windows of a dump (docs/dump-format.md, "Windows"): snapshots that are kept as differences from what those before them predict.

    for update, values in table.window(1000, 1200):     # float32 (rows, dim) each; every frame is decoded once
    table.snapshot(1100)                                # decoded from the last keyframe before it

Rows do not depend on one another, so each chunk of rows is decoded by a thread of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from streams import Node

MAGNITUDE = np.int32(0x7FFFFFFF)
MOMENTUM_BITS = 4


class Rows:
    """Some rows of the last two snapshots: floats (`step` 0), or multiples of `step`."""

    def __init__(self) -> None:
        self.known: list[NDArray[np.float32] | NDArray[np.int32]] = []
        self.step = 0.0

    def take(self, residual: NDArray[np.uint32], keyframe: bool, step: float, momentum: int) -> None:
        """Decode the next frame's rows: `residual` is uint32 (n, dim)."""
        code = (residual >> np.uint32(1)).view(np.int32) ^ -(residual & np.uint32(1)).view(np.int32)
        if keyframe:
            self.known = []
        elif step != self.step:
            self.known = [self._recount(values, step) for values in self.known]
        self.step = step
        if step == 0:
            if self.known:
                code += _order(self._predict_real(momentum).view(np.int32))
            new = _order(code).view(np.float32)
        else:
            new = code + self._predict_steps(momentum) if self.known else code
        self.known = [new, *self.known[:1]]

    def values(self) -> NDArray[np.float32]:
        """The rows of the last snapshot: float32 (n, dim)."""
        return self.known[0].astype(np.float32) * np.float32(self.step) if self.step else self.known[0]

    def _recount(self, values: NDArray, step: float) -> NDArray[np.int32]:
        if self.step == 0:
            return np.rint(values / np.float32(step)).astype(np.int32)
        return np.rint(values * (self.step / step)).astype(np.int32)

    def _predict_real(self, momentum: int) -> NDArray[np.float32]:
        one, two = self.known[0], self.known[-1]
        return (one - two) * np.float32(momentum / (1 << MOMENTUM_BITS)) + one if momentum else one.copy()

    def _predict_steps(self, momentum: int) -> NDArray[np.int32]:
        one, two = self.known[0], self.known[-1]
        return one + (((one - two) * np.int32(momentum) + np.int32(1 << (MOMENTUM_BITS - 1))) >> MOMENTUM_BITS)


def _order(bits: NDArray[np.int32]) -> NDArray[np.int32]:
    """Integers that grow with the floats whose bits are given; its own inverse."""
    return bits ^ ((bits >> 31) & MAGNITUDE)


class Windows:
    """The stream `windows` of a table with `rows` rows of `dim` entries. `node` is its group."""

    def __init__(self, node: Node, rows: int, dim: int) -> None:
        self._node, self.rows, self.dim = node, rows, dim
        self.updates = node.updates()

    @cached_property
    def frames(self) -> NDArray[np.float64]:
        """For each update: is it a keyframe, its step (0: lossless), its momentum in sixteenths, its largest entry; float64 (updates, 4)."""
        frames = self._node.read("frame", slice(0, len(self.updates)), (len(self.updates), 4)).astype(np.float64)
        follows = np.concatenate([[False], np.diff(self.updates) == 1])
        wrong = ~np.isfinite(frames[:, :3]).all(axis=1) | ((frames[:, 0] == 0) & ~follows)
        if wrong.any():
            update = self.updates[np.argmax(wrong)]
            raise self._node.error(
                f"windows/frame says nothing of use for update {update}: a chunk is lost; check the dump"
            )
        return frames

    def snapshot(self, place: int) -> NDArray[np.float32]:
        """The snapshot at a place in `updates`: float32 (rows, dim). Raises DumpError: a frame that it needs is damaged."""
        *_, (_, values) = self._decode(self._keyframe(place), place, {place})
        return values

    def between(self, first: int, last: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Update and snapshot of the places `first` to `last`, both inclusive, in order; each frame is decoded once."""
        if first <= last:
            yield from self._decode(self._keyframe(first), last, set(range(first, last + 1)))

    def _keyframe(self, place: int) -> int:
        return int(np.flatnonzero(self.frames[: place + 1, 0])[-1])

    def _decode(self, start: int, stop: int, wanted: set[int]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        shape = (len(self.updates), self.rows, self.dim)
        array = self._node.array("residual", shape)
        height = array.chunks[1]
        slabs = [(slice(top, min(top + height, self.rows)), Rows()) for top in range(0, self.rows, height)]

        def work(place: int, out: NDArray[np.float32] | None) -> Callable[[tuple[slice, Rows]], None]:
            keyframe, step, momentum, _ = self.frames[place]

            def decode(slab: tuple[slice, Rows]) -> None:
                rows, state = slab
                residual = self._node.read("residual", (place, rows), shape)
                state.take(np.ascontiguousarray(residual, dtype=np.uint32), bool(keyframe), float(step), int(momentum))
                if out is not None:
                    out[rows] = state.values()

            return decode

        threads = min(len(slabs), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
        with ThreadPoolExecutor(threads) as pool:
            for place in range(start, stop + 1):
                out = np.empty((self.rows, self.dim), np.float32) if place in wanted else None
                list(pool.map(work(place, out), slabs))
                if out is not None:
                    yield int(self.updates[place]), out
