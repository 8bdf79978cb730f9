"""Importing fairseq's checkpoints: what a recording of the run holds, to the bit."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from model_folders import import_model, write_model, write_words
from omegaconf import OmegaConf
from pair_corpus import TABLES
from running import LAST, TABLE, Run, arrays, load

import frequency
import isotropy
from dump import Dump
from fairseq_ext.errors import UserError
from fairseq_ext.importing.command import main
from fairseq_ext.recording.statistics import CHEAP, CORRELATIONS, MOVEMENT

pytestmark = pytest.mark.train


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    """The recorded runs had one: sums in another order differ in the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def import_checkpoints(*arguments: object) -> None:
    main(["fairseq", *map(str, arguments)])


def interval_checkpoints(run: Path) -> list[Path]:
    """Those kept by update, ascending."""
    return sorted((run / "checkpoints").glob("checkpoint_*_*.pt"), key=lambda path: int(path.stem.split("_")[-1]))


def assert_same_as_recorded(imported: Path, recorded: Path, table: str, updates: list[int]) -> None:
    """Snapshots, statistics and rows of a table at the updates are the recorded ones to the bit."""
    mine, theirs = arrays(imported), arrays(recorded)
    for stream in ("snapshots", "statistics"):
        assert mine[f"tables/{table}/{stream}/update"].tolist() == updates
        places = [theirs[f"tables/{table}/{stream}/update"].tolist().index(update) for update in updates]
        for name in [
            n for n in mine if n.startswith(f"tables/{table}/{stream}/") and not n.endswith(("update", "group"))
        ]:
            if name.rpartition("/")[2] in MOVEMENT:
                assert np.isnan(mine[name]).all()
            else:
                assert mine[name].tobytes() == theirs[name][places].tobytes(), name
    for name in (n for n in theirs if n.startswith(f"tables/{table}/rows/")):
        assert mine[name].tobytes() == theirs[name].tobytes(), name
    tokens = [(path / f"tables/{table}/tokens.json").read_text() for path in (imported, recorded)]
    assert tokens[0] == tokens[1]
    groups = [dict(zarr.open_group(path, mode="r")[f"tables/{table}"].attrs) for path in (imported, recorded)]
    assert groups[0] == groups[1]


def test_an_imported_series_is_the_recorded_one(recorded: Run, corpus: Path, tmp_path: Path) -> None:
    series = interval_checkpoints(recorded.folder)
    assert len(series) == 2
    import_checkpoints(series[1], series[0], "--data", corpus, "--out", tmp_path / "run")
    found = arrays(tmp_path / "run/dump.zarr")
    assert {name.rpartition("/")[2] for name in found if "/statistics/" in name} == {
        *CHEAP, *CORRELATIONS, *MOVEMENT, "update", "group"
    }  # fmt: skip
    assert_same_as_recorded(tmp_path / "run/dump.zarr", recorded.dump, TABLE, [LAST - 10, LAST])
    mine, theirs = (dict(zarr.open_group(path, mode="r").attrs) for path in (tmp_path / "run/dump.zarr", recorded.dump))
    assert mine["corpus"] == theirs["corpus"]
    assert mine["versions"] == theirs["versions"]
    assert mine["run"] == {**theirs["run"], "threads": None}
    assert mine["config"] == {
        **theirs["config"], "task": {k: v for k, v in theirs["config"]["task"].items() if k != "autocast_used"},
        "optimization": mine["config"]["optimization"],
    }  # fmt: skip
    assert [entry["name"] for entry in mine["imported"]["files"]] == [path.name for path in series]
    assert all(len(entry["sha256"]) == 64 for entry in mine["imported"]["files"])


def test_analyses_say_the_same(recorded: Run, tmp_path: Path) -> None:
    """The corpus is that of the checkpoint's configuration."""
    import_checkpoints(recorded.last, "--out", tmp_path)
    mine, theirs = Dump.open(tmp_path), Dump.open(recorded.dump)
    one, two = (frequency.analyse(dump, update=LAST) for dump in (mine, theirs))
    assert one.correlations == two.correlations
    assert one.zero_minus_seen == two.zero_minus_seen
    for values in zip(_isotropy(mine), _isotropy(theirs), strict=True):
        assert values[0] == values[1]
    described = json.loads((tmp_path / "run.json").read_text())
    assert described["finished"] is True
    assert described["seed"] == 1


