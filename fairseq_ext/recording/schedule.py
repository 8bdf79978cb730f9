"""Which updates a stream records."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from ..errors import UserError

SYNTAX = "a comma list of every:N, log2 (0, 1, 2, 4, ...), at:U;U;..., window:A:B, or none"


@dataclass(frozen=True)
class Schedule:
    """A set of updates; update 0 belongs to every schedule that is not empty.

    Attributes:
        text: the text that it was read from, e.g. ``"log2,every:100"``.
        every: periods, in updates.
        log2: whether 0 and the powers of two belong to it.
        at: single updates.
        windows: first and last update (inclusive) of unbroken runs.
    """

    text: str
    every: tuple[int, ...] = ()
    log2: bool = False
    at: frozenset[int] = frozenset()
    windows: tuple[tuple[int, int], ...] = ()

    @classmethod
    def parse(cls, text: str, option: str = "schedule") -> Schedule:
        """Read a schedule.

        Args:
            text: see :data:`SYNTAX`.
            option: the option's name, for the message.

        Raises:
            UserError: the text is not a schedule.
        """
        every: list[int] = []
        at: set[int] = set()
        windows: list[tuple[int, int]] = []
        log2 = False
        parts = [part.strip() for part in text.split(",") if part.strip()]
        if parts == ["none"]:
            return cls("none")
        for part in parts:
            if part == "log2":
                log2 = True
            elif match := re.fullmatch(r"every:(\d+)", part):
                every.append(int(match[1]))
            elif match := re.fullmatch(r"at:(\d+(?:;\d+)*)", part):
                at.update(int(u) for u in match[1].split(";"))
            elif match := re.fullmatch(r"window:(\d+):(\d+)", part):
                windows.append((int(match[1]), int(match[2])))
            else:
                raise UserError(f"{option}: expected {SYNTAX}; found {part!r} in {text!r}")
        if not parts or 0 in every or any(a > b for a, b in windows):
            raise UserError(f"{option}: expected {SYNTAX}, with N >= 1 and A <= B; found {text!r}")
        return cls(text, tuple(every), log2, frozenset(at), tuple(windows))

    def __bool__(self) -> bool:
        return bool(self.every or self.log2 or self.at or self.windows)

    def __contains__(self, update: object) -> bool:
        if not isinstance(update, int) or update < 0 or not self:
            return False
        return (
            update == 0
            or update in self.at
            or any(update % n == 0 for n in self.every)
            or (self.log2 and update & (update - 1) == 0)
            or any(a <= update <= b for a, b in self.windows)
        )

    def updates(self, last: int, first: int = 0) -> Iterator[int]:
        """The updates from ``first`` to ``last``, both inclusive, in ascending order."""
        return (u for u in range(first, last + 1) if u in self)

    def count(self, last: int, first: int = 0) -> int:
        """How many updates from ``first`` to ``last`` (inclusive) belong to it; takes no longer for a long run."""
        if not self or last < first:
            return 0
        runs: list[tuple[int, int]] = []  # the windows, clipped and joined
        for a, b in sorted((max(a, first), min(b, last)) for a, b in self.windows):
            if runs and a <= runs[-1][1] + 1:
                runs[-1] = (runs[-1][0], max(b, runs[-1][1]))
            elif a <= b:
                runs.append((a, b))
        inside = sum(b - a + 1 for a, b in runs)
        periodic = self._multiples(first, last) - sum(self._multiples(a, b) for a, b in runs)
        powers = {1 << k for k in range(last.bit_length())} if self.log2 else set()
        single = [
            u
            for u in self.at | powers | {0}
            if first <= u <= last and all(u % n for n in self.every) and not any(a <= u <= b for a, b in runs)
        ]
        return inside + periodic + len(single)

    def _multiples(self, first: int, last: int) -> int:
        """Numbers from ``first`` to ``last`` that a period divides, by inclusion and exclusion."""
        periods = sorted(set(self.every))
        periods = [n for n in periods if not any(n % m == 0 for m in periods if m < n)]
        total = 0
        for size in range(1, len(periods) + 1):
            for chosen in combinations(periods, size):
                common = math.lcm(*chosen)
                total -= (-1) ** size * (last // common - (first - 1) // common)
        return total

    def __or__(self, other: Schedule) -> Schedule:
        """The updates of either."""
        return Schedule(
            f"{self.text},{other.text}",
            self.every + other.every,
            self.log2 or other.log2,
            self.at | other.at,
            self.windows + other.windows,
        )
