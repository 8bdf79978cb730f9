r"""The text of a row in the project's form: what the token stands for in running text, a word's leading space being a space.

| tokenizer | in the file | text |
|---|---|---|
| byte-level BPE | `Ġred`, `âĢ` | ` red`, `\xe2\x80`: bytes that are not whole UTF-8 are escaped, as in the prepared corpora |
| WordPiece | `red`, `##ing` | ` red`, `ing` |
| sentencepiece | `▁red`, `ing`, `<0xE2>` | ` red`, `ing`, `\xe2` |
| words | `red` | `red` |
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

SPACE = "▁"  # sentencepiece's mark of a word's beginning
BYTE_LEVEL, WORD_PIECE, SENTENCE_PIECE, WORDS = "byte-level BPE", "WordPiece", "sentencepiece", "words"
UNUSED = re.compile(
    r"\[unused\d+\]|<unused_?\d+>|<extra_id_\d+>|<\|extra_?\d+\|>|<\|?reserved(?:_special_token)?_?\d+\|?>|madeupword\d{4,}"
)
SPECIAL = frozenset(
    "[PAD] [UNK] [CLS] [SEP] [MASK] <s> </s> <pad> <unk> <mask> <cls> <sep> <eod> <eop> <bos> <eos> <|endoftext|> <|padding|> "
    "<|begin_of_text|> <|end_of_text|> <|startoftext|>".split()
)
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@cache
def byte_of_character() -> dict[str, int]:
    """GPT-2's code: each byte is one printable character, printable bytes themselves, the others from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    known = set(printable)
    others = [byte for byte in range(256) if byte not in known]
    return {chr(byte): byte for byte in printable} | {chr(256 + k): byte for k, byte in enumerate(others)}


def bytes_of(token: str) -> bytes | None:
    """The bytes of a byte-level token; ``None`` if it is not written in that code."""
    code = byte_of_character()
    return bytes(code[c] for c in token) if all(c in code for c in token) else None


def byte_level(token: str) -> str:
    """Byte-level BPE."""
    raw = bytes_of(token)
    return token if raw is None else raw.decode("utf-8", errors="backslashreplace")


def word_piece(prefix: str) -> Callable[[str], str]:
    """WordPiece whose tokens inside a word begin with ``prefix`` (``##``)."""

    def text(token: str) -> str:
        inside = bool(prefix) and token.startswith(prefix) and len(token) > len(prefix)
        return token[len(prefix) :] if inside else f" {token}"

    return text


def sentence_piece(token: str) -> str:
    """sentencepiece, and BPE or unigram models with its marks. Single bytes are always escaped: the character has a row of its own."""
    byte = _BYTE.fullmatch(token)
    return f"\\x{byte[1].lower()}" if byte else token.replace(SPACE, " ")


def form_of(content: dict[str, Any]) -> tuple[str, Callable[[str], str]]:
    """How the tokens of a ``tokenizer.json`` are written: the form's name, and the function from token to text.

    Args:
        content: the file's JSON.
    """
    model = content.get("model") or {}
    kind = model.get("type")
    if kind == "WordPiece" or (kind is None and "max_input_chars_per_word" in model):
        return WORD_PIECE, word_piece(str(model.get("continuing_subword_prefix") or ""))
    parts = [part for name in ("pre_tokenizer", "decoder", "normalizer") for part in _parts(content.get(name))]
    if any(part.get("type") == "ByteLevel" for part in parts):
        return BYTE_LEVEL, byte_level
    if kind == "Unigram" or any(
        part.get("type") == "Metaspace" or (part.get("type") in ("Replace", "Prepend") and SPACE in str(part))
        for part in parts
    ):
        return SENTENCE_PIECE, sentence_piece
    return WORDS, str


def _parts(component: Any) -> list[dict[str, Any]]:
    """A normalizer, pre-tokenizer or decoder as a list of its parts, sequences resolved."""
    if not isinstance(component, dict):
        return []
    inner = component.get("normalizers") or component.get("pretokenizers") or component.get("decoders") or []
    return [component, *(part for entry in inner for part in _parts(entry))]


def is_special(token: str) -> bool:
    """Is it one of the special tokens that go by a known name?"""
    return token in SPECIAL


def is_unused(token: str) -> bool:
    """Is it a place that was left free for later, such as ``[unused12]``?"""
    return UNUSED.fullmatch(token) is not None
