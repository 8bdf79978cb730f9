"""Writing results: ``.npz`` files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import json
import platform
from pathlib import Path
from typing import Any

import fairseq
import numpy as np
import torch

from ..errors import UserError
from ..version import __version__


def versions() -> dict[str, str]:
    """Versions of what computed the numbers."""
    return {
        "fairseq_ext": __version__,
        "fairseq": fairseq.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def write(path: Path, about: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write arrays and ``about`` (as JSON text) to a compressed ``.npz`` by way of a temporary file beside it.

    Raises:
        UserError: the file cannot be written.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            np.savez_compressed(file, about=np.array(json.dumps(about)), **arrays)
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise UserError(f"{path} cannot be written: {error}; make room, or give another --out") from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
