"""Datasets and the iterator that follow a plan. Nothing is copied: a draw's number is translated when the draw is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
from fairseq.data import BaseWrapperDataset, FairseqDataset
from fairseq.data.iterators import EpochBatchIterator
from numpy.typing import NDArray

from .plan import EpochPlan, Plan, uniform


class Draws:
    """The draws of the present epoch, shared by the datasets that translate their numbers."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._epoch = 0
        self._part: EpochPlan | None = None
        self.set_epoch(1)

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch, counted from 1; past the plan's last nothing changes."""
        if epoch != self._epoch and 1 <= epoch <= self.plan.epochs:
            self._part = self.plan.epoch(epoch)
            self._epoch = epoch

    @property
    def part(self) -> EpochPlan:
        assert self._part is not None
        return self._part

    def __len__(self) -> int:
        return len(self.part.examples)

    def examples(self, draws: Any) -> NDArray[np.int32]:
        """The examples that draws of this epoch stand for."""
        return self.part.examples[np.asarray(draws) - self.part.first_draw]


class ResampledDataset(BaseWrapperDataset):
    """The items of a dataset by number of the draw.

    Draws are numbered over the whole run, so that a mask or a cache that depends on the number is another one for each draw.

    Args:
        dataset: any dataset of fairseq.
        draws: translates the numbers.
        epoch: what the dataset below is told; ``None``: the present one. A fixed one keeps its masks the same in every epoch.
    """

    def __init__(self, dataset: FairseqDataset, draws: Draws, epoch: int | None = None) -> None:
        super().__init__(dataset)
        self.draws, self._fixed_epoch = draws, epoch

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.draws.examples(index))]

    def __len__(self) -> int:
        return len(self.draws)

    @property
    def sizes(self) -> Any:
        """Of the present epoch's draws."""
        sizes = self.dataset.sizes
        return np.asarray(sizes[0] if isinstance(sizes, list) else sizes)[self.draws.part.examples]

    def num_tokens(self, index: int) -> int:
        return self.dataset.num_tokens(int(self.draws.examples(index)))

    def size(self, index: int) -> Any:
        return self.dataset.size(int(self.draws.examples(index)))

    @property
    def supports_prefetch(self) -> bool:
        return False

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        return False

    def set_epoch(self, epoch: int) -> None:
        self.draws.set_epoch(epoch)
        super().set_epoch(epoch if self._fixed_epoch is None else self._fixed_epoch)


class ChosenDataset(BaseWrapperDataset):
    """Some items of a dataset, by their place among them.

    Args:
        dataset: any dataset of fairseq.
        chosen: (n,) numbers of the items.
    """

    def __init__(self, dataset: FairseqDataset, chosen: NDArray[np.int64]) -> None:
        super().__init__(dataset)
        self.chosen = chosen

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.chosen[index])]

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def sizes(self) -> Any:
        sizes = self.dataset.sizes
        return np.asarray(sizes[0] if isinstance(sizes, list) else sizes)[self.chosen]

    def num_tokens(self, index: int) -> int:
        return self.dataset.num_tokens(int(self.chosen[index]))

    def size(self, index: int) -> Any:
        return self.dataset.size(int(self.chosen[index]))

    def ordered_indices(self) -> NDArray[np.int64]:
        """By length: the order of the dataset below numbers all its items."""
        sizes = self.sizes
        return np.argsort(sizes if sizes.ndim == 1 else sizes.max(1), kind="stable")

    def num_tokens_vec(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        return self.dataset.num_tokens_vec(self.chosen[indices])

    def filter_indices_by_size(self, indices: NDArray[np.int64], max_sizes: Any) -> Any:
        """The dataset below would take places for numbers of its items."""
        return FairseqDataset.filter_indices_by_size(self, indices, max_sizes)

    def batch_by_size(self, indices: NDArray[np.int64], *arguments: Any, **options: Any) -> Any:
        """The dataset below would take places for numbers of its items."""
        return FairseqDataset.batch_by_size(self, indices, *arguments, **options)

    @property
    def supports_prefetch(self) -> bool:
        return False


def choose_examples(dataset: FairseqDataset, number: int) -> FairseqDataset:
    """A random choice of a split's examples that depends on nothing but its size: every run validates on the same, and fewer are a subset.

    Args:
        dataset: the split.
        number: of examples; 0, or at least as many as there are: all.
    """
    if not 0 < number < len(dataset):
        return dataset
    return ChosenDataset(dataset, np.sort(np.argsort(uniform(1, 0, len(dataset)), kind="stable")[:number]))


class PlannedIterator(EpochBatchIterator):
    """fairseq's iterator over the plan's batches, in the plan's order."""

    def _get_iterator_for_epoch(
        self, epoch: int, shuffle: bool, fix_batches_to_gpus: bool = False, offset: int = 0
    ) -> Any:
        return super()._get_iterator_for_epoch(epoch, False, fix_batches_to_gpus, offset)
