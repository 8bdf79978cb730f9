"""E2 in run_all.sh: what it calls and in which order."""

from pathlib import Path

SMOKE = ("--profile", "smoke", "--only", "E2")
FOLDERS = [f"runs/smoke/E2/{arm}/seed1" for arm in ("base", "shuffled")]


def test_both_texts_are_trained_and_their_layers_read_together(project):
    code, _, err = project.run(*SMOKE)
    assert (code, err) == (0, "")
    corpus, shuffled, *trainings, layers, last = project.calls()
    assert corpus.startswith("corpus")
    assert shuffled == "shuffled data-bin/wikipedia-smoke --data-bin data-bin"
    texts = ("data-bin/wikipedia-smoke", "data-bin/wikipedia-smoke-shuffled")
    assert sorted(trainings) == sorted(f"train {run} {data}" for run, data in zip(FOLDERS, texts, strict=True))
    numbers = "--vectors 64 --tokens 600 --untrained 2"
    assert layers == f"layers -m fairseq_ext.evaluate.layers {' '.join(FOLDERS)} {numbers}"
    assert last.startswith("report")
    assert project.run(*SMOKE)[0] == 0
    assert project.calls() == []


def test_layers_are_read_again_where_a_file_of_theirs_is_gone(project):
    assert project.run(*SMOKE)[0] == 0
    project.calls()
    Path(project.root / FOLDERS[1] / "layers.npz").unlink()
    assert project.run(*SMOKE)[0] == 0
    assert [call.split()[0] for call in project.calls()] == ["layers", "report"]
