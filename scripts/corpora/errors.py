"""The one error that a user sees, and the frame in which each command runs."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType


class CorpusError(Exception):
    """Bad input: its text is one line that says what was expected, what was found and what to do."""


class Terminated(BaseException):
    """SIGTERM arrived. Not an `Exception`, so that nothing on the way swallows it."""


def _on_sigterm(signum: int, frame: FrameType | None) -> None:
    raise Terminated


def run(command: Callable[[list[str]], None], argv: list[str]) -> int:
    """Run a command and return its exit status: 0, 1 for bad input (one line on stderr), 130 or 143 when stopped by a signal."""
    before = signal.signal(signal.SIGTERM, _on_sigterm)
    try:
        command(argv)
    except CorpusError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, Terminated) as stop:
        print(
            "stopped: no corpus was written; the same command starts again (a download goes on where it stopped)",
            file=sys.stderr,
        )
        return 130 if isinstance(stop, KeyboardInterrupt) else 143
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        print(
            f"error: {what}{error.strerror or error} (nothing was written; make room or check the permissions)",
            file=sys.stderr,
        )
        return 1
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0
