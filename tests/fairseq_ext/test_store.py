"""The dump on disk: a plain-list model under random use, crashes between any two steps, and foreign readers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import zarr
from fairseq.data import Dictionary
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from running import TABLE, Run, assert_whole

from fairseq_ext.errors import UserError
from fairseq_ext.recording import store
from fairseq_ext.recording.rows import describe
from fairseq_ext.recording.store import Store, Stream

STREAM = "tables/t/traces"
DIM = 3


def create(path: Path, chunk: int) -> None:
    """A dump with one small stream: a float32 array (update, token, dim), a float64 array (update), ``chunk`` updates a chunk."""
    path.mkdir(parents=True)
    target = Store(path)
    target.root = store.group_metadata({"format": store.FORMAT})
    target.write_json("tables/zarr.json", store.group_metadata())
    target.write_json("tables/t/zarr.json", store.group_metadata())
    arrays = {
        "values": store.array_metadata((0, 2, DIM), (chunk, 2, DIM), "float32", ("update", "token", "dim")),
        "mean_cosine": store.array_metadata((0,), (chunk,), "float64", ("update",)),
    }
    Stream.create(target, STREAM, arrays, {"token": np.array([4, 9], dtype=np.int64)})
    target.consolidate()


def value(update: int, version: int = 0) -> dict[str, np.ndarray]:
    """A record that tells its update and, after a cut, which version it is."""
    values = np.arange(2 * DIM, dtype=np.float32).reshape(2, DIM) + 100 * update + 1e5 * version
    return {"values": values, "mean_cosine": np.array(update + version / 1000)}


def assert_equals(path: Path, wanted: list[tuple[int, dict[str, np.ndarray]]]) -> None:
    found = assert_whole(path)
    assert found[f"{STREAM}/update"].tolist() == [u for u, _ in wanted]
    for name in ("values", "mean_cosine"):
        expected = np.array([v[name] for _, v in wanted])
        assert np.array_equal(found[f"{STREAM}/{name}"], expected.reshape(found[f"{STREAM}/{name}"].shape)), name


class StreamAgainstList(RuleBasedStateMachine):
    """Random appends, commits, cuts and reopenings; what is on disk equals what was committed, at every step."""

    @initialize(chunk=st.integers(1, 5))
    def start(self, chunk: int) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.chunk, self.version = chunk, 0
        create(self.folder / "dump.zarr", chunk)
        self.committed: list[tuple[int, dict[str, np.ndarray]]] = []
        self.pending: list[tuple[int, dict[str, np.ndarray]]] = []
        self.open()

    def open(self) -> None:
        self.stream = Stream(Store(self.folder / "dump.zarr"), STREAM, self.chunk)

    @rule(gap=st.integers(1, 4))
    def append(self, gap: int) -> None:
        records = self.committed + self.pending
        update = records[-1][0] + gap if records else gap - 1
        record = value(update, self.version)
        self.stream.append(update, record)
        self.pending.append((update, record))
        if (len(self.committed) + len(self.pending)) % self.chunk == 0:
            self._commit()

    @rule()
    def commit(self) -> None:
        self.stream.commit()
        self._commit()

    def _commit(self) -> None:
        self.committed, self.pending = self.committed + self.pending, []

    @rule(back=st.integers(0, 9))
    def cut(self, back: int) -> None:
        last = self.committed[-1][0] - back if self.committed else -1
        kept = [r for r in self.committed if r[0] <= last]
        assert self.stream.cut(last) == len(self.committed) - len(kept)
        self.committed, self.pending = kept, []
        self.version += 1

    @rule()
    def reopen(self) -> None:
        self.pending = []
        self.open()

    @invariant()
    def the_disk_holds_what_was_committed(self) -> None:
        assert self.stream.updates == [u for u, _ in self.committed]
        assert_equals(self.folder / "dump.zarr", self.committed)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


StreamAgainstList.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestStreamAgainstList = StreamAgainstList.TestCase


class Crashes:
    """Copies of a dump as a crash would leave it: before every file that is written and at every failpoint."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path, self.copies = path, []
        write = Store.write

        def spy(target: Store, key: str, raw: bytes) -> None:
            self.take()
            write(target, key, raw)

        monkeypatch.setattr(Store, "write", spy)
        monkeypatch.setattr(store.failpoints, "reach", lambda name: self.take())

    def take(self) -> None:
        copy = self.path.with_name(f"{self.path.stem}-{len(self.copies)}.zarr")
        shutil.copytree(self.path, copy)
        self.copies.append(copy)


def records(*updates: int) -> list[tuple[int, dict[str, np.ndarray]]]:
    return [(u, value(u)) for u in updates]


def listed(path: Path, consolidated: bool) -> list[int]:
    return zarr.open_group(path / STREAM, mode="r", use_consolidated=consolidated)["update"][...].tolist()


