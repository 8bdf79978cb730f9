"""Parameters of fairseq's transformer in closed form, and what sharing the embedding tables saves (claim C6.1).

With width d, feed-forward width f and V rows, fairseq's `TransformerModel` has: attention, four projections with bias,
4 (d^2 + d) (keys and values of encoder-decoder attention read the encoder's width); feed-forward, 2 d f + f + d; a layer norm,
2 d. An encoder layer has one attention, one feed-forward and two layer norms, a decoder layer two, one and three. Beside the
layers: a final layer norm where `normalize_before`, learned positions, a layer norm of the embeddings, and t tables of V d
(the output projection has no bias, and padding has no parameters of its own beyond its row).
Sharing all three tables therefore saves exactly 2 V d, sharing the decoder's two exactly V d.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from translation_files import Model, TranslationError

POSITIONS = 1024  # fairseq's default of max_source_positions and max_target_positions
PADDING_ROWS = 2  # learned positions begin after the padding's: 1024 + padding_idx + 1 rows


STOCK = {  # fairseq's transformer_iwslt_de_en
    "encoder_layers": 6,
    "decoder_layers": 6,
    "encoder_embed_dim": 512,
    "decoder_embed_dim": 512,
    "encoder_ffn_embed_dim": 1024,
    "decoder_ffn_embed_dim": 1024,
    "encoder_normalize_before": False,
    "decoder_normalize_before": False,
    "encoder_learned_pos": False,
    "decoder_learned_pos": False,
    "layernorm_embedding": False,
    "rows": 10_000,
}


@dataclass(frozen=True)
class Count:
    """One arm's parameters as counted, and by the closed form (None: the shape does not allow it, `problem` says why)."""

    arm: str
    counted: int
    in_tables: int
    tables: int
    rows: int
    dim: int
    closed: int | None
    problem: str = ""

    @property
    def exact(self) -> bool:
        """Is the closed form equal to the count, to the unit?"""
        return self.closed == self.counted

    @property
    def rest(self) -> int:
        """Parameters outside the embedding tables."""
        return self.counted - self.in_tables


@dataclass(frozen=True)
class Saving:
    """Parameters of `arm` less those of `base`: counted, as a share of the base's, and by the closed form."""

    arm: str
    base: str
    difference: int
    share: float
    expected: int

    @property
    def exact(self) -> bool:
        return self.difference == self.expected


def attention(dim: int, key_dim: int | None = None) -> int:
    """Four projections with bias; keys and values come from vectors of `key_dim`."""
    return 2 * (dim * dim + dim) + 2 * ((key_dim or dim) * dim + dim)


def feed_forward(dim: int, inner: int) -> int:
    return 2 * dim * inner + inner + dim


def layer_norm(dim: int) -> int:
    return 2 * dim


def closed_form(shape: dict[str, Any], tables: int) -> dict[str, int]:
    """Parameters by part: `tables`, `encoder`, `decoder`. `shape` is model.json's, `tables` the number of different tables.

    Raises TranslationError: the shape lacks an entry, or has one that is no number.
    """
    result = {"tables": 0}
    try:
        rows = int(shape["rows"])
        encoder_dim = int(shape["encoder_embed_dim"])
        for side, norms in (("encoder", 2), ("decoder", 3)):
            dim, inner = int(shape[f"{side}_embed_dim"]), int(shape[f"{side}_ffn_embed_dim"])
            layer = attention(dim) + feed_forward(dim, inner) + norms * layer_norm(dim)
            if side == "decoder":
                layer += attention(dim, encoder_dim)
            total = int(shape[f"{side}_layers"]) * layer
            total += layer_norm(dim) * (bool(shape[f"{side}_normalize_before"]) + bool(shape["layernorm_embedding"]))
            if shape[f"{side}_learned_pos"]:
                places = int(shape.get(f"max_{'source' if side == 'encoder' else 'target'}_positions", POSITIONS))
                total += (places + PADDING_ROWS) * dim
            result[side] = total
        if encoder_dim != int(shape["decoder_embed_dim"]):
            raise ValueError("the tables have different widths, so no closed form of shared tables is known")
        result["tables"] = tables * rows * encoder_dim
    except KeyError as error:
        raise TranslationError(f"model.json: the shape lacks {error.args[0]!r}, which the closed form needs") from None
    except (TypeError, ValueError) as error:
        raise TranslationError(f"model.json: no closed form: {error}") from None
    return result


def count(arm: str, model: Model) -> Count:
    """An arm's count beside its closed form."""
    rows, dim = next(iter(model.tables.values()))
    closed, problem = None, ""
    try:
        closed = sum(closed_form(model.shape, len(model.tables)).values())
    except TranslationError as error:
        problem = str(error)
    return Count(arm, model.parameters, model.in_tables, len(model.tables), rows, dim, closed, problem)


def saving(arm: Count, base: Count) -> Saving:
    """What `arm` has more (or fewer: negative) than `base`, which has more tables of the same form."""
    difference = arm.counted - base.counted
    expected = (arm.tables - base.tables) * base.rows * base.dim
    return Saving(arm.arm, base.arm, difference, difference / base.counted, expected)


def words(found: Count) -> str:
    """Whether the closed form agrees, as a sentence."""
    if found.closed is None:
        return f"{found.arm}: {found.counted:,} parameters counted; {found.problem}."
    if found.exact:
        return f"{found.arm}: {found.counted:,} parameters, equal to the closed form to the unit."
    gap = found.counted - found.closed
    return (
        f"{found.arm}: {found.counted:,} parameters counted, {found.closed:,} by the closed form: NOT equal, {gap:+,}; the model "
        "has parts that the closed form does not know, or its shape is not what it was built from."
    )


def saving_words(found: Saving, tables: Sequence[Count]) -> str:
    """`all − none: −4,026,368 parameters (−40.3 %), = −2 V d with V = 7,864 and d = 256, exactly.`"""
    base = next(entry for entry in tables if entry.arm == found.base)
    steps = round(found.expected / (base.rows * base.dim))
    form = f"{steps:+d} V d" if abs(steps) != 1 else f"{'+' if steps > 0 else '-'}V d"
    agrees = "exactly" if found.exact else f"NOT equal, which would be {found.expected:+,}"
    return (
        f"{found.arm} minus {found.base}: {found.difference:+,} parameters ({100 * found.share:+.1f} %); {form} with "
        f"V = {base.rows:,} and d = {base.dim:,}: {agrees}."
    )


def stock_words() -> str:
    """What sharing saves in fairseq's stock architecture, for comparison: the share depends on vocabulary and size."""
    none, every = (sum(closed_form(STOCK, tables).values()) for tables in (3, 1))
    return (
        f"By the closed form, fairseq's transformer_iwslt_de_en with a joint vocabulary of {STOCK['rows']:,} has {none:,} parameters with three "
        f"tables and {every:,} with one: {100 * (every / none - 1):+.1f} %."
    )
