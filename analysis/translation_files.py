"""Reads the files of a translation run (docs/translation-format.md): model.json and translation/*.

Whatever is missing, cut short or does not fit ends in a TranslationError of one line that names the file. Hypotheses and
references are read as sacrebleu's command line reads them: UTF-8, one segment a line.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams import DumpError, first_line

MODEL_FORMAT, TRANSLATION_FORMAT = "embedding-model", "embedding-translation"
VERSION = 1
TEXTS = ("sources", "references", "hypotheses")
SIDES = ("source", "reference")
AGAIN = "translate the test set again"


class TranslationError(DumpError):
    """A translation run's file that cannot be used: one line saying what was expected, what was found and what to do."""


@dataclass(frozen=True)
class Model:
    """model.json: all parameters (tied ones once), rows x dim of each table, and the architecture's `shape`."""

    arch: str
    parameters: int
    tables: dict[str, tuple[int, int]]
    shape: dict[str, Any]

    @property
    def in_tables(self) -> int:
        """Parameters of the embedding tables."""
        return sum(rows * dim for rows, dim in self.tables.values())


@dataclass(frozen=True)
class Translation:
    """The sentences of translation/, in corpus order, and what translation.json says of them."""

    path: Path
    sources: tuple[str, ...]
    references: tuple[str, ...]
    hypotheses: tuple[str, ...]
    about: dict[str, Any]

    @property
    def update(self) -> int | None:
        """The update of the model that translated."""
        found = self.about.get("update")
        return found if isinstance(found, int) else None

    @property
    def corpus(self) -> str | None:
        found = self.about.get("corpus")
        return found.get("name") if isinstance(found, dict) else None

    @property
    def manner(self) -> dict[str, Any]:
        """What must be equal where translations are compared: search, averaged checkpoints, update, vocabulary."""
        checkpoints, corpus = self.about.get("checkpoints"), self.about.get("corpus")
        return {
            "subset": self.about.get("subset"),
            "beam": self.about.get("beam"),
            "lenpen": self.about.get("lenpen"),
            "averaged checkpoints": len(checkpoints) if isinstance(checkpoints, list) else None,
            "update": self.update,
            "dictionary": corpus.get("dictionary_sha256") if isinstance(corpus, dict) else None,
        }

    @property
    def signature(self) -> str:
        """How it was translated: `subset:test|beam:4|lenpen:1.0|checkpoints:checkpoint_last.pt`."""
        checkpoints = self.about.get("checkpoints")
        fields = {key: self.about.get(key) for key in ("subset", "beam", "lenpen")}
        fields["checkpoints"] = "+".join(map(str, checkpoints)) if isinstance(checkpoints, list) else checkpoints
        return "|".join(f"{key}:{value}" for key, value in fields.items() if value is not None)


@dataclass(frozen=True)
class Words:
    """The words of each sentence, flat: sentence i has the places offsets[i] .. offsets[i + 1].

    `count_source` and `count_target`, int64 (words,): occurrences in the training split's source and target text.
    """

    offsets: NDArray[np.int64]
    count_source: NDArray[np.int64]
    count_target: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Words of each sentence, int64 (sentences,)."""
        return np.diff(self.offsets)

    def number(self, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        """How many of each sentence's words are chosen; `chosen` is (words,), the result (sentences,)."""
        return np.diff(np.concatenate([[0], np.cumsum(chosen)])[self.offsets])


def read_model(folder: Path) -> Model:
    """Read `folder`/model.json. Raises TranslationError."""
    path = folder / "model.json"
    content = _read_json(path, MODEL_FORMAT)
    try:
        tables = {entry["name"]: (int(entry["rows"]), int(entry["dim"])) for entry in content["tables"]}
        parameters, shape = int(content["parameters"]), dict(content["shape"])
    except (KeyError, TypeError, ValueError) as error:
        raise TranslationError(
            f"{path}: expected parameters, tables (name, rows, dim) and shape, found another form ({first_line(error)}); write it again"
        ) from None
    if parameters <= 0 or not tables:
        raise TranslationError(
            f"{path}: expected parameters and at least one table, found {parameters} and {len(tables)}"
        )
    return Model(str(content.get("arch")), parameters, tables, shape)


