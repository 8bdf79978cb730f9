"""Copies of a table for the writer: what it writes must not change while training goes on."""

from __future__ import annotations

import collections

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

KEPT = 2  # pieces of memory that are kept for later copies: one is filled while the other is written


class Copy:
    """A table as it was. The writer's thread reads it, and hands its memory back once it is written."""

    def __init__(self, values: Tensor, there: torch.cuda.Event | None, free: collections.deque[Tensor]) -> None:
        self._values, self._there, self._free = values, there, free

    def read(self) -> NDArray[np.float32]:
        """The values, float32, once they have come from the device. No longer valid after :meth:`release`."""
        if self._there is not None:
            self._there.synchronize()
        return self._values.float().numpy()

    def release(self) -> None:
        """Let the next copy use the memory."""
        self._free.append(self._values)


class TableCopies:
    """Makes copies of one table in memory that is used again: clearing new pages takes longer than copying.

    On the CPU a copy is there when :meth:`take` returns. Of a table on a CUDA device it is brought to pinned memory of the host in a stream
    of its own, while training goes on with the next forward and backward pass; :meth:`settle` makes the next step wait for it, on the
    device. Memory beyond the :data:`KEPT` pieces is taken only while the writer is behind, and given back.

    Args:
        device: of the table.
    """

    def __init__(self, device: torch.device) -> None:
        self._free: collections.deque[Tensor] = collections.deque(maxlen=KEPT)
        self._beside = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._leaving: torch.cuda.Event | None = None

    def take(self, table: Tensor) -> Copy:
        """A copy of the table as it is now; on a device, as it is once what was asked of the device so far is done.

        Args:
            table: [rows, dim], always of the same shape and type.
        """
        try:
            memory = self._free.popleft()
        except IndexError:
            memory = torch.empty(table.shape, dtype=table.dtype, pin_memory=self._beside is not None)
        if self._beside is None:
            return Copy(memory.copy_(table), None, self._free)
        self._beside.wait_stream(torch.cuda.current_stream(table.device))
        with torch.cuda.stream(self._beside):
            memory.copy_(table, non_blocking=True)
            self._leaving = torch.cuda.Event()
            self._leaving.record(self._beside)
        return Copy(memory, self._leaving, self._free)

    def settle(self, table: Tensor) -> None:
        """Before the table changes: let the device finish the copies first. Does not make the host wait."""
        if self._leaving is not None:
            torch.cuda.current_stream(table.device).wait_event(self._leaving)
            self._leaving = None
