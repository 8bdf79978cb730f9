"""A masked LM's output layer that uses both cores: the same products, in forms that the CPU's libraries compute faster.

The head multiplies about a hundred rows by a table of 50,000. MKL reaches a third to a half of the CPU's speed on matrices of that shape;
oneDNN's linear layer, and MKL on slices of the table, reach nearly all of it.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from fairseq.models.roberta.model import RobertaLMHead
from torch import Tensor, nn
from torch.nn import functional

logger = logging.getLogger(__name__)
SLICE = 1024  # rows of the table multiplied at a time


class _Project(torch.autograd.Function):
    """``features @ weight.T + bias``."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(features, weight)
        return _linear(features, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        features, weight = ctx.saved_tensors
        of_weight = torch.empty_like(weight)
        for first in range(0, len(weight), SLICE):
            part = slice(first, first + SLICE)
            torch.mm(gradient[:, part].t(), features, out=of_weight[part])
        return gradient @ weight, of_weight, gradient.sum(0)


def _linear(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if _has_onednn():
        return torch.ops.mkldnn._linear_pointwise(features, weight, bias, "none", [], "")
    return functional.linear(features, weight, bias)


def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class FastHead(RobertaLMHead):
    """fairseq's head with faster products in 32 bits on the CPU.

    Args:
        stock: the head that it stands in for; shares its parameters and layers.
    """

    def __init__(self, stock: RobertaLMHead) -> None:
        nn.Module.__init__(self)
        self.dense, self.activation_fn, self.layer_norm = stock.dense, stock.activation_fn, stock.layer_norm
        self.weight, self.bias = stock.weight, stock.bias

    def forward(self, features: Tensor, masked_tokens: Tensor | None = None, **kwargs: Any) -> Tensor:
        if not self.training or torch.is_autocast_enabled("cpu"):
            return super().forward(features, masked_tokens, **kwargs)
        if masked_tokens is not None:
            features = features[masked_tokens, :]
        hidden = self.layer_norm(self.activation_fn(self.dense(features)))
        flat = hidden.reshape(-1, hidden.shape[-1])
        return _Project.apply(flat, self.weight, self.bias).view(*hidden.shape[:-1], -1)


def speed_up_head(model: nn.Module, on_cpu: bool) -> int:
    """Put :class:`FastHead` in place of fairseq's heads on the CPU; returns how many."""
    number = 0
    if on_cpu:
        for parent in list(model.modules()):
            for name, child in list(parent.named_children()):
                if type(child) is RobertaLMHead:
                    setattr(parent, name, FastHead(child))
                    number += 1
    logger.info(f"output layer in slices: {number} heads")
    return number
