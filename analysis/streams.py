"""Reads groups and arrays of one table of a dump, so that whatever is not whole ends in one line and never in NaN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray


class DumpError(Exception):
    """A dump that cannot be read as asked: one line saying what was expected, what was found and what to do."""


class Node:
    """A Zarr group with checked reading. `error` makes the DumpError of a text, naming dump and table."""

    def __init__(self, group: zarr.Group, error: Callable[[str], DumpError]) -> None:
        self.group = group
        self.error = error

    def __contains__(self, name: str) -> bool:
        return name in self.group

    def child(self, path: str) -> Node:
        """The group at `path` below this one."""
        node = self._member(path)
        if not isinstance(node, zarr.Group):
            raise self.error(f"{path} should be a group; this is not a dump of a known form")
        return Node(node, self.error)

    def array(self, name: str, shape: tuple[int, ...] | None = None) -> zarr.Array:
        """The array `name`, of at least the length `shape[0]` and of exactly the further dimensions of `shape`."""
        array = self._member(name)
        if not isinstance(array, zarr.Array):
            raise self.error(f"{self.group.path}/{name} should be an array; this is not a dump of a known form")
        if shape is not None and (
            array.ndim != len(shape) or array.shape[0] < shape[0] or array.shape[1:] != shape[1:]
        ):
            found = f"{self.group.basename}/{name} has the shape {array.shape}"
            raise self.error(f"{found}, expected at least {shape}: the dump is cut short; resume the run")
        return array

    def read(self, name: str, selection: Any = ..., shape: tuple[int, ...] | None = None) -> NDArray[Any]:
        """The chosen part of an array; a chunk whose bytes are damaged raises DumpError."""
        array = self.array(name, shape)
        try:
            return np.asarray(array.oindex[selection] if isinstance(selection, tuple) else array[selection])
        except Exception as error:  # each codec raises its own types for damaged bytes
            where = f"{self.group.basename}/{name}"
            raise self.error(f"{where} is unreadable ({first_line(error)}): a chunk is damaged or cut short") from None

    def read_finite(
        self, name: str, selection: tuple[Any, ...], shape: tuple[int, ...], what: str
    ) -> NDArray[np.float32]:
        """Like `read`, for floats of which every one must be finite, because a missing chunk reads as NaN."""
        values = self.read(name, selection, shape).astype(np.float32, copy=False)
        # One sum is quick and finite only if every value is, but for sums that overflow: those are looked at again.
        if not np.isfinite(values.sum(dtype=np.float64)) and not (finite := np.isfinite(values)).all():
            rows = np.unique(np.nonzero(~finite)[-2])
            shown = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
            raise self.error(
                f"the {what} has values that are not finite in {len(rows)} rows ({shown}): "
                "a chunk is missing (the dump is cut short; resume the run) or training diverged"
            )
        return values

    def updates(self) -> NDArray[np.int64]:
        """The stream's `update` coordinate: what the stream really holds."""
        updates = self.read("update").astype(np.int64)
        if (np.diff(updates) <= 0).any():
            where = f"{self.group.basename}/update"
            raise self.error(f"{where} is not increasing: the dump is damaged; resume the run or record it again")
        return updates

    def _member(self, path: str) -> zarr.Group | zarr.Array:
        try:
            return self.group[path]
        except Exception as error:  # missing, or metadata that is not JSON or not Zarr's
            where = f"{self.group.path}/{path}".strip("/")
            raise self.error(f"{where} is missing or unreadable ({first_line(error)}): the dump is cut short") from None


def first_line(error: BaseException) -> str:
    """The first line of an error's text, shortened: part of our own one line."""
    lines = str(error).splitlines()
    return lines[0][:160] if lines else type(error).__name__
