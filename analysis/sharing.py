"""Translation with embeddings that are not shared, shared in the decoder, or all shared (claims C6).

    python analysis/sharing.py runs/E4 --out DIR

Reads every run below the folder (<arm>/seed<k>/ with model.json, translation/, log/train.log and dump.zarr; arms none, decoder and
all) and speed.json beside the arms (docs/translation-format.md). Whatever is missing is listed with the command that makes it.

- C6.1: parameters of `all` against `none`, counted, beside the closed form.
- C6.2: BLEU of `all` minus `none`, paired by seed and sentence; over seeds with three or more, else over sentences.
- C6.3: target tokens a second of `all` over `none`, paired by round.
- C6.4: the largest loss of BLEU by type of sentence against twice the ordinary sentences' loss.
C6.2 and C6.4 are inconclusive where the better of the two arms has a BLEU below 10: such output is hardly a translation.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import parameters
import sentence_types
import sharing_figures
import sharing_geometry
import sharing_tables as tables
import training_speed
from claims import Estimate, combine_seeds
from cli import plain, print_table, run, write_json
from evidence import Evidence, SnapshotCache, comparable
from geometry import GeometryError
from repetition_tables import write_csv
from runs import Missing, Run, command, find_runs
from sharing_claims import decide
from sharing_examples import choose
from sharing_geometry import SharingGeometry
from sharing_result import PAIRS, Difference, SharingResult
from sharing_run import ARMS, evaluate_command, read_run, with_scores
from streams import DumpError
from translation_files import TranslationError
from translation_quality import METRICS, Tested, difference, paired_test, resampled_scores


def analyse(evidence: Evidence) -> SharingResult:
    """Measure the arms and compare them; problems go to `evidence.missing`."""
    result = SharingResult()
    of_run: dict[str, Run] = {}
    for arm, runs in evidence.arms().items():
        if arm not in ARMS:
            listed = ", ".join(ARMS)
            evidence.missing.append(Missing(f"{evidence.experiment}: arm {arm} is none of {listed} and is left out."))
            continue
        used, left_out = comparable(runs)
        result.left_out += [entry.name for entry in left_out]
        result.runs[arm] = {entry.seed: read_run(evidence, entry) for entry in used}
        of_run |= {entry.name: entry for entry in used}
    result.runs = {arm: result.runs[arm] for arm in ARMS if arm in result.runs}
    for arm in ARMS:
        if arm not in result.runs:
            evidence.missing.append(
                Missing(f"{evidence.experiment}: no run of arm {arm}.", command(evidence.experiment))
            )
    _one_test_set(evidence, result, of_run)
    for runs in result.runs.values():
        for seed, entry in runs.items():
            runs[seed] = with_scores(evidence, of_run[entry.name], entry)
    _parameters(evidence, result)
    _speed(evidence, result)
    _quality(result)
    _contexts(result)
    _geometry(evidence, result)
    result.claims = decide(result)
    return result


def figures(result: SharingResult, out: Path) -> list[Path]:
    """Every figure that the runs allow; PNG and PDF."""
    return sharing_figures.figures(result, out)


def _one_test_set(evidence: Evidence, result: SharingResult, of_run: dict[str, Run]) -> None:
    """Leave out the translations of other sentences than the first run's: pairing by sentence would mean nothing."""
    first = next((entry for entry in result.all_runs if entry.translation is not None), None)
    for runs in result.runs.values():
        for seed, entry in runs.items():
            if first is None or entry.translation is None:
                continue
            for name in ("references", "sources"):
                if getattr(entry.translation, name) != getattr(first.translation, name):
                    evidence.missing.append(
                        Missing(
                            f"{entry.name}: other {name} than {first.name}; all arms must translate one test set.",
                            evaluate_command(of_run[entry.name]),
                        )
                    )
                    runs[seed] = entry.without_translation()
                    break
            else:
                other = [
                    name
                    for name in first.translation.manner
                    if entry.translation.manner[name] != first.translation.manner[name]
                ]
                if other:
                    said = ", ".join(
                        f"{n} {entry.translation.manner[n]} ({first.translation.manner[n]})" for n in other
                    )
                    evidence.missing.append(
                        Missing(
                            f"{entry.name}: translated otherwise than {first.name} (in brackets): {said}; scores compare like with like only.",
                            evaluate_command(of_run[entry.name]),
                        )
                    )
                    runs[seed] = entry.without_translation()


