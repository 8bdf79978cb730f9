"""Hidden states of a trained model by layer: at marked places of any sequences, and of whole held-out examples (``layers.npz``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ..errors import UserError
from .examples import HELD_OUT, SPLITS, usable
from .loading import Trained, token_rows
from .losses import batches, losses, mask, maskable, padded
from .masks import whole_items

_ORDER = 13  # marks the key by which examples are chosen


@dataclass(frozen=True)
class Marked:
    """A sequence, and the places in it whose states are wanted.

    Attributes:
        rows: int64 [T], ``<s>`` first and ``</s>`` last.
        positions: int64 [n], the places in ``rows``, ascending.
    """

    rows: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Example(Marked):
    """A held-out example with all its tokens marked that are not special; ``number`` is its number in the split."""

    number: int


def layer_names(layers: Sequence[int]) -> list[str]:
    """``embedding`` for 0, ``layer1`` for 1 and so on."""
    return ["embedding" if layer == 0 else f"layer{layer}" for layer in layers]


def layer_count(run: Trained) -> int:
    """The number L of the model's layers."""
    return len(run.model.encoder.sentence_encoder.layers)


@torch.inference_mode()
def hidden_states(
    run: Trained, sequences: Sequence[Marked], layers: Sequence[int], batch_tokens: int
) -> npt.NDArray[np.float16]:
    """The model's states at the marked places. Nothing is masked.

    Layer 0 is the embedding's output (with position, after its layer norm); the last one is taken after the encoder's final layer norm,
    where it has one.

    Args:
        run: the trained model.
        sequences: what it reads.
        layers: numbers from 0 to L.
        batch_tokens: tokens in a batch, padding included.

    Returns:
        float16 [layer, place, dim], places in the order of the sequences.

    Raises:
        UserError: states that are not finite in 16 bits.
    """
    starts = np.concatenate([[0], np.cumsum([len(s.positions) for s in sequences])]).astype(np.int64)
    encoder = run.model.encoder
    dim = encoder.sentence_encoder.embed_tokens.embedding_dim
    result = np.zeros((len(layers), starts[-1], dim), dtype=np.float16)
    for batch in batches([len(s.rows) for s in sequences], batch_tokens):
        source = padded([sequences[k].rows for k in batch], run.task.dictionary.pad(), run.device)
        last, extra = encoder(source, features_only=True, return_all_hiddens=True)
        states = [state.transpose(0, 1) for state in extra["inner_states"]]
        states[-1] = last
        for place, layer in enumerate(layers):
            here = states[layer].float().cpu().numpy()
            for row, k in enumerate(batch):
                result[place, starts[k] : starts[k + 1]] = here[row, sequences[k].positions]
    if not np.isfinite(result).all():
        raise UserError(f"{run.checkpoint}: hidden states are not finite in 16 bits; the training diverged")
    return result


def held_out(run: Trained, tokens: int, seed: int) -> list[Example]:
    """Whole held-out examples, ordered by number, with at most ``tokens`` tokens that are not special.

    They come in an order that depends on the seed and the split alone, until the next one would not fit; so every model whose positions hold the
    split's examples gets the same ones.

    Raises:
        UserError: the first of them has more tokens, or no example fits the model.
    """
    blocks = run.blocks(SPLITS[HELD_OUT])
    specials = run.task.dictionary.nspecial
    fits = np.flatnonzero(usable(run, blocks)).tolist()
    found: dict[int, Example] = {}
    for number in fits:
        rows = token_rows(blocks, number)
        positions = maskable(rows, specials)
        if len(positions):
            found[number] = Example(rows.astype(np.int64), positions, number)
    sizes = [len(found[k].positions) if k in found else 0 for k in range(len(blocks))]
    taken = [found[k] for k in sorted(whole_items((seed, HELD_OUT, _ORDER), sizes, tokens)) if k in found]
    if not taken:
        raise UserError(
            f"--tokens {tokens} hold no whole example of {run.data / SPLITS[HELD_OUT]} that fits the model's {run.longest} positions; give more"
        )
    return taken


def loss_bits(run: Trained, examples: Sequence[Example], seed: int, batch_tokens: int) -> float | None:
    """Mean loss in bits over the masked positions of the examples, each masked once as ``docs/evaluation-format.md`` says.

    Returns:
        ``None`` if nothing could be masked.

    Raises:
        UserError: losses that are not finite.
    """
    specials, mask_row = run.task.dictionary.nspecial, run.task.mask_idx
    items = [mask(e.rows, specials, mask_row, seed, HELD_OUT, e.number, 0) for e in examples]
    loss, _ = losses(run, items, batch_tokens)
    return float(loss.mean(dtype=np.float64)) if len(loss) else None


def place_arrays(examples: Sequence[Example]) -> dict[str, np.ndarray]:
    """``row`` int32, ``example`` int32 and ``position`` int16 of each token, (token) each, in the order of :func:`hidden_states`."""
    return {
        "row": np.concatenate([e.rows[e.positions] for e in examples]).astype(np.int32),
        "example": np.repeat(np.array([e.number for e in examples], np.int32), [len(e.positions) for e in examples]),
        "position": np.concatenate([e.positions for e in examples]).astype(np.int16),
    }
