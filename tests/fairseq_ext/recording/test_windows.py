"""Encoded windows: exact or within the bound, read by the analysis' own decoder, resumed to the bit, checked and pruned."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from running import Launcher
from small_dumps import DIM, ROWS, TABLE, contents_of, rows_of

from dump import Dump, DumpError
from fairseq_ext.recording import attributes, prediction, store
from fairseq_ext.recording.dump_check import check_dump
from fairseq_ext.recording.window_stream import resume_encoder
from fairseq_ext.recording.windows import Decoder, WindowEncoder

KEY = f"tables/{TABLE}/windows"
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def walk(updates: int, seed: int = 0, rate: float = 1e-3, shape: tuple[int, int] = (ROWS, DIM)) -> list[np.ndarray]:
    """A table that moves as Adam moves one: with momentum."""
    rng = np.random.default_rng(seed)
    values, moved = rng.normal(0, 0.02, shape), np.zeros(shape)
    found = []
    for _ in range(updates):
        found.append(values.astype(np.float32))
        moved = 0.9 * moved + 0.1 * rng.normal(0, rate, shape)
        values = values + moved
    return found


def write(path: Path, tables: dict[int, np.ndarray], encoding: str, step: float = 0.25, keyframes: int = 4) -> Path:
    """A dump of one table with nothing but windows. ``tables`` by update."""
    path.mkdir(parents=True)
    target = store.Store(path)
    recording = {"identity": "0123", "must_match": {}, "options": {}}
    about = attributes.root([TABLE], attributes.run({}, "fp32", 1), {"name": "invented"}, recording, None, 0, {})
    target.root = store.group_metadata(about)
    target.write_json("tables/zarr.json", store.group_metadata())
    described = attributes.table(TABLE, [], "text", ROWS, DIM)
    windows = {"encoding": encoding, "step": step, "keyframes": keyframes}
    largest, store.LARGEST_CHUNK = store.LARGEST_CHUNK, ROWS * DIM * 2  # two chunks of rows
    try:
        store.create_table(target, TABLE, described, rows_of(7, False), DIM, {"windows": ()}, None, windows)
    finally:
        store.LARGEST_CHUNK = largest
    target.consolidate()
    extend(path, tables, encoding, step, keyframes)
    return path


def extend(path: Path, tables: dict[int, np.ndarray], encoding: str, step: float = 0.25, keyframes: int = 4) -> None:
    """Go on in a dump as a resumed run does."""
    stream = store.Stream(store.Store(path), KEY, 1)
    encoder = WindowEncoder(encoding, step, keyframes)
    resume_encoder(encoder, stream, stream.updates[-1] if stream.updates else -1)
    for update, values in tables.items():
        frame = encoder.encode(update, values)
        stream.append(update, {"residual": frame.residual, "frame": frame.parameters()})


def frames(path: Path) -> np.ndarray:
    return zarr.open_group(path, mode="r")[f"{KEY}/frame"][...]


# -- the arithmetic ------------------------------------------------------------------------------------------------------------


@given(arrays(np.float32, 24, elements=st.floats(width=32)))
def test_order_grows_with_the_floats_and_is_its_own_inverse(values: np.ndarray) -> None:
    bits, spare = values.view(np.int32), np.empty(24, np.int32)
    ordered, back = np.empty(24, np.int32), np.empty(24, np.int32)
    prediction.order(bits, ordered, spare)
    prediction.order(ordered, back, spare)
    assert back.tobytes() == bits.tobytes()
    number = ~np.isnan(values)
    a, b = values[number], ordered[number].astype(np.int64)
    for i in range(len(a)):
        assert ((a[i] < a) <= (b[i] < b)).all()


@given(arrays(np.int32, 16, elements=st.integers(-(2**31), 2**31 - 1)))
def test_zigzag_is_undone_and_small_for_small_differences(values: np.ndarray) -> None:
    code, spare, back = np.empty(16, np.int32), np.empty(16, np.int32), np.empty(16, np.int32)
    prediction.zigzag(values, code, spare)
    prediction.unzigzag(code.view(np.uint32), back, spare)
    assert (back == values).all()
    expected = [2 * int(v) if v >= 0 else -2 * int(v) - 1 for v in values]
    assert code.view(np.uint32).tolist() == expected


def test_prediction_in_steps_is_the_stated_formula() -> None:
    rng = np.random.default_rng(3)
    one, two = (rng.integers(-(2**22), 2**22, 500).astype(np.int32) for _ in range(2))
    out = np.empty(500, np.int32)
    for momentum in range(33):
        prediction.predict_steps(one, two, momentum, out)
        expected = [int(a) + math.floor(((int(a) - int(b)) * momentum + 8) / 16) for a, b in zip(one, two, strict=True)]
        assert out.tolist() == expected


# -- the encoder ---------------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.lists(arrays(np.float32, (5, 7), elements=st.floats(width=32)), min_size=1, max_size=7),
    st.integers(1, 4),
)
def test_lossless_is_exact_for_any_bits(tables: list[np.ndarray], keyframes: int) -> None:
    """NaN, infinities, zeros of both signs and numbers below the normal ones included."""
    encoder, decoder = WindowEncoder("lossless", 0.0, keyframes), Decoder()
    for update, values in enumerate(tables):
        frame = encoder.encode(update, values)
        decoder.decode(frame.residual.copy(), frame.parameters())
        assert decoder.newest().tobytes() == values.tobytes()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(arrays(np.float32, (9, 4), elements=FLOATS.filter(lambda x: abs(x) < 1e30)), min_size=1, max_size=7),
    st.sampled_from([0.05, 0.25, 1.0, 4.0]),
)
def test_lossy_keeps_its_bound_whatever_happens(tables: list[np.ndarray], step: float) -> None:
    encoder, decoder = WindowEncoder("lossy", step, 3), Decoder()
    for update, values in enumerate(tables):
        frame = encoder.encode(update, values)
        decoder.decode(frame.residual.copy(), frame.parameters())
        error = np.abs(decoder.newest().astype(np.float64) - values)
        assert (error <= 0.5 * frame.step + 2.0**-22 * np.abs(values).max()).all()
        assert decoder.newest().dtype == np.float32
        if frame.step == 0:
            assert decoder.newest().tobytes() == values.tobytes()


def test_the_error_does_not_grow_over_a_long_window() -> None:
    """Closed loop: after 400 updates without a keyframe the error is that of the first ones."""
    encoder, decoder, errors = WindowEncoder("lossy", 0.25, 1000), Decoder(), []
    for update, values in enumerate(walk(400, shape=(64, 16))):
        frame = encoder.encode(update, values)
        decoder.decode(frame.residual.copy(), frame.parameters())
        if update > 1:
            errors.append(np.sqrt(np.mean((decoder.newest() - values) ** 2)) / frame.step)
    assert np.mean(errors[:50]) == pytest.approx(1 / math.sqrt(12), rel=0.05)
    assert np.mean(errors[-50:]) == pytest.approx(1 / math.sqrt(12), rel=0.05)


def test_momentum_is_found_and_pays() -> None:
    tables = walk(40, shape=(400, 32))
    sizes = {}
    for use in (True, False):
        encoder = WindowEncoder("lossless", 0.0, 1000)
        if not use:
            encoder._momentum = lambda values, step: 0
        found = [encoder.encode(u, values) for u, values in enumerate(tables)]
        sizes[use] = np.log2(encoder.encode(len(tables), walk(41, shape=(400, 32))[-1]).residual + 1.0).mean()
        if use:
            assert found[-1].momentum == pytest.approx(0.9 * 16, abs=1.5)
    assert sizes[True] < sizes[False] - 0.8  # bits an entry; 1.2 for a momentum of 0.9


def test_threads_change_nothing() -> None:
    tables = walk(6, shape=(700, 150))  # four blocks
    for encoding in ("lossless", "lossy"):
        one, three = WindowEncoder(encoding, 0.25, 4), WindowEncoder(encoding, 0.25, 4, threads=3)
        for update, values in enumerate(tables):
            a, b = one.encode(update, values), three.encode(update, values)
            assert a.residual.tobytes() == b.residual.tobytes()
            assert a.parameters().tobytes() == b.parameters().tobytes()


def test_keyframes_stand_at_their_updates_and_after_a_gap() -> None:
    encoder, tables = WindowEncoder("lossless", 0.0, 4), walk(20)
    found = [u for u in (0, 1, 2, 3, 4, 5, 7, 8, 9, 13, 14, 15) if encoder.encode(u, tables[u]).keyframe]
    assert found == [0, 4, 7, 8, 13]


def test_a_table_that_stands_still_and_one_that_diverges() -> None:
    still = np.full((8, 4), 0.5, np.float32)
    broken = still.copy()
    broken[3, 1] = np.nan
    for encoding in ("lossless", "lossy"):
        encoder, decoder = WindowEncoder(encoding, 0.25, 100), Decoder()
        for update, values in enumerate([still, still, still, broken, still, still, np.zeros_like(still)]):
            frame = encoder.encode(update, values)
            decoder.decode(frame.residual.copy(), frame.parameters())
            np.testing.assert_array_equal(decoder.newest(), values)
            assert frame.keyframe == (update in (0, 3, 4, 6))  # after a NaN, and where the table shrank at once


# -- on disk, through the analysis' decoder ------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["lossless", "lossy"])
def test_the_analysis_reads_what_was_encoded(tmp_path: Path, encoding: str) -> None:
    tables = dict(enumerate(walk(23)))
    del tables[9]  # a gap
    table = Dump.open(write(tmp_path / "dump.zarr", tables, encoding)).table()
    assert table.window_updates.tolist() == list(tables)
    assert table.whole_updates.tolist() == list(tables)
    run = dict(table.window(0, 30))
    assert list(run) == list(tables)
    for update, values in tables.items():
        read = table.snapshot(update)
        assert read.tobytes() == run[update].tobytes()
        bound = 0.5 * table.window_step(update) + 2.0**-22 * np.abs(values).max() * (encoding == "lossy")
        assert np.abs(read.astype(np.float64) - values).max() <= bound
    assert list(dict(table.window(11, 12))) == [11, 12]
    assert list(table.window(30, 40)) == []
    if encoding == "lossy":
        assert table.window_step(22) > 0
        moved = run[22] - run[21]
        true = tables[22].astype(np.float64) - tables[21]
        cosine = (moved * true).sum() / np.linalg.norm(moved) / np.linalg.norm(true)
        assert cosine > 0.99


@pytest.mark.parametrize("encoding", ["lossless", "lossy"])
@pytest.mark.parametrize("cut", [1, 4, 6, 7, 11])
def test_resumed_is_the_same_to_the_bit(tmp_path: Path, encoding: str, cut: int) -> None:
    tables = dict(enumerate(walk(14, rate=2e-3)))
    whole = write(tmp_path / "whole", tables, encoding)
    parts = write(tmp_path / "parts", {u: t for u, t in tables.items() if u < cut + 2}, encoding)
    stream = store.Stream(store.Store(parts), KEY, 1)
    stream.cut(cut - 1)
    extend(parts, {u: t for u, t in tables.items() if u >= cut}, encoding)
    one, other = contents_of(whole), contents_of(parts)
    assert one == other


def test_a_frame_that_does_not_change_is_still_written(tmp_path: Path) -> None:
    """All of its codes are zero, which tensorstore would leave out as fill values: then nobody could tell it from a lost chunk."""
    still = {u: walk(1)[0] for u in range(4)}
    path = write(tmp_path / "dump.zarr", still, "lossless")
    assert check_dump(path).verdict == "whole"
    assert (path / KEY / "residual/c/2/0/0").exists()
    (path / KEY / "residual/c/2/0/0").unlink()
    assert check_dump(path).verdict == "damaged"


def damaged(path: Path, place: int) -> None:
    file = path / KEY / f"residual/c/{place}/1/0"
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(bytes(raw))


def test_a_damaged_frame_loses_what_builds_on_it(tmp_path: Path) -> None:
    tables = dict(enumerate(walk(12)))
    path = write(tmp_path / "dump.zarr", tables, "lossless")
    damaged(path, 5)
    found = check_dump(path)
    assert [sorted(s.lost) for s in found.streams if s.key == KEY] == [[5, 6, 7]]
    table = Dump.open(path).table()
    for update in (5, 6, 7):
        with pytest.raises(DumpError, match="windows/residual is unreadable"):
            table.snapshot(update)
    for update in (4, 8, 11):
        assert table.snapshot(update).tobytes() == tables[update].tobytes()


def test_a_lost_frame_parameter_is_found(tmp_path: Path) -> None:
    path = write(tmp_path / "dump.zarr", dict(enumerate(walk(6))), "lossless")
    (path / KEY / "frame/c/5/0").unlink()
    assert [sorted(s.lost) for s in check_dump(path).streams if s.key == KEY] == [[5]]
    with pytest.raises(DumpError, match="windows/frame says nothing of use for update 5"):
        Dump.open(path).table().snapshot(5)


@pytest.mark.parametrize("encoding", ["lossless", "lossy"])
def test_pruning_keeps_what_is_built_on(launcher: Launcher, tmp_path: Path, encoding: str) -> None:
    tables = dict(enumerate(walk(19)))
    path = write(tmp_path / "dump.zarr", tables, encoding)
    before = {u: Dump.open(path).table().snapshot(u) for u in tables}
    done = launcher.run("recording", ["prune", path, "--windows", "at:6;9", "--strict", "--in-place"])
    assert done.status == 0, done.said
    table = Dump.open(path).table()
    assert table.window_updates.tolist() == [
        0,
        4,
        5,
        6,
        8,
        9,
    ]  # 0 belongs to every schedule; the keyframes 4 and 8 with what lies between
    for update in table.window_updates.tolist():
        assert table.snapshot(update).tobytes() == before[update].tobytes()
    assert launcher.run("recording", ["check", path]).status == 0


def test_pruning_drops_what_a_damaged_frame_takes_along(launcher: Launcher, tmp_path: Path) -> None:
    tables = dict(enumerate(walk(12)))
    path = write(tmp_path / "dump.zarr", tables, "lossless")
    damaged(path, 5)
    done = launcher.run("recording", ["prune", path, "--drop-damaged", "--out", tmp_path / "new.zarr"])
    assert done.status == 0, done.said
    assert Dump.open(tmp_path / "new.zarr").table().window_updates.tolist() == [0, 1, 2, 3, 4, 8, 9, 10, 11]


def test_the_codes_are_readable_without_this_project(tmp_path: Path) -> None:
    """By the formulas of docs/dump-format.md, written out here with Python's integers."""
    tables = dict(enumerate(walk(6)))
    path = write(tmp_path / "dump.zarr", tables, "lossy")
    group = zarr.open_group(path, mode="r")[KEY]
    assert dict(group.attrs)["parameters"] == ["keyframe", "step", "momentum", "peak"]
    spec: dict[str, Any] = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path / KEY}/residual/"}}
    assert (ts.open(spec).result().read().result() == group["residual"][...]).all()
    codes, parameters = group["residual"][:, 3, 2].tolist(), group["frame"][...].tolist()
    signed = [c // 2 if c % 2 == 0 else -(c + 1) // 2 for c in codes]
    assert parameters[5][0] == 0
    assert parameters[4][0] == 1
    steps = [signed[4], 0]
    step = parameters[4][1]
    number = steps[0]
    if parameters[5][1] != step:
        number = round(number * (step / parameters[5][1]))
    number += signed[5]  # the first frame after a keyframe expects no movement
    assert abs(number * parameters[5][1] - float(tables[5][3, 2])) <= parameters[5][1] / 2 * 1.0001