def _isotropy(dump: Dump) -> list[Any]:
    last = isotropy.analyse(dump).snapshots[-1]
    return [last.update, last.variants, last.mean_vector_ratio]


def test_the_same_table_as_safetensors_gives_the_same_figures(recorded: Run, corpus: Path, tmp_path: Path) -> None:
    weights = load(recorded.last)["model"][TABLE]
    symbols = json.loads((recorded.dump / f"tables/{TABLE}/tokens.json").read_text())
    model = write_words(
        write_model(tmp_path / "model", {"roberta.embeddings.word_embeddings.weight": weights}), symbols
    )
    import_model(model, "--out", tmp_path / "run", "--counts", corpus.parent / "raw/train")
    mine, theirs = Dump.open(tmp_path / "run"), Dump.open(recorded.dump)
    own, its = mine.table(), theirs.table()
    assert own.texts == its.texts
    assert (own.counted == its.counted).all()
    assert (own.group == its.group).all()
    assert own.groups == its.groups
    assert (own.counts[own.counted] == its.counts[own.counted]).all()
    for name in (*CHEAP, *CORRELATIONS):
        (_, found), (updates, recorded_values) = own.statistic(name), its.statistic(name)
        assert updates[-1] == LAST
        assert found[-1].tobytes() == recorded_values[-1].tobytes(), name
    one, two = (frequency.analyse(dump) for dump in (mine, theirs))
    assert one.correlations == two.correlations
    assert _isotropy(mine)[1:] == _isotropy(theirs)[1:]


@pytest.mark.parametrize("arm", ["none", "decoder", "all"])
def test_translation(pair_runs: dict[str, Path], pairs_corpus: Path, tmp_path: Path, arm: str) -> None:
    run = pair_runs[arm]
    import_checkpoints(
        *interval_checkpoints(run), run / "checkpoints/checkpoint_last.pt", "--data", pairs_corpus, "--out", tmp_path
    )
    for table, aliases in TABLES[arm].items():
        assert_same_as_recorded(tmp_path / "dump.zarr", run / "dump.zarr", table, [3, 6])
        assert Dump.open(tmp_path).table(table).aliases == aliases
    assert Dump.open(tmp_path).tables == list(TABLES[arm])


def test_tied_tables_that_the_file_holds_twice_are_one(recorded: Run, tmp_path: Path) -> None:
    """So does a checkpoint that was written from a GPU."""
    state = load(recorded.last)
    state["model"] = {name: value.clone() for name, value in state["model"].items()}
    torch.save(state, tmp_path / "copies.pt")
    import_checkpoints(tmp_path / "copies.pt", "--out", tmp_path / "run")
    assert_same_as_recorded(tmp_path / "run/dump.zarr", recorded.dump, TABLE, [LAST])


