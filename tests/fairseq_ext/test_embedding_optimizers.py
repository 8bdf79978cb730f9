"""The optimisers with a rule for the embedding tables: their equations in numpy, what happens to the mean row, real trainings."""

from __future__ import annotations

import math
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fairseq.models.roberta.model import RobertaLMHead
from fairseq.optim import AMPOptimizer
from hypothesis import given, settings
from hypothesis import strategies as st
from running import Launcher, Run, arguments, assert_same_training, load, nothing_but_checkpoints
from torch import Tensor, nn
from torch.nn import functional

from fairseq_ext.errors import UserError
from fairseq_ext.optim import embedding
from fairseq_ext.optim.fused_adam import FairseqAdam

ROWS, DIM, UPDATES = 700, 24, 20
BETAS, EPS, DECAY, LR = (0.9, 0.98), 1e-6, 0.01, 3e-3
RULES = {
    "coupled_adam": embedding.CoupledAdam,
    "embedding_amsgrad": embedding.EmbeddingAMSGrad,
    "embedding_sgd": embedding.EmbeddingSGD,
    "undecayed_adam": embedding.UndecayedAdam,
    "centered_adam": embedding.CenteredAdam,
}


def options(**more: Any) -> SimpleNamespace:
    usual = {
        "lr": [LR], "adam_betas": "(0.9, 0.98)", "adam_eps": EPS, "weight_decay": DECAY, "use_old_adam": True, "fp16_adam_stats": False,
        "tpu": False, "embedding_tables": "", "embedding_lr_scale": 1.0, "embedding_momentum": 0.9, "embedding_weight_decay": 0.0,
    }  # fmt: skip
    return SimpleNamespace(**{**usual, **more})


def parameters(dtype: torch.dtype = torch.float64) -> list[nn.Parameter]:
    """A table that is marked, a matrix and a vector."""
    generator = torch.Generator().manual_seed(5)
    shapes = (ROWS, DIM), (DIM, DIM), (DIM,)
    made = [nn.Parameter((0.02 * torch.randn(*shape, generator=generator)).to(dtype)) for shape in shapes]
    setattr(made[0], embedding.MARK, "table")
    return made


def gradients(update: int, dtype: torch.dtype) -> list[Tensor]:
    """Of tokens whose gradients are of very different sizes; most rows' are rarely large, some are always zero."""
    generator = torch.Generator().manual_seed(100 + update)
    sizes = torch.logspace(-1, -8, ROWS)[:, None] * (torch.rand(ROWS, 1, generator=generator) < 0.7)
    sizes[-20:] = 0
    return [(size * torch.randn(*shape, generator=generator)).to(dtype) for size, shape in ((sizes, (ROWS, DIM)), (1e-3, (DIM, DIM)), (1e-4, (DIM,)))]  # fmt: skip


def train(optimizer: Any, given_parameters: list[nn.Parameter], first: int = 0, last: int = UPDATES) -> None:
    for update in range(first, last):
        optimizer.set_lr(learning_rate(update))
        for parameter, gradient in zip(given_parameters, gradients(update, given_parameters[0].dtype), strict=True):
            parameter.grad = gradient
        optimizer.step()


def learning_rate(update: int) -> float:
    return LR * (1 + update) / UPDATES


