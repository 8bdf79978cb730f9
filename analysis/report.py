"""The report of all runs: one offline page, a file for machines, and the figures.

    python analysis/report.py --runs runs --out report

Reads runs/<experiment>/<arm>/seed<k>/ and writes report/index.html, report/report.json and report/figures/. Whatever is
missing (no run, an unfinished one, a broken dump) is listed with the command that makes it; the rest is reported. The exit
status is 1 where runs were found and none could be read, or where the output could not be written.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from captions import VERDICTS
from claims import STATEMENTS, Claim, Statement, merge_signatures, number_words
from cli import plain, run
from measured import MeasuringError, Settings, measure_all, usual_jobs
from page import Section, render
from parts_of_speech import majority_tags
from runs import Missing, Run, command, find_runs
from sections import CLAIMS_OF, SECTIONS, missing_claim

VERSION = 1  # of report.json


@dataclass
class Report:
    """Everything that is found: claims in the study's order, sections, what is missing, data by experiment."""

    runs: list[Run]
    claims: list[Claim] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    signatures: list[str] = field(default_factory=list)
    updates: dict[str, str] = field(default_factory=dict)
    anchors: dict[str, str] = field(default_factory=dict)

    @property
    def signature(self) -> str:
        """What reproduces the report: the merged signatures of the dumps that it was made from."""
        return merge_signatures([f"report:{VERSION}", *self.signatures]) + ("" if self.signatures else "|runs:none")


def build(
    runs: list[Run], figures: Path, *, points: int, tags: Mapping[str, str] | None = None, jobs: int = 1
) -> Report:
    """Measure all runs, `jobs` experiments at a time; figures are written below `figures`. Raises OSError where they cannot be."""
    report = Report(runs)
    decided: dict[str, tuple[str, Claim]] = {}  # with the experiment that it is of
    number = len({run.experiment for run in runs})
    told = count(1)
    parts = measure_all(
        runs,
        Settings(figures, points, tags),
        jobs,
        lambda name: print(f"measured {name} ({next(told)} of {number})", flush=True),
    )
    experiments = [part.experiment for part in parts]
    for part in parts:
        name, outcome = part.experiment, part.outcome
        report.sections.append(outcome.section)
        report.data[name] = outcome.data
        report.missing += part.missing
        report.signatures += part.signatures
        report.updates |= part.updates
        for claim in outcome.claims:
            if claim.id not in decided or _precedence(name, claim.id) < _precedence(decided[claim.id][0], claim.id):
                decided[claim.id] = name, claim
                report.anchors |= {key: anchor for key, anchor in outcome.anchors.items() if key == claim.id[:2]}
    report.missing += [
        Missing(f"Experiment {name} has not been run.", command(name))
        for name in SECTIONS
        if name not in experiments and not any(CLAIMS_OF[key[:2]] == name for key in decided)
    ]
    report.claims = [decided[key][1] if key in decided else missing_claim(key, experiments) for key in STATEMENTS]
    return report


def _precedence(experiment: str, claim_id: str) -> int:
    """A claim's own experiment decides before the study's others, and these before the user's own; the lowest first."""
    return 0 if CLAIMS_OF[claim_id[:2]] == experiment else 1 if experiment in SECTIONS else 2


def page_of(report: Report) -> dict[str, Any]:
    """What the template shows, as text."""
    counts = {word: sum(claim.verdict == word for claim in report.claims) for word in VERDICTS}
    measured = len(report.claims) - counts["not run"]
    words = {
        "holds": ("holds", "hold"),
        "does not hold": ("does not hold", "do not hold"),
        "inconclusive": ("is inconclusive", "are inconclusive"),
    }
    tally = ", ".join(f"{counts[word]} {forms[counts[word] > 1]}" for word, forms in words.items() if counts[word])
    return {
        "title": "How token embeddings are learned: claims and measurements",
        "lead": [
            "Each claim of the study (C), and each that this project adds (D), is measured on the runs that were found here. A verdict "
            "needs the size of the effect and an interval that excludes the opposite.",
            "With fewer than three seeds, intervals are over tokens, updates, examples or sentences of one run: they say nothing about other seeds.",
        ],
        "signature": report.signature,
        "tally": f"{measured} of {len(report.claims)} claims are measured" + (f": {tally}." if tally else "."),
        "verdicts": [{"word": word, **style} for word, style in VERDICTS.items()],
        "claim_groups": _claim_groups(report),
        "missing": [{"what": entry.what, "command": entry.command} for entry in report.missing],
        "sections": report.sections,
        "run_head": ["Run", "Finished", "Last snapshot", "Training time", "Profile", "Hardware"],
        "runs": [_run_row(entry, report) for entry in report.runs],
        "footer": "Made by analysis/report.py. The page needs no network. For machines: report.json; figures: figures/.",
    }


