"""What makes an update cheaper on the CPU without changing what is learned."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .errors import UserError

logger = logging.getLogger(__name__)


def cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies matrices of bfloat16 in hardware (AVX512-BF16 or AMX)."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return any(flag in flags for flag in (" avx512_bf16", " amx_bf16"))


def choose(option: str, on_cpu: bool) -> bool:
    """Whether to autocast to bfloat16; says in the log why not, where it was asked for.

    Args:
        option: ``off``, ``auto`` or ``bf16``.
        on_cpu: whether training runs on the CPU.

    Raises:
        UserError: ``bf16`` on a GPU.
    """
    if option == "off":
        return False
    if not on_cpu:
        if option == "bf16":
            raise UserError("--autocast bf16 is for the CPU (--cpu); on a GPU use --amp")
        logger.info("autocast: training runs on a GPU, so --autocast auto does nothing there (use --amp)")
        return False
    if option == "bf16" or cpu_has_bfloat16():
        logger.info("autocast: bfloat16 on the CPU; weights, optimiser and dump stay in 32 bits")
        return True
    logger.info("autocast: this CPU has no bfloat16 instructions (avx512_bf16, amx_bf16); training in 32 bits")
    return False


_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # from glibc's malloc.h


def keep_freed_memory(on_cpu: bool) -> bool:
    """Let glibc keep freed memory for the next update instead of handing it back to the kernel.

    An update allocates and frees several tensors of the table's size. By default glibc maps and unmaps each of them, so that the kernel
    clears every page anew. The setting holds for the whole process and costs it nothing but the memory of its own peak.

    Returns:
        whether it was done; it needs the CPU and glibc.
    """
    if not on_cpu:
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    done = all(mallopt(*pair) == 1 for pair in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 2**28)))
    logger.info(f"freed memory {'is kept for the next update' if done else 'goes back to the kernel (no glibc)'}")
    return done


class Autocast:
    """A criterion that runs under autocast; stands in for it during the forward pass only, so that backward runs outside.

    Args:
        criterion: fairseq's criterion.
        context: makes the context for one forward pass.
    """

    def __init__(self, criterion: Any, context: Callable[[], AbstractContextManager[Any]]) -> None:
        self.criterion, self.context = criterion, context

    def __call__(self, model: Any, sample: Any) -> Any:
        with self.context():
            return self.criterion(model, sample)


def keep_input_gradient_sparse(model: nn.Module, on_cpu: bool) -> list[str]:
    """Let the input embedding return a sparse gradient where a dense one from the tied output embedding will take it up.

    Returns:
        the names of the embeddings for which this holds; elsewhere (untied, GPU) nothing changes.
    """
    names: list[str] = []
    if on_cpu:
        shared = [p.data_ptr() for n, p in model.state_dict(keep_vars=True).items() if isinstance(p, torch.Tensor)]
        for name, module in model.named_modules():
            if isinstance(module, nn.Embedding) and shared.count(module.weight.data_ptr()) > 1:
                module.sparse = True
                names.append(name)
    logger.info(f"sparse input gradient: {', '.join(names) or 'nowhere (it needs the CPU and tied embeddings)'}")
    return names


def loss_scale(optimizer: Any) -> float | None:
    """The loss scale of ``--amp``, or ``None`` without."""
    scaler = getattr(optimizer, "scaler", None)
    return float(scaler.get_scale()) if scaler is not None else None
