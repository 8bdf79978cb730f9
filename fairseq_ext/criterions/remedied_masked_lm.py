"""fairseq's masked LM criterion with what others proposed against the drift of the embedding table: a term of the loss, or gates of its gradient."""

from __future__ import annotations

from typing import Any

import torch
from fairseq.criterions import register_criterion
from fairseq.criterions.masked_lm import MaskedLmLoss
from fairseq.logging import metrics
from fairseq.models.roberta.model import RobertaLMHead
from torch import Tensor, nn

from ..errors import UserError
from .config import RemediedMaskedLMConfig
from .gating import Gating, Occurrences
from .mean_cosine import MeanCosine


@register_criterion("remedied_masked_lm", dataclass=RemediedMaskedLMConfig)
class RemediedMaskedLMLoss(MaskedLmLoss):
    """``--criterion remedied_masked_lm``: the loss of ``masked_lm``; in training also ``--cosine-regularization``, ``--gradient-gating``.

    What is logged as ``loss`` is the masked LM's alone. Validation is that of ``masked_lm``.

    Raises:
        UserError: an option is out of range, or the task does not keep the counts that gating needs.
    """

    def __init__(self, cfg: RemediedMaskedLMConfig, task: Any) -> None:
        super().__init__(cfg, task)
        self.weight = float(cfg.cosine_regularization)
        if not self.weight >= 0:
            raise UserError(f"--cosine-regularization: expected a number of at least 0, found {self.weight}")
        if cfg.gating_memory < 1:
            raise UserError(f"--gating-memory: expected at least 1 update, found {cfg.gating_memory}")
        if not cfg.gating_threshold > 0:
            raise UserError(f"--gating-threshold: expected a number above 0, found {cfg.gating_threshold}")
        self.threshold = float(cfg.gating_threshold)
        self.occurrences: Occurrences | None = None
        if cfg.gradient_gating:
            if not hasattr(task, "keep_in_checkpoints"):
                raise UserError(
                    "--gradient-gating counts tokens over updates and keeps the counts in checkpoints; use --task embedding_masked_lm"
                )
            if task.world_size > 1:
                raise UserError(
                    f"--gradient-gating counts the tokens of one process; found {task.world_size} of them; train with one"
                )
            self.occurrences = Occurrences(len(task.source_dictionary), int(cfg.gating_memory))
            task.keep_in_checkpoints("gating", self.occurrences)
        self._gating: list[Gating] = []

    def forward(self, model: nn.Module, sample: Any, reduce: bool = True) -> tuple[Tensor, Any, dict[str, Any]]:
        """fairseq's criterion's: the loss, the sample size and what is logged."""
        if not (self.training and torch.is_grad_enabled()):
            return super().forward(model, sample, reduce)
        gating = self._gate(model, sample)
        loss, size, logged = super().forward(model, sample, reduce)
        if gating is not None:
            gating.end()
        if self.weight > 0:
            cosine = MeanCosine.apply(self._head(model).weight)
            loss = loss + self.weight * cosine * size
            logged["cosine"] = cosine.detach() * size
        return loss, size, logged

    def _head(self, model: nn.Module) -> RobertaLMHead:
        heads = [module for module in model.modules() if isinstance(module, RobertaLMHead)]
        if len(heads) != 1:
            raise UserError(
                f"--criterion remedied_masked_lm works on the output table of a masked LM's one head; found {len(heads)} heads"
            )
        return heads[0]

    def _gate(self, model: nn.Module, sample: Any) -> Gating | None:
        if self.occurrences is None:
            return None
        if not self._gating:
            self._gating.append(
                Gating(self._head(model), self.occurrences, self.threshold, self.task.source_dictionary.nspecial)
            )
        target = sample["target"]
        self._gating[0].begin(self.task.update_num + 1, target[target.ne(self.padding_idx)])
        return self._gating[0]

    @staticmethod
    def reduce_metrics(logging_outputs: Any) -> None:
        """As ``masked_lm``, and the mean cosine as ``embed_regularization``."""
        MaskedLmLoss.reduce_metrics(logging_outputs)
        if any("cosine" in entry for entry in logging_outputs):
            size = sum(entry.get("sample_size", 0) for entry in logging_outputs)
            total = sum(entry.get("cosine", 0) for entry in logging_outputs)
            metrics.log_scalar("embed_regularization", total / size, size, round=4)
