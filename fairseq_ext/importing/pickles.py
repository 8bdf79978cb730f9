"""Reading files that torch pickled, without running anything that is in them."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from ..compat import is_whole  # its package allows, by name, the classes that fairseq's checkpoints hold
from ..errors import UserError
from ..evaluate.loading import one_line


def read_pickle(path: Path, what: str) -> Any:
    """The content of a file written by ``torch.save``, of its zip format or the older one, on the CPU.

    torch's safe loading builds tensors, plain containers and the classes that ``compat.SAFE_GLOBALS`` names, and nothing else. Tensors of the
    zip format stay in the file until they are used.

    Args:
        path: the file.
        what: what it should be, for the message.

    Raises:
        UserError: there is none, it is cut short or foreign, or it holds a class that is not allowed.
    """
    if not path.is_file():
        raise UserError(f"expected {what} at {path}; found no file; check the path")
    zipped = zipfile.is_zipfile(path)
    begins_like_one = path.open("rb").read(2) == b"PK"
    if (zipped or begins_like_one) and not is_whole(path):
        raise UserError(f"{path} is broken (cut short, or a copy was interrupted); get it again")
    try:
        return torch.load(path, map_location="cpu", mmap=zipped or None, weights_only=True)
    except Exception as error:  # unpickling raises nearly anything
        refused = re.search(r"GLOBAL (\S+)", str(error))  # torch's own text goes on to say how to load it unsafely
        if refused:
            raise UserError(
                f"{path} cannot be read as {what}: it holds a {refused[1]}, which torch's safe loading refuses, and nothing of it was run; "
                "get the model as safetensors, or from someone who saved weights alone"
            ) from error
        unsafe = "weights_only" in str(error) or "Weights only" in str(error)
        said = "it is not a file of torch's, or it holds more than weights" if unsafe else one_line(error)
        raise UserError(f"{path} cannot be read as {what} ({said}); give a file that torch saved") from error
