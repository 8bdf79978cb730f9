"""The streams that hold what moves a table: made in a dump, and filled around the optimiser's step."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from fairseq.optim import FairseqBMUF
from fairseq.optim.fp16_optimizer import FP16Optimizer, MemoryEfficientFP16Optimizer
from torch import Tensor, nn

from ..errors import UserError
from ..optim.state import row_state
from .causes import CAUSE, GROUPED, MOMENTS, MOMENTS_OF_TRACES, ROWWISE, SCALARS, STATE, VECTORS, Causes
from .config import Streams
from .recorded_table import RecordedTable
from .roles import Roles
from .store import Store, Stream, array_metadata, traces_chunk

SCHEDULE_OF = {CAUSE: "cause", MOMENTS: "moments", STATE: "trace_state"}  # a stream's schedule among the options
CAUSE_CHUNK = 128  # updates
MOMENTS_CHUNK = 8


def create(target: Store, name: str, table: RecordedTable) -> None:
    """Create a table's streams."""
    rows, dim, groups = len(table.rows), table.spec.dim, len(table.rows.groups)
    key = f"tables/{name}"
    if CAUSE in table.names:
        arrays = {n: array_metadata((0, dim), (CAUSE_CHUNK, dim), "float32", ("update", "dim")) for n in VECTORS}
        arrays |= {n: array_metadata((0,), (CAUSE_CHUNK,), "float64", ("update",)) for n in SCALARS}
        arrays |= {n: array_metadata((0, groups), (CAUSE_CHUNK, groups), "float64", ("update", "group")) for n in GROUPED}  # fmt: skip
        Stream.create(target, f"{key}/{CAUSE}", arrays, {"group": np.arange(groups, dtype=np.int64)})
    if MOMENTS in table.names:
        arrays = {n: array_metadata((0, rows), (MOMENTS_CHUNK, rows), "float32", ("update", "row")) for n in ROWWISE}
        Stream.create(target, f"{key}/{MOMENTS}", arrays, {})
    if STATE in table.names:
        number = len(table.traced)
        chunks = (*traces_chunk(number, dim), dim)
        arrays = {n: array_metadata((0, number, dim), chunks, "float32", ("update", "token", "dim")) for n in MOMENTS_OF_TRACES}  # fmt: skip
        Stream.create(target, f"{key}/{STATE}", arrays, {"token": table.traced})


def require_reachable(streams: Streams, optimizer: Any) -> None:
    """Check that gradients and moments can be read beside the tables.

    Raises:
        UserError: the optimiser keeps them of copies in half precision.
    """
    if not (streams.cause or streams.moments or streams.trace_state):
        return
    if isinstance(optimizer, FP16Optimizer | MemoryEfficientFP16Optimizer | FairseqBMUF):
        raise UserError(
            "--record-cause, --record-moments and --record-trace-state read gradients and the optimiser's state of the tables, which --fp16, "
            "--bf16 and --use-bmuf keep of copies; train in 32 bits or with --amp, or leave these options out"
        )


class CauseRecorder:
    """Measures the steps of a run's tables at the updates that are asked for.

    Args:
        streams: the run's schedules.
        tables: what is recorded.
        model: wrapped or not.
        optimizer: fairseq's.
        alone: whether one process trains.
    """

    def __init__(
        self, streams: Streams, tables: list[RecordedTable], model: nn.Module, optimizer: Any, alone: bool
    ) -> None:
        self.streams, self.tables, self.optimizer = streams, tables, optimizer
        self.specs = [table.spec for table in tables]
        self.roles = Roles(model, self.specs, alone) if streams.cause else None
        self.causes = [Causes(t.rows, t.statistics, t.spec.parameter.device) for t in tables]
        self._before: list[tuple[Tensor, Tensor]] = []
        self._copies: list[Tensor] = []

    def due(self, stream: str, update: int) -> bool:
        """Whether a stream has a record at an update."""
        return update > 0 and update in getattr(self.streams, SCHEDULE_OF[stream])

    def _measures(self, update: int) -> bool:
        return self.due(CAUSE, update) or self.due(MOMENTS, update)

    def before_batch(self, update: int, sample: Any) -> None:
        """A forward and a backward pass for ``update`` come."""
        if self.roles is not None and self.due(CAUSE, update):
            if not self.roles.active:  # the first of this update
                self.roles.begin_update()
            self.roles.begin_batch(sample)

    def discard(self) -> None:
        """The step was not taken, and its batches are drawn again."""
        if self.roles is not None:
            self.roles.end_update()
        self._before = []

    def after_batch(self) -> None:
        """The passes have run and gradients are added up."""
        if self.roles is not None and self.roles.active:
            self.roles.end_batch(self.specs)

    @torch.no_grad()
    def before_step(self, update: int) -> None:
        """Keep what is needed of the tables before the step."""
        self._before = []
        if self._measures(update):
            if not self._copies:
                self._copies = [torch.empty_like(table.weight) for table in self.tables]
            for table, copy, causes in zip(self.tables, self._copies, self.causes, strict=True):
                copy.copy_(table.weight)
                self._before.append((copy, causes.direction(copy)))

    @torch.no_grad()
    def after_step(self, update: int) -> list[dict[str, dict[str, npt.NDArray[np.generic]]]]:
        """The records of an update: for each table by stream."""
        found: list[dict[str, dict[str, npt.NDArray[np.generic]]]] = [{} for _ in self.tables]
        for place, table in enumerate(self.tables):
            state = row_state(self.optimizer, table.spec.parameter)
            if self._before and self._measures(update):
                copy, direction = self._before[place]
                roles = self.roles.of(table.spec) if self.roles is not None else None
                one, own = self.causes[place].measure(
                    table.weight,
                    copy,
                    table.spec.parameter.grad,
                    state,
                    roles,
                    direction,
                    by_row=self.due(MOMENTS, update),
                )
                if self.due(CAUSE, update):
                    found[place][CAUSE] = _on_host(one)
                if self.due(MOMENTS, update):
                    found[place][MOMENTS] = _on_host(own)
            if self.due(STATE, update) and STATE in table.names and state is not None:
                moments = {"first_moment": state.first, "second_moment": state.second}
                chosen = {n: m.index_select(0, table.traced_on_device) if m.dim() == 2 else m.expand(len(table.traced), -1) for n, m in moments.items() if m is not None}  # fmt: skip
                found[place][STATE] = _on_host(chosen)
            elif self.due(STATE, update) and STATE in table.names:
                found[place][STATE] = {}
        self.discard()
        return found


def _on_host(values: dict[str, Tensor]) -> dict[str, npt.NDArray[np.generic]]:
    """Arrays of their own: the tensors may share storage that the next step changes."""
    return {name: np.array(value.detach().cpu().numpy()) for name, value in values.items()}
