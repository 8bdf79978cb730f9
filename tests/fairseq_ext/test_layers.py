"""Reading the layers of real tiny runs: hidden states against hooks, untrained models, files, errors."""

from __future__ import annotations

import random
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
from running import IMPORTING, ROOT, TABLE, Launcher, Run, arguments, read_npz

from dump import Dump
from evaluation import EvaluationError
from fairseq_ext.errors import UserError
from fairseq_ext.evaluate import loading, masks
from fairseq_ext.evaluate.command import main as evaluate
from fairseq_ext.evaluate.layers import main
from fairseq_ext.evaluate.parameters import KINDS, gather
from fairseq_ext.evaluate.untrained import seeds, untrained
from fairseq_ext.evaluate.weights import layer_weights
from layer_files import read_parameters, read_states

pytestmark = pytest.mark.train
SHORT = 12  # updates
FILES = ("layers.npz", "parameters.npz")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def before(launcher: Launcher, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose model normalises before each block and has a table of its own at the output. Read only, but for the files of the layers."""
    folder = tmp_path_factory.mktemp("before")
    options = "--encoder-normalize-before --untie-weights-roberta --seed 2".split()
    done = launcher.run("train", arguments(corpus, folder, *options, last=SHORT, record=False))
    assert done.status == 0, done.said[-3000:]
    return folder


@pytest.fixture(scope="module")
def after(recorded: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded run, whose model normalises after each block. Read only, but for the files of the layers."""
    return Path(shutil.copytree(recorded.folder, tmp_path_factory.mktemp("after") / "run"))


@pytest.fixture
def copied(before: Path, tmp_path: Path) -> Path:
    """A copy of the run `before` without files of layers, to be changed."""
    return Path(shutil.copytree(before, tmp_path / "copied", ignore=shutil.ignore_patterns("*.npz")))


def read(run: Path, *options: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run the command; the parameters and the states that it wrote."""
    main([str(run), "--device", "cpu", *(str(o) for o in options)])
    return read_npz(run / "parameters.npz"), read_npz(run / "layers.npz")


def trained(run: Path) -> loading.Trained:
    return loading.load(run, None, None, CPU)


def refused(run: Path, *options: object) -> str:
    """The one line that the command ends with; nothing may be written."""
    there = sorted(run.rglob("*")) if run.exists() else []
    with pytest.raises(UserError) as error:
        main([str(run), "--device", "cpu", *(str(o) for o in options)])
    assert str(error.value).isprintable()
    assert (sorted(run.rglob("*")) if run.exists() else []) == there
    return str(error.value)


def states_by_hooks(run: Path, rows: torch.Tensor) -> list[np.ndarray]:
    """Embedding block, each layer, the last one after the final norm: of a plain forward pass of one example, by hooks."""
    [model], _ = checkpoint_utils.load_model_ensemble([str(run / "checkpoints/checkpoint_last.pt")])
    encoder = model.eval().encoder.sentence_encoder
    found: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Any:
        return lambda module, inputs, output: found.update({name: output})

    encoder.layernorm_embedding.register_forward_hook(keep("embedding"))
    for number, layer in enumerate(encoder.layers, start=1):
        layer.register_forward_hook(keep(f"layer{number}"))
    if encoder.layer_norm is not None:
        encoder.layer_norm.register_forward_hook(keep(f"layer{len(encoder.layers)}"))
    with torch.no_grad():
        model(rows[None])
    names = ["embedding", *(f"layer{number}" for number in range(1, len(encoder.layers) + 1))]
    return [found[name].reshape(len(rows), -1).numpy() for name in names]


@pytest.mark.parametrize("name", ["before", "after"])
def test_states_are_those_of_a_plain_forward_pass(name: str, request: pytest.FixtureRequest, corpus: Path) -> None:
    run: Path = request.getfixturevalue(name)
    _, found = read(run, "--tokens", 60, "--untrained", 1, "--batch-tokens", 40)
    assert found["layer_name"].tolist() == ["embedding", "layer1", "layer2"]
    text = MMapIndexedDataset(str(corpus / "valid"))
    examples = np.unique(found["example"]).tolist()
    assert len(examples) > 2
    for example in examples:
        rows = torch.cat([torch.tensor([0]), text[example].long()])
        here = found["example"] == example
        assert found["position"][here].tolist() == list(range(1, len(rows) - 1))  # all but <s> and </s>
        assert found["row"][here].tolist() == rows[1:-1].tolist()
        for layer, wanted in enumerate(states_by_hooks(run, rows)):
            np.testing.assert_allclose(found["states"][layer, here], wanted[1:-1], rtol=2e-3, atol=2e-3)
    assert np.abs(found["states"][1].astype(float) - found["states"][2]).max() > 0.1
    assert np.abs(found["states"].astype(float) - found["untrained_states"][0]).max() > 0.1


def test_the_files_are_as_documented(before: Path, after: Path) -> None:
    for run, normalize, tied, last in ((before, True, False, SHORT), (after, False, True, 40)):
        parameters, states = read(run, "--vectors", 9, "--tokens", 50, "--untrained", 2, "--seed", 4)
        kinds = {name: (str(array.dtype), array.shape) for name, array in parameters.items() if name != "about"}
        vectors = 2 * 4 * 9
        assert kinds == {
            "vectors": ("float32", (vectors, 32)), "layer": ("int16", (vectors,)), "kind": ("uint8", (vectors,)),
            "index": ("int32", (vectors,)), "untrained": ("float32", (2, vectors, 32)), "untrained_seed": ("int64", (2,)),
        }  # fmt: skip
        assert parameters["untrained_seed"].tolist() == [1001, 1002]
        about = parameters["about"]
        wanted = {
            "format": "embedding-parameters", "format_version": 1, "checkpoint": "checkpoint_last.pt", "update": last, "kinds": list(KINDS),
            "layers": 2, "dim": 32, "heads": 2, "ffn": 64, "normalize_before": normalize, "tied": tied, "table": TABLE, "vectors_seed": 4,
        }  # fmt: skip
        assert {name: about[name] for name in wanted} == wanted
        tokens = len(states["row"])
        assert 30 < tokens <= 50
        kinds = {
            name: (str(array.dtype), array.shape)
            for name, array in states.items()
            if name not in ("about", "layer_name")
        }
        assert kinds == {
            "states": ("float16", (3, tokens, 32)), "untrained_states": ("float16", (1, 3, tokens, 32)), "untrained_seed": ("int64", (1,)),
            "row": ("int32", (tokens,)), "example": ("int32", (tokens,)), "position": ("int16", (tokens,)),
        }  # fmt: skip
        assert states["untrained_seed"].tolist() == [1001]
        wanted = {"format": "embedding-layers", "format_version": 1, "split": "valid", "tokens_seed": 4, "update": last}
        assert {name: states["about"][name] for name in wanted} == wanted
        shared = (
            "data",
            "dictionary_sha256",
            "train_sha256",
            "valid_sha256",
            "unigram_entropy_bits",
            "device",
            "precision",
            "versions",
        )
        assert all(states["about"][name] == about[name] for name in shared)


def test_parameters_are_those_of_the_checkpoint(before: Path) -> None:
    """Read by torch alone: planted numbers would come out; gains multiplied in, as the model normalises before its blocks."""
    found, _ = read(before, "--vectors", 0, "--tokens", 20, "--untrained", 1)
    weights = torch.load(before / "checkpoints/checkpoint_last.pt", weights_only=False)["model"]
    assert len(found["vectors"]) == 2 * (2 * 64 + 2 * 32)
    for layer in range(2):
        stem = f"encoder.sentence_encoder.layers.{layer}."
        part = {
            kind: found["vectors"][(found["layer"] == layer) & (found["kind"] == k)] for k, kind in enumerate(KINDS)
        }
        gain = weights[stem + "final_layer_norm.weight"]
        assert (gain - 1).abs().max() > 1e-3
        assert np.array_equal(part["ffn_key"], (weights[stem + "fc1.weight"] * gain).numpy())
        assert np.array_equal(part["ffn_value"], weights[stem + "fc2.weight"].T.numpy())
        v = weights[stem + "self_attn.v_proj.weight"] * weights[stem + "self_attn_layer_norm.weight"]
        o = weights[stem + "self_attn.out_proj.weight"]
        for head in (slice(0, 16), slice(16, 32)):
            left, values, right = np.linalg.svd((o[:, head] @ v[head]).double().numpy())
            for kind, wanted in (("attention_read", right[:16]), ("attention_write", left.T[:16])):
                cosines = (part[kind][head] * wanted).sum(1) / values[:16]
                np.testing.assert_allclose(np.abs(cosines), 1, atol=1e-4)


def test_both_models_have_the_same_tokens_and_the_same_choice_of_vectors(before: Path, after: Path) -> None:
    one, two = (read(run, "--vectors", 7, "--tokens", 70) for run in (before, after))
    for name in ("layer", "kind", "index"):
        assert np.array_equal(one[0][name], two[0][name]), name
    for name in ("row", "example", "position", "layer_name"):
        assert np.array_equal(one[1][name], two[1][name]), name
    assert not np.allclose(one[1]["states"], two[1]["states"], atol=0.1)
    fewer, other = read(before, "--tokens", 40)[1], read(before, "--tokens", 70, "--seed", 2)[1]
    assert set(fewer["example"].tolist()) < set(one[1]["example"].tolist())
    assert set(other["example"].tolist()) != set(one[1]["example"].tolist())
    assert (np.diff(one[1]["example"]) >= 0).all()


def test_the_loss_is_that_of_an_evaluation_of_the_same_examples(before: Path) -> None:
    about = read(before, "--tokens", 10_000)[1]["about"]
    evaluate([str(before), "--device", "cpu", "--held-out", "20"])
    assert about["loss_bits"] == pytest.approx(float(read_npz(before / "evaluation.npz")["loss"].mean()), rel=1e-5)


def test_untrained_models_are_those_that_a_training_begins_with(recorded: Run) -> None:
    """With the run's own seed, the table of update 0 of its dump."""
    run = trained(recorded.folder)
    begun = untrained(run, 1)
    first = zarr.open_group(recorded.dump, mode="r")["tables"][TABLE]["snapshots/values"][0]
    assert np.array_equal(begun.model.state_dict()[TABLE].numpy(), first)
    assert (begun.update, run.update) == (0, 40)
    assert not np.array_equal(run.model.state_dict()[TABLE].numpy(), first)
    assert not begun.model.training


def test_untrained_models_depend_on_their_seed_alone_and_disturb_nothing(before: Path) -> None:
    run = trained(before)
    kept = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    torch.manual_seed(77)
    np.random.seed(77)  # noqa: NPY002  (the global generator is what must not be touched)
    random.seed(77)
    wanted = torch.rand(3), np.random.rand(), random.random()  # noqa: NPY002
    torch.manual_seed(77)
    np.random.seed(77)  # noqa: NPY002
    random.seed(77)
    one = untrained(run, 1001)
    assert torch.equal(torch.rand(3), wanted[0])
    assert (np.random.rand(), random.random()) == wanted[1:]  # noqa: NPY002
    again, other = untrained(run, 1001), untrained(run, 1002)
    for name, tensor in one.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name
    vectors = [gather(layer_weights(model), 2, 0, 1)["vectors"] for model in (one, other)]
    assert np.abs(vectors[0] - vectors[1]).max() > 0.01
    assert all(torch.equal(tensor, kept[name]) for name, tensor in run.model.state_dict().items())
    assert seeds(3) == (1001, 1002, 1003)
    assert one.config is run.config


def test_the_same_numbers_again(before: Path) -> None:
    one, two = (read(before, "--tokens", 50, "--vectors", 5) for _ in range(2))
    for first, second in zip(one, two, strict=True):
        assert first.keys() == second.keys()
        for name in first:
            assert np.array_equal(first[name], second[name]), name


def test_no_untrained_models(before: Path) -> None:
    parameters, states = read(before, "--untrained", 0, "--vectors", 5, "--tokens", 50)
    assert parameters["untrained"].shape == (0, 40, 32)
    assert states["untrained_states"].shape == (0, *states["states"].shape)
    assert len(parameters["untrained_seed"]) == len(states["untrained_seed"]) == 0
    kept = read(before, "--untrained", 2, "--untrained-states", 2, "--tokens", 50)[1]
    assert kept["untrained_states"].shape == (2, *states["states"].shape)
    assert not np.array_equal(*kept["untrained_states"])


def test_the_dump_is_only_read_and_the_analysis_reads_the_files(after: Path) -> None:
    def state() -> dict[str, tuple[int, int]]:
        files = [p for p in after.rglob("*") if p.is_file() and p.suffix != ".npz"]
        return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in files}

    there = state()
    read(after, "--tokens", 50, "--vectors", 6)
    assert state() == there
    parameters, states = read_parameters(after / "parameters.npz"), read_states(after / "layers.npz")
    table, update = parameters.check(Dump.open(after / "dump.zarr"))
    assert (table.name, update) == (TABLE, 40)
    states.check(table, parameters)
    assert parameters.cells().shape == (2, 4, 6)
    with pytest.raises(EvaluationError):
        read_parameters(after / "layers.npz")


def test_the_probe_has_all_layers_of_both_models(bpe_run: Path, bank: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(bpe_run, tmp_path / "run"))
    read(run, "--treebank", bank, "--tokens", 40, "--vectors", 4, "--untrained", 1)
    evaluate([str(run), "--device", "cpu", "--treebank", str(bank), "--layers", "all", "--probe-train", "3000"])
    trained_file, untrained_file = (read_npz(run / f"layers_probe{suffix}.npz") for suffix in ("", "_untrained"))
    same = read_npz(run / "probe.npz")
    assert same["layer"].tolist() == ["embedding", "layer1", "layer2", "layer3"]
    assert trained_file.keys() == untrained_file.keys() == same.keys()
    for name in same:
        if name != "about":
            assert np.array_equal(trained_file[name], same[name]), name
            assert np.array_equal(untrained_file[name], same[name]) == (name != "features"), name
    assert untrained_file["about"] == {**trained_file["about"], "untrained_seed": 1001}
    assert trained_file["about"]["format"] == "embedding-probe"
    assert {p.name for p in run.iterdir() if p.suffix == ".npz"} == {
        "layers.npz", "parameters.npz", "layers_probe.npz", "layers_probe_untrained.npz", "evaluation.npz", "probe.npz",
    }  # fmt: skip


def test_several_runs_one_after_the_other(
    before: Path, copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match="found no folder") as error:
        main([str(copied), str(tmp_path / "missing"), "--device", "cpu", "--tokens", "50", "--vectors", "5"])
    assert str(error.value).count(str(tmp_path / "missing")) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"1 of 2: {copied}"
    assert lines[1:6:2] == [
        str(copied / "parameters.npz"),
        str(copied / "layers.npz"),
        f"2 of 2: {tmp_path / 'missing'}",
    ]
    assert lines[2] == "40 vectors of width 32, 2 layers, 3 untrained models"
    wanted = read(before, "--tokens", 50, "--vectors", 5)[0]["vectors"]
    assert np.array_equal(read_npz(copied / "parameters.npz")["vectors"], wanted)


def test_options_that_do_not_fit_together(copied: Path, bank: Path, tmp_path: Path) -> None:
    assert "--untrained-states 3: there are only 2" in refused(copied, "--untrained", 2, "--untrained-states", 3)
    assert "give --untrained 1 or more" in refused(copied, "--untrained", 0, "--treebank", bank)
    assert "prepare_ud_ewt.sh" in refused(copied, "--treebank", tmp_path)
    assert "--tokens 3 hold no whole example" in refused(copied, "--tokens", 3)
    assert "GPT-2's BPE" in refused(copied, "--treebank", bank)  # a corpus of invented words
    assert "--checkpoint is of one run" in refused(copied, copied, "--checkpoint", tmp_path)
    for wrong in ("--vectors -1", "--tokens 0", "--untrained 1001", "--nothing"):
        assert refused(copied, *wrong.split()).endswith("see python -m fairseq_ext.evaluate.layers --help")


def test_checkpoints_that_cannot_be_read(copied: Path, pair_runs: dict[str, Path], tmp_path: Path) -> None:
    assert "found no folder" in refused(tmp_path / "nowhere")
    last = copied / "checkpoints/checkpoint_last.pt"
    assert "found none" in refused(copied, "--checkpoint", copied / "checkpoints/checkpoint9.pt")
    whole = last.read_bytes()
    last.write_bytes(whole[: len(whole) // 2])
    assert "is broken" in refused(copied)
    assert "found task embedding_translation" in refused(next(iter(pair_runs.values())))
    content = torch.load(copied / "checkpoints/checkpoint_1_10.pt", weights_only=False)
    for name, said in (
        (TABLE, "states are not finite"),
        (TABLE.replace("embed_tokens", "layers.1.fc1"), "weights of layer 1 are not finite"),
    ):
        broken = {**content, "model": {**content["model"], name: content["model"][name] * float("nan")}}
        torch.save(broken, last)
        assert said in refused(copied)


def test_a_full_disk_leaves_the_older_files(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = read(copied, "--tokens", 50, "--vectors", 5)

    def full(file: Any, **arrays: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fairseq_ext.evaluate.archive.np.savez", full)
    said = refused(copied, "--tokens", 60, "--vectors", 6)
    assert "No space left" in said
    assert "--out" not in said  # which the command does not have
    for name, content in zip(("parameters.npz", "layers.npz"), wanted, strict=True):
        assert np.array_equal(read_npz(copied / name)["about"], content["about"])


def test_examples_are_taken_until_the_next_would_not_fit() -> None:
    sizes = [5, 0, 9, 2, 30, 4]
    order = masks.shuffled((3, 4), len(sizes)).tolist()
    for most in range(60):
        taken = masks.whole_items((3, 4), sizes, most)
        assert taken == order[: len(taken)]
        assert sum(sizes[k] for k in taken) <= most
        assert len(taken) == len(sizes) or sum(sizes[k] for k in order[: len(taken) + 1]) > most


def test_the_command_in_a_process_of_its_own(copied: Path, tmp_path: Path) -> None:
    """Nothing on stderr but one line of an error, after what importing fairseq logs."""
    words = [
        sys.executable,
        "-m",
        "fairseq_ext.evaluate.layers",
        str(copied),
        str(tmp_path / "nothing"),
        "--device",
        "cpu",
    ]
    done = subprocess.run([*words, "--tokens", "50"], cwd=ROOT, capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if not line.startswith(IMPORTING)]
    assert done.returncode == 1
    assert len(said) == 1, said
    assert said[0].startswith("error: expected the folder of a run")
    assert f"{copied / 'layers.npz'}\n" in done.stdout
    assert " tokens of " in done.stdout
    assert sorted(p.name for p in copied.iterdir()) == sorted(["checkpoints", *FILES])
