"""The runs below a folder: runs/<experiment>/<arm>/seed<k>/{log/train.log, dump.zarr, run.json}.

`run.json` may be absent or broken: the folders' names then say which run it is. What a run lacks is put into words, with
the command that makes it, for the report's list of what is missing.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SEED = re.compile(r"seed(\d+)$")
COMMAND = "bash scripts/run_all.sh"
PROFILE = {"E3": "standard"}  # for experiments that the default profile leaves out


def command(experiment: str, profile: str | None = None) -> str:
    """The command that runs an experiment, or finishes it: with the profile given, else the smallest that has it."""
    profile = profile or PROFILE.get(experiment)
    return f"{COMMAND} --only {experiment}" + (f" --profile {profile}" if profile else "")


@dataclass(frozen=True)
class Missing:
    """One thing that a report lacks: `what` is a sentence, `command` makes it (or is None)."""

    what: str
    command: str | None = None


@dataclass
class Run:
    """One run's folder. `info` is run.json's content (empty if there is none), `finished` None where nothing says so."""

    path: Path
    experiment: str
    arm: str
    seed: int
    info: dict[str, Any] = field(default_factory=dict)
    missing: list[Missing] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.experiment}/{self.arm}/seed{self.seed}"

    @property
    def finished(self) -> bool | None:
        value = self.info.get("finished")
        return None if value is None else bool(value)

    @property
    def seconds(self) -> float | None:
        value = self.info.get("seconds")
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else None

    @property
    def dump(self) -> Path:
        return self.path / "dump.zarr"

    @property
    def log(self) -> Path:
        return self.path / "log" / "train.log"

    @property
    def again(self) -> str:
        """The command that finishes this run."""
        profile = self.info.get("profile")
        return command(self.experiment, profile if isinstance(profile, str) else None)


def find_runs(root: Path) -> list[Run]:
    """All runs below `root`, ordered by experiment, arm and seed; an absent folder holds none."""
    found = [_read(folder) for folder in root.glob("*/*/seed*") if folder.is_dir() and SEED.fullmatch(folder.name)]
    return sorted(found, key=lambda run: (run.experiment, run.arm, run.seed))


def _read(folder: Path) -> Run:
    """The folders' names say which run it is, unless run.json names another experiment or arm."""
    experiment, arm, seed = folder.parent.parent.name, folder.parent.name, int(folder.name.removeprefix("seed"))
    run = Run(folder, experiment, arm, seed)
    path = folder / "run.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("not an object")
        run.info = content
        run.experiment, run.arm = str(content.get("experiment", experiment)), str(content.get("arm", arm))
    except FileNotFoundError:
        run.missing.append(Missing(f"{run.name}: no run.json, so its command, profile and hardware are not known."))
    except (OSError, ValueError) as error:
        run.missing.append(Missing(f"{run.name}: run.json cannot be read ({error}).", run.again))
    if run.finished is False:
        run.missing.append(
            Missing(f"{run.name}: the run is not finished; what it recorded so far is reported.", run.again)
        )
    if not run.log.is_file():
        run.missing.append(
            Missing(f"{run.name}: no training log (log/train.log), so there is no training curve.", run.again)
        )
    if not run.dump.is_dir():
        run.missing.append(Missing(f"{run.name}: no recording (dump.zarr).", run.again))
    return run
