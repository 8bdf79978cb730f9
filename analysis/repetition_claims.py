"""The verdicts of C3.1 and C3.2 by STUDY.md's rules, from the compared arms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claims import Claim, Estimate, Rule, decide_claim, require_learning, without_value
from similarity import score_difference

if TYPE_CHECKING:
    from repetition import ArmResult, Comparison, RepetitionResult

WORSE = 0.01  # C3.1: held-out loss worse by more than this share
MEMORISED = 0.02  # C3.1: recovered share, seen minus unseen
BETTER = 0.005  # C3.2: diverse better than narrow by more than this share; and the margin of "not worse than random"


def decide(result: RepetitionResult) -> list[Claim]:
    """Both claims; `not run` with the reason where what they need is not there."""
    return [_repetition(result), _diversity(result)]


def _repetition(result: RepetitionResult) -> Claim:
    repeated, base = result.arm(result.repeated), result.arm(result.base)
    lacking = _lacking({"an all-distinct arm": base, "a plainly repeated arm of a random pool": repeated})
    found = result.compared(result.repeated, result.base)
    reason = lacking or _no_pair(found, repeated, base)
    if reason or found is None or repeated is None or base is None:
        return without_value("C3.1", "not run", reason)
    runs = [entry for entry in repeated.runs if entry.seed in found.seeds]
    memorised = [entry.heldout.memorisation for entry in runs if entry.heldout is not None]
    claim = decide_claim(
        "C3.1",
        [
            (
                "held-out loss, repeated minus all-distinct, as a share of the latter",
                Rule(low=WORSE, opposite=0.0),
                [entry.share for entry in found.paired],
            ),
            ("masked tokens recovered, seen minus unseen examples", Rule(low=MEMORISED, opposite=0.0), memorised),
        ],
        _signatures([repeated, base], found),
        note=f"{repeated.name} ({repeated.design.words}) against {base.name}: {_percent(found)}",
        updates=_shortest([repeated, base], found.seeds),
    )
    return require_learning(claim, base.valid_loss, _entropy([base]))


def _diversity(result: RepetitionResult) -> Claim:
    arms = {role: result.arm(result.diversity.get(role)) for role in ("diverse", "narrow", "repeated")}
    names = {"diverse": "a diverse arm", "narrow": "a narrow arm", "repeated": "a random arm of the same k"}
    lacking = _lacking({names[role]: arm for role, arm in arms.items()})
    diverse, narrow, random = arms.values()
    pairs = [result.compared(diverse and diverse.name, other and other.name) for other in (narrow, random)]
    reason = lacking or _no_pair(pairs[0], diverse, narrow) or _no_pair(pairs[1], diverse, random)
    if reason or diverse is None or narrow is None or random is None or pairs[0] is None or pairs[1] is None:
        return without_value("C3.2", "not run", reason)
    seeds = [seed for seed in pairs[0].seeds if seed in pairs[1].seeds]
    if not seeds:
        return without_value("C3.2", "not run", "the diverse, narrow and random arms have no evaluated seed in common")
    to_narrow, to_random = ([found.paired[found.seeds.index(seed)].share for seed in seeds] for found in pairs)
    note = f"{diverse.name} against {narrow.name} ({_percent(pairs[0])}) and {random.name} ({_percent(pairs[1])}), "
    note += f"each {diverse.design.repeat} times; {_downstream(seeds, diverse, [narrow, random])}"
    claim = decide_claim(
        "C3.2",
        [
            (
                "held-out loss, diverse minus narrow, as a share of the latter",
                Rule(high=-BETTER, opposite=0.0),
                to_narrow,
            ),
            ("held-out loss, diverse minus random, as a share of the latter", Rule(high=BETTER), to_random),
        ],
        _signatures([diverse, narrow, random], pairs[0]),
        note=note,
        updates=_shortest([diverse, narrow, random], seeds),
    )
    losses = [arm.valid_loss for arm in (diverse, narrow, random) if arm.valid_loss is not None]
    return require_learning(claim, min(losses, default=None), _entropy([diverse, narrow, random]))


def _lacking(parts: dict[str, ArmResult | None]) -> str:
    absent = [words for words, arm in parts.items() if arm is None]
    return f"experiment E3 has no run of {' and of '.join(absent)}" if absent else ""


def _no_pair(found: Comparison | None, first: ArmResult | None, second: ArmResult | None) -> str:
    if found is not None and found.paired:
        return ""
    names = " and ".join(arm.name for arm in (first, second) if arm is not None)
    if found is None:
        return f"arms {names} are not matched in updates and tokens"
    return f"arms {names} have no seed that was evaluated in both on the same held-out text"


def _percent(found: Comparison) -> str:
    """`held-out loss +1.3 % [+0.9 %, +1.7 %] over examples, seeds 1, 2`."""
    text = f"held-out loss {percent(found.share)}"
    return f"{text}, {'seed' if len(found.seeds) == 1 else 'seeds'} {', '.join(map(str, found.seeds))}"


def percent(estimate: Estimate | None) -> str:
    """`+1.30 % [+0.90 %, +1.70 %] over examples`; a dash where there is none."""
    if estimate is None or estimate.value != estimate.value:
        return "–"
    text = f"{100 * estimate.value:+.2f} %"
    if estimate.interval is None:
        return f"{text} without an interval"
    low, high = estimate.interval
    return f"{text} [{100 * low:+.2f} %, {100 * high:+.2f} %] over {estimate.over}"


def _downstream(seeds: list[int], diverse: ArmResult, others: list[ArmResult]) -> str:
    """Word similarity of the last snapshots, diverse minus the others, on pairs whose words all compared runs have seen."""
    parts = []
    for other in others:
        for name in ("WordSim-353", "SimLex-999"):
            found = []
            for seed in seeds:
                one, two = diverse.run(seed), other.run(seed)
                if one is not None and two is not None and one.similarity is not None and two.similarity is not None:
                    found.append(score_difference(one.similarity, two.similarity, name))
            together = diverse.combined(found)
            if together is not None:
                interval = together.interval
                ends = "" if interval is None else f" [{interval[0]:+.3f}, {interval[1]:+.3f}] over {together.over}"
                parts.append(f"{name} Spearman minus {other.name}'s {together.value:+.3f}{ends}")
    return "downstream: " + ("; ".join(parts) if parts else "no word similarity was measured")


def _entropy(arms: list[ArmResult]) -> float | None:
    return next(
        (entry.unigram_entropy for arm in arms for entry in arm.runs if entry.unigram_entropy is not None), None
    )


def _shortest(arms: list[ArmResult], seeds: list[int]) -> int:
    """The fewest updates that one of the compared models was trained for."""
    runs = [entry.evaluation for arm in arms for entry in arm.runs if entry.seed in seeds]
    return min(found.update for found in runs if found is not None)


def _signatures(arms: list[ArmResult], found: Comparison) -> list[str]:
    return [entry.signature for arm in arms for entry in arm.runs if entry.seed in found.seeds]
