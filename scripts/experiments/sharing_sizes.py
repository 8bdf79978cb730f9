"""The sizes of E4 by profile."""

from __future__ import annotations

from dataclasses import replace

from .known_corpora import IWSLT14, LIBREOFFICE_HELP, MULTI30K
from .sizes import Corpus, Sharing

QUICK = Sharing(
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
SMOKE = replace(
    QUICK,
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
STANDARD = replace(
    QUICK,
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
GPU = Sharing(
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
STUDY = replace(GPU, updates=60_000, every=5000, snapshots=5000)
