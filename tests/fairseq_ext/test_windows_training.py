"""Windows of real runs: what is decoded is what training had, and a killed run goes on to the same bytes."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
from running import TABLE, Launcher, Run, arguments, assert_same_dump, assert_same_training

from dump import Dump
from fairseq_ext import failpoints

pytestmark = pytest.mark.train
LOSSY = "--record-windows every:1 --record-window-encoding lossy --record-window-keyframes 8".split()


@pytest.fixture(scope="module")
def lossy(launcher: Launcher, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("lossy")
    done = launcher.run("train", arguments(corpus, folder, *LOSSY, "--record-snapshots", "every:1"))
    assert done.status == 0, done.said[-3000:]
    return Run(folder, done)


def test_lossless_windows_are_the_snapshots(recorded: Run) -> None:
    table = Dump.open(recorded.dump).table()
    both = np.intersect1d(table.snapshot_updates, table.window_updates).tolist()
    assert {0, 20, 22, 23, 24, 25, 30} <= set(both)
    run = dict(table.window(0, 99))
    assert list(run) == [0, *range(17, 34)]
    for update in both:
        assert run[update].tobytes() == table.snapshot(update).tobytes()
        assert table._windows.snapshot(table.window_updates.tolist().index(update)).tobytes() == run[update].tobytes()


def test_lossy_windows_keep_their_bound(lossy: Run, recorded: Run) -> None:
    """Of entries, and of what is computed from them."""
    assert_same_training(lossy.last, recorded.last)  # recording changes nothing
    table = Dump.open(lossy.dump).table()
    assert table.window_updates.tolist() == table.snapshot_updates.tolist() == list(range(41))
    true = {u: table.snapshot(u).astype(np.float64) for u in range(41)}
    coded = dict(table.window(0, 40))
    for update in range(41):
        bound = 0.5 * table.window_step(update) + 2.0**-22 * np.abs(true[update]).max()
        assert np.abs(coded[update] - true[update]).max() <= bound
    for update in range(10, 41):
        one, other = true[update] - true[update - 1], coded[update].astype(np.float64) - coded[update - 1]
        assert (one * other).sum() / np.linalg.norm(one) / np.linalg.norm(other) > 0.99
    place = sum(f.stat().st_size for f in (lossy.dump / f"tables/{TABLE}/windows/residual").rglob("*") if f.is_file())
    assert place < 0.35 * 41 * true[0].size * 4  # a tiny table: what files weigh themselves is in it


@pytest.mark.parametrize("where", ["snapshot-values:30", "coordinate-chunk:40", "committed:25"])
def test_killed_lossy_runs_end_the_same(
    launcher: Launcher, corpus: Path, lossy: Run, tmp_path: Path, where: str
) -> None:
    words = arguments(corpus, tmp_path, *LOSSY, "--record-snapshots", "every:1")
    killed = launcher.run("train", words, **{failpoints.VARIABLE: where})
    assert killed.status == -signal.SIGKILL, killed.said[-3000:]
    assert launcher.run("train", words).status == 0
    assert_same_dump(tmp_path / "dump.zarr", lossy.dump)
    assert_same_training(tmp_path / "checkpoints/checkpoint_last.pt", lossy.last)


def test_other_encoding_is_another_run(launcher: Launcher, corpus: Path, lossy: Run) -> None:
    words = arguments(
        corpus, lossy.folder, *LOSSY, "--record-snapshots", "every:1", "--record-window-step", "0.5", last=41
    )
    refused = launcher.run("train", words)
    assert "belongs to another run: schedules differ" in refused.error


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--record-window-encoding", "zip", "expected lossless or lossy, found 'zip'"),
        ("--record-window-step", "0", "expected a share of an update's size between 0 and 4, found 0.0"),
        ("--record-window-keyframes", "-3", "expected at least 0, found -3"),
        ("--record-windows", "often", "--record-windows: expected a comma list"),
    ],
)
def test_wrong_options_end_in_one_line(
    launcher: Launcher, corpus: Path, tmp_path: Path, option: str, value: str, said: str
) -> None:
    assert said in launcher.run("train", arguments(corpus, tmp_path, option, value)).error
