"""What makes the tables drift: optimisers and remedies side by side, and the parts of each table's drift (claims D1 to D6).

    python analysis/cause.py --runs runs/E5 --out DIR

Reads every run below the folder (<arm>/seed<k>/ with dump.zarr, log/train.log, evaluation.npz). What an arm is follows from the
configuration in its dump (cause_design.py), never from its folder's name; an arm of other options is shown and decides
nothing. Rules: docs/cause.md. With three seeds or more an interval is over seeds; else over updates (D1, D2: a moving-block
bootstrap of the median), tokens (r: cause_ratio.py), examples (loss), or pairs of words.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import cause_figures
from cause_claims import decide
from cause_design import CauseDesign
from cause_isotropy import isotropy_words
from cause_run import CauseRun, measure_run
from cause_setting import differing
from cause_tables import arm_rows, arms_table, mechanism_table
from claims import Claim, Estimate, combine_seeds
from cli import print_table, run, write_json
from evaluation import EvaluationError, check_paired
from evidence import Evidence, SnapshotCache, comparable
from heldout import Paired, paired
from repetition_tables import write_csv
from runs import Missing, Run, find_runs

EXPERIMENT = "E5"
MATCHED = 0.01  # arms are compared where their updates differ by at most this share


@dataclass(frozen=True)
class ArmResult:
    """The runs of one arm, ordered by seed, of one design."""

    name: str
    design: CauseDesign
    runs: list[CauseRun]

    def run(self, seed: int) -> CauseRun | None:
        return next((entry for entry in self.runs if entry.seed == seed), None)

    def combined(self, found: Sequence[Estimate | None]) -> Estimate | None:
        """One estimate of the seeds that have one."""
        known = [entry for entry in found if entry is not None and entry.value == entry.value]
        return combine_seeds(known) if known else None

    @property
    def valid_loss(self) -> float | None:
        """Mean over the seeds of the last validation loss (bits)."""
        found = [entry.learning.valid_loss for entry in self.runs if entry.learning.valid_loss is not None]
        return fmean(found) if found else None


@dataclass(frozen=True)
class Comparison:
    """Held-out loss of `first` minus `second` for the seeds that were evaluated alike in both."""

    first: str
    second: str
    seeds: list[int]
    paired: list[Paired]
    bits: Estimate | None
    share: Estimate | None


@dataclass
class CauseResult:
    """E5: arms in the order of their designs, each compared with Adam of the same tying, and the verdicts."""

    experiment: str = EXPERIMENT
    arms: list[ArmResult] = field(default_factory=list)
    comparisons: dict[tuple[str, str], Comparison] = field(default_factory=dict)
    unmatched: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)

    def arm(self, name: str | None) -> ArmResult | None:
        return next((arm for arm in self.arms if arm.name == name), None)

    def arm_of(self, rule: str, tied: bool) -> ArmResult | None:
        """The arm of a design: of several that called as the design is, else the first by name."""
        found = [arm for arm in self.arms if arm.design == CauseDesign(rule, tied) and rule != "other"]
        named = [arm for arm in found if arm.name == arm.design.name]
        return (named or sorted(found, key=lambda arm: arm.name) or [None])[0]

    def to_adam(self, rule: str, tied: bool) -> Comparison | None:
        """The comparison of a design's arm with Adam's."""
        arm, adam = self.arm_of(rule, tied), self.arm_of("adam", tied)
        return None if arm is None or adam is None else self.comparisons.get((arm.name, adam.name))

    def share_of(self, first: CauseRun, second: CauseRun) -> Estimate | None:
        """The paired difference of two runs of one seed, as a share of the second's loss."""
        found = self.comparisons.get((first.arm, second.arm))
        if found is None or first.seed not in found.seeds:
            return None
        return found.paired[found.seeds.index(first.seed)].share

    def over_seeds(
        self,
        first: ArmResult | None,
        second: ArmResult | None,
        ask: Callable[[CauseRun, CauseRun], Estimate | None],
    ) -> Estimate | None:
        """A number of pairs of runs, combined over the seeds that both arms have."""
        if first is None or second is None:
            return None
        pairs = [(one, two) for one in first.runs if (two := second.run(one.seed)) is not None]
        return first.combined([ask(one, two) for one, two in pairs])

    def unequal(self, arms: Sequence[ArmResult]) -> str:
        """Why the arms cannot be compared: not trained for equally many updates, or with other options; empty where they can."""
        updates = {arm.name: [entry.updates for entry in arm.runs] for arm in arms}
        every = [number for found in updates.values() for number in found]
        if max(every) - min(every) > MATCHED * max(every):
            words = ", ".join(f"{name} {max(found):,}" for name, found in updates.items())
            return f"the arms were not trained for equally many updates (within 1 %): {words}"
        words = differing({arm.name: arm.runs[0].setting for arm in arms})
        return f"the arms differ in more than the rule of the tables: {words}" if words else ""

    @property
    def signatures(self) -> list[str]:
        return [entry.signature for arm in self.arms for entry in arm.runs]


