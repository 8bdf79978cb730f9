"""The sampling options with the translation task, in real runs."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from fairseq.data import Dictionary, data_utils
from running import Launcher

pytestmark = pytest.mark.train
UPDATES, TOKENS, REPEAT = 10, 300, 3
SPY = """
import json, os
import fairseq_ext, fairseq_ext.tasks.translation
from fairseq.criterions import register_criterion
from fairseq.criterions.cross_entropy import CrossEntropyCriterion, CrossEntropyCriterionConfig

@register_criterion("spy_pairs", dataclass=CrossEntropyCriterionConfig)
class Spy(CrossEntropyCriterion):
    def forward(self, model, sample, reduce=True):
        if model.training:
            with open(os.environ["SPY"], "a") as file:
                file.write(json.dumps(sample["id"].tolist()) + "\\n")
        return super().forward(model, sample, reduce)
"""


@pytest.fixture(scope="module")
def pairs(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A binarised parallel corpus of 300 invented pairs."""
    folder = tmp_path_factory.mktemp("pairs")
    numbers = random.Random(3)
    for split, lines in (("train", 300), ("valid", 10)):
        for language in ("de", "en"):
            text = [
                " ".join(numbers.choices([f"{language}{n}" for n in range(40)], k=numbers.randint(3, 12)))
                for _ in range(lines)
            ]
            (folder / f"{split}.{language}").write_text("\n".join(text) + "\n")
    plain = ["--source-lang", "de", "--target-lang", "en", "--workers", 1, "--joined-dictionary"]
    places = ["--trainpref", folder / "train", "--validpref", folder / "valid", "--destdir", folder / "corpus"]
    done = launcher.run("preprocess", [*plain, *places])
    assert done.status == 0, done.said[-2000:]
    spying = folder / "spying_pairs"
    spying.mkdir()
    (spying / "__init__.py").write_text(SPY)
    return folder


def arguments(pairs: Path, run: Path, *more: object) -> list[object]:
    plain = (
        "--task embedding_translation --criterion spy_pairs --arch transformer --encoder-layers 1 --decoder-layers 1 --encoder-embed-dim 16 "
        "--decoder-embed-dim 16 --encoder-ffn-embed-dim 32 --decoder-ffn-embed-dim 32 --encoder-attention-heads 2 --decoder-attention-heads 2 "
        "--share-all-embeddings --optimizer adam --lr 1e-3 --lr-scheduler fixed --seed 1 --cpu --num-workers 0 --disable-validation "
        "--batch-size 8 --no-epoch-checkpoints --save-interval-updates 5 --log-format json --log-interval 1"
    ).split()
    sampled = ["--sample-pool", "random", "--sample-repeat", REPEAT, "--sample-tokens-per-update", TOKENS]
    place = ["--user-dir", pairs / "spying_pairs", "--save-dir", run / "checkpoints", "--max-update", UPDATES]
    return [pairs / "corpus", *plain, *sampled, *place, *more]


def received(run: Path) -> np.ndarray:
    return np.array([example for line in (run / "spied").read_text().splitlines() for example in json.loads(line)])


def pair_sizes(pairs: Path) -> np.ndarray:
    sizes = []
    for language in ("de", "en"):
        dictionary = Dictionary.load(str(pairs / f"corpus/dict.{language}.txt"))
        split = data_utils.load_indexed_dataset(str(pairs / f"corpus/train.de-en.{language}"), dictionary)
        sizes.append(np.array(split.sizes))  # a copy: the sizes lie in a file that is mapped while the split lives
    return np.sum(sizes, axis=0)


@pytest.mark.parametrize("order", ["spread", "epochs"])
def test_pairs_are_received_as_often_as_designed(launcher: Launcher, pairs: Path, tmp_path: Path, order: str) -> None:
    done = launcher.run("train", arguments(pairs, tmp_path, "--sample-order", order), SPY=str(tmp_path / "spied"))
    assert done.status == 0, done.said[-3000:]
    counts = np.bincount(received(tmp_path), minlength=300)
    assert set(counts) == {0, REPEAT}
    assert abs((counts * pair_sizes(pairs)).sum() / (UPDATES * TOKENS) - 1) <= 0.01


def test_a_resumed_run_draws_the_rest(launcher: Launcher, pairs: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for run in (whole, cut):
        run.mkdir()
    assert launcher.run("train", arguments(pairs, whole), SPY=str(whole / "spied")).status == 0
    process = launcher.start("train", arguments(pairs, cut), SPY=str(cut / "killed"))
    assert process.until_update(7)
    process.send(9)
    process.finish()
    done = launcher.run("train", arguments(pairs, cut), SPY=str(cut / "spied"))
    assert done.status == 0, done.said[-3000:]
    rest = received(cut)
    assert 0 < len(rest) < len(received(whole))
    assert np.array_equal(rest, received(whole)[-len(rest) :])
    again = launcher.run("train", arguments(pairs, cut, "--sample-repeat", 2), SPY=str(cut / "more"))
    assert "trained on other draws" in again.error


def test_a_pool_larger_than_the_corpus_is_one_line(launcher: Launcher, pairs: Path, tmp_path: Path) -> None:
    done = launcher.run(
        "train", arguments(pairs, tmp_path, "--sample-tokens-per-update", 30_000), SPY=str(tmp_path / "spied")
    )
    assert "need a pool of 100,000 tokens; the training split has" in done.error
