"""Does a recording survive any kill? Kills tiny recorded trainings at failpoints and at random moments, and looks at what they leave.

Each run is killed several times (kill -9), looked at each time, started again by the same command, and compared at its end with an uninterrupted
run: what is checked stands in tests/fairseq_ext/kill_campaign.py. Prints a line a run and a table in Markdown; exit status 1 if anything
was violated. The runs' folders are deleted, but for those with a violation. From the repository's folder:

    PYTHONPATH=.:tests/fairseq_ext .venv/bin/python benchmarks/kills.py --kills 100
    PYTHONPATH=.:tests/fairseq_ext .venv/bin/python benchmarks/kills.py --seed 1 --run 17      # one run of it again
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
import warnings
from pathlib import Path

import fairseq_ext

ROOT = Path(__file__).resolve().parent.parent
try:
    from kill_campaign import IN_A_RUN, ONCE, START, UPDATE, WHILE_CUTTING, Campaign, Outcome
    from running import Launcher
    from tiny_corpus import make_corpus
except ModuleNotFoundError:
    sys.exit(
        "error: expected PYTHONPATH=.:tests/fairseq_ext, for the campaign is shared with the tests; set it so and try again"
    )


def table(outcome: Outcome) -> str:
    """What happened, as a table in Markdown."""
    lines = ["| killed | times |", "|---|---|"]
    for place in (UPDATE, START, ONCE, *IN_A_RUN, *WHILE_CUTTING):
        text = {UPDATE: "0 to 90 file events after an update was logged", START: "1 to 90 file events after a process was started"}.get(place, f"failpoint `{place}`")  # fmt: skip
        lines.append(f"| {text} | {outcome.kills[place]} |")
    encodings = ", ".join(f"{number} with {name} windows" for name, number in sorted(outcome.by_encoding.items()))
    return "\n".join(
        [
            *lines,
            f"| all | {outcome.total} ({encodings}) |",
            "",
            f"Runs that ended as the uninterrupted one: {outcome.runs}. Kills planned that a run did not live to see: {outcome.missed}. "
            f"Violations: {len(outcome.violations)}.",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--kills", type=int, default=100, help="kills at least; the run of the last one is finished (default 100)"
    )
    parser.add_argument("--seed", type=int, default=1, help="decides the runs and where each is killed (default 1)")
    parser.add_argument("--run", type=int, help="only this run of the seed")
    parser.add_argument("--folder", type=Path, help="where it trains, new or empty (default: a temporary folder)")
    options = parser.parse_args()
    if options.kills < 1:
        parser.error(f"--kills: expected at least 1, found {options.kills}")
    if Path(fairseq_ext.__file__).parent != ROOT / "fairseq_ext":
        sys.exit(
            f"error: expected fairseq_ext of {ROOT}, found that of {Path(fairseq_ext.__file__).parent}; put . into PYTHONPATH"
        )
    folder = options.folder or Path(tempfile.mkdtemp(prefix="kills-"))
    if folder.exists() and any(folder.iterdir()):
        sys.exit(f"error: expected a new or empty folder, found files in {folder}; choose another --folder")
    logging.disable(logging.WARNING)  # what the libraries say of each array
    warnings.filterwarnings("ignore", module="zarr")
    begin = time.monotonic()
    (folder / "processes").mkdir(parents=True)
    launcher = Launcher(folder / "processes")
    try:
        corpus = make_corpus(launcher, folder / "corpus")
        campaign = Campaign(launcher, corpus, folder, lambda line: print(f"{time.monotonic() - begin:6.0f} s  {line}", flush=True))  # fmt: skip
        number = 0 if options.run is None else options.run
        while True:
            campaign.run(options.seed, number)
            number += 1
            if options.run is not None or campaign.outcome.total >= options.kills:
                break
    finally:
        launcher.close()
    print(f"\n{table(campaign.outcome)}\n\nSeconds: {time.monotonic() - begin:.0f}")
    for violation in campaign.outcome.violations:
        print(f"violation: {violation}")
    sys.exit(1 if campaign.outcome.violations else 0)


if __name__ == "__main__":
    main()
