"""What all tests share. That this file exists puts `tests/` on the import path, where synthetic_dump.py stands."""

from __future__ import annotations

import pytest
from synthetic_dump import SyntheticDump, write_synthetic_dump


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> SyntheticDump:
    """One small dump for tests that only read: 600 rows of width 16, updates 0 to 40, two counted rows of zero norm."""
    path = tmp_path_factory.mktemp("runs") / "E1" / "base" / "seed1" / "dump.zarr"
    return write_synthetic_dump(path, zero_norm_rows=(30, 590))
