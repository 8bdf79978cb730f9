"""Writing a dump that holds some of another's records. Chunks of one record are taken over as they are; others are written anew."""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

from .. import failpoints
from . import contents, replacing, store
from .contents import METADATA, Array, Unreadable

OVERHEAD = 1 << 20  # bytes of metadata, at most


@dataclass(frozen=True)
class StreamPlan:
    """What becomes of one stream.

    Attributes:
        key: its place.
        kept: places in the old stream, and updates, of the records that stay; none: the stream is left out.
        records: how many the old one lists.
        damaged: how many of those cannot be read.
        last_update: of the old one; -1: it has none.
        bytes: of the old one's chunks.
    """

    key: str
    kept: list[tuple[int, int]]
    records: int
    damaged: int
    last_update: int
    bytes: int

    @property
    def dropped(self) -> int:
        return self.records - len(self.kept)


def growing(dump: Path, key: str) -> dict[str, Array]:
    """The arrays of a stream along ``update``, without the coordinate.

    Raises:
        Unreadable: one has no metadata.
    """
    arrays = {f.parent.name: contents.read_array(f.parent) for f in sorted((dump / key).glob(f"*/{METADATA}"))}
    return {name: array for name, array in arrays.items() if array.grows and name != "update"}


def needed_bytes(dump: Path, plans: list[StreamPlan], linked: bool) -> int:
    """Bytes that the new dump will take at most; what is ``linked`` takes none."""
    total = OVERHEAD + 2 * sum(file.stat().st_size for file in _constant_files(dump, plans))
    for plan in plans:
        for array in growing(dump, plan.key).values():
            places = {chunk[1:] for chunk in array.chunk_places(1)}
            if array.chunks[0] > 1:
                itemsize = np.dtype(array.metadata["data_type"]).itemsize
                chunks = math.ceil(len(plan.kept) / array.chunks[0]) * len(places)
                total += chunks * (math.prod(array.chunks) * itemsize + 64)
            elif not linked:
                files = (array.chunk_file((old, *rest)) for old, _ in plan.kept for rest in places)
                total += sum(file.stat().st_size for file in files if file.exists())
    return total


def _constant_files(dump: Path, plans: list[StreamPlan]) -> list[Path]:
    """What is taken over whole: everything but arrays along ``update``, their groups, streams that are left out, and temporary files."""
    grown = {dump / plan.key / name for plan in plans for name in (*growing(dump, plan.key), "update")}
    left_out = {dump / plan.key for plan in plans if not plan.kept}
    groups = {dump / METADATA, *(dump / plan.key / METADATA for plan in plans)}
    return [
        file
        for file in contents.files(dump)
        if file not in groups and not contents.is_temporary(file) and grown.isdisjoint(file.parents) and left_out.isdisjoint(file.parents)
    ]  # fmt: skip


def write_pruned(
    dump: Path, new: Path, plans: list[StreamPlan], attributes: dict[str, Any], entry: dict[str, Any], linked: bool
) -> None:
    """Write the new dump.

    Args:
        dump: the old one; it is not changed.
        new: the new one's folder, which is empty or absent.
        plans: of every stream.
        attributes: the old root's.
        entry: what this pruning adds to the attribute ``pruned``.
        linked: chunks get a second name instead of a copy.

    Raises:
        OSError, ValueError: a file cannot be read or written.
    """
    new.mkdir(parents=True, exist_ok=True)
    for file in _constant_files(dump, plans):
        _copy(file, new / file.relative_to(dump))
    source, target = store.Store(dump), store.Store(new)
    for plan in plans:
        if plan.kept:
            _write_stream(dump, new, source, target, plan, linked)
            failpoints.reach("prune-stream")
    target.root = store.group_metadata({**attributes, "pruned": [*(attributes.get("pruned") or []), entry]})
    target.consolidate()
    for folder, _, _ in os.walk(new):
        replacing.sync_folder(Path(folder))


def _write_stream(
    dump: Path, new: Path, source: store.Store, target: store.Store, plan: StreamPlan, linked: bool
) -> None:
    """Write one stream: arrays along ``update``, the coordinate, and the group with its consolidated metadata."""
    length = len(plan.kept)
    for name, array in growing(dump, plan.key).items():
        place = f"{plan.key}/{name}"
        target.write_json(f"{place}/{METADATA}", {**array.metadata, "shape": [length, *array.shape[1:]]})
        if array.chunks[0] == 1:
            _take_over(array, new / place, plan, linked)
        else:
            _write_anew(source.open_array(place), target.open_array(place), array.chunks[0], plan)
    coordinate = contents.read_array(dump / plan.key / "update")
    target.write_json(f"{plan.key}/update/{METADATA}", {**coordinate.metadata, "shape": [length]})
    everything = {
        "driver": "zarr3",
        "kvstore": {**target.spec, "path": f"{target.spec['path']}{plan.key}/update/"},
        "store_data_equal_to_fill_value": True,  # a chunk of the update 0 alone is no absent chunk
    }
    handle = ts.open(everything, open=True, context=target.context).result()
    handle[...].write(np.array([u for _, u in plan.kept], dtype=np.int64)).result()
    try:
        group = contents.read_node(dump / plan.key)
    except Unreadable:
        group = {}
    members = {f.parent.name: contents.read_json(f) for f in sorted((new / plan.key).glob(f"*/{METADATA}"))}
    described = store.group_metadata(group.get("attributes"))
    described["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": members}
    target.write_json(f"{plan.key}/{METADATA}", described)


def _take_over(array: Array, folder: Path, plan: StreamPlan, linked: bool) -> None:
    """Take over the chunks of single records. One that is absent holds fill values alone and stays absent."""
    new = Array(folder, array.metadata)
    places = sorted({chunk[1:] for chunk in array.chunk_places(1)})
    for number, (old, _) in enumerate(plan.kept):
        for rest in places:
            file = array.chunk_file((old, *rest))
            if not file.exists():
                continue
            to = new.chunk_file((number, *rest))
            if linked:
                to.parent.mkdir(parents=True, exist_ok=True)
                to.hardlink_to(file)
            else:
                _copy(file, to)


def _write_anew(old: ts.TensorStore, new: ts.TensorStore, chunk: int, plan: StreamPlan) -> None:
    """Write the chunks of many records, one at a time."""
    places = np.array([place for place, _ in plan.kept])
    for start in range(0, len(places), chunk):
        chosen = places[start : start + chunk]
        new[start : start + len(chosen)].write(old[chosen].read().result()).result()


def _copy(file: Path, to: Path) -> None:
    """Copy a file's bytes, and have them on disk."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with file.open("rb") as old, to.open("wb") as new:
        shutil.copyfileobj(old, new, 1 << 22)
        new.flush()
        os.fsync(new.fileno())
