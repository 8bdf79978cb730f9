"""What an experiment's section gives to the report, and how it puts figures and tables on the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from captions import caption
from claims import Claim
from page import Section


@dataclass
class Outcome:
    """What an experiment adds to the report. `data` goes into report.json below `experiments`; `anchors` gives, by the
    first two characters of a claim's id, the place in the page where it is shown."""

    section: Section
    claims: list[Claim] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    anchors: dict[str, str] = field(default_factory=dict)


def embed(section: Section, written: Sequence[Path], below: Path) -> None:
    """Embed the PNG files; the files' names are given relative to the report, whose folder of figures is `below`."""
    for path in written:
        if path.suffix == ".png":
            words = caption(path.stem)
            place = path.relative_to(below.parent).with_suffix("")
            section.figure(path, words.alt, words.text, f"{place.as_posix()}.png, .pdf")
