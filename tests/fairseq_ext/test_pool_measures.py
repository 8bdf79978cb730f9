"""Measures of pools: against brute force, and diverse against random and narrow on text whose topics are known."""

from __future__ import annotations

import json
import lzma
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from topical_corpus import END, topical_examples, write_split

from fairseq_ext.errors import UserError
from fairseq_ext.sampling import topics as topics_module
from fairseq_ext.sampling.pool_measures import (
    IndependentTopics,
    compare,
    held_out_types,
    main,
    measure_pool,
    take,
)
from fairseq_ext.sampling.selection import diverse_order, narrow_order, random_order
from fairseq_ext.sampling.topic_model import Progress, Split
from fairseq_ext.sampling.topics import load_topics

EXAMPLES, KNOWN = topical_examples(topics=16, examples=2500, seed=2)
texts = st.lists(st.lists(st.integers(0, (1 << 21) - 1) | st.integers(0, 4), max_size=12), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pools")
    write_split(folder / "train", EXAMPLES[:2300])
    write_split(folder / "valid", EXAMPLES[2300:])
    topics_module.main([str(folder), "--topics", "16", "--dimensions", "24"])
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> IndependentTopics:
    return IndependentTopics(Split(folder / "train"), 5, Progress("test"))


@given(texts.filter(lambda examples: any(examples)))
@settings(max_examples=60, deadline=None)
def test_measures_against_brute_force(examples: list[list[int]]) -> None:
    found = measure_pool(np.array(example, np.int64) for example in examples)
    flat = [token for example in examples for token in example]
    counts = Counter(flat)
    assert (found.examples, found.tokens, found.types) == (len(examples), len(flat), len(counts))
    assert found.mean_length == len(flat) / len(examples)
    for number, n in ((found.bigrams, 2), (found.trigrams, 3)):
        assert number == len({tuple(e[i : i + n]) for e in examples for i in range(len(e) - n + 1)})
    entropy = -sum(n / len(flat) * math.log2(n / len(flat)) for n in counts.values())
    assert found.unigram_entropy_bits == pytest.approx(entropy, abs=1e-9)
    width = 2 if max(flat) < 1 << 16 else 4
    raw = b"".join(token.to_bytes(width, "little") for token in flat)
    assert found.compressed_bytes == len(lzma.compress(raw, preset=6))
    assert found.compression_ratio == len(raw) / found.compressed_bytes


@pytest.mark.parametrize("examples", [[], [[]], [[-1]], [[1 << 21]]])
def test_measures_refuse(examples: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="expected token numbers"):
        measure_pool(np.array(example, np.int64) for example in examples)


def test_repetition_compresses() -> None:
    random = np.random.default_rng(1)
    once = [random.integers(4, 50_000, 100) for _ in range(100)]
    assert measure_pool(once * 3).compressed_bytes < 1.2 * measure_pool(once).compressed_bytes
    assert measure_pool(once * 3).compression_ratio > 2.5 * measure_pool(once).compression_ratio


@pytest.mark.parametrize("tokens", [1, 999, 20_000])
def test_take_cuts_at_the_token(folder: Path, tokens: int) -> None:
    split = Split(folder / "train")
    order = random_order(len(split), 3)
    examples, found = take(split, order, tokens)
    assert sum(map(len, found)) == tokens
    np.testing.assert_array_equal(examples, order[: len(examples)])
    for index, text in zip(examples, found, strict=True):
        np.testing.assert_array_equal(text, EXAMPLES[index][:-1][: len(text)])
    assert all(len(text) == len(EXAMPLES[index]) - 1 for index, text in zip(examples[:-1], found, strict=False))


def test_take_refuses_more_than_there_is(folder: Path) -> None:
    split = Split(folder / "train")
    there = sum(len(example) - 1 for example in EXAMPLES[:2300])
    take(split, random_order(len(split), 1), there)
    with pytest.raises(UserError, match=f"only {there:,} tokens"):
        take(split, random_order(len(split), 1), there + 1)


def test_topic_entropy_knows_few_topics_from_many(folder: Path, model: IndependentTopics) -> None:
    known = KNOWN[:2300]
    one = np.flatnonzero(known == 2)
    each = np.concatenate([np.flatnonzero(known == topic)[:10] for topic in range(16)])
    assert model.entropy_bits(one) + 1 < model.entropy_bits(each) <= math.log2(model.topics)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("tokens", [3000, 9000])
def test_diverse_random_narrow(folder: Path, model: IndependentTopics, seed: int, tokens: int) -> None:
    split, topics = Split(folder / "train"), load_topics(folder / "topics.npz", folder / "train.bin")
    orders = {
        "diverse": diverse_order(topics, split.sizes, seed),
        "random": random_order(len(split), seed),
        "narrow": narrow_order(topics, split.sizes, seed),
    }
    found = compare(split, orders, tokens, model, held_out_types(folder))
    assert {measures["tokens"] for measures in found.values()} == {tokens}
    for name in ("types", "topic_entropy_bits", "held_out_types", "compressed_bytes"):
        assert found["diverse"][name] > found["random"][name] > found["narrow"][name], name


def test_held_out_types(folder: Path, tmp_path: Path) -> None:
    expected = {token for example in EXAMPLES[2300:] for token in example.tolist()} - {END}
    assert set(held_out_types(folder).tolist()) == expected
    assert len(held_out_types(tmp_path)) == 0


def test_command_prints_a_table_and_writes_json(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "measures.json"
    main([str(folder), "--tokens", "900", "3000", "--seed", "4", "--json", str(out)])
    written = json.loads(out.read_text())
    assert [(result["tokens"], result["seed"]) for result in written["results"]] == [(900, 4), (3000, 4)]
    printed = capsys.readouterr().out
    for result in written["results"]:
        assert list(result["pools"]) == ["diverse", "random", "narrow"]
        for measures in result["pools"].values():
            assert f"{measures['types']:,}" in printed
            assert f"{measures['topic_entropy_bits']:.3f}" in printed
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tokens", "0"], "--tokens: expected at least 1, found 0"),
        (["--tokens", "5", "--seed", "-1"], "--seed: expected at least 0, found -1"),
        (["--tokens", "5", "--topics", "none.npz"], r"found no such file; run bash scripts/select_topics\.sh"),
    ],
)
def test_command_refuses(folder: Path, options: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        main([str(folder), *options])
