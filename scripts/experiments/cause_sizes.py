"""The sizes of E5 by profile. What is tuned by trial (updates, learning rates, SGD's factor, options) stands here and nowhere else."""

from __future__ import annotations

from dataclasses import replace

from .sizes import Cause

ARMS = ("adam", "coupled", "amsgrad", "sgd", "nodecay", "centred", "cosine", "gating")
# As in E3, pre-norm: a small post-norm model does not leave the loss of a unigram model.
_OPTIONS = ("--encoder-normalize-before",)

QUICK = Cause(
    arms=("adam", "coupled"),
    untied=(),
    updates=200,
    tokens=512,
    layers=1,
    dim=128,
    ffn=512,
    heads=4,
    lr="1e-3",  # where Adam's loss was least of 5e-4, 1e-3, 2e-3 and 4e-3 after 300 updates of 1,024 tokens, two layers
    warmup=20,
    sgd_lr_scale="200",  # a step three times as large diverges at first, there
    gating_memory=0,
    every=100,
    save_every=200,
    valid_examples=80,
    snapshots="at:0,every:40",
    movement="every:20",
    cause="every:5",
    moments="every:40",
    options=_OPTIONS,
    dropout=0.0,
    device="cpu",
    threads=1,
    seconds=36,
    untied_seconds=45,
)
SMOKE = replace(
    QUICK,
    updates=20,
    dim=32,
    ffn=64,
    warmup=2,
    every=10,
    save_every=20,
    valid_examples=16,
    snapshots="log2,every:5",
    movement="every:5",
    moments="log2,every:5",
    held_out=20,
    seconds=12,
    evaluation_seconds=2,
)
STANDARD = replace(
    QUICK,
    arms=ARMS,
    untied=("adam", "coupled", "amsgrad", "sgd"),
    updates=500,  # as in E3, 512,000 tokens: nearly all of wikipedia-sample, once
    tokens=1024,
    layers=2,
    warmup=50,
    every=100,
    save_every=250,
    valid_examples=160,
    snapshots="at:0,every:100",
    movement="every:50",
    moments="every:100",
    traces="every:50",
    trace_state="every:50",
    dropout=0.1,
    seeds=(1, 2, 3),
    seconds=130,
    untied_seconds=160,
)
GPU = replace(
    STANDARD,
    updates=2000,
    tokens=8192,
    layers=6,
    dim=512,
    ffn=2048,
    heads=8,
    lr="5e-4",
    warmup=200,
    every=500,
    save_every=1000,
    valid_examples=400,
    snapshots="at:0,every:500",
    movement="every:200",
    moments="every:500",
    options=(),
    masks=2,
    device="gpu",
    seeds=(),
    threads=0,
    seconds=0,
    untied_seconds=0,
)
STUDY = replace(
    GPU,
    arms=("adam", "coupled", "amsgrad", "sgd"),
    untied=("adam", "coupled"),
    updates=233_000,
    tokens=16_384,
    repeat=40,  # passes over four fifths of WikiText-103
    warmup=10_000,
    every=5825,
    save_every=5825,
    statistics="log2,every:10",
    cause="log2,every:100",
    snapshots="log2,every:23300",
    movement="log2,every:5825",
    moments="log2,every:5825",
    traces="log2,every:1000",
    trace_state="log2,every:1000",
)
