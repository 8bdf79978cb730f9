"""Token counts of a model's vocabulary: counted in text by its own tokenizer, or given in a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UserError
from ..evaluate.loading import one_line
from ..recording.corpus import combined, sha256
from .provenance import describe_file
from .sources import Source, find_sources
from .vocabulary import Encoder, Vocabulary

BATCH = 1 << 19  # characters that are given to the tokenizer at once
UNKNOWN = "unknown: no text was given (--counts), so every token count is 0 and says nothing of frequency"

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Counted:
    """Token counts with where they are from.

    Attributes:
        counts: int64 [V].
        known: whether they were counted at all; if not, all are 0.
        name: of the text; ``None`` if it is not known.
        files: what they were counted in.
        lines: of text; ``None`` if they were not counted here.
        unknown_tokens: occurrences of the unknown token.
    """

    counts: Counts
    known: bool
    name: str | None = None
    files: tuple[Path, ...] = ()
    lines: int | None = None
    unknown_tokens: int = 0

    @property
    def sha256(self) -> str | None:
        """One hash of all files; ``None`` without any."""
        return combined([sha256(path) for path in self.files]) if self.files else None

    def about(self) -> dict[str, Any]:
        """What the dump says of the counts."""
        return {
            "known": self.known,
            "words": "counted by the model's own tokenizer, line by line, no special tokens added"
            if self.lines
            else self._words(),
            "files": [describe_file(path) for path in self.files],
            "lines": self.lines,
            "tokens": int(self.counts.sum()),
            "unknown_tokens": self.unknown_tokens,
        }

    def _words(self) -> str:
        return "given by the user" if self.known else UNKNOWN


def batches(lines: Iterable[str], size: int = BATCH) -> Iterator[list[str]]:
    """Lines that are not empty, in lists of at least ``size`` characters."""
    batch: list[str] = []
    held = 0
    for line in lines:
        if line:
            batch.append(line)
            held += len(line)
        if held >= size:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def count_lines(encode: Encoder, lines: Iterable[str], rows: int) -> tuple[Counts, int]:
    """Count tokens in text, streaming.

    Args:
        encode: gives the rows of each text of a list.
        lines: the text.
        rows: V.

    Returns:
        int64 [V], and the number of lines that are not empty.
    """
    counts, number = np.zeros(rows, dtype=np.int64), 0
    for batch in batches(lines):
        found = encode(batch)
        ids = np.fromiter(chain.from_iterable(found), dtype=np.int64, count=sum(map(len, found)))
        counts += np.bincount(ids, minlength=rows)
        number += len(batch)
    return counts, number


def count(paths: Sequence[Path], vocabulary: Vocabulary) -> Counted:
    """The counts that ``--counts`` asks for.

    Args:
        paths: text files, folders, prepared corpora; or one .npy or .tsv file of counts; or nothing.
        vocabulary: of the table, padding rows included.

    Raises:
        UserError: a path cannot be read, or a file of counts does not fit the vocabulary.
    """
    rows = len(vocabulary)
    if not paths:
        return Counted(np.zeros(rows, dtype=np.int64), False)
    given = [path for path in paths if path.suffix.lower() in (".npy", ".tsv")]
    if given and len(paths) > 1:
        raise UserError(
            f"--counts {given[0]}: expected one file of counts, or text; found {len(paths)} paths; give one file of counts alone"
        )
    if given:
        if not given[0].is_file():
            raise UserError(f"--counts {given[0]}: expected a file of counts; found none; check the path")
        read = _read_array if given[0].suffix.lower() == ".npy" else _read_table
        return Counted(read(given[0], rows), True, given[0].stem, (given[0],))
    sources = find_sources(paths)
    counts, lines = count_lines(vocabulary.encode, chain.from_iterable(source.lines() for source in sources), rows)
    if not counts.any():
        raise UserError(f"--counts {paths[0]}: expected text; the model's tokenizer found no token in it; give text")
    unknown = int(counts[vocabulary.unknown]) if vocabulary.unknown >= 0 else 0
    return Counted(
        counts, True, name_of(sources), tuple(path for source in sources for path in source.files), lines, unknown
    )


def name_of(sources: Sequence[Source]) -> str:
    """A name for the text: that of the first source, and how many more there are."""
    more = len(sources) - 1
    return sources[0].name + (f" and {more} more" if more else "")


def _checked(values: npt.NDArray[Any], path: Path, rows: int) -> Counts:
    """Counts of at most V rows as int64 [V].

    Raises:
        UserError: they are no counts, or too many.
    """
    if values.ndim != 1 or values.dtype.kind not in "iu" or len(values) > rows or not len(values) or (values < 0).any():
        raise UserError(
            f"--counts {path}: expected whole numbers of at least 0 for at most {rows:,} rows; found {values.dtype} of the shape {values.shape}"
            f"{' with negative ones' if values.dtype.kind == 'i' and (values < 0).any() else ''}; give one count a row"
        )
    return np.append(values.astype(np.int64), np.zeros(rows - len(values), dtype=np.int64))


def _read_array(path: Path, rows: int) -> Counts:
    """One count a row, in the rows' order; rows beyond the array have none."""
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(
            f"--counts {path}: expected an array of NumPy; it cannot be read ({one_line(error)})"
        ) from error
    if not isinstance(values, np.ndarray):
        raise UserError(f"--counts {path}: expected one array; found an archive of several; give a .npy file")
    return _checked(values, path, rows)


def _read_table(path: Path, rows: int) -> Counts:
    """Lines ``row<TAB>count``; rows that are not named have none."""
    counts = np.zeros(rows, dtype=np.int64)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--counts {path}: expected text; it cannot be read ({one_line(error)})") from error
    for number, line in enumerate(lines, start=1):
        fields = line.split("\t")
        if number == 1 and fields[:1] == ["row"]:
            continue
        if (
            len(fields) != 2
            or not all(f.isascii() and f.isdecimal() and len(f) < 19 for f in fields)
            or int(fields[0]) >= rows
        ):
            raise UserError(
                f"--counts {path}, line {number}: expected 'row<TAB>count' with a row below {rows:,}; found {line[:60]!r}; write one row a line"
            )
        counts[int(fields[0])] += int(fields[1])
    return counts


def files_of(paths: Sequence[Path]) -> list[Path]:
    """Every file that :func:`count` reads.

    Raises:
        UserError: a path does not exist or holds no text.
    """
    text = [path for path in paths if path.suffix.lower() not in (".npy", ".tsv")]
    given = [path for path in paths if path not in text and path.is_file()]
    return [*given, *(path for source in find_sources(text) for path in source.files)]
