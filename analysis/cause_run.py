"""What is measured of one run of E5: its tables' curves, drift and mechanisms, the log, held-out loss, word similarity."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import cause_mechanisms
import heldout
import similarity
from cause_design import INPUT, OUTPUT, TIED, CauseDesign, places_of, read_design
from cause_mechanisms import Drift, Mechanisms
from cause_ratio import about, ratio_at, ratio_curve, row_parts
from cause_setting import OF_THE_RULE, read_setting
from cause_streams import CauseStream, Moments, has_stream, read_cause, read_moments
from claims import Estimate
from cli import NOT_IN_JSON
from curves import Curve, last_update, read_curves, spread
from dump import Dump, Group, Table, signature
from evaluation import Evaluation, read_evaluation
from evidence import Evidence
from geometry import common_vector
from isotropy import cosine_contributions, isoscore, second_moment
from repetition_run import EMPTY, log_curves
from runs import Missing, Run
from training_log import LearningCheck

CURVES = ("common_norm", "norm_mean", "mean_cosine", "spearman_seen")
SNAPSHOTS_READ = 8  # of each table, for isotropy
ISOTROPY = ("mean_cosine", "mean_cosine_centred", "isoscore")
NEAR = 0.05  # r and its interval may be of an update that is at most this share of the updates before the last one
COMMAND = "python -m fairseq_ext.evaluate"


@dataclass(frozen=True)
class TableResult:
    """One table of a run, by its place (`tied`, `input`, `output`). What is None was not recorded or could not be read.

    Curves over updates: `ratio` (r, cause_ratio.py), `mean_cosine`, `spearman` (count against mean cosine, seen tokens), `isotropy`
    by the names of ISOTROPY at some snapshots. `end` is r of the last statistics, of the last snapshot where they end before it; `parts` the rows'
    parts in it.
    """

    place: str
    name: str
    rows: int
    last: int
    ratio: Curve
    mean_cosine: Curve
    spearman: Curve
    isotropy: dict[str, Curve]
    end: Estimate
    parts: NDArray[np.float64] | None = field(metadata=NOT_IN_JSON)
    cause: CauseStream | None
    moments: Moments | None
    drift: Drift | None
    mechanisms: Mechanisms | None
    similarity: similarity.SimilarityResult | None
    counts: NDArray[np.int64] = field(metadata=NOT_IN_JSON)
    counted: NDArray[np.bool_] = field(metadata=NOT_IN_JSON)

    @property
    def isotropy_end(self) -> dict[str, float]:
        """The measures of the last snapshot; empty where there is none."""
        return {name: float(curve.values[-1]) for name, curve in self.isotropy.items() if len(curve.updates)}


@dataclass(frozen=True)
class CauseRun:
    """One run. `corpus` and `setting` must be equal in runs that are compared; `valid` is the validation loss (bits) over updates.

    `seed` is the folder's, `trained_with` that of the training itself.
    """

    name: str
    arm: str
    seed: int
    design: CauseDesign
    signature: str
    corpus: tuple[str, ...]
    setting: dict[str, str] = field(metadata=NOT_IN_JSON)
    of_the_rule: dict[str, str] = field(metadata=NOT_IN_JSON)
    trained_with: int | None
    updates: int
    groups: list[Group]
    group: NDArray[np.int16] = field(metadata=NOT_IN_JSON)
    tables: dict[str, TableResult]
    train: Curve
    valid: Curve
    learning: LearningCheck
    evaluation: Evaluation | None = field(metadata=NOT_IN_JSON)
    heldout: heldout.HeldOut | None

    @property
    def main(self) -> TableResult:
        """The table of the input, which in a tied model is the output's too; the output's where no other was recorded."""
        return self.tables.get(TIED) or self.tables.get(INPUT) or self.tables[OUTPUT]

    @property
    def loss(self) -> Estimate | None:
        """Held-out loss in bits with its interval over examples."""
        return None if self.heldout is None else self.heldout.loss["held_out"]


def measure_run(evidence: Evidence, run: Run) -> CauseRun | None:
    """Measure one run; None where it has no dump that can be read. Problems go to `evidence.missing`."""
    dump = evidence.dump(run)
    if dump is None:
        return None
    ask = partial(_one, evidence, run)
    design: CauseDesign | None = ask(read_design)
    places: dict[str, str] | None = design and ask(partial(places_of, design=design))
    if design is None or places is None:
        return None
    for place, words in ((INPUT, "input"), (OUTPUT, "output")) if not design.tied else ():
        if place not in places:
            what = f"the tables are untied, and the dump holds no {words} table; record it (--record-tables)"
            evidence.missing.append(Missing(f"{run.name}: {what}.", run.again))
    found = {place: _table(evidence, run, place, name) for place, name in places.items()}
    tables = {place: entry for place, entry in found.items() if entry is not None}
    if not tables:
        return None
    table = dump.table(next(iter(tables.values())).name)
    evaluated = _evaluation(evidence, run)
    held = evaluated and ask(lambda _: _held_out(evaluated, table))
    updates = next(iter(tables.values())).last
    text = signature(dump, table, updates)
    train, valid, _ = log_curves(evidence.log(run))
    return CauseRun(
        name=run.name,
        arm=run.arm,
        seed=run.seed,
        design=design,
        signature=text if evaluated is None else f"{text}|{evaluated.signature}",
        corpus=_corpus(dump, table),
        setting=read_setting(dump),
        of_the_rule=read_setting(dump, OF_THE_RULE),
        trained_with=_trained_with(dump),
        updates=updates,
        groups=table.groups,
        group=table.group,
        tables=tables,
        train=train,
        valid=valid,
        learning=evidence.learning(run),
        evaluation=evaluated if held is not None else None,
        heldout=held,
    )


def _table(evidence: Evidence, run: Run, place: str, name: str) -> TableResult | None:
    ask: Callable[[Callable[[Table], Any]], Any] = lambda action: _one(  # noqa: E731
        evidence, run, lambda dump: action(dump.table(name))
    )
    curves = ask(lambda table: read_curves(table, CURVES))
    last = ask(last_update)
    if curves is None or last is None:
        return None
    dump = evidence.dump(run)
    assert dump is not None  # the curves were read from it
    table = dump.table(name)
    ratio = ratio_curve(curves["common_norm"], curves["norm_mean"])
    snapshot = int(table.snapshot_updates[-1]) if len(table.snapshot_updates) else None
    near = snapshot is not None and last - snapshot <= NEAR * last
    parts = ask(partial(row_parts, update=snapshot)) if near else None
    counted = int(ratio.updates[-1]) if len(ratio.updates) else -1
    value = float(ratio.values[-1]) if last - counted <= NEAR * last and counted >= 0 else float("nan")
    if near and snapshot is not None and snapshot > counted:
        value = _or_nan(ask(partial(ratio_at, update=snapshot)))
    if value != value:
        what = f"common_norm and norm_mean end before update {last:,}, and no snapshot is near it, so r is not known"
        evidence.missing.append(Missing(f"{run.name}: {_short(place)}{what}.", run.again))
    cause = ask(read_cause)
    moments = ask(read_moments)
    drift = ask(cause_mechanisms.measure_drift)
    if cause is None and not has_stream(table, "cause"):
        what = "no stream cause, so mechanisms, the zero sum and the second moment are not known; train with --record-cause"
        evidence.missing.append(Missing(f"{run.name}: {_short(place)}{what}.", run.again))
    both = cause is not None and drift is not None
    return TableResult(
        place=place,
        name=name,
        rows=table.rows,
        last=last,
        ratio=ratio,
        mean_cosine=curves["mean_cosine"],
        spearman=curves["spearman_seen"],
        isotropy=(ask(_isotropy) if snapshot is not None else None) or dict.fromkeys(ISOTROPY, EMPTY),
        end=about(value, parts, least=0.0),
        parts=parts,
        cause=cause,
        moments=moments,
        drift=drift,
        mechanisms=ask(lambda table: cause_mechanisms.measure(table, cause, drift)) if both else None,
        similarity=_one(evidence, run, partial(similarity.analyse, table=name)) if snapshot is not None else None,
        counts=table.counts,
        counted=table.counted,
    )


def _isotropy(table: Table) -> dict[str, Curve]:
    """Measures of isotropy.py, the cheap ones, at some snapshots, the first and the last among them."""
    updates = spread(table.snapshot_updates, SNAPSHOTS_READ)
    values = [_isotropy_at(table, int(update)) for update in updates]
    return {name: Curve(updates, np.array([entry[name] for entry in values])) for name in ISOTROPY}


def _isotropy_at(table: Table, update: int) -> dict[str, float]:
    values = table.snapshot(update)
    common, pool = common_vector(values, table)
    counted = values[pool]
    centred = (counted - common).astype(np.float32)
    return {
        "mean_cosine": float(cosine_contributions(counted).sum()),
        "mean_cosine_centred": float(cosine_contributions(centred).sum()),
        "isoscore": isoscore(np.linalg.eigvalsh(second_moment(centred))),
    }


def _evaluation(evidence: Evidence, run: Run) -> Evaluation | None:
    path = run.path / "evaluation.npz"
    if path.is_file():
        return _one(evidence, run, lambda _: read_evaluation(path))
    again = run.again if run.finished is False else f"{COMMAND} {shlex.quote(str(run.path))}"
    evidence.missing.append(Missing(f"{run.name}: not evaluated (evaluation.npz), so no held-out loss.", again))
    return None


def _held_out(evaluated: Evaluation, table: Table) -> heldout.HeldOut:
    if int(evaluated.target.max()) >= table.rows or int(evaluated.target.min()) < 0:
        raise evaluated.error(f"targets beyond the dump's {table.rows} rows; evaluate the run's own checkpoint")
    return heldout.measure(evaluated, table.group, len(table.groups))


def _corpus(dump: Dump, table: Table) -> tuple[str, ...]:
    corpus = dump.attrs.get("corpus") or {}
    hashes = (str(corpus.get(f"{name}_sha256")) for name in ("dictionary", "train", "valid"))
    return (*hashes, str(table.rows), *(str(group) for group in table.groups))


def _trained_with(dump: Dump) -> int | None:
    run = dump.attrs.get("run")
    seed = run.get("seed") if isinstance(run, Mapping) else None
    return seed if isinstance(seed, int) else None


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _short(place: str) -> str:
    return "" if place == TIED else f"{place} table: "


def _one(evidence: Evidence, run: Run, ask: Callable[[Dump], Any]) -> Any:
    """The answer of one question to one run, None where it failed (and is listed as missing)."""
    return next(iter(evidence.measure([run], {"question": ask})["question"]), None)
