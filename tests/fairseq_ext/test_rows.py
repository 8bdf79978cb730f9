"""Counted rows, special rows, filler rows and frequency groups."""

from __future__ import annotations

import numpy as np
import pytest
from fairseq.data import Dictionary
from hypothesis import given
from hypothesis import strategies as st

from fairseq_ext.recording.rows import decade_edges, describe


def dictionary(words: int, fillers: int = 0) -> Dictionary:
    d = Dictionary()
    for number in range(words):
        d.add_symbol(f"w{number}")
    for number in range(fillers):
        d.add_symbol(f"madeupword{number:04d}")
    d.add_symbol("<mask>")
    return d


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=200), st.integers(1, 40))
def test_decades_share_out_every_count_once(counts: list[int], smallest: int) -> None:
    values = np.array(counts)
    edges = decade_edges(values, smallest)
    assert edges[0] == (0, 0)
    inside = [(values >= low) & (values <= (10**18 if high is None else high)) for low, high in edges]
    assert (np.sum(inside, axis=0) == 1).all()
    for low, high in edges[1:-1]:
        assert high == 10 * low - 1
        assert str(low).strip("0") == "1"
    if len(edges) > 1:
        assert edges[1][0] == 1
        assert edges[-1][1] is None
        above = [low for low in (10**k for k in range(1, 9)) if low > edges[-1][0] and low <= values.max()]
        if len(edges) > 2:
            assert inside[-1].sum() >= smallest
        if above:  # decades were joined, because the next would have been too small
            assert (values >= above[0]).sum() < smallest


@pytest.mark.parametrize("power", range(1, 16))
def test_a_power_of_ten_begins_a_decade(power: int) -> None:
    edges = decade_edges(np.full(30, 10**power))
    assert edges[-1] == (10**power, None)
    assert decade_edges(np.full(30, 10**power - 1))[-1] == (10 ** (power - 1), None)


def test_specials_and_fillers_are_not_counted() -> None:
    d = dictionary(100, 3)
    counts = np.arange(len(d))
    rows = describe(d, counts)
    assert [rows.texts[i] for i in np.flatnonzero(~rows.counted)] == [
        "<s>", "<pad>", "</s>", "<unk>", "madeupword0000", "madeupword0001", "madeupword0002", "<mask>",
    ]  # fmt: skip
    assert rows.group[[0, 1, 2, 3, d.index("<mask>")]].tolist() == [-1] * 5
    assert [g.name for g in rows.groups] == ["zero", "1-9", "10+", "unreachable"]
    assert rows.groups[-1].rows == 3
    assert not rows.groups[-1].counted
    assert rows.groups[0].rows == 0
    assert sum(g.rows for g in rows.groups) == (rows.group >= 0).sum()


def test_more_than_ten_thousand_fillers_are_fillers() -> None:
    d = dictionary(1)
    d.add_symbol("madeupword12345")
    assert not describe(d, np.zeros(len(d), dtype=np.int64)).counted[d.index("madeupword12345")]


def test_a_word_that_begins_like_a_filler_is_counted() -> None:
    d = dictionary(0)
    d.add_symbol("madeupword")
    d.add_symbol("madeupword0001x")
    assert describe(d, np.zeros(len(d), dtype=np.int64)).counted.sum() == 2


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=120), st.integers(0, 3))
def test_groups_agree_with_their_bounds(counts: list[int], fillers: int) -> None:
    d = dictionary(len(counts), fillers)
    all_counts = np.zeros(len(d), dtype=np.int64)
    all_counts[4 : 4 + len(counts)] = counts
    rows = describe(d, all_counts)
    for number, group in enumerate(rows.groups):
        members = np.flatnonzero(rows.group == number)
        assert len(members) == group.rows
        assert (rows.counted[members] == group.counted).all()
        assert (all_counts[members] >= group.min_count).all()
        assert group.max_count is None or (all_counts[members] <= group.max_count).all()
    top = rows.groups[-2]
    assert top.rows >= 25 or top.min_count <= 1


def test_lengths_must_agree() -> None:
    d = dictionary(3)
    with pytest.raises(ValueError, match="expected 8 counts"):
        describe(d, np.zeros(7, dtype=np.int64))
    with pytest.raises(ValueError, match="8 counts and texts, found 8 and 2"):
        describe(d, np.zeros(8, dtype=np.int64), ["a", "b"])
