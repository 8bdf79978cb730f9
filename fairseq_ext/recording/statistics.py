"""Statistics of an embedding table, on its own device, in O(V d).

The definitions stand in ``docs/dump-format.md``. Everything is computed in blocks of rows that stay in the cache, sums over rows
are taken in float64, and nothing is moved to the host.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from .rows import Rows

BLOCK = 2048
CHEAP = (
    "mean_cosine",
    "mean_cosine_group",
    "mean_cosine_within",
    "common_cosine",
    "common_cosine_group",
    "common_norm",
    "norm_mean",
    "norm_group",
    "pearson_seen",
    "spearman_seen",
    "pearson_all",
    "spearman_all",
)
MOVEMENT = ("drift", "drift_group", "update_norm", "update_norm_group", "update_shared", "update_shared_group")
BY_GROUP = frozenset(name for name in CHEAP + MOVEMENT if name.endswith(("_group", "_within")))


def average_ranks(values: Tensor) -> Tensor:
    """Ranks from 1, ties sharing their mean rank. float64 [n]."""
    ordered, order = torch.sort(values)
    n = len(values)
    first = torch.ones(n, dtype=torch.bool, device=values.device)
    torch.ne(ordered[1:], ordered[:-1], out=first[1:])
    run = torch.cumsum(first, 0) - 1
    starts = torch.nonzero(first).squeeze(1)
    ends = torch.cat([starts[1:], starts.new_tensor([n])])
    mean_rank = (starts + ends + 1).to(torch.float64) / 2
    ranks = torch.empty(n, dtype=torch.float64, device=values.device)
    ranks[order] = mean_rank[run]
    return ranks


def correlation(x: Tensor, y: Tensor) -> Tensor:
    """Pearson's correlation of two float64 [n] tensors, as a 0-d tensor; NaN where one does not vary or n < 2."""
    if len(x) < 2:
        return x.new_full((), torch.nan)
    varies = ((x != x[0]).any() & (y != y[0]).any()).to(x.dtype)
    x, y = x - x.mean(), y - y.mean()
    return varies / varies * (x @ y) / torch.sqrt((x @ x) * (y @ y))


def _at_least_one(number: Tensor) -> Tensor:
    """The number of other rows, NaN where there is none: rounding must not turn 0 / 0 into an infinity."""
    return torch.where(number > 0, number, torch.nan)


@dataclass
class _Pairs:
    """What a correlation with the token count needs of the counts, computed once."""

    rows: Tensor  # int64 [n]
    log: Tensor  # float64 [n]
    ranks: Tensor  # float64 [n]


