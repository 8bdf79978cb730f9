"""The command: translates a split with ``fairseq-generate`` and writes what the analysis reads."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq.data.indexed_dataset import MMapIndexedDataset, MMapIndexedDatasetBuilder
from numpy.typing import NDArray

from ..errors import UserError
from ..evaluate.command import _Parser, whole_number
from ..recording.corpus import combined, described, sha256
from ..recording.sides import pair, require_split
from .loading import Trained, load, model_card
from .words import count_test_words

FORMAT, FORMAT_VERSION = "embedding-translation", 1
USER_DIR = Path(__file__).resolve().parents[1]
_HYPOTHESIS = re.compile(r"H-(\d+)\t[^\t]*\t?(.*)")


def parser() -> Any:
    result = _Parser(
        prog="python -m fairseq_ext.translate",
        description="Translate a split with trained models by fairseq-generate, into RUN_FOLDER/translation/, and count the model's "
        "parameters, into RUN_FOLDER/model.json (docs/translation-format.md).",
        allow_abbrev=False,
    )
    add = result.add_argument
    add("runs", type=Path, nargs="+", metavar="RUN_FOLDER", help="folder of a run: checkpoints/, run.json")
    add("--data", type=Path, metavar="DIR", help="the corpus (default: the one that the run was trained on)")
    only = "with one RUN_FOLDER only; default: RUN_FOLDER/checkpoints/checkpoint_last.pt"
    add("--checkpoint", type=Path, metavar="FILE", help=only)
    add("--subset", default="test", help="the split to translate (default: %(default)s)")
    add("--sentences", type=whole_number(1), metavar="N", help="only N of them, evenly spaced (default: all)")
    add("--beam", type=whole_number(1, 100), default=5, help="width of the beam search (default: %(default)s)")
    add("--lenpen", type=float, default=1.0, help="length penalty: above 1 favours longer (default: %(default)s)")
    add("--average", type=whole_number(1, 1000), default=1, metavar="N", help="average the N newest checkpoints")
    add("--max-tokens", type=whole_number(1), default=4000, metavar="N", help="source tokens a batch (default: 4000)")
    add("--cpu", action="store_true", help="even where there is a GPU")
    return result


def main(arguments: list[str] | None = None) -> None:
    """Translate with every run; an error ends the program with one line."""
    given = parser().parse_args(arguments)
    if given.checkpoint and (len(given.runs) > 1 or given.average > 1):
        raise UserError("--checkpoint is for one RUN_FOLDER and without --average; give one run, or leave it out")
    for folder in given.runs:
        translate(folder, given)


def translate(folder: Path, given: Any) -> None:
    """Translate with one run; its ``translation/`` appears whole or stays as it was.

    Raises:
        UserError: the run cannot be loaded, the split is not there, or ``fairseq-generate`` fails.
    """
    began = time.monotonic()
    trained = load(folder, given.checkpoint, given.data, given.average)
    source, target = trained.languages
    dictionaries = {"source": trained.task.src_dict, "target": trained.task.tgt_dict}
    sides = pair(trained.data, tuple(dictionaries.values()), (source, target))
    test, train = (require_split(trained.data, split, sides) for split in (given.subset, "train"))
    raw = raw_lines(trained.data, given.subset, (source, target), len(MMapIndexedDataset(str(test["source"]))))
    of = len(raw[0])
    chosen = evenly(of, given.sentences)
    write_json(folder / "model.json", model_card(trained))
    final = folder / "translation"
    with tempfile.TemporaryDirectory(dir=folder, prefix=".translation-") as scratch:
        stage = Path(scratch) / "translation"
        stage.mkdir()
        data = trained.data
        if len(chosen) < of:
            data = Path(scratch) / "data"
            test = cut(trained.data, test, chosen, data)
            raw = tuple([lines[i] for i in chosen] for lines in raw)
        command, hypotheses = generate(trained, data, given, Path(scratch) / "generated")
        if len(hypotheses) != len(raw[0]):
            raise UserError(
                f"expected {len(raw[0]):,} translations, one for each line of {given.subset}; fairseq-generate made {len(hypotheses):,}; "
                "the corpus and its raw text differ: prepare it again"
            )
        np.savez_compressed(stage / "words.npz", **count_test_words(train, test, dictionaries))
        for name, lines in (("sources", raw[0]), ("references", raw[1]), ("hypotheses", hypotheses)):
            (stage / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        about = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "subset": given.subset,
            "sentences": len(hypotheses),
            "of": of,
            "languages": [source, target],
            "corpus": {
                "name": described(trained.data).get("name") or trained.data.resolve().name,
                "dictionary_sha256": combined([sha256(trained.data / f"dict.{code}.txt") for code in (source, target)]),
            },
            "checkpoints": [path.name for path in trained.checkpoints],
            "update": trained.update,
            "beam": given.beam,
            "lenpen": given.lenpen,
            "seconds": round(time.monotonic() - began, 1),
            "command": command,
            "sha256": {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(stage.iterdir())},
        }
        write_json(stage / "translation.json", about)
        replace_folder(stage, final)
    print(
        f"{final}: {len(hypotheses):,} sentences of {given.subset}, beam {given.beam}, {about['seconds']} s",
        file=sys.stderr,
    )


def raw_lines(data: Path, subset: str, languages: tuple[str, str], examples: int) -> tuple[list[str], list[str]]:
    """The split's raw sources and references.

    Args:
        examples: of the binarised split.

    Raises:
        UserError: the corpus keeps no raw text of the split, or it is not the text that was binarised.
    """
    found = []
    files = described(data).get("splits", {}).get(subset, {}).get("files", {})
    for code in languages:
        path = data / "raw" / f"{subset}.{code}.txt"
        if not path.is_file():
            raise UserError(
                f"expected the raw text of {subset} in {path}, which translations are scored against; found none; prepare the corpus again "
                "with scripts/prepare_*.sh"
            )
        content = path.read_bytes()
        expected = files.get(f"raw/{path.name}", {}).get("sha256")
        lines = content.decode("utf-8", "replace").removesuffix("\n").split("\n")
        if len(lines) != examples or (expected and hashlib.sha256(content).hexdigest() != expected):
            raise UserError(
                f"{path} is not the text that was binarised: expected {examples:,} lines and the hash in corpus.json; found {len(lines):,} "
                "lines or another hash; prepare the corpus again"
            )
        found.append(lines)
    return found[0], found[1]


def evenly(number: int, wanted: int | None) -> NDArray[np.int64]:
    """Places of so many of ``number`` sentences, evenly spaced; all of them where as many are wanted."""
    return np.arange(number) if wanted is None or wanted >= number else np.arange(wanted) * number // wanted


def cut(data: Path, halves: dict[str, Path], chosen: NDArray[np.int64], target: Path) -> dict[str, Path]:
    """A corpus of the chosen sentences alone, with the dictionaries of another; returns the split's halves in it."""
    target.mkdir()
    for dictionary in data.glob("dict.*.txt"):
        shutil.copy(dictionary, target)
    result = {}
    for language, half in halves.items():
        dataset = MMapIndexedDataset(str(half))
        builder = MMapIndexedDatasetBuilder(f"{target / half.name}.bin", dtype=dataset._index.dtype)
        for number in chosen:
            builder.add_item(dataset[int(number)])
        builder.finalize(f"{target / half.name}.idx")
        result[language] = target / half.name
    return result


