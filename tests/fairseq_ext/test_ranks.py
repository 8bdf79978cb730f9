"""Two ranks on the CPU: rank 0 records, both resume, and the result is that of one process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from pair_corpus import pair_arguments
from running import ON_A_RANK, RANK, ROOT, TABLE, Launcher, arguments, arrays, assert_same_training, assert_whole

pytestmark = pytest.mark.train


def two_ranks(corpus: Path, run: Path, *more: object, last: int) -> subprocess.CompletedProcess[str]:
    return on_two_ranks(
        run, arguments(corpus, run, "--dropout", 0, "--attention-dropout", 0, "--batch-size", 7, *more, last=last)
    )


def on_two_ranks(run: Path, given: list[object]) -> subprocess.CompletedProcess[str]:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2, "--no-python"]
    return subprocess.run(
        [
            str(a)
            for a in [
                *launch,
                "bash",
                RANK,
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
        env=dict(os.environ, **ON_A_RANK),
    )


def assert_same_arrays(one: Path, other: Path) -> dict[str, np.ndarray]:
    """Two dumps hold the same arrays to the bit: values, coordinates and what is constant, no array more or less. Returns them."""
    a, b = arrays(one), arrays(other)
    assert list(a) == list(b)
    for name in a:
        assert (a[name].dtype, a[name].shape) == (b[name].dtype, b[name].shape), name
        assert a[name].tobytes() == b[name].tobytes(), name
    return a


def failure(done: subprocess.CompletedProcess[str]) -> str:
    return "\n".join(line for line in done.stderr.splitlines() if "Error" in line)


def test_two_ranks_record_once_resume_and_equal_one_process(launcher: Launcher, corpus: Path, tmp_path: Path) -> None:
    windows = ("--record-windows", "window:2:7")
    for last in (5, 9):
        done = two_ranks(corpus, tmp_path / "two", *windows, last=last)
        assert done.returncode == 0, failure(done)
    assert (done.stdout + done.stderr).count("continuing the dump") == 1
    assert (done.stdout + done.stderr).count("from update 5; 0 records") == 1
    assert_whole(tmp_path / "two/dump.zarr")
    plain = arguments(
        corpus, tmp_path / "one", "--dropout", 0, "--attention-dropout", 0, "--batch-size", 7, "--update-freq", 2
    )
    one = launcher.run("train", [*plain, *windows, "--max-update", 9])
    assert one.status == 0, one.said[-3000:]
    assert_same_training(
        tmp_path / "two/checkpoints/checkpoint_last.pt", tmp_path / "one/checkpoints/checkpoint_last.pt"
    )
    found = assert_same_arrays(tmp_path / "two/dump.zarr", tmp_path / "one/dump.zarr")
    updates = {name.removesuffix("/update"): found[name].tolist() for name in found if name.endswith("/update")}
    powers = [0, 1, 2, 4, 8]
    assert updates == {
        f"tables/{TABLE}/statistics": list(range(10)),
        f"tables/{TABLE}/snapshots": powers,
        f"tables/{TABLE}/windows": [0, *range(2, 8)],
        f"tables/{TABLE}/traces": [0, 1, 2, 3, 4, 6, 8, 9],
        "exposure/tokens": powers,
        "exposure/examples": powers,
    }
    assert found["exposure/examples/drawn"][-1].sum() == 8 * 14  # of both ranks


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
    found = assert_same_arrays(tmp_path / "two/dump.zarr", tmp_path / "one/dump.zarr")
    assert found["exposure/source/visible"][-1].sum() > 0


def test_an_error_ends_both_ranks(corpus: Path, tmp_path: Path) -> None:
    done = two_ranks(corpus, tmp_path / "two", "--record-tables", "nothing", last=2)
    assert done.returncode != 0
    assert (done.stdout + done.stderr).count("error: --record-tables") == 1


def test_ranks_are_started_by_hand_as_srun_starts_them(corpus: Path, tmp_path: Path) -> None:
    """Two processes with SLURM's variables, through the training script: one dump, of both ranks."""
    run = tmp_path / "run"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    tiny = {
        "LAYERS": "1",
        "DIM": "16",
        "FFN": "16",
        "HEADS": "2",
        "UPDATES": "3",
        "BATCH": "4",
        "WARMUP": "1",
        "VALID_EXAMPLES": "2",
    }
    shared = {**os.environ, **ON_A_RANK, **tiny, "DATA": str(corpus), "RUN": str(run), "DEVICE": "cpu"}
    shared |= {"FAIRSEQ_TRAIN": str(RANK), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "SLURM_NTASKS": "2"}
    command = ["bash", "scripts/train_e1.sh", "--distributed-backend", "gloo", "--ddp-backend", "legacy_ddp"]
    ranks = [
        subprocess.Popen(command, cwd=ROOT, env={**shared, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)},
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for rank in range(2)
    ]  # fmt: skip
    said = [rank.communicate(timeout=300)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], said
    assert_whole(run / "dump.zarr")
    root = zarr.open_group(run / "dump.zarr", mode="r")
    assert root.attrs["run"]["world_size"] == 2
    drawn = root["exposure/examples/drawn"][...]
    assert drawn[-1].sum() == 2 * 2 * 4  # at update 2: updates, ranks, examples


def test_a_rank_without_its_surroundings_is_refused(tmp_path: Path) -> None:
    known = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    bare = {k: v for k, v in os.environ.items() if k not in known and not k.startswith("SLURM")}
    for more in ({}, {"RANK": "0", "WORLD_SIZE": "2"}):
        done = subprocess.run(
            ["bash", RANK, "--cpu"],
            env={**bare, **more, "TRAIN": "true"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert "torchrun" in done.stderr
