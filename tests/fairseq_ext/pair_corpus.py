"""A corpus of sentence pairs in two invented languages, prepared by the project's own script, and the arguments of tiny translation runs."""

from __future__ import annotations

import random
from pathlib import Path

from running import USER_DIR

from corpora.errors import run
from corpora.pair_files import command

SHARES = {"none": [], "decoder": ["--share-decoder-input-output-embed"], "all": ["--share-all-embeddings"]}
TABLES = {
    "none": {
        "encoder.embed_tokens.weight": [],
        "decoder.embed_tokens.weight": [],
        "decoder.output_projection.weight": [],
    },
    "decoder": {
        "encoder.embed_tokens.weight": [],
        "decoder.embed_tokens.weight": ["decoder.output_projection.weight"],
    },
    "all": {"encoder.embed_tokens.weight": ["decoder.embed_tokens.weight", "decoder.output_projection.weight"]},
}


def sentences(number: int, seed: int) -> tuple[list[str], list[str]]:
    """Pairs whose target has the source's words in the other order, each in the other language; names and numbers are the same in both."""
    numbers = random.Random(seed)
    letters = "abdegiklmnoprstu"
    words = ["".join(numbers.choices(letters, k=numbers.randint(2, 6))) for _ in range(120)]
    other = {word: "".join(numbers.choices(letters, k=numbers.randint(2, 6))) + "en" for word in words}
    names = ["Anna", "Otto", "42", "Rio", "7"]
    pairs = []
    for _ in range(number):
        source = numbers.choices([*words, *names], k=numbers.randint(3, 9))
        pairs.append((" ".join(source), " ".join(other.get(word, word) for word in reversed(source))))
    return [source for source, _ in pairs], [target for _, target in pairs]


def make_pairs(folder: Path) -> Path:
    """300 training pairs and 24 and 20 held out, in ``folder/data/pairs``."""
    files = {}
    for split, number, seed in (("train", 300, 1), ("valid", 24, 2), ("test", 20, 3)):
        for language, lines in zip(("xx", "yy"), sentences(number, seed), strict=True):
            files[split, language] = folder / f"{split}.{language}"
            files[split, language].write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    options = ["--name", "pairs", "--data-bin", folder / "data", "--source-lang", "xx", "--target-lang", "yy"]
    options += ["--vocabulary", "150"]
    options += [
        "--valid",
        files["valid", "xx"],
        files["valid", "yy"],
        "--test",
        files["test", "xx"],
        files["test", "yy"],
    ]
    assert run(command, [*map(str, options), str(files["train", "xx"]), str(files["train", "yy"])]) == 0
    return folder / "data" / "pairs"


def pair_arguments(
    corpus: Path, run_folder: Path, share: str, *more: object, last: int, record: bool = True
) -> list[object]:
    """Arguments of fairseq-train for a tiny transformer that is recorded into ``run_folder/dump.zarr``; later options win."""
    plain = (
        "--task embedding_translation --source-lang xx --target-lang yy --criterion label_smoothed_cross_entropy --label-smoothing 0.1 "
        "--arch transformer_iwslt_de_en --encoder-layers 1 --decoder-layers 2 --encoder-embed-dim 16 --decoder-embed-dim 16 "
        "--encoder-ffn-embed-dim 24 --decoder-ffn-embed-dim 40 --encoder-attention-heads 2 --decoder-attention-heads 2 --dropout 0.1 "
        "--optimizer fused_adam --lr 5e-3 --lr-scheduler fixed --seed 1 --cpu --num-workers 0 --disable-validation --batch-size 50 "
        "--required-batch-size-multiple 1 --no-epoch-checkpoints --save-interval-updates 3 --keep-interval-updates 4 --log-format json "
        "--log-interval 1"
    ).split()
    recording = (
        "--record-statistics every:1 --record-movement every:2 --record-traces every:2 --record-snapshots at:0,every:3 "
        "--record-exposure every:3 --record-trace-sample 2"
    ).split()
    place = ["--user-dir", USER_DIR, "--save-dir", run_folder / "checkpoints", "--max-update", last]
    recorded = ["--record-dir", run_folder / "dump.zarr", *recording] if record else []
    return [corpus, *plain, *SHARES[share], *place, *recorded, *more]
