"""The command: options, and what is printed."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from ..errors import UserError
from ..evaluate.options import Parser, whole_number
from ..evaluate.parameters import DEFAULT
from .checkpoints import import_checkpoints
from .huggingface import Options, import_models
from .provenance import words_of_command, write_run


def parser() -> argparse.ArgumentParser:
    result = Parser(
        prog="python -m fairseq_ext.importing",
        description="Make RUN_FOLDER/dump.zarr of trained models, without training, for every analysis (docs/importing.md). "
        "Nothing that a file holds is run.",
        allow_abbrev=False,
    )
    kinds = result.add_subparsers(dest="kind", required=True, parser_class=Parser, metavar="fairseq|huggingface")

    one = kinds.add_parser("fairseq", help="checkpoints of fairseq: masked LMs and translation", allow_abbrev=False)
    one.add_argument("models", nargs="+", type=Path, metavar="CHECKPOINT.pt", help="one, or a series of one model")
    one.add_argument(
        "--data",
        type=Path,
        metavar="CORPUS",
        help="the prepared corpus (default: the one in the checkpoint's configuration)",
    )
    _shared(one, "update of a checkpoint whose file does not tell it, one for each (default: as the files say)")

    other = kinds.add_parser("huggingface", help="models with safetensors and a tokenizer", allow_abbrev=False)
    other.add_argument(
        "models",
        nargs="+",
        type=Path,
        metavar="MODEL_FOLDER",
        help="a folder with model.safetensors (or shards, or pytorch_model.bin) and tokenizer files, or one .safetensors file beside them; "
        "several are a series, each with its --update",
    )
    other.add_argument(
        "--tensor",
        action="append",
        default=[],
        metavar="NAME",
        help="the table, where the search finds none or several; repeatable",
    )
    other.add_argument(
        "--tokenizer", type=Path, metavar="PLACE", help="file or folder of the tokenizer (default: MODEL_FOLDER)"
    )
    other.add_argument(
        "--counts",
        nargs="+",
        type=Path,
        default=[],
        metavar="PLACE",
        help="where tokens are counted: UTF-8 text files (also .xz, .gz, .bz2), folders of .txt, prepared corpora; or one .npy or .tsv of counts "
        "(default: unknown, all 0)",
    )
    other.add_argument(
        "--vectors", type=whole_number(0), default=DEFAULT, metavar="N",
        help="vectors of each layer and kind in parameters.npz; 0: all (default: %(default)s)",
    )  # fmt: skip
    other.add_argument(
        "--seed", type=whole_number(0), default=1, metavar="S", help="of the choice of vectors (default: 1)"
    )
    _shared(other, "update of a model, one for each (default: 0)")
    return result


def _shared(part: argparse.ArgumentParser, update: str) -> None:
    part.add_argument(
        "--out", type=Path, required=True, metavar="RUN_FOLDER", help="where dump.zarr and run.json are written"
    )
    part.add_argument("--update", action="append", type=whole_number(0), default=[], metavar="N", help=update)
    part.add_argument("--command", metavar="TEXT", help="what run.json gives as the command (default: this one)")
    part.add_argument("--overwrite", action="store_true", help="replace a dump that was imported before")


def main(argv: list[str] | None = None) -> None:
    """Run the command; bad input raises :class:`UserError`, which ends the process with one line and leaves nothing behind."""
    options = parser().parse_args(argv)
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        if options.kind == "fairseq":
            said = import_checkpoints(options.models, options.data, options.out, options.update, options.overwrite)
        else:
            said = import_models(
                Options(
                    tuple(options.models),
                    options.out,
                    tuple(options.update),
                    tuple(options.tensor),
                    options.tokenizer,
                    tuple(options.counts),
                    options.vectors,
                    options.seed,
                    options.overwrite,
                )
            )
        write_run(options.out, options.command or words_of_command(argv))
    except OSError as error:
        raise UserError(
            f"{error.filename or options.out}: {error.strerror or error}; check the path and the permissions"
        ) from error
    print("\n".join(said), flush=True)
