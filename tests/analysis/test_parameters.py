"""The closed form of a transformer's parameters against a list of all its weights, and what sharing saves."""

import pytest
from sharing_runs import SHAPE, by_name, write_model

from parameters import closed_form, count, saving, saving_words, words
from translation_files import TranslationError, read_model

SHAPES = {
    "plain": {},
    "pre-norm": {"encoder_normalize_before": True, "decoder_normalize_before": True},
    "learned positions": {"encoder_learned_pos": True, "decoder_learned_pos": True},
    "norm of embeddings": {"layernorm_embedding": True},
    "unequal sides": {
        "encoder_layers": 5,
        "decoder_layers": 2,
        "encoder_ffn_embed_dim": 96,
        "encoder_normalize_before": True,
    },
}


@pytest.mark.parametrize("changed", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize(("arm", "tables"), [("none", 3), ("decoder", 2), ("all", 1)])
def test_the_closed_form_is_the_sum_of_all_weights(changed, arm, tables):
    shape = SHAPE | changed
    sizes = by_name(shape, arm)
    parts = closed_form(shape, tables)
    assert sum(parts.values()) == sum(sizes.values())
    for side in ("encoder", "decoder"):
        own = {name: size for name, size in sizes.items() if name.startswith(side)}
        own = sum(size for name, size in own.items() if "embed_tokens" not in name and "output_projection" not in name)
        assert parts[side] == own


def test_the_numbers_of_a_trained_model():
    """fairseq's own count of 3 + 3 layers of width 256, feed-forward 512, V = 7,864: nothing shared, and all."""
    size = {"encoder_embed_dim": 256, "decoder_embed_dim": 256, "rows": 7864}
    shape = SHAPE | size | {"encoder_ffn_embed_dim": 512, "decoder_ffn_embed_dim": 512}
    assert sum(closed_form(shape, 3).values()) == 9_993_216
    assert sum(closed_form(shape, 1).values()) == 5_966_848


def test_sharing_saves_whole_tables(tmp_path):
    counts = {}
    for arm in ("none", "decoder", "all"):
        write_model(tmp_path, arm)
        counts[arm] = count(arm, read_model(tmp_path))
        assert counts[arm].exact
        assert "to the unit" in words(counts[arm])
    table = SHAPE["rows"] * SHAPE["encoder_embed_dim"]
    for arm, tables in (("decoder", 1), ("all", 2)):
        found = saving(counts[arm], counts["none"])
        assert found.difference == found.expected == -tables * table
        assert found.share == pytest.approx(-tables * table / counts["none"].counted)
        assert "exactly" in saving_words(found, list(counts.values()))
    assert counts["none"].rest == counts["all"].rest


def test_a_count_that_the_closed_form_does_not_give_is_said(tmp_path):
    write_model(tmp_path, "none", extra=7)
    found = count("none", read_model(tmp_path))
    assert not found.exact
    assert "NOT equal, +7" in words(found)
    write_model(tmp_path, "all")
    less = saving(count("all", read_model(tmp_path)), found)
    assert "NOT equal" in saving_words(less, [found])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"encoder_layers": None}, "no closed form"),
        ({"decoder_embed_dim": 32}, "different widths"),
    ],
)
def test_a_shape_without_a_closed_form_gives_one_line(changed, message):
    with pytest.raises(TranslationError, match=message) as error:
        closed_form(SHAPE | changed, 3)
    assert "\n" not in str(error.value)
    lacking = {name: value for name, value in SHAPE.items() if name != "rows"}
    with pytest.raises(TranslationError, match="lacks 'rows'"):
        closed_form(lacking, 3)
