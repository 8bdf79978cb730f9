"""The criterion's remedies: their gradients against sums over pairs, short trainings against masked_lm, resuming, wrong options."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fairseq.models.roberta.model import RobertaLMHead
from running import TABLE, Launcher, Run, arguments, assert_same_training, load, logged, nothing_but_checkpoints
from torch.nn import functional

from fairseq_ext.criterions.config import RemediedMaskedLMConfig
from fairseq_ext.criterions.gating import Gate, Gating, Occurrences, gates
from fairseq_ext.criterions.mean_cosine import MeanCosine
from fairseq_ext.criterions.remedied_masked_lm import RemediedMaskedLMLoss
from fairseq_ext.errors import UserError
from fairseq_ext.head import FastHead

REMEDIED = ("--criterion", "remedied_masked_lm")
GATING = (*REMEDIED, "--gradient-gating", "--gating-memory", 5, "--gating-threshold", 0.5)
BOTH = (*GATING, "--cosine-regularization", 1.0)


def test_the_mean_cosine_and_its_gradient_are_those_of_all_pairs() -> None:
    torch.manual_seed(1)
    table = torch.randn(9, 4, dtype=torch.float64)
    table[3] = 0
    one, other = table.clone().requires_grad_(), table.clone().requires_grad_()
    pairs = [(i, j) for i in range(9) for j in range(9) if i != j and 3 not in (i, j)]
    brute = sum(one[i] @ one[j] / one[i].norm() / one[j].norm() for i, j in pairs) / 81
    found = MeanCosine.apply(other)
    (2.5 * brute).backward()
    (2.5 * found).backward()
    torch.testing.assert_close(found, brute, rtol=0, atol=1e-14)
    torch.testing.assert_close(other.grad, one.grad, rtol=0, atol=1e-14)
    assert float(one.grad.norm()) > 0.01


def gated_by_pairs(share: np.ndarray, hidden: np.ndarray, targets: list[int], counts: list[int], updates: int, threshold: float) -> np.ndarray:  # fmt: skip
    """The gated gradient of the table, one pair of prediction and row at a time."""
    rare = [k for k in range(4, share.shape[1]) if counts[k] / updates < threshold]
    mean = sum(counts[k] for k in rare) / len(rare)
    found = np.zeros((share.shape[1], hidden.shape[1]))
    for i, target in enumerate(targets):
        for k in range(share.shape[1]):
            gate = 1.0
            if k in rare and k != target:
                gate = min(counts[k] / mean, 1) if target in rare else counts[k] / updates
            found[k] += gate * (share[i, k] - (k == target)) * hidden[i]
    return found


def test_the_gated_gradient_is_that_of_all_pairs() -> None:
    torch.manual_seed(2)
    targets = torch.tensor([4, 5, 8, 4, 7, 9])
    counts = [0, 0, 0, 0, 90, 80, 0, 1, 2, 6]
    hidden = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(10, 3, dtype=torch.float64, requires_grad=True)
    counted = gates(torch.tensor(counts), 100, 0.05, 4)
    assert torch.nonzero(counted[0]).flatten().tolist() == [6, 7, 8]
    plain = functional.cross_entropy(hidden @ weight.T, targets, reduction="sum")
    of_hidden, of_weight = torch.autograd.grad(plain, [hidden, weight])
    logits = Gate.apply(hidden @ weight.T, weight, hidden.detach(), targets, counted)
    gated = functional.cross_entropy(logits, targets, reduction="sum")
    found_hidden, found_weight = torch.autograd.grad(gated, [hidden, weight])
    assert torch.equal(gated, plain)
    assert torch.equal(found_hidden, of_hidden)
    share = torch.softmax((hidden @ weight.T).detach(), 1).numpy()
    wanted = gated_by_pairs(share, hidden.detach().numpy(), targets.tolist(), counts, 100, 0.05)
    np.testing.assert_allclose(found_weight.numpy(), wanted, rtol=0, atol=1e-6)
    assert not np.allclose(of_weight.numpy(), wanted, atol=1e-2)


@pytest.mark.parametrize("fast", [False, True])
def test_a_heads_gradient_is_gated_and_its_loss_is_not(fast: bool) -> None:
    """fairseq's head and the faster one, two batches of one update: the second is gated by the counts of both."""
    torch.manual_seed(3)
    head = RobertaLMHead(8, 40, "gelu").double()
    head = FastHead(head) if fast else head
    if fast:
        head = head.float()
    kind = head.weight.dtype
    occurrences = Occurrences(40, 3)
    gating = Gating(head, occurrences, 0.9, 4)
    batches = [torch.tensor([5, 5, 6, 30]), torch.tensor([7, 5])]
    wanted = np.zeros((40, 8))
    seen: list[int] = []
    for targets in batches:
        features = torch.randn(len(targets), 8, dtype=kind)
        seen += targets.tolist()
        hidden = head.layer_norm(head.activation_fn(head.dense(features))).detach()
        plain = functional.cross_entropy(head(features), targets, reduction="sum").detach()
        gating.begin(9, targets)
        loss = functional.cross_entropy(head(features), targets, reduction="sum")
        gating.end()
        assert torch.equal(loss, plain)
        loss.backward()
        share = torch.softmax(hidden @ head.weight.detach().T + head.bias.detach(), 1).double().numpy()
        counts = np.bincount(seen, minlength=40).tolist()
        wanted += gated_by_pairs(share, hidden.double().numpy(), targets.tolist(), counts, 3, 0.9)
    np.testing.assert_allclose(head.weight.grad.double().numpy(), wanted, rtol=0, atol=2e-5)


