"""What the user sees while a stage runs: its own lines, or for a training one line that moves with the updates."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, TextIO

INTERVAL = 20.0  # seconds between a training's lines where the output is no terminal


def duration(seconds: float) -> str:
    """`45 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class Tail:
    """The lines that a growing file gets from now on."""

    def __init__(self, path: Path) -> None:
        self._file = path.open(encoding="utf-8", errors="replace", newline="\n")
        self._file.seek(0, 2)
        self._rest = ""

    def lines(self, last: bool = False) -> list[str]:
        """The complete new lines; with `last` also an incomplete one."""
        text = self._rest + self._file.read()
        parts = text.split("\n")
        self._rest = "" if last else parts.pop()
        return [line.rstrip("\r").rpartition("\r")[2] for line in parts if line.strip()]

    def close(self) -> None:
        self._file.close()


class Echo:
    """Shows every line of a stage, indented."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def show(self, lines: list[str]) -> None:
        for line in lines:
            print(f"    {line}", file=self._out, flush=True)

    def close(self) -> None:
        pass


class Training:
    """Shows where a training is: update, loss, mean cosine and the time left as measured in this session.

    Args:
        updates: how many there will be.
        out: where to.
        name: put before every line where several trainings run side by side; their lines do not move.
    """

    def __init__(self, updates: int, out: TextIO, name: str = "") -> None:
        self._updates = updates
        self._out = out
        self._name = name
        self._terminal = out.isatty() and not name
        self._first: tuple[int, float] | None = None
        self._shown = time.monotonic()
        self._open = False

    def show(self, lines: list[str]) -> None:
        for line in lines:
            if "| ERROR |" in line or "| WARNING | fairseq_ext" in line:
                self._print(line)
            stats = statistics(line)
            if stats is None:
                continue
            now = time.monotonic()
            update = int(float(stats["num_updates"]))
            if self._first is None:
                self._first = (update, now)
            if self._terminal or now - self._shown >= INTERVAL:
                self._shown = now
                self._print(self._text(update, stats, now), moving=True)

    def close(self) -> None:
        if self._open:
            print(file=self._out, flush=True)
            self._open = False

    def _text(self, update: int, stats: dict[str, Any], now: float) -> str:
        parts = [f"update {update} of {self._updates}"]
        if "loss" in stats:
            parts.append(f"loss {float(stats['loss']):.2f} bits")
        cosine = stats.get("embed_cos")
        if cosine is not None:
            parts.append(f"mean cosine {float(cosine):.3f}")
        first, since = self._first or (update, now)
        if update > first:
            parts.append(f"{duration((self._updates - update) * (now - since) / (update - first))} left")
        return ", ".join(parts)

    def _print(self, text: str, moving: bool = False) -> None:
        if moving and self._terminal:
            print(f"\r\033[K    {text}", end="", file=self._out, flush=True)
            self._open = True
        else:
            self.close()
            print(f"    {self._name}{text}", file=self._out, flush=True)


def statistics(line: str) -> dict[str, Any] | None:
    """The numbers in a training line of fairseq's json log (`... | train_inner | {...}`); None for any other line."""
    start = line.find("{")
    if start < 0 or "| train_inner |" not in line:
        return None
    try:
        content = json.loads(line[start:])
    except ValueError:
        return None
    return content if isinstance(content, dict) and "num_updates" in content else None
