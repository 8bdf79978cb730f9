"""What `analysis/snapshots.py` computes of a real recording's snapshots is what was recorded beside them while training."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from running import Launcher, Run, arguments

import snapshots
from dump import Dump
from fairseq_ext.recording.schedule import Schedule
from snapshot_measures import measured
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
    assert result.updates.tolist() == table.whole_updates.tolist()
    plain = np.isin(result.updates, table.snapshot_updates)  # where the costlier statistics were recorded as well
    assert plain.sum() > 10
    places = np.searchsorted(table.statistic_updates, result.updates)
    assert (table.statistic_updates[places] == result.updates).all()
    statistics = table.statistics()
    # The recording sums unit rows of 32 bits, up to 512 rows at a time, in 32 bits (statistics.py); the analysis does all in 64.
    # (The analysis against brute force, to 1e-9: tests/analysis/test_snapshots.py.) Ranks are those of 64 bits in both.
    for name in TABLE_ALONE:
        here, there = result.numbers[name][plain], statistics[name][places][plain]
        limit = {"rtol": 1e-12, "atol": 1e-12} if name.startswith("spearman") else {"rtol": 2e-6, "atol": 1e-8}
        np.testing.assert_allclose(here, there, **limit, err_msg=name)
    # Where the snapshot before is that of the update before, what a row has moved is the last update.
    follows = plain & np.array(
        [before == update - 1 for before, update in zip(result.previous, result.updates, strict=True)]
    )
    assert follows.sum() >= 5
    for name, recorded_as in MOVED.items():
        here, there = result.numbers[name][follows], statistics[recorded_as][places][follows]
        np.testing.assert_allclose(here, there, rtol=2e-6, atol=1e-8, err_msg=name)
        others = plain & ~follows & (result.updates > 0)
        assert not np.allclose(result.numbers[name][others], statistics[recorded_as][places][others], rtol=1e-2), name


@pytest.mark.train
def test_encoded_snapshots_give_the_same_numbers_to_the_bit(
    recorded: Run, launcher: Launcher, corpus: Path, tmp_path: Path
) -> None:
    """The same training with every snapshot recorded plainly: what windows hold without loss is what snapshots hold."""
    done = launcher.run("train", arguments(corpus, tmp_path / "plain", "--record-snapshots", "every:1", last=34))
    assert done.status == 0, done.said[-3000:]
    plain = snapshots.analyse(Dump.open(tmp_path / "plain/dump.zarr"), partial=tmp_path / "partial")
    table = Dump.open(recorded.dump).table()
    chosen = {u: before for u, before in snapshots.choose_snapshots(table).items() if 17 <= u <= 33}
    assert set(chosen) - set(table.snapshot_updates.tolist()) >= {17, 18, 19, 26, 27, 28, 29}
    tasks = snapshots.make_tasks(table, chosen)
    assert [task.updates for task in tasks if len(task.updates) > 1] == [(17, 18, 19), (26, 27, 28, 29)]
    found = {result.update: result for task in tasks for result in measured(task)}
    assert sorted(found) == list(range(17, 34))
    for update, result in found.items():
        assert result.failure is None
        at = plain.updates.tolist().index(update)
        for name, value in result.numbers.items():
            np.testing.assert_array_equal(value, plain.numbers[name][at], err_msg=f"{name} at {update}")


def test_runs_of_encoded_snapshots_end_at_gaps_at_plain_ones_and_where_decoding_begins_anew() -> None:
    table = SimpleNamespace(
        name="t",
        dump=SimpleNamespace(path=Path("dump.zarr")),
        snapshot_updates=np.array([0, 5, 6]),
        whole_updates=np.array([0, 1, 2, 3, *range(5, 67)]),
    )
    chosen = snapshots.choose_snapshots(table, "window:0:40,window:42:66")
    tasks = snapshots.make_tasks(table, chosen)
    runs = [(0,), (1, 2, 3), (5,), (6,), tuple(range(7, 32)), tuple(range(32, 41)), tuple(range(42, 64)), (64, 65, 66)]
    assert [task.updates for task in tasks] == runs
    assert [task.previous for task in tasks][:3] == [(None,), (0, 1, 2), (3,)]
    assert tasks[6].previous[0] == 41  # listed, though not chosen


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
