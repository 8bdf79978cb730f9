"""The token map: what is measured for it, how it is carried at scale, and the command that writes the page."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from synthetic_dump import write_synthetic_dump

import map_data
import projection
import token_map
import tsne
from cli import run
from dump import Dump
from geometry import row_geometry
from map_packing import unpack
from neighbours import table_neighbours

ANALYSIS = Path(token_map.__file__).parent


@pytest.fixture(scope="module")
def dump(tmp_path_factory):
    path = tmp_path_factory.mktemp("maps") / "E1" / "base" / "seed3" / "dump.zarr"
    return write_synthetic_dump(path, rows=400, updates=8, streams=("snapshots",), zero_norm_rows=(30,))


@pytest.fixture(scope="module", params=["raw", "centred"])
def measured(request, dump):
    opened = Dump.open(dump.path)
    result = projection.analyse(opened, updates=[0, 2, 8], points=projection.ALL, space=request.param, jobs=1)
    return opened, result, *map_data.measure(opened.table(), result)


def clustered(points=900, clusters=9, dim=20):
    rng = np.random.default_rng(0)
    member = np.arange(points) % clusters
    centres, noise = rng.normal(size=(clusters, dim)) * 3, rng.normal(size=(points, dim))
    return lambda update: (noise + centres[member] * update / 10).astype(np.float32)


def test_all_points_are_every_row_but_the_specials(measured, dump):
    _, result, *_ = measured
    assert result.projection.rows.tolist() == np.flatnonzero(dump.group >= 0).tolist()


def test_courses_are_the_geometry_of_each_snapshot(measured):
    opened, result, courses, _ = measured
    table = opened.table()
    assert set(result.projection.updates) < set(courses.updates)
    for index, update in enumerate(courses.updates):
        geometry = row_geometry(table.snapshot(update), table)
        rows = result.projection.rows
        assert courses.cosine[index] == pytest.approx(geometry.mean_cosine[rows], nan_ok=True)
        assert courses.common[index] == pytest.approx(geometry.common_cosine[rows], nan_ok=True)
        assert np.isnan(courses.norm[index, rows == 30]).all()


def test_neighbours_are_exact_in_the_chosen_space(measured):
    opened, result, _, near = measured
    table, rows = opened.table(), result.projection.rows
    assert near.updates == (0, 2, 8)
    for place, update in enumerate(near.updates):
        centred = result.projection.space == "centred"
        expected = table_neighbours(table, table.snapshot(update), rows, 5, centred=centred)
        assert (near.rows[place] == expected.rows).mean() > 0.999
        assert near.cosines[place] == pytest.approx(expected.cosines, abs=1e-5, nan_ok=True)


def test_what_is_packed_is_what_was_measured(measured):
    opened, result, courses, near = measured
    content = map_data.content(opened, opened.table(), result, courses, near)
    arrays = unpack(content["layout"], content["data"])
    drawn = result.projection.positions
    extent = np.ptp(drawn.reshape(-1, 2), axis=0).max()
    for axis, name in enumerate("xy"):
        assert np.abs(arrays[name].values() - drawn[:, :, axis]).max() <= 1.001 * extent / map_data.POSITION_LEVELS / 2
    for name, step in (("norm", np.nanmax(courses.norm) / 4095), ("cosine", 0.001), ("common", 0.001)):
        wanted = getattr(courses, name)
        assert np.nanmax(np.abs(arrays[name].values() - wanted)) <= step / 2 * 1.001
        assert np.array_equal(np.isnan(arrays[name].values()), np.isnan(wanted))
    table = opened.table()
    codes = arrays["near"].codes.transpose(0, 2, 1)
    known = near.rows >= 0
    named = np.array(content["texts"], object)[np.where(known, codes, 0)]
    assert (named == np.array(table.texts, object)[near.rows])[known].all()
    assert (codes[~known] == arrays["near"].none).all()
    assert arrays["near_cosine"].values().transpose(0, 2, 1) == pytest.approx(near.cosines, abs=0.0051, nan_ok=True)
    assert content["title"] == "E1 base seed 3"
    assert sum(group["tokens"] for group in content["groups"]) == len(result.projection.rows)


def test_neighbours_outside_the_map_are_named(dump):
    opened = Dump.open(dump.path)
    result = projection.analyse(opened, updates=[8], points=60, jobs=1)
    courses, near = map_data.measure(opened.table(), result)
    content = map_data.content(opened, opened.table(), result, courses, near)
    outside = np.setdiff1d(near.rows[near.rows >= 0], result.projection.rows)
    assert len(outside)
    assert content["texts"][60:] == [dump.texts[row] for row in outside]


def test_which_neighbours_and_how_many_courses():
    assert map_data.neighbour_updates((0, 1, 2, 4, 8), "three") == (0, 2, 8)
    assert map_data.neighbour_updates((0, 8), "three") == (0, 8)
    assert map_data.neighbour_updates((0, 8), "none") == ()

    class Table:
        snapshot_updates = np.arange(0, 5000, 100)

    few = map_data.course_updates(Table, (0, 4900), 1000)
    many = map_data.course_updates(Table, (0, 300, 4900), 50265)
    assert len(few) == 24
    assert len(many) == 12
    assert {0, 300, 4900} < set(many)
    assert many == sorted(many)


def test_the_map_at_scale_keeps_clusters(monkeypatch):
    monkeypatch.setattr(tsne, "FEW", 500)
    monkeypatch.setattr(tsne, "MANY", 800)  # the gradient of many points, to the end
    read = clustered()
    made = projection.project(read, [10], np.arange(900), jobs=2)
    assert made.preserved(0)[0] > 0.35  # chance is 0.011
    member = np.arange(900) % 9
    near, _ = projection.euclidean_neighbours(made.positions[0], 10)
    assert (member[near] == member[:, None]).mean() > 0.95


def test_a_carried_map_moves_less_than_one_of_its_own():
    read = clustered(300, 6)
    rows = np.arange(300)
    carried = projection.project(read, [9, 10], rows, jobs=1).positions
    alone = [projection.project(read, [update], rows, jobs=1, seed=update).positions[0] for update in (9, 10)]

    def moved(first, second):
        return np.linalg.norm(first - second, axis=1).mean() / second.std()

    assert moved(*carried) < 0.5 * moved(*alone)


def test_the_preservation_of_a_sample_agrees_with_that_of_all(monkeypatch):
    monkeypatch.setattr(projection, "SAMPLE", 250)
    read = clustered()
    sampled = projection.project(read, [10], np.arange(900), iterations=60, jobs=1)
    assert sampled.preservation.shape == (1, 250)
    whole = projection.neighbour_preservation(read(10), sampled.positions[0], 10)
    assert sampled.preservation[0] == pytest.approx(whole[projection.sample_places(900)])
    mean, half = sampled.preserved(0)
    assert abs(mean - whole.mean()) < 1.5 * half
    assert "250 tokens drawn from 900" in projection.describe(sampled, 0)


def test_tokens_never_leave_the_json():
    hostile = ["</script><img src=x onerror=window.broken=1>", " <b>", "\u202eevil", "\ud800", "<!--"]
    content = {
        **{
            "groups": [],
            "categories": [],
            "signatures": [],
            "preservation": [],
            "course_updates": [],
            "near_updates": [],
        },
        **{"title": "a<b", "updates": [0], "space": "raw", "settings": "", "coverage": "c<d", "data": "AA=="},
        **{"layout": [{"shape": [1, 5]}], "texts": hostile, "shown": {}},
    }
    page = token_map.render(content)
    for raw in ("</script><img", "<b>", "<!--", "c<d"):
        assert raw not in page
    page.encode("utf-8")
    written = json.loads(re.search(r'id="map-info">(.*?)</script>', page, re.DOTALL)[1])
    assert written["texts"][:3] == hostile[:3]


def test_the_command_writes_one_page(tmp_path, dump):
    options = ["--out", str(tmp_path), "--points", "60", "--snapshots", "2", "--neighbours", "three"]
    done = subprocess.run(
        [sys.executable, str(ANALYSIS / "token_map.py"), str(dump.path), *options],
        capture_output=True,
        text=True,
        cwd=tmp_path.parent,
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["token_map.html"]
    assert "seed:3|update:8" in done.stdout
    assert done.stdout.count("neighbour preservation") == 2
    assert "map 2 of 2" in done.stderr
    assert "neighbours 2 of 2" in done.stderr
    page = (tmp_path / "token_map.html").read_text(encoding="utf-8")
    assert "http:" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "https:" not in page


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--points", "9"], "--points: expected at least 10"),
        (["--points", "many"], "--points: expected at least 10"),
        (["--snapshots", "0"], "--snapshots: expected at least 1"),
        (["--perplexity", "nan"], "--perplexity: expected at least 2"),
    ],
)
def test_bad_options_give_one_line(tmp_path, dump, options, line):
    with pytest.raises(SystemExit) as stopped:
        run(lambda: token_map.main([str(dump.path), "--out", str(tmp_path / "out"), *options]))
    assert line in str(stopped.value.code)
    assert not (tmp_path / "out").exists()


def test_an_unwritable_folder_and_a_dump_without_snapshots_give_one_line(tmp_path):
    bare = write_synthetic_dump(tmp_path / "dump.zarr", rows=160, updates=2, streams=("statistics",))
    with pytest.raises(SystemExit, match="a map needs one"):
        run(lambda: token_map.main([str(bare.path), "--out", str(tmp_path / "out")]))
    with pytest.raises(SystemExit, match="nothing; give the path"):
        run(lambda: token_map.main([str(tmp_path / "none"), "--out", str(tmp_path / "out")]))


def test_nothing_is_left_where_writing_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(token_map, "render", lambda content: "\ud800")  # has no UTF-8
    with pytest.raises(UnicodeEncodeError):
        token_map.write({}, tmp_path)
    assert list(tmp_path.iterdir()) == []