def _parameters(evidence: Evidence, result: SharingResult) -> None:
    for arm, runs in result.runs.items():
        models = [(entry.name, entry.model) for entry in runs.values() if entry.model is not None]
        if not models:
            continue
        result.counts[arm] = parameters.count(arm, models[0][1])
        for name, model in models[1:]:
            if model.parameters != models[0][1].parameters:
                evidence.missing.append(
                    Missing(
                        f"{name}: {model.parameters:,} parameters, where {models[0][0]} has {models[0][1].parameters:,}; "
                        "train all seeds of an arm with one architecture."
                    )
                )
    base = result.counts.get("none")
    if base is not None:
        result.savings = {arm: parameters.saving(found, base) for arm, found in result.counts.items() if arm != "none"}


def _speed(evidence: Evidence, result: SharingResult) -> None:
    if not result.runs:
        return
    path = evidence.runs[0].path.parent.parent / "speed.json"
    try:
        speed = training_speed.read_speed(path)
        cards = [entry.model for entry in result.all_runs if entry.model is not None]
        training_speed.require_same(speed, path, cards[0].shape if cards else {})
        result.speed = speed
    except TranslationError as error:
        evidence.missing.append(Missing(f"{evidence.experiment}: {error}.", command(evidence.experiment)))


def _quality(result: SharingResult) -> None:
    seeds = sorted({seed for runs in result.runs.values() for seed in runs})
    values: dict[str, dict[str, list[Estimate]]] = {}
    found: dict[tuple[str, str, str], list[tuple[int, Estimate]]] = {}
    for seed in seeds:
        systems = {arm: scored[seed] for arm in result.runs if seed in (scored := result.scored(arm))}
        if not systems:
            continue
        drawn = resampled_scores(systems, seed=seed)
        for metric in METRICS:
            for arm, scores in systems.items():
                own = difference(scores.score[metric], drawn[metric][arm], np.zeros_like(drawn[metric][arm]))
                values.setdefault(arm, {}).setdefault(metric, []).append(own)
            for first, second in PAIRS:
                if first in systems and second in systems:
                    gap = systems[first].score[metric] - systems[second].score[metric]
                    estimate = difference(gap, drawn[metric][first], drawn[metric][second])
                    found.setdefault((first, second, metric), []).append((seed, estimate))
    result.scores = {
        arm: {metric: combine_seeds(own) for metric, own in metrics.items()} for arm, metrics in values.items()
    }
    tested = {pair: _tests(result, *pair) for pair in PAIRS}
    for (first, second, metric), entries in found.items():
        estimates = [estimate for _, estimate in entries]
        result.differences.append(
            Difference(
                first,
                second,
                metric,
                [seed for seed, _ in entries],
                estimates,
                combine_seeds(estimates),
                tested[first, second],
            )
        )


def _tests(result: SharingResult, first: str, second: str) -> list[Tested]:
    """sacrebleu's own paired test, one a seed that both arms have."""
    found = []
    for seed, one in result.runs.get(first, {}).items():
        two = result.runs.get(second, {}).get(seed)
        if (
            two is None
            or one.scores is None
            or two.scores is None
            or one.translation is None
            or two.translation is None
        ):
            continue
        baseline, system = (second, two.translation.hypotheses), (first, one.translation.hypotheses)
        found += paired_test(baseline, [system], one.translation.references)
    return found


