"""What all tasks share of recording: hooks around fairseq's steps, exposure, a faster step on the CPU, and the state that checkpoints keep."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import precision
from ..errors import UserError
from ..optim.embedding import mark_tables
from ..recording import masters, sharing
from ..recording.exposure import Counters, Exposure, Tokens
from ..recording.recorder import Recorder
from ..recording.sides import Side
from ._sampled import Sampled

logger = logging.getLogger(__name__)


@contextmanager
def readable(dictionary: Path) -> Iterator[None]:
    """Let a dictionary that cannot be read end the program with one line."""
    try:
        yield
    except Exception as error:  # fairseq's Dictionary raises Exception itself
        raise UserError(
            f"expected fairseq's dictionary (a token and its count a line) in {dictionary}; it cannot be read ({error}); prepare the corpus again"
        ) from error


class Recorded(Sampled):
    """Mixin of a fairseq task that records, samples and may run its steps faster. :meth:`begin_recording` comes after ``begin_sampling``."""

    recorder: Recorder

    def begin_recording(self, options: Any, config: dict[str, Any], sides: tuple[Side, ...], data: Path) -> None:
        """Read the options; nothing is touched on disk before the first training step."""
        self.on_cpu = bool((config.get("common") or {}).get("cpu")) or not torch.cuda.is_available()
        self.autocast = precision.choose(str(options.autocast), self.on_cpu)
        if self.on_cpu and (self.autocast or getattr(options, "fast_head", False)):
            precision.limit_primitive_cache()
        if options.keep_freed_memory:
            precision.keep_freed_memory(self.on_cpu)
        self.world_size = int((config.get("distributed_training") or {}).get("distributed_world_size") or 1)
        self.tied: list[precision.TiedEmbedding] = []
        config["task"]["autocast_used"] = "bf16" if self.autocast else "fp32"
        self.options = options
        self.recorder = Recorder(options, config, sides, data)
        self.exposure: Exposure | None = None
        self._exposure_state: dict[str, Tensor] | None = None
        self._row_counts = {len(side.dictionary) for side in sides}
        self._tables: dict[str, list[str]] = {}
        self._kept: dict[str, Any] = {}
        self.update_num = 0
        restores = config.get("checkpoint") or {}
        self._resumes = not (restores.get("finetune_from_model") or restores.get("reset_optimizer"))

    def keep_in_checkpoints(self, name: str, holder: Any) -> None:
        """Keep what ``holder.state()`` gives in checkpoints, and give it back by ``holder.resume_from``.

        ``holder.discard(update)`` is called when an overflow has thrown away what was received for the step to ``update``.
        """
        self._kept[name] = holder

    def count_exposure(self, counters: Sequence[Counters], tokens: Tokens) -> None:
        """Count from now on what the model receives, if that is to be recorded; called when the training split is loaded."""
        if self.recorder.streams is None or not self.recorder.streams.exposure or self.exposure is not None:
            return
        self.exposure = Exposure(counters, self.train_examples, tokens, self.examples_of, self.world_size)
        if self._exposure_state is not None:
            self._restore_exposure(self._exposure_state)
        self.recorder.exposure = self.exposure
        self.recorder.sampling = self.sampler.attributes() if self.sampler.on else None

    def _restore_exposure(self, state: dict[str, Tensor]) -> None:
        try:
            self.exposure.resume_from(state)
        except (KeyError, ValueError) as error:
            raise UserError(
                f"the checkpoint's counters of exposure do not fit this corpus ({error}); restore the corpus, or use another --save-dir"
            ) from error

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> nn.Module:
        model = super().build_model(cfg, from_checkpoint)  # type: ignore[misc]
        self._tables = sharing.tables_of(model, self._row_counts)
        sharing.guard(model, self._tables, resumes=self._resumes)
        mark_tables(model, self._tables)
        if self.options.tied_gradient:
            self.tied = precision.tie_gradients(model, self.on_cpu, self.world_size)
        if self.options.fast_dropout:
            precision.speed_up_dropout(model, self.on_cpu)
        return model

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast("cpu", dtype=torch.bfloat16) if self.autocast else nullcontext()

    def train_step(
        self, sample: Any, model: Any, criterion: Any, optimizer: Any, update_num: int, ignore_grad: bool = False
    ) -> Any:
        self.refuse_foreign_checkpoint(update_num)
        self.update_num = update_num
        if self.recorder.on and not self.recorder.attached:
            self.recorder.attach(model, update_num, optimizer)
        if not ignore_grad and masters.begins_update(optimizer):  # what an overflow under --fp16 left
            self._discard(update_num + 1)
        if self.exposure is not None and not ignore_grad:
            self.exposure.receive(sample)
        self.recorder.before_batch(update_num + 1, sample)
        criterion = precision.Autocast(criterion, self._autocast)
        step = super().train_step(sample, model, criterion, optimizer, update_num, ignore_grad)  # type: ignore[misc]
        for embedding in self.tied:
            embedding.add_gradient()
        self.recorder.after_batch()
        return step

    def valid_step(self, sample: Any, model: Any, criterion: Any) -> Any:
        with self._autocast():
            return super().valid_step(sample, model, criterion)  # type: ignore[misc]

    def optimizer_step(self, optimizer: Any, model: Any, update_num: int) -> None:
        if not self.recorder.attached and self.exposure is None and not self._kept:
            return super().optimizer_step(optimizer, model, update_num)  # type: ignore[misc]
        if self.recorder.attached:
            self.recorder.before_step(update_num + 1)
        scale = precision.loss_scale(optimizer)
        super().optimizer_step(optimizer, model, update_num)  # type: ignore[misc]
        after = precision.loss_scale(optimizer)
        if scale is not None and after is not None and after < scale:
            self._discard(update_num + 1)  # under --amp a smaller scale means an overflow: no step was taken
            self.recorder.discard()
            return
        if self.exposure is not None:
            self.exposure.commit()
        if self.recorder.attached:
            self.recorder.after_step(update_num + 1)

    def _discard(self, update: int) -> None:
        """Uncount what was received for a step that was not taken."""
        if self.exposure is not None:
            self.exposure.discard()
        for holder in self._kept.values():
            holder.discard(update)

    def get_checkpoint_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps for recording and sampling; writes every record down first."""
        state = self.recorder.state()
        if self.sampler.on:
            state["sampling"] = self.sampler.state()
        if self.exposure is not None and self.recorder.on:
            state["exposure"] = self.exposure.state()
        kept = {name: holder.state() for name, holder in self._kept.items()}
        state |= {"kept": kept} if kept else {}
        return {type(self).__name__: {**state, "tables": self._tables}}

    def set_checkpoint_dict(self, state: dict[str, Any]) -> None:
        if self._resumes:
            sharing.refuse_other(state.get("tables"), self._tables)
        self.recorder.resume_from(state)
        self.sampler.resume_from(state.get("sampling") or {})
        self._exposure_state = state.get("exposure")
        kept = state.get("kept") or {}
        for name, holder in self._kept.items():
            if name not in kept and self._resumes:
                raise UserError(
                    f"the checkpoint was trained without what {name} keeps; give the criterion's options that it was trained with, or begin anew with "
                    "--finetune-from-model"
                )
            if name in kept and self._resumes:
                holder.resume_from(kept[name])
        if self.exposure is not None and self._exposure_state is not None:
            self._restore_exposure(self._exposure_state)
