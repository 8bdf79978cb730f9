"""Masked language modelling with recording: fairseq's task, a hook around the optimiser's step, and a faster step on the CPU."""

import logging
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.dataclass import ChoiceEnum
from fairseq.tasks import register_task
from fairseq.tasks.masked_lm import MaskedLMConfig, MaskedLMTask

from .. import precision
from ..compat import full_config
from ..errors import UserError
from ..recording.config import RecordingConfig
from ..recording.corpus import require_corpus, require_dictionary
from ..recording.recorder import Recorder

logger = logging.getLogger(__name__)


@dataclass
class EmbeddingMaskedLMConfig(MaskedLMConfig, RecordingConfig):
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
            "numbers than torch's; attention weights keep torch's own"
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
class EmbeddingMaskedLMTask(MaskedLMTask):
    """fairseq's ``masked_lm`` with recording (``--record-*``) and a faster step on the CPU."""

    cfg: EmbeddingMaskedLMConfig

    def __init__(self, cfg: EmbeddingMaskedLMConfig, dictionary: Dictionary | None = None) -> None:
        super().__init__(cfg, dictionary)
        config = full_config(cfg)
        self.on_cpu = bool((config.get("common") or {}).get("cpu")) or not torch.cuda.is_available()
        self.autocast = precision.choose(str(cfg.autocast), self.on_cpu)
        if cfg.keep_freed_memory:
            precision.keep_freed_memory(self.on_cpu)
        self.world_size = int((config.get("distributed_training") or {}).get("distributed_world_size") or 1)
        self.tied: list[precision.TiedEmbedding] = []
        config["task"]["autocast_used"] = "bf16" if self.autocast else "fp32"
        self.recorder = Recorder(cfg, config, self.dictionary, cfg.data)

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

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> torch.nn.Module:
        model = super().build_model(cfg, from_checkpoint)
        if self.cfg.tied_gradient:
            self.tied = precision.tie_gradients(model, self.on_cpu, self.world_size)
        if self.cfg.fast_dropout:
            precision.speed_up_dropout(model, self.on_cpu)
        return model

    def get_batch_iterator(self, *arguments: Any, **options: Any) -> Any:
        """fairseq's iterator, which starts its workers anew at each epoch.

        fairseq keeps them alive, and with them the epoch from which the masks are drawn: every epoch would see the masks of the first, and
        a resumed run those of the epoch in which it was resumed.
        """
        iterator = super().get_batch_iterator(*arguments, **options)
        iterator.reuse_dataloader = False
        return iterator

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast("cpu", dtype=torch.bfloat16) if self.autocast else nullcontext()

    def train_step(
        self, sample: Any, model: Any, criterion: Any, optimizer: Any, update_num: int, ignore_grad: bool = False
    ) -> Any:
        if self.recorder.on and not self.recorder.attached:
            self.recorder.attach(model, update_num)
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
        if not self.recorder.attached:
            return super().optimizer_step(optimizer, model, update_num)
        self.recorder.before_step(update_num + 1)
        scale = precision.loss_scale(optimizer)
        super().optimizer_step(optimizer, model, update_num)
        after = precision.loss_scale(optimizer)
        if (
            scale is None or after is None or after >= scale
        ):  # under --amp a smaller scale means an overflow: no step was taken
            self.recorder.after_step(update_num + 1)

    def get_checkpoint_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps for the recording; writes every record down first."""
        state = self.recorder.state()
        return {type(self).__name__: state} if state else {}

    def set_checkpoint_dict(self, state: dict[str, Any]) -> None:
        self.recorder.resume_from(state)
