"""What fairseq needs to run on current numpy and torch, and to survive a kill. Nothing else is patched.

Each item is checked before it is applied and has a test that fails on stock fairseq:

1. ``numpy.compat`` is gone in numpy 2, but fairseq's token-block and language-pair datasets ask for ``np.compat.long``.
2. ``torch.load`` refuses, when training resumes, the classes that fairseq puts into a checkpoint (``argparse.Namespace``) and
   those that rank 0 sends to the other ranks (omegaconf's containers, fairseq's marks of a tensor's place). They are allowed by name;
   safe loading stays on.
3. ``checkpoint_last.pt`` is copied over in place: a kill during the copy leaves a broken file. The copy is made under a
   temporary name and renamed.
4. A ``checkpoint_last.pt`` that is broken nevertheless (written by stock fairseq) is replaced, on resume, by the newest whole
   checkpoint beside it. So is one that a kill kept from becoming the copy of a newer checkpoint: otherwise that checkpoint would
   stay, and records that it covers would be cut off.
5. fairseq's loading thread is still at work when a run ends within an epoch. If it is in torch's C++ when the interpreter ends, the process
   aborts (status 134 after a successful training). It is ended first.
6. Under ``--amp`` fairseq removes the loss scale from the gradients twice: before clipping in the name of the inner optimiser, and at the
   step once more in the name of its wrapper, for torch keeps account by object. Steps that are proportional to the gradient are too small
   by the scale, and Adam's eps is too large by it. It is removed once.
7. Under ``--amp`` fairseq loads a checkpoint's state into torch's optimiser past fairseq's own, so that nothing checks or converts it.
"""

import argparse
import atexit
import collections
import contextlib
import functools
import logging
import math
import os
import queue
import shutil
import threading
import time
import typing
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import omegaconf
import torch
from omegaconf import DictConfig, OmegaConf

from . import failpoints
from .errors import UserError

logger = logging.getLogger(__name__)

SAFE_GLOBALS = (
    argparse.Namespace,
    omegaconf.DictConfig,
    omegaconf.ListConfig,
    omegaconf.base.ContainerMetadata,
    omegaconf.base.Metadata,
    omegaconf.nodes.AnyNode,
    collections.defaultdict,
    collections.OrderedDict,
    typing.Any,
    dict,
    list,
    int,
)


def apply() -> None:
    """Apply every item; calling it again changes nothing."""
    name_numpy_compat()
    from fairseq.distributed.utils import _TensorPlaceholder

    torch.serialization.add_safe_globals([*SAFE_GLOBALS, _TensorPlaceholder])
    harden_checkpoints()
    mend_amp()
    atexit.unregister(end_loading_threads)
    atexit.register(end_loading_threads)


def end_loading_threads(patience: float = 10.0) -> None:
    """Let fairseq's loading threads finish the batch that they are loading, and end; at most ``patience`` seconds."""
    from fairseq.data.iterators import BackgroundConsumer

    deadline = time.monotonic() + patience
    for thread in threading.enumerate():
        if isinstance(thread, BackgroundConsumer):
            thread._max_len = 0  # it stops after the next batch
            while thread.is_alive() and time.monotonic() < deadline:
                with contextlib.suppress(queue.Empty):
                    thread._queue.get(timeout=0.05)  # makes room for that batch and for the mark of the end


def name_numpy_compat() -> None:
    """Give ``numpy.compat.long`` its old meaning where numpy no longer has it."""
    if not hasattr(np, "compat"):
        np.compat = SimpleNamespace(long=int)  # type: ignore[attr-defined]  # noqa: NPY201


