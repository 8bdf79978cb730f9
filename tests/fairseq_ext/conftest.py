"""What the tests of fairseq_ext share: a tiny corpus, a launcher of fairseq's commands, and one uninterrupted recorded run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
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
