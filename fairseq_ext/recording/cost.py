"""What recording costs a run: in fairseq's progress log at every update, and in one line at its end."""

from __future__ import annotations

from fairseq.logging import metrics

from .gaps import Gaps
from .space import readable
from .store import Store
from .writer import AsyncWriter


def show(writer: AsyncWriter, target: Store, gaps: Gaps) -> None:
    """Give the figures so far to fairseq's log. All are numbers of the host."""
    cost = writer.cost()
    _log("record_stall", writer.stalled, 1700, 2)
    _log("record_waiting", cost.mean, 1710, 2)
    _log("record_waiting_max", cost.most, 1720, 0)
    _log("record_mb", target.written / 1e6, 1730, 1)
    _log("record_busy", cost.busy, 1740, 2)
    _log("record_left_out", sum(gaps.left_out.values()), 1750, 0)


def _log(name: str, value: float, priority: int, digits: int) -> None:
    metrics.log_scalar(name, value, weight=0, priority=priority, round=digits)


def summary(writer: AsyncWriter, target: Store, gaps: Gaps) -> str:
    """The figures of the whole run."""
    cost = writer.cost()
    return (
        f"recording cost: training waited {cost.stalled:.2f} s for room in the queue and {cost.drained:.2f} s for the writing at checkpoints "
        f"and at the end; the writer was busy for {cost.busy:.2f} s of {cost.seconds:.2f} s and wrote {readable(target.written)}; "
        f"large records waiting: {cost.mean:.2f} in the mean, {cost.most} at most; {gaps}"
    )
