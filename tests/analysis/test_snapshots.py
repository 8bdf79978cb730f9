"""Whole-table geometry of many snapshots: numbers by brute force, the same bits however it is run, damage, going on."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from synthetic_dump import MAIN_TABLE, SyntheticDump, brute_force_statistics, write_synthetic_dump
from threadpoolctl import threadpool_limits

import geometry
import isotropy
import snapshot_tasks
import snapshots
from cli import run
from dump import Dump, DumpError
from kept_results import KeptResults
from snapshot_measures import Measured, Task, measured
from snapshot_tasks import WorkersError
from update_choice import choose

ANALYSIS = Path(snapshots.__file__).parent
FILES = ("snapshots.json", "snapshots.csv")


@pytest.fixture
def own(synthetic: SyntheticDump, tmp_path: Path) -> Path:
    """A copy of the dump that may be damaged."""
    shutil.copytree(synthetic.path, tmp_path / "own.zarr")
    return tmp_path / "own.zarr"


@pytest.fixture(scope="module")
def expected(synthetic: SyntheticDump, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process writes."""
    out = tmp_path_factory.mktemp("expected")
    assert snapshots.main([str(synthetic.path), "--out", str(out)]) == 0
    return out


def assert_same_files(one: Path, other: Path) -> None:
    for name in FILES:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line with which the command ends."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run(lambda: snapshots.main([str(argument) for argument in arguments]))
    assert isinstance(ended.value.code, str), ended.value.code
    assert len(ended.value.code.splitlines()) == 1
    return ended.value.code


def test_every_number_equals_brute_force(synthetic: SyntheticDump, expected: Path) -> None:
    content = json.loads((expected / "snapshots.json").read_text())
    listed = synthetic.snapshot_updates.tolist()
    assert content["updates"] == listed
    assert content["previous"] == [None, *listed[:-1]]
    for place, update in enumerate(listed):
        others = {"initial": synthetic.values[0]}
        if place:
            others["previous"] = synthetic.values[listed[place - 1]]
        rows = (synthetic.counts, synthetic.counted, synthetic.group, synthetic.groups)
        wanted = brute_force_statistics(synthetic.values[update], *rows, **others)
        renamed = {name.replace("update_norm", "moved").replace("update_shared", "moved_shared"): value
                   for name, value in wanted.items()}  # fmt: skip
        for name, value in renamed.items():
            found = np.array(content["numbers"][name][place], np.float64)
            np.testing.assert_allclose(found, value, rtol=1e-9, atol=1e-13, err_msg=f"{name} at {update}")
        live = np.linalg.norm(synthetic.values[update], axis=1) > 0
        counted = synthetic.values[update][synthetic.counted & live].astype(np.float64)
        for name, matrix in (("effective_rank", counted), ("effective_rank_centred", counted - counted.mean(axis=0))):
            singular = np.linalg.svd(matrix, compute_uv=False)
            shares = singular / singular.sum()
            assert content["numbers"][name][place] == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-5)
    assert set(renamed) < set(content["numbers"])


