"""The weights of a model's folder by name: safetensors, or torch's own files read by its safe loading. Shards are one set."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import UserError
from ..evaluate.loading import one_line
from .pickles import read_pickle

DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
CONVERT = "save the model again as safetensors (with transformers: model.save_pretrained(FOLDER))"
FOREIGN = {  # files that are not read, and what to do
    ".gguf": "GGUF holds quantised weights under other names; get the original model.safetensors",
    ".onnx": f"an ONNX file is a program, whose weights have no fixed names; get model.safetensors, or {CONVERT}",
    ".h5": f"TensorFlow's weights are not read; get model.safetensors, or {CONVERT}",
    ".msgpack": f"Flax's weights are not read; get model.safetensors, or {CONVERT}",
    ".ckpt": f"such a checkpoint is not read; get model.safetensors, or {CONVERT}",
    ".index": f"TensorFlow's weights are not read; get model.safetensors, or {CONVERT}",
    ".pb": f"TensorFlow's weights are not read; get model.safetensors, or {CONVERT}",
    ".npz": f"NumPy's archives are not read; get model.safetensors, or {CONVERT}",
    ".pt": f"a pickled file of this name is not read; get model.safetensors, or {CONVERT}; fairseq's checkpoints are imported with the command fairseq",
    ".pth": f"a pickled file of this name is not read; get model.safetensors, or {CONVERT}",
}


@dataclass(frozen=True)
class Entry:
    """A tensor in a file: its shape, and its type as torch names it (``float16``) or, where torch has none for it, as the file does."""

    path: Path
    shape: tuple[int, ...]
    dtype: str

    @property
    def floating(self) -> bool:
        return self.dtype in DTYPES.values()


class Weights:
    """A model's tensors. ``entries`` gives them by name; :meth:`get` reads one."""

    def __init__(self, files: list[Path], entries: dict[str, Entry], pickled: dict[Path, dict[str, Tensor]]) -> None:
        self.files, self.entries, self._pickled = files, entries, pickled

    def get(self, name: str) -> Tensor:
        """A tensor as it is stored, on the CPU."""
        path = self.entries[name].path
        if path in self._pickled:
            return self._pickled[path][name].detach()
        with safe_open(path, framework="pt") as file:
            return file.get_tensor(name)

    def get_float(self, name: str) -> Tensor:
        """A tensor in float32, contiguous.

        Raises:
            UserError: it is not of floating-point numbers (quantised weights are not).
        """
        if not self.entries[name].floating:
            raise UserError(
                f"expected floating-point numbers in {name} of {self.entries[name].path}; found {self.entries[name].dtype}: quantised weights "
                "are not imported; give the model before quantisation"
            )
        return self.get(name).to(torch.float32).contiguous()


def open_weights(place: Path) -> Weights:
    """Find and open the weights of a model's folder, or of one ``*.safetensors`` file.

    Raises:
        UserError: there are none, they are damaged, or of a kind that is not read.
    """
    if place.is_file():
        if place.suffix != ".safetensors":
            raise UserError(f"{place}: {_foreign(place) or 'expected a folder or a .safetensors file'}")
        return _open([place])
    if not place.is_dir():
        raise UserError(
            f"expected a model's folder or a .safetensors file at {place}; found nothing there; check the path"
        )
    for stem, suffix in (("model", "safetensors"), ("pytorch_model", "bin")):
        whole, index = place / f"{stem}.{suffix}", place / f"{stem}.{suffix}.index.json"
        if whole.is_file():
            return _open([whole])
        if index.is_file():
            return _open(_shards(index))
        if suffix == "safetensors":
            others = sorted(place.glob("*.safetensors"))
            if len(others) == 1:
                return _open(others)
            if others:
                names = ", ".join(path.name for path in others)
                raise UserError(
                    f"expected model.safetensors or model.safetensors.index.json in {place}; found {names}; give the path of the one to import"
                )
    found = sorted(path for path in place.rglob("*") if _foreign(path))
    if found:
        raise UserError(f"{place} holds {found[0].relative_to(place)} and no model.safetensors: {_foreign(found[0])}")
    there = ", ".join(sorted(path.name for path in place.iterdir())[:8]) or "nothing"
    raise UserError(f"expected model.safetensors in {place}; found {there}; give a model's folder")


def _foreign(path: Path) -> str | None:
    return FOREIGN.get(path.suffix.lower())


def _shards(index: Path) -> list[Path]:
    """The files that an index of shards names, in order.

    Raises:
        UserError: it is no index, or names a file that is not beside it.
    """
    try:
        named = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(named.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{index}: expected the index of a model's shards (weight_map); it cannot be read ({one_line(error)})"
        ) from error
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or not (index.parent / name).is_file():
            raise UserError(
                f"{index} names the shard {str(name)[:80]!r}; expected a file beside it; found none; get the whole model"
            )
    shards = [index.parent / name for name in names]
    found = {name: entry.path.name for name, entry in _open(shards).entries.items()}
    missing = [name for name, shard in named.items() if found.get(name) != shard]
    if missing:
        raise UserError(
            f"{index}: expected {missing[0]} in {named[missing[0]]}; found none there; get the whole model again"
        )
    return shards


def _open(files: list[Path]) -> Weights:
    entries: dict[str, Entry] = {}
    pickled: dict[Path, dict[str, Tensor]] = {}
    for path in files:
        if path.suffix == ".safetensors":
            added = _list(path)
        else:
            pickled[path] = _tensors(path)
            added = {
                name: Entry(path, tuple(value.shape), str(value.dtype).removeprefix("torch."))
                for name, value in pickled[path].items()
            }
        twice = sorted(set(entries) & set(added))
        if twice:
            raise UserError(f"{path}: {twice[0]} stands in another shard as well; get the model again")
        entries |= added
    if not entries:
        raise UserError(f"{files[0]}: expected tensors; found none; give a model's weights")
    return Weights(files, entries, pickled)


def _list(path: Path) -> dict[str, Entry]:
    """The tensors of a safetensors file by its header, whose sizes the library checks against the file's.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
            return {
                name: Entry(path, tuple(part.get_shape()), DTYPES.get(part.get_dtype(), part.get_dtype()))
                for name, part in slices.items()
            }
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read as safetensors ({one_line(error)}): it is cut short, damaged or another kind of file; get it again"
        ) from error


def _tensors(path: Path) -> dict[str, Tensor]:
    content: Any = read_pickle(path, "a model's weights")
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected tensors by name; found a {type(content).__name__}; give a model's weights")
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
