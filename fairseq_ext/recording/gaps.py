"""Gaps: updates whose large records are left out, because the writer is behind and training is not to wait for it (docs/dump-format.md).

``gaps/<stream>`` in the dump lists them, as a stream without values: the coordinate ``update`` alone. It is committed with all others, so
no checkpoint exists whose updates are neither recorded nor listed there, and it is cut with them when training resumes.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from . import store
from .writer import AsyncWriter

logger = logging.getLogger(__name__)

MAY_GAP = ("snapshots", "traces", "windows")  # streams of large records; statistics and exposure are never left out
GROUP = "gaps"
TOLD = 10  # gaps that are told one by one; of later ones every second, fourth, eighth ...


class Gaps:
    """What a run leaves out, and the streams of the dump that list it.

    Args:
        target: the dump.
        streams: names of the large streams that the run records.
        wanted: whether records may be left out; otherwise only what an earlier run left out is known.
        last: the update after which gaps are forgotten, because training goes on from there.
    """

    def __init__(self, target: store.Store, streams: Sequence[str], wanted: bool, last: int) -> None:
        self.wanted = wanted
        if wanted:
            add_streams(target, streams)
        self.streams = {
            name: store.Stream(target, f"{GROUP}/{name}", store.STATISTICS_CHUNK)
            for name in MAY_GAP
            if f"{GROUP}/{name}" in target.root["consolidated_metadata"]["metadata"]
        }
        self.dropped = sum(stream.cut(last) for stream in self.streams.values())
        self.left_out: Counter[str] = Counter()
        self.begun = 0
        self.first = self.last = -1
        self._open = False

    def listed(self, stream: str) -> list[int]:
        """The updates at which records of a stream were left out."""
        return self.streams[stream].updates if stream in self.streams else []

    def leaves_out(self, writer: AsyncWriter, update: int, due: Sequence[str]) -> bool:
        """Decide whether an update's large records are left out: all of them or none. If so, that is listed.

        One free place is enough for all of an update, beyond the queue if need be: else the rare updates with many records would lose to the
        many with few.

        Args:
            writer: of the records.
            update: the update; the first of a recording must not be asked for.
            due: the stream of each large record of this update.

        Raises:
            UserError: the writer has failed.
        """
        if not (self.wanted and due):
            return False
        if writer.has_room():
            self._open = False
            return False
        if not self._open:
            self._open = True
            self._tell(update, due)
        for name in dict.fromkeys(due):
            self.left_out[name] += due.count(name)
            writer.submit_small(lambda stream=self.streams[name]: stream.append(update, {}))
        self.first = update if self.first < 0 else self.first
        self.last = update
        return True

    def _tell(self, update: int, due: Sequence[str]) -> None:
        self.begun += 1
        if self.begun > TOLD and self.begun & (self.begun - 1):
            return
        again = f"; gap {self.begun:,} of this run" if self.begun > 1 else ""
        fewer = ", further ones are told more rarely" if self.begun == TOLD else ""
        logger.warning(
            f"the writer is behind: from update {update:,} on {', '.join(dict.fromkeys(due))} are left out until it has caught up "
            f"(--record-when-behind gap){again}{fewer}"
        )

    def commit(self) -> None:
        """Write down what was left out; in the writer's thread."""
        for stream in self.streams.values():
            stream.commit()

    def __str__(self) -> str:
        """What was left out, for the end of the log."""
        if not self.left_out:
            return "no records left out"
        parts = ", ".join(f"{count:,} {name}" for name, count in self.left_out.items())
        return (
            f"{parts} left out in {self.begun:,} gap{'s' * (self.begun > 1)} (updates {self.first:,} to {self.last:,})"
        )


def add_streams(target: store.Store, streams: Sequence[str]) -> None:
    """Add the streams of gaps to a dump, as far as it lacks them. One without consolidated metadata gets them by its creator."""
    consolidated = target.root.get("consolidated_metadata", {}).get("metadata", {})
    lacking = [name for name in MAY_GAP if name in streams and f"{GROUP}/{name}" not in consolidated]
    if not lacking:
        return
    target.write_json(f"{GROUP}/zarr.json", store.group_metadata())
    for name in lacking:
        store.Stream.create(target, f"{GROUP}/{name}", {}, {})
    if "consolidated_metadata" in target.root:
        for place in (GROUP, *(f"{GROUP}/{name}{end}" for name in lacking for end in ("", "/update"))):
            metadata = target.read_json(f"{place}/zarr.json") or {}
            consolidated[place] = {k: v for k, v in metadata.items() if k != "consolidated_metadata"}
        target.write_root()
