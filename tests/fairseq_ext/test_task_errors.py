"""What a user can get wrong: one clear line on stderr, no traceback, status 1, and nothing created."""

from __future__ import annotations

import json
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from running import Launcher, Run, arguments, arrays, assert_whole, load, nothing_but_checkpoints
from tiny_corpus import make_corpus

from fairseq_ext.errors import UserError
from fairseq_ext.recording.config import RecordingConfig, check
from fairseq_ext.recording.corpus import count_tokens, require_whole

train = pytest.mark.train


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"record_dir": "", "record_overwrite": True}, "--record-overwrite.* need --record-dir"),
        ({"record_dir": "", "record_tables": "x"}, "need --record-dir"),
        ({"record_dir": "", "record_trace_tokens": "x"}, "need --record-dir"),
        ({"record_dir": "", "record_snapshots": "often"}, "--record-snapshots: expected a comma list"),
        ({f"record_{n}": "none" for n in ("statistics", "movement", "traces", "snapshots")}, "every --record-.* schedule is none"),
        ({"record_traces": "none", "record_trace_tokens": "x"}, "--record-trace-tokens is given but --record-traces is none"),
        ({"record_snapshots": "none"}, "--record-movement.*--record-snapshots at:0, or --record-movement none"),
        ({"record_queue": 0}, "--record-queue: expected at least 1, found 0"),
        ({"record_trace_sample": -1}, "--record-trace-sample: expected at least 0, found -1"),
        ({"record_traces": "every:0"}, r"--record-traces: expected .*N >= 1"),
        ({"record_statistics": "window:9:3"}, r"--record-statistics: expected .*A <= B"),
        ({"record_movement": "every:x"}, "--record-movement: expected"),
    ],
)  # fmt: skip
def test_options_that_contradict_one_another(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        check(RecordingConfig(**{"record_dir": "dump.zarr", **options}))
    assert "\n" not in str(caught.value)


def test_no_recording_needs_no_options() -> None:
    assert check(RecordingConfig()) is None


def broken(corpus: Path, folder: Path, damage: str) -> Path:
    """A copy of a corpus with one thing wrong."""
    copy = Path(shutil.copytree(corpus, folder / "broken"))
    match damage:
        case "no folder":
            shutil.rmtree(copy)
        case "no dictionary":
            (copy / "dict.txt").unlink()
        case "not a dictionary":
            (copy / "dict.txt").write_text("some text\nof another kind\n")
        case "binary dictionary":
            (copy / "dict.txt").write_bytes(bytes(range(128, 256)) * 10)
        case "no index":
            (copy / "train.idx").unlink()
        case "text":
            (copy / "train.bin").write_text("the quick brown fox\n")
        case "cut":
            (copy / "train.bin").write_bytes((copy / "train.bin").read_bytes()[:-1000])
        case "cut by a byte":
            (copy / "train.bin").write_bytes((copy / "train.bin").read_bytes()[:-1])
        case "empty":
            (copy / "train.bin").write_bytes(b"")
        case "longer":
            (copy / "train.bin").write_bytes((copy / "train.bin").read_bytes() + bytes(64))
        case "index cut":
            (copy / "train.idx").write_bytes((copy / "train.idx").read_bytes()[:20])
        case "index cut late":
            (copy / "train.idx").write_bytes((copy / "train.idx").read_bytes()[:-8])
        case "index of another kind":
            (copy / "train.idx").write_bytes(b"TNTIDX\x00\x00" + bytes(100))
        case "other dictionary":
            lines = (copy / "dict.txt").read_text().splitlines(keepends=True)
            (copy / "dict.txt").write_text("".join(lines[:50]))
    return copy


DAMAGES = {
    "no folder": "found no folder",
    "no dictionary": "found no dict.txt",
    "not a dictionary": r"dictionary .*dict\.txt",
    "binary dictionary": r"dictionary .*dict\.txt",
    "no index": "found no train.idx",
    "text": "cut short",
    "cut": "cut short",
    "cut by a byte": "cut short",
    "empty": "holds 0 bytes",
    "longer": "cut short",
    "index cut": "cannot be read",
    "index cut late": "cannot be read|cut short",
    "index of another kind": "cannot be read",
    "other dictionary": "binarised with another dictionary",
}


@pytest.mark.parametrize("damage", [d for d in DAMAGES if "dictionary" not in d and "folder" not in d])
def test_a_split_that_is_not_whole_is_refused_in_one_line(corpus: Path, tmp_path: Path, damage: str) -> None:
    copy = broken(corpus, tmp_path, damage)
    with pytest.raises(UserError, match=DAMAGES[damage]) as caught:
        require_whole(copy / "train")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError):
        count_tokens(copy / "train", 10**6)


