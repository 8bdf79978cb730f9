"""A tiny binarised corpus of invented text."""

from __future__ import annotations

import random
from pathlib import Path

from running import Launcher

FILLERS = 5
ABSENT = 25


def make_corpus(launcher: Launcher, folder: Path, seed: int = 1, words: int = 300) -> Path:
    """Binarise invented text: 400 lines of a Zipf-like language; the dictionary has words that never occur, and madeupword entries."""
    random_numbers = random.Random(seed)
    names = [f"w{number:03d}" for number in range(words)]
    weights = [1 / (rank + 3) for rank in range(words)]
    raw = folder / "raw"
    raw.mkdir(parents=True)
    for split, lines in (("train", 400), ("valid", 20)):
        text = [" ".join(random_numbers.choices(names, weights, k=random_numbers.randint(5, 14))) for _ in range(lines)]
        (raw / split).write_text("\n".join(text) + "\n")
    absent = [f"absent{number:02d}" for number in range(ABSENT)]
    fillers = [f"madeupword{number:04d}" for number in range(FILLERS)]
    (raw / "dict.txt").write_text("".join(f"{word} 1\n" for word in [*names, *absent, *fillers]))
    done = launcher.run(
        "preprocess",
        [
            "--only-source",
            "--trainpref",
            raw / "train",
            "--validpref",
            raw / "valid",
            "--srcdict",
            raw / "dict.txt",
            "--destdir",
            folder / "corpus",
            "--workers",
            1,
            "--padding-factor",
            1,
            "--tokenizer",
            "space",
        ],
    )
    assert done.status == 0, done.said
    return folder / "corpus"
