"""The arithmetic of encoded windows: how a snapshot is predicted from the two before it, and its difference written as small integers.

All functions work in place on blocks that fit a core's cache, and repeat to the bit on any machine: integers, and single IEEE operations in
32 bits. `analysis/windows.py` undoes them by a code of its own; docs/dump-format.md states the formulas.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MOMENTUM_BITS = 4  # the share of the last movement that is expected again is a multiple of 1/16
MOMENTUM_LARGEST = 32  # sixteenths
MAGNITUDE = np.int32(0x7FFFFFFF)


class Scratch:
    """Working memory for blocks of at most ``size`` entries."""

    def __init__(self, size: int) -> None:
        self.real = np.empty(size, np.float32)
        self.first, self.second = np.empty(size, np.int32), np.empty(size, np.int32)


def order(bits: NDArray[np.int32], out: NDArray[np.int32], spare: NDArray[np.int32]) -> None:
    """Map the bits of floats to integers that grow with them: neighbouring floats differ by 1. It is its own inverse. ``out`` may be ``bits``."""
    np.right_shift(bits, 31, out=spare)
    np.bitwise_and(spare, MAGNITUDE, out=spare)
    np.bitwise_xor(bits, spare, out=out)


def zigzag(difference: NDArray[np.int32], out: NDArray[np.int32], spare: NDArray[np.int32]) -> None:
    """Write signed integers as unsigned ones: 0, -1, 1, -2, ... as 0, 1, 2, 3, ... (in the memory of ``out``)."""
    np.right_shift(difference, 31, out=spare)
    np.left_shift(difference, 1, out=out)
    np.bitwise_xor(out, spare, out=out)


def unzigzag(code: NDArray[np.uint32], out: NDArray[np.int32], spare: NDArray[np.int32]) -> None:
    """The inverse of :func:`zigzag`."""
    np.bitwise_and(code, np.uint32(1), out=spare.view(np.uint32))
    np.negative(spare, out=spare)
    np.right_shift(code, np.uint32(1), out=out.view(np.uint32))
    np.bitwise_xor(out, spare, out=out)


def predict_real(
    one: NDArray[np.float32], two: NDArray[np.float32] | None, momentum: int, out: NDArray[np.float32]
) -> None:
    """``one + (one - two) * momentum / 16``, each operation rounded to 32 bits; ``two`` is not read where ``momentum`` is 0."""
    if momentum == 0 or two is None:
        np.copyto(out, one)
        return
    np.subtract(one, two, out=out)
    np.multiply(out, np.float32(momentum / (1 << MOMENTUM_BITS)), out=out)
    np.add(out, one, out=out)


def predict_steps(one: NDArray[np.int32], two: NDArray[np.int32] | None, momentum: int, out: NDArray[np.int32]) -> None:
    """``one + floor(((one - two) * momentum + 8) / 16)`` in integers."""
    if momentum == 0 or two is None:
        np.copyto(out, one)
        return
    np.subtract(one, two, out=out)
    np.multiply(out, np.int32(momentum), out=out)
    np.add(out, np.int32(1 << (MOMENTUM_BITS - 1)), out=out)
    np.right_shift(out, MOMENTUM_BITS, out=out)
    np.add(out, one, out=out)


def to_steps(
    values: NDArray[np.float32], step: float, out: NDArray[np.int32], spare: NDArray[np.float32] | None = None
) -> None:
    """The nearest multiples of ``step``, counted in steps; ties to even."""
    spare = np.divide(values, np.float32(step), out=spare)
    np.rint(spare, out=spare)
    np.copyto(out, spare, casting="unsafe")


def change_step(steps: NDArray[np.int32], old: float, new: float) -> None:
    """Count multiples of ``old`` anew in multiples of ``new``, in place and in 64 bits."""
    np.copyto(steps, np.rint(steps * (old / new)), casting="unsafe")


def momentum_of(movement: NDArray[np.float32], before: NDArray[np.float32]) -> int:
    """The share of the last movement that comes again, by least squares, in sixteenths from 0 to 32."""
    square = float(np.square(before).sum(dtype=np.float64))
    if not 0 < square < np.inf:
        return 0
    share = float((movement * before).sum(dtype=np.float64)) / square
    return int(np.clip(np.rint(share * (1 << MOMENTUM_BITS)), 0, MOMENTUM_LARGEST)) if np.isfinite(share) else 0