@pytest.mark.parametrize("size", [1, 3, 4, 5])
def test_a_crash_in_a_commit_leaves_the_old_or_the_new_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    path = tmp_path / "dump.zarr"
    create(path, 4)
    stream = Stream(Store(path), STREAM, 4)
    for update, record in records(0, 1):
        stream.append(update, record)
    stream.commit()
    crashes = Crashes(path, monkeypatch)
    new = list(range(2, 2 + size))
    for update, record in records(*new):
        stream.append(update, record)
    stream.commit()
    monkeypatch.undo()
    assert len(crashes.copies) > 5
    for copy in crashes.copies:
        found = assert_whole(copy)
        updates = found[f"{STREAM}/update"].tolist()
        assert np.array_equal(found[f"{STREAM}/mean_cosine"], updates)
        assert updates in ([0, 1], [0, 1, 2, 3], [0, 1, *new])
        assert listed(copy, True) in ([0, 1], [0, 1, 2, 3], [0, 1, *new])
        again = Stream(Store(copy), STREAM, 4)
        assert len(updates) <= len(again.updates)  # the consolidated metadata comes after the commit
        updates = again.updates
        assert updates in ([0, 1], [0, 1, 2, 3], [0, 1, *new])
        assert_equals(copy, records(*updates))
        assert all(array.shape[0] == len(updates) for array in again.arrays.values())
        for update, record in records(*range(len(updates), 9)):
            again.append(update, record)
        again.commit()
        assert_equals(copy, records(*range(9)))


@pytest.mark.parametrize("last", [-1, 0, 3, 4, 8])
def test_a_crash_in_a_cut_leaves_the_old_or_the_new_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    path = tmp_path / "dump.zarr"
    create(path, 4)
    stream = Stream(Store(path), STREAM, 4)
    for update, record in records(*range(10)):
        stream.append(update, record)
    stream.commit()
    crashes = Crashes(path, monkeypatch)
    stream.cut(last)
    monkeypatch.undo()
    before, after = list(range(10)), list(range(last + 1))
    assert len(crashes.copies) > 2
    for copy in crashes.copies:
        for consolidated in (True, False):
            assert listed(copy, consolidated) in (before, after)
        found = assert_whole(copy)
        assert np.array_equal(found[f"{STREAM}/mean_cosine"], found[f"{STREAM}/update"])
        with pytest.MonkeyPatch.context() as patch:  # and a crash while the reopening mends it
            second = Crashes(copy, patch)
            again = Stream(Store(copy), STREAM, 4)
        for mended in second.copies:
            assert_whole(mended)
        again.cut(last)
        assert_equals(copy, records(*after))


def test_cut_values_do_not_come_back(tmp_path: Path) -> None:
    create(tmp_path / "dump.zarr", 4)
    stream = Stream(Store(tmp_path / "dump.zarr"), STREAM, 4)
    for update, record in records(*range(6)):
        stream.append(update, record)
    stream.commit()
    stream.cut(1)
    stream = Stream(Store(tmp_path / "dump.zarr"), STREAM, 4)
    stream.append(5, {"values": value(5)["values"]})
    stream.commit()
    found = zarr.open_group(tmp_path / "dump.zarr", mode="r")[STREAM]
    assert found["update"][...].tolist() == [0, 1, 5]
    assert np.isnan(found["mean_cosine"][2])
    assert np.array_equal(found["values"][2], value(5)["values"])


def test_the_coordinate_may_have_many_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "COORDINATE_CHUNK", 4)
    create(tmp_path / "dump.zarr", 3)
    stream = Stream(Store(tmp_path / "dump.zarr"), STREAM, 3)
    for update, record in records(*range(14)):
        stream.append(update, record)
    stream.commit()
    for last in (12, 7, 4):
        stream.cut(last)
        assert_equals(tmp_path / "dump.zarr", records(*range(last + 1)))
        stream = Stream(Store(tmp_path / "dump.zarr"), STREAM, 3)
    for update, record in records(*range(5, 14)):
        stream.append(update, record)
    stream.commit()
    assert_equals(tmp_path / "dump.zarr", records(*range(14)))


def test_updates_must_increase(tmp_path: Path) -> None:
    create(tmp_path / "dump.zarr", 4)
    stream = Stream(Store(tmp_path / "dump.zarr"), STREAM, 4)
    stream.append(3, value(3))
    for update in (3, 2):
        with pytest.raises(ValueError, match=f"update {update} does not come after 3"):
            stream.append(update, value(update))


def damaged(path: Path) -> Path:
    create(path, 4)
    stream = Stream(Store(path), STREAM, 4)
    for update, record in records(*range(6)):
        stream.append(update, record)
    stream.commit()
    return path


