"""The loss of a masked LM at chosen positions of chosen examples."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from ..errors import UserError
from .examples import SPLITS, Chosen
from .loading import Trained, token_rows
from .masks import chosen

logger = logging.getLogger(__name__)
BATCH_TOKENS = {"cpu": 2048, "cuda": 16384}


@dataclass(frozen=True)
class Masked:
    """One example with one mask.

    Attributes:
        part: number of the set.
        example: number in the split.
        repeat: number of the mask.
        source: int64 [T], the model's input, ``<mask>`` at every chosen position.
        positions: int64 [n], the chosen positions in ``source``, ascending.
        targets: int64 [n], the rows that stood there.
    """

    part: int
    example: int
    repeat: int
    source: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]


def maskable(tokens: npt.NDArray[np.int64], specials: int) -> npt.NDArray[np.int64]:
    """Positions of the tokens that may be masked: all but ``<s> <pad> </s> <unk>``, the dictionary's first ``specials`` rows."""
    return np.flatnonzero(tokens >= specials)


def mask(
    tokens: npt.NDArray[np.int64], specials: int, mask_row: int, seed: int, part: int, example: int, repeat: int
) -> Masked:
    """Replace 15 % of an example's tokens by ``<mask>``, all of them (no token kept or replaced by another)."""
    places = maskable(tokens, specials)
    positions = places[chosen(seed, part, example, repeat, len(places))]
    source = tokens.astype(np.int64)
    source[positions] = mask_row
    return Masked(part, example, repeat, source, positions, tokens[positions].astype(np.int64))


def masked_examples(run: Trained, sets: list[Chosen], seed: int, masks: int) -> tuple[list[Masked], list[int]]:
    """Every example of every set with ``masks`` masks.

    Returns:
        them in the order (set, example, repeat), and each example's number of maskable tokens.
    """
    dictionary = run.task.dictionary
    result: list[Masked] = []
    tokens: list[int] = []
    for chosen_set in sets:
        blocks = run.blocks(SPLITS[chosen_set.part])
        for example in chosen_set.examples.tolist():
            rows = token_rows(blocks, example)
            tokens.append(len(maskable(rows, dictionary.nspecial)))
            result += [
                mask(rows, dictionary.nspecial, run.task.mask_idx, seed, chosen_set.part, example, repeat)
                for repeat in range(masks)
            ]
    return result, tokens


def batches(lengths: list[int], limit: int) -> Iterator[list[int]]:
    """Numbers of the sequences by batch: longest first, neighbours in length together, at most ``limit`` tokens with padding."""
    order = sorted(range(len(lengths)), key=lambda k: -lengths[k])
    start = 0
    while start < len(order):
        size = max(1, limit // lengths[order[start]])
        yield order[start : start + size]
        start += size


def padded(sequences: list[npt.NDArray[np.int64]], pad: int, device: torch.device) -> torch.Tensor:
    """int64 [batch, longest], filled up with ``pad`` on the right."""
    result = torch.full((len(sequences), max(len(s) for s in sequences)), pad, dtype=torch.int64)
    for row, sequence in zip(result, sequences, strict=True):
        row[: len(sequence)] = torch.from_numpy(sequence)
    return result.to(device)


@torch.inference_mode()
def losses(
    run: Trained, items: list[Masked], batch_tokens: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Loss at each masked position.

    Args:
        run: the trained model.
        items: masked examples.
        batch_tokens: tokens in a batch, padding included.

    Returns:
        float32 [n] in bits, and bool [n], is the most likely row the target; in the order of ``items``, positions ascending.

    Raises:
        UserError: the model gives numbers that are not finite.
    """
    starts = np.concatenate([[0], np.cumsum([len(item.positions) for item in items])]).astype(np.int64)
    loss = np.zeros(starts[-1], dtype=np.float32)
    correct = np.zeros(starts[-1], dtype=bool)
    for batch in batches([len(item.source) for item in items], batch_tokens):
        source = padded([items[k].source for k in batch], run.task.dictionary.pad(), run.device)
        chosen_here = torch.zeros(source.shape, dtype=torch.bool)
        for row, k in enumerate(batch):
            chosen_here[row, torch.from_numpy(items[k].positions)] = True
        if not chosen_here.any():
            continue
        logits = _logits(run.model, source, chosen_here.to(run.device))
        targets = torch.from_numpy(np.concatenate([items[k].targets for k in batch])).to(run.device)
        nats = functional.cross_entropy(logits, targets, reduction="none")
        where = np.concatenate([np.arange(starts[k], starts[k + 1]) for k in batch])
        loss[where] = (nats / math.log(2)).cpu().numpy()
        correct[where] = (logits.argmax(1) == targets).cpu().numpy()
    if not np.isfinite(loss).all():
        raise UserError(f"{run.checkpoint}: the model's losses are not finite; its training diverged")
    return loss, correct


def _logits(model: Any, source: torch.Tensor, chosen_here: torch.Tensor) -> torch.Tensor:
    """float32 [chosen, row]; the chosen positions in the order of the batch's rows."""
    return model(source, masked_tokens=chosen_here)[0].float()
