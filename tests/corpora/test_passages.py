"""Cutting long lines, and recognising the same line again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpora.passages import fingerprint, halve, is_heading

stripped = st.text(min_size=2, max_size=200).map(str.strip).filter(lambda text: len(text) >= 2)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(stripped)
def test_halves_keep_the_text(text: str) -> None:
    first, second = halve(text)
    assert first == first.rstrip()
    assert second == second.lstrip()
    assert first
    assert second
    assert (first + second).replace(" ", "") == text.replace(" ", "") or "".join((first + second).split()) == "".join(
        text.split()
    )


def test_cut_at_the_sentence_nearest_the_middle() -> None:
    text = "One is short. Two is a little longer. Three is here. Four is the last of them."
    assert halve(text) == ("One is short. Two is a little longer.", "Three is here. Four is the last of them.")
    assert halve('He said "stop it now." Then he left the room.') == (
        'He said "stop it now."',
        "Then he left the room.",
    )


def test_cut_at_a_space_without_sentences() -> None:
    assert halve("aaaa bbbb cccc dddd") == ("aaaa bbbb", "cccc dddd")
    assert halve("aaaaaaaa") == ("aaaa", "aaaa")


def test_fingerprint() -> None:
    assert fingerprint("The  Cat\tsat ") == fingerprint("the cat sat")
    assert fingerprint("STRASSE") == fingerprint("straße")
    assert fingerprint("the cat sat") != fingerprint("the cat sat.")


@pytest.mark.parametrize(
    ("line", "expected"), [("= = Plot = =", True), ("= Anarchism =", True), ("= 1 henry", False), ("a = b", False)]
)
def test_heading(line: str, expected: bool) -> None:
    assert is_heading(line) is expected
