"""``prune``: what stays is the original to the bit and read as before, a kill at any step loses nothing, and training can go on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from running import Launcher, Run, arguments, arrays, assert_same_training, assert_whole
from small_dumps import (
    LISTED,
    OTHER,
    SNAPSHOTS,
    STATISTICS,
    TABLE,
    TRACES,
    TRACES_CHUNK,
    contents_of,
    write_dump,
)

from dump import Dump
from fairseq_ext import failpoints
from fairseq_ext.errors import UserError
from fairseq_ext.recording import pruning, replacing, store
from fairseq_ext.recording.dump_check import check_dump
from fairseq_ext.recording.findings import WHOLE
from fairseq_ext.recording.pruning import Request
from fairseq_ext.recording.schedule import Schedule

THINNED = {"snapshots": "every:10", "traces": "every:4", "statistics": "every:5,at:7", "exposure": "every:10"}
KEPT = {"snapshots": [0, 10, 20], "traces": [0, 4, 8, 12, 16, 20], "statistics": [0, 5, 7, 10, 15, 20], "exposure": [0, 10, 20]}  # fmt: skip
STEPS = ["prune-stream:1", "prune-stream:3", "prune-written", "prune-checked", "prune-aside", "prune-renamed"]


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    return write_dump(tmp_path / "run" / "dump.zarr")


def prune(dump: Path, *, out: Path | None = None, schedules: dict[str, str] = THINNED, **more: bool) -> list[str]:
    return pruning.prune(Request(dump, {k: Schedule.parse(v) for k, v in schedules.items()}, out, **more))


def read(dump: Path) -> dict[str, np.ndarray]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return arrays(dump)


def assert_thinned(new: dict[str, np.ndarray], old: dict[str, np.ndarray], kept: dict[str, list[int]]) -> None:
    """The pruned dump holds the chosen records and nothing else, and whatever does not grow, all to the bit."""
    assert list(new) == list(old)
    for name, values in new.items():
        stream, _, array = name.rpartition("/")
        if f"{stream}/update" not in old or array in ("token", "group"):
            assert values.tobytes() == old[name].tobytes(), name
            continue
        sort = "exposure" if stream.startswith("exposure") else stream.rpartition("/")[2]
        updates = old[f"{stream}/update"].tolist()
        chosen = old[name][[updates.index(u) for u in kept.get(sort, updates)]]
        assert values.dtype == chosen.dtype
        assert values.shape == chosen.shape, name
        assert values.tobytes() == chosen.tobytes(), name


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("in_place", [False, True])
def test_what_stays_is_the_original_to_the_bit(tmp_path: Path, pairs: bool, in_place: bool) -> None:
    dump = write_dump(tmp_path / "dump.zarr", pairs=pairs)
    before, bytes_before = read(dump), contents_of(dump)
    new = dump if in_place else tmp_path / "elsewhere" / "new.zarr"
    said = prune(dump, out=None if in_place else new)
    assert said[-1] == f"{new}: written, checked, whole"
    assert_thinned(read(new), before, KEPT)
    assert_whole(new)
    assert check_dump(new).verdict == WHOLE
    assert [p.name for p in new.parent.iterdir()] == [new.name]
    if not in_place:
        assert contents_of(dump) == bytes_before
    for stream in check_dump(new).streams:
        store.Stream(store.Store(new), stream.key, TRACES_CHUNK if stream.key == TRACES else 1)  # as training opens it


def test_what_has_no_schedule_stays_and_the_ends_of_what_has_one(dump: Path) -> None:
    before = read(dump)
    prune(dump, schedules={"snapshots": "at:3;8"})
    assert_thinned(read(dump), before, {"snapshots": [0, 8, 20]})
    prune(dump, schedules={"traces": "none", "statistics": "window:3:5"})
    assert_thinned(read(dump), before, {"snapshots": [0, 8, 20], "traces": [0, 20], "statistics": [0, 3, 4, 5, 20]})


def test_strict_keeps_what_is_named_and_no_more(dump: Path) -> None:
    before = read(dump)
    prune(dump, schedules={"snapshots": "at:8", "traces": "none", "exposure": "none"}, strict=True)
    after = read(dump)
    assert not (dump / TRACES).exists()
    assert not (dump / "exposure/tokens").exists()
    left = {k: v for k, v in before.items() if not k.startswith(("exposure", TRACES))}
    assert_thinned(after, left, {"snapshots": [0, 8]})
    assert check_dump(dump).verdict == WHOLE
    with pytest.raises(UserError, match="no record would be kept"):
        prune(dump, schedules={"snapshots": "none", "statistics": "none"}, strict=True)


def test_update_0_alone_may_stay(dump: Path) -> None:
    """Its coordinate holds the fill value alone."""
    before = read(dump)
    prune(dump, schedules=dict.fromkeys(THINNED, "at:0"), strict=True)
    assert_thinned(read(dump), before, {sort: [0] for sort in KEPT})
    assert store.Stream(store.Store(dump), SNAPSHOTS, 1).updates == [0]


def test_the_analysis_reads_it_as_before(dump: Path) -> None:
    before = Dump.open(dump).table()
    values = {u: before.snapshot(u) for u in KEPT["snapshots"]}
    traces, statistics, texts = before.traces([4, 9, 30]), before.statistics(), before.texts
    prune(dump)
    after = Dump.open(dump).table()
    assert after.snapshot_updates.tolist() == KEPT["snapshots"]
    for update, value in values.items():
        assert after.snapshot(update).tobytes() == value.tobytes()
    assert after.traces([4, 9, 30]).tobytes() == traces[[LISTED["traces"].index(u) for u in KEPT["traces"]]].tobytes()
    for name, value in after.statistics().items():
        assert value.tobytes() == statistics[name][KEPT["statistics"]].tobytes(), name
    assert after.texts == texts


def test_the_root_says_what_was_pruned(dump: Path) -> None:
    before = dict(zarr.open_group(dump, mode="r").attrs)
    prune(dump)
    prune(dump, schedules={"snapshots": "at:20"}, strict=True)
    after = dict(zarr.open_group(dump, mode="r").attrs)
    first, second = after.pop("pruned")
    assert after == before
    assert first["schedules"] == THINNED
    assert first["streams"][SNAPSHOTS] == {"records": 8, "kept": 3, "damaged": 0, "last_update": 20}
    assert first["streams"][STATISTICS] == {"records": 21, "kept": 6, "damaged": 0, "last_update": 20}
    assert second["strict"]
    assert second["streams"][SNAPSHOTS] == {"records": 3, "kept": 2, "damaged": 0, "last_update": 20}


def test_pruning_is_final_and_can_be_asked_for_again(dump: Path) -> None:
    prune(dump)
    before = contents_of(dump)
    assert prune(dump) == [f"{dump}: nothing to prune, every record is to be kept; it is as it was"]
    assert contents_of(dump) == before


def test_a_dry_run_writes_nothing(dump: Path, tmp_path: Path) -> None:
    before = contents_of(tmp_path)
    said = "\n".join(prune(dump, dry_run=True))
    assert "would keep 3 of 8 records" in said
    assert contents_of(tmp_path) == before


def test_in_place_takes_no_room_for_what_it_keeps(dump: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of one record get a second name; where the file system has none they are copied."""
    kept = (dump / SNAPSHOTS / "values/c/5/1/0").stat().st_ino
    prune(dump)
    assert (dump / SNAPSHOTS / "values/c/1/1/0").stat().st_ino == kept
    before = read(dump)

    def refuse(path: Path, target: Path) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    prune(dump, schedules={"snapshots": "none"})
    assert_thinned(read(dump), before, {"snapshots": [0, 20]})
    assert (dump / SNAPSHOTS / "values/c/1/1/0").stat().st_nlink == 1