@pytest.mark.parametrize(
    "damage", ["chunk gone", "chunk short", "chunk flipped", "coordinate gone", "stream gone", "values shorter"]
)
def test_a_damaged_dump_is_refused_in_one_line(tmp_path: Path, damage: str) -> None:
    path = damaged(tmp_path / "dump.zarr")
    chunk = path / STREAM / "update/c/0"
    match damage:
        case "chunk gone":
            chunk.unlink()
        case "chunk short":
            chunk.write_bytes(chunk.read_bytes()[:100])
        case "chunk flipped":
            raw = bytearray(chunk.read_bytes())
            raw[9] ^= 1
            chunk.write_bytes(raw)
        case "coordinate gone":
            (path / STREAM / "update/zarr.json").unlink()
        case "stream gone":
            (path / STREAM / "zarr.json").unlink()
        case "values shorter":
            metadata = json.loads((path / STREAM / "values/zarr.json").read_text())
            metadata["shape"][0] = 2
            (path / STREAM / "values/zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(UserError, match=r"dump\.zarr") as caught:
        Stream(Store(path), STREAM, 4)
    assert "\n" not in str(caught.value)


def test_remove_leaves_nothing_and_takes_up_an_interrupted_removal(tmp_path: Path) -> None:
    path = damaged(tmp_path / "dump.zarr")
    shutil.copytree(path, tmp_path / "dump.zarr.deleted.tmp")
    store.remove(path)
    assert list(tmp_path.iterdir()) == []
    store.remove(path)


def test_snapshot_chunks_are_even_and_at_most_16_mb() -> None:
    for rows, dim in (
        (50265, 512),
        (50265, 768),
        (250000, 1024),
        (335, 32),
        (1, 1),
        (50265, 83),
        (8192, 512),
        (8193, 512),
    ):
        share = store.rows_per_chunk(rows, 4 * dim)
        chunks = -(-rows // share)
        assert share * 4 * dim <= store.LARGEST_CHUNK
        assert rows * 4 * dim <= store.LARGEST_CHUNK or share * 4 * dim >= 7 << 20
        assert chunks * share - rows < chunks


def test_a_snapshot_in_several_chunks_keeps_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LARGEST_CHUNK", 1000)
    d = Dictionary()
    for number in range(40):
        d.add_symbol(f"w{number}")
    rows = describe(d, np.arange(44, dtype=np.int64))
    target = Store(tmp_path / "dump.zarr")
    (tmp_path / "dump.zarr").mkdir()
    target.root = store.group_metadata({"format": store.FORMAT})
    target.write_json("tables/zarr.json", store.group_metadata())
    store.create_table(target, "a.b", {"name": "a.b"}, rows, 7, {"snapshots": ("values",)}, None)
    target.consolidate()
    stream = Stream(target, "tables/a.b/snapshots", 1)
    tables = np.random.default_rng(0).normal(size=(3, 44, 7)).astype(np.float32)
    for update, table in enumerate(tables):
        stream.append(update, {"values": table})
    group = zarr.open_group(tmp_path / "dump.zarr", mode="r")["tables/a.b"]
    assert group["snapshots/values"].chunks == (1, 22, 7)
    assert np.array_equal(group["snapshots/values"][...], tables)
    assert group["rows/count"][...].tolist() == list(range(44))
    assert [g["rows"] for g in group["rows"].attrs["groups"]] == [g.rows for g in rows.groups]
    assert json.loads((tmp_path / "dump.zarr/tables/a.b/tokens.json").read_text()) == list(d.symbols)


READERS = """
import sys, warnings
warnings.simplefilter("error")
import dask.array, numpy, xarray, zarr
path, table, updates, rows, dim = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
root = zarr.open_group(path, mode="r")
values = root["tables"][table]["snapshots"]["values"]
assert values.shape == (updates, rows, dim)
for stream in ("snapshots", "traces", "statistics", "rows"):
    with xarray.open_zarr(path, group=f"tables/{table}/{stream}") as data:
        data.load()
        if stream == "snapshots":
            assert dict(data.sizes) == {"update": updates, "row": rows, "dim": dim}, data.sizes
            assert numpy.array_equal(data["values"].values, values[...])
            assert data["values"].dims == ("update", "row", "dim")
            assert not numpy.isnan(data["values"]).any()
        if stream == "statistics":
            assert data["mean_cosine"].sel(update=0) == data["mean_cosine"][0]
lazy = dask.array.from_zarr(path, component=f"tables/{table}/snapshots/values")
assert numpy.array_equal(lazy[-1].compute(), values[-1])
tree = xarray.open_datatree(path, engine="zarr")
assert tree[f"tables/{table}/snapshots"]["values"].shape == values.shape
print(sorted(m for m in sys.modules if m.partition(".")[0] in ("fairseq_ext", "fairseq", "torch", "tensorstore", "dump")))
"""


@pytest.mark.train
def test_foreign_readers_read_a_dump_with_nothing_of_this_project(recorded: Run, tmp_path: Path) -> None:
    found = assert_whole(recorded.dump)
    shape = found[f"tables/{TABLE}/snapshots/values"].shape
    done = subprocess.run(
        [sys.executable, "-I", "-c", READERS, recorded.dump, TABLE, *map(str, shape)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"
    assert done.stderr == ""
