"""The orders of the training examples from which pools are taken: ``random``, ``diverse`` and ``narrow``.

Each is a permutation of all examples, a pure function of its arguments, of which every beginning is a pool of its kind. So pools nest.

- ``random``: a hash of (seed, example).
- ``diverse``: equal tokens of every topic: the next example is of the topic that has given the fewest tokens. Topics that are level are
  taken in farthest-first order of their centres (Gonzalez 1985). Within a topic, examples are spread by best-candidate sampling (Mitchell
  1991): of :data:`CANDIDATES` random ones, the :data:`INFORMATIVE` that hold the most information (:attr:`.topics.Topics.information`), and of these
  the one with the least similarity to its nearest neighbour among those taken. Spreading alone, without regard to information, gives
  no more types and n-grams than random paragraphs have: those of an encyclopedia hardly repeat one another anyway.
- ``narrow``: a seeded topic among the tightest quarter (by the mean similarity of a topic's examples, which is the squared length of its
  centre), then the topics nearest to it by the cosine of the centres, one exhausted after another. Within a topic, examples near its
  centre come first, with some chance.

A topic's short and long examples are taken alike: candidates are of similar length, and nearness to the centre is ranked among examples of
similar length. So a pool's kind does not come down to the length of its examples.

Similarities are computed with whole numbers, which floating-point arithmetic adds without error in any order: an order is the same on
every machine, given the same ``topics.npz``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .plan import uniform
from .topics import Topics

CANDIDATES = 8
INFORMATIVE = 5  # of them go on to be compared by similarity
AT_ONCE = 8  # taken in a round at least, so that even the first are chosen among candidates of similar length
SPREAD = 512  # examples of a topic that are spread; the rest follow in random order
LENGTH_CLASSES = 8
CHANCE = 0.25  # share of a topic by which an example may move away from its rank by nearness
_SCALE = 2048.0  # vectors of length 1 become whole numbers; a product of two is then below 2^24 and exact in float32
_CHUNK = 1 << 16
_RANDOM, _DIVERSE, _DIVERSE_START, _NARROW, _NARROW_START = (
    (1 << 40) + key for key in range(5)
)  # keys of the hash, apart from those of the plan


def random_order(examples: int, seed: int) -> NDArray[np.int32]:
    """A random permutation: (examples,) int32."""
    return np.argsort(uniform(seed, _RANDOM, examples), kind="stable").astype(np.int32)


def diverse_order(topics: Topics, sizes: NDArray[np.integer], seed: int) -> NDArray[np.int32]:
    """A permutation of which every beginning is spread over topics: (examples,) int32.

    In any beginning, topics that are not exhausted differ in tokens by at most the longest example.

    Args:
        topics: of n examples.
        sizes: (n,) tokens of each example.
        seed: of the run.

    Raises:
        ValueError: ``sizes`` and ``topics`` do not have the same examples.
    """
    sizes = _checked(topics, sizes)
    shuffled = np.lexsort([uniform(seed, _DIVERSE, len(sizes)), topics.topic])
    members = np.split(shuffled, np.cumsum(np.bincount(topics.topic, minlength=len(topics.centre)))[:-1])
    place = np.empty(len(members), np.int64)
    place[_farthest_first(topics.centre, seed)] = np.arange(len(members))
    order = np.concatenate(
        [rows[_spread(topics.vector[rows], topics.information[rows], sizes[rows])] for rows in members]
    )
    topic = topics.topic[order]
    reached = np.cumsum(sizes[order]) - sizes[order]
    begin = np.cumsum([0, *(len(rows) for rows in members)])[:-1]
    before = reached - np.append(reached, 0)[begin][topic]  # tokens of its topic that come before an example
    return order[np.lexsort([place[topic], before])].astype(np.int32)


def narrow_order(topics: Topics, sizes: NDArray[np.integer], seed: int) -> NDArray[np.int32]:
    """A permutation of which every beginning is of few topics: (examples,) int32. Arguments as :func:`diverse_order`."""
    sizes = _checked(topics, sizes)
    centre = _whole(topics.centre.astype(np.float64))
    tightness = (centre**2).sum(axis=1)
    tight = np.lexsort([np.arange(len(centre)), -tightness])[: (len(centre) + 3) // 4]
    start = tight[int(uniform(seed, _NARROW_START, 1)[0] * len(tight))]
    nearness = _cosines(centre, centre[start])
    nearness[start] = np.inf
    place = np.empty(len(centre), np.int64)
    place[np.lexsort([np.arange(len(centre)), -nearness])] = np.arange(len(centre))
    rank = _ranks_among_like_length(topics, sizes) + CHANCE * uniform(seed, _NARROW, len(sizes))
    return np.lexsort([rank, place[topics.topic]]).astype(np.int32)


def _checked(topics: Topics, sizes: NDArray[np.integer]) -> NDArray[np.int64]:
    if len(topics.topic) != len(sizes):
        raise ValueError(f"topics of {len(topics.topic)} examples do not fit the sizes of {len(sizes)}")
    return np.asarray(sizes, np.int64)


def _whole(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    """Vectors of length at most 1 as whole numbers, in the same floating-point type."""
    return np.rint(vectors * vectors.dtype.type(_SCALE))


def _cosines(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosines of the rows of ``a`` with one vector of whole numbers; 0 where one of them has length 0."""
    lengths = np.sqrt((a**2).sum(axis=1)) * np.sqrt((b**2).sum())
    return (a * b).sum(axis=1) / np.where(lengths > 0, lengths, 1)


