"""Reads a dump (docs/dump-format.md) with zarr-python: tables, rows by token text or id, snapshots, traces, statistics.

    dump = Dump.open("runs/E1/base/seed1/dump.zarr")
    table = dump.table()                        # the main table
    values = table.snapshot(table.snapshot_updates[-1])      # float32 (rows, dim)
    updates, cosine = table.statistic("mean_cosine")

What a stream's `update` does not list does not exist, so every array is cut to it. What it does list must be whole: a
missing or damaged chunk raises `DumpError` with one line instead of being returned as NaN. Arrays are read when asked
for, one update of a snapshot at a time.
"""

from __future__ import annotations

import difflib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.errors import ContainsArrayError, GroupNotFoundError, NodeTypeValidationError, ZarrUserWarning

FORMAT = "embedding-dump"
FORMAT_VERSION = 1
# Computed whenever a statistics record is written and defined for every table, so a chunk of NaN is a lost chunk.
ALWAYS_RECORDED = ("mean_cosine", "common_cosine", "common_norm", "norm_mean")


class DumpError(Exception):
    """A dump that cannot be read as asked: one line saying what was expected, what was found and what to do."""


@dataclass(frozen=True)
class Group:
    """One frequency group: rows whose token count lies in [min_count, max_count] (None: open above)."""

    index: int
    name: str
    min_count: int
    max_count: int | None
    rows: int
    counted: bool


class Dump:
    """A dump folder, opened for reading. `attrs` are the root attributes, `tables` the names (the first is the main)."""

    def __init__(self, path: Path, root: zarr.Group, attrs: dict[str, Any]) -> None:
        self.path = path
        self.attrs = attrs
        self.tables: list[str] = list(attrs["tables"])
        self._root = root
        self._opened: dict[str, Table] = {}

    @classmethod
    def open(cls, path: str | Path) -> Dump:
        """Open the dump at `path` (or `path/dump.zarr`, where `path` is a run's folder).

        Raises DumpError: nothing there, not a Zarr v3 group, another program's Zarr, another format version.
        """
        path = Path(path)
        if not (path / "zarr.json").exists() and (path / "dump.zarr").is_dir():
            path = path / "dump.zarr"
        if not path.is_dir():
            found = "a file" if path.exists() else "nothing"
            raise DumpError(f"{path}: expected a dump folder (dump.zarr), found {found}; give the path of a run's dump")
        try:
            root = zarr.open_group(path, mode="r", zarr_format=3)
            attrs = dict(root.attrs)
        except (GroupNotFoundError, ContainsArrayError, NodeTypeValidationError, FileNotFoundError):
            raise DumpError(f"{path}: not a dump: expected a Zarr v3 group, found none (no zarr.json)") from None
        except (ValueError, KeyError, TypeError) as error:
            raise DumpError(f"{path}: not a dump: zarr.json is unreadable ({_first_line(error)})") from None
        if attrs.get("format") != FORMAT:
            found = f"format {attrs['format']!r}" if "format" in attrs else "no attribute `format`"
            raise DumpError(f"{path}: a Zarr group of another program: expected format {FORMAT!r}, found {found}")
        if attrs.get("format_version") != FORMAT_VERSION:
            raise DumpError(
                f"{path}: dump format version {attrs.get('format_version')!r}, this reader knows {FORMAT_VERSION}; "
                "use the project version that wrote the dump"
            )
        tables = attrs.get("tables")
        if not isinstance(tables, list) or not tables:
            raise DumpError(f"{path}: the dump lists no tables (attribute `tables` is {tables!r}); record it again")
        return cls(path, root, attrs)

    def table(self, name: str | None = None) -> Table:
        """The table `name` (its name or one of its aliases), the main one by default."""
        wanted = self.tables[0] if name is None else name
        if wanted not in self.tables:
            for known in self.tables:
                if wanted in self.table(known).aliases:
                    return self.table(known)
            raise DumpError(f"{self.path}: no table {wanted!r}; the dump holds {', '.join(self.tables)}")
        if wanted not in self._opened:
            self._opened[wanted] = Table(self, wanted)
        return self._opened[wanted]


