"""Real training, recorded: what is written equals brute force, and recording changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from brute import movement, table_statistics
from running import (
    LAST,
    TABLE,
    USER_DIR,
    Launcher,
    Run,
    arguments,
    arrays,
    assert_same_dump,
    assert_same_tensors,
    assert_same_training,
    assert_whole,
    load,
    logged,
)
from tiny_corpus import ABSENT, FILLERS

from fairseq_ext.recording.schedule import Schedule

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def bare(launcher: Launcher, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same run without recording."""
    folder = tmp_path_factory.mktemp("bare")
    done = launcher.run("train", arguments(corpus, folder, record=False))
    assert done.status == 0, done.said[-3000:]
    return Run(folder, done)


def test_recording_changes_nothing(recorded: Run, bare: Run) -> None:
    assert not bare.dump.exists()
    assert_same_training(recorded.last, bare.last)
    for name in ("loss", "gnorm", "lr"):
        assert logged(recorded.finished.stdout, name) == logged(bare.finished.stdout, name)


def test_every_scheduled_update_is_there_and_no_other(recorded: Run) -> None:
    found = assert_whole(recorded.dump)
    for stream, text in {
        "statistics": "every:1",
        "traces": "log2,every:3",
        "snapshots": "log2,every:10,window:22:25",
    }.items():
        assert found[f"tables/{TABLE}/{stream}/update"].tolist() == list(Schedule.parse(text).updates(LAST))
    costlier = Schedule.parse("every:5") | Schedule.parse("log2,every:10,window:22:25")
    for name in ("drift", "spearman_all"):
        computed = ~np.isnan(found[f"tables/{TABLE}/statistics/{name}"])
        assert np.flatnonzero(computed).tolist() == list(costlier.updates(LAST))
    assert np.isnan(found[f"tables/{TABLE}/statistics/update_norm"][0])


def test_snapshots_are_the_model(recorded: Run) -> None:
    values = arrays(recorded.dump)[f"tables/{TABLE}/snapshots/values"]
    model = load(recorded.last)["model"]
    assert np.array_equal(values[-1], model[TABLE].numpy())
    assert np.array_equal(model[TABLE].numpy(), model["encoder.lm_head.weight"].numpy())
    assert not np.array_equal(values[0], values[2])  # the first update's learning rate is 0


def test_traces_are_rows_of_the_snapshots(recorded: Run) -> None:
    found = arrays(recorded.dump)
    token = found[f"tables/{TABLE}/traces/token"]
    traced = dict(
        zip(found[f"tables/{TABLE}/traces/update"].tolist(), found[f"tables/{TABLE}/traces/values"], strict=True)
    )
    whole = dict(
        zip(found[f"tables/{TABLE}/snapshots/update"].tolist(), found[f"tables/{TABLE}/snapshots/values"], strict=True)
    )
    both = traced.keys() & whole.keys()
    assert len(both) > 8
    for update in both:
        assert np.array_equal(traced[update], whole[update][token]), update


def test_statistics_equal_brute_force_on_the_snapshots(recorded: Run) -> None:
    found = arrays(recorded.dump)
    rows = {name: found[f"tables/{TABLE}/rows/{name}"] for name in ("count", "counted", "group")}
    groups = len(found[f"tables/{TABLE}/statistics/group"])
    whole = dict(
        zip(found[f"tables/{TABLE}/snapshots/update"].tolist(), found[f"tables/{TABLE}/snapshots/values"], strict=True)
    )
    place = {u: i for i, u in enumerate(found[f"tables/{TABLE}/statistics/update"].tolist())}
    compared = set()
    for update, weight in whole.items():
        wanted = table_statistics(weight, **rows, groups=groups)
        wanted |= movement(weight, whole[0], whole.get(update - 1), rows["counted"], rows["group"], groups)
        for name, expected in wanted.items():
            value = found[f"tables/{TABLE}/statistics/{name}"][place[update]]
            tolerance = 1e-6 if name.startswith("spearman") else 1e-5
            np.testing.assert_allclose(value, expected, rtol=1e-5, atol=tolerance, err_msg=f"{name} at {update}")
            compared.add(name)
    assert "update_shared_group" in compared  # update 25 has its predecessor in the window


def test_token_counts_and_groups_are_those_of_the_text(recorded: Run, corpus: Path) -> None:
    words = (corpus.parent / "raw/train").read_text().split()
    group = zarr.open_group(recorded.dump, mode="r", use_consolidated=True)[f"tables/{TABLE}"]
    texts = json.loads((recorded.dump / f"tables/{TABLE}/tokens.json").read_text())
    count = dict(zip(texts, group["rows/count"][...].tolist(), strict=True))
    assert count["w000"] == words.count("w000") > 100
    assert count["w299"] == words.count("w299")
    assert count["</s>"] == 400
    assert sum(count.values()) == len(words) + 400
    groups = group["rows"].attrs["groups"]
    assert groups[0]["name"] == "zero"
    assert groups[0]["rows"] == ABSENT + sum(words.count(f"w{n:03d}") == 0 for n in range(300))
    assert groups[-1] == {"name": "unreachable", "min_count": 0, "max_count": None, "rows": FILLERS, "counted": False}
    assert group["rows/counted"][...].sum() == 300 + ABSENT
    assert group.attrs["aliases"] == ["encoder.lm_head.weight"]


