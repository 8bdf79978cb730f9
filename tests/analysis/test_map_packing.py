"""Packing: what comes back is off by half a step at most, and the smallest type that fits is taken."""

import numpy as np
import pytest

from map_packing import Codes, pack, quantise, unpack, whole, with_step


def test_quantised_positions_are_within_half_a_step():
    rng = np.random.default_rng(0)
    values = rng.normal(scale=60, size=(3, 2000))
    values[1, 5] = np.nan
    packed = quantise(values, levels=16383, delta=True)
    back = unpack(*pack({"x": packed}))["x"].values()
    step = (np.nanmax(values) - np.nanmin(values)) / 16383
    assert packed.step == pytest.approx(step)
    assert np.nanmax(np.abs(back - values)) <= step / 2 * 1.000001
    assert np.isnan(back[1, 5])
    assert np.isnan(back).sum() == 1


def test_whole_numbers_come_back_as_they_were():
    arrays = {
        "small": np.array([0, 254, -1]),
        "middle": np.array([[255, 7]]),
        "large": np.array([65535, 4_000_000_000]),
    }
    codes = {name: whole(array) for name, array in arrays.items()}
    assert [codes[name].codes.dtype.itemsize for name in arrays] == [1, 2, 4]
    back = unpack(*pack(codes))
    for name, array in arrays.items():
        assert back[name].codes.shape == array.shape
        assert np.array_equal(back[name].codes, codes[name].codes)
    assert np.isnan(back["small"].values()[2])
    assert back["large"].values().tolist() == arrays["large"].tolist()


def test_differences_wrap_and_come_back():
    codes = np.array([[65535, 0, 9], [0, 65535, 9], [3, 2, 1]], np.uint16)
    assert np.array_equal(unpack(*pack({"a": Codes(codes, delta=True)}))["a"].codes, codes)


def test_one_value_and_none():
    assert quantise(np.full(4, 2.5)).values().tolist() == [2.5] * 4
    assert np.isnan(quantise(np.full(3, np.nan)).values()).all()
    assert unpack(*pack({"a": whole(np.zeros((0, 3), np.int64))}))["a"].codes.shape == (0, 3)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="do not fit 8 bits"):
        with_step(np.array([2.0]), -1, 0.01, bits=8)
    with pytest.raises(ValueError, match="do not fit 16 bits"):
        with_step(np.array([-3.0]), -1, 0.01)
    with pytest.raises(ValueError, match="expected whole numbers"):
        whole(np.array([-2]))
