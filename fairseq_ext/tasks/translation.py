"""Translation with sampling and recording: fairseq's task, whose tables of source and target tokens may be shared."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq.data import Dictionary
from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationConfig, TranslationTask

from ..compat import full_config
from ..errors import UserError
from ..recording.config import RecordingConfig
from ..recording.corpus import described
from ..recording.exposure import translation_counters, translation_tokens
from ..recording.sides import pair, require_pairs, require_split
from ..sampling.config import SamplingConfig
from ..step_config import StepConfig
from ._recorded import Recorded, readable

logger = logging.getLogger(__name__)


@dataclass
class EmbeddingTranslationConfig(TranslationConfig, SamplingConfig, RecordingConfig, StepConfig):
    pass


@register_task("embedding_translation", dataclass=EmbeddingTranslationConfig)
class EmbeddingTranslationTask(Recorded, TranslationTask):
    """fairseq's ``translation`` with sampling (``--sample-*``), recording (``--record-*``) and a faster step on the CPU.

    The model has three tables (encoder input, decoder input, decoder output), two with ``--share-decoder-input-output-embed``, one with
    ``--share-all-embeddings``.
    """

    cfg: EmbeddingTranslationConfig

    def __init__(self, cfg: EmbeddingTranslationConfig, src_dict: Dictionary, tgt_dict: Dictionary) -> None:
        super().__init__(cfg, src_dict, tgt_dict)
        config = full_config(cfg)
        longest = min(int(cfg.max_source_positions), int(cfg.max_target_positions))
        self.begin_sampling(cfg, config, cfg.data, longest)
        folder = Path(cfg.data.split(os.pathsep)[0])
        sides = pair(folder, (src_dict, tgt_dict), (str(cfg.source_lang), str(cfg.target_lang)))
        self.begin_recording(cfg, config, sides, folder)
        if described(folder).get("languages") == [str(cfg.target_lang), str(cfg.source_lang)]:
            logger.warning(
                f"{folder} was split by its {cfg.target_lang} sentences, which are the target here: {cfg.source_lang} sentences of the test "
                f"split may occur in training; prepare the corpus with --source-lang {cfg.source_lang} --target-lang {cfg.target_lang}"
            )

    @classmethod
    def setup_task(cls, cfg: EmbeddingTranslationConfig, **kwargs: Any) -> "EmbeddingTranslationTask":
        """Make the task; a missing or foreign corpus, or a language that it does not have, ends the program with one line."""
        require_pairs(cfg.data, cfg.source_lang, cfg.target_lang)
        if cfg.source_lang is not None and cfg.source_lang == cfg.target_lang:
            raise UserError(f"expected two languages; found {cfg.source_lang} as --source-lang and as --target-lang")
        return super().setup_task(cfg, **kwargs)

    @classmethod
    def load_dictionary(cls, filename: str) -> Dictionary:
        """Load a dictionary; one that is none ends the program with one line."""
        with readable(Path(filename)):
            return super().load_dictionary(filename)

    def load_dataset(self, split: str, epoch: int = 1, combine: bool = False, **kwargs: Any) -> None:
        """Load a split; one that is missing, cut short or of another dictionary ends the program with one line."""
        folders = self.cfg.data.split(os.pathsep)
        folder = Path(folders[(epoch - 1) % len(folders)] if split == self.train_subset else folders[0])
        if str(self.cfg.dataset_impl) in ("None", "mmap"):
            sides = pair(folder, (self.src_dict, self.tgt_dict), (self.cfg.source_lang, self.cfg.target_lang))
            require_split(folder, split, sides)
        super().load_dataset(split, epoch, combine, **kwargs)
        self.datasets[split] = self.resample_split(split, self.datasets[split])
        if split == self.train_subset:
            counters = translation_counters(len(self.src_dict), len(self.tgt_dict))
            pad = self.src_dict.pad()
            self.count_exposure(counters, lambda sample: translation_tokens(sample, pad))
