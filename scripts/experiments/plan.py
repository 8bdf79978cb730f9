"""The plan of `run_all.sh --dry-run`: what each training takes in updates, tokens, disk, memory and time, and whether the disk has it.

Its lines begin with `#`, so that the commands beside them can be copied. Sizes are upper ones; what nobody measured says so.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .known_figures import CHECKPOINT_BYTES, CORPORA, TIMED, TIMED_ON, CorpusFigures
from .model_sizes import Model, masked_lm, memory, scaled_seconds, translation
from .planned_recording import STREAMS, Recording, every_update, recording
from .progress import duration
from .script_variables import variables
from .stages import ROOT, Stage, read_json, shown

SHUFFLED = "-shuffled"  # a corpus of the same counts
UNKNOWN = "not known"


@dataclass(frozen=True)
class Planned:
    """One training. `tokens` of an update, `files` checkpoints, `held` and `activations` bytes of memory, `seconds` on 2 cores (0: not
    measured)."""

    experiment: str
    arm: str
    seed: int
    model: Model
    updates: int
    tokens: float
    files: int
    recording: Recording | None
    every_update: dict[str, int] | None
    held: float
    activations: float
    seconds: float

    @property
    def checkpoint(self) -> int:
        return CHECKPOINT_BYTES * self.model.parameters

    @property
    def checkpoints(self) -> int:
        return self.files * self.checkpoint


def planned(stage: Stage) -> Planned:
    """What a training stage takes. Raises KeyError, ValueError: its script lacks a variable, or gives one of another form."""
    assert stage.run is not None
    script, words = stage.command[1], stage.command[2:]
    given = variables(ROOT, script, dict(stage.env))
    corpus = corpus_figures(ROOT / given["DATA"])
    sized = {name: int(given[name]) for name in ("LAYERS", "DIM", "FFN", "HEADS", "UPDATES", "UPDATE_FREQ")}
    shape = sized["LAYERS"], sized["DIM"], sized["FFN"], corpus.rows
    if "SHARE" in given:
        model = translation(*shape, given["SHARE"])
        in_batch = float(given["TOKENS"])
    else:
        untied = "--untie-weights-roberta" in words or given.get("UNTIED") == "1"
        model = masked_lm(*shape, untied=untied, pre_norm="--encoder-normalize-before" in words)
        in_batch = _tokens(given, corpus)
    schedules = {name.lower(): text for name, text in given.items() if name.lower() in STREAMS}
    known = {"tokens": corpus.examples * corpus.tokens, "updates": sized["UPDATES"]}
    counters = 3 * corpus.rows + corpus.examples
    copied = {name: schedules.get(name, default) != "none" for name, default in (("movement", ""), ("cause", "none"))}
    held, activations = memory(model, in_batch, corpus.tokens, sized["HEADS"], **copied)
    return Planned(
        experiment=stage.run.experiment,
        arm=stage.run.arm,
        seed=stage.run.seed,
        model=model,
        updates=sized["UPDATES"],
        tokens=in_batch * sized["UPDATE_FREQ"],
        files=int(given.get("KEEP", 1)) + 2,  # the last and the best besides
        recording=recording(schedules, model.tables, counters=counters, **known),
        every_update=every_update(model.tables, **known),
        held=held,
        activations=activations,
        seconds=stage.seconds,
    )


def _tokens(given: dict[str, str], corpus: CorpusFigures) -> float:
    """Tokens in a batch of a masked LM: those drawn for it (E3, E5), or so many examples of the corpus's mean length, within a limit."""
    if "REPEAT" in given:
        return float(given["TOKENS"])
    limit = float(given.get("TOKENS", 0))
    by_examples = int(given["BATCH"]) * corpus.tokens
    return min(limit, by_examples) if limit else by_examples


def corpus_figures(data: Path) -> CorpusFigures:
    """Of a prepared corpus what its corpus.json says; of one that is not prepared yet what is known of it. Raises KeyError."""
    content = read_json(data / "corpus.json")
    train = (content.get("splits") or {}).get("train") or {}
    tokens = train.get("tokens")
    examples = train.get("examples") or train.get("pairs")
    if content.get("rows") and tokens and examples:
        longer = max(tokens.values()) if isinstance(tokens, dict) else tokens
        return CorpusFigures(int(examples), longer / examples, int(content["rows"]))
    name = data.name[: -len(SHUFFLED)] if data.name.endswith(SHUFFLED) else data.name
    return CORPORA[name]


def plan(name: str, stages: Sequence[Stage], runs: Path) -> list[str]:
    """The plan's lines for the trainings among the stages that are not finished; `name` is the profile's, `runs` the runs' folder."""
    trainings, unknown = [], []
    for stage in stages:
        if stage.run is None or stage.is_finished():
            continue
        try:
            trainings.append(planned(stage))
        except (KeyError, ValueError) as error:
            unknown.append(f"# {stage.name}: not planned, its size is not known ({error})")
    head = f"# plan of the profile {name}: "
    if not trainings:
        return [head + "no training is left", *unknown]
    if trainings[0].recording is None:
        unknown.append("# the recordings' space is known once the set-up is made: bash scripts/setup.sh")
    lines = [head + "each line is one training; sizes are at most so"]
    return [*lines, *_table(trainings), *unknown, *_totals(trainings, runs), *_explained(trainings)]


