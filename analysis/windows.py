"""Decodes windows of a dump (docs/dump-format.md, "Windows"): snapshots that are kept as differences from what those before them predict.

    for update, values in table.window(1000, 1200):     # float32 (rows, dim) each; every frame is decoded once
    table.snapshot(1100)                                # decoded from the last keyframe before it

Rows do not depend on one another, so each chunk of rows is decoded by a thread of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from streams import Node

MAGNITUDE = np.int32(0x7FFFFFFF)
MOMENTUM_BITS = 4
BLOCK = 1 << 15  # entries
AT_ONCE = 4  # frames that are read at once


class Scratch:
    """Working memory for a block of entries: it and the block stay in a core's cache."""

    def __init__(self) -> None:
        self.real, self.code, self.spare = (
            np.empty(BLOCK, np.float32),
            np.empty(BLOCK, np.int32),
            np.empty(BLOCK, np.int32),
        )


class Rows:
    """Some rows of the last two snapshots: floats (`step` 0), or multiples of `step`. Flat, newest first."""

    def __init__(self) -> None:
        self.known: list[NDArray[np.float32] | NDArray[np.int32]] = []
        self.step = 0.0

    def take(self, residual: NDArray[np.uint32], keyframe: bool, step: float, momentum: int) -> None:
        """Decode the next frame's rows: `residual` is uint32 (entries,)."""
        if keyframe:
            self.known = []
        elif step != self.step:
            self.known = [self._recount(values, step) for values in self.known]
        self.step = step
        dtype = np.int32 if step else np.float32
        new = (
            self.known[1] if len(self.known) == 2 else np.empty(residual.size, dtype)
        )  # the older one is read, then overwritten
        decode, scratch = self._decode_steps if step else self._decode_real, Scratch()
        for start in range(0, residual.size, BLOCK):
            part = slice(start, start + BLOCK)
            size = len(residual[part])
            code, spare = scratch.code[:size], scratch.spare[:size]
            np.right_shift(residual[part], np.uint32(1), out=code.view(np.uint32))
            np.bitwise_and(residual[part], np.uint32(1), out=spare.view(np.uint32))
            np.negative(spare, out=spare)
            np.bitwise_xor(code, spare, out=code)
            decode(part, code, spare, scratch.real[:size], momentum)
            new[part] = code if step else code.view(np.float32)
        self.known = [new, *self.known[:1]]

    def values(self) -> NDArray[np.float32]:
        """The rows of the last snapshot: float32 (entries,). A view of what the frame after the next one overwrites."""
        return self.known[0].astype(np.float32) * np.float32(self.step) if self.step else self.known[0]

    def _recount(self, values: NDArray, step: float) -> NDArray[np.int32]:
        if self.step == 0:
            return np.rint(values / np.float32(step)).astype(np.int32)
        return np.rint(values * (self.step / step)).astype(np.int32)

    def _decode_real(
        self, part: slice, code: NDArray[np.int32], spare: NDArray[np.int32], real: NDArray[np.float32], momentum: int
    ) -> None:
        """Turn differences into the bits of floats, in place."""
        if self.known:
            one = self.known[0][part]
            if momentum:
                np.subtract(one, self.known[1][part], out=real)
                np.multiply(real, np.float32(momentum / (1 << MOMENTUM_BITS)), out=real)
                np.add(real, one, out=real)
            else:
                real[:] = one
            _order(real.view(np.int32), spare)
            np.add(code, real.view(np.int32), out=code)
        _order(code, spare)

    def _decode_steps(
        self, part: slice, code: NDArray[np.int32], spare: NDArray[np.int32], real: NDArray[np.float32], momentum: int
    ) -> None:
        """Turn differences into multiples of the step, in place."""
        if not self.known:
            return
        one = self.known[0][part]
        if momentum:
            np.subtract(one, self.known[1][part], out=spare)
            np.multiply(spare, np.int32(momentum), out=spare)
            np.add(spare, np.int32(1 << (MOMENTUM_BITS - 1)), out=spare)
            np.right_shift(spare, MOMENTUM_BITS, out=spare)
            np.add(code, spare, out=code)
        np.add(code, one, out=code)


def _order(bits: NDArray[np.int32], spare: NDArray[np.int32]) -> None:
    """Turn the bits of floats into integers that grow with them, in place; its own inverse."""
    np.right_shift(bits, 31, out=spare)
    np.bitwise_and(spare, MAGNITUDE, out=spare)
    np.bitwise_xor(bits, spare, out=bits)


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
        out, start = np.empty((self.rows, self.dim), np.float32), self._keyframe(place)

        def decode(slab: slice) -> None:
            rows = Rows()
            for number in range(start, place + 1, AT_ONCE):
                self._take(rows, slice(number, min(number + AT_ONCE, place + 1)), slab)
            out[slab] = rows.values().reshape(-1, self.dim)

        with ThreadPoolExecutor(self._threads) as pool:
            list(pool.map(decode, self._slabs))
        return out

    def between(self, first: int, last: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Update and snapshot of the places `first` to `last`, both inclusive, in order; each frame is decoded once."""
        if first > last:
            return
        slabs = [(slab, Rows()) for slab in self._slabs]
        with ThreadPoolExecutor(self._threads) as pool:
            for place in range(self._keyframe(first), last + 1):
                out = np.empty((self.rows, self.dim), np.float32) if place >= first else None
                list(pool.map(partial(self._step, place, out), slabs))
                if out is not None:
                    yield int(self.updates[place]), out

    def _step(self, place: int, out: NDArray[np.float32] | None, slab: tuple[slice, Rows]) -> None:
        rows, state = slab
        self._take(state, slice(place, place + 1), rows)
        if out is not None:
            out[rows] = state.values().reshape(-1, self.dim)

    def _take(self, state: Rows, places: slice, rows: slice) -> None:
        """Read and decode some rows of consecutive frames."""
        codes = np.ascontiguousarray(self._node.read("residual", (places, rows), self._shape), dtype=np.uint32)
        for (keyframe, step, momentum, _), code in zip(self.frames[places], codes, strict=True):
            state.take(code.reshape(-1), bool(keyframe), float(step), int(momentum))

    @property
    def _shape(self) -> tuple[int, int, int]:
        return len(self.updates), self.rows, self.dim

    @cached_property
    def _slabs(self) -> list[slice]:
        """Rows of one chunk each."""
        height = self._node.array("residual", self._shape).chunks[1]
        return [slice(top, min(top + height, self.rows)) for top in range(0, self.rows, height)]

    @property
    def _threads(self) -> int:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(len(self._slabs), cores)

    def _keyframe(self, place: int) -> int:
        return int(np.flatnonzero(self.frames[: place + 1, 0])[-1])
