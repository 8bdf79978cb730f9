"""A corpus appears whole or not at all; what a killed run left is cleaned up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from corpora.errors import CorpusError
from corpora.folder import check_name, staged

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
KILL = "import os, signal; kill = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"


def run_killed(code: str) -> None:
    """Run code that kills itself with SIGKILL."""
    found = subprocess.run(
        [sys.executable, "-c", KILL + code], env=os.environ | {"PYTHONPATH": str(SCRIPTS)}, check=False
    )
    assert found.returncode == -signal.SIGKILL


def write(target: Path, content: str) -> None:
    with staged(target) as partial:
        (partial / "corpus.json").write_text(content)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_appears_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "data-bin" / "c"
    with staged(target) as partial:
        (partial / "corpus.json").write_text("1")
        assert not target.exists()
    assert names(target.parent) == ["c"]
    assert names(target) == ["corpus.json"]


def test_exception_leaves_nothing(tmp_path: Path) -> None:
    def stopped() -> None:
        with staged(tmp_path / "c") as partial:
            (partial / "train.bin").write_text("1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert names(tmp_path) == []


def test_exception_keeps_the_corpus_that_was_there(tmp_path: Path) -> None:
    write(tmp_path / "c", "old")
    with pytest.raises(ValueError, match="no"):
        with staged(tmp_path / "c"):
            raise ValueError("no")
    assert (tmp_path / "c" / "corpus.json").read_text() == "old"


def test_kill_in_the_middle(tmp_path: Path) -> None:
    run_killed(
        f"from corpora.folder import staged; from pathlib import Path\n"
        f"with staged(Path({str(tmp_path / 'c')!r})) as p:\n (p / 'train.bin').write_text('half'); kill()"
    )
    assert names(tmp_path) == [".c.partial"]
    write(tmp_path / "c", "whole")
    assert names(tmp_path) == ["c"]
    assert names(tmp_path / "c") == ["corpus.json"]  # the half-written file is gone


@pytest.mark.parametrize("moment", ["before the old one is moved", "before the new one is moved"])
def test_kill_while_replacing(tmp_path: Path, moment: str) -> None:
    write(tmp_path / "c", "old")
    at = 1 if moment.startswith("before the old") else 2
    run_killed(
        f"from corpora.folder import staged; from pathlib import Path\n"
        f"real, calls = Path.rename, []\n"
        f"def rename(self, to):\n calls.append(to)\n return kill() if len(calls) == {at} else real(self, to)\n"
        f"with staged(Path({str(tmp_path / 'c')!r})) as p:\n (p / 'corpus.json').write_text('new'); Path.rename = rename"
    )
    with pytest.raises(ValueError, match="no"):
        with staged(tmp_path / "c"):
            raise ValueError("no")  # even a run that then fails has put the old corpus back
    assert names(tmp_path) == ["c"]
    assert (tmp_path / "c" / "corpus.json").read_text() == "old"
    write(tmp_path / "c", "new")
    assert names(tmp_path) == ["c"]
    assert (tmp_path / "c" / "corpus.json").read_text() == "new"


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    with staged(tmp_path / "c") as partial:
        (partial / "corpus.json").write_text("1")
        with pytest.raises(CorpusError, match="another process is preparing this corpus"):
            with staged(tmp_path / "c"):
                pass
    assert (tmp_path / "c" / "corpus.json").read_text() == "1"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", ".hidden", "-x", "a b", "ä"])
def test_names_refused(name: str) -> None:
    with pytest.raises(CorpusError, match="--name"):
        check_name(name)
    assert check_name("my_text-2.1") == "my_text-2.1"
