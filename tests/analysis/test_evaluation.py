"""The reader of evaluations and its sums by example; losses and recovery with intervals over examples."""

import json

import numpy as np
import pytest
from repetition_runs import DISTINCT, FRACTION, REPEATED, write_evaluation
from scipy import stats

import heldout
from evaluation import EvaluationError, ExampleSums, check_paired, read_evaluation

COUNTS = np.array([0, 5, 50, 500, 5000, 50])
GROUP = np.array([-1, 0, 1, 2, 3, 1])


def written(folder, arm, seed=1, **options):
    folder = folder / arm.name
    folder.mkdir(exist_ok=True)
    write_evaluation(folder, arm, seed, COUNTS, **options)
    return folder / "evaluation.npz"


def changed(path, **arrays):
    with np.load(path) as file:
        content = {name: file[name] for name in file.files} | arrays
    np.savez(path, **{name: value for name, value in content.items() if value is not None})
    return path


def about(path, **entries):
    with np.load(path) as file:
        return np.array(json.dumps(json.loads(str(file["about"])) | entries))


def test_sums_by_example_are_those_of_a_loop(tmp_path):
    evaluation = read_evaluation(written(tmp_path, FRACTION))
    chosen = evaluation.target == 4
    sums = evaluation.example_sums("seen", chosen)
    inside = evaluation.set == 1
    for place, example in enumerate(sums.example):
        here = inside & (evaluation.example == example)
        assert sums.positions[place] == (here & chosen).sum()
        assert sums.loss[place] == pytest.approx(evaluation.loss[here & chosen].sum(dtype=np.float64))
        assert sums.correct[place] == (evaluation.correct & here & chosen).sum()
        listed = (evaluation.examples_set == 1) & (evaluation.examples_index == example)
        assert sums.drawn[place] == evaluation.examples_drawn[listed][0]
    assert len(evaluation.example_sums("nothing").example) == 0


def test_a_paired_interval_is_that_of_scipys_bootstrap(tmp_path):
    first, second = (read_evaluation(written(tmp_path, arm, noise=0.8)) for arm in (REPEATED, DISTINCT))
    found = heldout.paired(first, second, GROUP, 4)
    one, two = first.example_sums("held_out"), second.example_sums("held_out")

    def statistic(a, n, b, m, axis):
        return a.sum(axis) / n.sum(axis) - b.sum(axis) / m.sum(axis)

    known = stats.bootstrap(
        (one.loss, one.positions, two.loss, two.positions),
        statistic,
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=4000,
        random_state=np.random.default_rng(5),
    ).confidence_interval
    width = known.high - known.low
    assert found.bits.value == pytest.approx(0.3, abs=1e-5)
    assert found.bits.interval == pytest.approx((known.low, known.high), abs=0.12 * width)
    assert found.share.value == pytest.approx(0.3 / 6, abs=1e-5)
    assert found.bits.over == "examples"
    assert heldout.paired(first, first, GROUP, 4).bits.interval == (0, 0)


def test_independent_sets_are_drawn_independently():
    """Equal sets have the difference 0, whose interval must not vanish because both were drawn alike."""
    rng = np.random.default_rng(0)
    positions = np.full(200, 5.0)
    correct = rng.binomial(5, 0.4, 200).astype(float)
    found = heldout.difference((correct, positions), (correct, positions))
    known = 1.96 * np.sqrt(2) * (correct / 5).std() / np.sqrt(200)
    assert found.value == 0
    assert found.interval == pytest.approx((-known, known), rel=0.2)


def test_planted_memorisation_and_gap_are_found_by_times_drawn(tmp_path):
    measured = heldout.measure(read_evaluation(written(tmp_path, FRACTION, examples=1500)), GROUP, 4)
    once, often = measured.by_times
    assert (once.low, once.high, often.low, often.high) == (1, 1, 64, 64)
    assert once.memorisation.interval[0] < 0 < once.memorisation.interval[1]
    assert often.memorisation.value == pytest.approx(0.4, abs=0.03)
    assert measured.memorisation.value == pytest.approx(0.2, abs=0.03)
    assert measured.gap.value == pytest.approx(0.4, abs=0.05)
    assert measured.examples == {"held_out": 1500, "seen": 1500, "unseen": 1500}


