"""Exact replay: a window trained again from a checkpoint is, to the bit, what a run that recorded everything holds; a changed dump is found."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pair_corpus import pair_arguments
from recording.small_dumps import LISTED, OTHER, SNAPSHOTS, STATISTICS, TRACES, write_dump
from running import TABLE, Finished, Launcher, Run, arguments, arrays, assert_whole
from tiny_corpus import make_corpus

from fairseq_ext.errors import UserError
from fairseq_ext.recording import attributes as described
from fairseq_ext.recording.dump_check import check_dump
from fairseq_ext.replay import configuration
from fairseq_ext.replay.command import main
from fairseq_ext.replay.original import Original, choose_start, read
from fairseq_ext.replay.records import Records
from fairseq_ext.replay.verifying import compare

train = pytest.mark.train
EVERYTHING = ["--record-snapshots", "every:1", "--record-traces", "every:1"]


def replay(launcher: Launcher, run: Path, first: int, last: int, out: Path, *more: object) -> Finished:
    return launcher.run("replay", [run, "--from", first, "--to", last, "--out", out, *more])


def trained(launcher: Launcher, given: Sequence[object]) -> None:
    done = launcher.run("train", given)
    assert done.status == 0, done.said[-3000:]


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()
    }


def records(dump: Path, first: int, last: int) -> dict[str, dict[int, np.ndarray]]:
    """Every array along the updates, by update, from ``first`` to ``last``."""
    found = arrays(dump)
    result = {}
    for name, values in found.items():
        key, _, last_part = name.rpartition("/")
        updates = found.get(f"{key}/update")
        if updates is not None and last_part not in ("update", "token", "group", "residual", "frame"):
            result[name] = {int(u): v for u, v in zip(updates, values, strict=True) if first <= u <= last}
    return result


def assert_same_window(new: Path, full: Path, first: int, last: int) -> None:
    """The window of a replay is that of a run which recorded all of it; the update after which it started has no update before it."""
    ours, theirs = records(new, first, last), records(full, first, last)
    assert list(ours) == list(theirs)
    assert sorted(ours[next(name for name in ours if name.endswith("snapshots/values"))]) == list(
        range(first, last + 1)
    )
    started = int(zarr.open_group(new, mode="r").attrs["progress"]["first_update"])
    for name, found in ours.items():
        for update, values in found.items():
            if name.rpartition("/")[2].startswith("update_") and update == started:
                continue
            assert update in theirs[name], (name, update)
            assert values.tobytes() == theirs[name][update].tobytes(), (name, update)


@pytest.fixture(scope="module")
def full(launcher: Launcher, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of ``recorded``, with every table at every update."""
    folder = tmp_path_factory.mktemp("full")
    trained(launcher, arguments(corpus, folder, *EVERYTHING, "--no-save"))
    return folder


@train
def test_a_window_is_that_of_a_run_that_recorded_everything(
    launcher: Launcher, recorded: Run, full: Path, tmp_path: Path
) -> None:
    before = contents(recorded.folder)
    done = replay(launcher, recorded.folder, 32, 37, tmp_path / "new", "--", "--record-traces", "every:1")
    assert done.status == 0, done.said[-3000:]
    assert contents(recorded.folder) == before
    assert done.stdout.splitlines()[-1] == "identical"
    assert "from checkpoint_2_30.pt (update 30): 7 updates, 1 thread(s)" in done.stdout
    assert done.stderr == ""
    assert {p.name for p in tmp_path.iterdir()} == {"new"}
    assert {p.name for p in (tmp_path / "new").iterdir()} == {"dump.zarr", "log"}
    assert '"num_updates": "36"' in (tmp_path / "new/log/train.log").read_text()
    dump = tmp_path / "new/dump.zarr"
    assert_same_window(dump, full / "dump.zarr", 32, 37)
    assert_whole(dump)
    assert check_dump(dump).verdict == "whole"
    about = dict(zarr.open_group(dump, mode="r").attrs)
    assert {k: about["replay"][k] for k in ("checkpoint", "started_at", "from", "to", "verdict", "first_difference")} == {
        "checkpoint": "checkpoint_2_30.pt", "started_at": 30, "from": 32, "to": 37, "verdict": "identical", "first_difference": None,
    }  # fmt: skip
    assert about["replay"]["compared"][f"tables/{TABLE}/statistics"] == {"records": 8, "identical": 8}
    assert about["replay"]["compared"][f"tables/{TABLE}/snapshots"] == {"records": 2, "identical": 2}
    assert about["replay"]["compared"][f"tables/{TABLE}/windows"] == {"records": 4, "identical": 4}
    assert about["config"]["task"]["record_dir"] == str(dump)
    assert about["config"]["optimization"]["max_update"] == 40
    assert "replaying" not in str(about)


