"""`text`: a corpus from your own UTF-8 text files or folders of them.

Each non-empty line is an example. Documents are kept together: each is wholly in the training or wholly in the validation text.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from corpora import options
from corpora.errors import CorpusError, run

if TYPE_CHECKING:
    from corpora.documents import Census

USAGE = """
what begins a document (--documents):
  title   a file, and within it each line '= Title =' after a blank line (default)
  file    a file
  blank   each block of lines between blank lines
A text that is a single document is split by blocks between blank lines, or by runs of lines, and the command says so.
"""


class Files:
    """The user's files, read again for each pass. A file that changes meanwhile is an error."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.states = [_state(path) for path in paths]

    def __iter__(self) -> Iterator[Iterator[str]]:
        for path, state in zip(self.paths, self.states, strict=True):
            yield self._read(path, state)

    @staticmethod
    def _read(path: Path, state: tuple[int, int]) -> Iterator[str]:
        from corpora.sources import read_lines

        yield from read_lines(path)
        if _state(path) != state:
            raise CorpusError(f"{path} changed while it was read; run again when it is finished")


def _state(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror}; check the path and the permissions") from error
    return found.st_size, found.st_mtime_ns


@dataclass(frozen=True)
class Division:
    """How a text is divided: the mode of `documents.number`, and the split of each document."""

    mode: str
    census: Census
    split_of: list[str]
    short_lines: int


def divide(files: Files, mode: str, seed: int, min_words: int, valid_share: float, test_share: float) -> Division:
    """Divide the text into documents and choose those held out. Raises CorpusError for a text without lines or too small to divide.

    One single document is divided by blank lines, if that gives about the wanted share, else into runs of lines.
    """
    from corpora.documents import MODES, hold_out

    for attempt in [mode, *(other for other in ("blank", "lines") if other != mode)]:
        census, short = take_census(files, attempt, seed, min_words)
        if not census.documents:
            raise CorpusError(
                f"no text was found in {_few(files.paths)}: each line is empty or shorter than --min-words; give more text"
            )
        valid = census.hold_out(valid_share)
        split_of = ["valid" if held_out else "train" for held_out in valid]
        total = census.characters()
        held = sum(size for size, held_out in zip(census.sizes, valid, strict=True) if held_out)
        if test_share:
            rest = [index for index, held_out in enumerate(valid) if not held_out]
            import numpy as np

            hashes = np.asarray(census.hashes, dtype=np.uint64)[rest]
            sizes = np.asarray(census.sizes, dtype=np.int64)[rest]
            for index, held_out in zip(
                rest, hold_out(hashes, sizes, min(1.0, test_share * total / max(1, total - held))), strict=True
            ):
                if held_out:
                    split_of[index] = "test"
        wanted = {"train", "valid"} | ({"test"} if test_share else set())
        fits = valid_share / 2 <= held / total <= 2 * valid_share
        if set(split_of) == wanted and (attempt == mode or attempt not in MODES or fits):
            return Division(attempt, census, split_of, short)
    lines = sum(1 for _ in census.take(number_lines(files, "lines", min_words)[0]))
    raise CorpusError(
        f"{_few(files.paths)}: {lines} lines of text are too few for a validation split (at least 2 runs of 20 lines were expected); give more text"
    )


def number_lines(files: Files, mode: str, min_words: int) -> tuple[Iterator[tuple[int, str]], Callable[[], int]]:
    """The lines of at least `min_words` words with the number of their document, and a count of those left out so far."""
    from corpora.documents import number

    short = 0

    def lines() -> Iterator[tuple[int, str]]:
        nonlocal short
        for document, line in number(files, mode):
            if min_words > 1 and len(line.split()) < min_words:
                short += 1
            else:
                yield document, line

    return lines(), lambda: short


def take_census(files: Files, mode: str, seed: int, min_words: int) -> tuple[Census, int]:
    """One pass over the text: hash and size of each document, and how many lines are too short."""
    from corpora.documents import Census
    from corpora.progress import Progress

    census = Census(seed)
    progress = Progress("read ")
    characters = 0
    lines, short = number_lines(files, mode, min_words)
    for index, (_, line) in enumerate(census.take(lines)):
        characters += len(line) + 1
        if index % 4096 == 0:
            progress.update(characters)
    progress.finish(characters)
    return census, short()


def _few(paths: list[Path]) -> str:
    return str(paths[0]) + (f" and {len(paths) - 1} other files" if len(paths) > 1 else "")


def command(argv: list[str]) -> None:
    parser = options.parser("prepare_text.sh", (__doc__ or "") + USAGE, None)
    parser.usage = "prepare_text.sh --name NAME [options] PATH..."
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="a text file (.gz, .xz and .bz2 are unpacked), or a folder with .txt files",
    )
    parser.add_argument(
        "--documents",
        choices=("title", "file", "blank"),
        default="title",
        help="what begins a document (default: %(default)s)",
    )
    parser.add_argument(
        "--valid-share",
        type=float,
        default=0.05,
        metavar="X",
        help="share of the text held out for validation (default: %(default)s)",
    )
    parser.add_argument(
        "--test-share", type=float, default=0.0, metavar="X", help="share held out as a test split (default: none)"
    )
    parser.add_argument(
        "--min-words", type=int, default=1, metavar="N", help="shorter lines are left out (default: %(default)s)"
    )
    parser.add_argument("--licence", default="the user's own text", metavar="TEXT", help="noted in corpus.json")
    arguments = parser.parse_args(argv)
    _prepare(arguments)


def _prepare(arguments: argparse.Namespace) -> None:
    common = options.common(arguments)
    valid_share = options.share(arguments)
    test_share = options.share(arguments, "test_share") if arguments.test_share else 0.0

    from corpora import build, sources
    from corpora.documents import RULES

    rows = build.load_rows(common)
    found = sources.collect(arguments.paths)
    source = build.Source(
        description="text files of the user",
        licence=arguments.licence,
        address=None,
        files=tuple(sources.describe(path, name) for path, name in found),
        options={
            "documents": arguments.documents,
            "valid_share": valid_share,
            "test_share": test_share,
            "min_words": arguments.min_words,
        },
    )
    if build.is_there(common, source, rows):
        return
    files = Files([path for path, _ in found])
    division = divide(files, arguments.documents, common.seed, arguments.min_words, valid_share, test_share)
    if division.mode != arguments.documents:
        print(
            f"the text is a single document, so it is split otherwise: a document is now {RULES[division.mode]}",
            file=sys.stderr,
        )

    def lines_of(split: str) -> Iterator[tuple[int, str]]:
        for document, line in number_lines(files, division.mode, arguments.min_words)[0]:
            if division.split_of[document] == split:
                yield document, line

    held_out = [split for split in ("valid", "test") if split in division.split_of]
    characters = dict.fromkeys(["train", *held_out], 0)
    for split, size in zip(division.split_of, division.census.sizes, strict=True):
        characters[split] += size
    text = build.Text(
        lines={split: (lambda split=split: lines_of(split)) for split in characters},
        characters=dict(characters),
        split_rule=f"whole documents (a document: {RULES[division.mode]}), chosen by a hash of their text and the seed, until "
        f"{valid_share:g}{f' and {test_share:g}' if test_share else ''} of the characters are held out; "
        "training lines that are in the held-out text but for case and white space are dropped",
        dropped=lambda: {"short_lines": division.short_lines},
    )
    build.write(common, source, text, rows)


if __name__ == "__main__":
    sys.exit(run(command, sys.argv[1:]))
