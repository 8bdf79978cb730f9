"""``check``: healthy dumps of every kind are whole, every kind of damage is found and named, and nothing is ever changed."""

from __future__ import annotations

import contextlib
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from small_dumps import (
    LISTED,
    OTHER,
    SNAPSHOTS,
    STATISTICS,
    TABLE,
    TRACES,
    TRACES_CHUNK,
    contents_of,
    run_command,
    said_by,
    write_dump,
)

from fairseq_ext.recording import chunks, store
from fairseq_ext.recording.command import main
from fairseq_ext.recording.dump_check import check_dump
from fairseq_ext.recording.findings import DAMAGED, NO_DUMP, WHOLE, Findings
from fairseq_ext.recording.telling import advise, lines


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only."""
    return write_dump(tmp_path_factory.mktemp("healthy") / "dump.zarr")


@pytest.fixture
def dump(healthy: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(healthy, tmp_path / "dump.zarr"))


def stream(found: Findings, key: str) -> Any:
    return next(s for s in found.streams if s.key == key)


def change_json(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def flip(file: Path, place: int = 5) -> None:
    raw = bytearray(file.read_bytes())
    raw[place] ^= 16
    file.write_bytes(raw)


def test_a_healthy_dump_is_whole(healthy: Path) -> None:
    before = contents_of(healthy.parent)
    found = check_dump(healthy)
    assert found.verdict == WHOLE
    assert (found.problems, found.metadata, found.notes, found.leftovers, found.surplus_files) == ([], [], [], [], 0)
    assert {s.key: s.updates for s in found.streams} == {
        SNAPSHOTS: LISTED["snapshots"],
        TRACES: LISTED["traces"],
        STATISTICS: LISTED["statistics"],
        "exposure/tokens": LISTED["exposure"],
        "exposure/examples": LISTED["exposure"],
    }
    chunks_of_snapshots = [f for f in (healthy / SNAPSHOTS / "values/c").rglob("*") if f.is_file()]
    assert stream(found, SNAPSHOTS).bytes == sum(f.stat().st_size for f in chunks_of_snapshots)
    assert contents_of(healthy.parent) == before


def test_a_translation_is_whole(tmp_path: Path) -> None:
    found = check_dump(write_dump(tmp_path / "dump.zarr", pairs=True))
    assert found.verdict == WHOLE
    assert {s.key for s in found.streams} == {
        *(f"tables/{t}/{s}" for t in (TABLE, OTHER) for s in ("snapshots", "traces", "statistics")),
        *(f"exposure/{s}" for s in ("source", "target", "examples")),
    }


def test_a_dump_whose_recording_has_not_begun_is_whole(tmp_path: Path) -> None:
    nothing = {key: [] for key in LISTED}
    assert check_dump(write_dump(tmp_path / "none.zarr", listed=nothing)).verdict == WHOLE
    first = {key: [0] for key in LISTED}
    assert check_dump(write_dump(tmp_path / "first.zarr", listed=first)).verdict == WHOLE


@pytest.mark.parametrize("what", ["flipped", "cut short", "emptied", "longer", "gone"])
@pytest.mark.parametrize(
    ("key", "chunk", "lost"),
    [
        (SNAPSHOTS, "values/c/3/1/0", [4]),
        (SNAPSHOTS, "values/c/0/0/0", [0]),
        (TRACES, "values/c/0/0/0", LISTED["traces"][:10]),
        (STATISTICS, "drift/c/0", LISTED["statistics"]),
        (STATISTICS, "norm_mean/c/0", LISTED["statistics"]),
        (STATISTICS, "update_shared_group/c/0/0", LISTED["statistics"]),
        (STATISTICS, "spearman_all/c/0", LISTED["statistics"]),
        ("exposure/tokens", "visible/c/2/0", [10]),
        ("exposure/tokens", "replacement/c/3/0", [20]),
        ("exposure/examples", "drawn/c/1/0", [1]),
    ],
)
def test_a_damaged_chunk_loses_the_records_that_it_holds(
    dump: Path, what: str, key: str, chunk: str, lost: list[int]
) -> None:
    file = dump / key / chunk
    match what:
        case "flipped":
            flip(file)
        case "cut short":
            file.write_bytes(file.read_bytes()[:-9])
        case "emptied":
            file.write_bytes(b"")
        case "longer":
            file.write_bytes(file.read_bytes() + b"more")
        case "gone":
            file.unlink()
    before = contents_of(dump)
    found = check_dump(dump)
    assert found.verdict == DAMAGED
    assert sorted(stream(found, key).lost) == lost
    assert all(s.whole for s in found.streams if s.key != key)
    assert found.beyond_mending == []
    assert contents_of(dump) == before
    said = "\n".join(lines(found))
    assert chunk.partition("/")[0] in said
    assert any("prune" in text for text in advise(found))


def test_every_flipped_byte_of_a_chunk_is_found(dump: Path) -> None:
    """Also those of the checksum itself."""
    file = dump / SNAPSHOTS / "values/c/1/0/0"
    size = file.stat().st_size
    for place in (0, size // 2, size - 5, size - 4, size - 1):
        whole = file.read_bytes()
        flip(file, place)
        assert sorted(stream(check_dump(dump), SNAPSHOTS).lost) == [1], place
        file.write_bytes(whole)
    assert check_dump(dump).verdict == WHOLE


def remove_all(dump: Path) -> None:
    shutil.rmtree(dump / SNAPSHOTS)


def lengthen(dump: Path) -> None:
    change_json(dump / SNAPSHOTS / "update/zarr.json", lambda m: m.update(shape=[10]))


def not_increasing(dump: Path) -> None:
    zarr.open_array(dump / SNAPSHOTS / "update", mode="r+")[3] = 2


def consolidated_type(dump: Path) -> None:
    def change(root: dict[str, Any]) -> None:
        root["consolidated_metadata"]["metadata"][f"{SNAPSHOTS}/values"]["data_type"] = "float64"

    change_json(dump / "zarr.json", change)


def consolidated_lengths(dump: Path) -> None:
    def change(root: dict[str, Any]) -> None:
        root["consolidated_metadata"]["metadata"][f"{SNAPSHOTS}/values"]["shape"][0] = 3

    change_json(dump / "zarr.json", change)


def consolidated_gone(dump: Path) -> None:
    change_json(dump / "zarr.json", lambda root: root.pop("consolidated_metadata"))


def consolidated_member_gone(dump: Path) -> None:
    change_json(
        dump / "zarr.json", lambda root: root["consolidated_metadata"]["metadata"].pop(f"{TRACES}/values")
    )  # fmt: skip


def nan_in_a_snapshot(dump: Path) -> None:
    zarr.open_array(dump / SNAPSHOTS / "values", mode="r+")[2, 50, 3] = np.nan


def infinity_in_a_trace(dump: Path) -> None:
    zarr.open_array(dump / TRACES / "values", mode="r+")[2, 1, 3] = np.inf


DAMAGE: dict[str, tuple[Callable[[Path], None], str, bool]] = {
    "no tokens": (lambda d: (d / f"tables/{TABLE}/tokens.json").unlink(), "tokens.json is missing", True),
    "half of the tokens": (lambda d: (d / f"tables/{TABLE}/tokens.json").write_text('["a", "b'), "tokens.json cannot be read", True),
    "other tokens": (lambda d: (d / f"tables/{TABLE}/tokens.json").write_text('["a"]'), "tokens.json should list 60 texts", True),
    "counts gone": (lambda d: (d / f"tables/{TABLE}/rows/count/c/0").unlink(), "counts and groups do not agree", True),
    "counts flipped": (lambda d: flip(d / f"tables/{TABLE}/rows/count/c/0"), "rows/count cannot be read", True),
    "groups gone": (lambda d: (d / f"tables/{TABLE}/rows/group/c/0").unlink(), "counts and groups do not agree", True),
    "counted gone": (lambda d: (d / f"tables/{TABLE}/rows/counted/c/0").unlink(), "counted rows and groups do not agree", True),
    "group attributes": (lambda d: change_json(d / f"tables/{TABLE}/rows/zarr.json", lambda m: m.update(attributes={})), "attribute groups", True),
    "table attributes": (lambda d: change_json(d / f"tables/{TABLE}/zarr.json", lambda m: m.update(attributes={})), "lack rows and dim", True),
    "traced tokens gone": (lambda d: (d / TRACES / "token/c/0").unlink(), "token is not increasing", True),
    "update gone": (lambda d: (d / SNAPSHOTS / "update/c/0").unlink(), "nobody knows its updates", True),
    "update flipped": (lambda d: flip(d / SNAPSHOTS / "update/c/0"), "nobody knows its updates", True),
    "update longer": (lambda d: (d / SNAPSHOTS / "update/c/0").open("ab").write(b"x"), "nobody knows its updates", True),
    "update without metadata": (lambda d: (d / SNAPSHOTS / "update/zarr.json").unlink(), "update/zarr.json is missing", True),
    "values without metadata": (lambda d: (d / SNAPSHOTS / "values/zarr.json").unlink(), "values/zarr.json is missing", True),
    "an array gone": (lambda d: shutil.rmtree(d / STATISTICS / "drift"), "drift/zarr.json is missing", True),
    "a stream gone": (remove_all, "update/zarr.json is missing", True),
    "values of another width": (lambda d: change_json(d / SNAPSHOTS / "values/zarr.json", lambda m: m["shape"].__setitem__(2, 11)), "along dim", True),
    "metadata cut": (lambda d: (d / SNAPSHOTS / "values/zarr.json").write_text('{"zarr_fo'), "values/zarr.json cannot be read", True),
    "root cut": (lambda d: (d / "zarr.json").write_text('{"zarr_fo'), "zarr.json cannot be read", True),
    "root gone": (lambda d: (d / "zarr.json").unlink(), "zarr.json is missing", True),
    "no tables listed": (lambda d: change_json(d / "zarr.json", lambda m: m["attributes"].pop("tables")), "list no tables", True),
    "update too long": (lengthen, "2 entries of update stand for no record", False),
    "update not increasing": (not_increasing, "update is not increasing", False),
    "not a number": (nan_in_a_snapshot, "update 2: values has values that are not finite", False),
    "infinity": (infinity_in_a_trace, "update 4: values has values that are not finite", False),
    "consolidated type": (consolidated_type, "consolidated metadata of the root differ", False),
    "consolidated lengths": (consolidated_lengths, "several lengths", False),
    "consolidated gone": (consolidated_gone, "no consolidated metadata", False),
    "consolidated lacks": (consolidated_member_gone, "of the root lack", False),
    "group metadata gone": (lambda d: (d / SNAPSHOTS / "zarr.json").unlink(), "its zarr.json is missing", True),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found_and_named(dump: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    damage, message, beyond = DAMAGE[name]
    damage(dump)
    before = contents_of(dump)
    status, said = said_by(capsys, main, ["check", dump])
    assert status == 1, said
    assert message in said
    assert "damaged: " in said
    assert ("to do: restore the dump" in said) == beyond
    assert ("prune" in said) != beyond
    assert contents_of(dump) == before


def test_what_is_no_dump(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("mine")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.create_group(tmp_path / "foreign", zarr_format=3).create_array("a", data=np.arange(3))
        zarr.create_group(tmp_path / "old", zarr_format=2)
    newer = write_dump(tmp_path / "newer")
    change_json(newer / "zarr.json", lambda root: root["attributes"].update(format_version=2))
    words = {
        "empty": "found a folder without zarr.json",
        "file": "found a file",
        "absent": "found nothing",
        "foreign": "of another program",
        "old": "found a folder without zarr.json",
        "newer": "its format version is 2, this program knows 1",
    }
    before = contents_of(tmp_path)
    for name, message in words.items():
        status, said = said_by(capsys, main, ["check", tmp_path / name])
        assert (status, message in said) == (2, True), said
    assert contents_of(tmp_path) == before


def test_several_dumps_and_the_worst_status(dump: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = write_dump(tmp_path / "run" / "dump.zarr", seed=8)
    assert said_by(capsys, main, ["check", dump, other.parent])[0] == 0
    assert said_by(capsys, main, ["check", dump, tmp_path / "absent"])[0] == 2
    flip(other / SNAPSHOTS / "values/c/1/0/0")
    status, said = said_by(capsys, main, ["check", dump, tmp_path / "absent", other.parent])
    assert status == 1
    assert said.splitlines()[-1] == "3 dumps: 1 whole, 1 not a dump, 1 damaged"


def test_json_says_all(dump: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flip(dump / SNAPSHOTS / "values/c/3/0/0")
    status, said = said_by(capsys, main, ["check", "--json", dump])
    report = json.loads(said)
    assert status == report["exit_status"] == 1
    (found,) = report["dumps"]
    assert found["verdict"] == "damaged"
    (entry,) = (s for s in found["streams"] if s["stream"] == SNAPSHOTS)
    assert entry["lost"] == [{"update": 4, "reason": "values/c/3/0/0 is damaged (its checksum does not fit)"}]
    assert (entry["records"], entry["first_update"], entry["last_update"]) == (8, 0, 20)
    assert found["advice"]


def test_options_that_are_none(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for words in ([], ["check"], ["check", "--fast", "x"], ["mend", "x"]):
        assert said_by(capsys, main, words) == (2, "")


@pytest.mark.parametrize("name", ["snapshot-values", "stream-values", "coordinate-chunk", "committed"])
def test_what_a_killed_commit_leaves_is_harmless(dump: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Surplus chunks are counted, lagging metadata are noted, and the dump is whole."""

    class Killed(Exception):
        pass

    def reach(reached: str) -> None:
        if reached == name:
            raise Killed

    key, chunk, shape = (TRACES, TRACES_CHUNK, (3, 12)) if name == "stream-values" else (SNAPSHOTS, 1, (60, 12))
    grown = store.Stream(store.Store(dump), key, chunk)
    monkeypatch.setattr(store.failpoints, "reach", reach)
    with contextlib.suppress(Killed):
        grown.append(30, {"values": np.ones(shape, np.float32)})
        grown.commit()
        pytest.fail("the failpoint was not reached")
    (dump / SNAPSHOTS / "values/c/9.__lock").write_bytes(b"")
    found = check_dump(dump)
    assert found.verdict == WHOLE, lines(found)
    assert found.surplus_files == (0 if name in ("stream-values", "committed") else 2)
    assert stream(found, SNAPSHOTS).updates[-1] == (30 if name == "committed" else 20)
    assert ("lag behind" in " ".join(found.notes)) == (name == "committed")
    assert found.leftovers == [f"{SNAPSHOTS}/values/c/9.__lock"]


