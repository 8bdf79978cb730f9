"""Experiments measured side by side: the same report to the byte, and one line where a process fails."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import cause_runs
import pytest
import repetition_runs

import measured
import report
from cli import run
from measured import MeasuringError, Settings, measure_all
from runs import find_runs

ROOT = Path(__file__).resolve().parents[2]


class Deadly(dict):
    """Ends the process that receives it."""

    def __reduce__(self):
        return os._exit, (3,)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    repetition_runs.make_arm(folder / "runs", repetition_runs.Arm("random8", repeat=8), evaluated=False)
    cause_runs.make_arm(
        folder / "runs", cause_runs.Arm("coupled", streams=("snapshots", "statistics")), evaluated=False
    )
    return folder / "runs"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_processes_side_by_side_give_the_same_report_to_the_byte(runs, tmp_path, capsys):
    said = []
    for jobs in (1, 2):
        words = ["--runs", str(runs), "--out", str(tmp_path / f"{jobs}"), "--points", "40", "--jobs", str(jobs)]
        assert report.main(words) == 0
        said.append(capsys.readouterr().out.splitlines()[:-1])
        assert sorted(line.split()[1] for line in said[-1][:2]) == ["E3", "E5"]
        assert [line.partition(" (")[2] for line in said[-1][:2]] == ["1 of 2)", "2 of 2)"]
    assert said[0][2:] == said[1][2:]
    one, two = contents(tmp_path / "1"), contents(tmp_path / "2")
    assert len(one) > 8
    assert one == two


def test_figures_that_cannot_be_written_are_told_by_the_process_that_asked(runs, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="file") as error:
        measure_all(find_runs(runs), Settings(tmp_path / "file" / "figures", 40), jobs=2)
    assert str(tmp_path / "file") in str(error.value.filename)


def test_a_process_that_is_killed_gives_one_line_and_leaves_nothing(runs, tmp_path, monkeypatch):
    with pytest.raises(MeasuringError, match="--jobs 1"):
        measure_all(find_runs(runs), Settings(tmp_path / "figures", 40, Deadly()), jobs=2)
    monkeypatch.setattr(report, "Settings", lambda figures, points, tags: Settings(figures, points, Deadly()))
    out = tmp_path / "report"
    with pytest.raises(SystemExit) as ended:
        run(lambda: report.main(["--runs", str(runs), "--out", str(out), "--jobs", "2"]))
    assert str(ended.value.code).startswith("error: a process that measured an experiment was ended")
    assert contents(out) == {}


def workers_of(process: subprocess.Popen) -> list[int]:
    """The ids of the processes that measure, once both are there."""
    while process.poll() is None:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        found = [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
        if len(found) == 2:
            return found
        os.sched_yield()
    pytest.fail(process.communicate()[0])


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_measures_on_when_the_report_was_ended(runs, tmp_path, number):
    words = [sys.executable, ROOT / "analysis" / "report.py", "--runs", runs, "--out", tmp_path / "out", "--jobs", "2"]
    process = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which a shell's background jobs ignore
    )
    ends = [os.pidfd_open(worker) for worker in workers_of(process)]
    process.send_signal(number)
    said = process.communicate(timeout=60)[0]
    for end in ends:
        assert select.select([end], [], [], 60)[0], "a worker lives on"
        os.close(end)
    if number == signal.SIGINT:
        assert "interrupted" in said.splitlines()  # a process that had not begun may add a traceback of Python's
        assert process.returncode == 1
        assert list((tmp_path / "out").iterdir()) == []


def test_jobs_are_no_more_than_cores_and_memory_allow(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 12_000_000_000 // 4096}
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)
    assert measured.usual_jobs() == 2
    pages["SC_PHYS_PAGES"] = 100_000
    assert measured.usual_jobs() == 1
    pages["SC_PHYS_PAGES"] = 10**9
    assert measured.usual_jobs() == 8


def test_fewer_than_one_job_is_one_line(runs, tmp_path):
    with pytest.raises(SystemExit, match="--jobs: expected at least 1, found 0"):
        report.main(["--runs", str(runs), "--out", str(tmp_path / "report"), "--jobs", "0"])
