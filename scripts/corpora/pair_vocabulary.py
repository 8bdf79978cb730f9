"""The vocabulary that both languages of a corpus of pairs share: a sentencepiece model, and its pieces as fairseq's rows."""

from __future__ import annotations

import io
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corpora.errors import CorpusError
from corpora.pairs import Pair

SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")  # fairseq's rows 0 to 3
END, UNKNOWN = 2, 3
_OWN = 3  # sentencepiece's first ids: <unk>, <s>, </s>
_RESERVED = re.compile(r"<(/?s|pad|unk|mask)>")  # symbols of fairseq, which no piece may be
_TOO_LARGE = re.compile(r"value <= (\d+)")
_TOO_SMALL = re.compile(r"(\d+) vs (\d+)")
_LONGEST = 1 << 20  # bytes of a training line; sentencepiece would leave out lines of more than 4,192


@dataclass(frozen=True)
class Vocabulary:
    """A trained model. `pieces` are the N pieces in the model's order, its specials left out; piece i is fairseq's row 4 + i."""

    model: bytes
    pieces: tuple[str, ...]
    processor: Any  # sentencepiece.SentencePieceProcessor

    @property
    def rows(self) -> int:
        return len(SPECIALS) + len(self.pieces)

    def encode(self, texts: list[str]) -> list[NDArray[np.int64]]:
        """Rows of each text, `</s>` at the end; what no piece covers is `<unk>`."""
        row_of = np.arange(self.rows - len(SPECIALS) + _OWN) + len(SPECIALS) - _OWN
        row_of[:_OWN] = UNKNOWN  # a text never gives sentencepiece's <s> and </s>
        encoded = self.processor.encode(texts, out_type=int, num_threads=1)
        return [np.append(row_of[np.asarray(ids, dtype=np.int64)], END) for ids in encoded]

    def dictionary(self, counts: NDArray[np.int64]) -> str:
        """fairseq's dict.txt: a line for each piece. `counts` (rows,) in the training split."""
        numbers = counts[len(SPECIALS) :].tolist()
        return "".join(f"{piece} {count}\n" for piece, count in zip(self.pieces, numbers, strict=True))

    def row_texts(self) -> list[str]:
        """(rows,) the text of each row, the mark of a word's beginning as a space."""
        return [*SPECIALS, *(piece.replace("▁", " ") for piece in self.pieces)]


def train(pairs: list[Pair], size: int, model_type: str) -> Vocabulary:
    """Train a model of `size` pieces on both sides of the pairs. The same pairs give the same bytes.

    Raises CorpusError where the text has too few different pieces, or more characters than pieces were asked for.
    """
    import sentencepiece

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_lines(pairs),
            model_writer=model,
            model_type=model_type,
            vocab_size=size + _OWN,
            character_coverage=1.0,
            normalization_rule_name="nmt_nfkc",
            byte_fallback=False,
            input_sentence_size=0,
            shuffle_input_sentence=False,
            max_sentence_length=_LONGEST,
            num_threads=1,
            minloglevel=3,
        )
    except RuntimeError as error:
        raise CorpusError(_said(str(error), size)) from error
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = tuple(processor.id_to_piece(index) for index in range(_OWN, processor.get_piece_size()))
    odd = [piece for piece in pieces if piece in SPECIALS or len(piece.split()) != 1 or piece != piece.strip()]
    if odd or len(set(pieces)) != size:
        raise CorpusError(
            f"sentencepiece made the pieces {odd[:3]!r}, which fairseq's dictionary cannot hold; leave those characters out of the text"
        )
    return Vocabulary(model.getvalue(), pieces, processor)


def _lines(pairs: Iterable[Pair]) -> Iterator[str]:
    for side in (0, 1):
        for pair in pairs:
            yield _unreserved(pair[side])


def _unreserved(text: str) -> str:
    """The text, with fairseq's own symbols (`<pad>` and so on) taken apart, so that none of them becomes a piece."""
    if "<" not in text and "＜" not in text and "﹤" not in text:
        return text
    plain = "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c)[0] != "C")
    return _RESERVED.sub(r"< \1 >", plain) if _RESERVED.search(plain) else text


def _said(message: str, size: int) -> str:
    """What sentencepiece's error means, in one line."""
    if "too high" in message and (found := _TOO_LARGE.search(message)):
        largest = int(found[1]) - _OWN
        return f"--vocabulary {size}: the training text has no more than {largest:,} pieces; give --vocabulary {largest} or less, or more text"
    if "smaller than required_chars" in message and (found := _TOO_SMALL.search(message)):
        least = int(found[2]) - _OWN
        return f"--vocabulary {size}: the training text has {least:,} different characters, each of which is a piece; give --vocabulary {least + 1} or more"
    if size < 1 or "sentences_.empty()" in message:
        return "sentencepiece found no text to make pieces of; give more text"
    shown = " ".join(message.split())[:200]
    return f"--vocabulary {size}: sentencepiece could not make the pieces ({shown}); give another --vocabulary or --model-type"
