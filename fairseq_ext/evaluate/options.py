"""What the commands that run a trained model share: options, their types, and going from one run's folder to the next."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from ..errors import UserError
from . import treebank
from .losses import BATCH_TOKENS

ALL: Literal["all"] = "all"
ONLY = "with one RUN_FOLDER only; default: RUN_FOLDER/"


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, like every other error."""

    def error(self, message: str) -> Any:
        raise UserError(f"{message}; see {self.prog} --help")


def whole_number(least: int, most: int = 2**31 - 1) -> Any:
    """An option's type: a whole number within bounds."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            upper = f" to {most}" if most < 2**31 - 1 else ""
            raise argparse.ArgumentTypeError(f"expected a whole number from {least}{upper}, found {text!r}")
        return value

    return read


def layer_list(text: str) -> tuple[int, ...] | Literal["all"]:
    """An option's type: ``0,3,6``, or ``all``."""
    if text == ALL:
        return ALL
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected numbers with commas, such as 0,3,6, or {ALL}; found {text!r}"
        ) from None


def add_model(result: argparse.ArgumentParser, verb: str) -> None:
    """The options that say which models are run: ``runs``, ``--checkpoint`` and ``--data``; ``verb`` is what is done to them."""
    add = result.add_argument
    add(
        "runs",
        type=Path,
        nargs="+",
        metavar="RUN_FOLDER",
        help=f"folder of a run: checkpoints/, dump.zarr, run.json; several are {verb} one after the other",
    )
    add("--checkpoint", type=Path, metavar="FILE", help=f"{ONLY}checkpoints/checkpoint_last.pt")
    add("--data", type=Path, metavar="DIR", help="the corpus (default: the one that the run was trained on)")


def add_treebank(result: argparse.ArgumentParser, writes: str, train: int, dev: int) -> None:
    """The options of a probe: ``--treebank``, ``--probe-train`` and ``--probe-dev`` with their defaults; ``writes`` names the files."""
    add = result.add_argument
    add(
        "--treebank",
        type=Path,
        metavar="DIR",
        help=f"folder with en_ewt-ud-{{train,dev}}.conllu: writes {writes} as well",
    )
    words = "words of the treebank's {} split (default: %(default)s)"
    add("--probe-train", type=whole_number(1), default=train, metavar="N", help=words.format("train"))
    add("--probe-dev", type=whole_number(1), default=dev, metavar="N", help=words.format("dev"))


def add_computing(result: argparse.ArgumentParser) -> None:
    """The options that say where and how it is computed: ``--device`` and ``--batch-tokens``."""
    add = result.add_argument
    add("--device", metavar="NAME", help="cpu or cuda (default: a GPU if there is one)")
    add(
        "--batch-tokens",
        type=whole_number(1),
        metavar="N",
        help="tokens in a batch (default: 2048 on a CPU, 16384 on a GPU)",
    )


def choose_device(name: str | None) -> torch.device:
    """The device to compute on.

    Raises:
        UserError: there is no such device.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--device: expected cpu or cuda; found {name}") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no GPU; give --device cpu")
    if device.type not in BATCH_TOKENS:
        raise UserError(f"--device: expected cpu or cuda; found {name}")
    return device


def each_run(
    options: argparse.Namespace, alone: Sequence[str], work: Callable[[Path, argparse.Namespace, torch.device], None]
) -> None:
    """Do the work of each run's folder in turn. An error in one ends the command; what the runs before it wrote stays.

    Args:
        options: with ``runs``, ``device`` and ``treebank``.
        alone: names of the options that go with one run only.
        work: called with a run's folder, the options and the device.

    Raises:
        UserError: such an option with several runs, no such device, no treebank, or what the work raises, with the run's folder named.
    """
    folders: list[Path] = options.runs
    for name in alone:
        if getattr(options, name) is not None and len(folders) > 1:
            raise UserError(
                f"--{name} is of one run: expected one RUN_FOLDER with it, found {len(folders)}; leave it out, or give one folder at a time"
            )
    device = choose_device(options.device)
    if options.treebank:
        for split in treebank.SPLITS:
            treebank.find(options.treebank, split)
    for number, folder in enumerate(folders, start=1):
        if len(folders) > 1:
            print(f"{number} of {len(folders)}: {folder}", flush=True)
        try:
            work(folder, options, device)
        except UserError as error:
            if str(folder) in error.message:
                raise
            raise UserError(f"{folder}: {error.message}") from error
