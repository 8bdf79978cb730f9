"""The map: which tokens it shows, how it is carried over updates, and the preservation that is printed beside it."""

import numpy as np
import pytest
from synthetic_dump import write_synthetic_dump

from categories import words
from cli import run
from map_figure import mark
from projection import main, neighbour_preservation, project, select_rows

CLUSTERS = 6


@pytest.fixture(scope="module")
def clustered():
    """Values that have clusters at update 10 and none at update 0, as a training run's: (update) -> (240, 20)."""
    rng = np.random.default_rng(0)
    member = np.repeat(np.arange(CLUSTERS), 40)
    centres, noise = rng.normal(size=(CLUSTERS, 20)) * 3, rng.normal(size=(240, 20))
    return member, lambda update: (noise + centres[member] * update / 10).astype(np.float32)


@pytest.fixture(scope="module")
def projection(clustered):
    member, read = clustered
    return project(read, [10, 0, 5], np.arange(len(member)), iterations=150, carry_iterations=40, jobs=1)


def purity(positions, member, k=10):
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    return (member[np.argsort(distances, axis=1)[:, :k]] == member[:, None]).mean()


def test_the_map_shows_clusters_where_there_are_some(projection, clustered):
    assert projection.updates == (0, 5, 10)
    assert purity(projection.positions[2], clustered[0]) > 0.95


def test_each_map_starts_from_the_one_after_it(projection):
    first, middle, last = (positions / positions.std() for positions in projection.positions)
    assert np.corrcoef(middle.ravel(), last.ravel())[0, 1] > 0.9
    assert np.corrcoef(first.ravel(), last.ravel())[0, 1] > 0.3  # carried, and yet another picture


def test_preservation_equals_brute_force(projection, clustered):
    values, drawn = clustered[1](10), projection.positions[2]

    def nearest(points):
        distances = np.linalg.norm(points[:, None].astype(float) - points[None], axis=2)
        np.fill_diagonal(distances, np.inf)
        return np.argsort(distances, axis=1)[:, :10]

    expected = [len(set(a) & set(b)) / 10 for a, b in zip(nearest(values), nearest(drawn), strict=True)]
    assert projection.preservation[2] == pytest.approx(expected)
    mean, half = projection.preserved(2)
    assert mean == pytest.approx(np.mean(expected))
    assert half == pytest.approx(1.96 * np.std(expected, ddof=1) / np.sqrt(240))
    assert projection.chance == pytest.approx(10 / 239)


def test_preservation_of_a_copy_and_of_noise():
    rng = np.random.default_rng(1)
    points = rng.normal(size=(300, 2))
    assert neighbour_preservation(points, points * 2 + 1, 10).min() == 1
    assert neighbour_preservation(points, rng.normal(size=(300, 2)), 10).mean() == pytest.approx(10 / 299, abs=0.02)


def test_the_same_seed_gives_the_same_map(clustered):
    member, read = clustered
    rows = np.arange(len(member))
    first = project(read, [10], rows, iterations=30, jobs=1)
    second = project(read, [10], rows, iterations=30, jobs=1)
    assert np.array_equal(first.positions, second.positions)


def test_rows_are_the_given_ones_and_the_most_frequent():
    counts = np.array([100, 3, 9, 0, 7, 8, 50])
    counted = np.array([False, True, True, True, True, True, True])  # row 0 is a special
    assert select_rows(counts, counted, np.array([3, 1]), 4).tolist() == [1, 2, 3, 6]
    assert select_rows(counts, counted, np.array([3, 1]), 1).tolist() == [1, 3]


def test_no_two_categories_look_the_same():
    marks = [mark(index) for index in range(len(words().categories))]
    assert len({(colour, marker) for colour, marker, _ in marks}) == len(marks)
    assert len({(colour, symbol) for colour, _, symbol in marks}) == len(marks)


def test_the_command_writes_the_figure_and_prints_the_preservation(tmp_path, capsys):
    dump = write_synthetic_dump(tmp_path / "E1" / "base" / "seed2" / "dump.zarr", rows=160, updates=4)
    assert main([str(dump.path), "--out", str(tmp_path / "out"), "--points", "80", "--snapshots", "2"]) == 0
    output = capsys.readouterr().out
    assert "seed:2|update:4" in output
    assert output.count("neighbour preservation") == 2
    assert "not one token: " in output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["map.pdf", "map.png"]


@pytest.mark.parametrize(("option", "value"), [("--points", "3"), ("--snapshots", "0"), ("--perplexity", "1")])
def test_bad_options_give_one_line(tmp_path, option, value):
    with pytest.raises(SystemExit) as stopped:
        run(lambda: main([str(tmp_path), "--out", str(tmp_path), option, value]))
    assert f"{option}: expected at least" in stopped.value.code


def test_a_dump_without_snapshots_gives_one_line(tmp_path):
    dump = write_synthetic_dump(tmp_path / "dump.zarr", rows=160, updates=4, streams=("statistics",))
    with pytest.raises(SystemExit) as stopped:
        run(lambda: main([str(dump.path), "--out", str(tmp_path / "out")]))
    assert "needs one" in stopped.value.code
    assert not (tmp_path / "out").exists()
