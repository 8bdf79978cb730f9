"""Each repair of fairseq, beside stock fairseq failing without it."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from running import ROOT

from fairseq_ext import compat
from fairseq_ext.errors import UserError

BLOCKS = """
import numpy as np, torch
from fairseq.data import TokenBlockDataset
blocks = TokenBlockDataset([torch.tensor([4, 5, 2])] * 3, np.array([3, 3, 3]), None, pad=1, eos=2, break_mode="eos")
assert len(blocks) == 3 and blocks[1].tolist() == [4, 5, 2]
"""
LOAD = """
import sys, torch
print(torch.load(sys.argv[1])["args"])
"""


def python(code: str, *arguments: object, repaired: bool) -> subprocess.CompletedProcess[str]:
    """Run code on stock fairseq, or after fairseq_ext was imported."""
    first = "import fairseq_ext\n" if repaired else "import sys; assert 'fairseq_ext' not in sys.modules\n"
    return subprocess.run(
        [sys.executable, "-c", first + code, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def test_numpy_2_names() -> None:
    stock = python(BLOCKS, repaired=False)
    assert stock.returncode != 0
    assert "compat" in stock.stderr
    repaired = python(BLOCKS, repaired=True)
    assert repaired.returncode == 0, repaired.stderr[-2000:]


@pytest.mark.parametrize(
    "content",
    [argparse.Namespace(lr=[0.1]), OmegaConf.create({"a": {"b": [1, "x"], "c": None}})],
    ids=["one", "two ranks"],
)
def test_checkpoints_load_safely(content: object, tmp_path: Path) -> None:
    """A checkpoint holds a namespace; what rank 0 sends to the others holds omegaconf's containers."""
    torch.save({"args": content}, tmp_path / "x.pt")
    stock = python(LOAD, tmp_path / "x.pt", repaired=False)
    assert stock.returncode != 0
    assert "weights_only" in stock.stderr
    repaired = python(LOAD, tmp_path / "x.pt", repaired=True)
    assert repaired.returncode == 0, repaired.stderr[-2000:]


class Foreign:
    """Not on the list of what may be loaded."""


def test_safe_loading_stays_on(tmp_path: Path) -> None:
    torch.save({"args": Foreign()}, tmp_path / "x.pt")
    with pytest.raises(Exception, match="weights_only"):
        torch.load(tmp_path / "x.pt")


def checkpoint(path: Path, number: int) -> Path:
    torch.save({"model": torch.full((5000,), float(number))}, path)
    os.utime(path, (number, number))
    return path


