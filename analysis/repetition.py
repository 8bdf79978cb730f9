"""Repetition and diversity: what is seen how often, and what that does to loss, memory and embeddings (claims C3).

    python analysis/repetition.py runs/E3 --out DIR

Reads every run below the folder (<arm>/seed<k>/ with dump.zarr, log/train.log, evaluation.npz, and probe.npz if there is one). Arms
play the parts that their designs give them (designs.py). Arms are compared at equal updates and tokens, seed by seed, on
the same held-out positions. With three seeds or more an interval is over seeds, else over examples (whole examples drawn
anew); geometry at equal exposure: over tokens; word similarity: over pairs.

- C3.1: the most often repeated plain random arm against the all-distinct arm; the loss as a share of the latter's, and the
  recovered share of masked positions, seen minus unseen examples. Each: effect above the rule's size, interval above 0.
- C3.2: the diverse arm against the narrow one (lower by more than 0.5 %, interval below 0) and against the random one of the
  same k (not worse: the whole interval below +0.5 %, the size that the rule asks of the other difference).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import repetition_figures
from claims import Claim, Estimate, combine_seeds
from cli import plain, print_table, run, write_json
from designs import Design, diversity_arms, main_repeated
from evaluation import EvaluationError, check_paired
from evidence import Evidence, SnapshotCache, comparable
from heldout import Paired, paired
from matched import Matched, matched_difference
from repetition_claims import decide
from repetition_run import RunResult, measure_run
from repetition_tables import arm_rows, arms_table, value_table, write_csv
from repetition_value import Value, estimate_value
from runs import Missing, find_runs

ROLES = ("all-distinct", "repeated", "diverse", "narrow", "fraction", "other")


@dataclass(frozen=True)
class ArmResult:
    """The runs of one arm, ordered by seed, of one design."""

    name: str
    design: Design
    runs: list[RunResult]

    def run(self, seed: int) -> RunResult | None:
        return next((entry for entry in self.runs if entry.seed == seed), None)

    def combined(self, found: Sequence[Estimate | None]) -> Estimate | None:
        """One estimate of the seeds that have one."""
        known = [entry for entry in found if entry is not None and entry.value == entry.value]
        return combine_seeds(known) if known else None

    @property
    def valid_loss(self) -> float | None:
        """Mean over the seeds of the last validation loss (bits)."""
        found = [entry.valid_loss for entry in self.runs if entry.valid_loss is not None]
        return fmean(found) if found else None


@dataclass(frozen=True)
class Comparison:
    """`first` minus `second` for the seeds that both have. `matched` by seed where exposures were counted in both."""

    first: str
    second: str
    seeds: list[int]
    paired: list[Paired]
    bits: Estimate | None
    share: Estimate | None
    matched_seeds: list[int]
    matched: list[Matched]


@dataclass
class RepetitionResult:
    """E3: arms (all-distinct first), each compared with the all-distinct arm, and the pairs that C3.2 needs."""

    arms: list[ArmResult] = field(default_factory=list)
    base: str | None = None
    repeated: str | None = None
    diversity: dict[str, str] = field(default_factory=dict)
    comparisons: dict[tuple[str, str], Comparison] = field(default_factory=dict)
    unmatched: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    value: Value | None = None
    claims: list[Claim] = field(default_factory=list)

    def arm(self, name: str | None) -> ArmResult | None:
        return next((arm for arm in self.arms if arm.name == name), None)

    def compared(self, first: str | None, second: str | None) -> Comparison | None:
        return self.comparisons.get((first or "", second or ""))

    @property
    def signatures(self) -> list[str]:
        return [entry.signature for arm in self.arms for entry in arm.runs]


def analyse(evidence: Evidence) -> RepetitionResult:
    """Measure every run of the experiment and compare the arms; problems go to `evidence.missing`."""
    result = RepetitionResult()
    for name, runs in evidence.arms().items():
        used, left_out = comparable(runs)
        result.left_out += [entry.name for entry in left_out]
        found = [measured for entry in used if (measured := measure_run(evidence, entry)) is not None]
        if not found:
            continue
        design = found[0].design
        for entry in [entry for entry in found if not _one_design(entry.design, design)]:
            found.remove(entry)
            evidence.missing.append(
                Missing(
                    f"{entry.name}: another design than seed {found[0].seed} of its arm; give it an arm of its own."
                )
            )
        result.arms.append(ArmResult(name, design, found))
    result.arms.sort(key=lambda arm: (ROLES.index(arm.design.role), arm.design.repeat, not arm.design.plain, arm.name))
    _one_corpus(evidence, result)
    designs = [(arm.name, arm.design) for arm in result.arms]
    result.base = next((name for name, design in designs if design.role == "all-distinct"), None)
    result.repeated = main_repeated(designs)
    result.diversity = diversity_arms(designs)
    wanted = [(arm.name, result.base) for arm in result.arms if arm.name != result.base]
    diverse = result.diversity.get("diverse")
    wanted += [
        (diverse, result.diversity[role]) for role in ("narrow", "repeated") if diverse and role in result.diversity
    ]
    for first, second in wanted:
        one, two = result.arm(first), result.arm(second)
        if one is None or two is None:
            continue
        if not one.design.matches(two.design):
            result.unmatched.append(
                f"{one.name} ({one.design.updates:,} updates, {one.design.tokens:,} tokens) and {two.name} "
                f"({two.design.updates:,} updates, {two.design.tokens:,} tokens) are not matched within 1 % and are not compared"
            )
            continue
        result.comparisons[one.name, two.name] = _compare(evidence, one, two)
    result.value = estimate_value(result)
    result.claims = decide(result)
    return result


def figures(result: RepetitionResult, out: Path) -> list[Path]:
    """Every figure that the runs allow; PNG and PDF."""
    return repetition_figures.figures(result, out)


def _one_corpus(evidence: Evidence, result: RepetitionResult) -> None:
    """Leave out runs of another corpus than the first one's: rows, frequency groups and texts would not correspond."""
    runs = [entry for arm in result.arms for entry in arm.runs]
    for entry in runs:
        if entry.corpus != runs[0].corpus:
            result.arm(entry.arm).runs.remove(entry)
            evidence.missing.append(
                Missing(
                    f"{entry.name}: another corpus, dictionary or frequency groups than {runs[0].name}; train all arms on one corpus."
                )
            )
    result.arms = [arm for arm in result.arms if arm.runs]


