"""A linear probe on contextual vectors: how well a word's tag can be read off the model's hidden states, layer by layer.

`probe.npz` beside a run's evaluation holds the vectors. A multinomial logistic regression (scikit-learn) is trained on the
training words and scored on the development words. A probe may learn words by heart instead of reading them off the vectors,
so a control task (Hewitt & Liang 2019) goes with it: each word type gets one random tag, drawn from the tags' shares, and
selectivity is the accuracy minus that on the control task. Intervals are over development words.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bootstrap import percentile_interval, stratified_means
from claims import Estimate
from evaluation import EvaluationError, read_npz

TRAIN, DEV = 0, 1
MOST_TRAIN, MOST_DEV = 4000, 4000
ITERATIONS = 200
OVER = "words"


@dataclass(frozen=True)
class ProbeWords:
    """A read probe.npz (docs/evaluation-format.md): `features` (layer, word, dim), `layer` the layers' names, and `tag`, `split`, `word_type` (word,)."""

    path: Path
    layer: tuple[str, ...]
    features: NDArray[np.floating]
    tag: NDArray[np.integer]
    tags: tuple[str, ...]
    split: NDArray[np.integer]
    word_type: NDArray


@dataclass(frozen=True)
class ProbeLayer:
    """One layer: accuracy on the development words, selectivity, and the share of the most frequent training tag."""

    layer: str
    accuracy: Estimate
    control: float
    selectivity: Estimate
    majority: float
    train_words: int
    dev_words: int


def read_probe(path: str | Path) -> ProbeWords:
    """Read a probe.npz. Raises EvaluationError: no such file, another form, no words of one of the splits."""
    path = Path(path)
    arrays = read_npz(path, "a probe's vectors")
    try:
        found = ProbeWords(
            path=path,
            layer=tuple(map(str, np.atleast_1d(arrays["layer"]))),
            features=arrays["features"],
            tag=arrays["tag"],
            tags=tuple(map(str, arrays["tags"])),
            split=arrays["split"],
            word_type=arrays["word_type"],
        )
    except KeyError as error:
        raise EvaluationError(f"{path}: array {error} is missing; evaluate again") from None
    words = len(found.tag)
    shapes_agree = found.features.ndim == 3 and found.features.shape[:2] == (len(found.layer), words)
    if not shapes_agree or {len(found.split), len(found.word_type)} != {words}:
        raise EvaluationError(f"{path}: features of the shape {found.features.shape} for {words} words; evaluate again")
    for split, name in ((TRAIN, "training"), (DEV, "development")):
        if len(np.unique(found.tag[found.split == split])) < 2:
            raise EvaluationError(f"{path}: the {name} words have fewer than 2 tags; evaluate more words")
    return found


def measure(probe: ProbeWords, *, seed: int = 0) -> list[ProbeLayer]:
    """Accuracy and selectivity of every layer. At most MOST_TRAIN and MOST_DEV words, chosen by `seed`, are used."""
    rng = np.random.default_rng(seed)
    control = control_tags(probe.tag, probe.word_type, rng)
    train, dev = (
        _some(np.flatnonzero(probe.split == split), most, rng) for split, most in ((TRAIN, MOST_TRAIN), (DEV, MOST_DEV))
    )
    majority = float(np.bincount(probe.tag[train]).max() / len(train))
    result = []
    for place, layer in enumerate(probe.layer):
        vectors = probe.features[place].astype(np.float32)
        if not np.isfinite(vectors).all():
            raise EvaluationError(f"{probe.path}: layer {layer} has values that are not finite; evaluate again")
        right = np.stack([_right(vectors, tags, train, dev) for tags in (probe.tag, control)], axis=1).astype(
            np.float64
        )
        means = right.mean(axis=0)
        drawn = stratified_means(right, np.zeros(len(dev), np.int64), 1, seed=seed)[:, 0]
        result.append(
            ProbeLayer(
                layer=layer,
                accuracy=Estimate(float(means[0]), percentile_interval(drawn[:, 0]), OVER),
                control=float(means[1]),
                selectivity=Estimate(float(means[0] - means[1]), percentile_interval(drawn[:, 0] - drawn[:, 1]), OVER),
                majority=majority,
                train_words=len(train),
                dev_words=len(dev),
            )
        )
    return result


def control_tags(tag: NDArray[np.integer], word_type: NDArray, rng: np.random.Generator) -> NDArray[np.int64]:
    """The control task's tag of each word: one for each word type, drawn from the shares of the real tags."""
    types, place = np.unique(word_type, return_inverse=True)
    shares = np.bincount(tag) / len(tag)
    return rng.choice(len(shares), len(types), p=shares)[place.ravel()]


def best_layer(layers: list[ProbeLayer]) -> ProbeLayer:
    """The layer of the highest accuracy: chosen on the words that it is scored on, so a little too good."""
    return max(layers, key=lambda entry: entry.accuracy.value)


def _right(
    vectors: NDArray[np.float32], tags: NDArray[np.integer], train: NDArray[np.intp], dev: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Which development words the probe tags rightly; one tag alone in training is what it then always says."""
    if len(np.unique(tags[train])) < 2:
        return tags[dev] == tags[train][0]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=ITERATIONS, tol=1e-3))
    with warnings.catch_warnings():  # the control task need not converge: that a probe cannot learn it is the finding
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(vectors[train], tags[train])
    return model.predict(vectors[dev]) == tags[dev]


def _some(places: NDArray[np.intp], most: int, rng: np.random.Generator) -> NDArray[np.intp]:
    return places if len(places) <= most else np.sort(rng.choice(places, most, replace=False))
