"""Checks one stream of a dump: its coordinate, every chunk that the coordinate covers, and values where the format says what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .chunks import Progress, Values, read_values, reason
from .contents import METADATA, Array, Unreadable, consolidated, read_array, read_node, sort_of
from .findings import StreamFindings
from .prediction import MOMENTUM_LARGEST
from .statistics import CHEAP, CORRELATIONS, MOVEMENT
from .store import Store

# Statistics that are known at the same updates: where one is, the others are. A chunk of NaN alone is never written, so only a
# sibling tells whether a chunk that is not there was lost.
SIBLINGS = (
    CHEAP,
    CORRELATIONS[:2],
    CORRELATIONS[2:],
    MOVEMENT[:2],
    MOVEMENT[2:4],
    MOVEMENT[4:],
)
ALWAYS = "norm_mean"
NEVER_ZERO = ("visible", "target", "drawn")  # counters that have counted something once a step was taken


def check_stream(
    dump: Path,
    store: Store,
    key: str,
    expected: set[str],
    sizes: dict[str, int],
    first_update: int,
    wanted: set[int] | None,
    progress: Progress,
) -> StreamFindings:
    """Check a stream.

    Args:
        dump: the dump's folder.
        store: the same, opened.
        key: the stream's place in it.
        expected: names of arrays that it must have, by the root's consolidated metadata.
        sizes: lengths of dimensions that are known: ``row``, ``dim``, ``group``.
        first_update: of the recording.
        wanted: updates whose chunks are read; ``None``: all.
    """
    found = StreamFindings(key)
    arrays = _arrays(dump / key, expected, found)
    if "update" not in arrays:
        return found
    _check_shapes(arrays, sizes, found)
    listed = _coordinate(store, key, arrays.pop("update"), found)
    if listed is None:
        return found
    growing = {name: array for name, array in arrays.items() if array.grows}
    length = _believable(listed, growing, found)
    found.updates = listed[:length].tolist()
    found.unknown = len(listed) - length
    _check_constants(store, key, {n: a for n, a in arrays.items() if not a.grows}, sizes, found)
    if found.broken:
        return found
    chosen = np.ones(length, bool) if wanted is None else np.isin(listed[:length], sorted(wanted))
    try:
        handles = {name: store.open_array(f"{key}/{name}") for name in growing}
    except ValueError as error:
        found.broken.append(f"its metadata cannot be understood ({reason(error)})")
        return found
    values = read_values(growing, handles, length, chosen, progress)
    found.bytes = sum(_bytes(array, length) for array in growing.values())
    for name, seen in values.items():
        for record, text in seen.errors.items():
            if chosen[record]:
                found.lost.setdefault(found.updates[record], text)
        needed = seen.missing & _should_be_there(key, name, values, listed[:length], first_update)
        missing = _whole_chunks(needed, growing[name].chunks[0]) & seen.missing & chosen
        _lose(found, missing, f"a chunk of {name} is missing")
        if sort_of(key) in ("snapshots", "traces"):
            _lose(
                found,
                ~seen.finite & chosen & ~seen.missing,
                f"{name} has values that are not finite: training diverged",
            )
    if sort_of(key) == "windows" and "frame" in handles:
        _follow_frames(found, handles["frame"], chosen)
    return found


def _follow_frames(found: StreamFindings, frames: Any, chosen: NDArray[np.bool_]) -> None:
    """Lose every encoded snapshot that cannot be decoded because one that it builds on is lost."""
    before: tuple[int, bool] | None = None  # the last record's update, and whether it can be decoded
    for place, update in enumerate(found.updates):
        whole = update not in found.lost
        if whole and chosen[place]:
            keyframe, step, momentum, _ = np.asarray(frames[place].read().result()).tolist()
            if not (keyframe in (0, 1) and np.isfinite(step) and step >= 0 and 0 <= momentum <= MOMENTUM_LARGEST):
                found.lost[update], whole = "its frame says nothing of use", False
            elif not keyframe and before != (update - 1, True):
                found.lost[update], whole = "the update before it, on which it builds, is missing or lost", False
        before = (update, whole)


def _lose(found: StreamFindings, records: NDArray[np.bool_], text: str) -> None:
    for record in np.flatnonzero(records).tolist():
        found.lost.setdefault(found.updates[record], text)


def _arrays(folder: Path, expected: set[str], found: StreamFindings) -> dict[str, Array]:
    """The stream's arrays by name; what is missing or unreadable is said."""
    names = set(expected) | {"update"}
    try:
        group = read_node(folder)
        members = consolidated(group)
        if members is None:
            found.metadata.append("its zarr.json holds no consolidated metadata")
        names |= set(members or ())
    except Unreadable as error:
        found.metadata.append(f"its {METADATA} {error}")
    names |= {file.parent.name for file in folder.glob(f"*/{METADATA}")}
    arrays = {}
    for name in sorted(
        names, key=lambda name: (name != "update", name)
    ):  # a running commit makes the arrays longer first
        try:
            arrays[name] = read_array(folder / name)
        except Unreadable as error:
            found.broken.append(f"{name}/{METADATA} {error}")
    return arrays


