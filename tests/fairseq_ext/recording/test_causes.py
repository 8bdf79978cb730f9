"""What is recorded of a step's causes: against gradients of separate backward passes, snapshots, scipy; resuming and what it costs to ask."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from fairseq.models.roberta.model import RobertaLMHead
from pair_corpus import pair_arguments
from running import (
    TABLE,
    Launcher,
    Run,
    arguments,
    assert_same_dump,
    assert_same_training,
    assert_whole,
    logged,
)
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional

from fairseq_ext.head import speed_up_head
from fairseq_ext.optim.state import RowState, row_state
from fairseq_ext.precision import tie_gradients
from fairseq_ext.recording.causes import GROUPED, SCALARS, VECTORS, Causes
from fairseq_ext.recording.dump_check import check_dump
from fairseq_ext.recording.pruning import Request, prune
from fairseq_ext.recording.roles import Roles
from fairseq_ext.recording.rows import divide
from fairseq_ext.recording.schedule import Schedule
from fairseq_ext.recording.statistics import TableStatistics
from fairseq_ext.recording.tables import find_tables

ROWS, DIM, PAD = 90, 12, 1
HEAD = "encoder.lm_head.weight"
ASKED = "--record-cause every:1 --record-moments every:2 --record-trace-state every:2".split()


class Model(nn.Module):
    """An input table, a layer, and fairseq's head, tied or not."""

    def __init__(self, tied: bool) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.embed_tokens = nn.Embedding(ROWS, DIM, padding_idx=PAD)
        nn.init.normal_(self.embed_tokens.weight, std=0.3)
        self.hidden = nn.Linear(DIM, DIM)
        self.lm_head = RobertaLMHead(DIM, ROWS, "gelu", self.embed_tokens.weight if tied else None)

    def forward(self, tokens: Tensor, masked: Tensor) -> Tensor:
        return self.lm_head(torch.tanh(self.hidden(self.embed_tokens(tokens))), masked_tokens=masked)


def batch(number: int) -> dict[str, Tensor]:
    """Tokens with padding, and targets where they are masked."""
    generator = torch.Generator().manual_seed(number)
    tokens = torch.randint(4, ROWS, (3, 9), generator=generator)
    tokens[0, 6:] = PAD
    target = torch.full_like(tokens, PAD)
    target[torch.rand(3, 9, generator=generator) < 0.4] = 7 + number
    target[tokens == PAD] = PAD
    target[1, 2] = 11
    return {"tokens": tokens, "target": target}


def loss_of(model: Model, sample: dict[str, Tensor]) -> Tensor:
    masked = sample["target"].ne(PAD)
    return functional.cross_entropy(model(sample["tokens"], masked), sample["target"][masked], reduction="sum")


def by_hand(model: Model, samples: list[dict[str, Tensor]]) -> dict[str, np.ndarray]:
    """Each role's gradient as a whole table [V, d], by explicit sums over tokens and predictions in float64."""
    parts = {role: np.zeros((ROWS, DIM)) for role in ("input", "positive", "negative")}
    for sample in samples:
        masked = sample["target"].ne(PAD)
        found = model.embed_tokens(sample["tokens"]).detach().requires_grad_()
        features = torch.tanh(model.hidden(found))[masked]
        head = model.lm_head
        hidden = head.layer_norm(head.activation_fn(head.dense(features)))
        table = head.weight.detach()
        logits = functional.linear(hidden, table) + head.bias
        targets = sample["target"][masked]
        functional.cross_entropy(logits, targets, reduction="sum").backward()
        for row, gradient in zip(sample["tokens"].flatten().tolist(), found.grad.reshape(-1, DIM), strict=True):
            if row != PAD:
                parts["input"][row] += gradient.double().numpy()
        p = torch.softmax(logits, 1).detach().double().numpy()
        h = hidden.detach().double().numpy()
        for n, target in enumerate(targets.tolist()):
            parts["positive"][target] += (p[n, target] - 1) * h[n]
            others = p[n].copy()
            others[target] = 0
            parts["negative"] += others[:, None] * h[n]
    return parts


def rows_of(counts: np.ndarray) -> Any:
    special = np.zeros(ROWS, bool)
    special[:4] = True
    filler = np.zeros(ROWS, bool)
    filler[-6:] = True
    return divide(special, filler, counts, [f"t{n}" for n in range(ROWS)])


