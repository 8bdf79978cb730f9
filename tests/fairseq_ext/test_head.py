"""The faster output layer and attention compute what fairseq's compute."""

from __future__ import annotations

import copy

import pytest
import torch
from fairseq.models.roberta.model import RobertaLMHead
from fairseq.modules.multihead_attention import MultiheadAttention
from torch import nn

from fairseq_ext import precision
from fairseq_ext.head import SLICE, FastHead, speed_up_head

ROWS = 2 * SLICE + 77


def heads() -> tuple[nn.Module, nn.Module]:
    """A model of an embedding tied to its head, twice, the second with the faster head."""
    torch.manual_seed(1)
    model = nn.Module()
    model.embed_tokens = nn.Embedding(ROWS, 24)
    model.lm_head = RobertaLMHead(24, ROWS, "gelu", weight=model.embed_tokens.weight)
    nn.init.normal_(model.lm_head.bias)
    other = copy.deepcopy(model)
    assert speed_up_head(other, on_cpu=True) == 1
    return model, other


def test_the_fast_head_gives_the_same_logits_and_gradients() -> None:
    stock, fast = heads()
    assert type(fast.lm_head) is FastHead
    features = torch.randn(5, 9, 24)
    chosen = torch.rand(5, 9) < 0.3
    found = []
    for model in (stock, fast):
        given = features.clone().requires_grad_()
        logits = model.lm_head(given, masked_tokens=chosen)
        torch.nn.functional.cross_entropy(logits, torch.arange(len(logits)) * 31, reduction="sum").backward()
        found.append([logits.detach(), given.grad, *(p.grad for p in model.parameters())])
    assert len(found[0]) == len(found[1]) == 8
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-6)


def test_the_fast_head_keeps_names_and_ties() -> None:
    stock, fast = heads()
    assert list(stock.state_dict()) == list(fast.state_dict())
    assert fast.lm_head.weight is fast.embed_tokens.weight
    assert speed_up_head(copy.deepcopy(stock), on_cpu=False) == 0
    whole = torch.randn(2, 3, 24)
    torch.testing.assert_close(fast.eval().lm_head(whole), stock.eval().lm_head(whole), rtol=0, atol=0)


@pytest.mark.parametrize("padded", [False, True])
def test_attention_with_fast_dropout_is_the_same_attention(padded: bool) -> None:
    torch.manual_seed(2)
    stock = MultiheadAttention(16, 4, dropout=0.5, self_attention=True)
    fast = copy.deepcopy(stock)
    assert precision.speed_up_dropout(fast, on_cpu=True) == 1
    x = torch.randn(7, 3, 16)
    mask = (torch.arange(7) >= torch.tensor([[7], [4], [6]])) if padded else None
    one, other = (m.eval()(x, x, x, key_padding_mask=mask, need_weights=False)[0] for m in (stock, fast))
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    mean = torch.stack([fast.train()(x, x, x, key_padding_mask=mask, need_weights=False)[0] for _ in range(4000)]).mean(
        0
    )
    torch.testing.assert_close(mean, one, rtol=0.1, atol=0.05)
