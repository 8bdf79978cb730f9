"""The user's own text: split by documents, nothing of the validation text in training, one clear line for bad input."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from corpora import encode, sources
from corpora import text as text_command

WORDS = "the cat sat on a mat and then it ran off to see some dogs by an old red barn near our big town".split()


def write_files(folder: Path, files: int = 20, lines: int = 10, seed: int = 1) -> Path:
    """A folder with text files of distinct lines."""
    folder.mkdir(parents=True)
    source = random.Random(seed)
    for index in range(files):
        content = [f"File {index} line {line}: {' '.join(source.choices(WORDS, k=12))}." for line in range(lines)]
        (folder / f"{index:02d}.txt").write_text("\n".join(content) + "\n", encoding="utf-8")
    return folder


def test_folder(prepare: Callable, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "texts")
    found = prepare("text", "--name", "mine", "--valid-share", 0.1, folder)
    corpus = found.corpus
    train, valid = found.texts("train"), found.texts("valid")
    everything = [line for path in sorted(folder.iterdir()) for line in path.read_text().splitlines()]
    assert sorted(train + valid) == sorted(everything)
    assert train == [line for line in everything if line in set(train)]  # the order of the text
    assert {line.split()[1] for line in train}.isdisjoint({line.split()[1] for line in valid})  # whole files
    assert corpus["splits"]["valid"]["documents"] == 2
    assert corpus["splits"]["train"]["documents"] == 18
    for split, lines in (("train", train), ("valid", valid)):
        facts = corpus["splits"][split]
        assert facts["examples"] == len(lines)
        assert facts["words"] == sum(len(line.split()) for line in lines)
        assert facts["bin_sha256"] == sources.sha256_of(found.folder / f"{split}.bin")
        assert facts["idx_sha256"] == sources.sha256_of(found.folder / f"{split}.idx")
    assert [file["name"] for file in corpus["source"]["files"]][:2] == ["texts/00.txt", "texts/01.txt"]
    assert sorted(path.name for path in found.folder.iterdir()) == [
        "corpus.json", "dict.txt", "token_counts.npy", "tokens.json", "train.bin", "train.idx", "valid.bin", "valid.idx",
    ]  # fmt: skip
    assert sorted(path.name for path in found.folder.parent.iterdir()) == ["mine"]


def test_counts(prepare: Callable, tmp_path: Path) -> None:
    found = prepare("text", "--name", "mine", write_files(tmp_path / "texts"))
    counts = np.load(found.folder / "token_counts.npy")
    expected = np.zeros(50265, dtype=np.int64)
    for example in found.examples("train"):
        for row in [*example, 2]:
            expected[row] += 1
    assert counts.dtype == np.int64
    assert (counts == expected).all()
    corpus = found.corpus
    assert corpus["splits"]["train"]["tokens"] == counts.sum()
    assert corpus["rows"] == len(counts) == len(json.loads((found.folder / "tokens.json").read_text()))
    real = counts[4:50261]
    assert corpus["zero_count_rows"] == (real == 0).sum()
    share = real[real > 0] / real.sum()
    assert corpus["unigram_entropy_bits"] == pytest.approx(-(share * np.log2(share)).sum(), abs=1e-12)
    assert corpus["dictionary_sha256"] == sources.sha256_of(found.folder / "dict.txt")


def test_split_is_of_the_text_alone(prepare: Callable, tmp_path: Path) -> None:
    one = write_files(tmp_path / "one")
    two = tmp_path / "two" / "deep"
    two.mkdir(parents=True)
    for index, path in enumerate(sorted(one.iterdir(), reverse=True)):
        (two / f"other{index:02d}.txt").write_bytes(path.read_bytes())
    share = ["--valid-share", 0.2]
    first, second = (
        prepare("text", "--name", "one", *share, one),
        prepare("text", "--name", "two", *share, tmp_path / "two"),
    )
    assert sorted(first.texts("valid")) == sorted(second.texts("valid"))
    other = prepare("text", "--name", "three", "--seed", 2, *share, one)
    assert sorted(other.texts("valid")) != sorted(first.texts("valid"))


def test_same_files_make_the_same_bytes(prepare: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the text is cut into batches, corpus.json with its count of documents included."""
    folder = write_files(tmp_path / "texts")
    one = prepare("text", "--name", "mine", folder)
    before = {path.name: path.read_bytes() for path in one.folder.iterdir()}
    batches = encode.batches
    monkeypatch.setattr(encode, "batches", lambda lines: batches(lines, 200))
    two = prepare("text", "--name", "mine", "--overwrite", folder)
    assert {path.name: path.read_bytes() for path in two.folder.iterdir()} == before


