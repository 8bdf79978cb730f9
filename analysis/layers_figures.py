"""The figures of E2: one colour, line and marker a variant (trained, untrained, shuffled text, random directions) in all of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from layer_series import RANDOM, TRAINED, UNTRAINED, Series, envelope, together
from layer_trends import lower_layers
from layers_map import draw_map
from layers_result import SHUFFLED
from layers_tables import VARIANTS, kind_words
from plots import band, new_figure, save

if TYPE_CHECKING:
    from layers_result import LayersResult

STYLES = {
    TRAINED: ("#0072B2", "-", "o"),
    UNTRAINED: ("#D55E00", "--", "s"),
    SHUFFLED: ("#009E73", "-.", "^"),
    RANDOM: ("#6e6e6e", ":", "x"),
}


def figures(result: LayersResult, out: Path) -> list[Path]:
    """Every figure for which there is something to draw; PNG and PDF."""
    parts = (_parameters, _kinds, _labels, _states, _cka, draw_map)
    return [path for draw in parts for path in draw(result, out)]


def _parameters(result: LayersResult, out: Path) -> list[Path]:
    found = result.first.parameters if result.first is not None else None
    if found is None:
        return []
    figure, axes = new_figure(columns=2, rows=2, width=5.4, height=3.5)
    panels = {
        "concentration": ("Concentration (decides C5)", "mean cosine to 10 nearest fellows"),
        "coherence": ("Coherence of the 10 nearest tokens", "mean cosine of pairs"),
        "entropy": ("Entropy over all tokens", "entropy / log n"),
        "silhouette": ("Silhouette, layers as clusters", "mean silhouette"),
    }
    for axis, (name, (title, label)) in zip(axes.flat, panels.items(), strict=True):
        _draw(axis, result, name)
        axis.set_title(title)
        axis.set_ylabel(label)
        _layer_axis(axis, found.layers)
    axes[1, 0].axhline(found.entropy_by_chance, color="black", linewidth=0.8, label="isotropic direction, in theory")
    axes[1, 1].axhline(0, color="black", linewidth=0.6)
    _divide(axes.flat, found.layers)
    _legend(figure, axes[1, 0], _bands(result, "vectors"))
    return save(figure, out, "layers_parameters")


def _kinds(result: LayersResult, out: Path) -> list[Path]:
    found = result.first.parameters if result.first is not None else None
    if found is None:
        return []
    figure, axes = new_figure(columns=2, rows=-(-len(found.kinds) // 2), width=5.2, height=3.2)
    others = [run.parameters for run in result.runs(result.shuffled) if run.parameters is not None]
    mine = [run.parameters for run in result.runs(result.main) if run.parameters is not None]
    models = {
        TRAINED: [entry.trained for entry in mine],
        UNTRAINED: [profile for entry in mine for profile in entry.untrained],
        SHUFFLED: [entry.trained for entry in others],
        RANDOM: [entry.random for entry in mine],
    }
    for axis in axes.flat[len(found.kinds) :]:
        axis.set_visible(False)
    for place, (axis, kind) in enumerate(zip(axes.flat, found.kinds, strict=False)):
        for variant, profiles in models.items():
            if profiles:
                values = np.stack([profile.by_kind["concentration"][:, place] for profile in profiles])
                nothing = np.full(found.layers, np.nan)
                low, high = (values.min(axis=0), values.max(axis=0)) if len(values) > 1 else (nothing, nothing)
                _line(axis, Series(values.mean(axis=0), low, high, ""), variant, 0)
        axis.set_title(kind_words(kind).capitalize())
        axis.set_ylabel("concentration")
        _layer_axis(axis, found.layers)
    _divide(axes.flat, found.layers)
    _legend(figure, axes[0, 0], "bands: lowest to highest model; each panel has its own scale")
    return save(figure, out, "layers_kinds")


def _labels(result: LayersResult, out: Path) -> list[Path]:
    found = result.first.parameters if result.first is not None else None
    names = [] if found is None else [entry.name for entry in found.labels]
    names = [name for name in names if _any(result, f"{name}_agreement")]
    if found is None or not names:
        return []
    titles = {
        "grammatical": "Grammatical categories",
        "semantic": "Semantic categories",
        "pos": "Parts of speech (treebank)",
    }
    figure, axes = new_figure(columns=len(names), width=4.6, height=3.8)
    for axis, name in zip(axes.flat, names, strict=True):
        _draw(axis, result, f"{name}_agreement")
        axis.axhline(0, color="black", linewidth=0.6)
        axis.set_title(titles[name])
        _layer_axis(axis, found.layers)
    axes[0, 0].set_ylabel("agreement of the nearest tokens' labels\n(0: chance, 1: all pairs share)")
    _divide(axes.flat, found.layers)
    _legend(figure, axes[0, 0], _bands(result, "vectors"))
    return save(figure, out, "layers_homogeneity")


def _states(result: LayersResult, out: Path) -> list[Path]:
    panels = {
        "baseline": ("Anisotropy: tokens of different examples", "mean cosine"),
        "self_similarity": ("Self-similarity of a token", "mean cosine − anisotropy"),
        "intra_sentence": ("Similarity to the example's mean", "mean cosine − anisotropy"),
        "dimension": ("Intrinsic dimension (TwoNN)", "dimensions"),
        "isoscore": ("IsoScore", "0 to 1 (isotropic)"),
        "accuracy": ("Part-of-speech probe", "accuracy, and (open marks) selectivity"),
    }
    shown = {name: words for name, words in panels.items() if _any(result, name)}
    if not shown:
        return []
    figure, axes = new_figure(columns=3, rows=-(-len(shown) // 3), width=4.1, height=3.3)
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    for axis, (name, (title, label)) in zip(axes.flat, shown.items(), strict=False):
        _draw(axis, result, name, first=-1)
        if name == "accuracy":
            _draw(axis, result, "selectivity", first=-1, filled=False)
        axis.set_title(title)
        axis.set_ylabel(label)
        _layer_axis(axis, len(result.series(name, TRAINED)[0].values) - 1, embedding=True)
        if name == "dimension":
            axis.set_ylim(bottom=0)
        else:
            axis.axhline(0, color="black", linewidth=0.6)
    _legend(figure, axes[0, 0], _bands(result, "examples of the text or words of the probe"))
    return save(figure, out, "layers_states")


def _cka(result: LayersResult, out: Path) -> list[Path]:
    states = next((run.states for run in result.runs(result.main) if run.states is not None), None)
    if states is None:
        return []
    matrices = {"Trained": states.cka_trained, "Untrained": states.cka_untrained}
    known = {name: matrix for name, matrix in matrices.items() if matrix is not None}
    columns = len(known) + (states.cka_between is not None)
    figure, axes = new_figure(columns=columns, width=4.2, height=4.6)
    number = len(states.layers)
    image = None
    places = _ticks(number - 1, embedding=True)
    for axis, (name, matrix) in zip(axes.flat, known.items(), strict=False):
        image = axis.imshow(np.clip(matrix, 0, 1), vmin=0, vmax=1, cmap="viridis", origin="lower")
        axis.set_title(f"{name}: CKA of layers' states")
        axis.grid(False)
        for set_ticks in (axis.set_xticks, axis.set_yticks):
            set_ticks([place + 1 for place in places], [_tick(place) for place in places])
        axis.set_xlabel("output of layer")
    axes[0, 0].set_ylabel("output of layer")
    if image is not None:
        figure.colorbar(
            image, ax=list(axes.flat[: len(known)]), label="linear CKA (unbiased)", shrink=0.5, location="bottom"
        )
    if states.cka_between is not None:
        axis = axes.flat[-1]
        colour, line, marker = STYLES[TRAINED]
        axis.plot(np.arange(number) - 1, states.cka_between, color=colour, linestyle=line, marker=marker, markersize=4)
        axis.axhline(0, color="black", linewidth=0.6)
        axis.set_ylim(min(-0.05, float(np.nanmin(states.cka_between)) - 0.05), 1.03)
        axis.set_title("Trained against untrained, by layer")
        axis.set_ylabel("linear CKA (unbiased)")
        _layer_axis(axis, number - 1, embedding=True)
    return save(figure, out, "layers_cka")


def _any(result: LayersResult, measure: str) -> bool:
    return any(np.isfinite(entry.values).any() for entry in result.series(measure, TRAINED))


def _draw(axis: Axes, result: LayersResult, measure: str, *, first: int = 0, filled: bool = True) -> None:
    """One line a variant: seeds of an arm taken together, controls as mean with the lowest and highest model."""
    for variant in STYLES:
        found = result.series(measure, variant)
        if found:
            merged = together(found) if variant in (TRAINED, SHUFFLED) else envelope(found)
            _line(axis, merged, variant, first, filled=filled)


def _line(axis: Axes, found: Series, variant: str, first: int, *, filled: bool = True) -> None:
    colour, line, marker = STYLES[variant]
    layers = np.arange(len(found.values)) + first
    axis.plot(
        layers,
        found.values,
        color=colour,
        linestyle=line,
        marker=marker,
        markersize=4,
        markerfacecolor=colour if filled else "white",
        linewidth=1.4,
        label=VARIANTS[variant] if filled else None,
    )
    if found.has_interval and variant != SHUFFLED:  # a third band would hide the others
        band(axis, layers, found.low, found.high, colour, alpha=0.18)


def _divide(axes: list[Axes], layers: int) -> None:
    """A thin line between the lower and the higher layers."""
    for axis in axes:
        axis.axvline(lower_layers(layers) - 0.5, color="#bbbbbb", linewidth=0.9, zorder=0)


def _layer_axis(axis: Axes, layers: int, *, embedding: bool = False) -> None:
    places = _ticks(layers, embedding=embedding)
    axis.set_xticks(places, [_tick(place) for place in places])
    axis.set_xlabel("output of layer" if embedding else "layer")
    axis.yaxis.set_major_locator(MaxNLocator(6))


def _ticks(layers: int, *, embedding: bool) -> list[int]:
    """Every layer, or every second or so of many; with the embedding as -1 the label needs the room of layer 0."""
    if not embedding:
        return list(range(0, layers, -(-layers // 13)))
    return [-1, *range(1, layers, max(2, -(-layers // 8)))] if layers > 6 else list(range(-1, layers))


def _tick(place: int) -> str:
    return "emb." if place < 0 else str(place)


def _legend(figure: Figure, axis: Axes, title: str) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=max(len(labels), 1), title=title, title_fontsize=8.5
    )


def _bands(result: LayersResult, over: str) -> str:
    """What the bands are over: `over` where there are too few seeds."""
    runs = result.runs(result.main)
    if len(runs) >= 3:
        of_trained = f"95 % over {len(runs)} seeds"
    else:
        of_trained = f"95 % over {over} ({'one seed' if len(runs) == 1 else 'two seeds, intervals joined'})"
    return f"bands: trained model {of_trained}; untrained models, lowest to highest (where several)"
