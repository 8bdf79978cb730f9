"""The default corpus, whole: what comes out, and that fairseq's own command makes the same bytes of it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from corpora import wikipedia_sample
from corpora.build import fairseq_indexed_dataset
from corpora.errors import run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data-bin")
    assert run(wikipedia_sample.command, ["--data-bin", str(folder), "--workers", "1"]) == 0
    return folder / "wikipedia-sample"


def test_content(sample: Path) -> None:
    corpus = json.loads((sample / "corpus.json").read_text())
    train, valid = corpus["splits"]["train"], corpus["splits"]["valid"]
    assert (train["documents"], valid["documents"]) == (99, 7)
    assert (train["examples"], valid["examples"]) == (6386, 348)
    assert (train["tokens"], valid["tokens"]) == (564092, 31361)
    assert corpus["zero_count_rows"] == 21043
    assert corpus["unigram_entropy_bits"] == pytest.approx(10.861121, abs=1e-6)
    assert (sample / "dict.txt").read_text().count("\n") == 50260


def test_fairseq_reads_it_as_masked_lm_does(sample: Path) -> None:
    fairseq_indexed_dataset()
    from fairseq.data import data_utils
    from fairseq.tasks.masked_lm import MaskedLMConfig, MaskedLMTask

    task = MaskedLMTask.setup_task(MaskedLMConfig(data=str(sample)))
    assert len(task.source_dictionary) == 50265
    dataset = data_utils.load_indexed_dataset(str(sample / "train"), task.source_dictionary)
    assert len(dataset) == 6386
    assert dataset.sizes.max() <= 511
    assert dataset.sizes.min() >= 10  # at least ten words


def test_counts_sum_to_the_tokens(sample: Path) -> None:
    counts = np.load(sample / "token_counts.npy")
    assert counts.shape == (50265,)
    assert counts.sum() == 564092
    assert counts[2] == 6386  # one </s> an example
    assert not counts[[0, 1, 3, 50261, 50262, 50263, 50264]].any()
    assert (counts == np.bincount(np.fromfile(sample / "train.bin", dtype=np.uint16), minlength=50265)).all()
    texts = json.loads((sample / "tokens.json").read_text())
    assert [texts[row] for row in np.argsort(-counts)[:5]] == [" the", ",", ".", " of", " and"]


def test_paragraphs_are_free_of_markup(sample: Path) -> None:
    texts = json.loads((sample / "tokens.json").read_text())
    rows = np.fromfile(sample / "train.bin", dtype=np.uint16)
    lines = "".join("\n" if row == 2 else texts[row] for row in rows.tolist()).split("\n")
    for mark in ("'''", "{{", "}}", "[[", "]]", "<ref", "|alt=", "File:"):
        assert not [line for line in lines if mark in line and "\\x" not in line], mark
    assert not [line for line in lines if line.startswith(("=", "|", " "))]
    assert (
        sum(line.startswith(("*", "#")) for line in lines) <= 1
    )  # one is a reconstructed word of a language, written *so
    assert sum(line[:1].isupper() for line in lines) > 0.8 * len(lines)  # case is kept


@pytest.mark.parametrize(("split", "workers"), [("train", 1), ("valid", 2)])
def test_same_bytes_as_fairseq_preprocess(sample: Path, tmp_path: Path, split: str, workers: int) -> None:
    """`fairseq-preprocess --only-source --srcdict` on the BPE ids as text."""
    fairseq_indexed_dataset()
    from fairseq import options
    from fairseq_cli import preprocess

    dataset = fairseq_indexed_dataset().MMapIndexedDataset(str(sample / split))
    rows = np.fromfile(sample / f"{split}.bin", dtype=np.uint16).astype(int)
    lines = [" ".join(str(row - 4) for row in part[:-1]) for part in np.split(rows, np.cumsum(dataset.sizes)[:-1])]
    (tmp_path / split).write_text("\n".join(lines) + "\n")
    arguments = [
        "--only-source",
        "--srcdict",
        str(sample / "dict.txt"),
        "--workers",
        str(workers),
        "--destdir",
        str(tmp_path / "bin"),
    ]
    arguments += [f"--{split}pref", str(tmp_path / split)]
    preprocess.main(options.get_preprocessing_parser().parse_args(arguments))
    for name in (f"{split}.bin", f"{split}.idx", "dict.txt"):
        assert (tmp_path / "bin" / name).read_bytes() == (sample / name).read_bytes(), name


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("'''Angola''', officially the ''Republic'' of  Angola", "Angola, officially the Republic of Angola"),
        ("* In 1992, Agassi's year", "In 1992, Agassi's year"),
        ("=== History ===", ""),
        ("| cell", ""),
        ("File:Earth.jpg|The Earth", ""),
        ("Cemetery in New York|alt=A stone", "Cemetery in New York A stone"),
    ],
)
def test_clean(line: str, expected: str) -> None:
    assert wikipedia_sample.clean(line) == expected


def test_tiny(prepare: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    articles = [
        [f"Article {article} paragraph {number} has a few words." for number in range(20)] for article in range(10)
    ]
    monkeypatch.setattr(wikipedia_sample, "articles", lambda path, min_words: iter(articles))
    found = prepare("wikipedia_sample", "--name", "tiny", "--limit-examples", 40)
    assert {split: facts["examples"] for split, facts in found.corpus["splits"].items()} == {"train": 40, "valid": 5}


def test_package_without_the_file(prepare: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(
        wikipedia_sample.importlib.util, "find_spec", lambda name: SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    )
    assert "is missing from the installed gensim" in prepare("wikipedia_sample").error


@pytest.mark.parametrize("script", ["wikipedia_sample", "wikitext103", "text"])
def test_scripts_say_their_options(script: str, tmp_path: Path) -> None:
    found = subprocess.run(
        ["bash", str(ROOT / "scripts" / f"prepare_{script}.sh"), "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--limit-examples" in found.stdout
    assert found.stderr == ""
