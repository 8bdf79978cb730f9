"""Which examples a run is evaluated on: held out, seen in training (by times drawn), and unseen ones of the same kind."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from ..errors import UserError
from ..recording.corpus import sha256
from .loading import Trained, dump_corpus, one_line
from .masks import shuffled

logger = logging.getLogger(__name__)
SETS = ("held_out", "seen", "unseen")
HELD_OUT, SEEN, UNSEEN = range(len(SETS))
SPLITS = ("valid", "train", "train")
DEFAULT = 400
_ORDER = 7  # marks the key by which examples are chosen; masks have keys of four numbers

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Drawn:
    """How often training received each example.

    Attributes:
        times: int64 [example].
        update: the update up to which was counted.
    """

    times: Numbers
    update: int


@dataclass(frozen=True)
class Chosen:
    """The evaluated examples of one set, ascending.

    Attributes:
        part: number of the set.
        examples: int64 [n], numbers in the split.
        drawn: int64 [n], how often training received each.
    """

    part: int
    examples: Numbers
    drawn: Numbers


def read_drawn(folder: Path, update: int) -> Drawn | None:
    """The dump's counters of examples at the last update that is not after ``update``.

    Returns:
        ``None`` without a dump or counters in it.

    Raises:
        UserError: the counters cannot be read, or begin after ``update``.
    """
    path = folder / "dump.zarr" / "exposure" / "examples"
    if not path.is_dir():
        return None
    try:
        group = zarr.open_group(path, mode="r", use_consolidated=False)
        updates = np.asarray(group["update"][...])
        known = np.flatnonzero(updates <= update)
        times = np.asarray(group["drawn"][int(known[-1])]).astype(np.int64) if len(known) else None
    except Exception as error:  # zarr raises what its codecs and stores raise
        raise UserError(f"{path}: the counters of examples cannot be read ({one_line(error)})") from error
    if times is None:
        first = f"begin at update {updates[0]}" if len(updates) else "list no update"
        raise UserError(
            f"{path}: the counters of examples {first}, the checkpoint is of update {update}; evaluate a later checkpoint, "
            "or held-out text alone (--seen 0 --unseen 0)"
        )
    counted = int(updates[known[-1]])
    if counted < update:
        logger.warning(
            f"{folder}: times drawn are known up to update {counted}, the checkpoint is of update {update}; what was first drawn in between "
            "may count as unseen (record exposure at the updates of checkpoints: --record-exposure)"
        )
    return Drawn(times, counted)


def choose(
    run: Trained, seed: int, held_out: int, seen: int | None, unseen: int | None
) -> tuple[list[Chosen], int | None]:
    """Choose the examples of each set.

    Args:
        run: the trained model.
        seed: seed of the choice; held-out examples depend on it and the corpus alone, and fewer are a subset of more.
        held_out: how many held-out examples at most.
        seen: how many examples seen in training; ``None``: 400 if they are known.
        unseen: how many unseen examples; ``None``: as ``seen``.

    Returns:
        the sets with any examples, and the update up to which draws are known (``None`` if they are not asked for).

    Raises:
        UserError: seen or unseen examples are asked for and the run does not tell which they are.
    """
    result = []
    if held_out:
        candidates = usable(run, run.blocks("valid"))
        result.append(_chosen(HELD_OUT, sample(candidates, held_out, seed, HELD_OUT), None))
    counted = None
    drawn = None if seen == 0 and unseen == 0 else read_drawn(run.folder, run.update)
    if drawn is None:
        if seen or unseen:
            raise UserError(
                f"seen and unseen examples need the counters of examples in {run.folder / 'dump.zarr'} and found none; train with "
                "--record-dir and --record-exposure, or evaluate held-out text alone (--seen 0 --unseen 0)"
            )
        if seen is None or unseen is None:
            logger.warning(
                f"{run.folder}: only held-out text is evaluated; the run has no counters of examples, which --record-exposure writes"
            )
    else:
        counted = drawn.update
        require_same_split(run)
        blocks = run.blocks("train")
        if len(drawn.times) != len(blocks):
            raise UserError(
                f"the dump counts {len(drawn.times):,} training examples, {run.data} has {len(blocks):,}: it is not the corpus of the training; "
                "give that by --data"
            )
        fits = usable(run, blocks)
        result += _chosen_seen(fits, drawn.times, DEFAULT if seen is None else seen, seed)
        result += _chosen_unseen(run, blocks, fits, drawn.times, DEFAULT if unseen is None else unseen, seed)
    if not result:
        raise UserError(
            "there is nothing to evaluate: no set has an example; give --held-out, --seen or --unseen above 0"
        )
    return result, counted


def usable(run: Trained, blocks: Any) -> npt.NDArray[np.bool_]:
    """bool [example]: has the example a token beside ``<s>`` and ``</s>``, and does it fit the model."""
    sizes = np.asarray(blocks.sizes)
    return (sizes > 2) & (sizes <= run.longest)


def sample(candidates: npt.NDArray[np.bool_], number: int, seed: int, part: int) -> Numbers:
    """At most ``number`` of the candidates, a pure function of (seed, part, candidates); fewer are a subset of more. Ascending."""
    order = shuffled((seed, part, _ORDER), len(candidates))
    return np.sort(order[candidates[order]][:number])


def shares(available: list[int], number: int) -> list[int]:
    """How many of ``number`` places each stratum gets: equal shares, and what a small stratum leaves goes to the others.

    With fewer places than strata, the strata that get one are spread evenly.
    """
    if number < len(available):
        spread = {round(k * (len(available) - 1) / max(1, number - 1)) for k in range(number)}
        return [int(k in spread) for k in range(len(available))]
    given = [0] * len(available)
    left = min(number, sum(available))
    while left:
        open_ones = [k for k, size in enumerate(available) if given[k] < size]
        share = max(1, left // len(open_ones))
        for k in open_ones:
            more = min(available[k] - given[k], share, left)
            given[k] += more
            left -= more
    return given


def stratified(times: Numbers, candidates: npt.NDArray[np.bool_], number: int, seed: int) -> Numbers:
    """At most ``number`` of the candidates that were drawn, evenly over the numbers of times drawn. Ascending."""
    drawn = candidates & (times > 0)
    levels, sizes = np.unique(times[drawn], return_counts=True)
    order = shuffled((seed, SEEN, _ORDER), len(times))
    order = order[drawn[order]]
    taken = [
        order[times[order] == level][:share]
        for level, share in zip(levels, shares(sizes.tolist(), number), strict=True)
    ]
    return np.sort(np.concatenate(taken)) if taken else np.zeros(0, dtype=np.int64)


def _chosen_seen(fits: npt.NDArray[np.bool_], times: Numbers, number: int, seed: int) -> list[Chosen]:
    examples = stratified(times, fits, number, seed)
    if number and not len(examples):
        raise UserError(
            "no training example was drawn at this checkpoint; evaluate a later one, or give --seen 0 --unseen 0"
        )
    return [_chosen(SEEN, examples, times)] if number else []


def _chosen_unseen(
    run: Trained, blocks: Any, fits: npt.NDArray[np.bool_], times: Numbers, number: int, seed: int
) -> list[Chosen]:
    """Examples that were never drawn, of the pool's kind: those that follow the pool in its order."""
    if not number:
        return []
    sampler = getattr(run.task, "sampler", None)
    if sampler is not None and sampler.on:
        rest = np.asarray(sampler.design_for(blocks).rest, dtype=np.int64)
        examples = np.sort(rest[fits[rest] & (times[rest] == 0)][:number])
    else:
        examples = sample(fits & (times == 0), number, seed, UNSEEN)
    if not len(examples):
        logger.warning(
            f"{run.folder}: there are no unseen examples; every training example of the pool's kind was drawn"
        )
        return []
    return [_chosen(UNSEEN, examples, times)]


def _chosen(part: int, examples: Numbers, times: Numbers | None) -> Chosen:
    return Chosen(part, examples, np.zeros(len(examples), np.int64) if times is None else times[examples])


def require_same_split(run: Trained) -> None:
    """Check that the corpus's training split is the one that the dump's counters number.

    Raises:
        UserError: it is another one, or the run was trained on several folders in turn.
    """
    if len(str(run.task.cfg.data).split(os.pathsep)) > 1:
        raise UserError(
            "the run was trained on several folders in turn, so an example's number does not tell its text; give --seen 0 --unseen 0"
        )
    known = dump_corpus(run.folder).get("train_sha256")
    if known and known != sha256(run.data / "train.bin"):
        raise UserError(
            f"{run.data / 'train.bin'} is not the training split that the dump's counters are of; give the corpus of the training by --data, "
            "or --seen 0 --unseen 0"
        )
