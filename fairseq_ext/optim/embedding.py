"""Optimisers that treat the embedding tables by a rule of their own and everything else by Adam.

Each is fairseq's Adam (:mod:`.fused_adam`) for all parameters but the embedding tables, the same weights to the bit where the rule is Adam's:

==================== ============================================================================================
``--optimizer``      rule for the embedding tables
==================== ============================================================================================
coupled_adam         Adam with the second moment averaged over the vocabulary
embedding_amsgrad    AMSGrad
embedding_sgd        stochastic gradient descent with momentum, without weight decay
undecayed_adam       Adam without weight decay
centered_adam        Adam, and after each step the mean row is taken off
==================== ============================================================================================

The equations and their sources stand in :mod:`.rules`. The tables are known by a mark that the project's tasks put on them
(:func:`mark_tables`), so that other tasks, and half precision, which trains copies, are refused.
"""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Collection, Iterable, Sequence
from itertools import zip_longest
from typing import Any

import torch
from fairseq.optim import FairseqOptimizer, register_optimizer
from omegaconf import OmegaConf
from torch import Tensor, nn

from ..errors import UserError
from . import rules
from .config import EmbeddingRuleConfig, EmbeddingSGDConfig
from .fused_adam import FusedAdamW

logger = logging.getLogger(__name__)
MARK = "embedding_table"  # attribute of a parameter: its name in the model
# Keys of a parameter group that a run must share with its checkpoint: the rule, whose it is, and its numbers.
SHARED = ("rule", "tables", "lr_scale", "momentum", "centering", "amsgrad", "weight_decay", "betas", "eps")


def mark_tables(model: nn.Module, names: Iterable[str]) -> None:
    """Mark a model's embedding tables by their names, so that an optimiser, which is given parameters without names, knows them."""
    parameters = dict(model.named_parameters())
    for name in names:
        if name in parameters:
            setattr(parameters[name], MARK, name)


class EmbeddingAdamW(FusedAdamW):
    """:class:`FusedAdamW` whose groups may have another rule: see :mod:`.rules`.

    Args:
        groups: param groups; ``rule`` is ``adam`` (also where it is missing), ``amsgrad``, ``coupled_adam`` or ``sgd``, the last with
            ``momentum``; ``centering``: take the mean row off after the step.
        lr, betas, eps, weight_decay: where a group does not say.
    """

    def _step_group(self, group: dict[str, Any]) -> None:
        rule = {"coupled_adam": rules.coupled_adam, "sgd": rules.sgd}.get(group.get("rule", "adam"))
        if rule is None:
            super()._step_group(group)
        else:
            for p in group["params"]:
                if p.grad is not None:
                    rule(p, self.state[p], group)
        if group.get("centering"):
            for p in group["params"]:
                if p.grad is not None:
                    rules.center(p)

    @property
    def supports_flat_params(self) -> bool:
        return False


