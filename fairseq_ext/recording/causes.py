"""What moved a table at one update: its gradient summed over rows and by role, the second moment by token count, and the mean update's parts.

The definitions stand in ``docs/dump-format.md``. Like the statistics (:mod:`.statistics`), all is computed on the table's device in blocks of
rows: sums over rows in float32 within a block (by group over at most 512 rows) and in float64 over those.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..optim.state import RowState
from .config import Streams
from .roles import INPUT, POSITIVE
from .rows import Rows
from .statistics import TableStatistics, average_ranks, correlation

ROLES = ("input", "positive", "negative")
VECTORS = (
    "gradient_mean",
    *(f"gradient_{role}" for role in ROLES),
    "update_mean",
    "update_coupled",
    "update_decay",
    *(f"push_{role}" for role in ROLES),
)
SCALARS = ("gradient_sum", "gradient_length", "head_sum", "second_moment_r2", "second_moment_spearman")
GROUPED = (
    "gradient_sum_group",
    "gradient_length_group",
    "gradient_along_group",
    *(f"{role}_along_group" for role in ROLES),
    "second_moment_group",
    "update_along_group",
    "update_own_group",
    "update_length_group",
)
CAUSE, MOMENTS, STATE = "cause", "moments", "state"  # the streams
MOMENTS_OF_TRACES = ("first_moment", "second_moment")
ROWWISE = ("second_moment", "first_moment_norm", "update_norm", "update_along")
RoleGradients = dict[str, tuple[Tensor, Tensor]]


def names(streams: Streams, traced: int) -> dict[str, tuple[str, ...]]:
    """The streams that a run records of a table, each with its arrays; ``traced``: how many rows are."""
    found: dict[str, tuple[str, ...]] = {}
    if streams.cause:
        found[CAUSE] = VECTORS + SCALARS + GROUPED
    if streams.moments:
        found[MOMENTS] = ROWWISE
    if streams.trace_state and traced:
        found[STATE] = MOMENTS_OF_TRACES
    return found


@dataclass
class _Sums:
    """Sums of the rows of a table by group, float64 [G + 1, d]; the last is of the rows of no group."""

    by_group: Tensor

    @property
    def total(self) -> Tensor:
        return self.by_group.sum(0)


class Causes:
    """What moves one table.

    Args:
        rows: its V rows.
        statistics: of the same table, whose division into blocks is used.
        device: where the table lies.
    """

    def __init__(self, rows: Rows, statistics: TableStatistics, device: torch.device | str = "cpu") -> None:
        self.statistics, self.size = statistics, len(rows)
        group = torch.from_numpy(rows.group.astype(np.int64)).to(device)
        self.groups = statistics.groups
        self.bin = torch.where(group >= 0, group, self.groups)
        self.number = torch.bincount(self.bin, minlength=self.groups + 1).double()
        self.outside = torch.nonzero(group < 0).squeeze(1)
        seen = np.flatnonzero(rows.counted & (rows.count > 0))
        self.seen = torch.from_numpy(seen).to(device)
        self.counts = torch.from_numpy(rows.count[seen].astype(np.float64)).to(device)
        self.count_ranks = average_ranks(self.counts) if len(seen) else self.counts
        self.counted = torch.from_numpy(rows.counted).to(device)

    @torch.no_grad()
    def direction(self, weight: Tensor) -> Tensor:
        """The unit common vector, float64 [d]: the direction of the counted rows' mean."""
        counted = self.statistics.counted_groups
        total = self._sums(weight).by_group[: self.groups][counted].sum(0)
        return total / torch.linalg.vector_norm(total).clamp_min(torch.finfo(torch.float64).tiny)

    @torch.no_grad()
    def measure(
        self,
        weight: Tensor,
        previous: Tensor,
        gradient: Tensor | None,
        state: RowState | None,
        roles: RoleGradients | None,
        direction: Tensor,
        by_row: bool = False,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Measure one step.

        Args:
            weight: float [V, d], after the step.
            previous: float [V, d], before it.
            gradient: float [V, d], which the optimiser consumed; ``None`` of a table that is not trained.
            state: the optimiser's after the step.
            roles: gradients of rows by role (:meth:`.roles.Roles.of`).
            direction: float64 [d], the unit common vector before the step.
            by_row: whether the second result is asked for.

        Returns:
            the names in :data:`VECTORS`, :data:`SCALARS` and :data:`GROUPED`, and of each row those in :data:`ROWWISE`; what is not known is
            missing.
        """
        one, own = self._of_update(weight, previous, direction)
        if gradient is not None:
            one |= self._of_gradient(gradient, roles, direction)
        if state is not None:
            one |= self._of_state(state, previous)
            second = self._second_moment(state)
            if second is not None:
                one |= self._against_counts(second)
                own["second_moment"] = second
            if by_row:
                own["first_moment_norm"] = torch.linalg.vector_norm(state.first, dim=1) / state.first_correction
            if gradient is not None:
                one |= self._pushes(gradient, state, roles)
        return one, own

    def _sums(self, values: Tensor) -> _Sums:
        """Sums over the rows of each group, of float [V, d]."""
        parts = [
            functional.embedding_bag(b.order, values[b.rows].float(), b.offsets, mode="sum")
            for b in self.statistics.blocks
        ]
        inside = self.statistics._by_bags(parts)
        return _Sums(torch.cat([inside, values[self.outside].double().sum(0, keepdim=True)]))

    def _add_up(self, values: Tensor) -> Tensor:
        """Sums of [V] by group, float64 [G]."""
        total = torch.zeros(self.groups + 1, dtype=torch.float64, device=values.device)
        return total.index_add_(0, self.bin, values.double())

    def _group_mean(self, values: Tensor) -> Tensor:
        """Mean of [V] over each group's rows, float64 [G], NaN where a group is empty."""
        return (self._add_up(values) / self.number)[: self.groups]

    def _of_update(
        self, weight: Tensor, previous: Tensor, direction: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        towards = direction.float()
        along, squares = (torch.empty(self.size, dtype=torch.float32, device=weight.device) for _ in range(2))
        parts = []
        for b in self.statistics.blocks:
            change = weight[b.rows].float() - previous[b.rows].float()
            torch.mv(change, towards, out=along[b.rows])
            squares[b.rows] = torch.linalg.vector_norm(change, dim=1) ** 2
            parts.append(functional.embedding_bag(b.order, change, b.offsets, mode="sum"))
        outside = (weight[self.outside] - previous[self.outside]).double().sum(0, keepdim=True)
        sums = torch.cat([self.statistics._by_bags(parts), outside])
        mean = sums.sum(0) / self.size
        square = self._group_mean(squares)
        group_means = (sums / self.number[:, None])[: self.groups]
        own = square - 2 * (group_means @ mean) + mean @ mean
        return (
            {
                "update_mean": mean,
                "update_along_group": self._group_mean(along),
                "update_length_group": square.sqrt(),
                "update_own_group": own.clamp_min(0).sqrt(),
            },
            {"update_norm": squares.sqrt(), "update_along": along},
        )

    def _of_gradient(self, gradient: Tensor, roles: RoleGradients | None, direction: Tensor) -> dict[str, Tensor]:
        sums = self._sums(gradient)
        lengths = self._add_up(torch.linalg.vector_norm(gradient.float(), dim=1))
        along = sums.by_group @ direction
        total = sums.total
        result = {
            "gradient_mean": total / self.size,
            "gradient_sum": torch.linalg.vector_norm(total),
            "gradient_length": lengths.sum(),
            "gradient_sum_group": torch.linalg.vector_norm(sums.by_group, dim=1)[: self.groups],
            "gradient_length_group": lengths[: self.groups],
            "gradient_along_group": along[: self.groups],
        }
        if roles is not None:
            left = sums.by_group.clone()
            for role in (INPUT, POSITIVE):
                rows, values = roles[role]
                part = torch.zeros_like(left).index_add_(0, self.bin[rows], values.double())
                left -= part
                result[f"gradient_{role}"] = part.sum(0) / self.size
                result[f"{role}_along_group"] = (part @ direction)[: self.groups]
            result["gradient_negative"] = left.sum(0) / self.size
            result["negative_along_group"] = (left @ direction)[: self.groups]
            result["head_sum"] = torch.linalg.vector_norm(
                self.size * (result["gradient_positive"] + result["gradient_negative"])
            )
        return result

    def _of_state(self, state: RowState, previous: Tensor) -> dict[str, Tensor]:
        """The mean update as it would be with one second moment for all rows, and that of weight decay."""
        first = self._mean(state.first)
        second = None
        if state.under_root is not None:
            second = state.under_root.double() if state.under_root.dim() == 1 else self._mean(state.under_root)
        coupled = -state.divided(first, slice(None), second) / state.first_correction
        return {"update_coupled": coupled, "update_decay": -state.lr * state.weight_decay * self._mean(previous)}

    def _mean(self, values: Tensor) -> Tensor:
        """Mean over all rows, float64 [d]."""
        total = torch.zeros(values.shape[1], dtype=torch.float64, device=values.device)
        for b in self.statistics.blocks:
            total += values[b.rows].sum(0).double()
        return total / self.size

    def _second_moment(self, state: RowState) -> Tensor | None:
        """Of each row the mean over dimensions of the second moment free of bias, float32 [V]."""
        if state.second is None:
            return None
        if state.second.dim() == 1:
            return (state.second.mean() / state.second_correction).expand(self.size)
        return state.second.mean(1) / state.second_correction

    def _against_counts(self, second: Tensor) -> dict[str, Tensor]:
        values = second[self.seen].double()
        result = {"second_moment_group": self._group_mean(second)}
        result["second_moment_r2"] = correlation(values, self.counts) ** 2
        ranks = average_ranks(values) if len(values) else values
        result["second_moment_spearman"] = correlation(ranks, self.count_ranks)
        return result

    def _pushes(self, gradient: Tensor, state: RowState, roles: RoleGradients | None) -> dict[str, Tensor]:
        """By role, the mean over rows of this update's gradient as the rule divides it, with the sign of a step."""
        if roles is None:
            return {}
        left = torch.zeros(gradient.shape[1], dtype=torch.float64, device=gradient.device)
        for b in self.statistics.blocks:
            left -= state.divided(gradient[b.rows].float(), b.rows).sum(0).double()
        left /= self.size
        result = {}
        for role in (INPUT, POSITIVE):
            rows, values = roles[role]
            part = -state.divided(values, rows).double().sum(0) / self.size
            result[f"push_{role}"] = part
            left = left - part
        return result | {"push_negative": left}
