"""The commands that run_all.sh prints: one a line, complete, understood by a shell and by fairseq's own parser."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import run
from experiments.profiles import PROFILES
from experiments.registry import EXPERIMENTS, Experiment

ROOT = Path(__file__).resolve().parents[2]


def dry_run(capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    """The commands; the plan is tested in test_plan.py."""
    assert run.main([*options, "--dry-run"]) == 0
    return [line for line in capsys.readouterr().out.splitlines() if not line.startswith("#")]


def split(line: str) -> tuple[dict[str, str], list[str]]:
    """A line's assignments and its words."""
    words = shlex.split(line)
    count = next(i for i, word in enumerate(words) if "=" not in word)
    return dict(word.split("=", 1) for word in words[:count]), words[count:]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Options that point to empty folders, so that nothing is finished there."""
    monkeypatch.chdir(ROOT)
    return (
        "--runs",
        str(tmp_path / "my runs"),
        "--data-bin",
        str(tmp_path / "data"),
        "--report",
        str(tmp_path / "report"),
    )


@pytest.mark.parametrize("profile", PROFILES)
def test_each_line_is_a_command_of_a_file_that_is_there(profile, elsewhere, capsys):
    lines = dry_run(capsys, "--profile", profile, *elsewhere)
    seeds, repetition = len(PROFILES[profile].seeds), PROFILES[profile].repetition
    arms = len(repetition.arms) if repetition else 0
    own = len(repetition.seeds) or seeds if repetition else 0
    sharing = PROFILES[profile].sharing
    runs = len(sharing.arms) * (len(sharing.seeds) or seeds) if sharing else 0
    translations = 2 + 2 * runs if sharing else 0  # corpus, speed, each run's training and translation
    layers = PROFILES[profile].layers
    layered = len(layers.arms) * (len(layers.seeds) or seeds) + 2 if layers else 0  # shuffled corpus, layers' files
    cause = PROFILES[profile].cause
    caused = (len(cause.arms) + len(cause.untied)) * (len(cause.seeds) or seeds) + 1 if cause else 0  # one evaluation
    assert len(lines) == 3 + seeds + layered + (arms * own + 2 if arms else 0) + translations + caused
    for line in lines:
        _, words = split(line)
        assert words[0] in ("bash", ".venv/bin/python")
        done = subprocess.run(["bash", "-n", "-c", line], check=False)
        assert done.returncode == 0
        if words[0] == "bash":
            assert (ROOT / words[1]).is_file()


def test_the_same_options_give_the_same_lines_and_seeds_and_folders_follow_them(elsewhere, capsys):
    options = ("--profile", "smoke", "--only", "E1", "--seeds", "4,7", *elsewhere)
    lines = dry_run(capsys, *options)
    assert lines == dry_run(capsys, *options)
    trainings = [split(line)[0] for line in lines if "train_e1.sh" in line]
    assert [variables["SEED"] for variables in trainings] == ["4", "7"]
    assert [variables["RUN"] for variables in trainings] == [f"{elsewhere[1]}/E1/base/seed{k}" for k in (4, 7)]
    assert f"{elsewhere[3]}/wikipedia-smoke" == trainings[0]["DATA"]


def test_seeds_asked_for_are_everyones_and_else_an_experiment_may_have_its_own(elsewhere, capsys):
    def trained(*options: str) -> list[str]:
        lines = dry_run(capsys, "--profile", "standard", "--only", "E3", *options, *elsewhere)
        return sorted({split(line)[0]["SEED"] for line in lines if "train_e3.sh" in line})

    assert trained() == ["1", "2", "3"]
    assert trained("--seeds", "1") == ["1"]


@pytest.mark.parametrize(("experiment", "more"), [("E3", 0), ("E2", 4)])
def test_a_treebank_is_used_where_it_is_there(elsewhere, capsys, experiment, more):
    def evaluation() -> str:
        lines = dry_run(capsys, "--only", experiment, *elsewhere)
        return next(line for line in lines if "fairseq_ext.evaluate" in line)

    assert "--treebank" not in evaluation()
    folder = Path(elsewhere[3]) / "ud_ewt"
    folder.mkdir(parents=True)
    (folder / "treebank.json").touch()
    words = split(evaluation())[1]
    assert words[len(words) - more - 2 :][:2] == ["--treebank", str(folder)]
    report = next(line for line in dry_run(capsys, "--only", experiment, *elsewhere) if "report.py" in line)
    assert f"--treebank {folder}" in report


def test_works_with_the_standard_library_alone_and_before_any_set_up(tmp_path):
    """Without site-packages (-S), from another folder: the first line goes to the project's root."""
    done = subprocess.run(
        [sys.executable, "-S", str(ROOT / "scripts/run_all.py"), "--dry-run", "--runs", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == f"cd {shlex.quote(str(ROOT))}"


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (
            ("--only", "E3", "--profile", "study"),
            "the profile study has no size for it; these have: smoke, quick, standard, gpu",
        ),
        (("--only", "E1,E7"), "expected a list of E1"),
        (("--only", ","), "expected a list of E1"),
        (("--seeds", "x"), "--seeds"),
        (("--seeds", "0"), "--seeds"),
        (("--seeds", "1,1"), "--seeds"),
        (("--corpus", "nowhere"), "prepare_text.sh --name nowhere"),
    ],
)
def test_wrong_options_are_one_line(options, part, capsys):
    assert run.main([*options, "--dry-run"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert part in captured.err


def test_an_experiment_that_is_not_built_yet_is_one_line(capsys, monkeypatch):
    monkeypatch.setitem(run.EXPERIMENTS, "E6", Experiment("E6", "to come"))
    assert run.main(["--only", "E6", "--dry-run"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert "E6 is not there yet in this version; there is E1, E2, E3, E4, E5" in captured.err


@pytest.mark.parametrize(("text", "expected"), [("3", (1, 2, 3)), ("2,5", (2, 5)), ("4,", (4,)), ("1", (1,))])
def test_seeds(text, expected):
    assert run.seeds(text, PROFILES["quick"]) == expected


def test_list_names_every_profile_and_experiment(capsys):
    assert run.main(["--list"]) == 0
    out = capsys.readouterr().out
    for name in (*PROFILES, *EXPERIMENTS):
        assert name in out


def test_a_gpu_is_asked_for_only_where_there_is_one(tmp_path):
    env = {**os.environ, "DEVICE": "gpu", "RUN": str(tmp_path), "FAIRSEQ_TRAIN": "true"}
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    env["PATH"] = f"{tmp_path}{os.pathsep}{env['PATH']}"
    done = subprocess.run(
        ["bash", "scripts/train_e1.sh"], cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "DEVICE=cpu" in done.stderr
