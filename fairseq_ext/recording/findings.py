"""What a check of a dump found, as data: of each stream, of the whole, and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .lock import Holder

WHOLE, DAMAGED, NO_DUMP = "whole", "damaged", "not a dump"


@dataclass
class StreamFindings:
    """Of one stream.

    Attributes:
        key: its place in the dump.
        updates: what its coordinate lists, in order, as far as it can be believed.
        bytes: of the chunk files that hold them.
        lost: update to what is wrong with its record.
        unknown: entries of the coordinate beyond ``updates`` that stand for no record.
        broken: what makes the stream unreadable as a whole.
        metadata: what is wrong with metadata that can be written again from what is there.
        notes: what is harmless.
    """

    key: str
    updates: list[int] = field(default_factory=list)
    bytes: int = 0
    lost: dict[int, str] = field(default_factory=dict)
    unknown: int = 0
    broken: list[str] = field(default_factory=list)
    metadata: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        return not (self.lost or self.unknown or self.broken or self.metadata)


@dataclass
class Findings:
    """Of one dump.

    Attributes:
        path: the dump's folder.
        verdict: ``whole``, ``damaged`` or ``not a dump``.
        held: who records into it at the moment.
        streams: in order.
        problems: what is wrong outside the streams and cannot be mended from what is there.
        metadata: what is wrong outside the streams with metadata that can be written again from what is there.
        notes: what is harmless.
        surplus_files, surplus_bytes: chunks that nothing lists.
        leftovers: files and folders that a killed process left, which the next run cleans up.
        attributes: the root's.
        advice: what to do, a line each.
    """

    path: Path
    verdict: str = WHOLE
    held: Holder | None = None
    streams: list[StreamFindings] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    metadata: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    surplus_files: int = 0
    surplus_bytes: int = 0
    leftovers: list[str] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)
    advice: list[str] = field(default_factory=list)

    @property
    def gaps(self) -> dict[str, list[int]]:
        """The updates of which records were left out while training went on, by what the streams are, where there are any."""
        return {s.key.removeprefix("gaps/"): s.updates for s in self.streams if s.key.startswith("gaps/") and s.updates}

    @property
    def lost(self) -> int:
        """Records that are listed and cannot be read."""
        return sum(len(stream.lost) + stream.unknown for stream in self.streams)

    @property
    def beyond_mending(self) -> list[str]:
        """What neither dropping records nor writing metadata again puts right."""
        return self.problems + [f"{stream.key}: {text}" for stream in self.streams for text in stream.broken]

    def judge(self) -> None:
        """Set the verdict."""
        if self.verdict != NO_DUMP:
            clean = not (self.problems or self.metadata) and all(stream.whole for stream in self.streams)
            self.verdict = WHOLE if clean else DAMAGED

    def json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "path": str(self.path),
            "verdict": self.verdict,
            "held_by": None if self.held is None else asdict(self.held),
            "streams": [
                {
                    "stream": s.key,
                    "whole": s.whole,
                    "records": len(s.updates) + s.unknown,
                    "bytes": s.bytes,
                    "first_update": s.updates[0] if s.updates else None,
                    "last_update": s.updates[-1] if s.updates else None,
                    "lost": [{"update": u, "reason": s.lost[u]} for u in sorted(s.lost)],
                    "unknown_records": s.unknown,
                    "broken": s.broken,
                    "metadata": s.metadata,
                    "notes": s.notes,
                }
                for s in self.streams
            ],
            "problems": self.problems,
            "metadata": self.metadata,
            "notes": self.notes,
            "surplus": {"files": self.surplus_files, "bytes": self.surplus_bytes},
            "leftovers": self.leftovers,
            "gaps": {
                name: {"updates": len(updates), "first": updates[0], "last": updates[-1]}
                for name, updates in self.gaps.items()
            },
            "pruned": self.attributes.get("pruned"),
            "advice": self.advice,
        }
