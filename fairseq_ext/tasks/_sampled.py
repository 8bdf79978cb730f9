"""What all tasks share of sampling: the training split by draw, the planned batches, and the state that checkpoints keep."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from fairseq.data import FairseqDataset

from ..errors import UserError
from ..sampling.dataset import choose_examples
from ..sampling.sampler import Sampler

logger = logging.getLogger(__name__)


class Sampled:
    """Mixin of a fairseq task; sets ``sampler`` by :meth:`begin_sampling` before any split is loaded."""

    sampler: Sampler
    datasets: dict[str, FairseqDataset]

    def begin_sampling(self, options: Any, config: dict[str, Any], data: str, longest: int) -> None:
        """Read the options; ``longest`` is the length of the longest example that the model takes."""
        self.sampler = Sampler(options, config, data, longest)
        self.train_subset = str((config.get("dataset") or {}).get("train_subset") or "train")
        self.train_examples = 0
        self.has_begun = False

    def resample_split(self, split: str, dataset: FairseqDataset, epoch: int | None = None) -> FairseqDataset:
        """The training split's dataset by number of the draw, where sampling is on; of any other the examples to validate on."""
        if split != self.train_subset:
            chosen = choose_examples(dataset, self.sampler.options.sample_valid_examples)
            if chosen is not dataset:
                logger.info(
                    f"{split}: {len(chosen):,} of {len(dataset):,} examples, chosen at random (--sample-valid-examples)"
                )
            return chosen
        self.train_examples = len(dataset)
        return self.sampler.resample(dataset, epoch) if self.sampler.on else dataset

    def get_batch_iterator(self, dataset: Any, *arguments: Any, **options: Any) -> Any:
        """fairseq's iterator; over the training split under sampling, one that follows the plan.

        Over the training split workers are started anew at each epoch. fairseq keeps them alive, and with them the epoch from which the masks are
        drawn: every epoch would see the masks of the first, and a resumed run those of the epoch in which it was resumed.

        Raises:
            UserError: batches of the plan do not fit the number of ranks.
        """
        trains = dataset is self.datasets.get(self.train_subset)
        if not (trains and self.sampler.on):
            iterator = super().get_batch_iterator(dataset, *arguments, **options)  # type: ignore[misc]
            if trains:
                iterator.reuse_dataloader = False
            return iterator
        if arguments:
            raise TypeError("get_batch_iterator: expected options by name")
        shards = int(options.get("num_shards", 1))
        if shards != self.sampler.world_size:
            raise UserError(
                f"--sample-pool planned batches for {self.sampler.world_size} rank(s), but training runs on {shards}; give "
                f"--distributed-world-size {shards}"
            )
        return self.sampler.iterator(
            dataset,
            seed=int(options.get("seed", 1)),
            num_shards=shards,
            shard_id=int(options.get("shard_id", 0)),
            num_workers=int(options.get("num_workers", 0)),
            epoch=int(options.get("epoch", 1)),
            buffer_size=int(options.get("data_buffer_size", 0)),
        )

    def begin_epoch(self, epoch: int, model: Any) -> None:
        self.sampler.end_if_done(epoch)
        super().begin_epoch(epoch, model)  # type: ignore[misc]

    def examples_of(self, ids: np.ndarray) -> np.ndarray:
        """The training examples that a batch's ids stand for."""
        return ids

    def refuse_foreign_checkpoint(self, update: int) -> None:
        """Called before each step; looks at the first.

        Raises:
            UserError: training goes on from a checkpoint that knows nothing of sampling.
        """
        first, self.has_begun = not self.has_begun, True
        if first and self.sampler.on and update > 0 and not self.sampler.resumed:
            raise UserError(
                f"the checkpoint at update {update} has no state of sampling, so it is not known what it has seen; continue it without "
                "--sample-pool, or use another --save-dir"
            )
