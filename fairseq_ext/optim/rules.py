"""Update rules of an embedding table other than Adam's, each a step of one parameter in torch.

Notation: p [V, d] the table, g its gradient, eta the learning rate, w the decoupled weight decay, t the number of the step from 1, and
fairseq's place of eps, before the bias correction. Every rule begins with ``p <- p - eta w p``.

- Coupled Adam (Stollenwerk & Stollenwerk 2025, "Better embeddings with Coupled Adam", arXiv 2502.08441): Adam whose second moment is averaged
  over the vocabulary, so that all rows are divided by the same vector::

      m <- b1 m + (1 - b1) g                                [V, d]
      s <- b2 s + (1 - b2) mean over rows of g^2            [d]
      p <- p - eta sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(s) + eps)

  The paper averages the rows' second moments. An average commutes with the decay over steps, so ``s`` is that average and no second
  moment of the table's size is kept.
- Stochastic gradient descent with momentum (Polyak 1964; in this form Sutskever et al. 2013 and ``torch.optim.SGD``)::

      u <- mu u + g                                         [V, d]
      p <- p - eta u

  Where the gradient's rows sum to zero, so do those of ``u``, and the mean row stays where it was.
- AMSGrad (Reddi et al. 2018, "On the convergence of Adam and beyond", Algorithm 2, with Adam's bias corrections as in ``torch.optim.Adam``)::

      v <- b2 v + (1 - b2) g^2;  x <- max(x, v)
      p <- p - eta sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(x) + eps)

  It is torch's fused kernel with its switch ``amsgrad`` (:mod:`.fused_adam`).
- Centring: after the step, ``p <- p - mean over rows of p``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

BLOCK_BYTES = (
    1 << 20
)  # of a table's rows at a time on the CPU, which stay in a core's cache from one operation to the next
FAR = 1e20  # a step at which Adam's bias corrections are 1 to the last digit, with any beta below 1


def _blocks(table: Tensor, most_bytes: int = BLOCK_BYTES) -> Iterator[slice]:
    """Slices of rows that cover the table; one on a GPU."""
    rows = len(table)
    size = max(1, most_bytes // max(1, table[:1].nbytes)) if table.device.type == "cpu" else max(1, rows)
    for first in range(0, rows, size):
        yield slice(first, min(first + size, rows))


def coupled_adam(p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    """One step of Coupled Adam; ``state`` holds ``step``, ``exp_avg`` [V, d] and ``mean_sq`` [d]."""
    if not state:
        state["step"] = torch.zeros((), dtype=torch.float32)
        state["exp_avg"] = torch.zeros_like(p)
        state["mean_sq"] = torch.zeros_like(p[0])
    state["step"] += 1
    step, (beta1, beta2) = int(state["step"]), group["betas"]
    state["mean_sq"].mul_(beta2).add_(_mean_square(p.grad).to(p.dtype), alpha=1 - beta2)
    correction = math.sqrt(1 - beta2**step) / (1 - beta1**step)
    move = _fused if p.device.type == "cpu" and p.dtype == torch.float32 else _plain
    move(p, state["exp_avg"], state["mean_sq"], correction, group)


def _mean_square(gradient: Tensor) -> Tensor:
    """Mean over rows of the squared entries, float64 [d]: added up row by row in a block of rows, and in float64 over that block."""
    sums: Tensor | None = None
    for rows in _blocks(gradient, 2 * BLOCK_BYTES):
        part = gradient[rows]
        sums = torch.zeros_like(part) if sums is None else sums
        sums[: len(part)].addcmul_(part, part)
    assert sums is not None
    return sums.sum(0, dtype=torch.float64) / len(gradient)


def _plain(p: Tensor, moment: Tensor, mean_sq: Tensor, correction: float, group: dict[str, Any]) -> None:
    """Average the gradient into ``moment``, decay ``p``, and move it by the moment over the root of ``mean_sq``; ``correction`` is that of
    the biases."""
    factor = group["lr"] * correction / (mean_sq.sqrt() + group["eps"])
    moment.lerp_(p.grad, 1 - group["betas"][0])
    p.mul_(1 - group["lr"] * group["weight_decay"]).addcmul_(moment, factor, value=-1)


def _fused(p: Tensor, moment: Tensor, mean_sq: Tensor, correction: float, group: dict[str, Any]) -> None:
    """The same by torch's fused AdamW, in one pass over the table instead of three.

    Blocks of the table share one block of second moments, every row of which is ``mean_sq``. The kernel must leave it as it is and correct
    no bias: beta2 is the last number before 1, so that the kernel's own ``(1 - beta2) g^2`` is lost in rounding (``g^2`` is at most V / (1 - b2) times its mean over rows, and 1e-16 times
    that is below half a last digit for any V below a million), and the step so large that
    both corrections are 1. The learning rate holds them instead, and the decay, which the kernel multiplies by it, is divided by them.
    """
    blocks = list(_blocks(p, BLOCK_BYTES))
    second = mean_sq.expand(blocks[0].stop, -1).contiguous()
    steps = torch.full((len(blocks),), FAR, dtype=torch.float32)
    adamw(
        [p[rows] for rows in blocks],
        [p.grad[rows] for rows in blocks],
        [moment[rows] for rows in blocks],
        [second[: rows.stop - rows.start] for rows in blocks],
        [],
        list(steps),
        fused=True,
        amsgrad=False,
        beta1=group["betas"][0],
        beta2=math.nextafter(1.0, 0.0),
        lr=group["lr"] * correction,
        weight_decay=group["weight_decay"] / correction,
        eps=group["eps"],
        maximize=False,
    )


def sgd(p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    """One step of stochastic gradient descent; ``state`` holds ``step`` and ``momentum_buffer`` [V, d]."""
    if not state:
        state["step"] = torch.zeros((), dtype=torch.float32)  # which torch's AdamW expects of every state
        state["momentum_buffer"] = torch.zeros_like(p)
    state["step"] += 1
    velocity, gradient, lr = state["momentum_buffer"], p.grad, group["lr"]
    kept = 1 - lr * group["weight_decay"]
    for rows in _blocks(p):
        velocity[rows].mul_(group["momentum"]).add_(gradient[rows])
        if kept != 1:
            p[rows].mul_(kept)
        p[rows].add_(velocity[rows], alpha=-lr)


def center(p: Tensor) -> None:
    """Take the mean row, summed in float64, off every row."""
    total = torch.zeros(p.shape[1], dtype=torch.float64, device=p.device)
    for rows in _blocks(p):
        total += p[rows].sum(0, dtype=torch.float64)
    mean = (total / len(p)).to(p.dtype)
    for rows in _blocks(p):
        p[rows].sub_(mean)
