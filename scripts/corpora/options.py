"""The options that all three commands share. Standard library only."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpora.errors import CorpusError

LONGEST_EXAMPLE = 510  # with <s> and </s> it fills RoBERTa's 512 positions


@dataclass(frozen=True)
class Common:
    """The shared options, checked."""

    name: str
    data_bin: Path
    dict: str | None
    max_tokens: int
    limit_examples: int | None
    limit_held_out: int | None
    seed: int
    workers: int
    overwrite: bool

    def content(self) -> dict[str, Any]:
        """Those that decide the content of the corpus (the dictionary is known by its hash)."""
        return {
            "max_tokens": self.max_tokens,
            "limit_examples": self.limit_examples,
            "limit_held_out_examples": self.limit_held_out,
            "seed": self.seed,
        }


def parser(program: str, description: str, name: str | None) -> argparse.ArgumentParser:
    """A parser with the shared options. `name` is the corpus's default name, None where the user must give one."""
    result = argparse.ArgumentParser(
        prog=program, description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    shared = result.add_argument_group("options of all corpora")
    shared.add_argument(
        "--name",
        default=name,
        required=name is None,
        help="folder below data-bin" + (f" (default: {name})" if name else ""),
    )
    shared.add_argument(
        "--data-bin",
        default=default_data_bin(),
        type=Path,
        metavar="DIR",
        help="folder of the corpora (default: data-bin in the project)",
    )
    shared.add_argument(
        "--dict",
        metavar="FILE",
        help="a dictionary over GPT-2's BPE ids, such as RoBERTa's dict.txt (default: ids in numeric order)",
    )
    shared.add_argument(
        "--max-tokens",
        type=int,
        default=LONGEST_EXAMPLE,
        metavar="N",
        help="BPE tokens an example may have; longer lines are cut at sentence ends (default: %(default)s)",
    )
    shared.add_argument("--limit-examples", type=int, metavar="N", help="only the first N training examples")
    shared.add_argument(
        "--limit-held-out-examples",
        type=int,
        metavar="N",
        help="only the first N examples of validation and test (default: an eighth of --limit-examples)",
    )
    shared.add_argument(
        "--seed",
        type=int,
        default=1,
        metavar="N",
        help="seed of the split into training and validation documents (default: %(default)s)",
    )
    shared.add_argument(
        "--workers",
        type=int,
        default=cores(),
        metavar="N",
        help="processes (default: the cores of this machine)",
    )
    shared.add_argument(
        "--overwrite", action="store_true", help="replace a corpus of this name that was made otherwise"
    )
    return result


def default_data_bin() -> Path:
    """`data-bin` in the project that this file belongs to."""
    return Path(__file__).resolve().parents[2] / "data-bin"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def common(arguments: argparse.Namespace) -> Common:
    """Check the shared options. Raises CorpusError."""
    from corpora.folder import check_name

    for option, least in (
        ("max_tokens", 8),
        ("limit_examples", 1),
        ("limit_held_out_examples", 1),
        ("seed", 0),
        ("workers", 1),
    ):
        value = getattr(arguments, option)
        if value is not None and value < least:
            raise CorpusError(f"--{option.replace('_', '-')} {value}: a whole number of at least {least} was expected")
    limit, held_out = arguments.limit_examples, arguments.limit_held_out_examples
    if limit is not None and held_out is None:
        held_out = max(1, limit // 8)
    return Common(
        name=check_name(arguments.name),
        data_bin=arguments.data_bin.resolve(),
        dict=arguments.dict,
        max_tokens=arguments.max_tokens,
        limit_examples=limit,
        limit_held_out=held_out,
        seed=arguments.seed,
        workers=arguments.workers,
        overwrite=arguments.overwrite,
    )


def share(arguments: argparse.Namespace, option: str = "valid_share") -> float:
    """A share between 0 and 0.5, both excluded. Raises CorpusError."""
    value = float(getattr(arguments, option))
    if not 0 < value < 0.5:
        raise CorpusError(f"--{option.replace('_', '-')} {value}: a number above 0 and below 0.5 was expected")
    return value
