"""A translation run's folder: its checkpoints, averaged where asked for, its model and its corpus."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fairseq import tasks
from omegaconf import DictConfig
from torch import nn

from ..errors import UserError
from ..evaluate.loading import dump_corpus, prepare_task_config, read_checkpoint, read_run
from ..recording import sharing
from ..recording.corpus import combined, sha256
from ..recording.sides import pair_split, require_pairs
from ..tasks import translation  # noqa: F401  (registers the task, as --user-dir would)

TASKS = ("embedding_translation", "translation")
TABLES = {"none": 3, "decoder": 2, "all": 1}  # of an arm with this name
SHAPE = (
    "encoder_layers",
    "decoder_layers",
    "encoder_embed_dim",
    "decoder_embed_dim",
    "encoder_ffn_embed_dim",
    "decoder_ffn_embed_dim",
    "encoder_normalize_before",
    "decoder_normalize_before",
    "encoder_learned_pos",
    "decoder_learned_pos",
    "layernorm_embedding",
    "max_source_positions",
    "max_target_positions",
)


@dataclass(frozen=True)
class Trained:
    """A trained translation model.

    Attributes:
        folder: the run's.
        checkpoints: files it is made of, several where they are averaged.
        path: the file with the weights.
        update: of the last checkpoint.
        cfg: its whole configuration.
        model, task: fairseq's.
        data: the corpus's folder.
        arm: by ``run.json``; ``None`` without.
    """

    folder: Path
    checkpoints: tuple[Path, ...]
    path: Path
    update: int
    cfg: DictConfig
    model: nn.Module
    task: Any
    data: Path
    arm: str | None

    @property
    def languages(self) -> tuple[str, str]:
        return str(self.task.cfg.source_lang), str(self.task.cfg.target_lang)

    def tables(self) -> dict[str, list[str]]:
        return sharing.tables_of(self.model, {len(self.task.src_dict), len(self.task.tgt_dict)})


def update_of(path: Path) -> int:
    """The update in a checkpoint's name, such as ``checkpoint_3_1200.pt``; -1 without."""
    found = re.fullmatch(r"checkpoint_\d+_(\d+)\.pt", path.name)
    return int(found[1]) if found else -1


def updates_made(state: dict[str, Any]) -> int:
    """The updates that a checkpoint's model was trained for."""
    return int((state.get("optimizer_history") or [{}])[-1].get("num_updates", 0))


def newest(folder: Path, number: int) -> list[Path]:
    """The newest so many checkpoints of a run that were kept by update, with the last one, which fairseq does not keep so at an epoch's end.

    Raises:
        UserError: there are fewer.
    """
    there = sorted((p for p in (folder / "checkpoints").glob("checkpoint_*_*.pt") if update_of(p) >= 0), key=update_of)
    last = folder / "checkpoints" / "checkpoint_last.pt"
    if last.is_file() and updates_made(read_checkpoint(last)) not in map(update_of, there):
        there.append(last)
    if len(there) < number:
        raise UserError(
            f"expected {number} checkpoints to average in {folder / 'checkpoints'} (checkpoint_EPOCH_UPDATE.pt); found {len(there)}; "
            "train with --save-interval-updates and --keep-interval-updates, or give a smaller --average"
        )
    return there[-number:]


def average(paths: Sequence[Path], target: Path) -> None:
    """Write a checkpoint whose weights are the means of others', computed in 64 bits; all else is the last one's, without its optimiser.

    Raises:
        UserError: they do not have the same parameters, or the file cannot be written.
    """
    states = [read_checkpoint(path) for path in paths]
    names = [set(state["model"]) for state in states]
    if any(entry != names[0] for entry in names):
        raise UserError(
            f"expected checkpoints of one model to average; {paths[0]} and another one differ in parameters"
        )
    last = dict(states[-1])
    mean = {}
    for name, value in last["model"].items():
        values = [state["model"][name] for state in states]
        same = value.is_floating_point() and all(entry.shape == value.shape for entry in values)
        mean[name] = sum(entry.double() for entry in values).div(len(values)).to(value.dtype) if same else value
    last["model"] = mean
    last.pop("last_optimizer_state", None)
    temporary = target.with_name(f"{target.name}.tmp")
    try:
        torch.save(last, temporary)
        temporary.replace(target)
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error}; make room") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def load(folder: Path, checkpoint: Path | None = None, data: Path | None = None, averaged: int = 1) -> Trained:
    """Load a run's model, which takes no part in training any more.

    Args:
        folder: the run's.
        checkpoint: default ``checkpoints/checkpoint_last.pt``.
        data: the corpus; default that of the training.
        averaged: so many of the newest checkpoints are averaged into ``checkpoints/checkpoint_average.pt``; 1: none.

    Raises:
        UserError: no run or checkpoint there, it is broken, no translation's or another arm's, or the corpus is missing or has another dictionary.
    """
    if not folder.is_dir():
        raise UserError(f"expected the folder of a run (with checkpoints/); found no folder {folder}")
    if checkpoint is None and averaged > 1:
        parts = newest(folder, averaged)
        path = folder / "checkpoints" / "checkpoint_average.pt"
        average(parts, path)
    else:
        path = checkpoint or folder / "checkpoints" / "checkpoint_last.pt"
        parts = [path]
    state = read_checkpoint(path)
    cfg = state["cfg"]
    name = str(cfg.task.get("_name"))
    if name not in TASKS:
        raise UserError(f"{path}: expected a translation model (task {' or '.join(TASKS)}); found task {name}")
    prepare_task_config(cfg.task, data)
    corpus = require_pairs(str(cfg.task.data), cfg.task.source_lang, cfg.task.target_lang)
    task = tasks.setup_task(cfg.task, from_checkpoint=True)
    _require_rows(state["model"], task, corpus)
    _require_corpus(folder, task, corpus)
    model = task.build_model(cfg.model, from_checkpoint=True)
    try:
        model.load_state_dict(state["model"], strict=True, model_cfg=cfg.model)
    except RuntimeError as error:
        raise UserError(f"{path} does not hold the model that its configuration describes ({error})") from error
    model.float().eval()
    arm = read_run(folder).get("arm") or (folder.parent.name if folder.name.startswith("seed") else None)
    trained = Trained(folder, tuple(parts), path, updates_made(state), cfg, model, task, corpus, arm)
    _require_arm(trained)
    return trained


