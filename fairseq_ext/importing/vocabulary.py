"""A model's tokenizer from its files: which token each row stands for, which rows are special or unused, and text to rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from ..errors import UserError
from ..evaluate.loading import one_line
from . import texts

Encoder = Callable[[Sequence[str]], list[list[int]]]
FILES = "tokenizer.json, vocab.json with merges.txt, vocab.txt, or a sentencepiece *.model"
MOST_PADDING = 1024  # rows that a table may have beyond its tokenizer: sizes are rounded up
OFFSET = ("sentencepiece.bpe.model",)  # its rows are shifted by fairseq's specials, which the file does not tell


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer's tokens.

    Attributes:
        files: what it was read from.
        form: how its tokens are written (``texts.BYTE_LEVEL``, ...).
        tokens: by row, as the file writes them; ``None`` where a number has no token.
        texts: by row, in the project's form.
        special: bool by row.
        unused: bool by row; rows without a token are.
        unknown: row of the unknown token; -1 without.
        encode: lists of rows of some texts, no special tokens added, nothing cut or padded.
    """

    files: tuple[Path, ...]
    form: str
    tokens: tuple[str | None, ...]
    texts: tuple[str, ...]
    special: npt.NDArray[np.bool_]
    unused: npt.NDArray[np.bool_]
    unknown: int
    encode: Encoder

    def __len__(self) -> int:
        return len(self.tokens)

    def padded(self, rows: int) -> Vocabulary:
        """The vocabulary of a table of so many rows: what lies beyond the tokenizer are rows without a token.

        Raises:
            UserError: the table has fewer rows, or more than rounding its size up can explain.
        """
        more = rows - len(self)
        if not 0 <= more <= MOST_PADDING:
            raise UserError(
                f"expected a table with a row for each of the {len(self):,} tokens of {self.files[0]} (and at most {MOST_PADDING:,} more); found "
                f"{rows:,} rows: it is another model's tokenizer; give the model's own by --tokenizer"
            )
        return Vocabulary(
            self.files,
            self.form,
            (*self.tokens, *[None] * more),
            (*self.texts, *(no_token(len(self) + k) for k in range(more))),
            np.append(self.special, np.zeros(more, dtype=bool)),
            np.append(self.unused, np.ones(more, dtype=bool)),
            self.unknown,
            self.encode,
        )


def no_token(row: int) -> str:
    """What stands for the text of a row that has none."""
    return f"<no token {row}>"


def open_vocabulary(place: Path) -> Vocabulary:
    """Read the tokenizer of a model's folder, or of one of its files.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    folder = place if place.is_dir() else place.parent
    name = None if place.is_dir() or place.suffix == ".safetensors" else place.name
    if name is not None and not place.is_file():
        raise UserError(f"expected a tokenizer at {place}; found no file; give {FILES}")
    names = [name] if name else ["tokenizer.json", "vocab.json", "vocab.txt", None]
    for candidate in names:
        if candidate is None:
            pieces = sorted([*folder.glob("*.model"), *folder.glob("*.spm")])
            if len(pieces) > 1:
                shown = ", ".join(path.name for path in pieces)
                raise UserError(
                    f"expected one sentencepiece model in {folder}; found {shown}; choose by --tokenizer FILE"
                )
            if pieces:
                return _pieces(pieces[0], folder)
        elif (folder / candidate).is_file():
            path = folder / candidate
            if path.suffix == ".txt":
                return _word_piece(path, folder)
            if path.suffix in (".model", ".spm"):
                return _pieces(path, folder)
            if candidate != "vocab.json":
                return _whole(path, folder)
            if (folder / "merges.txt").is_file():
                return _byte_level(path, folder)
    raise UserError(
        f"expected a tokenizer in {folder} ({FILES}); found none; add the model's own, or give it by --tokenizer"
    )


def _whole(path: Path, folder: Path) -> Vocabulary:
    """A ``tokenizer.json``."""
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
        tokenizer = Tokenizer.from_str(text)
        form, text_of = texts.form_of(content)
        added = {entry["content"]: bool(entry.get("special")) for entry in content.get("added_tokens") or []}
        place_of_unknown = content["model"].get("unk_id")  # of a unigram model, whose vocabulary is a list
        unknown = None if place_of_unknown is None else content["model"]["vocab"][place_of_unknown][0]
    except Exception as error:  # the library raises Exception itself
        raise UserError(f"{path} cannot be read as a tokenizer ({one_line(error)}); get it again") from error
    return _describe([path], folder, form, text_of, tokenizer, added, unknown)


def _word_piece(path: Path, folder: Path) -> Vocabulary:
    """A ``vocab.txt``: the BERT tokenizer of the package transformers, lower-casing if ``tokenizer_config.json`` says so."""
    options = json_object(folder / "tokenizer_config.json")
    tokens = _lines(path)
    special = {options.get(f"{name}_token") for name in ("unk", "sep", "pad", "cls", "mask")} | texts.SPECIAL
    lower = options.get("do_lower_case")
    if lower is None:
        plain = [token for token in tokens if token not in special and not texts.is_unused(token)]
        lower = not any(token != token.lower() for token in plain)
    unknown = str(options.get("unk_token") or "[UNK]")
    tokenizer = Tokenizer(models.WordPiece({token: row for row, token in enumerate(tokens)}, unk_token=unknown))
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=bool(lower),
        strip_accents=options.get("strip_accents"),
        handle_chinese_chars=bool(options.get("tokenize_chinese_chars", True)),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return _describe([path], folder, texts.WORD_PIECE, texts.word_piece("##"), tokenizer, {})


def _byte_level(path: Path, folder: Path) -> Vocabulary:
    """A ``vocab.json`` with ``merges.txt``: GPT-2's and RoBERTa's byte-level BPE."""
    merges = folder / "merges.txt"
    lines = [line for line in _lines(merges) if line and not line.startswith("#version")]
    try:
        vocabulary = {str(token): int(row) for token, row in json.loads(path.read_text(encoding="utf-8")).items()}
        tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[tuple(line.split(" ")) for line in lines]))
    except Exception as error:  # the library raises Exception itself
        raise UserError(
            f"{path} and {merges.name} cannot be read as a byte-level BPE ({one_line(error)}); get them again"
        ) from error
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    return _describe([path, merges], folder, texts.BYTE_LEVEL, texts.byte_level, tokenizer, {})


def _pieces(path: Path, folder: Path) -> Vocabulary:
    """A sentencepiece model whose pieces' numbers are the rows, as in T5 and Llama."""
    import sentencepiece

    if path.name in OFFSET:
        raise UserError(f"{path}: the rows of such a model are not the pieces' numbers; add the model's tokenizer.json")
    try:
        processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    except Exception as error:  # the library raises several kinds
        raise UserError(f"{path} cannot be read as a sentencepiece model ({one_line(error)}); get it again") from error
    size = processor.vocab_size()
    tokens = [processor.id_to_piece(row) for row in range(size)]
    named = _named(folder)
    flagged = np.array(
        [
            processor.is_control(row) or processor.is_unknown(row) or token in named or texts.is_special(token)
            for row, token in enumerate(tokens)
        ],
        dtype=bool,
    )
    unused = np.array(
        [processor.is_unused(row) or texts.is_unused(token) for row, token in enumerate(tokens)], dtype=bool
    )
    return Vocabulary(
        (path,),
        texts.SENTENCE_PIECE,
        tuple(tokens),
        tuple(
            token if flagged[row] or unused[row] else texts.sentence_piece(token) for row, token in enumerate(tokens)
        ),
        flagged & ~unused,
        unused,
        processor.unk_id(),
        lambda batch: processor.encode(list(batch)),
    )


