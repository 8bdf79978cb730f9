"""The usual part of speech of words, counted in a Universal Dependencies treebank (CoNLL-U), for the tokens of a vocabulary.

Format: https://universaldependencies.org/format.html
"""

from __future__ import annotations

import lzma
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from evaluation import EvaluationError

FILE = "en_ewt-ud-train.conllu"
LEAST = 3  # occurrences of a form
NO_PART = ("_", "X")


def majority_tags(folder: str | Path, *, least: int = LEAST) -> dict[str, str]:
    """The most frequent universal part of speech of each form (case kept) that occurs at least `least` times.

    Of equally frequent ones the first in the alphabet; words without a part of speech do not count. Raises EvaluationError: no
    training file of the treebank in `folder` (plain or .xz), a file that is not CoNLL-U.
    """
    folder = Path(folder)
    path = next((found for name in (FILE, f"{FILE}.xz") if (found := folder / name).is_file()), None)
    if path is None:
        raise EvaluationError(
            f"{folder}: expected {FILE} or {FILE}.xz, found neither; get it with bash scripts/prepare_ud_ewt.sh"
        )
    try:
        with lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else path.open(encoding="utf-8") as lines:
            counts = _counts(lines, path)
    except (OSError, EOFError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise EvaluationError(f"{path}: cannot be read ({error}); get it with bash scripts/prepare_ud_ewt.sh") from None
    return {
        form: max(sorted(tags), key=tags.__getitem__) for form, tags in counts.items() if sum(tags.values()) >= least
    }


def tags_of_rows(texts: Sequence[str], tags: Mapping[str, str]) -> dict[int, str]:
    """Part of speech by row, of tokens that are whole words: texts with a leading space, and those without any letter or digit."""
    found = {}
    for row, text in enumerate(texts):
        form = text[1:] if text.startswith(" ") else text
        whole = text.startswith(" ") or not any(character.isalnum() for character in text)
        if whole and (tag := tags.get(form)) is not None:
            found[row] = tag
    return found


def _counts(lines: Iterable[str], path: Path) -> dict[str, Counter[str]]:
    """How often each form has each part of speech; ranges (3-4) and empty nodes (8.1) are no words."""
    counts: dict[str, Counter[str]] = {}
    for number, line in enumerate(lines, start=1):
        if line.startswith("#") or not line.strip():
            continue
        columns = line.rstrip("\r\n").split("\t")
        if len(columns) != 10:
            raise EvaluationError(f"{path}: line {number}: expected the ten columns of CoNLL-U, found {len(columns)}")
        if columns[0].isdecimal() and columns[3] not in NO_PART:
            counts.setdefault(columns[1], Counter())[columns[3]] += 1
    if not counts:
        raise EvaluationError(f"{path}: expected words in CoNLL-U, found none")
    return counts
