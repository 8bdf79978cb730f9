"""Hidden states layer by layer: the measures of hidden_states.py, the probes, and how alike the layers are (CKA).

Linear CKA, unbiased (table_alignment.py): between all layers of the trained and of the untrained model, and between the two
layer by layer. More than CKA_TOKENS tokens are cut to that many, evenly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

import hidden_states
from claims import Estimate
from evaluation import EvaluationError
from layer_files import HiddenStates, evenly
from layer_series import PROBE_MEASURES, STATE_MEASURES, TRAINED, UNTRAINED, Series, series
from probe import ProbeLayer
from table_alignment import linear_cka

CKA_TOKENS = 1500
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class StatesResult:
    """`series` by measure and variant; CKA (layer, layer) of the trained and of the first untrained model, and (layer,) between.

    `tokens`, `examples`: how many; `repeated`: tokens with enough contexts for the self-similarity.
    """

    layers: tuple[str, ...]
    tokens: int
    examples: int
    repeated: int
    series: dict[str, dict[str, list[Series]]]
    cka_trained: Floats
    cka_untrained: Floats | None
    cka_between: Floats | None


def measure(found: HiddenStates) -> StatesResult:
    """All measures of the trained and the untrained models' states of the same tokens."""
    text = hidden_states.text_of(found.row, found.example)
    result: dict[str, dict[str, list[Series]]] = {name: {} for name in STATE_MEASURES}
    for variant, models in ((TRAINED, found.states[None]), (UNTRAINED, found.untrained)):
        for states in models:
            measured = [hidden_states.measure_layer(layer, text) for layer in states]
            for name in STATE_MEASURES:
                result[name].setdefault(variant, []).append(series([entry[name] for entry in measured]))
    chosen = evenly(len(found.row), CKA_TOKENS)
    trained = found.states[:, chosen]
    untrained = found.untrained[0][:, chosen] if len(found.untrained) else None
    return StatesResult(
        layers=found.layers,
        tokens=len(found.row),
        examples=text.drawn.shape[1],
        repeated=len(text.groups),
        series=result,
        cka_trained=cka_matrix(trained),
        cka_untrained=None if untrained is None else cka_matrix(untrained),
        cka_between=None
        if untrained is None
        else np.array([linear_cka(one, two) for one, two in zip(trained, untrained, strict=True)]),
    )


def cka_matrix(states: NDArray[np.floating]) -> Floats:
    """Linear CKA of all pairs of layers (layer, token, dim), symmetric with ones on the diagonal."""
    result = np.eye(len(states))
    for one, two in combinations(range(len(states)), 2):
        result[one, two] = result[two, one] = linear_cka(states[one], states[two])
    return result


def probe_series(found: Sequence[ProbeLayer], layers: Sequence[str] | None) -> dict[str, Series]:
    """A probe's accuracy and selectivity by layer. Raises EvaluationError where its layers are not those of the states."""
    names = [entry.layer for entry in found]
    if layers is not None and names != list(layers):
        raise EvaluationError(
            f"the probe's layers {', '.join(names)} are not {', '.join(layers)}; "
            "write both files again with python -m fairseq_ext.evaluate.layers"
        )
    values: dict[str, list[Estimate]] = {name: [getattr(entry, name) for entry in found] for name in PROBE_MEASURES}
    return {name: series(estimates) for name, estimates in values.items()}
