"""Statistics of an embedding table, on its own device, in O(V d).

The definitions stand in ``docs/dump-format.md``. On the CPU everything is computed in blocks of rows that stay in the cache. Sums over rows
are taken in float32 over at most 512 rows of one group, and in float64 over those; nothing is moved to the host.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor
from torch.nn import functional

from .rows import Rows

BLOCK = 2048
BAG = 512
TINY = torch.finfo(torch.float32).tiny
CHEAP = (
    "mean_cosine",
    "mean_cosine_group",
    "mean_cosine_within",
    "common_cosine",
    "common_cosine_group",
    "common_norm",
    "norm_mean",
    "norm_group",
)
CORRELATIONS = (
    "pearson_seen",
    "spearman_seen",
    "pearson_all",
    "spearman_all",
)
MOVEMENT = ("drift", "drift_group", "update_norm", "update_norm_group", "update_shared", "update_shared_group")
BY_GROUP = frozenset(name for name in CHEAP + CORRELATIONS + MOVEMENT if name.endswith(("_group", "_within")))


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
class _Block:
    """A block of the table's rows, those of a group sorted by it and cut into bags of at most ``BAG`` rows of one group."""

    rows: slice
    order: Tensor  # int64 [n], row numbers within the block
    offsets: Tensor  # int64 [b], where each bag begins in `order`
    group: Tensor  # int64 [b], of each bag


