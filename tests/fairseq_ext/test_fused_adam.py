"""The fused optimiser against fairseq's own Adam."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from fairseq.optim.adam import FairseqAdam as StockFairseqAdam
from torch import Tensor, nn

from fairseq_ext.optim.fused_adam import FairseqAdam

ROWS, DIM, UPDATES = 60, 16, 50


def options(weight_decay: float = 0.01, eps: float = 1e-6) -> SimpleNamespace:
    return SimpleNamespace(
        lr=[5e-4], adam_betas="(0.9, 0.98)", adam_eps=eps, weight_decay=weight_decay, use_old_adam=True,
        fp16_adam_stats=False, tpu=False, amsgrad=False,
    )  # fmt: skip


def make(
    kind: type, values: list[Tensor], weight_decay: float, eps: float, groups: bool
) -> tuple[object, list[nn.Parameter]]:
    parameters = [nn.Parameter(v.clone()) for v in values]
    given: list = parameters
    if groups:
        given = [{"params": parameters[:1], "weight_decay": 0.0, "lr": 1e-3}, {"params": parameters[1:]}]
    return kind(options(weight_decay, eps), given), parameters


def gradients(scale: float, update: int, join: int) -> list[Tensor | None]:
    """Of an embedding (rows 40 and later are seen at one update only), of a vector that joins at update ``join``, of a matrix."""
    generator = torch.Generator().manual_seed(update)
    table = scale * torch.randn(ROWS, DIM, generator=generator)
    once = torch.arange(ROWS) >= 40
    table[once & (torch.arange(ROWS) - 40 != update)] = 0
    vector = scale * torch.randn(DIM, generator=generator)
    matrix = scale * torch.randn(DIM, DIM, generator=generator)
    return [table, vector if update >= join else None, matrix]


def train(
    optimizer: object, parameters: list[nn.Parameter], scale: float, first: int = 0, last: int = UPDATES, join: int = 7
) -> None:
    for update in range(first, last):
        for parameter, gradient in zip(parameters, gradients(scale, update, join), strict=True):
            parameter.grad = None if gradient is None else gradient.to(parameter.dtype)
        optimizer.optimizer.step()


def start() -> list[Tensor]:
    generator = torch.Generator().manual_seed(99)
    return [0.02 * torch.randn(*shape, generator=generator) for shape in ((ROWS, DIM), (DIM,), (DIM, DIM))]


def differences(found: list[nn.Parameter], wanted: list[nn.Parameter], initial: list[Tensor]) -> list[float]:
    """Relative distance of the displacements: of each row of the table, of the vector, of the matrix."""
    result = []
    for a, b, origin in zip(found, wanted, initial, strict=True):
        rows = (a.detach().double() - b.detach().double(), b.detach().double() - origin.double())
        apart, moved = (r.reshape(-1, r.shape[-1]).norm(dim=1) for r in rows)
        result += (apart / moved).tolist()
    return result


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
@pytest.mark.parametrize("groups", [False, True])
@pytest.mark.parametrize("scale", [1e-2, 1e-5, 1e-7])
def test_displacement_equals_that_of_fairseqs_adam(scale: float, groups: bool, weight_decay: float) -> None:
    initial = start()
    stock, theirs = make(StockFairseqAdam, initial, weight_decay, 1e-6, groups)
    fused, ours = make(FairseqAdam, initial, weight_decay, 1e-6, groups)
    train(stock, theirs, scale)
    train(fused, ours, scale)
    assert not torch.equal(ours[0], initial[0])
    exact, reference = make(StockFairseqAdam, [v.double() for v in initial], weight_decay, 1e-6, groups)
    train(exact, reference, scale)
    apart, rounding = differences(ours, theirs, initial), differences(theirs, reference, initial)
    assert len(apart) == ROWS + 1 + DIM
    # where decay moves a weight by less than its last bit at each update, fairseq's own result is rounding to more than 1e-4
    assert max(apart) < max(1e-4, 2 * max(rounding)), (max(apart), max(rounding))
    if weight_decay == 0:
        assert max(apart) < 1e-4, max(apart)


@pytest.mark.parametrize("scale", [1e-2, 1e-5, 1e-7, 1e-9])
def test_the_formula_is_the_same_with_decay_and_groups(scale: float) -> None:
    """In float64, where rounding is no part of it; what is left is the step count's float32 in the bias correction."""
    initial = [v.double() for v in start()]
    stock, theirs = make(StockFairseqAdam, initial, 0.01, 1e-6, True)
    fused, ours = make(FairseqAdam, initial, 0.01, 1e-6, True)
    train(stock, theirs, scale)
    train(fused, ours, scale)
    assert max(differences(ours, theirs, initial)) < 1e-9