def test_many_times_drawn_are_joined_by_powers_of_two():
    drawn = np.arange(1, 41)
    sums = ExampleSums(drawn, drawn, np.full(40, 10.0), np.ones(40), np.full(40, 3.0))
    unseen = ExampleSums(drawn, drawn * 0, np.full(40, 10.0), np.ones(40), np.full(40, 1.0))
    bins = heldout.by_times_drawn(sums, unseen)
    assert [(entry.low, entry.high, entry.examples) for entry in bins] == [
        (2, 3, 2),
        (4, 7, 4),
        (8, 15, 8),
        (16, 31, 16),
        (32, 40, 9),
    ]
    assert [entry.memorisation.value for entry in bins] == pytest.approx([0.2] * len(bins))


def test_losses_by_frequency_group_are_those_of_the_positions(tmp_path):
    first, second = (read_evaluation(written(tmp_path, arm)) for arm in (REPEATED, DISTINCT))
    measured, differences = heldout.measure(second, GROUP, 5), heldout.paired(first, second, GROUP, 5).group_share
    for index in range(4):
        here = (second.set == 0) & (GROUP[second.target] == index)
        if not here.any():
            continue
        mean = second.loss[here].mean(dtype=np.float64)
        assert measured.group_loss[index].value == pytest.approx(mean)
        change = first.loss[here].mean(dtype=np.float64) - mean
        assert differences[index].value == pytest.approx(change / mean)
    assert np.isnan(measured.group_loss[4].value)  # no target of this group
    assert measured.group_loss[4].interval is None


def test_sets_that_were_not_evaluated_have_no_value(tmp_path):
    measured = heldout.measure(read_evaluation(written(tmp_path, DISTINCT, sets=("held_out",))), GROUP, 4)
    assert np.isfinite(measured.loss["held_out"].value)
    for estimate in (measured.memorisation, measured.gap, measured.loss["seen"]):
        assert np.isnan(estimate.value)
        assert estimate.interval is None
    assert measured.by_times == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mask_seed": 2}, "mask_seed"),
        ({"update": 1500}, "equal updates"),
        ({"examples": 140}, "other held-out positions"),
    ],
)
def test_what_cannot_be_paired_is_refused(tmp_path, options, words):
    first, second = (
        read_evaluation(written(tmp_path, DISTINCT)),
        read_evaluation(written(tmp_path, REPEATED, **options)),
    )
    check_paired(first, first)
    with pytest.raises(EvaluationError, match=words) as error:
        check_paired(first, second)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.unlink(), "found nothing"),
        (lambda path: path.write_text("hello"), "found something else"),
        (lambda path: path.write_bytes(path.read_bytes()[:900]), "found something else"),
        (lambda path: changed(path, about=None), "about"),
        (lambda path: changed(path, about=np.array("[1]")), "about"),
        (lambda path: changed(path, about=about(path, format="other")), "'other'"),
        (lambda path: changed(path, about=about(path, format_version=2)), "version 2"),
        (lambda path: changed(path, loss=None), "`loss` is missing"),
        (lambda path: changed(path, loss=np.zeros(5)), "different lengths"),
        (lambda path: changed(path, loss=np.full(len(np.load(path)["loss"]), np.nan)), "not finite"),
        (lambda path: changed(path, correct=np.zeros((2, 2), bool)), "`correct` is bool"),
        (lambda path: changed(path, about=about(path, sets=["held_out"])), "set number beyond"),
    ],
)
def test_a_file_that_is_no_evaluation_gives_one_line(tmp_path, damage, words):
    path = written(tmp_path, DISTINCT)
    damage(path)
    with pytest.raises(EvaluationError, match=words) as error:
        read_evaluation(path)
    assert "\n" not in str(error.value)


def test_positions_of_an_example_that_is_not_listed_are_refused(tmp_path):
    path = written(tmp_path, DISTINCT)
    index = np.load(path)["examples_index"].copy()
    index[3] = 10_000
    with pytest.raises(EvaluationError, match="not listed"):
        read_evaluation(changed(path, examples_index=index)).example_sums("held_out")
