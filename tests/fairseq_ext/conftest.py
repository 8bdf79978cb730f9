"""What the tests of fairseq_ext share: a tiny corpus, a launcher of fairseq's commands, and one uninterrupted recorded run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pair_corpus import SHARES, make_pairs, pair_arguments
from running import LAST, Launcher, Run, arguments
from tiny_corpus import make_corpus


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    launcher = Launcher(tmp_path_factory.mktemp("processes"))
    yield launcher
    launcher.close()


@pytest.fixture(scope="session")
def corpus(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(launcher, tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def recorded(launcher: Launcher, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The uninterrupted run that others are compared with. Read only."""
    folder = tmp_path_factory.mktemp("recorded")
    done = launcher.run("train", arguments(corpus, folder, "--tensorboard-logdir", folder / "tb", last=LAST))
    assert done.status == 0, done.said[-3000:]
    return Run(folder, done)


@pytest.fixture(scope="session")
def pairs_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared corpus of sentence pairs. Read only."""
    return make_pairs(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="session")
def pair_runs(launcher: Launcher, pairs_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One recorded run of an epoch for each arm of E4, in ``E4/<arm>/seed1``. Read only."""
    folder = tmp_path_factory.mktemp("runs") / "E4"
    runs = {arm: folder / arm / "seed1" for arm in SHARES}
    for arm, run in runs.items():
        done = launcher.run("train", pair_arguments(pairs_corpus, run, arm, last=6))
        assert done.status == 0, done.said[-3000:]
    return runs


@pytest.fixture(scope="session")
def bpe_run(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a corpus with GPT-2's BPE ids as dictionary, rows of BPE ids reversed against their order. Read only."""
    folder = tmp_path_factory.mktemp("bpe")
    for split in ("train", "valid"):
        (folder / split).write_text("".join(f"{k} {k + 5} {7 * k} 13\n" for k in range(300)))
    (folder / "dict.txt").write_text("".join(f"{index} 1\n" for index in reversed(range(50257))))
    only = ["--only-source", "--workers", 1, "--padding-factor", 1, "--tokenizer", "space"]
    texts = ["--trainpref", folder / "train", "--validpref", folder / "valid", "--srcdict", folder / "dict.txt"]
    done = launcher.run("preprocess", [*only, *texts, "--destdir", folder / "corpus"])
    assert done.status == 0, done.said
    small = "--encoder-embed-dim 8 --encoder-ffn-embed-dim 8 --batch-size 2 --encoder-layers 3".split()
    done = launcher.run("train", arguments(folder / "corpus", folder / "run", *small, last=2, record=False))
    assert done.status == 0, done.said[-3000:]
    return folder / "run"


@pytest.fixture(scope="session")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A treebank of invented sentences."""
    folder = tmp_path_factory.mktemp("bank")
    sentences = {
        "train": [["A/DET", "dog/NOUN", "barks/VERB", "loudly/ADV"], ["Walrusification/NOUN", "helps/VERB"]] * 6,
        "dev": [["The/DET", "dog/NOUN", "sleeps/VERB"]] * 4 + [["very/ADV"] * 80],
    }
    for split, content in sentences.items():
        blocks = []
        for sentence in content:
            pairs = [word.split("/") for word in sentence]
            lines = [f"{n}\t{form}\t_\t{tag}\t_\t_\t_\t_\t_\t_" for n, (form, tag) in enumerate(pairs, 1)]
            blocks.append("\n".join(lines) + "\n\n")
        (folder / f"en_ewt-ud-{split}.conllu").write_text("".join(blocks))
    return folder