def test_a_broken_last_checkpoint_is_replaced_by_the_newest_whole_one(tmp_path: Path) -> None:
    checkpoint(tmp_path / "checkpoint_1_10.pt", 10)
    newest = checkpoint(tmp_path / "checkpoint_1_20.pt", 20)
    broken = checkpoint(tmp_path / "checkpoint_1_30.pt", 30)
    last = checkpoint(tmp_path / "checkpoint_last.pt", 40)
    whole = last.read_bytes()
    compat.repair_last_checkpoint(last)
    assert last.read_bytes() == whole
    for path in (broken, last):
        path.write_bytes(whole[: len(whole) // 2])
        os.utime(path, (30, 30))
    compat.repair_last_checkpoint(last)
    assert last.read_bytes() == newest.read_bytes()


@pytest.mark.parametrize("there", [True, False])
def test_an_interrupted_saving_is_finished(tmp_path: Path, there: bool) -> None:
    """Only where it has left its mark: without it, an older or absent ``checkpoint_last.pt`` is what the user wants."""
    checkpoint(tmp_path / "checkpoint_1_10.pt", 10)
    newest = checkpoint(tmp_path / "checkpoint_1_20.pt", 20)
    broken = checkpoint(tmp_path / "checkpoint_1_30.pt", 30)
    broken.write_bytes(broken.read_bytes()[:5000])
    last = tmp_path / "checkpoint_last.pt"
    before = checkpoint(last, 11).read_bytes() if there else None
    compat.repair_last_checkpoint(last)
    assert (last.read_bytes() if last.exists() else None) == before
    mark = compat.saving_mark(last)
    mark.touch()
    os.utime(mark, (19, 19))
    compat.repair_last_checkpoint(last)
    assert last.read_bytes() == newest.read_bytes()
    assert not mark.exists()


@pytest.mark.parametrize("there", [True, False])
def test_an_interrupted_saving_that_wrote_no_whole_checkpoint_changes_nothing(tmp_path: Path, there: bool) -> None:
    """Also where others are newer than the last one, or it is not there: they are not of this saving."""
    checkpoint(tmp_path / "checkpoint_1_10.pt", 10)
    last = tmp_path / "checkpoint_last.pt"
    before = checkpoint(last, 9).read_bytes() if there else None
    mark = compat.saving_mark(last)
    mark.touch()
    compat.repair_last_checkpoint(last)
    assert (last.read_bytes() if last.exists() else None) == before
    assert not mark.exists()


def test_a_saving_that_was_finished_but_for_its_mark_changes_nothing(tmp_path: Path) -> None:
    checkpoint(tmp_path / "checkpoint_1_20.pt", 20)
    last, mark = checkpoint(tmp_path / "checkpoint_last.pt", 21), tmp_path / "checkpoint_last.pt.saving.tmp"
    before = last.read_bytes()
    mark.touch()
    os.utime(mark, (19, 19))
    compat.repair_last_checkpoint(last)
    assert last.read_bytes() == before
    assert last.stat().st_mtime == 21  # not copied again
    assert not mark.exists()


@pytest.mark.parametrize("fails", [False, True])
def test_a_saving_is_marked_until_everything_is_copied(tmp_path: Path, fails: bool) -> None:
    """fairseq's own function, with a trainer that only writes a file."""
    from fairseq import checkpoint_utils
    from fairseq.dataclass.configs import CheckpointConfig

    compat.harden_checkpoints()
    mark, seen = tmp_path / "checkpoint_last.pt.saving.tmp", []

    class Trainer:
        data_parallel_rank, checkpoint_suffix, task = 0, "", None
        should_save_checkpoint_on_current_rank = True
        always_call_state_dict_during_save_checkpoint = False

        def consolidate_optimizer(self) -> None: ...

        def get_num_updates(self) -> int:
            return 10

        def save_checkpoint(self, name: str, state: object) -> None:
            seen.append((Path(name).name, mark.exists()))
            if fails:
                raise OSError("no space")
            checkpoint(Path(name), 10)

    cfg = CheckpointConfig(save_dir=str(tmp_path), save_interval_updates=10, keep_interval_updates=-1)
    epoch = argparse.Namespace(epoch=1, end_of_epoch=lambda: False, state_dict=dict)
    if fails:
        with pytest.raises(OSError, match="no space"):
            checkpoint_utils.save_checkpoint(cfg, Trainer(), epoch, None)
    else:
        checkpoint_utils.save_checkpoint(cfg, Trainer(), epoch, None)
        assert (tmp_path / "checkpoint_last.pt").read_bytes() == (tmp_path / "checkpoint_1_10.pt").read_bytes()
    assert seen == [("checkpoint_1_10.pt", True)]
    assert mark.exists() == fails


def test_a_checkpoint_with_a_flipped_bit_is_broken(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "checkpoint_last.pt", 1)
    assert compat.is_whole(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert not compat.is_whole(path)


def test_nothing_to_go_back_to_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "checkpoint_last.pt").write_bytes(b"PK\x03\x04 half")
    with pytest.raises(UserError, match="no whole checkpoint") as caught:
        compat.repair_last_checkpoint(tmp_path / "checkpoint_last.pt")
    assert "\n" not in str(caught.value)
    compat.repair_last_checkpoint(tmp_path / "absent.pt")


def test_fairseq_copies_checkpoints_atomically(tmp_path: Path) -> None:
    from fairseq import checkpoint_utils

    source, target = checkpoint(tmp_path / "a.pt", 1), checkpoint(tmp_path / "b.pt", 2)
    with target.open("rb") as held:
        before = held.read()
        held.seek(0)
        assert checkpoint_utils.PathManager.copy(str(source), str(target), overwrite=True)
        assert held.read() == before  # the old file was replaced, not written over
    assert target.read_bytes() == source.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pt", "b.pt"]


LEAVE = """
import sys
from fairseq.data.iterators import BackgroundConsumer, BufferedIterator
class Batches:
    made = 0
    def __len__(self):
        return 1000
    def __iter__(self):
        for _ in range(1000):
            Batches.made += 1
            yield Batches.made
batches = BufferedIterator(3, Batches())
print(next(batches))
import atexit, threading
def left():
    threads = [t for t in threading.enumerate() if isinstance(t, BackgroundConsumer)]
    print(len(threads), Batches.made < 50)
# what is registered first runs last: after the repair, which was registered when fairseq_ext was imported
"""


def test_the_loading_thread_has_ended_when_the_interpreter_ends() -> None:
    for repaired, threads in ((False, 1), (True, 0)):
        code = "import atexit\natexit.register(lambda: left())\n" + ("import fairseq_ext\n" if repaired else "") + LEAVE
        done = python(code, repaired=False)
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.split() == ["1", str(threads), "True"]
