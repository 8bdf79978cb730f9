"""Exposure: how often a run has seen each token and each example, as counted from the batches (docs/sampling.md).

exposure = read_exposure(dump)
tokens = exposure.tokens(update)         # visible, target, replacement: int64 (rows,) each
drawn = exposure.examples(update)        # int64 (examples,)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import zarr
from numpy.typing import NDArray

from dump import Dump
from streams import DumpError, Node

COUNTERS = ("visible", "target", "replacement")


@dataclass(frozen=True)
class TokenExposure:
    """Counts since the beginning of training at `update`, int64 (rows,) each."""

    update: int
    visible: NDArray[np.int64]
    target: NDArray[np.int64]
    replacement: NDArray[np.int64]

    @property
    def total(self) -> NDArray[np.int64]:
        """How often the row was used in any of the three ways."""
        return self.visible + self.target + self.replacement

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Rows that stood in the text that was drawn (visible or to be predicted)."""
        return (self.visible + self.target) > 0


class Exposure:
    """The exposure counters of one dump; arrays are read when asked for."""

    def __init__(self, dump: Dump) -> None:
        self.dump = dump
        self._node = Node(zarr.open_group(dump.path, mode="r", zarr_format=3), self.error).child("exposure")

    def error(self, what: str) -> DumpError:
        return DumpError(f"{self.dump.path}: exposure: {what}")

    @cached_property
    def token_updates(self) -> NDArray[np.int64]:
        """Updates at which the tokens' counters were kept."""
        return self._node.child("tokens").updates()

    def tokens(self, update: int) -> TokenExposure:
        """The tokens' counters at the last kept update that is not after `update`.

        Raises DumpError: nothing kept by then; counters that shrink (a lost chunk reads as zeros).
        """
        stream, place = self._node.child("tokens"), self._place(self.token_updates, update)
        counts = {name: self._cumulative(stream, name, place) for name in COUNTERS}
        return TokenExposure(int(self.token_updates[place]), **counts)

    def examples(self, update: int) -> NDArray[np.int64]:
        """How often each example of the training split was received by then, int64 (examples,). Raises as `tokens`."""
        stream = self._node.child("examples")
        return self._cumulative(stream, "drawn", self._place(stream.updates(), update))

    def _place(self, updates: NDArray[np.int64], update: int) -> int:
        place = int(np.searchsorted(updates, update, side="right")) - 1
        if place < 0:
            kept = f"the first is of update {updates[0]}" if len(updates) else "none were kept"
            raise self.error(f"no counters at or before update {update}: {kept}; record with --record-exposure")
        return place

    def _cumulative(self, stream: Node, name: str, place: int) -> NDArray[np.int64]:
        array = stream.array(name)
        if array.ndim != 2 or array.shape[0] <= place:
            raise self.error(f"{name} has the shape {array.shape}: the dump is cut short; resume the run")
        start = max(place - 1, 0)
        counts = stream.read(name, slice(start, place + 1)).astype(np.int64)
        if (counts[-1] < counts[0]).any():
            raise self.error(f"{name} shrinks between two updates: a chunk is missing, the dump is cut short")
        return counts[-1]


def read_exposure(dump: Dump) -> Exposure | None:
    """The exposure counters of a dump; None where the run did not count them."""
    return Exposure(dump) if (dump.path / "exposure" / "zarr.json").is_file() else None
