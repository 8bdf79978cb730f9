"""How large an experiment is, as data: what a profile gives to each. Times are estimates on 2 cores; 0 where nobody measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Corpus:
    """A corpus below data-bin and the script that makes it (empty: the user has made it). `languages`: source and target, of sentence pairs."""

    name: str
    script: str = ""
    options: tuple[str, ...] = ()
    seconds: float = 0.0
    languages: tuple[str, str] = ("en", "de")


@dataclass(frozen=True)
class MaskedLM:
    """One masked-LM training: the variables of scripts/train_e1.sh. `seconds` is the estimate for one seed."""

    updates: int
    layers: int
    dim: int
    ffn: int
    heads: int
    batch: int
    lr: str
    warmup: int
    valid_every: int
    valid_examples: int
    save_every: int
    statistics: str
    movement: str
    traces: str
    snapshots: str
    device: str = "auto"
    seconds: float = 0.0


@dataclass(frozen=True)
class Arm:
    """One arm of E3: the variables of scripts/train_e3.sh."""

    name: str
    pool: str = "random"
    repeat: int = 1
    fraction: float = 0.0
    order: str = "spread"


@dataclass(frozen=True)
class Repetition:
    """E3: its arms, all of `updates` times `tokens` tokens. `every` is the interval of validation and snapshots, `save_every` that of checkpoints;
    `held_out` and `seen` are the examples evaluated, `masks` how often each is masked; `options` go to fairseq-train as they are; `seeds` are its own ones, where they are not the profile's; `threads` is that
    of one training, where several run side by side (0: one after the other, each with the whole machine); `seconds` is the estimate for one arm and
    seed."""

    arms: tuple[Arm, ...]
    updates: int
    tokens: int
    layers: int
    dim: int
    ffn: int
    heads: int
    lr: str
    warmup: int
    every: int
    save_every: int
    valid_examples: int
    options: tuple[str, ...] = ()
    dropout: float = 0.1
    held_out: int = 348
    seen: int = 300
    masks: int = 2
    device: str = "auto"
    seeds: tuple[int, ...] = ()
    threads: int = 0
    seconds: float = 0.0
    evaluation_seconds: float = 3.0


@dataclass(frozen=True)
class Sharing:
    """E4: its arms by what they share (scripts/train_e4.sh), all of `updates` of `tokens`. `every` is the interval of validation and checkpoints,
    `snapshots` that of whole tables; `average` so many last checkpoints are averaged before translating, with a beam of `beam`, `sentences` of the
    test split (0: all); `rounds` of the
    speed measurement; `options` go to fairseq-train as they are; `seeds` and `threads` as in Repetition; `seconds` is the estimate for one
    training, `translation_seconds` for one translation."""

    corpus: Corpus
    arms: tuple[str, ...]
    arch: str
    updates: int
    tokens: int
    layers: int
    dim: int
    ffn: int
    heads: int
    lr: str
    warmup: int
    every: int
    snapshots: int
    options: tuple[str, ...] = ()
    dropout: float = 0.1
    average: int = 1
    beam: int = 5
    rounds: int = 24
    sentences: int = 0
    generation_tokens: int = 4000
    autocast: str = "auto"
    device: str = "auto"
    seeds: tuple[int, ...] = ()
    threads: int = 0
    seconds: float = 0.0
    translation_seconds: float = 30.0
    speed_seconds: float = 30.0


@dataclass(frozen=True)
class Layers:
    """E2: its arms by text (`base`: the corpus, `shuffled`: its tokens in random order), each the variables of scripts/train_e2.sh. An update holds at
    most `batch` examples and `tokens` tokens (0: no limit). `vectors` of each layer and kind, `held_out` tokens and `untrained` models are kept for the
    analysis; `probe` are the words of the treebank for training and for scoring, where it is there; `options`, `seeds` and `threads` as in Repetition; `seconds` is the estimate for one training,
    `evaluation_seconds` for reading the layers of one model."""

    updates: int
    layers: int
    dim: int
    ffn: int
    heads: int
    batch: int
    tokens: int
    lr: str
    warmup: int
    every: int
    save_every: int
    valid_examples: int
    statistics: str
    snapshots: str
    arms: tuple[str, ...] = ("base", "shuffled")
    options: tuple[str, ...] = ()
    dropout: float = 0.1
    vectors: int = 512
    held_out: int = 4000
    untrained: int = 3
    probe: tuple[int, int] = (3000, 1500)
    device: str = "auto"
    seeds: tuple[int, ...] = ()
    threads: int = 0
    seconds: float = 0.0
    evaluation_seconds: float = 15.0


@dataclass(frozen=True)
class Cause:
    """E5: its arms by what trains the embedding tables (scripts/train_e5.sh): `arms` with one table for input and output, `untied` with one for each;
    all of `updates` of `tokens`, from training examples that are each drawn `repeat` times. `every` is the interval of validation and exposure,
    `save_every` that of checkpoints; `sgd_lr_scale` is the factor on the tables' learning rate in the arm sgd, `gating_memory` the updates that the arm
    gating counts tokens in; `held_out` are the examples evaluated, `masks` how often each is masked; `options`, `seeds` and `threads` as in
    Repetition; `seconds` is the estimate for one arm and seed, `untied_seconds` with two tables."""

    arms: tuple[str, ...]
    untied: tuple[str, ...]
    updates: int
    tokens: int
    layers: int
    dim: int
    ffn: int
    heads: int
    lr: str
    warmup: int
    sgd_lr_scale: str
    gating_memory: int
    every: int
    save_every: int
    valid_examples: int
    snapshots: str
    movement: str
    cause: str
    moments: str
    statistics: str = "every:1"
    traces: str = "none"
    trace_state: str = "none"
    options: tuple[str, ...] = ()
    dropout: float = 0.1
    repeat: int = 1
    held_out: int = 348
    masks: int = 1
    device: str = "auto"
    seeds: tuple[int, ...] = ()
    threads: int = 0
    seconds: float = 0.0
    untied_seconds: float = 0.0
    evaluation_seconds: float = 3.0


@dataclass(frozen=True)
class Profile:
    """What a profile runs. `report_seconds` is the estimate for analyses and report together."""

    name: str
    purpose: str
    seeds: tuple[int, ...]
    corpus: Corpus
    base: MaskedLM
    report_seconds: float
    report_options: tuple[str, ...] = ()
    layers: Layers | None = None
    repetition: Repetition | None = None
    sharing: Sharing | None = None
    cause: Cause | None = None
