"""Gaps: what is left out while training goes on is listed, no later than the checkpoint that covers it, and known to all who read."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running import TABLE as TRAINED
from running import Launcher, Run, arguments, assert_same_training, assert_whole, load, logged
from small_dumps import LISTED, SNAPSHOTS, TRACES, said_by, write_dump

from dump import Dump, DumpError
from fairseq_ext import failpoints
from fairseq_ext.errors import UserError
from fairseq_ext.recording import gaps, resuming, store
from fairseq_ext.recording.command import main
from fairseq_ext.recording.dump_check import check_dump
from fairseq_ext.recording.pruning import Request, prune
from fairseq_ext.recording.schedule import Schedule

VARIABLE = failpoints.VARIABLE
LARGE = ("snapshots", "traces")
GAP = ["--record-when-behind", "gap"]
DENSE = ["--record-traces", "every:1", "--record-queue", 1]


class Inline:
    """A writer that runs what it is given at once, and has room when it is told to."""

    def __init__(self) -> None:
        self.free = True

    def has_room(self) -> bool:
        return self.free

    def submit_small(self, job: Callable[[], Any], size: int = 0) -> float:
        job()
        return 0.0


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dump without gaps. Read only: copy it."""
    return write_dump(tmp_path_factory.mktemp("small") / "dump.zarr")


@pytest.fixture
def dump(small: Path, tmp_path: Path) -> Path:
    """A dump without gaps, to be changed."""
    return Path(shutil.copytree(small, tmp_path / "dump.zarr"))


def with_gaps(dump: Path, updates: dict[str, list[int]]) -> Path:
    """Add gaps to a dump that has none."""
    target = store.Store(dump)
    listed = gaps.Gaps(target, list(updates), True, 1 << 40)
    writer = Inline()
    writer.free = False
    for update in sorted({u for found in updates.values() for u in found}):
        assert listed.leaves_out(writer, update, [name for name in updates if update in updates[name]])
    listed.commit()
    return dump


# -- deciding and telling --------------------------------------------------------------------------------------------------------


def test_all_large_records_of_an_update_are_left_out_or_none(dump: Path, caplog: pytest.LogCaptureFixture) -> None:
    target, writer = store.Store(dump), Inline()
    listed = gaps.Gaps(target, LARGE, True, 99)
    due = ["snapshots", "traces", "snapshots", "traces"]  # of two tables
    assert not listed.leaves_out(writer, 30, due)
    writer.free = False
    assert listed.leaves_out(writer, 31, due)
    assert listed.leaves_out(writer, 32, ["traces", "traces"])
    assert not listed.leaves_out(writer, 33, [])  # nothing was due
    writer.free = True
    assert not listed.leaves_out(writer, 34, due)
    listed.commit()
    assert [listed.listed(name) for name in LARGE] == [[31], [31, 32]]
    assert [record.message.split(" (")[0] for record in caplog.records] == [
        "the writer is behind: from update 31 on snapshots, traces are left out until it has caught up"
    ]
    assert str(listed) == "2 snapshots, 4 traces left out in 1 gap (updates 31 to 32)"


