"""What the user sees of a training: fairseq's json lines become one short line; times are readable."""

import io

import pytest

from experiments.progress import Tail, Training, duration, statistics

LINE = '2026-01-01 00:00:00 | INFO | train_inner | {"epoch": 1, "loss": "10.912", "num_updates": "%d", "embed_cos": "0.2500"}'


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (200, "3 min 20 s"), (3599.6, "1 h 0 min"), (7500, "2 h 5 min")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_only_training_lines_have_statistics():
    assert statistics(LINE % 10) == {"epoch": 1, "loss": "10.912", "num_updates": "10", "embed_cos": "0.2500"}
    for other in (
        "",
        "loaded {",
        LINE % 10 + "}",
        '| INFO | valid | {"num_updates": "3"}',
        '| train_inner | ["num_updates"]',
    ):
        assert statistics(other) is None


def test_a_training_line_says_update_loss_cosine_and_time_left():
    out = Terminal()
    show = Training(300, out)
    show.show([LINE % 10])
    assert out.getvalue().endswith("update 10 of 300, loss 10.91 bits, mean cosine 0.250")
    show.show([LINE % 20])
    assert out.getvalue().endswith(" left")
    show.show(["2026 | WARNING | fairseq_ext.precision | no bfloat16 here"])
    show.close()
    assert out.getvalue().splitlines()[-1].endswith("no bfloat16 here")


def test_tail_gives_whole_new_lines_only(tmp_path):
    path = tmp_path / "log"
    path.write_text("before\n")
    tail = Tail(path)
    with path.open("a") as file:
        file.write("one\ntw")
        file.flush()
        assert tail.lines() == ["one"]
        file.write("o\r50 %\r100 %\nrest")
        file.flush()
    assert tail.lines() == ["100 %"]
    assert tail.lines(last=True) == ["rest"]
    tail.close()