def by_numpy(rule: str, p: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """The rule written down once more, from its paper: the whole table at once, in float64, second moments of every row."""
    p = p.copy()
    m, v, most, u = (np.zeros_like(p) for _ in range(4))
    for update in range(UPDATES):
        lr, t = scale * learning_rate(update), update + 1
        g = gradients(update, torch.float64)[0].numpy()
        m = BETAS[0] * m + (1 - BETAS[0]) * g
        v = BETAS[1] * v + (1 - BETAS[1]) * g * g
        most = np.maximum(most, v)
        u = 0.9 * u + g
        m_hat = m / (1 - BETAS[0] ** t)
        root = math.sqrt(1 - BETAS[1] ** t)
        if rule == "embedding_sgd":
            p = p - lr * u
            continue
        second = {"coupled_adam": np.broadcast_to(v.mean(0), v.shape), "embedding_amsgrad": most}.get(rule, v)
        p = p if rule == "undecayed_adam" else p - lr * DECAY * p
        p = p - lr * m_hat / ((np.sqrt(second) + EPS) / root)
        if rule == "centered_adam":
            p = p - p.mean(0)
    return p


@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize("rule", RULES)
def test_twenty_updates_equal_those_of_the_equations_in_numpy(rule: str, scale: float) -> None:
    wanted_at = parameters()
    wanted = by_numpy(rule, wanted_at[0].detach().numpy(), scale)
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-6)):
        ours = parameters(dtype)
        optimizer = RULES[rule](options(embedding_lr_scale=scale), ours)
        train(optimizer, ours)
        found = ours[0].detach().double().numpy()
        assert np.abs(found - wanted).max() < tolerance * max(1.0, np.abs(wanted).max()), dtype
    moved = np.abs(wanted - wanted_at[0].detach().numpy()).max()
    assert moved > 1e-2 * min(1.0, scale / 30)  # so 1e-6 says something


@pytest.mark.parametrize("rule", RULES)
def test_everything_but_the_tables_is_trained_as_by_fused_adam_to_the_bit(rule: str) -> None:
    ours, theirs = parameters(torch.float32), parameters(torch.float32)
    train(RULES[rule](options(embedding_lr_scale=7.0), ours), ours)
    train(FairseqAdam(options(), theirs), theirs)
    for one, other in zip(ours[1:], theirs[1:], strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(ours[0], theirs[0])


def test_the_rules_differ_from_one_another() -> None:
    start = parameters()[0].detach().numpy()
    found = [by_numpy(rule, start) for rule in RULES]
    for number, one in enumerate(found):
        for other in found[:number]:
            assert np.abs(one - other).max() > 1e-5


@pytest.mark.parametrize("rule", RULES)
def test_a_state_that_is_saved_and_loaded_goes_on_to_the_bit(rule: str) -> None:
    whole, begun, resumed = (parameters(torch.float32) for _ in range(3))
    train(RULES[rule](options(), whole), whole)
    first = RULES[rule](options(), begun)
    train(first, begun, last=8)
    with torch.no_grad():
        for one, other in zip(resumed, begun, strict=True):
            one.copy_(other)
    second = RULES[rule](options(), resumed)
    second.load_state_dict(first.state_dict())
    train(second, resumed, first=8)
    for one, other in zip(resumed, whole, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "centered_adam"])
def test_at_a_learning_rate_of_zero_nothing_moves(rule: str) -> None:
    """fairseq's schedules begin or end there."""
    ours = parameters(torch.float32)
    optimizer, start = RULES[rule](options(), ours), ours[0].detach().clone()
    optimizer.set_lr(0.0)
    for parameter, gradient in zip(ours, gradients(0, torch.float32), strict=True):
        parameter.grad = gradient
    optimizer.step()
    assert torch.equal(ours[0], start)


@pytest.mark.parametrize("rows", [1, 2, 341, 342, 5000])
def test_coupled_adam_in_blocks_equals_the_plain_step(rows: int) -> None:
    """The fused kernel on blocks of the table, the last one smaller, against the step without it; squared gradients 100,000 times the mean as well."""
    generator = torch.Generator().manual_seed(rows)
    p = torch.randn(rows, 768, generator=generator)
    group = {"lr": 1e-3, "betas": BETAS, "eps": EPS, "weight_decay": 0.1}
    moment, mean_sq = torch.zeros_like(p), 1e-8 * torch.rand(768, generator=generator)
    found = []
    for move in (embedding.rules._fused, embedding.rules._plain):
        weight, first, second = nn.Parameter(p.clone()), moment.clone(), mean_sq.clone()
        weight.grad = (
            torch.randn(rows, 768, generator=torch.Generator().manual_seed(7)) * torch.logspace(-9, -1.5, rows)[:, None]
        )
        with torch.no_grad():
            move(weight, first, second, 0.7, group)
        assert torch.equal(second, mean_sq)
        found.append((weight.detach(), first))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=3e-6, atol=1e-7)