def _contexts(result: SharingResult) -> None:
    """Quality by type of sentence, and the examples: of the first run whose words are known."""
    first = next(
        (entry for entry in result.all_runs if entry.translation is not None and entry.words is not None), None
    )
    if first is not None and first.translation is not None and first.words is not None:
        types = sentence_types.sentence_types(first.translation.sources, first.words["source"])
        seeds = sorted({seed for arm in result.runs for seed in result.scored(arm)})
        scored = {
            seed: {arm: found[seed] for arm in result.runs if seed in (found := result.scored(arm))} for seed in seeds
        }
        if scored:
            result.contexts = sentence_types.measure(scored, types, PAIRS)
    shared = [seed for seed in result.scored("none") if seed in result.scored("all")]
    if shared:
        pair = [result.runs[arm][shared[0]] for arm in ("none", "all")]
        texts, scores = ([getattr(entry, name) for entry in pair] for name in ("translation", "scores"))
        result.examples = choose(("none", "all"), tuple(texts), tuple(scores))


def _geometry(evidence: Evidence, result: SharingResult) -> None:
    """Geometry of the runs whose dumps hold snapshots of one joint vocabulary."""
    dumps: dict[str, dict[int, Any]] = {}
    known: tuple[str, tuple[str, ...]] | None = None
    for entry in result.all_runs:
        if entry.dump is None:
            continue
        try:
            words = sharing_geometry.vocabulary(entry.dump)
            if any(not len(entry.dump.table(name).snapshot_updates) for name in entry.dump.tables):
                raise DumpError(f"{entry.dump.path}: no snapshots, which geometry needs; record with snapshots")
        except (DumpError, OSError) as error:
            evidence.missing.append(Missing(f"{entry.name}: {error}"))
            continue
        known = known or (entry.name, words)
        if words != known[1]:
            evidence.missing.append(
                Missing(f"{entry.name}: another vocabulary or corpus than {known[0]}, so its tables are not compared.")
            )
            continue
        dumps.setdefault(entry.arm, {})[entry.seed] = entry.dump
    if not dumps:
        return
    try:
        first, update = sharing_geometry.common_updates([dump for seeds in dumps.values() for dump in seeds.values()])
        measured = [
            sharing_geometry.table_geometry(dump, name, update, arm=arm, run_seed=seed)
            for arm, seeds in dumps.items()
            for seed, dump in seeds.items()
            for name in dump.tables
        ]
        result.geometry = SharingGeometry(update, first, measured, sharing_geometry.compare(dumps, update, first))
    except (DumpError, GeometryError, OSError) as error:
        evidence.missing.append(Missing(f"{evidence.experiment}: geometry: {error}"))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, metavar="RUNS", help="the experiment's folder, such as runs/E4")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where tables, JSON and figures go")
    chosen = parser.parse_args(arguments)
    folder = chosen.runs if chosen.runs.name not in ("", "..") else chosen.runs.resolve()
    runs = [entry for entry in find_runs(folder.parent) if entry.path.parent.parent == folder]
    if not runs:
        sys.exit(
            f"error: {chosen.runs}: expected <arm>/seed<k>/ folders of runs, found none; give the folder of E4, runs/E4"
        )
    with ThreadPoolExecutor(1) as beside:
        evidence = Evidence(runs[0].experiment, runs, chosen.out, SnapshotCache(), beside)
        result = analyse(evidence)
    missing = [entry for run_entry in runs for entry in run_entry.missing] + evidence.missing
    written = figures(result, chosen.out) if result.runs else []
    written.append(write_csv(chosen.out, "sharing", tables.arm_rows(result)))
    content = {
        "claims": [claim.to_json() for claim in result.claims],
        **tables.data(result),
        "missing": [{"what": entry.what, "command": entry.command} for entry in missing],
    }
    written.append(write_json(chosen.out, "sharing", plain(content)))
    for rows in (tables.arms_table(result), tables.differences_table(result), tables.types_table(result)):
        if len(rows) > 1:
            print_table(rows)
    for line in tables.parameter_words(result):
        print(line)
    for claim in result.claims:
        print(f"{claim.id} {claim.verdict}: {claim.reason}")
    for entry in missing:
        print(f"missing: {entry.what}" + (f" To make it: {entry.command}" if entry.command else ""))
    print("wrote " + ", ".join(str(path) for path in written))
    if not any((result.counts, result.scores, result.geometry, result.speed)):
        print(f"error: none of the {len(runs)} runs below {chosen.runs} could be read", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    run(main)
