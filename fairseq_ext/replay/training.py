"""Training a window of a run again: fairseq's own trainer and epoch, stopped after the window's last update."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from fairseq import checkpoint_utils, tasks, utils
from fairseq.dataclass.initialize import add_defaults
from fairseq.logging import metrics
from fairseq.trainer import Trainer
from fairseq_cli import train
from omegaconf import DictConfig

from .. import compat
from ..errors import UserError
from ..tasks import masked_lm, translation  # noqa: F401  (registers the tasks, as --user-dir would)


class _Reached(Exception):
    """The last update was made."""


class _Until(Trainer):
    """fairseq's trainer that ends its loop after an update, whatever the configuration says of the run's length."""

    last: int = 0

    def train_step(self, samples: Any, raise_oom: bool = False) -> Any:
        output = super().train_step(samples, raise_oom)
        if self.get_num_updates() >= self.last:
            raise _Reached
        return output


def train_until(config: DictConfig, last: int, prepare: Callable[[Any], None]) -> None:
    """Train as ``fairseq_cli.train.main`` does, in this process, up to and with update ``last``; the run's length stays the configuration's.

    Args:
        config: the whole configuration. Nothing is saved if it says ``no_save``.
        last: the last update.
        prepare: called with the task once the model is built.

    Raises:
        UserError: the recording cannot be made, or the training ends by itself before ``last``.
    """
    utils.import_user_module(config.common)
    add_defaults(config)
    metrics.reset()
    np.random.seed(config.common.seed)  # noqa: NPY002  (as fairseq does)
    utils.set_torch_seed(config.common.seed)
    task = tasks.setup_task(config.task)
    model = task.build_model(config.model)
    criterion = task.build_criterion(config.criterion)
    prepare(task)
    if not config.dataset.disable_validation:
        for split in str(config.dataset.valid_subset).split(","):
            task.load_dataset(split, combine=False, epoch=1)
    trainer = _Until(config, task, model, criterion)
    trainer.last = last
    _, epochs = checkpoint_utils.load_checkpoint(
        config.checkpoint, trainer, disable_iterator_cache=task.has_sharded_data("train")
    )
    try:
        _train_epochs(config, task, trainer, epochs)
    except _Reached:
        return
    finally:
        task.recorder.close()
        compat.end_loading_threads()
    raise UserError(
        f"expected updates up to {last:,}; the training ended by itself after update {trainer.get_num_updates():,}"
    )


def _train_epochs(config: DictConfig, task: Any, trainer: Trainer, epochs: Any) -> None:
    """fairseq's loop over the epochs."""
    sharded = task.has_sharded_data("train")
    rate = trainer.get_lr()
    while (
        epochs.next_epoch_idx <= (config.optimization.max_epoch or math.inf) and rate > config.optimization.stop_min_lr
    ):
        losses, stops = train.train(config, trainer, task, epochs)
        if stops:
            return
        rate = trainer.lr_step(epochs.epoch, losses[0])
        epochs = trainer.get_train_iterator(epochs.next_epoch_idx, load_dataset=sharded, disable_iterator_cache=sharded)