def _farthest_first(centre: NDArray[np.float32], seed: int) -> NDArray[np.int64]:
    """Topics in an order in which each is the least similar to its nearest among those before it: (topics,)."""
    centre = _whole(centre.astype(np.float64))
    order = np.empty(len(centre), np.int64)
    order[0] = int(uniform(seed, _DIVERSE_START, 1)[0] * len(centre))
    nearest = np.full(len(centre), -np.inf)
    for i in range(1, len(centre)):
        nearest = np.maximum(nearest, _cosines(centre, centre[order[i - 1]]))
        nearest[order[i - 1]] = np.inf
        order[i] = nearest.argmin()
    return order


def _spread(
    vector: NDArray[np.float16], information: NDArray[np.float32], sizes: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Spread one topic's examples, which come in random order: (n,) their numbers.

    Best-candidate sampling in rounds: a round takes half as many examples as were taken before, each out of its own candidates, without
    regard to the others of the round. Candidates that lose go to the end of the queue.
    """
    queue, taken = np.arange(len(sizes)), np.zeros(0, np.int64)
    is_taken = np.zeros(len(sizes), np.bool_)
    whole = _whole(vector.astype(np.float32))
    while len(taken) < SPREAD and len(queue) >= CANDIDATES:
        number = min(max(AT_ONCE, len(taken) // 2), len(queue) // CANDIDATES)
        offered, queue = queue[: number * CANDIDATES], queue[number * CANDIDATES :]
        group = offered[np.argsort(sizes[offered], kind="stable")].reshape(number, CANDIDATES)
        by_information = np.argsort(-information[group], axis=1, kind="stable")[:, :INFORMATIVE]
        group = np.take_along_axis(group, np.sort(by_information, axis=1), axis=1)
        similarity = whole[group.ravel()] @ whole[taken].T
        nearest = similarity.max(axis=1, initial=-np.inf).reshape(number, INFORMATIVE)
        is_taken[group[np.arange(number), nearest.argmin(axis=1)]] = True
        won = is_taken[offered]
        taken, queue = np.concatenate([taken, offered[won]]), np.concatenate([queue, offered[~won]])
    return np.concatenate([taken, queue])


def _ranks_among_like_length(topics: Topics, sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """The rank of each example by nearness to its topic's centre, among the topic's examples of similar length: (n,) in [0, 1)."""
    centre = _whole(topics.centre)
    nearness = np.empty(len(sizes), np.float32)
    for begin in range(0, len(sizes), _CHUNK):
        rows = slice(begin, begin + _CHUNK)
        whole = _whole(topics.vector[rows].astype(np.float32))
        nearness[rows] = np.einsum("nd,nd->n", whole, centre[topics.topic[rows]])
    by_length = np.lexsort([np.arange(len(sizes)), sizes])
    length = np.empty(len(sizes), np.int64)
    length[by_length] = np.arange(len(sizes)) * LENGTH_CLASSES // max(1, len(sizes))
    group = topics.topic.astype(np.int64) * LENGTH_CLASSES + length
    order = np.lexsort([-nearness, group])
    number = np.bincount(group)
    begin_of = np.cumsum(number) - number
    rank = np.empty(len(sizes), np.float64)
    rank[order] = (np.arange(len(sizes)) - begin_of[group[order]]) / number[group[order]]
    return rank
