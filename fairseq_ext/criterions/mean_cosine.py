"""The mean cosine of all pairs of rows of a table, as a term of a loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class MeanCosine(torch.autograd.Function):
    """``1 / N^2 sum over i of sum over j != i of cos(w_i, w_j)`` of the N rows of a table (Gao et al. 2019, "Representation degeneration
    problem in training natural language generation models", equation 4), in O(N d).

    With unit rows u_i and their sum S it is ``(S.S - n) / N^2``, n the number of rows that are not zero, and its gradient to w_i is
    ``2 / N^2 (S - (u_i.S) u_i) / |w_i|``. Rows of zero norm have no direction: they count in N, and get no gradient.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        """Of float [N, d], 0-d; sums in float64."""
        norms = torch.linalg.vector_norm(weight, dim=1)
        inverse = torch.where(norms > 0, 1 / norms, 0.0)
        total = (weight * inverse[:, None]).sum(0, dtype=torch.float64)
        ctx.save_for_backward(weight, inverse, total)
        return ((total @ total - (norms > 0).sum()) / len(weight) ** 2).to(weight.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        weight, inverse, total = ctx.saved_tensors
        total = total.to(weight.dtype)
        along = (weight @ total) * inverse**2
        size = gradient * 2 / len(weight) ** 2
        return (total - along[:, None] * weight) * (size * inverse)[:, None]
