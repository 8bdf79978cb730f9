"""A thread that writes records while training goes on, behind a bounded queue."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import UserError

Job = Callable[[], Any]
SMALL_BYTES = 64 << 20  # of small jobs that may wait
SMALLEST = 64 << 10  # that a small job counts at least: no more than 1,024 of them wait
POLL = 1.0  # seconds between looks at whether the thread still lives, while training waits for it


@dataclass(frozen=True)
class _Queued:
    """A job that waits; ``size`` in bytes of a small one, ``None`` of a large one, which takes a place of the queue."""

    run: Job
    size: int | None


@dataclass(frozen=True)
class WriterCost:
    """What the writer has cost so far.

    Attributes:
        stalled: seconds that :meth:`AsyncWriter.submit`, :meth:`AsyncWriter.submit_small` and :meth:`AsyncWriter.wait_for_room` waited.
        drained: seconds that :meth:`AsyncWriter.drain` waited.
        busy: seconds that jobs ran.
        seconds: since the writer was made.
        most: large jobs that waited at once, at most; the one that runs is not counted.
        mean: large jobs that waited, the mean over time.
    """

    stalled: float
    drained: float
    busy: float
    seconds: float
    most: int
    mean: float


def refusal(error: BaseException) -> str | None:
    """Why a file system refuses to write, in plain words; ``None`` if the error, Python's or tensorstore's, is of another kind."""
    text = str(error)
    known = {
        "the disk is full": ("No space left", "ENOSPC", "RESOURCE_EXHAUSTED"),
        "the file system is read-only": ("Read-only file system", "EROFS"),
        "the disk reports an input/output error": ("Input/output error",),
    }
    return next((plain for plain, words in known.items() if any(word in text for word in words)), None)


class AsyncWriter:
    """Runs jobs one after the other, in the order of their submission, in a thread of its own.

    Large jobs hold a table or a part of it; ``capacity`` bounds how many of them wait, and so the memory. Small ones (statistics, commits)
    do not take a place, so that they need not wait for a table to be written: :data:`SMALL_BYTES` of them may wait.

    An error in a job ends the thread, whatever it is: the jobs behind it are dropped, and every later call but :meth:`close` raises it.
    Nothing here waits for a thread that is gone. The thread is a daemon, so that it lives until :meth:`close`, which the owner registers
    with ``atexit``.

    Args:
        capacity: large jobs that may wait; when it is reached :meth:`submit` waits for the writer.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._jobs: collections.deque[_Queued | None] = collections.deque()
        self._running = False
        self._changed = threading.Condition()
        self._error: BaseException | None = None
        self._stalled = self._drained = self._busy = self._area = 0.0
        self._most = 0
        self._begin = self._since = time.perf_counter()
        self._thread = threading.Thread(target=self._run, name="embedding-recorder", daemon=True)
        self._thread.start()

    # -- in the thread -------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while (job := self._next()) is not None:
                start = time.perf_counter()
                try:
                    job.run()
                finally:
                    self._busy += time.perf_counter() - start
                del job  # what it holds is free, however long the next one is waited for
                with self._changed:
                    self._running = False
                    self._changed.notify_all()
        except BaseException as error:
            self._error = error
        finally:
            with self._changed:
                self._running = False
                self._jobs.clear()
                self._changed.notify_all()

    def _next(self) -> _Queued | None:
        """Take the next job, once there is one; ``None``: there will be no more."""
        with self._changed:
            while not self._jobs:
                self._changed.wait()
            self._account()
            job = self._jobs.popleft()
            self._running = True
            self._changed.notify_all()
            return job

    # -- in training ---------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise what went wrong in the thread.

        Raises:
            UserError: a record could not be written, or the thread is gone.
        """
        if self._error is None and self._thread.is_alive():
            return
        error = self._error or RuntimeError("the writing thread is gone")
        reason = refusal(error) or " ".join(str(error).split())
        if not (isinstance(error, Exception | UserError) and reason):  # MemoryError has no text, SystemExit a number
            reason = f"{type(error).__name__} {reason}".strip()
        raise UserError(
            f"recording stopped: a record could not be written ({reason[:400]}); what the dump lists is whole; "
            "mend the cause and run the same command again to continue from the last checkpoint"
        )

    def submit(self, job: Job, wait: bool = True) -> float:
        """Queue a large job; returns the seconds that the caller had to wait for room.

        Args:
            job: what to run.
            wait: for a free place; without it the job is queued beyond the capacity if there is none.

        Raises:
            UserError: an earlier job failed.
        """
        waited = self.wait_for_room() if wait else 0.0
        self._put(_Queued(job, None))
        return waited

    def submit_small(self, job: Job, size: int = 0) -> float:
        """Queue a job that holds no more than ``size`` bytes; returns the seconds that the caller had to wait.

        Raises:
            UserError: an earlier job failed.
        """
        size = max(size, SMALLEST)
        waited = self._wait(lambda: self._small() == 0 or self._small() + size <= SMALL_BYTES)
        self._stalled += waited
        self._put(_Queued(job, size))
        return waited

    def wait_for_room(self) -> float:
        """Wait until a large job finds a place; returns the seconds. Only the caller submits, so the place stays free.

        Raises:
            UserError: an earlier job failed.
        """
        waited = self._wait(lambda: self._large() < self._capacity)
        self._stalled += waited
        return waited

    def has_room(self) -> bool:
        """Whether a large job finds a place now."""
        with self._changed:
            return self._large() < self._capacity

    def drain(self) -> None:
        """Wait until every job is done.

        Raises:
            UserError: one of them failed.
        """
        self._drained += self._wait(lambda: not self._jobs and not self._running)

    def close(self) -> None:
        """Finish every job and end the thread; does not raise."""
        with self._changed:
            if self._thread.is_alive():
                self._jobs.append(None)
                self._changed.notify_all()
        self._thread.join()

    @property
    def stalled(self) -> float:
        """Seconds that training waited: for room, and at checkpoints until everything was written."""
        return self._stalled + self._drained

    def cost(self) -> WriterCost:
        """What the writer has cost so far."""
        with self._changed:
            self._account()
            seconds = self._since - self._begin
            mean = self._area / seconds if seconds else 0.0
            return WriterCost(self._stalled, self._drained, self._busy, seconds, self._most, mean)

    def _put(self, job: _Queued) -> None:
        with self._changed:
            self.check()
            self._account()
            self._jobs.append(job)
            self._most = max(self._most, self._large())
            self._changed.notify_all()

    def _wait(self, done: Callable[[], bool]) -> float:
        """Wait until ``done``, or until there is no thread any more that could bring it about; returns the seconds."""
        with self._changed:
            self.check()
            if done():
                return 0.0
            start = time.perf_counter()
            while not done():
                self._changed.wait(POLL)
                self.check()  # also where a failure has emptied the queue
            return time.perf_counter() - start

    # Counted anew each time: a signal's exception between two steps of a count would leave it wrong for ever.

    def _large(self) -> int:
        return sum(job is not None and job.size is None for job in self._jobs)

    def _small(self) -> int:
        return sum(job.size for job in self._jobs if job is not None and job.size is not None)

    def _account(self) -> None:
        """Add up how long how many large jobs waited; called before their number changes."""
        now = time.perf_counter()
        self._area += self._large() * (now - self._since)
        self._since = now
