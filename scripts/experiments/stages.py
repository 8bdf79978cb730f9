"""What run_all.sh does, as data: stages with a command each, and how it is known that one is finished.

A stage is finished when its marker exists, names the same fingerprint, and its outputs are there. The marker is written after
the command succeeded.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .sizes import Corpus, Profile

MEMORY = 3 << 30  # bytes that one of several trainings side by side is given
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Run:
    """One training run: runs/<experiment>/<arm>/seed<seed>. `updates` is what it trains, for the progress line."""

    experiment: str
    arm: str
    seed: int
    profile: str
    data: str
    folder: Path
    updates: int


@dataclass(frozen=True)
class Stage:
    """One command.

    Attributes:
        name: shown to the user; unique.
        command: run in the project's root, with `env` added to the environment.
        log: what the command prints goes here.
        marker: the file that says it is finished; None where the command itself knows and is quick.
        outputs: what must exist besides.
        needs: stages after whose new run this one is stale.
        seconds: how long it may take.
        threads: 0: it takes the whole machine; otherwise stages beside it in the list with as many threads run at the same time.
        run: what is trained; a training stage is never repeated over another command's results.
        experiment: that it belongs to; empty: all depend on it.
        optional: if it fails, its experiment is left out and the others go on.
    """

    name: str
    command: tuple[str, ...]
    log: Path
    marker: Path | None = None
    outputs: tuple[Path, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    needs: tuple[Stage, ...] = ()
    seconds: float = 0.0
    threads: int = 0
    run: Run | None = None
    experiment: str = ""
    optional: bool = False

    def line(self) -> str:
        """The command as one line for a shell in the project's root."""
        parts = [f"{name}={shlex.quote(value)}" for name, value in self.env]
        return " ".join(parts + [shlex.quote(word) for word in self.command])

    def fingerprint(self) -> str:
        """A hash of the command and of when the needed stages last finished."""
        content = [self.line(), [read_json(stage.marker).get("finished_at") for stage in self.needs if stage.marker]]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def is_finished(self) -> bool:
        """Whether the command has succeeded before and its outputs are still there."""
        if self.marker is None:
            return False
        return read_json(self.marker).get("fingerprint") == self.fingerprint() and all(p.exists() for p in self.outputs)

    def mark(self, seconds: float) -> None:
        """Write the marker."""
        if self.marker is not None:
            content = {
                "stage": self.name,
                "fingerprint": self.fingerprint(),
                "command": self.line(),
                "seconds": seconds,
            }
            write_json(self.marker, {**content, "finished_at": time.time()})


@dataclass(frozen=True)
class Context:
    """What the user asked for; an experiment makes its stages of it. Paths are absolute; `asked`: the seeds are the user's, not the profile's;
    `pairs` and `languages` (source, target): the corpus of sentence pairs, of E4; `arms` of E5, none: all."""

    profile: Profile
    seeds: tuple[int, ...]
    asked: bool
    runs: Path
    data_bin: Path
    report: Path
    corpus: Corpus
    pairs: Corpus | None = None
    languages: tuple[str, str] = ("en", "de")
    arms: tuple[str, ...] = ()

    @property
    def data(self) -> Path:
        return self.data_bin / self.corpus.name

    @property
    def treebank(self) -> Path | None:
        """The treebank that scripts/prepare_ud_ewt.sh makes, which needs the network: used where it is there."""
        folder = self.data_bin / "ud_ewt"
        return folder if (folder / "treebank.json").exists() else None

    @property
    def default_data_bin(self) -> Path:
        return ROOT / "data-bin"

    def run_folder(self, experiment: str, arm: str, seed: int) -> Path:
        return self.runs / experiment / arm / f"seed{seed}"


def room(threads: int) -> int:
    """How many stages of so many threads this machine runs at once: as its cores, its container's share of them and its memory allow; at least
    one."""
    return max(1, min(int(cores() // threads), int(memory() // MEMORY))) if threads else 1


def cores() -> float:
    """Cores that this process may use; a container's quota counts."""
    number = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return min(number, int(quota) / int(period))
    except (OSError, ValueError):  # no such file, or `max`
        return number


def memory() -> float:
    """Bytes of memory that are available; infinite where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return math.inf


def time_left(stages: Sequence[Stage]) -> float:
    """Seconds that the stages not finished yet may take on this machine."""
    total = 0.0
    for threads, group in itertools.groupby(stages, key=lambda stage: stage.threads):
        seconds = [stage.seconds for stage in group if not stage.is_finished()]
        rounds = math.ceil(len(seconds) / room(threads))
        total += rounds * sum(seconds) / max(1, len(seconds)) if threads else sum(seconds)
    return total


def never_measured(stages: Sequence[Stage]) -> bool:
    """Whether there is a training among them, not finished yet, whose time nobody knows."""
    return any(stage.run and not stage.seconds and not stage.is_finished() for stage in stages)


def shown(path: Path) -> str:
    """A path as commands and messages give it: relative to the project's root if it lies below."""
    try:
        return str(path.relative_to(ROOT))
    except ValueError:
        return str(path)


def setup_stage(context: Context) -> Stage:
    """scripts/setup.sh, which knows by itself what is there."""
    return Stage("set-up", ("bash", "scripts/setup.sh"), context.runs / ".stages" / "setup.log")


def corpus_stages(context: Context) -> list[Stage]:
    """The corpus's script; none for a corpus of the user's own."""
    corpus = context.corpus
    if not corpus.script:
        return []
    command = ["bash", corpus.script, *corpus.options]
    if context.data_bin != context.default_data_bin:
        command += ["--data-bin", shown(context.data_bin)]
    return [
        Stage(
            f"corpus {corpus.name}",
            tuple(command),
            context.runs / ".stages" / "corpus.log",
            marker=context.data_bin / ".stages" / f"{corpus.name}.json",
            outputs=(context.data / "dict.txt", context.data / "train.bin", context.data / "valid.bin"),
            seconds=corpus.seconds,
        )
    ]


def training_stage(
    run: Run, command: Sequence[str], values: dict[str, Any], *, seconds: float, threads: int = 0
) -> Stage:
    """A training by a script whose variables are `values`; with `threads`, so many and others beside it."""
    if threads:
        values = {**values, "OMP_NUM_THREADS": threads}
    return Stage(
        f"{run.experiment} training, {run.arm}, seed {run.seed}",
        tuple(command),
        run.folder / "log" / "train.out",
        marker=run.folder / "log" / ".stage.json",
        outputs=(run.folder / "dump.zarr" / "zarr.json", run.folder / "run.json"),
        env=tuple((name, str(value)) for name, value in values.items()),
        seconds=seconds,
        threads=threads,
        run=run,
        experiment=run.experiment,
    )


def report_stage(context: Context, needs: Sequence[Stage]) -> Stage:
    """All analyses and the report, of everything below the runs' folder."""
    command = ".venv/bin/python", "analysis/report.py", "--runs", shown(context.runs), "--out", shown(context.report)
    treebank = ("--treebank", shown(context.treebank)) if context.treebank is not None else ()
    return Stage(
        "report",
        (*command, *treebank, *context.profile.report_options),
        context.runs / ".stages" / "report.log",
        marker=context.report / ".stage.json",
        outputs=(context.report / "index.html", context.report / "report.json"),
        needs=tuple(needs),
        seconds=context.profile.report_seconds,
    )


def read_json(path: Path | None) -> dict[str, Any]:
    """The object in a file; empty if there is none or it is broken."""
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a file in one rename, its folder included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)