@pytest.mark.parametrize("in_place", [False, True])
def test_too_little_room_is_said_before_anything_is_written(
    dump: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_place: bool
) -> None:
    before = contents_of(tmp_path)
    monkeypatch.setattr(pruning.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(UserError, match=r"will take .* has only 1\.0 kB free; keep fewer"):
        prune(dump, out=None if in_place else tmp_path / "new.zarr")
    assert contents_of(tmp_path) == before


def test_a_disk_that_fills_up_leaves_the_old_dump(dump: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "none", disk], capture_output=True).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    before = contents_of(dump)
    try:
        monkeypatch.setattr(pruning, "needed_bytes", lambda *arguments: 0)
        with pytest.raises(UserError, match="the disk is full"):
            prune(dump, out=disk / "new.zarr", schedules={"snapshots": "log2"})
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
    assert contents_of(dump) == before


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "no tokens": (lambda d: (d / f"tables/{TABLE}/tokens.json").unlink(), "damaged beyond pruning: .*tokens.json is missing"),
    "update gone": (lambda d: (d / SNAPSHOTS / "update/c/0").unlink(), "damaged beyond pruning"),
    "a kept chunk": (lambda d: (d / SNAPSHOTS / "values/c/5/0/0").write_bytes(b"x"), "update 10: .*add --drop-damaged"),
    "a chunk of kept ones": (lambda d: (d / TRACES / "values/c/1/0/0").unlink(), "update 20: .*missing.*add --drop-damaged"),
    "update too long": (lambda d: lengthen(d), "lists what is not there.*add --drop-damaged"),
    "another zarr": (lambda d: (d / "zarr.json").write_text(json.dumps(store.group_metadata())), "of another program"),
    "no dump": (lambda d: shutil.rmtree(d), "expected a dump, found"),
}  # fmt: skip


