"""The options that all commands for corpora of sentence pairs share. Standard library only."""

from __future__ import annotations

import argparse
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpora.errors import CorpusError
from corpora.options import default_data_bin
from corpora.pairs import RATIO_ALLOWANCE, Limits

MODEL_TYPES = ("bpe", "unigram")
_LANGUAGE = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True)
class PairOptions:
    """The shared options, checked."""

    name: str
    data_bin: Path
    source_lang: str
    target_lang: str
    vocabulary: int
    model_type: str
    limits: Limits
    limit_pairs: int | None
    seed: int
    overwrite: bool

    @property
    def languages(self) -> tuple[str, str]:
        return self.source_lang, self.target_lang

    @property
    def target(self) -> Path:
        """The corpus's folder."""
        return self.data_bin / self.name

    def content(self) -> dict[str, Any]:
        """Those that decide the content of the corpus."""
        return {
            "vocabulary": self.vocabulary,
            "model_type": self.model_type,
            "max_words": self.limits.max_words,
            "max_ratio": self.limits.max_ratio,
            "limit_pairs": self.limit_pairs,
            "seed": self.seed,
        }


def parser(
    program: str, description: str, name: str | None, languages: tuple[str, str] | None, vocabulary: int = 8000
) -> argparse.ArgumentParser:
    """A parser with the shared options. `name` and `languages` are defaults, None where the user must give them."""
    result = argparse.ArgumentParser(
        prog=program, description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    shared = result.add_argument_group("options of all corpora of pairs")
    add = shared.add_argument
    default = f" (default: {name})" if name else ""
    add("--name", default=name, required=name is None, help="folder below data-bin" + default)
    add(
        "--data-bin",
        default=default_data_bin(),
        type=Path,
        metavar="DIR",
        help="folder of the corpora (default: data-bin in the project)",
    )
    for index, side in enumerate(("source", "target")):
        add(
            f"--{side}-lang",
            default=languages[index] if languages else None,
            required=languages is None,
            metavar="LANG",
            help=f"language of the {side} side" + (" (default: %(default)s)" if languages else ""),
        )
    add(
        "--vocabulary",
        type=int,
        default=vocabulary,
        metavar="N",
        help="pieces of the vocabulary that both languages share, fairseq's four specials not counted (default: %(default)s)",
    )
    add(
        "--model-type",
        choices=MODEL_TYPES,
        default="bpe",
        help="how sentencepiece finds the pieces. bpe counts whole numbers, so every machine finds the same; "
        "unigram sums floating-point numbers (default: %(default)s)",
    )
    add(
        "--max-words",
        type=int,
        default=100,
        metavar="N",
        help="words between white space that a side of a pair may have (default: %(default)s)",
    )
    add(
        "--max-ratio",
        type=float,
        default=3.0,
        metavar="R",
        help=f"words of the longer side: at most R times those of the shorter, and {RATIO_ALLOWANCE} more (default: %(default)s)",
    )
    add(
        "--limit-pairs",
        type=int,
        metavar="N",
        help="only N training pairs, and N/8 of each held-out split, chosen by a hash (for trials; also give a smaller --vocabulary)",
    )
    add(
        "--seed",
        type=int,
        default=1,
        metavar="N",
        help="seed of the choice of held-out sentences (default: %(default)s)",
    )
    add("--overwrite", action="store_true", help="replace a corpus of this name that was made otherwise")
    return result


def checked(
    arguments: argparse.Namespace, allowed: tuple[str, ...] | None = None, *, identical: bool = True
) -> PairOptions:
    """Check the shared options. `allowed` names the languages that the corpus has. Raises CorpusError."""
    from corpora.folder import check_name

    for option, least in (("vocabulary", 1), ("max_words", 1), ("limit_pairs", 1), ("seed", 0)):
        value = getattr(arguments, option)
        if value is not None and value < least:
            raise CorpusError(f"--{option.replace('_', '-')} {value}: a whole number of at least {least} was expected")
    if not (math.isfinite(arguments.max_ratio) and arguments.max_ratio >= 1):
        raise CorpusError(f"--max-ratio {arguments.max_ratio}: a number of at least 1 was expected")
    for option in ("source_lang", "target_lang"):
        language = getattr(arguments, option)
        label = f"--{option.replace('_', '-')} {language!r}"
        if not _LANGUAGE.fullmatch(language):  # fairseq takes file names apart at '-' and '.'
            raise CorpusError(f"{label}: a code of letters, digits and '_' was expected, such as en")
        if allowed and language not in allowed:
            raise CorpusError(f"{label}: this corpus has {' and '.join(allowed)}; give one of them")
    if arguments.source_lang == arguments.target_lang:
        raise CorpusError(
            f"--source-lang and --target-lang are both {arguments.source_lang}; two different languages were expected"
        )
    return PairOptions(
        name=check_name(arguments.name),
        data_bin=arguments.data_bin.resolve(),
        source_lang=arguments.source_lang,
        target_lang=arguments.target_lang,
        vocabulary=arguments.vocabulary,
        model_type=arguments.model_type,
        limits=Limits(arguments.max_words, arguments.max_ratio, identical),
        limit_pairs=arguments.limit_pairs,
        seed=arguments.seed,
        overwrite=arguments.overwrite,
    )
