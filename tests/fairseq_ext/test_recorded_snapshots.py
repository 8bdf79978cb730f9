"""What `analysis/snapshots.py` computes of a real recording's snapshots is what was recorded beside them while training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from running import Run

import snapshots
from dump import Dump
from fairseq_ext.recording.schedule import Schedule
from update_choice import choose

TABLE_ALONE = (
    "mean_cosine mean_cosine_group mean_cosine_within common_cosine common_cosine_group common_norm norm_mean "
    "norm_group pearson_seen spearman_seen pearson_all spearman_all drift drift_group"
).split()
MOVED = {"moved": "update_norm", "moved_group": "update_norm_group", "moved_shared": "update_shared",
         "moved_shared_group": "update_shared_group"}  # fmt: skip


@pytest.mark.train
def test_the_numbers_are_those_that_were_recorded(recorded: Run, tmp_path: Path) -> None:
    dump = Dump.open(recorded.dump)
    result = snapshots.analyse(dump, partial=tmp_path)
    table = dump.table()
    assert len(result.updates) == len(table.snapshot_updates) > 10
    places = np.searchsorted(table.statistic_updates, result.updates)
    assert (table.statistic_updates[places] == result.updates).all()
    statistics = table.statistics()
    # The recording sums unit rows of 32 bits, up to 512 rows at a time, in 32 bits (statistics.py); the analysis does all in 64.
    # (The analysis against brute force, to 1e-9: tests/analysis/test_snapshots.py.) Ranks are those of 64 bits in both.
    for name in TABLE_ALONE:
        here, there = result.numbers[name], statistics[name][places]
        limit = {"rtol": 1e-12, "atol": 1e-12} if name.startswith("spearman") else {"rtol": 2e-6, "atol": 1e-8}
        np.testing.assert_allclose(here, there, **limit, err_msg=name)
    # Where the snapshot before is that of the update before, what a row has moved is the last update.
    follows = np.array([before == update - 1 for before, update in zip(result.previous, result.updates, strict=True)])
    assert follows.sum() >= 5
    for name, recorded_as in MOVED.items():
        here, there = result.numbers[name][follows], statistics[recorded_as][places][follows]
        np.testing.assert_allclose(here, there, rtol=2e-6, atol=1e-8, err_msg=name)
        others = result.numbers[name][~follows][1:]
        assert not np.allclose(others, statistics[recorded_as][places][~follows][1:], rtol=1e-2, equal_nan=True), name


PARTS = st.one_of(
    st.integers(1, 60).map(lambda n: f"every:{n}"),
    st.just("log2"),
    st.lists(st.integers(0, 300), min_size=1, max_size=4).map(lambda u: "at:" + ";".join(map(str, u))),
    st.tuples(st.integers(0, 300), st.integers(0, 50)).map(lambda w: f"window:{w[0]}:{w[0] + w[1]}"),
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(PARTS, min_size=1, max_size=4), st.sets(st.integers(0, 310), min_size=1))
def test_updates_are_chosen_as_the_recording_chooses_them(parts: list[str], listed: set[int]) -> None:
    text, updates = ",".join(parts), np.array(sorted(listed))
    schedule = Schedule.parse(text)
    assert choose(updates, text).tolist() == [update for update in updates.tolist() if update in schedule]
