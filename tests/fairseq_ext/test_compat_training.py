"""The repairs of fairseq in real runs: resuming, and a broken checkpoint_last.pt; stock fairseq beside them."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest
from running import USER_DIR, Launcher, Run, arguments, assert_same_dump, assert_same_training, logged

from fairseq_ext import compat

pytestmark = pytest.mark.train


def stock(corpus: Path, run: Path, last: int) -> list[object]:
    """Arguments for stock fairseq with its own task and optimiser, and a user dir that gives numpy its old name and nothing else.

    No loading thread (``--data-buffer-size 0``): stock fairseq's may abort the process at its end, see compat.py.
    """
    plain = run.parent / "plain"
    plain.mkdir(exist_ok=True)
    (plain / "__init__.py").write_text("import types\nimport numpy\nnumpy.compat = types.SimpleNamespace(long=int)\n")
    ours = {"embedding_masked_lm": "masked_lm", "fused_adam": "adam", USER_DIR: plain}
    given = arguments(corpus, run, "--data-buffer-size", 0, last=last, record=False)
    return [ours.get(argument, argument) for argument in given]


def test_stock_fairseq_cannot_resume_and_ours_can(launcher: Launcher, corpus: Path, tmp_path: Path) -> None:
    assert launcher.run("train", stock(corpus, tmp_path / "run", 2)).status == 0
    refused = launcher.run("train", stock(corpus, tmp_path / "run", 4))
    assert refused.status != 0
    assert "argparse.Namespace" in refused.said
    assert "weights_only" in refused.said
    given = arguments(corpus, tmp_path / "run", "--task", "masked_lm", "--optimizer", "adam", last=4, record=False)
    resumed = launcher.run("train", given)
    assert resumed.status == 0, resumed.said[-3000:]
    assert list(logged(resumed.stdout, "loss")) == [3, 4]


@pytest.fixture(scope="module")
def short(launcher: Launcher, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of 24 updates with checkpoints at 10, 20 and (the last) 24."""
    folder = tmp_path_factory.mktemp("short")
    done = launcher.run("train", arguments(corpus, folder, last=24))
    assert done.status == 0, done.said[-3000:]
    return Run(folder, done)


@pytest.fixture
def run(short: Run, tmp_path: Path) -> Path:
    return Path(shutil.copytree(short.folder, tmp_path / "run"))


def test_any_cut_is_noticed_and_no_flip_of_a_bit_raises(short: Run, tmp_path: Path) -> None:
    raw = short.last.read_bytes()
    assert compat.is_whole(short.last)
    copy = tmp_path / "checkpoint_last.pt"
    chosen = random.Random(1)
    for length in [0, 1, 22, 100, len(raw) // 2, len(raw) - 1, *(chosen.randrange(len(raw)) for _ in range(20))]:
        copy.write_bytes(raw[:length])
        assert not compat.is_whole(copy), length
    for part in (range(len(raw)), range(len(raw) - 5000, len(raw))):  # the archive's list of members is at its end
        for _ in range(30):
            changed = bytearray(raw)
            changed[chosen.choice(part)] ^= 1 << chosen.randrange(8)
            copy.write_bytes(changed)
            compat.is_whole(copy)


def test_a_broken_last_checkpoint_is_mended_and_the_run_continues(
    launcher: Launcher, corpus: Path, recorded: Run, run: Path
) -> None:
    last = run / "checkpoints/checkpoint_last.pt"
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    newest = last.with_name("checkpoint_1_20.pt")
    os.utime(last.with_name("checkpoint_1_10.pt"), ns=(newest.stat().st_mtime_ns - 10**9,) * 2)
    refused = launcher.run("train", stock(corpus, run, 40))
    assert refused.status != 0
    assert "Traceback" in refused.said
    done = launcher.run("train", arguments(corpus, run))
    assert done.status == 0, done.said[-3000:]
    assert "continuing from checkpoint_1_20.pt" in done.said
    assert_same_dump(run / "dump.zarr", recorded.dump)
    assert_same_training(last, recorded.last)


def test_without_a_whole_checkpoint_one_line_says_so(launcher: Launcher, corpus: Path, run: Path) -> None:
    files = sorted((run / "checkpoints").glob("*.pt"))
    for file in files:
        file.write_bytes(file.read_bytes()[:5000])
    before = {file: file.read_bytes() for file in files}
    done = launcher.run("train", arguments(corpus, run))
    assert "checkpoint_last.pt is broken" in done.error
    assert "holds no whole checkpoint" in done.error
    assert {file: file.read_bytes() for file in files} == before
