"""The sizes of E3 by profile."""

from __future__ import annotations

from dataclasses import replace

from .sizes import Arm, Repetition

# Pre-norm and untied: a small model that is tied learns slower, since its input vectors follow the common direction of the
# output's; untied, memorising shows within 200 updates.
_MEMORISING = ("--encoder-normalize-before", "--untie-weights-roberta")
QUICK = Repetition(
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
SMOKE = replace(
    QUICK,
    arms=tuple(replace(arm, repeat=min(arm.repeat, 8), name=arm.name.replace("32", "8")) for arm in QUICK.arms),
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
STANDARD = Repetition(
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
GPU = replace(
    STANDARD,
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
)
