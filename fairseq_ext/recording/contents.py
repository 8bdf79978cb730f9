"""What lies in a dump's folder: its groups, arrays and streams as their metadata describe them, chunk files and what nothing lists. Read only."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from . import replacing

METADATA = "zarr.json"
TEMPORARY = (".__lock", ".tmp")  # how the names of files end that tensorstore, or an interrupted command, left behind


class Unreadable(Exception):
    """A file of a dump is missing or not of its form; the text says what was expected and found."""


@dataclass(frozen=True)
class Array:
    """An array as its ``zarr.json`` describes it.

    Attributes:
        folder: where its metadata and chunks lie.
        metadata: the content of ``zarr.json``.
    """

    folder: Path
    metadata: dict[str, Any]

    @cached_property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.metadata["shape"])

    @cached_property
    def chunks(self) -> tuple[int, ...]:
        return tuple(self.metadata["chunk_grid"]["configuration"]["chunk_shape"])

    @property
    def is_float(self) -> bool:
        return str(self.metadata["data_type"]).startswith("float")

    @property
    def grows(self) -> bool:
        """Whether its first dimension is ``update``."""
        return (self.metadata.get("dimension_names") or [None])[0] == "update"

    @cached_property
    def chunk_bytes(self) -> int | None:
        """Bytes of a chunk's file; ``None`` where it is compressed."""
        if [codec.get("name") for codec in self.metadata["codecs"]] != ["bytes", "crc32c"]:
            return None
        return math.prod(self.chunks) * np.dtype(self.metadata["data_type"]).itemsize + 4

    def chunk_file(self, place: tuple[int, ...]) -> Path:
        """The file of a chunk."""
        encoding = self.metadata["chunk_key_encoding"]
        separator = (encoding.get("configuration") or {}).get("separator", "/")
        return self.folder / separator.join(["c", *map(str, place)])

    def chunk_places(self, length: int) -> Iterator[tuple[int, ...]]:
        """The chunks that hold the first ``length`` entries."""
        extents = (length, *self.shape[1:])
        yield from product(*(range(math.ceil(n / c)) for n, c in zip(extents, self.chunks, strict=True)))

    def domain(self, place: tuple[int, ...], length: int) -> tuple[slice, ...]:
        """What of the first ``length`` entries a chunk holds."""
        extents = (length, *self.shape[1:])
        return tuple(slice(p * c, min((p + 1) * c, n)) for p, c, n in zip(place, self.chunks, extents, strict=True))


def read_json(file: Path) -> Any:
    """The content of a JSON file.

    Raises:
        Unreadable: it is missing or no JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise Unreadable("is missing") from None
    except (OSError, ValueError) as error:
        raise Unreadable(f"cannot be read ({' '.join(str(error).split())[:120]})") from None


def read_node(folder: Path) -> dict[str, Any]:
    """The metadata of a group or an array.

    Raises:
        Unreadable: they are missing or not of Zarr v3.
    """
    found = read_json(folder / METADATA)
    if not isinstance(found, dict) or found.get("zarr_format") != 3 or found.get("node_type") not in ("group", "array"):
        raise Unreadable("holds no metadata of Zarr v3")
    return found


def read_array(folder: Path) -> Array:
    """An array.

    Raises:
        Unreadable: its metadata are missing or not those of an array with a regular grid.
    """
    metadata = read_node(folder)
    array = Array(folder, metadata)
    try:
        regular = len(array.shape) == len(array.chunks) == len(metadata["dimension_names"]) and all(array.chunks)
        regular = regular and metadata["chunk_key_encoding"]["name"] == "default"
        regular = regular and all("name" in codec for codec in metadata["codecs"]) and bool(metadata["data_type"])
        regular = regular and all(isinstance(n, int) and n >= 0 for n in (*array.shape, *array.chunks))
    except (KeyError, TypeError):
        regular = False
    if metadata["node_type"] != "array" or not regular:
        raise Unreadable("is not the metadata of an array with dimension names and a regular grid")
    return array


def nodes(dump: Path) -> dict[str, dict[str, Any]]:
    """Metadata of every group and array below the root, by place; those that cannot be read are left out."""
    found = {}
    for file in sorted(dump.rglob(f"*/{METADATA}")):
        try:
            found[file.parent.relative_to(dump).as_posix()] = read_node(file.parent)
        except Unreadable:
            continue
    return found


def consolidated(node: dict[str, Any]) -> dict[str, dict[str, Any]] | None:
    """The consolidated metadata of a group, by place below it; ``None`` if it has none."""
    inline = node.get("consolidated_metadata")
    members = inline.get("metadata") if isinstance(inline, dict) else None
    return members if isinstance(members, dict) else None


def stream_keys(places: set[str]) -> list[str]:
    """The streams among groups and arrays: whatever has an ``update``, and what the format calls streams; in order."""
    found = {place.removesuffix("/update") for place in places if place.endswith("/update")}
    for place in places:
        head, _, name = place.rpartition("/")
        if (
            head.startswith("tables/")
            and name in ("snapshots", "windows", "traces", "statistics", "cause", "moments", "state")
        ) or head in (
            "exposure",
            "gaps",
        ):
            found.add(place)
    order = {"snapshots": 0, "windows": 1, "traces": 2, "statistics": 3, "cause": 4, "moments": 5, "state": 6}
    return sorted(found, key=lambda key: (not key.startswith("tables/"), key.rpartition("/")[0], order.get(key.rpartition("/")[2], 7), key))  # fmt: skip


def sort_of(key: str) -> str:
    """What a stream is: ``snapshots``, ``windows``, ``traces``, ``statistics``, ``cause``, ``moments``, ``state``, ``exposure``, or ``gaps``, which list what was left out of others."""
    head, _, name = key.rpartition("/")
    return head if head in ("exposure", "gaps") else name


def files(folder: Path) -> Iterator[Path]:
    """Every file below a folder."""
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names)


def is_temporary(file: Path) -> bool:
    """Whether a file is one that a writer gives its name by a rename, or beside which it locks."""
    return file.name.endswith(TEMPORARY)


def dump_folder(path: Path) -> Path:
    """A dump's folder, given as such or as the run's folder around it, also while a killed pruning leaves it without its name."""
    inner = path / "dump.zarr"
    return inner if not (path / METADATA).exists() and (inner.is_dir() or replacing.interrupted(inner)) else path
