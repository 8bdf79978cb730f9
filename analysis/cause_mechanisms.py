"""Which share of a table's drift each mechanism accounts for, from the recorded updates of the mean row.

The drift is D = mu_T - mu_0, the change of the mean of all rows between the first and the last snapshot. At each record the
mean row's update splits into

- coupled: what it would be if all rows had one second moment, so that of the gradients their sum alone counts;
- decay: weight decay of the mean row;
- second moment: the rest, what the rows' own second moments (and all else that is not in the two others) do. Under centring it
  holds what centring takes off.

A mechanism's share is the sum over updates of its part's projection on D, over |D|^2. Each update is stood for by the nearest
record (of two equally near, the later): with a schedule every:N a record stands for N updates, the first for up to half of N more, the
last for as many fewer. 1 less the sum of the shares is the error of that sampling; it is 0 where every update was recorded, up to rounding.

The pushes are the same by the role that a row played (input, target, negative of the softmax): what the gradient of each role
does to the mean under the rule, without momentum. Their shares are of their own sum.

By frequency group: how far a row of the group is moved along the common vector of the moment, in mean row norms; and the net
gradient along it by role, downhill, as a share of the summed lengths of all rows' gradients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cause_streams import ROLES, CauseStream
from cli import NOT_IN_JSON
from dump import Table

MECHANISMS = {
    "second_moment": "own second moments",
    "coupled": "summed gradients",
    "decay": "weight decay",
}
CANCELLED = 1e-3  # roles whose sum is less than this share of their lengths cancel: shares of it say nothing
CHANCE = (
    2.0  # a drift of fewer than so many mean norms / sqrt(rows) is no drift: independent rows' means differ by as much
)


@dataclass(frozen=True)
class Drift:
    """D between two snapshots: its length, the rows' mean norm at the end, and the change of the common vector beside it.

    `ratio` is |D| over the mean norm, `chance` the size below which it is no drift. `common_length` is the length of the change of
    the mean of counted rows, `common_cosine` its cosine to D.
    """

    first: int
    last: int
    vector: NDArray[np.float64] = field(metadata=NOT_IN_JSON)
    length: float
    norm_mean: float
    ratio: float
    chance: float
    common_length: float
    common_cosine: float

    @property
    def drifted(self) -> bool:
        return self.ratio > self.chance


@dataclass(frozen=True)
class Mechanisms:
    """Shares of one table's drift. `shares` and `unexplained` are NaN where there was no drift, `reason` then says so.

    `along` holds the same in mean row norms: its sum is |D| over the mean norm, less what sampling missed. `pushes` are the
    roles' shares of their sum (NaN: not known, or cancelled), `push_total` that sum as a share of the drift.
    `group_path` (groups,): how far a row of the group moved along the common vector, in mean row norms. `role_along`: by role (groups,).
    `own` (groups,): median over records of the share of a row's squared update that is its own.
    """

    drift: Drift
    records: int
    every: float
    shares: dict[str, float]
    along: dict[str, float]
    unexplained: float
    pushes: dict[str, float]
    push_total: float
    group_path: NDArray[np.float64]
    role_along: dict[str, NDArray[np.float64]]
    own: NDArray[np.float64]
    reason: str


def measure_drift(table: Table) -> Drift | None:
    """The drift between the first and the last snapshot; None where there are not two. Raises DumpError."""
    updates = table.snapshot_updates
    if len(updates) < 2:
        return None
    ends = [table.snapshot(int(update)) for update in (updates[0], updates[-1])]
    vector = _mean(ends[1]) - _mean(ends[0])
    common = _mean(ends[1][table.counted]) - _mean(ends[0][table.counted])
    norms = np.sqrt(np.einsum("ij,ij->i", ends[1], ends[1], dtype=np.float64))
    norm_mean = float(norms[table.counted & (norms > 0)].mean())
    length, common_length = float(np.linalg.norm(vector)), float(np.linalg.norm(common))
    both = length * common_length
    return Drift(
        first=int(updates[0]),
        last=int(updates[-1]),
        vector=vector,
        length=length,
        norm_mean=norm_mean,
        ratio=length / norm_mean,
        chance=CHANCE / math.sqrt(int(table.counted.sum())),
        common_length=common_length,
        common_cosine=float(vector @ common / both) if both else math.nan,
    )


def measure(table: Table, cause: CauseStream, drift: Drift) -> Mechanisms:
    """Split the drift. Raises DumpError where no record lies between the two snapshots."""
    weights = record_weights(cause.updates, drift.first, drift.last)
    if not weights.any():
        raise table.error(
            f"no record of the stream cause lies after update {drift.first} and up to {drift.last}; record it between the snapshots"
        )
    vectors = cause.vectors
    parts = {
        "second_moment": vectors["update_mean"] - vectors["update_coupled"] - vectors["update_decay"],
        "coupled": vectors["update_coupled"],
        "decay": vectors["update_decay"],
    }
    along = {name: float(weights @ (part @ drift.vector)) for name, part in parts.items()}
    square = drift.length**2
    shares = {name: value / square if drift.drifted else math.nan for name, value in along.items()}
    pushed = {role: float(weights @ (vectors[f"push_{role}"] @ drift.vector)) for role in ROLES}
    total = sum(pushed.values())
    cancelled = not drift.drifted or not abs(total) > CANCELLED * sum(map(abs, pushed.values()))
    scale = drift.length * drift.norm_mean
    reason = "" if drift.drifted else _no_drift(drift)
    if drift.drifted and math.isnan(sum(along.values())):
        reason = "the optimiser's state is not known (another optimiser), so the drift cannot be split"
    elif drift.drifted and any(math.isnan(value) for value in pushed.values()):
        reason = "the roles of the rows are not known (another head, or several ranks), so no role's push is given"
    return Mechanisms(
        drift=drift,
        records=int((weights > 0).sum()),
        every=(drift.last - drift.first) / int((weights > 0).sum()),
        shares=shares,
        along={name: value / scale if scale else math.nan for name, value in along.items()},
        unexplained=1 - sum(shares.values()),
        pushes={role: math.nan if cancelled else value / total for role, value in pushed.items()},
        push_total=total / square if drift.drifted else math.nan,
        group_path=weights @ cause.by_group["update_along_group"] / drift.norm_mean,
        role_along=_role_along(cause, weights),
        own=_own(cause),
        reason=reason,
    )


def record_weights(updates: NDArray[np.int64], first: int, last: int) -> NDArray[np.float64]:
    """How many of the updates `first` + 1 to `last` each record stands for (records,): each update by the nearest record."""
    inside = np.flatnonzero((updates > first) & (updates <= last))
    weights = np.zeros(len(updates))
    if not len(inside):
        return weights
    known = updates[inside]
    # An update at the middle between two records goes to the later one.
    edges = np.concatenate([[first], (known[1:] + known[:-1] - 1) // 2, [last]])
    weights[inside] = np.diff(edges)
    return weights


def _role_along(cause: CauseStream, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    lengths = float(weights @ cause.numbers["gradient_length"])
    return {
        role: -(weights @ cause.by_group[f"{role}_along_group"]) / (lengths if lengths else math.nan) for role in ROLES
    }


def _own(cause: CauseStream) -> NDArray[np.float64]:
    own, whole = (cause.by_group[f"update_{name}_group"] for name in ("own", "length"))
    share = np.divide(own**2, whole**2, out=np.full_like(own, np.nan), where=whole > 0)
    known = np.isfinite(share).any(axis=0)
    result = np.full(share.shape[1], np.nan)
    result[known] = np.nanmedian(share[:, known], axis=0)
    return result


def _no_drift(drift: Drift) -> str:
    return (
        f"the mean row moved by {drift.ratio:.2g} mean norms, less than independent rows' means differ by chance ({drift.chance:.2g}): "
        "there is no drift to account for"
    )


def _mean(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    return rows.mean(axis=0, dtype=np.float64)
