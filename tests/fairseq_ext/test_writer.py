"""The writing thread: order, bounds, errors, end."""

from __future__ import annotations

import threading

import pytest

from fairseq_ext.errors import UserError
from fairseq_ext.recording.writer import AsyncWriter


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


def test_a_full_disk_is_said_plainly() -> None:
    writer = AsyncWriter(1)

    def fail() -> None:
        raise OSError(28, "No space left on device")

    writer.submit(fail)
    with pytest.raises(UserError, match=r"\(the disk is full\)"):
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
