"""What a report is made of: experiments with their runs, and what a section gets from each run.

Errors in one run's dump or log become entries of the list of what is missing; the other runs are still reported.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from copying import copying_loss_of
from dump import Dump, DumpError, Table
from geometry import GeometryError
from runs import Missing, Run
from training_log import LearningCheck, LogError, learning_check, read_training_log

CACHE_BYTES = 1_600_000_000
Result = TypeVar("Result")


@dataclass
class Evidence:
    """The runs of one experiment. `figures` is the folder for figures; `missing` collects what could not be read."""

    experiment: str
    runs: list[Run]
    figures: Path
    cache: SnapshotCache
    beside: Executor  # one thread for what can be computed while the questions are asked
    points: int = 1200
    beside_it: frozenset[str] = frozenset()  # the other experiments of the report
    tags: Mapping[str, str] | None = None  # part of speech by form, of a treebank
    missing: list[Missing] = field(default_factory=list)
    _dumps: dict[Path, Dump | None] = field(default_factory=dict)
    _logs: dict[Path, pd.DataFrame | None] = field(default_factory=dict)

    def arms(self) -> dict[str, list[Run]]:
        """Runs by arm, ordered by seed."""
        result: dict[str, list[Run]] = {}
        for run in self.runs:
            result.setdefault(run.arm, []).append(run)
        return result

    def dump(self, run: Run) -> Dump | None:
        """The run's dump, opened once; None where there is none that can be read."""
        if run.path not in self._dumps:
            self._dumps[run.path] = (
                self._attempt(run, lambda: self.cache.attach(Dump.open(run.dump))) if run.dump.is_dir() else None
            )
        return self._dumps[run.path]

    def log(self, run: Run) -> pd.DataFrame | None:
        """The run's training log; None where there is none that can be read."""
        if run.path not in self._logs:
            self._logs[run.path] = self._attempt(run, lambda: read_training_log(run.log)) if run.log.is_file() else None
        return self._logs[run.path]

    def unigram_entropy(self, run: Run) -> float | None:
        """Of the run's corpus in bits, as the dump's attributes give it."""
        dump = self.dump(run)
        corpus = (dump.attrs.get("corpus") if dump else None) or {}
        value = corpus.get("unigram_entropy_bits") if isinstance(corpus, dict) else None
        return float(value) if isinstance(value, int | float) else None

    def learning(self, run: Run) -> LearningCheck:
        """STUDY.md's rule on the unigram entropy for this run."""
        return learning_check(self.log(run), self.unigram_entropy(run), self._copying(run))

    def _copying(self, run: Run) -> float | None:
        """The loss of a masked LM without context; None where it cannot be had."""
        dump = self.dump(run)
        config = dump.attrs.get("config") if dump else None
        if dump is None or not isinstance(config, Mapping):
            return None
        try:
            table = dump.table()
        except DumpError:  # said where its rows are asked for
            return None
        return copying_loss_of(config, table.counts, table.counted)

    def measure(self, runs: Sequence[Run], questions: Mapping[str, Callable[[Dump], Any]]) -> dict[str, list[Any]]:
        """Each question asked of each run's dump, all questions of one run before the next: results by question.

        A question that fails for a run is listed as missing and left out there.
        """
        results: dict[str, list[Any]] = {name: [] for name in questions}
        for run in runs:
            dump = self.dump(run)
            for name, ask in questions.items():
                found = None if dump is None else self._attempt(run, partial(ask, dump))
                if found is not None:
                    results[name].append(found)
        return results

    def _attempt(self, run: Run, action: Callable[[], Result]) -> Result | None:
        try:
            return action()
        except (DumpError, GeometryError, LogError, OSError) as error:
            entry = Missing(f"{run.name}: {error}", run.again)
            if entry not in self.missing:
                self.missing.append(entry)
            return None


def comparable(runs: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """The runs of an arm that are taken together, and those left out: unfinished ones beside finished ones."""
    unfinished = [run for run in runs if run.finished is False]
    return (
        ([run for run in runs if run.finished is not False], unfinished)
        if len(unfinished) < len(runs)
        else (unfinished, [])
    )


class SnapshotCache:
    """Keeps the snapshots read last, CACHE_BYTES in all, because several questions read the same ones; threads may."""

    def __init__(self, most_bytes: int = CACHE_BYTES) -> None:
        self._most_bytes = most_bytes
        self._lock = Lock()
        self._kept: OrderedDict[tuple[Path, str, int], NDArray[np.float32]] = OrderedDict()

    def attach(self, dump: Dump) -> Dump:
        """Let all tables of the dump read their snapshots through this cache; what they give is then read-only."""
        for name in dump.tables:
            table = dump.table(name)
            table.snapshot = partial(self._snapshot, table, table.snapshot)  # type: ignore[method-assign]
        return dump

    def _snapshot(self, table: Table, read: Callable[[int], NDArray[np.float32]], update: int) -> NDArray[np.float32]:
        key = table.dump.path, table.name, int(update)
        with self._lock:
            if key not in self._kept:
                values = read(update)
                values.flags.writeable = False
                self._kept[key] = values
                while len(self._kept) > 1 and sum(entry.nbytes for entry in self._kept.values()) > self._most_bytes:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]


def plain_table(rows: Sequence[Sequence[Any]]) -> tuple[list[str], list[list[str]]]:
    """Head and body of a question module's `summary`, as text: floats with 4 digits after the point, NaN as a dash."""

    def cell(value: Any) -> str:
        if isinstance(value, float):
            return f"{value if abs(value) >= 5e-5 else 0.0:.4f}" if np.isfinite(value) else "–"
        return f"{value:,}" if isinstance(value, int) else str(value).replace("_", " ")

    head, *body = [[cell(value) for value in row] for row in rows]
    return head, body
