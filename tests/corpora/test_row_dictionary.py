"""The dictionary: exactly 50,260 lines and 50,265 rows, as fairseq reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from corpora import dictionary
from corpora.build import fairseq_indexed_dataset
from corpora.errors import CorpusError


def rows_by_fairseq(rows: dictionary.RowMap, tmp_path: Path) -> None:
    """Assert that fairseq's dictionary, with the mask of its masked LM task, has the rows that `rows` says."""
    fairseq_indexed_dataset()
    from fairseq.data import Dictionary

    path = tmp_path / "dict.txt"
    path.write_text(rows.text, encoding="utf-8")
    found = Dictionary.load(str(path))
    assert len(found) == 50264
    assert found.add_symbol("<mask>") == 50264
    assert len(found) == dictionary.ROWS == 50265
    assert tuple(found.symbols) == rows.symbols
    assert [found.index(str(index)) for index in range(50257)] == rows.row_of.tolist()
    assert found.eos() == dictionary.EOS


def test_own(tmp_path: Path) -> None:
    rows = dictionary.own()
    assert rows.text.count("\n") == 50260
    assert rows.text.startswith("0 1\n1 1\n2 1\n")
    assert rows.text.endswith("50256 1\nmadeupword0000 1\nmadeupword0001 1\nmadeupword0002 1\n")
    rows_by_fairseq(rows, tmp_path)


def test_roberta(lab_data: Path, tmp_path: Path) -> None:
    rows = dictionary.read(lab_data / "gpt2_bpe" / "dict.txt")
    rows_by_fairseq(rows, tmp_path)
    assert rows.row_texts()[rows.row_of[995]] == " world"


def test_row_texts_and_kinds() -> None:
    rows = dictionary.own()
    texts = rows.row_texts()
    assert len(texts) == len(set(texts)) == 50265
    assert texts[:4] == ["<s>", "<pad>", "</s>", "<unk>"]
    assert texts[-4:] == ["madeupword0000", "madeupword0001", "madeupword0002", "<mask>"]
    assert np.flatnonzero(~rows.bpe_rows).tolist() == [0, 1, 2, 3, 50261, 50262, 50263, 50264]


def change(line: int, new: str) -> str:
    lines = dictionary.own().text.splitlines()
    lines[line] = new
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 1\n1 1\n", "50260 lines were expected, 2 were found"),
        (change(7, "8 1"), "symbol 8 occurs more than once"),
        (change(7, "madeupword0007 1"), "BPE id 7 is missing"),
        (change(7, "7"), "line 8: .* was expected, '7' was found"),
        (change(7, "7 x"), "line 8"),
        (change(7, "50257 1"), "line 8"),
        (change(7, "07 1"), "line 8"),
        (change(7, "٧ 1"), "line 8"),
        (change(7, "the 1"), "line 8"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        dictionary.parse(text, "--dict x")


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="No such file"):
        dictionary.read(tmp_path / "none.txt")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(CorpusError, match="not a text file"):
        dictionary.read(tmp_path / "binary")