def test_root_attributes_describe_the_run(recorded: Run, corpus: Path) -> None:
    attributes = dict(zarr.open_group(recorded.dump, mode="r").attrs)
    assert (attributes["format"], attributes["format_version"], attributes["tables"]) == ("embedding-dump", 1, [TABLE])
    assert attributes["run"] == {
        "task": "embedding_masked_lm", "arch": "roberta_base", "seed": 1, "precision": "fp32", "threads": 1,
        "world_size": 1, "update_freq": [1],
    }  # fmt: skip
    assert attributes["config"]["optimization"]["max_update"] == LAST
    assert attributes["config"]["model"]["encoder_embed_dim"] == 32
    assert attributes["corpus"]["data"] == str(corpus)
    assert attributes["corpus"]["train_examples"] == 400
    assert attributes["corpus"]["train_tokens"] == (corpus / "train.bin").stat().st_size // 2
    assert attributes["progress"]["checkpoint_update"] == LAST


def test_the_main_statistics_are_in_the_json_log(recorded: Run) -> None:
    found = arrays(recorded.dump)
    for key, name in {
        "embed_cos": "mean_cosine",
        "embed_cos_common": "common_cosine",
        "embed_spearman": "spearman_all",
        "embed_common_norm": "common_norm",
    }.items():
        values = logged(recorded.finished.stdout, key)
        assert list(values) == list(range(1, LAST + 1))
        wanted = pd.Series(found[f"tables/{TABLE}/statistics/{name}"]).ffill()[1:]  # shown as it was computed last
        np.testing.assert_allclose(list(values.values()), wanted, atol=5.1e-5)
    assert "record_stall" in recorded.finished.stdout


def test_the_main_statistics_are_in_tensorboard(recorded: Run) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(recorded.folder / "tb/train_inner"))
    events.Reload()
    found = arrays(recorded.dump)[f"tables/{TABLE}/statistics/mean_cosine"]
    logged_values = {e.step: e.value for e in events.Scalars("embed_cos")}
    assert list(logged_values) == list(range(1, LAST + 1))
    np.testing.assert_allclose(list(logged_values.values()), found[1:], atol=5.1e-5)


def test_the_space_is_said_before_training(recorded: Run) -> None:
    said = recorded.finished.said
    assert f"recording {TABLE} into" in said
    assert said.index("until update 40 (snapshots") < said.index('"num_updates": "1"')


@pytest.mark.parametrize("stop", [20, 33])
def test_resuming_gives_the_uninterrupted_dump(
    launcher: Launcher, corpus: Path, recorded: Run, tmp_path: Path, stop: int
) -> None:
    """Update 20 lies within the first epoch, 33 within the second and between two interval checkpoints."""
    assert launcher.run("train", arguments(corpus, tmp_path, last=stop)).status == 0
    again = launcher.run("train", arguments(corpus, tmp_path))
    assert again.status == 0, again.said[-3000:]
    assert f"from update {stop}; 0 records" in again.said
    assert_same_dump(tmp_path / "dump.zarr", recorded.dump)
    assert_same_training(tmp_path / "checkpoints/checkpoint_last.pt", recorded.last)


def test_resuming_from_an_older_checkpoint_cuts_what_lies_past_it(
    launcher: Launcher, corpus: Path, recorded: Run, tmp_path: Path
) -> None:
    assert launcher.run("train", arguments(corpus, tmp_path, last=35)).status == 0
    older = tmp_path / "checkpoints/checkpoint_1_20.pt"
    assert older.exists()
    (tmp_path / "checkpoints/checkpoint_last.pt").write_bytes(older.read_bytes())
    again = launcher.run("train", arguments(corpus, tmp_path))
    assert "from update 20;" in again.said
    assert_same_dump(tmp_path / "dump.zarr", recorded.dump)


def test_workers_change_nothing(launcher: Launcher, corpus: Path, recorded: Run, tmp_path: Path) -> None:
    """fairseq's workers keep the first epoch's masks: update 30 and later would differ, and differ again when resumed."""
    for last in (33, LAST):
        done = launcher.run("train", arguments(corpus, tmp_path, "--num-workers", 1, last=last))
        assert done.status == 0, done.said[-3000:]
    assert_same_training(tmp_path / "checkpoints/checkpoint_last.pt", recorded.last)
    a, b = arrays(tmp_path / "dump.zarr"), arrays(recorded.dump)
    assert all(a[name].tobytes() == b[name].tobytes() for name in b)


