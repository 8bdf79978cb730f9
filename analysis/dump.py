"""Reads a dump (docs/dump-format.md) with zarr-python: tables, rows by token text or id, snapshots, traces, statistics.

    dump = Dump.open("runs/E1/base/seed1/dump.zarr")
    table = dump.table()                        # the main table
    values = table.snapshot(table.snapshot_updates[-1])      # float32 (rows, dim)
    updates, cosine = table.statistic("mean_cosine")

Instead of a folder a URL can be given, such as `s3://bucket/runs/dump.zarr` (docs/remote.md).

What a stream's `update` does not list does not exist, so every array is cut to it. What it does list must be whole: a
missing or damaged chunk raises `DumpError` with one line instead of being returned as NaN. Arrays are read when asked
for, one update of a snapshot at a time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import zarr
from zarr.errors import ContainsArrayError, GroupNotFoundError, NodeTypeValidationError

from gaps import gap_note
from places import open_group, place, unreachable
from signatures import run_place, signature
from streams import DumpError, Node, first_line
from table import Group, Table

__all__ = ["FORMAT", "FORMAT_VERSION", "Dump", "DumpError", "Group", "Table", "run_place", "signature"]

FORMAT = "embedding-dump"
FORMAT_VERSION = 1


class Dump:
    """A dump, opened for reading. `attrs` are the root attributes, `tables` the names (the first is the main).

    `path` is its folder, or a `UPath` where it was opened by a URL; `root` its Zarr group.
    """

    def __init__(self, path: Any, root: zarr.Group, attrs: dict[str, Any]) -> None:
        self.path = path
        self.attrs = attrs
        self.tables: list[str] = list(attrs["tables"])
        self.root = root
        self._opened: dict[str, Table] = {}

    @classmethod
    def open(cls, path: str | Path) -> Dump:
        """Open the dump at `path` (or `path/dump.zarr`, where `path` is a run's folder); `path` may be a URL.

        Raises DumpError: nothing there, not a Zarr v3 group, another program's Zarr, another format version, a store that
        cannot be reached, a URL for which a package is missing.
        """
        where = place(path)
        try:
            return cls._open(where)
        except DumpError:
            raise
        except Exception as error:  # each store has errors of its own
            if isinstance(where, Path):
                raise
            raise unreachable(where, error) from None

    @classmethod
    def _open(cls, path: Any) -> Dump:
        if not (path / "zarr.json").exists() and (path / "dump.zarr").is_dir():
            path = path / "dump.zarr"
        if not path.is_dir():
            found = "a file" if path.exists() else "nothing"
            raise DumpError(f"{path}: expected a dump folder (dump.zarr), found {found}; give the path of a run's dump")
        try:
            root = open_group(path)
            attrs = dict(root.attrs)
        except (GroupNotFoundError, ContainsArrayError, NodeTypeValidationError, FileNotFoundError):
            raise DumpError(f"{path}: not a dump: expected a Zarr v3 group, found none (no zarr.json)") from None
        except (ValueError, KeyError, TypeError) as error:
            raise DumpError(f"{path}: not a dump: zarr.json is unreadable ({first_line(error)})") from None
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

    @property
    def gap_note(self) -> str | None:
        """One sentence on what was left out while training went on; None where nothing was."""
        return gap_note(Node(self.root, lambda text: DumpError(f"{self.path}: {text}")))

    def table(self, name: str | None = None) -> Table:
        """The table `name` (its name or one of its aliases), the main one by default."""
        wanted = self.tables[0] if name is None else name
        if wanted not in self.tables:
            for known in self.tables:
                if wanted in self.table(known).aliases:
                    return self.table(known)
            raise DumpError(f"{self.path}: no table {wanted!r}; the dump holds {', '.join(self.tables)}")
        if wanted not in self._opened:
            self._opened[wanted] = Table(self, self.root, wanted)
        return self._opened[wanted]
