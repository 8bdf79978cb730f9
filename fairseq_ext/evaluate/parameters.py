"""What each layer reads from the residual stream and writes to it, as vectors of the embedding's width: ``parameters.npz``.

``docs/layers-format.md`` is the contract. This module needs NumPy alone: weights come as arrays, whatever framework they were trained in.
Feed-forward keys and values after Geva et al. 2021 (https://arxiv.org/abs/2012.14913), what a head reads and writes after Dar et al. 2023
(https://arxiv.org/abs/2209.02535) and Millidge & Black 2022 (singular vectors).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from . import archive
from .masks import shuffled

FORMAT = "embedding-parameters"
FORMAT_VERSION = 1
KINDS = ("ffn_key", "ffn_value", "attention_read", "attention_write")
DEFAULT = 512
GIVEN = ("normalize_before", "tied", "table")  # what the weights do not tell and ``about`` must
_ORDER = 17  # marks the key by which vectors are chosen
_PAIRS = tuple(number // 2 for number in range(len(KINDS)))  # kinds whose vectors of one index belong to one unit

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LayerWeights:
    """The weights of one layer, in PyTorch's layout (output, input).

    Attributes:
        key: float32 [ffn, d], ``fc1.weight``.
        value: float32 [d, ffn], ``fc2.weight``.
        v: float32 [d, d], the value projection; head h has the rows h d / heads to (h + 1) d / heads.
        o: float32 [d, d], the output projection; head h has the columns of the same numbers.
        key_gain: float32 [d], gain of the norm before the feed-forward block; ``None``: no norm is before it.
        v_gain: float32 [d], the same of the attention block.

    Raises:
        ValueError: shapes that do not fit together.
    """

    key: Floats
    value: Floats
    v: Floats
    o: Floats
    key_gain: Floats | None = None
    v_gain: Floats | None = None

    def __post_init__(self) -> None:
        if self.key.ndim != 2:
            raise ValueError(f"key: expected (ffn, d); found the shape {self.key.shape}")
        ffn, d = self.key.shape
        for name, wanted in (("value", (d, ffn)), ("v", (d, d)), ("o", (d, d)), ("key_gain", (d,)), ("v_gain", (d,))):
            found = getattr(self, name)
            if found is not None and found.shape != wanted:
                raise ValueError(f"{name}: expected the shape {wanted} beside a key of {(ffn, d)}; found {found.shape}")

    @property
    def dim(self) -> int:
        """The width d of the residual stream."""
        return int(self.key.shape[1])

    @property
    def ffn(self) -> int:
        """Number of feed-forward units."""
        return int(self.key.shape[0])


def head_vectors(v: npt.NDArray[np.floating], o: npt.NDArray[np.floating], heads: int) -> tuple[Floats, Floats]:
    """What the heads of a layer read and write: singular vectors of each product W_O W_V, times their singular values.

    The product of a head, (d, d), has at most the rank r = d / heads, so its decomposition is that of an (r, r) matrix between the
    orthonormal factors of the two thin matrices: exact, and d / r squared times cheaper than that of the product.

    Args:
        v: [d, d], the value projection, gains folded in.
        o: [d, d], the output projection.
        heads: number of heads, a divisor of d.

    Returns:
        read and write, float32 [d, d] each, row h r + k being place k of head h, singular values descending. With s the length of a row,
        the sum over k of write[k] (outer) read[k] / s[k] is the head's product. The sign of a pair is arbitrary; here the largest component
        (by its size) of what is read is positive, so that it does not depend on the machine.

    Raises:
        ValueError: ``heads`` does not divide d.
    """
    d = len(v)
    if heads < 1 or d % heads:
        raise ValueError(f"heads: expected a divisor of the width {d}; found {heads}")
    rank = d // heads
    values = v.astype(np.float64).reshape(heads, rank, d)
    outputs = o.astype(np.float64).reshape(d, heads, rank).transpose(1, 0, 2)
    out_basis, out_factor = np.linalg.qr(outputs)
    in_basis, in_factor = np.linalg.qr(values.transpose(0, 2, 1))
    left, singular, right = np.linalg.svd(out_factor @ in_factor.transpose(0, 2, 1))
    read = right @ in_basis.transpose(0, 2, 1)
    write = (out_basis @ left).transpose(0, 2, 1)
    largest = np.take_along_axis(read, np.abs(read).argmax(2, keepdims=True), axis=2)
    scale = singular[:, :, None] * np.where(largest < 0, -1.0, 1.0)
    return ((read * scale).reshape(d, d).astype(np.float32), (write * scale).reshape(d, d).astype(np.float32))


def layer_vectors(weights: LayerWeights, heads: int) -> dict[str, Floats]:
    """All vectors of a layer by kind, in the residual stream's own basis: gains folded in, biases left out.

    Args:
        weights: the layer.
        heads: number of attention heads.

    Returns:
        kind -> float32 [n, d], n being ffn for feed-forward kinds and d (head x rank + place) for attention kinds; not normalised.

    Raises:
        ValueError: ``heads`` does not divide d.
    """
    v = weights.v if weights.v_gain is None else weights.v * weights.v_gain
    read, write = head_vectors(v, weights.o, heads)
    key = weights.key if weights.key_gain is None else weights.key * weights.key_gain
    return dict(
        zip(KINDS, (key.astype(np.float32), weights.value.T.astype(np.float32), read, write), strict=True)
    )  # in the order of KINDS


def gather(layers: Sequence[LayerWeights], heads: int, most: int, seed: int) -> dict[str, npt.NDArray[Any]]:
    """The vectors of a model, at most ``most`` of each layer and kind.

    The choice depends on (seed, layer, number of units) alone, so that it is the same of every model of a size; fewer are a subset of more. A unit's
    key and value are chosen together, as are what a head reads and writes at one singular value.

    Args:
        layers: the layers, first to last.
        heads: number of attention heads.
        most: vectors of each layer and kind at most; 0: all.
        seed: of the choice.

    Returns:
        ``vectors`` float32 [vector, dim], ``layer`` int16 [vector], ``kind`` uint8 [vector] (index into :data:`KINDS`) and ``index`` int32 [vector],
        ordered by layer, then kind, then index.

    Raises:
        ValueError: no layers, or ones of different widths.
    """
    if not layers or len({weights.dim for weights in layers}) > 1:
        raise ValueError(
            f"layers: expected at least one, all of one width; found the widths {[weights.dim for weights in layers]}"
        )
    vectors, layer, kind, index = [], [], [], []
    for number, weights in enumerate(layers):
        for place, found in enumerate(layer_vectors(weights, heads).values()):
            order = shuffled((seed, number, _PAIRS[place], _ORDER), len(found))
            taken = np.sort(order[: most or len(order)])
            vectors.append(found[taken])
            layer.append(np.full(len(taken), number, np.int16))
            kind.append(np.full(len(taken), place, np.uint8))
            index.append(taken.astype(np.int32))
    return {
        "vectors": np.concatenate(vectors),
        "layer": np.concatenate(layer),
        "kind": np.concatenate(kind),
        "index": np.concatenate(index),
    }


def write_parameters(
    path: Path,
    layers: Sequence[LayerWeights],
    heads: int,
    about: dict[str, Any],
    most: int = DEFAULT,
    seed: int = 1,
    untrained: Iterable[tuple[int, Sequence[LayerWeights]]] = (),
) -> dict[str, npt.NDArray[Any]]:
    """Write ``parameters.npz``, whole or not at all.

    Args:
        path: the file.
        layers: the layers of the model, first to last.
        heads: number of attention heads.
        about: entries on checkpoint, corpus and versions, and ``normalize_before``, ``tied`` and ``table``; those that the weights tell are added.
        most: vectors of each layer and kind at most; 0: all.
        seed: of the choice of vectors.
        untrained: seed and layers of untrained models of the same size, taken one at a time; none for an imported model.

    Returns:
        the arrays as they were written.

    Raises:
        ValueError: ``about`` lacks an entry, or the models differ in size.
        UserError: the file cannot be written.
    """
    missing = [name for name in GIVEN if name not in about]
    if missing:
        raise ValueError(f"about: expected the entries {', '.join(GIVEN)}; {', '.join(missing)} missing")
    arrays = gather(layers, heads, most, seed)
    seeds, others = [], []
    for one, other in untrained:
        seeds.append(one)
        others.append(gather(other, heads, most, seed)["vectors"])
        if others[-1].shape != arrays["vectors"].shape:
            raise ValueError(f"untrained: expected models of the same size; that of seed {one} is of another")
    shape = (len(others), *arrays["vectors"].shape)
    arrays["untrained"] = np.stack(others) if others else np.zeros(shape, np.float32)
    arrays["untrained_seed"] = np.array(seeds, dtype=np.int64)
    known = {
        "kinds": list(KINDS),
        "layers": len(layers),
        "dim": layers[0].dim,
        "heads": heads,
        "ffn": layers[0].ffn,
        "vectors_seed": seed,
    }
    archive.write(
        path,
        {"format": FORMAT, "format_version": FORMAT_VERSION, **about, **known},
        arrays,
        compressed=False,
        advice="make room, or ask for fewer vectors",
    )
    return arrays
