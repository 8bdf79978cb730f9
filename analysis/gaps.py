"""Gaps of a dump: updates whose records were left out while training went on, because the writer was behind (docs/dump-format.md)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams import Node

MAY_GAP = ("snapshots", "traces", "windows")


def read_gaps(root: Node, stream: str) -> NDArray[np.int64]:
    """The updates of a stream that were due and left out, int64 (n,), ascending; of every table alike.

    Raises DumpError: no stream that may have gaps, or the list is damaged.
    """
    if stream not in MAY_GAP:
        raise root.error(f"no gaps of {stream!r}: only {', '.join(MAY_GAP)} may have gaps, all else is always recorded")
    if "gaps" not in root or stream not in (gaps := root.child("gaps")):
        return np.zeros(0, np.int64)
    return gaps.child(stream).updates()


def gap_note(root: Node) -> str | None:
    """One sentence on all that was left out; None where nothing was. Raises DumpError: a list is damaged."""
    found = {stream: updates for stream in MAY_GAP if len(updates := read_gaps(root, stream))}
    if not found:
        return None
    parts = [
        f"{len(updates):,} {stream} (updates {updates[0]:,} to {updates[-1]:,})" for stream, updates in found.items()
    ]
    return f"{' and '.join(parts)} were left out while training went on, because the writer was behind"
