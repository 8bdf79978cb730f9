"""The variables of the training scripts: what a stage gives, and the defaults that stand in the script and in the one that it calls."""

from __future__ import annotations

import re
from pathlib import Path

DEFAULT = re.compile(r"\b([A-Z][A-Z_]*)=\$\{\1:-([^}]*)\}")
CALLED = re.compile(r"^exec bash (scripts/\w+\.sh)", re.MULTILINE)


def variables(root: Path, script: str, given: dict[str, str]) -> dict[str, str]:
    """All variables of `script` (relative to `root`) by name, those `given` first, then its defaults, then those of the script it calls."""
    text = (root / script).read_text(encoding="utf-8")
    called = CALLED.search(text)
    below = variables(root, called[1], {}) if called else {}
    return {**below, **dict(DEFAULT.findall(text)), **given}
