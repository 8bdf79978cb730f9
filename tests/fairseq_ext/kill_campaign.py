"""Kills tiny trainings that record everything, again and again, and holds what they leave against an uninterrupted run.

What a seed decides: which runs there are, how often each is killed and where: at the K-th time that it reaches a failpoint, after M file
events since it was started, or after M file events since its N-th update was logged. Where in the machine's time that is, it does not decide.

After each kill every record that the dump lists must be whole and the uninterrupted run's to the bit, and every update that the newest whole checkpoint
covers must be there in every stream. Then the same command runs again. At the end the dump and every checkpoint are the uninterrupted run's.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from file_events import FileEvents
from running import TABLE, Launcher, arguments, arrays, assert_same_dump, assert_same_training, assert_whole, load

from fairseq_ext.compat import is_whole
from fairseq_ext.failpoints import VARIABLE
from fairseq_ext.recording.dump_check import check_dump
from fairseq_ext.recording.findings import WHOLE

LAST = 40
SAVE_EVERY = 7
STREAMS = {  # stream in the dump to the period of its schedule, in updates
    f"tables/{TABLE}/statistics": 1,
    f"tables/{TABLE}/traces": 2,
    f"tables/{TABLE}/snapshots": 3,
    f"tables/{TABLE}/windows": 1,
    "exposure/tokens": 4,
    "exposure/examples": 4,
}
RECORDED = (
    "--record-statistics every:1 --record-movement every:3 --record-traces every:2 --record-snapshots every:3 --record-exposure every:4 "
    f"--record-windows every:1 --record-window-keyframes 5 --save-interval-updates {SAVE_EVERY}"
).split()
ENCODINGS = ("lossless", "lossy")
ONCE = "create"  # reached only where there is no dump
WHILE_CUTTING = ("cut-coordinate", "cut-values")  # reached only where records lie past the checkpoint
IN_A_RUN = {  # failpoint to the most times that a run must reach it before it is killed; a whole run reaches it more often
    "snapshot-values": 60,
    "stream-values": 10,
    "coordinate-chunk": 60,
    "committed": 60,
    "copy-checkpoint": 4,
}
UPDATE, START = "an update", "the start"
EVENTS = 90  # file events at most between an update and a kill: those of about two updates


class Violation(Exception):
    """What a killed run left is not what it must be."""


@dataclass(frozen=True)
class Kill:
    """Where a process is killed.

    Attributes:
        at: a failpoint's name, :data:`UPDATE` or :data:`START`.
        number: the how-manieth time, or the how-manieth update that this process logs; 0 for ``START``.
        events: file events after that.
    """

    at: str
    number: int
    events: int = 0

    def __str__(self) -> str:
        if self.at == START:
            return f"{self.events} file events after the start"
        if self.at == UPDATE:
            return f"{self.events} file events after the process's update {self.number}"
        return f"{self.at}:{self.number}"


@dataclass(frozen=True)
class Plan:
    """One run: its number, the windows' encoding, and where it is killed, one process after the other."""

    number: int
    encoding: str
    kills: tuple[Kill, ...]


@dataclass
class Outcome:
    """What became of some runs.

    Attributes:
        kills: how often a process was killed, by ``Kill.at``.
        by_encoding: the same by the encoding of windows.
        missed: kills that a run did not live to see: it ended before.
        runs: that ended as the uninterrupted one did.
        violations: one line each.
    """

    kills: Counter[str] = field(default_factory=Counter)
    by_encoding: Counter[str] = field(default_factory=Counter)
    missed: int = 0
    runs: int = 0
    violations: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.kills.values())


