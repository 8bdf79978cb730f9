"""Reading a Universal Dependencies treebank (CoNLL-U): sentences as text, their words with place and part of speech.

Format: https://universaldependencies.org/format.html
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from .masks import whole_items

NAME = "en_ewt-ud-{}.conllu"
SPLITS = ("train", "dev")


@dataclass(frozen=True)
class Word:
    """A syntactic word: where it begins in the sentence's text (characters), its form and universal part of speech."""

    start: int
    form: str
    tag: str


@dataclass(frozen=True)
class Sentence:
    """A sentence's text as it was written, and its words.

    Attributes:
        text: the surface text.
        words: the words that have a place of their own in the text, in order.
        lost: words without one: those of a contraction that do not spell it when put together.
    """

    text: str
    words: tuple[Word, ...]
    lost: int


def find(folder: Path, split: str) -> Path:
    """The file of a split, plain or compressed by xz.

    Raises:
        UserError: there is none.
    """
    plain = folder / NAME.format(split)
    for path in (plain, plain.with_name(plain.name + ".xz")):
        if path.is_file():
            return path
    raise UserError(
        f"expected a treebank (a folder with {plain.name} or {plain.name}.xz); found none in {folder}; "
        "get it with bash scripts/prepare_ud_ewt.sh, or leave --treebank out"
    )


def read(path: Path) -> list[Sentence]:
    """The sentences of a CoNLL-U file.

    Raises:
        UserError: it cannot be read or is not CoNLL-U.
    """
    try:
        with lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else path.open(encoding="utf-8") as file:
            sentences = [sentence(block, path) for block in _blocks(file)]
    except (OSError, EOFError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}); get it again with bash scripts/prepare_ud_ewt.sh") from error
    if not sentences:
        raise UserError(f"{path}: expected sentences in CoNLL-U; found none")
    return sentences


def _blocks(lines: Iterator[str]) -> Iterator[list[tuple[int, list[str]]]]:
    """Each sentence's lines of ten columns with their numbers, comments left out."""
    block: list[tuple[int, list[str]]] = []
    for number, line in enumerate(lines, start=1):
        line = line.rstrip("\r\n")
        if not line:
            if block:
                yield block
            block = []
        elif not line.startswith("#"):
            block.append((number, line.split("\t")))
    if block:
        yield block


def sentence(block: list[tuple[int, list[str]]], path: Path) -> Sentence:
    """Put a sentence's text together from its surface tokens.

    A surface token is a line whose id is a range (``3-4 didn't``, then the words 3 and 4) or a word outside all ranges; a space follows it
    unless its last column says ``SpaceAfter=No``. Words of a range are placed one after the other in it if they spell it. Empty nodes
    (``8.1``) are no words.
    """
    text = ""
    words: list[Word] = []
    lost = 0
    pending: list[tuple[str, str]] = []  # words of the open range: form and tag
    until, begin, surface = 0, 0, ""
    for number, columns in block:
        if len(columns) != 10:
            raise UserError(f"{path}, line {number}: expected the ten columns of CoNLL-U; found {len(columns)}")
        name, form, tag = columns[0], columns[1], columns[3]
        if "." in name:
            continue
        try:
            first, _, last = name.partition("-")
            index, end = int(first), int(last or 0)
        except ValueError:
            raise UserError(
                f"{path}, line {number}: expected a word's number in the first column; found {name!r}"
            ) from None
        if end:
            until, begin, surface = end, len(text), form
            pending = []
        elif index <= until:
            pending.append((form, tag))
            if index == until:
                if "".join(f for f, _ in pending) == surface:
                    for part, part_tag in pending:
                        words.append(Word(begin, part, part_tag))
                        begin += len(part)
                else:
                    lost += len(pending)
            continue
        else:
            words.append(Word(len(text), form, tag))
        text += form + ("" if "SpaceAfter=No" in columns[9].split("|") else " ")
    return Sentence(text.rstrip(" "), tuple(words), lost)


def whole_sentences(sentences: list[Sentence], words: int, key: tuple[int, ...]) -> list[int]:
    """Numbers of sentences in an order that depends on the key and their number, as many as have at most ``words`` words together."""
    return sorted(whole_items(key, [len(sentence.words) for sentence in sentences], words))
