"""What is read and measured of one run of E2: parameter vectors in the embedding space, hidden states, probes."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

import layer_parameters
import layer_states
import probe
from categories import find_tokens
from dump import Dump, Table, signature
from embedding_space import EmbeddingSpace, embedding_space, isotropic_entropy
from evaluation import EvaluationError
from evidence import Evidence
from homogeneity import Labels, category_labels, labels
from layer_files import HiddenStates, Parameters, read_parameters, read_states
from layer_parameters import Profile
from layer_series import RANDOM, TRAINED, UNTRAINED, Series
from layer_states import StatesResult
from parts_of_speech import tags_of_rows
from runs import Missing, Run

Result = TypeVar("Result")


@dataclass(frozen=True)
class ParametersResult:
    """The profiles of a model and its controls. `snapshot`: the update of the table that the vectors are projected on.

    `entropy_by_chance`: the entropy of an isotropic direction; `index` int64 (layer, kind, vector): unit or singular value of the
    vectors whose tokens were looked at. `problem` says why there are no untrained models, or is empty.
    """

    kinds: tuple[str, ...]
    layers: int
    update: int
    snapshot: int
    texts: list[str]
    labels: list[Labels]
    trained: Profile
    untrained: list[Profile]
    random: Profile
    entropy_by_chance: float
    index: NDArray[np.integer]
    problem: str


@dataclass(frozen=True)
class LayersRun:
    """One run. What is None could not be had; why stands in the evidence's list of what is missing.

    `series` holds every measure by layer (layer_series.MEASURES), by variant, one entry a model.
    """

    name: str
    arm: str
    seed: int
    signature: str
    parameters: ParametersResult | None
    states: StatesResult | None
    series: dict[str, dict[str, list[Series]]]
    valid_loss: float | None
    unigram_entropy: float | None
    learned: str


def read_run(evidence: Evidence, run: Run, tags: Mapping[str, str] | None = None) -> LayersRun | None:
    """Measure one run; `tags`: part of speech by form. None where it has neither file; problems go to `evidence.missing`."""
    parameters = _file(
        evidence, run, "parameters.npz", read_parameters, "its parameters are not seen in the embedding space"
    )
    states = _file(evidence, run, "layers.npz", read_states, "nothing is said of its hidden states")
    found = _attempt(evidence, run, partial(measure_parameters, parameters, tags)) if parameters is not None else None
    hidden = _attempt(evidence, run, partial(_states, states, parameters)) if states is not None else None
    if found is None and hidden is None:
        return None
    result = dict(hidden.series) if hidden is not None else {}
    if found is not None:
        result |= _variants(found)
    result |= _probes(evidence, run, None if hidden is None else hidden.layers)
    check = evidence.learning(run)
    loss, entropy = check.valid_loss, check.unigram_entropy
    if loss is None and states is not None:
        loss = states.loss_bits
    if entropy is None and parameters is not None:
        value = parameters.about.get("unigram_entropy_bits")
        entropy = float(value) if isinstance(value, int | float) else None
    dump = evidence.dump(run)
    text = f"experiment:{run.experiment}|arm:{run.arm}|seed:{run.seed}"
    if dump is not None:
        name = None if parameters is None else parameters.about.get("table")
        text = signature(dump, name, None if found is None else found.snapshot)
    if parameters is not None:
        text += f"|vectors:{parameters.about.get('vectors_seed')}"
    if states is not None:
        text += f"|tokens:{states.about.get('tokens_seed')}"
    return LayersRun(run.name, run.arm, run.seed, text, found, hidden, result, loss, entropy, check.reason)


def layers_command(run: Run) -> str:
    """The command that writes a run's files, or the one that finishes the run."""
    return run.again if run.finished is False else f"python -m fairseq_ext.evaluate.layers {shlex.quote(str(run.path))}"


