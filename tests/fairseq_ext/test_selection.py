"""The orders that pools are taken from: permutations with equal tokens of all topics, or few topics."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fairseq_ext.sampling.selection import SPREAD, _farthest_first, diverse_order, narrow_order, random_order
from fairseq_ext.sampling.topics import Topics


def invented_topics(
    examples: int, topics: int, seed: int, dimensions: int = 6, width: float = 0.5
) -> tuple[Topics, NDArray[np.int64]]:
    """Topics of unequal sizes, some of one example, and sizes of examples. Exact on every machine: nothing but integers is random."""
    random = np.random.default_rng(seed)
    topic = np.minimum(random.integers(0, topics, examples), random.integers(0, topics, examples))
    topic = np.unique(topic, return_inverse=True)[1].astype(np.int32)
    middle = random.integers(-100, 101, (int(topic.max()) + 1, dimensions))
    vector = (middle[topic] + width * random.integers(-100, 101, (examples, dimensions))) / 100
    vector /= np.maximum(np.sqrt((vector**2).sum(axis=1, keepdims=True)), 1e-9)
    vector = vector.astype(np.float16)
    centre = np.stack([vector[topic == t].astype(np.float64).mean(axis=0) for t in range(topic.max() + 1)])
    information = random.integers(0, 100, examples).astype(np.float32)
    return Topics(topic, vector, centre.astype(np.float32), information), random.integers(1, 60, examples)


some_topics = st.builds(
    invented_topics, st.integers(1, 300), st.integers(1, 20), st.integers(0, 1 << 30), st.integers(1, 8)
)
seeds = st.integers(0, 1 << 32)


def in_order(kind: str, made: tuple[Topics, NDArray[np.int64]], seed: int) -> NDArray[np.int32]:
    if kind == "random":
        return random_order(len(made[1]), seed)
    return (diverse_order if kind == "diverse" else narrow_order)(*made, seed)


@pytest.mark.parametrize("kind", ["random", "diverse", "narrow"])
@given(made=some_topics, seed=seeds)
@settings(max_examples=40, deadline=None)
def test_orders_are_permutations_of_all_examples(kind: str, made: tuple, seed: int) -> None:
    order = in_order(kind, made, seed)
    assert order.dtype == np.int32
    np.testing.assert_array_equal(np.sort(order), np.arange(len(made[1])))
    np.testing.assert_array_equal(order, in_order(kind, made, seed))


@pytest.mark.parametrize("kind", ["random", "diverse", "narrow"])
def test_seeds_give_different_orders_and_pools(kind: str) -> None:
    made = invented_topics(3000, 30, 1)
    orders = [in_order(kind, made, seed) for seed in range(20)]
    assert len({order.tobytes() for order in orders}) == 20
    pools = {np.sort(order[:150]).tobytes() for order in orders}
    assert len(pools) == 20


@pytest.mark.parametrize(
    ("kind", "golden"),
    [("random", "3dc46c75238fece6"), ("diverse", "47a0cf3d85141c01"), ("narrow", "9aa8e7cac8e9de97")],
)
def test_orders_are_the_same_on_every_machine(kind: str, golden: str) -> None:
    """An order that changes would change what a published run has seen."""
    order = in_order(kind, invented_topics(2000, 12, 5), 7)
    assert hashlib.sha256(order.astype("<i4").tobytes()).hexdigest()[:16] == golden


def test_random_order_is_uniform() -> None:
    """Of 2,000 orders of 5 examples, each example stands at each place 400 times, give or take."""
    places = np.stack([random_order(5, seed) for seed in range(2000)])
    counts = np.stack([np.bincount(places[:, place], minlength=5) for place in range(5)])
    assert ((counts - 400) ** 2 / 400).sum() < 39.3  # chi-squared, 16 degrees of freedom: p = 0.001


@given(made=some_topics, seed=seeds)
@settings(max_examples=60, deadline=None)
def test_diverse_balances_tokens_until_a_topic_is_exhausted(made: tuple, seed: int) -> None:
    topics, sizes = made
    order = diverse_order(topics, sizes, seed)
    number = len(topics.centre)
    whole = np.bincount(topics.topic, minlength=number)
    tokens, taken = np.zeros(number, np.int64), np.zeros(number, np.int64)
    for example in order:
        topic = topics.topic[example]
        left = taken < whole
        assert tokens[topic] == tokens[left].min()  # the next is of a topic that has given the fewest tokens
        tokens[topic] += sizes[example]
        taken[topic] += 1


@given(made=some_topics, seed=seeds)
@settings(max_examples=30, deadline=None)
def test_diverse_begins_with_one_example_of_each_topic_farthest_first(made: tuple, seed: int) -> None:
    topics, sizes = made
    number = len(topics.centre)
    first = topics.topic[diverse_order(topics, sizes, seed)[:number]]
    np.testing.assert_array_equal(first, _farthest_first(topics.centre, seed))
    assert len(set(first.tolist())) == number


def test_farthest_first_against_brute_force() -> None:
    topics, _ = invented_topics(500, 25, 3)
    centre = topics.centre.astype(np.float64)
    unit = centre / np.linalg.norm(centre, axis=1, keepdims=True)
    order = _farthest_first(topics.centre, 9).tolist()
    for i in range(1, len(order)):
        nearest = {t: max(unit[t] @ unit[u] for u in order[:i]) for t in range(len(unit)) if t not in order[:i]}
        assert nearest[order[i]] <= min(nearest.values()) + 1e-3


def nearest_similarity(vectors: NDArray[np.float64]) -> float:
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -np.inf)
    return float(similarity.max(axis=1).mean())


@pytest.mark.parametrize("taken", [40, 100, 300])
def test_diverse_spreads_within_a_topic(taken: int) -> None:
    """The examples that a topic gives first are farther from one another than random ones."""
    topics, sizes = invented_topics(4000, 1, 2, dimensions=8, width=1.0)
    vector = topics.vector.astype(np.float64)
    for seed in range(5):
        spread = nearest_similarity(vector[diverse_order(topics, sizes, seed)[:taken]])
        at_random = nearest_similarity(vector[random_order(4000, seed)[:taken]])
        assert 1 - spread > 1.05 * (1 - at_random)


def test_diverse_prefers_information_without_taking_only_the_extremes() -> None:
    topics, sizes = invented_topics(4000, 4, 2)
    for seed in range(3):
        first = topics.information[diverse_order(topics, sizes, seed)[:400]]
        assert 1.1 * topics.information.mean() < first.mean() < 1.5 * topics.information.mean()


@pytest.mark.parametrize("select", [diverse_order, narrow_order])
def test_length_does_not_decide(select: object) -> None:
    """Short examples are far from the centre and from one another, and hold more information; still as many are taken as there are."""
    random = np.random.default_rng(4)
    sizes = random.integers(5, 200, 4000)
    vector = np.eye(1, 16) * sizes[:, None] / 40 + random.normal(size=(4000, 16))
    vector = (vector / np.linalg.norm(vector, axis=1, keepdims=True)).astype(np.float16)
    centre = vector.mean(axis=0, dtype=np.float64, keepdims=True).astype(np.float32)
    topics = Topics(np.zeros(4000, np.int32), vector, centre, (-sizes).astype(np.float32))
    for seed in range(5):
        assert sizes[select(topics, sizes, seed)[:300]].mean() == pytest.approx(sizes.mean(), rel=0.1)


@given(made=some_topics, seed=seeds)
@settings(max_examples=40, deadline=None)
def test_narrow_exhausts_topics_by_nearness_to_the_first(made: tuple, seed: int) -> None:
    topics, sizes = made
    of = topics.topic[narrow_order(topics, sizes, seed)]
    sequence = of[np.append(True, of[1:] != of[:-1])]
    assert len(sequence) == len(topics.centre)  # no topic is left and taken up again
    centre = topics.centre.astype(np.float64)
    length = np.linalg.norm(centre, axis=1)
    cosine = centre @ centre[sequence[0]] / np.maximum(length * length[sequence[0]], 1e-9)
    similarity = cosine[sequence[1:]]
    if length.min() > 0.1:  # rounding to 1/2048 says nothing for a centre near 0
        assert (np.diff(similarity) < 0.03).all()
    assert (length > length[sequence[0]] + 1e-3).sum() <= len(centre) / 4  # it begins with one of the tightest quarter


def test_narrow_takes_examples_near_the_centre_first() -> None:
    topics, sizes = invented_topics(4000, 1, 6)
    nearness = topics.vector.astype(np.float64) @ topics.centre[0].astype(np.float64)
    first = nearness[narrow_order(topics, sizes, 1)[:400]]
    assert first.mean() > np.quantile(nearness, 0.7)


def test_more_examples_than_are_spread_still_all_come() -> None:
    topics, sizes = invented_topics(3 * SPREAD, 1, 8)
    np.testing.assert_array_equal(np.sort(diverse_order(topics, sizes, 1)), np.arange(3 * SPREAD))


@pytest.mark.parametrize("select", [diverse_order, narrow_order])
def test_sizes_of_another_split_are_refused(select: object) -> None:
    topics, sizes = invented_topics(50, 3, 1)
    with pytest.raises(ValueError, match="topics of 50 examples do not fit the sizes of 49"):
        select(topics, sizes[1:], 1)
