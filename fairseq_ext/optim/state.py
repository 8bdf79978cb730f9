"""What an optimiser holds of a parameter: moments, and what its next or last step made of them. Read only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from fairseq.optim import AMPOptimizer, FairseqOptimizer
from torch import Tensor


@dataclass(frozen=True)
class RowState:
    """The state of one table [V, d] after a step; tensors share the optimiser's storage.

    Attributes:
        rule: ``adam``, ``amsgrad``, ``coupled_adam`` or ``sgd``.
        lr: learning rate of the step.
        weight_decay: decoupled.
        betas: decay rates of the moments; (momentum, 0) for ``sgd``.
        eps: fairseq's, added before the bias correction.
        step: number of steps taken.
        first: [V, d], first moment, or the velocity of ``sgd``; not corrected for bias.
        second: [V, d], or [d] of ``coupled_adam``, or ``None``; not corrected for bias.
        under_root: what the step divided by the root of: ``second``, or the largest one so far of ``amsgrad``.
    """

    rule: str
    lr: float
    weight_decay: float
    betas: tuple[float, float]
    eps: float
    step: int
    first: Tensor
    second: Tensor | None
    under_root: Tensor | None

    @property
    def second_correction(self) -> float:
        """What the second moment is divided by to be free of its bias towards zero."""
        return 1 - self.betas[1] ** self.step

    @property
    def first_correction(self) -> float:
        """The same of the first moment; a velocity has none."""
        return 1.0 if self.under_root is None else 1 - self.betas[0] ** self.step

    def divided(self, values: Tensor, rows: slice | Tensor, by: Tensor | None = None) -> Tensor:
        """``lr sqrt(1 - b2^t) values / (sqrt(second moment) + eps)`` of chosen rows: a step without its momentum.

        Args:
            values: [n, d].
            rows: which n rows of the table they are of.
            by: [d], a second moment for all rows instead of their own.
        """
        if self.under_root is None:
            return self.lr * values
        second = by if by is not None else self.under_root
        second = second if second.dim() == 1 else second[rows]
        return values * (self.lr * math.sqrt(self.second_correction)) / (second.sqrt() + self.eps)


def row_state(optimizer: Any, parameter: Tensor) -> RowState | None:
    """The state of a table; ``None`` before its first step, and of an optimiser that is not known here.

    Args:
        optimizer: fairseq's, as ``task.optimizer_step`` receives it, or torch's.
        parameter: [V, d], one of its parameters.
    """
    while isinstance(optimizer, AMPOptimizer):
        optimizer = optimizer.fp32_optimizer
    inner = optimizer.optimizer if isinstance(optimizer, FairseqOptimizer) else optimizer
    group = next((g for g in inner.param_groups if any(p is parameter for p in g["params"])), None)
    state = inner.state.get(parameter) if group is not None else None
    if not state:
        return None
    common = {"lr": float(group["lr"]), "weight_decay": float(group.get("weight_decay", 0.0))}
    if "momentum_buffer" in state:
        betas = (float(group["momentum"]), 0.0)
        step = int(state.get("step", 0))
        return RowState("sgd", betas=betas, eps=0.0, step=step, first=state["momentum_buffer"], second=None, under_root=None, **common)  # fmt: skip
    if "exp_avg" not in state:
        return None
    second = state["mean_sq"] if "mean_sq" in state else state["exp_avg_sq"]
    rule = "coupled_adam" if "mean_sq" in state else "amsgrad" if group.get("amsgrad") else "adam"
    return RowState(
        rule,
        betas=tuple(group["betas"]),
        eps=float(group["eps"]),
        step=int(torch.as_tensor(state["step"])),
        first=state["exp_avg"],
        second=second,
        under_root=state["max_exp_avg_sq"] if rule == "amsgrad" else second,
        **common,
    )