@pytest.fixture
def rows() -> Any:
    counts = np.zeros(ROWS, np.int64)
    counts[10:70] = np.random.default_rng(0).zipf(1.4, 60)
    return rows_of(counts)


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("tied", [True, False])
def test_parts_by_role_equal_explicit_sums(rows: Any, tied: bool, in_place: bool, fast: bool) -> None:
    """Two batches an update, gradients scaled between the backward passes and the step, as fairseq does."""
    if in_place and not tied:
        pytest.skip("only tied gradients are added in place")
    model = Model(tied)
    assert not fast or speed_up_head(model, on_cpu=True) == 1
    aside = tie_gradients(model, True, 1) if in_place else []
    specs = find_tables(model, [ROWS])
    roles = Roles(model, specs, alone=True)
    samples = [batch(1), batch(2)]
    loss_of(model, batch(3)).backward()  # at an update that is not recorded
    model.zero_grad()
    for extra in aside:
        extra._aside.clear()
    wanted = by_hand(model, samples)
    model.zero_grad()
    roles.begin_update()
    for sample in samples:
        roles.begin_batch(sample)
        loss_of(model, sample).backward()
        for extra in aside:
            extra.add_gradient()
        roles.end_batch(specs)
    factor = 0.037
    for parameter in model.parameters():
        parameter.grad *= factor
    assert len(specs) == (1 if tied else 2)
    for spec in specs:
        table = spec.parameter.detach()
        causes = Causes(rows, TableStatistics(rows))
        direction = causes.direction(table)
        common = table[torch.from_numpy(rows.counted)].double().mean(0)
        torch.testing.assert_close(direction, common / common.norm(), rtol=1e-5, atol=1e-6)
        one, _ = causes.measure(table, table, spec.parameter.grad, None, roles.of(spec), direction)
        expected = dict(wanted)
        if not tied and "lm_head" in spec.name:
            expected["input"] = np.zeros((ROWS, DIM))
        elif not tied:
            expected["positive"] = expected["negative"] = np.zeros((ROWS, DIM))
        whole = factor * sum(expected.values())
        scale = np.linalg.norm(whole, axis=1).sum()
        np.testing.assert_allclose(one["gradient_mean"] * ROWS, whole.sum(0), atol=2e-6 * scale)
        np.testing.assert_allclose(one["gradient_length"], scale, rtol=1e-5)
        np.testing.assert_allclose(one["gradient_sum"], np.linalg.norm(whole.sum(0)), atol=2e-6 * scale)
        for role, part in expected.items():
            part = factor * part
            np.testing.assert_allclose(one[f"gradient_{role}"] * ROWS, part.sum(0), atol=2e-6 * scale, err_msg=role)
            for place in range(len(rows.groups)):
                inside = part[rows.group == place].sum(0)
                np.testing.assert_allclose(
                    one[f"{role}_along_group"][place], inside @ direction.numpy(), atol=4e-6 * scale
                )
        assert float(one["head_sum"]) < 1e-5 * scale
        if tied or "embed" in spec.name:
            assert np.linalg.norm(expected["input"].sum(0)) * factor > 1e-3 * scale  # so that zero says something
        for place in range(len(rows.groups)):
            inside = whole[rows.group == place]
            np.testing.assert_allclose(
                one["gradient_sum_group"][place], np.linalg.norm(inside.sum(0)), atol=2e-6 * scale
            )
            np.testing.assert_allclose(
                one["gradient_length_group"][place], np.linalg.norm(inside, axis=1).sum(), rtol=1e-4, atol=1e-9
            )
    roles.end_update()
    assert roles.of(specs[0]) is None


def test_roles_are_not_known_with_several_processes_or_other_heads(rows: Any) -> None:
    model = Model(True)
    specs = find_tables(model, [ROWS])
    roles = Roles(model, specs, alone=False)
    roles.begin_update()
    roles.begin_batch(batch(1))
    loss_of(model, batch(1)).backward()
    roles.end_batch(specs)
    assert roles.of(specs[0]) is None
    found = Causes(rows, TableStatistics(rows)).measure(specs[0].parameter.detach(), specs[0].parameter.detach(), specs[0].parameter.grad, None, None, torch.ones(DIM).double())  # fmt: skip
    assert "gradient_mean" in found[0]
    assert "gradient_input" not in found[0]