def lengthen(dump: Path) -> None:
    file = dump / SNAPSHOTS / "update/zarr.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "shape": [10]}))


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("in_place", [False, True])
def test_what_cannot_be_pruned_is_refused_in_one_line(dump: Path, tmp_path: Path, name: str, in_place: bool) -> None:
    damage, message = REFUSED[name]
    damage(dump)
    before = contents_of(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        prune(dump, out=None if in_place else tmp_path / "new.zarr")
    assert "\n" not in str(caught.value)
    assert contents_of(tmp_path) == before


def test_damage_in_what_is_dropped_is_nobodys_concern(dump: Path) -> None:
    before = read(dump)
    (dump / SNAPSHOTS / "values/c/3/0/0").write_bytes(b"x")
    prune(dump)
    assert_thinned(read(dump), before, KEPT)


def test_damaged_records_are_left_out(dump: Path) -> None:
    """And the first and last whole one stay."""
    before = read(dump)
    (dump / SNAPSHOTS / "values/c/5/0/0").write_bytes(b"x")
    (dump / SNAPSHOTS / "values/c/7/1/0").unlink()
    (dump / TRACES / "values/c/1/0/0").unlink()
    assert check_dump(dump).lost == 3
    said = "\n".join(prune(dump, drop_damaged=True))
    kept = {**KEPT, "snapshots": [0, 16], "traces": [0, 4, 8, 12, 16, 18]}
    assert_thinned(read(dump), before, kept)
    assert "2 that cannot be read left out" in said
    entry = json.loads((dump / "zarr.json").read_text())["attributes"]["pruned"][0]
    assert entry["streams"][SNAPSHOTS] == {"records": 8, "kept": 2, "damaged": 2, "last_update": 20}


def test_damaged_records_alone_are_left_out(dump: Path) -> None:
    before = read(dump)
    (dump / "exposure/examples/drawn/c/2/0").unlink()
    lengthen(dump)
    prune(dump, schedules={}, drop_damaged=True)
    after = read(dump)
    assert after["exposure/examples/update"].tolist() == [0, 1, 20]
    assert after[f"{SNAPSHOTS}/values"].tobytes() == before[f"{SNAPSHOTS}/values"].tobytes()
    assert check_dump(dump).verdict == WHOLE


def test_metadata_are_mended(dump: Path) -> None:
    before = read(dump)
    root = json.loads((dump / "zarr.json").read_text())
    del root["consolidated_metadata"]
    (dump / "zarr.json").write_text(json.dumps(root))
    (dump / SNAPSHOTS / "zarr.json").unlink()
    prune(dump, schedules={}, drop_damaged=True)
    assert_thinned(read(dump), before, {})
    assert check_dump(dump).verdict == WHOLE


def test_what_a_killed_run_left_is_not_taken_along(dump: Path) -> None:
    before = read(dump)
    store.Stream(store.Store(dump), SNAPSHOTS, 1)._resize(9)
    (dump / SNAPSHOTS / "values/c/8/0").mkdir(parents=True)
    (dump / SNAPSHOTS / "values/c/8/0/0").write_bytes(b"half")
    (dump / SNAPSHOTS / "values/c/8/0/0.__lock").write_bytes(b"")
    prune(dump)
    assert_thinned(read(dump), before, KEPT)
    found = check_dump(dump)
    assert (found.surplus_files, found.leftovers, found.notes) == (0, [], [])


@pytest.mark.parametrize("words", [["--in-place"], ["--out", "x"], ["--snapshots", "every:10"], ["--snapshots", "every:10", "--in-place", "--out", "x"]])  # fmt: skip
def test_options_that_are_not_enough(launcher: Launcher, dump: Path, words: list[str]) -> None:
    before = contents_of(dump)
    done = launcher.run("recording", ["prune", dump, *words])
    assert done.status == 2
    assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 1
    assert contents_of(dump) == before


def test_places_that_are_taken(dump: Path, tmp_path: Path) -> None:
    before = contents_of(tmp_path)
    for out in (tmp_path, dump, dump / "zarr.json", dump / "inside"):
        with pytest.raises(UserError, match="--out: expected"):
            prune(dump, out=out)
    with pytest.raises(UserError, match="--snapshots: expected"):
        pruning.prune(Request(dump, {"snapshots": Schedule.parse("often", "--snapshots")}))
    assert contents_of(tmp_path) == before


def test_every_failpoint_of_pruning_is_tried() -> None:
    assert {s.partition(":")[0] for s in STEPS} == {n for n in failpoints.NAMES if n.startswith("prune-")}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("in_place", [False, True])
def test_killed_at_every_step(launcher: Launcher, dump: Path, tmp_path: Path, step: str, in_place: bool) -> None:
    """The old dump or the new one is whole, `check` says so, and the same command ends what was begun."""
    before, raw = read(dump), contents_of(dump)
    new = tmp_path / "new.zarr"
    words = [word for sort, text in THINNED.items() for word in (f"--{sort}", text)]
    words += ["--in-place"] if in_place else ["--out", str(new)]
    if not in_place and step in ("prune-aside", "prune-renamed"):
        return  # nothing is moved aside
    killed = launcher.run("recording", ["prune", dump, *words], **{failpoints.VARIABLE: step})
    assert killed.status == -signal.SIGKILL, killed.said
    checked = launcher.run("recording", ["check", dump.parent])
    if step == "prune-aside":
        assert not dump.exists()
        assert contents_of(replacing.aside(dump)) == raw
        assert_thinned(read(replacing.staged(dump)), before, KEPT)
        assert checked.status == 1
        assert "a pruning was killed between two renames" in checked.stdout
        refused = launcher.run("recording", ["prune", dump, *words[:2], "--out", new])
        assert "to put it back" in refused.error
    else:
        assert checked.status == 0, checked.said
        assert ("left by a killed process" in checked.stdout) == in_place
        if step == "prune-renamed":
            assert_thinned(read(dump), before, KEPT)
        else:
            assert contents_of(dump) == raw
    done = launcher.run("recording", ["prune", dump, *words])
    assert done.status == 0, done.said
    assert "an interrupted pruning" in done.stdout
    target = dump if in_place else new
    assert_thinned(read(target), before, KEPT)
    assert check_dump(target).verdict == WHOLE
    assert [p.name for p in target.parent.iterdir() if p.name.startswith(target.name)] == [target.name]


@pytest.mark.parametrize("renames", [0, 1])
def test_a_rename_that_fails_leaves_the_old_dump_in_its_place(
    dump: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    before = contents_of(dump)
    rename, done = Path.rename, []

    def failing(path: Path, target: Path) -> Any:
        done.append(path)
        if len(done) == renames + 1:
            raise OSError(5, "Input/output error", str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(UserError, match="Input/output error"):
        prune(dump)
    monkeypatch.undo()
    assert contents_of(dump) == before
    prune(dump)
    assert check_dump(dump).verdict == WHOLE
    assert [p.name for p in dump.parent.iterdir()] == [dump.name]


def test_a_pruned_dump_that_is_not_as_it_should_be_takes_no_ones_place(
    dump: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents_of(dump)
    write = pruning.write_pruned

    def spoil(old: Path, new: Path, *arguments: Any) -> None:
        write(old, new, *arguments)
        file = new / TRACES / "values/c/0/0/0"
        file.write_bytes(file.read_bytes()[:-1] + b"x")

    monkeypatch.setattr(pruning, "write_pruned", spoil)
    with pytest.raises(UserError, match="was not written as it should be"):
        prune(dump)
    assert contents_of(dump) == before
    assert [p.name for p in dump.parent.iterdir()] == [dump.name]


@pytest.fixture
def half(launcher: Launcher, corpus: Path, tmp_path: Path) -> Path:
    """A run of 30 of 40 updates."""
    done = launcher.run("train", arguments(corpus, tmp_path / "half", last=30))
    assert done.status == 0, done.said[-3000:]
    return tmp_path / "half"


@pytest.mark.train
@pytest.mark.parametrize("killed", [False, True])
def test_training_goes_on_in_a_pruned_dump(
    launcher: Launcher, corpus: Path, recorded: Run, half: Path, killed: bool
) -> None:
    """What follows is recorded in full and equals the uninterrupted run, drift from update 0 included; also between the two renames."""
    words = ["--snapshots", "every:10", "--traces", "every:9", "--statistics", "every:10", "--exposure", "none"]
    environment = {failpoints.VARIABLE: "prune-aside"} if killed else {}
    pruned = launcher.run("recording", ["prune", half, *words, "--in-place"], **environment)
    assert pruned.status == (-signal.SIGKILL if killed else 0), pruned.said
    for last in (40, 44):  # and once more, from a checkpoint after the pruning
        done = launcher.run("train", arguments(corpus, half, last=last))
        assert done.status == 0, done.said[-3000:]
        if last == 40:
            assert_same_training(half / "checkpoints/checkpoint_last.pt", recorded.last)
            new, old = read(half / "dump.zarr"), read(recorded.dump)
            kept = {"snapshots": 10, "windows": 1, "traces": 9, "statistics": 10, "exposure": 30}
            chosen = {}
            for key, updates in old.items():
                if key.endswith("/update"):
                    sort = "exposure" if key.startswith("exposure") else key.split("/")[2]
                    whole = updates[updates <= 30]
                    ends = {0, whole[-1]}
                    chosen[sort] = [u for u in updates.tolist() if u > 30 or u % kept[sort] == 0 or u in ends]
            assert_thinned(new, old, chosen)
    found = check_dump(half)
    assert found.verdict == WHOLE
    assert found.leftovers == []
    assert len(found.attributes["pruned"]) == 1


@pytest.mark.train
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--snapshots", "none", "--strict"], "was left out when it was pruned"),
        (["--exposure", "none", "--strict"], "was left out when it was pruned"),
        (["--drop-damaged"], "its snapshot of update 0, from which drift is measured, was pruned"),
    ],
)
def test_training_is_refused_where_it_could_not_be_right(
    launcher: Launcher, corpus: Path, half: Path, words: list[str], message: str
) -> None:
    if "--drop-damaged" in words:
        for file in (half / "dump.zarr").rglob("snapshots/values/c/0/0/0"):
            file.unlink()
    assert launcher.run("recording", ["prune", half, *words, "--in-place"]).status == 0
    before = contents_of(half / "dump.zarr")
    done = launcher.run("train", arguments(corpus, half))
    assert message in done.error
    assert contents_of(half / "dump.zarr") == before


@pytest.mark.train
def test_a_record_that_is_missing_beyond_the_pruning_is_still_missed(
    launcher: Launcher, corpus: Path, half: Path
) -> None:
    """The dump of before the last checkpoint, brought back."""
    assert launcher.run("recording", ["prune", half, "--snapshots", "every:10", "--in-place"]).status == 0
    old = shutil.copytree(half / "dump.zarr", half / "old")
    assert launcher.run("train", arguments(corpus, half)).status == 0
    shutil.rmtree(half / "dump.zarr")
    Path(old).rename(half / "dump.zarr")
    done = launcher.run("train", arguments(corpus, half, last=44))
    assert "lacks updates that the checkpoint at update 40 covers" in done.error


@pytest.mark.train
def test_lost_records_are_recorded_again_as_check_says(
    launcher: Launcher, corpus: Path, recorded: Run, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(recorded.folder, tmp_path / "run"))
    name = "encoder.sentence_encoder.embed_tokens.weight"
    updates = read(run / "dump.zarr")[f"tables/{name}/snapshots/update"].tolist()
    (run / f"dump.zarr/tables/{name}/snapshots/values/c/{updates.index(40)}/0/0").write_bytes(b"x")
    said = launcher.run("recording", ["check", run]).stdout
    assert "update 40: values/c" in said
    checkpoint = run / "checkpoints" / "checkpoint_2_30.pt"
    assert f"--restore-file {checkpoint}; it goes on at update 30" in said
    done = launcher.run("train", arguments(corpus, run, "--restore-file", checkpoint))
    assert done.status == 0, done.said[-3000:]
    assert check_dump(run).verdict == WHOLE
    new, old = read(run / "dump.zarr"), read(recorded.dump)
    assert all(new[key].tobytes() == old[key].tobytes() for key in old)


def test_pairs_have_two_tables(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump.zarr", pairs=True)
    prune(dump, schedules={"snapshots": "none"})
    assert {name: Dump.open(dump).table(name).snapshot_updates.tolist() for name in (TABLE, OTHER)} == {
        TABLE: [0, 20],
        OTHER: [0, 20],
    }
