"""Small trainings run side by side; what comes after them waits for all, and one that fails takes none with it."""

import json
import os
from pathlib import Path

import pytest

from experiments import stages
from experiments.stages import Stage, room, time_left

ARMS = ("distinct", "random8", "diverse8", "narrow8")
SMOKE = ("--profile", "smoke", "--only", "E3")

pytestmark = pytest.mark.timeout(90)


def trained(calls: list[str]) -> list[str]:
    return [Path(call.split()[1]).parent.name for call in calls if call.startswith("train ")]


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    if hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core: trainings run one after the other")


@pytest.mark.usefixtures("cores")
def test_two_trainings_run_at_once(project, tmp_path):
    """Of the fake trainings, each waits until another one is there: one after the other they would never end."""
    meet = tmp_path / "meet"
    meet.mkdir()
    os.mkfifo(meet / "fifo")
    code, out, err = project.run(*SMOKE, MEET=str(meet))
    assert (code, err) == (0, "")
    calls = project.calls()
    assert sorted(trained(calls)) == sorted(ARMS)
    kinds = [call.split()[0] for call in calls]
    assert kinds == ["corpus", "topics", *["train"] * 4, "evaluate", "report"]
    assert "[5/9] E3 training, random8, seed 1" in out
    for arm in ARMS:
        assert json.loads((project.root / f"runs/smoke/E3/{arm}/seed1/run.json").read_text())["finished"] is True


def test_a_failure_lets_the_neighbours_end_and_the_rest_goes_on_later(project):
    code, out, err = project.run(*SMOKE, FAIL="random8")
    assert code == 1
    assert "E3 training, random8, seed 1 failed (exit status 3)" in err
    assert "the reason of the failure" in err
    calls = project.calls()
    assert "random8" in trained(calls)
    assert not any(call.split()[0] in ("evaluate", "report") for call in calls)
    finished = {
        path.parts[-3]: json.loads(path.read_text())["finished"]
        for path in (project.root / "runs/smoke/E3").glob("*/seed1/run.json")
    }
    assert finished.pop("random8") is False
    assert all(finished.values())

    code, out, _ = project.run(*SMOKE)
    assert code == 0
    assert "random8, seed 1: resumes" in out
    calls = project.calls()
    assert sorted([*finished, *trained(calls)]) == sorted(ARMS)
    assert [call.split()[0] for call in calls][-2:] == ["evaluate", "report"]


def test_a_run_that_cannot_be_noted_fails_alone_and_leaves_no_process(project):
    """run.json is a folder, so that it can be read by nobody and written by nobody: as on a full disk."""
    folder = project.root / "runs/smoke/E3/random8/seed1/run.json"
    (folder / "in the way").mkdir(parents=True)
    code, _, err = project.run(*SMOKE)
    assert code == 1
    assert "Traceback" not in err
    assert "random8" in err
    finished = [p for p in (project.root / "runs/smoke/E3").glob("*/seed1/run.json") if p.is_file()]
    assert finished
    assert all(json.loads(path.read_text())["finished"] for path in finished)


def test_time_left_counts_what_runs_side_by_side(tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "cores", lambda: 4)
    monkeypatch.setattr(stages, "memory", lambda: 100 << 30)
    assert (room(0), room(1), room(2), room(9)) == (1, 4, 2, 1)
    made = [
        Stage(str(k), ("true",), tmp_path / "log", seconds=10, threads=threads)
        for k, threads in enumerate((0, 1, 1, 2))
    ]
    assert time_left(made) == pytest.approx(10 + 10 + 10)  # two of one thread each at once
    monkeypatch.setattr(stages, "memory", lambda: 7 << 30)
    assert room(1) == 2
    monkeypatch.setattr(stages, "cores", lambda: 1.5)
    assert room(1) == 1
    assert time_left(made) == pytest.approx(10 + 20 + 10)
