"""Whether a training may go on in a dump that is there: same run, same checkpoint, nothing missing (but what was pruned)."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from . import store

ANEW = "use --record-overwrite to delete it and start anew, or choose another --record-dir"


def require_dump(path: Path | str, attributes: dict[str, Any]) -> None:
    """Check that root attributes are those of a dump of this format version.

    Raises:
        UserError: they are not.
    """
    if attributes.get("format") != store.FORMAT:
        raise UserError(f"expected a dump of this project at {path}; found something else; choose another --record-dir")
    if attributes.get("format_version") != store.FORMAT_VERSION:
        raise UserError(
            f"the dump at {path} has format version {attributes.get('format_version')}, this program writes {store.FORMAT_VERSION}; {ANEW}"
        )


def require_same_run(
    path: Path | str,
    attributes: dict[str, Any],
    identity: dict[str, Any],
    identity_hash: str,
    checkpoint_identity: str | None,
    update: int,
) -> int:
    """Check that a dump was recorded by the run that goes on at ``update``; returns the dump's first update.

    Args:
        path: the dump's place, for the messages.
        attributes: the dump's root attributes.
        identity: what a run must share with the dump, with its hash.
        checkpoint_identity: the hash that the resumed checkpoint holds, if any.
        update: of the checkpoint, 0 without one.

    Raises:
        UserError: another run's dump or checkpoint, or the checkpoint is missing or older than the dump.
    """
    recorded = attributes.get("recording", {})
    if recorded.get("identity") != identity_hash:
        theirs = recorded.get("must_match", {})
        differ = [k for k in identity if theirs.get(k) != json.loads(json.dumps(identity[k]))]
        raise UserError(
            f"the dump at {path} belongs to another run: {' and '.join(differ) or 'its identity'} differ(s); {ANEW}"
        )
    covered = int(attributes.get("progress", {}).get("checkpoint_update", 0))
    first = int(attributes.get("progress", {}).get("first_update", 0))
    if update < covered and update == 0:
        raise UserError(
            f"the dump at {path} covers a checkpoint at update {covered}, but training starts at update 0 (no checkpoint was found); "
            f"bring the checkpoint back, or {ANEW}"
        )
    if checkpoint_identity not in (None, identity_hash):
        raise UserError(f"the checkpoint was written by another recorded run than the dump at {path}; {ANEW}")
    if update < first:
        raise UserError(f"the dump at {path} begins at update {first}, training at update {update}; {ANEW}")
    return first


def pruned_until(attributes: dict[str, Any], key: str) -> int | None:
    """The last update that a stream listed when it was pruned, or ``None``. Up to it, what is not listed was dropped and is not missing."""
    for entry in reversed(attributes.get("pruned") or []):
        if key in entry["streams"]:
            return int(entry["streams"][key]["last_update"])
    return None


def require_every_update(
    path: Path | str,
    attributes: dict[str, Any],
    key: str,
    found: Sequence[int],
    scheduled: Callable[[int], bool],
    first: int,
    update: int,
    gaps: Collection[int] = (),
) -> None:
    """Check that a stream lists exactly the updates that its schedule names, but for gaps. Up to where it was pruned it may list fewer.

    Args:
        path: the dump's place, for the messages.
        attributes: the dump's root attributes.
        key: the stream's place in the dump.
        found: what it lists, none of it after ``update``.
        scheduled: whether the run records this stream at an update.
        first: the first update that it should list.
        update: the last; before ``first``: it should list nothing.
        gaps: updates whose records were left out while training went on.

    Raises:
        UserError: updates are missing, or others are there.
    """
    expected = {u for u in range(first, update + 1) if scheduled(u)}
    until = pruned_until(attributes, key)
    if until is not None:
        expected -= {u for u in expected.difference(found) if u <= until}
    expected -= set(gaps).difference(found)
    if list(found) != sorted(expected):
        absent = sorted(expected.difference(found))
        raise UserError(
            f"the dump at {path} lacks updates that the checkpoint at update {update} covers "
            f"({key}: {len(absent)} missing, first {absent[:1]}); restore the dump, or {ANEW}"
        )


def require_stream(path: Path | str, attributes: dict[str, Any], key: str, there: bool) -> None:
    """Check that a stream that the run records was not left out when the dump was pruned; ``there``: whether its group is.

    Raises:
        UserError: it was.
    """
    if pruned_until(attributes, key) is not None and not there:
        raise UserError(
            f"training cannot go on in the dump at {path}: {key} was left out when it was pruned; restore the dump as it was before, or {ANEW}"
        )


def require_initial(path: Path | str, updates: Sequence[int]) -> None:
    """Check that the first snapshot is that of update 0, from which drift is measured.

    Raises:
        UserError: it was pruned.
    """
    if not updates or updates[0] != 0:
        raise UserError(
            f"training cannot go on in the dump at {path}: its snapshot of update 0, from which drift is measured, was pruned; "
            f"restore the dump as it was before, or {ANEW}"
        )