def _describe(
    files: list[Path],
    folder: Path,
    form: str,
    text_of: Callable[[str], str],
    tokenizer: Tokenizer,
    added: dict[str, bool],
    unknown: str | None = None,
) -> Vocabulary:
    """A vocabulary of the package tokenizers.

    Args:
        added: tokens beside the model's own, and whether they are special.
        unknown: the token for what cannot be encoded, where the model does not name it.
    """
    tokenizer.no_truncation()  # a tokenizer.json may carry both, and counts would be wrong
    tokenizer.no_padding()
    row_of = tokenizer.get_vocab(with_added_tokens=True)
    if not row_of:
        raise UserError(f"{files[0]}: expected tokens; found none; get it again")
    tokens: list[str | None] = [None] * (max(row_of.values()) + 1)
    for token, row in row_of.items():
        tokens[row] = token
    named = _named(folder)
    unknown = getattr(tokenizer.model, "unk_token", None) or unknown
    unused = np.array([token is None or texts.is_unused(token) for token in tokens], dtype=bool)
    special = np.array(
        [
            token is not None
            and (added.get(token, False) or token in named or token == unknown or texts.is_special(token))
            for token in tokens
        ],
        dtype=bool,
    )
    special &= ~unused
    return Vocabulary(
        tuple(files),
        form,
        tuple(tokens),
        tuple(
            no_token(row)
            if token is None
            else (token if special[row] or unused[row] or token in added else text_of(token))
            for row, token in enumerate(tokens)
        ),
        special,
        unused,
        row_of.get(unknown, -1) if unknown else -1,
        lambda batch: [found.ids for found in tokenizer.encode_batch_fast(list(batch), add_special_tokens=False)],
    )


def _named(folder: Path) -> set[str]:
    """The tokens that the folder's own files call special."""
    found: set[str] = set()
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        for key, value in json_object(folder / name).items():
            if key == "added_tokens_decoder" and isinstance(value, dict):
                entries = [entry for entry in value.values() if isinstance(entry, dict) and entry.get("special")]
            elif key.endswith("_token") or key == "additional_special_tokens":
                entries = value if isinstance(value, list) else [value]
            else:
                continue
            texts_of = [entry.get("content") if isinstance(entry, dict) else entry for entry in entries]
            found |= {text for text in texts_of if isinstance(text, str) and text}
    return found


def json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is no file or it holds something else.

    Raises:
        UserError: it cannot be read.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: expected a JSON object; it cannot be read ({one_line(error)}); get it again"
        ) from error
    return content if isinstance(content, dict) else {}


def _lines(path: Path) -> list[str]:
    """Lines of a UTF-8 file; a line feed alone ends one, for a token may hold other separators."""
    try:
        lines = path.read_bytes().decode("utf-8").replace("\r\n", "\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as text in UTF-8 ({one_line(error)}); get it again") from error
    return lines[:-1] if lines and lines[-1] == "" else lines
