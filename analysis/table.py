"""One table of a dump: its rows by token text or id, its snapshots, traces and statistics. Opened through `dump.Dump`."""

from __future__ import annotations

import difflib
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.errors import ZarrUserWarning

from gaps import read_gaps
from streams import DumpError, Node, first_line
from windows import Windows

if TYPE_CHECKING:
    from dump import Dump

SIDES = ("source", "target")
# Computed together and defined for every table: one that is NaN where the next one is not has lost a chunk.
TOGETHER = ("mean_cosine", "common_cosine", "common_norm", "norm_mean", "mean_cosine_group", "common_cosine_group")
TOGETHER += ("norm_group",)


@dataclass(frozen=True)
class Group:
    """One frequency group: rows whose token count lies in [min_count, max_count] (None: open above)."""

    index: int
    name: str
    min_count: int
    max_count: int | None
    rows: int
    counted: bool


class Table:
    """One table of a dump: what is constant for each row, and its streams."""

    def __init__(self, dump: Dump, root: zarr.Group, name: str) -> None:
        self.dump = dump
        self.name = name
        self.folder = dump.path / "tables" / name
        self._root = Node(root, self.error)
        self._node = self._root.child(f"tables/{name}")
        attrs = dict(self._node.group.attrs)
        try:
            self.aliases: list[str] = list(attrs.get("aliases", []))
            self.rows, self.dim = int(attrs["rows"]), int(attrs["dim"])
            side = attrs.get("side")  # of translation; a masked LM's one text is no side
            self.side: str | None = side if side in (*SIDES, "both") else None
        except (KeyError, TypeError, ValueError):
            raise self.error("its attributes lack rows and dim") from None
        constant = self._node.child("rows")
        columns = {key: constant.read(key, shape=(self.rows,))[: self.rows] for key in ("count", "counted", "group")}
        self.counts: NDArray[np.int64] = columns["count"].astype(np.int64)
        self.counted: NDArray[np.bool_] = columns["counted"].astype(bool)
        self.group: NDArray[np.int16] = columns["group"].astype(np.int16)
        try:
            entries = list(constant.group.attrs["groups"])  # type: ignore[call-overload]
            self.groups: list[Group] = [Group(index, **entry) for index, entry in enumerate(entries)]
        except (KeyError, TypeError):
            raise self.error("attribute `groups` of rows is missing or of another form") from None
        self._check_rows()

    def _check_rows(self) -> None:
        """Raise unless rows and groups agree: a lost chunk of counts or groups reads as zeros."""
        sizes = np.bincount(self.group[self.group >= 0], minlength=len(self.groups)).tolist()
        low = np.array([*(group.min_count for group in self.groups), 0])[self.group]
        bounds = [np.inf if group.max_count is None else group.max_count for group in self.groups]
        high = np.array([*bounds, np.inf])[self.group]
        counted = np.array([*(group.counted for group in self.groups), False])[self.group]
        inside = (self.counts >= low) & (self.counts <= high)
        if sizes != [g.rows for g in self.groups] or not inside.all() or (counted != self.counted).any():
            raise self.error("counts, groups and counted rows do not agree: a chunk is lost (the dump is cut short)")

    def __repr__(self) -> str:
        return f"Table({self.name!r}, rows={self.rows}, dim={self.dim})"

    def error(self, what: str) -> DumpError:
        """A DumpError that names this dump and table."""
        return DumpError(f"{self.dump.path}: table {self.name}: {what}")

    # Rows

    @cached_property
    def texts(self) -> list[str]:
        """The text of each row (leading spaces kept)."""
        path = self.folder / "tokens.json"
        try:
            texts = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise self.error("tokens.json is missing: the dump is cut short; record it again") from None
        except ValueError:
            raise self.error("tokens.json is not valid JSON: the dump is damaged; record it again") from None
        except Exception as error:  # each store has errors of its own
            raise self.error(f"tokens.json cannot be read ({first_line(error)})") from None
        if not isinstance(texts, list) or len(texts) != self.rows:
            raise self.error(f"tokens.json should list {self.rows} texts; the dump is damaged")
        return texts

    @cached_property
    def _rows_of_text(self) -> dict[str, list[int]]:
        result: dict[str, list[int]] = {}
        for row, text in enumerate(self.texts):
            result.setdefault(text, []).append(row)
        return result

    def row_of(self, token: str | int) -> int:
        """The row of a token given by its exact text (with its leading space) or by its row number.

        Raises DumpError: no such row, no such text (near matches are listed), a text that several rows share.
        """
        if isinstance(token, str):
            rows = self._rows_of_text.get(token, [])
            if len(rows) == 1:
                return rows[0]
            if rows:
                numbers = ", ".join(map(str, rows[:8]))
                raise self.error(f"{len(rows)} rows have the text {token!r}; give one of the rows {numbers}")
            if not token.strip().isdecimal():
                near = ", ".join(map(repr, self._near(token))) or "nothing like it"
                raise self.error(f"unknown token {token!r}; near matches: {near}")
            token = int(token)
        if not 0 <= int(token) < self.rows:
            raise self.error(f"no row {token}; rows are 0 to {self.rows - 1}")
        return int(token)

    def _near(self, token: str) -> list[str]:
        known = self._rows_of_text
        core = token.strip()
        variants = [space + form for form in (core, core.lower(), core.capitalize()) for space in (" ", "")]
        near = dict.fromkeys([text for text in variants if text in known])
        near |= dict.fromkeys(difflib.get_close_matches(token, known, n=5, cutoff=0.7))
        return list(near)[:6]

    @cached_property
    def count_by_side(self) -> dict[str, NDArray[np.int64]]:
        """Occurrences of each row's token in the `source` and in the `target` text of the training split, int64 (rows,) each.

        Only dumps of translation have them. Raises DumpError: a dump of another task, counts that do not sum to `counts`.
        """
        constant = self._node.child("rows")
        names = {side: f"count_{side}" for side in SIDES}
        if not all(name in constant for name in names.values()):
            raise self.error(
                "no counts by side (rows/count_source, rows/count_target); only a dump of translation has them"
            )
        found = {
            side: constant.read(name, shape=(self.rows,))[: self.rows].astype(np.int64) for side, name in names.items()
        }
        served = [counts for side, counts in found.items() if self.side in (side, "both")]
        if not served:
            raise self.error(f"attribute `side` is {self.side!r}, expected source, target or both; record it again")
        if (sum(served) != self.counts).any():
            raise self.error(f"counts by side do not sum to the counts of side {self.side}: a chunk is lost")
        return found

    @cached_property
    def counted_rows(self) -> NDArray[np.intp]:
        """Row numbers of the counted rows, ascending."""
        return np.flatnonzero(self.counted)

    def rows_in(self, group: int | str) -> NDArray[np.intp]:
        """Row numbers of one frequency group, given by index or name."""
        index = group if isinstance(group, int) else next((g.index for g in self.groups if g.name == group), None)
        if index is None or not 0 <= index < len(self.groups):
            names = ", ".join(g.name for g in self.groups)
            raise self.error(f"no frequency group {group!r}; the groups are {names}")
        return np.flatnonzero(self.group == index)

    # Snapshots

    @cached_property
    def snapshot_updates(self) -> NDArray[np.int64]:
        """Updates of which a whole snapshot is listed; empty where the stream was switched off."""
        return self._updates("snapshots")

    @cached_property
    def window_updates(self) -> NDArray[np.int64]:
        """Updates of which an encoded snapshot is listed; empty where none were recorded."""
        return self._updates("windows")

    @cached_property
    def whole_updates(self) -> NDArray[np.int64]:
        """Updates of which `snapshot` gives the whole table, plain or encoded."""
        return np.union1d(self.snapshot_updates, self.window_updates)

    @cached_property
    def _windows(self) -> Windows:
        return Windows(self._stream("windows"), self.rows, self.dim)

    def window_step(self, update: int) -> float:
        """Twice the most that an entry of an encoded snapshot errs, in units of the table; 0: it is exact."""
        return float(self._windows.frames[self._index(self.window_updates, int(update), "snapshot"), 1])

    def window(self, first: int, last: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Update and whole table, float32 (rows, dim), of every encoded snapshot from `first` to `last`, both inclusive, in order.

        Raises DumpError: a missing or damaged chunk, values that are not finite.
        """
        if len(self.window_updates):
            left, right = np.searchsorted(self.window_updates, [first, last + 1])
            for update, values in self._windows.between(int(left), int(right) - 1):
                yield update, self._finite(values, update)

    def _finite(self, values: NDArray[np.float32], update: int) -> NDArray[np.float32]:
        if not np.isfinite(values.sum(dtype=np.float64)) and not np.isfinite(values).all():
            raise self.error(f"the snapshot of update {update} has values that are not finite: training diverged")
        return values

    def snapshot(self, update: int) -> NDArray[np.float32]:
        """The whole table at `update`: float32 (rows, dim); from the windows, where the snapshots do not list it.

        Raises DumpError: no such snapshot, a missing or damaged chunk, values that are not finite.
        """
        if int(update) not in self.snapshot_updates and int(update) in self.window_updates:
            return self._finite(
                self._windows.snapshot(self._index(self.window_updates, int(update), "snapshot")), update
            )
        stream = self._stream("snapshots")
        shape = (len(self.snapshot_updates), self.rows, self.dim)
        index = self._index(self.snapshot_updates, int(update), "snapshot")
        return stream.read_finite("values", (index,), shape, f"snapshot of update {update}")

    # Traces

    @cached_property
    def trace_updates(self) -> NDArray[np.int64]:
        """Updates at which the chosen rows were kept; empty where the stream was switched off."""
        return self._updates("traces")

    @cached_property
    def trace_tokens(self) -> NDArray[np.int64]:
        """Row numbers of the chosen rows, ascending; empty where the stream was switched off."""
        if "traces" not in self._node:
            return np.zeros(0, np.int64)
        tokens = self._stream("traces").read("token").astype(np.int64)
        if (np.diff(tokens) <= 0).any():
            raise self.error("traces/token is not increasing: a chunk is lost (the dump is cut short)")
        return tokens

    def trace(self, token: str | int) -> NDArray[np.float32]:
        """One row over all traced updates: float32 (updates, dim). To read several, use `traces`."""
        return self.traces([token])[:, 0]

    def traces(self, tokens: Sequence[str | int]) -> NDArray[np.float32]:
        """Several rows over all traced updates: float32 (updates, len(tokens), dim), in the order given."""
        stream = self._stream("traces")
        shape = (len(self.trace_updates), len(self.trace_tokens), self.dim)
        places = [self._index(self.trace_tokens, self.row_of(token), "trace") for token in tokens]
        return stream.read_finite("values", (slice(0, shape[0]), places), shape, "traces")

    # Gaps

    def gaps(self, stream: str) -> NDArray[np.int64]:
        """Updates of `stream` (`snapshots`, `traces`, `windows`) that were due and left out, because the writer was behind: int64 (n,).

        They are not lost: training was not to wait for them (`--record-when-behind gap`). Empty where nothing was left out.
        """
        return read_gaps(self._root, stream)

    # Statistics

    @cached_property
    def statistic_updates(self) -> NDArray[np.int64]:
        """Updates at which statistics were recorded; empty where the stream was switched off."""
        return self._updates("statistics")

    @cached_property
    def statistic_names(self) -> list[str]:
        """Names of the recorded statistics, sorted."""
        with warnings.catch_warnings():  # a lock file that a killed run left behind is no reason to warn
            warnings.simplefilter("ignore", ZarrUserWarning)
            return sorted(set(self._stream("statistics").group.array_keys()) - {"update", "group"})

    def statistics(self) -> dict[str, NDArray[np.float64]]:
        """Every recorded statistic, float64 (updates,) or (updates, groups), with `update`; NaN: not computed."""
        return {"update": self.statistic_updates, **{name: self._statistic(name) for name in self.statistic_names}}

    def statistic(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(updates (n,), values (n,) or (n, groups)) of one statistic, without updates at which it was not computed."""
        values = self._statistic(name)
        known = ~self._absent(values)
        return self.statistic_updates[known], values[known]

    def _statistic(self, name: str) -> NDArray[np.float64]:
        stream = self._stream("statistics")
        if name not in stream or name in ("update", "group"):
            raise self.error(f"no statistic {name!r}; recorded are {', '.join(self.statistic_names)}")
        values = self._statistic_values(stream, name)
        if name in TOGETHER:
            other = TOGETHER[TOGETHER.index(name) - 1]
            if other in stream:
                lost = self._absent(values) & ~self._absent(self._statistic_values(stream, other))
                if lost.any():
                    update = self.statistic_updates[np.argmax(lost)]
                    raise self.error(
                        f"statistics/{name} lacks the value of update {update}: a chunk is missing, the dump is cut short"
                    )
        return values

    def _statistic_values(self, stream: Node, name: str) -> NDArray[np.float64]:
        length = len(self.statistic_updates)
        shape = (length, len(self.groups))[: stream.array(name).ndim]
        return stream.read(name, slice(0, length), shape).astype(np.float64)

    @staticmethod
    def _absent(values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """At which updates a statistic (n,) or (n, groups) has no value at all."""
        return np.isnan(values.reshape(len(values), -1)).all(axis=1)

    def _stream(self, name: str) -> Node:
        if name not in self._node:
            raise self.error(f"the dump holds no {name} (that stream was switched off while recording)")
        return self._node.child(name)

    def _updates(self, stream: str) -> NDArray[np.int64]:
        return self._stream(stream).updates() if stream in self._node else np.zeros(0, np.int64)

    def _index(self, known: NDArray[np.int64], wanted: int, what: str) -> int:
        place = int(np.searchsorted(known, wanted))
        if place < len(known) and known[place] == wanted:
            return place
        if what == "trace":
            raise self.error(f"row {wanted} ({self.texts[wanted]!r}) was not traced; {len(known)} rows were")
        if wanted in self.gaps("snapshots"):
            raise self.error(f"no snapshot of update {wanted}: it was left out while training went on (a gap)")
        listed = ", ".join(map(str, known)) if len(known) <= 12 else f"{len(known)} from {known[0]} to {known[-1]}"
        raise self.error(f"no snapshot of update {wanted}; listed are {listed or 'none'}")