def test_an_empty_split_is_refused(launcher: Launcher, tmp_path: Path) -> None:
    (tmp_path / "train.bin").write_bytes(b"")
    (tmp_path / "train.idx").write_bytes(struct.pack("<9sQBQ", b"MMIDIDX\x00\x00", 1, 8, 0))
    with pytest.raises(UserError, match=r"expected text in .*found none"):
        require_whole(tmp_path / "train")


def test_a_whole_split_is_read_as_fairseq_reads_it(corpus: Path) -> None:
    from fairseq.data.indexed_dataset import MMapIndexedDataset

    dataset = MMapIndexedDataset(str(corpus / "train"))
    assert require_whole(corpus / "train") == (dataset._index.dtype, len(dataset))
    counts, examples = count_tokens(corpus / "train", 335)
    assert examples == 400
    assert (
        counts.tolist() == np.bincount(np.concatenate([dataset[i].numpy() for i in range(400)]), minlength=335).tolist()
    )


@train
@pytest.mark.parametrize(
    "damage", ["no folder", "no dictionary", "not a dictionary", "binary dictionary", "no index", "cut", "index cut", "other dictionary"]
)  # fmt: skip
def test_a_foreign_corpus_is_refused_in_one_line(launcher: Launcher, corpus: Path, tmp_path: Path, damage: str) -> None:
    done = launcher.run("train", arguments(broken(corpus, tmp_path, damage), tmp_path / "run"))
    assert re.search(DAMAGES[damage], done.error), done.error
    assert "num_updates" not in done.said
    assert nothing_but_checkpoints(tmp_path / "run")


@train
@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--ddp-backend", "fully_sharded"], "fully_sharded (FSDP)"),
        (["--fp16"], "--fp16 needs a GPU"),
        (["--bf16"], "takes --bf16 for one"),
        (["--memory-efficient-fp16"], "keep no fp32 master weights"),
        (["--memory-efficient-bf16"], "keep no fp32 master weights"),
        (["--record-snapshots", "every:0"], "--record-snapshots: expected"),
        (["--record-snapshots", "none"], "--record-snapshots none"),
        (["--record-tables", "nothing*"], "--record-tables: 'nothing*' matches no parameter"),
        (["--record-trace-tokens", "absent.txt"], "absent.txt cannot be read"),
    ],
)
def test_options_are_refused_before_training(
    launcher: Launcher, corpus: Path, tmp_path: Path, more: list[str], message: str
) -> None:
    done = launcher.run("train", arguments(corpus, tmp_path / "run", *more))
    assert message in done.error
    assert "num_updates" not in done.said
    assert nothing_but_checkpoints(tmp_path / "run")


@train
@pytest.mark.parametrize("place", ["below a file", "a file", "another folder", "another zarr"])
def test_a_place_that_cannot_hold_a_dump(launcher: Launcher, corpus: Path, tmp_path: Path, place: str) -> None:
    target = tmp_path / "place"
    if place in ("below a file", "a file"):
        target.write_text("mine")
    else:
        target.mkdir()
        (target / "mine").write_text("mine")
        if place == "another zarr":
            (target / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {}}))
    dump = target / "dump.zarr" if place == "below a file" else target
    for more in ([], ["--record-overwrite"]):
        done = launcher.run("train", arguments(corpus, tmp_path / "run", "--record-dir", dump, *more))
        assert str(dump) in done.error
        assert "num_updates" not in done.said
        assert (target if target.is_file() else target / "mine").read_text() == "mine"
        assert {p.name for p in tmp_path.iterdir()} <= {"place", "run"}


