"""The hook: records a model's embedding tables while fairseq trains it.

Life of a recorder: it is made with the task and does nothing until the first training step (so that loading a trained model touches no
dump). Then it attaches: it finds the tables, checks options and disk, creates the dump or cuts an existing one to the checkpoint, and
records update 0. After that it is called around every optimiser step. Before each checkpoint it writes everything down, so that no
checkpoint ever exists whose updates are not all in the dump.
"""

from __future__ import annotations

import atexit
import functools
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from fairseq.logging import metrics, progress_bar
from torch import Tensor, nn

from ..errors import UserError
from . import attributes, cause_streams, cost, gaps, identity, masters, place, resuming, space, store, traces
from . import sides as corpora
from .config import RecordingConfig, check
from .copies import Copy
from .exposure import Exposure
from .recorded_table import RecordedTable
from .sides import Counted, Side, side_of
from .tables import TableSpec, find_tables
from .window_stream import encoders, resume_encoder
from .windows import WindowEncoder
from .writer import AsyncWriter

logger = logging.getLogger(__name__)
LIVE_COMMIT = 64
LIVE = {
    "mean_cosine": "embed_cos",
    "common_cosine": "embed_cos_common",
    "spearman_all": "embed_spearman",
    "common_norm": "embed_common_norm",
}
P = ParamSpec("P")
T = TypeVar("T")


def _ends_the_run(method: Callable[P, T]) -> Callable[P, T]:
    """Let a user's error in a method of the recorder end the process with its one line and status 1."""

    @functools.wraps(method)
    def guarded(*arguments: P.args, **options: P.kwargs) -> T:
        try:
            return method(*arguments, **options)
        except UserError:
            recorder: Any = arguments[0]
            recorder.exit_status = 1
            raise

    return guarded


