"""Exposure: how often the model has received each token and each training example, counted from its batches.

Three counters of tokens (docs/sampling.md): ``visible``, ``target``, ``replacement``; and ``drawn`` of examples. A batch counts when its
update is made: what an overflow threw away does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed

TOKENS = ("visible", "target", "replacement")
KINDS = (*TOKENS, "drawn")


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


class Exposure:
    """Counts of what the model received, over all ranks.

    Args:
        rows: of the dictionary.
        examples: of the training split.
        tokens: gives a batch's token ids by counter.
        draws: gives the examples of a batch's ids.
        world_size: number of ranks; with more than one, every rank must call :meth:`commit` at every update.
    """

    def __init__(
        self,
        rows: int,
        examples: int,
        tokens: Callable[[dict[str, Any]], Sequence[Tensor]],
        draws: Callable[[NDArray[np.int64]], NDArray[np.int64]],
        world_size: int = 1,
    ) -> None:
        self._tokens, self._draws, self._world_size = tokens, draws, world_size
        sizes = {**dict.fromkeys(TOKENS, rows), "drawn": examples}
        self.counts = {kind: torch.zeros(size, dtype=torch.int64) for kind, size in sizes.items()}
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
        ids = [torch.cat([empty, *(batch[i].long().cpu() for batch in self._pending)]) for i in range(len(KINDS))]
        self._pending.clear()
        if self._world_size > 1:
            ids = _gathered(ids)
        for kind, found in zip(KINDS, ids, strict=True):
            counter = self.counts[kind]
            counter += torch.bincount(found, minlength=len(counter))

    def values(self, kinds: Sequence[str]) -> dict[str, NDArray[np.uint32]]:
        """The counters now, (rows,) or (examples,) uint32 each."""
        return {kind: self.counts[kind].numpy().astype(np.uint32) for kind in kinds}

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
