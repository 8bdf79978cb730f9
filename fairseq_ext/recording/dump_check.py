"""Checks a dump: root and metadata, each table's constant rows, each stream, and what lies in the folder that nothing lists. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import contents, replacing, store
from .chunks import Progress, reason
from .contents import METADATA, Unreadable
from .findings import DAMAGED, NO_DUMP, Findings
from .lock import SUFFIX, holder, lock_file
from .stream_check import check_stream, listed_bytes
from .telling import some

BESIDE = (".creating.tmp", ".deleted.tmp", ".importing.tmp", replacing.STAGED, replacing.ASIDE)
AGAIN = 3  # times that a stream is checked while a run records into it, before what is found wrong is believed


@dataclass
class _Known:
    """What the parts of a check share: the folder, opened, its metadata by place, and what was found so far."""

    dump: Path
    store: store.Store
    nodes: dict[str, dict[str, Any]]
    listed: dict[str, dict[str, Any]]
    found: Findings


def check_dump(path: Path, wanted: dict[str, set[int]] | None = None) -> Findings:
    """Check the dump at ``path``, or in the run's folder ``path``.

    Args:
        path: the folder.
        wanted: for each stream the updates whose chunks are read; ``None``: everything.
    """
    dump = contents.dump_folder(path)
    found = Findings(dump)
    root = _read_root(dump, found)
    if root is None:
        return found
    found.held = holder(dump)
    listed = contents.consolidated(root)
    if listed is None:
        found.metadata.append("the root holds no consolidated metadata")
    known = _Known(dump, store.Store(dump), contents.nodes(dump), listed or {}, found)
    keys = contents.stream_keys({*known.nodes, *known.listed})
    _compare_metadata(known, keys)
    sizes = {name: _check_table(known, f"tables/{name}") for name in found.attributes["tables"]}
    first = int((found.attributes.get("progress") or {}).get("first_update", 0))
    progress = Progress(f"checking {dump}", sum(listed_bytes(dump, key) for key in keys))
    try:
        for key in keys:
            expected = {place.rpartition("/")[2] for place in known.listed if place.rpartition("/")[0] == key}
            table = key.removeprefix("tables/").rpartition("/")[0]
            chosen = None if wanted is None else wanted.get(key, set())
            for _ in range(AGAIN if found.held else 1):
                stream = check_stream(dump, known.store, key, expected, sizes.get(table, {}), first, chosen, progress)
                if stream.whole:
                    break
            found.streams.append(stream)
    finally:
        progress.close()
    _check_gaps(found)
    _look_around(known, keys)
    found.judge()
    return found


def _read_root(dump: Path, found: Findings) -> dict[str, Any] | None:
    """The root's metadata; ``None``, with the verdict set, if there is no dump or none that can be read."""
    try:
        root = contents.read_node(dump)
    except Unreadable as error:
        found.verdict = DAMAGED if (dump / "tables").is_dir() else NO_DUMP
        if replacing.interrupted(dump):
            found.verdict = DAMAGED
            found.problems.append(
                "it is not in its place: a pruning was killed between two renames; prune it again, or resume the training, to put it back"
            )
        elif found.verdict == DAMAGED:
            found.problems.append(f"the root's {METADATA} {error}")
        else:
            what = "a file" if dump.is_file() else "nothing" if not dump.exists() else f"a folder without {METADATA}"
            found.problems.append(
                f"expected a dump, found {what}" if not (dump / METADATA).exists() else f"{METADATA} {error}"
            )
        return None
    attributes = root.get("attributes")
    attributes = attributes if isinstance(attributes, dict) else {}
    if attributes.get("format") != store.FORMAT:
        found.verdict = NO_DUMP
        found.problems.append(
            f"expected the format {store.FORMAT}, found a Zarr {root['node_type']} of another program"
        )
        return None
    if attributes.get("format_version") != store.FORMAT_VERSION:
        found.verdict = NO_DUMP
        version = attributes.get("format_version")
        found.problems.append(f"its format version is {version}, this program knows {store.FORMAT_VERSION}")
        return None
    tables = attributes.get("tables")
    if not isinstance(tables, list) or not tables or not all(isinstance(name, str) for name in tables):
        found.verdict = DAMAGED
        found.problems.append("the root's attributes list no tables")
        return None
    found.attributes = attributes
    return root


