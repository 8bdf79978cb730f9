"""What a check says to people: a line a stream, what is wrong, and what to do about it."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from .findings import NO_DUMP, WHOLE, Findings, StreamFindings
from .resuming import pruned_until
from .space import readable

SHOWN = 6  # updates, or messages of one kind, that are written out
COMMAND = "python -m fairseq_ext.recording"


def some(updates: Iterable[int]) -> str:
    """A list of updates for people: all of a few, else the first ones and how many."""
    known = list(updates)
    shown = ", ".join(f"{u:,}" for u in known[:SHOWN])
    return shown if len(known) <= SHOWN else f"{shown}, ... ({len(known):,} in all, the last {known[-1]:,})"


def stream_line(stream: StreamFindings, width: int) -> str:
    """Records, bytes, first and last update of a stream, and ``ok`` or what is wrong."""
    records = len(stream.updates) + stream.unknown
    span = f"{stream.updates[0]:,}..{stream.updates[-1]:,}" if stream.updates else "none"
    head = f"  {stream.key:<{width}}  {records:>9,} records  {readable(stream.bytes):>9}  updates {span}"
    return f"{head}  {'ok' if stream.whole else 'DAMAGED: ' + '; '.join(_wrong(stream))}"


def _wrong(stream: StreamFindings) -> list[str]:
    by_reason: dict[str, list[int]] = defaultdict(list)
    for update in sorted(stream.lost):
        by_reason[stream.lost[update]].append(update)
    said = [f"update {some(updates)}: {text}" for text, updates in list(by_reason.items())[:SHOWN]]
    if len(by_reason) > SHOWN:
        said.append(f"{len(by_reason) - SHOWN} further chunks likewise; --json lists all")
    if stream.unknown:
        said.append(f"{stream.unknown:,} entries of update stand for no record ({'; '.join(stream.notes)})")
    return said + stream.broken + stream.metadata[:SHOWN]


def lines(found: Findings) -> list[str]:
    """All that is said of one dump."""
    said = [f"{found.path}"]
    if found.held is not None:
        said.append(f"  in use by {found.held}; checked is what is listed at the moment")
    width = max((len(stream.key) for stream in found.streams), default=0)
    said += [stream_line(s, width) for s in found.streams if not (s.key.startswith("gaps/") and s.whole)]
    for text in (*found.problems, *found.metadata[:SHOWN]):
        said.append(f"  DAMAGED: {text}" if found.verdict != NO_DUMP else f"  {text}")
    if len(found.metadata) > SHOWN:
        said.append(f"  DAMAGED: {len(found.metadata) - SHOWN} further metadata likewise; --json lists all")
    said += [f"  note: {text}" for text in (*gap_notes(found), *found.notes)]
    for entry in found.attributes.get("pruned") or []:
        thinned = {key: s for key, s in entry["streams"].items() if s["kept"] < s["records"]}
        kept = ", ".join(f"{key} {s['kept']:,} of {s['records']:,} records" for key, s in thinned.items())
        said.append(f"  note: pruned to {kept or 'all of its records'}")
    if found.surplus_files:
        said.append(
            f"  note: {found.surplus_files:,} chunks ({readable(found.surplus_bytes)}) that nothing lists, as a killed run leaves them: harmless"
        )
    if found.leftovers:
        shown = ", ".join(found.leftovers[:SHOWN]) + (", ..." if len(found.leftovers) > SHOWN else "")
        said.append(f"  note: {len(found.leftovers):,} files or folders left by a killed process, harmless: {shown}")
    return said + [f"  {text}" for text in (f"{found.verdict}: {verdict(found)}", *found.advice)]


def gap_notes(found: Findings) -> list[str]:
    """What was left out while training went on, a line each sort of stream."""
    return [
        f"{name} of update {some(updates)} were left out while training went on (--record-when-behind gap): not lost, never recorded"
        for name, updates in found.gaps.items()
    ]


def verdict(found: Findings) -> str:
    """In one line what the verdict means."""
    if found.verdict == WHOLE:
        records = sum(len(s.updates) for s in found.streams if not s.key.startswith("gaps/"))
        return f"every listed record can be read ({records:,} records)"
    if found.verdict == NO_DUMP:
        return "give the folder dump.zarr of a recorded run, or the run's folder"
    parts = []
    if found.lost:
        where = [f"{len(s.lost) + s.unknown:,} of {s.key}" for s in found.streams if s.lost or s.unknown]
        parts.append(f"{found.lost:,} record{'s are' if found.lost > 1 else ' is'} lost ({', '.join(where)})")
    beyond = found.beyond_mending
    if beyond:
        parts.append(f"{len(beyond)} parts cannot be read at all")
    return "; ".join(parts) or "its metadata do not agree, every listed record can be read"


def advise(found: Findings) -> list[str]:
    """What to do about a damaged dump, a line each."""
    if found.verdict in (WHOLE, NO_DUMP):
        return []
    place = shlex.quote(str(found.path))
    if any("pruning was killed" in text for text in found.problems):
        return [f"to put it back: {COMMAND} prune {place} --in-place --drop-damaged"]
    anew = (
        "import it again with --overwrite"
        if isinstance(found.attributes.get("imported"), dict)
        else "train again with --record-overwrite and without the checkpoints"
    )
    if found.beyond_mending:
        return [f"to do: restore the dump from a copy, or {anew}; nothing else brings back what is gone"]
    said = []
    if found.lost:
        said.append(f"to record them again: {_again(found) or anew}")
    what = "the lost records and keep the rest" if found.lost else "nothing and write the metadata again"
    said.append(f"to drop {what}: {COMMAND} prune {place} --drop-damaged --in-place")
    return said


def _again(found: Findings) -> str | None:
    """How training goes on before the first lost record, if a checkpoint from there is left."""
    if any(stream.unknown for stream in found.streams):
        return None  # a training would not go on in it
    first = min(min(stream.lost) for stream in found.streams if stream.lost)
    for stream in found.streams:  # what was pruned would be written again in part
        until = pruned_until(found.attributes, stream.key)
        if until is not None and first <= until:
            return None
    checkpoints = [(u, file) for u, file in _checkpoints(found) if u < first]
    if not checkpoints:
        return None
    update, file = max(checkpoints)
    return (
        f"run the training's command again with --restore-file {shlex.quote(str(file))}; it goes on at update {update:,} and records what "
        "comes after once more"
    )


def _checkpoints(found: Findings) -> list[tuple[int, Path]]:
    """Checkpoints whose names tell their update, in the run's folder or where the run wrote them."""
    folders = [found.path.absolute().parent / "checkpoints"]
    configured = ((found.attributes.get("config") or {}).get("checkpoint") or {}).get("save_dir")
    if isinstance(configured, str):
        folders.append(Path(configured).absolute())
    known = {}
    for folder in folders:
        for file in folder.glob("checkpoint_*_*.pt") if folder.is_dir() else ():
            if match := re.fullmatch(r"checkpoint_\d+_(\d+)\.pt", file.name):
                known.setdefault(file, int(match[1]))
    return [(update, file) for file, update in known.items()]
