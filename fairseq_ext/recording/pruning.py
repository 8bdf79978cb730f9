"""Thinning a dump by schedules: which records stay, whether there is room, and the new dump in its place or in another (docs/dump-format.md)."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import failpoints
from ..errors import UserError
from . import contents, replacing
from .dump_check import check_dump
from .findings import NO_DUMP, WHOLE, Findings
from .lock import DumpLock
from .rewriting import StreamPlan, needed_bytes, write_pruned
from .schedule import Schedule
from .space import readable
from .telling import COMMAND, some, verdict
from .window_stream import window_bases


@dataclass(frozen=True)
class Request:
    """What to do.

    Attributes:
        dump: the dump's folder, or the run's around it.
        schedules: by sort of stream (``snapshots``, ``windows``, ``traces``, ``statistics``, ``cause``, ``moments``, ``state``,
            ``exposure``); a sort that is left out stays as it is.
        out: the new dump's place; ``None``: that of the old one, which is replaced.
        strict: keep what the schedules name and nothing else; otherwise a stream's first and last record stay as well.
        drop_damaged: leave out records that cannot be read, instead of refusing.
        dry_run: only say what would be done.
    """

    dump: Path
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    out: Path | None = None
    strict: bool = False
    drop_damaged: bool = False
    dry_run: bool = False


def prune(request: Request) -> list[str]:
    """Prune a dump; returns what was done, a line each.

    Raises:
        UserError: no dump, a damaged one, one that a run records into, or no room.
    """
    dump = Path(os.path.realpath(contents.dump_folder(request.dump)))
    target = dump if request.out is None else Path(os.path.realpath(request.out))
    if target != dump and target.is_relative_to(dump):
        raise UserError(f"--out: expected a place outside of {dump}, found {target}; give another one")
    _require_free(request)
    if request.dry_run:
        _require_in_place(dump)
        return _plan_lines(dump, *_plan(dump, request), request)
    try:
        with DumpLock(target, "pruning", "give another --out" if request.out else "give --out NEW_DUMP"):
            _require_free(request)
            done = replacing.recover(target)
            said = [f"note: {done}"] if done else []
            return said + _prune(dump, target, request)
    except OSError as error:
        if error.errno == errno.ENOSPC or "No space left" in str(error):
            raise UserError(
                f"the pruned dump cannot be written beside {target}: the disk is full; {dump} is unchanged; make room, or give another --out"
            ) from error
        raise UserError(
            f"{error.filename or target}: {error.strerror or error}; {dump} is as it was unless a message said otherwise"
        ) from error


def _require_free(request: Request) -> None:
    if request.out is not None and (request.out.exists() or request.out.is_symlink()):
        raise UserError(
            f"--out: expected nothing at {request.out}, found {'a file' if request.out.is_file() else 'a folder'}; "
            "give another place, or --in-place to replace the dump that is pruned"
        )


def _require_in_place(dump: Path) -> None:
    if replacing.interrupted(dump):
        raise UserError(
            f"{dump} is not in its place: a pruning was killed between two renames; "
            f"run {COMMAND} prune {dump} --in-place --drop-damaged to put it back"
        )


def _prune(dump: Path, target: Path, request: Request) -> list[str]:
    """Prune under the lock of ``target``."""
    _require_in_place(dump)
    found, plans = _plan(dump, request)
    mends = bool(found.metadata) or any(stream.metadata for stream in found.streams)
    if target == dump and not mends and all(plan.dropped == 0 for plan in plans):
        return [f"{dump}: nothing to prune, every record is to be kept; it is as it was"]
    staged = replacing.staged(target)
    linked = target == dump and _links(dump, staged)
    _require_room(plans, dump, target, linked)
    try:
        entry = _entry(request, plans)
        write_pruned(dump, staged, plans, found.attributes, entry, linked)
        failpoints.reach("prune-written")
        _require_whole(staged, dump, plans)
    except BaseException as error:
        shutil.rmtree(staged, ignore_errors=True)
        if isinstance(error, ValueError):  # tensorstore's own errors
            full = any(word in str(error) for word in ("No space left", "ENOSPC", "RESOURCE_EXHAUSTED"))
            raise OSError(errno.ENOSPC if full else errno.EIO, " ".join(str(error).split())[:300]) from error
        raise
    replacing.replace(target)
    return [*_plan_lines(dump, found, plans, request), f"{target}: written, checked, whole"]


def _plan(dump: Path, request: Request) -> tuple[Findings, list[StreamPlan]]:
    """Check the records that are to be kept, and decide which those are.

    Raises:
        UserError: there is no dump, or what is to be kept is damaged.
    """
    wanted: dict[str, set[int]] = {}
    bases: dict[str, dict[int, int]] = {}
    quick = check_dump(dump, wanted)  # coordinates and metadata, no values
    if quick.verdict == NO_DUMP:
        raise UserError(f"{dump}: {'; '.join(quick.problems)}; {verdict(quick)}")
    if quick.beyond_mending:
        raise UserError(
            f"{dump} is damaged beyond pruning: {'; '.join(quick.beyond_mending[:3])}; run {COMMAND} check {dump} for all of it and for what to do"
        )
    for stream in quick.streams:
        bases[stream.key] = window_bases(dump, stream.key, stream.updates)
        wanted[stream.key] = set(_kept(stream.updates, request, stream.key, bases[stream.key]))
        if request.drop_damaged and not request.strict:
            wanted[stream.key] |= set(stream.updates)  # the first or last whole record may turn out to be any
    found = check_dump(dump, wanted)
    plans = []
    for stream in found.streams:
        lost = [u for u in stream.lost if u in wanted[stream.key]]
        if (lost or stream.unknown) and not request.drop_damaged:
            what = (
                f"update {some(sorted(lost))}: {stream.lost[min(lost)]}"
                if lost
                else "its update lists what is not there"
            )
            raise UserError(
                f"{dump} is damaged ({stream.key}, {what}); add --drop-damaged to leave such records out, or run {COMMAND} check {dump} "
                "for what would record them again"
            )
        whole = [u for u in stream.updates if u not in stream.lost]
        kept = _kept(whole, request, stream.key, bases[stream.key])
        place = {u: i for i, u in enumerate(stream.updates)}
        damaged = len(stream.lost) + stream.unknown
        plans.append(
            StreamPlan(
                stream.key,
                [(place[u], u) for u in kept],
                len(stream.updates) + stream.unknown,
                damaged,
                stream.updates[-1] if stream.updates else -1,
                stream.bytes,
            )
        )
    if not any(plan.kept for plan in plans if contents.sort_of(plan.key) != "gaps"):
        raise UserError(f"{dump}: no record would be kept; give wider schedules, or leave --strict out")
    return found, plans


def _kept(updates: list[int], request: Request, key: str, bases: dict[int, int]) -> list[int]:
    """Which of a stream's updates stay; an encoded snapshot with those that it builds on, from its keyframe (``bases``) on."""
    schedule = request.schedules.get(contents.sort_of(key))
    if schedule is None:
        return list(updates)
    ends = set() if request.strict else {*updates[:1], *updates[-1:]}
    chosen = {u for u in updates if u in schedule or u in ends}
    if not bases:
        return [u for u in updates if u in chosen]
    kept: set[int] = set()
    needed = -1
    for update in reversed(updates):
        if update in chosen:
            needed = bases[update] if needed < 0 else min(needed, bases[update])
        if 0 <= needed <= update:
            kept.add(update)
        if update == needed:
            needed = -1
    return sorted(kept)