@pytest.fixture(scope="module")
def short(launcher: Launcher, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of four updates. Copied by each test."""
    folder = tmp_path_factory.mktemp("short")
    done = launcher.run("train", arguments(corpus, folder, last=4))
    assert done.status == 0, done.said[-3000:]
    return Run(folder, done)


@pytest.fixture
def run(short: Run, tmp_path: Path) -> Path:
    return Path(shutil.copytree(short.folder, tmp_path / "run"))


def contents(dump: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in dump.rglob("*") if p.is_file()}


def format_two(corpus: Path, run: Path) -> list[object]:
    metadata = json.loads((run / "dump.zarr/zarr.json").read_text())
    metadata["attributes"]["format_version"] = 2
    (run / "dump.zarr/zarr.json").write_text(json.dumps(metadata))
    return []


def not_json(corpus: Path, run: Path) -> list[object]:
    (run / "dump.zarr/zarr.json").write_text("{")
    return []


def options(*more: object) -> Callable[[Path, Path], list[object]]:
    return lambda corpus, run: list(more)


@train
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (options("--seed", 2), "seed differ"),
        (options("--record-traces", "every:2"), "schedules differ"),
        (options("--record-trace-sample", 2), "traced tokens differ"),
        (options("--encoder-layers", 1), "model differ"),
        (options("--untie-weights-roberta"), "tables differ"),
        (format_two, "format version 2, this program writes 1"),
        (not_json, "dump.zarr"),
    ],
)
def test_another_dump_is_refused_with_what_differs_and_left_alone(
    launcher: Launcher, corpus: Path, run: Path, change: Callable[[Path, Path], list[object]], message: str
) -> None:
    more = change(corpus, run)
    shutil.rmtree(run / "checkpoints")
    before = contents(run / "dump.zarr")
    done = launcher.run("train", arguments(corpus, run, *more, last=6))
    assert message in done.error
    assert contents(run / "dump.zarr") == before


@train
def test_a_damaged_dump_is_refused(launcher: Launcher, corpus: Path, run: Path) -> None:
    next((run / "dump.zarr").rglob("traces/zarr.json")).unlink()
    done = launcher.run("train", arguments(corpus, run, last=6))
    assert "damaged" in done.error


@train
def test_another_corpus_is_refused(launcher: Launcher, run: Path, tmp_path: Path) -> None:
    other = make_corpus(launcher, tmp_path / "other", seed=2)
    shutil.rmtree(run / "checkpoints")
    done = launcher.run("train", arguments(other, run, last=6))
    assert "training split" in done.error
    assert "dictionary" not in done.error.partition("another run")[2].partition("differ")[0]


@train
def test_a_finished_dump_without_its_checkpoint_is_refused_and_record_overwrite_starts_anew(
    launcher: Launcher, corpus: Path, run: Path, short: Run
) -> None:
    shutil.rmtree(run / "checkpoints")
    before = contents(run / "dump.zarr")
    done = launcher.run("train", arguments(corpus, run, last=4))
    assert "covers a checkpoint at update 4, but training starts at update 0" in done.error
    assert contents(run / "dump.zarr") == before
    again = launcher.run("train", arguments(corpus, run, "--record-overwrite", "--seed", 2, last=4))
    assert again.status == 0, again.said[-3000:]
    assert "deleting the dump" in again.said
    assert {p.name for p in run.iterdir()} == {"checkpoints", "dump.zarr"}
    one, other = (
        next(v for k, v in arrays(d / "dump.zarr").items() if "snapshots/values" in k) for d in (run, short.folder)
    )
    assert one.shape == other.shape
    assert (one != other).any()


@train
def test_a_dump_that_lost_records_is_refused(launcher: Launcher, corpus: Path, run: Path, short: Run) -> None:
    shutil.rmtree(run / "dump.zarr")
    (run / "elsewhere").mkdir()
    assert launcher.run("train", arguments(corpus, run / "elsewhere", last=2)).status == 0
    shutil.move(run / "elsewhere/dump.zarr", run / "dump.zarr")
    done = launcher.run("train", arguments(corpus, run, last=6))
    assert "lacks updates that the checkpoint at update 4 covers" in done.error


@train
def test_a_new_dump_may_begin_at_a_checkpoint(launcher: Launcher, corpus: Path, run: Path) -> None:
    done = launcher.run(
        "train", arguments(corpus, run, "--record-dir", run / "new.zarr", "--record-traces", "every:2", last=7)
    )
    assert done.status == 0, done.said[-3000:]
    assert "the recording begins at update 4: drift from update 0 is not known" in done.said
    found = {k.split("/", 2)[2]: v for k, v in arrays(run / "new.zarr").items()}
    assert found["traces/update"].tolist() == [4, 6]
    assert found["statistics/update"].tolist() == [4, 5, 6, 7]
    more = launcher.run(
        "train", arguments(corpus, run, "--record-dir", run / "new.zarr", "--record-traces", "every:2", last=9)
    )
    assert more.status == 0, more.said[-3000:]


@train
def test_a_finished_run_that_is_run_again_stays_whole(launcher: Launcher, corpus: Path, run: Path) -> None:
    """fairseq takes one more update before it looks at --max-update; the dump and the checkpoint go along."""
    done = launcher.run("train", arguments(corpus, run, last=4))
    assert done.status == 0, done.said[-3000:]
    updates = next(v for k, v in assert_whole(run / "dump.zarr").items() if k.endswith("statistics/update"))
    reached = load(run / "checkpoints/checkpoint_last.pt")["optimizer_history"][-1]["num_updates"]
    assert updates.tolist() == list(range(reached + 1))