def test_the_table_of_numbers_holds_the_same_and_the_figure_is_there(expected: Path) -> None:
    content = json.loads((expected / "snapshots.json").read_text())
    with (expected / "snapshots.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["update"]) for row in rows] == content["updates"]
    assert [row["previous"] for row in rows][:2] == ["", "0"]
    assert [float(row["mean_cosine"]) for row in rows] == content["numbers"]["mean_cosine"]
    zero = [entry["name"] for entry in content["groups"]].index("zero")
    by_group = [values[zero] for values in content["numbers"]["norm_group"]]
    assert [float(row["norm_group:zero"]) for row in rows] == by_group
    assert {path.name for path in expected.iterdir()} == {*FILES, "snapshots.png", "snapshots.pdf"}


def test_two_processes_write_the_same_bytes(synthetic, expected, tmp_path) -> None:
    """The command as users call it, from another folder, with other numbers of threads around it."""
    done = subprocess.run(
        [sys.executable, ANALYSIS / "snapshots.py", synthetic.path, "--out", tmp_path / "out", "--workers", "2"],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert_same_files(tmp_path / "out", expected)
    assert "11 of 11 snapshots" in done.stderr
    assert "snapshots" not in done.stdout.split("wrote ")[0]  # progress is no output


def test_the_number_of_threads_does_not_change_the_bits(tmp_path: Path) -> None:
    """On a table whose products are large enough to be shared among threads."""
    dump = write_synthetic_dump(tmp_path / "dump.zarr", rows=4000, dim=128, updates=1, streams=("snapshots",))
    task = Task(str(dump.path), MAIN_TABLE, 0, (1,), (0,))
    with threadpool_limits(1):
        one = measured(task)
    with threadpool_limits(2):
        assert measured(task) == one


def test_a_cluster_writes_the_same_bytes(synthetic, expected, tmp_path, capsys) -> None:
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None, "local_directory": tmp_path / "w"}
    with distributed.LocalCluster(**options, worker_dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        assert snapshots.main([str(synthetic.path), "--out", str(tmp_path / "out"), "--scheduler", address]) == 0
        assert_same_files(tmp_path / "out", expected)
        lost = write_synthetic_dump(tmp_path / "lost.zarr", rows=100, updates=4)
        shutil.rmtree(lost.path / "tables" / MAIN_TABLE / "snapshots/values/c/2")
        line = refused(capsys, lost.path, "--out", tmp_path / "lost", "--scheduler", address)
        assert "update 2: snapshot of update 2" in line


def test_at_most_two_snapshots_are_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dump = write_synthetic_dump(
        tmp_path / "dump.zarr", rows=8000, dim=256, updates=2, streams=("snapshots",), snapshot_row_chunks=16
    )
    size = 8000 * 256 * 4
    monkeypatch.setattr(geometry, "BLOCK_VALUES", 1 << 15)
    monkeypatch.setattr(isotropy, "BLOCK", 128)
    tracemalloc.start()
    try:
        result = measured(Task(str(dump.path), MAIN_TABLE, 0, (2,), (1,)))[0]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert result.failure is None
    assert peak < 2.3 * size, peak / size


def test_a_damaged_snapshot_is_named_and_the_rest_is_kept(own, expected, tmp_path, capsys, monkeypatch):
    chunk = own / "tables" / MAIN_TABLE / "snapshots/values/c/6/0/0"  # the seventh snapshot: update 16
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    out = tmp_path / "out"
    line = refused(capsys, own, "--out", out)
    # 20 needs 16 as well, as the snapshot before it.
    assert "2 of 11 snapshots could not be measured, update 16: snapshot of update 16" in line
    assert "the other 9 are kept" in line
    assert "fairseq_ext.recording check" in line
    assert [path.name for path in out.iterdir()] == [snapshots.PARTIAL]
    chunk.write_bytes(whole)
    asked: list[int] = []

    def counting(task: Task) -> list[Measured]:
        asked.extend(task.updates)
        return measured(task)

    monkeypatch.setattr(snapshot_tasks, "measured", counting)
    assert snapshots.main([str(own), "--out", str(out)]) == 0
    assert asked == [16, 20]
    assert "9 of 11 snapshots are kept from before" in capsys.readouterr().err
    assert not (out / snapshots.PARTIAL).exists()
    found, wanted = (json.loads((folder / "snapshots.json").read_text()) for folder in (out, expected))
    assert found["numbers"] == wanted["numbers"]


def test_what_is_kept_is_taken_for_the_same_snapshot_of_the_same_recording_alone(own: Path, tmp_path: Path) -> None:
    table = Dump.open(own).table()
    result = Measured(4, {"mean_cosine": 0.1 + 0.2, "drift_group": [1.0, float("inf")]})
    kept = KeptResults(tmp_path / "kept", table)
    assert kept.load(4, 0, 2) is None
    kept.save(result, 0, 2)
    assert kept.load(4, 0, 2) == result
    assert kept.load(4, 0, 1) is None  # the one before it has been another
    assert kept.load(4, 1, 2) is None
    other = write_synthetic_dump(tmp_path / "other.zarr", updates=8, seed=3, streams=("snapshots",))
    assert KeptResults(kept.folder, Dump.open(other.path).table()).load(4, 0, 2) is None
    file = kept.folder / "4.json"
    for torn in (file.read_text()[:40], "[]", "null", "{}"):
        file.write_text(torn)
        assert kept.load(4, 0, 2) is None


def test_chosen_updates_have_the_numbers_that_all_have(synthetic, expected, tmp_path) -> None:
    assert snapshots.main([str(synthetic.path), "--out", str(tmp_path), "--updates", "every:20,at:8"]) == 0
    some, every = (json.loads((folder / "snapshots.json").read_text()) for folder in (tmp_path, expected))
    assert some["updates"] == [0, 8, 20, 40]
    places = [every["updates"].index(update) for update in some["updates"]]
    assert some["previous"] == [every["previous"][place] for place in places]
    for name, values in some["numbers"].items():
        assert values == [every["numbers"][name][place] for place in places], name


@pytest.mark.parametrize("text", ["every:0", "every", "log3", "at:", "window:5:2", "none", "", "at:-1"])
def test_a_text_that_is_no_schedule(text: str, synthetic: SyntheticDump, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a comma list"):
        choose(np.arange(3), text)
    with pytest.raises(DumpError, match="--updates"):
        snapshots.analyse(Dump.open(synthetic.path), partial=tmp_path, updates=text)


def test_wrong_use_is_one_line(synthetic, tmp_path, capsys) -> None:
    for options in (["--workers", "0"], ["--workers", "2", "--scheduler", "tcp://127.0.0.1:9"]):
        with pytest.raises(SystemExit) as ended:
            snapshots.main([str(synthetic.path), "--out", str(tmp_path), *options])
        assert ended.value.code == 2
    none = write_synthetic_dump(tmp_path / "none.zarr", rows=100, updates=2, streams=("statistics",))
    assert "holds no snapshots" in refused(capsys, none.path, "--out", tmp_path / "out")
    window = write_synthetic_dump(tmp_path / "some.zarr", rows=100, updates=2, streams=("snapshots",))
    cut = Dump.open(window.path).table()
    cut.__dict__["whole_updates"] = np.array([1, 2])
    with pytest.raises(DumpError, match="none of the 2 snapshots"):
        snapshots.choose_snapshots(cut, "every:5")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("package", "options"), [("dask", ["--workers", "2"]), ("distributed", ["--scheduler", "tcp://127.0.0.1:9"])])  # fmt: skip
def test_without_dask_one_line_says_what_to_install(synthetic, tmp_path, capsys, monkeypatch, package, options):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)  # `import` then raises ImportError
    line = refused(capsys, synthetic.path, "--out", tmp_path / "out", *options)
    assert "pip install" in line
    assert options[0] in line


class FakeClient:
    """A client of a cluster with these workers' threads, of which some find the analysis."""

    def __init__(self, threads: dict[str, int], finds: dict[str, bool]) -> None:
        self._threads, self._finds = threads, finds

    def nthreads(self) -> dict[str, int]:
        return self._threads

    def run(self, function, name: str) -> dict[str, bool]:
        assert function(name) is not None
        return {place: self._finds[place] for place in self._threads}

    def run_on_scheduler(self, function, name: str) -> bool:
        return self._finds["scheduler"]


@pytest.mark.parametrize(
    ("threads", "lacking", "said"),
    [
        ({}, "", "has no workers"),
        ({"tcp://a": 1, "tcp://b": 4}, "", "found tcp://b with 4"),
        ({"tcp://a": 1}, "tcp://a", "tcp://a cannot import the analysis"),
        ({"tcp://a": 1}, "scheduler", "the scheduler cannot import the analysis"),
        ({"tcp://a": 1}, "", None),
    ],
)
def test_a_cluster_that_cannot_do_it_is_refused(threads, lacking, said) -> None:
    client = FakeClient(threads, {place: place != lacking for place in (*threads, "scheduler")})
    if said is None:
        snapshot_tasks._check(client, "tcp://s:1")
        return
    with pytest.raises(WorkersError, match=said) as error:
        snapshot_tasks._check(client, "tcp://s:1")
    assert "PYTHONPATH=" in str(error.value)
    assert "tcp://s:1" in str(error.value)
