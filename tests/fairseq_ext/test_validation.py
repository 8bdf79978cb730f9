"""What a run validates on: a random choice that every run shares; and validating leaves no process behind."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fairseq.data import FairseqDataset
from hypothesis import given
from hypothesis import strategies as st
from running import Launcher, arguments

from fairseq_ext import precision
from fairseq_ext.sampling.dataset import choose_examples
from fairseq_ext.tasks._sampled import Sampled


class Texts(FairseqDataset):
    """Examples whose item is their number; sizes as given, of one or of two sides."""

    def __init__(self, sizes: np.ndarray) -> None:
        self.sizes = sizes

    def __getitem__(self, index: int) -> int:
        return index

    def __len__(self) -> int:
        return len(self.sizes)

    def num_tokens(self, index: int) -> int:
        return int(np.max(self.sizes[index]))

    def size(self, index: int) -> object:
        return self.sizes[index]


@given(st.integers(1, 300), st.integers(0, 320), st.booleans(), st.integers(0, 10**6))
def test_a_choice_is_of_different_examples_with_their_own_sizes(size: int, number: int, pairs: bool, seed: int) -> None:
    dataset = Texts(np.random.default_rng(seed).integers(1, 99, (size, 2) if pairs else size))
    chosen = choose_examples(dataset, number)
    items = [chosen[k] for k in range(len(chosen))]
    assert len(items) == (min(number, size) if number else size)
    assert len(set(items)) == len(items)
    assert np.array_equal(chosen.sizes, dataset.sizes[items])
    assert [chosen.num_tokens(k) for k in range(len(items))] == [dataset.num_tokens(k) for k in items]
    assert sorted(chosen.ordered_indices().tolist()) == list(range(len(items)))
    again = choose_examples(Texts(np.random.default_rng(seed + 1).integers(1, 99, size)), number)
    assert [again[k] for k in range(len(again))] == items  # whatever the texts: every run has the same
    fewer = choose_examples(dataset, max(1, len(items) // 2))
    assert {fewer[k] for k in range(len(fewer))} <= set(items)


@pytest.mark.parametrize("pairs", [False, True])
def test_limits_hold_for_the_chosen_examples_not_for_those_at_their_places(pairs: bool) -> None:
    sizes = np.random.default_rng(3).integers(1, 100, (200, 2) if pairs else 200)
    chosen = choose_examples(Texts(sizes), 40)
    own = chosen.sizes.max(1) if pairs else chosen.sizes
    kept, left = chosen.filter_indices_by_size(chosen.ordered_indices(), (60, 60) if pairs else 60)
    assert sorted(kept.tolist()) == np.flatnonzero(own <= 60).tolist()
    assert sorted(left) == np.flatnonzero(own > 60).tolist()
    batches = chosen.batch_by_size(kept, max_tokens=200, required_batch_size_multiple=1)
    assert sorted(int(k) for batch in batches for k in batch) == sorted(kept.tolist())
    assert all(len(batch) * own[batch].max() <= 200 for batch in batches)


@pytest.mark.train
@pytest.mark.parametrize("masks", ["fresh", "identical"])
def test_every_run_says_what_it_validates_on(launcher: Launcher, corpus: Path, tmp_path: Path, masks: str) -> None:
    sampling = "--sample-pool random --sample-tokens-per-update 200 --sample-repeat 2 --no-save --sample-masks".split()
    options = arguments(corpus, tmp_path, *sampling, masks, "--sample-valid-examples", 7, last=2, record=False)
    done = launcher.run("train", [a for a in options if a != "--disable-validation"])
    assert done.status == 0, done.said[-3000:]
    assert "valid: 7 of 20 examples, chosen at random (--sample-valid-examples)" in done.said


def test_a_choice_is_not_of_the_shortest() -> None:
    sizes = np.sort(np.random.default_rng(1).integers(5, 500, 4000))
    chosen = choose_examples(Texts(sizes), 400)
    assert abs(chosen.sizes.mean() - sizes.mean()) < 4 * sizes.std() / 20
    assert sizes[:400].mean() < sizes.mean() / 3  # what fairseq's --max-valid-steps would take


class Stock:
    """Stands for fairseq's task."""

    def get_batch_iterator(self, dataset: object, **options: object) -> SimpleNamespace:
        return SimpleNamespace(reuse_dataloader=True)


class Task(Sampled, Stock):
    def __init__(self) -> None:
        self.sampler = SimpleNamespace(on=False)
        self.train_subset = "train"
        self.datasets = {"train": object(), "valid": object()}


def test_workers_are_started_anew_for_training_alone() -> None:
    """A validation that --max-valid-steps ends early leaves its worker waiting, with a copy of the model as it was: two trainings so filled 24 GB."""
    task = Task()
    assert task.get_batch_iterator(task.datasets["train"]).reuse_dataloader is False
    assert task.get_batch_iterator(task.datasets["valid"]).reuse_dataloader is True


def test_a_negative_choice_is_one_line(launcher: Launcher, corpus: Path, tmp_path: Path) -> None:
    done = launcher.run("train", arguments(corpus, tmp_path, "--sample-valid-examples", "-3", record=False))
    assert "--sample-valid-examples: expected 0 (all) or more, found -3" in done.error


def test_onednn_keeps_few_products_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
    monkeypatch.delenv(name, raising=False)
    precision.limit_primitive_cache()
    assert os.environ.pop(name) == "64"
    monkeypatch.setenv(name, "7")
    precision.limit_primitive_cache()
    assert os.environ[name] == "7"
