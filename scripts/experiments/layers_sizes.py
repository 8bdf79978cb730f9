"""The sizes of E2 by profile."""

from __future__ import annotations

from dataclasses import replace

from .sizes import Layers

# Twelve layers of the study's kind but narrow and pre-norm: a post-norm model of this depth does not leave the loss of a
# unigram model in the time that two cores have.
QUICK = Layers(
    updates=60,
    layers=12,
    dim=128,
    ffn=512,
    heads=4,
    batch=1000,
    tokens=512,
    lr="3e-3",
    warmup=6,
    every=30,
    save_every=60,
    valid_examples=80,
    statistics="log2,every:10",
    snapshots="at:0,every:30",
    options=("--encoder-normalize-before",),
    dropout=0.0,
    vectors=256,
    held_out=2000,
    probe=(2000, 1000),
    device="cpu",
    threads=1,
    seconds=22,
    evaluation_seconds=5,
)
SMOKE = replace(
    QUICK,
    updates=20,
    dim=32,
    ffn=64,
    heads=2,
    tokens=256,
    warmup=2,
    every=10,
    save_every=20,
    valid_examples=16,
    snapshots="at:0,every:10",
    vectors=64,
    held_out=600,
    untrained=2,
    probe=(300, 200),
    seconds=15,
)
STANDARD = replace(
    QUICK,
    updates=5000,
    tokens=2048,
    warmup=250,
    every=250,
    save_every=250,
    valid_examples=200,
    snapshots="log2,every:500",
    vectors=512,
    held_out=4000,
    probe=(3000, 1500),
    seconds=4000,
    evaluation_seconds=40,
)
GPU = replace(
    STANDARD,
    updates=5000,
    dim=512,
    ffn=2048,
    heads=8,
    batch=64,
    tokens=0,
    lr="5e-4",
    warmup=500,
    every=500,
    save_every=1000,
    valid_examples=400,
    options=(),
    dropout=0.1,
    device="gpu",
    threads=0,
    seconds=0,
)
STUDY = replace(
    GPU,
    updates=233_000,
    batch=200,
    warmup=10_000,
    every=5825,
    save_every=5825,
    snapshots="log2,every:5825",
)