class Recorder:
    """Records the embedding tables of one training run.

    Args:
        options: the task's recording options.
        config: the run's whole configuration as plain values.
        sides: of the corpus, source before target.
        data: the corpus's folder.

    Raises:
        UserError: options are malformed or contradict one another, or the run cannot be recorded.
    """

    def __init__(self, options: RecordingConfig, config: dict[str, Any], sides: tuple[Side, ...], data: Path) -> None:
        self.options, self.config, self.sides, self.data = options, config, sides, data
        self.streams = check(options)
        self.place = place.at(options.record_dir) if options.record_dir else None
        self.tables: list[RecordedTable] = []
        self.writer: AsyncWriter | None = None
        self.lock: place.Lock | None = None
        self.gaps: gaps.Gaps | None = None
        self.causes: cause_streams.CauseRecorder | None = None
        self.last_recorded = -1
        self.exposure: Exposure | None = None
        self.sampling: dict[str, Any] | None = None
        self.shown: dict[str, Tensor] = {}
        self._checkpoint: dict[str, Any] | None = None
        self.exit_status: int | None = None
        self._unconfirmed: int | None = None
        self._files: dict[str, int] = {}
        self.initial: dict[str, np.ndarray] = {}  # tables at update 0, for a replay, which begins later
        self.until: int | None = None  # the replay's last update
        if self.streams is not None:
            on_cpu = bool(self._section("common").get("cpu")) or not torch.cuda.is_available()
            masters.refuse_unsupported(config, on_cpu)

    @property
    def on(self) -> bool:
        """Whether this process records."""
        return self.streams is not None and self._section("distributed_training").get("distributed_rank", 0) in (
            0,
            None,
        )

    @property
    def attached(self) -> bool:
        return self.writer is not None

    def _section(self, name: str) -> dict[str, Any]:
        return self.config.get(name) or {}

    # -- the checkpoint's side ------------------------------------------------------------------------------------------------

    @_ends_the_run
    def state(self) -> dict[str, Any]:
        """Write everything down and say up to which update; called before a checkpoint is written."""
        if not (self.on and self.attached):
            return {}
        self._confirm()
        self.flush()
        self._unconfirmed, self._files = self.last_recorded, self._checkpoint_files()
        return {"update": self.last_recorded, "identity": self.identity_hash}

    def _confirm(self) -> None:
        """Note that the checkpoint for which :meth:`state` was asked has been written: a kill before it must not count as one."""
        if self._unconfirmed is not None:
            self._submit(self._progress, self._unconfirmed)
            self._unconfirmed = None

    def _checkpoint_files(self) -> dict[str, int]:
        """The checkpoints in fairseq's folder with their times of writing."""
        folder = Path(self._section("checkpoint").get("save_dir") or "checkpoints")
        return {file.name: file.stat().st_mtime_ns for file in folder.glob("checkpoint*.pt")}

    def resume_from(self, state: dict[str, Any]) -> None:
        """Take what :meth:`state` returned when the checkpoint that is being resumed was written."""
        self._checkpoint = dict(state)

    # -- attaching -----------------------------------------------------------------------------------------------------------

    @_ends_the_run
    def attach(self, model: nn.Module, update: int, optimizer: Any = None) -> None:
        """Begin to record a model that has taken ``update`` steps.

        Args:
            model: wrapped or not.
            update: its number of steps.
            optimizer: fairseq's, which may hold the weights that are trained (:mod:`.masters`).

        Raises:
            UserError: nothing to record, no space, or an existing dump that does not match this run.
        """
        if self.streams is None or self.place is None:
            raise ValueError("recording is off")
        atexit.register(self._leave)
        split = str(self._section("dataset").get("train_subset") or "train")
        counted = corpora.count(self.data, split, self.sides)
        lengths = [len(side.dictionary) for side in self.sides]
        cause_streams.require_reachable(self.streams, optimizer)
        specs = find_tables(model, lengths, self.options.record_tables)
        weights = masters.of_tables([spec.parameter for spec in specs], optimizer)
        self.tables = [self._table(spec, counted, weight) for spec, weight in zip(specs, weights, strict=True)]
        if update > 0 and any(weight is not None for weight in weights):
            logger.warning(
                f"the checkpoint at update {update} holds 16-bit weights: fairseq rounded the fp32 master weights to them, and the change from "
                f"update {update} to {update + 1} in the dump includes that rounding"
            )
        self.corpus = counted.corpus
        self._open_exposure: dict[str, store.Stream] = {}
        traced = [table.traced for table in self.tables]
        self.identity = identity.describe(specs, traced, self.corpus, self.config, self.options)
        self.identity_hash = identity.hash_of(self.identity)

        last = self.until or int(self._section("optimization").get("max_update") or 0) or None
        sizes = [(len(t.rows), t.spec.dim, len(t.traced), len(t.rows.groups)) for t in self.tables]
        counters = sum(map(len, self.exposure.counts.values())) if self.exposure else 0
        needed = space.estimate(self.streams, sizes, update, last, counters, self.options.record_window_encoding)
        logger.info(f"recording {', '.join(t.spec.name for t in self.tables)} into {self.path}: {needed}")
        self.place.require_space(needed)

        try:
            self.lock = self.place.lock("training", "choose another --record-dir")
            self.lock.acquire()
            begins = self._take_place(update)
        except BaseException as error:
            self._unlock()
            if isinstance(error, OSError | ValueError):  # ValueError: tensorstore's own errors
                raise self.place.explain(error) from error
            raise
        if any(name in table.names for table in self.tables for name in cause_streams.SCHEDULE_OF):
            alone = int(self._section("distributed_training").get("distributed_world_size") or 1) == 1
            self.causes = cause_streams.CauseRecorder(self.streams, self.tables, model, optimizer, alone)
        self.writer = AsyncWriter(self.options.record_queue)
        self._finish_at_exit()
        if begins:
            for table in self.tables if self.streams.movement else ():
                if table.spec.name in self.initial:
                    table.initial = torch.from_numpy(self.initial[table.spec.name]).to(table.weight.device)
            if update > 0 and self.streams.movement and any(table.initial is None for table in self.tables):
                logger.warning(f"the recording begins at update {update}: drift from update 0 is not known to it")
            self._record(update)
        else:
            self.last_recorded = update

    def _take_place(self, update: int) -> bool:
        """Create the dump or go on in the one that is there; returns whether the recording begins at ``update``."""
        self.place.recover()
        if self.place.exists() and self.options.record_overwrite and update == 0:
            if not self.place.is_dump():
                raise UserError(
                    f"--record-overwrite deletes a dump of this project; found something else at {self.path}; "
                    "move it away, or choose another --record-dir"
                )
            logger.warning(f"--record-overwrite: deleting the dump at {self.path}")
            self.place.remove()
        fresh = not self.place.exists()
        if fresh:
            self.place.remove()  # what an interrupted removal left
            with self.place.creating() as target:
                self._create(target, update)
        return self._open(update, fresh)

    def _unlock(self) -> None:
        if self.lock is not None:
            self.lock.release()

    def _table(self, spec: TableSpec, counted: Counted, weight: Tensor | None) -> RecordedTable:
        side = side_of((spec.name, *spec.aliases), self.sides)
        rows = counted.rows(side)
        chosen = self.options.record_trace_tokens
        traced = (
            traces.rows_from_file(Path(chosen), rows)
            if chosen
            else traces.default_rows(rows, self.options.record_trace_sample)
        )
        return RecordedTable(spec, side, rows, traced, self.streams, weight)

    @property
    def path(self) -> str | Path:
        """The dump's place, for messages."""
        return self.place.name

    def _create(self, target: store.Store, update: int) -> None:
        """Write an empty dump, but for its root group."""
        described = attributes.root(
            [t.spec.name for t in self.tables],
            attributes.run(self.config, self._precision(), torch.get_num_threads()),
            self.corpus.attributes(),
            {
                "identity": self.identity_hash,
                "must_match": self.identity,
                "options": {k: v for k, v in self._section("task").items() if k.startswith("record_")},
            },
            self.sampling,
            update,
            self.config,
        )
        target.root = store.group_metadata(described)
        target.write_json("tables/zarr.json", store.group_metadata())
        for table in self.tables:
            spec = table.spec
            about = attributes.table(spec.name, spec.aliases, table.side, spec.rows, spec.dim)
            windows = identity.windows(self.options)
            store.create_table(target, spec.name, about, table.rows, spec.dim, table.names, table.traced, windows)
            cause_streams.create(target, spec.name, table)
        if self._counts:
            store.create_exposure(target, self.exposure.counters)
        if self._may_leave_out:
            gaps.add_streams(target, self._large)

    def _precision(self) -> str:
        return masters.named(self._section("common"), self._section("task").get("autocast_used"))

    def _open(self, update: int, fresh: bool) -> bool:
        """Open the dump's streams and cut what lies past ``update``; returns whether the recording begins (anew) there."""
        self.store = self.place.open()
        known = self.store.root.get("attributes", {})
        resuming.require_dump(self.path, known)
        theirs = (self._checkpoint or {}).get("identity") if not fresh else None
        first = resuming.require_same_run(self.path, known, self.identity, self.identity_hash, theirs, update)
        begins = update == first
        self.gaps = gaps.Gaps(self.store, self._large, self._may_leave_out, update if update > first else first - 1)
        dropped = 0
        for table in self.tables:
            for name in table.names:
                key = f"tables/{table.spec.name}/{name}"
                table.open[name], cut = self._continue(key, name, update, first, fresh)
                dropped += cut
            if "snapshots" in table.open and first == 0 and update > 0 and self.streams.movement:
                resuming.require_initial(self.path, table.open["snapshots"].updates)
                values = table.open["snapshots"].arrays["values"][0].read().result()
                table.initial = torch.from_numpy(np.ascontiguousarray(values)).to(table.weight.device)
            if "windows" in table.open:
                about = identity.windows(self.options)
                table.encoder = WindowEncoder(about["encoding"], about["step"], about["keyframes"], encoders())
                resume_encoder(table.encoder, table.open["windows"], update)
        for counters in self.exposure.counters if self._counts else ():
            key = f"exposure/{counters.stream}"
            self._open_exposure[counters.stream], cut = self._continue(key, "exposure", update, first, fresh)
            dropped += cut
        if not fresh:
            logger.info(
                f"continuing the dump at {self.path} from update {update}; {dropped} records past it are cut off and written again"
            )
        return begins

    def _continue(self, key: str, name: str, update: int, first: int, fresh: bool) -> tuple[store.Stream, int]:
        """Open a stream and cut it to ``update``; returns it and how many records were cut off."""
        known = self.store.root.get("attributes", {})
        resuming.require_stream(self.path, known, key, self.store.read(f"{key}/zarr.json") is not None)
        stream = store.Stream(self.store, key, store.buffered(self.store, key))
        dropped = stream.cut(update if update > first else first - 1)
        last = update if not fresh and update > first else first - 1
        resuming.require_every_update(
            self.path,
            known,
            key,
            stream.updates,
            lambda u: self._scheduled(name, u, first),
            first,
            last,
            self.gaps.listed(name),
        )
        return stream, dropped

    @property
    def _large(self) -> list[str]:
        """The streams whose records may be left out, of all tables."""
        return [name for name in gaps.MAY_GAP if any(name in table.names for table in self.tables)]

    @property
    def _may_leave_out(self) -> bool:
        return str(self.options.record_when_behind) == "gap"

    @property
    def _counts(self) -> bool:
        return self.exposure is not None and bool(self.streams.exposure)

    def _scheduled(self, stream: str, update: int, first: int) -> bool:
        if stream == "statistics":
            return self.streams.describes_statistics(update) or update == first
        if stream in cause_streams.SCHEDULE_OF:  # there was no step before the first record
            return update != first and update in getattr(self.streams, cause_streams.SCHEDULE_OF[stream])
        return update in getattr(self.streams, stream) or update == first

    # -- recording -----------------------------------------------------------------------------------------------------------

    @_ends_the_run
    def before_step(self, update: int) -> None:
        """Keep what the movement statistics of update ``update`` will need; called before the optimiser's step."""
        for table in self.tables:
            table.copies.settle(table.weight)
        if self.causes is not None:
            self.causes.before_step(update)
        if self.streams.describes_movement(update):
            for table in self.tables:
                if table.previous is None:
                    table.previous = torch.empty_like(table.weight)
                table.previous.copy_(table.weight)

    @_ends_the_run
    def after_step(self, update: int) -> None:
        """Record the model after its ``update``-th step.

        Raises:
            UserError: the writer has failed, also where this update has no record.
        """
        self.writer.check()
        self._confirm()
        if update > self.last_recorded:
            self._record_causes(update)
            self._record(update)

    def before_batch(self, update: int, sample: Any) -> None:
        """A forward and a backward pass for the step to ``update`` come."""
        if self.causes is not None and update > self.last_recorded:
            self.causes.before_batch(update, sample)

    def after_batch(self) -> None:
        """The passes have run."""
        if self.causes is not None:
            self.causes.after_batch()

    def discard(self) -> None:
        """The step was not taken."""
        if self.causes is not None:
            self.causes.discard()

    def _record_causes(self, update: int) -> None:
        if self.causes is not None:
            for table, records in zip(self.tables, self.causes.after_step(update), strict=True):
                for name, values in records.items():
                    size = sum(array.nbytes for array in values.values())
                    self.writer.submit_small(functools.partial(table.open[name].append, update, values), size)

    @torch.no_grad()
    def _record(self, update: int) -> None:
        begins = self.last_recorded < 0
        behind = not begins and self.gaps.leaves_out(self.writer, update, self._due(update))
        for position, table in enumerate(self.tables):
            weight = table.weight
            if begins and update == 0 and self.streams.movement:
                table.initial = weight.clone()
            if "statistics" in table.names and (begins or self.streams.describes_statistics(update)):
                costlier = bool(self.streams.movement) and (begins or self.streams.describes_movement(update))
                values = table.statistics.cheap(weight, correlations=costlier)
                if costlier:
                    values |= table.statistics.movement(weight, table.initial, None if begins else table.previous)
                if position == 0:
                    self._log(values)
                self._submit(self._write_statistics, table, update, values)
            if "traces" in table.names and not behind and (begins or update in self.streams.traces):
                traced = weight.index_select(0, table.traced_on_device)
                self._submit_large(self._write_values, table, "traces", update, traced)
            if "snapshots" in table.names and not behind and (begins or update in self.streams.snapshots):
                self._make_room()
                self._submit_large(self._write_snapshot, table, update, table.copies.take(weight))
            if "windows" in table.names and not behind and (begins or update in self.streams.windows):
                self._make_room()
                self._submit_large(self._write_window, table, update, table.copies.take(weight))
        if self._counts and (begins or update in self.streams.exposure):
            for counters in self.exposure.counters:
                stream, values = self._open_exposure[counters.stream], self.exposure.values(counters)
                size = sum(v.nbytes for v in values.values())
                self.writer.submit_small(functools.partial(stream.append, update, values), size)
        self.last_recorded = update
        cost.show(self.writer, self.store, self.gaps)

    def _due(self, update: int) -> list[str]:
        """The stream of each large record of an update."""
        return [n for t in self.tables for n in gaps.MAY_GAP if n in t.names and self._scheduled(n, update, -1)]

    def _submit(self, write: Any, *arguments: Any) -> None:
        self.writer.submit_small(lambda: write(*arguments))

    def _make_room(self) -> None:
        """Wait for a place in the queue before a copy is made for it, so that no copy is held beside the queue."""
        if not self._may_leave_out:
            self.writer.wait_for_room()

    def _submit_large(self, write: Any, *arguments: Any) -> None:
        """Queue a record of a stream that may gap: it takes a place, and waits for one unless it was found to be free."""
        self.writer.submit(lambda: write(*arguments), wait=not self._may_leave_out)

    def _log(self, values: dict[str, Tensor]) -> None:
        """Show the main statistics with fairseq's own; what is computed more rarely is shown as it was last."""
        self.shown |= {key: values[name] for name, key in LIVE.items() if name in values}
        for key, value in self.shown.items():
            metrics.log_scalar(key, value, weight=0, priority=1600, round=4)

    @staticmethod
    def _write_statistics(table: RecordedTable, update: int, values: dict[str, Tensor]) -> None:
        stream = table.open["statistics"]
        stream.append(update, {name: value.cpu().numpy() for name, value in values.items() if name in stream.arrays})
        if len(stream._pending) >= LIVE_COMMIT:
            stream.commit()

    @staticmethod
    def _write_values(table: RecordedTable, name: str, update: int, values: Tensor) -> None:
        stream = table.open[name]
        stream.append(update, {"values": values.float().cpu().numpy()})

    @staticmethod
    def _write_snapshot(table: RecordedTable, update: int, copy: Copy) -> None:
        table.open["snapshots"].append(update, {"values": copy.read()})
        copy.release()

    @staticmethod
    def _write_window(table: RecordedTable, update: int, copy: Copy) -> None:
        frame = table.encoder.encode(update, copy.read())
        table.open["windows"].append(update, {"residual": frame.residual, "frame": frame.parameters()})
        table.encoded.append(copy)
        while len(table.encoded) > table.encoder.keeps:
            table.encoded.popleft().release()

    # -- ending --------------------------------------------------------------------------------------------------------------

    def _commit(self) -> None:
        with self.store.one_root():
            for table in self.tables:
                for stream in table.open.values():
                    stream.commit()
            for stream in self._open_exposure.values():
                stream.commit()
            self.gaps.commit()

    def flush(self) -> None:
        """Write every record down.

        Raises:
            UserError: a record could not be written.
        """
        self.writer.submit_small(self._commit)
        self.writer.drain()

    def _progress(self, update: int) -> None:
        self.store.root["attributes"]["progress"]["checkpoint_update"] = update
        self.store.write_root()

    def _finish_at_exit(self) -> None:
        """Flush when the process ends, by itself, by Ctrl-C or by SIGTERM."""
        atexit.register(self.close)
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._terminate)

    def _terminate(self, number: int, frame: Any) -> None:
        self.exit_status = 128 + number
        sys.exit(self.exit_status)

    def _leave(self) -> None:
        """End the process here, once something has gone wrong: fairseq's loading thread may abort the interpreter's own ending."""
        if self.exit_status is not None:
            progress_bar._close_writers()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(self.exit_status)

    def close(self) -> None:
        """Write what is left and end the writer. A failure that was not said yet is said; ``atexit`` ignores exceptions."""
        atexit.unregister(self.close)
        if self.writer is None:
            return
        writer, self.writer = self.writer, None
        try:
            if self._unconfirmed is not None and self._checkpoint_files() != self._files:
                update = self._unconfirmed
                writer.submit_small(lambda: self._progress(update))
            writer.submit_small(self._commit)
            writer.drain()
            writer.close()
            logger.info(cost.summary(writer, self.store, self.gaps))
        except UserError as error:
            if self.exit_status != 1:
                print(f"error: {error}", file=sys.stderr)
            self.exit_status = 1
        finally:
            self._unlock()