class TableStatistics:
    """Statistics of one table.

    Args:
        rows: its V rows.
        device: where the table lies.
    """

    def __init__(self, rows: Rows, device: torch.device | str = "cpu") -> None:
        self.groups = len(rows.groups)
        self.counted_groups = torch.tensor([g.counted for g in rows.groups], device=device)
        group = torch.from_numpy(rows.group.astype(np.int64)).to(device)
        self.member = torch.nonzero(group >= 0).squeeze(1)
        self.group = group
        self.counted = torch.from_numpy(rows.counted).to(device)
        one_hot = torch.zeros(len(rows), self.groups, dtype=torch.float32, device=device)
        one_hot[self.member, group[self.member]] = 1.0
        self.one_hot = one_hot
        counted = np.flatnonzero(rows.counted)
        seen = np.flatnonzero(rows.counted & (rows.count > 0))
        self.pairs = {
            "seen": self._prepare(seen, np.log(rows.count[seen]), device),
            "all": self._prepare(counted, np.log1p(rows.count[counted]), device),
        }

    @staticmethod
    def _prepare(rows: np.ndarray, log: np.ndarray, device: torch.device | str) -> _Pairs:
        ranks = rankdata(log) if len(log) else log
        return _Pairs(*(torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in (rows, log, ranks)))

    def _by_group(self, values: Tensor, valid: Tensor) -> Tensor:
        """Mean of float64 [V] ``values`` over each group's valid rows; NaN for a group without any. float64 [G]."""
        keep = valid & (self.group >= 0)
        total = torch.zeros(self.groups, dtype=torch.float64, device=values.device)
        number = torch.zeros_like(total)
        total.index_add_(0, self.group[keep], values[keep])
        number.index_add_(0, self.group[keep], torch.ones_like(values[keep]))
        return total / number  # 0 / 0 is NaN

    def _mean(self, values: Tensor, valid: Tensor) -> Tensor:
        return values[valid & self.counted].mean()

    @torch.no_grad()
    def cheap(self, weight: Tensor) -> dict[str, Tensor]:
        """Everything that the table alone tells: the names in :data:`CHEAP`.

        Args:
            weight: float [V, d].

        Returns:
            float64 tensors, 0-d or [G].
        """
        size, dim = weight.shape
        norms = torch.empty(size, dtype=torch.float32, device=weight.device)
        unit_sums = torch.zeros(self.groups, dim, dtype=torch.float64, device=weight.device)
        raw_sums = torch.zeros_like(unit_sums)
        for start in range(0, size, BLOCK):
            block = weight[start : start + BLOCK].float()
            norm = torch.linalg.vector_norm(block, dim=1, out=norms[start : start + BLOCK])
            one_hot = self.one_hot[start : start + BLOCK]
            inverse = torch.where(norm > 0, 1.0 / norm, 0.0)
            both = torch.cat([one_hot * inverse[:, None], one_hot], dim=1).T @ block
            unit_sums += both[: self.groups]
            raw_sums += both[self.groups :]
        valid = norms > 0
        number = torch.zeros(self.groups, dtype=torch.float64, device=weight.device)
        present = self.group[valid & (self.group >= 0)]
        number.index_add_(0, present, torch.ones(len(present), dtype=torch.float64, device=weight.device))
        n = number[self.counted_groups].sum()
        others = _at_least_one(n - 1)
        total = unit_sums[self.counted_groups].sum(0)
        common = raw_sums[self.counted_groups].sum(0) / n
        directions = torch.stack([total, common], dim=1).float()
        dots = torch.empty(size, 2, dtype=torch.float32, device=weight.device)
        for start in range(0, size, BLOCK):
            torch.mm(weight[start : start + BLOCK].float(), directions, out=dots[start : start + BLOCK])
        norms64 = norms.double()
        projected = dots.double() / norms64[:, None]
        common_norm = torch.linalg.vector_norm(common)
        row_mean = torch.where(self.counted, (projected[:, 0] - 1) / others, projected[:, 0] / n)
        to_common = projected[:, 1] / common_norm
        result = {
            "mean_cosine": (total @ total - n) / (n * others),
            "mean_cosine_group": self._by_group(row_mean, valid),
            "mean_cosine_within": ((unit_sums * unit_sums).sum(1) - number) / (number * _at_least_one(number - 1)),
            "common_cosine": self._mean(to_common, valid),
            "common_cosine_group": self._by_group(to_common, valid),
            "common_norm": common_norm,
            "norm_mean": self._mean(norms64, valid),
            "norm_group": self._by_group(norms64, valid),
        }
        for name, pairs in self.pairs.items():
            chosen = row_mean[pairs.rows]
            log, ranks = pairs.log, pairs.ranks
            keep = valid[pairs.rows]
            if not bool(keep.all()):
                chosen, log = chosen[keep], log[keep]
                ranks = average_ranks(log)
            result[f"pearson_{name}"] = correlation(chosen, log)
            result[f"spearman_{name}"] = correlation(average_ranks(chosen), ranks)
        return result

    @torch.no_grad()
    def movement(self, weight: Tensor, initial: Tensor | None, previous: Tensor | None) -> dict[str, Tensor]:
        """How the table moved: the names in :data:`MOVEMENT`.

        Args:
            weight: float [V, d], after the step.
            initial: float [V, d], at update 0, or ``None`` if unknown.
            previous: float [V, d], before the step, or ``None`` at update 0.

        Returns:
            float64 tensors, 0-d or [G]; what cannot be computed is missing.
        """
        result: dict[str, Tensor] = {}
        size, dim = weight.shape
        valid = torch.ones(size, dtype=torch.bool, device=weight.device)
        if initial is not None:
            distance = torch.empty(size, dtype=torch.float32, device=weight.device)
            for start in range(0, size, BLOCK):
                moved = weight[start : start + BLOCK].float() - initial[start : start + BLOCK]
                torch.linalg.vector_norm(moved, dim=1, out=distance[start : start + BLOCK])
                valid[start : start + BLOCK] = (weight[start : start + BLOCK] != 0).any(dim=1)
            result["drift"] = self._mean(distance.double(), valid)
            result["drift_group"] = self._by_group(distance.double(), valid)
        if previous is None:
            return result
        squared = torch.empty(size, dtype=torch.float64, device=weight.device)
        sums = torch.zeros(self.groups, dim, dtype=torch.float64, device=weight.device)
        for start in range(0, size, BLOCK):
            block = weight[start : start + BLOCK].float()
            moved = block - previous[start : start + BLOCK]
            present = (block != 0).any(dim=1)
            valid[start : start + BLOCK] = present
            squared[start : start + BLOCK] = torch.linalg.vector_norm(moved, dim=1).double() ** 2
            sums += (self.one_hot[start : start + BLOCK] * present[:, None]).T @ moved
        directions = torch.cat([sums, sums[self.counted_groups].sum(0, keepdim=True)])
        directions /= torch.linalg.vector_norm(directions, dim=1, keepdim=True).clamp_min(
            torch.finfo(torch.float64).tiny
        )
        directions = directions.T.float()
        along = torch.empty(size, dtype=torch.float64, device=weight.device)
        along_all = torch.empty_like(along)
        own = self.group.clamp_min(0)
        for start in range(0, size, BLOCK):
            moved = weight[start : start + BLOCK].float() - previous[start : start + BLOCK]
            dots = moved @ directions
            along[start : start + BLOCK] = dots.gather(1, own[start : start + BLOCK, None])[:, 0].double() ** 2
            along_all[start : start + BLOCK] = dots[:, -1].double() ** 2
        mean_square, mean_square_group = self._mean(squared, valid), self._by_group(squared, valid)
        result["update_norm"] = mean_square.sqrt()
        result["update_norm_group"] = mean_square_group.sqrt()
        result["update_shared"] = self._mean(along_all, valid) / mean_square
        result["update_shared_group"] = self._by_group(along, valid) / mean_square_group
        return result
