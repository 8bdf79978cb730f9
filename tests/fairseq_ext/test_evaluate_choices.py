"""What an evaluation chooses: masks, examples, batches; and what it reads of a treebank. Without a model."""

from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairseq_ext.errors import UserError
from fairseq_ext.evaluate import masks, treebank
from fairseq_ext.evaluate.command import parser
from fairseq_ext.evaluate.examples import sample, shares, stratified
from fairseq_ext.evaluate.losses import batches, mask, maskable
from fairseq_ext.evaluate.options import choose_device, layer_list
from fairseq_ext.evaluate.probe import first_pieces, require_layers

KEYS = st.integers(0, 2**31 - 1)


def test_masks_are_these_for_ever() -> None:
    """Golden numbers: another version of numpy, machine or order of evaluation must not change a mask."""
    assert masks.chosen(1, 0, 0, 0, 40).tolist() == GOLDEN[0]
    assert masks.chosen(1, 0, 0, 1, 40).tolist() == GOLDEN[1]
    assert masks.chosen(2, 1, 77, 0, 40).tolist() == GOLDEN[2]
    assert masks.shuffled((1, 0, 7), 8).tolist() == GOLDEN[3]


GOLDEN = [[0, 1, 18, 19, 20, 26], [2, 12, 13, 15, 25, 38], [1, 5, 9, 13, 23, 32], [5, 0, 1, 3, 6, 2, 7, 4]]


@given(KEYS, st.integers(0, 2), KEYS, st.integers(0, 254), st.integers(0, 600))
def test_a_mask_is_of_the_example_and_of_15_percent(
    seed: int, part: int, example: int, repeat: int, tokens: int
) -> None:
    chosen = masks.chosen(seed, part, example, repeat, tokens)
    assert (np.diff(chosen) > 0).all()
    assert ((chosen >= 0) & (chosen < tokens)).all()
    assert len(chosen) in ({0} if tokens == 0 else {max(1, int(0.15 * tokens)), max(1, int(0.15 * tokens) + 1)})


def test_masks_are_fair_and_differ() -> None:
    """Each token is masked as often as another, 15 % in all; every part of the key changes the mask."""
    tokens = 50
    drawn = [masks.chosen(1, 0, example, 0, tokens) for example in range(4000)]
    rate = np.bincount(np.concatenate(drawn), minlength=tokens) / len(drawn)
    assert rate.mean() == pytest.approx(0.15, abs=0.001)
    assert np.abs(rate - 0.15).max() < 0.024  # over 4 standard errors
    base = (1, 0, 5, 0)
    for place in range(4):
        changed = tuple(k + (position == place) for position, k in enumerate(base))
        assert not np.array_equal(masks.chosen(*base, 100), masks.chosen(*changed, 100)), place


def test_special_tokens_are_never_masked_and_all_chosen_become_the_mask() -> None:
    tokens = np.array([0, 10, 3, 11, 12, 13, 3, 14, 2])
    assert maskable(tokens, 4).tolist() == [1, 3, 4, 5, 7]
    seen = set()
    for repeat in range(60):
        item = mask(tokens, 4, 99, 1, 0, 0, repeat)
        assert np.array_equal(tokens[item.positions], item.targets)
        assert (item.targets >= 4).all()
        assert np.flatnonzero(item.source == 99).tolist() == item.positions.tolist()
        kept = np.delete(np.arange(len(tokens)), item.positions)
        assert np.array_equal(item.source[kept], tokens[kept])
        seen |= set(item.positions.tolist())
    assert seen == {1, 3, 4, 5, 7}
    assert (tokens == np.array([0, 10, 3, 11, 12, 13, 3, 14, 2])).all()  # the corpus is not written to
    assert not len(mask(np.array([0, 3, 2]), 4, 99, 1, 0, 0, 0).positions)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=80), st.integers(1, 500))
def test_batches_hold_every_sequence_once_within_the_limit(lengths: list[int], limit: int) -> None:
    found = list(batches(lengths, limit))
    assert sorted(k for batch in found for k in batch) == list(range(len(lengths)))
    for batch in found:
        assert len(batch) == 1 or len(batch) * max(lengths[k] for k in batch) <= limit


def test_sorted_batches_need_little_padding() -> None:
    lengths = np.random.default_rng(1).integers(5, 200, 500).tolist()
    padded = sum(len(batch) * max(lengths[k] for k in batch) for batch in batches(lengths, 2048))
    assert padded < 1.05 * sum(lengths)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.integers(0, 200))
def test_shares_are_even_and_complete(available: list[int], number: int) -> None:
    given_places = shares(available, number)
    assert sum(given_places) == min(number, sum(available))
    assert all(0 <= g <= a for g, a in zip(given_places, available, strict=True))
    if number >= len(available):
        not_full = [g for g, a in zip(given_places, available, strict=True) if g < a]
        for g in not_full:  # whoever could have had more has as much as anyone, but for the remainder
            assert g >= max(given_places) - 1
    assert all(g <= 1 for g in given_places) or number >= len(available)


def test_seen_examples_are_of_every_number_of_draws() -> None:
    times = np.array([0] * 50 + [1] * 400 + [7] * 30 + [100] * 3)
    fits = np.ones(len(times), dtype=bool)
    fits[480] = False
    chosen = stratified(times, fits, 60, 1)
    assert (np.diff(chosen) > 0).all()
    assert 480 not in chosen
    levels, sizes = np.unique(times[chosen], return_counts=True)
    assert dict(zip(levels.tolist(), sizes.tolist(), strict=True)) == {1: 29, 7: 29, 100: 2}
    assert np.array_equal(chosen, stratified(times, fits, 60, 1))
    assert not np.array_equal(chosen, stratified(times, fits, 60, 2))
    assert len(stratified(np.zeros(5, int), np.ones(5, bool), 10, 1)) == 0