def _check_shapes(arrays: dict[str, Array], sizes: dict[str, int], found: StreamFindings) -> None:
    """Compare the lengths of dimensions with what is known of them, and with one another."""
    known = dict(sizes)
    if "token" in arrays:
        known["token"] = arrays["token"].shape[0]
    for name, array in arrays.items():
        for dimension, size in zip(array.metadata["dimension_names"], array.shape, strict=True):
            if dimension in known and size != known[dimension]:
                found.broken.append(f"{name} has {size} entries along {dimension}, expected {known[dimension]}")


def _coordinate(store: Store, key: str, array: Array, found: StreamFindings) -> NDArray[np.int64] | None:
    """What ``update`` lists; ``None`` if that cannot be read."""
    length = array.shape[0]
    for place in array.chunk_places(length):
        file = array.chunk_file(place)
        wrong = "is missing" if not file.exists() else None
        if wrong is None and array.chunk_bytes is not None and file.stat().st_size != array.chunk_bytes:
            wrong = f"holds {file.stat().st_size:,} bytes, expected {array.chunk_bytes:,}"
        if wrong:
            found.broken.append(f"update/{file.relative_to(array.folder)} {wrong}: nobody knows its updates")
            return None
    try:
        return np.asarray(store.open_array(f"{key}/update")[:length].read().result()).astype(np.int64)
    except (OSError, ValueError) as error:
        found.broken.append(f"update cannot be read ({reason(error)}): nobody knows its updates")
        return None


def _believable(listed: NDArray[np.int64], arrays: dict[str, Array], found: StreamFindings) -> int:
    """How many entries of the coordinate stand for records: up to where it no longer increases, and no array is shorter."""
    length = len(listed)
    backwards = np.flatnonzero(np.diff(listed) <= 0)
    if length and listed[0] < 0:
        length = 0
    elif len(backwards):
        length = int(backwards[0]) + 1
    if length < len(listed):
        found.notes.append(f"update is not increasing after entry {length}")
    for name, array in sorted(arrays.items()):
        if array.shape[0] < len(listed):
            found.notes.append(f"update lists {len(listed)} records, {name} holds {array.shape[0]}")
            length = min(length, array.shape[0])
    return length


def _check_constants(
    store: Store, key: str, arrays: dict[str, Array], sizes: dict[str, int], found: StreamFindings
) -> None:
    """Check the coordinates that do not grow: ``token`` increases within the rows, ``group`` counts from 0."""
    for name in arrays:
        try:
            values: NDArray[Any] = np.asarray(store.open_array(f"{key}/{name}").read().result())
        except (OSError, ValueError) as error:
            found.broken.append(f"{name} cannot be read ({reason(error)})")
            continue
        rows = sizes.get("row", np.inf)
        if name == "token" and len(values) and (values[0] < 0 or values[-1] >= rows or (np.diff(values) <= 0).any()):
            found.broken.append("token is not increasing within the table's rows: a chunk is lost")
        if name == "group" and not np.array_equal(values, np.arange(len(values))):
            found.broken.append("group does not count from 0: a chunk is lost")


def _should_be_there(
    key: str, name: str, values: dict[str, Values], updates: NDArray[np.int64], first_update: int
) -> NDArray[np.bool_]:
    """At which records an array has values, so that a chunk that is not there was lost: one of fill values alone is never written."""
    everywhere = np.ones(len(updates), bool)
    after = updates > first_update
    if sort_of(key) == "exposure":
        before = np.maximum.accumulate(values[name].total) > 0 if len(updates) else everywhere
        return before | (after if name in NEVER_ZERO else ~everywhere)
    if sort_of(key) != "statistics" or name == ALWAYS:
        return everywhere
    family = next((f for f in SIBLINGS if name in f), ())
    known = ~everywhere
    for sibling in family:
        if sibling in values:
            known = known | values[sibling].present
    others = {"drift": "update_norm", "update_norm": "drift"}
    other = values.get(others.get(name.removesuffix("_group"), ""))
    if other is not None and (name.startswith("update_norm") or first_update == 0):
        known = known | (other.present & after)
    return known


def _whole_chunks(records: NDArray[np.bool_], chunk: int) -> NDArray[np.bool_]:
    """``records`` widened to all of a chunk that holds one: a chunk that is lost is lost as a whole."""
    wide = records.copy()
    for start in range(0, len(records), chunk):
        wide[start : start + chunk] = records[start : start + chunk].any()
    return wide


def _bytes(array: Array, length: int) -> int:
    """Bytes on disk of the chunks that hold the first ``length`` records."""
    total = 0
    for place in array.chunk_places(length):
        try:
            total += array.chunk_file(place).stat().st_size
        except FileNotFoundError:
            continue
    return total


def listed_bytes(dump: Path, key: str) -> int:
    """Bytes that a check of a stream will read, for the line of progress; 0 where that cannot be told."""
    try:
        length = read_array(dump / key / "update").shape[0]
        arrays = [read_array(file.parent) for file in (dump / key).glob(f"*/{METADATA}")]
    except Unreadable:
        return 0
    return sum(_bytes(array, length) for array in arrays if array.grows and array.folder.name != "update")
