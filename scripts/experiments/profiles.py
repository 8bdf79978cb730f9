"""The profiles of run_all.sh: how large each experiment is. Times are estimates on 2 cores; 0 where nobody measured."""

from __future__ import annotations

from dataclasses import replace

from .sizes import Arm, Corpus, MaskedLM, Profile, Repetition, Sharing

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

LIBREOFFICE_HELP = Corpus("libreoffice-help", "scripts/prepare_libreoffice_help.sh", seconds=60)
MULTI30K = Corpus(
    "multi30k-4k", "scripts/prepare_multi30k.sh", ("--name", "multi30k-4k", "--vocabulary", "4000"), seconds=30
)
IWSLT14 = Corpus(
    "iwslt14-10k",
    "scripts/prepare_iwslt14.sh",
    ("--name", "iwslt14-10k", "--vocabulary", "10000"),
    seconds=120,
    languages=("de", "en"),
)
_QUICK_SHARING = Sharing(
    corpus=LIBREOFFICE_HELP,
    arms=("none", "decoder", "all"),
    arch="transformer_iwslt_de_en",
    updates=40,
    tokens=2000,
    layers=2,
    dim=256,
    ffn=512,
    heads=4,
    lr="2e-3",
    warmup=20,
    every=20,
    snapshots=20,
    options=("--attention-dropout", "0.1"),
    beam=2,
    sentences=400,
    rounds=24,
    device="cpu",
    threads=1,
    seconds=34,
    translation_seconds=20,
    speed_seconds=36,
)
_SMOKE_SHARING = replace(
    _QUICK_SHARING,
    corpus=Corpus(
        "libreoffice-smoke",
        "scripts/prepare_libreoffice_help.sh",
        ("--name", "libreoffice-smoke", "--limit-pairs", "3000", "--vocabulary", "1000"),
        seconds=30,
    ),
    updates=20,
    tokens=500,
    layers=1,
    dim=32,
    ffn=64,
    heads=2,
    every=10,
    snapshots=10,
    beam=1,
    sentences=200,
    rounds=8,
    seconds=12,
    translation_seconds=15,
    speed_seconds=12,
)
_STANDARD_SHARING = replace(
    _QUICK_SHARING,
    corpus=MULTI30K,
    updates=2800,  # 20 epochs
    tokens=4096,
    layers=4,
    dim=128,
    ffn=256,
    lr="5e-3",
    warmup=400,
    every=140,  # an epoch
    snapshots=700,
    average=5,
    beam=5,
    sentences=0,
    rounds=60,
    seconds=1500,
    translation_seconds=60,
    speed_seconds=90,
)
_GPU_SHARING = Sharing(
    corpus=IWSLT14,
    arms=("none", "decoder", "all"),
    arch="transformer_iwslt_de_en",
    updates=12_000,
    tokens=8000,
    layers=6,
    dim=512,
    ffn=1024,
    heads=4,
    lr="5e-4",
    warmup=4000,
    every=1000,
    snapshots=2000,
    options=("--attention-dropout", "0.1", "--amp"),
    dropout=0.3,
    average=5,
    device="gpu",
    rounds=100,
    generation_tokens=12_000,
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
            sharing=_SMOKE_SHARING,
        ),
        Profile(
            "quick",
            "first contact: the study's model on real text",
            (1,),
            WIKIPEDIA_SAMPLE,
            _STUDY_MODEL,
            report_seconds=45,
            repetition=_QUICK_REPETITION,
            sharing=_QUICK_SHARING,
        ),
        Profile(
            "standard",
            "the most that 2 cores can decide in about two hours",
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
            sharing=_STANDARD_SHARING,
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
            sharing=_GPU_SHARING,
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
            sharing=replace(_GPU_SHARING, updates=60_000, every=5000, snapshots=5000),
        ),
    )
}
DEFAULT = "quick"
CORPORA = {corpus.name: corpus for corpus in (WIKIPEDIA_SAMPLE, WIKITEXT_103)}
PAIRS = {corpus.name: corpus for corpus in (LIBREOFFICE_HELP, MULTI30K, IWSLT14)}
