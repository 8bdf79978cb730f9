"""Sampling as a task sees it: from options and a loaded training split to datasets, batches and a state that checkpoints keep."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
from fairseq.data import FairseqDataset
from numpy.typing import NDArray

from ..errors import UserError
from . import selection
from .config import SamplingConfig, check
from .dataset import Draws, PlannedIterator, ResampledDataset
from .plan import Plan
from .pools import Design, Request, choose_pool
from .topics import load_topics

logger = logging.getLogger(__name__)
STATE_VERSION = 1


class Sampler:
    """Decides what a run draws.

    Args:
        options: the task's ``--sample-*`` options.
        config: the run's whole configuration as plain values.
        data: the corpus's folder.
        longest: tokens of the longest example that the model takes.

    Raises:
        UserError: an option is wrong, or the run is of a kind that cannot be sampled.
    """

    def __init__(self, options: SamplingConfig, config: dict[str, Any], data: str, longest: int) -> None:
        self.options, self.data, self.longest = options, data, longest
        self.on = check(options)
        self.draws: Draws | None = None
        self._resumed: dict[str, Any] | None = None
        self._fingerprint = ""
        if not self.on:
            return
        optimization = config.get("optimization") or {}
        self.updates = int(optimization.get("max_update") or 0)
        frequencies = list(optimization.get("update_freq") or [1])
        self.world_size = int((config.get("distributed_training") or {}).get("distributed_world_size") or 1)
        self.update_freq = int(frequencies[0])
        self.seed = int((config.get("common") or {}).get("seed") or (config.get("task") or {}).get("seed") or 1)
        if len(set(frequencies)) > 1:
            raise UserError(
                f"--sample-pool needs one --update-freq for the whole run; found {frequencies}; give one number"
            )
        if ":" in data:
            raise UserError(
                f"--sample-pool needs the training split in one folder; found several ({data}); prepare them as one corpus"
            )

    @property
    def resumed(self) -> bool:
        """Whether a checkpoint's state was taken."""
        return self._resumed is not None

    # -- design --------------------------------------------------------------------------------------------------------------

    def design_for(self, dataset: FairseqDataset) -> Design:
        """The run's design on a training split, whose items are the examples.

        Raises:
            UserError: the run's length is unknown, the corpus is too small or the options do not fit one another.
        """
        if self.updates <= 0:
            raise UserError(
                "--sample-pool needs the run's length to match arms; found no --max-update; give the number of updates"
            )
        sizes = _tokens(dataset)
        kind = str(self.options.sample_pool)
        request = Request(
            kind,
            self.options.sample_repeat,
            self.options.sample_fraction,
            str(self.options.sample_order),
            self.options.sample_tokens_per_update,
            self.options.sample_pool_tokens,
            self.updates,
            self.update_freq * self.world_size,
            self.seed,
        )
        order = self._order(kind, sizes)
        usable = (_longest_side(dataset) <= self.longest) & (sizes > 0)
        if not usable.all():
            logger.warning(
                f"sampling: {np.count_nonzero(~usable):,} of {len(usable):,} examples are empty or longer than {self.longest} tokens and never drawn"
            )
        return choose_pool(request, order[usable[order]], sizes)

    def _order(self, kind: str, sizes: NDArray[np.int64]) -> NDArray[np.int32]:
        if kind in ("all", "random"):
            return selection.random_order(len(sizes), self.seed)
        path = Path(self.options.sample_topics or Path(self.data) / "topics.npz")
        topics = load_topics(path, Path(self.data) / "train.bin")
        if len(topics.topic) != len(sizes):
            raise UserError(
                f"{path} has topics of {len(topics.topic):,} examples, but the training split has {len(sizes):,} (one line an example: "
                "--sample-break-mode eos); make it anew with scripts/select_topics.sh"
            )
        choose = selection.diverse_order if kind == "diverse" else selection.narrow_order
        return choose(topics, sizes, self.seed)

    # -- datasets and batches ------------------------------------------------------------------------------------------------

    def resample(self, dataset: FairseqDataset, epoch: int | None = None) -> ResampledDataset:
        """Plan the run and give the examples of ``dataset`` by number of the draw; see :class:`ResampledDataset`."""
        design = self.design_for(dataset)
        self.design = design
        self._fingerprint = _fingerprint(design, _tokens(dataset))
        self._refuse_another()
        self.draws = Draws(Plan(design))
        logger.info("sampling: " + self.describe())
        return ResampledDataset(dataset, self.draws, epoch)

    def iterator(self, dataset: FairseqDataset, **options: Any) -> PlannedIterator:
        """fairseq's iterator over the plan's batches. Past the plan's end it gives the last epoch's, which :meth:`end_if_done` forestalls."""
        assert self.draws is not None
        draws = self.draws
        dataset.set_epoch(int(options["epoch"]))

        def batches(_: Any, number: int) -> list[NDArray[np.int64]]:
            draws.set_epoch(number)
            return draws.part.batches

        return PlannedIterator(dataset, dataset.collater, batches, **options)

    def end_if_done(self, epoch: int) -> None:
        """End the process with status 0 where an epoch is about to begin that the plan does not have: the run is finished."""
        if self.draws is not None and epoch > self.draws.plan.epochs:
            logger.info(f"sampling: all {self.updates:,} updates of the run are done; nothing is left to draw")
            sys.exit(0)

    def examples_of(self, ids: NDArray[np.int64], by_draw: bool) -> NDArray[np.int64]:
        """The training examples that a batch's ids stand for; ``by_draw``: the ids are numbers of draws."""
        return self.draws.examples(ids) if by_draw and self.draws is not None else ids

    # -- state ---------------------------------------------------------------------------------------------------------------

    def describe(self) -> str:
        about = self.attributes()
        repeats = (
            f"{about['repeated_examples']:,} of them ({about['repeated_tokens']:,} tokens) {about['repeat']} times"
        )
        return (
            f"{about['pool']} pool of {about['pool_examples']:,} examples ({about['pool_tokens']:,} tokens), {repeats}, order {about['order']}: "
            f"{about['draws']:,} draws, {about['tokens']:,} tokens in {about['updates']:,} updates of {about['tokens_per_update']:,.0f}"
        )

    def attributes(self) -> dict[str, Any]:
        """The design in numbers, for the dump's attributes and the log."""
        design = self.design
        return {
            "pool": str(self.options.sample_pool),
            "repeat": design.repeat,
            "fraction": self.options.sample_fraction,
            "order": design.order,
            "masks": str(self.options.sample_masks),
            "pool_examples": len(design.pool),
            "pool_tokens": int(design.sizes.sum()),
            "repeated_examples": design.repeated,
            "repeated_tokens": design.repeated_tokens,
            "draws": design.draws,
            "tokens": design.tokens,
            "tokens_per_update": design.tokens_per_update,
            "updates": design.updates,
        }

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps; empty without sampling."""
        return (
            {"version": STATE_VERSION, "fingerprint": self._fingerprint, "design": self.attributes()} if self.on else {}
        )

    def resume_from(self, state: dict[str, Any]) -> None:
        """Take the state of the checkpoint from which the run goes on; it is compared once the training split is there."""
        self._resumed = state
        self._refuse_another()

    def _refuse_another(self) -> None:
        if self._resumed is None or (self.on and not self._fingerprint):
            return
        theirs, ours = self._resumed.get("fingerprint"), self._fingerprint or None
        if theirs == ours:
            return
        if theirs is None or ours is None:
            with_, without = ("this run", "the checkpoint") if ours else ("the checkpoint", "this run")
            raise UserError(
                f"{with_} has --sample-pool and {without} has none; continue with the checkpoint's options, or use another --save-dir"
            )
        before, now = self._resumed.get("design", {}), self.attributes()
        changed = [f"{name} {before.get(name)} -> {now[name]}" for name in now if before.get(name) != now[name]]
        what = ", ".join(changed) or "the training split or the seed"
        raise UserError(
            f"the checkpoint was trained on other draws than this run would make ({what} changed); restore the corpus and the options, or use "
            "another --save-dir"
        )


def _sizes(dataset: FairseqDataset) -> NDArray[np.int64]:
    """(examples,) or, of pairs, (examples, 2)."""
    sizes = dataset.sizes
    return np.asarray(sizes[0] if isinstance(sizes, list | tuple) else sizes).astype(np.int64)


def _tokens(dataset: FairseqDataset) -> NDArray[np.int64]:
    """Tokens of each example, (examples,); of a pair, source and target together."""
    sizes = _sizes(dataset)
    return sizes.sum(1) if sizes.ndim == 2 else sizes


def _longest_side(dataset: FairseqDataset) -> NDArray[np.int64]:
    sizes = _sizes(dataset)
    return sizes.max(1) if sizes.ndim == 2 else sizes


def _fingerprint(design: Design, sizes: NDArray[np.int64]) -> str:
    """A hash of all that decides the draws: the design, and the lengths of all examples of the split."""
    digest = hashlib.sha256()
    for array in (design.pool, sizes):
        digest.update(np.ascontiguousarray(array).tobytes())
    plain = [design.repeated, design.repeat, design.order, design.updates, design.batches, design.seed]
    digest.update(json.dumps(plain).encode())
    return digest.hexdigest()
