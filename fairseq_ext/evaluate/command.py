"""The command: options, checks, and what is written."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import archive, loading, probe
from .examples import DEFAULT, SETS, Chosen, choose
from .losses import BATCH_TOKENS, losses, masked_examples
from .masks import MASK_PROB
from .options import ONLY, add_computing, add_model, add_treebank, each_run, layer_list, whole_number
from .options import Parser as _Parser

FORMAT = "embedding-evaluation"
FORMAT_VERSION = 1


def parser() -> argparse.ArgumentParser:
    result = _Parser(
        prog="python -m fairseq_ext.evaluate",
        description="Evaluate trained masked LMs: losses at masked positions of held-out, seen and unseen text into RUN_FOLDER/"
        "evaluation.npz; with --treebank also a probe's inputs into probe.npz beside it (docs/evaluation-format.md).",
        allow_abbrev=False,
    )
    add = result.add_argument
    add_model(result, "evaluated")
    add(
        "--held-out",
        type=whole_number(0),
        default=DEFAULT,
        metavar="N",
        help="validation examples (default: %(default)s)",
    )
    seen = f"(default: {DEFAULT} if the run recorded exposure)"
    add("--seen", type=whole_number(0), metavar="N", help=f"training examples that were drawn, by times drawn {seen}")
    add("--unseen", type=whole_number(0), metavar="N", help=f"training examples of the pool's kind never drawn {seen}")
    add(
        "--masks",
        type=whole_number(1, 255),
        default=1,
        metavar="M",
        help="masks of each example (default: %(default)s)",
    )
    add(
        "--mask-seed",
        type=whole_number(0),
        default=1,
        metavar="S",
        help="seed of masks and choice of examples (default: 1)",
    )
    add(
        "--layers",
        type=layer_list,
        metavar="L,L",
        help="the probe's layers, 0: embedding output; or all (default: 0, middle, last)",
    )
    add_treebank(result, "probe.npz", train=6000, dev=3000)
    add("--out", type=Path, metavar="FILE", help=f"{ONLY}evaluation.npz")
    add_computing(result)
    return result


def evaluate(
    run: loading.Trained, sets: list[Chosen], seed: int, masks: int, batch_tokens: int
) -> dict[str, np.ndarray]:
    """The arrays of ``evaluation.npz``.

    Args:
        run: the trained model.
        sets: the examples.
        seed: seed of the masks.
        masks: masks of each example.
        batch_tokens: tokens in a batch, padding included.
    """
    items, tokens = masked_examples(run, sets, seed, masks)
    loss, correct = losses(run, items, batch_tokens)
    number = [len(item.positions) for item in items]

    def at_each_position(values: list[int], dtype: Any) -> np.ndarray:
        return np.repeat(np.array(values, dtype=dtype), number)

    return {
        "set": at_each_position([item.part for item in items], np.uint8),
        "example": at_each_position([item.example for item in items], np.int32),
        "repeat": at_each_position([item.repeat for item in items], np.uint8),
        "target": np.concatenate([item.targets for item in items]).astype(np.int32),
        "loss": loss,
        "correct": correct,
        "examples_set": np.concatenate([np.full(len(s.examples), s.part, np.uint8) for s in sets]),
        "examples_index": np.concatenate([s.examples for s in sets]).astype(np.int32),
        "examples_drawn": np.concatenate([s.drawn for s in sets]).astype(np.int32),
        "examples_tokens": np.array(tokens, dtype=np.int32),
    }


def summary(arrays: dict[str, np.ndarray]) -> str:
    """One line for each set: examples, positions, mean loss, recovery."""
    lines = []
    for part in np.unique(arrays["set"]).tolist():
        here = arrays["set"] == part
        lines.append(
            f"{SETS[part]}: {int((arrays['examples_set'] == part).sum()):,} examples, {int(here.sum()):,} positions, "
            f"loss {arrays['loss'][here].mean(dtype=np.float64):.3f} bits, recovered {arrays['correct'][here].mean():.4f}"
        )
    return "\n".join(lines)


def evaluate_run(folder: Path, options: argparse.Namespace, device: torch.device) -> None:
    """Evaluate one run as the options say, write its files and print a summary.

    Raises:
        UserError: it cannot be evaluated, or a file cannot be written.
    """
    out = options.out or folder / "evaluation.npz"
    run = loading.load(folder, options.checkpoint, options.data, device)
    batch_tokens = options.batch_tokens or BATCH_TOKENS[device.type]
    sets, counted = choose(run, options.mask_seed, options.held_out, options.seen, options.unseen)
    common = run.facts()
    arrays = evaluate(run, sets, options.mask_seed, options.masks, batch_tokens)
    about = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **common,
        "mask_seed": options.mask_seed,
        "mask_prob": MASK_PROB,
        "masks": options.masks,
        "sets": list(SETS),
        "drawn_update": counted,
    }
    probed = None
    if options.treebank:
        words = (options.probe_train, options.probe_dev)
        probed = probe.collect(
            run, probe.Options(options.treebank, options.layers, words, options.mask_seed), batch_tokens
        )
    archive.write(out, about, arrays)
    print(f"{out}\n{summary(arrays)}", flush=True)
    if probed is not None:
        place = out.with_name("probe.npz")
        archive.write(place, {**probed[0], **common}, probed[1])
        tag, tags, layers = (probed[1][name] for name in ("tag", "tags", "layer"))
        print(f"{place}\n{len(tag):,} words, {len(tags)} tags, layers {', '.join(layers)}", flush=True)


def main(argv: list[str] | None = None) -> None:
    """Run the command; bad input raises :class:`UserError`, which ends the process with one line.

    Several runs are evaluated one after the other. An error in one ends the command; the runs before it are written whole.
    """
    options = parser().parse_intermixed_args(argv)  # options may stand between folders
    each_run(options, ("checkpoint", "out"), evaluate_run)
