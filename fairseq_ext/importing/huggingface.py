"""Models in the layout of the package transformers: tables, rows, token counts and, where the layout is known, the layers' vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..errors import UserError
from ..evaluate import archive
from ..evaluate.parameters import write_parameters
from ..recording import attributes
from ..recording.corpus import combined, sha256, unigram_entropy_bits
from ..recording.rows import Rows, divide
from . import counts, layouts
from .counts import Counted
from .matrices import Matrix, find_matrices
from .provenance import describe_file, identity_of
from .vocabulary import Vocabulary, json_object, open_vocabulary
from .weights import Weights, open_weights
from .writing import Table, dump_of, imported_before, require_finite, require_room, write_dump


@dataclass(frozen=True)
class Options:
    """What the user chose.

    Attributes:
        places: models' folders or safetensors files.
        run: the folder to write to.
        updates: the update of each model; empty: 0.
        tensors: names of tables in place of the search.
        tokenizer: the tokenizer's file or folder; ``None``: the first model's.
        counts: what token counts are taken from.
        vectors, seed: of ``parameters.npz``.
        overwrite: replace an imported dump that is there.
    """

    places: tuple[Path, ...]
    run: Path
    updates: tuple[int, ...] = ()
    tensors: tuple[str, ...] = ()
    tokenizer: Path | None = None
    counts: tuple[Path, ...] = ()
    vectors: int = 512
    seed: int = 1
    overwrite: bool = False


@dataclass(frozen=True)
class Model:
    """One model of a series."""

    place: Path
    update: int
    weights: Weights


def in_order(options: Options) -> list[Model]:
    """The models by update, their weights opened.

    Raises:
        UserError: the numbers of models and updates differ, two updates are the same, or a model cannot be read.
    """
    places, updates = options.places, options.updates
    if not updates and len(places) == 1:
        updates = (0,)
    if len(updates) != len(places):
        raise UserError(
            f"expected one --update N for each model; found {len(places)} models and {len(updates)} updates; give as many of one as of the other"
        )
    if len(set(updates)) < len(updates):
        twice = next(update for update in updates if updates.count(update) > 1)
        raise UserError(f"expected different updates; found --update {twice} more than once")
    order = sorted(range(len(places)), key=lambda k: updates[k])
    return [Model(places[k], updates[k], open_weights(places[k])) for k in order]


def import_models(options: Options) -> list[str]:
    """Write ``dump.zarr`` with one snapshot for each model, and ``parameters.npz`` of the last where its layout is known.

    Returns:
        what was done, as lines for the user.

    Raises:
        UserError: something cannot be read or does not fit, or the dump cannot be written; nothing is left then.
    """
    models = in_order(options)
    found = [find_matrices(model.weights, options.tensors) for model in models]
    matrices = found[0]
    for model, other in zip(models[1:], found[1:], strict=True):
        if [(m.name, m.rows, m.dim) for m in other] != [(m.name, m.rows, m.dim) for m in matrices]:
            raise UserError(
                f"expected models of one kind; {model.place} has the tables {_words(other)}, {models[0].place} has {_words(matrices)}; "
                "import each by itself"
            )
    if len({matrix.rows for matrix in matrices}) > 1:
        raise UserError(
            f"expected tables with as many rows as one another; found {_words(matrices)}; import them one by one"
        )
    vocabulary = open_vocabulary(options.tokenizer or models[0].place).padded(matrices[0].rows)
    if options.tokenizer is None:
        for model in models[1:]:
            if open_vocabulary(model.place).padded(matrices[0].rows).tokens != vocabulary.tokens:
                raise UserError(
                    f"expected one tokenizer of all models; {model.place} has another than {models[0].place}; import each by itself"
                )
    config = _config(models[-1].place)
    about = _about(models, matrices, vocabulary, options)
    if imported_before(options.run, about["identity"], options.overwrite):
        return [f"{dump_of(options.run)}: imported already from the same files with the same options; nothing to do"]
    rows_size = sum(len(text) for text in vocabulary.texts)
    require_room(options.run, len(models) * sum(m.rows * (4 * m.dim + 64) for m in matrices) + rows_size)
    _require_finite(models, matrices)
    counted = counts.count(options.counts, vocabulary)
    about["counts"] = counted.about()
    rows = _rows(vocabulary, counted)
    model_kind = {"_name": config.get("model_type"), **config}
    described = attributes.root(
        [matrix.name for matrix in matrices],
        attributes.run({"model": model_kind}, None, None),
        _corpus(vocabulary, counted, rows),
        {"identity": None, "must_match": {}, "options": {}},
        None,
        models[0].update,
        {"model": model_kind},
    )
    tables = [Table(matrix.name, matrix.aliases, "text", rows, matrix.dim) for matrix in matrices]
    write_dump(options.run, tables, _snapshots(models, matrices), described | {"imported": about})
    lines = [_said(options.run, models, matrices, rows, counted)]
    lines += [
        f"{matrix.name}: {matrix.dtype} in the file, converted to float32"
        for matrix in matrices
        if matrix.dtype != "float32"
    ]
    return [*lines, _parameters(options, models[-1], matrices, config, vocabulary)]


def _rows(vocabulary: Vocabulary, counted: Counted) -> Rows:
    """The rows; where token counts are unknown their only frequency group is named so, and no analysis takes them for rows that never occur."""
    rows = divide(vocabulary.special, vocabulary.unused, counted.counts, vocabulary.texts)
    if counted.known:
        return rows
    (zero, unreachable) = rows.groups
    return replace(rows, groups=(replace(zero, name="unknown", max_count=None), unreachable))


def _words(matrices: Sequence[Matrix]) -> str:
    return ", ".join(f"{m.name} ({m.rows:,} x {m.dim:,})" for m in matrices)


def _config(place: Path) -> dict[str, Any]:
    """The model's ``config.json``; empty where there is none."""
    return json_object((place if place.is_dir() else place.parent) / "config.json")


