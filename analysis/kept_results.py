"""Results that a stopped run of `snapshots.py` has: a file an update in one folder, each written in one rename."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from cli import write_text
from dump import Table
from snapshot_measures import Measured

CHANGING = ("progress", "pruned")  # root attributes that do not change what a snapshot holds
FORM = 1  # of the numbers: raised where their definition or their set changes


class KeptResults:
    """The results kept in `folder`. Those of another recording, table or form are not taken for this one's."""

    def __init__(self, folder: Path, table: Table) -> None:
        self.folder = folder
        attrs = {name: value for name, value in table.dump.attrs.items() if name not in CHANGING}
        identity = [FORM, attrs, table.name, table.rows, table.dim]
        self._identity = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()

    def load(self, update: int, first: int, previous: int | None) -> Measured | None:
        """The result of `update`; None where it is not kept, is of something else, or cannot be read.

        `first` and `previous` are the dump's first snapshot and the one listed before: what else the result depends on.
        """
        try:
            content = json.loads(self._file(update).read_text(encoding="utf-8"))
            if content["of"] == self._of(update, first, previous):
                return Measured(update, content["numbers"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return None

    def save(self, result: Measured, first: int, previous: int | None) -> None:
        """Keep a result. Raises OSError."""
        content = {"of": self._of(result.update, first, previous), "numbers": result.numbers}
        write_text(self.folder, self._file(result.update).name, json.dumps(content) + "\n")

    def clear(self) -> None:
        """Delete the folder: the whole result has been written."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _of(self, update: int, first: int, previous: int | None) -> dict[str, Any]:
        return {"recording": self._identity, "update": update, "first": first, "previous": previous}

    def _file(self, update: int) -> Path:
        return self.folder / f"{update}.json"
