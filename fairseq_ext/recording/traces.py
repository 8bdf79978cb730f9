"""Which rows are traced."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import UserError
from .rows import Rows

logger = logging.getLogger(__name__)

WORDS = """
red green blue yellow black white brown orange purple grey
he she they it we you him her them his
big small large little huge tiny long short
January February March April May June July August September October November December
Monday Tuesday Wednesday Thursday Friday Saturday Sunday
one two three four five six seven eight nine ten
France Germany Spain Italy China Japan India Russia Canada Australia
liberal conservative hot cold good bad high low old new old young rich poor war peace north south east west
the of and in to was is for on with as by that at from
""".split()


def default_rows(rows: Rows, sample: int) -> npt.NDArray[np.int64]:
    """Rows of the category words that are one token, and ``sample`` rows of each frequency group.

    A word is looked up with its leading space (`` red``, or sentencepiece's ``▁red``). The sample is evenly spaced by row number,
    so that it does not depend on a seed.

    Returns:
        int64 [T], ascending, without repeats.
    """
    index = {text: row for row, text in enumerate(rows.texts)}
    chosen: set[int] = set()
    for word in WORDS:
        for form in (f" {word}", f"\u2581{word}"):
            if form in index and rows.counted[index[form]]:
                chosen.add(index[form])
    for number in range(len(rows.groups)):
        members = np.flatnonzero(rows.group == number)
        if len(members) and sample:
            chosen.update(members[np.linspace(0, len(members) - 1, min(sample, len(members)), dtype=int)].tolist())
    return np.array(sorted(chosen), dtype=np.int64)


def rows_from_file(path: Path, rows: Rows) -> npt.NDArray[np.int64]:
    """Rows named in a file: a line is a token's exact text or ``id:ROW``; empty lines are skipped.

    Returns:
        int64 [T], ascending, without repeats.

    Raises:
        UserError: the file cannot be read, is empty, or names an unknown token.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"--record-trace-tokens: expected a UTF-8 file with a token a line; {path} cannot be read ({error})"
        ) from error
    index = {text: row for row, text in enumerate(rows.texts)}
    chosen: set[int] = set()
    for number, line in enumerate(lines, 1):
        token = line.rstrip("\r")
        if not token.strip():
            continue
        if token.startswith("id:") and token[3:].isdigit() and int(token[3:]) < len(rows):
            chosen.add(int(token[3:]))
        elif token in index:
            chosen.add(index[token])
        else:
            near = [form for form in (f" {token.strip()}", f"\u2581{token.strip()}", token.strip()) if form in index]
            hint = (
                f"; did you mean {near[0]!r}?"
                if near
                else "; write the token's exact text, leading space included, or id:ROW"
            )
            raise UserError(
                f"--record-trace-tokens: line {number} of {path} names {token!r}, which is not a token of the dictionary{hint}"
            )
    if not chosen:
        raise UserError(f"--record-trace-tokens: expected a token a line in {path}; found none")
    return np.array(sorted(chosen), dtype=np.int64)
