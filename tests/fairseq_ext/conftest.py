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
