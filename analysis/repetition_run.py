"""What is measured of one run of E3: its design, curves of its log, evaluation, word similarity, probe, rows by exposure."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import heldout
import probe
import similarity
from curves import Curve
from designs import Design, read_design
from dump import Dump, Group, Table, signature
from evaluation import Evaluation, read_evaluation
from evidence import Evidence
from exposure import read_exposure
from geometry import group_means, row_geometry
from matched import RowMeasures
from runs import Missing, Run
from training_log import LearningCheck

MEASURES = ("mean_cosine", "common_cosine")
EMPTY = Curve(np.zeros(0, np.int64), np.zeros(0))


@dataclass(frozen=True)
class Rows:
    """Geometry of the last snapshot: by frequency group for each of MEASURES, and by row with the exposure (None: not counted)."""

    update: int
    groups: dict[str, NDArray[np.float64]]
    rows: RowMeasures | None


@dataclass(frozen=True)
class RunResult:
    """One run. What is None could not be had; why stands in the evidence's list of what is missing.

    `corpus` holds what must be equal in runs that are compared: hashes of dictionary, training and validation split, rows, and
    the frequency groups' bounds and sizes.
    Curves over updates, in bits: `train` (mean since the line before), `valid`, and `gap`, their difference.
    """

    name: str
    arm: str
    seed: int
    design: Design
    signature: str
    corpus: tuple[str, ...]
    groups: list[Group]
    group: NDArray[np.int16]
    train: Curve
    valid: Curve
    gap: Curve
    learning: LearningCheck
    evaluation: Evaluation | None
    heldout: heldout.HeldOut | None
    similarity: similarity.SimilarityResult | None
    probe: list[probe.ProbeLayer] | None
    rows: Rows | None

    @property
    def valid_loss(self) -> float | None:
        """The last validation loss of the log, else the evaluation's held-out loss (bits)."""
        if self.learning.valid_loss is not None:
            return self.learning.valid_loss
        return None if self.heldout is None else self.heldout.loss["held_out"].value

    @property
    def unigram_entropy(self) -> float | None:
        """Of the corpus in bits, as the dump gives it, else the evaluation."""
        if self.learning.unigram_entropy is not None:
            return self.learning.unigram_entropy
        found = None if self.evaluation is None else self.evaluation.about.get("unigram_entropy_bits")
        return float(found) if isinstance(found, int | float) else None


def measure_run(evidence: Evidence, run: Run) -> RunResult | None:
    """Measure one run; None where it has no dump that can be read or no sampling design. Problems go to `evidence.missing`."""
    dump = evidence.dump(run)
    design = _one(evidence, run, read_design)
    if dump is None or design is None:
        return None
    table = dump.table()
    last = int(table.snapshot_updates[-1]) if len(table.snapshot_updates) else None
    evaluated = _optional(
        evidence, run, "evaluation.npz", read_evaluation, "no held-out loss by example and no memorisation"
    )
    held = (
        None
        if evaluated is None
        else _one(evidence, run, lambda _: _held_out(evaluated, table.group, len(table.groups)))
    )
    probed = (
        _one(evidence, run, lambda _: probe.measure(probe.read_probe(path)))
        if (path := run.path / "probe.npz").is_file()
        else None
    )
    train, valid, gap = log_curves(evidence.log(run))
    text = signature(dump, table, last if evaluated is None else evaluated.update)
    return RunResult(
        name=run.name,
        arm=run.arm,
        seed=run.seed,
        design=design,
        signature=text if evaluated is None else f"{text}|{evaluated.signature}",
        corpus=_corpus(dump, table),
        groups=table.groups,
        group=table.group,
        train=train,
        valid=valid,
        gap=gap,
        learning=evidence.learning(run),
        evaluation=evaluated if held is not None else None,
        heldout=held,
        similarity=_one(evidence, run, similarity.analyse) if last is not None else None,
        probe=probed,
        rows=_one(evidence, run, partial(_rows, update=last)) if last is not None else None,
    )


def log_curves(log: pd.DataFrame | None) -> tuple[Curve, Curve, Curve]:
    """Training loss, validation loss and their difference over updates.

    A validation is compared with the last training line that is not after it: the mean over the updates of one line.
    """
    if log is None:
        return EMPTY, EMPTY, EMPTY
    train, valid = (
        Curve(found.index.to_numpy(np.int64), found.to_numpy(np.float64))
        for found in (log["loss"].dropna(), log["valid_loss"].dropna())
    )
    before = np.array([train.at(update) for update in valid.updates], np.float64)
    known = np.isfinite(before)
    return train, valid, Curve(valid.updates[known], (valid.values - before)[known])


def _held_out(evaluated: Evaluation, group: NDArray[np.int16], groups: int) -> heldout.HeldOut:
    if int(evaluated.target.max()) >= len(group) or int(evaluated.target.min()) < 0:
        raise evaluated.error(f"targets beyond the dump's {len(group)} rows; evaluate the run's own checkpoint")
    return heldout.measure(evaluated, group, groups)


def _corpus(dump: Dump, table: Table) -> tuple[str, ...]:
    corpus = dump.attrs.get("corpus") or {}
    hashes = (str(corpus.get(f"{name}_sha256")) for name in ("dictionary", "train", "valid"))
    return (*hashes, str(table.rows), *(str(group) for group in table.groups))


def _rows(dump: Dump, *, update: int) -> Rows:
    table = dump.table()
    found = row_geometry(table.snapshot(update), table)
    values = np.stack([getattr(found, name) for name in MEASURES], axis=1)
    counters = read_exposure(dump)
    measures = None
    if counters is not None:
        measures = RowMeasures(counters.tokens(update, table.side).total, values, found.pool)
    by_group = {
        name: group_means(values[:, place], table.group, found.live, len(table.groups))
        for place, name in enumerate(MEASURES)
    }
    return Rows(update, by_group, measures)


def _one(evidence: Evidence, run: Run, ask: Any) -> Any:
    """The answer of one question to one run, None where it failed (and is listed as missing)."""
    return next(iter(evidence.measure([run], {"question": ask})["question"]), None)


def _optional(evidence: Evidence, run: Run, file: str, read: Any, lost: str) -> Any:
    """Read a file of the run's folder; an absent one is listed as missing with the command that makes it."""
    path: Path = run.path / file
    if path.is_file():
        return _one(evidence, run, lambda _: read(path))
    command = run.again if run.finished is False else f"python -m fairseq_ext.evaluate {shlex.quote(str(run.path))}"
    evidence.missing.append(Missing(f"{run.name}: not evaluated ({file}), so {lost}.", command))
    return None
