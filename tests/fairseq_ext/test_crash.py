"""Kills, signals and full disks: what is listed is whole, and the run ends as if nothing had happened."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import (
    SIGNALS,
    TABLE,
    Launcher,
    Process,
    Run,
    arguments,
    arrays,
    assert_same_dump,
    assert_same_training,
    assert_whole,
    load,
)

from fairseq_ext import failpoints

pytestmark = pytest.mark.train
VARIABLE = failpoints.VARIABLE
IN_A_RUN = {
    "create": [1],
    "snapshot-values": [5],
    "stream-values": [1, 3],
    "coordinate-chunk": [4],
    "committed": [4],
    "copy-checkpoint": [1],
}
ON_RESUME = ["cut-coordinate:1", "cut-values:1", "cut-values:3"]


def finish(launcher: Launcher, corpus: Path, run: Path, recorded: Run) -> str:
    """Run the same command again and compare the end with the uninterrupted run; returns what it said."""
    if (run / "dump.zarr").exists():
        assert_whole(run / "dump.zarr")
    done = launcher.run("train", arguments(corpus, run))
    assert done.status == 0, done.said[-3000:]
    assert_same_dump(run / "dump.zarr", recorded.dump)
    assert_same_training(run / "checkpoints/checkpoint_last.pt", recorded.last)
    assert [p.name for p in run.iterdir() if p.suffix == ".tmp"] == []
    return done.said


@pytest.mark.parametrize(("name", "time"), [(n, t) for n, times in IN_A_RUN.items() for t in times])
def test_killed_at_a_failpoint(
    launcher: Launcher, corpus: Path, recorded: Run, tmp_path: Path, name: str, time: int
) -> None:
    killed = launcher.run("train", arguments(corpus, tmp_path), **{VARIABLE: f"{name}:{time}"})
    assert killed.status == -signal.SIGKILL, killed.said[-3000:]
    finish(launcher, corpus, tmp_path, recorded)


@pytest.mark.parametrize("failpoint", ON_RESUME)
def test_killed_while_a_resumed_run_cuts_the_dump(
    launcher: Launcher, corpus: Path, recorded: Run, tmp_path: Path, failpoint: str
) -> None:
    """SIGTERM writes every record down, so that there is something to cut."""
    process = launcher.start("train", arguments(corpus, tmp_path))
    assert process.until_update(27)
    process.send(signal.SIGTERM)
    assert process.finish().status != 0
    killed = launcher.run("train", arguments(corpus, tmp_path), **{VARIABLE: failpoint})
    assert killed.status == -signal.SIGKILL, killed.said[-3000:]
    finish(launcher, corpus, tmp_path, recorded)


def test_every_failpoint_is_tried() -> None:
    """Those of pruning in test_prune.py."""
    tried = {*IN_A_RUN, *(f.partition(":")[0] for f in ON_RESUME)}
    assert tried == {name for name in failpoints.NAMES if not name.startswith("prune-")}


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_updates_again_and_again(
    launcher: Launcher, corpus: Path, recorded: Run, tmp_path: Path, seed: int
) -> None:
    chosen = sorted(random.Random(seed).sample(range(1, 39), 2))
    for update in chosen:
        process = launcher.start("train", arguments(corpus, tmp_path))
        process.until_update(update)
        process.send(signal.SIGKILL)
        assert process.finish().status == -signal.SIGKILL
        assert_whole(tmp_path / "dump.zarr")
    finish(launcher, corpus, tmp_path, recorded)


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_writes_down_what_is_recorded(
    launcher: Launcher, corpus: Path, recorded: Run, tmp_path: Path, name: str
) -> None:
    process = launcher.start("train", arguments(corpus, tmp_path))
    assert process.until_update(27)
    process.send(SIGNALS[name])
    done = process.finish()
    assert done.status not in (0, -signal.SIGKILL)
    if name == "SIGTERM":
        assert done.status == 128 + signal.SIGTERM
        assert "Traceback" not in done.said
    found = assert_whole(tmp_path / "dump.zarr")
    assert found[f"tables/{TABLE}/statistics/update"][-1] >= 27
    assert found[f"tables/{TABLE}/traces/update"][-1] >= 27
    assert found[f"tables/{TABLE}/snapshots/update"][-1] >= 25
    said = finish(launcher, corpus, tmp_path, recorded)
    assert "from update 20;" in said


def test_a_killed_copy_leaves_the_old_last_checkpoint_whole_and_is_finished_on_resume(
    launcher: Launcher, corpus: Path, recorded: Run, tmp_path: Path
) -> None:
    """At update 30, the third time that a checkpoint is copied; the last one is that of the epoch's end, update 29."""
    killed = launcher.run("train", arguments(corpus, tmp_path), **{VARIABLE: "copy-checkpoint:3"})
    assert killed.status == -signal.SIGKILL
    last = tmp_path / "checkpoints/checkpoint_last.pt"
    assert last.with_name("checkpoint_last.pt.copy.tmp").exists()
    assert load(last.with_name("checkpoint_2_30.pt"))["optimizer_history"][-1]["num_updates"] == 30
    assert load(last)["optimizer_history"][-1]["num_updates"] == 29
    said = finish(launcher, corpus, tmp_path, recorded)
    assert "continuing from checkpoint_2_30.pt" in said
    assert "from update 30; 0 records past it are cut off" in said
    assert [file.name for file in last.parent.iterdir() if file.suffix == ".tmp"] == []


