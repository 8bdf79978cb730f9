"""Untrained models of a checkpoint's configuration: what a training would begin with under another seed."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .loading import Trained

FIRST_SEED = 1001


def seeds(number: int) -> tuple[int, ...]:
    """The seeds 1001, 1002, ... of so many untrained models."""
    return tuple(range(FIRST_SEED, FIRST_SEED + number))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw random numbers of torch on the CPU from a seed; afterwards the generator goes on as if nothing had been drawn."""
    state = torch.random.get_rng_state()
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed those of every GPU too
    try:
        yield
    finally:
        torch.random.set_rng_state(state)


def untrained(run: Trained, seed: int) -> Trained:
    """A run's model built anew, as fairseq-train builds it with this seed, in the place of the trained one.

    The numbers are drawn on the CPU, so they are the same for every device.

    Args:
        run: the trained run, which stays as it is.
        seed: as ``--seed`` of fairseq-train.
    """
    with seeded(seed):
        model = run.task.build_model(copy.deepcopy(run.config), from_checkpoint=True)
    return dataclasses.replace(run, update=0, model=model.float().eval().to(run.device))
