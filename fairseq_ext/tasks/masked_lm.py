"""Masked language modelling with sampling and recording: fairseq's task, hooks around its steps, and a faster step on the CPU."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq.data import Dictionary, FairseqDataset
from fairseq.tasks import register_task
from fairseq.tasks.masked_lm import MaskedLMConfig, MaskedLMTask

from ..compat import full_config
from ..head import speed_up_head
from ..recording.config import RecordingConfig
from ..recording.corpus import require_corpus, require_dictionary
from ..recording.exposure import masked_lm_counters, masked_lm_tokens
from ..recording.sides import one_text
from ..sampling.config import SamplingConfig
from ..step_config import StepConfig
from ._recorded import Recorded, readable


@dataclass
class EmbeddingMaskedLMConfig(MaskedLMConfig, SamplingConfig, RecordingConfig, StepConfig):
    fast_head: bool = field(
        default=False,
        metadata={
            "help": "on the CPU in 32 bits, multiply by the output table with oneDNN and in slices: the same logits and gradients to rounding, "
            "in half the time"
        },
    )


@register_task("embedding_masked_lm", dataclass=EmbeddingMaskedLMConfig)
class EmbeddingMaskedLMTask(Recorded, MaskedLMTask):
    """fairseq's ``masked_lm`` with sampling (``--sample-*``), recording (``--record-*``) and a faster step on the CPU."""

    cfg: EmbeddingMaskedLMConfig

    def __init__(self, cfg: EmbeddingMaskedLMConfig, dictionary: Dictionary | None = None) -> None:
        super().__init__(cfg, dictionary)
        config = full_config(cfg)
        self.begin_sampling(cfg, config, cfg.data, int(cfg.tokens_per_sample))
        folder = Path(cfg.data.split(os.pathsep)[0])
        self.begin_recording(cfg, config, one_text(folder, self.dictionary), folder)

    @classmethod
    def setup_task(cls, cfg: EmbeddingMaskedLMConfig, **kwargs: Any) -> "EmbeddingMaskedLMTask":
        """Make the task; a missing or foreign corpus ends the program with one line."""
        require_corpus(cfg.data)
        return super().setup_task(cfg, **kwargs)

    @classmethod
    def load_dict(cls, cfg: EmbeddingMaskedLMConfig) -> Dictionary:
        """Load the dictionary; one that is none ends the program with one line."""
        with readable(Path(cfg.data.split(os.pathsep)[0]) / "dict.txt"):
            return super().load_dict(cfg)

    def load_dataset(self, split: str, epoch: int = 1, combine: bool = False, **kwargs: Any) -> None:
        """Load a split; one that is missing, cut short or of another dictionary ends the program with one line."""
        folders = self.cfg.data.split(os.pathsep)
        rows = len(self.dictionary) - (self.mask_idx == len(self.dictionary) - 1)  # the mask is no token of a text
        require_dictionary(Path(folders[(epoch - 1) % len(folders)]) / split, rows)
        super().load_dataset(split, epoch, combine, **kwargs)
        if split == self.train_subset:
            if self.sampler.on and not self._masks_afresh:  # resampled after masking; its masks are those of epoch 1
                self.datasets[split] = self.resample_split(split, self.datasets[split], epoch=1)
            pad, mask = self.dictionary.pad(), self.mask_idx
            counters = masked_lm_counters(len(self.dictionary))
            self.count_exposure(counters, lambda sample: masked_lm_tokens(sample, pad, mask))

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

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> torch.nn.Module:
        model = super().build_model(cfg, from_checkpoint)
        if self.cfg.fast_head:
            speed_up_head(model, self.on_cpu)
        return model
