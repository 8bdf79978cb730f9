"""E5 in run_all.sh: what it calls and in which order, and what its script gives to fairseq-train for each arm."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.cause_sizes import ARMS

ROOT = Path(__file__).resolve().parents[2]
SMOKE = ("--profile", "smoke", "--only", "E5")
FOLDERS = [f"runs/smoke/E5/{arm}/seed1" for arm in ("adam", "coupled")]

# What the script must end up with, option by option; fairseq takes the last of each.
ADAM = {"optimizer": "fused_adam", "criterion": "masked_lm"}
EXPECTED = {
    "adam": ADAM,
    "coupled": {**ADAM, "optimizer": "coupled_adam"},
    "amsgrad": {**ADAM, "optimizer": "embedding_amsgrad"},
    "sgd": {**ADAM, "optimizer": "embedding_sgd", "embedding-lr-scale": "30", "embedding-momentum": "0.9"},
    "nodecay": {**ADAM, "optimizer": "undecayed_adam"},
    "centred": {**ADAM, "optimizer": "centered_adam"},
    "cosine": {**ADAM, "criterion": "remedied_masked_lm", "cosine-regularization": "1.0"},
    "gating": {**ADAM, "criterion": "remedied_masked_lm", "gradient-gating": True},
}


def kinds(calls: list[str]) -> list[str]:
    return [call.split()[0] for call in calls]


# -- stages --------------------------------------------------------------------------------------------------------------------


def test_arms_are_trained_and_evaluated_together_on_held_out_text(project):
    code, out, err = project.run(*SMOKE)
    assert (code, err) == (0, "")
    corpus, *trainings, evaluation, last = project.calls()
    assert corpus.startswith("corpus")
    assert sorted(trainings) == [f"train {FOLDERS[0]} adam 0", f"train {FOLDERS[1]} coupled 0"]
    numbers = "--held-out 20 --seen 0 --unseen 0 --masks 1"
    assert evaluation == f"evaluate -m fairseq_ext.evaluate {' '.join(FOLDERS)} {numbers}"
    assert last.startswith("report")
    assert "E5 training, coupled, seed 1" in out
    about = json.loads((project.root / FOLDERS[1] / "run.json").read_text())
    assert (about["experiment"], about["arm"], about["seed"], about["finished"]) == ("E5", "coupled", 1, True)
    assert project.run(*SMOKE)[0] == 0
    assert project.calls() == []


def test_an_arm_that_failed_is_resumed_alone_and_all_are_evaluated_then(project):
    code, _, err = project.run(*SMOKE, FAIL="coupled")
    assert code == 1
    assert "E5 training, coupled, seed 1 failed (exit status 3)" in err
    assert "evaluate" not in kinds(project.calls())
    code, out, _ = project.run(*SMOKE)
    assert code == 0
    assert "E5 training, coupled, seed 1: resumes" in out
    calls = project.calls()
    assert calls[0] == f"train {FOLDERS[1]} coupled 0"
    assert kinds(calls) == ["train", "evaluate", "report"]
    assert all(folder in calls[1] for folder in FOLDERS)


def test_what_is_lost_or_trained_again_is_evaluated_again(project):
    assert project.run(*SMOKE)[0] == 0
    project.calls()
    (project.root / FOLDERS[0] / "evaluation.npz").unlink()
    assert project.run(*SMOKE)[0] == 0
    assert kinds(project.calls()) == ["evaluate", "report"]
    (
        project.root / FOLDERS[0] / "dump.zarr/zarr.json"
    ).unlink()  # trained again, so what was evaluated is another model's
    assert project.run(*SMOKE)[0] == 0
    assert kinds(project.calls()) == ["train", "evaluate", "report"]


def test_chosen_arms_alone_are_trained_and_evaluated(project):
    assert project.run(*SMOKE, "--arms", "coupled")[0] == 0
    calls = project.calls()
    assert kinds(calls) == ["corpus", "train", "evaluate", "report"]
    assert calls[1] == f"train {FOLDERS[1]} coupled 0"
    assert FOLDERS[0] not in calls[2]
    assert project.run(*SMOKE)[0] == 0  # and then the others
    calls = project.calls()
    assert kinds(calls) == ["train", "evaluate", "report"]
    assert all(folder in calls[1] for folder in FOLDERS)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--only", "E5", "--arms", "adam,mine"], "--arms: expected a list of adam, coupled; found adam,mine"),
        (["--only", "E5", "--arms", ","], "--arms: expected a list of adam, coupled; found ,"),
        (["--arms", "adam"], "--arms: expected --only E5 with it, whose arms can be chosen"),
        (["--only", "E4,E5", "--arms", "adam"], "--arms: expected --only E5 with it, whose arms can be chosen"),
    ],
)
def test_arms_that_cannot_be_chosen_are_one_line(project, options, words):
    code, out, err = project.run("--profile", "smoke", *options)
    assert (code, err, out) == (2, f"run_all: {words}\n", "")
    assert project.calls() == []


def test_standard_trains_every_arm_tied_and_some_untied_at_equal_sizes(project):
    code, out, _ = project.run("--profile", "standard", "--only", "E5", "--dry-run")
    assert code == 0
    runs = {}
    for line in out.splitlines():
        if "train_e5.sh" in line:
            words = dict(word.split("=", 1) for word in shlex.split(line) if "=" in word)
            runs[words.pop("RUN")] = words
    untied = ("adam", "coupled", "amsgrad", "sgd")
    names = {**{arm: (arm, "0") for arm in ARMS}, **{f"{arm}-untied": (arm, "1") for arm in untied}}
    folder = "runs/standard/E5/{}/seed{}"
    assert set(runs) == {folder.format(name, seed) for name in names for seed in (1, 2, 3)}
    for name, (arm, tables) in names.items():
        found = runs[folder.format(name, 2)]
        assert (found.pop("ARM"), found.pop("UNTIED"), found.pop("SEED")) == (arm, tables, "2")
        assert ("SGD_LR_SCALE" in found, "GATING_MEMORY" in found) == (arm == "sgd", arm == "gating")
        own = ("SGD_LR_SCALE", "GATING_MEMORY")
        rest = {key: value for key, value in found.items() if key not in own}
        assert rest == runs[folder.format("adam", 2)]


# -- the script ----------------------------------------------------------------------------------------------------------------


def start(folder: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """scripts/train_e5.sh with a stand-in for fairseq-train that prints what it is given."""
    fake = folder / "fairseq-train"
    fake.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    fake.chmod(0o755)
    given = {"RUN": str(folder / "run"), "DEVICE": "cpu", "FAIRSEQ_TRAIN": str(fake), **variables}
    return subprocess.run(
        ["bash", "scripts/train_e5.sh", *options],
        cwd=ROOT,
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def last_of_each(words: list[str]) -> dict[str, str | bool]:
    """The options by name; True for one without a value."""
    found: dict[str, str | bool] = {}
    for word, following in zip(words, [*words[1:], "--"], strict=True):
        if word.startswith("--"):
            found[word[2:]] = True if following.startswith("--") else following
    return found


@pytest.mark.parametrize("untied", ["0", "1"])
@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_differs_from_adam_in_its_rule_or_remedy_alone(arm, untied, tmp_path):
    done = start(tmp_path, ARM=arm, UNTIED=untied, SGD_LR_SCALE="30")
    assert (done.returncode, done.stderr) == (0, "")
    found = last_of_each(json.loads(done.stdout))
    base = last_of_each(json.loads(start(tmp_path).stdout))
    assert {name: found.pop(name) for name in EXPECTED[arm]} == EXPECTED[arm]
    assert found.pop("untie-weights-roberta", False) == (untied == "1")
    assert found == {name: value for name, value in base.items() if name not in EXPECTED[arm]}


def test_all_arms_train_in_32_bits_on_equal_tokens_and_record_their_causes(tmp_path):
    schedules = {"CAUSE": "every:7", "MOMENTS": "at:0;9", "TRACE_STATE": "every:8"}
    done = start(tmp_path, "--mask-prob", "0.2", TOKENS="300", REPEAT="2", UPDATES="30", **schedules)
    found = last_of_each(json.loads(done.stdout))
    wanted = {"autocast": "off", "weight-decay": "0.01", "adam-betas": "(0.9,0.98)", "adam-eps": "1e-6"}
    wanted |= {"fast-head": True, "tied-gradient": True, "fast-dropout": True, "keep-freed-memory": True}
    wanted |= {"sample-pool": "random", "sample-repeat": "2", "sample-tokens-per-update": "300", "max-update": "30"}
    wanted |= {"record-cause": "every:7", "record-moments": "at:0;9", "record-trace-state": "every:8"}
    wanted |= {"mask-prob": "0.2", "record-dir": f"{tmp_path}/run/dump.zarr"}
    assert {name: found.get(name) for name in wanted} == wanted


def test_the_gates_memory_is_given_where_it_is_set(tmp_path):
    assert "gating-memory" not in last_of_each(json.loads(start(tmp_path, ARM="gating").stdout))
    assert last_of_each(json.loads(start(tmp_path, ARM="gating", GATING_MEMORY="50").stdout))["gating-memory"] == "50"


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [("ARM", "adamw", "adam, coupled, amsgrad, sgd, nodecay"), ("UNTIED", "yes", "0 or 1")],
)
def test_a_wrong_arm_is_one_line_before_anything_is_written(variable, value, expected, tmp_path):
    done = start(tmp_path, **{variable: value})
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert f"expected {variable}={expected}" in done.stderr
    assert done.stderr.strip().endswith(f"found {value}")
    assert not (tmp_path / "run").exists()


def test_the_folder_is_named_after_the_arm(tmp_path):
    (tmp_path / "scripts").mkdir()
    for name in ("train_e1.sh", "train_e5.sh"):
        (tmp_path / "scripts" / name).write_bytes((ROOT / "scripts" / name).read_bytes())
    environment = {name: value for name, value in os.environ.items() if name != "RUN"}
    subprocess.run(
        ["bash", "scripts/train_e5.sh"],
        cwd=tmp_path,
        env={**environment, "ARM": "sgd", "UNTIED": "1", "DEVICE": "cpu", "FAIRSEQ_TRAIN": "true"},
        check=True,
        timeout=60,
    )
    assert (tmp_path / "runs/E5/sgd-untied/seed1/log").is_dir()
