"""Recording a translation model's tables in real runs: which there are, what they hold, what was counted, and what is refused."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from fairseq.data import Dictionary
from fairseq.data.indexed_dataset import MMapIndexedDataset
from pair_corpus import SHARES, TABLES, pair_arguments
from running import Launcher, arrays, assert_same_dump, assert_same_training, assert_whole, load

pytestmark = pytest.mark.train
EPOCH = 6  # updates: 300 pairs in batches of 50


def bincount(corpus: Path, language: str) -> np.ndarray:
    """Token counts of the training split, counted example by example."""
    rows = len(Dictionary.load(str(corpus / f"dict.{language}.txt")))
    dataset = MMapIndexedDataset(str(corpus / f"train.xx-yy.{language}"))
    return sum(np.bincount(dataset[i].numpy(), minlength=rows) for i in range(len(dataset)))


@pytest.mark.parametrize("arm", SHARES)
def test_each_table_is_recorded_once_with_its_names_and_counts(
    pair_runs: dict[str, Path], pairs_corpus: Path, arm: str
) -> None:
    dump = pair_runs[arm] / "dump.zarr"
    assert_whole(dump)
    root = zarr.open_group(dump, mode="r")
    assert root.attrs["tables"] == list(TABLES[arm])
    assert root.attrs["corpus"]["languages"] == ["xx", "yy"]
    assert root.attrs["corpus"]["train_examples"] == 300
    count = {"source": bincount(pairs_corpus, "xx"), "target": bincount(pairs_corpus, "yy")}
    model = load(pair_runs[arm] / "checkpoints" / "checkpoint_last.pt")["model"]
    for name, aliases in TABLES[arm].items():
        table = root["tables"][name]
        side = "both" if arm == "all" else name.replace("encoder", "source").replace("decoder", "target").split(".")[0]
        assert (table.attrs["aliases"], table.attrs["side"]) == (aliases, side)
        for key, values in count.items():
            np.testing.assert_array_equal(table["rows"][f"count_{key}"][...], values)
        expected = count["source"] + count["target"] if side == "both" else count[side]
        np.testing.assert_array_equal(table["rows"]["count"][...], expected)
        assert table["snapshots"]["update"][...].tolist() == [0, 3, 6]
        np.testing.assert_array_equal(table["snapshots"]["values"][2], model[name].numpy())
        for alias in aliases:
            assert torch.equal(model[alias], model[name])


def test_the_tables_of_the_unshared_arm_are_distinct(pair_runs: dict[str, Path]) -> None:
    found = arrays(pair_runs["none"] / "dump.zarr")
    for update in range(3):
        values = [found[f"tables/{name}/snapshots/values"][update] for name in TABLES["none"]]
        assert all(np.abs(values[i] - values[j]).mean() > 1e-3 for i, j in ((0, 1), (0, 2), (1, 2)))


def test_an_epoch_exposes_each_token_as_often_as_it_stands_in_the_text_and_all_arms_alike(
    pair_runs: dict[str, Path], pairs_corpus: Path
) -> None:
    source, target = bincount(pairs_corpus, "xx"), bincount(pairs_corpus, "yy")
    for arm in SHARES:
        found = arrays(pair_runs[arm] / "dump.zarr")
        assert found["exposure/source/update"].tolist() == [0, 3, 6]
        np.testing.assert_array_equal(found["exposure/source/visible"][2], source)
        np.testing.assert_array_equal(found["exposure/target/target"][2], target)
        np.testing.assert_array_equal(found["exposure/target/visible"][2], target)  # `</s>` first instead of last
        np.testing.assert_array_equal(found["exposure/examples/drawn"][2], 1)
        halfway = arrays(pair_runs["none"] / "dump.zarr")["exposure/source/visible"][1]
        np.testing.assert_array_equal(found["exposure/source/visible"][1], halfway)  # the same batches


def test_recording_does_not_change_what_is_learned(
    launcher: Launcher, pair_runs: dict[str, Path], pairs_corpus: Path, tmp_path: Path
) -> None:
    done = launcher.run("train", pair_arguments(pairs_corpus, tmp_path, "all", last=EPOCH, record=False))
    assert done.status == 0, done.said[-2000:]
    name = Path("checkpoints") / "checkpoint_last.pt"
    assert_same_training(tmp_path / name, pair_runs["all"] / name)


def test_a_killed_run_goes_on_to_the_same_dump(
    launcher: Launcher, pair_runs: dict[str, Path], pairs_corpus: Path, tmp_path: Path
) -> None:
    process = launcher.start("train", pair_arguments(pairs_corpus, tmp_path, "none", last=EPOCH))
    assert process.until_update(5)
    process.send(signal.SIGKILL)
    assert process.finish().status == -signal.SIGKILL
    done = launcher.run("train", pair_arguments(pairs_corpus, tmp_path, "none", last=EPOCH))
    assert done.status == 0, done.said[-2000:]
    assert "continuing the dump" in done.said
    assert_same_dump(tmp_path / "dump.zarr", pair_runs["none"] / "dump.zarr")


@pytest.mark.parametrize(("theirs", "ours"), [("none", "all"), ("all", "none"), ("decoder", "all"), ("all", "decoder")])
@pytest.mark.parametrize("record", [True, False])
def test_the_checkpoint_of_another_arm_is_refused(
    launcher: Launcher,
    pair_runs: dict[str, Path],
    pairs_corpus: Path,
    tmp_path: Path,
    theirs: str,
    ours: str,
    record: bool,
) -> None:
    shutil.copytree(pair_runs[theirs] / "checkpoints", tmp_path / "checkpoints")
    done = launcher.run("train", pair_arguments(pairs_corpus, tmp_path, ours, last=2 * EPOCH, record=record))
    assert "it is the checkpoint of another arm" in done.error
    assert not (tmp_path / "dump.zarr").exists()


def test_shared_weights_may_begin_separate_tables(
    launcher: Launcher, pair_runs: dict[str, Path], pairs_corpus: Path, tmp_path: Path
) -> None:
    begin = ["--finetune-from-model", pair_runs["all"] / "checkpoints" / "checkpoint_last.pt"]
    done = launcher.run("train", pair_arguments(pairs_corpus, tmp_path, "none", *begin, last=2, record=False))
    assert done.status == 0, done.said[-2000:]


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (["--target-lang", "zz"], "expected dict.zz.txt in"),
        (["--target-lang", "xx"], "expected two languages; found xx"),
        (["--train-subset", "other"], "expected a binarised split other of xx and yy"),
    ],
)
def test_a_missing_language_or_split_is_one_line(
    launcher: Launcher, pairs_corpus: Path, tmp_path: Path, change: list[str], part: str
) -> None:
    assert part in launcher.run("train", pair_arguments(pairs_corpus, tmp_path, "none", *change, last=2)).error
    assert not (tmp_path / "dump.zarr").exists()


def test_halves_of_unequal_length_and_a_cut_file_are_one_line(
    launcher: Launcher, pairs_corpus: Path, tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus"
    shutil.copytree(pairs_corpus, corpus)
    for suffix in ("bin", "idx"):
        shutil.copy(corpus / f"valid.xx-yy.yy.{suffix}", corpus / f"train.xx-yy.yy.{suffix}")
    error = launcher.run("train", pair_arguments(corpus, tmp_path / "one", "none", last=2)).error
    assert (
        "expected as many sentences in source as in target of the split train; found 300 (source) and 24 (target)"
        in error
    )
    cut = corpus / "train.xx-yy.xx.bin"
    cut.write_bytes(cut.read_bytes()[:-10])
    assert "was cut short" in launcher.run("train", pair_arguments(corpus, tmp_path / "two", "none", last=2)).error
    nowhere = launcher.run("train", pair_arguments(tmp_path / "nowhere", tmp_path / "three", "none", last=2))
    assert "expected a prepared corpus of sentence pairs; found no folder" in nowhere.error
