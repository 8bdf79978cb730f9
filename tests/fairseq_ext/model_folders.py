"""Model folders in the layout of the package transformers, written by hand for the tests of importing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from fairseq_ext.importing.command import main

BERT = "embeddings.word_embeddings.weight"
WORDS = [
    "[PAD]",
    "[unused0]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "red",
    "blue",
    "##ing",
    "sing",
    ",",
    "monday",
    "##s",
]


def import_model(*arguments: object) -> None:
    """The command ``huggingface``, in this process."""
    main(["huggingface", *map(str, arguments)])


def table(rows: int = len(WORDS), dim: int = 8, seed: int = 1) -> torch.Tensor:
    """float32 [rows, dim], without zeros."""
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32))


def write_model(folder: Path, tensors: dict[str, torch.Tensor], config: dict[str, Any] | None = None) -> Path:
    """``model.safetensors`` and, if given, ``config.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "model.safetensors")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def write_word_piece(folder: Path, words: list[str] | None = None) -> Path:
    """A ``tokenizer.json`` of BERT's kind that adds special tokens, cuts and pads, as published ones do."""
    words = words or WORDS
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.WordPiece({word: row for row, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 4), ("[CLS]", 3))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=16)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def write_words(folder: Path, symbols: list[str]) -> Path:
    """A ``tokenizer.json`` whose tokens are the words between spaces; ``<unk>`` among them."""
    tokenizer = Tokenizer(models.WordLevel({symbol: row for row, symbol in enumerate(symbols)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def small_model(folder: Path, dim: int = 8) -> Path:
    """A table of WORDS with its tokenizer, and no layers."""
    return write_word_piece(write_model(folder, {BERT: table(dim=dim)}))
