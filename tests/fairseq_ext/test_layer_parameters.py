"""Parameters as vectors: against the brute-force decomposition of whole matrices, and against what fairseq's layers really compute."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fairseq.models.transformer import TransformerConfig
from fairseq.modules.transformer_layer import TransformerEncoderLayerBase
from hypothesis import given
from hypothesis import strategies as st

from fairseq_ext.evaluate import parameters
from fairseq_ext.evaluate.parameters import KINDS, LayerWeights, gather, head_vectors, layer_vectors, write_parameters
from fairseq_ext.evaluate.weights import layer_weights

D, FFN, HEADS = 12, 20, 3


def random_layer(seed: int = 1, d: int = D, ffn: int = FFN, gains: bool = False) -> LayerWeights:
    draw = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return draw.normal(size=shape).astype(np.float32)

    return LayerWeights(
        key=normal(ffn, d),
        value=normal(d, ffn),
        v=normal(d, d),
        o=normal(d, d),
        key_gain=normal(d) if gains else None,
        v_gain=normal(d) if gains else None,
    )


@given(st.integers(1, 4), st.integers(1, 6), st.integers(0, 10_000))
def test_heads_equal_the_decomposition_of_the_whole_product(heads: int, rank: int, seed: int) -> None:
    """Brute force: singular values of each (d, d) product, and the product itself put together again."""
    d = heads * rank
    weights = random_layer(seed, d)
    read, write = head_vectors(weights.v, weights.o, heads)
    assert read.shape == write.shape == (d, d)
    assert read.dtype == write.dtype == np.float32
    for head in range(heads):
        here = slice(head * rank, (head + 1) * rank)
        product = weights.o[:, here].astype(float) @ weights.v[here].astype(float)
        wanted = np.linalg.svd(product)[1][:rank]
        length = np.linalg.norm(read[here], axis=1)
        np.testing.assert_allclose(length, wanted, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(write[here], axis=1), wanted, rtol=1e-4, atol=1e-5)
        again = np.einsum("rd,re->de", write[here] / length[:, None], read[here])
        np.testing.assert_allclose(again, product, atol=1e-4 * max(1, float(wanted[0])))
        directions = read[here] / length[:, None]
        np.testing.assert_allclose(directions @ directions.T, np.eye(rank), atol=1e-4)


def test_vectors_do_not_depend_on_the_basis_inside_a_head() -> None:
    """A head is the same when its values are turned and its outputs turned back: so are its vectors, their signs included."""
    weights = random_layer()
    rank = D // HEADS
    v, o = weights.v.copy(), weights.o.copy()
    for head in range(HEADS):
        here = slice(head * rank, (head + 1) * rank)
        turn = np.linalg.qr(np.random.default_rng(head).normal(size=(rank, rank)))[0].astype(np.float32)
        v[here], o[:, here] = turn @ v[here], o[:, here] @ turn.T
    for one, two in zip(head_vectors(weights.v, weights.o, HEADS), head_vectors(v, o, HEADS), strict=True):
        np.testing.assert_allclose(one, two, atol=2e-5)
    assert not np.allclose(v, weights.v, atol=0.1)


def test_a_head_of_lower_rank_has_vectors_of_zero_length() -> None:
    weights = random_layer()
    weights.v[1:4] = weights.v[0]  # the first head's values are all the same row
    read, write = head_vectors(weights.v, weights.o, HEADS)
    for vectors in (read, write):
        assert np.linalg.norm(vectors[0]) > 1
        np.testing.assert_allclose(vectors[1:4], 0, atol=1e-5)
        assert np.isfinite(vectors).all()


def test_a_planted_unit_and_a_planted_head_come_out() -> None:
    weights = random_layer()
    key, value = np.arange(D, dtype=np.float32), -np.arange(D, dtype=np.float32)
    weights.key[7], weights.value[:, 7] = key, value
    rank = D // HEADS
    here = slice(2 * rank, 3 * rank)  # the last head reads one direction and writes another one
    weights.v[here], weights.o[:, here] = 0, 0
    weights.v[here][1, 4], weights.o[:, here][9, 1] = 3, 5
    found = layer_vectors(weights, HEADS)
    assert tuple(found) == KINDS
    assert [found[kind].shape for kind in KINDS] == [(FFN, D), (FFN, D), (D, D), (D, D)]
    assert np.array_equal(found["ffn_key"][7], key)
    assert np.array_equal(found["ffn_value"][7], value)
    for kind, place in (("attention_read", 4), ("attention_write", 9)):
        wanted = np.zeros((rank, D))
        wanted[0, place] = 15
        np.testing.assert_allclose(found[kind][here], wanted, atol=1e-5)


def test_gains_are_multiplied_into_what_is_read_alone() -> None:
    weights = random_layer(gains=True)
    plain = LayerWeights(weights.key, weights.value, weights.v, weights.o)
    folded = LayerWeights(weights.key * weights.key_gain, weights.value, weights.v * weights.v_gain, weights.o)
    found, without = layer_vectors(weights, HEADS), layer_vectors(plain, HEADS)
    for kind, wanted in layer_vectors(folded, HEADS).items():
        assert np.array_equal(found[kind], wanted), kind
    assert np.array_equal(found["ffn_value"], without["ffn_value"])
    for kind in ("ffn_key", "attention_read", "attention_write"):  # of a head's product the one side changes the other
        assert not np.allclose(found[kind], without[kind], atol=0.1), kind


def fairseq_layer(before: bool) -> TransformerEncoderLayerBase:
    """A layer of fairseq's own with gains and biases that are not 1 and 0."""
    torch.manual_seed(3)
    config = TransformerConfig()
    config.encoder.embed_dim, config.encoder.ffn_embed_dim, config.encoder.attention_heads = D, FFN, HEADS
    config.encoder.normalize_before = before
    layer = TransformerEncoderLayerBase(config).eval()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    return layer


