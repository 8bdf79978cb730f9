"""What is read and measured of one run of E4: model, translations with their scores, words, curves of the log, and its dump."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import pandas as pd

import translation_files as files
from curves import Curve
from dump import Dump, DumpError, signature
from evidence import Evidence
from runs import Missing, Run
from translation_files import Model, Translation, TranslationError, Words
from translation_quality import Scores, measure

ARMS = ("none", "decoder", "all")
WORDS = {
    "none": "nothing shared",
    "decoder": "decoder input and output shared",
    "all": "encoder, decoder input and output shared",
}
EMPTY = Curve(np.zeros(0, np.int64), np.zeros(0))
Result = TypeVar("Result")


@dataclass(frozen=True)
class SharingRun:
    """One run. What is None could not be had; why stands in the evidence's list of what is missing.

    Curves over updates: `train` and `valid` in bits for each target token (of the plain likelihood where the log has it, else the
    label-smoothed loss: `smoothed`), `bleu` of the validation set. `speed_in_training` is the log's median `wps`, for context.
    """

    name: str
    arm: str
    seed: int
    signature: str
    model: Model | None
    translation: Translation | None
    words: dict[str, Words] | None
    scores: Scores | None
    dump: Dump | None
    train: Curve
    valid: Curve
    bleu: Curve
    smoothed: bool
    speed_in_training: float | None

    @property
    def update(self) -> int | None:
        """The update of the translating model."""
        return None if self.translation is None else self.translation.update

    def without_translation(self) -> SharingRun:
        return replace(self, translation=None, words=None, scores=None)


def read_run(evidence: Evidence, run: Run) -> SharingRun:
    """Read one run and score its translations; problems go to `evidence.missing`."""
    model = _read(evidence, run, lambda: files.read_model(run.path), evaluate_command(run))
    translation = _translation(evidence, run)
    words = (
        None
        if translation is None
        else _read(evidence, run, lambda: files.read_words(run.path, translation), evaluate_command(run))
    )
    dump = evidence.dump(run)
    log = evidence.log(run)
    train, valid, bleu, smoothed = log_curves(log)
    return SharingRun(
        name=run.name,
        arm=run.arm,
        seed=run.seed,
        signature=_signature(evidence, run, dump, translation),
        model=model,
        translation=translation,
        words=words,
        scores=None,
        dump=dump,
        train=train,
        valid=valid,
        bleu=bleu,
        smoothed=smoothed,
        speed_in_training=_median(log),
    )


def with_scores(evidence: Evidence, run: Run, read: SharingRun) -> SharingRun:
    """The run with its translations scored."""
    found = read.translation
    if found is None:
        return read
    return replace(
        read, scores=_read(evidence, run, lambda: measure(found.hypotheses, found.references), evaluate_command(run))
    )


def log_curves(log: pd.DataFrame | None) -> tuple[Curve, Curve, Curve, bool]:
    """Training loss, validation loss and validation BLEU over updates, and whether the losses are label-smoothed ones."""
    if log is None:
        return EMPTY, EMPTY, EMPTY, False
    plain = "valid_nll_loss" in log and "nll_loss" in log

    def curve(name: str) -> Curve:
        if name not in log:
            return EMPTY
        known = log[name].dropna()
        return Curve(known.index.to_numpy(np.int64), known.to_numpy(np.float64))

    names = ("nll_loss", "valid_nll_loss") if plain else ("loss", "valid_loss")
    return curve(names[0]), curve(names[1]), curve("valid_bleu"), not plain


def evaluate_command(run: Run) -> str:
    """The command that writes a run's model.json and translation/, or the one that finishes the run."""
    return run.again if run.finished is False else f"python -m fairseq_ext.translate {shlex.quote(str(run.path))}"


def _translation(evidence: Evidence, run: Run) -> Translation | None:
    if not (run.path / "translation").is_dir():
        evidence.missing.append(
            Missing(f"{run.name}: not translated (translation/), so no BLEU.", evaluate_command(run))
        )
        return None
    return _read(evidence, run, lambda: files.read_translation(run.path), evaluate_command(run))


def _read(evidence: Evidence, run: Run, action: Callable[[], Result], command: str) -> Result | None:
    try:
        return action()
    except TranslationError as error:
        evidence.missing.append(Missing(f"{run.name}: {error}.", command))
        return None


def _signature(evidence: Evidence, run: Run, dump: Dump | None, translation: Translation | None) -> str:
    """What reproduces the run's numbers: of the dump where there is one, and how it was translated."""
    text = f"experiment:{evidence.experiment}|arm:{run.arm}|seed:{run.seed}"
    if translation is not None and translation.corpus:
        text = f"corpus:{translation.corpus}|{text}"
    if translation is not None and translation.update is not None:
        text += f"|update:{translation.update}"
    if dump is not None:
        try:
            fields = [
                entry for entry in signature(dump).split("|") if entry.startswith(("precision:", "code:", "format:"))
            ]
            text += "".join(f"|{entry}" for entry in fields)
        except DumpError:  # listed where the tables are measured
            pass
    return text if translation is None else f"{text}|{translation.signature}"


def _median(log: pd.DataFrame | None) -> float | None:
    known = [] if log is None else log["wps"].dropna()
    return float(np.median(known)) if len(known) else None
