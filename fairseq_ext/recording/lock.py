"""One writer a dump: a lock that ends with the process that holds it, however that ends.

The lock is ``flock`` on the file ``<dump>.lock`` beside the dump, which stays in place when the dump itself is created, renamed or deleted. What
counts is the kernel's lock, not the file: after ``kill -9`` the file is left behind and locks nothing. It says who held it last, for the
message. Children that a process forks (workers that load data) give the lock up at once, so that none of them keeps it when the process is
killed. The file is deleted on release while the lock is held, hence a new holder looks whether the file that it locked is still the one in place.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
import time
import weakref
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from ..errors import UserError

logger = logging.getLogger(__name__)
SUFFIX = ".lock"
UNSUPPORTED = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL})
FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
LOOKS = 200  # times that the lock is tried again while somebody only looks at it (`holder`)
PAUSE = 0.005  # seconds between them


@dataclass(frozen=True)
class Holder:
    """Who holds a dump's lock; what could not be read is ``None``.

    Attributes:
        pid: of the process, as its own machine (or container) numbers it.
        host: the machine's name.
        since: time of locking, ISO 8601 in UTC.
        purpose: ``training`` or ``pruning``.
    """

    pid: int | None = None
    host: str | None = None
    since: str | None = None
    purpose: str | None = None

    def __str__(self) -> str:
        if self.pid is None:
            return "a process that did not say its number"
        return f"process {self.pid} on {self.host}, {self.purpose} since {self.since}"


def lock_file(dump: Path) -> Path:
    """The lock's file of a dump, the same by whatever link the dump is reached."""
    real = Path(os.path.realpath(dump))
    return real.with_name(real.name + SUFFIX)


def holder(dump: Path) -> Holder | None:
    """Who holds a dump's lock now, if anyone does. Creates and changes nothing."""
    try:
        descriptor = os.open(lock_file(dump), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None


def _read(descriptor: int) -> Holder:
    """What the holder wrote into the lock's file."""
    try:
        found = json.loads(os.pread(descriptor, 4096, 0))
        return Holder(int(found["pid"]), str(found["host"]), str(found["since"]), str(found["purpose"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Holder()


class DumpLock:
    """The lock of one dump; also a context manager.

    Args:
        dump: the dump's place; nothing need be there yet.
        purpose: ``training`` or ``pruning``.
        instead: what the user can do if another process holds it, for the message.
    """

    def __init__(self, dump: Path, purpose: str, instead: str) -> None:
        self.dump, self.purpose, self.instead = dump, purpose, instead
        self.file = lock_file(dump)
        self._descriptor: int | None = None
        own = weakref.ref(self)

        def give_up() -> None:
            if (lock := own()) is not None:
                lock._close()

        os.register_at_fork(after_in_child=give_up)

    @property
    def held(self) -> bool:
        """Whether this process holds the lock; never where the file system has none."""
        return self._descriptor is not None

    def acquire(self) -> None:
        """Take the lock, or go on with a warning where the file system has no locks.

        Raises:
            UserError: another process holds it.
            OSError: the folder of the dump cannot be made.
        """
        if self.held:
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except OSError as error:
                if error.errno not in FORBIDDEN | UNSUPPORTED:
                    raise
                self._warn(error)
                return
            try:
                if not self._try(descriptor):
                    raise UserError(
                        f"the dump at {self.dump} is in use by {_read(descriptor)}; wait until it ends, or {self.instead}"
                    )
                if self._in_place(descriptor):
                    told = Holder(os.getpid(), socket.gethostname(), _now(), self.purpose)
                    os.pwrite(descriptor, written := json.dumps(asdict(told)).encode() + b"\n", 0)
                    os.ftruncate(descriptor, len(written))
                    self._descriptor, descriptor = descriptor, -1
                    return
            except OSError as error:
                if error.errno not in UNSUPPORTED:
                    raise
                self._warn(error)
                return
            finally:
                if descriptor >= 0:
                    os.close(descriptor)

    @staticmethod
    def _try(descriptor: int) -> bool:
        """Lock an open file; ``False`` if another process holds the lock, not merely looks at it."""
        for _ in range(LOOKS):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                pass
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            time.sleep(PAUSE)
        return False

    def _in_place(self, descriptor: int) -> bool:
        """Whether an open file is still the lock's file: its last holder may have deleted it in between."""
        try:
            return os.path.samestat(os.fstat(descriptor), self.file.stat())
        except FileNotFoundError:
            return False

    def _warn(self, error: OSError) -> None:
        logger.warning(
            f"{self.file} cannot be locked ({error.strerror}): that a second run does not record into {self.dump} is up to you"
        )

    def release(self) -> None:
        """Give the lock up and delete its file."""
        if self._descriptor is None:
            return
        with contextlib.suppress(OSError):
            if self._in_place(self._descriptor):
                self.file.unlink()
        self._close()

    def _close(self) -> None:
        """Close the file; in a forked child this leaves the parent's lock alone."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def __enter__(self) -> DumpLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
