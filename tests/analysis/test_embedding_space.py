"""Vectors in the embedding space and clouds of them: against brute force, closed forms, scikit-learn and planted clusters."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import silhouette_samples

import embedding_space
from embedding_space import K, isotropic_entropy, project, token_measures
from geometry import GeometryError
from point_cloud import concentration, silhouette, spread

RNG = np.random.default_rng(0)
START = RNG.bit_generator.state
TABLE = (RNG.normal(size=(300, 12)) * np.linspace(2, 0.4, 12) + 0.7).astype(np.float32)
COUNTED = np.arange(300) % 7 != 0
TABLE[[3, 11]] = 0  # counted rows of zero norm
VECTORS = RNG.normal(size=(40, 12)).astype(np.float32)


@pytest.fixture(autouse=True)
def _same_numbers_in_any_order() -> None:
    """Each test draws from the beginning, whichever ran before it in its process."""
    RNG.bit_generator.state = START


def unit(values):
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def brute_numbers():
    """Rows and c = U v for all vectors, in float64."""
    rows = np.flatnonzero(COUNTED & (np.abs(TABLE).sum(axis=1) > 0))
    table = TABLE[rows].astype(np.float64)
    units = unit(table - table.mean(axis=0))
    return rows, units, unit(VECTORS.astype(np.float64)) @ units.T


def test_nearest_tokens_coherence_and_entropy_are_those_of_all_numbers(monkeypatch):
    monkeypatch.setattr(embedding_space, "BLOCK_BYTES", 4 * 640 * 7)  # several blocks, the last one shorter
    rows, units, numbers = brute_numbers()
    found = token_measures(embedding_space.embedding_space(TABLE, COUNTED), VECTORS)
    order = np.argsort(-numbers, axis=1)[:, :K]
    assert (found.nearest == rows[order]).all()
    assert not np.isin(found.nearest, [3, 11]).any()
    for place in range(len(VECTORS)):
        tokens = units[order[place]]
        pairs = (tokens @ tokens.T)[np.triu_indices(K, 1)]
        assert found.coherence[place] == pytest.approx(pairs.mean(), abs=1e-5)
    share = numbers**2 / (numbers**2).sum(axis=1, keepdims=True)
    assert found.entropy == pytest.approx(stats.entropy(share, axis=1) / np.log(len(rows)), abs=1e-5)
    assert (found.sign == 1).all()
    longer = token_measures(embedding_space.embedding_space(TABLE, COUNTED), 5 * VECTORS)
    assert longer.entropy == pytest.approx(found.entropy, abs=1e-6)


def test_vectors_without_a_sign_point_to_the_heavier_side_whatever_their_sign():
    space = embedding_space.embedding_space(TABLE, COUNTED)
    free = np.ones(len(VECTORS), bool)
    first, second = (token_measures(space, sign * VECTORS, free) for sign in (1, -1))
    assert (first.nearest == second.nearest).all()
    assert (first.sign == -second.sign).all()
    _, _, numbers = brute_numbers()
    assert (first.sign == np.where((numbers * np.abs(numbers)).sum(axis=1) < 0, -1, 1)).all()
    fixed = token_measures(space, -VECTORS, ~free)
    assert (fixed.sign == 1).all()
    assert not (fixed.nearest == token_measures(space, VECTORS, ~free).nearest).all(axis=1).any()


def test_inner_products_in_d_dimensions_are_those_of_the_numbers():
    _, _, numbers = brute_numbers()
    projected = project(embedding_space.embedding_space(TABLE, COUNTED), VECTORS.reshape(5, 8, 12)).reshape(40, 12)
    assert projected @ projected.T == pytest.approx(unit(numbers) @ unit(numbers).T, abs=1e-5)


def test_the_entropy_of_isotropic_directions_is_the_closed_form():
    draws = RNG.normal(size=(4000, 50)) ** 2
    share = draws / draws.sum(axis=1, keepdims=True)
    assert stats.entropy(share, axis=1).mean() / np.log(50) == pytest.approx(isotropic_entropy(50), abs=0.002)
    # Large n: 1 - (psi(3/2) + ln 2) / log n.
    assert isotropic_entropy(50_000) == pytest.approx(1 - 0.729637 / np.log(50_000), abs=3e-6)
    table = RNG.normal(size=(3000, 200)).astype(np.float32)
    space = embedding_space.embedding_space(table, np.ones(3000, bool))
    found = token_measures(space, RNG.normal(size=(50, 200)).astype(np.float32))
    assert found.entropy.mean() == pytest.approx(isotropic_entropy(3000), abs=0.003)


def test_a_vector_along_a_planted_group_of_tokens_is_coherent_and_of_low_entropy():
    table = RNG.normal(size=(500, 32)).astype(np.float32)
    direction = RNG.normal(size=32)
    table[:15] = direction + 0.2 * RNG.normal(size=(15, 32))
    space = embedding_space.embedding_space(table, np.ones(500, bool))
    found = token_measures(space, np.stack([direction, *RNG.normal(size=(20, 32))]).astype(np.float32))
    assert set(found.nearest[0]) <= set(range(15))
    assert found.coherence[0] > 0.8
    assert found.coherence[1:].max() < 0.4
    assert found.entropy[0] < found.entropy[1:].min()


def test_tokens_on_the_far_side_are_the_nearest_where_there_are_no_others():
    direction = np.eye(6)[0]
    table = np.where(np.arange(40) < 3, 12.0, -1.0)[:, None] * direction + 0.05 * RNG.normal(size=(40, 6))
    space = embedding_space.embedding_space(table.astype(np.float32), np.ones(40, bool))
    found = token_measures(space, direction[None].astype(np.float32))
    assert set(found.nearest[0, :3]) == {0, 1, 2}
    assert len(set(found.nearest[0])) == K


def test_a_table_without_rows_or_with_nan_gives_one_line():
    with pytest.raises(GeometryError, match="10 counted rows that differ"):
        embedding_space.embedding_space(RNG.normal(size=(10, 4)).astype(np.float32), np.ones(10, bool))
    with pytest.raises(GeometryError, match="0 counted rows"):
        embedding_space.embedding_space(np.ones((30, 4), np.float32), np.ones(30, bool))
    broken = TABLE.copy()
    broken[5, 2] = np.nan
    with pytest.raises(GeometryError, match="not finite"):
        embedding_space.embedding_space(broken, COUNTED)


@pytest.mark.parametrize("sign_free", [False, True])
def test_concentration_is_the_mean_of_the_largest_cosines(sign_free):
    units = unit(RNG.normal(size=(30, 6)))
    cosines = units @ units.T
    cosines = np.abs(cosines) if sign_free else cosines
    expected = [np.sort(np.delete(row, place))[-10:].mean() for place, row in enumerate(cosines)]
    assert concentration(units, sign_free=sign_free) == pytest.approx(expected)
    assert concentration(units[:4]) == pytest.approx([(row[:4].sum() - 1) / 3 for row in units @ units[:4].T][:4])


def test_planted_clusters_are_concentrated_and_two_signs_are_one_cluster():
    centres = unit(RNG.normal(size=(3, 64)))
    flips = np.where(RNG.random(60) < 0.5, -1, 1)[:, None]
    tight = unit(centres[np.arange(60) % 3] + 0.05 * RNG.normal(size=(60, 64)))
    loose = unit(RNG.normal(size=(60, 64)))
    assert concentration(tight).mean() > 0.8 > 0.4 > concentration(loose).mean()
    assert concentration(flips * tight, sign_free=True) == pytest.approx(concentration(tight, sign_free=True))
    assert concentration(tight, sign_free=True).mean() > 0.8


@pytest.mark.parametrize("sign_free", [False, True])
def test_silhouette_is_scikit_learns(sign_free):
    clouds = unit(RNG.normal(size=(4, 15, 8)) + 1.5 * RNG.normal(size=(4, 1, 8)))
    flat = clouds.reshape(60, 8)
    cosines = flat @ flat.T
    distance = 1 - (np.abs(cosines) if sign_free else cosines)
    np.fill_diagonal(distance, 0)
    expected = silhouette_samples(np.maximum(distance, 0), np.repeat(np.arange(4), 15), metric="precomputed")
    assert silhouette(clouds, sign_free=sign_free).ravel() == pytest.approx(expected)
    assert np.isnan(silhouette(clouds[:1])).all()


def test_spread_is_one_for_isotropic_directions_whatever_their_number():
    for m in (40, 400):
        found = np.mean([spread(unit(RNG.normal(size=(m, 20)))) for _ in range(20)])
        assert found == pytest.approx(1, abs=0.05)
    assert spread(unit(np.outer(RNG.normal(size=30), RNG.normal(size=20)))) == pytest.approx(1 / 20)
    units = unit(RNG.normal(size=(9, 5)))
    pairs = np.square(units @ units.T)[np.triu_indices(9, 1)]
    assert spread(units) == pytest.approx(1 / (5 * pairs.mean()))