def _require_rows(weights: dict[str, torch.Tensor], task: Any, corpus: Path) -> None:
    for name, dictionary in (("encoder", task.src_dict), ("decoder", task.tgt_dict)):
        table = weights.get(f"{name}.embed_tokens.weight")
        if table is not None and len(table) != len(dictionary):
            raise UserError(
                f"the model's {name} has a table of {len(table)} rows but the dictionary in {corpus} gives {len(dictionary)}: it was trained "
                "with another dictionary; give the corpus it was trained on by --data"
            )


def _require_corpus(folder: Path, task: Any, corpus: Path) -> None:
    """Compare dictionary and training split with those that the run's dump names, if there is a dump.

    Raises:
        UserError: they are others; so the vocabulary would be another one, or the test text in what the model was trained on.
    """
    known = dump_corpus(folder)
    languages = (str(task.cfg.source_lang), str(task.cfg.target_lang))
    halves = pair_split(corpus, "train", *languages)
    files = {
        "dictionary": [corpus / f"dict.{code}.txt" for code in languages],
        "train": [half.with_name(f"{half.name}.bin") for half in halves.values()],
    }
    for name, paths in files.items():
        expected = known.get(f"{name}_sha256")
        if expected and expected != combined([sha256(path) for path in paths]):
            what = "dictionary" if name == "dictionary" else "training split"
            raise UserError(
                f"{corpus} does not have the {what} that the run was trained with (its dump names another hash); give the corpus it was "
                "trained on by --data, or train again"
            )


def _require_arm(trained: Trained) -> None:
    require_arm(trained.tables(), trained.arm, trained.path)


def require_arm(found: dict[str, list[str]], arm: str | None, path: Path) -> None:
    """Refuse a model that does not share what its arm does.

    Raises:
        UserError: it has another number of tables than an arm of this name.
    """
    expected = TABLES.get(str(arm))
    if expected is not None and len(found) != expected:
        raise UserError(
            f"{path}: the arm {arm} has {expected} table{'s' * (expected > 1)}; this checkpoint has {sharing.words(found)}: "
            "it is another arm's; bring the run's own back, or train the arm again"
        )


def model_card(trained: Trained) -> dict[str, Any]:
    """The content of ``model.json``: parameters, tied ones once, and what their number follows from."""
    return card_of(trained.model, trained.cfg.model, trained.tables(), len(trained.task.src_dict))


def card_of(model: nn.Module, settings: Any, found: dict[str, list[str]], rows: int) -> dict[str, Any]:
    """The same of any of fairseq's transformers.

    Args:
        settings: the model's options.
        found: its tables with their aliases.
        rows: V of the source dictionary.
    """
    parameters = dict(model.named_parameters())  # each storage once: tied modules share the very parameter
    state = model.state_dict(keep_vars=True)
    shape = {name: getattr(settings, name, None) for name in SHAPE}
    return {
        "format": "embedding-model",
        "format_version": 1,
        "arch": str(getattr(settings, "arch", None) or getattr(settings, "_name", None)),
        "parameters": sum(p.numel() for p in parameters.values()),
        "tables": [
            {"name": name, "aliases": aliases, "rows": state[name].shape[0], "dim": state[name].shape[1]}
            for name, aliases in found.items()
        ],
        "shape": {k: v if isinstance(v, int | bool | str) else None for k, v in shape.items()} | {"rows": rows},
        "by_name": {name: p.numel() for name, p in parameters.items()},
    }