def _one_design(first: Design, second: Design) -> bool:
    """Are two seeds' designs the same? Pools of equal tokens may hold different numbers of examples."""
    same = ("pool", "repeat", "fraction", "order", "masks")
    return all(getattr(first, name) == getattr(second, name) for name in same) and first.matches(second)


def _compare(evidence: Evidence, first: ArmResult, second: ArmResult) -> Comparison:
    seeds, differences, matched_seeds, matched = [], [], [], []
    for one in first.runs:
        two = second.run(one.seed)
        if two is None:
            continue
        if one.evaluation is not None and two.evaluation is not None:
            try:
                check_paired(one.evaluation, two.evaluation)
                differences.append(paired(one.evaluation, two.evaluation, one.group, len(one.groups)))
                seeds.append(one.seed)
            except EvaluationError as error:
                evidence.missing.append(Missing(f"{one.name}: {error}"))
        rows = [entry.rows.rows if entry.rows is not None else None for entry in (one, two)]
        if rows[0] is not None and rows[1] is not None:
            matched.append(matched_difference(rows[0], rows[1]))
            matched_seeds.append(one.seed)
    return Comparison(
        first=first.name,
        second=second.name,
        seeds=seeds,
        paired=differences,
        bits=combine_seeds([entry.bits for entry in differences]) if differences else None,
        share=combine_seeds([entry.share for entry in differences]) if differences else None,
        matched_seeds=matched_seeds,
        matched=matched,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, metavar="RUNS", help="the experiment's folder, such as runs/E3")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where table, JSON and figures go")
    chosen = parser.parse_args(arguments)
    folder = chosen.runs if chosen.runs.name not in ("", "..") else chosen.runs.resolve()
    runs = [entry for entry in find_runs(folder.parent) if entry.path.parent.parent == folder]
    if not runs:
        sys.exit(
            f"error: {chosen.runs}: expected <arm>/seed<k>/ folders of runs, found none; give the folder of E3, runs/E3"
        )
    with ThreadPoolExecutor(1) as beside:
        evidence = Evidence(runs[0].experiment, runs, chosen.out, SnapshotCache(), beside)
        result = analyse(evidence)
    missing = [entry for run_entry in runs for entry in run_entry.missing] + evidence.missing
    written = [] if not result.arms else figures(result, chosen.out)
    written.append(write_csv(chosen.out, "repetition", arm_rows(result)))
    content = {
        "claims": [claim.to_json() for claim in result.claims],
        "arms": arm_rows(result),
        "value": plain(result.value),
        "missing": [{"what": entry.what, "command": entry.command} for entry in missing],
        "signatures": result.signatures,
    }
    written.append(write_json(chosen.out, "repetition", content))
    for rows in (arms_table(result), value_table(result)):
        if len(rows) > 1:
            print_table(rows)
    for claim in result.claims:
        print(f"{claim.id} {claim.verdict}: {claim.reason}")
    for text in result.unmatched:
        print(text)
    if result.value is not None:
        print(result.value.reason)
    for entry in missing:
        print(f"missing: {entry.what}" + (f" To make it: {entry.command}" if entry.command else ""))
    print("wrote " + ", ".join(str(path) for path in written))
    if not result.arms:
        print(f"error: none of the {len(runs)} runs below {chosen.runs} could be read", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    run(main)
