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

BLOCK_BYTES = (
    1 << 20
)  # of a table's rows at a time on the CPU, which stay in a core's cache from one operation to the next


def _blocks(table: Tensor) -> Iterator[slice]:
    """Slices of rows that cover the table; one on a GPU."""
    rows = len(table)
    size = max(1, BLOCK_BYTES // max(1, table[:1].nbytes)) if table.device.type == "cpu" else max(1, rows)
    for first in range(0, rows, size):
        yield slice(first, min(first + size, rows))


def coupled_adam(p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    """One step of Coupled Adam; ``state`` holds ``step``, ``exp_avg`` [V, d] and ``mean_sq`` [d]."""
    if not state:
        state["step"] = torch.zeros((), dtype=torch.float32)
        state["exp_avg"] = torch.zeros_like(p)
        state["mean_sq"] = torch.zeros_like(p[0])
    state["step"] += 1
    step, (beta1, beta2), lr = int(state["step"]), group["betas"], group["lr"]
    moment, gradient = state["exp_avg"], p.grad
    squares = torch.zeros(p.shape[1], dtype=torch.float64, device=p.device)
    for rows in _blocks(p):
        moment[rows].lerp_(gradient[rows], 1 - beta1)
        squares += torch.square(gradient[rows]).sum(0)
    state["mean_sq"].mul_(beta2).add_((squares / len(p)).to(p.dtype), alpha=1 - beta2)
    size = lr * math.sqrt(1 - beta2**step) / (1 - beta1**step)
    factor = size / (state["mean_sq"].sqrt() + group["eps"])
    kept = 1 - lr * group["weight_decay"]
    for rows in _blocks(p):
        if kept != 1:
            p[rows].mul_(kept)
        p[rows].addcmul_(moment[rows], factor, value=-1)


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
