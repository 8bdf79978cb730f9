"""Inputs of a part-of-speech probe: hidden states of a trained model at the first piece of each word of a treebank."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import UserError
from ..recording.corpus import sha256
from . import treebank
from .bpe import load_tokenizer, row_of
from .loading import Trained
from .states import Marked, hidden_states, layer_names
from .treebank import Sentence, Word

logger = logging.getLogger(__name__)
_ORDER = 11  # marks the key by which sentences are chosen


@dataclass(frozen=True)
class Encoded(Marked):
    """A sentence as rows, and the words that have a first piece of their own; ``positions`` are the places of those.

    Attributes:
        words: the n words.
    """

    words: tuple[Word, ...]


@dataclass(frozen=True)
class Options:
    """What to take: the treebank's folder, layers (``None``: embedding output, middle, last), words of each split, seed of the choice."""

    folder: Path
    layers: tuple[int, ...] | Literal["all"] | None
    words: tuple[int, int]
    seed: int


@dataclass(frozen=True)
class Taken:
    """The words that a probe looks at.

    Attributes:
        about: what ``about`` says of them.
        sentences: the sentences with their words.
        layers: the layers whose states are taken.
        tags: the parts of speech, sorted.
        tag: int16 [word], index into ``tags``.
        word_type: int32 [word], number of the word's form.
        split: uint8 [word], 0 train, 1 dev.
    """

    about: dict[str, Any]
    sentences: list[Encoded]
    layers: tuple[int, ...]
    tags: npt.NDArray[np.str_]
    tag: npt.NDArray[np.int16]
    word_type: npt.NDArray[np.int32]
    split: npt.NDArray[np.uint8]

    def arrays(self, run: Trained, batch_tokens: int) -> dict[str, np.ndarray]:
        """The arrays of a probe's file with the states of a model, which has the dictionary and the number of layers that were asked for.

        Raises:
            UserError: states that are not finite.
        """
        return {
            "layer": np.array(layer_names(self.layers)),
            "tags": self.tags,
            "features": hidden_states(run, self.sentences, self.layers, batch_tokens),
            "tag": self.tag,
            "word_type": self.word_type,
            "split": self.split,
        }


def require_layers(layers: tuple[int, ...] | Literal["all"] | None, count: int) -> tuple[int, ...]:
    """The layers to take of a model with ``count`` layers, ascending; 0 is the embedding's output.

    Raises:
        UserError: there is no such layer.
    """
    if layers is None:
        return tuple(sorted({0, count // 2, count}))
    if layers == "all":
        return tuple(range(count + 1))
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


def collect(run: Trained, options: Options, batch_tokens: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Everything that ``probe.npz`` holds, as in ``docs/evaluation-format.md``.

    Raises:
        UserError: as :func:`take`, or states that are not finite.
    """
    taken = take(run, options)
    return taken.about, taken.arrays(run, batch_tokens)


def take(run: Trained, options: Options) -> Taken:
    """Choose and encode the words.

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
    return Taken(
        about=about,
        sentences=taken,
        layers=layers,
        tags=tags,
        tag=tag.astype(np.int16),
        word_type=word_type.astype(np.int32),
        split=np.array(split, dtype=np.uint8),
    )