def _compare_metadata(known: _Known, streams: list[str]) -> None:
    """Compare the consolidated metadata of the root and of each stream with those of every group and array."""
    _compare(known.found, "the root", known.listed, known.nodes, streams, bool(known.listed))
    for key in streams:
        members = contents.consolidated(known.nodes.get(key, {}))
        if members is not None:
            below = {n[len(key) + 1 :]: m for n, m in known.nodes.items() if n.startswith(f"{key}/")}
            _compare(known.found, key, members, below, [""], True)


def _compare(
    found: Findings,
    where: str,
    listed: dict[str, dict[str, Any]],
    nodes: dict[str, dict[str, Any]],
    streams: list[str],
    complete: bool,
) -> None:
    """Compare one group's consolidated metadata with what lies below it. Lengths may lag behind for a moment, or after a crash."""
    lagging = []
    for place, said in listed.items():
        real = nodes.get(place)
        if real is None:
            if place.rpartition("/")[0] not in streams:  # of a stream's arrays its own check tells
                found.problems.append(f"{place}/{METADATA} is missing or unreadable, {where} lists it")
            continue
        one, other = (_without_length(m, place, streams) for m in (said, real))
        if one != other:
            found.metadata.append(f"the consolidated metadata of {where} differ from {place}/{METADATA}")
        elif place.rpartition("/")[2] == "update" and said.get("shape") != real.get("shape"):
            lagging.append(place.rpartition("/")[0] or where)
    if complete:
        found.metadata += [
            f"the consolidated metadata of {where} lack {place}" for place in sorted({*nodes} - {*listed})
        ]
    for key in streams:
        lengths = {tuple(m["shape"][:1]) for p, m in listed.items() if p.rpartition("/")[0] == key and _grows(m)}
        if len(lengths) > 1:
            found.metadata.append(
                f"the consolidated metadata of {where} give the arrays of {key or where} several lengths"
            )
    if lagging:
        found.notes.append(
            f"the consolidated metadata of {where} lag behind {', '.join(lagging)}: a run records, or was killed; it mends them when it goes on"
        )


def _grows(metadata: dict[str, Any]) -> bool:
    return metadata.get("node_type") == "array" and (metadata.get("dimension_names") or [None])[0] == "update"


def _without_length(metadata: dict[str, Any], place: str, streams: list[str]) -> dict[str, Any]:
    """Metadata as they are compared: defaults filled in, without a stream's length, and without what is consolidated again below."""
    kept = {"attributes": {}, **{k: v for k, v in metadata.items() if k != "consolidated_metadata"}}
    if kept.get("node_type") == "array" and kept.get("chunk_key_encoding") == {"name": "default"}:
        kept["chunk_key_encoding"] = {"name": "default", "configuration": {"separator": "/"}}
    if _grows(kept) and place.rpartition("/")[0] in streams:
        kept["shape"] = kept["shape"][1:]
    return kept


def _check_table(known: _Known, key: str) -> dict[str, int]:
    """Check a table's attributes, texts and constant rows; returns the lengths of its dimensions."""
    problems = known.found.problems
    attributes = known.nodes.get(key, {}).get("attributes") or {}
    rows, dim = attributes.get("rows"), attributes.get("dim")
    if not isinstance(rows, int) or not isinstance(dim, int):
        problems.append(f"{key}/{METADATA} is missing, or its attributes lack rows and dim")
        return {}
    try:
        texts = contents.read_json(known.dump / key / "tokens.json")
        if not isinstance(texts, list) or len(texts) != rows or not all(isinstance(text, str) for text in texts):
            problems.append(f"{key}/tokens.json should list {rows} texts")
    except Unreadable as error:
        problems.append(f"{key}/tokens.json {error}")
    groups = (known.nodes.get(f"{key}/rows", {}).get("attributes") or {}).get("groups")
    columns = {}
    for name in ("row", "count", "counted", "group", "count_source", "count_target"):
        place = f"{key}/rows/{name}"
        if place not in known.nodes and place not in known.listed and name.startswith("count_"):
            continue
        try:
            columns[name] = np.asarray(known.store.open_array(place).read().result())
        except ValueError as error:
            problems.append(f"{place} cannot be read ({reason(error)})")
    if not {"row", "count", "counted", "group"} <= set(columns):
        return {"row": rows, "dim": dim}
    problems += [f"{key}/rows: {text}" for text in _contradictions(columns, groups, rows, attributes.get("side"))]
    return {"row": rows, "dim": dim, **({"group": len(groups)} if isinstance(groups, list) else {})}


