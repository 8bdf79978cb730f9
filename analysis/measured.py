"""Every experiment's part of the report, measured one after another or in processes side by side.

An experiment's numbers and figures are its own, so each can be made in a process of its own. What comes back is the same either way, to the
byte where the processes have as many threads as one alone (on two cores), else but for the last digits of sums.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread

from threadpoolctl import threadpool_limits

from dump import signature
from evidence import CACHE_BYTES, Evidence, SnapshotCache
from runs import Missing, Run
from section_outcome import Outcome
from sections import section_of

# An allowance for each process, not a measured need: the snapshots that it may keep, and twice as much for what is computed of them.
PROCESS_BYTES = 3 * CACHE_BYTES


class MeasuringError(Exception):
    """A process ended without a word; the message is one line."""


@dataclass
class Measured:
    """One experiment's part. `updates` is by run: the last snapshot's update, as text."""

    experiment: str
    outcome: Outcome
    missing: list[Missing] = field(default_factory=list)
    signatures: list[str] = field(default_factory=list)
    updates: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """What all experiments share: the folder for figures, tokens of the map, parts of speech by form."""

    figures: Path
    points: int
    tags: Mapping[str, str] | None = None


def measure_all(
    runs: Sequence[Run], settings: Settings, jobs: int = 1, done: Callable[[str], None] = lambda name: None
) -> list[Measured]:
    """The parts of all experiments, in the order of their names; `jobs` of them at a time, each in its process if more than one.

    `done` is called with an experiment's name when it has been measured.

    Raises OSError where figures cannot be written, MeasuringError where a process was ended from outside.
    """
    experiments = sorted({run.experiment for run in runs})
    one = partial(_one, list(runs), settings, experiments)
    jobs = min(jobs, len(experiments))
    parts: dict[str, Measured] = {}
    if jobs <= 1:
        for name in experiments:
            parts[name] = one(1, name)
            done(name)
        return list(parts.values())
    context = get_context("spawn")  # not forked: threads of numpy's libraries are running already
    end, ours = context.Pipe(duplex=False)
    with ProcessPoolExecutor(jobs, context, _end_with_parent, (end,)) as pool:
        try:
            waiting = {pool.submit(one, jobs, name): name for name in experiments}
            for ended in as_completed(waiting):
                name = waiting[ended]
                parts[name] = ended.result()
                done(name)
            return [parts[name] for name in experiments]
        except BrokenProcessPool:
            raise MeasuringError(
                "a process that measured an experiment was ended, perhaps for want of memory; use --jobs 1"
            ) from None
        except BaseException:
            ours.close()  # ends the processes, which would measure on
            pool.shutdown(cancel_futures=True)
            raise


def _end_with_parent(end: Connection) -> None:
    """In a process of the pool: leave Ctrl-C to the parent, and end with it, however it ends: then the pipe is closed."""

    def wait() -> None:
        end.poll(None)
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=wait, daemon=True).start()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usual_jobs() -> int:
    """One for each core, as far as the memory goes."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 1
    return max(1, min(cores(), memory // PROCESS_BYTES))


def _one(runs: Sequence[Run], settings: Settings, experiments: Sequence[str], jobs: int, experiment: str) -> Measured:
    # Of a process's share of the cores half is for the questions, half for the thread beside them.
    threads = max(1, cores() // (2 * jobs))
    with ThreadPoolExecutor(1) as beside, threadpool_limits(threads):
        own = [run for run in runs if run.experiment == experiment]
        evidence = Evidence(
            experiment,
            own,
            settings.figures,
            SnapshotCache(CACHE_BYTES // jobs),
            beside,
            settings.points,
            frozenset(experiments) - {experiment},
            settings.tags,
        )
        outcome = section_of(experiment)(evidence)
        part = Measured(experiment, outcome, [entry for run in own for entry in run.missing] + evidence.missing)
        for run in own:
            dump = evidence.dump(run)
            if dump is None:
                continue
            table = dump.table()
            last = int(table.snapshot_updates[-1]) if len(table.snapshot_updates) else None
            if note := dump.gap_note:
                part.missing.append(Missing(f"{run.name}: {note}."))
            part.signatures.append(signature(dump, table, last))
            part.updates[run.name] = "none" if last is None else f"{last:,}"
        return part
