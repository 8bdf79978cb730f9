"""What makes an update cheaper changes nothing that is learned: the tied gradient, dropout's distribution, autocast's choice."""

from __future__ import annotations

import logging

import pytest
import torch
from fairseq.modules.fairseq_dropout import FairseqDropout
from torch import nn
from torch.nn import functional

from fairseq_ext import precision
from fairseq_ext.errors import UserError


class Model(nn.Module):
    """An embedding, a nonlinear layer, and an output that may be tied to the embedding."""

    def __init__(self, tied: bool) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.embed_tokens = nn.Embedding(40, 8, padding_idx=1)
        self.middle = nn.Linear(8, 8)
        self.head = nn.Linear(8, 40, bias=False)
        if tied:
            self.head.weight = self.embed_tokens.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.middle(self.embed_tokens(tokens))))


def backward(model: Model, tokens: torch.Tensor) -> None:
    functional.cross_entropy(model(tokens).reshape(-1, 40), tokens.reshape(-1), reduction="sum").backward()


TOKENS = torch.tensor([[5, 7, 7, 39, 1, 1], [4, 5, 6, 7, 8, 1]])


@pytest.mark.parametrize("batches", [1, 3])
def test_the_tied_gradient_is_autograds(batches: int) -> None:
    stock, ours = Model(tied=True), Model(tied=True)
    placed = precision.tie_gradients(ours, on_cpu=True, world_size=1)
    assert len(placed) == 1
    assert ours.embed_tokens.weight is ours.head.weight
    assert list(stock.state_dict()) == list(ours.state_dict())
    for _ in range(batches):
        backward(stock, TOKENS)
        backward(ours, TOKENS)
        for embedding in placed:
            embedding.add_gradient()
    for (name, wanted), (_, found) in zip(stock.named_parameters(), ours.named_parameters(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-5, atol=1e-6, msg=name)
    without_input = Model(tied=True)
    precision.tie_gradients(without_input, on_cpu=True, world_size=1)
    backward(without_input, TOKENS)
    assert not torch.allclose(without_input.embed_tokens.weight.grad, stock.embed_tokens.weight.grad / batches)


@pytest.mark.parametrize(("tied", "on_cpu", "world_size"), [(False, True, 1), (True, False, 1), (True, True, 2)])
def test_elsewhere_nothing_is_put_in(tied: bool, on_cpu: bool, world_size: int) -> None:
    model = Model(tied)
    assert precision.tie_gradients(model, on_cpu, world_size) == []
    assert type(model.embed_tokens) is nn.Embedding


def test_evaluation_sets_nothing_aside() -> None:
    model = Model(tied=True)
    (placed,) = precision.tie_gradients(model, on_cpu=True, world_size=1)
    with torch.no_grad():
        model(TOKENS)
    placed.add_gradient()
    assert model.embed_tokens.weight.grad is None


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_fast_dropout_drops_with_its_probability_and_keeps_the_mean(p: float) -> None:
    dropout = precision.FastDropout(p)
    torch.manual_seed(3)
    x = torch.ones(400, 1001, requires_grad=True)
    y = dropout(x)
    n = x.numel()
    dropped = (y == 0).double().mean().item()
    assert abs(dropped - p) < 5 * (p * (1 - p) / n) ** 0.5 + 1 / 65536
    torch.testing.assert_close(y[y != 0].unique(), torch.tensor([65536 / (65536 - round(p * 65536))]))
    columns = (y == 0).double().mean(0)
    assert columns.std().item() == pytest.approx((p * (1 - p) / 400) ** 0.5, rel=0.15)  # independent entries
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_fast_dropout_repeats_with_torchs_seed_and_is_off_in_evaluation() -> None:
    dropout, x = precision.FastDropout(0.3), torch.ones(7, 11)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append((dropout(x), dropout(x)))
    assert torch.equal(draws[0][0], draws[1][0])
    assert torch.equal(draws[0][1], draws[1][1])
    assert not torch.equal(draws[0][0], draws[0][1])
    assert not torch.equal(draws[0][0], draws[2][0])
    assert torch.equal(dropout.eval()(x), x)


def test_fairseqs_dropout_is_replaced_on_the_cpu_only() -> None:
    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(2, 2), FairseqDropout(0.1, "a"), nn.Sequential(FairseqDropout(0.0, "b")))

    ours = model()
    assert precision.speed_up_dropout(ours, on_cpu=True) == 1
    assert type(ours[1]) is precision.FastDropout
    assert ours[1].p == 0.1
    assert type(ours[2][0]) is FairseqDropout
    assert precision.speed_up_dropout(model(), on_cpu=False) == 0


def test_autocast_auto_follows_the_cpu_and_says_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: False)
    assert precision.choose("auto", on_cpu=True) is False
    assert "no bfloat16 instructions" in caplog.text
    assert precision.choose("bf16", on_cpu=True) is True
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: True)
    assert precision.choose("auto", on_cpu=True) is True
    assert precision.choose("off", on_cpu=True) is False
    assert precision.choose("auto", on_cpu=False) is False
    with pytest.raises(UserError, match="--amp"):
        precision.choose("bf16", on_cpu=False)


def test_autocast_covers_the_forward_pass_alone() -> None:
    seen = []
    linear = nn.Linear(4, 4)

    def criterion(model: nn.Module, sample: torch.Tensor) -> torch.Tensor:
        seen.append(torch.is_autocast_enabled("cpu"))
        return model(sample)

    wrapped = precision.Autocast(criterion, lambda: torch.autocast("cpu", dtype=torch.bfloat16))
    assert wrapped(linear, torch.ones(2, 4)).dtype == torch.bfloat16
    assert seen == [True]
    assert not torch.is_autocast_enabled("cpu")
    assert linear.weight.dtype == torch.float32
