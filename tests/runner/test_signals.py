"""Ctrl-C and SIGTERM reach the training, which may write down its work; the user is told how to go on."""

import json
import os
import signal
from pathlib import Path

import pytest

SMOKE = ("--profile", "smoke", "--only", "E1")
RUN = "runs/smoke/E1/base/seed1"

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    """A FIFO that the fake training writes to; reading it waits for the training without a sleep."""
    path = tmp_path / "ready"
    os.mkfifo(path)
    return path


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_reaches_the_training_and_the_run_goes_on_later(project, ready, number, status):
    process = project.start(*SMOKE, FAKE="wait", READY=str(ready))
    assert ready.read_text() == "ready"
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert (project.root / RUN / "flushed").read_text() == number.name
    assert "bash scripts/run_all.sh --profile smoke" in err
    assert "Traceback" not in err
    assert json.loads((project.root / RUN / "run.json").read_text())["finished"] is False
    project.calls()

    code, out, _ = project.run(*SMOKE)
    assert code == 0
    assert "resumes" in out
    assert [call.split()[0] for call in project.calls()] == ["train", "report"]


def test_a_second_signal_kills_a_training_that_does_not_end(project, ready):
    process = project.start(*SMOKE, FAKE="deaf", READY=str(ready))
    assert ready.read_text() == "ready"
    process.send_signal(signal.SIGTERM)
    assert ready.read_text() == "heard"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143


def test_two_at_once_are_refused_even_while_only_the_training_lives(project, ready):
    process = project.start(*SMOKE, FAKE="wait", READY=str(ready))
    assert ready.read_text() == "ready"
    try:
        for action in (lambda: None, lambda: (process.kill(), process.communicate(timeout=60))):
            action()
            code, _, err = project.run(*SMOKE)
            assert code == 1
            assert len(err.splitlines()) == 1
            assert "is at work in runs/smoke" in err
    finally:
        training = children_of(project.root)
        assert training, "the training has gone"
        for number in training:
            os.kill(number, signal.SIGKILL)


def children_of(folder: Path) -> list[int]:
    """Processes that work in `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink() == folder:
                found.append(int(entry.name))
        except OSError:
            continue
    return found
