"""The training log that fairseq writes with `--log-format json`, as a table over updates.

Two shapes of line occur and both are read: the console's, `DATE | INFO | train_inner | {json}`, and the bare `{json}`
that `--log-file` holds (fairseq gives that file no format, and writes a line once more for each epoch begun). fairseq's
criterions log losses to base 2, so `loss` and `valid_loss` are bits for each predicted token.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from plots import OKABE_ITO, new_figure, save, update_axis

COLUMNS = ("loss", "wps", "ups", "valid_loss")
TRANSLATION = (
    "nll_loss",
    "valid_nll_loss",
    "valid_bleu",
)  # with label smoothing `loss` is no longer the bits of a token
MARGIN = 0.10  # STUDY.md: C3, C5 and C7 need a validation loss at least 10 % below the unigram entropy


class LogError(ValueError):
    """A training log that cannot be used; the message is one line for the user."""


@dataclass(frozen=True)
class LearningCheck:
    """Has a run learned more than the tokens' frequencies: STUDY.md's rule for C3, C5 and C7.

    `valid_loss` and `unigram_entropy` are bits a token and None where unknown; `gain` is the share by which the loss lies
    below the entropy; `beats` is None where it cannot be told; `reason` is one sentence for the report.
    """

    valid_loss: float | None
    unigram_entropy: float | None
    gain: float | None
    beats: bool | None
    reason: str


def read_training_log(path: str | Path) -> pd.DataFrame:
    """Read a log. Returns a frame indexed by `update` (ascending) with the columns of `COLUMNS`, NaN where not logged.

    `loss` is the mean over the updates since the line before (bits), `wps` tokens a second, `ups` updates a second,
    `valid_loss` the first validation set's loss (bits). The columns of `TRANSLATION` follow where the log has them. A resumed run goes back to its checkpoint: lines of the updates
    past it, written before the interruption, are dropped. Lines that are cut short or of another kind are passed over.
    Raises LogError if the file is missing or holds no line of training progress.
    """
    path = Path(path) if isinstance(path, str) else path
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            records = _records(lines)
    except OSError as error:
        raise LogError(f"{path}: expected a training log, found none that can be read ({error.strerror})") from error
    if not records:
        raise LogError(
            f"{path}: expected lines of fairseq's JSON progress, found none; train with --log-format json --log-file"
        )
    columns = [*COLUMNS, *(name for name in TRANSLATION if any(name in record for record in records.values()))]
    rows = [[record.get(name) for name in columns] for record in records.values()]
    frame = pd.DataFrame(rows, index=list(records), columns=columns, dtype=float)
    frame.index = pd.Index(frame.index.astype("int64"), name="update")
    return frame.sort_index()


def learning_check(
    log: pd.DataFrame | None, unigram_entropy: float | None, copying: float | None = None
) -> LearningCheck:
    """Compare the last validation loss of `log` with the corpus' unigram entropy (bits).

    `copying` (bits) is the loss of copying without context (copying.py), which the reason then names.
    """
    losses = [] if log is None else log["valid_loss"].dropna()
    loss = float(losses.iloc[-1]) if len(losses) else None
    entropy = float(unigram_entropy) if _is_number(unigram_entropy) and unigram_entropy > 0 else None
    if loss is None or entropy is None:
        missing = "no validation loss was logged" if loss is None else "the corpus' unigram entropy is not known"
        return LearningCheck(
            loss, entropy, None, None, f"Whether the run learned more than frequencies is open: {missing}."
        )
    gain = 1 - loss / entropy
    beats = gain >= MARGIN
    side = f"{abs(gain):.1%} {'below' if gain >= 0 else 'above'}"
    rule = "meets" if beats else "misses"
    reason = (
        f"Validation loss {loss:.3f} bits at update {losses.index[-1]} is {side} the unigram entropy of {entropy:.3f} bits; "
        f"this {rule} the rule of at least {MARGIN:.0%} below."
    )
    if copying is not None:
        reason += (
            f" Token counts and copying what masking leaves visible, without any context, would reach {copying:.3f}."
        )
    return LearningCheck(loss, entropy, gain, beats, reason)


def figures(logs: Mapping[str, pd.DataFrame], unigram_entropy: float | None, out: Path) -> list[Path]:
    """Loss over updates, one colour a run (`logs` by name), with the unigram entropy and the rule's line; PNG and PDF."""
    figure, axes = new_figure(width=7.4, height=4.4)
    axis = axes[0, 0]
    updates = [0]
    for index, (name, log) in enumerate(logs.items()):
        colour = OKABE_ITO[index % len(OKABE_ITO)]
        loss, valid = log["loss"].dropna(), log["valid_loss"].dropna()
        axis.plot(loss.index, loss.to_numpy(), color=colour, label=f"{name}: training")
        axis.plot(
            valid.index, valid.to_numpy(), "o", color=colour, markeredgecolor="black", label=f"{name}: validation"
        )
        updates += [*loss.index, *valid.index]
    if unigram_entropy is not None:
        axis.axhline(unigram_entropy, color="black", linestyle="--", linewidth=1, label="unigram entropy of the corpus")
        axis.axhline(
            (1 - MARGIN) * unigram_entropy, color="black", linestyle=":", linewidth=1, label=f"{MARGIN:.0%} below it"
        )
    update_axis(axis, sorted(updates), log=False)
    axis.set_ylabel("loss (bits for each predicted token)")
    axis.set_title("Loss over training")
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return save(figure, out, "training_loss")