def test_a_writer_that_is_now_and_then_behind_does_not_fill_the_log(
    dump: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target, writer = store.Store(dump), Inline()
    listed = gaps.Gaps(target, LARGE, True, 99)
    for update in range(100, 700):
        writer.free = update % 2 == 0
        listed.leaves_out(writer, update, ["traces"])
    assert listed.begun == 300
    assert [int(r.message.split("from update ")[1].split()[0]) for r in caplog.records] == [
        *range(101, 121, 2), 131, 163, 227, 355, 611
    ]  # fmt: skip


def test_without_the_option_nothing_is_left_out_and_what_was_is_known(dump: Path, small: Path) -> None:
    with_gaps(dump, {"snapshots": [21, 22, 30]})
    listed = gaps.Gaps(store.Store(dump), LARGE, False, 22)
    assert listed.dropped == 1
    assert [listed.listed(name) for name in LARGE] == [[21, 22], []]
    writer = Inline()
    writer.free = False
    assert not listed.leaves_out(writer, 40, ["snapshots", "traces"])
    assert gaps.Gaps(store.Store(small), LARGE, False, 22).streams == {}
    assert not (small / "gaps").exists()


def test_many_gaps_cost_no_more_than_few(dump: Path, tmp_path: Path) -> None:
    """A commit writes one chunk and metadata of fixed size, however much is listed."""
    few = with_gaps(Path(shutil.copytree(dump, tmp_path / "few.zarr")), {"traces": [100]})
    target, writer = store.Store(dump), Inline()
    listed, writer.free = gaps.Gaps(target, ["traces"], True, 99), False
    for update in range(100, 20_100, 2):
        listed.leaves_out(writer, update, ["traces"])
    before = target.written
    listed.leaves_out(writer, 20_101, ["traces"])
    listed.commit()
    root = (dump / "zarr.json").stat().st_size
    assert root - (few / "zarr.json").stat().st_size < 20
    assert target.written - before < 8 * store.COORDINATE_CHUNK + 2 * root
    assert Dump.open(dump).table().gaps("traces").tolist() == [*range(100, 20_100, 2), 20_101]


# -- durability ------------------------------------------------------------------------------------------------------------------

EVERY = Schedule.parse("every:2")


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dump of update 0 alone. Read only."""
    return write_dump(tmp_path_factory.mktemp("begun") / "dump.zarr", listed={name: [0] for name in LISTED})


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(
    steps=st.lists(
        st.tuples(st.integers(1, 6), st.lists(st.booleans(), min_size=6, max_size=6), st.booleans()),
        min_size=2,
        max_size=5,
    )
)
def test_whatever_happens_a_checkpoint_covers_only_what_is_recorded_or_listed(
    begun: Path, tmp_path: Path, steps: list[tuple[int, list[bool], bool]]
) -> None:
    """Runs of a few updates, each with room or without, then a checkpoint or a kill after which all goes on from the last checkpoint."""
    dump = tmp_path / "dump.zarr"
    shutil.rmtree(dump, ignore_errors=True)
    shutil.copytree(begun, dump)
    writer, checkpoint, truth = Inline(), 0, {0: True}

    def opened() -> tuple[gaps.Gaps, store.Stream]:
        target = store.Store(dump)
        listed = gaps.Gaps(target, ["traces"], True, checkpoint)
        stream = store.Stream(target, TRACES, 10)
        stream.cut(checkpoint)
        resuming.require_every_update(
            dump, {}, TRACES, stream.updates, EVERY.__contains__, 0, checkpoint, listed.listed("traces")
        )
        return listed, stream

    listed, stream = opened()
    update = checkpoint
    for length, rooms, saves in steps:
        for room in rooms[:length]:
            update += 1
            writer.free = room
            if update in EVERY:
                truth[update] = room
                if not listed.leaves_out(writer, update, ["traces"]):
                    stream.append(update, {"values": np.full((3, 12), update, np.float32)})
        if saves:
            stream.commit()
            listed.commit()
            checkpoint = update
        else:
            listed, stream = opened()
            update = checkpoint
    listed, stream = opened()
    assert stream.updates == [u for u in range(0, checkpoint + 1, 2) if truth[u]]
    assert listed.listed("traces") == [u for u in range(0, checkpoint + 1, 2) if not truth[u]]


def test_an_update_that_is_neither_recorded_nor_listed_is_refused(tmp_path: Path) -> None:
    def require(found: list[int], gaps: list[int], attributes: dict[str, Any] | None = None) -> None:
        resuming.require_every_update(tmp_path, attributes or {}, TRACES, found, EVERY.__contains__, 0, 8, gaps)

    require([0, 2, 8], [4, 6])
    require([0, 2, 4, 6, 8], [10])  # listed beyond what is covered
    with pytest.raises(UserError, match=r"traces: 1 missing, first \[6\]"):
        require([0, 2, 8], [4])
    pruned = {"pruned": [{"streams": {TRACES: {"last_update": 4}}}]}
    require([0], [6, 8], pruned)
    with pytest.raises(UserError, match=r"1 missing, first \[8\]"):
        require([0], [6], pruned)


# -- reading, checking, pruning --------------------------------------------------------------------------------------------------


def test_gaps_are_read_by_anyone(dump: Path, small: Path) -> None:
    with_gaps(dump, {"snapshots": [18, 30], "traces": [21, 22]})
    read = Dump.open(dump)
    assert read.table().gaps("snapshots").tolist() == [18, 30]
    assert read.table().gaps("traces").tolist() == [21, 22]
    assert read.table().gaps("windows").tolist() == []
    with pytest.raises(DumpError, match="no gaps of 'statistics'"):
        read.table().gaps("statistics")
    with pytest.raises(DumpError, match=r"no snapshot of update 18: it was left out while training went on \(a gap\)"):
        read.table().snapshot(18)
    with pytest.raises(DumpError, match="no snapshot of update 17; listed are 0, 1, 2"):
        read.table().snapshot(17)
    assert read.gap_note == (
        "2 snapshots (updates 18 to 30) and 2 traces (updates 21 to 22) were left out while training went on, because the writer was behind"
    )
    assert zarr.open_group(dump, mode="r")["gaps/traces/update"][:].tolist() == [21, 22]
    assert xr.open_zarr(dump, group="gaps/snapshots")["update"].values.tolist() == [18, 30]
    plain = Dump.open(small)
    assert plain.gap_note is None
    assert plain.table().gaps("snapshots").tolist() == []


def test_check_tells_gaps_apart_from_losses(dump: Path, small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_gaps(dump, {"snapshots": [18, 30], "traces": []})
    status, said = said_by(capsys, main, ["check", dump])
    assert status == 0
    assert [line for line in said.splitlines()[1:] if "gap" in line] == [
        "  note: snapshots of update 18, 30 were left out while training went on (--record-when-behind gap): not lost, never recorded"
    ]
    assert said.splitlines()[-1] == said_by(capsys, main, ["check", small])[1].splitlines()[-1]  # as many records
    assert json.loads(said_by(capsys, main, ["check", "--json", dump])[1])["dumps"][0]["gaps"] == {
        "snapshots": {"updates": 2, "first": 18, "last": 30}
    }
    (dump / "gaps/snapshots/update/c/0").unlink()
    status, said = said_by(capsys, main, ["check", dump])
    assert status == 1
    assert "gaps/snapshots" in said
    assert "nobody knows its updates" in said


def test_check_finds_an_update_that_is_recorded_and_listed_as_left_out(dump: Path) -> None:
    found = check_dump(with_gaps(dump, {"snapshots": [16, 30]}))
    assert found.verdict == "damaged"
    assert found.problems == [f"gaps/snapshots lists update 16 as left out, but {SNAPSHOTS} holds it"]


def test_a_pruned_dump_keeps_its_gaps_and_training_goes_on_in_it(dump: Path) -> None:
    with_gaps(dump, {"snapshots": [5, 18], "traces": []})
    said = prune(Request(dump, {"snapshots": Schedule.parse("every:10")}))
    assert not [line for line in said[1:-1] if "gaps" in line]
    assert check_dump(dump).verdict == "whole"
    table = Dump.open(dump).table()
    assert table.snapshot_updates.tolist() == [0, 10, 20]
    assert table.gaps("snapshots").tolist() == [5, 18]
    target = store.Store(dump)
    listed = gaps.Gaps(target, LARGE, True, 20)  # the empty stream, which was left out, is there again
    assert [listed.listed(name) for name in LARGE] == [[5, 18], []]
    stream = store.Stream(target, SNAPSHOTS, 1)
    schedule = Schedule.parse("log2,every:10,at:5;18")
    known = target.root["attributes"]
    resuming.require_every_update(dump, known, SNAPSHOTS, stream.updates, schedule.__contains__, 0, 20, [5, 18])
    assert check_dump(dump).verdict == "whole"
    none = Schedule.parse("none")
    everything = dict.fromkeys(("snapshots", "traces", "statistics", "exposure"), none)
    with pytest.raises(UserError, match="no record would be kept"):
        prune(Request(dump, everything, strict=True))


# -- trainings -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[tuple[str, Callable[[], int]]]:
    """A place to hold the writer at, and what lets it go."""
    fifo = tmp_path / "hold.fifo"
    os.mkfifo(fifo)
    end = os.open(fifo, os.O_RDWR)  # opened for both: no open of either side waits
    yield f"hold={fifo}", lambda: os.write(end, b"x")
    os.close(end)


def scheduled(name: str, last: int) -> list[int]:
    texts = {"snapshots": "log2,every:10,window:22:25", "traces": "every:1", "windows": "window:17:33"}
    return [u for u in range(last + 1) if u in Schedule.parse(texts[name])]


def assert_recorded_or_listed(dump: Path, last: int) -> dict[str, list[int]]:
    """Every update that is due is recorded or a gap, statistics and exposure are complete; returns the gaps."""
    values = assert_whole(dump)
    left_out = {name: Dump.open(dump).table().gaps(name).tolist() for name in gaps.MAY_GAP}
    for name, listed in left_out.items():
        updates = values[f"tables/{TRAINED}/{name}/update"].tolist()
        assert set(listed).isdisjoint(updates)
        assert sorted([*listed, *updates]) == scheduled(name, last)
        assert updates[0] == 0
    assert values[f"tables/{TRAINED}/statistics/update"].tolist() == list(range(last + 1))
    assert values["exposure/tokens/update"].tolist() == [0, *(1 << n for n in range(6) if 1 << n <= last)]
    found = check_dump(dump)
    assert found.verdict == "whole", found.json()
    return left_out


@pytest.mark.train
def test_training_goes_on_past_a_writer_that_stands_still(
    launcher: Launcher, corpus: Path, recorded: Run, tmp_path: Path, hold: tuple[str, Callable[[], int]]
) -> None:
    """The writer is held at the second snapshot until nine updates are made; after the next checkpoint the run is killed, and goes on."""
    place, let_go = hold
    run = tmp_path / "run"
    process = launcher.start("train", arguments(corpus, run, *DENSE, *GAP), **{VARIABLE: f"snapshot-values:2:{place}"})
    assert process.until_update(9)
    let_go()
    assert process.until_update(12)
    process.send(signal.SIGKILL)
    done = process.finish()
    counts = logged(done.stdout, "record_left_out")
    assert counts[1] < counts[9]
    assert logged(done.stdout, "record_stall")[9] < 0.1  # the writer stood still, training did not
    warned = done.said.count("the writer is behind: from update")
    assert 1 <= warned < counts[9]
    listed = {name: Dump.open(run / "dump.zarr").table().gaps(name).tolist() for name in gaps.MAY_GAP}
    assert {4, 8} & set(listed["snapshots"]) <= set(
        listed["traces"]
    )  # whichever was the second: room is for one record
    assert {4, 8} & set(listed["snapshots"])

    again = launcher.run("train", arguments(corpus, run, *DENSE))
    assert again.status == 0, again.said[-3000:]
    resumed = int(again.stdout.split("continuing the dump")[1].split("from update ")[1].split(";")[0])
    assert resumed >= 10
    left_out = assert_recorded_or_listed(run / "dump.zarr", 40)
    assert left_out == {name: [u for u in updates if u <= resumed] for name, updates in listed.items()}
    assert "no records left out" in again.stdout
    assert_same_training(run / "checkpoints/checkpoint_last.pt", recorded.last)
    for name in ("record_stall", "record_waiting", "record_waiting_max", "record_mb", "record_busy"):
        assert logged(again.stdout, name)[40] >= 0
    assert set(logged(again.stdout, "record_left_out").values()) == {0}
    written = zarr.open_group(run / "dump.zarr", mode="r")[f"tables/{TRAINED}/traces/values"][resumed - 40 :]
    assert logged(again.stdout, "record_mb")[40] + 0.05 > written.nbytes / 1e6

    # A gap that is no longer listed is a record that is missing.
    metadata = run / "dump.zarr/gaps/traces/update/zarr.json"
    content = json.loads(metadata.read_text())
    metadata.write_text(json.dumps({**content, "shape": [content["shape"][0] - 1]}))
    refused = launcher.run("train", arguments(corpus, run, *DENSE, last=42))
    assert "traces: 1 missing" in refused.error


@pytest.mark.train
def test_gaps_past_the_checkpoint_are_cut_and_recorded(
    launcher: Launcher, corpus: Path, tmp_path: Path, hold: tuple[str, Callable[[], int]]
) -> None:
    """A dump without gaps goes on with them, is stopped by SIGTERM, which lists them, and goes on from the checkpoint without."""
    place, let_go = hold
    run = tmp_path / "run"
    assert launcher.run("train", arguments(corpus, run, *DENSE, last=10)).status == 0
    assert not (run / "dump.zarr/gaps").exists()
    asked = arguments(corpus, run, *DENSE, *GAP, "--record-queue", 4, last=20)
    process = launcher.start("train", asked, **{VARIABLE: f"snapshot-values:1:{place}"})
    assert process.until_update(19)
    process.send(signal.SIGTERM)
    let_go()
    done = process.finish()
    assert done.status == 128 + signal.SIGTERM
    last = max(logged(done.stdout, "num_updates"))
    listed = {name: Dump.open(run / "dump.zarr").table().gaps(name).tolist() for name in gaps.MAY_GAP}
    assert {19} <= set(listed["traces"]) <= set(range(11, 21))  # 17 and 18 fill the queue behind snapshot 16
    (line,) = [line for line in done.stdout.splitlines() if "recording cost: " in line]
    assert all(f"{len(updates)} {name}" in line for name, updates in listed.items() if updates)
    assert check_dump(run).verdict == "whole"
    assert last >= 19
    assert load(run / "checkpoints/checkpoint_last.pt")["optimizer_history"][-1]["num_updates"] == 10
    again = launcher.run("train", arguments(corpus, run, *DENSE, last=20))
    assert again.status == 0, again.said[-3000:]
    assert "from update 10;" in again.stdout
    assert assert_recorded_or_listed(run / "dump.zarr", 20) == {"snapshots": [], "traces": [], "windows": []}


@pytest.mark.train
def test_an_error_in_the_writer_ends_training_where_nothing_more_is_recorded(
    launcher: Launcher, corpus: Path, tmp_path: Path
) -> None:
    """A MemoryError while the only snapshot is written: no later update has a record, and none is made."""
    nothing = [f"--record-{name}=none" for name in ("statistics", "movement", "traces", "windows", "exposure")]
    asked = arguments(corpus, tmp_path, *nothing, "--record-snapshots", "at:3", "--save-interval-updates", 1000)
    done = launcher.run("train", asked, **{VARIABLE: "snapshot-values:2:raise=MemoryError"})
    assert "a record could not be written (MemoryError)" in done.error
    assert 3 <= max(logged(done.stdout, "num_updates")) < 20
    assert_whole(tmp_path / "dump.zarr")
    again = launcher.run("train", [*asked, "--max-update", 4])
    assert again.status == 0, again.said[-3000:]
    assert assert_whole(tmp_path / "dump.zarr")[f"tables/{TRAINED}/snapshots/update"].tolist() == [0, 3]
