"""The linear probe: planted tags are read off, words learned by heart are not counted as such, bad files give one line."""

import numpy as np
import pytest
from repetition_runs import write_probe

import probe
from evaluation import EvaluationError


def test_planted_tags_are_found_and_noise_is_not(tmp_path):
    write_probe(tmp_path, words=900)
    first, last = probe.measure(probe.read_probe(tmp_path / "probe.npz"))
    assert (first.layer, last.layer) == ("embedding", "layer3")
    assert last.accuracy.value > 0.95
    assert first.accuracy.value < 0.5
    assert last.accuracy.interval[0] <= last.accuracy.value <= last.accuracy.interval[1]
    assert last.accuracy.over == "words"
    assert last.selectivity.value > 0.3
    assert last.selectivity.value == pytest.approx(last.accuracy.value - last.control)
    assert (last.train_words, last.dev_words) == (600, 300)
    assert probe.best_layer([first, last]) == last


def test_a_probe_that_knows_words_by_heart_has_no_selectivity(tmp_path):
    """Features that name the word type allow the control task as well as the real one."""
    rng = np.random.default_rng(1)
    word_type = rng.integers(0, 30, 900)
    features = (np.eye(30)[word_type] * 5 + rng.normal(0, 0.1, (900, 30)))[None].astype(np.float16)
    split = (np.arange(900) % 3 == 0).astype(np.uint8)
    tag = (word_type % 3).astype(np.int16)
    np.savez(
        tmp_path / "probe.npz",
        layer=np.array(["l"]),
        features=features,
        tag=tag,
        tags=np.array(list("abc")),
        split=split,
        word_type=word_type,
    )
    (layer,) = probe.measure(probe.read_probe(tmp_path / "probe.npz"))
    assert layer.accuracy.value > 0.97
    assert abs(layer.selectivity.value) < 0.03


def test_control_tags_follow_the_word_type_and_the_tags_shares():
    rng = np.random.default_rng(2)
    word_type, tag = np.repeat(np.arange(5000), 2), np.tile([0, 0, 0, 1], 2500)
    control = probe.control_tags(tag, word_type, rng)
    assert (control[::2] == control[1::2]).all()
    assert (control == 1).mean() == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tag": None}, "tag"),
        ({"split": np.zeros(600, np.uint8)}, "development words"),
        ({"features": np.zeros((2, 5, 10), np.float16)}, "5, 10"),
    ],
)
def test_a_file_of_another_form_gives_one_line(tmp_path, change, words):
    write_probe(tmp_path)
    path = tmp_path / "probe.npz"
    with np.load(path) as file:
        content = {name: file[name] for name in file.files} | change
    np.savez(path, **{name: value for name, value in content.items() if value is not None})
    with pytest.raises(EvaluationError, match=words) as error:
        probe.read_probe(path)
    assert "\n" not in str(error.value)
