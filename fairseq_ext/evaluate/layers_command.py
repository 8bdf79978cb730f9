"""The command for layers: options, checks, and what is written."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import UserError
from . import archive, loading, probe, weights
from .losses import BATCH_TOKENS
from .options import ALL, Parser, add_computing, add_model, add_treebank, each_run, whole_number
from .parameters import DEFAULT, write_parameters
from .states import Example, held_out, hidden_states, layer_count, layer_names, loss_bits, place_arrays
from .untrained import seeds, untrained

FORMAT = "embedding-layers"
FORMAT_VERSION = 1
MOST_UNTRAINED = 1000
ADVICE = "make room, or ask for less"

File = tuple[dict[str, Any], dict[str, np.ndarray]]  # about and arrays


def parser() -> argparse.ArgumentParser:
    result = Parser(
        prog="python -m fairseq_ext.evaluate.layers",
        description="Write what the layers of trained masked LMs read from and write to the residual stream into RUN_FOLDER/parameters.npz, and "
        "hidden states of held-out text into layers.npz; with --treebank also a probe's inputs of all layers into layers_probe.npz and "
        "layers_probe_untrained.npz (docs/layers-format.md).",
        allow_abbrev=False,
    )
    add = result.add_argument
    add_model(result, "read")
    add(
        "--vectors",
        type=whole_number(0),
        default=DEFAULT,
        metavar="N",
        help="parameter vectors of each layer and kind, 0: all (default: %(default)s)",
    )
    add(
        "--tokens",
        type=whole_number(1),
        default=4000,
        metavar="N",
        help="held-out tokens whose states are kept, whole examples (default: %(default)s)",
    )
    add(
        "--untrained",
        type=whole_number(0, MOST_UNTRAINED),
        default=3,
        metavar="K",
        help="untrained models to compare with (default: %(default)s)",
    )
    add(
        "--untrained-states",
        type=whole_number(0, MOST_UNTRAINED),
        metavar="K",
        help="of how many of them states are kept (default: 1)",
    )
    add_treebank(result, "layers_probe.npz and layers_probe_untrained.npz", train=3000, dev=1500)
    add(
        "--seed",
        type=whole_number(0),
        default=1,
        metavar="S",
        help="seed of the choice of vectors, examples and sentences (default: %(default)s)",
    )
    add_computing(result)
    return result


def check(options: argparse.Namespace) -> None:
    """Set the default of ``--untrained-states``, and check what options ask of one another.

    Raises:
        UserError: more is asked of untrained models than there are.
    """
    if options.untrained_states is None:
        options.untrained_states = min(1, options.untrained)
    if options.untrained_states > options.untrained:
        raise UserError(
            f"--untrained-states {options.untrained_states}: there are only {options.untrained} untrained models; give a larger --untrained"
        )
    if options.treebank and not options.untrained:
        raise UserError(
            "--treebank: probes an untrained model too; give --untrained 1 or more, or leave --treebank out"
        )


def states_file(
    run: loading.Trained, examples: list[Example], facts: dict[str, Any], options: argparse.Namespace, batch_tokens: int
) -> File:
    """Everything that ``layers.npz`` holds.

    Args:
        run: the trained model.
        examples: the held-out text.
        facts: the entries of ``about`` on checkpoint, corpus and versions.
        options: the command's.
        batch_tokens: tokens in a batch, padding included.

    Raises:
        UserError: states or losses that are not finite.
    """
    layers = range(layer_count(run) + 1)
    used = seeds(options.untrained_states)
    states = hidden_states(run, examples, layers, batch_tokens)
    others = [hidden_states(untrained(run, seed), examples, layers, batch_tokens) for seed in used]
    arrays = {
        "layer_name": np.array(layer_names(layers)),
        "states": states,
        "untrained_states": np.stack(others) if others else np.zeros((0, *states.shape), np.float16),
        "untrained_seed": np.array(used, dtype=np.int64),
        **place_arrays(examples),
    }
    about = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **facts,
        "split": "valid",
        "tokens_seed": options.seed,
        "loss_bits": loss_bits(run, examples, options.seed, batch_tokens),
    }
    return about, arrays


def probe_files(
    run: loading.Trained, facts: dict[str, Any], options: argparse.Namespace, batch_tokens: int
) -> dict[str, File]:
    """What ``layers_probe.npz`` and ``layers_probe_untrained.npz`` hold, by name; nothing without a treebank.

    Raises:
        UserError: no GPT-2 BPE in the run's dictionary, too few words, or states that are not finite.
    """
    if not options.treebank:
        return {}
    words = (options.probe_train, options.probe_dev)
    taken = probe.take(run, probe.Options(options.treebank, ALL, words, options.seed))
    [seed] = seeds(1)
    about = {**taken.about, **facts}
    return {
        "layers_probe.npz": (about, taken.arrays(run, batch_tokens)),
        "layers_probe_untrained.npz": (
            {**about, "untrained_seed": seed},
            taken.arrays(untrained(run, seed), batch_tokens),
        ),
    }


def read_run(folder: Path, options: argparse.Namespace, device: torch.device) -> None:
    """Read one run's model as the options say, write its files and print what is in them.

    Raises:
        UserError: it cannot be read, or a file cannot be written.
    """
    run = loading.load(folder, options.checkpoint, options.data, device)
    weights.require_roberta(run)
    trained = weights.layer_weights(run)
    facts = run.facts()
    batch_tokens = options.batch_tokens or BATCH_TOKENS[device.type]
    states = states_file(run, held_out(run, options.tokens, options.seed), facts, options, batch_tokens)
    probes = probe_files(run, facts, options, batch_tokens)

    place = folder / "parameters.npz"
    found = write_parameters(
        place,
        trained,
        weights.head_count(run),
        {**facts, **weights.describe(run)},
        options.vectors,
        options.seed,
        ((seed, weights.layer_weights(untrained(run, seed))) for seed in seeds(options.untrained)),
    )
    count, dim = found["vectors"].shape
    others = len(found["untrained_seed"])
    print(f"{place}\n{count:,} vectors of width {dim}, {len(trained)} layers, {others} untrained models", flush=True)

    place = folder / "layers.npz"
    archive.write(place, *states, compressed=False, advice=ADVICE)
    about, arrays = states
    loss = "none" if about["loss_bits"] is None else f"{about['loss_bits']:.3f} bits"
    examples, tokens = len(np.unique(arrays["example"])), len(arrays["row"])
    print(f"{place}\n{tokens:,} tokens of {examples:,} held-out examples, loss {loss}", flush=True)

    for name, (about, arrays) in probes.items():
        archive.write(folder / name, about, arrays, advice=ADVICE)
        print(f"{folder / name}\n{len(arrays['tag']):,} words, {len(arrays['tags'])} tags", flush=True)


def main(argv: list[str] | None = None) -> None:
    """Run the command; bad input raises :class:`UserError`, which ends the process with one line.

    Several runs are read one after the other. An error in one ends the command; the files of the runs before it are whole.
    """
    options = parser().parse_intermixed_args(argv)
    check(options)
    each_run(options, ("checkpoint",), read_run)