def test_a_checkpoint_from_before_hydra(recorded: Run, corpus: Path, tmp_path: Path) -> None:
    """With ``args`` in place of a configuration, fairseq's own task, and in torch's older format."""
    state = load(recorded.last)
    cfg = OmegaConf.to_container(OmegaConf.create(state["cfg"], flags={"allow_objects": True}))
    args: dict[str, Any] = {}
    for section in ("common", "task", "model", "optimization"):
        part = cfg[section]
        args |= {
            k: v for k, v in (vars(part) if isinstance(part, argparse.Namespace) else part).items() if k != "_name"
        }
    args = {k: v for k, v in args.items() if not k.startswith(("record_", "sample_")) or k == "sample_break_mode"}
    args |= {"task": "masked_lm", "arch": "roberta_base", "criterion": "masked_lm", "optimizer": "adam"}
    old = {"args": argparse.Namespace(**args), "model": state["model"], "optimizer_history": state["optimizer_history"]}
    old |= {"extra_state": {"epoch": 2}, "last_optimizer_state": None}
    torch.save(old, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    import_checkpoints(tmp_path / "old.pt", "--data", corpus, "--out", tmp_path / "run")
    assert_same_as_recorded(tmp_path / "run/dump.zarr", recorded.dump, TABLE, [LAST])


def test_the_same_import_again_does_nothing(recorded: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import_checkpoints(recorded.last, "--out", tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "dump.zarr").rglob("*")}
    import_checkpoints(recorded.last, "--out", tmp_path)
    assert "nothing to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "dump.zarr").rglob("*")} == before
    other = interval_checkpoints(recorded.folder)[0]
    with pytest.raises(UserError, match="--overwrite"):
        import_checkpoints(other, "--out", tmp_path)
    import_checkpoints(other, "--out", tmp_path, "--overwrite")
    assert arrays(tmp_path / "dump.zarr")[f"tables/{TABLE}/snapshots/update"].tolist() == [LAST - 10]


def refused(out: Path, *arguments: object) -> str:
    """The one line of an error; nothing is left behind."""
    with pytest.raises(UserError) as error:
        import_checkpoints(*arguments, "--out", out)
    assert not out.exists()
    assert "\n" not in error.value.args[0]
    assert error.value.code != 0
    return error.value.message


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_pickle_is_refused_and_not_run(recorded: Run, tmp_path: Path, zipped: bool) -> None:
    state = {**load(recorded.last), "extra": Malicious(tmp_path / "marker")}
    torch.save(state, tmp_path / "bad.pt", _use_new_zipfile_serialization=zipped)
    said = refused(tmp_path / "run", tmp_path / "bad.pt")
    assert "system" in said
    assert "weights_only" not in said
    assert not (tmp_path / "marker").exists()
    torch.load(tmp_path / "bad.pt", weights_only=False)  # the file does what the test takes it to do
    assert (tmp_path / "marker").exists()


def test_what_is_refused(recorded: Run, corpus: Path, pair_runs: dict[str, Path], tmp_path: Path) -> None:
    out, last = tmp_path / "run", recorded.last
    assert "no file" in refused(out, tmp_path / "absent.pt")
    cut = tmp_path / "cut.pt"
    cut.write_bytes(last.read_bytes()[:-1000])
    assert "broken" in refused(out, cut)
    foreign = tmp_path / "foreign.pt"
    foreign.write_text("hello\n")
    assert "cannot be read as a checkpoint of fairseq" in refused(out, foreign)
    torch.save({"weight": torch.zeros(3)}, tmp_path / "weights.pt")
    assert "found another file" in refused(out, tmp_path / "weights.pt")
    twice = shutil.copy(last, tmp_path / "twice.pt")
    assert "both of update 40" in refused(out, last, twice)
    assert "one --update for each" in refused(out, last, "--update", 1, "--update", 2)
    assert "no folder" in refused(out, last, "--data", tmp_path / "nowhere")
    small = tmp_path / "small"
    shutil.copytree(corpus, small)
    (small / "dict.txt").write_text("".join((corpus / "dict.txt").read_text().splitlines(keepends=True)[:-7]))
    assert "another dictionary" in refused(out, last, "--data", small)
    one = interval_checkpoints(pair_runs["none"])[0]
    other = pair_runs["all"] / "checkpoints/checkpoint_last.pt"
    assert "of one model" in refused(out, one, other)


def test_what_the_file_does_not_tell(recorded: Run, tmp_path: Path) -> None:
    """The update, and a corpus that is not where it was."""
    state = load(recorded.last)
    state["optimizer_history"] = []
    state["cfg"]["task"]["data"] = str(tmp_path / "gone")
    torch.save(state, tmp_path / "bare.pt")
    assert "--update N" in refused(tmp_path / "run", tmp_path / "bare.pt")
    assert "give --data" in refused(tmp_path / "run", tmp_path / "bare.pt", "--update", 7)


def test_a_table_that_is_not_finite(recorded: Run, tmp_path: Path) -> None:
    state = load(recorded.last)
    state["model"][TABLE][[5, 9]] = torch.nan
    torch.save(state, tmp_path / "nan.pt")
    assert "2 rows (5, 9)" in refused(tmp_path / "run", tmp_path / "nan.pt")


def test_a_recorded_dump_is_never_replaced(recorded: Run) -> None:
    before = {path: path.stat().st_mtime_ns for path in recorded.dump.rglob("*")}
    with pytest.raises(UserError, match="recorded"):
        import_checkpoints(recorded.last, "--out", recorded.folder, "--overwrite")
    assert {path: path.stat().st_mtime_ns for path in recorded.dump.rglob("*")} == before
