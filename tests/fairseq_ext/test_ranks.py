"""Two ranks on the CPU: rank 0 records, both resume, and the result is that of one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pair_corpus import pair_arguments
from running import RANK, TABLE, Launcher, arguments, arrays, assert_same_training, assert_whole

pytestmark = pytest.mark.train


def two_ranks(corpus: Path, run: Path, *more: object, last: int) -> subprocess.CompletedProcess[str]:
    return on_two_ranks(
        run, arguments(corpus, run, "--dropout", 0, "--attention-dropout", 0, "--batch-size", 7, *more, last=last)
    )


def on_two_ranks(run: Path, given: list[object]) -> subprocess.CompletedProcess[str]:
    run.mkdir(exist_ok=True)
    (run / "rank.sh").write_text(RANK)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2, "--no-python"]
    return subprocess.run(
        [
            str(a)
            for a in [
                *launch,
                "bash",
                run / "rank.sh",
                *given,
                "--distributed-backend",
                "gloo",
                "--ddp-backend",
                "legacy_ddp",
            ]
        ],
        capture_output=True,
        text=True,
        timeout=300,
        env=dict(os.environ, OMP_NUM_THREADS="1", PYTHON=sys.executable),
    )


def failure(done: subprocess.CompletedProcess[str]) -> str:
    return "\n".join(line for line in done.stderr.splitlines() if "Error" in line)


def test_two_ranks_record_once_resume_and_equal_one_process(launcher: Launcher, corpus: Path, tmp_path: Path) -> None:
    for last in (5, 9):
        done = two_ranks(corpus, tmp_path / "two", last=last)
        assert done.returncode == 0, failure(done)
    assert (done.stdout + done.stderr).count("continuing the dump") == 1
    assert (done.stdout + done.stderr).count("from update 5; 0 records") == 1
    assert_whole(tmp_path / "two/dump.zarr")
    plain = arguments(
        corpus, tmp_path / "one", "--dropout", 0, "--attention-dropout", 0, "--batch-size", 7, "--update-freq", 2
    )
    one = launcher.run("train", [*plain, "--max-update", 9])
    assert one.status == 0, one.said[-3000:]
    assert_same_training(
        tmp_path / "two/checkpoints/checkpoint_last.pt", tmp_path / "one/checkpoints/checkpoint_last.pt"
    )
    a, b = (arrays(tmp_path / name / "dump.zarr") for name in ("two", "one"))
    assert all(a[name].tobytes() == b[name].tobytes() for name in b)
    assert a[f"tables/{TABLE}/statistics/update"].tolist() == list(range(10))


def test_two_ranks_of_a_translation_record_what_one_process_does(
    launcher: Launcher, pairs_corpus: Path, tmp_path: Path
) -> None:
    halves = pair_arguments(pairs_corpus, tmp_path / "two", "decoder", "--dropout", 0, "--batch-size", 25, last=4)
    done = on_two_ranks(tmp_path / "two", halves)
    assert done.returncode == 0, failure(done)
    options = ["--dropout", 0, "--batch-size", 25, "--update-freq", 2]
    one = launcher.run("train", pair_arguments(pairs_corpus, tmp_path / "one", "decoder", *options, last=4))
    assert one.status == 0, one.said[-3000:]
    name = "checkpoints/checkpoint_last.pt"
    assert_same_training(tmp_path / "two" / name, tmp_path / "one" / name)
    a, b = (arrays(tmp_path / name / "dump.zarr") for name in ("two", "one"))
    assert list(a) == list(b)
    assert all(a[name].tobytes() == b[name].tobytes() for name in b)
    assert a["exposure/source/visible"][-1].sum() > 0


def test_an_error_ends_both_ranks(corpus: Path, tmp_path: Path) -> None:
    done = two_ranks(corpus, tmp_path / "two", "--record-tables", "nothing", last=2)
    assert done.returncode != 0
    assert (done.stdout + done.stderr).count("error: --record-tables") == 1