def _table(trainings: Sequence[Planned]) -> list[str]:
    """A line for each arm, aligned: its seeds are equal."""
    arms: dict[tuple[str, str], list[Planned]] = {}
    for training in trainings:
        arms.setdefault((training.experiment, training.arm), []).append(training)
    known = [training.recording.streams for training in trainings if training.recording]
    streams = [name for name in STREAMS if any(found.get(name) for found in known)] or ["recording"]
    cells = [["training", "seeds", "updates", "tokens", "checkpoints", *streams, "memory", "time"]]
    for (experiment, arm), same in arms.items():
        one = same[0]
        parts = [size(one.recording.streams[name]) for name in streams] if one.recording else [UNKNOWN]
        cells.append(
            [
                f"{experiment} {arm}",
                ",".join(str(training.seed) for training in same),
                f"{one.updates:,}",
                number(one.tokens * one.updates),
                f"{one.files} x {size(one.checkpoint)}",
                *parts,
                f"about {size(one.held + one.activations)}",
                _time(one),
            ]
        )
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return ["#   " + "  ".join(row[c].ljust(width) for c, width in enumerate(widths)).rstrip() for row in cells]


def _time(one: Planned) -> str:
    if one.seconds:
        return f"about {duration(one.seconds)}"
    return "not measured" + ("" if one.model.decoder else f" ({_long(_scaled(one))} on 2 cores, scaled)")


def _scaled(one: Planned) -> float:
    return scaled_seconds(TIMED, one.model, one.updates, one.tokens)


def _long(seconds: float) -> str:
    return f"{seconds / 86400:.1f} days" if seconds >= 86400 else f"{seconds / 3600:.1f} h"


def _totals(trainings: Sequence[Planned], runs: Path) -> list[str]:
    checkpoints = sum(training.checkpoints for training in trainings)
    recorded = sum(training.recording.total for training in trainings if training.recording)
    while_written = max(training.checkpoint for training in trainings)
    needed, free = checkpoints + recorded + while_written, free_disk(runs)
    recordings = f"recordings {size(recorded)}" if trainings[0].recording else "recordings not known yet"
    small = (
        "# the disk is too small: give --runs DIR on a larger one, fewer --seeds, --only, or schedules that record less"
    )
    tokens = sum(training.tokens * training.updates for training in trainings)
    seconds, unmeasured = sum(t.seconds for t in trainings), sum(not t.seconds for t in trainings)
    missing = f"; {unmeasured} of {len(trainings)} were never measured" if unmeasured else ""
    known = f"about {duration(seconds)} of training, one after the other" if seconds else "not measured"
    return [
        f"# all {len(trainings)} trainings: {sum(t.updates for t in trainings):,} updates, {number(tokens)} tokens",
        f"# disk: {size(needed)} (checkpoints {size(checkpoints)}, {recordings}, {size(while_written)} while a checkpoint is written); "
        f"free at {shown(runs)}: {size(free)}, {'enough' if needed <= free else 'NOT ENOUGH'}",
        *([] if needed <= free else [small]),
        f"# memory: about {size(max(t.held + t.activations for t in trainings))} for the largest training",
        f"# time: {known}{missing if seconds else ''}",
    ]


def _explained(trainings: Sequence[Planned]) -> list[str]:
    """How the figures come about, and what a recording of every update would take."""
    largest = max(trainings, key=lambda training: training.held + training.activations)
    lines = [
        f"# memory is an estimate: {size(largest.held)} of {size(largest.held + largest.activations)} are parameters, gradients, Adam's "
        "moments and tables' copies; the rest are activations by a formula in 32 bits (scripts/experiments/model_sizes.py)"
    ]
    if any(not training.seconds and not training.model.decoder for training in trainings):
        lines.append(f"# scaled: by the products of matrices, from {TIMED_ON}")
    first = trainings[0]
    if first.every_update:
        kinds = ", ".join(f"{kind} {size(number_of_bytes)}" for kind, number_of_bytes in first.every_update.items())
        lines.append(
            f"# whole tables at every update of {first.experiment} {first.arm}, one seed: {kinds} (--record-windows every:1)"
        )
    return lines


def free_disk(folder: Path) -> int:
    """Free bytes where a folder is or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def size(number_of_bytes: float) -> str:
    """Bytes for people, in powers of 1,000."""
    for unit in ("B", "kB", "MB", "GB"):
        if number_of_bytes < 1000:
            return f"{number_of_bytes:.0f} {unit}" if unit == "B" else f"{number_of_bytes:.1f} {unit}"
        number_of_bytes /= 1000
    return f"{number_of_bytes:.1f} TB"


def number(value: float) -> str:
    """A large number for people: 564,092 or 41.0 M or 4.7 G."""
    for unit, factor in (("G", 1e9), ("M", 1e6)):
        if value >= factor:
            return f"{value / factor:.1f} {unit}"
    return f"{value:,.0f}"
