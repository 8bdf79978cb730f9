"""The sizes of E1 by profile."""

from __future__ import annotations

from dataclasses import replace

from .sizes import MaskedLM

QUICK = MaskedLM(
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
SMOKE = replace(
    QUICK,
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
)
STANDARD = replace(
    QUICK,
    updates=2400,
    warmup=240,
    valid_every=200,
    valid_examples=160,
    save_every=200,
    snapshots="log2,every:200",
    seconds=2400,
)
GPU = replace(
    QUICK,
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
)
STUDY = replace(
    QUICK,
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
)
