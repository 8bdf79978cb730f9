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

    def _sums(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Row norms float32 [V], and the sums over each group of unit rows and of rows, float64 [G, d]."""
        size, dim = weight.shape
        norms = torch.empty(size, dtype=torch.float32, device=weight.device)
        sums = torch.zeros(2 * self.groups, dim, dtype=torch.float64, device=weight.device)
        for start in range(0, size, BLOCK):
            block = weight[start : start + BLOCK].float()
            norm = torch.linalg.vector_norm(block, dim=1, out=norms[start : start + BLOCK])
            one_hot = self.one_hot[:, start : start + BLOCK]
            sums += torch.cat([one_hot * torch.where(norm > 0, 1.0 / norm, 0.0), one_hot]) @ block
        return norms, sums[: self.groups], sums[self.groups :]

    def _correlations(self, weight: Tensor, norms: Tensor, total: Tensor, n: Tensor) -> dict[str, Tensor]:
        """Pearson and Spearman of the counted rows' mean cosine against their token counts.

        In float64 throughout: late in training the cosines lie so close together that float32 would change their ranks.
        """
        row_mean = torch.empty(len(weight), dtype=torch.float64, device=weight.device)
        for start in range(0, len(weight), BLOCK):
            block = weight[start : start + BLOCK].double()
            row_mean[start : start + BLOCK] = block @ total / torch.linalg.vector_norm(block, dim=1)
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
            previous: float [V, d], before the step, or ``None`` at update 0.

        Returns:
            float64 tensors, 0-d or [G]; what cannot be computed is missing.
        """
        result: dict[str, Tensor] = {}
        size, dim = weight.shape
        scratch = torch.empty(min(BLOCK, size), dim, dtype=torch.float32, device=weight.device)

        def moved(since: Tensor, start: int) -> Tensor:
            block = weight[start : start + BLOCK]
            return torch.sub(block, since[start : start + BLOCK], out=scratch[: len(block)])

        valid = torch.linalg.vector_norm(weight, dim=1) > 0
        if initial is not None:
            distance = torch.empty(size, dtype=torch.float32, device=weight.device)
            for start in range(0, size, BLOCK):
                torch.linalg.vector_norm(moved(initial, start), dim=1, out=distance[start : start + BLOCK])
            result["drift"], result["drift_group"] = self._by_group(distance.double(), valid)
        if previous is None:
            return result
        length = torch.empty(size, dtype=torch.float32, device=weight.device)
        sums = torch.zeros(self.groups, dim, dtype=torch.float64, device=weight.device)
        present = self.one_hot * valid
        for start in range(0, size, BLOCK):
            change = moved(previous, start)
            torch.linalg.vector_norm(change, dim=1, out=length[start : start + BLOCK])
            sums += present[:, start : start + BLOCK] @ change
        directions = torch.cat([sums, sums[self.counted_groups].sum(0, keepdim=True)])
        directions /= torch.linalg.vector_norm(directions, dim=1, keepdim=True).clamp_min(
            torch.finfo(torch.float64).tiny
        )
        directions = directions.T.float().contiguous()
        dots = torch.empty(size, self.groups + 1, dtype=torch.float32, device=weight.device)
        for start in range(0, size, BLOCK):
            torch.mm(moved(previous, start), directions, out=dots[start : start + BLOCK])
        along = dots.gather(1, self.group.clamp_min(0)[:, None])[:, 0].double() ** 2
        mean_square, mean_square_group = self._by_group(length.double() ** 2, valid)
        result["update_norm"] = mean_square.sqrt()
        result["update_norm_group"] = mean_square_group.sqrt()
        result["update_shared"] = self._by_group(dots[:, -1].double() ** 2, valid)[0] / mean_square
        result["update_shared_group"] = self._by_group(along, valid)[1] / mean_square_group
        return result
