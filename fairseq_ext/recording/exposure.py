"""Exposure: how often the model has received each token and each training example, counted from its batches.

Three counters of tokens for a masked LM (docs/sampling.md): ``visible``, ``target``, ``replacement``. For translation ``visible`` of the
source, ``visible`` (the decoder's input) and ``target`` of the target. And ``drawn`` of examples. A batch counts when its update is made:
what an overflow threw away does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed

Tokens = Callable[[dict[str, Any]], Sequence[Tensor]]


@dataclass(frozen=True)
class Counters:
    """Counters of one length, which are one stream of the dump.

    Attributes:
        stream: its name below ``exposure/``.
        dimension: of what they count: ``row`` or ``example``.
        kinds: the counters' names.
        size: how many rows or examples.
    """

    stream: str
    dimension: str
    kinds: tuple[str, ...]
    size: int

    def key(self, kind: str) -> str:
        """A counter's name among those of all streams."""
        return kind if self.stream in ("tokens", "examples") else f"{self.stream}_{kind}"


def masked_lm_counters(rows: int) -> tuple[Counters, ...]:
    """The token counters of a masked LM, in the order of :func:`masked_lm_tokens`."""
    return (Counters("tokens", "row", ("visible", "target", "replacement"), rows),)


def translation_counters(source_rows: int, target_rows: int) -> tuple[Counters, ...]:
    """The token counters of a translation, in the order of :func:`translation_tokens`."""
    return (
        Counters("source", "row", ("visible",), source_rows),
        Counters("target", "row", ("visible", "target"), target_rows),
    )


def masked_lm_tokens(sample: dict[str, Any], pad: int, mask: int) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids of a masked-LM batch by counter: visible, target, replacement; each (n,) int64.

    An input token is visible where it stands as itself: not chosen to be predicted, or chosen and kept. Chosen tokens are targets. A
    replacement is an input token that stands where another one is to be predicted.
    """
    source, target = sample["net_input"]["src_tokens"], sample["target"]
    chosen = target != pad
    visible = (source != pad) & (~chosen | (source == target))
    replacement = chosen & (source != target) & (source != mask)
    return source[visible], target[chosen], source[replacement]


def translation_tokens(sample: dict[str, Any], pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids of a batch of pairs by counter: the encoder's input, the decoder's input, what the decoder was to predict; (n,) int64 each."""
    inputs = sample["net_input"]
    return tuple(ids[ids != pad] for ids in (inputs["src_tokens"], inputs["prev_output_tokens"], sample["target"]))  # type: ignore[return-value]


class Exposure:
    """Counts of what the model received, over all ranks.

    Args:
        counters: of tokens.
        examples: number of the training split's.
        tokens: gives a batch's token ids, one tensor for each counter in their order.
        draws: gives the examples of a batch's ids.
        world_size: number of ranks; with more than one, every rank must call :meth:`commit` at every update.
    """

    def __init__(
        self,
        counters: Sequence[Counters],
        examples: int,
        tokens: Tokens,
        draws: Callable[[NDArray[np.int64]], NDArray[np.int64]],
        world_size: int = 1,
    ) -> None:
        self._tokens, self._draws, self._world_size = tokens, draws, world_size
        self.counters = (*counters, Counters("examples", "example", ("drawn",), examples))
        self.counts = {
            entry.key(kind): torch.zeros(entry.size, dtype=torch.int64)
            for entry in self.counters
            for kind in entry.kinds
        }
        self._pending: list[tuple[Tensor, ...]] = []

    @torch.no_grad()
    def receive(self, sample: dict[str, Any]) -> None:
        """Note a batch; it counts with the next :meth:`commit`."""
        drawn = torch.from_numpy(np.asarray(self._draws(sample["id"].cpu().numpy().reshape(-1)), np.int64))
        self._pending.append((*(ids.detach() for ids in self._tokens(sample)), drawn))

    def discard(self) -> None:
        """Forget the batches noted since the last update: the step was not made."""
        self._pending.clear()

    @torch.no_grad()
    def commit(self) -> None:
        """Count the batches noted since the last update, of all ranks."""
        empty = torch.zeros(0, dtype=torch.int64)
        ids = [torch.cat([empty, *(batch[i].long().cpu() for batch in self._pending)]) for i in range(len(self.counts))]
        self._pending.clear()
        if self._world_size > 1:
            ids = _gathered(ids)
        for counter, found in zip(self.counts.values(), ids, strict=True):
            counter += torch.bincount(found, minlength=len(counter))

    def values(self, of: Counters) -> dict[str, NDArray[np.uint32]]:
        """A stream's counters now, uint32 (size,) each."""
        return {kind: self.counts[of.key(kind)].numpy().astype(np.uint32) for kind in of.kinds}

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        return {kind: counter.to(torch.int32) for kind, counter in self.counts.items()}

    def resume_from(self, state: dict[str, Tensor]) -> None:
        """Go on from a checkpoint's counters.

        Raises:
            ValueError: they are of another dictionary or training split.
        """
        for kind, counter in self.counts.items():
            if state[kind].shape != counter.shape:
                raise ValueError(f"{kind}: expected {len(counter):,} counters, found {len(state[kind]):,}")
            counter.copy_(state[kind].long())


def _gathered(ids: list[Tensor]) -> list[Tensor]:
    """The ids of all ranks: their numbers first, then the ids themselves, padded to the longest rank's."""
    device = torch.device("cuda") if distributed.get_backend() == "nccl" else torch.device("cpu")
    lengths = torch.tensor([len(found) for found in ids], device=device)
    all_lengths = [torch.empty_like(lengths) for _ in range(distributed.get_world_size())]
    distributed.all_gather(all_lengths, lengths)
    padded = torch.zeros(int(torch.stack(all_lengths).sum(1).max()), dtype=torch.int64, device=device)
    own = torch.cat(ids)
    padded[: len(own)] = own.to(device)
    everyone = [torch.empty_like(padded) for _ in all_lengths]
    distributed.all_gather(everyone, padded)
    parts = [rank.cpu()[: int(n.sum())].split(n.tolist()) for rank, n in zip(everyone, all_lengths, strict=True)]
    return [torch.cat([part[i] for part in parts]) for i in range(len(ids))]
