"""Figures: colours of the groups, whole files or none, the update axis."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

import plots
from dump import Group

GROUPS = [
    Group(0, "zero", 0, 0, 10, True),
    Group(1, "1-9", 1, 9, 1, True),
    Group(2, "10-99", 10, 99, 2000, True),
    Group(3, "1,000+", 1000, None, 30, True),
    Group(4, "unreachable", 0, None, 3, False),
]


def test_each_group_has_its_own_colour_and_label() -> None:
    colours = plots.group_colours(GROUPS)
    assert len(set(colours)) == len(GROUPS)
    assert colours[0] == plots.ZERO_COLOUR
    assert colours[4] == plots.UNREACHABLE_COLOUR
    lightness = [sum(int(colour[place : place + 2], 16) for place in (1, 3, 5)) for colour in colours[1:4]]
    assert lightness == sorted(lightness, reverse=True)  # rare is light, frequent dark
    labels = [plots.group_label(group) for group in GROUPS]
    assert labels == [
        "count 0 (10 rows)",
        "count 1–9 (1 row)",
        "count 10–99 (2,000 rows)",
        "count ≥ 1,000 (30 rows)",
        "unreachable (3 rows)",
    ]


def test_saving_writes_both_kinds_and_repeats_to_the_byte(tmp_path: Path) -> None:
    written = []
    for folder in ("a", "b"):
        figure, axes = plots.new_figure()
        axes[0, 0].plot([1, 2], [3, 4])
        written.append(plots.save(figure, tmp_path / folder, "name"))
    assert [path.name for path in written[0]] == ["name.png", "name.pdf"]
    for first, second in zip(*written, strict=True):
        assert first.read_bytes() == second.read_bytes()
    assert written[0][0].read_bytes().startswith(b"\x89PNG")
    assert written[0][1].read_bytes().startswith(b"%PDF")


def test_a_failure_leaves_the_earlier_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "name.png").write_text("earlier")

    def fail(self: Figure, file: str, **options: object) -> None:
        Path(file).write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="No space"):
        plots.save(plots.new_figure()[0], tmp_path, "name")
    assert [path.name for path in tmp_path.iterdir()] == ["name.png"]
    assert (tmp_path / "name.png").read_text() == "earlier"


@pytest.mark.parametrize(("updates", "scale"), [([0, 100, 200], "linear"), ([0, 1, 2, 4, 8, 64, 1000, 4096], "symlog")])
def test_the_update_axis_is_logarithmic_where_updates_are(updates: list[int], scale: str) -> None:
    figure, axes = plots.new_figure()
    plots.update_axis(axes[0, 0], np.array(updates))
    assert axes[0, 0].get_xscale() == scale
    assert axes[0, 0].get_xlabel() == "update"
    figure.canvas.draw()
    plots.plt.close(figure)