def test_untied_tables_are_both_recorded(launcher: Launcher, corpus: Path, tmp_path: Path) -> None:
    done = launcher.run("train", arguments(corpus, tmp_path, "--untie-weights-roberta", last=6))
    assert done.status == 0, done.said[-3000:]
    found = arrays(tmp_path / "dump.zarr")
    model = load(tmp_path / "checkpoints/checkpoint_last.pt")["model"]
    again = launcher.run(
        "train",
        arguments(
            corpus, tmp_path, "--untie-weights-roberta", "--record-snapshots", "log2,every:10,window:22:25", last=8
        ),
    )
    assert again.status == 0, again.said[-2000:]
    for table in (TABLE, "encoder.lm_head.weight"):
        values = found[f"tables/{table}/traces/values"]
        assert np.array_equal(values[-1], model[table].numpy()[found[f"tables/{table}/traces/token"]])
        assert arrays(tmp_path / "dump.zarr")[f"tables/{table}/snapshots/update"].tolist() == [0, 1, 2, 4, 8]
    assert not np.array_equal(found[f"tables/{TABLE}/traces/values"], values)


def test_chosen_tokens_and_tables(launcher: Launcher, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("w003\nid:0\nmadeupword0001\n")
    more = [
        "--record-trace-tokens",
        tmp_path / "tokens",
        "--record-tables",
        "*lm_head.weight",
        "--record-snapshots",
        "at:3",
    ]
    done = launcher.run("train", arguments(corpus, tmp_path, *more, last=4))
    assert done.status == 0, done.said[-3000:]
    found = arrays(tmp_path / "dump.zarr")
    texts = json.loads((tmp_path / f"dump.zarr/tables/{TABLE}/tokens.json").read_text())
    assert [texts[row] for row in found[f"tables/{TABLE}/traces/token"]] == ["<s>", "w003", "madeupword0001"]
    assert found[f"tables/{TABLE}/snapshots/update"].tolist() == [0, 3]


def test_streams_that_are_off_are_absent(launcher: Launcher, corpus: Path, tmp_path: Path) -> None:
    more = ["--record-snapshots", "none", "--record-traces", "none", "--record-movement", "none"]
    assert launcher.run("train", arguments(corpus, tmp_path, *more, last=3)).status == 0
    assert launcher.run("train", arguments(corpus, tmp_path, *more, last=5)).status == 0
    group = zarr.open_group(tmp_path / f"dump.zarr/tables/{TABLE}", mode="r", use_consolidated=False)
    assert (tmp_path / f"dump.zarr/tables/{TABLE}/snapshots").exists() is False
    assert group["statistics/update"][...].tolist() == list(range(6))
    assert "drift" not in group["statistics"]


def test_validating_a_checkpoint_does_not_touch_the_dump(launcher: Launcher, corpus: Path, recorded: Run) -> None:
    before = {p: p.stat().st_mtime_ns for p in recorded.dump.rglob("*")}
    done = launcher.run(
        "validate",
        [
            corpus,
            "--user-dir",
            USER_DIR,
            "--path",
            recorded.last,
            "--task",
            "embedding_masked_lm",
            "--criterion",
            "masked_lm",
            "--batch-size",
            8,
            "--cpu",
            "--valid-subset",
            "valid",
        ],
    )
    assert done.status == 0, done.said[-3000:]
    assert "valid on 'valid' subset" in done.said
    assert {p: p.stat().st_mtime_ns for p in recorded.dump.rglob("*")} == before


def test_evaluation_loads_a_recorded_checkpoint_with_safe_loading(recorded: Run) -> None:
    """In this process: the task of the checkpoint is made with its recording options and records nothing."""
    from fairseq import checkpoint_utils

    import fairseq_ext.tasks.masked_lm  # noqa: F401  (registers the task)

    before = {p: p.stat().st_mtime_ns for p in recorded.dump.rglob("*")}
    models, _, task = checkpoint_utils.load_model_ensemble_and_task([str(recorded.last)])
    assert_same_tensors(models[0].state_dict()[TABLE].detach(), load(recorded.last)["model"][TABLE])
    assert not task.recorder.attached
    assert {p: p.stat().st_mtime_ns for p in recorded.dump.rglob("*")} == before


def test_adams_checkpoint_continues_with_the_fused_form_and_back(
    launcher: Launcher, corpus: Path, tmp_path: Path
) -> None:
    stock = arguments(corpus, tmp_path / "whole", "--optimizer", "adam", last=16)
    assert launcher.run("train", stock).status == 0
    for last, optimizer in ((6, "adam"), (11, "fused_adam"), (16, "adam")):
        done = launcher.run("train", arguments(corpus, tmp_path / "mixed", "--optimizer", optimizer, last=last))
        assert done.status == 0, done.said[-3000:]
        assert ("written by fairseq's Adam; continuing it with the fused form" in done.said) == (last == 11)
    found, wanted = (load(tmp_path / name / "checkpoints/checkpoint_last.pt")["model"] for name in ("mixed", "whole"))
    start = arrays(tmp_path / "whole/dump.zarr")[f"tables/{TABLE}/snapshots/values"][0]
    moved = np.linalg.norm(wanted[TABLE].numpy() - start)
    assert moved > 0.1
    assert np.linalg.norm(found[TABLE].numpy() - wanted[TABLE].numpy()) < 1e-4 * moved
