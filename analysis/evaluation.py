"""Reads `evaluation.npz` (docs/evaluation-format.md): what a trained masked LM made of each masked position.

    evaluation = read_evaluation("runs/E3/all-distinct/seed1/evaluation.npz")
    sums = evaluation.example_sums("held_out")        # loss, correct and positions of each example

The file holds examples of three kinds: `held_out` (validation split), `seen` (drawn in training) and `unseen` (of the
training split, never drawn). Losses are bits for each masked position.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams import DumpError, first_line

FORMAT = "embedding-evaluation"
FORMAT_VERSION = 1
HELD_OUT, SEEN, UNSEEN = "held_out", "seen", "unseen"
POSITIONS = {"set": "u", "example": "i", "repeat": "u", "target": "i", "loss": "f", "correct": "b"}
EXAMPLES = {"examples_set": "u", "examples_index": "i", "examples_drawn": "i", "examples_tokens": "i"}
SAME = ("valid_sha256", "mask_seed", "mask_prob", "masks")  # of `about`: what a paired comparison needs to be equal


class EvaluationError(DumpError):
    """An evaluation that cannot be used: one line saying what was expected, what was found and what to do."""


@dataclass(frozen=True)
class ExampleSums:
    """Sums over the masked positions of each example of one set, all float64 or int64 (examples,).

    `example` ascending; `drawn` is how often training drew it; `loss` in bits; `correct` positions recovered.
    """

    example: NDArray[np.int64]
    drawn: NDArray[np.int64]
    positions: NDArray[np.float64]
    loss: NDArray[np.float64]
    correct: NDArray[np.float64]


@dataclass(frozen=True)
class Evaluation:
    """One evaluated checkpoint. The arrays (positions,) and (examples,) are those of the format."""

    path: Path
    about: dict[str, Any]
    sets: tuple[str, ...]
    set: NDArray[np.unsignedinteger]
    example: NDArray[np.integer]
    repeat: NDArray[np.unsignedinteger]
    target: NDArray[np.integer]
    loss: NDArray[np.floating]
    correct: NDArray[np.bool_]
    examples_set: NDArray[np.unsignedinteger]
    examples_index: NDArray[np.integer]
    examples_drawn: NDArray[np.integer]
    examples_tokens: NDArray[np.integer]

    @property
    def update(self) -> int:
        """The update whose weights were evaluated."""
        return int(self.about["update"])

    @property
    def signature(self) -> str:
        """What a signature gains by the evaluation: which masks of which held-out text."""
        known = {"mask_seed": self.about.get("mask_seed"), "masks": self.about.get("masks")}
        known["valid"] = str(self.about.get("valid_sha256") or "")[:12] or None
        return "|".join(f"{key}:{value}" for key, value in known.items() if value is not None)

    def error(self, what: str) -> EvaluationError:
        """An EvaluationError that names this evaluation."""
        return EvaluationError(f"{self.path}: {what}")

    def positions_of(self, name: str) -> NDArray[np.bool_]:
        """Which masked positions are of the set `name`; none where the set was not evaluated."""
        return self.set == self.sets.index(name) if name in self.sets else np.zeros(len(self.set), bool)

    def example_sums(self, name: str, chosen: NDArray[np.bool_] | None = None) -> ExampleSums:
        """Sums by example of the set `name`, over all masked positions or over those `chosen` (positions,).

        Every example of the set that has a masked position is listed, also one without a chosen position.
        """
        inside = self.positions_of(name)
        example, place = np.unique(self.example[inside], return_inverse=True)
        weight = np.ones(len(place)) if chosen is None else chosen[inside].astype(np.float64)

        def total(values: NDArray[Any]) -> NDArray[np.float64]:
            return np.bincount(place, weights=values * weight, minlength=len(example))

        return ExampleSums(
            example=example.astype(np.int64),
            drawn=self._drawn(name, example),
            positions=total(np.ones(len(place))),
            loss=total(self.loss[inside].astype(np.float64)),
            correct=total(self.correct[inside].astype(np.float64)),
        )

    def _drawn(self, name: str, example: NDArray[np.integer]) -> NDArray[np.int64]:
        listed = self.examples_set == (self.sets.index(name) if name in self.sets else -1)
        order = np.argsort(self.examples_index[listed], kind="stable")
        index, drawn = self.examples_index[listed][order], self.examples_drawn[listed][order]
        place = np.minimum(np.searchsorted(index, example), max(len(index) - 1, 0))
        if len(example) and (not len(index) or (index[place] != example).any()):
            raise self.error(f"masked positions of examples of {name!r} that are not listed; evaluate again")
        return drawn[place].astype(np.int64) if len(example) else np.zeros(0, np.int64)


def read_evaluation(path: str | Path) -> Evaluation:
    """Read an evaluation. Raises EvaluationError: no such file, no npz, another format or version, arrays that disagree."""
    path = Path(path)
    arrays = read_npz(path, "an evaluation")
    try:
        about = json.loads(str(arrays["about"]))
        found = about["format"], about["format_version"]
        update, sets = int(about["update"]), tuple(str(name) for name in about["sets"])
    except (KeyError, ValueError, TypeError) as error:
        raise EvaluationError(
            f"{path}: not an evaluation: `about` is missing or incomplete ({first_line(error)})"
        ) from None
    if found != (FORMAT, FORMAT_VERSION):
        raise EvaluationError(
            f"{path}: expected {FORMAT!r} of version {FORMAT_VERSION}, found {found[0]!r} of version {found[1]!r}; "
            "evaluate again with this version"
        )
    for group in (POSITIONS, EXAMPLES):
        lengths = set()
        for name, kind in group.items():
            array = arrays.get(name)
            if array is None or array.ndim != 1 or array.dtype.kind not in (kind, "i" if kind == "u" else kind):
                words = "is missing" if array is None else f"is {array.dtype} {array.shape}"
                raise EvaluationError(
                    f"{path}: array `{name}` {words}, expected one row of kind {kind!r}; evaluate again"
                )
            lengths.add(len(array))
        if len(lengths) > 1:
            raise EvaluationError(f"{path}: arrays {', '.join(group)} have different lengths; evaluate again")
    if any((arrays[name] >= len(sets)).any() for name in ("set", "examples_set")):
        raise EvaluationError(f"{path}: a set number beyond the {len(sets)} sets of `about`; evaluate again")
    if not np.isfinite(arrays["loss"]).all():
        raise EvaluationError(f"{path}: losses that are not finite: training diverged, or the evaluation is damaged")
    if update < 0 or not len(arrays["loss"]):
        raise EvaluationError(f"{path}: no masked position was evaluated; evaluate again with more examples")
    return Evaluation(path, about, sets, **{name: arrays[name] for name in (*POSITIONS, *EXAMPLES)})


def check_paired(first: Evaluation, second: Evaluation) -> None:
    """Raise EvaluationError unless both evaluated the same held-out positions with the same masks at about one update."""
    different = [name for name in SAME if first.about.get(name) != second.about.get(name)]
    if different:
        raise EvaluationError(
            f"{second.path}: cannot be paired with {first.path}: other {', '.join(different)}; evaluate both alike"
        )
    if abs(first.update - second.update) > 0.01 * max(first.update, second.update):
        raise EvaluationError(
            f"{second.path}: update {second.update:,}, but {first.update:,} in {first.path}: arms are compared at equal "
            "updates; finish the shorter run and evaluate it again"
        )
    here, there = first.positions_of(HELD_OUT), second.positions_of(HELD_OUT)
    for name in ("example", "repeat", "target"):
        if not np.array_equal(getattr(first, name)[here], getattr(second, name)[there]):
            raise EvaluationError(
                f"{second.path}: other held-out positions than {first.path} (`{name}` differs); evaluate both alike"
            )


def read_npz(path: Path, what: str) -> dict[str, NDArray[Any]]:
    """All arrays of an .npz file. Raises EvaluationError with one line where there is none that can be read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise EvaluationError(f"{path}: expected {what} (.npz), found nothing; evaluate the run") from None
    except (OSError, ValueError, EOFError, KeyError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise EvaluationError(f"{path}: expected {what} (.npz), found something else ({first_line(error)})") from None
