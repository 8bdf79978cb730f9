"""E2's numbers as tables for readers, and as plain values for machines."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from claims import Estimate
from cli import plain
from layer_series import MEASURES, RANDOM, STATE_MEASURES, TRAINED, UNTRAINED, Series, envelope, together
from layers_result import SHUFFLED
from page import shown

if TYPE_CHECKING:
    from layers_result import LayersResult
    from layers_run import LayersRun, ParametersResult

EXAMPLES = 4  # of each third of the layers
VARIANTS = {TRAINED: "trained", UNTRAINED: "untrained", SHUFFLED: "shuffled text", RANDOM: "random directions"}


def trends_table(result: LayersResult) -> list[list[str]]:
    """How each measure changes from the first layer to the last, for the model and its controls."""
    lines = [["measure", "trained", "untrained", "trained minus untrained", "shuffled text", "random directions"]]
    for row in result.trends:
        found = (row.trained, row.untrained, row.difference, row.shuffled, row.random)
        lines.append([MEASURES[row.measure], *[_words(entry) for entry in found]])
    return lines


def layers_table(result: LayersResult) -> list[list[str]]:
    """Concentration by layer of the model and its controls, and some measures of the model beside it."""
    columns = [("concentration", variant) for variant in VARIANTS]
    columns += [(name, TRAINED) for name in ("silhouette", "coherence", "entropy", "self_similarity", "dimension")]
    known = [(name, variant, result.series(name, variant)) for name, variant in columns]
    known = [(name, variant, found) for name, variant, found in known if found]
    if not known:
        return [[]]
    head = [
        f"{MEASURES[name]}{f', {VARIANTS[variant]}' if name == 'concentration' else ''}" for name, variant, _ in known
    ]
    lines = [["layer", *head]]
    series = {}
    for place, (name, variant, found) in enumerate(known):
        merged = together(found) if variant in (TRAINED, SHUFFLED) else envelope(found)
        series[place] = _by_layer(name, merged)
    for layer in sorted({layer for values in series.values() for layer in values}):
        name = "embedding" if layer < 0 else str(layer)
        lines.append([name, *[_digits(series[place].get(layer, math.nan)) for place in range(len(known))]])
    return lines


def kinds_table(result: LayersResult) -> list[list[str]]:
    """Concentration by kind of vector: mean over the lower and the higher layers' halves, trained and untrained."""
    lines = [["kind of vector", "layers", "trained", "untrained", "random directions"]]
    found = result.first.parameters if result.first is not None else None
    if found is None:
        return lines
    half = found.layers // 2
    for place, kind in enumerate(found.kinds):
        for part in (slice(0, half), slice(half, found.layers)):
            models = [[found.trained], found.untrained, [found.random]]
            cells = [
                _digits(float(np.mean([entry.by_kind["concentration"][part, place] for entry in of]))) if of else "–"
                for of in models
            ]
            lines.append([kind_words(kind), f"{part.start}–{part.stop - 1}", *cells])
    return lines


def examples_table(result: LayersResult) -> list[list[str]]:
    """The most coherent of the vectors looked at, some of each third of the layers, one a layer and kind, with their nearest tokens."""
    lines = [["layer", "kind", "number", "coherence", "nearest tokens"]]
    found = result.first.parameters if result.first is not None else None
    if found is None:
        return lines
    shape = found.index.shape
    coherence = found.trained.tokens.coherence.reshape(shape)
    best = coherence.argmax(axis=2)
    for layers in np.array_split(np.arange(found.layers), min(3, found.layers)):
        cells = sorted(
            ((float(coherence[layer, kind].max()), layer, kind) for layer in layers for kind in range(shape[1])),
            reverse=True,
        )
        for value, layer, kind in sorted(cells[:EXAMPLES], key=lambda cell: cell[1:]):
            place = best[layer, kind]
            number = int(found.index[layer, kind, place])
            rows = found.trained.tokens.nearest.reshape(*shape, -1)[layer, kind, place]
            tokens = " ".join(shown(found.texts[row], 20) for row in rows)
            lines.append([str(layer), kind_words(found.kinds[kind]), f"{number:,}", _digits(value), tokens])
    return lines


def kind_words(kind: str) -> str:
    """`ffn_key` as `feed-forward key`."""
    return kind.replace("_", " ").replace("ffn", "feed-forward")


def label_words(found: ParametersResult) -> str:
    """How many tokens have a label of each sort, and on how many pairs the numbers rest."""
    parts = []
    for entry in found.labels:
        pairs = found.trained.pairs[entry.name]
        parts.append(
            f"{entry.name}: {entry.labelled:,} labelled tokens, {entry.expected:.1%} of random pairs share a label, "
            f"{pairs.sum():,.0f} pairs among the nearest tokens ({pairs.sum(axis=1).min():,.0f} to {pairs.sum(axis=1).max():,.0f} a layer)"
        )
    return "; ".join(parts) if parts else "no token of the vocabulary has a label"


def data(result: LayersResult) -> dict[str, Any]:
    """For machines: every measure by layer and variant of each run, CKA, the trends and the examples."""
    return {
        "main": result.main,
        "shuffled": result.shuffled,
        "trends": plain(result.trends),
        "runs": {run.name: _run(run) for runs in result.arms.values() for run in runs},
        "examples": examples_table(result)[1:],
    }


def _run(run: LayersRun) -> dict[str, Any]:
    found, states = run.parameters, run.states
    content: dict[str, Any] = {
        "signature": run.signature,
        "valid_loss_bits": run.valid_loss,
        "unigram_entropy_bits": run.unigram_entropy,
        "series": {
            name: {variant: [plain(entry) for entry in models] for variant, models in variants.items()}
            for name, variants in run.series.items()
        },
    }
    if found is not None:
        models = {TRAINED: [found.trained], UNTRAINED: found.untrained, RANDOM: [found.random]}
        content |= {
            "update": found.update,
            "snapshot": found.snapshot,
            "kinds": list(found.kinds),
            "vectors": found.trained.vectors,
            "token_vectors": found.trained.chosen.shape[2],
            "by_kind": {variant: [plain(entry.by_kind) for entry in of] for variant, of in models.items()},
            "pairs": plain(found.trained.pairs),
        }
    if states is not None:
        names = ("layers", "tokens", "examples", "repeated", "cka_trained", "cka_untrained", "cka_between")
        content["states"] = {name: plain(getattr(states, name)) for name in names}
    return content


def _by_layer(name: str, found: Series) -> dict[int, float]:
    """Numbers by the layer's number; hidden states begin with the embedding, -1."""
    first = -1 if name in STATE_MEASURES else 0
    return {layer + first: float(value) for layer, value in enumerate(found.values)}


def _digits(value: float) -> str:
    if not math.isfinite(value):
        return "–"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _words(estimate: Estimate | None) -> str:
    if estimate is None or not math.isfinite(estimate.value):
        return "–"
    digits = 3 if abs(estimate.value) < 10 else 1
    ends = "" if estimate.interval is None else " [{:+.{d}f}, {:+.{d}f}]".format(*estimate.interval, d=digits)
    return f"{estimate.value:+.{digits}f}{ends}"
