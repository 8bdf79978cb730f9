"""A dump's records as a replay compares them: read only, so that neither a lock nor a running training is in the way."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..recording import contents
from ..recording.chunks import reason
from ..recording.store import RESIDUAL, Store
from ..recording.windows import Decoder


class Records:
    """The streams of a dump.

    Attributes:
        updates: int64 (updates,) by stream, as the coordinate lists them.
    """

    def __init__(self, dump: Path) -> None:
        """Read every stream's coordinate.

        Raises:
            UserError: one cannot be read.
        """
        self.dump, self.store = dump, Store(dump)
        places = contents.nodes(dump)
        keys = [key for key in contents.stream_keys(set(places)) if f"{key}/update" in places]
        self._arrays = {
            key: {
                place.rpartition("/")[2]: tuple(node.get("dimension_names") or ())
                for place, node in places.items()
                if place.rpartition("/")[0] == key and node["node_type"] == "array"
            }
            for key in keys
        }
        self.updates = {key: self.read(key, "update", slice(None)) for key in keys}

    def names(self, key: str) -> list[str]:
        """The arrays of a stream that grow with the update, without the coordinate."""
        return [name for name, dims in self._arrays[key].items() if dims[:1] == ("update",) and name != "update"]

    def read(self, key: str, name: str, entries: slice) -> NDArray[Any]:
        """Entries of an array.

        Raises:
            UserError: they cannot be read.
        """
        try:
            return np.asarray(self.store.open_array(f"{key}/{name}")[entries].read().result())
        except (ValueError, OSError) as error:
            raise UserError(
                f"{self.dump}: {key}/{name} cannot be read ({reason(error)}); see what is damaged with: "
                f"python -m fairseq_ext.recording check {self.dump}"
            ) from error

    def has(self, key: str, name: str) -> bool:
        """Whether a stream has an array, constant ones included."""
        return name in self._arrays.get(key, {})

    def dimensions(self, key: str, name: str) -> tuple[str, ...]:
        """The names of an array's dimensions."""
        return self._arrays[key][name]

    def record_bytes(self, key: str, name: str) -> int:
        """Bytes of one record of an array."""
        array = self.store.open_array(f"{key}/{name}")
        return math.prod(array.shape[1:]) * array.dtype.numpy_dtype.itemsize

    def exact(self, key: str) -> NDArray[np.int64]:
        """The updates at which a stream of windows gives a table to the bit: those of a lossless encoding."""
        frames = self.read(key, "frame", slice(0, len(self.updates[key])))
        return self.updates[key][frames[:, 1] == 0]

    def decoded(self, key: str, updates: Sequence[int]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Tables of a stream of windows, float32 [V, d] each, at ascending updates that it lists.

        Raises:
            UserError: a frame cannot be read, or not be decoded.
        """
        listed = self.updates[key]
        frames = self.read(key, "frame", slice(0, len(listed)))
        known, done = Decoder(), -1
        for update in updates:
            place = int(np.searchsorted(listed, update))
            keyframes = np.flatnonzero(frames[: place + 1, 0])
            start = max(done + 1, int(keyframes[-1]) if len(keyframes) else 0)
            try:
                for number in range(start, place + 1):
                    known.decode(self.read(key, RESIDUAL, slice(number, number + 1))[0], frames[number])
                table = known.newest()
            except IndexError as error:
                raise UserError(
                    f"{self.dump}: {key} cannot be decoded at update {update}; see what is damaged with: "
                    f"python -m fairseq_ext.recording check {self.dump}"
                ) from error
            done = place
            yield update, table
