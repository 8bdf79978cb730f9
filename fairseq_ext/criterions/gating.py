"""Adaptive gradient gating: rare tokens' output rows are pushed away less (Yu et al. 2022, "Rare tokens degenerate all tokens", arXiv 2109.03127).

The gradient of the loss to row l of the output table is a sum over predictions n of ``(p_nl - [l is n's target]) h_n``. Tokens are rare whose
occurrences as target over the last K updates are fewer than alpha an update. Of a rare row, the part of predictions whose target is another token is
multiplied by a gate (as the paper defines them and its authors' criterion computes them):

- where that target is not rare: ``g1_l = a_l / K``, a_l the row's occurrences over the last K updates (fewer at the beginning);
- where it is rare: ``g2_l = min(a_l / mean of a over the rare tokens, 1)``.

The gradient of the row's own occurrences, that of rows that are not rare, and that to the hidden states are as they were; the loss is.
Special tokens are never rare.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import torch
from fairseq.models.roberta.model import RobertaLMHead
from torch import Tensor, nn

from ..errors import UserError

SLICE = 2048  # rows of the table whose gradient is computed at a time


class Occurrences:
    """How often each token was a target in each of the last updates.

    Args:
        rows: V.
        memory: updates K.
    """

    def __init__(self, rows: int, memory: int) -> None:
        self.rows, self.memory = rows, memory
        self.counts = torch.zeros(rows, dtype=torch.int64)
        self._updates: deque[tuple[int, Tensor]] = deque()

    def receive(self, update: int, targets: Tensor) -> None:
        """Count a batch's targets, int64 [n], of ``update``; those of updates longer ago than the memory are forgotten."""
        targets = targets.detach().cpu()
        self.counts += torch.bincount(targets, minlength=self.rows)
        if self._updates and self._updates[-1][0] == update:
            targets = torch.cat([self._updates.pop()[1], targets])
        self._updates.append((update, targets))
        while self._updates[0][0] <= update - self.memory:
            self.counts -= torch.bincount(self._updates.popleft()[1], minlength=self.rows)

    def discard(self, update: int) -> None:
        """Forget the targets of an update whose step was not taken; it will be tried again."""
        if self._updates and self._updates[-1][0] == update:
            self.counts -= torch.bincount(self._updates.pop()[1], minlength=self.rows)

    def number(self, update: int) -> int:
        """Of updates that the counts are of."""
        return max(1, min(update, self.memory))

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        kept = [targets for _, targets in self._updates]
        return {
            "memory": torch.tensor(self.memory),
            "updates": torch.tensor([update for update, _ in self._updates], dtype=torch.int64),
            "lengths": torch.tensor([len(targets) for targets in kept], dtype=torch.int64),
            "targets": torch.cat(kept).int() if kept else torch.zeros(0, dtype=torch.int32),
        }

    def resume_from(self, state: dict[str, Tensor]) -> None:
        """Take what :meth:`state` gave.

        Raises:
            UserError: it counts over another number of updates: of a longer memory, the older ones are not known.
        """
        if (memory := int(state.get("memory", self.memory))) != self.memory:
            raise UserError(
                f"--gating-memory: the checkpoint counts tokens over {memory} updates, this run over {self.memory}; give --gating-memory {memory}"
            )
        self._updates = deque(
            zip(state["updates"].tolist(), state["targets"].long().split(state["lengths"].tolist()), strict=True)
        )
        self.counts.zero_()
        for _, targets in self._updates:
            self.counts += torch.bincount(targets, minlength=self.rows)


def gates(counts: Tensor, updates: int, threshold: float, specials: int) -> tuple[Tensor, Tensor, Tensor]:
    """Which rows are rare, bool [V], and both gates, float [V]: 1 for rows that are not.

    Args:
        counts: int64 [V], occurrences as target over ``updates`` updates.
        threshold: occurrences an update below which a token is rare.
        specials: the first rows of the table, which never are.
    """
    appearance = counts.float() / updates
    rare = appearance < threshold
    rare[:specials] = False
    mean = counts[rare].float().mean() if bool(rare.any()) else torch.ones(())
    first = torch.where(rare, appearance, 1.0)
    second = torch.where(rare, (counts.float() / mean.clamp_min(1e-7)).clamp_max(1.0), 1.0)
    return rare, first, second


