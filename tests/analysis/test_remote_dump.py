"""Dumps that are opened by a URL: the same numbers as from the folder, and one line for whatever goes wrong."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from synthetic_dump import SyntheticDump

import learning
import places
from cli import parser, question
from dump import Dump, DumpError, signature
from exposure import read_exposure
from training_log import read_training_log

RUN = "memory://bucket/runs/E1/base/seed1"


class NoAccess(MemoryFileSystem):
    """A store that denies access, in an error of its own."""

    protocol = "noaccess"
    cachable = False

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        raise RuntimeError("AccessDenied: an error\nin two lines")

    exists = isdir = info


@pytest.fixture(scope="module")
def remote(synthetic: SyntheticDump) -> Iterator[str]:
    """The synthetic dump in fsspec's memory, with a run.json beside it."""
    memory = fsspec.filesystem("memory")
    memory.put(str(synthetic.path), "/bucket/runs/E1/base/seed1/dump.zarr", recursive=True)
    memory.pipe_file("/bucket/runs/E1/base/seed1/run.json", json.dumps({"arm": "told"}).encode())
    line = '{"epoch": 1, "update": 1.0, "loss": "9.5", "wps": "1", "ups": "1", "num_updates": "3"}\n'
    memory.pipe_file("/bucket/runs/E1/base/seed1/log/train.log", line.encode())
    yield f"{RUN}/dump.zarr"
    memory.rm("/bucket", recursive=True)


def test_every_number_is_that_of_the_folder(remote: str, synthetic: SyntheticDump) -> None:
    here, there = Dump.open(synthetic.path), Dump.open(remote)
    assert there.attrs == here.attrs
    for name in here.tables:
        one, other = here.table(name), there.table(name)
        assert other.texts == one.texts
        assert other.aliases == one.aliases
        assert np.array_equal(other.counts, one.counts)
        for update in one.snapshot_updates:
            assert np.array_equal(other.snapshot(update), one.snapshot(update))
        tokens = one.trace_tokens[:3].tolist()
        assert np.array_equal(other.traces(tokens), one.traces(tokens))
        assert other.statistic_names == one.statistic_names
        for key, values in one.statistics().items():
            assert np.array_equal(other.statistics()[key], values, equal_nan=True), key
    assert (read_exposure(there) is None) == (read_exposure(here) is None)
    assert str(there.path) == remote


def test_a_runs_folder_can_be_given_by_its_url_and_files_beside_the_dump_are_read(remote: str) -> None:
    dump = Dump.open(f"{RUN}/")
    assert str(dump.path) == remote
    assert "|experiment:E1|arm:told|seed:1|" in signature(dump)
    assert read_training_log(dump.path.parent / "log" / "train.log").loc[3, "loss"] == 9.5


def test_a_script_takes_a_url(remote: str, synthetic: SyntheticDump, tmp_path: Path) -> None:
    for name, given in (("here", str(synthetic.path)), ("there", remote)):
        assert question(learning, "learning", [given, "--out", str(tmp_path / name)]) == 0
    found = [json.loads((tmp_path / name / "learning.json").read_text()) for name in ("here", "there")]
    assert found[0]["claims"]
    assert [c["value"] for c in found[0]["claims"]] == [c["value"] for c in found[1]["claims"]]


def test_a_file_url_is_the_folder(synthetic: SyntheticDump) -> None:
    assert Dump.open(f"file://{synthetic.path}").path == synthetic.path
    assert parser("text").parse_args(["s3://b/dump.zarr", "a//b", "--out", "o"]).dumps == ["s3://b/dump.zarr", Path("a/b")]  # fmt: skip


def test_what_is_missing_or_damaged_is_one_line(remote: str, synthetic: SyntheticDump, tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    broken = tmp_path / "dump.zarr"
    shutil.copytree(synthetic.path, broken)
    name = Dump.open(broken).tables[0]
    (broken / "tables" / name / "tokens.json").unlink()
    next(f for f in (broken / "tables" / name / "snapshots/values/c/0").rglob("*") if f.is_file()).write_bytes(b"short")
    memory.put(str(broken), "/bucket/broken/dump.zarr", recursive=True)
    table = Dump.open("memory://bucket/broken/dump.zarr").table()
    with pytest.raises(DumpError, match=r"^memory://bucket/broken/dump.zarr: table .*tokens.json is missing"):
        _ = table.texts
    with pytest.raises(DumpError, match="a chunk is damaged"):
        table.snapshot(table.snapshot_updates[0])


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("memory://bucket/nothing", "expected a dump folder"),
        ("nosuchscheme://bucket/dump.zarr", "give a folder, s3://"),
        ("file://host/dump.zarr", "file:/// and an absolute path"),
        ("noaccess://bucket/dump.zarr", "cannot be read (RuntimeError: AccessDenied: an error); check the URL"),
    ],
)
def test_errors_are_one_line(url: str, said: str) -> None:
    fsspec.register_implementation("noaccess", NoAccess, clobber=True)
    with pytest.raises(DumpError) as raised:
        Dump.open(url)
    assert said in str(raised.value)
    assert str(raised.value).startswith(url)
    assert "\n" not in str(raised.value)


def test_without_the_packages_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.setitem(sys.modules, "upath", None)
    with pytest.raises(DumpError, match=r"needs the package universal-pathlib.*the extra `remote`"):
        places.place("s3://bucket/dump.zarr")
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(DumpError, match=r"a package is missing.*the extra `remote`"):
        places.place("s3://bucket/dump.zarr")