def _records(lines: Iterable[str]) -> dict[int, dict[str, float]]:
    """Values by update. A line of an earlier update than the last one means a resumed run: what lies past it is cut."""
    records: dict[int, dict[str, float]] = {}
    last = -1
    for line in lines:
        found = _parse(line)
        if found is None:
            continue
        update, values = found
        if update < last:
            records = {known: record for known, record in records.items() if known <= update}
        last = update
        records.setdefault(update, {}).update(values)
    return records


def _parse(line: str) -> tuple[int, dict[str, float]] | None:
    """The update and the values of one line, or None if it is no line of progress."""
    start = line.find("{")
    if start < 0:
        return None
    try:
        stats = json.loads(line[start:])
    except ValueError:
        return None
    if not isinstance(stats, dict):
        return None
    numbers = {key: float(value) for key, value in stats.items() if _is_number(value)}
    if "num_updates" in numbers and "loss" in numbers:
        values = {key: numbers[key] for key in ("loss", "wps", "ups", "nll_loss") if key in numbers}
        return int(numbers["num_updates"]), values
    if "valid_num_updates" in numbers and "valid_loss" in numbers:
        values = {key: numbers[key] for key in ("valid_loss", "valid_nll_loss", "valid_bleu") if key in numbers}
        return int(numbers["valid_num_updates"]), values
    if "train_num_updates" in numbers:  # end of an epoch: its mean loss belongs to no update, but it says where we are
        return int(numbers["train_num_updates"]), {}
    return None


def _is_number(value: object) -> bool:
    """fairseq writes numbers as text ("10.843"); None, nan, inf and booleans do not count."""
    if isinstance(value, bool) or value is None:
        return False
    try:
        return math.isfinite(float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path, help="the file of --log-file")
    parser.add_argument(
        "--unigram-entropy", type=float, help="of the corpus, in bits: judge the last validation loss by it"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the figure goes (default: none is drawn)")
    chosen = parser.parse_args(arguments)
    log = read_training_log(chosen.log)
    print(log.to_string(na_rep="-"))
    if chosen.unigram_entropy is not None:
        print(learning_check(log, chosen.unigram_entropy).reason)
    if chosen.out is not None:
        print("wrote " + ", ".join(map(str, figures({chosen.log.stem: log}, chosen.unigram_entropy, chosen.out))))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (LogError, OSError) as error:
        sys.exit(f"error: {error}")
