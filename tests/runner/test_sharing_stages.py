"""E4 in run_all.sh: what it calls and in which order, another corpus of pairs, and what happens where the corpus cannot be had."""

import json

import pytest

SMOKE = ("--profile", "smoke")
E4 = (*SMOKE, "--only", "E4")
ARMS = ("none", "decoder", "all")


def test_arms_are_trained_timed_together_and_translated(project):
    code, _, err = project.run(*E4)
    assert (code, err) == (0, "")
    corpus, *trainings, last = project.calls()
    assert corpus == "pairs --name libreoffice-smoke --limit-pairs 3000 --vocabulary 1000"
    assert last.startswith("report")
    folders = [f"runs/smoke/E4/{arm}/seed1" for arm in ARMS]
    assert sorted(trainings[:3]) == sorted(f"train {folder} {arm}" for folder, arm in zip(folders, ARMS, strict=True))
    assert (
        trainings[3] == f"-m fairseq_ext.translate.speed {' '.join(folders)} --out runs/smoke/E4/speed.json --rounds 8"
    )
    plain = "--beam 1 --max-tokens 4000 --sentences 200 --cpu"
    assert sorted(trainings[4:]) == sorted(f"-m fairseq_ext.translate {folder} {plain}" for folder in folders)
    assert json.loads((project.root / folders[2] / "run.json").read_text())["arm"] == "all"
    assert project.run(*E4)[0] == 0
    assert project.calls() == []


def test_the_other_experiments_go_on_without_the_pairs(project):
    code, out, err = project.run(*SMOKE, NO_PAIRS="1")
    assert code == 0
    assert "E4 is left out; the rest goes on" in out
    assert err.splitlines() == ["run_all: E4 is not in it: error: neither apt nor network"]
    calls = project.calls()
    assert not any("E4" in call for call in calls)
    assert sum(call.startswith("train runs/smoke/E1") for call in calls) == 1
    assert calls[-1].startswith("report")
    assert project.run(*E4, NO_PAIRS="1")[0] == 1  # asked for by name
    assert project.run(*SMOKE)[0] == 0
    assert sum("E4" in call for call in project.calls() if call.startswith("train")) == 3


@pytest.mark.parametrize("name", ["mine", "libreoffice-smoke"])
def test_a_corpus_of_pairs_that_is_there_is_taken_as_it_is(project, name):
    if name == "mine":
        code, _, err = project.run(*E4, "--pairs", name)
        assert code == 2
        assert f"prepare_pairs.sh --name {name}" in err
    folder = project.root / "data-bin" / name
    folder.mkdir(parents=True)
    (folder / "corpus.json").write_text(json.dumps({"languages": ["fr", "en"]}))
    code, out, _ = project.run(*E4, "--pairs", name, "--dry-run")
    assert code == 0
    assert "prepare_" not in out
    assert out.count(f"DATA=data-bin/{name} ") == 3
    assert out.count("SOURCE=fr TARGET=en ") == 3  # as its corpus.json says


def test_iwslt14_is_trained_in_the_direction_in_which_it_is_split(project):
    code, out, _ = project.run("--profile", "gpu", "--only", "E4", "--dry-run", "--seeds", "1")
    assert code == 0
    assert "prepare_iwslt14.sh" in out
    assert out.count("SOURCE=de TARGET=en ") == 3
