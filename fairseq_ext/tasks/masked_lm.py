"""Masked language modelling with sampling and recording: fairseq's task, hooks around its steps, and a faster step on the CPU."""

import logging
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq.data import Dictionary, FairseqDataset
from fairseq.dataclass import ChoiceEnum
from fairseq.tasks import register_task
from fairseq.tasks.masked_lm import MaskedLMConfig, MaskedLMTask

from .. import precision
from ..compat import full_config
from ..errors import UserError
from ..head import speed_up_head
from ..recording import exposure
from ..recording.config import RecordingConfig
from ..recording.corpus import require_corpus, require_dictionary
from ..recording.recorder import Recorder
from ..sampling.config import SamplingConfig
from ._sampled import Sampled

logger = logging.getLogger(__name__)


@dataclass
class EmbeddingMaskedLMConfig(MaskedLMConfig, SamplingConfig, RecordingConfig):
    autocast: ChoiceEnum(["off", "auto", "bf16"]) = field(
        default="off",
        metadata={
            "help": "bfloat16 autocast of the forward pass on the CPU (weights, optimiser and dump stay in 32 bits): auto uses it "
            "where the CPU has bfloat16 instructions and says so; off is stock fairseq"
        },
    )
    tied_gradient: bool = field(
        default=False,
        metadata={
            "help": "on the CPU with one rank, add the input embedding's gradient in place to that of the tied output embedding: the same "
            "gradient without two more tables at each update"
        },
    )
    fast_dropout: bool = field(
        default=False,
        metadata={
            "help": "on the CPU, draw dropout masks from 16-bit integers: the same distribution (probability to 1/65536), other random "
            "numbers than torch's"
        },
    )
    fast_head: bool = field(
        default=False,
        metadata={
            "help": "on the CPU in 32 bits, multiply by the output table with oneDNN and in slices: the same logits and gradients to rounding, "
            "in half the time"
        },
    )
    keep_freed_memory: bool = field(
        default=False,
        metadata={
            "help": "on the CPU with glibc, keep freed memory for the next update instead of returning it to the kernel and having its pages "
            "cleared again; holds for the whole process"
        },
    )


