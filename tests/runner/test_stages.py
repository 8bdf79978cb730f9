"""run_all.sh skips what is finished, resumes what is not, and never mixes two trainings in one folder."""

import json
import subprocess
from pathlib import Path

import pytest

SMOKE = ("--profile", "smoke", "--only", "E1")
RUN = "runs/smoke/E1/base/seed1"


def kinds(calls: list[str]) -> list[str]:
    return [call.split()[0] for call in calls]


def test_runs_every_stage_once_and_then_nothing(project):
    code, out, err = project.run(*SMOKE)
    assert (code, err) == (0, "")
    assert kinds(project.calls()) == ["corpus", "train", "report"]
    assert "[4/4] report" in out
    assert out.splitlines()[-1] == "report: report/smoke/index.html"

    code, out, _ = project.run(*SMOKE)
    assert code == 0
    assert project.calls() == []
    assert out.count("finished before") == 3


def test_profiles_have_folders_of_their_own_and_options_move_them(project, tmp_path):
    assert project.run("--profile", "quick", "--only", "E1")[0] == 0
    assert (project.root / "runs/E1/base/seed1/run.json").exists()
    assert (project.root / "report/index.html").exists()
    elsewhere = tmp_path / "else where"
    assert project.run(*SMOKE, "--runs", str(elsewhere), "--report", str(elsewhere / "r"))[0] == 0
    assert (elsewhere / "E1/base/seed1/run.json").exists()
    assert (elsewhere / "r/report.json").exists()


def test_run_json_says_what_was_run_and_that_it_finished(project):
    project.run(*SMOKE)
    content = json.loads((project.root / RUN / "run.json").read_text())
    assert content["finished"] is True
    assert (content["experiment"], content["arm"], content["seed"], content["profile"]) == ("E1", "base", 1, "smoke")
    assert content["data"] == "data-bin/wikipedia-smoke"
    assert content["command"].endswith("bash scripts/train_e1.sh")
    assert content["seconds"] > 0
    assert set(content["hardware"]) == {"cpu", "cores", "memory", "gpu"}
    assert content["hardware"]["cores"] >= 1


def test_a_failed_training_shows_its_last_lines_and_resumes(project):
    code, out, err = project.run(*SMOKE, FAKE="fail")
    assert code == 1
    assert "exit status 3" in err
    assert "the reason of the failure" in err
    assert f"{RUN}/log/train.out" in err
    assert "report" not in kinds(project.calls())
    failed = json.loads((project.root / RUN / "run.json").read_text())
    assert failed["finished"] is False

    _, _, err = project.run(*SMOKE, FAKE="fail")
    assert err.count("the reason of the failure") == 1  # this attempt's lines only
    assert kinds(project.calls()) == ["train"]

    code, out, _ = project.run(*SMOKE)
    assert code == 0
    assert kinds(project.calls()) == ["train", "report"]
    assert "E1 training, base, seed 1: resumes" in out
    finished = json.loads((project.root / RUN / "run.json").read_text())
    assert finished["finished"] is True
    assert finished["seconds"] > failed["seconds"] > 0


def test_a_stage_that_makes_nothing_is_a_failure(project):
    code, _, err = project.run(*SMOKE, FAKE="no-dump")
    assert code == 1
    assert "made no" in err
    assert "dump.zarr/zarr.json" in err
    assert json.loads((project.root / RUN / "run.json").read_text())["finished"] is False


def test_the_report_is_made_again_after_a_new_training_only(project):
    project.run(*SMOKE)
    project.calls()
    code, _, _ = project.run(*SMOKE, "--seeds", "2")
    assert code == 0
    calls = project.calls()
    assert calls[0] == "train runs/smoke/E1/base/seed2"
    assert kinds(calls) == ["train", "report"]
    (project.root / "report/smoke/index.html").unlink()
    project.run(*SMOKE, "--seeds", "2")
    assert kinds(project.calls()) == ["report"]


@pytest.mark.parametrize("fake", ["fail", ""])
def test_another_command_over_a_run_is_refused_in_one_line(project, fake):
    project.run(*SMOKE, FAKE=fake)
    project.calls()
    code, _, err = project.run("--profile", "quick", "--runs", "runs/smoke")
    assert code == 1
    assert len(err.splitlines()) == 1
    assert ("a finished run" if not fake else "an unfinished run") in err
    assert "--runs" in err
    assert project.calls() == []
    assert json.loads((project.root / RUN / "run.json").read_text())["profile"] == "smoke"


def test_a_lost_corpus_is_made_again(project):
    project.run(*SMOKE)
    project.calls()
    (project.root / "data-bin/wikipedia-smoke/train.bin").unlink()
    project.run(*SMOKE)
    assert kinds(project.calls()) == ["corpus"]


def test_a_corpus_of_the_users_own_needs_no_script(project):
    folder = project.root / "data-bin/mytext"
    code, _, err = project.run("--corpus", "mytext")
    assert code == 2
    assert "prepare_text.sh --name mytext" in err
    folder.mkdir(parents=True)
    (folder / "dict.txt").touch()
    assert project.run("--corpus", "mytext", "--only", "E1")[0] == 0
    assert kinds(project.calls()) == ["train", "report"]
    assert json.loads((project.root / "runs/E1/base/seed1/run.json").read_text())["data"] == "data-bin/mytext"


def test_a_folder_that_cannot_be_written_is_one_line(project):
    (project.root / "blocked").write_text("a file")
    code, _, err = project.run(*SMOKE, "--runs", "blocked")
    assert code == 1
    assert len(err.splitlines()) == 1
    assert "cannot write to blocked" in err


def test_run_all_sh_passes_its_options_and_status(project):
    done = subprocess.run(
        ["bash", str(project.root / "scripts/run_all.sh"), "--only", "E9"],
        cwd=Path("/"),
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin"},
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "E9" in done.stderr