def _claim_groups(report: Report) -> list[dict[str, Any]]:
    """The study's claims, and below them this project's own, each a table of the page."""
    rule = "Intervals are 95 % intervals over what the row names; a rule about effect size decides, not significance."
    groups = [
        {
            "title": "",
            "caption": f"Each claim of the study with what was measured here. {rule}",
            "says": "The study says",
            "figure": "Study's figure",
            "claims": [_claim_row(claim, report) for claim in report.claims if not STATEMENTS[claim.id].own],
        },
        {
            "title": "Claims of this project: what makes the tables drift",
            "caption": "Not the study's: what others published of other models, asked of the runs that were found here; the source of a figure "
            f"stands below it. The rules are those of docs/cause.md. {rule}",
            "says": "What it says",
            "figure": "Published figure",
            "claims": [_claim_row(claim, report) for claim in report.claims if STATEMENTS[claim.id].own],
        },
    ]
    return [group for group in groups if group["claims"]]


def _claim_row(claim: Claim, report: Report) -> dict[str, Any]:
    statement = STATEMENTS[claim.id]
    return {
        "id": claim.id,
        "anchor": report.anchors.get(claim.id[:2]),
        "words": statement.text,
        "measure": statement.measure.replace("`", ""),
        "parts": [
            {
                "measure": part.measure,
                **dict(zip(("value", "interval"), number_words(part.estimate), strict=True)),
                "over": part.estimate.over,
                "rule": str(part.rule),
                **_verdict(part.verdict),
            }
            for part in claim.parts
        ],
        "study": _figure_words(statement),
        "source": statement.source,
        "rule": statement.rule,
        "reason": _remark(claim),
        "signature": claim.signature,
        **_verdict(claim.verdict),
    }


def _figure_words(statement: Statement) -> str:
    if statement.figure is not None:
        return f"{statement.figure:+g}"
    return "no figure" if statement.own else "plot only"


def _verdict(word: str) -> dict[str, str]:
    return {"verdict": word, "symbol": VERDICTS[word]["symbol"], "css": VERDICTS[word]["css"]}


def _remark(claim: Claim) -> str:
    """The reason without the measured values and rules of its parts, which stand in a column of their own."""
    rest = claim.reason
    for part in claim.parts:
        rest = rest.strip("; ").removeprefix(f"{part.measure}: ")
        end = f"(rule {part.rule})"
        rest = rest.partition(end)[2] if end in rest else rest.removeprefix("no value")
    rest = rest.strip("; ")
    return rest[:1].upper() + rest[1:] + ("" if rest.endswith((".", ")")) else ".") if rest else ""


def _run_row(entry: Run, report: Report) -> list[str]:
    finished = {True: "yes", False: "no", None: "not known"}[entry.finished]
    return [
        entry.name,
        finished,
        report.updates.get(entry.name, "no recording"),
        "not known" if entry.seconds is None else f"{entry.seconds:,.0f} s",
        str(entry.info.get("profile") or "not known"),
        _hardware_words(entry.info.get("hardware")),
    ]


