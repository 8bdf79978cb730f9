"""The shuffled corpus: nothing but the order changes, and one clear line for bad input."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpora import binarised, permute
from corpora.errors import CorpusError

if TYPE_CHECKING:
    from conftest import Prepared

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SPLITS = ("train", "valid", "test")
WORDS = "the cat sat on a mat and then it ran off to see some dogs by an old red barn near our big town".split()


@pytest.fixture
def source(prepare: Callable, tmp_path: Path) -> Prepared:
    """A corpus with three splits whose documents are about words of their own."""
    folder = tmp_path / "texts"
    folder.mkdir()
    choose = random.Random(3)
    for index in range(30):
        lines = [" ".join([f"file{index}", *choose.choices(WORDS, k=choose.randint(3, 20))]) for _ in range(12)]
        (folder / f"{index:02d}.txt").write_text("\n".join(lines) + "\n")
    found = prepare("text", "--name", "mine", "--valid-share", 0.1, "--test-share", 0.1, folder)
    assert found.status == 0, found.said
    return found


def flat(examples: list[list[int]]) -> list[int]:
    return [row for example in examples for row in example]


def test_the_split_keeps_its_tokens_and_lengths_and_nothing_else(source: Prepared, shuffle: Callable) -> None:
    found = shuffle(source.folder)
    for split in SPLITS:
        one, two = source.examples(split), found.examples(split)  # read by fairseq, each ending with </s>
        assert [len(example) for example in one] == [len(example) for example in two]
        assert Counter(flat(one)) == Counter(flat(two))
        assert (source.folder / f"{split}.idx").read_bytes() == (found.folder / f"{split}.idx").read_bytes()
        facts = found.corpus["splits"][split]
        assert facts["examples"] == len(one)
        assert facts["tokens"] == len(flat(one)) + len(one)
        moved = np.array(flat(one)) != np.array(flat(two))
        assert moved.mean() > 0.8
    assert (
        sum(sorted(a) == sorted(b) for a, b in zip(source.examples("train"), found.examples("train"), strict=True)) < 3
    )
    for name in ("dict.txt", "tokens.json", "token_counts.npy"):
        assert (source.folder / name).read_bytes() == (found.folder / name).read_bytes()
    assert sorted(p.name for p in found.folder.iterdir()) == sorted(p.name for p in source.folder.iterdir())


def test_within_examples_each_keeps_its_tokens(source: Prepared, shuffle: Callable) -> None:
    found = shuffle(source.folder, "--within", "example", name="mine-shuffled-examples")
    for split in SPLITS:
        one, two = source.examples(split), found.examples(split)
        assert [sorted(example) for example in one] == [sorted(example) for example in two]
        assert sum(a != b for a, b in zip(one, two, strict=True)) > 0.9 * len(one)


def test_corpus_json_says_what_it_was_made_of(source: Prepared, shuffle: Callable) -> None:
    found = shuffle(source.folder, "--seed", 7).corpus
    made_of = source.corpus
    assert (found["name"], found["options"]) == ("mine-shuffled", {"within": "corpus", "seed": 7})
    hashes = {entry["name"]: entry["sha256"] for entry in found["source"]["files"]}
    for split in SPLITS:
        for suffix in ("bin", "idx"):
            assert hashes[f"{split}.{suffix}"] == made_of["splits"][split][f"{suffix}_sha256"]
    assert hashes["dict.txt"] == found["dictionary_sha256"] == made_of["dictionary_sha256"]
    assert found["source"]["licence"] == made_of["source"]["licence"]
    for key in ("rows", "zero_count_rows", "unigram_entropy_bits", "tokenizer", "format", "format_version"):
        assert found[key] == made_of[key]
    assert str(source.folder.parent) not in json.dumps(found)


def test_the_same_again_does_nothing_and_another_seed_is_another_order(source: Prepared, shuffle: Callable) -> None:
    first = shuffle(source.folder)
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in first.folder.iterdir()}
    assert "nothing to do" in shuffle(source.folder).said
    assert {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in first.folder.iterdir()} == before
    assert "options.seed: there 1, now 2" in shuffle(source.folder, "--seed", 2).error
    assert "options.within" in shuffle(source.folder, "--within", "example", "--name", "mine-shuffled").error
    again = shuffle(source.folder, "--overwrite", "--name", "again", name="again")
    assert (again.folder / "train.bin").read_bytes() == before["train.bin"][0]
    other = shuffle(source.folder, "--seed", 2, "--overwrite")
    assert other.status == 0
    assert (other.folder / "train.bin").read_bytes() != before["train.bin"][0]
    lines = source.folder / "valid.bin"
    lines.write_bytes(lines.read_bytes()[::-1][1:] + b"\0")
    assert "source.files: not the same" in shuffle(source.folder, "--seed", 2).error


def test_another_place(source: Prepared, shuffle: Callable, tmp_path: Path) -> None:
    found = shuffle(source.folder, "--data-bin", tmp_path / "deep" / "bin")
    assert found.status == 0
    assert [p.name for p in source.folder.parent.iterdir()] == ["mine"]
    assert [p.name for p in (tmp_path / "deep" / "bin").iterdir()] == ["mine-shuffled"]


def test_a_corpus_of_fairseq_itself(tmp_path: Path, shuffle: Callable) -> None:
    """Without corpus.json, with a small vocabulary, 32-bit rows and <unk> in the text."""
    import torch

    from corpora.build import fairseq_indexed_dataset

    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / "dict.txt").write_text("".join(f"w{k} 1\n" for k in range(20)))
    draw = np.random.default_rng(1)
    for split in ("train", "valid"):
        builder = fairseq_indexed_dataset().MMapIndexedDatasetBuilder(str(folder / f"{split}.bin"), dtype=np.int32)
        for _ in range(50):
            builder.add_item(torch.tensor([*draw.integers(3, 24, draw.integers(1, 9)).tolist(), 2]))
        builder.finalize(str(folder / f"{split}.idx"))
    found = shuffle(folder, name="plain-shuffled")
    assert found.corpus["source"]["licence"] is None
    assert sorted(p.name for p in found.folder.iterdir()) == [
        "corpus.json", "dict.txt", "train.bin", "train.idx", "valid.bin", "valid.idx",
    ]  # fmt: skip
    for split in ("train", "valid"):
        one, two = (np.array(flat(c.examples(split))) for c in (type(found)(0, "", folder), found))
        assert (one == 3).sum() > 5
        assert np.array_equal(one == 3, two == 3)  # <unk> stays where it was
        assert Counter(one.tolist()) == Counter(two.tolist())
        assert not np.array_equal(one, two)


ROWS = st.lists(st.lists(st.integers(0, 9), min_size=0, max_size=9), min_size=1, max_size=12)


@given(ROWS, st.integers(0, 99), st.integers(1, 30))
def test_permutations_move_tokens_alone(examples: list[list[int]], seed: int, block: int) -> None:
    rows = np.array([row for example in examples for row in [*example, 2]], np.uint16)
    sizes = np.array([len(example) + 1 for example in examples])
    split, before = binarised.Split(rows, sizes), rows.copy()
    whole = permute.over_the_split(split, (seed, 0))
    inside = permute.within_examples(split, (seed, 0))
    assert np.array_equal(rows, before)  # what was read is not written to
    for found in (whole, inside):
        assert found.dtype == rows.dtype
        assert np.array_equal(found < 4, rows < 4)
        assert np.array_equal(found[found < 4], rows[rows < 4])
        assert permute.same_counts(rows, found, 10)
    for one, two in zip(*(np.split(r, np.cumsum(sizes)[:-1]) for r in (rows, inside)), strict=True):
        assert sorted(one) == sorted(two)
    assert np.array_equal(permute.within_examples(split, (seed, 0), block), inside)


@pytest.mark.parametrize("within", ["over_the_split", "within_examples"])
def test_all_orders_are_equally_likely(within: str) -> None:
    split = binarised.Split(np.array([5, 6, 7, 2] * 3000, np.uint16), np.full(3000, 4))
    found = getattr(permute, within)(split, (1, 0)).reshape(-1, 4)
    assert (found[:, 3] == 2).all()
    orders = Counter(map(tuple, found[:, :3].tolist()))
    wanted = 3000 / (6 if within == "within_examples" else 27)
    assert len(orders) == (6 if within == "within_examples" else 27)
    assert all(abs(number - wanted) < 5 * np.sqrt(wanted) for number in orders.values())


def test_other_counts_are_seen() -> None:
    assert permute.same_counts(np.array([1, 2, 2]), np.array([2, 1, 2]), 3)
    assert not permute.same_counts(np.array([1, 2, 2]), np.array([1, 1, 2]), 3)
    assert not permute.same_counts(np.array([1, 2, 2]), np.array([1, 2]), 3)


def test_what_is_no_corpus_is_refused_and_nothing_is_written(
    source: Prepared, shuffle: Callable, tmp_path: Path
) -> None:
    def refused(*arguments: object, corpus: Path = source.folder) -> str:
        there = sorted(source.folder.parent.rglob("*"))
        said = shuffle(corpus, *arguments).error
        assert sorted(source.folder.parent.rglob("*")) == there
        return said

    assert "no such folder" in refused(corpus=tmp_path / "nowhere")
    assert "one of sentence pairs cannot be shuffled" in refused(corpus=tmp_path / "texts")
    assert "--seed -1" in refused("--seed", -1)
    assert "--name 'a/b'" in refused("--name", "a/b")
    assert "another name than that of the corpus itself" in refused("--name", "mine")

    broken = Path(shutil.copytree(source.folder, source.folder.parent / "broken"))
    whole = {p.name: p.read_bytes() for p in broken.iterdir()}
    for name, content, said in (
        ("train.bin", whole["train.bin"][:-2], "were expected by its index"),
        ("train.bin", b"", "were expected by its index"),
        ("valid.idx", whole["valid.idx"][:-8], "was cut short"),
        ("valid.idx", whole["valid.idx"][:20], "another file was found"),
        ("test.idx", b"TNTIDX\x00\x00" + whole["test.idx"][8:], "another file was found"),
        ("train.idx", whole["train.idx"][:-8] + whole["train.idx"][-16:-8], "one after the other"),
        ("dict.txt", b"0 1\n" * 100, "tokens of the 104 rows of its dict.txt were expected"),
        ("corpus.json", b"{", "corpus.json cannot be read"),
        ("corpus.json", b"[]", "a JSON object was expected"),
    ):
        (broken / name).write_bytes(content)
        assert said in refused(corpus=broken), (name, said)
        (broken / name).write_bytes(whole[name])
    (broken / "valid.bin").unlink()
    assert "no valid.bin was found" in refused(corpus=broken)
    (source.folder.parent / "mine-shuffled").mkdir()
    assert "is not a corpus of ours" in refused()


def test_a_full_disk_leaves_nothing(source: Prepared, shuffle: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.copyfile

    def full(one: Path, two: Path) -> Path:
        if Path(two).name == "valid.idx":
            raise OSError(28, "No space left on device")
        return real(one, two)

    monkeypatch.setattr("shutil.copyfile", full)
    assert "No space left on device" in shuffle(source.folder).error
    assert [p.name for p in source.folder.parent.iterdir()] == ["mine"]


def test_a_killed_command_leaves_nothing_that_looks_whole(source: Prepared, shuffle: Callable) -> None:
    code = (
        "import os, signal, sys\nfrom corpora import shuffled, permute\n"
        f"permute.same_counts = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\nshuffled.command([{str(source.folder)!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(SCRIPTS)}, check=False)
    assert done.returncode == -signal.SIGKILL
    assert sorted(p.name for p in source.folder.parent.iterdir()) == [".mine-shuffled.partial", "mine"]
    assert shuffle(source.folder).status == 0
    assert sorted(p.name for p in source.folder.parent.iterdir()) == ["mine", "mine-shuffled"]


def test_the_script(source: Prepared, tmp_path: Path) -> None:
    words = ["bash", str(SCRIPTS / "prepare_shuffled.sh"), str(source.folder), "--within", "example"]
    done = subprocess.run(
        words, env=os.environ | {"DATA_BIN": str(tmp_path / "bin")}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [p.name for p in (tmp_path / "bin").iterdir()] == ["mine-shuffled-examples"]
    assert "mine-shuffled-examples train: " in done.stderr


def test_an_index_is_read_as_fairseq_reads_it(source: Prepared) -> None:
    found = binarised.read(source.folder / "train")
    assert found.sizes.tolist() == [len(example) + 1 for example in source.examples("train")]
    assert found.rows.tolist() == [row for example in source.examples("train") for row in [*example, 2]]
    with pytest.raises(CorpusError, match="cannot be read"):
        binarised.read(source.folder / "nothing")