def test_a_sample_is_a_subset_of_a_larger_one() -> None:
    candidates = np.ones(300, dtype=bool)
    candidates[::3] = False
    small, large = sample(candidates, 20, 1, 0), sample(candidates, 80, 1, 0)
    assert len(small) == 20
    assert set(small) < set(large)
    assert candidates[large].all()
    assert len(sample(candidates, 1000, 1, 0)) == 200
    assert not np.array_equal(small, sample(candidates, 20, 2, 0))


CONLLU = """\
# sent_id = 1
# text = He didn't go; gimme it.
1\tHe\the\tPRON\tPRP\t_\t4\tnsubj\t_\t_
2-3\tdidn't\t_\t_\t_\t_\t_\t_\t_\t_
2\tdid\tdo\tAUX\tVBD\t_\t4\taux\t_\t_
3\tn't\tnot\tPART\tRB\t_\t4\tadvmod\t_\t_
4\tgo\tgo\tVERB\tVB\t_\t0\troot\t_\tSpaceAfter=No
5\t;\t;\tPUNCT\t,\t_\t4\tpunct\t_\t_
5.1\tghost\tghost\tVERB\t_\t_\t_\t_\t_\t_
6-7\tgimme\t_\t_\t_\t_\t_\t_\t_\t_
6\tgive\tgive\tVERB\tVB\t_\t4\tconj\t_\t_
7\tme\tI\tPRON\tPRP\t_\t6\tiobj\t_\t_
8\tit\tit\tPRON\tPRP\t_\t6\tobj\t_\tSpaceAfter=No|X=Y
9\t.\t.\tPUNCT\t.\t_\t4\tpunct\t_\t_

# sent_id = 2
1\tYes\tyes\tINTJ\tUH\t_\t0\troot\t_\t_
"""


def test_sentences_of_a_treebank_are_the_text_with_places_of_words(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.conllu", tmp_path / "a.conllu.xz"
    plain.write_text(CONLLU)
    packed.write_bytes(lzma.compress(CONLLU.encode()))
    first, second = treebank.read(plain)
    assert first.text == "He didn't go; gimme it."
    assert [w.form for w in first.words] == ["He", "did", "n't", "go", ";", "it", "."]
    assert [w.tag for w in first.words] == ["PRON", "AUX", "PART", "VERB", "PUNCT", "PRON", "PUNCT"]
    assert all(first.text.startswith(w.form, w.start) for w in first.words)
    assert first.lost == 2
    assert second.text == "Yes"
    assert treebank.read(packed) == [first, second]


def test_a_word_within_a_piece_is_left_out() -> None:
    sentence = treebank.sentence(
        [(n, line.split("\t")) for n, line in enumerate(CONLLU.split("\n\n")[0].splitlines()[2:], 1)], Path("a")
    )
    pieces = [
        (0, 2),
        (2, 7),
        (7, 9),
        (9, 12),
        (12, 13),
        (13, 16),
        (16, 19),
        (19, 22),
        (22, 23),
    ]  # "He| didn|'t| go|;| gim|me| it|."
    pairs = [(number, word.form) for number, word in first_pieces(sentence, pieces)]
    assert pairs == [(0, "He"), (1, "did"), (3, "go"), (4, ";"), (7, "it"), (8, ".")]


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "found none"), ("1\tYes\n", "ten columns"), ("x" + "\t_" * 9 + "\n", "a word's number")],
)
def test_a_file_that_is_no_treebank(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "a.conllu"
    path.write_text(text)
    with pytest.raises(UserError, match=said):
        treebank.read(path)
    (tmp_path / "b.conllu.xz").write_bytes(lzma.compress(CONLLU.encode())[:100])
    with pytest.raises(UserError, match="cannot be read"):
        treebank.read(tmp_path / "b.conllu.xz")


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(1, 400), KEYS)
def test_whole_sentences_up_to_the_cap(lengths: list[int], cap: int, seed: int) -> None:
    sentences = [treebank.Sentence("", (treebank.Word(0, "a", "X"),) * n, 0) for n in lengths]
    taken = treebank.whole_sentences(sentences, cap, (seed,))
    assert sum(lengths[k] for k in taken) <= cap
    assert len(taken) == len(set(taken))
    if sum(lengths) <= cap:
        assert len(taken) == len(lengths)
    assert set(taken) <= set(treebank.whole_sentences(sentences, cap + 10, (seed,)))


def test_layers() -> None:
    assert require_layers(None, 6) == (0, 3, 6)
    assert require_layers(None, 1) == (0, 1)
    assert require_layers((4, 0, 4), 6) == (0, 4)
    for wrong in ((7,), (-1, 2), ()):
        with pytest.raises(UserError, match="--layers: expected numbers from 0"):
            require_layers(wrong, 6)
    assert layer_list("0,3") == (0, 3)
    assert require_layers(layer_list("all"), 3) == (0, 1, 2, 3)


@pytest.mark.parametrize(
    "options", ["--masks 0", "--masks 256", "--held-out -1", "--seen many", "--layers a", "--nothing"]
)
def test_options_out_of_bounds_are_one_line(options: str) -> None:
    with pytest.raises(UserError) as refused:
        parser().parse_args(["run", *options.split()])
    assert "\n" not in str(refused.value)


def test_devices() -> None:
    assert choose_device("cpu").type == "cpu"
    for wrong in ("meta", "gpu"):
        with pytest.raises(UserError, match="--device: expected cpu or cuda"):
            choose_device(wrong)