def read_translation(folder: Path) -> Translation:
    """Read `folder`/translation/: texts of equal length that have the hashes of translation.json. Raises TranslationError."""
    place = folder / "translation"
    about = _read_json(place / "translation.json", TRANSLATION_FORMAT)
    texts = {name: _lines(place / f"{name}.txt") for name in TEXTS}
    lengths = {name: len(lines) for name, lines in texts.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{length:,} {name}" for name, length in lengths.items())
        raise TranslationError(
            f"{place}: expected as many hypotheses as sources and references, found {found}; {AGAIN}"
        )
    if about.get("sentences") != lengths["sources"]:
        raise TranslationError(
            f"{place}/translation.json: says {about.get('sentences')} sentences, the files have {lengths['sources']:,}; {AGAIN}"
        )
    for name in TEXTS:
        _check_hash(place / f"{name}.txt", about)
    return Translation(place, *(texts[name] for name in TEXTS), about=about)


def read_words(folder: Path, translation: Translation) -> dict[str, Words]:
    """Read `folder`/translation/words.npz: the words of `source` and `reference` sentences. Raises TranslationError."""
    path = folder / "translation" / "words.npz"
    if not path.is_file():
        raise TranslationError(f"{path}: expected how often the words occur in training, found no such file; {AGAIN}")
    if path.name in _hashes(translation.about):
        _check_hash(path, translation.about)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {
                f"{side}_{name}": file[f"{side}_{name}"].astype(np.int64)
                for side in SIDES
                for name in ("offsets", "count_source", "count_target")
            }
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise TranslationError(
            f"{path}: expected offsets and counts of source and reference words, found a file cut short or of another form "
            f"({first_line(error)}); {AGAIN}"
        ) from None
    except Exception as error:  # zipfile raises its own types for a damaged archive
        raise TranslationError(f"{path}: unreadable ({first_line(error)}); {AGAIN}") from None
    sentences = len(translation.sources)
    result = {}
    for side in SIDES:
        words = Words(*(arrays[f"{side}_{name}"] for name in ("offsets", "count_source", "count_target")))
        offsets, length = words.offsets, len(words.count_source)
        if offsets.ndim != 1 or len(offsets) != sentences + 1:
            raise TranslationError(
                f"{path}: expected {sentences:,} sentences of the {side} side, found {len(offsets) - 1:,}; {AGAIN}"
            )
        if offsets[0] or offsets[-1] != length or (np.diff(offsets) < 0).any() or len(words.count_target) != length:
            raise TranslationError(f"{path}: the {side} side's offsets and counts do not fit together; {AGAIN}")
        result[side] = words
    return result


def _read_json(path: Path, form: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TranslationError(f"{path}: expected format {form!r}, found no such file") from None
    except (OSError, ValueError) as error:
        raise TranslationError(
            f"{path}: expected JSON, found a file that is cut short or damaged ({first_line(error)})"
        ) from None
    if not isinstance(content, dict) or content.get("format") != form:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise TranslationError(f"{path}: expected format {form!r}, found {found!r}")
    if content.get("format_version") != VERSION:
        raise TranslationError(
            f"{path}: format version {content.get('format_version')!r}, this reader knows {VERSION}; "
            "use the project version that wrote it"
        )
    return content


def _lines(path: Path) -> tuple[str, ...]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise TranslationError(f"{path}: expected one sentence a line, found no such file; {AGAIN}") from None
    except (OSError, ValueError) as error:
        raise TranslationError(f"{path}: expected UTF-8 text, unreadable ({first_line(error)}); {AGAIN}") from None
    if not text:
        raise TranslationError(f"{path}: expected one sentence a line, found an empty file; {AGAIN}")
    if not text.endswith("\n"):
        raise TranslationError(f"{path}: the last line has no end: the file is cut short; {AGAIN}")
    return tuple(text[:-1].split("\n"))


def _hashes(about: dict[str, Any]) -> dict[str, str]:
    """sha256 by the file's own name; translation.json may give it with its folder."""
    found = about.get("sha256")
    return {Path(str(name)).name: str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def _check_hash(path: Path, about: dict[str, Any]) -> None:
    expected = _hashes(about).get(path.name)
    if expected is None:
        raise TranslationError(f"{path.parent}/translation.json: gives no sha256 of {path.name}; {AGAIN}")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != expected:
        raise TranslationError(
            f"{path}: expected sha256 {expected[:12]}… as in translation.json, found {found[:12]}…: another file, or changed "
            f"since; {AGAIN}"
        )
