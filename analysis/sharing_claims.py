"""The verdicts of C6.1 to C6.4 by STUDY.md's rules, from the measured arms.

C6.2 and C6.4 are inconclusive, whatever the interval, when the better of the two arms has a BLEU below LEAST_BLEU (fixed before any
run): such output is hardly a translation. C6.3 is inconclusive with fewer than LEAST_ROUNDS rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from claims import STATEMENTS, Claim, Estimate, Rule, decide_claim, exact, without_value
from runs import command
from training_speed import LEAST_ROUNDS

if TYPE_CHECKING:
    from sharing_result import SharingResult

LEAST_BLEU = 10.0
FASTER = 0.05
FEWER = Rule(-0.25, -0.15)
PRESS_WOLF = "Press & Wolf 2017 report the opposite for three-way tying: 33.13 -> 33.46 (+0.33), WMT14 English-French, 168 M to 80 M parameters"


def decide(result: SharingResult) -> list[Claim]:
    """All four; `not run` with the reason where what they need is not there."""
    return [_parameters(result), _bleu(result), _speed(result), _contexts(result)]


def beside(study: float, interval: tuple[float, float] | None) -> str:
    """Where the study's figure lies: `inside the interval`, `below it`, `above it`."""
    if interval is None:
        return "not compared: there is no interval"
    low, high = interval
    return (
        "inside the interval" if low <= study <= high else "below the interval" if study < low else "above the interval"
    )


def _parameters(result: SharingResult) -> Claim:
    found = result.savings.get("all")
    if found is None:
        return without_value("C6.1", "not run", _lacking(result, "model.json", result.counts))
    both = [result.counts[name] for name in ("all", "none")]
    forms = "; ".join(
        f"{entry.arm} {entry.counted:,}"
        + (" = closed form" if entry.exact else f" (closed form: {entry.closed:,})" if entry.closed is not None else "")
        for entry in both
    )
    base = both[1]
    note = f"{forms}; the difference {found.difference:+,} is {'exactly' if found.exact else 'NOT'} -2 V d = {found.expected:+,}"
    note += f"; tables are {base.in_tables / base.counted:.0%} of none's parameters, so the share follows from V, d and the layers"
    note += f"; the study says about {STATEMENTS['C6.1'].figure:+.0%}"
    return decide_claim(
        "C6.1",
        [("parameters, all minus none, as a share of none's", FEWER, [exact(found.share)])],
        [
            entry.signature
            for name in ("all", "none")
            for entry in result.runs[name].values()
            if entry.model is not None
        ],
        note=note,
        seeds=max(len(result.runs[name]) for name in ("all", "none")),
    )


def _bleu(result: SharingResult) -> Claim:
    found = result.compared("all", "none")
    if found is None:
        return without_value("C6.2", "not run", _lacking(result, "translations", result.scores))
    study = STATEMENTS["C6.2"].figure
    assert study is not None  # a number in STUDY.md
    values = ", ".join(f"{arm} {result.scores[arm]['BLEU'].value:.2f}" for arm in ("none", "all"))
    note = f"BLEU {values}; the study's {study:+g} lies {beside(study, found.combined.interval)}; {PRESS_WOLF}"
    p = [f"{entry.p['BLEU']:.3f}" for entry in found.tested]
    note += f"; sacrebleu's paired test p = {', '.join(p)}" if p else ""
    claim = decide_claim(
        "C6.2",
        [("BLEU, all minus none", Rule(high=0), found.estimates)],
        _signatures(result, found.seeds),
        note=note,
        updates=_shortest(result, found.seeds),
    )
    if claim.verdict == "does not hold" and claim.interval is not None and claim.interval[0] <= 0:
        claim = replace(
            claim, verdict="inconclusive", reason=f"{claim.reason}; the interval is not above 0, it begins there"
        )
    return _require_translation(result, claim)