def _hardware_words(hardware: Any) -> str:
    """`AMD EPYC, 2 cores, 25 GB memory`, from run.json's entry; other forms as they are."""
    if not isinstance(hardware, dict):
        return str(hardware or "not known")
    known = {key: value for key, value in hardware.items() if value is not None}
    if isinstance(known.get("memory"), int):
        known["memory"] = f"{known['memory'] / 1e9:.0f} GB memory"
    if "cores" in known:
        known["cores"] = f"{known['cores']} cores"
    return ", ".join(map(str, known.values())) or "not known"


def to_json(report: Report, figures: Sequence[str]) -> dict[str, Any]:
    """report.json: the design's schema, with what is missing and the figures' names."""
    return {
        "signature": report.signature,
        "version": VERSION,
        "claims": [claim.to_json() for claim in report.claims],
        "experiments": plain(report.data),
        "missing": [{"what": entry.what, "command": entry.command} for entry in report.missing],
        "figures": list(figures),
    }


def write(runs: list[Run], out: Path, *, points: int, tags: Mapping[str, str] | None = None, jobs: int = 1) -> Report:
    """Make the report in a folder beside its place and move its files there one by one, index.html last.

    Other files in `out` are left alone; figures that an earlier report wrote and this one did not are removed.
    """
    out.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(dir=out, prefix=".report-"))
    try:
        report = build(runs, stage / "figures", points=points, tags=tags, jobs=jobs)
        figures = sorted(path.relative_to(stage).as_posix() for path in stage.rglob("*") if path.is_file())
        content = json.dumps(to_json(report, figures), ensure_ascii=False, indent=1, allow_nan=False) + "\n"
        (stage / "report.json").write_bytes(content.encode("utf-8", "replace"))
        (stage / "index.html").write_bytes(render(page_of(report)).encode("utf-8", "replace"))
        stale = set(_earlier_figures(out)) - set(figures)
        for name in [*figures, "report.json", "index.html"]:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (stage / name).replace(out / name)
        for name in stale:
            (out / name).unlink(missing_ok=True)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return report


def _earlier_figures(out: Path) -> list[str]:
    """The figures that an earlier report.json names, as far as they lie below figures/."""
    try:
        names = json.loads((out / "report.json").read_text(encoding="utf-8"))["figures"]
        return [name for name in names if name.startswith("figures/") and ".." not in Path(name).parts]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), metavar="DIR", help="the runs' folder (default runs)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("report"), metavar="DIR", help="the report's folder (default report)"
    )
    parser.add_argument("--points", type=int, default=1200, help="tokens of the t-SNE map (default 1200)")
    parser.add_argument(
        "--treebank",
        type=Path,
        metavar="DIR",
        help="the UD English Web Treebank (scripts/prepare_ud_ewt.sh): E2 then tells parts of speech as well",
    )
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="experiments measured at a time (default: as cores and memory allow)"
    )
    chosen = parser.parse_args(arguments)
    if chosen.jobs is not None and chosen.jobs < 1:
        sys.exit(f"error: --jobs: expected at least 1, found {chosen.jobs}")
    if chosen.points < 10:
        sys.exit(f"error: --points: expected at least 10, found {chosen.points}")
    if chosen.runs.exists() and not chosen.runs.is_dir():
        sys.exit(f"error: --runs: expected a folder with runs, found a file: {chosen.runs}")
    tags = majority_tags(chosen.treebank) if chosen.treebank else None
    runs = find_runs(chosen.runs)
    try:
        report = write(runs, chosen.out, points=chosen.points, tags=tags, jobs=chosen.jobs or usual_jobs())
    except MeasuringError as error:
        sys.exit(f"error: {error}")
    for claim in report.claims:
        if claim.verdict != "not run":
            print(f"{claim.id} {claim.verdict}: {claim.reason}")
    for entry in report.missing:
        print(f"missing: {entry.what}" + (f" To make it: {entry.command}" if entry.command else ""))
    written = ["index.html", "report.json", *(["figures"] if report.sections else [])]
    print("wrote " + ", ".join(str(chosen.out / name) for name in written))
    if runs and not report.signatures and all(claim.verdict == "not run" for claim in report.claims):
        print(f"error: none of the {len(runs)} runs below {chosen.runs} could be read", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    run(main)