def analyse(evidence: Evidence) -> CauseResult:
    """Measure every run of the experiment and compare the arms; problems go to `evidence.missing`."""
    result = CauseResult(evidence.experiment)
    for name, runs in evidence.arms().items():
        used, left_out = comparable(runs)
        result.left_out += [entry.name for entry in left_out]
        found = [measured for entry in used if (measured := measure_run(evidence, entry)) is not None]
        if not found:
            continue
        kept = found[:1]
        for entry in found[1:]:
            if reason := _foreign(entry, kept):
                evidence.missing.append(Missing(f"{entry.name}: {reason}."))
            else:
                kept.append(entry)
        result.arms.append(ArmResult(name, kept[0].design, kept))
    result.arms.sort(key=lambda arm: (*arm.design.order, arm.name != arm.design.name, arm.name))
    _one_corpus(evidence, result)
    for arm in result.arms:
        adam = result.arm_of("adam", arm.design.tied)
        if adam is None or adam is arm:
            continue
        if reason := result.unequal([arm, adam]):
            result.unmatched.append(reason)
            continue
        result.comparisons[arm.name, adam.name] = _compare(evidence, arm, adam)
    result.claims = decide(result)
    return result


def figures(result: CauseResult, out: Path) -> list[Path]:
    """Every figure that the runs allow; PNG and PDF."""
    return cause_figures.figures(result, out)


def _foreign(entry: CauseRun, kept: Sequence[CauseRun]) -> str:
    """Why a run is not one more seed of the arm whose runs are `kept`; empty where it is."""
    first = kept[0]
    if entry.design != first.design:
        return (
            f"{entry.design.words}, but seed {first.seed} of its arm is {first.design.words}; give it an arm of its own"
        )
    for other in kept:
        if entry.seed == other.seed or (entry.trained_with is not None and entry.trained_with == other.trained_with):
            seed = entry.seed if entry.seed == other.seed else entry.trained_with
            return f"its arm has a run of seed {seed} already ({other.name}); a copy is no further seed"
    words = differing({f"seed {each.seed}": {**each.setting, **each.of_the_rule} for each in (first, entry)})
    return f"it differs from another seed of its arm in {words}; give it an arm of its own" if words else ""


def _one_corpus(evidence: Evidence, result: CauseResult) -> None:
    """Leave out runs of another corpus than the first one's: rows, frequency groups and texts would not correspond."""
    runs = [entry for arm in result.arms for entry in arm.runs]
    for entry in runs:
        if entry.corpus != runs[0].corpus:
            arm = result.arm(entry.arm)
            assert arm is not None  # the run is one of its arm's
            arm.runs.remove(entry)
            words = f"another corpus, dictionary or frequency groups than {runs[0].name}; train all arms on one corpus"
            evidence.missing.append(Missing(f"{entry.name}: {words}."))
    result.arms = [arm for arm in result.arms if arm.runs]


def _compare(evidence: Evidence, first: ArmResult, second: ArmResult) -> Comparison:
    seeds, differences = [], []
    for one in first.runs:
        two = second.run(one.seed)
        if two is None or one.evaluation is None or two.evaluation is None:
            continue
        try:
            check_paired(one.evaluation, two.evaluation)
            differences.append(paired(one.evaluation, two.evaluation, one.group, len(one.groups)))
            seeds.append(one.seed)
        except EvaluationError as error:
            evidence.missing.append(Missing(f"{one.name}: {error}"))
    return Comparison(
        first=first.name,
        second=second.name,
        seeds=seeds,
        paired=differences,
        bits=combine_seeds([entry.bits for entry in differences]) if differences else None,
        share=combine_seeds([entry.share for entry in differences]) if differences else None,
    )


def runs_below(folder: Path) -> list[Run]:
    """The runs of the experiment's folder, or of the folder E5 below it."""
    folder = folder if folder.name not in ("", "..") else folder.resolve()
    for place in (folder, folder / EXPERIMENT):
        found = [entry for entry in find_runs(place.parent) if entry.path.parent.parent == place]
        if found:
            return found
    return []


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--runs", type=Path, required=True, metavar="DIR", help="the experiment's folder, such as runs/E5"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where tables, JSON and figures go")
    chosen = parser.parse_args(arguments)
    runs = runs_below(chosen.runs)
    if not runs:
        sys.exit(
            f"error: {chosen.runs}: expected <arm>/seed<k>/ folders of runs, found none; give the folder of E5, runs/E5"
        )
    with ThreadPoolExecutor(1) as beside:
        evidence = Evidence(runs[0].experiment, runs, chosen.out, SnapshotCache(), beside)
        result = analyse(evidence)
    missing = [entry for run_entry in runs for entry in run_entry.missing] + evidence.missing
    written = figures(result, chosen.out) if result.arms else []
    rows = arm_rows(result)
    written.append(write_csv(chosen.out, "cause", rows))
    content = {
        "claims": [claim.to_json() for claim in result.claims],
        "arms": rows,
        "missing": [{"what": entry.what, "command": entry.command} for entry in missing],
        "signatures": result.signatures,
    }
    written.append(write_json(chosen.out, "cause", content))
    for table in (arms_table(result), mechanism_table(result)):
        if len(table) > 1:
            print_table(table)
    for claim in result.claims:
        print(f"{claim.id} {claim.verdict}: {claim.reason}")
    for text in [*isotropy_words(result), *result.unmatched]:
        print(text)
    for entry in missing:
        print(f"missing: {entry.what}" + (f" To make it: {entry.command}" if entry.command else ""))
    print("wrote " + ", ".join(str(path) for path in written))
    if not result.arms:
        print(f"error: none of the {len(runs)} runs below {chosen.runs} could be read", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    run(main)
