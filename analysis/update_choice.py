"""Chooses updates by a text of the recording's schedules: a comma list of every:N, log2 (0, 1, 2, 4, ...), at:U;U;..., window:A:B."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

SYNTAX = "a comma list of every:N, log2 (0, 1, 2, 4, ...), at:U;U;..., window:A:B"
PART = re.compile(r"every:([1-9]\d*)|(log2)|at:(\d+(?:;\d+)*)|window:(\d+):(\d+)")


def choose(updates: NDArray[np.int64], text: str) -> NDArray[np.int64]:
    """Those of `updates` (n,) that the text names; update 0 belongs to every text. Raises ValueError: no such text."""
    chosen = updates == 0
    for part in text.split(","):
        match = PART.fullmatch(part.strip())
        if match is None or (match[4] and int(match[4]) > int(match[5])):
            raise ValueError(f"expected {SYNTAX}, with N >= 1 and A <= B; found {part.strip()!r}")
        if match[1]:
            chosen |= updates % int(match[1]) == 0
        elif match[2]:
            chosen |= (updates & (updates - 1)) == 0
        elif match[3]:
            chosen |= np.isin(updates, [int(update) for update in match[3].split(";")])
        else:
            chosen |= (updates >= int(match[4])) & (updates <= int(match[5]))
    return updates[chosen]
