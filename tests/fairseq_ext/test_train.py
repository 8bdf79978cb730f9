"""Real training, recorded: what is written equals brute force, and recording changes nothing."""

from __future__ import annotations

import pytest
from running import Run, assert_whole

pytestmark = pytest.mark.train


def test_dump_is_whole(recorded: Run) -> None:
    found = assert_whole(recorded.dump)
    print(recorded.finished.stdout[-3000:])
    print({k: v.shape for k, v in found.items()})
