"""Is a more isotropic table better here? Isotropy of the arms against loss and word similarity, as words and a picture; no verdict."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from scipy import stats

from cause_claims import LISTS
from cause_design import INPUT, OUTPUT, PLACES, RULES, TIED
from cause_drawing import COLOURS, style
from cause_tables import of_table, places, score_of
from claims import Estimate
from plots import new_figure, save

if TYPE_CHECKING:
    from cause import ArmResult, CauseResult

MEASURES = {
    "isoscore": "IsoScore",
    "mean_cosine": "mean cosine",
    "mean_cosine_centred": "mean cosine, centred",
}
FEWEST_ARMS = 4  # for a rank correlation over arms
FILLS = {TIED: "full", INPUT: "none", OUTPUT: "left"}


def isotropy_words(result: CauseResult) -> list[str]:
    """Whether more isotropic arms are better here, as rank correlations over arms; sentences without a verdict."""
    sentences = []
    for place in PLACES:
        arms = [arm for arm in result.arms if place in places(arm)]
        for name, label in MEASURES.items():
            x = [of_table(arm, place, lambda table, n=name: table.isotropy_end.get(n)) for arm in arms]
            for goal, better in (("loss", "lower is better"), ("word similarity", "higher is better")):
                y = [
                    arm.combined([entry.loss for entry in arm.runs])
                    if goal == "loss"
                    else of_table(arm, place, lambda table: score_of(table, LISTS[0], "raw"))
                    for arm in arms
                ]
                pairs = [(a.value, b.value) for a, b in zip(x, y, strict=True) if a is not None and b is not None]
                if len(pairs) >= FEWEST_ARMS:
                    sentences.append(_rank_words(PLACES[place], label, goal, better, pairs))
    if not sentences:
        return [
            f"Fewer than {FEWEST_ARMS} arms have isotropy and a loss or word similarity: whether more isotropic is better here cannot be told."
        ]
    return [
        "Is a more isotropic table better here? It need not be (I-STAR, Rudman and Eickhoff 2024), and isotropy alone counts as no "
        "success. Rank correlations over arms (means over seeds), with their range when any one arm is left out; the arms are few and "
        "were chosen, so this is a description and no test.",
        *sentences,
    ]


def _rank_words(place: str, label: str, goal: str, better: str, pairs: list[tuple[float, float]]) -> str:
    values = np.array(pairs)
    whole = _spearman(values)
    left = [_spearman(np.delete(values, index, axis=0)) for index in range(len(values))]
    ends = f"{min(left):+.2f} to {max(left):+.2f}" if all(map(math.isfinite, left)) else "not known"
    return f"{place[:1].upper()}{place[1:]}: Spearman of {label} and {goal} ({better}) over {len(pairs)} arms {whole:+.2f} ({ends})."


def _spearman(values: NDArray[np.float64]) -> float:
    if len(values) < 3 or np.ptp(values[:, 0]) == 0 or np.ptp(values[:, 1]) == 0:
        return math.nan
    return float(stats.spearmanr(values[:, 0], values[:, 1]).statistic)


def figure(result: CauseResult, out: Path) -> list[Path]:
    """Each table of each arm as a point: isotropy across, loss and word similarity up."""
    goals: dict[str, Callable[[ArmResult, str], Estimate | None]] = {
        "held-out loss (bits)": lambda arm, _: arm.combined([entry.loss for entry in arm.runs]),
        f"{LISTS[0]}, Spearman": lambda arm, place: of_table(arm, place, lambda t: score_of(t, LISTS[0], "raw")),
    }
    points = [(arm, place) for arm in result.arms for place in places(arm)]
    known = {goal: [entry for entry in points if ask(*entry) is not None] for goal, ask in goals.items()}
    known = {goal: found for goal, found in known.items() if len(found) > 1}
    if not known:
        return []
    drawn, axes = new_figure(columns=len(MEASURES), rows=len(known), width=4.3, height=3.3)
    for row, (goal, found) in enumerate(known.items()):
        for column, (name, words) in enumerate(MEASURES.items()):
            axis = axes[row, column]
            for arm, place in found:
                x = of_table(arm, place, lambda table, n=name: table.isotropy_end.get(n))
                _point(axis, x, goals[goal](arm, place), *style(result, arm), FILLS[place])
            axis.set_xlabel(words)
            axis.locator_params(axis="x", nbins=5)
        axes[row, 0].set_ylabel(goal)
    handles: dict[str, Line2D] = {}
    for arm, _ in points:
        colour, marker = style(result, arm)
        label = RULES[arm.design.rule] if arm.design.rule in COLOURS else arm.name
        handles.setdefault(label, Line2D([], [], color=colour, marker=marker, linestyle=""))
    for place in dict.fromkeys(place for _, place in points):
        mark = Line2D(
            [], [], color="black", marker="o", linestyle="", fillstyle=FILLS[place], markerfacecoloralt="white"
        )
        handles[PLACES[place]] = mark
    drawn.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=4)
    drawn.suptitle(
        "Is a more isotropic table better here? Last snapshot, 95 % intervals", x=0.01, ha="left", fontsize=11
    )
    return save(drawn, out, "cause_isotropy")


def _point(axis: Axes, x: Estimate | None, y: Estimate | None, colour: str, marker: str, fill: str) -> None:
    if x is None or y is None:
        return
    if x.interval is not None:
        axis.plot(x.interval, [y.value] * 2, color=colour, linewidth=0.9, alpha=0.6)
    if y.interval is not None:
        axis.plot([x.value] * 2, y.interval, color=colour, linewidth=0.9, alpha=0.6)
    axis.plot(
        x.value,
        y.value,
        marker=marker,
        color=colour,
        markersize=7,
        linestyle="",
        fillstyle=fill,
        markerfacecoloralt="white",
    )
