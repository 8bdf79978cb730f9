"""How a claim of the study is decided, and the form in which a verdict is reported.

A question module measures, for each seed, an `Estimate` (value and interval); `decide_claim` combines seeds, applies the
rule and returns a `Claim`. STATEMENTS holds the claims' and rules' words:

- *holds*: the value and the whole interval satisfy the rule; *does not hold*: the whole interval fails it;
  *inconclusive*: anything else, also where an interval could not be had; *not run*: nothing to measure yet.
  Where a rule names the opposite (`Rule.opposite`, C3), *holds* asks the size of the value alone, and of the interval that it
  excludes the opposite.
- Three seeds or more: the value is their mean and the interval is Student's t over seeds. Fewer: the interval is over what
  was measured in one run (tokens, updates), and the reason says how many seeds there were. Two seeds: mean of the values,
  and the union of their intervals.
- What is counted and not measured (parameters) has the interval [v, v] over EXACT, the same whatever the number of seeds.
- A run of fewer than SHORTEST_RUN updates is too short for *does not hold*.
- A claim of several parts holds when all hold, and does not hold when one does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy import stats

from statements import STATEMENTS, Statement

Verdict = Literal["holds", "does not hold", "inconclusive", "not run"]
Interval = tuple[float, float]
LEVEL = 0.95
EXACT = "exact count"  # what the interval [v, v] of a counted number is over
TINY = 5e-4  # shown as 0.000 with three digits
SHORTEST_RUN = 100  # updates, for "does not hold"; the effects of C1, C2 and C4 show at about this length

__all__ = [
    "EXACT",
    "LEVEL",
    "STATEMENTS",
    "Claim",
    "Estimate",
    "Interval",
    "Part",
    "Rule",
    "Statement",
    "Verdict",
    "as_columns",
    "combine_seeds",
    "decide",
    "decide_claim",
    "exact",
    "merge_signatures",
    "not_run",
    "number_words",
    "require_learning",
    "without_value",
]


@dataclass(frozen=True)
class Rule:
    """The claim is satisfied by values strictly between `low` and `high`.

    With `opposite`, a bound on the other side of `low` or `high` (0 for a difference), the interval need not lie between them
    but only on the claim's side of `opposite`.
    """

    low: float = -math.inf
    high: float = math.inf
    opposite: float | None = None

    def __str__(self) -> str:
        if self.opposite is not None:
            return f"{replace(self, opposite=None)}, interval {'below' if self.opposite > self.high else 'above'} {self.opposite:g}"
        if math.isinf(self.low):
            return f"< {self.high:+g}"
        return f"> {self.low:+g}" if math.isinf(self.high) else f"between {self.low:+g} and {self.high:+g}"

    def admits(self, value: float) -> bool:
        return self.low < value < self.high

    def supported_by(self, interval: Interval) -> bool:
        """Does the whole interval lie where the rule asks it to?"""
        if self.opposite is None:
            return self.admits(interval[0]) and self.admits(interval[1])
        return interval[1] < self.opposite if self.opposite > self.high else interval[0] > self.opposite

    def excludes(self, interval: Interval) -> bool:
        """Does every value of the interval fail the rule?"""
        return interval[1] <= self.low or interval[0] >= self.high


@dataclass(frozen=True)
class Estimate:
    """A measured value with its interval at LEVEL (None: could not be had) and what the interval is over."""

    value: float
    interval: Interval | None
    over: str = "tokens"


def exact(value: float) -> Estimate:
    """An estimate of what was counted: it has no error."""
    return Estimate(value, (value, value), EXACT)


@dataclass(frozen=True)
class Part:
    """One measurement that a verdict rests on."""

    measure: str
    rule: Rule
    estimate: Estimate
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        return {
            "measure": self.measure,
            "rule": str(self.rule),
            "value": _finite(self.estimate.value),
            "interval": _finite_interval(self.estimate.interval),
            "interval_over": self.estimate.over,
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class Claim:
    """A claim's entry in report.json. `value` and `interval` are those of the first part; `parts` holds all of them.

    `study` is the published figure: the study's, or of a claim of this project's own that of its source.
    """

    id: str
    measure: str
    value: float | None
    interval: Interval | None
    interval_over: str | None
    seeds: int
    verdict: Verdict
    reason: str
    study: float | None
    signature: str
    parts: tuple[Part, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values for json.dump: the design's schema, NaN and infinity as null; `parts` where there are some, `source` of the project's own claims."""
        result: dict[str, Any] = {
            "id": self.id,
            "measure": self.measure,
            "value": _finite(self.value),
            "interval": _finite_interval(self.interval),
            "interval_over": self.interval_over,
            "seeds": self.seeds,
            "verdict": self.verdict,
            "reason": self.reason,
            "study": self.study,
            "signature": self.signature,
        }
        statement = STATEMENTS[self.id]
        if statement.own:
            result["source"] = statement.source
        return result | ({"parts": [part.to_json() for part in self.parts]} if len(self.parts) > 1 else {})


