"""Sampling in real fairseq-train runs: what the model received, taken from its batches, is what was designed."""

from __future__ import annotations

import collections
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fairseq.data import Dictionary, data_utils
from running import ON_A_RANK, RANK, Launcher, arguments, arrays, assert_same_training

pytestmark = pytest.mark.train
UPDATES, TOKENS, REPEAT = 12, 400, 4
# A criterion that writes down each batch: the text as it was before masking, and the masked input.
SPY = """
import json, os
import fairseq_ext, fairseq_ext.tasks.masked_lm
from fairseq.criterions import register_criterion
from fairseq.criterions.masked_lm import MaskedLmConfig, MaskedLmLoss

@register_criterion("spy", dataclass=MaskedLmConfig)
class Spy(MaskedLmLoss):
    def forward(self, model, sample, reduce=True):
        if model.training:
            source, target, pad = sample["net_input"]["src_tokens"], sample["target"], self.padding_idx
            with open(os.environ["SPY"] + str(os.getpid()), "a") as file:
                for s, t in zip(source.tolist(), target.tolist()):
                    kept = [(a, b) for a, b in zip(s, t) if a != pad]
                    file.write(json.dumps([[a if b == pad else b for a, b in kept], [a for a, _ in kept]]) + "\\n")
        return super().forward(model, sample, reduce)
"""


@pytest.fixture(scope="module")
def spy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("user") / "spying"
    folder.mkdir()
    (folder / "__init__.py").write_text(SPY)
    return folder


def options(corpus: Path, run: Path, spy: Path, *more: object) -> list[object]:
    sampled = ["--sample-pool", "random", "--sample-repeat", REPEAT, "--sample-tokens-per-update", TOKENS]
    plain = ["--user-dir", spy, "--criterion", "spy", "--record-exposure", "every:4", "--save-interval-updates", 4]
    return arguments(corpus, run, *plain, *sampled, *more, last=UPDATES)


def written(prefix: Path) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """What the spies of all processes wrote: the text and the masked input of each example received."""
    lines = [line for file in sorted(prefix.parent.glob(prefix.name + "*")) for line in file.read_text().splitlines()]
    return [(tuple(text), tuple(given)) for text, given in map(json.loads, lines)]


def texts_of(corpus: Path) -> list[tuple[int, ...]]:
    """The training examples as the model gets them."""
    dictionary = Dictionary.load(str(corpus / "dict.txt"))
    split = data_utils.load_indexed_dataset(str(corpus / "train"), dictionary)
    return [(dictionary.bos(), *split[i].tolist()) for i in range(len(split))]


def times_received(corpus: Path, prefix: Path) -> np.ndarray:
    counts = collections.Counter(text for text, _ in written(prefix))
    texts = texts_of(corpus)
    assert len(set(texts)) == len(texts)
    assert set(counts) <= set(texts)
    return np.array([counts[text] for text in texts])


def run_sampled(launcher: Launcher, corpus: Path, run: Path, spy: Path, *more: object) -> np.ndarray:
    run.mkdir(exist_ok=True)
    done = launcher.run("train", options(corpus, run, spy, *more), SPY=str(run / "spied"))
    assert done.status == 0, done.said[-3000:]
    return times_received(corpus, run / "spied")


