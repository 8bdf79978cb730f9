"""A few kills of the campaign that benchmarks/kills.py runs at length, and that the campaign would see what it looks for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import kill_campaign
import pytest
from file_events import FileEvents
from kill_campaign import ENCODINGS, LAST, STREAMS, Campaign, Kill, Outcome, Violation, Whole, examine, finish, plan
from running import TABLE, Launcher, load

from fairseq_ext import failpoints

pytestmark = pytest.mark.train
WINDOWS = f"tables/{TABLE}/windows"
PLANNED = {  # a run of each encoding, with kills at the commit's every step and at two moments that only file events name
    "lossless": (Kill("committed", 9), Kill(kill_campaign.UPDATE, 5, 40), Kill("cut-values", 1)),
    "lossy": (Kill("snapshot-values", 20), Kill(kill_campaign.START, 0, 30), Kill("copy-checkpoint", 1)),
}


@pytest.fixture(scope="module")
def campaign(launcher: Launcher, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    return Campaign(launcher, corpus, tmp_path_factory.mktemp("campaign"))


@pytest.fixture
def copied(campaign: Campaign, tmp_path: Path) -> tuple[Path, Whole]:
    """A copy of the uninterrupted run, and that run."""
    whole = campaign.uninterrupted("lossless")
    return Path(shutil.copytree(whole.folder, tmp_path / "run")), whole


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_killed_runs_end_as_the_uninterrupted_one(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    number = ENCODINGS.index(encoding)
    monkeypatch.setattr(
        kill_campaign, "plan", lambda seed, number: kill_campaign.Plan(number, encoding, PLANNED[encoding])
    )
    campaign.outcome = Outcome()
    campaign.run(0, number)
    assert campaign.outcome == Outcome(
        kills=Counter(kill.at for kill in PLANNED[encoding]), by_encoding=Counter({encoding: 3}), runs=1
    )
    assert not (campaign.folder / f"seed0-run{number}").exists()


def test_a_seed_decides_every_kill_and_every_failpoint_has_its_turn() -> None:
    plans = [plan(1, number) for number in range(20)]
    assert plans == [plan(1, number) for number in range(20)]
    assert plans != [plan(2, number) for number in range(20)]
    times = Counter(kill.at for planned in plans for kill in planned.kills)
    reached = {name for name in failpoints.NAMES if not name.startswith("prune-")}
    assert {name: times[name] >= 4 for name in reached} == dict.fromkeys(reached, True)
    assert set(times) == {*reached, kill_campaign.UPDATE, kill_campaign.START}
    assert Counter(planned.encoding for planned in plans) == {"lossless": 10, "lossy": 10}


def test_the_uninterrupted_run_passes(copied: tuple[Path, Whole]) -> None:
    run, whole = copied
    assert examine(run, whole) == LAST
    finish(run, whole)
    assert [load(file)["optimizer_history"][-1]["num_updates"] for file in (run / "checkpoints").glob("*_last.pt")] == [
        LAST
    ]
    assert {name for name in whole.arrays if name.endswith("/update")} == {f"{stream}/update" for stream in STREAMS}


def shorten(dump: Path, stream: str, length: int) -> None:
    """Let a stream list fewer updates, in all three places that say how many there are."""
    for place, below in ((f"{stream}/update", None), (stream, ""), ("", f"{stream}/")):
        file = dump / place / "zarr.json"
        node = json.loads(file.read_text())
        if below is None:
            node["shape"][0] = length
        else:
            for name, member in node["consolidated_metadata"]["metadata"].items():
                if name.startswith(below) and (member.get("dimension_names") or [""])[0] == "update":
                    member["shape"][0] = length
        file.write_text(json.dumps(node))


def test_an_update_that_a_checkpoint_covers_and_the_dump_lacks_is_seen(copied: tuple[Path, Whole]) -> None:
    run, whole = copied
    shorten(run / "dump.zarr", WINDOWS, 40)
    with pytest.raises(Violation, match=r"windows lacks updates \[40\], which a checkpoint at update 40 covers"):
        examine(run, whole)
    (run / "checkpoints/checkpoint_last.pt").unlink()
    assert examine(run, whole) == 35  # the numbered one


def test_a_listed_record_that_is_not_there_is_seen(copied: tuple[Path, Whole]) -> None:
    run, whole = copied
    (run / "dump.zarr" / WINDOWS / "residual/c/12/0/0").unlink()
    with pytest.raises(Violation, match="the dump is damaged"):
        examine(run, whole)


def test_a_record_with_other_values_is_seen_though_its_sum_fits(copied: tuple[Path, Whole]) -> None:
    run, whole = copied
    chunks = run / "dump.zarr" / WINDOWS / "residual/c"
    shutil.copy(chunks / "12/0/0", chunks / "13/0/0")
    with pytest.raises(Violation, match="residual differs from the uninterrupted run's"):
        examine(run, whole)


def test_a_lost_dump_is_seen(copied: tuple[Path, Whole]) -> None:
    run, whole = copied
    shutil.rmtree(run / "dump.zarr")
    with pytest.raises(Violation, match="a checkpoint covers update 40, and there is no dump"):
        examine(run, whole)


WRITER = """
import os, sys
folder = sys.argv[1]
for number in range(5):
    os.mkdir(f"{folder}/{number}")
    with open(f"{folder}/{number}/file.tmp", "w") as file:
        file.write("x")
    os.rename(f"{folder}/{number}/file.tmp", f"{folder}/{number}/file")
sys.stdin.read()
"""


def test_file_events_are_counted_also_in_new_folders_and_the_end_of_the_process_is_seen(tmp_path: Path) -> None:
    with FileEvents(tmp_path) as events:
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdin=subprocess.PIPE)
        assert events.wait(5, process.pid)  # the making of five folders, whatever is seen of their files
        process.stdin.close()
        assert not events.wait(10**6, process.pid)
        assert process.wait() == 0
        assert not events.wait(1, process.pid)
    with FileEvents(tmp_path) as events:
        assert not events.wait(1, process.pid)
        os.replace(tmp_path / "0/file", tmp_path / "0/moved")
        assert events.wait(0, os.getpid())
        assert events.wait(2, os.getpid())  # from and to