def test_validation_text_is_not_in_training(prepare: Callable, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "texts")
    clean = prepare("text", "--name", "clean", "--documents", "file", folder)
    line = clean.texts("valid")[0]
    (folder / "copy.txt").write_text(
        f"Another document.\n  {line.upper()}\n{line.replace(' ', '  ')}\n" + "And much more of it.\n" * 30
    )
    found = prepare("text", "--name", "mine", "--documents", "file", folder)
    assert line in found.texts("valid")
    assert found.corpus["dropped"]["lines_in_held_out_text"] == 2
    assert "dropped: lines in held out text 2" in found.said
    normal = [{" ".join(text.casefold().split()) for text in found.texts(split)} for split in ("train", "valid")]
    assert normal[0].isdisjoint(normal[1])
    assert "Another document." in found.texts("train")


def test_test_split(prepare: Callable, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "texts", files=40)
    found = prepare("text", "--name", "mine", "--valid-share", 0.1, "--test-share", 0.2, folder)
    files = {split: {line.split()[1] for line in found.texts(split)} for split in ("train", "valid", "test")}
    assert abs(len(files["valid"]) - 4) <= 1
    assert abs(len(files["test"]) - 8) <= 1
    assert sum(len(names) for names in files.values()) == len(set.union(*files.values())) == 40


def test_titles_and_blocks(prepare: Callable, tmp_path: Path) -> None:
    path = tmp_path / "all.txt"
    path.write_text("\n".join(f"= Title {index} =\nText {index} one.\n\nText {index} two.\n" for index in range(30)))
    titles = prepare("text", "--name", "titles", path)
    assert titles.corpus["splits"]["train"]["documents"] + titles.corpus["splits"]["valid"]["documents"] == 30
    numbers = {
        split: {line.split()[1] if line.startswith("Text") else line.split()[2] for line in titles.texts(split)}
        for split in ("train", "valid")
    }
    assert numbers["train"].isdisjoint(numbers["valid"])
    blocks = prepare("text", "--name", "blocks", "--documents", "blank", path)
    assert blocks.corpus["splits"]["train"]["documents"] + blocks.corpus["splits"]["valid"]["documents"] == 60


@pytest.mark.parametrize(("between", "rule"), [("\n\n", "blank lines"), ("\n", "run of 20 lines")])
def test_single_document(prepare: Callable, tmp_path: Path, between: str, rule: str) -> None:
    path = tmp_path / "one.txt"
    path.write_text(between.join(f"Sentence number {index} of one long text." for index in range(200)))
    found = prepare("text", "--name", "mine", path)
    assert "the text is a single document" in found.said
    assert rule in found.said
    assert rule in found.corpus["split_rule"]
    assert 5 <= found.corpus["splits"]["valid"]["examples"] <= 20


def test_compressed_and_line_ends(prepare: Callable, tmp_path: Path) -> None:
    plain = write_files(tmp_path / "plain")
    packed = tmp_path / "packed"
    packed.mkdir()
    for index, path in enumerate(sorted(plain.iterdir())):
        content = path.read_bytes()
        if index % 5 == 0:
            (packed / f"{path.name}.gz").write_bytes(gzip.compress(content))
        elif index % 5 == 1:
            (packed / f"{path.name}.xz").write_bytes(lzma.compress(content))
        elif index % 5 == 2:
            (packed / f"{path.name}.bz2").write_bytes(bz2.compress(content))
        elif index % 5 == 3:
            (packed / path.name).write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"))
        else:
            (packed / path.name).write_bytes(content.replace(b"\n", b"\r"))
    (packed / "notes.md").write_text("not taken")
    (packed / ".hidden.txt").write_text("not taken")
    one, two = prepare("text", "--name", "plain", plain), prepare("text", "--name", "packed", packed)
    assert (one.folder / "train.bin").read_bytes() == (two.folder / "train.bin").read_bytes()
    assert (one.folder / "valid.bin").read_bytes() == (two.folder / "valid.bin").read_bytes()


def test_line_separators_of_unicode_stay_in_the_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("one\u2028still one\x85\rtwo\r\nthree\n".encode())
    assert [line.rstrip("\n") for line in sources.read_lines(path)] == ["one\u2028still one\x85", "two", "three"]


def test_min_words_and_limits(prepare: Callable, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "texts")
    for path in folder.iterdir():
        path.write_text(path.read_text() + "Too short.\n")
    found = prepare("text", "--name", "mine", "--min-words", 3, "--limit-examples", 40, folder)
    assert found.corpus["dropped"]["short_lines"] == 20
    assert found.corpus["splits"]["train"]["examples"] == 40
    assert found.corpus["splits"]["valid"]["examples"] == 5
    assert found.corpus["splits"]["train"]["documents"] == 4
    whole = prepare("text", "--name", "whole", "--min-words", 3, folder)
    assert found.texts("train") == whole.texts("train")[:40]