def _contradictions(columns: dict[str, NDArray[Any]], groups: Any, rows: int, side: Any) -> list[str]:
    """What in the constant rows does not go together: a chunk that is missing reads as zeros."""
    wrong = [f"{name} has the shape {v.shape}, expected ({rows},)" for name, v in columns.items() if v.shape != (rows,)]
    if wrong:
        return wrong
    if not np.array_equal(columns["row"], np.arange(rows)):
        wrong.append("row does not count from 0")
    try:
        low = [int(g["min_count"]) for g in groups]
        high = [np.inf if g["max_count"] is None else int(g["max_count"]) for g in groups]
        sizes, counted = [int(g["rows"]) for g in groups], [bool(g["counted"]) for g in groups]
    except (TypeError, KeyError, ValueError):
        return [*wrong, "the attribute groups is missing or of another form"]
    group, count = columns["group"].astype(np.int64), columns["count"]
    if (group < -1).any() or (group >= len(sizes)).any():
        return [*wrong, "group names groups that there are not"]
    inside = (count >= np.array([*low, 0])[group]) & (count <= np.array([*high, np.inf])[group])
    if np.bincount(group[group >= 0], minlength=len(sizes)).tolist() != sizes or not inside.all():
        wrong.append("counts and groups do not agree")
    if (np.array([*counted, False])[group] != columns["counted"]).any():
        wrong.append("counted rows and groups do not agree")
    served = [columns[f"count_{s}"] for s in ("source", "target") if f"count_{s}" in columns and side in (s, "both")]
    if served and not np.array_equal(sum(served), count):
        wrong.append("counts by side do not sum to the counts")
    return wrong


def _check_gaps(found: Findings) -> None:
    """Compare what is listed as left out with what the streams hold: an update is recorded or left out, not both."""
    for gaps in found.streams:
        if contents.sort_of(gaps.key) != "gaps":
            continue
        for stream in found.streams:
            if stream.key.startswith("tables/") and contents.sort_of(stream.key) == gaps.key.rpartition("/")[2]:
                both = sorted(set(gaps.updates) & set(stream.updates))
                if both:
                    found.problems.append(
                        f"{gaps.key} lists update {some(both)} as left out, but {stream.key} holds it"
                    )


def _look_around(known: _Known, streams: list[str]) -> None:
    """Count chunks that nothing lists, and find what killed processes left in the folder and beside it."""
    found, dump = known.found, known.dump
    lengths = {s.key: len(s.updates) + s.unknown for s in found.streams if not s.broken}
    foreign = 0
    listed: set[Path] = set()
    for place, metadata in known.nodes.items():
        listed.add(dump / place / METADATA)
        if metadata["node_type"] != "array":
            continue
        try:
            array = contents.read_array(dump / place)
        except Unreadable:
            continue
        stream = place.rpartition("/")[0]
        length = lengths.get(stream, array.shape[0]) if array.grows else array.shape[0]
        listed |= {array.chunk_file(chunk) for chunk in array.chunk_places(length)}
    listed |= {dump / METADATA, *(dump / "tables" / name / "tokens.json" for name in found.attributes["tables"])}
    for file in contents.files(dump):
        if file in listed:
            continue
        if contents.is_temporary(file):
            found.leftovers.append(str(file.relative_to(dump)))
        elif "c" in file.relative_to(dump).parts[:-1]:
            found.surplus_files += 1
            found.surplus_bytes += file.stat().st_size
        else:
            foreign += file.name != METADATA
    if foreign:
        found.notes.append(f"{foreign} files are not of this format")
    real = lock_file(dump).with_suffix("")
    found.leftovers += [real.name + end for end in (*BESIDE, SUFFIX) if real.with_name(real.name + end).exists()]
    if found.held:
        found.leftovers = []  # those of the run that records
