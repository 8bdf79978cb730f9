"""Translation with sampling: fairseq's task, whose training pairs follow a plan."""

from dataclasses import dataclass
from typing import Any

from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationConfig, TranslationTask

from ..compat import full_config
from ..sampling.config import SamplingConfig
from ._sampled import Sampled


@dataclass
class EmbeddingTranslationConfig(TranslationConfig, SamplingConfig):
    pass


@register_task("embedding_translation", dataclass=EmbeddingTranslationConfig)
class EmbeddingTranslationTask(Sampled, TranslationTask):
    """fairseq's ``translation`` with sampling (``--sample-*``)."""

    cfg: EmbeddingTranslationConfig

    def __init__(self, cfg: EmbeddingTranslationConfig, src_dict: Any, tgt_dict: Any) -> None:
        super().__init__(cfg, src_dict, tgt_dict)
        longest = min(int(cfg.max_source_positions), int(cfg.max_target_positions))
        self.begin_sampling(cfg, full_config(cfg), cfg.data, longest)

    def load_dataset(self, split: str, epoch: int = 1, combine: bool = False, **kwargs: Any) -> None:
        super().load_dataset(split, epoch, combine, **kwargs)
        self.datasets[split] = self.resample_split(split, self.datasets[split])

    def train_step(
        self, sample: Any, model: Any, criterion: Any, optimizer: Any, update_num: int, ignore_grad: bool = False
    ) -> Any:
        self.refuse_foreign_checkpoint(update_num)
        return super().train_step(sample, model, criterion, optimizer, update_num, ignore_grad)

    def get_checkpoint_dict(self) -> dict[str, Any]:
        state = self.sampler.state()
        return {type(self).__name__: {"sampling": state}} if state else {}

    def set_checkpoint_dict(self, state: dict[str, Any]) -> None:
        self.sampler.resume_from(state.get("sampling") or {})