def _speed(result: SharingResult) -> Claim:
    speed = result.speed
    ratio = None if speed is None else speed.ratio.get("all")
    if speed is None or ratio is None:
        lacking = "speed.json times no arm all" if speed is not None else "the arms were not timed (speed.json)"
        return without_value("C6.3", "not run", f"{lacking}: {command('E4')}")
    study = STATEMENTS["C6.3"].figure
    assert study is not None  # a number in STUDY.md
    low, high = ratio.interval or (None, None)
    interval = None if low is None or high is None else (low - 1, high - 1)
    ends = "" if low is None else f" [{low:.3f}, {high:.3f}]"
    note = f"ratio {ratio.value:.3f}{ends}, {speed.rounds} interleaved rounds; the rule asks for a ratio above {1 + FASTER}"
    note += f"; the study's {study:+.0%} lies {beside(study, interval)}"
    claim = decide_claim(
        "C6.3",
        [
            (
                "target tokens a second, all over none, minus 1",
                Rule(low=FASTER),
                [Estimate(ratio.value - 1, interval, ratio.over)],
            )
        ],
        [f"experiment:E4|arm:all,none|{speed.signature}"],
        note=note,
    )
    claim = replace(claim, reason=claim.reason.replace("; one seed; ", "; "))  # no seed is in a time
    if not speed.enough:
        few = f"{speed.rounds} rounds are too few for a verdict, at least {LEAST_ROUNDS} are needed"
        return replace(claim, verdict="inconclusive", reason=f"{claim.reason}; {few}")
    return claim


def _contexts(result: SharingResult) -> Claim:
    found = result.contexts
    if found is None or not found.seeds:
        known = result.scores if found is not None else {}
        return without_value("C6.4", "not run", _lacking(result, "translations with words.npz", known))
    signatures = _signatures(result, found.seeds)
    if found.excess is None or found.loss is None or found.loss_ordinary is None:
        text = "\n".join(signatures)
        return without_value("C6.4", "inconclusive", found.problem, seeds=len(found.seeds), signature=text)
    largest = found.type(found.largest)
    assert largest is not None  # chosen among the types
    ordinary = found.loss_ordinary
    ends = "" if ordinary.interval is None else f" [{ordinary.interval[0]:+.2f}, {ordinary.interval[1]:+.2f}]"
    note = (
        f"largest loss: {largest.label} ({largest.sentences:,} sentences), {found.loss.value:+.2f} BLEU; ordinary sentences lose "
        f"{ordinary.value:+.2f}{ends}; intervals account for the choice of the largest of {found.compared} types"
    )
    claim = decide_claim(
        "C6.4",
        [
            ("BLEU lost by the largest type, minus twice the ordinary loss", Rule(low=0), [found.excess]),
            ("BLEU lost by the largest type", Rule(low=0), [found.loss]),
        ],
        signatures,
        note=note,
        updates=_shortest(result, found.seeds),
        seeds=len(found.seeds),
    )
    return _require_translation(result, claim)


def _require_translation(result: SharingResult, claim: Claim) -> Claim:
    """`inconclusive` where the better of `all` and `none` does not translate yet."""
    better = max(result.scores[arm]["BLEU"].value for arm in ("all", "none"))
    if better >= LEAST_BLEU:
        return claim
    short = f"the run was too short: the better arm has BLEU {better:.2f}, below {LEAST_BLEU:g}, which is hardly a translation"
    return replace(claim, verdict="inconclusive", reason=f"{claim.reason}; {short}")


def _lacking(result: SharingResult, what: str, found: object) -> str:
    """Why nothing could be compared: which of the two arms has no run, or lacks what is needed."""
    known = found if isinstance(found, dict) else {}
    absent = [arm for arm in ("none", "all") if arm not in result.runs]
    if absent:
        return f"experiment E4 has no run of arm {' and of arm '.join(absent)}: {command('E4')}"
    lacking = [arm for arm in ("none", "all") if arm not in known]
    if lacking:
        return f"no run of arm {' and of arm '.join(lacking)} has {what}"
    return f"arms none and all have {what} of no seed in common"


def _signatures(result: SharingResult, seeds: Sequence[int]) -> list[str]:
    """One a run of both arms, with sacrebleu's own."""
    runs = [result.runs[arm][seed] for arm in ("all", "none") for seed in seeds]
    return [
        f"{entry.signature}|metric:BLEU|{entry.scores.signature['BLEU'].replace('version:', 'sacrebleu:')}"
        for entry in runs
        if entry.scores is not None
    ]


def _shortest(result: SharingResult, seeds: Sequence[int]) -> int | None:
    """The fewest updates that one of the compared models was trained for; None where nothing says so."""
    runs = [result.runs[arm][seed] for arm in ("all", "none") for seed in seeds]
    known = [entry.update for entry in runs if entry.update is not None]
    return min(known, default=None)
