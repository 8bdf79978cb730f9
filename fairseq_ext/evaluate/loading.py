"""Loading a trained run from its folder: safely, without its recording, ready for evaluation."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq import tasks
from fairseq.tasks import TASK_DATACLASS_REGISTRY
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import nn

from ..compat import is_whole
from ..errors import UserError
from ..recording.corpus import count_tokens, require_corpus, require_dictionary, sha256, unigram_entropy_bits
from ..step_config import StepConfig
from ..tasks.masked_lm import EmbeddingMaskedLMConfig  # registers the task, as --user-dir would
from .archive import versions

logger = logging.getLogger(__name__)
TASKS = ("embedding_masked_lm", "masked_lm")
FASTER = (*StepConfig.__annotations__, *EmbeddingMaskedLMConfig.__annotations__)  # a faster step is of no use here


@dataclass(frozen=True)
class Trained:
    """A trained model with what it was trained by.

    Attributes:
        folder: the run's folder.
        checkpoint: the file it was loaded from.
        update: updates that it was trained for.
        model: in evaluation mode, 32 bits, on ``device``.
        config: fairseq's configuration of the model, from the checkpoint.
        task: fairseq's task, not recording.
        data: the corpus's folder.
        about: experiment, arm and seed from ``run.json``, as far as they are there.
    """

    folder: Path
    checkpoint: Path
    update: int
    model: nn.Module
    config: Any
    task: Any
    data: Path
    device: torch.device
    about: dict[str, Any]

    @property
    def longest(self) -> int:
        """Tokens, ``<s>`` and ``</s>`` included, that an example may have."""
        return int(min(self.task.max_positions(), self.model.max_positions()))

    def blocks(self, split: str) -> Any:
        """The split's examples as token rows, ``<s>`` first; the index is the example's number.

        Raises:
            UserError: the split is missing, cut short or of another dictionary.
        """
        require_dictionary(self.data / split, len(self.task.dictionary) - 1)  # the mask is no token of a text
        if hasattr(self.task, "block_dataset"):
            return self.task.block_dataset(split)
        return self.task._load_dataset_split(split, 1, False)

    def corpus(self) -> dict[str, Any]:
        """Hashes of the corpus, and the unigram entropy of the training split's real tokens.

        The hashes are of the files themselves, so they equal those in ``corpus.json`` unless a file was changed afterwards.
        """
        counts, _ = count_tokens(self.data / "train", len(self.task.dictionary) - 1)
        counts[: self.task.dictionary.nspecial] = 0
        return {
            "data": str(self.data),
            "dictionary_sha256": sha256(self.data / "dict.txt"),
            "train_sha256": sha256(self.data / "train.bin"),
            "valid_sha256": sha256(self.data / "valid.bin"),
            "unigram_entropy_bits": unigram_entropy_bits(counts),
        }

    def facts(self) -> dict[str, Any]:
        """The entries of ``about`` that all files made of a run share: checkpoint, update, run, corpus, and what computed the numbers."""
        return {
            "checkpoint": self.checkpoint.name,
            "update": self.update,
            **self.about,
            **self.corpus(),
            "device": self.device.type,
            "precision": "fp32",
            "versions": versions(),
        }


def load(folder: Path, checkpoint: Path | None, data: Path | None, device: torch.device) -> Trained:
    """Load a run's model.

    Args:
        folder: the run's folder.
        checkpoint: a checkpoint file; default ``checkpoints/checkpoint_last.pt`` in the folder.
        data: the corpus; default that of the training.
        device: where the model shall be.

    Raises:
        UserError: no run or checkpoint there, it is broken or no masked LM's, the corpus is missing or has another dictionary.
    """
    if not folder.is_dir():
        raise UserError(f"expected the folder of a run (with checkpoints/); found no folder {folder}")
    path = checkpoint or folder / "checkpoints" / "checkpoint_last.pt"
    state = read_checkpoint(path)
    cfg = state["cfg"]
    name = str(cfg.task.get("_name"))
    if name not in TASKS:
        raise UserError(f"{path}: expected a masked language model (task {' or '.join(TASKS)}); found task {name}")
    prepare_task_config(cfg.task, data)
    trained_on = Path(str(cfg.task.data).split(os.pathsep)[0])
    if data is None and not trained_on.is_dir():
        raise UserError(
            f"the run's corpus was in {trained_on}, where no folder is now; run from the folder that training ran from, or give --data DIR"
        )
    corpus = require_corpus(str(data or trained_on))
    require_corpus(str(corpus), "valid")
    task = tasks.setup_task(cfg.task, from_checkpoint=True)
    require_same_dictionary(state["model"], task, corpus, folder)
    model = task.build_model(cfg.model, from_checkpoint=True)
    try:
        model.load_state_dict(state["model"], strict=True, model_cfg=cfg.model)
    except RuntimeError as error:
        raise UserError(
            f"{path} does not hold the model that its configuration describes ({one_line(error)})"
        ) from error
    model.float().eval().to(device)
    history = state.get("optimizer_history") or [{}]
    return Trained(
        folder=folder,
        checkpoint=path,
        update=int(history[-1].get("num_updates", 0)),
        model=model,
        config=cfg.model,
        task=task,
        data=corpus,
        device=device,
        about=read_run(folder),
    )


def one_line(error: Exception, width: int = 200) -> str:
    """A library's message on one line of at most ``width`` characters, or the name of its class if it says nothing."""
    said = re.sub(r"\x1b\[[0-9;]*m", "", str(error))  # torch writes some words in bold
    return textwrap.shorten(said or type(error).__name__, width, placeholder=" ...")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content with its configuration, read by torch's safe loading. Tensors stay in the file until they are used.

    Raises:
        UserError: there is none, it is broken, or it is not fairseq's.
    """
    if not path.is_file():
        others = ", ".join(sorted(p.name for p in path.parent.glob("*.pt"))) if path.parent.is_dir() else ""
        raise UserError(
            f"expected a checkpoint {path}; found none (in its folder: {others or 'no checkpoint'}); "
            "train the run to its end, or give --checkpoint FILE"
        )
    if not is_whole(path):
        raise UserError(
            f"{path} is broken (cut short, or a copy was interrupted); give another one of its folder by --checkpoint"
        )
    try:
        state = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # unpickling raises nearly anything
        refused = re.search(r"GLOBAL (\S+)", str(error))  # torch's own text goes on to say how to load it unsafely
        if refused:
            raise UserError(
                f"{path} cannot be read as a checkpoint of fairseq: it holds a {refused[1]}, which torch's safe loading refuses; "
                "give a checkpoint that fairseq wrote"
            ) from error
        raise UserError(f"{path} cannot be read as a checkpoint of fairseq ({one_line(error)})") from error
    if not isinstance(state, dict) or not state.get("cfg") or "model" not in state:
        raise UserError(f"{path}: expected a checkpoint of fairseq with model and configuration; found another file")
    state["cfg"] = OmegaConf.create(state["cfg"], flags={"allow_objects": True})
    if "task" not in state["cfg"] or "model" not in state["cfg"]:
        raise UserError(f"{path}: expected the configuration of a task and a model in it; found none")
    return state


def prepare_task_config(config: DictConfig, data: Path | None) -> None:
    """Put the task's options for recording and for a faster step back to their defaults, so that no dump is touched; set the corpus."""
    kind = TASK_DATACLASS_REGISTRY[config._name]
    defaults = {f.name: f.default for f in dataclasses.fields(kind) if f.default is not dataclasses.MISSING}
    with open_dict(config):
        for name in config:
            if str(name).startswith("record_") or name in FASTER:
                config[name] = defaults.get(str(name))
        if data is not None:
            config.data = str(data)


