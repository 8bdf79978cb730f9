"""The verdicts of D1 to D6 by the rules of docs/cause.md, from the measured arms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

import cause_ratio
from bootstrap import over_updates, percentile_interval
from cause_design import INPUT, OUTPUT, TIED
from cause_run import CauseRun, TableResult
from claims import Claim, Estimate, Rule, decide_claim, without_value
from repetition_claims import percent
from runs import command
from similarity import score_difference

if TYPE_CHECKING:
    from cause import ArmResult, CauseResult

ZERO_SUM = 0.01  # D1: the most that the summed gradient may be of the summed lengths
FOLLOWS = 0.7  # D2: R^2
DRIFTED = 0.5  # D3: r of a table that drifted
REMOVED = 0.05  # D3, D6: r of a table that did not
WORSE = 0.005  # D4: share of the loss
RISES = 0.05  # D5: Spearman with human scores
APART = 0.3  # D6: r, output minus input table
LISTS = ("WordSim-353", "SimLex-999")
FEWEST = 8  # records, for an interval over updates
ADAM, COUPLED, SGD = ("adam", True), ("coupled", True), ("sgd", True)
ADAM_UNTIED, COUPLED_UNTIED = ("adam", False), ("coupled", False)


def decide(result: CauseResult) -> list[Claim]:
    """All six claims; `not run` with the reason and the command where what they need is not there."""
    return [rule(result) for rule in (_zero_sum, _second_moment, _removed, _loss, _similarity, _untied)]


def zero_sum(table: TableResult) -> Estimate | None:
    """|sum of the head's gradients| over the sum of all lengths, median over the recorded updates; None where not recorded."""
    if table.cause is None:
        return None
    numbers = table.cause.numbers
    length = numbers["gradient_length"]
    share = np.divide(numbers["head_sum"], length, out=np.full_like(length, np.nan), where=length > 0)
    return median(share)


