"""A table while it is recorded: its rows, its statistics, its copies and its open streams."""

from __future__ import annotations

import collections

import numpy as np
import torch
from torch import Tensor

from . import causes, store
from .config import Streams
from .copies import Copy, TableCopies
from .rows import Rows
from .statistics import CHEAP, CORRELATIONS, MOVEMENT, TableStatistics
from .tables import TableSpec
from .windows import WindowEncoder


class RecordedTable:
    """A table while it is recorded; ``master`` is what is recorded in place of the parameter (:mod:`.masters`)."""

    def __init__(
        self, spec: TableSpec, side: str, rows: Rows, traced: np.ndarray, streams: Streams, master: Tensor | None = None
    ) -> None:
        self.spec, self.side, self.rows, self.traced = spec, side, rows, traced
        self._master = master
        device = spec.parameter.device
        self.statistics = TableStatistics(rows, device)
        self.traced_on_device = torch.from_numpy(traced).to(device)
        self.initial: Tensor | None = None
        self.previous: Tensor | None = None
        self.names: dict[str, tuple[str, ...]] = {}
        if streams.snapshots:
            self.names["snapshots"] = ("values",)
        if streams.windows:
            self.names["windows"] = ("residual", "frame")
        if streams.traces and len(traced):
            self.names["traces"] = ("values",)
        if streams.statistics or streams.movement:
            self.names["statistics"] = CHEAP + (CORRELATIONS + MOVEMENT if streams.movement else ())
        self.names |= causes.names(streams, len(traced))
        self.open: dict[str, store.Stream] = {}
        self.copies = TableCopies(device)
        self.encoder: WindowEncoder | None = None
        self.encoded: collections.deque[Copy] = collections.deque()  # what the encoder still reads, oldest first

    @property
    def weight(self) -> Tensor:
        """The weights that are trained and recorded, float32 [V, d]; shares their storage."""
        return self.spec.parameter.detach() if self._master is None else self._master
