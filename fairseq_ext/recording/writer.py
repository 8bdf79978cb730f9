"""A thread that writes records while training goes on, behind a bounded queue."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from ..errors import UserError

Job = Callable[[], Any]


class AsyncWriter:
    """Runs jobs one after the other in a thread of its own.

    The thread is a daemon, so that it lives until :meth:`close`, which the owner registers with ``atexit``.

    Args:
        capacity: jobs that may wait; when it is reached :meth:`submit` waits for the writer.
    """

    def __init__(self, capacity: int) -> None:
        self._queue: queue.Queue[Job | None] = queue.Queue(maxsize=capacity)
        self._error: BaseException | None = None
        self.stalled = 0.0
        self._thread = threading.Thread(target=self._run, name="embedding-recorder", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            try:
                if self._error is None:
                    job()
            except BaseException as error:
                self._error = error
            finally:
                self._queue.task_done()
        self._queue.task_done()

    def check(self) -> None:
        """Raise what went wrong in the thread.

        Raises:
            UserError: a record could not be written.
        """
        if self._error is not None:
            reason = " ".join(str(self._error).split())
            if "No space left" in reason or "ENOSPC" in reason or "RESOURCE_EXHAUSTED" in reason:
                reason = "the disk is full"
            raise UserError(
                f"recording stopped: a record could not be written ({reason[:400]}); what the dump lists is whole; "
                "mend the cause and run the same command again to continue from the last checkpoint"
            )

    def submit(self, job: Job) -> float:
        """Queue a job; returns the seconds that the caller had to wait for room.

        Raises:
            UserError: an earlier job failed.
        """
        self.check()
        start = time.perf_counter()
        try:
            self._queue.put_nowait(job)
            return 0.0
        except queue.Full:
            self._queue.put(job)
        waited = time.perf_counter() - start
        self.stalled += waited
        return waited

    def drain(self) -> None:
        """Wait until every job is done.

        Raises:
            UserError: one of them failed.
        """
        self._queue.join()
        self.check()

    def close(self) -> None:
        """Finish every job and end the thread; does not raise."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