def _about(
    models: Sequence[Model], matrices: Sequence[Matrix], vocabulary: Vocabulary, options: Options
) -> dict[str, Any]:
    """What the dump says of where it is from. The identity covers every file that is read and every option that decides the content."""
    about: dict[str, Any] = {
        "kind": "huggingface",
        "files": [{**describe_file(path), "update": model.update} for model in models for path in model.weights.files],
        "tensors": {
            m.name: {"aliases": list(m.aliases), "dtype": m.dtype, "converted": m.dtype != "float32"} for m in matrices
        },
        "tokenizer": {"form": vocabulary.form, "files": [describe_file(path) for path in vocabulary.files]},
        "movement": "not computed: every movement statistic is NaN",
    }
    hashes = [sha256(path) for path in counts.files_of(options.counts)]
    about["identity"] = identity_of(about, hashes, options.vectors, options.seed)
    return about


def _corpus(vocabulary: Vocabulary, counted: Counted, rows: Rows) -> dict[str, Any]:
    """The attribute ``corpus``: the text that was counted in, which need not be what the model was trained on."""
    return {
        "name": counted.name,
        "data": None,
        "dictionary_sha256": combined([sha256(path) for path in vocabulary.files]),
        "train_sha256": counted.sha256,
        "train_tokens": int(counted.counts.sum()) if counted.known else None,
        "train_examples": counted.lines,
        "unigram_entropy_bits": unigram_entropy_bits(counted.counts[rows.counted]) if counted.known else None,
        "source": "the text in which tokens were counted; the model may have been trained on another"
        if counted.known
        else counts.UNKNOWN,
        "languages": None,
    }


def _require_finite(models: Sequence[Model], matrices: Sequence[Matrix]) -> None:
    """Look at every table before text is counted, which takes long.

    Raises:
        UserError: values that are not finite.
    """
    for update, values in _snapshots(models, matrices):
        for name, value in values.items():
            require_finite(value, f"the table {name} at update {update:,}")


def _snapshots(models: Sequence[Model], matrices: Sequence[Matrix]) -> Iterator[tuple[int, dict[str, Tensor]]]:
    for model in models:
        yield model.update, {matrix.name: model.weights.get_float(matrix.name) for matrix in matrices}


def _said(run: Path, models: Sequence[Model], matrices: Sequence[Matrix], rows: Rows, counted: Counted) -> str:
    updates = ", ".join(f"{model.update:,}" for model in models)
    text = f"{dump_of(run)}: {_words(matrices)} at update {updates}; {int(rows.counted.sum()):,} rows counted, "
    text += f"{int((rows.group == -1).sum()):,} special, {rows.groups[-1].rows:,} unused; "
    if not counted.known:
        return text + "token counts unknown (all 0): give --counts for what needs frequency"
    where = f"{counted.lines:,} lines of {counted.name}" if counted.lines else counted.name
    zero = int((rows.count[rows.counted] == 0).sum())
    return text + f"{int(counted.counts.sum()):,} tokens in {where}, {zero:,} counted rows without one"


def _parameters(
    options: Options, model: Model, matrices: Sequence[Matrix], config: dict[str, Any], vocabulary: Vocabulary
) -> str:
    """Write ``parameters.npz`` where the layout is known; the line that says what was done. An older one is removed where it is not."""
    path = options.run / "parameters.npz"
    table = matrices[0]
    try:
        read = layouts.read_layers(model.weights, config, table.dim)
        for number, layer in enumerate(read.layers):
            if not all(np.isfinite(array).all() for array in vars(layer).values() if array is not None):
                raise layouts.OtherLayout(f"weights of layer {number} are not finite")
    except layouts.OtherLayout as error:
        path.unlink(missing_ok=True)
        return f"no parameters.npz: {error}"
    tied = len(matrices) == 1 and bool(table.aliases or config.get("tie_word_embeddings", True))
    about = {
        "checkpoint": model.weights.files[0].name,
        "update": model.update,
        "imported": "huggingface",
        "layout": read.layout,
        "dictionary_sha256": combined([sha256(entry) for entry in vocabulary.files]),
        "versions": archive.versions(),
        "normalize_before": read.before,
        "tied": tied,
        "table": table.name,
    }
    arrays = write_parameters(path, read.layers, read.heads, about, options.vectors, options.seed)
    return (
        f"{path}: {len(arrays['vectors']):,} vectors of {len(read.layers)} layers ({read.layout}, {read.heads} heads)"
    )