def test_a_batch_in_which_nothing_is_masked_has_nothing_to_gate() -> None:
    """The stock criterion then projects every position and ignores all of them; the next batch is gated as before."""
    torch.manual_seed(5)
    head = RobertaLMHead(8, 40, "gelu")
    gating = Gating(head, Occurrences(40, 3), 0.9, 4)
    features = torch.randn(2, 3, 8)
    for targets in (torch.zeros(0, dtype=torch.int64), torch.full((6,), 7)):
        head.zero_grad()
        gating.begin(1, targets)
        logits = head(features).view(6, 40)
        gating.end()
        wanted = targets if len(targets) else torch.full((6,), 1)
        functional.cross_entropy(logits, wanted, ignore_index=1, reduction="sum").backward()
        assert bool(head.weight.grad.any()) == bool(len(targets))
    assert not head.weight.grad[9].any()  # a rare row that never occurred is pushed by nothing
    assert head.weight.grad[0].any()


def test_an_empty_rare_group_changes_no_bit() -> None:
    torch.manual_seed(3)
    hidden, weight, targets = torch.randn(5, 3), torch.randn(6, 3, requires_grad=True), torch.tensor([4, 5, 4, 5, 4])
    counted = gates(torch.full((6,), 9), 10, 0.5, 4)
    plain = functional.cross_entropy(hidden @ weight.T, targets)
    gated = functional.cross_entropy(Gate.apply(hidden @ weight.T, weight, hidden, targets, counted), targets)
    assert torch.equal(torch.autograd.grad(plain, weight)[0], torch.autograd.grad(gated, weight)[0])


def test_occurrences_are_those_of_the_last_updates_and_survive_a_checkpoint() -> None:
    generator = torch.Generator().manual_seed(0)
    batches = {update: [torch.randint(20, (n,), generator=generator) for n in (6, 0, 3)] for update in range(1, 12)}
    whole = Occurrences(20, 4)
    for update, parts in batches.items():
        for part in parts[::-1] if update % 3 == 0 else ():  # a step that an overflow threw away
            whole.receive(update, part)
        if update % 3 == 0:
            whole.discard(update - 1)  # not of this one
            whole.discard(update)
        for part in parts:
            whole.receive(update, part)
        recent = torch.cat([p for u, parts in batches.items() if update - 4 < u <= update for p in parts])
        assert torch.equal(whole.counts, torch.bincount(recent, minlength=20))
        assert whole.number(update) == min(update, 4)
        resumed = Occurrences(20, 4)
        resumed.resume_from(whole.state())
        assert torch.equal(resumed.counts, whole.counts)
        whole = resumed
    with pytest.raises(UserError, match="counts tokens over 4 updates, this run over 9; give --gating-memory 4"):
        Occurrences(20, 9).resume_from(whole.state())
    older = {key: value for key, value in whole.state().items() if key != "memory"}
    resumed = Occurrences(20, 4)
    resumed.resume_from(older)
    assert torch.equal(resumed.counts, whole.counts)