def measure_parameters(parameters: Parameters, tags: Mapping[str, str] | None, dump: Dump) -> ParametersResult:
    """The vectors of a model and its controls in the embedding space of the dump's table. Raises DumpError, GeometryError."""
    table, update = parameters.check(dump)
    cells = parameters.cells()
    known = category_labels(find_tokens(table.texts, table.counts), table.rows)
    spoken = labels("pos", tags_of_rows(table.texts, tags), table.rows) if tags else None
    known += [spoken] if spoken is not None else []
    untrained, problem = [], "the model has no untrained twin"
    if len(parameters.untrained):
        if 0 in table.snapshot_updates:
            first = _space(table, 0)
            # One at a time: each is as large as the trained model's vectors.
            untrained = [
                layer_parameters.measure(first, values[cells], parameters.kinds, known)
                for values in parameters.untrained
            ]
            problem = ""
        else:
            problem = "the dump holds no snapshot of update 0, on which the untrained models are projected"
    space = _space(table, update)
    trained = layer_parameters.measure(space, parameters.vectors[cells], parameters.kinds, known)
    directions = layer_parameters.random_directions((*cells.shape, parameters.dim))
    return ParametersResult(
        kinds=parameters.kinds,
        layers=parameters.layers,
        update=parameters.update,
        snapshot=update,
        texts=table.texts,
        labels=known,
        trained=trained,
        untrained=untrained,
        random=layer_parameters.measure(space, directions, parameters.kinds, known),
        entropy_by_chance=isotropic_entropy(len(space.units)),
        index=parameters.index[np.take_along_axis(cells, trained.chosen, axis=2)],
        problem=problem,
    )


def _space(table: Table, update: int) -> EmbeddingSpace:
    return embedding_space(table.snapshot(update), table.counted)


def _states(states: HiddenStates, parameters: Parameters | None, dump: Dump) -> StatesResult:
    name = None if parameters is None else parameters.about.get("table")
    states.check(dump.table(name), parameters)
    return layer_states.measure(states)


def _variants(found: ParametersResult) -> dict[str, dict[str, list[Series]]]:
    models = {TRAINED: [found.trained], UNTRAINED: found.untrained, RANDOM: [found.random]}
    return {
        name: {variant: [profile.series[name] for profile in profiles] for variant, profiles in models.items()}
        for name in found.trained.series
    }


def _probes(evidence: Evidence, run: Run, layers: tuple[str, ...] | None) -> dict[str, dict[str, list[Series]]]:
    """Accuracy and selectivity by layer; a run without the probes' files is not listed: they need a treebank."""
    result: dict[str, dict[str, list[Series]]] = {}
    for variant, file in ((TRAINED, "layers_probe.npz"), (UNTRAINED, "layers_probe_untrained.npz")):
        path = run.path / file
        if not path.is_file():
            continue

        def ask(_: Dump, path: Path = path) -> dict[str, Series]:
            try:
                return layer_states.probe_series(probe.measure(probe.read_probe(path)), layers)
            except EvaluationError as error:
                raise EvaluationError(str(error) if str(path) in str(error) else f"{path}: {error}") from None

        for name, entry in (_attempt(evidence, run, ask) or {}).items():
            result.setdefault(name, {})[variant] = [entry]
    return result


def _attempt(evidence: Evidence, run: Run, ask: Callable[[Dump], Result]) -> Result | None:
    """The answer of one question to one run's dump, None where it failed (and is listed as missing)."""

    def asked(dump: Dump) -> Result | None:
        try:
            return ask(dump)
        except EvaluationError as error:  # the layers' files, and not the dump
            evidence.missing.append(Missing(f"{run.name}: {error}.", layers_command(run)))
            return None

    return next(iter(evidence.measure([run], {"question": asked})["question"]), None)


def _file(evidence: Evidence, run: Run, name: str, read: Callable[[Path], Result], lost: str) -> Result | None:
    """Read a file of the run's folder; an absent or broken one is listed with the command that makes it."""
    path = run.path / name
    if not path.is_file():
        evidence.missing.append(Missing(f"{run.name}: no {name}, so {lost}.", layers_command(run)))
        return None
    try:
        return read(path)
    except EvaluationError as error:
        evidence.missing.append(Missing(f"{run.name}: {error}.", layers_command(run)))
        return None
