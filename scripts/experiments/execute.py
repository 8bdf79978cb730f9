"""Runs the stages in order, small trainings side by side: skips, resumes, logs, passes signals on, keeps run.json."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from . import hardware
from .progress import Echo, Tail, Training, duration
from .stages import ROOT, Run, Stage, never_measured, read_json, room, shown, time_left, write_json

POLL = 0.2  # seconds between looks at the child
GRACE = 120.0  # seconds that a child may take to write down its work after a signal
LAST_LINES = 25
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StageError(Exception):
    """A stage that cannot run or failed; the message is for the user."""


class Interrupted(Exception):
    """The user or the system asked to stop. `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def check(stages: Sequence[Stage]) -> None:
    """Refuse before anything runs what would mix two trainings in one folder. Raises StageError."""
    for stage in stages:
        if stage.run is None or stage.is_finished():
            continue
        found = read_json(stage.run.folder / "run.json")
        if found and found.get("command") != stage.line():
            state = "a finished" if found.get("finished") else "an unfinished"
            raise StageError(
                f"{shown(stage.run.folder)} holds {state} run of another command (profile {found.get('profile')}); "
                f"give another folder with --runs, or delete it; its command: {found.get('command')}"
            )


def execute(stages: Sequence[Stage], out: TextIO) -> dict[str, str]:
    """Run what is not finished yet.

    Returns:
        the experiments that were left out because an optional stage of theirs failed, and why.

    Raises:
        StageError: another stage failed.
        Interrupted: a signal came.
    """
    check(stages)
    unknown = " and what was never measured" if never_measured(stages) else ""
    estimate = f"about {duration(time_left(stages))}{unknown}"
    print(f"{len(stages)} stages, {estimate} after set-up", file=out, flush=True)
    left_out: dict[str, str] = {}
    for threads, group in itertools.groupby(enumerate(stages, 1), key=lambda entry: entry[1].threads):
        entries = [entry for entry in group if entry[1].experiment not in left_out]
        if threads:
            _group(entries, room(threads), len(stages), out)
            continue
        for number, stage in entries:
            if stage.experiment in left_out:
                continue
            try:
                _group([(number, stage)], 1, len(stages), out)
            except StageError as error:
                if not stage.optional:
                    raise
                left_out[stage.experiment] = str(error)
                print(f"{error}\n{stage.experiment} is left out; the rest goes on", file=out, flush=True)
    return left_out


def _group(entries: list[tuple[int, Stage]], at_once: int, of: int, out: TextIO) -> None:
    """Run stages that may run beside one another, so many at once. After a failure none is begun, and those that run may end."""
    running: list[_Child] = []
    failures: list[str] = []
    passed, until = 0, None
    with caught() as received:
        try:
            while running or (entries and not failures and not received):
                while entries and len(running) < at_once and not failures and not received:
                    number, stage = entries.pop(0)
                    head = f"[{number}/{of}] {stage.name}"
                    if stage.is_finished():
                        print(f"{head}: finished before", file=out, flush=True)
                        continue
                    try:
                        running.append(_Child(stage, head, out, alone=at_once == 1))
                    except OSError as error:
                        failures.append(f"{stage.name} could not be started: {error}")
                if running:
                    running[0].wait(POLL)
                for child in [child for child in running if child.look()]:
                    running.remove(child)
                    try:
                        child.finish(bool(received))
                    except (StageError, OSError) as error:
                        failures.append(str(error) if isinstance(error, StageError) else f"{child.stage.name}: {error}")
                        if running:
                            print(f"{child.head}: failed; waiting for {len(running)} more", file=out, flush=True)
                if len(received) > passed:
                    passed = len(received)
                    for child in running:
                        child.signal(received[0] if passed == 1 else signal.SIGKILL)
                    until = until or time.monotonic() + GRACE
                if until is not None and time.monotonic() > until:
                    for child in running:
                        child.signal(signal.SIGKILL)
        finally:
            for child in running:
                child.kill()
            for child in running:
                with contextlib.suppress(OSError):
                    child.close()
    if failures and not received:
        raise StageError("\n".join(failures))
    for failure in failures:
        print(failure, file=out, flush=True)
    if received:
        raise Interrupted(received[0])


class _Child:
    """A stage's command while it runs: in a process group of its own, its output in the log.

    Args:
        stage: what to run.
        head: the number and name shown.
        out: where lines are shown.
        alone: whether nothing runs beside it, so that one line may move.
    """

    def __init__(self, stage: Stage, head: str, out: TextIO, alone: bool) -> None:
        self.stage, self.head, self._out = stage, head, out
        resumes = stage.run is not None and (stage.run.folder / "run.json").exists()
        about = f"about {duration(stage.seconds)}" if stage.seconds else "no estimate" if stage.run else ""
        print(": ".join(filter(None, (head, "resumes" if resumes else "", about))), file=out, flush=True)
        self._started = time.monotonic()
        self._before = _begin(stage) if stage.run else 0.0
        name = "" if alone or not stage.run else f"{stage.run.arm}, seed {stage.run.seed}: "
        self._show = Training(stage.run.updates, out, name) if stage.run else Echo(out)
        stage.log.parent.mkdir(parents=True, exist_ok=True)
        with stage.log.open("a", encoding="utf-8") as log:
            log.write(f"$ {stage.line()}\n")
            log.flush()
            self._tail = Tail(stage.log)
            self._process = subprocess.Popen(
                stage.command,
                cwd=ROOT,
                env=environment(stage),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                close_fds=False,  # the lock's descriptor stays open in the child: it holds while the child lives
            )

    def wait(self, seconds: float) -> None:
        """Wait for its end, so long at most."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def look(self) -> bool:
        """Show what is new; returns whether it has ended."""
        ended = self._process.poll() is not None
        self._show.show(self._tail.lines(last=ended))
        return ended

    def signal(self, number: int) -> None:
        _signal(self._process, number)

    def kill(self) -> None:
        """End it at once, whatever it does."""
        if self._process.poll() is None:
            self.signal(signal.SIGKILL)
            self._process.wait()

    def close(self) -> float:
        """Close what was open; returns the seconds it took, those of earlier sessions included."""
        self._show.close()
        self._tail.close()
        seconds = self._before + time.monotonic() - self._started
        if self.stage.run:
            _note(self.stage.run, seconds=round(seconds, 3))
        return seconds

    def finish(self, interrupted: bool) -> None:
        """Note how it ended. Raises StageError where it failed by itself."""
        seconds, stage, code = self.close(), self.stage, self._process.returncode
        if interrupted:
            return
        if code != 0:
            raise StageError(_failure(stage, code))
        missing = [shown(path) for path in stage.outputs if not path.exists()]
        if missing:
            raise StageError(
                f"{stage.name} ended without an error but made no {', '.join(missing)}; log: {shown(stage.log)}"
            )
        if stage.run:
            _note(stage.run, finished=True)
        stage.mark(round(seconds, 3))
        print(
            f"{self.head.split()[0]} done in {duration(time.monotonic() - self._started)}", file=self._out, flush=True
        )


def _signal(child: subprocess.Popen, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)


@contextlib.contextmanager
def caught() -> Iterator[list[int]]:
    """Collect SIGINT, SIGTERM and SIGHUP in a list instead of dying of them."""
    received: list[int] = []
    before = {number: signal.signal(number, lambda got, _: received.append(got)) for number in SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def environment(stage: Stage) -> dict[str, str]:
    """The child's environment. PYTHON chooses the set-up's Python; from then on it is .venv's."""
    result = {**os.environ, **dict(stage.env), "PYTHONUNBUFFERED": "1"}
    if stage.name != "set-up":
        result.pop("PYTHON", None)
    return result


@contextlib.contextmanager
def lock(runs: Path) -> Iterator[None]:
    """Hold the runs' folder for this process and its children. Raises StageError where another one holds it."""
    path = runs / ".stages" / "lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise StageError(
            f"cannot write to {shown(runs)} ({error.strerror}); give another folder with --runs"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StageError(
                f"another run_all.sh, or a training that one has started, is at work in {shown(runs)}; wait for it, or give "
                f"another folder with --runs"
            ) from None
        os.set_inheritable(file.fileno(), True)
        yield


def _begin(stage: Stage) -> float:
    """Write run.json before training. Returns the seconds of earlier sessions."""
    run = stage.run
    assert run is not None
    before = read_json(run.folder / "run.json").get("seconds")
    content: dict[str, Any] = {
        "experiment": run.experiment,
        "arm": run.arm,
        "seed": run.seed,
        "profile": run.profile,
        "command": stage.line(),
        "data": run.data,
        "finished": False,
        "seconds": before or 0.0,
        "hardware": hardware.describe(),
    }
    write_json(run.folder / "run.json", content)
    return float(before or 0.0)


def _note(run: Run, **values: Any) -> None:
    path = run.folder / "run.json"
    write_json(path, {**read_json(path), **values})


def _failure(stage: Stage, code: int) -> str:
    lines = [f"{stage.name} failed ({_status(code)}); the last lines of {shown(stage.log)}:"]
    last: deque[str] = deque(maxlen=LAST_LINES)
    with stage.log.open(encoding="utf-8", errors="replace") as log:
        for line in log:
            if line == f"$ {stage.line()}\n":  # an earlier attempt ends here
                last.clear()
            last.append(f"    {line.rstrip()}")
    lines += last
    return "\n".join(lines)


def _status(code: int) -> str:
    if code >= 0:
        return f"exit status {code}"
    with contextlib.suppress(ValueError):
        name = signal.Signals(-code).name
        return f"{name}: perhaps out of memory" if -code == signal.SIGKILL else name
    return f"signal {-code}"
