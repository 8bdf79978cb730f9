"""A replay's encoded windows are compared as the tables that they stand for, wherever their keyframes lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from small_dumps import DIM, ROWS
from test_windows import KEY, frames, walk, write

from fairseq_ext.recording import contents
from fairseq_ext.replay.original import Original
from fairseq_ext.replay.records import Records
from fairseq_ext.replay.verifying import Comparison, compare

TABLES = dict(enumerate(walk(12)))


def compared(one: Path, other: Path) -> Comparison:
    attributes = contents.read_node(one)["attributes"]
    return compare(Original(one, attributes, Records(one)), Records(other), attributes)


def some(*updates: int) -> dict[int, np.ndarray]:
    return {update: TABLES[update] for update in updates}


def test_keyframes_elsewhere_change_nothing(tmp_path: Path) -> None:
    one = write(tmp_path / "one", some(0, *range(3, 10)), "lossless", keyframes=4)
    other = write(tmp_path / "other", some(*range(5, 12)), "lossless", keyframes=3)
    found = compared(one, other)
    assert found.records == {KEY: (5, 5)}
    assert (found.verdict, found.left_out) == ("identical", [])
    decoded = dict(Records(other).decoded(KEY, [6, 10, 11]))
    assert all(np.array_equal(values, TABLES[update]) for update, values in decoded.items())


def test_one_entry_of_one_update_is_found_and_not_what_is_built_on_it(tmp_path: Path) -> None:
    one = write(tmp_path / "one", some(*range(10)), "lossless")
    changed = some(*range(10))
    changed[6] = changed[6].copy()
    changed[6][ROWS - 2, DIM - 3] *= -1
    found = compared(one, write(tmp_path / "other", changed, "lossless"))
    assert found.records == {KEY: (10, 9)}
    assert found.first is not None
    assert (found.first.update, found.first.place, found.first.values) == (6, {"row": ROWS - 2, "dim": DIM - 3}, 1)
    assert (found.first.recorded, found.first.replayed) == (TABLES[6][-2, -3], -TABLES[6][-2, -3])


def test_of_a_lossy_encoding_only_what_is_exact_is_compared(tmp_path: Path) -> None:
    one = write(tmp_path / "one", some(*range(10)), "lossy")
    found = compared(one, write(tmp_path / "other", some(*range(10)), "lossless"))
    exact = int((frames(one)[:, 1] == 0).sum())
    assert 0 < exact < 10
    assert found.records == {KEY: (exact, exact)}
    assert found.left_out == [f"{KEY}: {10 - exact} records of a lossy encoding"]