# -- real trainings ------------------------------------------------------------------------------------------------------------


def train(launcher: Launcher, corpus: Path, folder: Path, *options: object, last: int = 6, record: bool = False) -> Run:
    done = launcher.run("train", arguments(corpus, folder, *options, last=last, record=record))
    assert done.status == 0, done.said[-3000:]
    return Run(folder, done)


def test_without_remedies_it_is_masked_lm_to_the_bit(launcher: Launcher, corpus: Path, tmp_path: Path) -> None:
    plain = train(launcher, corpus, tmp_path / "plain")
    off = train(launcher, corpus, tmp_path / "off", *REMEDIED)
    gated = train(launcher, corpus, tmp_path / "gated", *GATING)
    assert_same_training(plain.last, off.last)
    one, other = (load(run.last)["model"][TABLE] for run in (plain, gated))
    assert not torch.equal(one, other)  # so that the comparison says something


@pytest.mark.parametrize("more", [("--tied-gradient", "--fast-head", "--update-freq", 2), ("--untie-weights-roberta",)])
def test_a_killed_training_goes_on_to_the_bit(launcher: Launcher, corpus: Path, tmp_path: Path, more: Any) -> None:
    whole = train(launcher, corpus, tmp_path / "whole", *BOTH, *more, last=16)
    plain = train(launcher, corpus, tmp_path / "plain", *more, last=1)
    assert logged(whole.finished.said, "loss")[1] == logged(plain.finished.said, "loss")[1]
    assert set(logged(whole.finished.said, "embed_regularization")) == set(range(1, 17))
    process = launcher.start("train", arguments(corpus, tmp_path / "killed", *BOTH, *more, last=16))
    assert process.until_update(13)
    os.kill(process.pid, 9)
    process.finish()
    again = train(launcher, corpus, tmp_path / "killed", *BOTH, *more, last=16, record=True)
    assert_same_training(whole.last, again.last)


def test_the_regularisation_lowers_the_mean_cosine(launcher: Launcher, corpus: Path, tmp_path: Path) -> None:
    runs = [
        train(launcher, corpus, tmp_path / name, *options, last=40, record=True)
        for name, options in (("plain", ()), ("cosine", (*REMEDIED, "--cosine-regularization", 1.0)))
    ]
    plain, cosine = (logged(run.finished.said, "embed_cos")[40] for run in runs)
    assert plain > 0.3
    assert cosine < plain - 0.1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((*REMEDIED, "--cosine-regularization", -1), "--cosine-regularization: expected a number of at least 0, found -1.0"),
        ((*GATING, "--gating-memory", 0), "--gating-memory: expected at least 1 update, found 0"),
        ((*GATING, "--gating-threshold", 0), "--gating-threshold: expected a number above 0, found 0.0"),
        ((*GATING, "--task", "masked_lm"), "--gradient-gating counts tokens over updates"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_told_in_one_line(
    launcher: Launcher, corpus: Path, tmp_path: Path, options: Any, words: str
) -> None:
    given = arguments(corpus, tmp_path / "run", *options, last=2, record=False)
    kept, skip = [], False
    for argument in given:  # the stock task has no options of recording
        skip = skip or (str(argument).startswith("--record-") and "masked_lm" in options)
        if not skip:
            kept.append(argument)
        skip = skip and str(argument).startswith("--record-")
    done = launcher.run("train", kept)
    assert words in done.error
    assert nothing_but_checkpoints(tmp_path / "run")


def test_several_ranks_are_refused() -> None:
    task = SimpleNamespace(target_dictionary=None, source_dictionary=range(9), world_size=2, keep_in_checkpoints=print)
    with pytest.raises(UserError, match="counts the tokens of one process; found 2 of them"):
        RemediedMaskedLMLoss(RemediedMaskedLMConfig(gradient_gating=True), task)
    RemediedMaskedLMLoss(RemediedMaskedLMConfig(cosine_regularization=1.0), task)  # has no counts


def test_a_checkpoint_without_counts_is_refused(launcher: Launcher, corpus: Path, tmp_path: Path) -> None:
    train(launcher, corpus, tmp_path, *REMEDIED, last=10)
    other = launcher.run("train", arguments(corpus, tmp_path, *GATING, last=12, record=False))
    assert "trained without what gating keeps" in other.error