CHANGES = [
    ({"embedding_lr_scale": 2.0}, "lr_scale 1.0, this run's with lr_scale 2.0"),
    ({"embedding_tables": "other"}, r"tables \['table'\], this run's with tables \['other'\]"),
    ({"embedding_tables": "*"}, "parameters 2, this run's with parameters 1"),
    ({"embedding_weight_decay": 0.5}, "weight_decay 0.0, this run's with weight_decay 0.5"),
    ({"embedding_momentum": 0.5}, "momentum 0.9, this run's with momentum 0.5"),
    ({"weight_decay": 0.3}, "weight_decay 0.01, this run's with weight_decay 0.3"),
    ({"adam_betas": "(0.5, 0.9)"}, r"betas \[0.9, 0.98\], this run's with betas \[0.5, 0.9\]"),
    ({"adam_eps": 1e-3}, "eps 1e-06, this run's with eps 0.001"),
]


def two_tables() -> list[nn.Parameter]:
    """Two tables of different shapes, the first of which the rule is for, and a matrix."""
    made = [nn.Parameter(torch.ones(*shape)) for shape in ((ROWS, DIM), (DIM, 3), (DIM, DIM))]
    for name, parameter in zip(("table", "other"), made, strict=False):
        setattr(parameter, embedding.MARK, name)
    return made


@pytest.mark.parametrize(("change", "words"), CHANGES)
def test_a_state_of_other_tables_or_options_is_refused(change: dict[str, Any], words: str) -> None:
    """Loaded all the same, moments would go to parameters of another shape, or the options of the run would not be those used."""
    given_options = {"embedding_tables": "table"}
    first, second = two_tables(), two_tables()
    optimizer = embedding.EmbeddingSGD(options(**given_options), first)
    for parameter in first:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    other = embedding.EmbeddingSGD(options(**{**given_options, **change}), second)
    with pytest.raises(UserError, match=words):
        other.load_state_dict(optimizer.state_dict())
    assert not other.optimizer.state
    common = SimpleNamespace(fp16_init_scale=1, min_loss_scale=1e-4)
    under_amp = AMPOptimizer(SimpleNamespace(optimizer=None, common=common), second, other)
    with pytest.raises(UserError, match=words):  # where fairseq goes past its optimiser
        under_amp.load_state_dict(optimizer.state_dict(), None)


def test_overrides_change_what_adam_trains_and_no_rule() -> None:
    """``--optimizer-overrides`` is fairseq's way to go on with another number. A checkpoint from before tables were named gets their names."""
    first, second = two_tables(), two_tables()
    optimizer = embedding.EmbeddingSGD(options(embedding_tables="table"), first)
    for parameter in first:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    state = optimizer.state_dict()
    del state["param_groups"][-1]["tables"]
    other = embedding.EmbeddingSGD(options(embedding_tables="table", weight_decay=0.3), second)
    other.load_state_dict(state, {"weight_decay": 0.3})
    assert [group["weight_decay"] for group in other.param_groups] == [0.3, 0.0]
    assert other.param_groups[-1]["tables"] == ["table"]
    assert torch.equal(other.optimizer.state[second[0]]["momentum_buffer"], torch.ones(ROWS, DIM))


