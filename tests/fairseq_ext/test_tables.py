"""Which parameters are tables: tied, untied, wrapped; and which rows are traced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fairseq.data import Dictionary
from torch import nn

from fairseq_ext.errors import UserError
from fairseq_ext.recording.rows import Rows, describe
from fairseq_ext.recording.tables import find_tables
from fairseq_ext.recording.traces import default_rows, rows_from_file


class Model(nn.Module):
    """An input and an output embedding, a matrix with another number of rows, a vector."""

    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 4)
        self.positions = nn.Embedding(7, 4)
        self.head = nn.Linear(4, 11)
        if tied:
            self.head.weight = self.embed.weight


class Wrapper(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


def test_tied_matrices_are_one_table_with_aliases() -> None:
    model = Model(tied=True)
    (table,) = find_tables(model, [11])
    assert (table.name, table.aliases, table.rows, table.dim) == ("embed.weight", ("head.weight",), 11, 4)
    assert table.parameter.data_ptr() == model.embed.weight.data_ptr()


def test_untied_matrices_are_two_tables() -> None:
    assert [(t.name, t.aliases) for t in find_tables(Model(tied=False), [11])] == [
        ("embed.weight", ()),
        ("head.weight", ()),
    ]


def test_wrappers_do_not_show_in_names() -> None:
    assert [t.name for t in find_tables(Wrapper(Wrapper(Model(tied=False))), [11])] == ["embed.weight", "head.weight"]


def test_two_dictionaries_give_tables_of_both_lengths() -> None:
    assert [t.name for t in find_tables(Model(tied=True), [11, 7])] == ["embed.weight", "positions.weight"]


@pytest.mark.parametrize("pattern", ["head*", "*.weight", "nothing.here,", "positions*"])
def test_patterns_choose_by_any_name(pattern: str) -> None:
    model = Model(tied=True)
    if pattern in ("head*", "*.weight"):
        assert [t.name for t in find_tables(model, [11], pattern)] == ["embed.weight"]
    else:
        with pytest.raises(UserError, match=r"tables are embed.weight, head.weight"):
            find_tables(model, [11], pattern)


def test_a_model_without_tables_is_refused() -> None:
    with pytest.raises(UserError, match=r"one row per token \(\[12\] rows\)"):
        find_tables(Model(tied=True), [12])


def test_the_model_is_left_as_it_was() -> None:
    model = Model(tied=True)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    find_tables(model, [11])
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.fixture
def rows() -> Rows:
    d = Dictionary()
    texts = [
        "<s>",
        "<pad>",
        "</s>",
        "<unk>",
        " red",
        "red",
        "▁blue",
        " blue-ish",
        *(f" t{n}" for n in range(80)),
        "madeupword0000",
        "<mask>",
    ]
    for text in texts[4:]:
        d.add_symbol(text.replace(" ", "_"))
    counts = np.zeros(len(d), dtype=np.int64)
    counts[4:-2] = np.geomspace(1, 5000, 84).astype(int)
    counts[40:50] = 0
    return describe(d, counts, texts)


def test_default_traces_hold_words_and_a_sample_of_each_group(rows: Rows) -> None:
    chosen = default_rows(rows, 3)
    assert (np.diff(chosen) > 0).all()
    assert {rows.texts[r] for r in chosen} >= {" red", "▁blue"}
    for number, group in enumerate(rows.groups):
        assert (rows.group[chosen] == number).sum() >= min(3, group.rows)
    assert default_rows(rows, 0).tolist() == [4, 6]
    assert (rows.group[chosen] >= 0).all()


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def test_a_file_names_rows_by_text_or_number(rows: Rows, tmp_path: Path) -> None:
    path = write(tmp_path / "t", "red\r\n red\n\n   \nid:0\nid:4\nmadeupword0000\n▁blue")
    assert rows_from_file(path, rows).tolist() == [0, 4, 5, 6, 88]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("blue-ish", r"line 1 of .* names 'blue-ish'.*did you mean ' blue-ish'\?"),
        (" red\nblue", r"line 2 of .* names 'blue'.*did you mean '▁blue'\?"),
        (" red ", r"did you mean ' red'\?"),
        ("mauve", "leading space included, or id:ROW"),
        ("id:90", "'id:90'.*90 rows|'id:90'.*id:ROW"),
        ("id:-1", "'id:-1'"),
        ("", "expected a token a line in .*found none"),
        ("\n \n", "found none"),
    ],
)
def test_a_file_with_an_error_says_which_line(rows: Rows, tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        rows_from_file(write(tmp_path / "t", text), rows)
    assert "--record-trace-tokens" in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(rows: Rows, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing.*cannot be read"):
        rows_from_file(tmp_path / "missing", rows)
    (tmp_path / "latin").write_bytes("é".encode("latin-1"))
    with pytest.raises(UserError, match=r"UTF-8.*latin.*cannot be read"):
        rows_from_file(tmp_path / "latin", rows)
    with pytest.raises(UserError, match="cannot be read"):
        rows_from_file(tmp_path, rows)
