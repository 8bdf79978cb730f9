"""The dictionary: which row of the table each BPE id has.

fairseq puts `<s> <pad> </s> <unk>` before the file's lines and the masked LM task puts `<mask>` after them, so 50,260 lines make
50,265 rows. 50,257 lines are BPE ids; RoBERTa's dictionary fills up with three `madeupword` lines, which no text can ask for.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from corpora import bpe
from corpora.errors import CorpusError

SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
EOS = SPECIALS.index("</s>")
MASK = "<mask>"
LINES = 50260
ROWS = len(SPECIALS) + LINES + 1
_MADE_UP = re.compile(r"madeupword\d{4}")


@dataclass(frozen=True)
class RowMap:
    """A dictionary as text and as arrays."""

    text: str  # the content of dict.txt
    row_of: NDArray[np.uint16]  # (50257,) row of each BPE id
    symbols: tuple[str, ...]  # (50265,) symbol of each row, specials included

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def bpe_rows(self) -> NDArray[np.bool_]:
        """(50265,) is the row a BPE id, so neither special nor made up?"""
        mask = np.zeros(ROWS, dtype=bool)
        mask[self.row_of] = True
        return mask

    def row_texts(self) -> list[str]:
        """(50265,) decoded text of each row; specials and made-up words as their symbol."""
        texts = bpe.token_texts()
        return [texts[int(symbol)] if symbol.isdecimal() else symbol for symbol in self.symbols]


def own() -> RowMap:
    """Our dictionary: BPE ids in numeric order, three made-up words, each with count 1."""
    symbols = [*(str(index) for index in range(bpe.VOCABULARY)), *(f"madeupword{index:04d}" for index in range(3))]
    return parse("".join(f"{symbol} 1\n" for symbol in symbols), "the built-in dictionary")


def read(path: Path) -> RowMap:
    """Read a dictionary file, for instance RoBERTa's dict.txt. Raises CorpusError where it is not one over GPT-2's BPE ids."""
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise CorpusError(f"--dict {path}: {error.strerror}; give RoBERTa's dict.txt or leave --dict out") from error
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"--dict {path}: not a text file in UTF-8; give RoBERTa's dict.txt or leave --dict out"
        ) from error
    return parse(text, f"--dict {path}")


def parse(text: str, name: str) -> RowMap:
    """Check a dictionary's text: 50,260 lines `<symbol> <count>`, each BPE id 0..50256 once, the rest made-up words."""
    lines = text.splitlines()
    if len(lines) != LINES:
        raise CorpusError(
            f"{name}: {LINES} lines were expected, {len(lines)} were found; give RoBERTa's dict.txt or leave --dict out"
        )
    symbols: list[str] = []
    for number, line in enumerate(lines, start=1):
        symbol, _, count = line.rpartition(" ")
        is_id = symbol.isascii() and symbol.isdecimal() and int(symbol) < bpe.VOCABULARY and str(int(symbol)) == symbol
        if not count.isdecimal() or not (is_id or _MADE_UP.fullmatch(symbol)):
            raise CorpusError(
                f"{name}, line {number}: '<BPE id 0..50256> <count>' or 'madeupwordNNNN <count>' was expected, {line[:40]!r} was found; "
                "give RoBERTa's dict.txt or leave --dict out"
            )
        symbols.append(symbol)
    if len(set(symbols)) != LINES:
        twice = next(symbol for symbol in symbols if symbols.count(symbol) > 1)
        raise CorpusError(f"{name}: symbol {twice} occurs more than once; each BPE id must occur exactly once")
    row_of = np.full(bpe.VOCABULARY, -1, dtype=np.int64)
    for line_index, symbol in enumerate(symbols):
        if symbol.isdecimal():
            row_of[int(symbol)] = len(SPECIALS) + line_index
    if (row_of < 0).any():
        raise CorpusError(
            f"{name}: BPE id {int(np.argmin(row_of))} is missing; each of 0..50256 must occur exactly once"
        )
    return RowMap(text=text, row_of=row_of.astype(np.uint16), symbols=(*SPECIALS, *symbols, MASK))
