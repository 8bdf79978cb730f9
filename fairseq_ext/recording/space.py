"""How much a recording will take, and whether the disk has it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from .causes import GROUPED, ROWWISE, SCALARS, VECTORS
from .config import Streams
from .windows import LOSSLESS, LOSSY

# Of a snapshot, where updates follow one another; more than measured (docs/results/recording.md), for early updates take more.
ENCODED = {LOSSLESS: 0.65, LOSSY: 0.09}

STREAMS = ("snapshots", "windows", "traces", "statistics", "exposure", "cause", "moments", "trace_state")
OPTIONAL = ("windows", "cause", "moments", "trace_state")  # named where they are recorded


@dataclass(frozen=True)
class Estimate:
    """Bytes that each stream will take until the last update; ``last`` is ``None`` where the run's length is unknown."""

    last: int | None
    snapshots: int
    traces: int
    statistics: int
    exposure: int = 0
    windows: int = 0
    cause: int = 0
    moments: int = 0
    trace_state: int = 0

    @property
    def total(self) -> int:
        return sum(getattr(self, name) for name in STREAMS)

    def __str__(self) -> str:
        parts = ", ".join(
            f"{name.replace('_', ' ')} {readable(getattr(self, name))}"
            for name in STREAMS
            if name not in OPTIONAL or getattr(self, name)
        )
        if self.last is None:
            return "the run has no --max-update, so its length is unknown; for each 1,000 updates " + parts
        return f"{readable(self.total)} until update {self.last:,} ({parts})"


def readable(size: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def estimate(
    streams: Streams,
    tables: list[tuple[int, int, int, int]],
    first: int,
    last: int | None,
    counters: int = 0,
    encoding: str = LOSSLESS,
) -> Estimate:
    """Estimate the space of a recording.

    Args:
        tables: for each table its rows, dimension, traced rows and groups.
        first: the first update to be recorded.
        last: the run's last update, or ``None``.
        counters: of exposure, at each of its records.
        encoding: of windows.
    """
    end = first + 1000 if last is None else last
    snapshots = windows = traces = statistics = cause = moments = state = 0
    number_of_windows = streams.windows.count(end, first)
    number_of_snapshots = streams.snapshots.count(end, first)
    number_of_traces = streams.traces.count(end, first)
    number_of_statistics = (streams.statistics | streams.movement | streams.snapshots).count(end, first)
    for rows, dim, traced, groups in tables:
        snapshots += number_of_snapshots * rows * dim * 4
        windows += round(ENCODED[encoding] * number_of_windows * rows * dim * 4)
        traces += number_of_traces * traced * dim * 4
        statistics += number_of_statistics * (11 + 7 * groups) * 8
        record = len(VECTORS) * dim * 4 + (len(SCALARS) + len(GROUPED) * groups) * 8
        cause += streams.cause.count(end, first) * record
        moments += streams.moments.count(end, first) * len(ROWWISE) * rows * 4
        state += streams.trace_state.count(end, first) * 2 * traced * dim * 4
    exposure = streams.exposure.count(end, first) * counters * 4
    return Estimate(last, snapshots, traces, statistics, exposure, windows, cause, moments, state)


def require_space(needed: Estimate, folder: Path) -> None:
    """Check the estimate against the free space where ``folder`` will be.

    Raises:
        UserError: the disk has less.
    """
    parent = folder.absolute()
    while not parent.exists():
        parent = parent.parent
    free = shutil.disk_usage(parent).free
    if needed.last is not None and needed.total > free:
        raise UserError(
            f"the recording will take {needed}, but {parent} has only {readable(free)} free; "
            "record less (--record-snapshots, --record-traces), or choose another --record-dir"
        )
