"""Hidden states by layer: brute force over all pairs, known dimensions, CKA of the kernels, intervals that cover."""

from itertools import combinations

import numpy as np
import pytest
from test_table_alignment import kernel_cka

import hidden_states
from evaluation import EvaluationError
from hidden_states import baseline, intra_sentence, measure_layer, self_similarity, text_of
from intrinsic_dimension import neighbour_ratios, two_nn
from layer_states import cka_matrix, probe_series
from neighbours import unit_rows

RNG = np.random.default_rng(0)
START = RNG.bit_generator.state
ROW = RNG.integers(0, 15, 120)
EXAMPLE = RNG.integers(0, 9, 120) * 5
STATES = (RNG.normal(size=(120, 8)) + RNG.normal(size=(15, 8))[ROW] + 0.5).astype(np.float32)
TEXT = text_of(ROW, EXAMPLE)


@pytest.fixture(autouse=True)
def _same_numbers_in_any_order() -> None:
    """Each test draws from the beginning, whichever ran before it in its process."""
    RNG.bit_generator.state = START


def cosine(one, two):
    return one @ two / np.linalg.norm(one) / np.linalg.norm(two)


def test_the_measures_are_those_of_all_pairs():
    units = unit_rows(STATES)
    pairs = [(i, j) for i, j in combinations(range(120), 2) if EXAMPLE[i] != EXAMPLE[j]]
    base = np.mean([cosine(STATES[i], STATES[j]) for i, j in pairs])
    assert baseline(units, TEXT)[0] == pytest.approx(base, abs=1e-6)
    own = []
    for row in np.unique(ROW):
        places = np.flatnonzero(row == ROW)
        if len(places) >= 5:
            own.append(np.mean([cosine(STATES[i], STATES[j]) for i, j in combinations(places, 2)]))
    assert 0 < len(own) < 15
    assert self_similarity(units, TEXT)[0] == pytest.approx(np.mean(own), abs=1e-6)
    assert len(TEXT.groups) == len(own)
    means = {example: STATES[example == EXAMPLE].mean(axis=0) for example in EXAMPLE}
    to_mean = np.mean([cosine(STATES[i], means[EXAMPLE[i]]) for i in range(120)])
    assert intra_sentence(units, STATES, TEXT)[0] == pytest.approx(to_mean, abs=1e-6)
    found = measure_layer(STATES, TEXT)
    assert found["self_similarity"].value == pytest.approx(np.mean(own) - base, abs=1e-6)
    assert found["intra_sentence"].value == pytest.approx(to_mean - base, abs=1e-6)
    for name in ("baseline", "self_similarity", "intra_sentence", "dimension"):
        low, high = found[name].interval
        assert low < found[name].value < high, name
        assert found[name].over == "examples"


def test_a_draw_counts_an_example_as_often_as_it_was_drawn():
    """A draw's numbers against the text written out with its copies, where an example is no pair with its own copy."""
    drawn = TEXT.drawn[7].astype(int)
    places = np.concatenate([np.repeat(np.flatnonzero(TEXT.example == e), n) for e, n in enumerate(drawn)])
    units = unit_rows(STATES).astype(np.float64)
    pairs = [(i, j) for i, j in combinations(places, 2) if TEXT.example[i] != TEXT.example[j]]
    assert baseline(unit_rows(STATES), TEXT)[7] == pytest.approx(
        np.mean([units[i] @ units[j] for i, j in pairs]), abs=1e-6
    )
    own = []
    for group in TEXT.groups:
        repeated = places[np.isin(places, group)]
        apart = [(i, j) for i, j in combinations(repeated, 2) if i != j]
        if len(repeated) > 1 and len(apart) > 0:
            total = len(repeated) ** 2 - sum(n**2 for n in np.unique(repeated, return_counts=True)[1])
            own.append(2 * sum(units[i] @ units[j] for i, j in apart) / total)
    assert self_similarity(unit_rows(STATES), TEXT)[7] == pytest.approx(np.mean(own), abs=1e-6)