@train
def test_from_the_initialisation_without_any_checkpoint(
    launcher: Launcher, recorded: Run, full: Path, tmp_path: Path
) -> None:
    """Also where the run's first epoch ends: the window lies on both sides of it."""
    (tmp_path / "none").mkdir()
    more = ["--checkpoints", tmp_path / "none", "--record-traces", "every:1", "--record-statistics", "none"]
    done = replay(launcher, recorded.dump, 26, 31, tmp_path / "new", *more)
    assert done.status == 0, done.said[-3000:]
    assert "from the initialisation: 31 updates" in done.stdout
    assert_same_window(tmp_path / "new/dump.zarr", full / "dump.zarr", 26, 31)


@train
def test_a_sampled_run_that_was_killed_and_resumed(launcher: Launcher, corpus: Path, tmp_path: Path) -> None:
    """With repeats, gradients accumulated over two batches, this project's faster step, and a worker; it recorded everything itself."""
    options = (
        "--sample-pool random --sample-repeat 3 --sample-tokens-per-update 400 --update-freq 2 --fast-dropout --tied-gradient --fast-head "
        "--record-exposure every:2 --save-interval-updates 4 --keep-interval-updates -1 --num-workers 1"
    ).split()
    given = arguments(corpus, tmp_path / "run", *options, *EVERYTHING, last=12)
    process = launcher.start("train", given)
    assert process.until_update(9)
    process.send(signal.SIGKILL)
    process.finish()
    trained(launcher, given)
    done = replay(launcher, tmp_path / "run", 6, 11, tmp_path / "new")
    assert done.status == 0, done.said[-3000:]
    assert "(update 4): 7 updates" in done.stdout
    assert "exposure/examples" in done.stdout
    assert_same_window(tmp_path / "new/dump.zarr", tmp_path / "run/dump.zarr", 6, 11)


