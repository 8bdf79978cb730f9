"""Whole-table geometry of every recorded snapshot, plain or encoded, on one core, several, or a cluster.

    python analysis/snapshots.py runs/E1/base/seed1 --out DIR --workers 2

Of each snapshot: the statistics of docs/dump-format.md (cosines, common vector, norms, correlations with frequency, all
also by frequency group), effective rank, participation ratio and IsoScore; `drift` from the dump's first snapshot; `moved`
and `moved_shared`, which are `update_norm` and `update_shared` of docs/dump-format.md since the snapshot that the dump
lists before (`previous`). Writes snapshots.json, snapshots.csv (one row an update) and a figure. A worker holds two
snapshots at a time (five of encoded ones), and the numbers are the same to the bit whatever the number of workers.

What is done when a run stops, or when a snapshot cannot be read, is kept in DIR/snapshots.partial: the same command goes
on from there. On a cluster, the dump must be readable at the same path everywhere, and scheduler and workers need the
analysis folder on PYTHONPATH and one thread each:

    PYTHONPATH=analysis dask scheduler
    PYTHONPATH=analysis dask worker --nthreads 1 tcp://HOST:8786
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cli import parser, print_table, run, write_json, write_text
from curves import spread
from dump import Dump, DumpError, Group, Table, signature
from kept_results import KeptResults
from snapshot_figure import figure
from snapshot_measures import Measured, Task
from snapshot_tasks import Done, WorkersError, run_tasks
from update_choice import SYNTAX, choose

PARTIAL = "snapshots.partial"
SHOWN = ("mean_cosine", "common_cosine", "spearman_all", "pearson_all", "effective_rank", "drift", "moved")
SHOWN_UPDATES = 24  # rows of the printed table, spread evenly
RUN = 32  # the most frames from one keyframe of windows to the next
SAY_EVERY = 5.0  # seconds between lines of progress


@dataclass(frozen=True)
class SnapshotsResult:
    """The numbers of one table over its snapshots: float64 (updates,) or (updates, groups) by name."""

    signature: str
    groups: list[Group]
    first: int
    updates: NDArray[np.int64]
    previous: list[int | None]
    numbers: dict[str, NDArray[np.float64]]


def analyse(
    dump: Dump,
    table: str | None = None,
    *,
    partial: Path,
    updates: str | None = None,
    workers: int = 1,
    scheduler: str | None = None,
) -> SnapshotsResult:
    """Measure the snapshots that `updates` (a schedule's text; None: all) names; results are kept in the folder `partial`.

    Raises DumpError: no snapshots, none that is named, one that could not be measured (named in the message; the others are
    kept); WorkersError, OSError.
    """
    entry = dump.table(table)
    kept = KeptResults(partial, entry)
    chosen = choose_snapshots(entry, updates)
    first = int(entry.whole_updates[0])
    results = {u: found for u, before in chosen.items() if (found := kept.load(u, first, before)) is not None}
    progress = _progress(len(chosen), len(results))
    failures: dict[int, str] = {}

    def done(result: Measured) -> None:
        if result.failure is None:
            kept.save(result, first, chosen[result.update])
            results[result.update] = result
        else:
            failures[result.update] = result.failure
        progress(result)

    open_ones = {update: before for update, before in chosen.items() if update not in results}
    run_tasks(make_tasks(entry, open_ones), done, workers=workers, scheduler=scheduler)
    if failures:
        update = min(failures)
        raise DumpError(
            f"{len(failures)} of {len(chosen)} snapshots could not be measured, update {update}: {failures[update]}; the other "
            f"{len(results)} are kept in {partial}; to find and mend what is lost: python -m fairseq_ext.recording check "
            f"{dump.path}; then the same command goes on"
        )
    ordered = [results[update] for update in chosen]
    return SnapshotsResult(
        signature=signature(dump, entry, max(chosen)),
        groups=entry.groups,
        first=first,
        updates=np.array(list(chosen), np.int64),
        previous=list(chosen.values()),
        numbers={name: np.array([result.numbers[name] for result in ordered]) for name in ordered[0].numbers},
    )


def choose_snapshots(table: Table, updates: str | None = None) -> dict[int, int | None]:
    """The updates of the snapshots, plain or encoded, that `updates` names, in order, each with that of the snapshot before it.

    Raises DumpError where there is none.
    """
    listed = table.whole_updates
    if not len(listed):
        raise table.error("the dump holds no snapshots; record with --record-snapshots or --record-windows")
    try:
        chosen = listed if updates is None else choose(listed, updates)
    except ValueError as error:
        raise DumpError(f"--updates: {error}") from None
    if not len(chosen):
        raise table.error(
            f"--updates {updates}: none of the {len(listed)} snapshots, {listed[0]} to {listed[-1]}, is named"
        )
    before = dict(zip(listed[1:].tolist(), listed[:-1].tolist(), strict=True))
    return {update: before.get(update) for update in chosen.tolist()}


def make_tasks(table: Table, chosen: dict[int, int | None]) -> list[Task]:
    """A task for each snapshot, and one for each run of encoded ones within RUN updates, at whose multiples decoding begins anew."""
    plain = set(table.snapshot_updates.tolist())
    runs: list[list[int]] = []
    for update in chosen:
        last = runs[-1][-1] if runs else -1
        follows = update - 1 == last and not {update, last} & plain and update // RUN == last // RUN
        runs[-1].append(update) if follows else runs.append([update])
    path, first = str(table.dump.path.absolute()), int(table.whole_updates[0])
    return [Task(path, table.name, first, tuple(run), tuple(chosen[update] for update in run)) for run in runs]


def write(result: SnapshotsResult, out: Path) -> list[Path]:
    """Write snapshots.json, snapshots.csv and the figure; the paths."""
    written = [write_json(out, "snapshots", result), write_text(out, "snapshots.csv", as_csv(result))]
    drawn = figure(result.updates, result.numbers, result.groups, result.signature, out)
    return written + drawn


def as_csv(result: SnapshotsResult) -> str:
    """One row an update: `name` of the whole table, `name:group` of a frequency group; empty where there is no value."""
    columns: dict[str, Sequence[Any]] = {
        "update": result.updates.tolist(),
        "first": [result.first] * len(result.updates),
        "previous": ["" if update is None else update for update in result.previous],
    }
    for name, values in result.numbers.items():
        if values.ndim == 1:
            columns[name] = values.tolist()
        else:
            columns |= {f"{name}:{group.name}": values[:, group.index].tolist() for group in result.groups}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow(["" if isinstance(value, float) and value != value else value for value in row])
    return text.getvalue()


def _progress(total: int, kept: int) -> Done:
    """Says on stderr how far it is, every few seconds and at the end."""
    if kept:
        print(f"{kept} of {total} snapshots are kept from before", file=sys.stderr, flush=True)
    began = said = time.monotonic()
    ended = 0

    def tell(result: Measured) -> None:
        nonlocal ended, said
        ended += 1
        now, left = time.monotonic(), total - kept - ended
        if now - said >= SAY_EVERY or not left:
            said = now
            rest = f", about {(now - began) / ended * left:.0f} s left" if left else f", {now - began:.1f} s"
            print(f"{kept + ended} of {total} snapshots, update {result.update:,}{rest}", file=sys.stderr, flush=True)

    return tell


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    line = parser(__doc__ or "", dumps=1)
    line.add_argument("--updates", metavar="SCHEDULE", help=f"which snapshots: {SYNTAX} (default: all)")
    line.add_argument("--workers", type=_positive, default=None, metavar="N", help="local dask processes (default: 1, no dask)")  # fmt: skip
    line.add_argument("--scheduler", metavar="ADDRESS", help="a dask cluster that is there, e.g. tcp://host:8786 (needs dask.distributed)")  # fmt: skip
    chosen = line.parse_args(arguments)
    if chosen.workers is not None and chosen.scheduler is not None:
        line.error("--workers and --scheduler exclude one another: a cluster has its own workers")
    partial = chosen.out / PARTIAL
    try:
        result = analyse(
            Dump.open(chosen.dumps[0]),
            chosen.table,
            partial=partial,
            updates=chosen.updates,
            workers=chosen.workers or 1,
            scheduler=chosen.scheduler,
        )
    except WorkersError as error:
        kept = f"; what was measured is kept in {partial}" if partial.is_dir() else ""
        sys.exit(f"error: {error}{kept}")
    written = write(result, chosen.out)
    KeptResults(partial, Dump.open(chosen.dumps[0]).table(chosen.table)).clear()
    print(result.signature)
    shown = np.searchsorted(result.updates, spread(result.updates, SHOWN_UPDATES))
    columns = [result.updates, *(result.numbers[name] for name in SHOWN)]
    print_table([["update", *SHOWN], *zip(*(column[shown].tolist() for column in columns), strict=True)])
    print("wrote " + ", ".join(str(path) for path in written))
    return 0


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, found {text}")
    return number


if __name__ == "__main__":
    run(main)
