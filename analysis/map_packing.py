"""Arrays packed small for a page: rounded to whole numbers, split into byte planes, deflated, in base64.

A number is `low + step * code`, so it is off by half a step at most; the code that is all ones stands for NaN or "none".
An array of several updates may be stored as differences along its first axis (modulo the code's size), as neighbouring
updates differ little. templates/map_data.js reads what `pack` writes, and so does `unpack`.
"""

from __future__ import annotations

import base64
import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Codes:
    """Whole numbers `codes` (of any shape, unsigned) that stand for `low + step * code`; all ones: none.

    `delta`: stored as differences along the first axis.
    """

    codes: NDArray[np.unsignedinteger]
    low: float = 0.0
    step: float = 1.0
    delta: bool = False

    @property
    def none(self) -> int:
        """The code that stands for no value."""
        return int(np.iinfo(self.codes.dtype).max)

    def values(self) -> NDArray[np.float64]:
        """The numbers that the codes stand for, NaN for none."""
        return np.where(self.codes == self.none, np.nan, self.low + self.step * self.codes.astype(np.float64))


def quantise(values: NDArray[np.floating], *, levels: int = 4095, delta: bool = False) -> Codes:
    """Codes of `values` over their own range in so many steps; the error is at most range / levels / 2. NaN is kept."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    return with_step(values, low, (high - low) / levels or 1.0, delta=delta)


def with_step(values: NDArray[np.floating], low: float, step: float, *, bits: int = 16, delta: bool = False) -> Codes:
    """Codes of `values` in steps of `step` from `low` on; the error is at most half a step. NaN is kept.

    Raises ValueError where a value has no code of so many bits.
    """
    known = np.isfinite(values)
    codes = np.rint((np.where(known, values, low) - low) / step)
    none = 2**bits - 1
    if codes.size and (codes.min() < 0 or codes.max() >= none):
        raise ValueError(f"values from {low} in steps of {step} do not fit {bits} bits")
    return Codes(np.where(known, codes, none).astype(f"uint{bits}"), low, step, delta)


def whole(values: NDArray[np.integer]) -> Codes:
    """Codes of whole numbers from 0 on, in 8, 16 or 32 bits; -1 stands for none."""
    top = int(values.max(initial=0))
    bits = next((bits for bits in (8, 16, 32) if top < 2**bits - 1), None)
    if bits is None or (values.size and values.min() < -1):
        raise ValueError(f"expected whole numbers from -1 to {2**32 - 2}, found {values.min()} to {top}")
    return Codes(np.where(values < 0, 2**bits - 1, values).astype(f"uint{bits}"))


def pack(arrays: dict[str, Codes]) -> tuple[list[dict[str, Any]], str]:
    """A description of each array (plain JSON values), and all of them as one base64 text."""
    layout, parts = [], []
    for name, entry in arrays.items():
        codes = entry.codes
        if entry.delta:
            codes = np.concatenate([codes[:1], np.diff(codes, axis=0)])  # unsigned: modulo the code's size
        size = codes.dtype.itemsize
        planes = np.ascontiguousarray(codes.astype(codes.dtype.newbyteorder("<"))).view(np.uint8).reshape(-1, size)
        parts.append(planes.T.tobytes())
        layout.append(
            {
                "name": name,
                "bytes": size,
                "shape": list(codes.shape),
                "low": entry.low,
                "step": entry.step,
                "delta": entry.delta,
            }
        )
    return layout, base64.b64encode(zlib.compress(b"".join(parts), 9)).decode("ascii")


def unpack(layout: list[dict[str, Any]], text: str) -> dict[str, Codes]:
    """What `pack` was given."""
    content = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    result, start = {}, 0
    for entry in layout:
        size, shape = entry["bytes"], entry["shape"]
        length = math.prod(shape) * size
        planes = content[start : start + length].reshape(size, -1)
        start += length
        codes = np.ascontiguousarray(planes.T).view(f"<u{size}").reshape(shape).astype(f"uint{8 * size}")
        if entry["delta"]:
            codes = np.cumsum(codes, axis=0, dtype=codes.dtype)
        result[entry["name"]] = Codes(codes, entry["low"], entry["step"], entry["delta"])
    return result