def as_run(*layers: TransformerEncoderLayerBase) -> Any:
    encoder = SimpleNamespace(sentence_encoder=SimpleNamespace(layers=layers))
    return SimpleNamespace(model=SimpleNamespace(encoder=encoder), checkpoint=Path("c.pt"))


@pytest.mark.parametrize("before", [True, False])
@torch.no_grad()
def test_vectors_are_what_a_layer_of_fairseq_computes(before: bool) -> None:
    """On residual vectors: pre-activations of the units, and all that a head writes where it attends to one place."""
    layer = fairseq_layer(before)
    [weights] = layer_weights(as_run(layer))
    found = layer_vectors(weights, HEADS)
    x = torch.randn(5, D)
    norms = (layer.final_layer_norm, layer.self_attn_layer_norm)
    ffn_input, attention_input = (norm(x) if before else x for norm in norms)
    if before:
        seen = (
            (x - x.mean(1, keepdim=True)) / torch.sqrt(x.var(1, unbiased=False, keepdim=True) + norms[0].eps)
        ).numpy()
    else:
        seen = x.numpy()
    shifts = [(norm.bias if before else torch.zeros(D)) for norm in norms]
    wanted = layer.fc1(ffn_input) - layer.fc1(shifts[0])
    np.testing.assert_allclose(seen @ found["ffn_key"].T, wanted.numpy(), rtol=1e-4, atol=1e-4)

    unit = torch.nn.functional.one_hot(torch.tensor(11), FFN).float()
    written = layer.fc2(unit) - layer.fc2.bias
    np.testing.assert_allclose(found["ffn_value"][11], written.numpy(), rtol=1e-5, atol=1e-5)

    read, write = found["attention_read"], found["attention_write"]
    through = write / np.linalg.norm(write, axis=1, keepdims=True)
    moved = [layer.self_attn(*[part[None]] * 3)[0][0] for part in (attention_input, shifts[1][None].expand(5, D))]
    np.testing.assert_allclose(seen @ read.T @ through, (moved[0] - moved[1]).numpy(), rtol=1e-3, atol=2e-3)


def test_gathered_vectors_are_in_order_and_whole() -> None:
    layers = [random_layer(1), random_layer(2)]
    found = gather(layers, HEADS, 0, 1)
    assert {name: str(array.dtype) for name, array in found.items()} == {
        "vectors": "float32", "layer": "int16", "kind": "uint8", "index": "int32",
    }  # fmt: skip
    assert len(found["vectors"]) == 2 * (2 * FFN + 2 * D)
    order = np.lexsort((found["index"], found["kind"], found["layer"]))
    assert np.array_equal(order, np.arange(len(order)))
    for number, weights in enumerate(layers):
        for place, (_, wanted) in enumerate(layer_vectors(weights, HEADS).items()):
            here = (found["layer"] == number) & (found["kind"] == place)
            assert np.array_equal(found["vectors"][here], wanted)
            assert found["index"][here].tolist() == list(range(len(wanted)))