def generate(trained: Trained, data: Path, given: Any, results: Path) -> tuple[str, list[str]]:
    """Run ``fairseq-generate``; returns the command that does so, and the hypotheses in the corpus's order.

    Raises:
        UserError: it fails, or leaves a sentence out.
    """
    source, target = trained.languages
    options = [str(data), "--user-dir", user_dir(), "--task", "embedding_translation"]
    options += [
        "--source-lang",
        source,
        "--target-lang",
        target,
        "--path",
        str(trained.path),
        "--gen-subset",
        given.subset,
    ]
    options += ["--beam", str(given.beam), "--lenpen", str(given.lenpen), "--remove-bpe", "sentencepiece"]
    options += [
        "--max-len-a",
        "1.5",
        "--max-len-b",
        "20",
    ]  # the stock bound of 200 pieces would cost an untrained model minutes
    options += ["--max-tokens", str(given.max_tokens), "--required-batch-size-multiple", "1", "--seed", "1"]
    if given.cpu or not torch.cuda.is_available():
        options.append("--cpu")
    command = [sys.executable, "-c", "from fairseq_cli.generate import cli_main; cli_main()", *options]
    done = subprocess.run(
        [*command, "--results-path", str(results)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONUTF8": "1"},
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        said = said.partition(", skip this example with")[0]  # an option that this command does not have
        raise UserError(f"fairseq-generate failed with status {done.returncode}: {said.removeprefix('error: ')}")
    found: dict[int, str] = {}
    with (results / f"generate-{given.subset}.txt").open(encoding="utf-8", newline="\n") as file:
        for line in file:
            match = _HYPOTHESIS.fullmatch(line.rstrip("\n"))
            if match:
                found[int(match[1])] = " ".join(match[2].split())
    if sorted(found) != list(range(len(found))):
        raise UserError(
            f"fairseq-generate left sentences out: {len(found):,} found, the last is {max(found, default=-1):,}"
        )
    ours = [
        "python",
        "-m",
        "fairseq_ext.translate",
        str(trained.folder),
        "--subset",
        given.subset,
        "--beam",
        str(given.beam),
    ]
    ours += ["--lenpen", str(given.lenpen), "--max-tokens", str(given.max_tokens)]
    ours += ["--sentences", str(given.sentences)] if given.sentences else []
    ours += ["--average", str(given.average)] if given.average > 1 else []
    return shlex.join(ours), [found[number] for number in range(len(found))]


def user_dir() -> str:
    """The plug-in's folder, as short as it is from here."""
    return USER_DIR.name if Path(USER_DIR.name).resolve() == USER_DIR else str(USER_DIR)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a file in one rename."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)


def replace_folder(stage: Path, final: Path) -> None:
    """Put a folder in another one's place."""
    old = final.with_name(f".{final.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    stage.rename(final)
    shutil.rmtree(old, ignore_errors=True)