def take_back(gradient: Tensor, hidden: Tensor, targets: Tensor, counted: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """What the gates take off the table's gradient, float [V, d].

    Args:
        gradient: of the loss to the logits, float [n, V].
        hidden: what the table is multiplied with, float [n, d].
        targets: int64 [n].
        counted: what :func:`gates` gave.
    """
    rare, first, second = counted
    others = gradient.scatter(1, targets[:, None], 0.0)
    of_rare = rare[targets]
    parts = [(others[~of_rare], hidden[~of_rare], 1 - first), (others[of_rare], hidden[of_rare], 1 - second)]
    result = torch.zeros(gradient.shape[1], hidden.shape[1], dtype=hidden.dtype, device=hidden.device)
    for start in range(0, len(result), SLICE):
        rows = slice(start, min(start + SLICE, len(result)))
        for logits, vectors, share in parts:
            if len(logits):
                result[rows] += share[rows, None].to(result.dtype) * (logits[:, rows].t() @ vectors)
    return result


class Gate(torch.autograd.Function):
    """Logits as they are; in the backward pass, what the gates take off goes to the table's gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        weight: Tensor,
        hidden: Tensor,
        targets: Tensor,
        counted: tuple[Tensor, Tensor, Tensor],
    ) -> Tensor:
        """Of float [n, V], the table [V, d], what it was multiplied with [n, d], int64 [n], and what :func:`gates` gave."""
        ctx.save_for_backward(hidden, targets, *counted)
        ctx.kind = weight.dtype
        return logits.view_as(logits)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hidden, targets, *counted = ctx.saved_tensors
        if not bool(counted[0].any()):
            return gradient, None, None, None, None
        taken = take_back(gradient.to(ctx.kind), hidden.to(ctx.kind), targets, tuple(counted))
        return gradient, -taken, None, None, None


class Gating:
    """Gates the gradient of one head's table.

    Args:
        head: of the model.
        occurrences: of targets.
        threshold: occurrences an update below which a token is rare.
        specials: the first rows of the table, which never are.
    """

    def __init__(self, head: RobertaLMHead, occurrences: Occurrences, threshold: float, specials: int) -> None:
        self._weight, self.occurrences = head.weight, occurrences
        self._threshold, self._specials = threshold, specials
        self._hidden: Tensor | None = None
        self._targets: Tensor | None = None
        self._update = 0
        head.layer_norm.register_forward_hook(self._keep)
        head.register_forward_hook(self._watch)

    def begin(self, update: int, targets: Tensor) -> None:
        """A forward pass with these targets, int64 [n], of the step to ``update`` comes.

        Without any, the criterion projects every position and the loss is zero: there is nothing to gate.
        """
        self.occurrences.receive(update, targets)
        self._update, self._targets = update, targets if len(targets) else None

    def end(self) -> None:
        """The forward pass has run; what it left is kept for its backward pass."""
        self._targets = self._hidden = None

    def _keep(self, module: nn.Module, arguments: Any, output: Tensor) -> None:
        if self._targets is not None:
            self._hidden = output.detach()

    def _watch(self, module: nn.Module, arguments: Any, output: Tensor) -> Tensor | None:
        if self._targets is None or self._hidden is None:
            return None
        counts, updates = self.occurrences.counts, self.occurrences.number(self._update)
        counted = gates(counts, updates, self._threshold, self._specials)
        device = output.device
        flat = output.reshape(-1, output.shape[-1])
        hidden = self._hidden.reshape(len(flat), -1)
        gated = Gate.apply(flat, self._weight, hidden, self._targets, tuple(part.to(device) for part in counted))
        return gated.view_as(output)