def copy_atomically(source: str, target: str, overwrite: bool = False) -> bool:
    """Copy ``source`` to ``target`` by way of a temporary file beside it; the signature is that of fairseq's ``PathManager.copy``."""
    temporary = Path(f"{target}.copy.tmp")
    size = Path(source).stat().st_size
    with Path(source).open("rb") as fin, temporary.open("wb") as fout:
        fout.write(fin.read(size // 2))
        fout.flush()
        failpoints.reach("copy-checkpoint")
        shutil.copyfileobj(fin, fout, 16 << 20)
        fout.flush()
        os.fsync(fout.fileno())
    temporary.replace(target)
    return True


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint's zip archive is complete and every member has its checksum."""
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            return archive.testzip() is None
    except Exception:  # a broken list of members raises nearly anything
        return False


def saving_mark(last: Path) -> Path:
    """An empty file that is there from before a checkpoint is saved until it was copied to ``last``."""
    return last.with_name(f"{last.name}.saving.tmp")


def repair_last_checkpoint(last: Path) -> None:
    """Replace a broken ``checkpoint_last.pt`` by the newest whole checkpoint of the same folder, and finish a saving that was interrupted.

    Such a saving has left its mark, and perhaps a whole checkpoint that it wrote and did not copy. Without the mark, an older ``last``, or none,
    is what the user wants.

    Raises:
        UserError: it is broken and there is no whole checkpoint to go back to.
    """
    there, mark = last.is_file(), saving_mark(last)
    broken = there and not is_whole(last)
    if not broken and not mark.exists():
        return
    candidates = {p: p.stat().st_mtime_ns for p in last.parent.glob("checkpoint*.pt") if p != last}
    if not broken:
        begun, copied = mark.stat().st_mtime_ns, last.stat().st_mtime_ns if there else -1
        candidates = {p: written for p, written in candidates.items() if written >= begun and written > copied}
    for candidate in sorted(candidates, key=candidates.__getitem__, reverse=True):
        if is_whole(candidate):
            what = f"{last} is broken (a copy was interrupted)" if broken else f"the copying to {last} was interrupted"
            logger.warning(f"{what}; continuing from {candidate.name}")
            copy_atomically(str(candidate), str(last))
            mark.unlink(missing_ok=True)
            return
    if broken:
        raise UserError(
            f"{last} is broken and {last.parent} holds no whole checkpoint to continue from; "
            "move the folder away to start anew, or restore a checkpoint"
        )
    mark.unlink(missing_ok=True)


def harden_checkpoints() -> None:
    """Make fairseq's copy of a checkpoint atomic, mark a saving that is not finished, and repair a broken one before it is loaded."""
    from fairseq import checkpoint_utils
    from fairseq.file_io import PathManager

    if PathManager.copy is not copy_atomically:
        PathManager.copy = staticmethod(copy_atomically)
    stock, stock_save = checkpoint_utils.load_checkpoint, checkpoint_utils.save_checkpoint
    if getattr(stock, "repairs", False):
        return

    @functools.wraps(stock)
    def load_checkpoint(cfg: Any, trainer: Any, **kwargs: Any) -> Any:
        if cfg.restore_file == "checkpoint_last.pt":
            if trainer.data_parallel_rank == 0:
                repair_last_checkpoint(Path(cfg.save_dir) / f"checkpoint_last{trainer.checkpoint_suffix}.pt")
            if trainer.data_parallel_world_size > 1 and torch.distributed.is_initialized():
                torch.distributed.barrier()
        return stock(cfg, trainer, **kwargs)

    @functools.wraps(stock_save)
    def save_checkpoint(cfg: Any, trainer: Any, *arguments: Any) -> Any:
        if cfg.no_save or cfg.no_last_checkpoints or not trainer.should_save_checkpoint_on_current_rank:
            return stock_save(cfg, trainer, *arguments)
        mark = saving_mark(Path(cfg.save_dir) / f"checkpoint_last{trainer.checkpoint_suffix}.pt")
        with contextlib.suppress(OSError):  # a full disk says so when the checkpoint is written
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
        saved = stock_save(cfg, trainer, *arguments)
        mark.unlink(missing_ok=True)
        return saved

    load_checkpoint.repairs = True  # type: ignore[attr-defined]
    checkpoint_utils.load_checkpoint, checkpoint_utils.save_checkpoint = load_checkpoint, save_checkpoint


def mend_amp() -> None:
    """Remove the loss scale of ``--amp`` in the name of the object that takes the step, and let that object load its state."""
    from fairseq.optim.amp_optimizer import AMPOptimizer

    AMPOptimizer.clip_grad_norm = _clip_scaled
    AMPOptimizer.load_state_dict = _load_scaled


def _load_scaled(self: Any, state_dict: dict[str, Any], optimizer_overrides: dict[str, Any] | None = None) -> None:
    """Stands in for ``AMPOptimizer.load_state_dict``."""
    self.fp32_optimizer.load_state_dict(state_dict, optimizer_overrides)


def _clip_scaled(self: Any, max_norm: float, aggregate_norm_fn: Any = None) -> torch.Tensor:
    """Stands in for ``AMPOptimizer.clip_grad_norm``: the norm of the gradients without their scale, which are clipped.

    Raises:
        FloatingPointError: the norm is not finite, and the scale can be made no smaller.
    """
    self.scaler.unscale_(self.fp32_optimizer)
    norm = self.fp32_optimizer.clip_grad_norm(max_norm, aggregate_norm_fn)
    if not torch.isfinite(norm).all():
        scale = self.next_loss_scale
        if scale <= self.min_loss_scale:
            raise FloatingPointError(
                f"gradients are not finite and the loss scale is at its least (--min-loss-scale {self.min_loss_scale}); train in 32 bits, or with a smaller --lr"
            )
        logger.info(f"--amp: gradients overflowed; the loss scale becomes {scale}")
    return norm


def full_config(task_config: Any) -> dict[str, Any]:
    """The whole configuration of the run that a task's part belongs to, as plain values.

    fairseq hands a task its own part only. The part keeps the link to its parent, because the task's interpolations
    (``seed: ${common.seed}``) need it. Returns ``{"task": ...}`` for a part that stands alone.
    """
    if isinstance(task_config, DictConfig):
        root = task_config._get_root()
        if root is not task_config and "common" in root:
            plain = OmegaConf.to_container(root, resolve=True)
            plain["task"] = OmegaConf.to_container(task_config, resolve=True)
            return _plain(plain)
        return {"task": _plain(OmegaConf.to_container(task_config, resolve=False))}
    return {"task": _plain(dict(vars(task_config)))}


def _plain(value: Any) -> Any:
    """The value with everything that JSON cannot hold turned into text."""
    if isinstance(value, argparse.Namespace):
        value = vars(value)
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)
