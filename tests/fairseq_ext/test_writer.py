"""The writing thread: order, bounds, errors, end."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable

import pytest

from fairseq_ext.errors import UserError
from fairseq_ext.recording.writer import SMALL_BYTES, SMALLEST, AsyncWriter, _Queued


def test_jobs_run_in_order_and_elsewhere() -> None:
    writer, done = AsyncWriter(3), []
    for number in range(50):
        writer.submit(lambda number=number: done.append((number, threading.get_ident())))
    writer.drain()
    assert [number for number, _ in done] == list(range(50))
    assert {thread for _, thread in done}.isdisjoint({threading.get_ident()})
    writer.close()


def test_submit_waits_when_the_queue_is_full_and_says_how_long() -> None:
    writer, running, free = AsyncWriter(2), threading.Event(), threading.Event()

    def block() -> None:
        running.set()
        free.wait(30)

    writer.submit(block)
    assert running.wait(30)
    assert writer.submit(lambda: None) == 0.0
    assert writer.submit(lambda: None) == 0.0
    waited: list[float] = []
    late = threading.Thread(target=lambda: waited.append(writer.submit(lambda: None)))
    late.start()
    late.join(0.2)
    assert late.is_alive()  # one job runs, two wait, the third does not fit
    free.set()
    late.join(30)
    assert waited[0] > 0
    assert writer.stalled == pytest.approx(waited[0])
    writer.close()


def test_an_error_is_one_line_at_the_next_submit_or_drain_and_stops_later_jobs() -> None:
    writer, done = AsyncWriter(2), []

    def fail() -> None:
        raise ValueError("first\nsecond")

    writer.submit(fail)
    with pytest.raises(
        UserError, match=r"a record could not be written \(first second\).*run the same command again"
    ) as caught:
        writer.drain()
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="first second"):
        writer.submit(lambda: done.append(1))
    with pytest.raises(UserError, match="first second"):
        writer.drain()
    writer.close()
    assert done == []


@pytest.mark.parametrize(
    ("error", "plain"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "the disk is full"),
        (OSError(errno.EROFS, os.strerror(errno.EROFS)), "the file system is read-only"),
        (OSError(errno.EIO, os.strerror(errno.EIO)), "the disk reports an input/output error"),
        (ValueError("UNKNOWN: Failed to fsync file: Input/output error"), "the disk reports an input/output error"),
    ],
)
def test_what_a_disk_refuses_is_said_plainly(error: Exception, plain: str) -> None:
    writer = AsyncWriter(1)

    def fail() -> None:
        raise error

    writer.submit(fail)
    with pytest.raises(UserError, match=rf"\({plain}\)"):
        writer.drain()
    writer.close()


def test_many_submits_after_an_error_do_not_block() -> None:
    writer = AsyncWriter(1)
    writer.submit(lambda: 1 / 0)
    for _ in range(10):
        try:
            writer.submit(lambda: None)
        except UserError:
            break
    else:
        with pytest.raises(UserError):
            writer.drain()
    writer.close()


def test_close_finishes_every_job_and_can_be_called_again() -> None:
    writer, done, free = AsyncWriter(5), [], threading.Event()
    writer.submit(lambda: free.wait(30))
    for number in range(4):
        writer.submit(lambda number=number: done.append(number))
    free.set()
    writer.close()
    assert done == [0, 1, 2, 3]
    writer.close()


def test_close_does_not_raise() -> None:
    writer = AsyncWriter(1)
    writer.submit(lambda: 1 / 0)
    writer.close()


class Gate:
    """A job that runs until it is let go."""

    def __init__(self) -> None:
        self.runs, self._free = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.runs.set()
        assert self._free.wait(30)

    def open(self) -> None:
        self._free.set()


def ends(action: Callable[[], object]) -> BaseException | None:
    """What an action raises in a thread of its own; fails if it does not end."""
    raised: list[BaseException | None] = []

    def run() -> None:
        try:
            action()
            raised.append(None)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "waits for ever"
    return raised[0]


@pytest.mark.parametrize("error", [MemoryError(), SystemExit(3), KeyboardInterrupt(), UserError("said plainly")])
def test_whatever_a_job_raises_ends_every_wait_with_one_line(error: BaseException) -> None:
    """Calls that wait at the moment of the failure, and those that come later."""
    writer, gate, done = AsyncWriter(1), Gate(), []

    def fail() -> None:
        gate()
        raise error

    writer.submit(fail)
    assert gate.runs.wait(30)
    writer.submit(lambda: done.append(1))
    waiting: list[BaseException | None] = []
    calls = (writer.wait_for_room, writer.drain)
    threads = [threading.Thread(target=lambda call=call: waiting.append(ends(call))) for call in calls]
    for thread in threads:
        thread.start()
    gate.open()
    for thread in threads:
        thread.join(30)
    later = [writer.check, writer.drain, writer.wait_for_room]
    later += [lambda: writer.submit(lambda: None), lambda: writer.submit_small(lambda: None)]
    found = [*waiting, *map(ends, later)]
    assert len(found) == 7
    expected = "said plainly" if isinstance(error, UserError) else type(error).__name__
    for raised in found:
        assert isinstance(raised, UserError)
        assert f"could not be written ({expected}" in str(raised)
    assert done == []
    assert ends(writer.close) is None


def test_a_thread_that_is_gone_is_an_error_and_not_an_endless_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a fork, or if the interpreter were to end it: no handler of its own has run."""
    monkeypatch.setattr(AsyncWriter, "_run", lambda self: None)
    writer = AsyncWriter(1)
    writer._thread.join(30)
    writer._jobs.extend([_Queued(lambda: None, None), _Queued(lambda: None, 1 << 40)])
    calls = [writer.check, writer.drain, writer.wait_for_room]
    calls += [lambda: writer.submit(lambda: None), lambda: writer.submit_small(lambda: None)]
    for call in calls:
        raised = ends(call)
        assert isinstance(raised, UserError)
        assert "the writing thread is gone" in str(raised)
    assert ends(writer.close) is None