def plan(seed: int, number: int) -> Plan:
    """The ``number``-th run of a seed: two to four kills at any moment, two at failpoints, every fourth run one more while its dump is created."""
    chance = random.Random(f"{seed}/{number}")
    names = list(IN_A_RUN)
    failpoint = names[number % len(names)]
    kills = [Kill(failpoint, chance.randint(1, IN_A_RUN[failpoint]))]
    for _ in range(chance.randint(2, 4)):
        if chance.random() < 0.25:
            kills.append(Kill(START, 0, chance.randint(1, EVENTS)))
        else:
            far = chance.random() < 0.3  # otherwise about as far as the next checkpoint
            kills.append(Kill(UPDATE, chance.randint(1, LAST if far else SAVE_EVERY + 2), chance.randint(0, EVENTS)))
    chance.shuffle(kills)
    while_cutting = Kill(WHILE_CUTTING[number % 2], chance.randint(1, 2))
    kills.insert(chance.randint(1, len(kills)), while_cutting)
    if number % 4 == 0:
        kills.insert(0, Kill(ONCE, 1))
    return Plan(number, ENCODINGS[number // 2 % 2], tuple(kills))


@dataclass(frozen=True)
class Whole:
    """An uninterrupted run: its folder, and every array of its dump by its place."""

    folder: Path
    arrays: dict[str, np.ndarray]


class Campaign:
    """Runs plans against uninterrupted runs, which it makes first.

    Args:
        launcher: of fairseq's commands.
        corpus: binarised (``tiny_corpus.make_corpus``).
        folder: where runs are trained.
        say: where progress goes, a line at a time.
    """

    def __init__(
        self, launcher: Launcher, corpus: Path, folder: Path, say: Callable[[str], None] = lambda line: None
    ) -> None:
        self.launcher, self.corpus, self.folder, self.say = launcher, corpus, folder, say
        self.whole: dict[str, Whole] = {}
        self.outcome = Outcome()

    def uninterrupted(self, encoding: str) -> Whole:
        """The run that others must equal."""
        if encoding not in self.whole:
            run = self.folder / f"uninterrupted-{encoding}"
            done = self.launcher.run("train", self.words(run, encoding))
            if done.status:
                raise Violation(f"an uninterrupted run ended with status {done.status}: {done.said[-2000:]}")
            whole = Whole(run, arrays(run / "dump.zarr"))
            examine(run, whole)
            self.whole[encoding] = whole
        return self.whole[encoding]

    def words(self, run: Path, encoding: str) -> list[object]:
        """The arguments of every process of a run."""
        return arguments(self.corpus, run, *RECORDED, "--record-window-encoding", encoding, last=LAST)

    def run(self, seed: int, number: int) -> None:
        """Train one run to its end, killed as its plan says, and note what happened in ``outcome``."""
        planned = plan(seed, number)
        whole = self.uninterrupted(planned.encoding)
        run = self.folder / f"seed{seed}-run{number}"
        run.mkdir(parents=True)
        told: list[str] = []
        killed, covered = False, -1
        try:
            for kill in planned.kills:
                told.append(str(kill))
                killed = self._killed(run, planned.encoding, kill)
                if not killed:
                    told[-1] += " (not reached)"
                    break
                self.outcome.kills[kill.at] += 1
                self.outcome.by_encoding[planned.encoding] += 1
                covered = examine(run, whole)
                told[-1] += f" (a checkpoint covers {covered})" if covered >= 0 else " (no checkpoint)"
                if (
                    covered == LAST
                ):  # given again, the command would train another update: fairseq looks at --max-update after it
                    break
            self.outcome.missed += len(planned.kills) - len(told) + (not killed)
            if killed and covered < LAST:
                killed = self._killed(run, planned.encoding, None)
            finish(run, whole, killed)
            self.outcome.runs += 1
        except (Violation, AssertionError) as error:
            reason = " ".join(str(error).split())[:600] or type(error).__name__
            self.outcome.violations.append(f"--seed {seed} --run {number}, after {'; '.join(told)}: {reason}")
            self.say(f"VIOLATION: {self.outcome.violations[-1]}; its folder is {run}")
        else:
            shutil.rmtree(run)
        self.say(f"run {number} ({planned.encoding}): {'; '.join(told)}; {self.outcome.total} kills so far")

    def _killed(self, run: Path, encoding: str, kill: Kill | None) -> bool:
        """Run a process; whether it was killed, or ended by itself before.

        Raises:
            Violation: it ended in any other way.
        """
        watched = kill is not None and kill.at in (UPDATE, START)
        environment = {VARIABLE: f"{kill.at}:{kill.number}"} if kill is not None and not watched else {}
        with contextlib.ExitStack() as stack:
            events = stack.enter_context(FileEvents(run)) if kill is not None and kill.at == START else None
            process = self.launcher.start("train", self.words(run, encoding), **environment)
            if kill is not None and watched:
                lives = all(process.read_until('"num_updates"') for _ in range(kill.number))
                events = events or stack.enter_context(FileEvents(run))
                if lives and events.wait(kill.events, process.pid):
                    process.send(signal.SIGKILL)
            done = process.finish()
        if done.status not in ((0, -signal.SIGKILL) if kill is not None else (0,)):
            raise Violation(f"the process ended with status {done.status}: {done.said[-2000:]}")
        return done.status != 0


def covers(checkpoints: Path) -> int:
    """The update of the newest whole checkpoint of a folder, -1 if there is none."""
    files = [file for file in checkpoints.glob("checkpoint*.pt") if is_whole(file)]
    return max((load(file)["optimizer_history"][-1]["num_updates"] for file in files), default=-1)


def examine(run: Path, whole: Whole) -> int:
    """Check what a killed run has left against an uninterrupted one; returns the update that its newest whole checkpoint covers, or -1.

    Raises:
        Violation: a record is not whole, not the uninterrupted run's, or lacks though a checkpoint covers it.
        AssertionError: zarr-python cannot read what is listed.
    """
    covered = covers(run / "checkpoints")
    dump = run / "dump.zarr"
    if not dump.exists():
        if covered >= 0:
            raise Violation(f"a checkpoint covers update {covered}, and there is no dump")
        return covered
    found = check_dump(dump)
    if found.verdict != WHOLE:
        lost = [f"{stream.key}: {stream.lost} {stream.broken}" for stream in found.streams if not stream.whole]
        raise Violation(f"the dump is {found.verdict}: {[*found.problems, *found.metadata, *lost]}")
    listed = assert_whole(dump)
    for stream, period in STREAMS.items():
        updates = listed[f"{stream}/update"].tolist()
        if updates != list(range(0, LAST + 1, period))[: len(updates)]:
            raise Violation(f"{stream} lists {updates}, which leaves out updates of its schedule")
        if missing := [u for u in range(0, covered + 1, period) if u not in updates]:
            raise Violation(f"{stream} lacks updates {missing}, which a checkpoint at update {covered} covers")
    for name, values in listed.items():
        if values.tobytes() != np.ascontiguousarray(whole.arrays[name][: len(values)]).tobytes():
            raise Violation(f"{name} differs from the uninterrupted run's")
    return covered


def finish(run: Path, whole: Whole, killed: bool = False) -> None:
    """Compare a finished run with the uninterrupted one: dump, checkpoints, and that nothing lies beside them.

    Args:
        killed: after the last checkpoint was written; then the lock's file may lie there, and the dump's attributes are not compared.

    Raises:
        Violation, AssertionError: they differ.
    """
    if (covered := examine(run, whole)) != LAST:
        raise Violation(f"the finished run's newest checkpoint covers update {covered}, expected {LAST}")
    if killed:
        found = arrays(run / "dump.zarr")
        if {name: a.tobytes() for name, a in found.items()} != {name: a.tobytes() for name, a in whole.arrays.items()}:
            raise Violation("the finished dump differs from the uninterrupted run's")
    else:
        assert_same_dump(run / "dump.zarr", whole.folder / "dump.zarr")
    theirs = sorted(file.name for file in _files(whole.folder))
    found = sorted(file.name for file in _files(run))
    if not killed and found != theirs:  # a killed one may not have deleted its older ones
        raise Violation(f"the checkpoints are {found}, the uninterrupted run's {theirs}")
    for name in set(found) & set(theirs):
        assert_same_training(run / "checkpoints" / name, whole.folder / "checkpoints" / name)
    beside = {path.name for path in run.iterdir()} - {"checkpoints", "dump.zarr", *(["dump.zarr.lock"] * killed)}
    beside |= set() if killed else {file.name for file in (run / "checkpoints").iterdir() if file.suffix != ".pt"}
    if beside:
        raise Violation(f"the finished run left {sorted(beside)} beside its dump")


def _files(run: Path) -> Iterator[Path]:
    return (run / "checkpoints").glob("checkpoint*.pt")
