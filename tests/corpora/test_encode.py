"""Lines to rows: the result does not depend on workers or batches; long lines are cut; held-out lines are dropped."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from corpora import dictionary, encode
from corpora.encode import Encoded, Line, Rules
from corpora.passages import fingerprint

ROWS = dictionary.own()


def rules(
    held_out: frozenset[bytes] | None = frozenset(), max_tokens: int = 510, headings_may_repeat: bool = False
) -> Rules:
    return Rules(row_of=ROWS.row_of, max_tokens=max_tokens, headings_may_repeat=headings_may_repeat, held_out=held_out)


def one(lines: list[Line], rules: Rules) -> Encoded:
    (batch,) = encode.encode(lines, rules, workers=1)
    return batch


def items(batch: Encoded) -> list[list[int]]:
    return [part.tolist() for part in np.split(batch.rows, np.cumsum(batch.sizes)[:-1])]


def test_rows_are_those_of_the_reference(reference: Callable[[str], list[int]]) -> None:
    texts = ["The cat sat on the mat.", "x", "Ünïcödé — 日本"]
    batch = one(list(enumerate(texts)), rules())
    assert items(batch) == [[*(4 + index for index in reference(text)), 2] for text in texts]
    assert batch.words.tolist() == [6, 1, 3]
    assert batch.documents.tolist() == [0, 1, 2]


def test_another_dictionary_permutes_the_rows() -> None:
    lines = ROWS.text.splitlines()
    reversed_rows = dictionary.parse("\n".join(reversed(lines)) + "\n", "reversed")
    other = Rules(row_of=reversed_rows.row_of, max_tokens=510, headings_may_repeat=False, held_out=frozenset())
    mine, theirs = items(one([(0, "The cat sat.")], rules()))[0], items(one([(0, "The cat sat.")], other))[0]
    assert [ROWS.symbols[row] for row in mine] == [reversed_rows.symbols[row] for row in theirs]
    assert mine != theirs


def test_workers_and_batches_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [(index // 7, f"Line {index} of {index * index} says nothing. " * (1 + index % 50)) for index in range(400)]

    def result(workers: int, characters: int) -> tuple[bytes, bytes, int]:
        monkeypatch.setattr(encode, "batches", lambda stream, size=characters, cut=encode_batches: cut(stream, size))
        found = list(encode.encode(iter(lines), rules(max_tokens=100), workers))
        assert workers == 1 or len(found) > encode._BEFORE_POOL + 4  # so the workers did take part
        return (
            np.concatenate([batch.rows for batch in found]).tobytes(),
            np.concatenate([batch.documents for batch in found]).tobytes(),
            sum(batch.long_lines for batch in found),
        )

    encode_batches = encode.batches
    expected = result(1, 10**9)
    assert result(1, 1000) == expected
    assert result(2, 20_000) == expected


def test_long_lines_are_cut_at_sentences() -> None:
    sentence = "This sentence has exactly eight words in it. "
    text = (sentence * 40).strip()
    batch = one([(3, text), (4, "Short.")], rules(max_tokens=50))
    assert batch.sizes.max() <= 51
    assert batch.long_lines == 1
    assert batch.documents.tolist() == [3] * (len(batch.sizes) - 1) + [4]
    assert int(batch.words.sum()) == len(text.split()) + 1
    texts = ROWS.row_texts()
    pieces = ["".join(texts[row] for row in item[:-1]) for item in items(batch)]
    assert " ".join(pieces[:-1]) == text
    assert all(piece.endswith(".") for piece in pieces)


def test_a_line_without_spaces_or_end_is_cut() -> None:
    text = "ab1" * 30_000
    batch = one([(0, text)], rules(max_tokens=510))
    assert batch.sizes.max() <= 511
    texts = ROWS.row_texts()
    assert "".join(texts[row] for item in items(batch) for row in item[:-1]) == text


def test_held_out_lines_are_dropped() -> None:
    held_out = one([(0, "The cat sat."), (0, "= = Plot = =")], rules(held_out=None))
    assert held_out.fingerprints == (fingerprint("The cat sat."), fingerprint("= = Plot = ="))
    train = [(0, "the  CAT sat."), (0, "The cat sat!"), (1, "= = Plot = =")]
    batch = one(train, rules(held_out=frozenset(held_out.fingerprints)))
    assert batch.dropped == 2
    assert len(batch.sizes) == 1
    exempt = one([(0, "The cat sat."), (0, "= = Plot = =")], rules(held_out=None, headings_may_repeat=True))
    assert one(train, rules(held_out=frozenset(exempt.fingerprints))).dropped == 1


def test_batch_without_examples_left() -> None:
    batch = one([(0, "gone")], rules(held_out=frozenset([fingerprint("gone")])))
    assert len(batch.rows) == len(batch.sizes) == 0
    assert batch.dropped == 1
