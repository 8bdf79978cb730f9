"""How large a model is: parameters, tables, and roughly the memory that training it takes. Formulas, checked against fairseq's models by a test."""

from __future__ import annotations

from dataclasses import dataclass

from .known_figures import MASKED_SHARE, TRAINING_BYTES, Timed

COPIES = 5  # of a table at most: four wait (--record-queue) and one is written
POSITIONS = 514  # learned positions of a masked LM of at most 512 tokens: fairseq counts two more


@dataclass(frozen=True)
class Model:
    """A model of fairseq's `roberta` (`decoder` 0 layers) or `transformer` (as many decoder layers as encoder layers).

    `tables` are (rows, dim) of the recorded ones, `parameters` all of them.
    """

    layers: int
    dim: int
    ffn: int
    rows: int
    decoder: int
    tables: tuple[tuple[int, int], ...]
    parameters: int


def masked_lm(
    layers: int,
    dim: int,
    ffn: int,
    rows: int,
    *,
    untied: bool = False,
    pre_norm: bool = False,
    positions: int = POSITIONS,
) -> Model:
    """fairseq's RoBERTa, with its language model's head."""
    tables = ((rows, dim),) * (2 if untied else 1)
    embedding = positions * dim + 2 * dim
    head = dim * dim + dim + 2 * dim + rows
    last = 2 * dim if pre_norm else 0
    parameters = len(tables) * rows * dim + embedding + layers * _encoder_layer(dim, ffn) + last + head
    return Model(layers, dim, ffn, rows, 0, tables, parameters)


def translation(layers: int, dim: int, ffn: int, rows: int, share: str) -> Model:
    """fairseq's `transformer` with a joint vocabulary; `share` is `none`, `decoder` or `all`. Its positions are computed, not learned."""
    tables = ((rows, dim),) * {"none": 3, "decoder": 2, "all": 1}[share]
    decoder_layer = _encoder_layer(dim, ffn) + 4 * (dim * dim + dim) + 2 * dim
    parameters = len(tables) * rows * dim + layers * (_encoder_layer(dim, ffn) + decoder_layer)
    return Model(layers, dim, ffn, rows, layers, tables, parameters)


def _encoder_layer(dim: int, ffn: int) -> int:
    return 4 * (dim * dim + dim) + 2 * dim * ffn + ffn + dim + 4 * dim


def memory(
    model: Model, tokens: float, length: float, heads: int, *, movement: bool, cause: bool = False
) -> tuple[float, float]:
    """Bytes of a training at `tokens` in a batch, in sequences of `length`: what is always held, and roughly the activations.

    Held: value, gradient and Adam's two moments of each parameter, and a table's copies for the recording: those that wait to be
    written, for the movement statistics the table at update 0 and before the step, and for the causes again that before the step. Activations in 32 bits, after Korthikanti et
    al. 2022 (34 d bytes a token and layer in 16 bits): 8 d + 2 ffn numbers, 2 d of dropout masks, and 9 bytes for each head and pair
    of tokens; of the output three numbers for each row of the vocabulary.
    """
    copies = COPIES + (2 if movement else 0) + (1 if cause else 0)
    held = TRAINING_BYTES * model.parameters + copies * sum(4 * rows * dim for rows, dim in model.tables)
    attention = 9 * heads * length
    layer = 4 * (8 * model.dim + 2 * model.ffn) + 2 * model.dim + attention
    decoder = 4 * (13 * model.dim + 2 * model.ffn) + 3 * model.dim + 2 * attention
    predicted = tokens * (1.0 if model.decoder else MASKED_SHARE)
    activations = tokens * (model.layers * layer + model.decoder * decoder) + predicted * model.rows * 4 * 3
    return held, activations


def products(layers: int, dim: int, ffn: int, rows: int) -> float:
    """Multiplications of a masked LM's forward pass for one token, those of attention between tokens aside."""
    return layers * (4 * dim * dim + 2 * dim * ffn) + MASKED_SHARE * (dim * dim + rows * dim)


def scaled_seconds(timed: Timed, model: Model, updates: int, tokens: float) -> float:
    """What `updates` of `tokens` each would take where `timed` was timed, if time goes with the products of matrices."""
    known = products(timed.layers, timed.dim, timed.ffn, timed.rows) * timed.tokens * timed.updates
    return timed.seconds * products(model.layers, model.dim, model.ffn, model.rows) * tokens * updates / known