def _blocks(group: np.ndarray, size: int, device: torch.device | str) -> list[_Block]:
    blocks = []
    for start in range(0, len(group), size):
        own = group[start : start + size]
        order = np.argsort(own, kind="stable")
        order = order[own[order] >= 0]
        first = np.flatnonzero(np.diff(own[order], prepend=-1))
        ends = np.append(first[1:], len(order))
        offsets = np.concatenate([np.arange(b, e, BAG) for b, e in zip(first, ends, strict=True)] or [first]).astype(
            int
        )
        tensors = (torch.from_numpy(a.astype(np.int64)).to(device) for a in (order, offsets, own[order][offsets]))
        blocks.append(_Block(slice(start, min(start + size, len(group))), *tensors))
    return blocks


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
        self.size = BLOCK if torch.device(device).type == "cpu" else 16 * BLOCK
        self.blocks = _blocks(rows.group, self.size, device)
        self.bag_groups = torch.cat([block.group for block in self.blocks])
        self._double: Tensor | None = None
        group = torch.from_numpy(rows.group.astype(np.int64)).to(device)
        self.member = torch.nonzero(group >= 0).squeeze(1)
        self.group = group
        self.one_hot = torch.zeros(self.groups, len(rows), dtype=torch.float32, device=device)
        self.one_hot[group[self.member], self.member] = 1.0
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

    @torch.no_grad()
    def cheap(self, weight: Tensor, correlations: bool = True) -> dict[str, Tensor]:
        """What the table alone tells: the names in :data:`CHEAP`, and those in :data:`CORRELATIONS` if asked for.

        One pass over the table gives the sums of unit rows and of rows by group, and with them every mean: the mean over a group of
        ``u_i.S`` is ``S_g.S / n_g``. The correlations need each row's own value, a second pass and a sort.

        Args:
            weight: float [V, d].

        Returns:
            float64 tensors, 0-d or [G].
        """
        norms, unit_sums, raw_sums = self._sums(weight)
        valid = norms > 0
        number = (self.one_hot @ valid.float()).double()
        norm_mean, norm_group = self._by_group(norms.double(), valid)
        counted = self.counted_groups
        n = number[counted].sum()
        others = torch.where(n > 1, n - 1, torch.nan)
        total = unit_sums[counted].sum(0)
        common = raw_sums[counted].sum(0) / n
        common_norm = torch.linalg.vector_norm(common)
        to_total, to_common = unit_sums @ total, unit_sums @ common / common_norm
        result = {
            "mean_cosine": (total @ total - n) / (n * others),
            "mean_cosine_group": torch.where(counted, (to_total / number - 1) / others, to_total / number / n),
            "mean_cosine_within": torch.where(
                number > 1, ((unit_sums**2).sum(1) - number) / (number * (number - 1)), torch.nan
            ),
            "common_cosine": to_common[counted].sum() / n,
            "common_cosine_group": to_common / number,
            "common_norm": common_norm,
            "norm_mean": norm_mean,
            "norm_group": norm_group,
        }
        return result | self._correlations(weight, norms, total, n) if correlations else result

    def _by_bags(self, parts: list[Tensor]) -> Tensor:
        """Add up the bags' sums, float32 [b, d] of each block: float64 [G, d]."""
        sums = torch.cat(parts)
        total = torch.zeros(self.groups, sums.shape[1], dtype=torch.float64, device=sums.device)
        return total.index_add_(0, self.bag_groups, sums.double())

    def _sums(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Row norms float32 [V], and the sums over each group of unit rows and of rows, float64 [G, d]."""
        norms = torch.empty(len(weight), dtype=torch.float32, device=weight.device)
        unit, raw = [], []
        for b in self.blocks:
            block = weight[b.rows].float()
            norm = torch.linalg.vector_norm(block, dim=1, out=norms[b.rows])
            scale = ((norm > 0) / norm.clamp_min(TINY))[b.order]
            unit.append(functional.embedding_bag(b.order, block, b.offsets, mode="sum", per_sample_weights=scale))
            raw.append(functional.embedding_bag(b.order, block, b.offsets, mode="sum"))
        return norms, self._by_bags(unit), self._by_bags(raw)

    def _correlations(self, weight: Tensor, norms: Tensor, total: Tensor, n: Tensor) -> dict[str, Tensor]:
        """Pearson and Spearman of the counted rows' mean cosine against their token counts.

        In float64 throughout: late in training the cosines lie so close together that float32 would change their ranks.
        """
        row_mean = torch.empty(len(weight), dtype=torch.float64, device=weight.device)
        if self._double is None:
            self._double = torch.empty(
                min(self.size, len(weight)), weight.shape[1], dtype=torch.float64, device=weight.device
            )
        for b in self.blocks:
            block = self._double[: b.rows.stop - b.rows.start].copy_(weight[b.rows])
            torch.div(block @ total, torch.linalg.vector_norm(block, dim=1), out=row_mean[b.rows])
        row_mean = (row_mean - 1) / (n - 1)
        result: dict[str, Tensor] = {}
        for name, pairs in self.pairs.items():
            chosen = row_mean[pairs.rows]
            log, ranks = pairs.log, pairs.ranks
            keep = norms[pairs.rows] > 0
            if not bool(keep.all()):
                chosen, log = chosen[keep], log[keep]
                ranks = average_ranks(log)
            result[f"pearson_{name}"] = correlation(chosen, log)
            result[f"spearman_{name}"] = correlation(average_ranks(chosen), ranks)
        return result

    def _by_group(self, values: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Mean of float64 [V] ``values`` over the valid rows: of all counted groups (0-d), and of each group, NaN without rows [G]."""
        kept = torch.where(valid, values, 0.0)
        total = torch.zeros(self.groups, dtype=torch.float64, device=values.device)
        total.index_add_(0, self.group[self.member], kept[self.member])
        number = (self.one_hot @ valid.float()).double()
        return total[self.counted_groups].sum() / number[self.counted_groups].sum(), total / number

    @torch.no_grad()
    def movement(self, weight: Tensor, initial: Tensor | None, previous: Tensor | None) -> dict[str, Tensor]:
        """How the table moved: the names in :data:`MOVEMENT`.

        Args:
            weight: float [V, d], after the step.
            initial: float [V, d], at update 0, or ``None`` if unknown.
            previous: float [V, d], before the step, or ``None`` at update 0; holds the difference afterwards.

        Returns:
            float64 tensors, 0-d or [G]; what cannot be computed is missing.
        """
        size, dim = weight.shape
        scratch = torch.empty(min(self.size, size), dim, dtype=torch.float32, device=weight.device)
        valid = torch.empty(size, dtype=torch.bool, device=weight.device)
        drift, length = (torch.empty(size, dtype=torch.float32, device=weight.device) for _ in range(2))
        sums = []
        for b in self.blocks:
            block = weight[b.rows]
            torch.gt(torch.linalg.vector_norm(block, dim=1), 0, out=valid[b.rows])
            if initial is not None:
                moved = torch.sub(block, initial[b.rows], out=scratch[: len(block)])
                torch.linalg.vector_norm(moved, dim=1, out=drift[b.rows])
            if previous is not None:
                change = torch.sub(block, previous[b.rows], out=previous[b.rows])
                torch.linalg.vector_norm(change, dim=1, out=length[b.rows])
                present = valid[b.rows][b.order].float()
                sums.append(
                    functional.embedding_bag(b.order, change, b.offsets, mode="sum", per_sample_weights=present)
                )
        result: dict[str, Tensor] = {}
        if initial is not None:
            result["drift"], result["drift_group"] = self._by_group(drift.double(), valid)
        if previous is None:
            return result
        by_group = self._by_bags(sums)
        directions = torch.cat([by_group, by_group[self.counted_groups].sum(0, keepdim=True)])
        directions /= torch.linalg.vector_norm(directions, dim=1, keepdim=True).clamp_min(
            torch.finfo(torch.float64).tiny
        )
        directions = directions.float()
        dots = torch.empty(size, self.groups + 1, dtype=torch.float32, device=weight.device)
        for b in self.blocks:
            dots[b.rows] = functional.linear(previous[b.rows], directions)
        along = dots.gather(1, self.group.clamp_min(0)[:, None])[:, 0].double() ** 2
        mean_square, mean_square_group = self._by_group(length.double() ** 2, valid)
        result["update_norm"] = mean_square.sqrt()
        result["update_norm_group"] = mean_square_group.sqrt()
        result["update_shared"] = self._by_group(dots[:, -1].double() ** 2, valid)[0] / mean_square
        result["update_shared_group"] = self._by_group(along, valid)[1] / mean_square_group
        return result
