"""`wikipedia-sample`: 106 Wikipedia articles that come with the package gensim, through gensim's own filter of wiki markup."""

from __future__ import annotations

import bz2
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from corpora import options
from corpora.errors import CorpusError, run

FILE = "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
_QUOTES = re.compile(r"'{2,}")
_LIST = re.compile(r"^[*#:;]+\s*")
_NOT_TEXT = re.compile(r"={2,}|[|!]|\{\||(File|Image):|alt=")
_LEFT_OVER = re.compile(r"\|?\balt=|\*\*>")


def clean(line: str) -> str:
    """A line of gensim's output without the markup that its filter leaves: bold and italic quotes, list markers, picture options.

    Headings, table cells and gallery lines become empty. White space is made single; case and punctuation stay.
    """
    line = line.strip()
    if _NOT_TEXT.match(line):
        return ""
    line = _LEFT_OVER.sub(" ", _QUOTES.sub("", _LIST.sub("", line)))
    return " ".join(line.split())


def articles(path: Path, min_words: int) -> Iterator[list[str]]:
    """The articles as lists of cleaned paragraphs of at least `min_words` words; redirects give none."""
    from gensim.corpora.wikicorpus import extract_pages, filter_wiki

    with bz2.open(path) as file:
        for _, text, _ in extract_pages(file, filter_namespaces=("0",)):
            paragraphs = [clean(line) for line in filter_wiki(text).split("\n")]
            kept = [paragraph for paragraph in paragraphs if len(paragraph.split()) >= min_words]
            if kept:
                yield kept


def find() -> Path:
    """Path of the sample in the installed gensim. Raises CorpusError."""
    spec = importlib.util.find_spec("gensim")
    if spec is None or spec.origin is None:
        raise CorpusError("the package gensim, which carries the sample, is not installed; run scripts/setup.sh")
    path = Path(spec.origin).parent / "test" / "test_data" / FILE
    if not path.is_file():
        raise CorpusError(
            f"{path} is missing from the installed gensim; install gensim 4.4.0 from PyPI (its wheel has the file)"
        )
    return path


def command(argv: list[str]) -> None:
    parser = options.parser("prepare_wikipedia_sample.sh", __doc__ or "", "wikipedia-sample")
    parser.add_argument(
        "--min-words", type=int, default=10, metavar="N", help="shorter paragraphs are left out (default: %(default)s)"
    )
    parser.add_argument(
        "--valid-share",
        type=float,
        default=0.05,
        metavar="X",
        help="share of the text held out for validation, in whole articles (default: %(default)s)",
    )
    arguments = parser.parse_args(argv)
    common = options.common(arguments)
    share = options.share(arguments)

    from corpora import build, documents, sources

    rows = build.load_rows(common)
    path = find()
    source = build.Source(
        description="106 English Wikipedia articles (a shortened dump of May 2016 in the test data of gensim), one paragraph a line",
        licence="CC BY-SA 3.0",
        address=f"PyPI gensim, gensim/test/test_data/{FILE}",
        files=(sources.describe(path, FILE),),
        options={"min_words": arguments.min_words, "valid_share": share},
    )
    if build.is_there(common, source, rows):
        return
    census = documents.Census(common.seed)
    lines = list(
        census.take(
            (index, line) for index, article in enumerate(articles(path, arguments.min_words)) for line in article
        )
    )
    held_out = census.hold_out(share)
    chosen = {
        "train": [line for line in lines if not held_out[line[0]]],
        "valid": [line for line in lines if held_out[line[0]]],
    }
    text = build.Text(
        lines={split: (lambda part=part: part) for split, part in chosen.items()},
        characters={split: sum(len(line) + 1 for _, line in part) for split, part in chosen.items()},
        split_rule=f"whole articles, chosen by a hash of their text and the seed, until {share:g} of the characters are held out; "
        "training lines that are in the validation text but for case and white space are dropped",
        dropped=dict,
    )
    build.write(common, source, text, rows, packages=("gensim",))


if __name__ == "__main__":
    sys.exit(run(command, sys.argv[1:]))
