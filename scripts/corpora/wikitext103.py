"""`wikitext-103`: WikiText-103, the study's corpus, downloaded or from a folder or archive that you have.

Its published split is kept. Each non-empty line is an example, headings included; lines of more than 510 BPE tokens are cut.
"""

from __future__ import annotations

import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from corpora import options
from corpora.errors import CorpusError, run
from corpora.sources import Part

SPLITS = ("train", "valid", "test")
ARCHIVES = {"tokens": "wikitext-103-v1.zip", "raw": "wikitext-103-raw-v1.zip"}
ADDRESSES = {
    variant: [
        f"https://wikitext.smerity.com/{archive}",
        f"https://s3.amazonaws.com/research.metamind.io/wikitext/{archive}",
    ]
    for variant, archive in ARCHIVES.items()
}


@dataclass(frozen=True)
class Counts:
    """Counts of a file. A token is a word between white space, or the end of a line (also of an empty one)."""

    lines: int
    non_empty: int
    tokens: int


# The counts of both variants (raw differs in the words that stand for <unk>, not in their number). Tokens: Merity et al. 2016, Table 2.
PUBLISHED = {
    "train": Counts(1_801_350, 1_165_029, 103_227_021),
    "valid": Counts(3_760, 2_461, 217_646),
    "test": Counts(4_358, 2_891, 245_569),
}


def locate(place: Path, variant: str) -> tuple[dict[str, Part], list[Path]]:
    """The three parts in a folder or a zip archive, and the files that they are read from. Raises CorpusError, saying what is missing."""
    if not place.exists():
        raise CorpusError(
            f"--from {place} does not exist; give the folder with wiki.train.{variant} or the archive {ARCHIVES[variant]}"
        )
    if place.is_file():
        return _in_archive(place, variant), [place]
    wanted = [f"wiki.{split}.{variant}" for split in SPLITS]
    folders = [place, place / "wikitext-103", place / "wikitext-103-raw"]
    best = max(folders, key=lambda folder: sum((folder / name).is_file() for name in wanted))
    found = [name for name in wanted if (best / name).is_file()]
    if not found and (place / ARCHIVES[variant]).is_file():
        return _in_archive(place / ARCHIVES[variant], variant), [place / ARCHIVES[variant]]
    if len(found) < len(wanted):
        missing = ", ".join(name for name in wanted if name not in found)
        other = "raw" if variant == "tokens" else "tokens"
        advice = f"the folder has the other variant: give --variant {other}"
        if not any((folder / f"wiki.train.{other}").is_file() for folder in folders):
            advice = f"found: {', '.join(found) or 'none of the three'}; the training text is needed too: leave --from out to download it"
        raise CorpusError(f"--from {place}: {missing} missing; {advice}")
    paths = [best / name for name in wanted]
    return {
        split: Part(str(path), lambda path=path: path.open("rb")) for split, path in zip(SPLITS, paths, strict=True)
    }, paths


def _in_archive(path: Path, variant: str) -> dict[str, Part]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise CorpusError(f"{path}: a zip archive was expected ({error}); remove it and get it again") from error
    members = {Path(member).name: member for member in archive.namelist()}
    missing = [name for name in (f"wiki.{split}.{variant}" for split in SPLITS) if name not in members]
    if missing:
        raise CorpusError(f"{path}: {', '.join(missing)} missing in the archive; give another archive or --variant")
    return {
        split: Part(f"{path}:{member}", lambda member=member: archive.open(member))
        for split, member in ((split, members[f"wiki.{split}.{variant}"]) for split in SPLITS)
    }


def count(part: Part) -> tuple[Counts, int]:
    """Counts of one part, and its characters."""
    from corpora.progress import Progress

    progress = Progress("count")
    lines = non_empty = words = characters = 0
    for line in part.lines():
        found = len(line.split())
        lines += 1
        non_empty += found > 0
        words += found
        characters += len(line)
        if lines % 4096 == 0:
            progress.update(characters)
    progress.finish(characters)
    return Counts(lines, non_empty, words + lines), characters


def verify(split: str, found: Counts, name: str) -> None:
    """Compare with the published counts. Raises CorpusError."""
    expected = PUBLISHED[split]
    for what in ("lines", "non_empty", "tokens"):
        if getattr(found, what) != getattr(expected, what):
            label = {"lines": "lines", "non_empty": "non-empty lines", "tokens": "tokens (ends of lines counted)"}[what]
            raise CorpusError(
                f"{name}: {getattr(expected, what):,} {label} were expected, {getattr(found, what):,} were found; "
                "the file is cut short or another one: get it again, or give --unchecked to take it as it is"
            )


def command(argv: list[str]) -> None:
    parser = options.parser("prepare_wikitext103.sh", __doc__ or "", "wikitext-103")
    parser.add_argument(
        "--from",
        dest="place",
        type=Path,
        metavar="DIR",
        help="folder with wiki.train.tokens and so on, or the zip archive (default: download)",
    )
    parser.add_argument(
        "--variant",
        choices=tuple(ARCHIVES),
        default="tokens",
        help="tokens: rare words are <unk>, as in the study; raw: they are not (default: %(default)s)",
    )
    parser.add_argument(
        "--url", metavar="URL", help=f"address of the archive (default: {ADDRESSES['tokens'][0]} and others)"
    )
    parser.add_argument(
        "--downloads",
        type=Path,
        metavar="DIR",
        help="where the archive is kept (default: downloads in the folder of the corpora)",
    )
    parser.add_argument(
        "--unchecked",
        action="store_true",
        help="do not compare the counts with the published ones (for a shortened copy)",
    )
    arguments = parser.parse_args(argv)
    common = options.common(arguments)

    from corpora import build, documents, sources

    rows = build.load_rows(common)
    address = None
    place = arguments.place
    if place is None:
        from corpora.download import fetch

        addresses = [arguments.url] if arguments.url else ADDRESSES[arguments.variant]
        place = (arguments.downloads or common.data_bin / "downloads") / ARCHIVES[arguments.variant]
        if not place.exists():
            fetch(addresses, place, check=zipfile.is_zipfile)
        address = addresses[0]
    parts, paths = locate(place, arguments.variant)
    source = build.Source(
        description=f"WikiText-103-v1, variant {arguments.variant} (Merity et al. 2016, arXiv 1609.07843)",
        licence="CC BY-SA 3.0",
        address=address,
        files=tuple(sources.describe(path, path.name) for path in paths),
        options={"variant": arguments.variant, "unchecked": arguments.unchecked},
    )
    if build.is_there(common, source, rows):
        return
    characters: dict[str, int | None] = {}
    for split in ("valid", "test", "train"):  # the short ones first
        found, characters[split] = count(parts[split])
        if not arguments.unchecked:
            verify(split, found, parts[split].name)
    text = build.Text(
        lines={split: (lambda part=part: documents.number([part.lines()], "title")) for split, part in parts.items()},
        characters=characters,
        split_rule="as published (whole articles); training lines that are in the validation or test text but for case and white space are "
        "dropped, except headings ('= = Reception = ='), which many articles share",
        dropped=dict,
        headings_may_repeat=True,
    )
    build.write(common, source, text, rows)


if __name__ == "__main__":
    sys.exit(run(command, sys.argv[1:]))