class Table:
    """One table of a dump: what is constant for each row, and its streams."""

    def __init__(self, dump: Dump, name: str) -> None:
        self.dump = dump
        self.name = name
        self.folder = dump.path / "tables" / name
        self._node = self._open_group(dump._root, f"tables/{name}")
        attrs = dict(self._node.attrs)
        try:
            self.aliases: list[str] = list(attrs.get("aliases", []))
            self.rows, self.dim = int(attrs["rows"]), int(attrs["dim"])
        except (KeyError, TypeError, ValueError):
            raise self.error("its attributes lack rows and dim") from None
        constant = self._open_group(self._node, "rows")
        self.counts: NDArray[np.int64] = self._row_array(constant, "count").astype(np.int64)
        self.counted: NDArray[np.bool_] = self._row_array(constant, "counted").astype(bool)
        self.group: NDArray[np.int16] = self._row_array(constant, "group").astype(np.int16)
        try:
            entries = list(constant.attrs["groups"])  # type: ignore[call-overload]
            self.groups: list[Group] = [Group(index, **entry) for index, entry in enumerate(entries)]
        except (KeyError, TypeError):
            raise self.error("attribute `groups` of rows is missing or of another form") from None

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

    def snapshot(self, update: int) -> NDArray[np.float32]:
        """The whole table at `update`: float32 (rows, dim).

        Raises DumpError: no such snapshot, a missing or damaged chunk, values that are not finite.
        """
        values = self._array(self._stream("snapshots"), "values", (len(self.snapshot_updates), self.rows, self.dim))
        index = self._index(self.snapshot_updates, int(update), "snapshot")
        return self._whole("snapshots/values", values, (index,), f"snapshot of update {update}")

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
        return np.asarray(self._read("traces/token", self._array(self._stream("traces"), "token")), np.int64)

    def trace(self, token: str | int) -> NDArray[np.float32]:
        """One row over all traced updates: float32 (updates, dim). To read several, use `traces`."""
        return self.traces([token])[:, 0]

    def traces(self, tokens: Sequence[str | int]) -> NDArray[np.float32]:
        """Several rows over all traced updates: float32 (updates, len(tokens), dim), in the order given."""
        shape = (len(self.trace_updates), len(self.trace_tokens), self.dim)
        values = self._array(self._stream("traces"), "values", shape)
        places = [self._index(self.trace_tokens, self.row_of(token), "trace") for token in tokens]
        return self._whole("traces/values", values, (slice(0, shape[0]), places), "traces")

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
            return sorted(set(self._stream("statistics").array_keys()) - {"update", "group"})

    def statistics(self) -> dict[str, NDArray[np.float64]]:
        """Every recorded statistic, float64 (updates,) or (updates, groups), with `update`; NaN: not computed."""
        return {"update": self.statistic_updates, **{name: self._statistic(name) for name in self.statistic_names}}

    def statistic(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(updates (n,), values (n,) or (n, groups)) of one statistic, without updates at which it was not computed."""
        values = self._statistic(name)
        known = ~np.isnan(values.reshape(len(values), -1)).all(axis=1)
        return self.statistic_updates[known], values[known]

    def _statistic(self, name: str) -> NDArray[np.float64]:
        stream = self._stream("statistics")
        if name not in stream or name in ("update", "group"):
            raise self.error(f"no statistic {name!r}; recorded are {', '.join(self.statistic_names)}")
        length = len(self.statistic_updates)
        array = self._array(stream, name)
        if array.shape[0] < length or (array.ndim == 2 and array.shape[1] != len(self.groups)):
            raise self._short(f"statistics/{name}", array.shape, (length, len(self.groups))[: array.ndim])
        values = np.asarray(self._read(f"statistics/{name}", array, slice(0, length)), np.float64)
        if name in ALWAYS_RECORDED:
            for start in range(0, length, array.chunks[0]):
                if np.isnan(values[start : start + array.chunks[0]]).all():
                    updates = self.statistic_updates[start : start + array.chunks[0]]
                    raise self.error(
                        f"statistics/{name} has no values from update {updates[0]} to {updates[-1]}: "
                        "a chunk is missing (the dump is cut short) or training diverged"
                    )
        return values

    # Reading

    def _open_group(self, parent: zarr.Group, path: str) -> zarr.Group:
        try:
            node = parent[path]
        except (KeyError, ValueError) as error:
            raise self.error(f"{path} is missing or unreadable ({_first_line(error)}); the dump is cut short") from None
        if not isinstance(node, zarr.Group):
            raise self.error(f"{path} should be a group; this is not a dump of format {FORMAT_VERSION}")
        return node

    def _stream(self, name: str) -> zarr.Group:
        if name not in self._node:
            raise self.error(f"the dump holds no {name} (that stream was switched off while recording)")
        return self._open_group(self._node, name)

    def _array(self, group: zarr.Group, name: str, shape: tuple[int, ...] | None = None) -> zarr.Array:
        try:
            array = group[name]
        except (KeyError, ValueError) as error:
            raise self.error(f"{group.path}/{name} is missing ({_first_line(error)}); the dump is cut short") from None
        if not isinstance(array, zarr.Array):
            raise self.error(f"{group.path}/{name} should be an array; this is not a dump of format {FORMAT_VERSION}")
        if shape is not None and (
            array.ndim != len(shape) or array.shape[0] < shape[0] or array.shape[1:] != shape[1:]
        ):
            raise self._short(f"{group.basename}/{name}", array.shape, shape)
        return array

    def _short(self, name: str, found: tuple[int, ...], expected: tuple[int, ...]) -> DumpError:
        return self.error(f"{name} has the shape {found}, expected at least {expected}: the dump is cut short")

    def _read(self, name: str, array: zarr.Array, selection: Any = ...) -> NDArray[Any]:
        try:
            return np.asarray(array.oindex[selection] if isinstance(selection, tuple) else array[selection])
        except Exception as error:  # each codec raises its own types for damaged bytes
            raise self.error(f"{name} is unreadable ({_first_line(error)}): a chunk is damaged or cut short") from None

    def _row_array(self, group: zarr.Group, name: str) -> NDArray[Any]:
        return self._read(f"rows/{name}", self._array(group, name, (self.rows,)))[: self.rows]

    def _updates(self, stream: str) -> NDArray[np.int64]:
        if stream not in self._node:
            return np.zeros(0, np.int64)
        updates = np.asarray(self._read(f"{stream}/update", self._array(self._stream(stream), "update")), np.int64)
        if (np.diff(updates) <= 0).any():
            raise self.error(
                f"{stream}/update is not increasing: the dump is damaged; resume the run or record it again"
            )
        return updates

    def _index(self, known: NDArray[np.int64], wanted: int, what: str) -> int:
        place = int(np.searchsorted(known, wanted))
        if place < len(known) and known[place] == wanted:
            return place
        if what == "trace":
            raise self.error(f"row {wanted} ({self.texts[wanted]!r}) was not traced; {len(known)} rows were")
        listed = ", ".join(map(str, known)) if len(known) <= 12 else f"{len(known)} from {known[0]} to {known[-1]}"
        raise self.error(f"no snapshot of update {wanted}; listed are {listed or 'none'}")

    def _whole(self, name: str, array: zarr.Array, selection: tuple[Any, ...], what: str) -> NDArray[np.float32]:
        """Read float values of which every one must be finite, because a missing chunk reads as NaN."""
        values = np.asarray(self._read(name, array, selection), np.float32)
        finite = np.isfinite(values)
        if not finite.all():
            rows = np.unique(np.nonzero(~finite)[-2])
            shown = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
            raise self.error(
                f"the {what} has values that are not finite in {len(rows)} rows ({shown}): "
                "a chunk is missing (the dump is cut short; resume the run) or training diverged"
            )
        return values


def signature(dump: Dump, table: Table | str | None = None, update: int | None = None) -> str:
    """What reproduces a number, in the manner of sacrebleu: `corpus:...|arm:...|seed:...|update:...|...|format:1`.

    Experiment, arm and seed come from `run.json` beside the dump where there is one, else from a path of the form
    `<experiment>/<arm>/seed<k>/dump.zarr`; the seed also from the dump's own attributes. Unknown fields are left out.
    """
    entry = table if isinstance(table, Table) else dump.table(table)
    run, corpus = dump.attrs.get("run") or {}, dump.attrs.get("corpus") or {}
    place = run_place(dump)
    fields: dict[str, Any] = {
        "corpus": corpus.get("name"),
        "experiment": place.get("experiment"),
        "arm": place.get("arm"),
        "seed": place.get("seed", run.get("seed")),
        "update": update,
        "table": entry.name,
        "rows": entry.rows,
        "dim": entry.dim,
        "precision": run.get("precision"),
        "code": (dump.attrs.get("versions") or {}).get("fairseq_ext"),
        "format": FORMAT_VERSION,
    }
    return "|".join(f"{key}:{value}" for key, value in fields.items() if value is not None)


def run_place(dump: Dump) -> dict[str, Any]:
    """Experiment, arm and seed of a dump's run, as far as they are known."""
    beside = dump.path.absolute().parent
    place: dict[str, Any] = {}
    if beside.name.startswith("seed") and beside.name[4:].isdecimal():
        place = {"experiment": beside.parent.parent.name, "arm": beside.parent.name, "seed": int(beside.name[4:])}
    try:
        described = json.loads((beside / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return place
    if isinstance(described, dict):
        place |= {key: described[key] for key in ("experiment", "arm", "seed") if described.get(key) is not None}
    return place


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0][:160] if lines else type(error).__name__
