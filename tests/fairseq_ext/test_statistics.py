"""Statistics against brute force in float64 and scipy, with every kind of row that is left out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from brute import movement, table_statistics
from fairseq.data import Dictionary
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from fairseq_ext.recording import statistics
from fairseq_ext.recording.rows import Rows, describe
from fairseq_ext.recording.statistics import CHEAP as MEANS
from fairseq_ext.recording.statistics import CORRELATIONS, MOVEMENT, TableStatistics, average_ranks

TOLERANCE = {"spearman_seen": 1e-6, "spearman_all": 1e-6}

CHEAP = MEANS + CORRELATIONS


def make(
    words: int, fillers: int, zero_rows: int, top: int, dim: int, seed: int, common: float
) -> tuple[np.ndarray, Rows]:
    """A table of a vocabulary with specials, ``fillers`` and rows of zero norm; the token counts have many ties."""
    rng = np.random.default_rng(seed)
    d = Dictionary()
    for number in range(words):
        d.add_symbol(f"w{number}")
    for number in range(fillers):
        d.add_symbol(f"madeupword{number:04d}")
    d.add_symbol("<mask>")
    counts = np.zeros(len(d), dtype=np.int64)
    counts[4 : 4 + words] = np.floor(10 ** rng.uniform(-1, top, words)).astype(np.int64)
    rows = describe(d, counts)
    direction = rng.normal(size=dim)
    weight = rng.normal(size=(len(d), dim)) * rng.uniform(0.02, 2, size=(len(d), 1)) + common * direction
    weight[rng.choice(len(d), size=min(zero_rows, len(d)), replace=False)] = 0
    return weight.astype(np.float32), rows


def assert_close(found: dict, wanted: dict, names: tuple[str, ...]) -> None:
    assert set(found) == set(names)
    for name in names:
        np.testing.assert_allclose(
            np.asarray(found[name]), wanted[name], rtol=1e-5, atol=TOLERANCE.get(name, 1e-5), err_msg=name
        )


tables = st.builds(
    make,
    words=st.integers(3, 150),
    fillers=st.integers(0, 4),
    zero_rows=st.integers(0, 6),
    top=st.integers(1, 4),
    dim=st.integers(2, 24),
    seed=st.integers(0, 10**6),
    common=st.sampled_from([0.0, 0.3, 3.0]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables)
def test_equals_brute_force(made: tuple[np.ndarray, Rows]) -> None:
    weight, rows = made
    assume(
        (rows.counted & weight.any(1)).sum() > 2
    )  # two rows have one cosine between them: nothing varies but rounding
    assume((rows.counted & weight.any(1) & (rows.count > 0)).sum() != 2 or rows.groups[0].rows)
    found = TableStatistics(rows).cheap(torch.from_numpy(weight))
    wanted = table_statistics(weight, rows.count, rows.counted, rows.group, len(rows.groups))
    assert_close(found, wanted, CHEAP)


@settings(max_examples=40, deadline=None)
@given(tables, st.floats(1e-4, 1.0), st.booleans())
def test_movement_equals_brute_force(made: tuple[np.ndarray, Rows], size: float, first: bool) -> None:
    weight, rows = made
    rng = np.random.default_rng(1)
    shared = rng.normal(size=weight.shape[1])
    previous = weight + np.float32(size) * (rng.normal(size=weight.shape) + shared).astype(np.float32)
    still = rng.random(len(weight)) < 0.1
    previous[still] = weight[still]
    initial = (previous + rng.normal(size=weight.shape)).astype(np.float32)
    before = None if first else torch.from_numpy(previous.copy())
    found = TableStatistics(rows).movement(torch.from_numpy(weight), torch.from_numpy(initial), before)
    wanted = movement(weight, initial, None if first else previous, rows.counted, rows.group, len(rows.groups))
    assert_close(found, wanted, MOVEMENT[:2] if first else MOVEMENT)


def test_a_table_larger_than_a_block_equals_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "BLOCK", 64)
    weight, rows = make(700, 3, 5, 4, 16, 5, 0.5)
    found = TableStatistics(rows).cheap(torch.from_numpy(weight))
    wanted = table_statistics(weight, rows.count, rows.counted, rows.group, len(rows.groups))
    assert_close(found, wanted, CHEAP)
    initial = make(700, 3, 0, 4, 16, 6, 0.0)[0]
    previous = (weight + 0.1 * initial[::-1]).astype(np.float32)
    wanted = movement(weight, initial, previous, rows.counted, rows.group, len(rows.groups))
    found = TableStatistics(rows).movement(*map(torch.from_numpy, (weight, initial, previous.copy())))
    assert_close(found, wanted, MOVEMENT)


def test_cosines_near_one_keep_their_precision() -> None:
    weight, rows = make(400, 2, 2, 3, 16, 6, 60.0)
    found = TableStatistics(rows).cheap(torch.from_numpy(weight))
    wanted = table_statistics(weight, rows.count, rows.counted, rows.group, len(rows.groups))
    assert wanted["mean_cosine"] > 0.99
    assert_close({k: v for k, v in found.items() if "cosine" in k}, wanted, tuple(k for k in CHEAP if "cosine" in k))


def test_rows_left_out_have_no_influence() -> None:
    weight, rows = make(120, 4, 0, 3, 12, 3, 0.4)
    weight[[7, 30]] = 0
    changed = weight.copy()
    rng = np.random.default_rng(9)
    special = rows.group < 0
    changed[special] = 100 * rng.normal(size=(special.sum(), 12))
    filler = rows.group == len(rows.groups) - 1
    changed[filler] = 100 * rng.normal(size=(filler.sum(), 12))
    table = TableStatistics(rows)
    before, after = (table.cheap(torch.from_numpy(w)) for w in (weight, changed))
    for name in CHEAP:
        a, b = (values[name][:-1] if values[name].dim() else values[name] for values in (before, after))
        assert torch.equal(a, b) or torch.allclose(a, b, rtol=1e-12, atol=0, equal_nan=True), name
    start = torch.from_numpy(weight + 0.5)
    moved = [table.movement(torch.from_numpy(w), start, start.clone()) for w in (weight, changed)]
    for name in MOVEMENT:
        a, b = (values[name][:-1] if values[name].dim() else values[name] for values in moved)
        assert torch.allclose(a, b, rtol=1e-12, atol=0, equal_nan=True), name


def test_a_group_of_one_row_has_no_pairs() -> None:
    weight, rows = make(40, 1, 0, 1, 7, 2, 0.2)
    found = TableStatistics(rows).cheap(torch.from_numpy(weight))
    assert rows.groups[-1].rows == 1
    assert torch.isnan(found["mean_cosine_within"][-1])


@pytest.mark.parametrize("left", [0, 1])
def test_a_table_without_a_pair_is_not_a_number(left: int) -> None:
    weight, rows = make(30, 2, 0, 2, 5, 4, 0.2)
    weight[np.flatnonzero(rows.counted)[left:]] = 0
    found = TableStatistics(rows).cheap(torch.from_numpy(weight))
    for name in ("mean_cosine", "pearson_all", "spearman_all", "pearson_seen", "spearman_seen"):
        assert torch.isnan(found[name]), (name, found[name])
    assert torch.isnan(found["mean_cosine_within"][:-1]).all()
    assert torch.isnan(found["mean_cosine_group"][:-1]).all()


def test_a_diverged_table_is_not_a_number_and_does_not_stop_the_run() -> None:
    weight, rows = make(30, 2, 0, 2, 5, 4, 0.2)
    weight[10, 2] = np.nan
    weight[11, 2] = np.inf
    assert not torch.isfinite(TableStatistics(rows).cheap(torch.from_numpy(weight))["mean_cosine"])


def test_equal_counts_have_no_correlation() -> None:
    weight, rows = make(40, 0, 0, 2, 6, 1, 0.3)
    for same in (3, 7, 10, 12345):
        count = np.where(rows.counted, same, 0)
        found = TableStatistics(Rows(count, rows.counted, rows.group, rows.groups, rows.texts)).cheap(
            torch.from_numpy(weight)
        )
        for name in ("pearson_seen", "spearman_seen", "pearson_all", "spearman_all"):
            assert torch.isnan(found[name]), (name, same)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40))
def test_ranks_share_ties(values: list[int]) -> None:
    from scipy.stats import rankdata

    assert average_ranks(torch.tensor(values, dtype=torch.float64)).tolist() == rankdata(values).tolist()
