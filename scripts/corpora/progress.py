"""Progress on stderr: one line that is rewritten on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time


class Progress:
    """Say how far a step is. `unit` is what `done` and `total` count; a total of None means that it is not known."""

    def __init__(self, label: str, total: int | None = None, *, unit: str = "MB", scale: float = 1e6) -> None:
        self.label, self.total, self.unit, self.scale = label, total, unit, scale
        self.start = self.shown = time.monotonic()
        self.live = sys.stderr.isatty()

    def update(self, done: int) -> None:
        """Show the state, at most twice a second on a terminal and every ten seconds elsewhere."""
        now = time.monotonic()
        if now - self.shown >= (0.5 if self.live else 10.0):
            self.shown = now
            self._print(done, now, end="")

    def finish(self, done: int) -> None:
        """Show the final state."""
        self._print(done, time.monotonic(), end="\n" if self.live else "")

    def _print(self, done: int, now: float, end: str) -> None:
        seconds = now - self.start
        share = f"{100 * done / self.total:3.0f} % " if self.total else ""
        rate = f", {done / self.scale / seconds:.1f} {self.unit}/s" if seconds > 1 else ""
        line = f"{self.label}: {share}({done / self.scale:,.1f} {self.unit}, {seconds:.0f} s{rate})"
        print(f"\r{line:<100}" if self.live else line, end=end if self.live else "\n", file=sys.stderr, flush=True)