def test_a_killed_cut_is_harmless(dump: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(Exception):
        pass

    def reach(reached: str) -> None:
        raise Killed

    snapshots = store.Stream(store.Store(dump), SNAPSHOTS, 1)
    monkeypatch.setattr(store.failpoints, "reach", reach)
    with pytest.raises(Killed):
        snapshots.cut(9)
    found = check_dump(dump)
    assert found.verdict == WHOLE, lines(found)
    assert stream(found, SNAPSHOTS).updates == [0, 1, 2, 4, 8]
    assert found.surplus_files == 6


def test_the_lost_records_and_a_checkpoint_that_brings_them_back(dump: Path) -> None:
    flip(dump / SNAPSHOTS / "values/c/6/0/0")  # update 16
    assert "train again with --record-overwrite" in advise(check_dump(dump))[0]
    folder = dump.parent / "checkpoints"
    folder.mkdir()
    for name in ("checkpoint_1_10.pt", "checkpoint_1_14.pt", "checkpoint_2_16.pt", "checkpoint_last.pt", "checkpoint1.pt"):  # fmt: skip
        (folder / name).write_bytes(b"")
    advice = advise(check_dump(dump))[0]
    assert f"--restore-file {folder / 'checkpoint_1_14.pt'}; it goes on at update 14" in advice


def test_memory_is_bounded_and_the_order_kept() -> None:
    under_way: list[int] = []
    most = 0

    def items() -> Any:
        nonlocal most
        for number in range(50):
            under_way.append(number)
            most = max(most, len(under_way))
            yield number

    for number, result in chunks.in_parallel(lambda n: n * n, items(), threads=3):
        assert result == number**2
        under_way.remove(number)
    assert most <= 3
    assert under_way == []


def test_progress_is_said_for_long_work_only() -> None:
    class Screen:
        def __init__(self, terminal: bool) -> None:
            self.terminal, self.text = terminal, ""

        def isatty(self) -> bool:
            return self.terminal

        def write(self, text: str) -> None:
            self.text += text

        def flush(self) -> None:
            pass

    for terminal, seconds, said in ((False, 1, 0), (False, 40, 2), (True, 1, 2), (True, 0.01, 0)):
        screen, now = Screen(terminal), [0.0]
        progress = chunks.Progress("checking x", 2000, screen, lambda now=now: now[0])  # type: ignore[arg-type]
        for _ in range(2):
            now[0] += seconds
            progress.add(1000)
        progress.close()
        assert screen.text.count("checking x") == said
        assert ("100 % (2.0 kB of 2.0 kB)" in screen.text) == bool(said)


def test_the_command_itself(healthy: Path) -> None:
    done = run_command("check", healthy, "--json")
    assert done.status == 0, done.said
    assert json.loads(done.stdout)["dumps"][0]["verdict"] == WHOLE
    assert run_command("check", healthy / "absent").status == 2
    assert check_dump(healthy / "absent").verdict == NO_DUMP