STATES = {
    "adam": {"betas": (0.9, 0.98), "eps": 1e-6},
    "amsgrad": {"betas": (0.9, 0.98), "eps": 1e-6},
    "coupled_adam": {"betas": (0.9, 0.98), "eps": 1e-6},
    "sgd": {"betas": (0.9, 0.0), "eps": 0.0},
}


@pytest.mark.parametrize("rule", STATES)
def test_parts_of_the_update_equal_their_formulas(rows: Any, rule: str) -> None:
    generator = torch.Generator().manual_seed(2)
    w, g, m = (torch.randn(ROWS, DIM, generator=generator) for _ in range(3))
    v = torch.rand(ROWS, DIM, generator=generator) * torch.logspace(-6, 0, ROWS)[:, None]
    largest = v * 1.5
    after = w + 1e-2 * torch.randn(ROWS, DIM, generator=generator)
    second = {"coupled_adam": v.mean(0), "sgd": None}.get(rule, v)
    root = {"amsgrad": largest, "sgd": None, "coupled_adam": v.mean(0)}.get(rule, v)
    state = RowState(rule, lr=2e-3, weight_decay=0.1, step=5, first=m, second=second, under_root=root, **STATES[rule])
    causes = Causes(rows, TableStatistics(rows))
    direction = causes.direction(w)
    tokens = torch.tensor([20, 20, 33])
    roles = {"input": (tokens, torch.ones(3, DIM)), "positive": (torch.tensor([50]), torch.full((1, DIM), -2.0))}
    one, own = causes.measure(after, w, g, state, roles, direction, by_row=True)

    change = (after.double() - w.double()).numpy()
    mean = change.mean(0)
    np.testing.assert_allclose(one["update_mean"], mean, atol=1e-8)
    np.testing.assert_allclose(own["update_norm"], np.linalg.norm(change, axis=1), rtol=1e-5)
    np.testing.assert_allclose(own["update_along"], change @ direction.numpy(), atol=1e-6)
    for place in range(len(rows.groups)):
        inside = change[rows.group == place]
        np.testing.assert_allclose(one["update_along_group"][place], (inside @ direction.numpy()).mean(), atol=1e-7)
        np.testing.assert_allclose(
            one["update_own_group"][place], np.sqrt((np.linalg.norm(inside - mean, axis=1) ** 2).mean()), rtol=1e-4
        )
        np.testing.assert_allclose(
            one["update_length_group"][place], np.sqrt((np.linalg.norm(inside, axis=1) ** 2).mean()), rtol=1e-5
        )
    np.testing.assert_allclose(one["update_decay"], -2e-3 * 0.1 * w.double().mean(0), rtol=1e-5, atol=1e-9)

    m64, v64, g64 = m.double().numpy(), v.double().numpy(), g.double().numpy()
    b1, b2 = 1 - 0.9**5, np.sqrt(1 - 0.98**5)
    if rule == "sgd":
        coupled, divided = -2e-3 * m64.mean(0), np.full_like(v64, 2e-3)
        assert "second_moment" not in own
        assert "second_moment_r2" not in one
        np.testing.assert_allclose(own["first_moment_norm"], np.linalg.norm(m64, axis=1), rtol=1e-5)
    else:
        under = largest.double().numpy() if rule == "amsgrad" else v64
        coupled = -2e-3 * b2 / b1 * m64.mean(0) / (np.sqrt(under.mean(0)) + 1e-6)
        own_root = np.broadcast_to(v64.mean(0), v64.shape) if rule == "coupled_adam" else under
        divided = 2e-3 * b2 / (np.sqrt(own_root) + 1e-6)
        of_row = np.broadcast_to(v64.mean(0), v64.shape).mean(1) if rule == "coupled_adam" else v64.mean(1)
        np.testing.assert_allclose(own["second_moment"], of_row / (1 - 0.98**5), rtol=1e-4)
        np.testing.assert_allclose(own["first_moment_norm"], np.linalg.norm(m64, axis=1) / b1, rtol=1e-5)
        seen = rows.counted & (rows.count > 0)
        if rule != "coupled_adam":  # whose rows have one second moment
            line = stats.linregress(rows.count[seen], of_row[seen])
            np.testing.assert_allclose(one["second_moment_r2"], line.rvalue**2, rtol=1e-3)
            np.testing.assert_allclose(one["second_moment_spearman"], stats.spearmanr(rows.count[seen], of_row[seen]).statistic, rtol=1e-3)  # fmt: skip
    np.testing.assert_allclose(one["update_coupled"], coupled, rtol=2e-5, atol=1e-9)
    parts = {"input": np.zeros((ROWS, DIM)), "positive": np.zeros((ROWS, DIM))}
    np.add.at(parts["input"], tokens.numpy(), 1.0)
    parts["positive"][50] = -2.0
    parts["negative"] = g64 - parts["input"] - parts["positive"]
    for role, part in parts.items():
        np.testing.assert_allclose(one[f"push_{role}"], -(divided * part).mean(0), rtol=1e-3, atol=2e-5 * np.abs(divided * g64).mean(), err_msg=role)  # fmt: skip