def test_plain_fused_adamw_would_not_agree() -> None:
    """What the eps of each step is for: without it rows with small gradients move otherwise."""
    initial = start()
    stock, theirs = make(StockFairseqAdam, initial, 0.0, 1e-6, False)
    train(stock, theirs, 1e-7, join=0)
    plain = [nn.Parameter(v.clone()) for v in initial]
    torch_adam = SimpleNamespace(
        optimizer=torch.optim.AdamW(plain, lr=5e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0, fused=True)
    )
    train(torch_adam, plain, 1e-7, join=0)
    assert max(differences(plain, theirs, initial)) > 0.1


@pytest.mark.parametrize(("first", "second"), [(StockFairseqAdam, FairseqAdam), (FairseqAdam, StockFairseqAdam)])
def test_a_state_of_either_continues_with_the_other(
    first: type, second: type, caplog: pytest.LogCaptureFixture
) -> None:
    initial = start()
    whole, wanted = make(StockFairseqAdam, initial, 0.01, 1e-6, False)
    train(whole, wanted, 1e-5)
    begun, parameters = make(first, initial, 0.01, 1e-6, False)
    train(begun, parameters, 1e-5, last=25)
    state = begun.state_dict()
    other, copies = make(second, [p.detach() for p in parameters], 0.01, 1e-6, False)
    with caplog.at_level("INFO"):
        other.load_state_dict(state)
    assert ("fairseq's Adam" in caplog.text) == (first is StockFairseqAdam)
    train(other, copies, 1e-5, first=25)
    assert max(differences(copies, wanted, initial)) < 1e-4


def test_there_and_back_and_there_again() -> None:
    initial = start()
    whole, wanted = make(StockFairseqAdam, initial, 0.01, 1e-6, False)
    train(whole, wanted, 1e-5)
    values, state = initial, None
    for leg, kind in enumerate([FairseqAdam, StockFairseqAdam, FairseqAdam, StockFairseqAdam, FairseqAdam]):
        optimizer, parameters = make(kind, values, 0.01, 1e-6, False)
        if state is not None:
            optimizer.load_state_dict(state)
        train(optimizer, parameters, 1e-5, first=10 * leg, last=10 * leg + 10)
        values, state = [p.detach() for p in parameters], optimizer.state_dict()
    assert max(differences(parameters, wanted, initial)) < 1e-4


def test_resuming_is_exact_to_the_bit() -> None:
    initial = start()
    whole, wanted = make(FairseqAdam, initial, 0.01, 1e-6, True)
    train(whole, wanted, 1e-5)
    begun, parameters = make(FairseqAdam, initial, 0.01, 1e-6, True)
    train(begun, parameters, 1e-5, last=5)  # the vector has not joined
    other, copies = make(FairseqAdam, [p.detach() for p in parameters], 0.01, 1e-6, True)
    other.load_state_dict(begun.state_dict())
    train(other, copies, 1e-5, first=5)
    assert all(torch.equal(a, b) for a, b in zip(copies, wanted, strict=True))
    assert [g["eps"] for g in other.param_groups] == [1e-6, 1e-6]


def test_the_learning_rate_of_the_schedule_is_used() -> None:
    initial = start()
    fused, parameters = make(FairseqAdam, initial, 0.0, 1e-6, False)
    fused.set_lr(0.0)
    train(fused, parameters, 1e-2, last=3)
    assert all(torch.equal(a, b) for a, b in zip(parameters, initial, strict=True))
