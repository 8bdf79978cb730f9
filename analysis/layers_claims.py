"""The verdicts of C5.1 and C5.2 by STUDY.md's rules, from the concentration of the projected parameter vectors by layer.

With t_l the concentration of layer l (mean over kinds), u_l the mean of the untrained models' and d_l = t_l - u_l:

- C5.1: the least-squares slope over layers is negative, of t and of d. Given is the slope times L - 1: what the line changes by
  from the first layer to the last.
- C5.2: the mean of the lower layers (0-6 of 12) is above that of the higher ones (7-11), of t and of d.

Intervals: layer_trends.py. A model of fewer than LEAST_LAYERS layers decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean
from typing import TYPE_CHECKING

from claims import Claim, Estimate, Rule, combine_seeds, decide_claim, merge_signatures, require_learning, without_value
from layer_series import RANDOM, TRAINED, UNTRAINED
from layer_trends import LEAST_LAYERS, Floats, Trend, beyond, lower_layers, rise, step
from layers_result import SHUFFLED, values

if TYPE_CHECKING:
    from layers_result import LayersResult
    from layers_run import LayersRun

MEASURE = "concentration"
STUDY_LAYERS = 12


def decide(result: LayersResult) -> list[Claim]:
    """Both claims; `not run` with the reason where what they need is not there."""
    runs = [run for run in result.runs(result.main) if run.parameters is not None]
    layers = runs[0].parameters.layers if runs and runs[0].parameters is not None else 0
    lower = lower_layers(layers)
    sides = f"layers {_span(0, lower)} minus {_span(lower, layers)}"
    return [
        _claim(result, runs, "C5.1", f"slope over {layers} layers, times {layers - 1}", Rule(high=0), rise),
        _claim(result, runs, "C5.2", sides, Rule(low=0), step),
    ]


def _claim(
    result: LayersResult,
    runs: list[LayersRun],
    claim_id: str,
    words: str,
    rule: Rule,
    statistic: Callable[[Floats], Trend],
) -> Claim:
    if not runs:
        return without_value(
            claim_id, "not run", "no run of experiment E2 has parameter vectors (parameters.npz) and a recording"
        )
    layers = len(runs[0].series[MEASURE][TRAINED][0].values)
    signature = merge_signatures([run.signature for run in runs])
    if layers < LEAST_LAYERS:
        reason = f"the model has {layers} layers; a trend over layers needs at least {LEAST_LAYERS}"
        return without_value(claim_id, "inconclusive", reason, seeds=len(runs), signature=signature)
    own, apart = [], []
    for run in runs:
        trained, untrained = run.series[MEASURE][TRAINED][0].values, values(run.series[MEASURE][UNTRAINED])
        own.append(statistic(trained).estimate)
        apart.append(beyond(statistic, trained, untrained).estimate)
    claim = decide_claim(
        claim_id,
        [(f"{MEASURE}, {words}", rule, own), ("the same minus the untrained models'", rule, apart)],
        [run.signature for run in runs],
        note="; ".join(_notes(result, runs, statistic, layers)),
        updates=min(run.parameters.update for run in runs if run.parameters is not None),
    )
    losses = [run.valid_loss for run in runs if run.valid_loss is not None]
    entropy = next((run.unigram_entropy for run in runs if run.unigram_entropy is not None), None)
    return require_learning(claim, fmean(losses) if losses else None, entropy)


def _notes(result: LayersResult, runs: list[LayersRun], statistic: Callable[[Floats], Trend], layers: int) -> list[str]:
    notes = []
    untrained = [len(run.series[MEASURE][UNTRAINED]) for run in runs]
    if not max(untrained):
        problem = runs[0].parameters.problem if runs[0].parameters is not None else ""
        notes.append(f"{problem}: random directions are the only control, and decide nothing")
    elif min(untrained) == 1:
        notes.append("one untrained model: how much untrained models differ is not in the interval")
    for variant, name in (
        ("untrained", UNTRAINED),
        ("trained on shuffled text", SHUFFLED),
        ("random directions", RANDOM),
    ):
        found = [statistic(entry).estimate for entry in values(result.series(MEASURE, name))]
        if found:
            notes.append(f"{variant} {_number(combine_seeds(found))}")
        elif name == SHUFFLED:
            notes.append("no arm was trained on shuffled text")
    if layers != STUDY_LAYERS:
        notes.append(f"the study's model has {STUDY_LAYERS} layers, this one {layers}")
    return notes


def _number(estimate: Estimate) -> str:
    ends = "" if estimate.interval is None else f" [{estimate.interval[0]:+.3f}, {estimate.interval[1]:+.3f}]"
    return f"{estimate.value:+.3f}{ends}"


def _span(first: int, end: int) -> str:
    """`0-6`, or `3` for one layer."""
    return f"{first}-{end - 1}" if end - first > 1 else f"{first}"
