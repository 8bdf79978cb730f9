"""The configuration of a replay: that of the run, but for where things are written, what is recorded, and when it ends."""

from __future__ import annotations

import argparse
import copy
import dataclasses
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ..errors import UserError
from ..recording.config import RecordingConfig, Streams, check
from ..recording.schedule import Schedule

PACKAGE = Path(__file__).resolve().parents[1]
SCHEDULES = tuple(f"record_{field.name}" for field in dataclasses.fields(Streams))
# What a training writes beside its checkpoints, or asks of others, switched off; and how its log is written.
QUIET = {
    "log_file": None,
    "tensorboard_logdir": None,
    "wandb_project": None,
    "azureml_logging": False,
    "aim_repo": None,
    "aim_run_hash": None,
    "profile": False,
    "log_format": "json",
}


def options_of(attributes: dict[str, Any]) -> RecordingConfig:
    """The options with which a dump was recorded, from its root attributes."""
    known = {field.name for field in dataclasses.fields(RecordingConfig)}
    given = (attributes.get("recording") or {}).get("options") or {}
    return RecordingConfig(**{name: value for name, value in given.items() if name in known})


def streams_of(attributes: dict[str, Any]) -> Streams:
    """The schedules with which a dump was recorded."""
    streams = check(dataclasses.replace(options_of(attributes), record_dir="dump.zarr"))
    assert streams is not None
    return streams


def recording(attributes: dict[str, Any], given: dict[str, Any], first: int, last: int) -> dict[str, Any]:
    """The options of the replay's recording: the run's, with the given schedules added to its own.

    Args:
        attributes: of the run's dump.
        given: options by their names in :class:`RecordingConfig`; a schedule ``none`` switches its stream off.
        first: first update of the window; without ``record_snapshots`` (or ``record_windows``) every table from here to ``last`` is recorded.
        last: of the window.

    Raises:
        UserError: a given schedule is none.
    """
    options = dataclasses.asdict(options_of(attributes))
    whole = (
        {} if {"record_snapshots", "record_windows"} & given.keys() else {"record_snapshots": f"window:{first}:{last}"}
    )
    added = {**whole, **given}
    for name, value in added.items():
        if name in SCHEDULES:
            asked = Schedule.parse(str(value), f"--{name.replace('_', '-')}")
            own = Schedule.parse(str(options.get(name, "none")))
            value = f"{own.text},{asked.text}" if asked and own else asked.text
        options[name] = value
    return {n: v for n, v in options.items() if n.startswith("record_") and n not in ("record_dir", "record_overwrite")}


def build(
    recorded: dict[str, Any], attributes: dict[str, Any], restore: Path | None, last: int, data: Path | None
) -> DictConfig:
    """The configuration of a replay, without where it writes and records (:func:`place`).

    Args:
        recorded: the run's whole configuration, from a checkpoint or from the dump's attribute ``config``.
        attributes: of the run's dump.
        restore: the checkpoint to start from; ``None``: the run's own beginning.
        last: the last update.
        data: the corpus, where it is no longer where the run had it.

    Raises:
        UserError: the run is of a kind that cannot be replayed.
    """
    config = copy.deepcopy(recorded)
    model = config.get("model")
    if isinstance(model, dict) and "arch" in model:  # a Namespace before JSON
        config["model"] = argparse.Namespace(**model)
    sections = ("common", "checkpoint", "dataset", "distributed_training", "optimization", "task", "lr_scheduler")
    common, checkpoint, dataset, distributed, optimization, task, scheduler = (config[name] for name in sections)
    _refuse(common, distributed)
    if common.get("user_dir") and Path(str(common["user_dir"])).name == PACKAGE.name:
        common["user_dir"] = None  # this package, which is imported already
    common.update(QUIET)
    checkpoint.update(no_save=True, patience=-1, write_checkpoints_asynchronously=False)
    if restore is not None:
        checkpoint.update(
            restore_file=str(restore), finetune_from_model=None, continue_once=None, optimizer_overrides="{}",
            reset_optimizer=False, reset_lr_scheduler=False, reset_meters=False, reset_dataloader=False,
        )  # fmt: skip
    if scheduler.get("_name") != "reduce_lr_on_plateau":  # no other schedule looks at the validation
        dataset["disable_validation"] = True
    optimization["stop_time_hours"] = 0
    if str(task.get("sample_pool") or "none") == "none" and 0 < (optimization.get("max_update") or 0) < last:
        optimization["max_update"] = (
            last  # a process that was stopped early; with sampling its length decides the draws
        )
    _fit_precision(task, (attributes.get("run") or {}).get("precision"))
    if data is not None:
        task["data"] = str(data)
    return OmegaConf.create(config, flags={"allow_objects": True})


def place(config: DictConfig, folder: Path, options: dict[str, Any]) -> None:
    """Let everything be written below ``folder``."""
    config.checkpoint.save_dir = str(folder / "checkpoints")
    for name, value in {**options, "record_dir": str(folder / "dump.zarr"), "record_overwrite": False}.items():
        config.task[name] = value


def _refuse(common: dict[str, Any], distributed: dict[str, Any]) -> None:
    ranks = int(distributed.get("distributed_world_size") or 1)
    if ranks > 1:
        raise UserError(
            f"the run was trained on {ranks} ranks, and a replay runs in one process; train it again on {ranks} ranks with a denser --record-* "
            "and another --save-dir and --record-dir"
        )
    if int(common.get("model_parallel_size") or 1) > 1 or common.get("quantization_config_path") or common.get("tpu"):
        raise UserError("the run was trained model-parallel, quantised or on a TPU; a replay can do none of these")


def loses_masters(recorded: dict[str, Any]) -> str | None:
    """The option for which the run's checkpoints do not hold the weights that were trained (:mod:`fairseq_ext.recording.masters`), if any."""
    return next((f"--{name}" for name in ("fp16", "bf16") if (recorded.get("common") or {}).get(name)), None)


def _fit_precision(task: dict[str, Any], precision: str | None) -> None:
    """Take the precision that ``--autocast auto`` found then, whatever this machine has; drop what is no option."""
    task.pop("autocast_used", None)
    if str(task.get("autocast")) == "auto" and precision in ("fp32", "bf16"):
        task["autocast"] = "bf16" if precision == "bf16" else "off"