@train
def test_a_translation_with_three_tables(launcher: Launcher, pairs_corpus: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trained(launcher, pair_arguments(pairs_corpus, run, "none", *EVERYTHING, "--save-interval-updates", 2, last=5))
    done = replay(launcher, run, 3, 5, tmp_path / "new")
    assert done.status == 0, done.said[-3000:]
    assert "(update 2): 3 updates" in done.stdout
    assert_same_window(tmp_path / "new/dump.zarr", run / "dump.zarr", 3, 5)


@train
def test_a_recording_that_was_changed_is_different(launcher: Launcher, recorded: Run, tmp_path: Path) -> None:
    run = Path(shutil.copytree(recorded.folder, tmp_path / "run"))
    group = zarr.open_group(run / f"dump.zarr/tables/{TABLE}", mode="r+")
    place = group["snapshots/update"][...].tolist().index(40)
    group["snapshots/values"][place, 7, 3] = np.nextafter(group["snapshots/values"][place, 7, 3], np.float32(9))
    value = group["statistics/mean_cosine"][34]
    group["statistics/mean_cosine"][34] = np.nextafter(value, 9.0)
    place = group["windows/update"][...].tolist().index(33)
    group["windows/residual"][place, 7, 3] ^= 2
    before = contents(run)
    done = replay(launcher, run, 31, 40, tmp_path / "new")
    assert contents(run) == before
    assert done.status == 1
    last = done.stdout.splitlines()[-1]
    assert last.startswith(f"different: first at update 33, tables/{TABLE}/windows/values, row 7, dim 3: recorded ")
    assert "(1 of 10,720 values of this record differ)" in last
    said = {line.split()[0]: line.split()[-2:] for line in done.stdout.splitlines() if line.startswith("  tables")}
    assert said[f"tables/{TABLE}/snapshots"] == ["1", "DIFFERENT"]
    assert said[f"tables/{TABLE}/statistics"] == ["1", "DIFFERENT"]
    assert said[f"tables/{TABLE}/windows"] == ["1", "DIFFERENT"]
    assert said[f"tables/{TABLE}/traces"] == ["records", "identical"]
    about = zarr.open_group(tmp_path / "new/dump.zarr", mode="r").attrs["replay"]
    assert (about["verdict"], about["first_difference"]["place"]) == ("different", {"row": 7, "dim": 3})


@train
def test_an_interrupted_replay_leaves_nothing(launcher: Launcher, recorded: Run, tmp_path: Path) -> None:
    arguments = [recorded.folder, "--from", 1, "--to", 39, "--out", tmp_path / "new", "--checkpoints", tmp_path]
    process = launcher.start("replay", arguments)
    assert process.read_until("replaying updates 1 to 39")
    process.send(signal.SIGTERM)
    assert process.finish().status == 143
    assert list(tmp_path.iterdir()) == []


@train
def test_another_corpus_is_refused(launcher: Launcher, recorded: Run, tmp_path: Path) -> None:
    other = make_corpus(launcher, tmp_path / "other", seed=5)
    done = replay(launcher, recorded.folder, 31, 35, tmp_path / "new", "--data", other)
    assert "trained on another corpus" in done.error
    assert "the training split has another hash" in done.error
    assert not list(tmp_path.glob("new*"))


# -- what is compared, on dumps without a training ------------------------------------------------------------------------------


def original(dump: Path) -> Original:
    found = read(dump)
    return Original(found.dump, {**found.attributes, "config": {"checkpoint": {}}}, found.records)


def attributes_of(dump: Path) -> dict[str, Any]:
    return dict(zarr.open_group(dump, mode="r").attrs)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A dump, and a denser one of the same values."""
    folder = tmp_path_factory.mktemp("two")
    one = write_dump(folder / "one.zarr", pairs=True)
    dense = {name: list(range(21)) for name in LISTED}
    return one, write_dump(folder / "other.zarr", pairs=True, listed=dense)


def tampered(dump: Path, changes: Sequence[tuple[str, int, int]], folder: Path) -> Path:
    copied = Path(shutil.copytree(dump, folder / "changed.zarr"))
    for key, entry, place in changes:
        array = zarr.open_group(copied, mode="r+")[key]
        values = array[entry]
        flat = np.ravel(values).copy()
        bits = flat.view(f"u{flat.itemsize}")
        bits[place % len(bits)] ^= 1
        array[entry] = flat.reshape(values.shape)
    return copied


KEYS = {
    f"{SNAPSHOTS}/values": "snapshots", f"tables/{OTHER}/snapshots/values": "snapshots", f"{TRACES}/values": "traces",
    f"{STATISTICS}/norm_group": "statistics", "exposure/examples/drawn": "exposure", "exposure/target/visible": "exposure",
}  # fmt: skip


@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(changes=st.lists(st.tuples(st.sampled_from(sorted(KEYS)), st.integers(0, 3), st.integers(0, 10**6)), max_size=3))
def test_every_changed_bit_is_found_and_the_first_is_named(
    two: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, int, int]]
) -> None:
    one, folder = two[0], tmp_path_factory.mktemp("changed")
    unique = list({(key, entry): (key, entry, place) for key, entry, place in changes}.values())
    changed = tampered(one, unique, folder)
    found = compare(original(one), Records(changed), attributes_of(changed))
    assert (found.verdict == "different") == bool(unique)
    assert sum(n - same for n, same in found.records.values()) == len(unique)
    if unique:
        assert found.first is not None
        assert found.first.update == min(LISTED[KEYS[key]][entry] for key, entry, _ in unique)
        assert (found.first.values, f"{found.first.stream}/{found.first.name}") in {(1, key) for key, _, _ in unique}
    shutil.rmtree(folder)


def test_only_what_both_recorded_is_compared(two: tuple[Path, Path]) -> None:
    one, dense = two
    found = compare(original(dense), Records(one), attributes_of(one))
    assert {key: n for key, (n, _) in found.records.items() if key.startswith(f"tables/{OTHER}")} == {
        f"tables/{OTHER}/{name}": len(LISTED[name]) for name in ("snapshots", "traces", "statistics")
    }


def test_nothing_in_common_verifies_nothing(two: tuple[Path, Path], tmp_path: Path) -> None:
    one, _ = two
    later = write_dump(tmp_path / "later.zarr", listed={name: [21, 22] for name in LISTED})
    found = compare(original(one), Records(later), attributes_of(later))
    assert found.verdict == "not verified"


# -- where a replay starts, and what is refused ---------------------------------------------------------------------------------


def checkpoint(folder: Path, name: str, update: int, identity: str = "0123", **optimization: object) -> Path:
    state = {
        "cfg": {"optimization": optimization}, "model": {}, "last_optimizer_state": {}, "optimizer_history": [{"num_updates": update}],
        "extra_state": {"EmbeddingMaskedLMTask": {"identity": identity, "update": update, "tables": {}}},
    }  # fmt: skip
    torch.save(state, folder / name)
    return folder / name


def test_the_newest_whole_checkpoint_of_the_run_is_chosen(two: tuple[Path, Path], tmp_path: Path) -> None:
    run = original(two[0])
    checkpoint(tmp_path, "checkpoint1.pt", 6, max_update=10)
    checkpoint(tmp_path, "checkpoint_1_10.pt", 10, max_update=10)
    checkpoint(tmp_path, "checkpoint_1_12.pt", 12, identity="another", max_update=50)
    checkpoint(tmp_path, "checkpoint_1_13.pt", 13).write_bytes((tmp_path / "checkpoint_1_12.pt").read_bytes()[:-200])
    checkpoint(tmp_path, "checkpoint_last.pt", 18, max_update=20)

    def start(first: int) -> tuple[int, Any]:
        found, config = choose_start(run, tmp_path, first)
        return (found.update if found else 0), config.get("optimization")

    assert start(19) == (18, {"max_update": 20})
    assert start(18) == (18, {"max_update": 20})
    assert start(17) == (10, {"max_update": 20})  # resumed with another configuration: that of the process that went on
    assert start(9) == (6, {"max_update": 10})
    assert start(5) == (0, None)
    late = Original(run.dump, {**run.attributes, "progress": {"first_update": 4}}, run.records)
    with pytest.raises(
        UserError, match=r"at or before update 5 .* the earliest is at update 6, and the recording begins at update 4"
    ):
        choose_start(late, tmp_path, 5)


def plain(**common: object) -> dict[str, Any]:
    sections = ("checkpoint", "dataset", "distributed_training", "optimization", "task", "lr_scheduler")
    return {"common": common, **{name: {} for name in sections}}


def test_what_cannot_be_replayed_is_refused_with_its_reason() -> None:
    ranks = {**plain(), "distributed_training": {"distributed_world_size": 4}}
    with pytest.raises(UserError, match="trained on 4 ranks"):
        configuration.build(ranks, {}, None, 10, None)
    assert configuration.loses_masters(plain(fp16=True)) == "--fp16"
    assert configuration.loses_masters(plain(amp=True)) is None
    with pytest.raises(UserError, match="TPU"):
        configuration.build(plain(tpu=True), {}, None, 10, None)


def test_the_configuration_is_the_runs_but_for_where_it_writes() -> None:
    run = {**plain(seed=3, log_file="old", tensorboard_logdir="old"), "optimization": {"max_update": 100, "lr": [0.1]}}
    run["task"] = {"autocast": "auto", "autocast_used": "bf16", "data": "somewhere"}
    run["checkpoint"] = {"save_dir": "old", "reset_optimizer": True, "restore_file": "checkpoint_last.pt"}
    found = configuration.build(run, {"run": {"precision": "bf16"}}, Path("/runs/c.pt"), 40, None)
    configuration.place(found, Path("/new"), {"record_snapshots": "every:1"})
    assert run["checkpoint"]["save_dir"] == "old"
    assert "old" not in str(found)
    assert found.common.seed == 3
    assert found.optimization == {"max_update": 100, "lr": [0.1], "stop_time_hours": 0}
    assert found.task.autocast == "bf16"
    assert (found.checkpoint.restore_file, found.checkpoint.reset_optimizer, found.checkpoint.no_save) == (
        "/runs/c.pt",
        False,
        True,
    )
    assert configuration.build(run, {}, None, 140, None).optimization.max_update == 140
    run["task"]["sample_pool"] = "random"
    assert configuration.build(run, {}, None, 140, None).optimization.max_update == 100


def test_given_schedules_are_added_to_the_runs() -> None:
    attributes = {"recording": {"options": {"record_snapshots": "log2", "record_traces": "every:3", "record_queue": 9}}}
    found = configuration.recording(attributes, {"record_traces": "every:2", "record_exposure": "none"}, 5, 8)
    assert found["record_snapshots"] == "log2,window:5:8"
    assert (found["record_traces"], found["record_exposure"], found["record_queue"]) == ("every:3,every:2", "none", 9)
    assert configuration.recording(attributes, {"record_snapshots": "at:6"}, 5, 8)["record_snapshots"] == "log2,at:6"
    assert configuration.recording(attributes, {"record_windows": "window:5:8"}, 5, 8)["record_snapshots"] == "log2"
    with pytest.raises(UserError, match="--record-snapshots: expected"):
        configuration.recording(attributes, {"record_snapshots": "every"}, 5, 8)


def test_bad_input_ends_with_one_line_and_leaves_nothing(
    two: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "new")]
    for words, status, says in (
        (["--from", "5", "--to", "5"], 2, "expected 0 <= A < B"),
        (["--from", "x", "--to", "5"], 2, "invalid int value"),
        (["--from", "5", "--to", "9", "--record-dir", "x"], 2, "unrecognized arguments"),
    ):
        with pytest.raises(SystemExit) as ended:
            main([str(two[0]), *words, *out])
        assert ended.value.code == status
        said = capsys.readouterr().err
        assert says in said
        assert said.count("\n") == 1
    for dump, words, says in (
        (tmp_path, ["--from", "5", "--to", "9"], "expected a recorded run"),
        (two[0], ["--from", "5", "--to", "29"], "--to 29 lies after its last record, of update 20"),
        (two[0], ["--from", "5", "--to", "9", "--checkpoints", str(tmp_path / "absent")], "found no folder"),
        (two[0], ["--from", "5", "--to", "9", "--out", str(tmp_path)], "that does not exist yet"),
    ):
        with pytest.raises(UserError, match=says):
            main([str(dump), *out, *words])
    assert list(tmp_path.iterdir()) == []
    imported = Path(shutil.copytree(two[0], tmp_path / "imported.zarr"))
    group = zarr.open_group(imported, mode="r+", use_consolidated=False)
    group.attrs["imported"] = {"from": "elsewhere"}
    with pytest.raises(UserError, match="was imported"):
        main([str(imported), "--from", "5", "--to", "9", *out])
    assert "versions" in described.root([], {}, {}, {}, None, 0, {})