class EmbeddingRule(FairseqOptimizer):
    """Base of the optimisers: ``options`` are keys of the tables' parameter group.

    Raises:
        UserError: no parameter is marked as an embedding table, a pattern matches none, or an option is out of range.
    """

    def __init__(self, cfg: EmbeddingRuleConfig, params: Any, **options: Any) -> None:
        super().__init__(cfg)
        if not cfg.embedding_lr_scale > 0:
            raise UserError(f"--embedding-lr-scale: expected a number above 0, found {cfg.embedding_lr_scale}")
        tables, others = self._split(params)
        settings = self.optimizer_config
        scale = float(cfg.embedding_lr_scale)
        names = [str(getattr(p, MARK)) for p in tables]
        self._own = {"tables": names, **options}
        own = {"lr_scale": scale, "lr": scale * settings["lr"], "momentum": 0.0, "centering": False, **self._own}
        groups = [{"params": others}] if others else []
        self._optimizer = EmbeddingAdamW(
            [*groups, {"params": tables, **own}],
            settings["lr"],
            tuple(settings["betas"]),
            settings["eps"],
            settings["weight_decay"],
        )
        logger.info(f"{own['rule']} for {', '.join(names)}; Adam for the other {len(others)} parameters")

    def _split(self, params: Any) -> tuple[list[Tensor], list[Tensor]]:
        """The marked parameters that the rule is for, and the others."""
        every = [p for entry in params for p in (entry["params"] if isinstance(entry, dict) else [entry])]
        marked = [p for p in every if hasattr(p, MARK)]
        if not marked:
            raise UserError(
                "this optimiser has a rule for embedding tables, and found none among the parameters that are trained; do not freeze them, train "
                "with --task embedding_masked_lm or embedding_translation, and in 32 bits (--amp will do on a GPU; --fp16 and --bf16 train copies "
                "that it cannot tell)"
            )
        if half := [p for p in marked if p.dtype not in (torch.float32, torch.float64)]:
            raise UserError(
                f"this optimiser trains embedding tables in 32 bits; found {getattr(half[0], MARK)} in {half[0].dtype}; leave "
                "--memory-efficient-fp16 or --memory-efficient-bf16 out, or train with --amp"
            )
        wanted = [text.strip() for text in self.cfg.embedding_tables.split(",") if text.strip()]
        for pattern in wanted:
            if not any(fnmatch.fnmatchcase(getattr(p, MARK), pattern) for p in marked):
                names = ", ".join(getattr(p, MARK) for p in marked)
                raise UserError(
                    f"--embedding-tables: expected patterns of {names}; found {pattern!r}, which matches none"
                )
        chosen = [p for p in marked if not wanted or any(fnmatch.fnmatchcase(getattr(p, MARK), w) for w in wanted)]
        ids = {id(p) for p in chosen}
        return chosen, [p for p in every if id(p) not in ids]

    @property
    def optimizer_config(self) -> dict[str, Any]:
        """fairseq's Adam options as plain values."""
        cfg = self.cfg
        betas = cfg.adam_betas
        if isinstance(betas, str):  # fairseq's own form: "(0.9, 0.98)"
            betas = [float(text) for text in betas.strip("()[] ").split(",")]
        elif OmegaConf.is_config(betas):
            betas = OmegaConf.to_container(betas)
        return {
            "lr": cfg.lr[0] if isinstance(cfg.lr, Collection) else cfg.lr,
            "betas": tuple(betas),
            "eps": cfg.adam_eps,
            "weight_decay": cfg.weight_decay,
        }

    def get_lr(self) -> float:
        """The scheduled learning rate, of everything but the tables."""
        group = self.param_groups[0]
        return group["lr"] / group.get("lr_scale", 1.0)

    def set_lr(self, lr: float) -> None:
        """Set the scheduled learning rate; the tables get their multiple of it."""
        for group in self.param_groups:
            group["lr"] = lr * group.get("lr_scale", 1.0)

    def load_state_dict(self, state_dict: dict[str, Any], optimizer_overrides: dict[str, Any] | None = None) -> None:
        """Load a state of the same optimiser.

        Raises:
            UserError: it was written with other tables or other options, but those of ``optimizer_overrides``, which are for what Adam
                trains and for what the rule takes from Adam.
        """
        kept = [key for key in SHARED if key not in (optimizer_overrides or {})]
        theirs, ours = (
            [self._options(group, kept) for group in groups]
            for groups in (state_dict["param_groups"], self.param_groups)
        )
        for one, other in zip_longest(theirs, ours, fillvalue={"parameters": 0}):
            differ = [key for key in one if key in other and one[key] != other[key]]
            if differ:
                found, wanted = (", ".join(f"{key} {entry[key]}" for key in differ) for entry in (one, other))
                raise UserError(
                    f"the checkpoint's optimiser was made with {found}, this run's with {wanted}; give the options that it was made with, or "
                    "begin its state anew with --reset-optimizer"
                )
        super().load_state_dict(state_dict, optimizer_overrides)
        self.param_groups[-1].update(self._own)  # the tables' group, whose rule no override changes

    @staticmethod
    def _options(group: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
        found = {key: group[key] for key in keys if key in group}
        found = {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}
        return {**found, "parameters": len(group["params"])}


@register_optimizer("coupled_adam", dataclass=EmbeddingRuleConfig)
class CoupledAdam(EmbeddingRule):
    """``--optimizer coupled_adam``: on the tables, Adam with the second moment averaged over the vocabulary (arXiv 2502.08441)."""

    def __init__(self, cfg: EmbeddingRuleConfig, params: Any) -> None:
        super().__init__(cfg, params, rule="coupled_adam")


@register_optimizer("embedding_amsgrad", dataclass=EmbeddingRuleConfig)
class EmbeddingAMSGrad(EmbeddingRule):
    """``--optimizer embedding_amsgrad``: on the tables, AMSGrad (Reddi et al. 2018)."""

    def __init__(self, cfg: EmbeddingRuleConfig, params: Any) -> None:
        super().__init__(cfg, params, rule="amsgrad", amsgrad=True)


@register_optimizer("embedding_sgd", dataclass=EmbeddingSGDConfig)
class EmbeddingSGD(EmbeddingRule):
    """``--optimizer embedding_sgd``: on the tables, stochastic gradient descent with momentum."""

    def __init__(self, cfg: EmbeddingSGDConfig, params: Any) -> None:
        momentum, decay = float(cfg.embedding_momentum), float(cfg.embedding_weight_decay)
        if not 0 <= momentum < 1:
            raise UserError(f"--embedding-momentum: expected a number from 0 to below 1, found {momentum}")
        if not decay >= 0:
            raise UserError(f"--embedding-weight-decay: expected a number of at least 0, found {decay}")
        super().__init__(cfg, params, rule="sgd", momentum=momentum, weight_decay=decay)


@register_optimizer("undecayed_adam", dataclass=EmbeddingRuleConfig)
class UndecayedAdam(EmbeddingRule):
    """``--optimizer undecayed_adam``: on the tables, Adam without weight decay."""

    def __init__(self, cfg: EmbeddingRuleConfig, params: Any) -> None:
        super().__init__(cfg, params, rule="adam", weight_decay=0.0)


@register_optimizer("centered_adam", dataclass=EmbeddingRuleConfig)
class CenteredAdam(EmbeddingRule):
    """``--optimizer centered_adam``: on the tables, Adam, and after each step the mean row is taken off every row."""

    def __init__(self, cfg: EmbeddingRuleConfig, params: Any) -> None:
        super().__init__(cfg, params, rule="adam", centering=True)
