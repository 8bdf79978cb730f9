"""Nearest neighbours against brute force, and the command line on a dump."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_dump import write_synthetic_dump

from cli import run
from dump import Dump
from neighbours import main, nearest, table_neighbours


def brute_force(values, query, candidates, k):
    """All pairs in float64; the row itself and rows of zero norm left out."""
    table = values.astype(np.float64)
    norms = np.linalg.norm(table, axis=1)
    others = [row for row in candidates if row != query and norms[row] > 0]
    cosines = {row: table[row] @ table[query] / norms[row] / norms[query] for row in others}
    return sorted(cosines, key=lambda row: -cosines[row])[:k], cosines


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(2, 400), k=st.integers(1, 12))
def test_nearest_equals_brute_force(seed, rows, k):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, 5)).astype(np.float32)
    values[rng.random(rows) < 0.1] = 0
    candidates = np.flatnonzero(rng.random(rows) < 0.7)
    queries = rng.integers(0, rows, 7)
    found = nearest(values, queries, candidates, k)
    for place, query in enumerate(queries):
        if not values[query].any():
            assert (found.rows[place] == -1).all()
            assert np.isnan(found.cosines[place]).all()
            continue
        expected, cosines = brute_force(values, query, candidates, k)
        got = found.rows[place][found.rows[place] >= 0]
        assert len(set(got)) == len(expected)  # as many as there are, none twice
        assert query not in got
        assert [cosines[row] for row in got] == pytest.approx([cosines[row] for row in expected], abs=1e-5)
        assert found.cosines[place][: len(got)] == pytest.approx([cosines[row] for row in got], abs=1e-5)


def test_more_queries_than_a_block_and_more_rows_than_a_chunk():
    values = np.random.default_rng(0).normal(size=(9000, 6)).astype(np.float32)
    found = nearest(values, np.arange(1300), np.arange(9000), 5)
    for query in (0, 511, 512, 1299):
        assert found.rows[query].tolist() == brute_force(values, query, range(9000), 5)[0]


def test_the_common_vector_hides_neighbours_that_centring_shows(tmp_path):
    dump = write_synthetic_dump(tmp_path / "dump.zarr", rows=200, updates=4, zero_norm_rows=(20,))
    table = Dump.open(dump.path).table()
    values = table.snapshot(4).copy()
    rng = np.random.default_rng(0)
    values[:] = rng.normal(0, 0.1, values.shape)
    values[20] = 0
    values[30], values[31] = rng.normal(0, 0.1, (2, values.shape[1]))
    values[31] = values[30] * 1.2
    values += np.where(values.any(axis=1), 1.0, 0.0)[:, None]  # all share a direction
    raw = table_neighbours(table, values, np.array([30]), 3)
    centred = table_neighbours(table, values, np.array([30]), 3, centred=True)
    assert raw.cosines.min() > 0.9
    assert centred.rows[0, 0] == 31
    assert centred.cosines[0, 0] > 0.95 > 0.8 > centred.cosines[0, 1]
    assert set(centred.rows[0]) <= set(table.counted_rows) - {20}


def test_the_command_prints_neighbours_raw_and_centred(tmp_path, capsys):
    dump = write_synthetic_dump(tmp_path / "E1" / "base" / "seed1" / "dump.zarr", rows=200, updates=4)
    assert main([str(dump.path), "--token", " red", "--k", "3"]) == 0
    output = capsys.readouterr().out.splitlines()
    assert "seed:1" in output[0]
    assert output[1].startswith(f"' red': row {dump.texts.index(' red')}")
    assert len(output) == 3 + 3
    values = dump.values[4].astype(np.float64)
    expected, cosines = brute_force(values, dump.texts.index(" red"), np.flatnonzero(dump.counted), 1)
    assert output[3].startswith(f"  {cosines[expected[0]]:+.3f} {dump.texts[expected[0]]!r}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--token", " redd"], "near matches"),
        (["--token", " red", "--k", "0"], "at least 1"),
        (["--token", " red", "--update", "7"], "no snapshot"),
    ],
)
def test_bad_input_gives_one_line(tmp_path, arguments, message):
    dump = write_synthetic_dump(tmp_path / "dump.zarr", rows=200, updates=4)
    with pytest.raises(SystemExit) as stopped:
        run(lambda: main([str(dump.path), *arguments]))
    assert message in stopped.value.code
    assert "\n" not in stopped.value.code
