"""The treebank: numbers of sentences, folders, downloads from a server on this machine, and what is said when something is wrong."""

from __future__ import annotations

import http.server
import json
import lzma
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from corpora import download, ud_ewt
from corpora.errors import run

NUMBERS = {"train": 5, "dev": 3, "test": 2}
Prepare = Callable[..., tuple[int, str]]


def text(sentences: int) -> str:
    contraction = (
        "1-2\tcan't\t_\t_\t_\t_\t_\t_\t_\t_\n1\tca\t_\tAUX\t_\t_\t_\t_\t_\t_\n2\tn't\t_\tPART\t_\t_\t_\t_\t_\t_\n\n"
    )
    return "".join(f"# sent_id = {n}\n{contraction}" for n in range(sentences))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small treebank, whose numbers of sentences stand for the release's; one file compressed, one with another name."""
    monkeypatch.setattr(ud_ewt, "SENTENCES", NUMBERS)
    folder = tmp_path / "bank"
    folder.mkdir()
    (folder / "en_ewt-from-sources-train.conllu").write_text(text(5))
    (folder / "en_ewt-ud-dev.conllu.xz").write_bytes(lzma.compress(text(3).encode()))
    (folder / "en_ewt-ud-test.conllu").write_text(text(2))
    return folder


@pytest.fixture
def prepare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Prepare:
    def call(*arguments: object) -> tuple[int, str]:
        status = run(ud_ewt.command, [*(str(a) for a in arguments), "--data-bin", str(tmp_path / "data-bin")])
        return status, capsys.readouterr().err

    return call


def test_a_folder_is_taken_as_it_is(place: Path, prepare: Prepare, tmp_path: Path) -> None:
    assert prepare("--from", place)[0] == 0
    target = tmp_path / "data-bin/ud_ewt"
    names = ["en_ewt-ud-dev.conllu.xz", "en_ewt-ud-test.conllu", "en_ewt-ud-train.conllu", "treebank.json"]
    assert sorted(p.name for p in target.iterdir()) == names
    assert (target / "en_ewt-ud-train.conllu").read_text() == text(5)
    about = json.loads((target / "treebank.json").read_text())
    assert [entry["sentences"] for entry in about["files"]] == [5, 3, 2]
    assert about["licence"] == "CC BY-SA 4.0"
    before = (target / "treebank.json").stat().st_mtime_ns
    assert "is there already" in prepare("--from", place)[1]
    assert (target / "treebank.json").stat().st_mtime_ns == before
    (target / "en_ewt-ud-test.conllu").write_text("changed")
    assert "was changed" in prepare("--from", place)[1]
    assert prepare("--from", place, "--overwrite")[0] == 0
    assert (target / "en_ewt-ud-test.conllu").read_text() == text(2)


def test_errors_are_one_line_and_leave_nothing(place: Path, prepare: Prepare, tmp_path: Path) -> None:
    def refused(*arguments: object) -> str:
        status, said = prepare(*arguments)
        assert status == 1
        assert said.startswith("error: ")
        assert len(said.splitlines()) == 1
        assert not (tmp_path / "data-bin/ud_ewt").exists()
        return said

    assert "was expected" in refused("--from", tmp_path / "nowhere")
    test = place / "en_ewt-ud-test.conllu"
    test.write_text(text(1))
    assert "2 sentences were expected, 1 were found" in refused("--from", place)
    test.write_text(text(2).rstrip("\n"))
    assert "ends within a sentence" in refused("--from", place)
    test.unlink()
    assert "en_ewt-ud-test.conllu (or en_ewt-ud-test.conllu.xz) missing" in refused("--from", place)
    test.write_text(text(2))
    packed = place / "en_ewt-ud-dev.conllu.xz"
    packed.write_bytes(packed.read_bytes()[:40])
    assert "cannot be read" in refused("--from", place)
    packed.write_bytes(lzma.compress(text(3).encode()))
    (place / "en_ewt-old-train.conllu").write_text(text(5))
    assert "rename the right one" in refused("--from", place)


def test_unchecked_takes_a_shortened_treebank_and_says_so(place: Path, prepare: Prepare, tmp_path: Path) -> None:
    (place / "en_ewt-ud-test.conllu").write_text(text(1))
    assert prepare("--from", place, "--unchecked")[0] == 0
    assert json.loads((tmp_path / "data-bin/ud_ewt/treebank.json").read_text())["unchecked"] is True
    assert "--unchecked" in prepare("--from", place)[1]


@pytest.fixture
def served(place: Path) -> Iterator[str]:
    """The treebank under its release's names, served by this machine."""
    (place / "en_ewt-from-sources-train.conllu").rename(place / "en_ewt-ud-train.conllu")
    (place / "en_ewt-ud-dev.conllu").write_text(text(3))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(place)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_download(served: str, prepare: Prepare, tmp_path: Path) -> None:
    status, said = prepare("--url", served)
    assert status == 0, said
    about = json.loads((tmp_path / "data-bin/ud_ewt/treebank.json").read_text())
    assert about["address"] == served
    assert (tmp_path / "data-bin/ud_ewt/en_ewt-ud-dev.conllu").read_text() == text(3)


def test_without_network_one_line(place: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "fetch", partial(download.fetch, wait=lambda seconds: None))
    status, said = prepare("--url", "http://127.0.0.1:9/nothing")
    assert status == 1
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "could not be downloaded" in errors[0]
    assert "--from" in errors[0]


def test_the_release_has_these_numbers(lab_data: Path) -> None:
    found = ud_ewt.locate(lab_data / "ud_ewt")
    assert {split: ud_ewt.count_sentences(path) for split, path in found.items()} == ud_ewt.SENTENCES
