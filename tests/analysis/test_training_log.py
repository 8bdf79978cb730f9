"""fairseq's log: both shapes of line, resumed runs, cut lines, and the rule on the unigram entropy."""

import json
import math

import pytest

from training_log import LogError, learning_check, main, read_training_log

CONSOLE = "2026-11-23 00:00:00 | INFO | {tag} | {stats}"


def inner(update: int, loss: float) -> str:
    stats = {"epoch": 1, "update": 0.1, "loss": f"{loss}", "wps": "701.5", "ups": "1.25", "num_updates": f"{update}"}
    return json.dumps(stats)


def valid(update: int, loss: float) -> str:
    return json.dumps({"epoch": 1, "valid_loss": f"{loss}", "valid_wps": "0", "valid_num_updates": f"{update}"})


def write(path, lines):
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def test_both_shapes_of_line_give_the_same_table(tmp_path):
    bare = [inner(10, 14.5), inner(20, 12.25), valid(20, 11.5)]
    tags = ["train_inner", "train_inner", "valid"]
    console = [CONSOLE.format(tag=tag, stats=stats) for tag, stats in zip(tags, bare, strict=True)]
    first = read_training_log(write(tmp_path / "a.log", bare))
    second = read_training_log(write(tmp_path / "b.log", ["Namespace(seed=1)", *console, "| INFO | done training"]))
    assert first.equals(second)
    assert first.index.tolist() == [10, 20]
    assert first.loc[20].tolist() == [12.25, 701.5, 1.25, 11.5]
    assert math.isnan(first.loc[10, "valid_loss"])


def test_a_resumed_run_replaces_what_lies_past_its_checkpoint(tmp_path):
    lines = [inner(10, 14.0), inner(20, 13.0), inner(30, 12.0), valid(30, 11.9), inner(40, 11.0)]
    lines += [inner(20, 13.5), inner(30, 12.5)]  # resumed at update 10 and now at 30
    log = read_training_log(write(tmp_path / "train.log", lines))
    assert log["loss"].to_dict() == {10: 14.0, 20: 13.5, 30: 12.5}
    assert log["valid_loss"].isna().all()  # the validation at 30 was of the run that was cut off


def test_lines_written_twice_and_lines_cut_short_do_no_harm(tmp_path):
    lines = [
        inner(10, 14.0),
        inner(10, 14.0),
        inner(20, 13.0)[:30],
        '{"epoch": 1, "loss": null, "num_updates": "25"}',
        "[1, 2",
    ]
    path = write(tmp_path / "train.log", lines)
    with path.open("ab") as file:
        file.write(inner(30, 12.0).encode() + b"\n" + b"\xff\xfe" + inner(40, 11.0).encode()[:25])
    assert read_training_log(path)["loss"].to_dict() == {10: 14.0, 30: 12.0}


def test_the_end_of_an_epoch_marks_a_resume_too(tmp_path):
    epoch_end = json.dumps({"epoch": 1, "train_loss": "13", "train_num_updates": "15"})
    log = read_training_log(
        write(tmp_path / "train.log", [inner(10, 14.0), inner(20, 13.0), epoch_end, inner(30, 12.0)])
    )
    assert log["loss"].dropna().to_dict() == {10: 14.0, 30: 12.0}


@pytest.mark.parametrize(("loss", "beats"), [(9.89, True), (9.91, False), (11.5, False)])
def test_the_rule_asks_for_a_tenth_below_the_unigram_entropy(tmp_path, loss, beats):
    log = read_training_log(write(tmp_path / "train.log", [valid(10, 8.0), valid(20, loss)]))
    check = learning_check(log, 11.0)
    assert check.beats is beats
    assert check.gain == pytest.approx(1 - loss / 11.0)
    assert f"{loss:.3f} bits at update 20" in check.reason
    assert ("meets" if beats else "misses") in check.reason


@pytest.mark.parametrize("entropy", [None, float("nan"), 0.0, "unknown"])
def test_an_unknown_entropy_decides_nothing(tmp_path, entropy):
    log = read_training_log(write(tmp_path / "train.log", [valid(10, 8.0)]))
    assert learning_check(log, entropy).beats is None
    assert learning_check(None, 11.0).beats is None


def test_a_log_that_is_no_log_gives_one_clear_line(tmp_path):
    with pytest.raises(LogError, match="found none"):
        read_training_log(tmp_path / "missing.log")
    path = write(tmp_path / "other.log", ["hello"])
    with pytest.raises(LogError, match="--log-format json") as error:
        main([str(path)])
    assert "\n" not in str(error.value)


def test_the_command_prints_the_table_and_draws_the_curve(tmp_path, capsys):
    path = write(tmp_path / "train.log", [inner(10, 14.5), inner(20, 12.25), valid(20, 11.5)])
    assert main([str(path), "--unigram-entropy", "11", "--out", str(tmp_path / "out")]) == 0
    output = capsys.readouterr().out
    assert "12.25" in output
    assert "misses the rule" in output
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["training_loss.pdf", "training_loss.png"]
