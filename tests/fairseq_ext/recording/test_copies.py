"""Copies for the writer: what is written is the table as it was, in memory that is used again; the order of the calls on a device."""

from __future__ import annotations

import random
import threading
from typing import Any

import numpy as np
import pytest
import torch

from fairseq_ext.recording.copies import KEPT, TableCopies
from fairseq_ext.recording.writer import AsyncWriter

CPU = torch.device("cpu")


def test_a_record_never_changes_while_training_goes_on() -> None:
    """A writer that is now fast and now slow, against a table that changes at every update and to the last bit of it."""
    table, copies, writer = torch.zeros(50, 8), TableCopies(CPU), AsyncWriter(3)
    rng, gates, written = random.Random(1), [], {}

    def write(update: int, copy: Any, gate: threading.Event) -> None:
        assert gate.wait(30)
        first = copy.read().copy()
        written[update] = (first, copy.read().copy())
        copy.release()

    for update in range(200):
        table.copy_(torch.arange(400.0).reshape(50, 8) + 1000 * update)
        gate = threading.Event()
        gates.append(gate)
        if rng.random() < 0.5 or len(gates) > 3:
            while gates:
                gates.pop(0).set()
        copy = copies.take(table)
        writer.submit(lambda update=update, copy=copy, gate=gate: write(update, copy, gate))
        table.fill_(-1)
    for gate in gates:
        gate.set()
    writer.drain()
    writer.close()
    assert sorted(written) == list(range(200))
    for update, values in written.items():
        for found in values:
            np.testing.assert_array_equal(found, np.arange(400.0).reshape(50, 8) + 1000 * update)


def test_memory_is_used_again_once_it_is_handed_back_and_never_before() -> None:
    table, copies = torch.randn(20, 4), TableCopies(CPU)
    held = [copies.take(table) for _ in range(5)]
    places = [copy.read().__array_interface__["data"][0] for copy in held]
    assert len({*places, table.data_ptr()}) == 6
    for copy in held:
        copy.release()
    again = [copies.take(table).read().__array_interface__["data"][0] for _ in range(KEPT)]
    assert set(again) <= set(places)
    assert len(set(again)) == KEPT
    assert len(copies._free) == 0  # no more than that was kept


def test_a_table_that_is_not_contiguous_or_in_double_precision() -> None:
    for table in (torch.randn(6, 9).T, torch.randn(9, 6, dtype=torch.float64)):
        copies = TableCopies(CPU)
        for _ in range(2):
            copy = copies.take(table)
            assert copy.read().dtype == np.float32
            np.testing.assert_array_equal(copy.read(), table.float().numpy())
            copy.release()


class Recorded:
    """Stands for torch's CUDA streams and events, and writes down what is asked of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        says = self.calls.append

        class Event:
            def __init__(self) -> None:
                says("event")

            def record(self, stream: Any) -> None:
                says(f"record in {stream.name}")

            def synchronize(self) -> None:
                says("host waits")

        class Stream:
            def __init__(self, name: Any = "beside") -> None:
                self.name = name if isinstance(name, str) else "beside"

            def wait_stream(self, other: Any) -> None:
                says(f"{self.name} waits for {other.name}")

            def wait_event(self, event: Any) -> None:
                says(f"{self.name} waits for the event")

            def __enter__(self) -> None:
                says(f"in {self.name}")

            def __exit__(self, *_: object) -> None:
                says("out")

        monkeypatch.setattr(torch.cuda, "Stream", Stream)
        monkeypatch.setattr(torch.cuda, "Event", Event)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream("training"))
        monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
        empty, copy = torch.empty, torch.Tensor.copy_

        def pinned(*size: Any, pin_memory: bool = False, **options: Any) -> torch.Tensor:
            says("new pinned memory" if pin_memory else "new memory")
            return empty(*size, **options)

        def copied(into: torch.Tensor, values: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
            says("copy without waiting" if non_blocking else "copy")
            return copy(into, values)

        monkeypatch.setattr(torch, "empty", pinned)
        monkeypatch.setattr(torch.Tensor, "copy_", copied)


def test_on_a_device_the_copy_waits_for_the_step_and_the_next_step_for_the_copy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The order of the calls only: no device is at hand."""
    device = Recorded(monkeypatch)
    copies, table = TableCopies(torch.device("cuda", 0)), torch.ones(3, 2)
    copies.settle(table)
    assert device.calls == []
    one = copies.take(table)
    taking = ["beside waits for training", "in beside", "copy without waiting", "event", "record in beside", "out"]
    assert device.calls == ["new pinned memory", *taking]
    device.calls.clear()
    copies.settle(table)
    copies.settle(table)
    assert device.calls == ["training waits for the event"]
    device.calls.clear()
    two = copies.take(table)
    assert device.calls == ["new pinned memory", *taking]
    device.calls.clear()
    assert one.read().tolist() == [[1.0, 1.0]] * 3
    assert device.calls == ["host waits"]
    one.release()
    device.calls.clear()
    copies.take(table)
    assert device.calls == taking  # in the memory of the first
    two.release()
