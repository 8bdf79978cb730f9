"""Reports of the tests are measured in this process, so that what is patched here is patched there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_process() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("report.usual_jobs", lambda: 1)
        yield