def test_the_choice_is_of_the_seed_and_the_size_alone() -> None:
    one, two = (gather([random_layer(k), random_layer(k + 1)], HEADS, 8, 1) for k in (1, 5))
    whole = gather([random_layer(1), random_layer(2)], HEADS, 0, 1)
    for name in ("layer", "kind", "index"):
        assert np.array_equal(one[name], two[name]), name
    assert not np.allclose(one["vectors"], two["vectors"])
    assert np.unique(one["kind"][one["layer"] == 1], return_counts=True)[1].tolist() == [8] * 4
    key = whole["layer"].astype(int) * 4 + whole["kind"], whole["index"]
    places = {(int(a), int(b)): k for k, (a, b) in enumerate(zip(*key, strict=True))}
    for vector, layer, kind, index in zip(*(one[n] for n in ("vectors", "layer", "kind", "index")), strict=True):
        assert np.array_equal(vector, whole["vectors"][places[int(layer) * 4 + int(kind), int(index)]])
    of = {(layer, kind): one["index"][(one["layer"] == layer) & (one["kind"] == kind)].tolist() for layer in (0, 1) for kind in range(4)}  # fmt: skip
    assert of[0, 0] == of[0, 1] != of[1, 0]  # a unit's key and value together, but other units of each layer
    assert of[0, 2] == of[0, 3] != of[0, 0]
    fewer = gather([random_layer(1)], HEADS, 5, 1)
    assert set(fewer["index"][fewer["kind"] == 0]) < set(of[0, 0])
    other = gather([random_layer(1)], HEADS, 5, 2)
    assert not np.array_equal(other["index"], fewer["index"])
    assert len(gather([random_layer(1)], HEADS, 15, 1)["vectors"]) == 2 * 15 + 2 * D  # more than there are: all


def test_the_file_of_an_imported_model(tmp_path: Path) -> None:
    layers = [random_layer(1), random_layer(2)]
    about = {"checkpoint": "gpt2", "update": 0, "normalize_before": True, "tied": True, "table": "wte.weight"}
    path = tmp_path / "deep" / "parameters.npz"
    written = write_parameters(path, layers, HEADS, about, most=6, seed=3)
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    found = json.loads(str(arrays.pop("about")))
    assert arrays.keys() == written.keys() == {"vectors", "layer", "kind", "index", "untrained", "untrained_seed"}
    assert arrays["untrained"].shape == (0, 2 * 4 * 6, D)
    assert arrays["untrained_seed"].shape == (0,)
    assert np.array_equal(arrays["vectors"], gather(layers, HEADS, 6, 3)["vectors"])
    assert found == {
        "format": "embedding-parameters", "format_version": 1, **about, "kinds": list(KINDS), "layers": 2, "dim": D, "heads": HEADS,
        "ffn": FFN, "vectors_seed": 3,
    }  # fmt: skip
    assert [p.name for p in path.parent.iterdir()] == ["parameters.npz"]


def test_what_does_not_fit_together_is_refused(tmp_path: Path) -> None:
    weights = random_layer()
    with pytest.raises(ValueError, match=r"value: expected the shape \(12, 20\)"):
        LayerWeights(weights.key, weights.value.T, weights.v, weights.o)
    with pytest.raises(ValueError, match=r"v_gain: expected the shape \(12,\)"):
        LayerWeights(weights.key, weights.value, weights.v, weights.o, v_gain=np.ones(3, np.float32))
    with pytest.raises(ValueError, match="key: expected"):
        LayerWeights(weights.key[0], weights.value, weights.v, weights.o)
    with pytest.raises(ValueError, match="a divisor of the width 12; found 5"):
        layer_vectors(weights, 5)
    with pytest.raises(ValueError, match="found the widths"):
        gather([weights, random_layer(d=6)], HEADS, 0, 1)
    about = {"normalize_before": False, "tied": True, "table": "t"}
    path = tmp_path / "parameters.npz"
    with pytest.raises(ValueError, match="tied missing"):
        write_parameters(path, [weights], HEADS, {"normalize_before": False, "table": "t"})
    with pytest.raises(ValueError, match="that of seed 9 is of another"):
        write_parameters(path, [weights], HEADS, about, untrained=[(9, [weights, weights])])
    assert not list(tmp_path.iterdir())


def test_numpy_alone_is_imported() -> None:
    """The module and what it imports of this package: no torch, no fairseq."""
    folder = Path(parameters.__file__).parent
    for path in (folder / "parameters.py", folder / "archive.py", folder / "masks.py", folder.parent / "errors.py"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert not [
            line for line in lines if line.startswith(("import torch", "import fairseq", "from fairseq", "from torch"))
        ]
