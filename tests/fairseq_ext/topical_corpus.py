"""A binarised corpus of invented text whose topics are known, written in the test's own process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from fairseq.data.indexed_dataset import MMapIndexedDatasetBuilder
from numpy.typing import NDArray

COMMON = 60  # words that all topics share
OWN = 150  # words of each topic
FIRST = 4  # the smallest token that is no special
END = 2  # </s>


def topical_examples(
    topics: int = 10, examples: int = 1500, seed: int = 1
) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
    """Examples and their topics: topic ``t`` is about ``1 / (t + 1)`` as frequent as the first; words of a topic are Zipf-like."""
    random = np.random.default_rng(seed)
    share = 1 / np.arange(1, topics + 1)
    topic = random.choice(topics, examples, p=share / share.sum())
    zipf = 1 / (np.arange(OWN) + 3)
    texts = []
    for t in topic:
        own = FIRST + COMMON + t * OWN + random.choice(OWN, random.integers(10, 50), p=zipf / zipf.sum())
        common = FIRST + random.integers(0, COMMON, len(own) // 2)
        texts.append(np.concatenate([random.permutation(np.concatenate([own, common])), [END]]))
    return texts, topic


def write_split(prefix: Path, examples: list[NDArray[np.int64]]) -> None:
    """Binarise examples as fairseq does: ``prefix.bin`` and ``prefix.idx``."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    builder = MMapIndexedDatasetBuilder(f"{prefix}.bin", dtype=np.uint16)
    for example in examples:
        builder.add_item(torch.from_numpy(np.asarray(example, np.int64)))
    builder.finalize(f"{prefix}.idx")
