"""Exposure: how often a run has seen each token and each example, as counted from the batches (docs/sampling.md).

exposure = read_exposure(dump)
tokens = exposure.tokens(update)         # visible, target, replacement: int64 (rows,) each
drawn = exposure.examples(update)        # int64 (examples,)

A run of translation counts each side by itself (docs/translation-format.md): `exposure/source` has `visible`, `exposure/target` has
`visible` (decoder input) and `target`, and there is no `exposure/tokens`. `exposure.tokens(update, table.side)` gives what the
table has received: of one side, or the sum of both for a shared table. A counter that a side does not have is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dump import Dump
from streams import DumpError, Node
from table import SIDES

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
        self._node = Node(dump.root, self.error).child("exposure")

    def error(self, what: str) -> DumpError:
        return DumpError(f"{self.dump.path}: exposure: {what}")

    @property
    def by_side(self) -> bool:
        """Are the counters kept by side (translation) and not for all text together?"""
        return "tokens" not in self._node and any(side in self._node for side in SIDES)

    @cached_property
    def token_updates(self) -> NDArray[np.int64]:
        """Updates at which the tokens' counters were kept (of translation: those of the source side)."""
        return self._node.child("source" if self.by_side else "tokens").updates()

    def tokens(self, update: int, side: str | None = None) -> TokenExposure:
        """The tokens' counters at the last kept update that is not after `update`.

        `side` is that of the table: None for a masked LM's, `source`, `target` or `both` for translation. Raises DumpError:
        nothing kept by then; counters that shrink (a lost chunk reads as zeros); a side that the dump does not have.
        """
        if self.by_side != (side is not None):
            kept = (
                "the counters are kept by side (translation)" if self.by_side else "the counters are not kept by side"
            )
            raise self.error(f"{kept}, asked for side {side}; give the table's own side")
        if side is None:
            return self._stream_counts("tokens", COUNTERS, update)
        if side not in (*SIDES, "both"):
            raise self.error(f"no side {side!r}; sides are {', '.join(SIDES)} and both")
        chosen = SIDES if side == "both" else (side,)
        counters = {"source": ("visible",), "target": ("visible", "target")}
        found = [self._stream_counts(name, counters[name], update) for name in chosen]
        sums = {name: sum(getattr(entry, name) for entry in found) for name in COUNTERS}
        return TokenExposure(found[0].update, **sums)  # type: ignore[arg-type]

    def _stream_counts(self, name: str, counters: tuple[str, ...], update: int) -> TokenExposure:
        stream = self._node.child(name)
        updates = stream.updates()
        place = self._place(updates, update)
        counts = {counter: self._cumulative(stream, counter, place) for counter in counters}
        nothing = np.zeros_like(counts[counters[0]])
        return TokenExposure(int(updates[place]), **{counter: counts.get(counter, nothing) for counter in COUNTERS})

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