def decide(estimate: Estimate, rule: Rule) -> Verdict:
    """Apply a rule to one estimate, as the module's docstring says."""
    if not math.isfinite(estimate.value) or estimate.interval is None or not np.isfinite(estimate.interval).all():
        return "inconclusive"
    if rule.admits(estimate.value) and rule.supported_by(estimate.interval):
        return "holds"
    return "does not hold" if rule.excludes(estimate.interval) else "inconclusive"


def combine_seeds(estimates: Sequence[Estimate]) -> Estimate:
    """One estimate of several seeds: Student's t over three or more, else the union of the seeds' own intervals.

    Equal values of all seeds give an interval of no length; equal exact counts stay an exact count. Raises ValueError without
    any estimate.
    """
    if not estimates:
        raise ValueError("no seed was measured")
    values = np.array([estimate.value for estimate in estimates])
    if all(estimate.over == EXACT for estimate in estimates) and not np.ptp(values):
        return estimates[0]
    mean = float(values.mean())
    if len(values) >= 3:
        half = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
        return Estimate(mean, (mean - half, mean + half), "seeds")
    intervals = [estimate.interval for estimate in estimates if estimate.interval is not None]
    if len(intervals) < len(estimates):
        return Estimate(mean, None, estimates[0].over)
    return Estimate(mean, (min(low for low, _ in intervals), max(high for _, high in intervals)), estimates[0].over)


def decide_claim(
    claim_id: str,
    parts: Sequence[tuple[str, Rule, Sequence[Estimate]]],
    signatures: Sequence[str],
    *,
    note: str = "",
    updates: int | None = None,
    seeds: int | None = None,
) -> Claim:
    """A claim from its parts, each (measure, rule, one estimate a seed); the first part is the one compared with the study.

    `signatures` holds one signature a seed; `note` is put at the end of the reason. `updates` is the length of the
    shortest run: one of fewer than SHORTEST_RUN may show an effect, but that it does not yet is no verdict. Parts that are
    combined over seeds already have one estimate each; `seeds` then says of how many.
    """
    decided = []
    for measure, rule, estimates in parts:
        combined = combine_seeds(estimates)
        decided.append(Part(measure, rule, combined, decide(combined, rule)))
    verdicts = [part.verdict for part in decided]
    verdict: Verdict = "inconclusive"
    if "does not hold" in verdicts:
        verdict = "does not hold"
    elif all(entry == "holds" for entry in verdicts):
        verdict = "holds"
    if verdict == "does not hold" and updates is not None and updates < SHORTEST_RUN:
        verdict = "inconclusive"
        note = f"{note}; too few updates to refuse the claim, at least {SHORTEST_RUN} are needed".lstrip("; ")
    seeds = len(parts[0][2]) if seeds is None else seeds
    reason = "; ".join(_words(part) for part in decided)
    if decided[0].estimate.over != EXACT:
        reason += {1: "; one seed", 2: "; two seeds"}.get(seeds, f"; {seeds} seeds")
    first = decided[0]
    return Claim(
        id=claim_id,
        measure=first.measure,
        value=first.estimate.value,
        interval=first.estimate.interval,
        interval_over=first.estimate.over,
        seeds=seeds,
        verdict=verdict,
        reason=reason + (f"; {note}" if note else ""),
        study=STATEMENTS[claim_id].figure,
        signature=merge_signatures(signatures),
        parts=tuple(decided),
    )


