"""`multi30k`: Multi30k task 1, English and German captions of pictures, downloaded or from a folder that you have.

Its published splits are kept (29,000 / 1,014 / 1,000 pairs), but for training captions that are in the validation or test text too.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import sys
import zlib
from pathlib import Path

from corpora import pair_options
from corpora.errors import CorpusError, run

LANGUAGES = ("en", "de")
_COMMIT = "c9be912dc05a3ebf9ae5bb5f7f58c1791cda43ab"
ADDRESS = f"https://raw.githubusercontent.com/multi30k/dataset/{_COMMIT}/data/task1/raw"
LATER = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw"
PAIRS = {
    "train": 29_000,
    "val": 1_014,
    "test_2016_flickr": 1_000,
    "test_2017_flickr": 1_000,
    "test_2017_mscoco": 461,
}  # as the repository's README says
TESTS = tuple(name for name in PAIRS if name.startswith("test"))
TEXT_SHA256 = {  # of the text inside the .gz files; test_2017_mscoco is known by its number of lines alone
    "train.en": "460a15fbd157e34a7a9957ee388c1ca247fe47af3ef25fb50442af6c274e0fc6",
    "train.de": "2c2b73fd2b548fbcde3a875e0a78d6ee94d498bfdee6bd3eae3945779e9ddf72",
    "val.en": "1f2a23d992769b5b3d209b0a10dd0b77c08cceb1f20dfb97ed0aafa49d107227",
    "val.de": "660e09eb7e1da2f856ea13ee5ad3cf6d36b3d5b0b733c857e94c5747a3dfc660",
    "test_2016_flickr.en": "399a4382932c1aadd3ceb9bef1008d388a64c76d4ae4e9d4728c6f4301cac182",
    "test_2016_flickr.de": "4be6b5b3236b79c25475c6bb829800a7ce559e9ba7a1f6c2394fe4d40be46d16",
    "test_2017_flickr.en": "ce1450ddc5ab0834502579d77a170849952e15a2938b34cc503bdc25ebb4fb98",
    "test_2017_flickr.de": "c3078bc3b36808bf9d20eb2347ed6137016179ef59ec0d2b9b8ecc3fb2880081",
}


def verify(name: str, path: Path) -> None:
    """Compare a file's text with the published one's hash, or its number of lines. Raises CorpusError."""
    from corpora.sources import open_bytes

    digest, lines = hashlib.sha256(), 0
    try:
        with open_bytes(path) as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
                lines += block.count(b"\n")
    except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
        raise CorpusError(f"{path} cannot be decompressed: {error}; the file is damaged or cut short") from error
    wanted, published = TEXT_SHA256.get(name), PAIRS[name.rpartition(".")[0]]
    if lines != published:
        what = f"{published:,} lines were expected, {lines:,} were found"
    elif wanted and digest.hexdigest() != wanted:
        what = f"a text with the sha256 {wanted[:12]}... was expected, {digest.hexdigest()[:12]}... was found"
    else:
        return
    raise CorpusError(f"{path}: {what}; get the file of task 1 (raw) again, or give --unchecked to take it as it is")


def locate(place: Path, names: list[str]) -> dict[str, Path]:
    """The files in a folder, plain or .gz, by name. Raises CorpusError, saying which is missing."""
    if not place.is_dir():
        raise CorpusError(f"--from {place}: a folder with {names[0]}.gz and so on was expected; give another one")
    found = {}
    for name in names:
        paths = [path for path in (place / name, place / f"{name}.gz") if path.is_file()]
        if not paths:
            raise CorpusError(f"--from {place}: {name} (or {name}.gz) missing; leave --from out to download it")
        found[name] = paths[0]
    return found


def download(downloads: Path, names: list[str], address: str | None, checked: bool) -> dict[str, Path]:
    """Download what is not there yet. Raises CorpusError."""
    from corpora.download import fetch

    found = {}
    for name in names:
        path = downloads / f"multi30k.{name}.gz"
        addresses = [f"{base}/{name}.gz" for base in ([address] if address else [ADDRESS, LATER])]
        if not path.exists():
            fetch(addresses, path, check=lambda part, name=name: not checked or _is_right(name, part))
        found[name] = path
    return found


def _is_right(name: str, part: Path) -> bool:
    """Is a downloaded file, whose name does not end in .gz yet, the published one?"""
    try:
        text = gzip.decompress(part.read_bytes())
    except (EOFError, OSError, zlib.error):
        return False
    wanted = TEXT_SHA256.get(name)
    right_length = text.count(b"\n") == PAIRS[name.rpartition(".")[0]]
    return right_length and wanted in (None, hashlib.sha256(text).hexdigest())


def command(argv: list[str]) -> None:
    parser = pair_options.parser("prepare_multi30k.sh", __doc__ or "", "multi30k", LANGUAGES, vocabulary=6000)
    add = parser.add_argument
    add(
        "--from",
        dest="place",
        type=Path,
        metavar="DIR",
        help="folder with train.en, train.de, val.en and so on, plain or .gz",
    )
    add("--test", choices=TESTS, default=TESTS[0], help="the test set (default: %(default)s)")
    add("--url", metavar="URL", help=f"address that the files' names follow (default: {ADDRESS})")
    add(
        "--downloads", type=Path, metavar="DIR", help="where the files are kept (default: downloads beside the corpora)"
    )
    add("--unchecked", action="store_true", help="do not compare the files with the published ones")
    arguments = parser.parse_args(argv)
    options = pair_options.checked(arguments, LANGUAGES)

    from corpora import pair_build, sources
    from corpora.pair_files import read_pairs
    from corpora.pairs import filtered, published

    parts = {"train": "train", "valid": "val", "test": arguments.test}
    names = [f"{part}.{language}" for part in parts.values() for language in options.languages]
    if arguments.place is not None:
        paths = locate(arguments.place, names)
    else:
        downloads = arguments.downloads or options.data_bin / "downloads"
        paths = download(downloads, names, arguments.url, not arguments.unchecked)
    source = pair_build.PairSource(
        description="Multi30k task 1, raw text (Elliott et al. 2016, arXiv 1605.00459)",
        licence="captions of Flickr30k for research use",
        address=None if arguments.place is not None else arguments.url or ADDRESS,
        files=tuple(sources.describe(path, path.name) for path in paths.values()),
        options={"test": arguments.test, "unchecked": arguments.unchecked},
    )
    if pair_build.is_there(options, source):
        return
    if not arguments.unchecked:
        for name, path in paths.items():
            verify(name, path)
    found = {
        split: read_pairs(*(paths[f"{part}.{language}"] for language in options.languages))
        for split, part in parts.items()
    }
    train, dropped = filtered(found["train"], options.limits)
    rule = f"as published, {arguments.test} as test; training pairs whose source is in the validation or test text are left out"
    pair_build.write(options, source, published(train, found["valid"], found["test"], rule, dropped))


if __name__ == "__main__":
    sys.exit(run(command, sys.argv[1:]))
