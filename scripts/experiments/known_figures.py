"""Figures that the plan of `run_all.sh --dry-run` rests on: what was measured, where, and what is only aimed at."""

from __future__ import annotations

from dataclasses import dataclass

CHECKPOINT_BYTES = (
    12  # a parameter: its value and Adam's two moments, 32 bits each (543.5 MB were seen of 45.3 M parameters)
)
TRAINING_BYTES = 16  # the gradient besides
MASKED_SHARE = 0.15  # of the tokens, for which a masked LM computes its output


@dataclass(frozen=True)
class CorpusFigures:
    """A training split: examples, tokens of an example (the end's included; of pairs: of the longer side), rows of the vocabulary."""

    examples: int
    tokens: float
    rows: int


# For corpora that are not prepared yet; a prepared one says it itself (corpus.json). WikiText-103's tokens are those that it publishes
# times 1.13, as GPT-2's BPE makes of its validation and test sets (99.5 and 96.8 a line).
CORPORA = {
    "wikipedia-sample": CorpusFigures(6_386, 564_092 / 6_386, 50_265),
    "wikipedia-smoke": CorpusFigures(400, 38_123 / 400, 50_265),
    "wikitext-103": CorpusFigures(1_165_029, 103_227_021 * 1.13 / 1_165_029, 50_265),
    "libreoffice-help": CorpusFigures(30_707, 640_784 / 30_707, 8_004),
    "libreoffice-smoke": CorpusFigures(3_000, 106_241 / 3_000, 1_004),
    "multi30k-4k": CorpusFigures(28_994, 15, 4_004),
    "iwslt14-10k": CorpusFigures(160_000, 25, 10_004),
}


@dataclass(frozen=True)
class Timed:
    """A masked LM whose training was timed: seconds of so many updates of so many tokens, its validation and start included."""

    seconds: float
    updates: int
    tokens: float
    layers: int
    dim: int
    ffn: int
    rows: int


# README.md, "Two commands": E1 of the profile quick on 2 cores of an EPYC (Zen 4), 1 min 39 s.
TIMED = Timed(99, 250, 8 * 564_092 / 6_386, 6, 512, 2048, 50_265)
TIMED_ON = "E1 of the profile quick (1 min 39 s on 2 cores of an EPYC, Zen 4: README.md)"
