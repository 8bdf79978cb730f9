"""The reader: what it returns is what was written, and whatever is not whole ends in one clear line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from synthetic_dump import MAIN_TABLE, SyntheticDump, write_synthetic_dump

from dump import Dump, DumpError, signature


@pytest.fixture
def copy(synthetic: SyntheticDump, tmp_path: Path) -> Path:
    """A copy of the synthetic dump that a test may damage."""
    return Path(shutil.copytree(synthetic.path, tmp_path / "dump.zarr"))


def chunks(path: Path, array: str) -> list[Path]:
    folder = path / "tables" / MAIN_TABLE / array / "c"
    files = [file for file in folder.rglob("*") if file.is_file()]
    return sorted(files, key=lambda file: [int(part) for part in file.relative_to(folder).parts])


def refusal(action) -> str:
    with pytest.raises(DumpError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_returns_what_was_written(synthetic: SyntheticDump) -> None:
    dump = Dump.open(synthetic.path)
    table = dump.table()
    assert dump.tables == [MAIN_TABLE]
    assert (table.rows, table.dim) == synthetic.values.shape[1:]
    assert table.texts == synthetic.texts
    for name in ("counts", "counted", "group"):
        np.testing.assert_array_equal(getattr(table, name), getattr(synthetic, name))
    assert [(g.index, g.name, g.min_count, g.max_count, g.rows, g.counted) for g in table.groups] == [
        (index, *entry.values()) for index, entry in enumerate(synthetic.groups)
    ]
    np.testing.assert_array_equal(table.snapshot_updates, synthetic.snapshot_updates)
    for update in synthetic.snapshot_updates:
        np.testing.assert_array_equal(table.snapshot(update), synthetic.values[update])
    np.testing.assert_array_equal(table.trace(" red"), synthetic.values[:, synthetic.texts.index(" red")])
    wanted = [" you", int(synthetic.trace_tokens[3]), " he"]
    rows = [table.row_of(token) for token in wanted]
    np.testing.assert_array_equal(table.traces(wanted), synthetic.values[:, rows])
    for name, values in table.statistics().items():
        expected = np.arange(41) if name == "update" else synthetic.statistics[name]
        np.testing.assert_array_equal(values, expected)


def test_a_run_folder_and_an_alias_are_accepted(tmp_path: Path) -> None:
    write_synthetic_dump(tmp_path / "dump.zarr", rows=150, updates=2, tables=(MAIN_TABLE, "lm_head.weight"))
    root = zarr.open_group(tmp_path / "dump.zarr", mode="r+")
    root[f"tables/{MAIN_TABLE}"].attrs["aliases"] = ["encoder.lm_head.weight"]
    dump = Dump.open(tmp_path)
    assert dump.table().name == dump.table("encoder.lm_head.weight").name == MAIN_TABLE
    assert not np.array_equal(dump.table().snapshot(2), dump.table("lm_head.weight").snapshot(2))
    assert "lm_head.weight" in refusal(lambda: dump.table("decoder.embed_tokens.weight"))


def test_a_statistic_comes_without_updates_at_which_it_was_not_computed(tmp_path: Path) -> None:
    written = write_synthetic_dump(tmp_path / "dump.zarr", rows=150, updates=9, movement_every=4)
    table = Dump.open(tmp_path).table()
    updates, values = table.statistic("update_norm")
    assert updates.tolist() == [4, 8]
    np.testing.assert_array_equal(values, written.statistics["update_norm"][[4, 8]])
    assert table.statistic("drift_group")[0].tolist() == [0, 4, 8]
    assert "mean_cosine" in refusal(lambda: table.statistic("meancosine"))


def test_surplus_beyond_update_does_not_exist(copy: Path) -> None:
    """After a crash an array may be longer than `update`; its surplus has no meaning."""
    node = zarr.open_group(copy, mode="r+")[f"tables/{MAIN_TABLE}"]
    for name in ("snapshots/values", "traces/values", "statistics/mean_cosine", "statistics/norm_group"):
        array = node[name]
        array.resize((array.shape[0] + 3, *array.shape[1:]))
    for stream in ("snapshots", "traces", "statistics"):
        metadata = copy / "tables" / MAIN_TABLE / stream / "zarr.json"
        attributes = json.loads(metadata.read_text())
        attributes.pop("consolidated_metadata", None)
        metadata.write_text(json.dumps(attributes))
    table = Dump.open(copy).table()
    assert table.snapshot(40).shape == (600, 16)
    assert table.trace(" red").shape == (41, 16)
    assert table.statistics()["norm_group"].shape == (41, len(table.groups))
    assert len(table.statistic("mean_cosine")[0]) == 41


@pytest.mark.parametrize("array", ["snapshots/values", "traces/values"])
def test_a_missing_chunk_is_refused_and_not_read_as_nan(copy: Path, array: str) -> None:
    chunks(copy, array)[-1].unlink()
    table = Dump.open(copy).table()
    line = refusal(lambda: table.snapshot(40) if "snap" in array else table.trace(" red"))
    assert "chunk is missing" in line
    assert str(copy) in line


def test_other_updates_of_a_dump_with_a_missing_chunk_can_be_read(copy: Path, synthetic: SyntheticDump) -> None:
    chunks(copy, "snapshots/values")[-1].unlink()
    np.testing.assert_array_equal(Dump.open(copy).table().snapshot(32), synthetic.values[32])


@pytest.mark.parametrize("name", ["mean_cosine", "norm_mean"])
def test_a_missing_chunk_of_statistics_is_refused(copy: Path, name: str) -> None:
    chunks(copy, f"statistics/{name}")[0].unlink()
    assert "chunk is missing" in refusal(lambda: Dump.open(copy).table().statistics())


@pytest.mark.parametrize("array", ["snapshots/values", "traces/values", "statistics/mean_cosine", "rows/count"])
@pytest.mark.parametrize("damage", ["shorter", "empty", "flipped"])
def test_a_damaged_chunk_is_refused(copy: Path, array: str, damage: str) -> None:
    chunk = chunks(copy, array)[-1]
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes({"shorter": content[:-20], "empty": b"", "flipped": bytes(content)}[damage])

    def read() -> object:
        table = Dump.open(copy).table()
        return {"snapshots": lambda: table.snapshot(40), "traces": lambda: table.trace(" red")}.get(
            array.split("/")[0], table.statistics
        )()

    assert "damaged or cut short" in refusal(read)


def test_an_array_shorter_than_update_is_refused(copy: Path) -> None:
    node = zarr.open_group(copy, mode="r+")[f"tables/{MAIN_TABLE}/statistics"]
    node["drift"].resize((30,))
    metadata = copy / "tables" / MAIN_TABLE / "statistics" / "zarr.json"
    attributes = json.loads(metadata.read_text())
    attributes.pop("consolidated_metadata")
    metadata.write_text(json.dumps(attributes))
    assert "cut short" in refusal(lambda: Dump.open(copy).table().statistic("drift"))


def test_a_lost_update_coordinate_is_refused(copy: Path) -> None:
    chunks(copy, "snapshots/update")[0].unlink()  # reads as zeros
    assert "not increasing" in refusal(lambda: Dump.open(copy).table().snapshot_updates)


def test_values_that_diverged_are_refused_with_their_rows(copy: Path) -> None:
    array = zarr.open_group(copy, mode="r+")[f"tables/{MAIN_TABLE}/snapshots/values"]
    array[-1, 7, 3] = np.inf
    assert "rows (7)" in refusal(lambda: Dump.open(copy).table().snapshot(40))


@pytest.mark.parametrize(
    ("attribute", "value", "words"),
    [
        ("format_version", 2, "version 2, this reader knows 1"),
        ("format", "other", "another program"),
        ("format", None, "another program"),
        ("tables", [], "no tables"),
    ],
)
def test_foreign_formats_are_refused(copy: Path, attribute: str, value: object, words: str) -> None:
    metadata = json.loads((copy / "zarr.json").read_text())
    if value is None:
        del metadata["attributes"][attribute]
    else:
        metadata["attributes"][attribute] = value
    (copy / "zarr.json").write_text(json.dumps(metadata))
    assert words in refusal(lambda: Dump.open(copy))


def test_what_is_no_dump_is_refused(tmp_path: Path) -> None:
    assert "found nothing" in refusal(lambda: Dump.open(tmp_path / "absent"))
    assert "not a dump" in refusal(lambda: Dump.open(tmp_path))
    (tmp_path / "file").write_text("x")
    assert "found a file" in refusal(lambda: Dump.open(tmp_path / "file"))
    (tmp_path / "zarr.json").write_text("{")
    assert "not a dump" in refusal(lambda: Dump.open(tmp_path))
    zarr.create_array(tmp_path / "array.zarr", shape=(3,), dtype="f4")
    assert "not a dump" in refusal(lambda: Dump.open(tmp_path / "array.zarr"))
    zarr.open_group(tmp_path / "old.zarr", mode="w", zarr_format=2)
    assert "not a dump" in refusal(lambda: Dump.open(tmp_path / "old.zarr"))


@pytest.mark.parametrize(
    "lost",
    ["tokens.json", "rows", "rows/count", "rows/counted", "rows/group", "snapshots/values", "snapshots", "zarr.json"],
)
def test_lost_parts_are_refused(copy: Path, lost: str) -> None:
    path = copy / "tables" / MAIN_TABLE / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def read() -> None:
        table = Dump.open(copy).table()
        table.texts  # noqa: B018
        table.snapshot(40)

    assert any(words in refusal(read) for words in ("cut short", "switched off"))


def test_tokens_of_another_length_are_refused(copy: Path) -> None:
    (copy / "tables" / MAIN_TABLE / "tokens.json").write_text('["a"]')
    assert "600 texts" in refusal(lambda: Dump.open(copy).table().texts)


def test_rows_are_found_by_text_or_number(synthetic: SyntheticDump) -> None:
    table = Dump.open(synthetic.path).table()
    red = synthetic.texts.index(" red")
    assert table.row_of(" red") == table.row_of(red) == table.row_of(str(red)) == table.row_of(np.int64(red)) == red
    assert "' red'" in refusal(lambda: table.row_of("red"))
    assert "' January'" in refusal(lambda: table.row_of("january"))
    assert "' yellow'" in refusal(lambda: table.row_of(" yelow"))
    assert "0 to 599" in refusal(lambda: table.row_of(600))
    assert "was not traced" in refusal(lambda: table.trace("<s>"))
    assert "listed are 0, 1, 2, 4" in refusal(lambda: table.snapshot(3))


def test_a_text_of_several_rows_must_be_given_by_number(copy: Path) -> None:
    path = copy / "tables" / MAIN_TABLE / "tokens.json"
    texts = json.loads(path.read_text())
    texts[70] = texts[71] = "\ufffd"
    path.write_text(json.dumps(texts))
    assert "rows 70, 71" in refusal(lambda: Dump.open(copy).table().row_of("\ufffd"))


def test_a_stream_that_was_switched_off_is_empty(tmp_path: Path) -> None:
    write_synthetic_dump(tmp_path / "dump.zarr", rows=150, updates=2, streams=("statistics",))
    table = Dump.open(tmp_path).table()
    assert len(table.snapshot_updates) == len(table.trace_updates) == len(table.trace_tokens) == 0
    assert "switched off" in refusal(lambda: table.snapshot(0))
    assert "switched off" in refusal(lambda: table.traces([5]))


def test_the_signature_names_the_run(synthetic: SyntheticDump, copy: Path) -> None:
    assert signature(Dump.open(synthetic.path), None, 40) == (
        f"corpus:synthetic|experiment:E1|arm:base|seed:1|update:40|table:{MAIN_TABLE}|rows:600|dim:16"
        "|precision:fp32|code:0.1.0|format:1"
    )
    (copy.parent / "run.json").write_text(json.dumps({"experiment": "E5", "arm": "sgd", "seed": 3, "profile": "quick"}))
    assert "|experiment:E5|arm:sgd|seed:3|update:2|" in signature(Dump.open(copy), None, 2)


def test_other_readers_read_the_synthetic_dump(synthetic: SyntheticDump) -> None:
    """It stands for real dumps, so xarray must find named dimensions and equal lengths in it as in those."""
    xarray = pytest.importorskip("xarray")
    folder = synthetic.path / "tables" / MAIN_TABLE
    assert dict(xarray.open_zarr(folder / "snapshots").sizes) == {"update": 11, "row": 600, "dim": 16}
    with xarray.open_zarr(folder / "statistics") as statistics:
        assert set(statistics["drift_group"].dims) == {"update", "group"}