RULES = ("fused_adam", "adam", "coupled_adam", "embedding_amsgrad", "embedding_sgd", "centered_adam")


@pytest.mark.parametrize("rule", RULES)
def test_row_state_finds_the_moments_of_every_rule(rule: str) -> None:
    from fairseq.optim import OPTIMIZER_REGISTRY
    from test_embedding_optimizers import options, parameters

    table = parameters(torch.float32)[0]
    optimizer = OPTIMIZER_REGISTRY[rule](options(), [table])
    assert row_state(optimizer, table) is None
    table.grad = torch.full_like(table, 0.5)
    optimizer.step()
    found = row_state(optimizer, table)
    assert found.rule == {"coupled_adam": "coupled_adam", "embedding_amsgrad": "amsgrad", "embedding_sgd": "sgd"}.get(rule, "adam")  # fmt: skip
    assert found.step == 1
    assert torch.allclose(found.first, torch.full_like(table, 0.5 if rule == "embedding_sgd" else 0.05))
    if rule != "embedding_sgd":
        assert torch.allclose(found.second, torch.tensor(0.02 * 0.25))
        assert found.second.shape == ((table.shape[1],) if rule == "coupled_adam" else table.shape)


# -- real trainings ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def asked(launcher: Launcher, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of 16 updates, clipped and of two batches each, untied, with everything recorded at every update."""
    folder = tmp_path_factory.mktemp("asked")
    done = launcher.run("train", arguments(corpus, folder, *ASKED, *MORE, last=16))
    assert done.status == 0, done.said[-3000:]
    return Run(folder, done)


MORE = "--untie-weights-roberta --update-freq 2 --clip-norm 0.5 --record-snapshots every:1 --record-windows none --batch-size 6".split()


def test_a_recorded_training_agrees_with_its_snapshots(asked: Run) -> None:
    root = zarr.open_group(asked.dump, mode="r")
    for name in (TABLE, HEAD):
        table = root[f"tables/{name}"]
        cause = table["cause"]
        assert cause["update"][...].tolist() == list(range(1, 17))
        assert set(VECTORS + SCALARS + GROUPED) <= set(cause.array_keys())
        values = table["snapshots/values"][...].astype(np.float64)
        assert table["snapshots/update"][...].tolist() == list(range(17))
        change = np.diff(values, axis=0)
        np.testing.assert_allclose(cause["update_mean"][...], change.mean(1), rtol=2e-6, atol=1e-8)
        counted, group = table["rows/counted"][...], table["rows/group"][...]
        common = values[:-1, counted].mean(1)
        unit = common / np.linalg.norm(common, axis=1, keepdims=True)
        for place in range(cause["update_along_group"].shape[1]):
            along = np.einsum("und,ud->un", change[:, group == place], unit)
            np.testing.assert_allclose(cause["update_along_group"][:, place], along.mean(1), atol=1e-7)
        split = cause["gradient_input"][...] + cause["gradient_positive"][...] + cause["gradient_negative"][...]
        np.testing.assert_allclose(split, cause["gradient_mean"][...], atol=1e-7)
        total = len(counted) * np.linalg.norm(cause["gradient_mean"][...], axis=1)
        ratio = cause["head_sum"][...] / cause["gradient_length"][...]
        assert (ratio < 1e-5).all()
        if name == HEAD:
            assert (total / cause["gradient_length"][...] < 1e-5).all()
        else:
            assert (total / cause["gradient_length"][...] > 1e-2).all()
        moments = table["moments"]
        assert moments["update"][...].tolist() == list(range(2, 17, 2))
        np.testing.assert_allclose(
            moments["update_norm"][...], np.linalg.norm(change[1::2], axis=2), rtol=1e-4, atol=1e-9
        )
        own = [f"second_moment_{n}" for n in ("r2", "spearman")]
        seen = counted & (table["rows/count"][...] > 0)
        count = table["rows/count"][...][seen]
        for place, update in enumerate(moments["update"][...]):
            second = moments["second_moment"][place][seen].astype(np.float64)
            wanted = stats.linregress(count, second).rvalue ** 2, stats.spearmanr(count, second).statistic
            np.testing.assert_allclose([cause[n][update - 1] for n in own], wanted, rtol=1e-3)
        state = table["state"]
        assert state["update"][...].tolist() == list(range(2, 17, 2))
        assert state["first_moment"].shape == (8, table["traces/token"].shape[0], values.shape[2])
        chosen = moments["second_moment"][...][:, state["token"][...]]
        corrected = state["second_moment"][...].mean(2) / (1 - 0.98 ** moments["update"][...])[:, None]
        np.testing.assert_allclose(corrected, chosen, rtol=1e-4)


