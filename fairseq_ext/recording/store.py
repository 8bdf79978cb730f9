"""The dump on disk: a Zarr v3 group whose streams grow by whole, committed records.

``docs/dump-format.md`` is the contract. The order of a commit: values, then the chunk of the ``update`` coordinate, then the coordinate's
``zarr.json`` with its new length (one atomic rename: the commit), then the consolidated metadata of the root and of the stream. A cut shortens the
coordinate, then the consolidated metadata, and the values last: whichever way a dump is read, nothing that it lists is ever missing.
Values go through tensorstore (C++ threads, no GIL); the coordinate and all metadata are written through its key-value store, one atomic,
synced write a file, so that any of its drivers will do.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import struct
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import tensorstore as ts

from .. import failpoints
from ..errors import UserError
from .exposure import Counters
from .location import REFUSED, Location
from .rows import Rows
from .statistics import BY_GROUP
from .windows import LOSSLESS, PARAMETERS

FORMAT = "embedding-dump"
FORMAT_VERSION = 1
RESIDUAL = "residual"
FILLED = (["cause"], ["moments"], ["state"])  # streams whose chunks are written also where they hold fill values alone
STATISTICS_CHUNK = 1024
COORDINATE_CHUNK = 4096
LARGEST_CHUNK = 16 << 20
OPEN_TRACES = 64 << 20  # bytes of traces that wait for their chunk to be full
# Without a cache (Store.context) a write that is done holds no reference to its values, so their memory may be used again.
UNCOPIED = {"can_reference_source_data_indefinitely": True}
PLAIN_CODECS = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
# Statistics are small and compress well. Weights do not (byte shuffle and zstd save 13 %), and compressing a snapshot takes the cores
# that training uses for about an update's time.
STATISTICS_CODECS = [
    PLAIN_CODECS[0],
    {
        "name": "blosc",
        "configuration": {"cname": "zstd", "clevel": 1, "shuffle": "shuffle", "typesize": 8, "blocksize": 0},
    },
    PLAIN_CODECS[1],
]


def _codecs(dtype: str) -> list[dict[str, Any]]:
    """Statistics and counters are compressed, weights and coordinates are not."""
    if dtype not in ("float64", "uint32"):
        return PLAIN_CODECS
    blosc = {**STATISTICS_CODECS[1]["configuration"], "typesize": np.dtype(dtype).itemsize}
    return [STATISTICS_CODECS[0], {"name": "blosc", "configuration": blosc}, STATISTICS_CODECS[2]]


def window_codecs(encoding: str) -> list[dict[str, Any]]:
    """Bit planes, of which most are zero or noise: lz4 takes half of zstd's time, zstd is needed where an entry has less than two bits.

    Blocks of 256 kB, which fit a core's cache: in those that blosc would choose for zstd, planes are short, and reading takes twice as long.
    """
    blosc = {"cname": "lz4" if encoding == LOSSLESS else "zstd", "clevel": 1, "shuffle": "bitshuffle"}
    return [
        PLAIN_CODECS[0],
        {"name": "blosc", "configuration": {**blosc, "typesize": 4, "blocksize": 1 << 18}},
        PLAIN_CODECS[1],
    ]


def array_metadata(
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dtype: str,
    names: tuple[str, ...],
    codecs: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """A Zarr v3 array's ``zarr.json``; floating-point arrays have NaN as fill value. ``codecs``: of their own, if any."""
    is_float = dtype.startswith("float")
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunks)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": "NaN" if is_float else (False if dtype == "bool" else 0),
        "codecs": codecs or _codecs(dtype),
        "dimension_names": list(names),
        "attributes": {},
    }


def group_metadata(attributes: dict[str, Any] | None = None) -> dict[str, Any]:
    """A Zarr v3 group's ``zarr.json``."""
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes or {}}