def test_a_killed_creation_is_taken_up(launcher: Launcher, corpus: Path, tmp_path: Path) -> None:
    assert launcher.run("train", arguments(corpus, tmp_path), **{VARIABLE: "create"}).status == -signal.SIGKILL
    assert {p.name for p in tmp_path.iterdir()} == {"checkpoints", "dump.zarr.creating.tmp", "dump.zarr.lock"}
    assert launcher.run("train", arguments(corpus, tmp_path, last=2)).status == 0
    assert {p.name for p in tmp_path.iterdir()} == {"checkpoints", "dump.zarr"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB of which 2 MB are free."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", disk], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def fill(disk: Path, left: int) -> None:
    """Leave ``left`` bytes free."""
    free = os.statvfs(disk)
    (disk / "ballast").write_bytes(bytes(max(0, free.f_bavail * free.f_bsize - left)))


@contextlib.contextmanager
def stand_still(process: Process) -> Iterator[None]:
    """Stop a training for the block, so that it does not write between two things that are done to its disk."""
    process.send(signal.SIGSTOP)
    while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        os.sched_yield()
    yield
    process.send(signal.SIGCONT)


def fill_during(process: Process, disk: Path) -> None:
    """Fill the disk while a training stands still."""
    with stand_still(process):
        fill(disk, 0)


@pytest.mark.parametrize("update", [3, 22])
def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_space(
    launcher: Launcher, corpus: Path, recorded: Run, small_disk: Path, tmp_path: Path, update: int
) -> None:
    """The disk fills up while training runs, before windows and within one; the checkpoints lie on another one."""
    elsewhere = ["--record-dir", small_disk / "dump.zarr"]
    process = launcher.start("train", arguments(corpus, tmp_path, *elsewhere))
    assert process.until_update(update)
    fill_during(process, small_disk)
    done = process.finish()
    assert "the disk is full" in done.error
    found, whole = assert_whole(small_disk / "dump.zarr"), arrays(recorded.dump)
    for name, values in found.items():
        assert values.tobytes() == whole[name][: len(values)].tobytes(), name
    if update == 22:
        assert found[f"tables/{TABLE}/windows/update"][-1] >= 20  # the checkpoint's, at least
        assert found[f"tables/{TABLE}/statistics/update"][-1] >= 20
    (small_disk / "ballast").unlink()
    again = launcher.run("train", arguments(corpus, tmp_path, *elsewhere))
    assert again.status == 0, again.said[-3000:]
    assert_same_dump(small_disk / "dump.zarr", recorded.dump)
    assert_same_training(tmp_path / "checkpoints/checkpoint_last.pt", recorded.last)


def test_a_disk_too_small_is_said_before_training(
    launcher: Launcher, corpus: Path, small_disk: Path, tmp_path: Path
) -> None:
    fill(small_disk, 200_000)
    done = launcher.run("train", arguments(corpus, tmp_path, "--record-dir", small_disk / "dump.zarr"))
    assert "has only" in done.error
    assert "free" in done.error
    assert "num_updates" not in done.said
    assert [p.name for p in small_disk.iterdir()] == ["ballast"]


def test_checkpoints_on_a_full_disk(launcher: Launcher, corpus: Path, recorded: Run, small_disk: Path) -> None:
    """Everything on the disk that fills up."""
    process = launcher.start("train", arguments(corpus, small_disk))
    assert process.until_update(14)
    fill_during(process, small_disk)
    done = process.finish()
    assert done.status == 1
    assert_whole(small_disk / "dump.zarr")
    (small_disk / "ballast").unlink()
    finish(launcher, corpus, small_disk, recorded)