def test_the_recorded_parts_of_the_update_are_those_of_adam(asked: Run) -> None:
    """From moments and weights of the last checkpoint: mean of m, mean of v, and what the rows' own denominators add."""
    checkpoint = torch.load(asked.last, map_location="cpu", weights_only=False)
    names = [n for n in checkpoint["model"] if n in (TABLE, HEAD)]
    root = zarr.open_group(asked.dump, mode="r")
    for name in names:
        table = root[f"tables/{name}"]
        values = table["snapshots/values"]
        shape = values.shape[1:]
        states = [s for s in checkpoint["last_optimizer_state"]["state"].values() if tuple(s["exp_avg"].shape) == shape]
        group = checkpoint["last_optimizer_state"]["param_groups"][0]
        moved = values[16].astype(np.float64).mean(0) - values[15].astype(np.float64).mean(0)
        lr = logged_rate(asked, 16)
        found = []
        for state in states:
            m, v = state["exp_avg"].double().numpy(), state["exp_avg_sq"].double().numpy()
            size = lr * np.sqrt(1 - 0.98**16) / (1 - 0.9**16)
            decay = -lr * group["weight_decay"] * values[15].astype(np.float64).mean(0)
            whole = decay - size * (m / (np.sqrt(v) + 1e-6)).mean(0)
            found.append((np.abs(whole - moved).max(), -size * m.mean(0) / (np.sqrt(v.mean(0)) + 1e-6), decay))
        error, coupled, decay = min(found, key=lambda entry: entry[0])
        assert error < 1e-6
        np.testing.assert_allclose(table["cause/update_coupled"][15], coupled, rtol=1e-3, atol=1e-9)
        np.testing.assert_allclose(table["cause/update_decay"][15], decay, rtol=1e-3, atol=1e-10)


def logged_rate(run: Run, update: int) -> float:
    """The learning rate of the step to ``update``: fairseq's polynomial decay with 5 updates of warm-up, as it logs it before."""
    return logged(run.finished.said, "lr")[update - 1]


def test_training_is_the_same_to_the_bit_with_and_without(
    launcher: Launcher, corpus: Path, asked: Run, tmp_path: Path
) -> None:
    given = without(arguments(corpus, tmp_path, *MORE, last=16, record=False))
    plain = launcher.run("train", given)
    assert plain.status == 0, plain.said[-3000:]
    assert_same_training(asked.last, Run(tmp_path, plain).last)


def without(given: list[object]) -> list[object]:
    """Arguments without the options of recording and their values."""
    kept, skip = [], False
    for argument in given:
        if skip:
            skip = False
        elif str(argument).startswith("--record-"):
            skip = True
        else:
            kept.append(argument)
    return kept


def test_a_killed_run_that_goes_on_records_the_same(
    launcher: Launcher, corpus: Path, asked: Run, tmp_path: Path
) -> None:
    given = arguments(corpus, tmp_path, *ASKED, *MORE, last=16)
    process = launcher.start("train", given)
    assert process.until_update(13)
    os.kill(process.pid, 9)
    process.finish()
    assert_whole(tmp_path / "dump.zarr")
    again = launcher.run("train", given)
    assert again.status == 0, again.said[-3000:]
    assert_same_dump(tmp_path / "dump.zarr", asked.dump)
    found = check_dump(tmp_path / "dump.zarr")
    assert found.verdict == "whole", found


