"""`iwslt14`: the TED talks of IWSLT 2014, German and English, downloaded or from an archive or folder that you have.

The splits are those of fairseq's own preparation: test is dev2010, dev2012 and tst2010 to tst2012; every 23rd training pair is for
validation. The text stays raw (neither tokenised nor lower-cased, as it is there), so BLEU is not that of papers that lower-case.
"""

from __future__ import annotations

import html
import re
import sys
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

from corpora import pair_options
from corpora.errors import CorpusError, run
from corpora.pairs import Pair, tidy
from corpora.sources import Part, first_line

ARCHIVE = "de-en.tgz"
ADDRESSES = [f"{scheme}://dl.fbaipublicfiles.com/fairseq/data/iwslt14/{ARCHIVE}" for scheme in ("https", "http")]
LANGUAGES = ("de", "en")
TESTS = ("TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012")
TEST_PAIRS = 6_750  # the numbers of fairseq's preparation; no hash of the archive is published
LEAST_TRAINING_PAIRS = 160_239 + 7_283  # what it keeps of the training text, which has more
EACH = 23  # every 23rd training pair is for validation
_LEFT_OUT = re.compile(r"</?(url|talkid|keywords|speaker|reviewer|translator|doc|transcript)\b")
_MARKS = re.compile(r"</?(title|description)>")
_SEGMENT = re.compile(r'<seg id="\d+">(.*?)</seg>')


def wanted() -> list[str]:
    """The names of the files that are read."""
    names = ["train.tags.de-en.{}", *(f"IWSLT14.{test}.de-en.{{}}.xml" for test in TESTS)]
    return [name.format(language) for name in names for language in LANGUAGES]


def locate(place: Path) -> tuple[dict[str, Part], list[Path]]:
    """The files by name, in the archive or a folder, and the paths that they are read from. Raises CorpusError."""
    if place.is_file():
        return _in_archive(place), [place]
    if not place.is_dir():
        raise CorpusError(f"--from {place} does not exist; give {ARCHIVE}, or a folder with {wanted()[0]} and so on")
    folder = next((each for each in (place, place / "de-en") if (each / wanted()[0]).is_file()), None)
    if folder is None and (place / ARCHIVE).is_file():
        return _in_archive(place / ARCHIVE), [place / ARCHIVE]
    paths = {name: (folder or place) / name for name in wanted()}
    _complete(f"--from {place}", [name for name, path in paths.items() if not path.is_file()])
    return {name: Part(str(path), lambda path=path: path.open("rb")) for name, path in paths.items()}, [*paths.values()]


def _complete(where: str, missing: list[str]) -> None:
    if missing:
        more = f" and {len(missing) - 2} more" if len(missing) > 2 else ""
        raise CorpusError(f"{where}: {', '.join(missing[:2])}{more} missing; leave --from out to download the archive")


def _in_archive(path: Path) -> dict[str, Part]:
    try:
        archive = tarfile.open(path)  # noqa: SIM115 - the parts read from it
        members = {Path(member.name).name: member for member in archive if member.isfile()}
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise CorpusError(
            f"{path}: a whole tar archive was expected ({first_line(error)}); remove it and get it again"
        ) from error
    _complete(str(path), [name for name in wanted() if name not in members])

    def opened(name: str) -> IO[bytes]:
        stream = archive.extractfile(members[name])
        assert stream is not None  # it is a file
        return stream

    return {name: Part(f"{path}:{name}", lambda name=name: opened(name)) for name in wanted()}


def training(part: Part) -> list[str]:
    """The training text of one language: titles, descriptions and sentences, a line each; what else is marked is left out."""
    return [tidy(html.unescape(_MARKS.sub("", line))) for line in part.lines() if not _LEFT_OUT.match(line.lstrip())]


def segments(part: Part) -> list[str]:
    """The sentences of a test set's file."""
    return [tidy(html.unescape(text)) for line in part.lines() for text in _SEGMENT.findall(line)]


def together(
    read: Callable[[Part], list[str]], parts: dict[str, Part], name: str, languages: tuple[str, str]
) -> list[Pair]:
    """The pairs of both languages' files. Raises CorpusError where they have different numbers of sentences."""
    sides = [read(parts[name.format(language)]) for language in languages]
    if len(sides[0]) != len(sides[1]):
        counts = " and ".join(f"{len(side):,} of {language}" for side, language in zip(sides, languages, strict=True))
        raise CorpusError(f"{name.format('*')}: as many sentences in both languages were expected, {counts} were found")
    return list(zip(*sides, strict=True))


def verify(train: list[Pair], test: list[Pair]) -> None:
    """Compare the numbers of pairs with the published ones. Raises CorpusError."""
    advice = "get the archive again, or give --unchecked to take it as it is"
    if len(test) != TEST_PAIRS:
        raise CorpusError(f"iwslt14: {TEST_PAIRS:,} test pairs were expected, {len(test):,} were found; {advice}")
    if len(train) < LEAST_TRAINING_PAIRS:
        raise CorpusError(
            f"iwslt14: at least {LEAST_TRAINING_PAIRS:,} training pairs were expected, {len(train):,} were found; {advice}"
        )


def command(argv: list[str]) -> None:
    parser = pair_options.parser("prepare_iwslt14.sh", __doc__ or "", "iwslt14", LANGUAGES)
    add = parser.add_argument
    add(
        "--from",
        dest="place",
        type=Path,
        metavar="PATH",
        help=f"{ARCHIVE}, or a folder with its files (default: download)",
    )
    add("--url", metavar="URL", help=f"address of the archive (default: {ADDRESSES[0]})")
    add(
        "--downloads",
        type=Path,
        metavar="DIR",
        help="where the archive is kept (default: downloads beside the corpora)",
    )
    add("--unchecked", action="store_true", help="do not compare the numbers of pairs with the published ones")
    arguments = parser.parse_args(argv)
    options = pair_options.checked(arguments, LANGUAGES)

    from corpora import pair_build, sources
    from corpora.pairs import filtered, published

    place, address = arguments.place, None
    if place is None:
        from corpora.download import fetch

        addresses = [arguments.url] if arguments.url else ADDRESSES
        place = (arguments.downloads or options.data_bin / "downloads") / f"iwslt14.{ARCHIVE}"
        if not place.exists():
            fetch(addresses, place, check=tarfile.is_tarfile)
        address = addresses[0]
    parts, paths = locate(place)
    source = pair_build.PairSource(
        description="IWSLT 2014 translation of TED talks, German and English (Cettolo et al. 2014), raw text",
        licence="CC BY-NC-ND 4.0 (TED talks)",
        address=address,
        files=tuple(sources.describe(path, path.name) for path in paths),
        options={"unchecked": arguments.unchecked},
    )
    if pair_build.is_there(options, source):
        return
    train = together(training, parts, "train.tags.de-en.{}", options.languages)
    test = [
        pair
        for name in TESTS
        for pair in together(segments, parts, f"IWSLT14.{name}.de-en.{{}}.xml", options.languages)
    ]
    if not arguments.unchecked:
        verify(train, test)
    kept, dropped = filtered(train, options.limits)
    valid = kept[EACH - 1 :: EACH]
    rest = [pair for number, pair in enumerate(kept, start=1) if number % EACH]
    rule = (
        f"test: {', '.join(TESTS)}; validation: every {EACH}rd training pair that the filters keep; training pairs whose source is in the "
        "validation or test text are left out"
    )
    pair_build.write(options, source, published(rest, valid, test, rule, dropped))


if __name__ == "__main__":
    sys.exit(run(command, sys.argv[1:]))
