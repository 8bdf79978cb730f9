"""WikiText-103: the published counts, folders and archives, and what is said when something is missing."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from corpora import documents, download, wikitext103
from corpora.wikitext103 import Counts, Part, count


def article(number: int, lines: int) -> str:
    body = "".join(f" Article {number} sentence {line} @-@ of <unk> text . \n \n" for line in range(lines))
    return f" \n = Article {number} = \n \n = = Reception = = \n \n{body}"


TEXTS = {
    "train": "".join(article(number, 6) for number in range(8)) + " Article 21 sentence 0 @-@ of <unk> text . \n",
    "valid": article(20, 3) + article(21, 3),
    "test": article(22, 3),
}
COUNTS = {
    split: Counts(
        text.count("\n"),
        sum(bool(line.strip()) for line in text.split("\n")),
        sum(len(line.split()) for line in text.split("\n")) + text.count("\n"),
    )
    for split, text in TEXTS.items()
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small corpus of WikiText's form, whose counts stand for the published ones."""
    monkeypatch.setattr(wikitext103, "PUBLISHED", COUNTS)
    place = tmp_path / "wikitext"
    place.mkdir()
    for split, text in TEXTS.items():
        (place / f"wiki.{split}.tokens").write_text(text)
    return place


@pytest.fixture
def archive(folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "wikitext-103-v1.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for part in folder.iterdir():
            file.write(part, f"wikitext-103/{part.name}")
    return path


@pytest.mark.parametrize("split", ["valid", "test"])
def test_published_counts(lab_data: Path, split: str) -> None:
    path = lab_data / "wikitext-103" / f"wiki.{split}.tokens"
    part = Part(str(path), lambda: path.open("rb"))
    assert count(part)[0] == wikitext103.PUBLISHED[split]
    assert len({document for document, _ in documents.number([part.lines()], "title")}) == 60  # articles, as published


def test_only_held_out_files(prepare: Callable, lab_data: Path) -> None:
    found = prepare("wikitext103", "--from", lab_data / "wikitext-103")
    assert (
        "wiki.train.tokens missing; found: wiki.valid.tokens, wiki.test.tokens; the training text is needed too"
        in found.error
    )
    assert not found.folder.exists()


def test_folder(prepare: Callable, folder: Path) -> None:
    found = prepare("wikitext103", "--from", folder)
    corpus = found.corpus
    assert [corpus["splits"][split]["documents"] for split in ("train", "valid", "test")] == [8, 2, 1]
    assert corpus["splits"]["train"]["examples"] == 8 * 8
    assert corpus["dropped"]["lines_in_held_out_text"] == 1  # article 21's sentence; the shared headings stay
    assert found.texts("train").count("= = Reception = =") == 8
    assert found.texts("valid")[2] == "Article 20 sentence 0 @-@ of <unk> text ."
    assert found.texts("test")[0] == "= Article 22 ="


def test_archive_makes_the_same(prepare: Callable, folder: Path, archive: Path) -> None:
    one = prepare("wikitext103", "--name", "one", "--from", folder)
    two = prepare("wikitext103", "--name", "two", "--from", archive)
    three = prepare("wikitext103", "--name", "three", "--from", archive.parent)
    for other in (two, three):
        assert (one.folder / "train.bin").read_bytes() == (other.folder / "train.bin").read_bytes()
    assert two.corpus["source"]["files"][0]["name"] == "wikitext-103-v1.zip"


def test_download(prepare: Callable, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(addresses: list[str], target: Path, check: Callable[[Path], bool]) -> str:
        asked.append(addresses)
        assert check(archive)
        assert not check(Path(__file__))
        target.parent.mkdir(parents=True)
        archive.rename(target)
        return addresses[0]

    monkeypatch.setattr(download, "fetch", fetch)
    found = prepare("wikitext103", "--url", "http://mirror/wikitext-103-v1.zip")
    assert asked == [["http://mirror/wikitext-103-v1.zip"]]
    assert found.corpus["source"]["address"] == "http://mirror/wikitext-103-v1.zip"
    assert prepare("wikitext103", "--name", "again").status == 0  # the archive is kept
    assert len(asked) == 1


def test_no_network(prepare: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    found = prepare("wikitext103", "--url", "http://127.0.0.1:1/wikitext-103-v1.zip")
    assert "could not be downloaded (http://127.0.0.1:1/wikitext-103-v1.zip: no connection" in found.error
    assert "--from" in found.error


def test_cut_file(prepare: Callable, folder: Path) -> None:
    text = TEXTS["train"]
    (folder / "wiki.train.tokens").write_text(text[: len(text) // 2])
    assert (
        f"wiki.train.tokens: {COUNTS['train'].lines:,} lines were expected"
        in prepare("wikitext103", "--from", folder).error
    )
    (folder / "wiki.train.tokens").write_text(text.replace("sentence 3 @-@", "sentence 3"))
    assert "tokens (ends of lines counted) were expected" in prepare("wikitext103", "--from", folder).error
    found = prepare("wikitext103", "--from", folder, "--unchecked")
    assert found.corpus["options"]["unchecked"] is True


def test_other_variant(prepare: Callable, folder: Path) -> None:
    assert (
        "the folder has the other variant: give --variant tokens"
        in prepare("wikitext103", "--from", folder, "--variant", "raw").error
    )
    for split in TEXTS:
        (folder / f"wiki.{split}.tokens").rename(folder / f"wiki.{split}.raw")
    assert prepare("wikitext103", "--from", folder, "--variant", "raw").corpus["options"]["variant"] == "raw"


def test_damaged_archive(prepare: Callable, archive: Path, tmp_path: Path) -> None:
    content = bytearray(archive.read_bytes())
    content[100] ^= 0xFF
    archive.write_bytes(content)
    assert "remove the archive and get it again" in prepare("wikitext103", "--from", archive).error
    archive.write_bytes(content[:200])
    assert "a zip archive was expected" in prepare("wikitext103", "--from", archive).error
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("readme", "nothing")
    assert (
        "wiki.train.tokens, wiki.valid.tokens, wiki.test.tokens missing in the archive"
        in prepare("wikitext103", "--from", archive).error
    )
    assert "does not exist" in prepare("wikitext103", "--from", tmp_path / "none").error
