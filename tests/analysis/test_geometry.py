"""Statistics of a snapshot: equal to brute force over all pairs, the rows left out included, and to scikit-learn."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics.pairwise import cosine_similarity
from synthetic_dump import SyntheticDump, brute_force_statistics

import geometry
from dump import Dump
from geometry import GeometryError, row_geometry, snapshot_statistics, unit_rows


def random_table(rng: np.random.Generator, rows: int) -> SimpleNamespace:
    counts = rng.integers(0, 300, rows) * (rng.random(rows) > 0.3)
    special = rng.random(rows) < 0.1
    unreachable = (rng.random(rows) < 0.1) & ~special
    counts[unreachable] = 0
    group = np.select([special, unreachable, counts == 0, counts < 10], [-1, 3, 0, 1], 2).astype(np.int16)
    groups = [{"name": name} for name in ("zero", "1-9", "10+", "unreachable")]
    return SimpleNamespace(counts=counts, counted=~special & ~unreachable, group=group, groups=groups)


@pytest.mark.parametrize("block", [geometry.BLOCK_VALUES, 16 * 7])
@pytest.mark.parametrize("update", [0, 1, 20, 40])
def test_statistics_equal_brute_force(
    synthetic: SyntheticDump, update: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dump holds brute force over all pairs; special, unreachable and zero-norm rows are in its table."""
    monkeypatch.setattr(geometry, "BLOCK_VALUES", block)
    table = Dump.open(synthetic.path).table()
    common, pool = geometry.common_vector(synthetic.values[update], table)
    expected = synthetic.counted & (np.linalg.norm(synthetic.values[update], axis=1) > 0)
    np.testing.assert_array_equal(pool, expected)
    np.testing.assert_allclose(common, synthetic.values[update][expected].mean(axis=0, dtype=np.float64), atol=1e-12)
    assert not synthetic.values[update, [30, 590]].any()
    previous = synthetic.values[update - 1] if update else None
    found = snapshot_statistics(synthetic.values[update], table, previous, synthetic.values[0])
    assert set(found) == set(synthetic.statistics)
    for name, values in found.items():
        np.testing.assert_allclose(values, synthetic.statistics[name][update], rtol=1e-9, atol=1e-12, err_msg=name)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(30, 60), dim=st.integers(2, 9))
def test_statistics_equal_brute_force_on_any_table(seed: int, rows: int, dim: int) -> None:
    rng = np.random.default_rng(seed)
    table = random_table(rng, rows)
    tables = rng.normal(0.2, 1, (3, rows, dim)).astype(np.float32)
    tables[0][rng.random(rows) < 0.1] = 0
    found = snapshot_statistics(tables[0], table, tables[1], tables[2])
    expected = brute_force_statistics(
        tables[0], table.counts, table.counted, table.group, table.groups, tables[1], tables[2]
    )
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-7, atol=1e-9, err_msg=name)


def test_row_cosines_equal_scikit_learn_and_the_correlation_scipy(synthetic: SyntheticDump) -> None:
    table = Dump.open(synthetic.path).table()
    rows = row_geometry(synthetic.values[40], table)
    pool = np.flatnonzero(table.counted & (np.linalg.norm(synthetic.values[40], axis=1) > 0))
    assert len(pool) == table.counted.sum() - 2
    cosines = cosine_similarity(synthetic.values[40][pool].astype(np.float64))
    np.fill_diagonal(cosines, np.nan)
    np.testing.assert_allclose(rows.mean_cosine[pool], np.nanmean(cosines, axis=1), atol=1e-10)
    found = snapshot_statistics(synthetic.values[40], table)
    expected = stats.spearmanr(np.nanmean(cosines, axis=1), np.log(table.counts[pool] + 1)).statistic
    assert found["spearman_all"] == pytest.approx(expected, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(1e-3, 1e3))
def test_rotation_changes_nothing_and_scale_only_lengths(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    table = random_table(rng, 50)
    values, previous, initial = rng.normal(0.3, 1, (3, 50, 6))
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    before = snapshot_statistics(values, table, previous, initial)
    turned = snapshot_statistics(values @ rotation, table, previous @ rotation, initial @ rotation)
    scaled = snapshot_statistics(scale * values, table, scale * previous, scale * initial)
    lengths = ("common_norm", "norm_mean", "norm_group", "drift", "drift_group", "update_norm", "update_norm_group")
    for name, expected in before.items():
        factor = scale if name in lengths else 1.0
        np.testing.assert_allclose(turned[name], expected, rtol=1e-6, atol=1e-9, err_msg=name)
        np.testing.assert_allclose(scaled[name], np.multiply(factor, expected), rtol=1e-6, atol=1e-9, err_msg=name)


def test_a_common_shift_is_an_update_that_all_rows_share(synthetic: SyntheticDump) -> None:
    table = Dump.open(synthetic.path).table()
    values = synthetic.values[40].astype(np.float64)
    found = snapshot_statistics(values + np.linspace(0.1, 0.2, 16), table, previous=values)
    assert found["update_shared"] == pytest.approx(1)
    np.testing.assert_allclose(found["update_shared_group"], 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_name_their_rows(synthetic: SyntheticDump, bad: float) -> None:
    table = Dump.open(synthetic.path).table()
    values = synthetic.values[40].copy()
    values[[17, 400], 2] = bad
    for action in (
        lambda: row_geometry(values, table),
        lambda: snapshot_statistics(synthetic.values[40], table, values),
    ):
        with pytest.raises(GeometryError, match="rows 17, 400"):
            action()


def test_a_table_of_another_shape_or_without_rows_is_refused(synthetic: SyntheticDump) -> None:
    table = Dump.open(synthetic.path).table()
    with pytest.raises(GeometryError, match="expected 600 rows"):
        row_geometry(synthetic.values[40][:-1], table)
    with pytest.raises(GeometryError, match="0 counted rows"):
        row_geometry(np.zeros((600, 16), np.float32), table)


def test_unit_rows_keep_zero_rows(synthetic: SyntheticDump) -> None:
    lengths = np.linalg.norm(unit_rows(synthetic.values[40]), axis=1)
    zero = np.flatnonzero(lengths == 0)
    assert set(zero) == {30, 590, synthetic.texts.index("<pad>")}
    np.testing.assert_allclose(np.delete(lengths, zero), 1, rtol=1e-6)