def test_done_already_and_refused(prepare: Callable, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "texts")
    first = prepare("text", "--name", "mine", folder)
    before = (first.folder / "train.bin").stat().st_ino
    again = prepare("text", "--name", "mine", "--workers", 2, folder)
    assert again.status == 0
    assert "nothing to do" in again.said
    assert "options.seed: there 1, now 2" in prepare("text", "--name", "mine", "--seed", 2, folder).error
    (folder / "00.txt").write_text("Changed.\n")
    assert "source.files: not the same" in prepare("text", "--name", "mine", folder).error
    assert (first.folder / "train.bin").stat().st_ino == before
    assert prepare("text", "--name", "mine", "--overwrite", folder).status == 0
    (first.folder / "train.bin").write_bytes(b"")
    assert "train.bin is missing or has another size" in prepare("text", "--name", "mine", folder).error
    (first.folder / "corpus.json").write_text("{}")
    assert "another format" in prepare("text", "--name", "mine", folder).error


def bad_utf8(folder: Path) -> Path:
    (folder / "03.txt").write_bytes(b"fine\nna\xefve\n")
    return folder


def bad_gzip(folder: Path) -> Path:
    (folder / "a.txt.gz").write_bytes(gzip.compress(b"some text\n" * 1000)[:-20])
    return folder


def bad_xz(folder: Path) -> Path:
    (folder / "a.txt.xz").write_bytes(b"not xz")
    return folder


def only_blank(folder: Path) -> Path:
    (folder.parent / "blank.txt").write_text("\n  \n\n")
    return folder.parent / "blank.txt"


def one_line(folder: Path) -> Path:
    (folder.parent / "line.txt").write_text("One line only.\n")
    return folder.parent / "line.txt"


def same_line(folder: Path) -> Path:
    (folder.parent / "same.txt").write_text("The same line.\n" * 100)
    return folder.parent / "same.txt"


def no_text_files(folder: Path) -> Path:
    (folder.parent / "empty").mkdir()
    return folder.parent / "empty"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (bad_utf8, "03.txt, line 2: UTF-8 was expected, byte 0xef was found at position 3"),
        (bad_gzip, "a.txt.gz cannot be decompressed"),
        (bad_xz, "a.txt.xz cannot be decompressed"),
        (only_blank, "no text was found"),
        (one_line, "1 lines of text are too few for a validation split"),
        (same_line, "too few for a validation split"),
        (no_text_files, "files named .txt"),
        (lambda folder: folder / "none", "does not exist"),
        (lambda folder: "/dev/null", "neither a file nor a folder"),
    ],
)
def test_bad_text(prepare: Callable, tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    found = prepare("text", "--name", "mine", make(write_files(tmp_path / "texts")))
    assert message in found.error
    assert not found.folder.exists()
    assert not (found.folder.parent / ".mine.partial").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--valid-share", "0"], "--valid-share 0.0: a number above 0 and below 0.5"),
        (["--valid-share", "nan"], "--valid-share nan"),
        (["--limit-examples", "0"], "--limit-examples 0: a whole number of at least 1"),
        (["--max-tokens", "1"], "--max-tokens 1"),
        (["--dict", "/nowhere/dict.txt"], "--dict /nowhere/dict.txt: No such file"),
        (["--seed", "-1"], "--seed -1"),
    ],
)
def test_bad_options(prepare: Callable, tmp_path: Path, options: list[str], message: str) -> None:
    assert message in prepare("text", "--name", "mine", *options, write_files(tmp_path / "texts")).error


def test_unreadable_file(prepare: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_files(tmp_path / "texts")

    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(sources, "sha256_of", refuse)
    assert "00.txt cannot be read: Permission denied" in prepare("text", "--name", "mine", folder).error


def test_file_that_changes_meanwhile(prepare: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_files(tmp_path / "texts")
    real = text_command.divide

    def divide(*arguments: object) -> object:
        found = real(*arguments)
        (folder / "05.txt").write_text("More text.\n" * 50)
        return found

    monkeypatch.setattr(text_command, "divide", divide)
    found = prepare("text", "--name", "mine", folder)
    assert "05.txt changed while it was read" in found.error
    assert not found.folder.exists()


def test_full_disk(prepare: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from corpora import build

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device", "train.bin")

    monkeypatch.setattr(build.np, "save", full)
    found = prepare("text", "--name", "mine", write_files(tmp_path / "texts"))
    assert "train.bin: No space left on device" in found.error
    assert list(found.folder.parent.iterdir()) == []
