"""Half precision: what is recorded are the optimiser's fp32 master weights, found by independent means; EMA and overflows change nothing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from fairseq.optim import AMPOptimizer, FP16Optimizer
from fairseq.optim.adam import FairseqAdam
from fairseq.optim.fp16_optimizer import MemoryEfficientFP16Optimizer
from omegaconf import OmegaConf
from running import TABLE, Launcher, Run, arguments, arrays, load
from torch import nn
from torch.nn import functional

from fairseq_ext import precision
from fairseq_ext.criterions.gating import Occurrences
from fairseq_ext.errors import UserError
from fairseq_ext.recording import masters
from fairseq_ext.recording.exposure import Exposure, masked_lm_counters
from fairseq_ext.tasks._recorded import Recorded

train = pytest.mark.train
FORMS = [("fp16", False), ("fp16", True), ("bf16", False), ("bf16", True)]


class Model(nn.Module):
    """A layer before two tables, one of them tied to the output, and a table that is not trained."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first = nn.Linear(8, 8)
        self.source = nn.Embedding(30, 8)
        self.target = nn.Embedding(40, 8)
        self.frozen = nn.Embedding(20, 8)
        self.output = nn.Linear(8, 40, bias=False)
        self.output.weight = self.target.weight
        self.frozen.weight.requires_grad_(False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        given = self.source(tokens) + self.target(tokens) + self.frozen(tokens % 20)
        return self.output(torch.tanh(self.first(given)))

    @property
    def tables(self) -> list[torch.Tensor]:
        return [self.source.weight, self.output.weight, self.frozen.weight]


class OnTheCpu(FP16Optimizer):
    """fairseq's, but for the flat masters' device, which it asks CUDA for: laid out as there, on the CPU."""

    @classmethod
    def build_fp32_params(cls, args: Any, params: list[nn.Parameter], flatten: bool = True) -> Any:
        if not flatten:
            return super().build_fp32_params(args, params, flatten=False)
        flat = nn.Parameter(torch.cat([p.detach().float().reshape(-1) for p in params]))
        flat.grad = torch.zeros_like(flat)
        return {None: flat}


def config(half: str) -> Any:
    adam = {
        "_name": "adam", "adam_betas": "(0.9, 0.98)", "adam_eps": 1e-6, "weight_decay": 0.01, "use_old_adam": True, "lr": [0.01],
        "fp16_adam_stats": False, "tpu": False, "amsgrad": False,
    }  # fmt: skip
    common = {
        "fp16": half == "fp16", "bf16": half == "bf16", "fp16_scale_window": None, "fp16_init_scale": 128, "fp16_scale_tolerance": 0.0,
        "threshold_loss_scale": None, "min_loss_scale": 1e-4, "model_parallel_size": 1,
    }  # fmt: skip
    rest = {"optimization": {"update_freq": [1]}, "distributed_training": {"distributed_world_size": 1}}
    return OmegaConf.create({"optimizer": adam, "common": common, **rest})


def built(half: str, flat: bool) -> tuple[Model, FP16Optimizer]:
    model = Model().to(torch.float16 if half == "fp16" else torch.bfloat16)
    params = [p for p in model.parameters() if p.requires_grad]
    cfg = config(half)
    found = OnTheCpu.build_fp32_params(cfg.optimizer, params, flatten=flat)
    inner = FairseqAdam(cfg.optimizer, [found[None]] if flat else found)
    return model, OnTheCpu(cfg, params, inner, found)


def backward(model: Model, optimizer: Any, step: int, factor: float = 1.0) -> None:
    tokens = torch.randint(30, (4, 6), generator=torch.Generator().manual_seed(step))
    optimizer.backward(factor * functional.cross_entropy(model(tokens).float().reshape(-1, 40), tokens.reshape(-1)))


@pytest.mark.parametrize(("half", "flat"), FORMS)
def test_the_view_is_an_fp32_twin_to_the_bit(half: str, flat: bool) -> None:
    """The twin is plain fp32 Adam over the whole model, fed with the half model's gradients."""
    model, optimizer = built(half, flat)
    views = masters.of_tables(model.tables, optimizer)
    twin = Model().to(model.first.weight.dtype).float()  # begins at the rounded weights, as fairseq's masters do
    stock = FairseqAdam(config(half).optimizer, [p for p in twin.parameters() if p.requires_grad])
    assert torch.equal(views[0], twin.source.weight)
    for step in range(12):
        optimizer.zero_grad()
        backward(model, optimizer, step)
        for p, q in zip(twin.parameters(), model.parameters(), strict=True):
            if q.grad is not None:
                q_grad = q.grad.float()
                p.grad = q_grad / 128 if half == "fp16" else q_grad
        optimizer.clip_grad_norm(0.0)
        optimizer.step()
        stock.step()
        if step == 5:  # as when a checkpoint is loaded
            optimizer.load_state_dict(optimizer.state_dict())
        for view, wanted, own in zip(views, twin.tables, model.tables, strict=True):
            assert view.dtype == torch.float32
            assert torch.equal(view, wanted), step
            assert torch.equal(view.to(own.dtype), own), step
    assert not torch.equal(views[0], model.source.weight.float())  # the model alone would have lost the low bits
    assert not torch.equal(views[0], Model().source.weight)
    again = masters.of_tables(model.tables, optimizer)
    assert [v.data_ptr() for v in again[:2]] == [v.data_ptr() for v in views[:2]]


@pytest.mark.parametrize(("half", "flat"), FORMS)
def test_the_masters_of_a_resumed_optimiser_are_its_own(half: str, flat: bool) -> None:
    """fairseq makes a new optimiser after it has loaded the model: the masters begin at the rounded weights."""
    model, optimizer = built(half, flat)
    optimizer.zero_grad()
    backward(model, optimizer, 1)
    optimizer.clip_grad_norm(0.0)
    optimizer.step()
    (before, *_) = masters.of_tables(model.tables, optimizer)
    resumed, new = built(half, flat)
    resumed.load_state_dict(model.state_dict())
    with pytest.raises(UserError, match="are not those of the model"):
        masters.of_tables(resumed.tables, new)  # built before the model was loaded
    found = OnTheCpu.build_fp32_params(None, new.fp16_params, flatten=flat)
    inner = FairseqAdam(config(half).optimizer, [found[None]] if flat else found)
    new = OnTheCpu(config(half), new.fp16_params, inner, found)
    new.load_state_dict(optimizer.state_dict())
    (after, *_) = masters.of_tables(resumed.tables, new)
    assert torch.equal(after, model.source.weight.float())
    assert not torch.equal(after, before)


def test_an_overflow_leaves_the_view_and_the_next_batch_begins_an_update() -> None:
    model, optimizer = built("fp16", True)
    (view, *_) = masters.of_tables(model.tables, optimizer)
    optimizer.zero_grad()
    assert masters.begins_update(optimizer)
    before = view.clone()
    backward(model, optimizer, 1, factor=1e6)
    assert not masters.begins_update(optimizer)
    with pytest.raises(OverflowError):
        optimizer.clip_grad_norm(0.0)
    optimizer.zero_grad()
    assert masters.begins_update(optimizer)
    assert torch.equal(view, before)
    assert precision.loss_scale(optimizer) is None


def test_weights_in_32_bits_are_recorded_as_they_are_and_half_ones_without_masters_refused() -> None:
    model = Model()
    stock = FairseqAdam(config("fp16").optimizer, list(model.parameters()))
    assert masters.of_tables(model.tables, stock) == [None] * 3
    assert not masters.begins_update(stock)
    cfg = config("fp16")
    efficient = MemoryEfficientFP16Optimizer(cfg, list(model.parameters()), stock)
    with pytest.raises(UserError, match="no fp32 master weights"):
        masters.of_tables(model.tables, efficient)
    with pytest.raises(UserError, match=r"found torch\.float16"):
        masters.of_tables(model.half().tables, stock)


class Stock:
    """What the mixin finds above itself, in place of fairseq's task."""

    def train_step(self, sample: Any, *others: Any) -> Any:
        backward(others[0], others[2], 1)

    def optimizer_step(self, optimizer: Any, *others: Any) -> None:
        optimizer.step()


def recorder(**more: Any) -> SimpleNamespace:
    """What the task asks of a recorder, doing nothing but what is given."""
    nothing = {
        name: lambda *_: None for name in ("before_batch", "after_batch", "before_step", "after_step", "discard")
    }
    return SimpleNamespace(**{"on": False, "attached": False, **nothing, **more})


class Task(Recorded, Stock):
    def __init__(self) -> None:
        self.recorder, self._kept = recorder(), {}
        self.sampler = SimpleNamespace(on=False)
        self.has_begun, self.tied, self.autocast = False, [], False
        counters = masked_lm_counters(9)
        self.exposure = Exposure(counters, 5, lambda sample: (sample["tokens"],) * 3, lambda ids: ids)


def test_batches_that_an_overflow_threw_away_are_not_counted() -> None:
    """fairseq raises before the task's step, so the task learns of it from the next batch; an update has two batches here."""
    task, (model, optimizer) = Task(), built("fp16", False)
    counts = Occurrences(9, 5)
    task.keep_in_checkpoints("gating", counts)

    def update(example: int) -> None:
        optimizer.zero_grad()
        for _ in range(2):
            sample = {"id": torch.tensor([example]), "tokens": torch.tensor([example, example])}
            task.train_step(sample, model, lambda *_: None, optimizer, taken)
            counts.receive(taken + 1, sample["tokens"])  # as the criterion does within the step

    taken = 0
    update(1)  # ends in an overflow: no step
    update(2)
    task.optimizer_step(optimizer, model, 0)
    taken = 1
    update(3)
    update(4)
    task.optimizer_step(optimizer, model, 1)
    assert task.exposure.counts["drawn"].tolist() == [0, 0, 2, 0, 2]
    assert task.exposure.counts["visible"].tolist() == [0, 0, 4, 0, 4, 0, 0, 0, 0]
    assert counts.counts.tolist() == [0, 0, 4, 0, 4, 0, 0, 0, 0]


class Scaled(AMPOptimizer):
    """fairseq's, with a scaler that works on the CPU: the one that fairseq makes is off without CUDA."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._grad_scaler = torch.amp.GradScaler("cpu", init_scale=4.0)


def test_an_overflow_under_amp_is_neither_recorded_nor_counted() -> None:
    task, model = Task(), Model()
    cfg = config("amp")
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer = Scaled(cfg, params, FairseqAdam(cfg.optimizer, params))
    recorded: list[int] = []
    discarded: list[int] = []
    more = {"after_step": recorded.append, "discard": lambda: discarded.append(len(recorded))}
    task.recorder = recorder(on=True, attached=True, **more)
    kept = SimpleNamespace(discard=lambda update: thrown_away.append(update))
    thrown_away: list[int] = []
    task.keep_in_checkpoints("gating", kept)
    for number, example in enumerate((1, 2, 3)):
        optimizer.zero_grad()
        sample = {"id": torch.tensor([example]), "tokens": torch.tensor([example])}
        task.train_step(sample, model, lambda *_: None, optimizer, 0)
        if number == 1:
            params[0].grad[0] = torch.inf
        optimizer.clip_grad_norm(0.0)
        task.optimizer_step(optimizer, model, len(recorded))
    assert recorded == [1, 2]
    assert thrown_away == [2]
    assert discarded == [1]  # what the batches of the step that was not taken left for its causes
    assert task.exposure.counts["drawn"].tolist() == [0, 1, 0, 1, 0]


# An optimiser that writes down, after each step, the parameters that have the table's shape: under --fp16 those are the masters.
SPY = """
import numpy as np, os
import fairseq_ext, fairseq_ext.tasks.masked_lm
from fairseq.optim import register_optimizer
from fairseq.optim.adam import FairseqAdamConfig
from fairseq_ext.optim.fused_adam import FairseqAdam

@register_optimizer("spy_adam", dataclass=FairseqAdamConfig)
class FairseqAdam(FairseqAdam):
    def step(self, *arguments, **options):
        super().step(*arguments, **options)
        self.steps = getattr(self, "steps", 0) + 1
        tables = [p.detach().numpy() for p in self.params if p.dim() == 2 and len(p) > 300]
        np.save(os.environ["SPY"] + f".{self.steps}", np.stack(tables))
"""


@train
def test_a_run_with_fp16_records_what_its_optimiser_holds(launcher: Launcher, corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "spying"
    folder.mkdir()
    (folder / "__init__.py").write_text(SPY)
    options = (
        "--fp16 --fp16-no-flatten-grads --optimizer spy_adam --record-snapshots every:1 --dropout 0.1 --fp16-init-scale 4"
    ).split()
    given = ["--user-dir", folder, *options]
    for last, spied in ((5, "first"), (8, "second")):
        done = launcher.run("train", arguments(corpus, tmp_path, *given, last=last), SPY=str(tmp_path / spied))
        assert done.status == 0, done.said[-3000:]
        assert ("the checkpoint at update 5 holds 16-bit weights" in done.said) == (last == 8)
    found = arrays(tmp_path / "dump.zarr")
    values = found[f"tables/{TABLE}/snapshots/values"]
    assert found[f"tables/{TABLE}/snapshots/update"].tolist() == list(range(9))
    for update in range(1, 9):
        spied = tmp_path / (f"first.{update}.npy" if update <= 5 else f"second.{update - 5}.npy")
        (held,) = np.load(spied)
        assert np.array_equal(values[update], held), update
    model = load(tmp_path / "checkpoints/checkpoint_last.pt")["model"][TABLE]
    assert np.array_equal(values[-1].astype(np.float16), model.numpy())  # a checkpoint holds what 16 bits hold
    assert not np.array_equal(values[-1], model.numpy())
    run = zarr.open_group(tmp_path / "dump.zarr", mode="r").attrs["run"]
    assert run["precision"] == "fp16 with fp32 master weights"


@train
def test_an_average_of_the_weights_is_not_what_is_recorded(
    launcher: Launcher, corpus: Path, recorded: Run, tmp_path: Path
) -> None:
    """With --store-ema the same is recorded as without, also when resumed; the average goes into the checkpoint alone."""
    for last in (4, 8):
        average = ["--store-ema", "--ema-decay", 0.9, "--ema-fp32"]
        done = launcher.run("train", arguments(corpus, tmp_path, *average, last=last))
        assert done.status == 0, done.said[-3000:]
    found, wanted = arrays(tmp_path / "dump.zarr"), arrays(recorded.dump)
    assert found[f"tables/{TABLE}/statistics/update"].tolist() == list(range(9))
    for name, values in found.items():
        assert values.tobytes() == wanted[name][: len(values)].tobytes(), name
    averaged = load(tmp_path / "checkpoints/checkpoint_last.pt")["extra_state"]["ema"][TABLE].numpy()
    snapshot = found[f"tables/{TABLE}/snapshots/values"][-1]
    assert np.abs(averaged - snapshot).max() > 1e-3


def test_what_was_recorded_is_named() -> None:
    assert masters.named({"bf16": True}) == "bf16 with fp32 master weights"
    assert masters.named({"amp": True}, "fp32") == "amp"
    assert masters.named({}, "bf16") == "bf16"
    assert masters.named({}) == "fp32"
