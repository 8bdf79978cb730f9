"""What the tests of fairseq_ext share: a tiny corpus, a launcher of fairseq's commands, and one uninterrupted recorded run."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import LAST, Launcher, Run, arguments

FILLERS = 5
ABSENT = 25


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    launcher = Launcher(tmp_path_factory.mktemp("processes"))
    yield launcher
    launcher.close()


def make_corpus(launcher: Launcher, folder: Path, seed: int = 1, words: int = 300) -> Path:
    """Binarise invented text: 400 lines of a Zipf-like language; the dictionary has words that never occur, and madeupword entries."""
    random_numbers = random.Random(seed)
    names = [f"w{number:03d}" for number in range(words)]
    weights = [1 / (rank + 3) for rank in range(words)]
    raw = folder / "raw"
    raw.mkdir(parents=True)
    for split, lines in (("train", 400), ("valid", 20)):
        text = [" ".join(random_numbers.choices(names, weights, k=random_numbers.randint(5, 14))) for _ in range(lines)]
        (raw / split).write_text("\n".join(text) + "\n")
    absent = [f"absent{number:02d}" for number in range(ABSENT)]
    fillers = [f"madeupword{number:04d}" for number in range(FILLERS)]
    (raw / "dict.txt").write_text("".join(f"{word} 1\n" for word in [*names, *absent, *fillers]))
    done = launcher.run(
        "preprocess",
        [
            "--only-source",
            "--trainpref",
            raw / "train",
            "--validpref",
            raw / "valid",
            "--srcdict",
            raw / "dict.txt",
            "--destdir",
            folder / "corpus",
            "--workers",
            1,
            "--padding-factor",
            1,
            "--tokenizer",
            "space",
        ],
    )
    assert done.status == 0, done.said
    return folder / "corpus"


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
