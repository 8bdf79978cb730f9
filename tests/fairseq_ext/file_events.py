"""Waiting for a number of file events below a folder (Linux: inotify), so that a kill can fall between any two of them without a sleep."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import struct
from pathlib import Path
from types import TracebackType

MODIFY, CLOSE_WRITE, MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x2, 0x8, 0x40, 0x80, 0x100, 0x200
WATCHED = MODIFY | CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE
HEAD = struct.Struct("iIII")
A_FOLDER = 0x40000000


class FileEvents:
    """Counts what happens to files in a folder and in all below it, from now on; also a context manager.

    Args:
        folder: it must exist. Folders that come later are watched as soon as their own event is read.
    """

    def __init__(self, folder: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "inotify is not to be had")
        self._watched: dict[int, Path] = {}
        for path, _, _ in os.walk(folder):
            self._watch(Path(path))

    def _watch(self, folder: Path) -> None:
        number = self._libc.inotify_add_watch(self._descriptor, os.fsencode(folder), WATCHED)
        if number >= 0:  # otherwise it is gone again
            self._watched[number] = folder

    def wait(self, count: int, pid: int) -> bool:
        """Wait until ``count`` events have happened; ``False`` if the process ends before."""
        try:
            ended = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        try:
            ready = select.poll()
            ready.register(self._descriptor, select.POLLIN)
            ready.register(ended, select.POLLIN)
            while count > 0:
                found = {descriptor for descriptor, _ in ready.poll()}
                if self._descriptor in found:
                    count -= self._read()
                elif ended in found:
                    return False
            return True
        finally:
            os.close(ended)

    def _read(self) -> int:
        """Take what is there, a few events at a time."""
        events, place = 0, 0
        taken = b""
        with contextlib.suppress(BlockingIOError):
            taken = os.read(self._descriptor, 1024)
        while place < len(taken):
            number, mask, _, length = HEAD.unpack_from(taken, place)
            name = os.fsdecode(taken[place + HEAD.size : place + HEAD.size + length].rstrip(b"\0"))
            place += HEAD.size + length
            events += 1
            if mask & A_FOLDER and mask & (CREATE | MOVED_TO) and number in self._watched:
                self._watch(self._watched[number] / name)
        return events

    def __enter__(self) -> FileEvents:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
