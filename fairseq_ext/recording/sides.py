"""The sides of a corpus: the one text of a masked LM, or source and target of a translation; and which of them a table serves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fairseq.data import Dictionary

from ..errors import UserError
from .corpus import (
    Corpus,
    combined,
    count_tokens,
    described,
    require_dictionary,
    require_whole,
    row_texts,
    sha256,
    unigram_entropy_bits,
)
from .rows import Rows
from .rows import describe as describe_rows

TEXT, SOURCE, TARGET, BOTH = "text", "source", "target", "both"


@dataclass(frozen=True)
class Side:
    """One side of a corpus.

    Attributes:
        name: ``text``, ``source`` or ``target``.
        dictionary: its dictionary of V symbols.
        symbols: the file that the dictionary was read from.
        language: its code; ``None`` for a masked LM's text.
    """

    name: str
    dictionary: Dictionary
    symbols: Path
    language: str | None = None


def one_text(folder: Path, dictionary: Dictionary) -> tuple[Side, ...]:
    """The only side of a masked LM's corpus."""
    return (Side(TEXT, dictionary, folder / "dict.txt"),)


def pair(folder: Path, dictionaries: tuple[Dictionary, Dictionary], languages: tuple[str, str]) -> tuple[Side, ...]:
    """Source and target of a corpus of pairs."""
    return tuple(
        Side(name, dictionary, folder / f"dict.{language}.txt", language)
        for name, dictionary, language in zip((SOURCE, TARGET), dictionaries, languages, strict=True)
    )


def pair_split(folder: Path, split: str, source: str, target: str) -> dict[str, Path]:
    """The two halves of a binarised split of pairs, by language: paths without ``.bin``/``.idx``.

    Raises:
        UserError: the folder has no such split of the two languages.
    """
    for pair in (f"{source}-{target}", f"{target}-{source}"):
        if (folder / f"{split}.{pair}.{source}.idx").is_file():
            return {language: folder / f"{split}.{pair}.{language}" for language in (source, target)}
    there = sorted({".".join(p.name.split(".")[:2]) for p in folder.glob("*.idx") if p.name.count(".") >= 3})
    raise UserError(
        f"expected a binarised split {split} of {source} and {target} in {folder} ({split}.{source}-{target}.{source}.idx); "
        f"found {', '.join(there) or 'no split of pairs'}; check --source-lang and --target-lang, or prepare the corpus again"
    )


def require_pairs(data: str, source: str | None, target: str | None) -> Path:
    """The folder of a prepared corpus of pairs.

    Raises:
        UserError: there is no such folder, or no dictionary in it of a language that was named.
    """
    folder = Path(data.split(":")[0])
    if not folder.is_dir():
        raise UserError(
            f"expected a prepared corpus of sentence pairs; found no folder {folder}; make one with scripts/prepare_*.sh, e.g. "
            "bash scripts/prepare_libreoffice_help.sh"
        )
    languages = sorted(p.name.split(".")[1] for p in folder.glob("dict.*.txt"))
    missing = [name for name in (source, target) if name is not None and name not in languages]
    if missing or len(languages) < 2:
        wanted = " and ".join(f"dict.{name}.txt" for name in missing) or "two dictionaries (dict.LANGUAGE.txt)"
        raise UserError(
            f"expected {wanted} in {folder}; found {'those of ' + ', '.join(languages) if languages else 'no dict.LANGUAGE.txt'}; "
            "check --source-lang and --target-lang, or prepare the corpus again"
        )
    return folder


def side_of(names: Iterable[str], sides: Sequence[Side]) -> str:
    """The side that a table serves by its parameters' names: fairseq's models keep source tokens in the encoder and target tokens in the decoder."""
    if len(sides) == 1:
        return sides[0].name
    served = {TARGET if name.split(".")[0] == "decoder" else SOURCE for name in names}
    return served.pop() if len(served) == 1 else BOTH


@dataclass(frozen=True)
class Counted:
    """A corpus's sides with how often each row occurs in them.

    Attributes:
        sides: source before target.
        counts: int64 (V of that side,) by the side's name, in the training split.
        texts: the rows' texts by the side's name.
        corpus: what the dump's attributes say of it.
    """

    sides: tuple[Side, ...]
    counts: dict[str, npt.NDArray[np.int64]]
    texts: dict[str, list[str]]
    corpus: Corpus

    def rows(self, side: str) -> Rows:
        """The rows of a table that serves a side, or both: their count is the sum over what it serves, and kept by side as well."""
        names = [entry.name for entry in self.sides] if side == BOTH else [side]
        dictionary = next(entry.dictionary for entry in self.sides if entry.name == names[0])
        total = np.sum([self.counts[name] for name in names], axis=0)
        size = len(dictionary)
        by_side = {}
        if len(self.sides) > 1:
            by_side = {k: v if len(v) == size else np.zeros(size, dtype=np.int64) for k, v in self.counts.items()}
        return describe_rows(dictionary, total, self.texts[names[0]], by_side)


def splits(folder: Path, split: str, sides: tuple[Side, ...]) -> dict[str, Path]:
    """A binarised split by side: paths without ``.bin``/``.idx``.

    Raises:
        UserError: a corpus of pairs has no such split.
    """
    if len(sides) == 1:
        return {sides[0].name: folder / split}
    halves = pair_split(folder, split, str(sides[0].language), str(sides[1].language))
    return {side.name: halves[str(side.language)] for side in sides}


def require_split(folder: Path, split: str, sides: tuple[Side, ...]) -> dict[str, Path]:
    """A binarised split by side, checked to be whole, of the sides' dictionaries, and as long on one side as on the other.

    Raises:
        UserError: it is not.
    """
    places = splits(folder, split, sides)
    examples = {}
    for side in sides:
        require_dictionary(places[side.name], len(side.dictionary))
        _, examples[side.name] = require_whole(places[side.name])
    if len(set(examples.values())) > 1:
        found = " and ".join(f"{number:,} ({name})" for name, number in examples.items())
        raise UserError(
            f"expected as many sentences in {SOURCE} as in {TARGET} of the split {split}; found {found}; prepare the corpus again"
        )
    return places


def count(folder: Path, split: str, sides: tuple[Side, ...]) -> Counted:
    """Count the training split of every side.

    Raises:
        UserError: a split is missing, cut short or of another dictionary, or the sides differ in their number of examples.
    """
    counts, texts = {}, {}
    places = require_split(folder, split, sides)
    for side in sides:
        counts[side.name], examples = count_tokens(places[side.name], len(side.dictionary))
        texts[side.name] = row_texts(folder, side.dictionary)
    predicted = sides[-1]
    counted = describe_rows(predicted.dictionary, counts[predicted.name]).counted
    known: dict[str, Any] = described(folder)
    corpus = Corpus(
        name=known.get("name") or folder.resolve().name,
        data=str(folder),
        dictionary_sha256=combined([sha256(side.symbols) for side in sides]),
        train_sha256=combined([sha256(place.with_name(f"{place.name}.bin")) for place in places.values()]),
        train_tokens=int(sum(values.sum() for values in counts.values())),
        train_examples=examples,
        unigram_entropy_bits=unigram_entropy_bits(counts[predicted.name][counted]),
        source=known.get("source"),
        languages=[str(side.language) for side in sides] if len(sides) > 1 else None,
    )
    return Counted(sides, counts, texts, corpus)