@pytest.fixture(scope="module")
def sampled(launcher: Launcher, corpus: Path, spy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sampled") / "run"
    run_sampled(launcher, corpus, folder, spy)
    return folder


def test_each_example_of_the_pool_is_received_as_often_as_designed(corpus: Path, sampled: Path) -> None:
    received = times_received(corpus, sampled / "spied")
    assert set(received) == {0, REPEAT}
    tokens = sum(len(text) * n for text, n in zip(texts_of(corpus), received, strict=True))
    assert abs(tokens / (UPDATES * TOKENS) - 1) <= 0.01


def test_exposure_is_what_was_received(corpus: Path, sampled: Path) -> None:
    found = arrays(sampled / "dump.zarr")
    assert found["exposure/tokens/update"].tolist() == [0, 4, 8, 12]
    assert found["exposure/examples/drawn"][0].sum() == 0
    assert np.array_equal(found["exposure/examples/drawn"][-1], times_received(corpus, sampled / "spied"))
    rows = found["exposure/tokens/visible"].shape[1]
    counts = {kind: np.zeros(rows, int) for kind in ("visible", "target", "replacement")}
    mask = rows - 1
    chosen = 0
    for text, given in written(sampled / "spied"):
        for was, token in zip(text, given, strict=True):
            if was == token:
                counts["visible"][token] += 1
            elif token != mask:
                counts["replacement"][token] += 1
            chosen += was != token
    for kind in ("visible", "replacement"):
        assert np.array_equal(found[f"exposure/tokens/{kind}"][-1], counts[kind]), kind
    target = found["exposure/tokens/target"][-1].sum()
    received = sum(len(text) for text, _ in written(sampled / "spied"))
    assert chosen <= target < 1.3 * chosen  # a tenth of the targets is left as it was
    assert abs(target / received - 0.15) < 0.02
    assert (np.diff(found["exposure/examples/drawn"].astype(int), axis=0) >= 0).all()


def test_repeats_get_fresh_masks_or_identical_ones(
    launcher: Launcher, corpus: Path, spy: Path, sampled: Path, tmp_path: Path
) -> None:
    run_sampled(launcher, corpus, tmp_path / "same", spy, "--sample-masks", "identical")
    for prefix, most in ((sampled / "spied", REPEAT), (tmp_path / "same/spied", 1)):
        inputs = collections.defaultdict(set)
        for text, given in written(prefix):
            inputs[text].add(given)
        assert len(inputs) > 50
        assert np.mean([len(masks) for masks in inputs.values()]) > 0.9 * most
        assert max(len(masks) for masks in inputs.values()) <= most


@pytest.mark.parametrize("workers", [1, 4])
def test_workers_change_nothing(
    launcher: Launcher, corpus: Path, spy: Path, sampled: Path, tmp_path: Path, workers: int
) -> None:
    run_sampled(launcher, corpus, tmp_path / "run", spy, "--num-workers", workers)
    assert written(tmp_path / "run/spied") == written(sampled / "spied")


def test_a_kill_and_a_resume_change_nothing(
    launcher: Launcher, corpus: Path, spy: Path, sampled: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    process = launcher.start("train", options(corpus, run, spy, "--num-workers", 1), SPY=str(run / "killed"))
    assert process.until_update(7)
    process.send(signal.SIGKILL)
    process.finish()
    run_sampled(launcher, corpus, run, spy, "--num-workers", 1)
    assert written(run / "spied") == written(sampled / "spied")[-len(written(run / "spied")) :]
    a, b = arrays(run / "dump.zarr"), arrays(sampled / "dump.zarr")
    for name in b:
        assert np.array_equal(a[name], b[name], equal_nan=a[name].dtype.kind == "f"), name
    assert_same_training(run / "checkpoints/checkpoint_last.pt", sampled / "checkpoints/checkpoint_last.pt")
    again = launcher.run("train", options(corpus, run, spy), SPY=str(run / "again"))
    assert again.status == 0, again.said[-2000:]
    assert "nothing is left to draw" in again.said
    assert written(run / "again") == []


def test_two_ranks_draw_what_one_process_draws(launcher: Launcher, corpus: Path, spy: Path, tmp_path: Path) -> None:
    run = tmp_path / "two"
    run.mkdir()
    still = ("--dropout", 0, "--attention-dropout", 0)
    one = run_sampled(launcher, corpus, tmp_path / "one", spy, *still, "--update-freq", 2)
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        2,
        "--no-python",
        "bash",
    ]
    given = options(corpus, run, spy, *still, "--distributed-backend", "gloo", "--ddp-backend", "legacy_ddp")
    done = subprocess.run(
        [str(part) for part in [*launch, RANK, *given]],
        capture_output=True,
        text=True,
        timeout=300,
        env=dict(os.environ, **ON_A_RANK, SPY=str(run / "spied")),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert np.array_equal(times_received(corpus, run / "spied"), one)
    assert sorted(written(run / "spied")) == sorted(written(tmp_path / "one/spied"))
    a, b = arrays(run / "dump.zarr"), arrays(tmp_path / "one/dump.zarr")
    for name in ("tokens/visible", "tokens/target", "tokens/replacement", "examples/drawn"):
        assert np.array_equal(a[f"exposure/{name}"], b[f"exposure/{name}"]), name


def test_seeds_decide_the_sequence(launcher: Launcher, corpus: Path, spy: Path, sampled: Path, tmp_path: Path) -> None:
    run_sampled(launcher, corpus, tmp_path / "again", spy)
    run_sampled(launcher, corpus, tmp_path / "other", spy, "--seed", 2)
    first = [text for text, _ in written(sampled / "spied")]
    assert [text for text, _ in written(tmp_path / "again/spied")] == first
    assert {text for text, _ in written(tmp_path / "other/spied")} != set(first)


@pytest.mark.parametrize("order", ["epochs", "consecutive"])
def test_a_fraction_of_the_tokens_is_repeated(
    launcher: Launcher, corpus: Path, spy: Path, tmp_path: Path, order: str
) -> None:
    more = ("--sample-fraction", 0.5, "--sample-repeat", 3, "--sample-tokens-per-update", 350, "--sample-order", order)
    received = run_sampled(launcher, corpus, tmp_path / "run", spy, *more)
    assert set(received) == {0, 1, 3}
    sizes = np.array([len(text) for text in texts_of(corpus)])
    share = (sizes * received)[received == 3].sum() / (sizes * received).sum()
    assert abs(share / 0.5 - 1) <= 0.01
    assert abs((sizes * received).sum() / (UPDATES * 350) - 1) <= 0.01


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--sample-repeat", 0], "--sample-repeat: expected at least 1, found 0"),
        (["--sample-fraction", 1], "--sample-fraction: expected 0 < p < 1"),
        (["--sample-fraction", -0.5], "--sample-fraction: expected 0 < p < 1"),
        (["--sample-tokens-per-update", 4000], "need a pool of 12,000 tokens; the training split has"),
        (["--sample-pool-tokens", 300], "gives 1,200 with --sample-repeat 4"),
        (["--sample-pool", "none"], "without --sample-pool"),
        (["--sample-pool", "diverse"], "select_topics.sh"),
    ],
)
def test_a_design_that_cannot_be_ends_before_training(
    launcher: Launcher, corpus: Path, spy: Path, tmp_path: Path, more: list[object], says: str
) -> None:
    done = launcher.run("train", options(corpus, tmp_path / "run", spy, *more), SPY=str(tmp_path / "spied"))
    assert says in done.error
    assert not written(tmp_path / "spied")
    assert not (tmp_path / "run/dump.zarr").exists()


def test_another_corpus_or_design_under_a_resumed_run_is_refused(
    launcher: Launcher, corpus: Path, spy: Path, sampled: Path, tmp_path: Path
) -> None:
    from shutil import copytree

    from tiny_corpus import make_corpus

    other = make_corpus(launcher, tmp_path / "other", seed=5)
    for number, (data, more, says) in enumerate(
        [
            (other, [], "trained on other draws"),
            (corpus, ["--sample-repeat", 2], "repeat 4 -> 2"),
            (corpus, ["--max-update", 24], "trained on other draws"),
            (
                corpus,
                ["--sample-pool", "none", "--sample-repeat", 1, "--sample-tokens-per-update", 0],
                "this run has none",
            ),
        ]
    ):
        run = Path(copytree(sampled, tmp_path / f"run{number}"))
        before = (run / "checkpoints/checkpoint_last.pt").read_bytes()
        done = launcher.run("train", options(data, run, spy, *more), SPY=str(run / "more"))
        assert says in done.error, done.error
        assert not written(run / "more")
        assert (run / "checkpoints/checkpoint_last.pt").read_bytes() == before
