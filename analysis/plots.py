"""What every figure shares: style, colours of the frequency groups, update axis, bands, and safe writing.

Colours are colour-blind safe: Okabe & Ito for unordered series, a part of `viridis` for the frequency groups from rare to
frequent, vermilion for zero-count tokens, grey for unreachable rows. `import plots` selects the Agg backend, so figures
are made without a display.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator, SymmetricalLogLocator
from numpy.typing import NDArray

from dump import Group

OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
ZERO_COLOUR = "#D55E00"
UNREACHABLE_COLOUR = "#999999"
STYLE = {
    "figure.dpi": 120,
    "savefig.dpi": 160,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,
}
plt.rcParams.update(STYLE)


def group_label(group: Group) -> str:
    """`zero count (8,120 rows)`, `10-99 (9,003 rows)`, `unreachable (3 rows)`: count ranges with thousands marked."""
    if group.name == "zero":
        name = "count 0"
    elif not group.counted:
        name = group.name
    elif group.max_count is None:
        name = f"count ≥ {group.min_count:,}"
    else:
        name = f"count {group.min_count:,}–{group.max_count:,}"
    return f"{name} ({group.rows:,} row{'' if group.rows == 1 else 's'})"


def group_colours(groups: Sequence[Group]) -> list[str]:
    """One colour a group, the same for equal lists of groups in every figure: rare is light, frequent is dark."""
    ordered = [group.index for group in groups if group.counted and group.name != "zero"]
    shades = plt.get_cmap("viridis")(np.linspace(0.88, 0.0, max(len(ordered), 1)))
    colours = {index: matplotlib.colors.to_hex(shade) for index, shade in zip(ordered, shades, strict=False)}
    return [ZERO_COLOUR if group.name == "zero" else colours.get(group.index, UNREACHABLE_COLOUR) for group in groups]


def new_figure(columns: int = 1, rows: int = 1, *, width: float = 6.4, height: float = 4.0) -> tuple[Figure, NDArray]:
    """A figure of `rows` x `columns` panels, each `width` x `height` inches; the axes as a 2-d object array."""
    figure, axes = plt.subplots(rows, columns, figsize=(width * columns, height * rows), squeeze=False)
    return figure, axes


def update_axis(axis: Axes, updates: Sequence[int] | NDArray[np.int64], *, log: bool | None = None) -> None:
    """Label the x axis as updates; logarithmic (base 2, 0 at its left end) where most lie in the first eighth."""
    axis.set_xlabel("update")
    last = int(np.max(updates)) if len(updates) else 0
    if log is None:
        log = last > 100 and float(np.median(updates)) < last / 8
    if log and last > 1:
        axis.set_xscale("symlog", base=2, linthresh=1, linscale=0.7)
        powers = int(np.log2(last)) + 1
        step = max(1, -(-powers // 8))
        axis.set_xticks([0, *(2**power for power in range(0, powers + 1, step))])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_xlim(-0.15, last * 1.15)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def log_count_axis(axis: Axes, largest: int) -> None:
    """Label the x axis as token counts on a logarithmic scale that has room for count 0 at its left end."""
    axis.set_xlabel("token count in the training split")
    axis.set_xscale("symlog", base=10, linthresh=1, linscale=0.5)
    axis.set_xticks([0, *(10**power for power in range(len(str(largest))))])
    axis.xaxis.set_minor_locator(SymmetricalLogLocator(base=10, linthresh=1, subs=range(2, 10)))
    axis.set_xlim(-0.3, largest * 1.4)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def band(
    axis: Axes,
    x: NDArray,
    low: NDArray,
    high: NDArray,
    colour: str,
    *,
    label: str | None = None,
    alpha: float = 0.2,
) -> None:
    """Shade an interval or quantile band; say in `label` or in the caption what it is over."""
    axis.fill_between(x, low, high, color=colour, alpha=alpha, linewidth=0, label=label)


def save(figure: Figure, out: str | Path, name: str) -> list[Path]:
    """Write `out/name.png` and `out/name.pdf`, each to a temporary name and then renamed; close the figure.

    Returns the two paths. Creates `out`. Raises OSError where it cannot write.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    written = []
    try:
        for kind in ("png", "pdf"):
            target = out / f"{name}.{kind}"
            handle, temporary = tempfile.mkstemp(dir=out, prefix=f".{name}.", suffix=f".{kind}")
            os.close(handle)
            try:
                # No date in the file: the same data give the same bytes.
                metadata = {"CreationDate": None} if kind == "pdf" else {"Software": None}
                figure.savefig(temporary, format=kind, metadata=metadata)
                Path(temporary).chmod(0o644)
                Path(temporary).replace(target)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
            written.append(target)
            figure.set_layout_engine("none")  # the second file has the places that were found for the first
    finally:
        plt.close(figure)
    return written
