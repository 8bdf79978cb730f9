"""The weights that are trained: where training runs in half precision, the optimiser's 32-bit master copy of each table.

fairseq's ``FP16Optimizer`` (``--fp16``, ``--bf16``) holds two copies of every parameter: that of the model in 16 bits, and a master copy in
32 bits, which its step updates and then rounds into the model. An update is smaller than the model's precision can show, so the master is
recorded. It lies in one flat buffer a device (``--fp16``), or in one tensor a parameter (``--bf16``, ``--fp16-no-flatten-grads``), in the
order of the optimiser's parameters. Under ``--amp`` and without any of these options the model's own weights are 32-bit and there is no master.

fairseq's checkpoints hold the model's 16-bit weights and not the masters: when such a training resumes, its masters begin at the rounded weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from fairseq.optim import FairseqBMUF
from fairseq.optim.fp16_optimizer import FP16Optimizer, MemoryEfficientFP16Optimizer
from torch import Tensor

from ..errors import UserError

INSTEAD = "use --amp, which keeps the weights in 32 bits, or leave --record-dir out"
MEMORY_EFFICIENT = (
    "recording needs 32-bit tables (an update is smaller than half precision can show), but --memory-efficient-fp16 and "
    f"--memory-efficient-bf16 keep no fp32 master weights; use --fp16 or --bf16 without memory-efficient, or {INSTEAD}"
)


def named(common: dict[str, Any], autocast: str | None = None) -> str:
    """What the attribute ``run.precision`` says: in which precision training runs and, where that is not what is recorded, what is.

    Args:
        common: fairseq's section ``common``.
        autocast: ``fp32`` or ``bf16``, as the task chose it for the CPU.
    """
    for half in ("fp16", "bf16"):
        if common.get(half):
            return f"{half} with fp32 master weights"
    return "amp" if common.get("amp") else autocast or "fp32"


def refuse_unsupported(config: dict[str, Any], on_cpu: bool) -> None:
    """Check that the run has whole 32-bit tables on one rank.

    Args:
        config: the run's whole configuration as plain values.
        on_cpu: whether training runs on the CPU.

    Raises:
        UserError: it has not.
    """
    common, distributed = config.get("common") or {}, config.get("distributed_training") or {}
    if distributed.get("ddp_backend") == "fully_sharded":
        raise UserError(
            "recording needs whole embedding tables on one rank; --ddp-backend fully_sharded (FSDP) shards them; "
            "use --ddp-backend pytorch_ddp or legacy_ddp, or leave --record-dir out"
        )
    if common.get("memory_efficient_fp16") or common.get("memory_efficient_bf16"):
        raise UserError(MEMORY_EFFICIENT)
    if common.get("tpu"):
        raise UserError(
            "recording was never tried on a TPU, and fairseq's command line takes --bf16 for one; on a GPU use fairseq-hydra-train with "
            f"common.bf16=true, or {INSTEAD}"
        )
    half = [f"--{name}" for name in ("fp16", "bf16") if common.get(name)]
    if on_cpu and common.get("fp16") and not common.get("fp16_no_flatten_grads"):
        raise UserError(
            "--fp16 needs a GPU: fairseq puts its flat fp32 master weights there; on the CPU use --autocast bf16, which keeps the weights in "
            "32 bits, or --fp16-no-flatten-grads (which fairseq ends at the first overflow)"
        )
    if half and (config.get("optimization") or {}).get("use_bmuf"):
        raise UserError(f"recording was never tried with --use-bmuf and {' '.join(half)}; {INSTEAD}")


def of_tables(parameters: Sequence[Tensor], optimizer: Any) -> list[Tensor | None]:
    """For each table the 32-bit weights that the optimiser's step updates; ``None`` where they are the parameter itself.

    The tensors share the optimiser's storage and stay valid as long as the optimiser lives: its steps and its ``load_state_dict`` write in place.

    Args:
        parameters: float [V, d] each, as the model holds them.
        optimizer: fairseq's optimiser, as ``task.train_step`` receives it.

    Returns:
        float32 [V, d] each, or ``None``.

    Raises:
        UserError: there are no 32-bit weights.
    """
    if isinstance(optimizer, FairseqBMUF):
        optimizer = optimizer._optimizer
    if isinstance(optimizer, MemoryEfficientFP16Optimizer):
        raise UserError(MEMORY_EFFICIENT)
    if not isinstance(optimizer, FP16Optimizer):
        _require_float32(parameters)
        return [None] * len(parameters)
    return [_checked(_master(parameter, optimizer), parameter) for parameter in parameters]


def begins_update(optimizer: Any) -> bool:
    """Whether the batch that comes is the first of its update, as far as the optimiser can tell: no gradient has been computed.

    Under ``--fp16`` an overflow ends an update before its step, and the batches received for it do not count. Other optimisers do not tell
    (they raise no overflow): ``False``.
    """
    return isinstance(optimizer, FP16Optimizer) and all(p.grad is None for p in optimizer.fp16_params)


def _require_float32(parameters: Sequence[Tensor]) -> None:
    for parameter in parameters:
        if parameter.dtype not in (torch.float32, torch.float64):
            raise UserError(
                f"recording needs 32-bit tables (an update is smaller than half precision can show); found {parameter.dtype}; {INSTEAD}"
            )


def _master(parameter: Tensor, optimizer: FP16Optimizer) -> Tensor:
    """The master copy of a parameter, by its position among the optimiser's parameters; of a frozen one a 32-bit copy."""
    if not parameter.requires_grad:
        return parameter.detach().float()
    params = list(optimizer.fp16_params)
    position = next((i for i, p in enumerate(params) if p is parameter), None)
    if position is None:
        raise UserError(f"a table that is trained is none of the optimiser's parameters; {INSTEAD}")
    masters = optimizer.fp32_params
    if not isinstance(masters, dict):
        return masters[position].detach()
    for device, flat in masters.items():  # as FP16Optimizer.build_fp32_params lays them out
        members = params if len(masters) == 1 else [p for p in params if p.device.index == device]
        place = next((i for i, p in enumerate(members) if p is parameter), None)
        if place is not None:
            offset = sum(p.numel() for p in members[:place])
            return flat.detach()[offset : offset + parameter.numel()].view(parameter.shape)
    raise UserError(f"a table on {parameter.device} has no fp32 master weights in the optimiser; {INSTEAD}")


def _checked(master: Tensor, parameter: Tensor) -> Tensor:
    """The master copy, once it is seen that the parameter is its rounded value."""
    same = master.shape == parameter.shape and master.dtype == torch.float32
    if not same or not torch.equal(torch.nan_to_num(master.to(parameter.dtype)), torch.nan_to_num(parameter.detach())):
        raise UserError(
            f"the optimiser's fp32 master weights of a table are not those of the model (shapes {tuple(master.shape)} and "
            f"{tuple(parameter.shape)}); this version of fairseq lays them out otherwise than the recording knows; {INSTEAD}"
        )
    return master
