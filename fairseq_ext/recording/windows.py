"""Encodes consecutive snapshots of one table: lossless, or with a stated bound of the error (docs/dump-format.md, "Windows").

Adam moves a row about as it moved it at the last update, so a snapshot is predicted from the two before it and only the difference is kept.
What is predicted from is what a reader will have decoded (closed loop), so errors do not add up. Every so many updates a keyframe stands for itself, which
bounds what a reader must decode to reach any update.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import prediction
from .prediction import Scratch

LOSSLESS, LOSSY = "lossless", "lossy"
KEYFRAMES = {LOSSLESS: 16, LOSSY: 24}  # updates from one keyframe to the next
BLOCK = 1 << 15  # entries: a block and its working memory stay in a core's cache
SAMPLED = 8  # every eighth row decides momentum and step
STEADY = 1.25  # the step is kept while the wanted one is within this factor of it
FINEST = 2.0**-22  # of the largest entry: a finer step could not be counted in 32-bit floats
PARAMETERS = ("keyframe", "step", "momentum", "peak")


@dataclass(frozen=True)
class Frame:
    """One encoded snapshot.

    Attributes:
        residual: uint32 [rows, dim], the zigzag code of what was not predicted.
        keyframe: whether it was predicted from nothing.
        step: what the integers count: 0, floats by their order; else multiples of ``step``.
        momentum: sixteenths of the last movement that were expected again.
        peak: the largest absolute entry; NaN where one is NaN.
    """

    residual: NDArray[np.uint32]
    keyframe: bool
    step: float
    momentum: int
    peak: float

    def parameters(self) -> NDArray[np.float64]:
        """Float64 [4], as :data:`PARAMETERS` names them."""
        return np.array([self.keyframe, self.step, self.momentum, self.peak], dtype=np.float64)


class Decoder:
    """Decodes frames one after the other.

    Attributes:
        real: the last two snapshots, newest first, while they are floats (step 0).
        steps: the last two, newest first, while they are counted in ``step``.
    """

    def __init__(self) -> None:
        self.real: list[NDArray[np.float32]] = []
        self.steps: list[NDArray[np.int32]] = []
        self.step = 0.0

    def forget(self) -> None:
        """Forget all snapshots; the next frame must be a keyframe."""
        self.real, self.steps = [], []

    def turn_to(self, step: float) -> None:
        """Count what is known in multiples of ``step``."""
        if self.real:
            self.steps = [np.empty(values.shape, np.int32) for values in self.real]
            for values, steps in zip(self.real, self.steps, strict=True):
                prediction.to_steps(values, step, steps)
            self.real = []
        elif step != self.step:
            for steps in self.steps:
                prediction.change_step(steps, self.step, step)
        self.step = step

    def decode(self, residual: NDArray[np.uint32], parameters: NDArray[np.float64]) -> None:
        """Take a frame in; its snapshot is then the newest of ``real`` or ``steps``."""
        keyframe, step, momentum = bool(parameters[0]), float(parameters[1]), int(parameters[2])
        code, spare = np.empty(residual.shape, np.int32), np.empty(residual.shape, np.int32)
        prediction.unzigzag(residual, code, spare)
        if keyframe:
            self.forget()
            self.step = step
        elif step > 0:
            self.turn_to(step)
        known: list[NDArray[np.float32]] | list[NDArray[np.int32]] = self.real if step == 0 else self.steps
        if step == 0:
            if not keyframe:
                guess = np.empty(residual.shape, np.float32)
                prediction.predict_real(known[0], known[1] if len(known) > 1 else None, momentum, guess)
                prediction.order(guess.view(np.int32), guess.view(np.int32), spare)
                np.add(code, guess.view(np.int32), out=code)
            prediction.order(code, code, spare)
            self.real = [code.view(np.float32), *self.real[:1]]
            return
        if not keyframe:
            prediction.predict_steps(known[0], known[1] if len(known) > 1 else None, momentum, spare)
            np.add(code, spare, out=code)
        self.steps = [code, *self.steps[:1]]

    def newest(self, rows: slice = slice(None)) -> NDArray[np.float32]:
        """Rows of the last snapshot, float32 [n, dim]."""
        return self.real[0][rows] if self.real else self.steps[0][rows].astype(np.float32) * np.float32(self.step)


class WindowEncoder:
    """Encodes the snapshots of one table.

    Args:
        encoding: ``lossless`` or ``lossy``.
        error: of ``lossy``: the step as a share of the root mean square of an update's entries; an entry errs by half a step at most.
        keyframes: updates from one keyframe to the next; 0: 16 if lossless, 24 if lossy.
        threads: that encode side by side.
    """

    def __init__(self, encoding: str, error: float, keyframes: int, threads: int = 1) -> None:
        self.encoding, self.error = encoding, error
        self.keyframes = keyframes or KEYFRAMES[encoding]
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="windows") if threads > 1 else None
        self._last, self._peak = -2, 0.0
        self._known = Decoder()
        self._residual: NDArray[np.uint32] | None = None

    @property
    def keeps(self) -> int:
        """How many of the last arrays given to :meth:`encode` it goes on reading."""
        return len(self._known.real)

    def resume(self, update: int, peak: float, known: Decoder) -> None:
        """Go on after ``update``, of whose frames since their keyframe ``known`` has decoded all; ``peak`` as the last one says."""
        self._last, self._peak, self._known = update, peak, known

    def encode(self, update: int, values: NDArray[np.float32]) -> Frame:
        """Encode the snapshot of an update.

        Args:
            values: float32 [rows, dim]; must not change while it is among the :attr:`keeps` last ones.

        Returns:
            a frame whose ``residual`` is overwritten by the next call.
        """
        peak = max(abs(float(values.max())), abs(float(values.min())))  # NaN where there is one
        # The table before may be out of reach of the new one's step only where it shrank to less than half at once.
        follows = self._last == update - 1 and np.isfinite(self._peak) and np.isfinite(peak) and self._peak <= 2 * peak
        step = self._choose_step(values, peak, follows) if self.encoding == LOSSY else 0.0
        keyframe = not follows or update % self.keyframes == 0 or (step == 0 and bool(self._known.steps))
        if self._residual is None or self._residual.shape != values.shape:
            self._residual = np.empty(values.shape, np.uint32)
        if keyframe:
            self._known.forget()
            self._known.step = step
        elif step > 0:
            self._known.turn_to(step)
        momentum = 0 if keyframe else self._momentum(values, step)
        if step == 0:
            self._encode_real(values, momentum)
            self._known.real = [values, *self._known.real[:1]]
        else:
            self._encode_steps(values, step, momentum)
        self._last, self._peak = update, peak
        return Frame(self._residual, keyframe, step, momentum, peak)

    def _choose_step(self, values: NDArray[np.float32], peak: float, follows: bool) -> float:
        """The step for this snapshot; 0 where there is no update to measure it by, or nothing to count."""
        if not follows:
            return 0.0
        moved = values[::SAMPLED] - self._known.newest(slice(None, None, SAMPLED))
        wanted = self.error * float(np.sqrt(np.square(moved, dtype=np.float64).mean()))
        if self._known.step > 0 and 1 / STEADY <= wanted / self._known.step <= STEADY:
            wanted = self._known.step
        step = float(np.float32(max(wanted, peak * FINEST)))
        return step if np.isfinite(step) else 0.0

    def _momentum(self, values: NDArray[np.float32], step: float) -> int:
        known = self._known.real if step == 0 else self._known.steps
        if len(known) < 2:
            return 0
        one, two = (array[::SAMPLED] for array in known)
        if step > 0:
            return prediction.momentum_of(
                values[::SAMPLED] / np.float32(step) - one.astype(np.float32), (one - two).astype(np.float32)
            )
        return prediction.momentum_of(values[::SAMPLED] - one, one - two)

    def _encode_real(self, values: NDArray[np.float32], momentum: int) -> None:
        known = [array.reshape(-1) for array in self._known.real]
        flat, residual = values.reshape(-1), self._residual.reshape(-1).view(np.int32)

        def block(part: slice, size: int, scratch: Scratch) -> None:
            first, second = scratch.first[:size], scratch.second[:size]
            prediction.order(flat[part].view(np.int32), first, second)
            if known:
                guess = scratch.real[:size]
                prediction.predict_real(known[0][part], known[1][part] if len(known) > 1 else None, momentum, guess)
                bits = guess.view(np.int32)
                prediction.order(bits, bits, second)
                np.subtract(first, bits, out=first)
            prediction.zigzag(first, residual[part], second)

        self._each_block(flat.size, block)

    def _encode_steps(self, values: NDArray[np.float32], step: float, momentum: int) -> None:
        known = [array.reshape(-1) for array in self._known.steps]
        new = self._known.steps[1] if len(known) > 1 else np.empty(values.shape, np.int32)
        out = new.reshape(-1)
        flat, residual = values.reshape(-1), self._residual.reshape(-1).view(np.int32)

        def block(part: slice, size: int, scratch: Scratch) -> None:
            first, second = scratch.first[:size], scratch.second[:size]
            prediction.to_steps(flat[part], step, first, scratch.real[:size])
            if known:
                prediction.predict_steps(known[0][part], known[1][part] if len(known) > 1 else None, momentum, second)
            out[part] = first  # the memory of the older snapshot, which has been read
            if known:
                np.subtract(first, second, out=first)
            prediction.zigzag(first, residual[part], second)

        self._each_block(flat.size, block)
        self._known.steps = [new, *self._known.steps[:1]]
        self._known.step = step

    def _each_block(self, size: int, work: Callable[[slice, int, Scratch], None]) -> None:
        """Work on all blocks, each thread on its share; the result does not depend on how many there are."""

        def share(number: int) -> None:
            scratch = Scratch(BLOCK)
            for start in range(number * BLOCK, size, self.threads * BLOCK):
                stop = min(start + BLOCK, size)
                work(slice(start, stop), stop - start, scratch)

        if self._pool is None:
            share(0)
        else:
            list(self._pool.map(share, range(self.threads)))
