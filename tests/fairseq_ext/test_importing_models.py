"""Importing models with safetensors: tables, series, and everything that is refused in one line with nothing left behind."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from model_folders import BERT, WORDS, import_model, small_model, table, write_model, write_word_piece
from running import IMPORTING, ROOT, arrays
from safetensors.torch import save_file

import runs as run_files
from dump import Dump
from fairseq_ext.errors import UserError
from fairseq_ext.importing import writing
from fairseq_ext.recording import store


def attributes(run: Path) -> dict[str, Any]:
    return dict(zarr.open_group(run / "dump.zarr", mode="r").attrs)


def values(run: Path, name: str = BERT) -> np.ndarray:
    """Of the last snapshot."""
    entry = Dump.open(run).table(name)
    return entry.snapshot(int(entry.snapshot_updates[-1]))


def test_a_model_becomes_a_dump(tmp_path: Path) -> None:
    run = tmp_path / "runs/imported/small/seed3"
    import_model(small_model(tmp_path / "model"), "--out", run)
    assert np.array_equal(values(run), table().numpy())
    entry = Dump.open(run).table()
    assert entry.texts == [*WORDS[:6], " red", " blue", "ing", " sing", " ,", " monday", "s"]
    assert entry.counted.tolist() == [False] * 6 + [True] * 7
    assert entry.group.tolist() == [-1, 1, -1, -1, -1, -1, *[0] * 7]
    assert [(group.name, group.rows) for group in entry.groups] == [("unknown", 7), ("unreachable", 1)]
    found = attributes(run)
    assert found["imported"]["counts"]["known"] is False
    assert "--counts" in found["imported"]["counts"]["words"]
    assert found["imported"]["files"][0]["name"] == "model.safetensors"
    assert found["corpus"]["train_tokens"] is None
    mean = entry.statistic("mean_cosine")[1]
    unit = table().double().numpy()[entry.counted]
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    assert mean[0] == pytest.approx((unit @ unit.T)[~np.eye(7, dtype=bool)].mean(), abs=1e-6)
    [listed] = run_files.find_runs(tmp_path / "runs")
    assert (listed.experiment, listed.arm, listed.seed, listed.finished) == ("imported", "small", 3, True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions_become_32_bits(
    tmp_path: Path, dtype: torch.dtype, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = table().to(dtype)
    write_word_piece(write_model(tmp_path / "model", {BERT: stored}))
    import_model(tmp_path / "model", "--out", tmp_path / "run")
    assert np.array_equal(values(tmp_path / "run"), stored.float().numpy())
    name = str(dtype).removeprefix("torch.")
    assert attributes(tmp_path / "run")["imported"]["tensors"][BERT] == {
        "aliases": [],
        "dtype": name,
        "converted": True,
    }
    assert f"{name} in the file, converted to float32" in capsys.readouterr().out


def test_a_separate_output_is_a_second_table_and_a_tied_one_an_alias(tmp_path: Path) -> None:
    tied = {"model.embed_tokens.weight": table(), "lm_head.weight": table()}
    write_word_piece(write_model(tmp_path / "tied", tied))
    import_model(tmp_path / "tied", "--out", tmp_path / "one")
    assert Dump.open(tmp_path / "one").tables == ["model.embed_tokens.weight"]
    assert Dump.open(tmp_path / "one").table().aliases == ["lm_head.weight"]
    write_word_piece(write_model(tmp_path / "untied", tied | {"lm_head.weight": table(dim=6, seed=2)}))
    import_model(tmp_path / "untied", "--out", tmp_path / "two")
    assert Dump.open(tmp_path / "two").tables == ["model.embed_tokens.weight", "lm_head.weight"]
    assert np.array_equal(values(tmp_path / "two", "lm_head.weight"), table(dim=6, seed=2).numpy())


@pytest.mark.parametrize(
    "name",
    ["bert." + BERT, "wte.weight", "transformer.wte.weight", "shared.weight", "model.decoder.embed_tokens.weight"],
)
def test_names_of_tables(tmp_path: Path, name: str) -> None:
    others = {"embeddings.position_embeddings.weight": table(40, seed=5), "embeddings.LayerNorm.weight": table()[0]}
    write_word_piece(write_model(tmp_path / "model", {name: table(), **others}))
    import_model(tmp_path / "model" / "model.safetensors", "--out", tmp_path / "run")
    assert Dump.open(tmp_path / "run").tables == [name]


def test_shards(tmp_path: Path) -> None:
    folder = write_word_piece(tmp_path / "model")
    save_file({BERT: table()}, folder / "model-00001-of-00002.safetensors")
    save_file({"pooler.weight": table(3)}, folder / "model-00002-of-00002.safetensors")
    index = folder / "model.safetensors.index.json"
    places = {BERT: "model-00001-of-00002.safetensors", "pooler.weight": "model-00002-of-00002.safetensors"}
    index.write_text(json.dumps({"weight_map": places}))
    import_model(folder, "--out", tmp_path / "run")
    assert np.array_equal(values(tmp_path / "run"), table().numpy())
    assert len(attributes(tmp_path / "run")["imported"]["files"]) == 2
    for bad in ({BERT: "absent.safetensors"}, {BERT: "../model/model-00001-of-00002.safetensors"}, {BERT: 3}):
        index.write_text(json.dumps({"weight_map": bad}))
        assert "a file beside it" in refused(tmp_path / "other", folder)
    index.write_text(json.dumps({"weight_map": {BERT: places["pooler.weight"]}}))
    assert "get the whole model" in refused(tmp_path / "other", folder)
    index.write_text("[]")
    assert "weight_map" in refused(tmp_path / "other", folder)


def test_a_pickled_model_is_read_safely(tmp_path: Path) -> None:
    write_word_piece(tmp_path / "model")
    torch.save({BERT: table(), "step": 3}, tmp_path / "model/pytorch_model.bin")
    import_model(tmp_path / "model", "--out", tmp_path / "run")
    assert np.array_equal(values(tmp_path / "run"), table().numpy())


def test_a_series(tmp_path: Path) -> None:
    for update in (5, 20, 300):
        write_word_piece(write_model(tmp_path / str(update), {BERT: table(seed=update)}))
    places = [tmp_path / "300", tmp_path / "5", tmp_path / "20"]
    import_model(*places, "--update", 300, "--update", 5, "--update", 20, "--out", tmp_path / "run")
    entry = Dump.open(tmp_path / "run").table()
    assert entry.snapshot_updates.tolist() == [5, 20, 300]
    for update in (5, 20, 300):
        assert np.array_equal(entry.snapshot(update), table(seed=update).numpy())
    assert np.isnan(entry.statistics()["drift"]).all()
    assert "as many" in refused(tmp_path / "other", *places, "--update", 3)
    assert "more than once" in refused(tmp_path / "other", *places, "--update", 3, "--update", 3, "--update", 4)
    write_word_piece(tmp_path / "20", [*WORDS[:-1], "##es"])
    two = [tmp_path / "20", tmp_path / "5", "--update", 20, "--update", 5]
    assert "one tokenizer" in refused(tmp_path / "other", *two)
    small_model(tmp_path / "20", dim=6)
    assert "of one kind" in refused(tmp_path / "other", *two)


def test_rows_beyond_the_tokenizer_are_unreachable(tmp_path: Path) -> None:
    write_word_piece(write_model(tmp_path / "model", {BERT: table(len(WORDS) + 3)}))
    import_model(tmp_path / "model", "--out", tmp_path / "run")
    entry = Dump.open(tmp_path / "run").table()
    assert entry.texts[-3:] == ["<no token 13>", "<no token 14>", "<no token 15>"]
    assert entry.groups[-1].rows == 4
    assert not entry.counted[-3:].any()


def test_the_same_import_again_does_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, run = small_model(tmp_path / "model"), tmp_path / "run"
    import_model(model, "--out", run)
    before = (run / "dump.zarr/zarr.json").stat().st_mtime_ns
    import_model(model, "--out", run)
    assert "nothing to do" in capsys.readouterr().out
    assert (run / "dump.zarr/zarr.json").stat().st_mtime_ns == before
    (tmp_path / "text").write_text("red blue\n")
    with pytest.raises(UserError, match="--overwrite"):
        import_model(model, "--out", run, "--counts", tmp_path / "text")
    assert (run / "dump.zarr/zarr.json").stat().st_mtime_ns == before
    import_model(model, "--out", run, "--counts", tmp_path / "text", "--overwrite")
    assert Dump.open(run).table().counts.sum() == 2
    assert "--counts" in json.loads((run / "run.json").read_text())["command"]
    shutil.rmtree(run / "dump.zarr")
    (run / "dump.zarr").mkdir()
    with pytest.raises(UserError, match="something else"):
        import_model(model, "--out", run, "--overwrite")


def refused(out: Path, *arguments: object) -> str:
    """The one line of an error; nothing is left behind."""
    with pytest.raises(UserError) as error:
        import_model(*arguments, "--out", out)
    assert not out.exists()
    assert "\n" not in error.value.args[0]
    assert error.value.code != 0
    return error.value.message


def test_damaged_and_foreign_files(tmp_path: Path) -> None:
    out, model = tmp_path / "run", small_model(tmp_path / "model")
    whole = (model / "model.safetensors").read_bytes()
    for content in (whole[:-1], whole[:20], b"", b"hello\n" * 20):
        (model / "model.safetensors").write_bytes(content)
        assert "cannot be read as safetensors" in refused(out, model)
    (model / "model.safetensors").write_bytes(whole)
    (model / "tokenizer.json").write_text('{"model": {}}')
    assert "cannot be read as a tokenizer" in refused(out, model)
    (model / "tokenizer.json").unlink()
    assert "expected a tokenizer" in refused(out, model)
    assert "found nothing there" in refused(out, tmp_path / "absent")
    (model / "model.safetensors").unlink()
    assert "expected model.safetensors" in refused(out, model)
    for name, word in (
        ("a.gguf", "GGUF"),
        ("onnx/model.onnx", "ONNX"),
        ("tf_model.h5", "TensorFlow"),
        ("x.msgpack", "Flax"),
    ):
        foreign = tmp_path / f"foreign-{Path(name).name}" / name
        foreign.parent.mkdir(parents=True)
        foreign.write_bytes(b"x")
        said = refused(out, tmp_path / f"foreign-{Path(name).name}")
        assert word in said
        assert "model.safetensors" in said
        assert word in refused(out, foreign)
    for name in ("one", "two"):
        save_file({BERT: table()}, model / f"{name}.safetensors")
    assert "give the path of the one" in refused(out, model)


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


def test_a_malicious_pickle_is_not_run_by_the_command(tmp_path: Path) -> None:
    """The command itself, in a process of its own: one line, exit status 1, nothing left."""
    write_word_piece(tmp_path / "model")
    torch.save({BERT: table(), "x": Malicious(tmp_path / "marker")}, tmp_path / "model/pytorch_model.bin")
    done = subprocess.run(
        [sys.executable, "-m", "fairseq_ext.importing", "huggingface", tmp_path / "model", "--out", tmp_path / "run"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = [line for line in done.stderr.splitlines() if not line.startswith(IMPORTING)]
    assert (done.returncode, len(lines), done.stdout) == (1, 1, "")
    assert lines[0].startswith("error: ")
    assert "nothing of it was run" in lines[0]
    assert not (tmp_path / "marker").exists()
    assert not (tmp_path / "run").exists()


def test_which_table(tmp_path: Path) -> None:
    out = tmp_path / "run"
    two = {"encoder.embed_tokens.weight": table(), "decoder.embed_tokens.weight": table(seed=2)}
    model = write_word_piece(write_model(tmp_path / "two", two))
    said = refused(out, model)
    assert "--tensor" in said
    assert all(name in said for name in two)
    assert "no such tensor" in refused(out, model, "--tensor", "absent")
    import_model(model, "--out", tmp_path / "chosen", "--tensor", "decoder.embed_tokens.weight")
    assert Dump.open(tmp_path / "chosen").tables == ["decoder.embed_tokens.weight"]
    none = write_word_piece(write_model(tmp_path / "none", {"weird": table(), "flat": table()[0]}))
    said = refused(out, none)
    assert "candidates are weird (13, 8)" in said
    assert "a tensor of the shape (8,)" in refused(out, none, "--tensor", "flat")
    import_model(none, "--out", tmp_path / "weird", "--tensor", "weird")
    assert np.array_equal(values(tmp_path / "weird", "weird"), table().numpy())


@pytest.mark.parametrize("name", ["../../evil.wte.weight", "a/b.wte.weight", ".wte.weight"])
def test_a_name_that_would_leave_the_folder(tmp_path: Path, name: str) -> None:
    model = write_word_piece(write_model(tmp_path / "model", {name: table()}))
    assert "characters other than" in refused(tmp_path / "run", model)
    assert "characters other than" in refused(tmp_path / "run", model, "--tensor", name)


def test_a_tokenizer_of_another_size(tmp_path: Path) -> None:
    fewer = write_word_piece(write_model(tmp_path / "fewer", {BERT: table(12)}))
    assert "another model's tokenizer" in refused(tmp_path / "run", fewer)
    more = write_word_piece(write_model(tmp_path / "more", {BERT: table(13 + 1025)}))
    assert "another model's tokenizer" in refused(tmp_path / "run", more)


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    broken = table()
    broken[3, 1], broken[7, 0] = torch.nan, torch.inf
    model = write_word_piece(write_model(tmp_path / "model", {BERT: broken}))
    assert "2 rows (3, 7)" in refused(tmp_path / "run", model)
    quantised = write_word_piece(write_model(tmp_path / "int8", {BERT: table().to(torch.int8)}))
    assert "quantised" in refused(tmp_path / "run", quantised)


def test_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model(tmp_path / "model")
    with monkeypatch.context() as patch:
        patch.setattr(writing.shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
        assert "100 B free" in refused(tmp_path / "deep/er/run", model)
    assert not (tmp_path / "deep").exists()

    def full(stream: store.Stream) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store.Stream, "commit", full)
    assert "the disk is full" in refused(tmp_path / "deep/er/run", model)
    assert not (tmp_path / "deep").exists()


def test_an_interrupted_import_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(stream: store.Stream) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store.Stream, "commit", interrupt)
    with pytest.raises(KeyboardInterrupt):
        import_model(small_model(tmp_path / "model"), "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_arrays_of_the_dump_are_whole(tmp_path: Path) -> None:
    import_model(small_model(tmp_path / "model"), "--out", tmp_path / "run")
    found = arrays(tmp_path / "run/dump.zarr")
    assert found[f"tables/{BERT}/snapshots/values"].shape == (1, 13, 8)
    assert [name for name in os.listdir(tmp_path / "run") if name.endswith(".tmp")] == []
