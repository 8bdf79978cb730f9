"""`ud_ewt`: the Universal Dependencies English Web Treebank, for the part-of-speech probe; downloaded or from a folder that you have.

It is not binarised: the CoNLL-U files are checked by their numbers of sentences and put into `data-bin/ud_ewt` as they are.
"""

from __future__ import annotations

import argparse
import json
import lzma
import shutil
import sys
from pathlib import Path
from typing import Any

from corpora.errors import CorpusError, run
from corpora.options import default_data_bin

RELEASE = "r2.15"
ADDRESS = f"https://raw.githubusercontent.com/UniversalDependencies/UD_English-EWT/{RELEASE}"
NAME = "en_ewt-ud-{}.conllu"
SENTENCES = {"train": 12_544, "dev": 2_001, "test": 2_077}  # as the repository's stats.xml says
LICENCE = "CC BY-SA 4.0"


def count_sentences(path: Path) -> int:
    """Sentences of a CoNLL-U file, plain or compressed by xz. Raises CorpusError where it cannot be read or ends within a sentence."""
    try:
        with lzma.open(path, "rb") if path.suffix == ".xz" else path.open("rb") as file:
            sentences, line = 0, b"\n"
            for line in file:
                sentences += line.startswith(b"1\t")
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise CorpusError(f"{path} cannot be read ({error}); get it again") from error
    if line.strip():
        raise CorpusError(f"{path}: a blank line was expected at the end, it ends within a sentence; get it again")
    return sentences


def verify(split: str, path: Path) -> None:
    """Compare the number of sentences with the release's. Raises CorpusError."""
    found = count_sentences(path)
    if found != SENTENCES[split]:
        raise CorpusError(
            f"{path}: {SENTENCES[split]:,} sentences were expected, {found:,} were found; the file is cut short, or of a release before 2.8: "
            f"get release {RELEASE}, or give --unchecked to take it as it is"
        )


def locate(place: Path) -> dict[str, Path]:
    """The three files in a folder, by split: those of the release's names, else of names like them. Raises CorpusError."""
    if not place.is_dir():
        raise CorpusError(
            f"--from {place}: a folder with {NAME.format('train')} and so on was expected; give another one"
        )
    found: dict[str, Path] = {}
    for split in SENTENCES:
        name = NAME.format(split)
        like = sorted(p for p in place.glob(f"en_ewt*{split}*") if p.name.endswith((".conllu", ".conllu.xz")))
        exact = [p for p in like if p.name in (name, f"{name}.xz")]
        if not like:
            raise CorpusError(f"--from {place}: {name} (or {name}.xz) missing; leave --from out to download it")
        if not exact and len(like) > 1:
            raise CorpusError(
                f"--from {place}: one file was expected for {name}, {' and '.join(p.name for p in like)} were found; rename the right one"
            )
        found[split] = (exact or like)[0]
    return found


def is_there(target: Path, unchecked: bool) -> bool:
    """Is the treebank in `target` already, whole? False where nothing is. Raises CorpusError where something else is there."""
    from corpora import sources

    if not target.exists():
        return False
    advice = "give --overwrite to replace it"
    try:
        known = json.loads((target / "treebank.json").read_text(encoding="utf-8"))
        files = [(entry["name"], entry["sha256"]) for entry in known["files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorpusError(
            f"{target} exists and is not a treebank of ours (treebank.json cannot be read); {advice}"
        ) from error
    if known.get("unchecked") and not unchecked:
        raise CorpusError(f"{target} holds a treebank that was taken with --unchecked; {advice}")
    for name, expected in files:
        if not (target / name).is_file() or sources.sha256_of(target / name) != expected:
            raise CorpusError(f"{target / name} is missing or was changed; {advice}")
    return True


def command(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="prepare_ud_ewt.sh",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--from",
        dest="place",
        type=Path,
        metavar="DIR",
        help="folder with the three files, plain or .xz (default: download)",
    )
    add("--url", default=ADDRESS, metavar="URL", help="address that the files' names follow (default: %(default)s)")
    add(
        "--data-bin",
        default=default_data_bin(),
        type=Path,
        metavar="DIR",
        help="folder of the corpora (default: data-bin)",
    )
    add("--unchecked", action="store_true", help="do not compare the numbers of sentences with the release's")
    add("--overwrite", action="store_true", help="replace what is in the treebank's folder")
    arguments = parser.parse_args(argv)

    from corpora import folder, sources
    from corpora.download import fetch

    target = arguments.data_bin.resolve() / "ud_ewt"
    if not arguments.overwrite and is_there(target, arguments.unchecked):
        print(f"{target} is there already", file=sys.stderr)
        return
    downloads = arguments.data_bin.resolve() / "downloads"
    if arguments.place is not None:
        paths = locate(arguments.place)
    else:
        paths = {split: downloads / NAME.format(split) for split in SENTENCES}
        for path in paths.values():
            if not path.exists():
                fetch([f"{arguments.url}/{path.name}"], path)
    for split, path in paths.items():
        if not arguments.unchecked:
            verify(split, path)
    with folder.staged(target) as partial:
        entries: list[dict[str, Any]] = []
        for split, path in paths.items():
            name = NAME.format(split) + (".xz" if path.suffix == ".xz" else "")
            shutil.copyfile(path, partial / name)
            entries.append({**sources.describe(partial / name, name).plain(), "sentences": count_sentences(path)})
        about = {
            "format": "embedding-treebank",
            "format_version": 1,
            "description": "Universal Dependencies English Web Treebank (Silveira et al. 2014)",
            "licence": LICENCE,
            "address": None if arguments.place is not None else arguments.url,
            "unchecked": arguments.unchecked,
            "files": entries,
        }
        (partial / "treebank.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    counts = ", ".join(f"{entry['sentences']:,} sentences in {entry['name']}" for entry in entries)
    print(f"{target}: {counts}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run(command, sys.argv[1:]))
