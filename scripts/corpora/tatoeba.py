"""`tatoeba`: sentence pairs of Tatoeba from a file that you have, source and target between tabs.

Such files are at https://www.manythings.org/anki (deu-eng.zip: English, German, further columns) and, with the sentences' numbers
before them, at https://tatoeba.org/downloads. The file may be compressed (.xz, .gz, .bz2).
"""

from __future__ import annotations

import sys
from pathlib import Path

from corpora import pair_options
from corpora.errors import CorpusError, run
from corpora.pairs import Pair, filtered, split_by_source, tidy


def read_columns(path: Path) -> list[Pair]:
    """The two texts of each line, white space made single; further columns are ignored, and so are numbers of sentences before the texts.

    A blank line gives an empty pair. Raises CorpusError at a line without a tab.
    """
    from corpora.sources import read_lines

    if not path.is_file():
        raise CorpusError(
            f"--from {path} does not exist or is not a file; give a file of sentence pairs (.tsv, .tsv.xz)"
        )
    pairs: list[Pair] = []
    columns = None
    for number, line in enumerate(read_lines(path, carriage_return=False), start=1):
        cells = line.removeprefix("\ufeff").rstrip("\r\n").split("\t")
        if not line.strip():
            pairs.append(("", ""))
            continue
        if columns is None:
            numbered = len(cells) >= 4 and cells[0].strip().isdecimal() and cells[2].strip().isdecimal()
            columns = (1, 3) if numbered else (0, 1)
        if len(cells) <= columns[1]:
            raise CorpusError(
                f"{path}, line {number}: {'number, source, number, target' if columns[0] else 'source and target'} between tabs were expected, "
                f"{len(cells)} column{'s' * (len(cells) > 1)} found; give a file with tabs, or take two files by prepare_pairs.sh"
            )
        pairs.append((tidy(cells[columns[0]]), tidy(cells[columns[1]])))
    return pairs


def command(argv: list[str]) -> None:
    parser = pair_options.parser("prepare_tatoeba.sh", __doc__ or "", "tatoeba", ("en", "de"))
    parser.add_argument(
        "--from", dest="place", type=Path, metavar="FILE", required=True, help="the file of sentence pairs"
    )
    parser.add_argument(
        "--languages",
        nargs=2,
        default=["en", "de"],
        metavar="LANG",
        help="languages of the file's two texts in their order (default: en de); --source-lang de --target-lang en turns them round",
    )
    arguments = parser.parse_args(argv)
    if arguments.languages != ["en", "de"] and (arguments.source_lang, arguments.target_lang) == ("en", "de"):
        arguments.source_lang, arguments.target_lang = (
            arguments.languages
        )  # as the file has them, where nothing else is asked for
    options = pair_options.checked(arguments, tuple(arguments.languages))

    from corpora import pair_build, sources

    if not arguments.place.is_file():
        raise CorpusError(
            f"--from {arguments.place} does not exist or is not a file; give a file of sentence pairs (.tsv)"
        )
    source = pair_build.PairSource(
        description="sentence pairs of Tatoeba (tatoeba.org)",
        licence="CC BY 2.0 FR",
        address=None,
        files=(sources.describe(arguments.place, arguments.place.name),),
        options={"columns": arguments.languages},
    )
    if pair_build.is_there(options, source):
        return
    pairs = read_columns(arguments.place)
    if options.source_lang != arguments.languages[0]:
        pairs = [(target, text) for text, target in pairs]
    kept, dropped = filtered(pairs, options.limits)
    pair_build.write(options, source, split_by_source(kept, options.seed, dropped))


if __name__ == "__main__":
    sys.exit(run(command, sys.argv[1:]))
