"""Runs the tasks of `snapshots.py`: one after the other, in local processes through dask, or on a dask cluster.

What each finished task has measured is handed to `done` in this process, in the order in which they end. Tasks do not depend on one another.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from snapshot_measures import Measured, Task, measured

Done = Callable[[Measured], None]
INSTALL = "install the extra `cluster`: .venv/bin/python -m pip install --editable '.[cluster]'"
SECONDS = 10  # within which a scheduler must answer


class WorkersError(Exception):
    """Workers that cannot be had, or that ended: one line saying what was expected, what was found and what to do."""


def run_tasks(tasks: Sequence[Task], done: Done, *, workers: int = 1, scheduler: str | None = None) -> None:
    """Run all tasks, in `workers` processes or, where `scheduler` is given, on the dask cluster of this address.

    Raises WorkersError: dask is not installed, nobody answers at the address, workers that lack the analysis, a process that
    died. What was handed to `done` before stays.
    """
    if not tasks:
        return
    if scheduler is not None:
        _on_cluster(tasks, done, scheduler)
    elif workers > 1:
        _in_processes(tasks, done, workers)
    else:
        for task in tasks:
            _hand_over(measured(task), done)


def _hand_over(results: list[Measured], done: Done) -> None:
    for result in results:
        done(result)


def _in_processes(tasks: Sequence[Task], done: Done, workers: int) -> None:
    try:
        import dask
        from dask.callbacks import Callback
    except ImportError:
        raise WorkersError(
            f"--workers {workers} needs dask, which is not installed; {INSTALL}, or leave --workers out"
        ) from None

    def ended(key: Any, value: Any, *_: Any) -> None:
        if isinstance(value, list):
            _hand_over(value, done)

    delayed = [dask.delayed(measured, pure=False)(task) for task in tasks]
    try:
        with Callback(posttask=ended):
            dask.compute(*delayed, scheduler="processes", num_workers=min(workers, len(tasks)), chunksize=1)
    except BrokenProcessPool:
        raise WorkersError(
            "a worker process died, perhaps for want of memory (each takes about two snapshots); try fewer --workers"
        ) from None


def _on_cluster(tasks: Sequence[Task], done: Done, address: str) -> None:
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise WorkersError(
            f"--scheduler needs dask.distributed, which is not installed; {INSTALL}, or use --workers"
        ) from None
    try:
        client = Client(address, timeout=SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise WorkersError(
            f"--scheduler {address}: no dask scheduler answers ({type(error).__name__}); start one with: dask scheduler"
        ) from None
    with client:
        _check(client, address)
        futures = {client.submit(measured, task, pure=False): task for task in tasks}
        for future in as_completed(futures, loop=client.loop):
            error, updates = future.exception(), futures[future].updates
            lost = [Measured(update, {}, f"update {update}: {_line(error)}") for update in updates] if error else []
            _hand_over(lost or future.result(), done)
            future.release()


def _check(client: Any, address: str) -> None:
    """Raise unless the cluster has workers of one thread, and they and the scheduler can import the analysis."""
    threads = client.nthreads()
    if not threads:
        raise WorkersError(f"--scheduler {address}: the scheduler has no workers; start some with: {_start(address)}")
    name = measured.__module__
    places = {"the scheduler": client.run_on_scheduler(_finds, name)} | client.run(_finds, name)
    lacking = [place for place, found in places.items() if not found]
    many = [place for place, number in threads.items() if number != 1]
    if many:
        raise WorkersError(
            f"--scheduler {address}: expected workers of one thread (the memory and the last bits depend on it), found {many[0]} "
            f"with {threads[many[0]]}; start them with: {_start(address)}"
        )
    if lacking:
        raise WorkersError(
            f"--scheduler {address}: {lacking[0]} cannot import the analysis; start scheduler and workers with PYTHONPATH set: "
            f"{_start(address)}"
        )


_finds = importlib.util.find_spec


def _start(address: str) -> str:
    return f"PYTHONPATH={Path(__file__).parent} dask worker --nthreads 1 {address}"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