def test_a_replay_records_the_same_causes(launcher: Launcher, asked: Run, tmp_path: Path) -> None:
    """Trained again from the checkpoint of update 10: every record from there on is the run's own to the bit."""
    out = tmp_path / "replayed"
    done = launcher.run("replay", [asked.dump.parent, "--from", 11, "--to", 14, "--out", out])
    assert done.status == 0, done.said[-3000:]
    ours, theirs = (zarr.open_group(place, mode="r") for place in (out / "dump.zarr", asked.dump))
    assert ours.attrs["replay"]["verdict"] == "identical"
    for name, updates in (("cause", [11, 12, 13, 14]), ("moments", [12, 14]), ("state", [12, 14])):
        key = f"tables/{TABLE}/{name}"
        assert ours.attrs["replay"]["compared"][key] == {"records": len(updates), "identical": len(updates)}
        new, old = ours[key], theirs[key]
        assert new["update"][...].tolist() == updates
        listed = old["update"][...].tolist()
        for array in set(old.array_keys()) - {"update", "token", "group"}:
            for place, update in enumerate(updates):
                assert new[array][place].tobytes() == old[array][listed.index(update)].tobytes(), (name, array, update)


def test_of_a_translation_sums_are_known_and_roles_are_not(
    launcher: Launcher, pairs_corpus: Path, tmp_path: Path
) -> None:
    more = ["--optimizer", "coupled_adam", "--record-cause", "every:1", "--record-snapshots", "every:1"]
    done = launcher.run("train", [*pair_arguments(pairs_corpus, tmp_path, "decoder", last=4), *more])
    assert done.status == 0, done.said[-3000:]
    root = zarr.open_group(tmp_path / "dump.zarr", mode="r")
    assert len(root.attrs["tables"]) == 2
    for name in root.attrs["tables"]:
        cause, values = root[f"tables/{name}/cause"], root[f"tables/{name}/snapshots/values"][...].astype(np.float64)
        assert cause["update"][...].tolist() == [1, 2, 3, 4]
        assert np.isnan(cause["gradient_input"][...]).all()
        assert np.isnan(cause["head_sum"][...]).all()
        assert (cause["gradient_length"][...] > 0).all()
        change = np.diff(values, axis=0).mean(1)
        np.testing.assert_allclose(cause["update_mean"][...], change, rtol=2e-6, atol=1e-8)
        decay = cause["update_decay"][...] + cause["update_coupled"][...]
        np.testing.assert_allclose(decay, change, rtol=1e-3, atol=2e-8)  # all that Coupled Adam does
    assert check_dump(tmp_path / "dump.zarr").verdict == "whole"


def test_the_streams_can_be_pruned_and_gone_on_with(launcher: Launcher, corpus: Path, tmp_path: Path) -> None:
    given = arguments(corpus, tmp_path, *ASKED, last=12)
    assert launcher.run("train", given).status == 0
    asked = {"cause": "every:4", "moments": "every:4", "state": "at:4"}
    prune(Request(tmp_path, {name: Schedule.parse(text) for name, text in asked.items()}))
    root = zarr.open_group(tmp_path / "dump.zarr", mode="r")
    assert root[f"tables/{TABLE}/cause/update"][...].tolist() == [1, 4, 8, 12]
    more = launcher.run("train", arguments(corpus, tmp_path, *ASKED, last=14))
    assert more.status == 0, more.said[-3000:]
    root = zarr.open_group(tmp_path / "dump.zarr", mode="r")
    assert root[f"tables/{TABLE}/cause/update"][...].tolist() == [1, 4, 8, 12, 13, 14]


def test_other_schedules_are_another_recording(launcher: Launcher, corpus: Path, tmp_path: Path) -> None:
    assert launcher.run("train", arguments(corpus, tmp_path, "--record-cause", "every:5", last=10)).status == 0
    other = launcher.run("train", arguments(corpus, tmp_path, "--record-cause", "every:2", last=12))
    assert "schedules differ(s)" in other.error