def without_value(claim_id: str, verdict: Verdict, reason: str, *, seeds: int = 0, signature: str = "") -> Claim:
    """A claim for which nothing could be measured: `inconclusive` or `not run`, with the reason."""
    statement = STATEMENTS[claim_id]
    return Claim(claim_id, statement.measure, None, None, None, seeds, verdict, reason, statement.figure, signature)


def not_run(claim_id: str, reason: str) -> Claim:
    """A claim whose experiment has not been run."""
    return without_value(claim_id, "not run", reason)


def require_learning(claim: Claim, valid_bits: float | None, unigram_bits: float | None) -> Claim:
    """C3, C5 and C7 are inconclusive unless the validation loss beats the unigram entropy by at least 10 % (both in bits).

    The reason then says by how much it fell short, also of a claim that was inconclusive before. A claim that needs no
    learning, or was not run, is returned as it is.
    """
    if not STATEMENTS[claim.id].needs_learning or claim.verdict == "not run":
        return claim
    if valid_bits is None or unigram_bits is None:
        lacking = "validation loss" if valid_bits is None else "unigram entropy of the corpus"
        return replace(claim, verdict="inconclusive", reason=f"{claim.reason}; the {lacking} is not known")
    if valid_bits <= 0.9 * unigram_bits:
        return claim
    short = f"validation loss {valid_bits:.2f} bits, needed at most {0.9 * unigram_bits:.2f} (0.9 x unigram entropy): "
    short += f"it fell short by {valid_bits - 0.9 * unigram_bits:.2f} bits"
    return replace(claim, verdict="inconclusive", reason=f"{claim.reason}; the run learned too little: {short}")


def as_columns(name: str, estimate: Estimate | None) -> dict[str, Any]:
    """An estimate as four cells of a table for machines: value, ends of the interval, what it is over; empty ones where there is none."""
    low, high = estimate.interval if estimate is not None and estimate.interval is not None else (None, None)
    return {
        name: None if estimate is None else _finite(estimate.value),
        f"{name}_low": low,
        f"{name}_high": high,
        f"{name}_over": None if estimate is None else estimate.over,
    }


def merge_signatures(signatures: Sequence[str]) -> str:
    """One signature for several runs: fields that differ hold all their values, as in `seed:1,2,3`."""
    merged: dict[str, list[str]] = {}
    for text in signatures:
        for field in filter(None, text.split("|")):
            key, _, value = field.partition(":")
            values = merged.setdefault(key, [])
            if value not in values:
                values.append(value)
    return "|".join(f"{key}:{','.join(values)}" for key, values in merged.items())


def _words(part: Part) -> str:
    estimate = part.estimate
    if not math.isfinite(estimate.value):
        return f"{part.measure}: no value"
    if estimate.over == EXACT:
        return f"{part.measure}: {estimate.value:+.4f}, counted (rule {part.rule})"
    value, interval = number_words(estimate)
    if estimate.interval is None or not np.isfinite(estimate.interval).all():
        return f"{part.measure}: {value} without an interval (rule {part.rule})"
    return f"{part.measure}: {value} {interval} over {estimate.over} (rule {part.rule})"


def number_words(estimate: Estimate) -> tuple[str, str]:
    """Value and interval with three digits after the point; as powers of ten where all of them would be 0.000 so."""
    ends = estimate.interval or ()
    largest = max(abs(number) for number in (estimate.value, *ends))
    form = "+.1e" if 0 < largest < TINY else "+.3f"
    value = f"{estimate.value:{form}}" if math.isfinite(estimate.value) else "no value"
    return value, f"[{ends[0]:{form}}, {ends[1]:{form}}]" if ends else "no interval"


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _finite_interval(interval: Interval | None) -> list[float | None] | None:
    return None if interval is None else [_finite(end) for end in interval]
