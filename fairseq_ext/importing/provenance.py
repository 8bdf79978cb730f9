"""What a dump says of the files that it was imported from, and how the same import is known again."""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..recording.corpus import sha256

PROFILE = "imported"


def describe_file(path: Path) -> dict[str, Any]:
    """Name, size and SHA-256 of a file."""
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)}


def identity_of(*parts: Any) -> str:
    """16 hexadecimal digits that two imports share if they were made from the same files with the same options."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def write_run(run: Path, command: str) -> None:
    """Write ``run.json`` beside the dump, by which the report lists the run; one that something else wrote is kept.

    Experiment, arm and seed are those of a path ``<experiment>/<arm>/seed<k>``; of another path the last two folders' names and seed 1.

    Raises:
        UserError: it cannot be written.
    """
    path = run / "run.json"
    if path.exists() and not _is_ours(path):
        return
    parts = run.absolute().parts
    seed = parts[-1].removeprefix("seed")
    if parts[-1].startswith("seed") and seed.isdecimal() and len(parts) > 3:
        experiment, arm, number = parts[-3], parts[-2], int(seed)
    else:
        experiment, arm, number = parts[-2], parts[-1], 1
    content = {
        "experiment": experiment,
        "arm": arm,
        "seed": number,
        "profile": PROFILE,
        "command": command,
        "finished": True,
    }
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"{path} cannot be written: {error}; choose another --out") from error


def _is_ours(path: Path) -> bool:
    try:
        return json.loads(path.read_text(encoding="utf-8")).get("profile") == PROFILE
    except (OSError, ValueError, AttributeError):
        return False


def words_of_command(arguments: list[str] | None) -> str:
    """The command line that is running, to be written down."""
    given = sys.argv[1:] if arguments is None else arguments
    return shlex.join(["python", "-m", "fairseq_ext.importing", *given])