def test_contextual_and_static_states_are_told_apart():
    static = RNG.normal(size=(15, 8))[ROW].astype(np.float32)
    of_text = RNG.normal(size=(41, 8))[EXAMPLE].astype(np.float32) + 0.01 * RNG.normal(size=(120, 8)).astype(np.float32)
    found = measure_layer(static, TEXT)
    assert found["self_similarity"].value + found["baseline"].value == pytest.approx(1, abs=1e-5)
    assert np.isnan(found["dimension"].value) or found["dimension"].value < 10  # 15 distinct points
    found = measure_layer(of_text, TEXT)
    assert found["intra_sentence"].value + found["baseline"].value > 0.99
    assert found["self_similarity"].value < 0.4


def test_tokens_of_few_contexts_give_no_self_similarity():
    text = text_of(np.arange(120), EXAMPLE)
    assert text.groups == []
    assert np.isnan(measure_layer(STATES, text)["self_similarity"].value)


def test_intervals_over_examples_cover_the_populations_number():
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(60):
        example = np.repeat(np.arange(40), 6)
        states = rng.normal(size=(240, 6)) + rng.normal(size=(40, 6))[example] + 1.0
        low, high = hidden_states._estimate(baseline(unit_rows(states), text_of(example, example))).interval
        inside += low <= POPULATION <= high
    assert inside >= 48


BIG = np.random.default_rng(4)
POPULATION = float(
    (lambda units: (np.square(units.sum(axis=0)).sum() - len(units)) / (len(units) * (len(units) - 1)))(
        unit_rows(BIG.normal(size=(200_000, 6)) * np.sqrt(2) + 1.0).astype(np.float64)
    )
)


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_two_nn_finds_the_dimension_of_cubes_in_fifty_dimensions(dimension):
    rotation = np.linalg.qr(RNG.normal(size=(50, 50)))[0][:dimension]
    points = RNG.random((2500, dimension)) @ rotation + 3
    assert two_nn(neighbour_ratios(points)[0]) == pytest.approx(dimension, rel=0.12)


def test_two_nn_finds_the_dimension_of_a_sphere():
    points = unit_rows(RNG.normal(size=(2500, 4)))
    assert two_nn(neighbour_ratios(points)[0]) == pytest.approx(3, rel=0.1)


def test_ratios_are_those_of_all_distances_and_equal_points_count_once():
    points = RNG.normal(size=(200, 6)).astype(np.float16)
    points[100:130] = points[:30]
    ratios, places = neighbour_ratios(points)
    assert places.tolist() == [*range(100), *range(130, 200)]
    kept = points[places].astype(np.float64)
    distance = np.linalg.norm(kept[:, None] - kept[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    distance.sort(axis=1)
    assert ratios == pytest.approx(distance[:, 1] / distance[:, 0])
    # The fit itself, as the paper writes it: the least-squares slope through the origin without the last tenth.
    mu = np.sort(ratios)
    share = np.arange(1, len(mu) + 1) / len(mu)
    kept = slice(0, int(0.9 * len(mu)))
    slope = np.linalg.lstsq(np.log(mu[kept])[:, None], -np.log(1 - share[kept]), rcond=None)[0][0]
    assert two_nn(ratios) == pytest.approx(slope)
    twice = np.repeat(ratios, 2)
    assert two_nn(ratios, np.full(len(ratios), 2)) == pytest.approx(two_nn(twice), rel=0.02)


def test_few_points_give_no_dimension():
    assert np.isnan(two_nn(neighbour_ratios(RNG.normal(size=(6, 3)))[0]))
    assert len(neighbour_ratios(np.ones((20, 3)))[0]) == 0


def test_cka_of_all_layers_is_that_of_the_kernels():
    states = np.stack([STATES[:60], STATES[:60] @ RNG.normal(size=(8, 8)), RNG.normal(size=(60, 8))]).astype(np.float32)
    found = cka_matrix(states)
    assert (np.diag(found) == 1).all()
    assert (found == found.T).all()
    for one, two in combinations(range(3), 2):
        centred = [
            states[layer].astype(np.float64) - states[layer].mean(axis=0, dtype=np.float64) for layer in (one, two)
        ]
        assert found[one, two] == pytest.approx(kernel_cka(*centred), abs=1e-9)


def test_a_probe_of_other_layers_is_refused():
    with pytest.raises(EvaluationError, match="are not embedding, layer1"):
        probe_series([], ["embedding", "layer1"])
