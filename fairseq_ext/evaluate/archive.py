"""Writing results: ``.npz`` files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..version import __version__


def versions() -> dict[str, str]:
    """Versions of what computed the numbers."""
    import fairseq  # here, so that writing arrays needs NumPy alone
    import torch

    return {
        "fairseq_ext": __version__,
        "fairseq": fairseq.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def write(
    path: Path,
    about: dict[str, Any],
    arrays: dict[str, np.ndarray],
    *,
    compressed: bool = True,
    advice: str = "make room, or give another --out",
) -> None:
    """Write arrays and ``about`` (as JSON text) to a ``.npz`` by way of a temporary file beside it.

    Args:
        path: the file.
        about: what JSON can hold.
        arrays: by name.
        compressed: whether to compress; weights and hidden states hardly get smaller and would take long.
        advice: what a user can do where there is no room.

    Raises:
        UserError: the file cannot be written.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            save = np.savez_compressed if compressed else np.savez
            save(file, about=np.array(json.dumps(about)), **arrays)
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise UserError(f"{path} cannot be written: {error}; {advice}") from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