def _plan_lines(dump: Path, found: Findings, plans: list[StreamPlan], request: Request) -> list[str]:
    would = "would keep" if request.dry_run else "kept"
    said = [f"{dump}"]
    told = [plan for plan in plans if contents.sort_of(plan.key) != "gaps"]  # these stay as they are
    width = max(len(plan.key) for plan in told)
    for plan in told:
        lost = f", {plan.damaged:,} that cannot be read left out" if plan.damaged and request.drop_damaged else ""
        share = plan.bytes * len(plan.kept) / max(1, plan.records)
        said.append(
            f"  {plan.key:<{width}}  {would} {len(plan.kept):,} of {plan.records:,} records, about {readable(share)} of {readable(plan.bytes)}{lost}"
        )
    if found.held is not None and request.dry_run:
        said.append(f"  in use by {found.held}: --in-place would be refused until it ends")
    return said


def _entry(request: Request, plans: list[StreamPlan]) -> dict[str, Any]:
    """What the root's attribute ``pruned`` says of this pruning."""
    return {
        "schedules": {sort: schedule.text for sort, schedule in request.schedules.items()},
        "strict": request.strict,
        "drop_damaged": request.drop_damaged,
        "streams": {
            plan.key: {
                "records": plan.records,
                "kept": len(plan.kept),
                "damaged": plan.damaged if request.drop_damaged else 0,
                "last_update": plan.last_update,
            }
            for plan in plans
        },
    }


def _links(dump: Path, staged: Path) -> bool:
    """Whether the file system gives a file a second name, so that a pruning in place need not copy what it keeps."""
    staged.mkdir(parents=True)
    probe = staged / contents.METADATA
    try:
        probe.hardlink_to(dump / contents.METADATA)
        probe.unlink()
        return True
    except OSError:
        return False


def _require_room(plans: list[StreamPlan], dump: Path, target: Path, linked: bool) -> None:
    """Check the free space where the new dump will be.

    Raises:
        UserError: there is less than it takes.
    """
    needed = needed_bytes(dump, plans, linked)
    parent = target.parent
    while not parent.exists():
        parent = parent.parent
    free = shutil.disk_usage(parent).free
    if needed > free:
        shutil.rmtree(replacing.staged(target), ignore_errors=True)
        raise UserError(
            f"the pruned dump will take {readable(needed)}, but {parent} has only {readable(free)} free; keep fewer records, make room, or give "
            "an --out on another disk"
        )


def _require_whole(staged: Path, dump: Path, plans: list[StreamPlan]) -> None:
    """Check the new dump before it takes its place.

    Raises:
        UserError: it is not whole, or lists other records than it should.
    """
    found = check_dump(staged)
    listed = {stream.key: stream.updates for stream in found.streams}
    if found.verdict != WHOLE or listed != {p.key: [u for _, u in p.kept] for p in plans if p.kept}:
        raise UserError(
            f"the pruned dump was not written as it should be ({verdict(found)}); {dump} is unchanged; check the disk, and prune again"
        )