@register_task("embedding_masked_lm", dataclass=EmbeddingMaskedLMConfig)
class EmbeddingMaskedLMTask(Sampled, MaskedLMTask):
    """fairseq's ``masked_lm`` with sampling (``--sample-*``), recording (``--record-*``) and a faster step on the CPU."""

    cfg: EmbeddingMaskedLMConfig

    def __init__(self, cfg: EmbeddingMaskedLMConfig, dictionary: Dictionary | None = None) -> None:
        super().__init__(cfg, dictionary)
        config = full_config(cfg)
        self.on_cpu = bool((config.get("common") or {}).get("cpu")) or not torch.cuda.is_available()
        self.autocast = precision.choose(str(cfg.autocast), self.on_cpu)
        if self.on_cpu and (self.autocast or cfg.fast_head):
            precision.limit_primitive_cache()
        if cfg.keep_freed_memory:
            precision.keep_freed_memory(self.on_cpu)
        self.world_size = int((config.get("distributed_training") or {}).get("distributed_world_size") or 1)
        self.tied: list[precision.TiedEmbedding] = []
        config["task"]["autocast_used"] = "bf16" if self.autocast else "fp32"
        self.begin_sampling(cfg, config, cfg.data, int(cfg.tokens_per_sample))
        self.recorder = Recorder(cfg, config, self.dictionary, cfg.data)
        self.exposure: exposure.Exposure | None = None
        self._exposure_state: dict[str, torch.Tensor] | None = None

    @classmethod
    def setup_task(cls, cfg: EmbeddingMaskedLMConfig, **kwargs: Any) -> "EmbeddingMaskedLMTask":
        """Make the task; a missing or foreign corpus ends the program with one line."""
        require_corpus(cfg.data)
        return super().setup_task(cfg, **kwargs)

    @classmethod
    def load_dict(cls, cfg: EmbeddingMaskedLMConfig) -> Dictionary:
        """Load the dictionary; one that is none ends the program with one line."""
        try:
            return super().load_dict(cfg)
        except Exception as error:  # fairseq's Dictionary raises Exception itself
            raise UserError(
                f"expected fairseq's dictionary (a token and its count a line) in {Path(cfg.data.split(os.pathsep)[0]) / 'dict.txt'}; "
                f"it cannot be read ({error}); prepare the corpus again"
            ) from error

    def load_dataset(self, split: str, epoch: int = 1, combine: bool = False, **kwargs: Any) -> None:
        """Load a split; one that is missing, cut short or of another dictionary ends the program with one line."""
        folders = self.cfg.data.split(os.pathsep)
        rows = len(self.dictionary) - (self.mask_idx == len(self.dictionary) - 1)  # the mask is no token of a text
        require_dictionary(Path(folders[(epoch - 1) % len(folders)]) / split, rows)
        super().load_dataset(split, epoch, combine, **kwargs)
        if split == self.train_subset:
            if self.sampler.on and not self._masks_afresh:  # resampled after masking; its masks are those of epoch 1
                self.datasets[split] = self.resample_split(split, self.datasets[split], epoch=1)
            self._count_exposure()

    @property
    def _masks_afresh(self) -> bool:
        return str(self.cfg.sample_masks) == "fresh"

    def block_dataset(self, split: str) -> FairseqDataset:
        """A split's examples before masking and sampling."""
        return super()._load_dataset_split(split, 1, False)

    def _load_dataset_split(self, split: str, epoch: int, combine: bool) -> FairseqDataset:
        dataset = super()._load_dataset_split(split, epoch, combine)
        if split == self.train_subset and self.sampler.on and not self._masks_afresh:
            return dataset
        return self.resample_split(split, dataset)

    def examples_of(self, ids: np.ndarray) -> np.ndarray:
        return self.sampler.examples_of(ids, by_draw=self._masks_afresh)

    def _count_exposure(self) -> None:
        if self.recorder.streams is None or not self.recorder.streams.exposure or self.exposure is not None:
            return
        pad, mask = self.dictionary.pad(), self.mask_idx
        self.exposure = exposure.Exposure(
            len(self.dictionary),
            self.train_examples,
            lambda sample: exposure.masked_lm_tokens(sample, pad, mask),
            self.examples_of,
            self.world_size,
        )
        if self._exposure_state is not None:
            self._restore_exposure(self._exposure_state)
        self.recorder.exposure = self.exposure
        self.recorder.sampling = self.sampler.attributes() if self.sampler.on else None

    def _restore_exposure(self, state: dict[str, torch.Tensor]) -> None:
        try:
            self.exposure.resume_from(state)
        except (KeyError, ValueError) as error:
            raise UserError(
                f"the checkpoint's counters of exposure do not fit this corpus ({error}); restore the corpus, or use another --save-dir"
            ) from error

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> torch.nn.Module:
        model = super().build_model(cfg, from_checkpoint)
        if self.cfg.tied_gradient:
            self.tied = precision.tie_gradients(model, self.on_cpu, self.world_size)
        if self.cfg.fast_dropout:
            precision.speed_up_dropout(model, self.on_cpu)
        if self.cfg.fast_head:
            speed_up_head(model, self.on_cpu)
        return model

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast("cpu", dtype=torch.bfloat16) if self.autocast else nullcontext()

    def train_step(
        self, sample: Any, model: Any, criterion: Any, optimizer: Any, update_num: int, ignore_grad: bool = False
    ) -> Any:
        self.refuse_foreign_checkpoint(update_num)
        if self.recorder.on and not self.recorder.attached:
            self.recorder.attach(model, update_num)
        if self.exposure is not None and not ignore_grad:
            self.exposure.receive(sample)
        step = super().train_step(
            sample, model, precision.Autocast(criterion, self._autocast), optimizer, update_num, ignore_grad
        )
        for embedding in self.tied:
            embedding.add_gradient()
        return step

    def valid_step(self, sample: Any, model: Any, criterion: Any) -> Any:
        with self._autocast():
            return super().valid_step(sample, model, criterion)

    def optimizer_step(self, optimizer: Any, model: Any, update_num: int) -> None:
        if not self.recorder.attached and self.exposure is None:
            return super().optimizer_step(optimizer, model, update_num)
        if self.recorder.attached:
            self.recorder.before_step(update_num + 1)
        scale = precision.loss_scale(optimizer)
        super().optimizer_step(optimizer, model, update_num)
        after = precision.loss_scale(optimizer)
        if scale is not None and after is not None and after < scale:
            if self.exposure is not None:  # under --amp a smaller scale means an overflow: no step was taken
                self.exposure.discard()
            return
        if self.exposure is not None:
            self.exposure.commit()
        if self.recorder.attached:
            self.recorder.after_step(update_num + 1)

    def get_checkpoint_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps for recording and sampling; writes every record down first."""
        state = self.recorder.state()
        if self.sampler.on:
            state["sampling"] = self.sampler.state()
        if state and self.exposure is not None:
            state["exposure"] = self.exposure.state()
        return {type(self).__name__: state} if state else {}

    def set_checkpoint_dict(self, state: dict[str, Any]) -> None:
        self.recorder.resume_from(state)
        self.sampler.resume_from(state.get("sampling") or {})
        self._exposure_state = state.get("exposure")
        if self.exposure is not None and self._exposure_state is not None:
            self._restore_exposure(self._exposure_state)
