"""parameters.npz and layers.npz: what is read, equal numbers in all cells, and one line for each kind of bad file."""

import json

import numpy as np
import pytest
from layer_runs import DIM, FALLING, KINDS, LAYERS, ROWS, UPDATE, VECTORS, make_run, write_parameters, write_states
from synthetic_dump import write_synthetic_dump

from dump import Dump, DumpError
from evaluation import EvaluationError
from layer_files import read_parameters, read_states

SEED = {"log": False, "states": False}
VECTORS_IN_ALL = LAYERS * len(KINDS) * VECTORS


@pytest.fixture
def folder(tmp_path):
    write_parameters(tmp_path, FALLING)
    write_states(tmp_path)
    return tmp_path


def test_arrays_come_back_by_layer_and_kind(folder):
    found = read_parameters(folder / "parameters.npz")
    assert (found.layers, found.kinds, found.dim, found.update) == (LAYERS, KINDS, DIM, UPDATE)
    cells = found.cells()
    assert cells.shape == (LAYERS, len(KINDS), VECTORS)
    assert (found.layer[cells] == np.arange(LAYERS)[:, None, None]).all()
    assert (found.kind[cells] == np.arange(len(KINDS))[None, :, None]).all()
    assert len(np.unique(cells)) == VECTORS_IN_ALL
    states = read_states(folder / "layers.npz")
    assert states.layers[0] == "embedding"
    assert states.states.shape == (LAYERS + 1, 300, DIM)
    assert states.untrained.shape == (1, LAYERS + 1, 300, DIM)
    assert states.loss_bits == 6.1


def test_cells_are_cut_to_the_smallest_and_vectors_of_no_length_left_out(folder):
    found = read_parameters(folder / "parameters.npz")
    first = np.flatnonzero((found.layer == 3) & (found.kind == 1))
    found.vectors[first[:2]] = 0
    found.untrained[1, first[2]] = 0
    cells = found.cells()
    assert cells.shape == (LAYERS, len(KINDS), VECTORS - 3)
    assert not np.isin(cells, first[:3]).any()
    found.vectors[first[2:-2]] = 0
    with pytest.raises(EvaluationError, match="2 vectors of one kind"):
        found.cells()


def test_an_imported_model_has_no_untrained_ones(folder):
    for empty in (np.zeros((0, VECTORS_IN_ALL, DIM), np.float32), np.zeros(0, np.float32), None):
        write_parameters(folder, FALLING, models=0, untrained=empty)
        assert read_parameters(folder / "parameters.npz").untrained.shape == (0, VECTORS_IN_ALL, DIM)
    write_states(folder, models=0)
    assert read_states(folder / "layers.npz").untrained.shape == (0, LAYERS + 1, 300, DIM)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vectors": None}, "`vectors` is missing"),
        ({"vectors": np.zeros((5, DIM), np.float32)}, r"`layer` is int16 \(864,\), expected 5"),
        ({"vectors": np.full((VECTORS_IN_ALL, DIM), np.nan, np.float32)}, "not finite"),
        ({"layer": np.zeros(VECTORS_IN_ALL, np.int16)}, "numbers 0 to 11"),
        ({"kind": np.zeros(VECTORS_IN_ALL, np.uint8)}, "numbers 0 to 3"),
        ({"untrained": np.zeros((3, 7, DIM), np.float32)}, r"`untrained` is float32 \(3, 7, 16\)"),
        ({"about": {"format": "embedding-layers"}}, "expected 'embedding-parameters' of version 1"),
        ({"about": {"format_version": 2}}, "of version 2"),
        ({"about": {"layers": "many"}}, "`about` is damaged"),
    ],
)
def test_bad_parameters_give_one_line(folder, changes, words):
    write_parameters(folder, FALLING, **changes)
    with pytest.raises(EvaluationError, match=words) as error:
        read_parameters(folder / "parameters.npz")
    assert "\n" not in str(error.value)
    assert "parameters.npz" in str(error.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"states": None}, "`states` is missing"),
        ({"row": np.zeros(3, np.int32)}, "`states` is float16"),
        ({"states": np.full((LAYERS + 1, 300, DIM), np.inf, np.float16)}, "not finite"),
        ({"layer_name": np.array(["embedding"])}, "expected 1 x 300"),
        ({"example": np.zeros(300, np.int32)}, "of 1 examples"),
        ({"about": {"format": "other"}}, "found 'other'"),
    ],
)
def test_bad_states_give_one_line(folder, changes, words):
    write_states(folder, **changes)
    with pytest.raises(EvaluationError, match=words) as error:
        read_states(folder / "layers.npz")
    assert "\n" not in str(error.value)


def test_files_cut_short_or_of_another_kind_give_one_line(folder):
    for name, read in (("parameters.npz", read_parameters), ("layers.npz", read_states)):
        content = (folder / name).read_bytes()
        for bad in (content[: len(content) // 2], b"", b"not an archive"):
            (folder / name).write_bytes(bad)
            with pytest.raises(EvaluationError, match=name) as error:
                read(folder / name)
            assert "\n" not in str(error.value)
        np.savez(folder / name, about=np.array("[]"))
        with pytest.raises(EvaluationError, match="`about` is missing or incomplete"):
            read(folder / name)
        (folder / name).unlink()
        with pytest.raises(EvaluationError, match="found nothing"):
            read(folder / name)


def test_files_that_do_not_fit_the_dump_are_refused(tmp_path):
    folder = make_run(tmp_path, **SEED)
    dump = Dump.open(folder)
    assert read_parameters(folder / "parameters.npz").check(dump)[1] == UPDATE
    write_parameters(folder, FALLING, about={"update": UPDATE - 1})
    assert read_parameters(folder / "parameters.npz").check(dump)[1] == 6
    write_parameters(folder, FALLING, about={"dictionary_sha256": "f" * 64})
    with pytest.raises(EvaluationError, match="another dictionary"):
        read_parameters(folder / "parameters.npz").check(dump)
    write_parameters(folder, FALLING, about={"table": "decoder"})
    with pytest.raises(DumpError, match="no table 'decoder'"):
        read_parameters(folder / "parameters.npz").check(dump)
    write_parameters(folder, FALLING)
    write_synthetic_dump(tmp_path / "wide.zarr", rows=ROWS, dim=DIM + 2, updates=2)
    write_synthetic_dump(tmp_path / "none.zarr", rows=ROWS, dim=DIM, updates=2, streams=("statistics",))
    for name, words in (("wide", "of width 16, but .* of width 18"), ("none", "holds no snapshot up to update 400")):
        with pytest.raises(EvaluationError, match=words):
            read_parameters(folder / "parameters.npz").check(Dump.open(tmp_path / f"{name}.zarr"))


def test_states_of_another_model_or_dictionary_are_refused(tmp_path):
    folder = make_run(tmp_path, **SEED)
    table, parameters = Dump.open(folder).table(), read_parameters(folder / "parameters.npz")
    write_states(folder)
    read_states(folder / "layers.npz").check(table, parameters)
    for changes, words in (
        ({"row": np.full(300, ROWS, np.int32)}, "tokens beyond the 420 rows"),
        ({"layers": 6}, "states of 6 layers"),
        ({"about": json.loads('{"update": 7}')}, "at update 7"),
    ):
        write_states(folder, **changes)
        with pytest.raises(EvaluationError, match=words):
            read_states(folder / "layers.npz").check(table, parameters)
