"""Documents: where they begin, and which are held out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpora.documents import Census, hold_out, number

FILES = [
    ["before\n", "\n", "= One =\n", "a\n", "\n", "= = Part = =\n", "b\n", "= 1 =\n", "\n"],
    ["\n", "= Two =\n", "c\n", "\n", "\n", "= Three =\n", "\n"],
    ["\n"],
    ["d\n"],
]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("file", [0, 0, 0, 0, 0, 0, 1, 1, 1, 2]),
        ("title", [0, 1, 1, 1, 1, 1, 2, 2, 3, 4]),
        ("blank", [0, 1, 1, 2, 2, 2, 3, 3, 4, 5]),
    ],
)
def test_number(mode: str, expected: list[int]) -> None:
    found = list(number(FILES, mode))
    assert [line for _, line in found] == [
        "before",
        "= One =",
        "a",
        "= = Part = =",
        "b",
        "= 1 =",
        "= Two =",
        "c",
        "= Three =",
        "d",
    ]
    assert [document for document, _ in found] == expected


def test_number_by_runs_of_lines() -> None:
    assert [document for document, _ in number([["x\n"] * 45, ["y\n"]], "lines")] == [0] * 20 + [1] * 20 + [2] * 5 + [3]


def test_census_is_of_the_text_not_of_order_or_names() -> None:
    one, two = Census(seed=1), Census(seed=1)
    assert list(one.take(iter([(0, "a"), (0, "b"), (1, "c")]))) == [(0, "a"), (0, "b"), (1, "c")]
    list(two.take(iter([(0, "c"), (1, "a"), (1, "b")])))
    assert list(one.hashes) == list(two.hashes)[::-1]
    assert list(one.sizes) == [4, 2]
    other = Census(seed=2)
    list(other.take(iter([(0, "a"), (0, "b"), (1, "c")])))
    assert set(one.hashes).isdisjoint(other.hashes)


documents = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 1000)), min_size=1, max_size=60)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(documents, st.sampled_from([0.01, 0.05, 0.2, 0.49]), st.randoms(use_true_random=False))
def test_hold_out(pairs: list[tuple[int, int]], share: float, random: object) -> None:
    hashes = np.array([hash_ for hash_, _ in pairs], dtype=np.uint64)
    sizes = np.array([size for _, size in pairs], dtype=np.int64)
    chosen = hold_out(hashes, sizes, share)
    groups = {int(hash_): int(sizes[hashes == hash_].sum()) for hash_ in hashes}
    if len(groups) == 1:
        assert not chosen.any()
        return
    assert chosen.any()
    assert not chosen.all()
    assert all(len(set(chosen[hashes == hash_])) == 1 for hash_ in hashes)  # equal text on one side
    held = int(sizes[chosen].sum())
    assert held <= 1.25 * share * sizes.sum() or held == min(groups.values())
    left = [size for hash_, size in groups.items() if not chosen[hashes == hash_].any()]
    assert held >= share * sizes.sum() or min(left) + held > 1.25 * share * sizes.sum() or len(left) == 0
    order = list(range(len(pairs)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert hold_out(hashes[order], sizes[order], share).tolist() == chosen[order].tolist()
