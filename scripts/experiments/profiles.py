"""The profiles of run_all.sh: how large each experiment is. Times are estimates on 2 cores; 0 where nobody measured."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Corpus:
    """A corpus below data-bin and the script that makes it (empty: the user has made it)."""

    name: str
    script: str = ""
    options: tuple[str, ...] = ()
    seconds: float = 0.0


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
class Profile:
    """What a profile runs. `report_seconds` is the estimate for analyses and report together."""

    name: str
    purpose: str
    seeds: tuple[int, ...]
    corpus: Corpus
    base: MaskedLM
    report_seconds: float
    report_options: tuple[str, ...] = ()
    repetition: Repetition | None = None


WIKIPEDIA_SAMPLE = Corpus("wikipedia-sample", "scripts/prepare_wikipedia_sample.sh", seconds=30)
WIKITEXT_103 = Corpus("wikitext-103", "scripts/prepare_wikitext103.sh", seconds=600)
SMOKE = Corpus(
    "wikipedia-smoke",
    "scripts/prepare_wikipedia_sample.sh",
    ("--name", "wikipedia-smoke", "--limit-examples", "400"),
    seconds=15,
)

_STUDY_MODEL = MaskedLM(
    updates=250,
    layers=6,
    dim=512,
    ffn=2048,
    heads=8,
    batch=8,
    lr="5e-4",
    warmup=25,  # a tenth of the run, so that the first tenth, by which C4 is decided, is the warm-up and all else comes after
    valid_every=125,
    valid_examples=80,
    save_every=125,
    statistics="every:1",
    movement="every:10",
    traces="every:5",
    snapshots="log2,every:50",
    seconds=250,
)

# Pre-norm and untied: a small model that is tied learns slower, since its input vectors follow the common direction of the
# output's; untied, memorising shows within 200 updates.
_MEMORISING = ("--encoder-normalize-before", "--untie-weights-roberta")
_QUICK_REPETITION = Repetition(
    arms=(
        Arm("distinct"),
        Arm("random32", repeat=32),
        Arm("diverse32", "diverse", 32),
        Arm("narrow32", "narrow", 32),
    ),
    updates=200,
    tokens=512,
    layers=1,
    dim=128,
    ffn=512,
    heads=4,
    lr="4e-3",
    warmup=20,
    every=40,
    save_every=200,
    valid_examples=80,
    options=_MEMORISING,
    dropout=0.0,
    seen=100,
    masks=1,
    device="cpu",
    threads=1,
    seconds=36,
)
_SMOKE_REPETITION = replace(
    _QUICK_REPETITION,
    arms=tuple(
        replace(arm, repeat=min(arm.repeat, 8), name=arm.name.replace("32", "8")) for arm in _QUICK_REPETITION.arms
    ),
    updates=20,
    dim=32,
    ffn=64,
    warmup=2,
    every=10,
    save_every=20,
    valid_examples=16,
    held_out=20,
    seen=20,
    seconds=12,
)
_REPETITION = Repetition(
    arms=(
        Arm("distinct"),
        Arm("random4", repeat=4),
        Arm("random16", repeat=16),
        Arm("random64", repeat=64),
        Arm("diverse16", "diverse", 16),
        Arm("narrow16", "narrow", 16),
        Arm("fraction10", repeat=32, fraction=0.1),
    ),
    updates=500,  # 512,000 tokens: nearly all of wikipedia-sample, for the arm that repeats nothing
    tokens=1024,
    layers=2,
    dim=128,
    ffn=512,
    heads=4,
    lr="3e-3",
    warmup=50,
    every=50,
    save_every=250,
    valid_examples=160,
    options=_MEMORISING,
    masks=1,
    device="cpu",
    seeds=(1, 2, 3),
    threads=1,
    seconds=130,
)

PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            "smoke",
            "the tests: everything end to end on a tiny model",
            (1,),
            SMOKE,
            replace(
                _STUDY_MODEL,
                updates=40,
                layers=2,
                dim=64,
                ffn=128,
                heads=4,
                lr="1e-3",
                warmup=4,
                valid_every=20,
                valid_examples=16,
                save_every=20,
                snapshots="log2,every:10",
                seconds=30,
            ),
            report_seconds=40,
            report_options=("--points", "400"),
            repetition=_SMOKE_REPETITION,
        ),
        Profile(
            "quick",
            "first contact: the study's model on real text",
            (1,),
            WIKIPEDIA_SAMPLE,
            _STUDY_MODEL,
            report_seconds=45,
            repetition=_QUICK_REPETITION,
        ),
        Profile(
            "standard",
            "the most that 2 cores can decide in about 90 minutes",
            (1,),
            WIKIPEDIA_SAMPLE,
            replace(
                _STUDY_MODEL,
                updates=2400,
                warmup=240,
                valid_every=200,
                valid_examples=160,
                save_every=200,
                snapshots="log2,every:200",
                seconds=2400,
            ),
            report_seconds=90,
            repetition=_REPETITION,
        ),
        Profile(
            "gpu",
            "a convincing run on one modern GPU",
            (1, 2, 3),
            WIKITEXT_103,
            replace(
                _STUDY_MODEL,
                updates=5000,
                batch=64,
                warmup=500,
                valid_every=500,
                valid_examples=400,
                save_every=1000,
                traces="log2,every:10",
                snapshots="log2,every:500",
                device="gpu",
                seconds=0,
            ),
            report_seconds=90,
            repetition=replace(
                _REPETITION,
                updates=5000,
                tokens=8192,
                layers=6,
                dim=512,
                ffn=2048,
                heads=8,
                lr="5e-4",
                warmup=500,
                every=500,
                save_every=500,
                valid_examples=400,
                options=(),
                masks=2,
                device="gpu",
                seeds=(),
                threads=0,
                seconds=0,
            ),
        ),
        Profile(
            "study",
            "the study's own size: 233,000 updates of 200 sentences of WikiText-103",
            (1, 2, 3),
            WIKITEXT_103,
            replace(
                _STUDY_MODEL,
                updates=233_000,
                batch=200,
                warmup=10_000,
                valid_every=5825,
                valid_examples=400,
                save_every=5825,
                statistics="log2,every:10",
                movement="log2,every:100",
                traces="log2,every:50",
                snapshots="log2,every:2330",
                device="gpu",
                seconds=0,
            ),
            report_seconds=600,
        ),
    )
}
DEFAULT = "quick"
CORPORA = {corpus.name: corpus for corpus in (WIKIPEDIA_SAMPLE, WIKITEXT_103)}