def rows_per_chunk(rows: int, row_bytes: int) -> int:
    """Rows in a chunk of a snapshot: the fewest even shares of the table that are at most 16 MB."""
    return max(1, math.ceil(rows / math.ceil(rows * row_bytes / LARGEST_CHUNK)))


def all_done(futures: dict[str, Any]) -> dict[str, Any]:
    """The futures' results, or the first of their errors, and that only when all have ended.

    A write that is still on its way when the dump is given up would arrive while the next process writes the same arrays.
    """
    for future in futures.values():
        future.exception()
    return {name: future.result() for name, future in futures.items()}


class Store:
    """Key-value access to a dump: whole files, each written atomically and synced.

    In a folder the dump's lock keeps other writers away. Elsewhere the root and the lengths of the streams are written only if they are as this
    store last saw them, and before a commit it is asked whether this process may still write (:mod:`.lease`).

    Args:
        where: a folder, or a location in a key-value store.
    """

    def __init__(self, where: Path | Location) -> None:
        location = Location.of_folder(where) if isinstance(where, Path) else where
        self.path, self.folder, self.spec = location.name, location.folder, location.spec
        self._claim = location.claim
        self._seen: dict[str, bytes] | None = None if location.folder is not None else {}
        self._gathering = False
        # On a small machine the encoder must not take the cores that training uses.
        concurrency = {"data_copy_concurrency": {"limit": 1}} if (os.cpu_count() or 1) <= 4 else {}
        resources = {"cache_pool": {"total_bytes_limit": 0}, **concurrency}
        self.context = (
            ts.Context(resources, location.context) if location.context is not None else ts.Context(resources)
        )
        self.kv = ts.KvStore.open(self.spec, context=self.context).result()
        self.root: dict[str, Any] = self.read_json("zarr.json") or group_metadata()
        self.written = 0  # bytes given to be written so far, before they are compressed

    def read(self, key: str) -> bytes | None:
        result = self.kv.read(key).result()
        if self._is_guarded(key):
            self._seen[key] = result.stamp.generation
        return None if result.state == "missing" else result.value

    def read_json(self, key: str) -> dict[str, Any] | None:
        value = self.read(key)
        return None if value is None else json.loads(value)

    def write(self, key: str, value: bytes) -> None:
        """Write a whole file.

        Raises:
            UserError: another process has written one that only one process may write.
        """
        self.written += len(value)
        if not self._is_guarded(key):
            self.kv.write(key, value).result()
            return
        if key not in self._seen:
            self.read(key)
        stamp = self.kv.write(key, value, if_equal=self._seen[key]).result()
        if stamp.generation == REFUSED:
            found = self.kv.read(key).result()
            if found.state == "missing" or found.value != value or self._claim is None:
                raise UserError(
                    f"another process has written {self.path}/{key}: two runs record into one dump; end one of them, or choose another --record-dir"
                )
            self._claim(True)  # then it was this write that was sent again, for its first answer was lost
            stamp = found.stamp
        self._seen[key] = stamp.generation

    def _is_guarded(self, key: str) -> bool:
        return self._seen is not None and (key == "zarr.json" or key.endswith("/update/zarr.json"))

    def require_claim(self) -> None:
        """Check before values are written that no other process writes this dump now.

        Raises:
            UserError: one does.
        """
        if self._claim is not None:
            self._claim(False)

    def release(self, key: str) -> None:
        """Drop a folder's written files from the kernel's cache, where it can be told to.

        Nobody reads them while training runs. Kept, they push out what training needs, and each new snapshot needs new pages, which on a
        virtual machine take ten times as long as the write itself.
        """
        if self.spec["driver"] != "file" or not hasattr(os, "posix_fadvise"):
            return
        for folder, _, files in os.walk(Path(self.spec["path"]) / key):
            for name in files:
                with contextlib.suppress(OSError), Path(folder, name).open("rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def write_json(self, key: str, value: Any) -> None:
        self.write(key, json.dumps(value, indent=1, ensure_ascii=False).encode())

    def write_root(self) -> None:
        """Write the root group's metadata: attributes, and the consolidated metadata of everything below."""
        if not self._gathering:
            self.write_json("zarr.json", self.root)

    @contextlib.contextmanager
    def one_root(self) -> Iterator[None]:
        """Outside a folder, write the root once for all commits in the block: some stores take one write of a key a second."""
        if self._seen is None:
            yield
            return
        self._gathering, before = True, json.dumps(self.root)
        try:
            yield
        finally:
            self._gathering = False
        if json.dumps(self.root) != before:
            self.write_root()

    def consolidate(self) -> None:
        """Gather the metadata of every group and array below the root into the root's."""
        members = {}
        found = [key.decode().split("/") for key in self.kv.list().result()]
        for parts in sorted(found):
            if parts[-1] != "zarr.json" or len(parts) == 1:
                continue
            key = "/".join(parts[:-1])
            members[key] = {
                k: v for k, v in (self.read_json(f"{key}/zarr.json") or {}).items() if k != "consolidated_metadata"
            }
        self.root["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": members}
        self.write_root()

    def open_array(self, key: str) -> ts.TensorStore:
        spec: dict[str, Any] = {"driver": "zarr3", "kvstore": {**self.spec, "path": f"{self.spec['path']}{key}/"}}
        if (
            key.endswith(f"/{RESIDUAL}") or key.split("/")[-2:-1] in FILLED
        ):  # nothing moved, or is known: a record, so its chunk is written
            spec["store_data_equal_to_fill_value"] = True
        return ts.open(spec, open=True, context=self.context).result()

    def write_whole(self, key: str, values: npt.NDArray[Any], names: tuple[str, ...]) -> None:
        """Write an array that never changes, in one chunk."""
        metadata = array_metadata(values.shape, tuple(max(1, n) for n in values.shape), str(values.dtype), names)
        self.write_json(f"{key}/zarr.json", metadata)
        if values.size:
            self.open_array(key)[...].write(values).result()


class Stream:
    """One stream: arrays along ``update`` and the coordinate that says which updates exist.

    Records are buffered until :meth:`commit` writes them. A chunk that is not full is written again, as a whole, by later commits.
    """

    def __init__(self, store: Store, key: str, buffered: int) -> None:
        """Open a stream. ``buffered`` is the number of updates in a chunk of every array.

        Raises:
            UserError: the coordinate cannot be read.
        """
        self.store, self.key, self.buffered = store, key, buffered
        group = store.read_json(f"{key}/zarr.json")
        if group is None or "consolidated_metadata" not in group:
            raise UserError(f"expected a stream of a dump at {store.path}/{key}; found none; the dump is damaged")
        self.group = group
        self.names = [n for n, m in self._members().items() if m["dimension_names"][0] == "update" and n != "update"]
        self.arrays = {name: store.open_array(f"{key}/{name}") for name in self.names}
        self.updates = self._read_coordinate()
        self._pending: list[tuple[int, dict[str, npt.NDArray[Any]]]] = []
        self._tail: dict[str, npt.NDArray[Any]] = {}
        self._match_length()

    def _members(self) -> dict[str, Any]:
        return self.group["consolidated_metadata"]["metadata"]

    @staticmethod
    def create(
        store: Store,
        key: str,
        arrays: dict[str, dict[str, Any]],
        coordinates: dict[str, npt.NDArray[Any]],
        attributes: dict[str, Any] | None = None,
    ) -> None:
        """Create an empty stream: its arrays' metadata, the coordinates that do not grow, and its attributes."""
        members = dict(arrays)
        members["update"] = array_metadata((0,), (COORDINATE_CHUNK,), "int64", ("update",))
        for name, values in coordinates.items():
            store.write_whole(f"{key}/{name}", values, (name,))
            members[name] = store.read_json(f"{key}/{name}/zarr.json")
        for name, metadata in members.items():
            if name not in coordinates:
                store.write_json(f"{key}/{name}/zarr.json", metadata)
        group = group_metadata(attributes)
        group["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": members}
        store.write_json(f"{key}/zarr.json", group)

    def _read_coordinate(self) -> list[int]:
        metadata = self.store.read_json(f"{self.key}/update/zarr.json")
        if metadata is None:
            raise UserError(f"{self.store.path}/{self.key}/update is missing; the dump is damaged")
        length = metadata["shape"][0]
        updates: list[int] = []
        for chunk in range(-(-length // COORDINATE_CHUNK)):
            raw = self.store.read(f"{self.key}/update/c/{chunk}")
            if (
                raw is None
                or len(raw) != 8 * COORDINATE_CHUNK + 4
                or google_crc32c.value(raw[:-4]) != struct.unpack("<I", raw[-4:])[0]
            ):
                raise UserError(
                    f"{self.store.path}/{self.key}/update/c/{chunk} is missing or damaged; the dump cannot be continued"
                )
            updates.extend(np.frombuffer(raw[:-4], dtype="<i8").tolist())
        return updates[:length]

    def _write_coordinate(self, updates: list[int], chunks_from: int) -> None:
        """Write the chunks that hold entry ``chunks_from`` and later, then the length: the commit."""
        for chunk in range(chunks_from // COORDINATE_CHUNK, -(-len(updates) // COORDINATE_CHUNK)):
            piece = np.zeros(COORDINATE_CHUNK, dtype="<i8")
            listed = updates[chunk * COORDINATE_CHUNK : (chunk + 1) * COORDINATE_CHUNK]
            piece[: len(listed)] = listed
            raw = piece.tobytes()
            self.store.write(f"{self.key}/update/c/{chunk}", raw + struct.pack("<I", google_crc32c.value(raw)))
        failpoints.reach("coordinate-chunk")
        self._write_length(len(updates))

    def _write_length(self, length: int) -> None:
        """Write how many updates the coordinate lists."""
        metadata = dict(self._members()["update"], shape=[length])
        self.store.write_json(f"{self.key}/update/zarr.json", metadata)

    def _consolidate(self) -> None:
        members, below_root = self._members(), self.store.root["consolidated_metadata"]["metadata"]
        for name in [*self.names, "update"]:
            members[name]["shape"][0] = len(self.updates)
            below_root[f"{self.key}/{name}"]["shape"][0] = len(self.updates)
        self.store.write_root()
        self.store.write_json(f"{self.key}/zarr.json", self.group)

    def _resize(self, length: int) -> None:
        futures = {
            name: array.resize(exclusive_max=[length] + [None] * (array.rank - 1))
            for name, array in self.arrays.items()
        }
        self.arrays |= all_done(futures)

    def _match_length(self) -> None:
        """After a crash the values may be longer than the coordinate, and the consolidated metadata may lag: make them agree."""
        length = len(self.updates)
        if any(array.shape[0] < length for array in self.arrays.values()):
            raise UserError(
                f"{self.store.path}/{self.key} lists {length} updates but holds fewer values; the dump is damaged"
            )
        below_root = self.store.root["consolidated_metadata"]["metadata"]
        for name in [*self.names, "update"]:
            if self._members()[name]["shape"][0] != length or below_root[f"{self.key}/{name}"]["shape"][0] != length:
                self._consolidate()
                break
        if any(array.shape[0] != length for array in self.arrays.values()):
            self._resize(length)

    def cut(self, last: int) -> int:
        """Forget every record after update ``last``; returns how many there were."""
        kept = [u for u in self.updates if u <= last]
        dropped = len(self.updates) - len(kept)
        self._pending, self._tail = [], {}
        if dropped:
            self.store.require_claim()
            self._write_length(len(kept))  # the chunks stay: a reader of the old length must find them
            failpoints.reach("cut-coordinate")
            self.updates = kept
            self._consolidate()
            self._resize(len(kept))
            failpoints.reach("cut-values")
        return dropped

    def append(self, update: int, values: dict[str, npt.NDArray[Any]]) -> None:
        """Add a record; it is committed when a chunk is full, or by :meth:`commit`.

        Args:
            update: greater than every update so far.
            values: for each array a value without the ``update`` dimension; arrays left out are NaN there.
        """
        newest = self._pending[-1][0] if self._pending else (self.updates[-1] if self.updates else -1)
        if update <= newest:
            raise ValueError(f"update {update} does not come after {newest}")
        self._pending.append((update, values))
        if (len(self.updates) + len(self._pending)) % self.buffered == 0:
            self.commit()

    def _tail_of(self, name: str, start: int, stop: int) -> npt.NDArray[Any]:
        """The committed values of the chunk that is not full, entries ``start`` to ``stop``."""
        if name not in self._tail:
            array = self.arrays[name]
            dtype = array.dtype.numpy_dtype
            nothing = np.nan if dtype.kind == "f" else 0
            tail = np.full((self.buffered, *array.shape[1:]), nothing, dtype=dtype)
            if stop > start:
                tail[: stop - start] = array[start:stop].read().result()
            self._tail[name] = tail
        return self._tail[name]

    def _chunk_of(self, name: str, start: int, first: int) -> npt.NDArray[Any]:
        """The values of an array's open chunk, which begins at entry ``start`` and of which those before ``first`` are committed."""
        if self.buffered == 1 and name in self._pending[0][1]:  # as it is, without a copy
            return np.asarray(self._pending[0][1][name])[None]
        tail = self._tail_of(name, start, first)
        for offset, (_, values) in enumerate(self._pending, first - start):
            tail[offset] = values.get(name, np.nan)
        return tail[: first + len(self._pending) - start]

    def commit(self) -> None:
        """Write every buffered record and list it."""
        if not self._pending:
            return
        first = len(self.updates)
        length = first + len(self._pending)
        start = first - first % self.buffered
        if length - start > self.buffered:
            raise ValueError("more records are buffered than a chunk holds")
        self.store.require_claim()
        self._resize(length)
        chunks = {name: self._chunk_of(name, start, first) for name in self.arrays}  # which may read
        self.store.written += sum(values.nbytes for values in chunks.values())
        all_done({name: self.arrays[name][start:length].write(values, **UNCOPIED) for name, values in chunks.items()})
        failpoints.reach("snapshot-values" if self.buffered == 1 else "stream-values")
        updates = self.updates + [update for update, _ in self._pending]
        self._write_coordinate(updates, first)
        failpoints.reach("committed")
        self.updates, self._pending = updates, []
        self._consolidate()
        if length % self.buffered == 0:
            self._tail = {}
        for name in self.names if self.buffered == 1 else ():
            self.store.release(f"{self.key}/{name}/c/{first}")


def is_dump(path: Path) -> bool:
    """Whether a folder is a dump of any format version."""
    try:
        metadata = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(metadata, dict) and metadata.get("attributes", {}).get("format") == FORMAT


def remove(path: Path) -> None:
    """Delete a dump: first out of the way by a rename, so that a kill leaves no half of it under its name."""
    doomed = path.with_name(f"{path.name}.deleted.tmp")
    if doomed.exists():
        shutil.rmtree(doomed)
    if path.exists():
        path.rename(doomed)
        shutil.rmtree(doomed)


def create_table(
    store: Store,
    name: str,
    attributes: dict[str, Any],
    rows: Rows,
    dim: int,
    names: dict[str, tuple[str, ...]],
    traced: npt.NDArray[np.int64] | None,
    windows: dict[str, Any] | None = None,
) -> None:
    """Create one table's groups.

    Args:
        names: streams to create, each with the names of its arrays (used by ``statistics`` only).
        traced: int64 [T], the traced rows.
        windows: the attributes of the stream ``windows``, if it is to be created: ``encoding``, ``error``, ``keyframes``.
    """
    key = f"tables/{name}"
    store.write_json(f"{key}/zarr.json", group_metadata(attributes))
    store.write_json(f"{key}/tokens.json", list(rows.texts))
    store.write_json(f"{key}/rows/zarr.json", group_metadata({"groups": [asdict(g) for g in rows.groups]}))
    for field, values in {
        "row": np.arange(len(rows), dtype=np.int64),
        "count": rows.count,
        "counted": rows.counted,
        "group": rows.group,
        **{f"count_{side}": values for side, values in rows.by_side.items()},
    }.items():
        store.write_whole(f"{key}/rows/{field}", values, ("row",))
    size = len(rows)
    if "snapshots" in names:
        shape = (0, size, dim)
        arrays = {
            "values": array_metadata(
                shape, (1, rows_per_chunk(size, 4 * dim), dim), "float32", ("update", "row", "dim")
            )
        }
        Stream.create(store, f"{key}/snapshots", arrays, {})
    if "windows" in names and windows is not None:
        chunks = (1, rows_per_chunk(size, 4 * dim), dim)
        codecs = window_codecs(windows["encoding"])
        arrays = {
            RESIDUAL: array_metadata((0, size, dim), chunks, "uint32", ("update", "row", "dim"), codecs),
            "frame": array_metadata(
                (0, len(PARAMETERS)), (1, len(PARAMETERS)), "float64", ("update", "parameter"), PLAIN_CODECS
            ),
        }
        Stream.create(store, f"{key}/windows", arrays, {}, {**windows, "parameters": list(PARAMETERS)})
    if "traces" in names and traced is not None:
        shape = (0, len(traced), dim)
        chunks = (*traces_chunk(len(traced), dim), dim)
        arrays = {"values": array_metadata(shape, chunks, "float32", ("update", "token", "dim"))}
        Stream.create(store, f"{key}/traces", arrays, {"token": traced})
    if "statistics" in names:
        groups = len(rows.groups)
        arrays = {
            n: array_metadata((0, groups), (STATISTICS_CHUNK, groups), "float64", ("update", "group"))
            if n in BY_GROUP
            else array_metadata((0,), (STATISTICS_CHUNK,), "float64", ("update",))
            for n in names["statistics"]
        }
        Stream.create(store, f"{key}/statistics", arrays, {"group": np.arange(groups, dtype=np.int64)})


def traces_chunk(traced: int, dim: int) -> tuple[int, int]:
    """Updates and tokens in a chunk of the traces: at most 16 MB, and many updates of few tokens, for one token's path is what is read.

    The updates of a chunk wait in memory until it is full: at most 64 MB, and at most 1,024 updates.
    """
    updates = int(np.clip(OPEN_TRACES // max(1, traced * dim * 4), 1, 1024))
    tokens = int(np.clip(LARGEST_CHUNK // (updates * dim * 4), 1, max(1, traced)))
    return updates, math.ceil(traced / math.ceil(traced / tokens)) if traced else 1


def buffered(target: Store, key: str) -> int:
    """Updates in a chunk of every array of a stream that is there.

    Raises:
        UserError: it is not there, or damaged.
    """
    group = target.read_json(f"{key}/zarr.json") or {}
    members = group.get("consolidated_metadata", {}).get("metadata", {})
    lengths = {m["chunk_grid"]["configuration"]["chunk_shape"][0] for n, m in members.items() if n != "update" and m["dimension_names"][0] == "update"}  # fmt: skip
    if len(lengths) != 1:
        raise UserError(f"expected a stream of a dump at {target.path}/{key}; found none; the dump is damaged")
    return int(lengths.pop())


def create_exposure(store: Store, counters: Sequence[Counters]) -> None:
    """Create the streams of exposure."""
    store.write_json("exposure/zarr.json", group_metadata())
    for entry in counters:
        metadata = array_metadata((0, entry.size), (1, max(1, entry.size)), "uint32", ("update", entry.dimension))
        Stream.create(store, f"exposure/{entry.stream}", dict.fromkeys(entry.kinds, metadata), {})