def test_another_rules_state_is_refused_under_amp() -> None:
    """fairseq itself compares the names of the optimisers' classes, which under ``--amp`` are one."""
    common = SimpleNamespace(fp16_init_scale=1, min_loss_scale=1e-4)
    ours, theirs = parameters(torch.float32), parameters(torch.float32)
    coupled, sgd = (
        AMPOptimizer(SimpleNamespace(optimizer=None, common=common), given, RULES[rule](options(), given))
        for rule, given in (("coupled_adam", theirs), ("embedding_sgd", ours))
    )
    with pytest.raises(UserError, match=r"rule coupled_adam.*this run's with rule sgd"):
        sgd.load_state_dict(coupled.state_dict(), None)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("scale", [2.0**7, 2.0**16])
def test_under_amp_a_step_is_the_same_to_the_bit(rule: str, scale: float) -> None:
    """Stock fairseq removes the scale twice (compat.py): then SGD's table hardly moves, and eps weighs more under Adam."""
    ours, theirs = parameters(torch.float32), parameters(torch.float32)
    common = SimpleNamespace(fp16_init_scale=scale, min_loss_scale=1e-4)
    scaled = AMPOptimizer(SimpleNamespace(optimizer=None, common=common), ours, RULES[rule](options(), ours))
    scaled._grad_scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    scaled._grad_scaler.scale(torch.zeros(()))
    plain = RULES[rule](options(), theirs)
    for update in range(5):
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            one.grad, other.grad = (
                gradients(update, torch.float32)[number] * scale,
                gradients(update, torch.float32)[number],
            )
        if update == 2:  # an overflow: no step is taken, and the scale is halved
            ours[1].grad[0, 0] = torch.inf
        norms = scaled.clip_grad_norm(0.01), plain.clip_grad_norm(0.01)
        scaled.step()
        if update == 2:
            scale = scaled._grad_scaler.get_scale()
            continue
        plain.step()
        assert torch.equal(*norms)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(ours[0], parameters(torch.float32)[0])


def test_coupled_adam_keeps_one_second_moment_for_all_rows() -> None:
    ours = parameters(torch.float32)
    optimizer = embedding.CoupledAdam(options(), ours)
    train(optimizer, ours)
    state = optimizer.optimizer.state[ours[0]]
    assert {name: tuple(value.shape) for name, value in state.items()} == {"step": (), "exp_avg": (ROWS, DIM), "mean_sq": (DIM,)}  # fmt: skip


