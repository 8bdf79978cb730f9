"""Speeds and ratios of the arms: paired by round, covering, and one line for each broken file."""

import json

import numpy as np
import pytest
from sharing_runs import write_speed

from training_speed import read_speed
from translation_files import TranslationError


def test_ratios_are_paired_by_round_and_cover(tmp_path):
    inside = 0
    for seed in range(60):
        path = write_speed(tmp_path, {"none": 1.0, "all": 1.1}, rounds=12, seed=seed)
        found = read_speed(path, resamples=800)
        low, high = found.ratio["all"].interval
        inside += low <= 1.1 <= high
    assert inside >= 48  # 12 rounds: a percentile interval is a little short
    content = json.loads(path.read_text())
    seconds, tokens = np.array(content["seconds"]), np.array(content["target_tokens"])
    assert found.rate["all"].value == pytest.approx(tokens.sum() / seconds[:, 1].sum())
    assert found.ratio["all"].value == pytest.approx(seconds[:, 0].sum() / seconds[:, 1].sum())
    whole = found.rate["none"].interval
    assert (high - low) / found.ratio["all"].value < (whole[1] - whole[0]) / found.rate["none"].value / 2
    assert found.by_round("all") == pytest.approx(seconds[:, 0] / seconds[:, 1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format="x"), "expected format 'embedding-speed'"),
        (lambda c: c.pop("seconds"), "expected arms, seconds and target_tokens"),
        (lambda c: c.update(arms=["a", "b", "c"]), "expected the arm none"),
        (lambda c: c["seconds"].pop(), "found the shape"),
        (lambda c: c["seconds"][0].pop(), "another form"),
        (lambda c: c["seconds"][0].__setitem__(0, 0.0), "not above 0"),
    ],
)
def test_broken_times_give_one_line(tmp_path, change, message):
    path = write_speed(tmp_path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(TranslationError, match=message) as error:
        read_speed(path)
    assert "\n" not in str(error.value)
    path.write_text("{")
    with pytest.raises(TranslationError, match="cut short"):
        read_speed(path)
    path.unlink()
    with pytest.raises(TranslationError, match="found no such file"):
        read_speed(path)
