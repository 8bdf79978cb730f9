"""What makes an update cheaper on the CPU without changing what is learned."""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq.modules.fairseq_dropout import FairseqDropout
from fairseq.modules.multihead_attention import MultiheadAttention
from fairseq.optim import AMPOptimizer
from torch import Tensor, nn
from torch.nn import functional

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


def limit_primitive_cache() -> None:
    """Let oneDNN keep fewer of its compiled products: it keeps one for each shape, batches differ in shape, and a thousand take gigabytes.

    oneDNN reads the setting at its first product, so this must come before. A value of the user's own stays.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")


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


class _Lookup(torch.autograd.Function):
    """Rows of the table; the gradient is set aside in a list instead of being spread over a table of zeros."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, tokens: Tensor, aside: list[tuple[Tensor, Tensor]]) -> Tensor:
        ctx.tokens, ctx.aside = tokens, aside
        return functional.embedding(tokens, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, None]:  # type: ignore[override]
        ctx.aside.append((ctx.tokens, gradient))
        return None, None, None


class TiedEmbedding(nn.Embedding):
    """An input embedding whose gradient is added, in place, to that of the output embedding it is tied to.

    Autograd makes a table of zeros for the rows that a batch used and then a third table for the sum. Here the rows' gradients wait until
    the output's gradient is there: call :meth:`add_gradient` after each backward pass.

    Args:
        stock: the embedding that it stands in for; shares its parameter.
    """

    def __init__(self, stock: nn.Embedding) -> None:
        super().__init__(stock.num_embeddings, stock.embedding_dim, stock.padding_idx, _weight=stock.weight.detach())
        self.weight = stock.weight
        self._aside: list[tuple[Tensor, Tensor]] = []

    def forward(self, tokens: Tensor) -> Tensor:
        if torch.is_grad_enabled() and self.weight.requires_grad:
            return _Lookup.apply(self.weight, tokens, self._aside)
        return super().forward(tokens)

    @torch.no_grad()
    def add_gradient(self) -> None:
        """Add the gradients set aside to the parameter's; the padding row gets none, as in torch."""
        for tokens, gradient in self._aside:
            rows, values = tokens.reshape(-1), gradient.reshape(-1, self.embedding_dim)
            if self.padding_idx is not None:
                kept = rows != self.padding_idx
                rows, values = rows[kept], values[kept]
            if self.weight.grad is None:
                self.weight.grad = torch.zeros_like(self.weight)
            self.weight.grad.index_add_(0, rows, values.to(self.weight.grad.dtype))
        self._aside.clear()


def tie_gradients(model: nn.Module, on_cpu: bool, world_size: int) -> list[TiedEmbedding]:
    """Put a :class:`TiedEmbedding` wherever the model's input embedding is tied to its output.

    Nothing changes on a GPU, with several ranks (their gradients are reduced during the backward pass) or where nothing is tied.

    Returns:
        the embeddings put in, whose :meth:`TiedEmbedding.add_gradient` has to be called after each backward pass.
    """
    placed: list[TiedEmbedding] = []
    if on_cpu and world_size == 1:
        pointers = [p.data_ptr() for p in model.state_dict(keep_vars=True).values() if isinstance(p, Tensor)]
        for parent in list(model.modules()):
            for name, child in list(parent.named_children()):
                if type(child) is nn.Embedding and pointers.count(child.weight.data_ptr()) > 1:
                    placed.append(TiedEmbedding(child))
                    setattr(parent, name, placed[-1])
    where = f"{len(placed)} tied embedding(s)" if placed else "nowhere (it needs the CPU, one rank and tied embeddings)"
    logger.info(f"gradient of the input embedding is added in place: {where}")
    return placed


class FastDropout(FairseqDropout):
    """Dropout whose mask is drawn from 16-bit integers: torch's Bernoulli draws one 64-bit number an entry on one core.

    The probability is rounded to a multiple of 1/65536. The integers come from numpy's SFC64, seeded by torch's generator, so that a run
    repeats and resumes to the bit; they are not the numbers that torch would have drawn.
    """

    def forward(self, x: Tensor, inplace: bool = False) -> Tensor:
        if not (self.p > 0 and (self.training or self.apply_during_inference)):
            return x
        cut = round(self.p * 65536)
        words = (
            np.random.SFC64(int(torch.randint(2**62, ()))).random_raw(-(-x.numel() // 4)).view(np.uint16)[: x.numel()]
        )
        keep = torch.from_numpy(words >= cut).view(x.shape)
        return x * keep * (65536 / (65536 - cut))


def speed_up_dropout(model: nn.Module, on_cpu: bool) -> int:
    """Put :class:`FastDropout` in place of fairseq's dropout on the CPU; returns how many.

    Attention goes fairseq's own way instead of torch's function, which would draw its own mask of the attention weights.
    """
    number = 0
    if on_cpu:
        for parent in list(model.modules()):
            for name, child in list(parent.named_children()):
                if type(child) is FairseqDropout and 0 < child.p < 1:
                    fast = FastDropout(child.p, child.module_name)
                    fast.apply_during_inference = child.apply_during_inference
                    setattr(parent, name, fast)
                    number += 1
                    if type(parent) is MultiheadAttention:
                        parent._set_skip_embed_dim_check()
    logger.info(f"dropout masks from 16-bit integers: {number} modules")
    return number


def loss_scale(optimizer: Any) -> float | None:
    """The loss scale of ``--amp``, or ``None`` without: that of ``--fp16`` says nothing here, for its overflows never get to a step."""
    return float(optimizer.scaler.get_scale()) if isinstance(optimizer, AMPOptimizer) else None