def follows(table: TableResult, name: str) -> Estimate | None:
    """`second_moment_r2` or `second_moment_spearman`, median over the last half of the recorded updates."""
    if table.cause is None:
        return None
    values = table.cause.numbers[name]
    return median(values[len(values) // 2 :])


def median(values: NDArray[np.float64]) -> Estimate | None:
    """Median over updates, with a moving-block bootstrap's interval over updates; None where no value is finite."""
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    value = float(np.median(known))
    if len(known) < FEWEST:
        return Estimate(value, None, "updates")
    samples = over_updates(lambda chosen: float(np.median(known[chosen])), len(known))
    return Estimate(value, percentile_interval(samples), "updates")


def word_difference(
    first: CauseRun, second: CauseRun, name: str, variant: str, *, seen_only: bool = False
) -> Estimate | None:
    """Spearman of one list, `first` minus `second`, of their main tables' last snapshots, over pairs."""
    one, two = first.main.similarity, second.main.similarity
    if one is None or two is None:
        return None
    return score_difference(one, two, name, variant=variant, seen_only=seen_only)


def _zero_sum(result: CauseResult) -> Claim:
    def measured(place: str) -> Callable[[Sequence[CauseRun]], Estimate | None]:
        return lambda runs: (table := runs[0].tables.get(place)) and zero_sum(table)

    words = "summed gradient of the head over summed lengths, "
    return _decide(
        result,
        "D1",
        [
            (f"{words}Adam tied", Rule(high=ZERO_SUM), [ADAM], measured(TIED)),
            (f"{words}Adam untied, output table", Rule(high=ZERO_SUM), [ADAM_UNTIED], measured(OUTPUT)),
        ],
        "a recorded stream cause with the roles of the rows",
    )


def _second_moment(result: CauseResult) -> Claim:
    return _decide(
        result,
        "D2",
        [
            (
                "R^2 of second moment on token count, Adam tied",
                Rule(low=FOLLOWS),
                [ADAM],
                lambda runs: follows(runs[0].main, "second_moment_r2"),
            ),
        ],
        "a recorded stream cause with second moments",
        note=lambda _: _rank_words(result),
    )


def _rank_words(result: CauseResult) -> str:
    """Spearman of the pairs of D2, which decides nothing."""
    adam = result.arm_of(*ADAM)
    assert adam is not None  # its R^2 was measured
    found = adam.combined([follows(entry.main, "second_moment_spearman") for entry in adam.runs])
    if found is None:
        return ""
    ends = "" if found.interval is None else f" [{found.interval[0]:+.3f}, {found.interval[1]:+.3f}] over {found.over}"
    return f"beside it, deciding nothing: Spearman of the same pairs {found.value:+.3f}{ends}"


def _removed(result: CauseResult) -> Claim:
    claim = _decide(
        result,
        "D3",
        [
            ("r, Coupled Adam, tied", Rule(high=REMOVED), [COUPLED], lambda runs: _finite(runs[0].main.end)),
            ("r, SGD on the table, tied", Rule(high=REMOVED), [SGD], lambda runs: _finite(runs[0].main.end)),
            ("r, Adam, tied", Rule(low=DRIFTED), [ADAM], lambda runs: _finite(runs[0].main.end)),
        ],
        "statistics or snapshots",
    )
    if not claim.parts or claim.parts[2].verdict == "holds":
        return claim
    reason = f"{claim.reason}; Adam's own r is not above {DRIFTED} with its interval: there is nothing to remove"
    return replace(claim, verdict="inconclusive", reason=reason)


def _loss(result: CauseResult) -> Claim:
    def measured(runs: Sequence[CauseRun]) -> Estimate | None:
        return result.share_of(runs[0], runs[1])

    words = "held-out loss minus Adam's, as a share of it, tied: "
    return _decide(
        result,
        "D4",
        [
            (f"{words}Coupled Adam", Rule(high=WORSE), [COUPLED, ADAM], measured),
            (f"{words}SGD", Rule(high=WORSE), [SGD, ADAM], measured),
        ],
        "an evaluation of the same held-out text (evaluation.npz)",
        note=lambda _: "; ".join(
            f"{rule} {percent(found.share)}" for rule in ("coupled", "sgd") if (found := result.to_adam(rule, True))
        ),
    )


def _similarity(result: CauseResult) -> Claim:
    def beside(_: Sequence[Sequence[Estimate]]) -> str:
        coupled, adam = result.arm_of(*COUPLED), result.arm_of(*ADAM)
        parts = []
        for name in LISTS:
            for variant in ("raw", "centred"):
                for seen_only in (False, True) if _exposed(coupled) else (False,):
                    if (name, variant, seen_only) == (LISTS[0], "raw", False):
                        continue
                    estimate = result.over_seeds(
                        coupled,
                        adam,
                        lambda a, b, n=name, v=variant, s=seen_only: word_difference(a, b, n, v, seen_only=s),
                    )
                    if estimate is not None:
                        ends = estimate.interval
                        text = "" if ends is None else f" [{ends[0]:+.3f}, {ends[1]:+.3f}]"
                        parts.append(
                            f"{name} {variant}{', seen words' if seen_only else ''} {estimate.value:+.3f}{text}"
                        )
        return "beside it, deciding nothing: " + "; ".join(parts) if parts else ""

    return _decide(
        result,
        "D5",
        [
            (
                "WordSim-353 Spearman of raw cosines, tied, Coupled Adam minus Adam",
                Rule(low=RISES, opposite=0.0),
                [COUPLED, ADAM],
                lambda runs: word_difference(runs[0], runs[1], LISTS[0], "raw"),
            )
        ],
        "snapshots with words of WordSim-353",
        note=beside,
    )


def _exposed(arm: ArmResult | None) -> bool:
    """Did the runs count which words they saw?"""
    found = [entry.main.similarity for entry in arm.runs] if arm is not None else []
    return any(score.seen is not None for entry in found if entry is not None for score in entry.scores.values())


def _untied(result: CauseResult) -> Claim:
    def apart(runs: Sequence[CauseRun]) -> Estimate | None:
        output, entry = runs[0].tables.get(OUTPUT), runs[0].tables.get(INPUT)
        if output is None or entry is None:
            return None
        return _finite(cause_ratio.difference(output.end, entry.end, output.parts, entry.parts))

    def end(runs: Sequence[CauseRun]) -> Estimate | None:
        output = runs[0].tables.get(OUTPUT)
        return output and _finite(output.end)

    return _decide(
        result,
        "D6",
        [
            ("r, Adam untied, output minus input table", Rule(low=APART), [ADAM_UNTIED], apart),
            ("r, Coupled Adam untied, output table", Rule(high=REMOVED), [COUPLED_UNTIED], end),
        ],
        "both tables' statistics",
    )


PartRule = tuple[str, Rule, list[tuple[str, bool]], Callable[[Sequence[CauseRun]], Estimate | None]]


def _decide(
    result: CauseResult,
    claim_id: str,
    parts: list[PartRule],
    needs: str,
    *,
    note: Callable[[list[list[Estimate]]], str] = lambda _: "",
) -> Claim:
    """A claim of parts (measure, rule, arms, question to the arms' runs of one seed), on the seeds that all parts have."""
    wanted = list(dict.fromkeys(key for _, _, arms, _ in parts for key in arms))
    arms = {key: result.arm_of(*key) for key in wanted}
    lacking = [f"{rule}{'' if tied else '-untied'}" for (rule, tied), arm in arms.items() if arm is None]
    answers = [_by_seed([arms[key] for key in keys], question) for _, _, keys, question in parts]
    if lacking:
        found = [f"{words} {_mean(answer):+.4f}" for (words, *_), answer in zip(parts, answers, strict=True) if answer]
        beside = f"; measured all the same: {'; '.join(found)}" if found else ""
        reason = f"{result.experiment} has no arm {' and no arm '.join(lacking)}{beside}; to run them: {_again(result)}"
        return without_value(claim_id, "not run", reason)
    known = [arm for arm in arms.values() if arm is not None]
    if reason := result.unequal(known):
        return without_value(claim_id, "not run", reason)
    empty = [arms_of for (_, _, arms_of, _), answer in zip(parts, answers, strict=True) if not answer]
    if empty:
        names = " and ".join(arm.name for key in empty[0] if (arm := arms[key]) is not None)
        reason = f"no seed of {names} has {needs}; see what is missing, or run again: {_again(result)}"
        return without_value(claim_id, "not run", reason)
    seeds = sorted(set.intersection(*(set(answer) for answer in answers)))
    if not seeds:
        names = ", ".join(arm.name for arm in known)
        return without_value(
            claim_id, "not run", f"arms {names} have no seed in common that has {needs}: {_again(result)}"
        )
    estimates = [[answer[seed] for seed in seeds] for answer in answers]
    runs = [entry for arm in known for entry in arm.runs if entry.seed in seeds]
    words = [text for text in (note(estimates), loss_words(known)) if text]
    return decide_claim(
        claim_id,
        [(measure, rule, found) for (measure, rule, *_), found in zip(parts, estimates, strict=True)],
        [entry.signature for entry in runs],
        note="; ".join(words),
        updates=min(entry.updates for entry in runs),
    )


def _by_seed(
    arms: Sequence[ArmResult | None], question: Callable[[Sequence[CauseRun]], Estimate | None]
) -> dict[int, Estimate]:
    answers = {}
    for first in arms[0].runs if arms[0] is not None else []:
        runs = [arm and arm.run(first.seed) for arm in arms]
        if all(run is not None for run in runs) and (found := question(runs)) is not None:  # type: ignore[arg-type]
            answers[first.seed] = found
    return answers


def loss_words(arms: Sequence[ArmResult]) -> str:
    """Where the loss stood: `validation loss adam 9.80, coupled 9.70 bits (unigram entropy 11.07)`; empty where not known."""
    losses = [f"{arm.name} {arm.valid_loss:.2f}" for arm in arms if arm.valid_loss is not None]
    entropies = [entry.learning.unigram_entropy for arm in arms for entry in arm.runs if entry.learning.unigram_entropy]
    if not losses:
        return "the validation loss is not known"
    entropy = f" (unigram entropy {entropies[0]:.2f})" if entropies else ""
    return f"validation loss {', '.join(losses)} bits{entropy}"


def _again(result: CauseResult) -> str:
    return command(result.experiment, "standard")


def _mean(answer: dict[int, Estimate]) -> float:
    return float(np.mean([entry.value for entry in answer.values()]))


def _finite(estimate: Estimate) -> Estimate | None:
    return estimate if estimate.value == estimate.value else None