class TinyHead(nn.Module):
    """An input table, a hidden layer and fairseq's head: tied, or with a table of its own."""

    def __init__(self, rows: int, dim: int, tied: bool, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.input = nn.Embedding(rows, dim)
        nn.init.normal_(self.input.weight, std=0.02)
        self.hidden = nn.Linear(dim, dim)
        self.head = RobertaLMHead(dim, rows, "gelu", self.input.weight if tied else None)
        self.tied = tied

    @property
    def table(self) -> nn.Parameter:
        return self.head.weight

    def loss(self, tokens: Tensor, targets: Tensor, through_input: bool) -> Tensor:
        """``through_input`` False: the input's gradient, which does not sum to zero, is left out."""
        found = self.input(tokens)
        found = found if through_input else found.detach()
        return functional.cross_entropy(self.head(torch.tanh(self.hidden(found))), targets)


def learn(model: TinyHead, rule: str, updates: int, seed: int, through_input: bool, **more: Any) -> tuple[Tensor, Tensor, float]:  # fmt: skip
    """Train; returns the mean row of the head's table before and after, and how far its rows moved."""
    embedding.mark_tables(model, [n for n, _ in model.named_parameters() if n in ("input.weight", "head.weight")])
    optimizer = RULES[rule](options(**more), list(model.parameters()))
    generator = torch.Generator().manual_seed(seed)
    rows = len(model.table)
    start = model.table.detach().double().clone()
    for _ in range(updates):
        tokens, targets = (torch.randint(rows, (40,), generator=generator) ** 2 // rows for _ in range(2))
        optimizer.zero_grad()
        model.loss(tokens, targets, through_input).backward()
        optimizer.step()
    end = model.table.detach().double()
    return start.mean(0), end.mean(0), float((end - start).norm(dim=1).mean())


@settings(deadline=None, max_examples=15, derandomize=True)
@given(
    tied=st.booleans(), rows=st.integers(30, 400), dim=st.integers(4, 24), seed=st.integers(0, 10_000),
    momentum=st.sampled_from([0.0, 0.9]), scale=st.floats(1, 100),
)  # fmt: skip
def test_under_sgd_a_gradient_that_sums_to_zero_leaves_the_mean_row_where_it_was(
    tied: bool, rows: int, dim: int, seed: int, momentum: float, scale: float
) -> None:
    model = TinyHead(rows, dim, tied, seed)
    before, after, moved = learn(model, "embedding_sgd", 30, seed, not tied, embedding_momentum=momentum, embedding_lr_scale=scale)  # fmt: skip
    assert float((after - before).norm()) < 2e-6 * (moved + float(model.table.detach().norm(dim=1).mean()))
    assert moved > 1e-6


@pytest.mark.parametrize("tied", [True, False])
def test_under_adam_the_same_gradient_moves_the_mean_row(tied: bool) -> None:
    """So the property above is SGD's and not that of the model or of the data."""
    before, after, moved = learn(TinyHead(300, 16, tied, 1), "undecayed_adam", 30, 1, not tied)
    assert float((after - before).norm()) > 0.2 * moved


def test_tied_what_moves_the_mean_row_under_sgd_is_the_inputs_gradient() -> None:
    """The mean row moves by exactly the velocity of the mean gradient that comes through the lookups."""
    model = TinyHead(200, 16, True, 3).double()
    embedding.mark_tables(model, ["input.weight"])
    optimizer = RULES["embedding_sgd"](options(embedding_lr_scale=50.0), list(model.parameters()))
    generator = torch.Generator().manual_seed(3)
    start, velocity, moved = model.table.detach().mean(0).clone(), torch.zeros(16).double(), torch.zeros(16).double()
    for _ in range(12):
        tokens, targets = (torch.randint(200, (40,), generator=generator) for _ in range(2))
        optimizer.zero_grad()
        model.loss(tokens, targets, through_input=False).backward()
        of_head = model.table.grad.clone()
        optimizer.zero_grad()
        model.loss(tokens, targets, through_input=True).backward()
        velocity = 0.9 * velocity + (model.table.grad - of_head).mean(0)
        moved -= 50.0 * LR * velocity
        optimizer.step()
    assert float(moved.norm()) > 1e-4
    torch.testing.assert_close(model.table.detach().mean(0) - start, moved, rtol=1e-9, atol=1e-14)


def test_coupled_adam_keeps_the_sum_at_zero_only_as_far_as_its_denominators_agree() -> None:
    """All rows are divided by one vector, so a zero sum stays a zero sum under Coupled Adam without decay."""
    before, after, moved = learn(TinyHead(300, 16, True, 2), "coupled_adam", 30, 2, False, weight_decay=0.0)
    assert float((after - before).norm()) < 1e-5 * moved


# -- real trainings ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "untied"),
    [
        ("coupled_adam", False),
        ("coupled_adam", True),
        ("embedding_sgd", True),
        ("embedding_amsgrad", False),
        ("centered_adam", False),
    ],
)
def test_a_training_is_recorded_killed_and_resumed_to_the_bit(
    launcher: Launcher, corpus: Path, tmp_path: Path, rule: str, untied: bool
) -> None:
    more = ["--optimizer", rule, "--embedding-lr-scale", 3, *(["--untie-weights-roberta"] if untied else [])]
    whole = launcher.run("train", arguments(corpus, tmp_path / "whole", *more, last=15))
    assert whole.status == 0, whole.said[-3000:]
    process = launcher.start("train", arguments(corpus, tmp_path / "killed", *more, last=15))
    assert process.until_update(13)
    os.kill(process.pid, 9)
    process.finish()
    again = launcher.run("train", arguments(corpus, tmp_path / "killed", *more, last=15))
    assert again.status == 0, again.said[-3000:]
    assert_same_training(*(Run(tmp_path / name, again).last for name in ("whole", "killed")))


def test_recording_changes_nothing(launcher: Launcher, corpus: Path, tmp_path: Path) -> None:
    more = ["--optimizer", "coupled_adam", "--record-cause", "every:1"]
    runs = {}
    for name, chosen in (("recorded", more), ("plain", more[:2])):
        runs[name] = launcher.run(
            "train", arguments(corpus, tmp_path / name, *chosen, last=10, record=name == "recorded")
        )
        assert runs[name].status == 0, runs[name].said[-3000:]
    assert_same_training(*(Run(tmp_path / name, run).last for name, run in runs.items()))


def test_a_checkpoint_of_another_rule_or_of_other_options_is_refused(
    launcher: Launcher, corpus: Path, tmp_path: Path
) -> None:
    more = ["--optimizer", "embedding_sgd", "--embedding-lr-scale", 3]
    done = launcher.run("train", arguments(corpus, tmp_path, *more, last=10, record=False))
    assert done.status == 0, done.said[-3000:]
    before = load(Run(tmp_path, done).last)["last_optimizer_state"]
    other = launcher.run("train", arguments(corpus, tmp_path, *more, "--embedding-lr-scale", 4, last=12, record=False))
    assert "was made with lr_scale 3.0, this run's with lr_scale 4.0; give the options" in other.error
    rule = launcher.run("train", arguments(corpus, tmp_path, "--optimizer", "coupled_adam", last=12, record=False))
    assert rule.status != 0
    assert "Optimizer does not match" in rule.said
    after = load(Run(tmp_path, done).last)["last_optimizer_state"]
    assert torch.equal(before["state"][len(before["state"]) - 1]["momentum_buffer"], after["state"][len(after["state"]) - 1]["momentum_buffer"])  # fmt: skip


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--optimizer", "embedding_sgd", "--embedding-momentum", 1.0], "--embedding-momentum: expected a number from 0 to below 1, found 1.0"),
        (["--optimizer", "coupled_adam", "--embedding-lr-scale", 0], "--embedding-lr-scale: expected a number above 0, found 0"),
        (["--optimizer", "coupled_adam", "--embedding-tables", "decoder.*"], "found 'decoder.*', which matches none"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_told_in_one_line(
    launcher: Launcher, corpus: Path, tmp_path: Path, more: list[Any], words: str
) -> None:
    done = launcher.run("train", arguments(corpus, tmp_path / "run", *more, last=2))
    assert words in done.error
    assert nothing_but_checkpoints(tmp_path / "run")


def test_a_task_that_marks_no_table_is_refused() -> None:
    with pytest.raises(UserError, match="do not freeze them, train with --task embedding_masked_lm"):
        embedding.CoupledAdam(options(), [nn.Parameter(torch.zeros(3, 2))])


def test_a_table_in_half_precision_is_refused() -> None:
    """As under --memory-efficient-fp16."""
    with pytest.raises(UserError, match=r"found table in torch.bfloat16; leave --memory-efficient-fp16"):
        embedding.CoupledAdam(options(), parameters(torch.bfloat16))


def test_the_rule_can_be_for_one_table_only(launcher: Launcher, corpus: Path, tmp_path: Path) -> None:
    only = ["--optimizer", "coupled_adam", "--untie-weights-roberta", "--embedding-tables", "*lm_head*"]
    done = launcher.run("train", arguments(corpus, tmp_path, *only, last=10, record=False))
    assert done.status == 0, done.said[-3000:]
    assert "coupled_adam for encoder.lm_head.weight; Adam for the other" in done.said
    states = load(Run(tmp_path, done).last)["last_optimizer_state"]["state"].values()
    assert sum("mean_sq" in state for state in states) == 1