def test_small_jobs_do_not_wait_for_large_ones_but_for_their_own_bound() -> None:
    writer, gate, done = AsyncWriter(2), Gate(), []
    writer.submit(gate)
    assert gate.runs.wait(30)
    writer.submit(lambda: done.append(0))
    fit = SMALL_BYTES // SMALLEST
    for number in range(1, fit + 1):
        assert writer.submit_small(lambda number=number: done.append(number)) == 0.0
    assert writer.has_room()  # nor do they take its place
    assert writer.cost().most == 1
    late = threading.Thread(target=lambda: writer.submit_small(lambda: done.append(fit + 1)))
    late.start()
    late.join(0.2)
    assert late.is_alive()
    gate.open()
    late.join(30)
    writer.drain()
    assert done == list(range(fit + 2))  # in the order of their submission, large or small
    assert ends(lambda: writer.submit_small(lambda: None, 10 * SMALL_BYTES)) is None  # larger than the bound: alone
    writer.close()


def test_there_is_room_while_fewer_wait_than_the_queue_holds() -> None:
    writer, gate = AsyncWriter(2), Gate()
    writer.submit(gate)
    assert gate.runs.wait(30)
    assert writer.has_room()  # what runs takes no place
    writer.submit(lambda: None)
    assert writer.has_room()
    for _ in range(3):
        assert writer.submit(lambda: None, wait=False) == 0.0  # beyond the queue
        assert not writer.has_room()
    gate.open()
    writer.drain()
    assert writer.has_room()
    writer.close()


def test_the_cost_is_that_of_an_independent_count() -> None:
    """Waits and runs of known order; times are only bounded, for the machine's are its own."""
    writer, gate = AsyncWriter(2), Gate()
    begin = time.perf_counter()
    writer.submit(gate)
    assert gate.runs.wait(30)
    writer.submit(lambda: None)
    writer.submit(lambda: None)
    full = time.perf_counter()
    late = threading.Thread(target=lambda: writer.submit(lambda: None))
    late.start()
    late.join(0.3)
    held = time.perf_counter() - full
    gate.open()
    late.join(30)
    writer.drain()
    cost, whole = writer.cost(), time.perf_counter() - begin
    assert cost.most == 2
    assert 0.1 < cost.stalled <= whole
    assert held <= cost.busy <= whole
    assert 2 * held / whole * 0.9 <= cost.mean <= 2
    assert cost.seconds == pytest.approx(whole, rel=0.2, abs=0.1)
    assert writer.stalled == cost.stalled + cost.drained
    writer.close()
