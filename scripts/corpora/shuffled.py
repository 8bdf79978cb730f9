"""`shuffled`: a prepared corpus with its tokens in random order, the control for what word order and topic give a model.

Each split is shuffled by itself. Its examples keep their lengths and their special tokens, and the split its tokens.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corpora import folder
from corpora.errors import CorpusError, run

if TYPE_CHECKING:
    from corpora.binarised import Split

SUFFIXES = {"corpus": "-shuffled", "example": "-shuffled-examples"}
RULES = {
    "corpus": "tokens permuted over each split: frequencies and the lengths of examples are left, nothing else",
    "example": "tokens permuted within each example: word order is gone, what stands together in an example is left",
}
SPLITS = ("train", "valid", "test")
NEEDED = ("dict.txt", "train.bin", "train.idx", "valid.bin", "valid.idx")
COPIED = ("dict.txt", "tokens.json", "token_counts.npy")
KEPT = ("tokenizer", "rows", "zero_count_rows", "unigram_entropy_bits")  # entries of corpus.json that stay true

USAGE = f"""
what is permuted (--within):
  corpus   {RULES["corpus"]} (default)
  example  {RULES["example"]} (Sinha et al. 2021)
"""


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="prepare_shuffled.sh",
        description=(__doc__ or "") + USAGE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = result.add_argument
    add("corpus", type=Path, metavar="CORPUS_FOLDER", help="the prepared corpus, such as data-bin/wikipedia-sample")
    add("--within", choices=tuple(SUFFIXES), default="corpus", help="what is permuted (default: %(default)s)")
    add("--name", help="folder below data-bin (default: the corpus's name with -shuffled or -shuffled-examples)")
    add("--seed", type=int, default=1, metavar="N", help="seed of the order (default: %(default)s)")
    add(
        "--data-bin", type=Path, metavar="DIR", help="folder of the new corpus (default: the one that the corpus is in)"
    )
    add("--overwrite", action="store_true", help="replace a corpus of this name that was made otherwise")
    return result


def require_corpus(source: Path) -> list[str]:
    """The splits of a prepared corpus of text. Raises CorpusError where the folder is none."""
    missing = [name for name in NEEDED if not (source / name).is_file()]
    if missing:
        there = f"no {', no '.join(missing)}" if source.is_dir() else "no such folder"
        raise CorpusError(
            f"{source}: a prepared corpus of text ({', '.join(NEEDED)}) was expected, {there} was found; make one with scripts/prepare_*.sh "
            "(one of sentence pairs cannot be shuffled)"
        )
    return [split for split in SPLITS if (source / f"{split}.bin").is_file()]


def described(source: Path) -> dict[str, Any]:
    """What the corpus's own corpus.json says; nothing where it has none. Raises CorpusError where it cannot be read."""
    path = source / "corpus.json"
    if not path.is_file():
        return {}
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path} cannot be read ({error}); prepare the corpus again") from error
    if not isinstance(known, dict):
        raise CorpusError(f"{path}: a JSON object was expected, another value was found; prepare the corpus again")
    return known


def command(argv: list[str]) -> None:
    arguments = parser().parse_args(argv)
    if arguments.seed < 0:
        raise CorpusError(f"--seed {arguments.seed}: a whole number of at least 0 was expected")
    source = arguments.corpus.resolve()
    name = folder.check_name(arguments.name or source.name + SUFFIXES[arguments.within])
    target = (arguments.data_bin or source.parent).resolve() / name
    if target == source:
        raise CorpusError(f"--name {name}: another name than that of the corpus itself was expected")
    splits = require_corpus(source)

    from corpora import sources

    files = ["dict.txt", *(f"{split}.{suffix}" for split in splits for suffix in ("bin", "idx"))]
    identity = {
        "name": name,
        "source": {"files": [sources.describe(source / file, file).plain() for file in files]},
        "options": {"within": arguments.within, "seed": arguments.seed},
        "dictionary_sha256": sources.sha256_of(source / "dict.txt"),
    }
    if folder.find_complete(target, identity, overwrite=arguments.overwrite):
        print(
            f"{target}: complete already, made from the same corpus with the same options; nothing to do",
            file=sys.stderr,
        )
        return
    _write(source, target, splits, identity)


def _write(source: Path, target: Path, splits: list[str], identity: dict[str, Any]) -> None:
    from importlib.metadata import version

    from corpora.dictionary import SPECIALS

    rows = len(SPECIALS) + len((source / "dict.txt").read_bytes().splitlines())
    options = identity["options"]
    known = described(source)
    origin = known["source"] if isinstance(known.get("source"), dict) else {}
    with folder.staged(target) as partial:
        for name in COPIED:
            if (source / name).is_file():
                shutil.copyfile(source / name, partial / name)
        facts = {
            split: _write_split(source / split, partial / split, options["within"], (options["seed"], number), rows)
            for number, split in enumerate(splits)
        }
        metadata = {
            "format": folder.FORMAT,
            "format_version": folder.FORMAT_VERSION,
            **identity,
            "source": {
                "description": f"{source.name}, {RULES[options['within']]}",
                "licence": origin.get("licence"),
                "address": origin.get("address"),
                "corpus": source.name,
                **identity["source"],
            },
            **{key: known[key] for key in KEPT if key in known},
            "splits": facts,
            "split_rule": "that of the corpus it was made of",
            "dropped": {},
            "versions": {"python": platform.python_version(), "numpy": version("numpy")},
        }
        (partial / "corpus.json").write_text(
            json.dumps(metadata, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    for split, found in facts.items():
        print(f"{target.name} {split:5}: {found['examples']:,} examples, {found['tokens']:,} tokens", file=sys.stderr)
    print(f"{target}: {RULES[options['within']]}", file=sys.stderr)


def _write_split(source: Path, target: Path, within: str, key: tuple[int, int], rows: int) -> dict[str, Any]:
    """Shuffle one split into `<target>.bin` and `.idx`; what corpus.json says of it. Raises CorpusError for tokens beyond the dictionary."""
    from corpora import binarised, permute
    from corpora.sources import sha256_of

    split: Split = binarised.read(source)
    largest, least = int(split.rows.max()), int(split.rows.min())
    if largest >= rows or least < 0:
        raise CorpusError(
            f"{source}.bin: tokens of the {rows:,} rows of its dict.txt were expected, {largest if least >= 0 else least} was found; "
            "prepare the corpus again"
        )
    permuted = {"corpus": permute.over_the_split, "example": permute.within_examples}[within]
    shuffled = permuted(split, (*key, tuple(SUFFIXES).index(within)))
    if not permute.same_counts(split.rows, shuffled, rows):
        raise RuntimeError(f"{source}: shuffling has changed the tokens' counts")
    paths = {suffix: target.with_name(f"{target.name}.{suffix}") for suffix in ("bin", "idx")}
    shuffled.tofile(paths["bin"])
    shutil.copyfile(source.with_name(f"{source.name}.idx"), paths["idx"])
    facts: dict[str, Any] = {"examples": len(split.sizes), "tokens": len(shuffled)}
    facts |= {f"{suffix}_bytes": path.stat().st_size for suffix, path in paths.items()}
    return facts | {f"{suffix}_sha256": sha256_of(path) for suffix, path in paths.items()}


if __name__ == "__main__":
    sys.exit(run(command, sys.argv[1:]))
