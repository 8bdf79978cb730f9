"""A masked LM layer by layer: its parameters seen in the embedding space, and its hidden states (claims C5).

    python analysis/layers.py runs/E2/base/seed1 runs/E2/shuffled/seed1 --out DIR
    python analysis/layers.py runs/E2/*/seed* --treebank data-bin/ud_ewt --out DIR

Reads parameters.npz, layers.npz and, where they are, layers_probe.npz and layers_probe_untrained.npz of each run's folder
(docs/layers-format.md), beside its dump.zarr and log. The arm `base` (else the first that is not `shuffled`) decides; several
folders of one arm are its seeds. Whatever is missing is listed with the command that makes it.

- C5.1: concentration of the projected parameter vectors: its slope over layers, and the same minus the untrained models'.
- C5.2: the same numbers, lower (0-6 of 12) minus higher layers.
A model without untrained twins (an imported one) has random directions as its only control, and no verdict.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import layers_figures
import layers_tables as tables
from cli import plain, print_table, run, write_json
from evidence import Evidence, SnapshotCache, comparable
from layers_claims import decide
from layers_result import SHUFFLED, LayersResult, trends
from layers_run import LayersRun, read_run
from parts_of_speech import majority_tags
from runs import Missing, Run, command, find_runs

BASE = "base"


def analyse(evidence: Evidence) -> LayersResult:
    """Measure every run and decide the claims; problems go to `evidence.missing`."""
    result = LayersResult()
    for arm, runs in evidence.arms().items():
        used, left_out = comparable(runs)
        result.left_out += [entry.name for entry in left_out]
        found = [measured for entry in used if (measured := read_run(evidence, entry, evidence.tags)) is not None]
        if found:
            result.arms[arm] = found
    _one_size(evidence, result)
    names = [arm for arm in result.arms if arm != SHUFFLED]
    result.main = BASE if BASE in names else next(iter(names), None)
    result.shuffled = SHUFFLED if SHUFFLED in result.arms else None
    if not names:
        evidence.missing.append(
            Missing(
                f"{evidence.experiment}: no run of arm {BASE} that could be measured.", command(evidence.experiment)
            )
        )
    result.trends = trends(result)
    result.claims = decide(result)
    return result


def figures(result: LayersResult, out: Path) -> list[Path]:
    """Every figure that the runs allow; PNG and PDF."""
    return layers_figures.figures(result, out)


def _one_size(evidence: Evidence, result: LayersResult) -> None:
    """Leave out models of another number of layers than the first: layer by layer nothing would correspond."""

    def size(entry: LayersRun) -> int:
        if entry.parameters is not None:
            return entry.parameters.layers
        return len(entry.states.layers) - 1 if entry.states is not None else 0

    everything = [entry for runs in result.arms.values() for entry in runs]
    for entry in everything:
        if size(entry) != size(everything[0]):
            result.arms[entry.arm].remove(entry)
            text = f"{entry.name}: {size(entry)} layers, but {size(everything[0])} in {everything[0].name}; it is left out."
            evidence.missing.append(Missing(text))
    result.arms = {arm: runs for arm, runs in result.arms.items() if runs}


def _runs(folders: Sequence[Path]) -> list[Run]:
    """The runs of these folders: by run.json and the folders' names, of a folder of another form by its own name."""
    found = []
    for number, folder in enumerate(folders, start=1):
        if not folder.is_dir():
            kind = "a file" if folder.exists() else "nothing"
            sys.exit(f"error: {folder}: expected a run's folder with parameters.npz, found {kind}")
        place = folder.resolve()
        known = [entry for entry in find_runs(place.parent.parent.parent) if entry.path == place]
        # Its arm is one of its own, so that folders of any names are not taken for seeds of one another.
        found += known or [Run(place, "model", place.name, number)]
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_FOLDER", help="such as runs/E2/base/seed1")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where JSON and figures go")
    parser.add_argument(
        "--treebank", type=Path, metavar="DIR", help="folder of the UD English Web Treebank: parts of speech"
    )
    chosen = parser.parse_args(arguments)
    tags = majority_tags(chosen.treebank) if chosen.treebank else None
    runs = _runs(chosen.runs)
    with ThreadPoolExecutor(1) as beside:
        evidence = Evidence(runs[0].experiment, runs, chosen.out, SnapshotCache(), beside, tags=tags)
        result = analyse(evidence)
    missing = [entry for of in runs for entry in of.missing] + evidence.missing
    written = figures(result, chosen.out)
    content = {
        "claims": [claim.to_json() for claim in result.claims],
        **tables.data(result),
        "missing": [{"what": entry.what, "command": entry.command} for entry in missing],
        "signatures": result.signatures,
    }
    written.append(write_json(chosen.out, "layers", plain(content)))
    for signature in result.signatures:
        print(signature)
    for rows in (tables.layers_table(result), tables.kinds_table(result), tables.trends_table(result)):
        if len(rows) > 1:
            print_table(rows)
    for claim in result.claims:
        print(f"{claim.id} {claim.verdict}: {claim.reason}")
    for entry in missing:
        print(f"missing: {entry.what}" + (f" To make it: {entry.command}" if entry.command else ""))
    print("wrote " + ", ".join(str(path) for path in written))
    if not result.arms:
        print(f"error: none of the {len(runs)} runs could be read; see what is missing", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    run(main)
