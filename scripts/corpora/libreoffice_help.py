"""`libreoffice-help`: LibreOffice's help in English and German, from two Debian packages, aligned by the ids of paragraphs and headings.

The packages are fetched by apt (without root; nothing is installed), or taken from a folder that you have.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from corpora import pair_options
from corpora.errors import CorpusError, run
from corpora.pairs import Pair

PACKAGES = {"en": "libreoffice-help-en-us", "de": "libreoffice-help-de"}
FOLDERS = {"en": "/help/en-US/", "de": "/help/de/"}
LICENCE = "MPL-2.0"


def locate(place: Path) -> dict[str, Path]:
    """The two packages in a folder, by language, known by what they say of themselves. Raises CorpusError."""
    if not place.is_dir():
        raise CorpusError(
            f"--from {place}: a folder with {PACKAGES['en']}_*.deb and {PACKAGES['de']}_*.deb was expected"
        )
    found = {}
    for language, package in PACKAGES.items():
        paths = sorted(place.glob(f"{package}_*.deb"))
        if len(paths) != 1:
            what = " and ".join(path.name for path in paths) + " were found; keep one" if paths else "none was found"
            raise CorpusError(f"{place}: one file {package}_*.deb was expected, {what}")
        found[language] = paths[0]
    return found


def versions(paths: dict[str, Path]) -> dict[str, str]:
    """The version of each package. Raises CorpusError where a file holds another package."""
    from corpora import deb

    found = {}
    for language, path in paths.items():
        fields = deb.identity(path)
        if fields.get("Package") != PACKAGES[language]:
            raise CorpusError(
                f"{path}: the package {PACKAGES[language]} was expected, {fields.get('Package')} was found"
            )
        found[PACKAGES[language]] = fields.get("Version", "unknown")
    return found


def aligned(paths: dict[str, Path], languages: tuple[str, str]) -> tuple[list[Pair], dict[str, int]]:
    """The pairs of paragraphs, in the order of the pages' names; and how many paragraphs of the source side have no partner, by reason."""
    from corpora import deb, help_pages

    sides = {}
    for language in languages:
        pages: dict[str, str] = {}
        for name, data in deb.files(paths[language], ".html"):
            _, folder, page = f"/{name}".partition(FOLDERS[language])
            if folder:
                try:
                    pages[page] = data.decode("utf-8")
                except UnicodeDecodeError as error:
                    raise CorpusError(
                        f"{paths[language]}: {name} is not UTF-8 ({error}); get the package again"
                    ) from error
        sides[language] = {
            place: found for page in sorted(pages) for place, found in help_pages.paragraphs(page, pages[page]).items()
        }
        if not sides[language]:
            raise CorpusError(
                f"{paths[language]}: no help page with paragraphs was found; get another version of the package"
            )
    source, target = (sides[language] for language in languages)
    dropped = {"paragraphs_without_partner": 0, "paragraphs_of_another_kind": 0}

    def pairs() -> Iterator[Pair]:
        for place, (tag, text) in source.items():
            if place not in target:
                dropped["paragraphs_without_partner"] += 1
            elif target[place][0] != tag:
                dropped["paragraphs_of_another_kind"] += 1
            else:
                yield text, target[place][1]

    return list(pairs()), dropped


def command(argv: list[str]) -> None:
    parser = pair_options.parser("prepare_libreoffice_help.sh", __doc__ or "", "libreoffice-help", ("en", "de"))
    add = parser.add_argument
    add(
        "--from",
        dest="place",
        type=Path,
        metavar="DIR",
        help="folder with the two .deb files (default: apt-get download)",
    )
    add(
        "--downloads",
        type=Path,
        metavar="DIR",
        help="where the packages are kept (default: downloads beside the corpora)",
    )
    arguments = parser.parse_args(argv)
    options = pair_options.checked(arguments, tuple(PACKAGES), identical=False)

    from corpora import apt, pair_build, sources
    from corpora.pairs import filtered, split_by_source

    place = arguments.place
    if place is None:
        place = arguments.downloads or options.data_bin / "downloads"
        missing = [package for package in PACKAGES.values() if not any(place.glob(f"{package}_*.deb"))]
        if missing:
            apt.fetch(missing, place)
    paths = locate(place)
    found = versions(paths)
    source = pair_build.PairSource(
        description="LibreOffice's help pages in English and German, paragraphs and headings aligned by their ids",
        licence=LICENCE,
        address=f"packages {' and '.join(PACKAGES.values())} of the distribution",
        files=tuple(sources.describe(path, path.name) for path in paths.values()),
        facts={"packages": found},
    )
    if pair_build.is_there(options, source):
        return
    if len(set(found.values())) > 1:
        print(
            f"note: the two packages have different versions ({', '.join(found.values())}); some paragraphs will not match",
            file=sys.stderr,
        )
    pairs, unaligned = aligned(paths, options.languages)
    kept, dropped = filtered(pairs, options.limits)
    splits = split_by_source(kept, options.seed, {**unaligned, **dropped})
    pair_build.write(options, source, splits)


if __name__ == "__main__":
    sys.exit(run(command, sys.argv[1:]))
