"""Reads `parameters.npz` and `layers.npz` (docs/layers-format.md): a model's parameters as vectors, and its hidden states.

    parameters = read_parameters("runs/E2/base/seed1/parameters.npz")
    parameters.check(dump)
    states = read_states("runs/E2/base/seed1/layers.npz")

A file that is cut short, of another kind, or does not fit the dump raises EvaluationError with one line.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dump import Dump, Table
from evaluation import EvaluationError, read_npz
from streams import first_line

FORMAT_VERSION = 1
PARAMETERS, LAYERS = "embedding-parameters", "embedding-layers"
SIGN_FREE = ("attention_read", "attention_write")  # singular vectors: their sign has no meaning
AGAIN = "write it again with python -m fairseq_ext.evaluate.layers"


@dataclass(frozen=True)
class Parameters:
    """A read parameters.npz. `vectors` float32 (vector, dim), `untrained` (seed, vector, dim); `layer`, `kind`, `index` (vector,)."""

    path: Path
    about: dict[str, Any]
    kinds: tuple[str, ...]
    layers: int
    vectors: NDArray[np.float32]
    layer: NDArray[np.integer]
    kind: NDArray[np.integer]
    index: NDArray[np.integer]
    untrained: NDArray[np.float32]
    untrained_seed: NDArray[np.integer]

    @property
    def update(self) -> int:
        """The update whose weights these are."""
        return int(self.about["update"])

    @property
    def dim(self) -> int:
        return self.vectors.shape[1]

    def check(self, dump: Dump) -> tuple[Table, int]:
        """The dump's table that belongs to these vectors, and its last snapshot that is not after their update.

        Raises EvaluationError: another width or dictionary, no such snapshot. Raises DumpError: no such table.
        """
        name = self.about.get("table")
        table = dump.table(name if isinstance(name, str) else None)
        if table.dim != self.dim:
            raise EvaluationError(
                f"{self.path}: vectors of width {self.dim}, but {dump.path} has a table of width {table.dim}: another model's; {AGAIN}"
            )
        mine, its = self.about.get("dictionary_sha256"), (dump.attrs.get("corpus") or {}).get("dictionary_sha256")
        if mine and its and mine != its:
            raise EvaluationError(f"{self.path}: made with another dictionary than {dump.path}; {AGAIN}")
        before = table.snapshot_updates[table.snapshot_updates <= self.update]
        if not len(before):
            raise EvaluationError(
                f"{self.path}: {dump.path} holds no snapshot up to update {self.update:,}, on which the vectors are projected; record with snapshots"
            )
        return table, int(before[-1])

    def cells(self) -> NDArray[np.int64]:
        """Numbers of the vectors that are compared, int64 (layer, kind, vector), equally many of each layer and kind.

        The concentration of a cloud grows with the number of its points, so all are cut to the smallest cell, evenly by place.
        Vectors of zero length (in the trained or an untrained model) are left out. Raises EvaluationError where a cell has
        fewer than 3.
        """
        live = np.linalg.norm(self.vectors, axis=1) > 0
        for values in self.untrained:
            live &= np.linalg.norm(values, axis=1) > 0
        members = [
            [np.flatnonzero(live & (self.layer == layer) & (self.kind == kind)) for kind in range(len(self.kinds))]
            for layer in range(self.layers)
        ]
        least = min(len(cell) for row in members for cell in row)
        if least < 3:
            raise EvaluationError(
                f"{self.path}: a layer has {least} vectors of one kind (without those of zero length), at least 3 are needed; write more (--vectors)"
            )
        return np.array([[cell[evenly(len(cell), least)] for cell in row] for row in members], np.int64)


@dataclass(frozen=True)
class HiddenStates:
    """A read layers.npz. `states` float16 (layer, token, dim), `untrained` (seed, layer, token, dim); `row`, `example`, `position` (token,)."""

    path: Path
    about: dict[str, Any]
    layers: tuple[str, ...]
    states: NDArray[np.floating]
    untrained: NDArray[np.floating]
    untrained_seed: NDArray[np.integer]
    row: NDArray[np.integer]
    example: NDArray[np.integer]
    position: NDArray[np.integer]

    @property
    def loss_bits(self) -> float | None:
        """Mean loss over masked positions of the same examples; None where there is none."""
        value = self.about.get("loss_bits")
        return float(value) if isinstance(value, int | float) and np.isfinite(value) else None

    def check(self, table: Table, parameters: Parameters | None = None) -> None:
        """Raise EvaluationError unless the tokens are rows of the table, and the model that of `parameters`."""
        if int(self.row.max()) >= table.rows or int(self.row.min()) < 0:
            raise EvaluationError(
                f"{self.path}: tokens beyond the {table.rows:,} rows of {table.dump.path}: another dictionary's; {AGAIN}"
            )
        if parameters is None:
            return
        if len(self.layers) != parameters.layers + 1 or self.about.get("update") != parameters.about.get("update"):
            raise EvaluationError(
                f"{self.path}: states of {len(self.layers) - 1} layers at update {self.about.get('update')}, but {parameters.path.name} has "
                f"{parameters.layers} layers at update {parameters.update}; {AGAIN}"
            )


def evenly(length: int, most: int) -> NDArray[np.intp]:
    """At most `most` of `length` places, evenly spread."""
    return np.linspace(0, length - 1, most).round().astype(np.intp) if most < length else np.arange(length)


def read_parameters(path: str | Path) -> Parameters:
    """Read a parameters.npz. Raises EvaluationError: no such file, another format or version, arrays that disagree, NaN."""
    path = Path(path)
    arrays, about = _read(path, PARAMETERS, "a model's parameter vectors", ("update", "layers", "kinds", "dim"))
    try:
        kinds, layers, dim = tuple(map(str, about["kinds"])), int(about["layers"]), int(about["dim"])
        int(about["update"])
    except (TypeError, ValueError) as error:
        raise EvaluationError(f"{path}: `about` is damaged ({first_line(error)}); {AGAIN}") from None
    vectors = _array(path, arrays, "vectors", "f", (None, dim))
    count = len(vectors)
    seeds = _array(path, arrays, "untrained_seed", "iu", (None,))
    numbers = {name: _array(path, arrays, name, "iu", (count,)) for name in ("layer", "kind", "index")}
    # An imported model has no untrained ones: an empty array, of whatever width, or none.
    untrained = (
        _array(path, arrays, "untrained", "f", (len(seeds), count, dim))
        if len(seeds)
        else np.zeros((0, count, dim), np.float32)
    )
    for name, size in (("layer", layers), ("kind", len(kinds))):
        if not count or not np.array_equal(np.unique(numbers[name]), np.arange(size)):
            raise EvaluationError(
                f"{path}: `{name}` does not hold the numbers 0 to {size - 1}: the file is damaged; {AGAIN}"
            )
    return Parameters(path, about, kinds, layers, vectors, **numbers, untrained=untrained, untrained_seed=seeds)


def read_states(path: str | Path) -> HiddenStates:
    """Read a layers.npz. Raises EvaluationError as `read_parameters` does."""
    path = Path(path)
    arrays, about = _read(path, LAYERS, "a model's hidden states", ("update",))
    names = tuple(map(str, np.atleast_1d(arrays.get("layer_name", np.zeros(0, "U1")))))
    row = _array(path, arrays, "row", "iu", (None,))
    tokens = len(row)
    states = _array(path, arrays, "states", "f", (len(names), tokens, None))
    seeds = _array(path, arrays, "untrained_seed", "iu", (None,))
    # `--untrained-states 1` of 3: the states are those of the first seeds.
    kept = len(arrays["untrained_states"]) if len(seeds) and "untrained_states" in arrays else 0
    untrained = (
        _array(path, arrays, "untrained_states", "f", (None, *states.shape))
        if kept
        else np.zeros((0, *states.shape), np.float16)
    )
    place = {name: _array(path, arrays, name, "iu", (tokens,)) for name in ("example", "position")}
    if len(names) < 2 or len(np.unique(place["example"])) < 2:
        raise EvaluationError(
            f"{path}: {len(names)} layers of {len(np.unique(place['example']))} examples; at least 2 of each are needed; {AGAIN}"
        )
    return HiddenStates(path, about, names, states, untrained, seeds[:kept], row, **place)


def _read(path: Path, kind: str, what: str, needed: tuple[str, ...]) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """All arrays and `about` of a file of this format and version."""
    arrays = read_npz(path, what)
    try:
        about = json.loads(str(arrays["about"]))
        found = about["format"], about["format_version"]
        missing = [name for name in needed if name not in about]
    except (KeyError, ValueError, TypeError) as error:
        raise EvaluationError(f"{path}: not {what}: `about` is missing or incomplete ({first_line(error)})") from None
    if found != (kind, FORMAT_VERSION):
        raise EvaluationError(
            f"{path}: expected {kind!r} of version {FORMAT_VERSION}, found {found[0]!r} of version {found[1]!r}; {AGAIN}"
        )
    if missing:
        raise EvaluationError(f"{path}: `about` lacks {', '.join(missing)}; {AGAIN}")
    return arrays, about


def _array(
    path: Path, arrays: dict[str, NDArray[Any]], name: str, kinds: str, shape: tuple[int | None, ...]
) -> NDArray[Any]:
    """One array of the dtype kinds and shape given (None: any length above 0 but for seeds), all of it finite."""
    array = arrays.get(name)
    fits = array is not None and array.dtype.kind in kinds and array.ndim == len(shape)
    if array is None or not fits or any(w is not None and w != n for w, n in zip(shape, array.shape, strict=True)):
        words = "is missing" if array is None else f"is {array.dtype} {array.shape}"
        wanted = " x ".join("any" if size is None else str(size) for size in shape)
        raise EvaluationError(f"{path}: array `{name}` {words}, expected {wanted} of kind {kinds[0]!r}; {AGAIN}")
    if kinds == "f" and not all(np.isfinite(part).all() for part in array):
        raise EvaluationError(
            f"{path}: array `{name}` has values that are not finite: training diverged, or the file is damaged"
        )
    return array
