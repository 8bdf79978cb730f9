"""What was designed to be seen: an arm's sampling as its dump's attributes tell it, and the part that it plays in E3.

Roles are found from the design, never from the arm's name:
- `all-distinct`: every example once, from the whole corpus or a random pool;
- `repeated`: every example of a random pool (or of the whole corpus) k > 1 times;
- `diverse`, `narrow`: the same from a pool of many or of few topics;
- `fraction`: a part p of the tokens is a small set repeated k times, the rest is seen once;
- `other`: no sampling, or a combination that no claim is about.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dump import Dump
from streams import DumpError

MATCHED = 0.01  # arms are matched when their updates and tokens agree to this share


@dataclass(frozen=True)
class Design:
    """One arm's sampling. Tokens are those of the whole run, `pool_tokens` those of the distinct examples."""

    pool: str
    repeat: int
    fraction: float
    order: str
    masks: str
    pool_examples: int
    pool_tokens: int
    tokens_per_update: float
    updates: int
    tokens: int

    @property
    def role(self) -> str:
        """The part that the arm plays; see the module's docstring."""
        if not self.pool:
            return "other"
        if 0 < self.fraction < 1:
            return "fraction" if self.repeat > 1 else "other"
        if self.pool in ("all", "random"):
            return "all-distinct" if self.repeat == 1 else "repeated"
        return self.pool if self.pool in ("diverse", "narrow") and self.repeat > 1 else "other"

    @property
    def plain(self) -> bool:
        """Spread over the run with fresh masks: the repetition that the claims are about."""
        return self.order in ("spread", "epochs") and self.masks == "fresh"

    @property
    def words(self) -> str:
        """`random pool, 16 times, in consecutive updates, identical masks`: what is not the usual is said."""
        text = f"{self.pool or 'no'} pool, " + ("each once" if self.repeat == 1 else f"{self.repeat} times")
        if self.fraction:
            text = f"{self.pool} pool, {self.fraction:.3g} of the tokens {self.repeat} times"
        if self.repeat > 1:
            text += {"consecutive": ", in consecutive updates", "epochs": ", one in each pass"}.get(self.order, "")
            text += ", identical masks" if self.masks == "identical" else ""
        return text

    def matches(self, other: Design) -> bool:
        """Equal updates and tokens within 1 %."""
        pairs = ((self.updates, other.updates), (self.tokens, other.tokens))
        return all(abs(first - second) <= MATCHED * max(first, second) for first, second in pairs)


def read_design(dump: Dump) -> Design:
    """The design of a run. Raises DumpError where the attributes lack it (a run without the sampling options)."""
    sampling: Any = dump.attrs.get("sampling")
    if not isinstance(sampling, dict):
        raise DumpError(f"{dump.path}: no attribute `sampling`: the run did not sample; train it with --sample-pool")
    task = ((dump.attrs.get("config") or {}).get("task") or {}) if isinstance(dump.attrs.get("config"), dict) else {}
    try:
        merged = {
            **{name: task.get(f"sample_{name}") for name in ("pool", "repeat", "fraction", "order", "masks")},
            **sampling,
        }
        return Design(
            pool=str(merged["pool"] or ""),
            repeat=int(merged["repeat"]),
            fraction=float(merged["fraction"] or 0),
            order=str(merged["order"] or ""),
            masks=str(merged["masks"] or ""),
            pool_examples=int(merged["pool_examples"]),
            pool_tokens=int(merged["pool_tokens"]),
            tokens_per_update=float(merged["tokens_per_update"]),
            updates=int(merged["updates"]),
            tokens=int(merged["tokens"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DumpError(
            f"{dump.path}: attribute `sampling` is incomplete ({error}); record the run again with this version"
        ) from None


def main_repeated(designs: Iterable[tuple[str, Design]]) -> str | None:
    """The arm that C3.1 is decided by: the most often repeated plain arm; the first by name among equals."""
    found = [(-design.repeat, name) for name, design in designs if design.role == "repeated" and design.plain]
    return min(found)[1] if found else None


def diversity_arms(designs: Iterable[tuple[str, Design]]) -> dict[str, str]:
    """The arms that C3.2 compares, by role (`diverse`, `narrow`, `repeated`): plain, at the same number of repeats.

    The highest number at which most of the three exist; an absent role has no entry.
    """
    by_repeat: dict[int, dict[str, str]] = {}
    for name, design in sorted(designs):
        if design.role in ("diverse", "narrow", "repeated") and design.plain:
            by_repeat.setdefault(design.repeat, {}).setdefault(design.role, name)
    found = {k: roles for k, roles in by_repeat.items() if "diverse" in roles or "narrow" in roles}
    return found[max(found, key=lambda k: (len(found[k]), k))] if found else {}
