"""Types of sentences and the largest loss: who belongs where, planted losses, and no verdict from the choice of the largest."""

from functools import cache

import numpy as np
import pytest
from sharing_runs import Planted, corpus, translate

import sentence_types
from sentence_types import LEAST, ORDINARY, largest
from translation_files import Words
from translation_quality import measure

PAIRS = (("all", "none"),)


def words_of(made):
    counts = np.array(made.words["source"], np.int64)
    return Words(np.concatenate([[0], np.cumsum(made.lengths["source"])]), counts[:, 0], counts[:, 1])


@cache
def scored(sentences, planted, seed):
    made = corpus(sentences)
    return measure(translate(made, planted, seed), made.references)


def contexts(made, arms, seeds=(1,), **options):
    types = sentence_types.sentence_types(made.sources, words_of(made))
    size = len(made.sources)
    scores = {seed: {arm: scored(size, planted, seed) for arm, planted in arms.items()} for seed in seeds}
    return sentence_types.measure(scores, types, PAIRS, **options), types


def test_types_are_made_of_lengths_and_counts():
    sentences = [
        [(50, 0)] * 4,
        [(50, 0)] * 5,
        [(50, 0)] * 7 + [(3, 0)],
        [(50, 9)] * 6 + [(0, 0)] * 6,
        [(0, 5)] * 9,
        [(50, 0)] * 14,
        [(50, 0)] * 9,
    ]
    flat = np.array([word for sentence in sentences for word in sentence])
    offsets = np.concatenate([[0], np.cumsum([len(sentence) for sentence in sentences])])
    texts = ["a", "b 7", "c", "d", "e", "f", "g"]
    found = {
        entry.name: np.flatnonzero(entry.inside).tolist()
        for entry in sentence_types.sentence_types(texts, Words(offsets, flat[:, 0], flat[:, 1]))
    }
    assert found["short"] == [0, 1, 2]  # of 4, 5, 8, 9, 9, 12, 14 words the lower tercile is 8 and the upper 9
    assert found["long"] == [3, 5]
    assert found["medium"] == [4, 6]
    assert found["rare-none"] == [0, 1, 5, 6]
    assert found["rare-some"] == [2, 3]  # shares 1/8, 1/2, 1: median 1/2
    assert found["rare-many"] == [4]
    assert found["both-none"] == [0, 1, 2, 4, 5, 6]  # a word that the source training text lacks is not of both sides
    assert found["unseen"] == [3, 4]
    assert found["seen"] == [0, 1, 2, 5, 6]
    assert found["numerals"] == [1]
    assert found[ORDINARY] == [6]
    for plain in ("medium", "rare-none", "seen", "no-numerals", ORDINARY):
        entry = next(
            t for t in sentence_types.sentence_types(texts, Words(offsets, flat[:, 0], flat[:, 1])) if t.name == plain
        )
        assert not entry.particular


def test_every_division_divides():
    made = corpus(300)
    found = {entry.name: entry.inside for entry in sentence_types.sentence_types(made.sources, words_of(made))}
    for parts in (
        ("short", "medium", "long"),
        ("rare-none", "rare-some", "rare-many"),
        ("both-none", "both-some", "both-many"),
        ("unseen", "seen"),
        ("numerals", "no-numerals"),
    ):
        assert (sum(found[name].astype(int) for name in parts) == 1).all()


def test_a_loss_on_rare_words_is_found_and_exceeds_twice_the_ordinary():
    found, types = contexts(corpus(600), {"none": Planted(0.2), "all": Planted(0.21, 0.5)}, resamples=1000)
    assert found.largest in ("rare-many", "unseen")
    assert found.compared == sum(entry.particular and entry.used for entry in types)
    assert found.excess.value == pytest.approx(found.loss.value - 2 * found.loss_ordinary.value)
    assert found.excess.interval[0] > 0
    assert found.loss.interval[0] > 0
    entry = found.type("rare-many")
    low, high = entry.differences["all", "none"].interval
    assert low < entry.differences["all", "none"].value < high < 0
    assert entry.bleu["all"] - entry.bleu["none"] == pytest.approx(entry.differences["all", "none"].value)
    assert found.loss.value == pytest.approx(
        max(-t.differences["all", "none"].value for t in found.types if t.particular)
    )
    own = found.type(found.largest).differences["all", "none"]
    assert found.loss.interval[0] <= -own.interval[1]  # wider than the type's own interval, for the choice
    assert found.loss.interval[1] >= -own.interval[0]


def test_an_equal_loss_everywhere_does_not_exceed_twice_the_ordinary():
    found, _ = contexts(corpus(900), {"none": Planted(0.1), "all": Planted(0.3)}, resamples=1000)
    assert found.loss.interval[0] > 0
    assert found.excess.interval[1] < 0


def test_the_bleu_of_a_type_is_that_of_its_sentences():
    made = corpus(300)
    found, types = contexts(made, {"none": Planted(0.2), "all": Planted(0.3)}, resamples=50)
    hypotheses = translate(made, Planted(0.3), 1)
    inside = np.flatnonzero(next(entry.inside for entry in types if entry.name == "long"))
    alone = measure([hypotheses[i] for i in inside], [made.references[i] for i in inside])
    assert found.type("long").bleu["all"] == pytest.approx(alone.score["BLEU"])


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_choice_among_equal_types_is_rarely_taken_for_an_effect(seeds):
    """Nine types without any loss: a plain 95 % interval of the largest would lie above 0 in every fifth trial."""
    rng = np.random.default_rng(0)
    above = plain = 0
    for _ in range(300):
        shared = rng.normal(size=9)  # what the sentences do to all seeds
        values = shared + 0.1 * rng.normal(size=(seeds, 9)) * (seeds > 1)
        drawn = values.mean(axis=0) + rng.normal(size=(2000, 9))
        found = largest(values, drawn, values)
        above += found.interval[0] > 0
        plain += np.quantile(drawn[:, np.argmax(values.mean(axis=0))], 0.025) > 0
        assert found.interval[0] <= found.value <= found.interval[1]
    assert above / 300 < 0.06
    assert plain / 300 > 0.12


def test_few_sentences_are_shown_and_not_used():
    made = corpus(120)
    found, types = contexts(made, {"none": Planted(0.2), "all": Planted(0.3)}, resamples=50)
    few = [entry for entry in types if entry.sentences < LEAST]
    assert few
    assert not any(entry.used for entry in few)
    assert found.excess is None
    assert "the ordinary sentences are fewer than 50" in found.problem
    assert found.type(few[0].name).sentences == few[0].sentences


def test_three_seeds_cover_the_seeds_as_well():
    made = corpus(600)
    arms = {"none": Planted(0.2), "all": Planted(0.21, 0.5)}
    found, _ = contexts(made, arms, seeds=(1, 2, 3), resamples=500)
    assert found.excess.over == "seeds and sentences"
    assert found.seeds == [1, 2, 3]
    assert found.type("short").differences["all", "none"].over == "seeds"
    one = [contexts(made, arms, seeds=(seed,), resamples=50)[0].loss_ordinary.value for seed in (1, 2, 3)]
    assert found.loss_ordinary.value == pytest.approx(np.mean(one))
