"""Running fairseq's commands in the tests, and comparing what they leave."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr

ROOT = Path(__file__).resolve().parents[2]
USER_DIR = ROOT / "fairseq_ext"
TABLE = "encoder.sentence_encoder.embed_tokens.weight"
LAST = 40
IMPORTING = "INFO:fairseq.tasks.text_to_speech:"  # logged by `import fairseq` itself, before any code of a command
# One rank of a run that torchrun starts with --no-python, and what it needs in its environment.
RANK = ROOT / "scripts/rank.sh"
ON_A_RANK = {"OMP_NUM_THREADS": "1", "TRAIN": str(Path(sys.executable).with_name("fairseq-train"))}
SCHEDULES = (
    "--record-statistics every:1 --record-movement every:5 --record-traces log2,every:3 "
    "--record-snapshots log2,every:10,window:22:25 --record-trace-sample 3 --record-windows window:17:33 --record-window-keyframes 4"
).split()


@dataclass(frozen=True)
class Finished:
    """How a process ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def said(self) -> str:
        return self.stdout + self.stderr

    @property
    def error(self) -> str:
        """The one line of an error, checked to be one, with a status of its own and no traceback."""
        assert self.status == 1, (self.status, self.said[-3000:])
        assert "Traceback" not in self.said, self.said[-3000:]
        lines = [line for line in self.stderr.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.stderr[-3000:]
        return lines[0]


class Process:
    """A running command; its standard output is read line by line as it comes."""

    def __init__(
        self,
        launcher: Launcher,
        program: str,
        arguments: Sequence[object],
        folder: Path,
        scratch: Path,
        **environment: str,
    ) -> None:
        self.launcher = launcher
        self.fifo, self.stderr = scratch / "stdout.fifo", scratch / "stderr"
        os.mkfifo(self.fifo)
        self.stderr.write_text("")
        self.pid = launcher.ask(
            program=program,
            arguments=[str(a) for a in arguments],
            folder=str(folder),
            stdout=str(self.fifo),
            stderr=str(self.stderr),
            environment=environment,
        )
        self.lines: list[str] = []
        self._out = self.fifo.open(encoding="utf-8", errors="replace")

    def read_until(self, text: str) -> bool:
        """Read until a line holds ``text``; ``False`` if the output ends before."""
        for line in self._out:
            self.lines.append(line)
            if text in line:
                return True
        return False

    def until_update(self, update: int) -> bool:
        """Read until fairseq has logged an update."""
        return self.read_until(f'"num_updates": "{update}"')

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def finish(self) -> Finished:
        self.lines.extend(self._out)
        self._out.close()
        status = self.launcher.ask(wait=self.pid)
        return Finished(status, "".join(self.lines), self.stderr.read_text(errors="replace"))


class Launcher:
    """The process that imports fairseq once (``launcher.py``)."""

    def __init__(self, scratch: Path) -> None:
        self.scratch, self.number = scratch, 0
        environment = dict(os.environ, OMP_NUM_THREADS="1", PYTHONUNBUFFERED="1")
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("launcher.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
        )  # fmt: skip

    def ask(self, **request: Any) -> int:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def start(self, program: str, arguments: Sequence[object], folder: Path = ROOT, **environment: str) -> Process:
        self.number += 1
        scratch = self.scratch / f"process{self.number}"
        scratch.mkdir()
        return Process(self, program, arguments, folder, scratch, **environment)

    def run(self, program: str, arguments: Sequence[object], folder: Path = ROOT, **environment: str) -> Finished:
        return self.start(program, arguments, folder, **environment).finish()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


@dataclass(frozen=True)
class Run:
    """A finished run: its folder and what it said."""

    folder: Path
    finished: Finished

    @property
    def dump(self) -> Path:
        return self.folder / "dump.zarr"

    @property
    def last(self) -> Path:
        return self.folder / "checkpoints" / "checkpoint_last.pt"


def arguments(corpus: Path, run: Path, *more: object, last: int = LAST, record: bool = True) -> list[object]:
    """Arguments of fairseq-train for a tiny RoBERTa that is recorded into ``run/dump.zarr``; later options win."""
    plain = (
        "--task embedding_masked_lm --criterion masked_lm --arch roberta_base --encoder-layers 2 --encoder-embed-dim 32 "
        "--encoder-ffn-embed-dim 64 --encoder-attention-heads 2 --max-positions 64 --sample-break-mode eos --tokens-per-sample 64 "
        "--batch-size 14 --required-batch-size-multiple 1 --optimizer fused_adam --adam-eps 1e-6 --weight-decay 0.01 --lr 5e-3 "
        "--lr-scheduler polynomial_decay --warmup-updates 5 --total-num-update 100 --seed 1 --cpu --num-workers 0 --disable-validation "
        "--log-format json --log-interval 1 --no-epoch-checkpoints --save-interval-updates 10 --keep-interval-updates 2"
    ).split()
    recording = ["--record-dir", run / "dump.zarr", *SCHEDULES] if record else []
    place = ["--user-dir", USER_DIR, "--save-dir", run / "checkpoints", "--max-update", last]
    return [corpus, *plain, "--adam-betas", "(0.9, 0.98)", *place, *recording, *more]


def logged(output: str, name: str) -> dict[int, float]:
    """Values of a number in fairseq's json log, by update."""
    values = {}
    for line in output.splitlines():
        if match := re.search(r"train_inner \| (\{.*\})", line):
            entry = json.loads(match[1])
            if name in entry:
                values[int(entry["num_updates"])] = float(entry[name])
    return values


def load(checkpoint: Path) -> dict[str, Any]:
    """A checkpoint of our own making, read without safe loading."""
    return torch.load(checkpoint, map_location="cpu", weights_only=False)


def read_npz(path: Path) -> dict[str, Any]:
    """A file of arrays as the analysis reads it; `about` as a dict."""
    with np.load(path, allow_pickle=False) as file:
        found = {name: file[name] for name in file.files}
    found["about"] = json.loads(str(found["about"]))
    return found


def assert_same_tensors(one: Any, other: Any, where: str = "") -> None:
    """Two nested structures hold the same numbers to the bit."""
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert list(one) == list(other), where
        for key in one:
            assert_same_tensors(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same_tensors(a, b, f"{where}/{number}")
    elif isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype, where
        assert torch.equal(one, other), where
    else:
        assert one == other, where


def assert_same_training(one: Path, other: Path) -> None:
    """Two checkpoints hold the same model and optimiser state to the bit."""
    a, b = load(one), load(other)
    assert_same_tensors(a["model"], b["model"], "model")
    assert_same_tensors(a["last_optimizer_state"], b["last_optimizer_state"], "optimiser")


def arrays(dump: Path) -> dict[str, np.ndarray]:
    """Every array of a dump, read by zarr-python."""
    root = zarr.open_group(dump, mode="r")
    return {
        f"{path}": member[...]
        for path, member in root.members(max_depth=None)
        if isinstance(member, zarr.Array)
    }  # fmt: skip


def assert_whole(dump: Path) -> dict[str, np.ndarray]:
    """Whatever a dump lists can be read, through consolidated metadata and without it, and no value of it is missing.

    The snapshots and traces hold no NaN; of the statistics the mean cosine and the common vector's norm never are NaN.
    """
    for consolidated in (True, False):
        root = zarr.open_group(dump, mode="r", use_consolidated=consolidated)
        found = {}
        for path, member in root.members(max_depth=None):
            if isinstance(member, zarr.Group) and "update" in set(member.array_keys()):
                updates = member["update"][...]
                assert (np.diff(updates) > 0).all(), (path, updates)
                found[f"{path}/update"] = updates
                for name, array in member.arrays():
                    if array.metadata.dimension_names[0] != "update" or name == "update":
                        continue
                    assert array.shape[0] >= len(updates), (path, name)
                    if consolidated:
                        assert array.shape[0] == len(updates), (path, name)
                    values = array[: len(updates)]
                    if name in ("values", "mean_cosine", "common_norm", "norm_mean"):
                        assert not np.isnan(values).any(), (path, name, consolidated)
                    found[f"{path}/{name}"] = values
    return found


def _without_paths(attributes: Any) -> Any:
    """Attributes with the texts that hold a path left out."""
    if isinstance(attributes, dict):
        return {k: _without_paths(v) for k, v in attributes.items()}
    if isinstance(attributes, list):
        return [_without_paths(v) for v in attributes]
    return "a path" if isinstance(attributes, str) and "/" in attributes else attributes


def assert_same_dump(one: Path, other: Path) -> None:
    """Two dumps hold the same arrays to the bit, and the same attributes but for paths and the length of the run."""
    a, b = arrays(one), arrays(other)
    assert list(a) == list(b)
    for name in a:
        assert a[name].dtype == b[name].dtype
        assert a[name].shape == b[name].shape, (name, a[name].shape, b[name].shape)
        assert a[name].tobytes() == b[name].tobytes(), name
    groups_a, groups_b = (dict(zarr.open_group(path, mode="r").members(max_depth=None)) for path in (one, other))
    for name in groups_a:
        assert _without_paths(dict(groups_a[name].attrs)) == _without_paths(dict(groups_b[name].attrs)), name
    roots = [_without_paths(dict(zarr.open_group(path, mode="r").attrs)) for path in (one, other)]
    for root in roots:
        for section in root["config"].values():
            if isinstance(section, dict):
                section.pop("max_update", None)
                section.pop("tensorboard_logdir", None)
    assert roots[0] == roots[1]


def nothing_but_checkpoints(run: Path) -> bool:
    """Whether a run left neither a dump nor a part of one."""
    return not run.exists() or {p.name for p in run.iterdir()} <= {"checkpoints"}


SIGNALS = {"SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}