def require_same_dictionary(weights: dict[str, torch.Tensor], task: Any, corpus: Path, folder: Path) -> None:
    """Check that the corpus has the dictionary that the model was trained with, by rows, and by hash if there is a dump.

    Raises:
        UserError: it has another one.
    """
    rows = {len(t) for name, t in weights.items() if name.endswith("embed_tokens.weight")}
    if rows and rows != {len(task.dictionary)}:
        raise UserError(
            f"the model has a table of {max(rows)} rows but {corpus / 'dict.txt'} gives {len(task.dictionary)}: it was trained with another "
            "dictionary; give the corpus it was trained on by --data"
        )
    known = dump_corpus(folder).get("dictionary_sha256")
    if known and known != sha256(corpus / "dict.txt"):
        raise UserError(
            f"{corpus / 'dict.txt'} is not the dictionary that the run was trained with (its dump names another hash); "
            "give the corpus it was trained on by --data"
        )


def dump_corpus(folder: Path) -> dict[str, Any]:
    """The attribute ``corpus`` of the run's dump; empty without a dump."""
    try:
        attributes = json.loads((folder / "dump.zarr" / "zarr.json").read_text(encoding="utf-8"))["attributes"]
        return dict(attributes.get("corpus") or {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder / 'dump.zarr'}: expected a dump; its zarr.json cannot be read ({error})") from error


def read_run(folder: Path) -> dict[str, Any]:
    """Experiment, arm and seed from ``run.json``, those that it has; without the file nothing."""
    path = folder / "run.json"
    if not path.is_file():
        return {}
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return {name: known[name] for name in ("experiment", "arm", "seed") if name in known}
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: expected a JSON object; it cannot be read ({error})") from error


def token_rows(blocks: Any, example: int) -> np.ndarray:
    """int64 [T], the rows of an example, ``<s>`` first."""
    return blocks[example].numpy()
