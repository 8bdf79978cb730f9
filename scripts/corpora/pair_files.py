"""Two text files whose lines belong together: reading them. And the command for a pair of files of your own."""

from __future__ import annotations

import sys
from pathlib import Path

from corpora import pair_options
from corpora.errors import CorpusError, run
from corpora.pairs import Pair, filtered, published, split_by_source, tidy

DESCRIPTION = """Makes a corpus of sentence pairs from two text files of your own: line i of one is the translation of line i of the other.

Plain UTF-8, or compressed (.gz, .xz, .bz2). Without --valid and --test, sentences are held out by a hash of the source."""


def read_side(path: Path) -> list[str]:
    """The lines of a file, white space made single; a line feed alone ends a line. Raises CorpusError."""
    from corpora.sources import read_lines

    if not path.is_file():
        raise CorpusError(f"{path} does not exist or is not a file; give a text file, plain or .gz, .xz, .bz2")
    lines = [tidy(line) for line in read_lines(path, carriage_return=False)]
    if lines:
        lines[0] = lines[0].removeprefix("\ufeff")
    return lines


def read_pairs(source: Path, target: Path) -> list[Pair]:
    """The pairs of two files. Raises CorpusError where they have different numbers of lines."""
    sides = read_side(source), read_side(target)
    if len(sides[0]) != len(sides[1]):
        raise CorpusError(
            f"{source} has {len(sides[0]):,} lines and {target} has {len(sides[1]):,}; line i of one must be the translation of line i of the "
            "other: give two files of equal length"
        )
    return list(zip(*sides, strict=True))


def command(argv: list[str]) -> None:
    parser = pair_options.parser("prepare_pairs.sh", DESCRIPTION, None, None)
    parser.add_argument("source", type=Path, metavar="SOURCE_FILE", help="sentences in the source language, one a line")
    parser.add_argument("target", type=Path, metavar="TARGET_FILE", help="their translations")
    for split in ("valid", "test"):
        parser.add_argument(
            f"--{split}",
            nargs=2,
            type=Path,
            metavar=("SRC", "TGT"),
            help=f"the {split} split's two files, of which nothing is left out (default: held out by a hash)",
        )
    arguments = parser.parse_args(argv)
    options = pair_options.checked(arguments)
    if (arguments.valid is None) != (arguments.test is None):
        raise CorpusError("--valid and --test belong together; give both, or neither")

    from corpora import pair_build, sources

    places = {"train": [arguments.source, arguments.target]}
    if arguments.valid is not None:
        places |= {"valid": arguments.valid, "test": arguments.test}
    files = []
    for split, (source, target) in places.items():
        pairs_of_paths = zip(options.languages, (source, target), strict=True)
        for language, path in pairs_of_paths:
            if not path.is_file():
                raise CorpusError(f"{path} does not exist or is not a file; give the {split} split's {language} text")
            files.append(sources.describe(path, path.name))
    about = pair_build.PairSource(
        description="files of the user",
        licence="the user's",
        address=None,
        files=tuple(files),
        options={"splits": "given" if arguments.valid is not None else "by source"},
    )
    if pair_build.is_there(options, about):
        return
    found = {split: read_pairs(source, target) for split, (source, target) in places.items()}
    train, dropped = filtered(found["train"], options.limits)
    if arguments.valid is None:
        splits = split_by_source(train, options.seed, dropped)
    else:
        rule = "as the user gave it; training pairs whose source is in the validation or test text are left out"
        splits = published(train, found["valid"], found["test"], rule, dropped)
    pair_build.write(options, about, splits)


if __name__ == "__main__":
    sys.exit(run(command, sys.argv[1:]))
