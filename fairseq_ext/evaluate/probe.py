"""Inputs of a part-of-speech probe: hidden states of a trained model at the first piece of each word of a treebank."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..errors import UserError
from ..recording.corpus import sha256
from . import treebank
from .bpe import load_tokenizer, row_of
from .loading import Trained
from .losses import batches, padded
from .treebank import Sentence, Word

logger = logging.getLogger(__name__)
_ORDER = 11  # marks the key by which sentences are chosen


@dataclass(frozen=True)
class Encoded:
    """A sentence as rows, and the words that have a first piece of their own.

    Attributes:
        rows: int64 [T], ``<s>`` first and ``</s>`` last.
        positions: int64 [n], place of each word's first piece in ``rows``.
        words: the n words.
    """

    rows: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    words: tuple[Word, ...]


@dataclass(frozen=True)
class Options:
    """What to take: the treebank's folder, layers (``None``: embedding output, middle, last), words of each split, seed of the choice."""

    folder: Path
    layers: tuple[int, ...] | None
    words: tuple[int, int]
    seed: int


def require_layers(layers: tuple[int, ...] | None, count: int) -> tuple[int, ...]:
    """The layers to take of a model with ``count`` layers, ascending; 0 is the embedding's output.

    Raises:
        UserError: there is no such layer.
    """
    if layers is None:
        return tuple(sorted({0, count // 2, count}))
    if not layers or min(layers) < 0 or max(layers) > count:
        raise UserError(
            f"--layers: expected numbers from 0 (the embedding's output) to {count}; found {','.join(map(str, layers))}"
        )
    return tuple(sorted(set(layers)))


def first_pieces(sentence: Sentence, pieces: list[tuple[int, int]]) -> list[tuple[int, Word]]:
    """Each word with the number of the piece that begins with it, or with the space before it.

    Args:
        sentence: text and words.
        pieces: begin and end of each piece in the text, in characters.

    Returns:
        one pair a word; a word that begins within a piece (``n't`` in ``did|n't``, pieces `` didn`` and ``'t``) has none and is left out.
    """
    beginning = {}
    for number, (start, end) in enumerate(pieces):
        while start < end and sentence.text[start] == " ":
            start += 1
        beginning.setdefault(start, number)
    return [(beginning[word.start], word) for word in sentence.words if word.start in beginning]


def encode(sentences: list[Sentence], rows: npt.NDArray[np.int64], bos: int, eos: int) -> list[Encoded]:
    """Sentences as rows of the dictionary; ``rows`` is int64 [50257], the row of each BPE id."""
    result = []
    for sentence, encoding in zip(sentences, load_tokenizer().encode_batch([s.text for s in sentences]), strict=True):
        pairs = first_pieces(sentence, encoding.offsets)
        result.append(
            Encoded(
                rows=np.concatenate([[bos], rows[np.asarray(encoding.ids, dtype=np.int64)], [eos]]),
                positions=np.array([number + 1 for number, _ in pairs], dtype=np.int64),
                words=tuple(word for _, word in pairs),
            )
        )
    return result


@torch.inference_mode()
def hidden_states(
    run: Trained, sentences: list[Encoded], layers: tuple[int, ...], batch_tokens: int
) -> npt.NDArray[np.float16]:
    """float16 [layer, word, dim], the model's states at the words' positions.

    Layer 0 is the embedding's output (with position, after its layer norm); the last one is taken after the encoder's final layer norm,
    where it has one.
    """
    starts = np.concatenate([[0], np.cumsum([len(s.positions) for s in sentences])]).astype(np.int64)
    encoder = run.model.encoder
    dim = encoder.sentence_encoder.embed_tokens.embedding_dim
    result = np.zeros((len(layers), starts[-1], dim), dtype=np.float16)
    for batch in batches([len(s.rows) for s in sentences], batch_tokens):
        source = padded([sentences[k].rows for k in batch], run.task.dictionary.pad(), run.device)
        last, extra = encoder(source, features_only=True, return_all_hiddens=True)
        states = [state.transpose(0, 1) for state in extra["inner_states"]]
        states[-1] = last
        for place, layer in enumerate(layers):
            here = states[layer].float().cpu().numpy()
            for row, k in enumerate(batch):
                result[place, starts[k] : starts[k + 1]] = here[row, sentences[k].positions]
    if not np.isfinite(result).all():
        raise UserError(f"{run.checkpoint}: hidden states are not finite in 16 bits; the training diverged")
    return result


def layer_names(layers: tuple[int, ...]) -> list[str]:
    return ["embedding" if layer == 0 else f"layer{layer}" for layer in layers]


def collect(run: Trained, options: Options, batch_tokens: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Everything that ``probe.npz`` holds, as in ``docs/evaluation-format.md``.

    Raises:
        UserError: no treebank, no GPT-2 BPE in the run's dictionary, no such layer.
    """
    dictionary = run.task.dictionary
    layers = require_layers(options.layers, len(run.model.encoder.sentence_encoder.layers))
    rows = row_of(dictionary, run.data / "dict.txt")
    taken: list[Encoded] = []
    split: list[int] = []
    files = {}
    chosen: dict[str, Any] = {}
    for number, name in enumerate(treebank.SPLITS):
        path = treebank.find(options.folder, name)
        sentences = treebank.read(path)
        numbers = treebank.whole_sentences(sentences, options.words[number], (options.seed, number, _ORDER))
        encoded = encode([sentences[k] for k in numbers], rows, dictionary.bos(), dictionary.eos())
        fitting = [e for e in encoded if len(e.rows) <= run.longest]
        words = sum(len(e.positions) for e in fitting)
        if not words:
            raise UserError(
                f"{path}: no sentence fits --probe-words and the model's {run.longest} positions; give more"
            )
        taken += fitting
        split += [number] * words
        files[path.name] = sha256(path)
        chosen[name] = {
            "sentences": len(fitting),
            "words": words,
            "too_long_sentences": len(encoded) - len(fitting),
            "words_without_piece": sum(len(sentences[k].words) + sentences[k].lost for k in numbers)
            - sum(len(e.positions) for e in encoded),
        }
    words_taken = [word for encoded in taken for word in encoded.words]
    tags, tag = np.unique([word.tag for word in words_taken], return_inverse=True)
    types, word_type = np.unique([word.form for word in words_taken], return_inverse=True)
    about = {
        "format": "embedding-probe",
        "format_version": 1,
        "treebank": files,
        "probe_seed": options.seed,
        "splits": list(treebank.SPLITS),
        "chosen": chosen,
        "word_types": len(types),
    }
    arrays = {
        "layer": np.array(layer_names(layers)),
        "tags": tags,
        "features": hidden_states(run, taken, layers, batch_tokens),
        "tag": tag.astype(np.int16),
        "word_type": word_type.astype(np.int32),
        "split": np.array(split, dtype=np.uint8),
    }
    return about, arrays
