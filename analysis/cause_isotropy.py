"""Is a more isotropic table better here? Isotropy of the arms against loss and word similarity, in words without a verdict."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from cause_claims import LISTS
from cause_design import PLACES
from cause_tables import of_table, places, score_of

if TYPE_CHECKING:
    from cause import CauseResult

MEASURES = {
    "isoscore": "IsoScore",
    "mean_cosine": "mean cosine",
    "mean_cosine_centred": "mean cosine, centred",
}
FEWEST_ARMS = 4  # for a rank correlation over arms


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
