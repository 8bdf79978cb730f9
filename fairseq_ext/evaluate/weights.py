"""The weights of fairseq's RoBERTa as :mod:`.parameters` takes them."""

from __future__ import annotations

from typing import Any

import numpy as np
from fairseq.models.roberta import RobertaModel
from torch import Tensor, nn

from ..errors import UserError
from .loading import Trained
from .parameters import LayerWeights


def require_roberta(run: Trained) -> None:
    """Check that the model's layers are where fairseq's RoBERTa has them.

    Raises:
        UserError: it is another model.
    """
    if not isinstance(run.model, RobertaModel):
        raise UserError(
            f"{run.checkpoint}: expected a model of fairseq's RoBERTa kind; found {type(run.model).__name__}, whose layers cannot be read"
        )


def layer_weights(run: Trained) -> list[LayerWeights]:
    """The layers of a run's model, first to last. Of a norm after a block nothing is taken.

    Raises:
        UserError: weights that are not finite, or of sizes that do not fit together.
    """
    layers = run.model.encoder.sentence_encoder.layers
    try:
        result = [_weights(layer) for layer in layers]
    except ValueError as error:
        raise UserError(f"{run.checkpoint}: its layers cannot be read ({error})") from error
    for number, weights in enumerate(result):
        if not all(np.isfinite(array).all() for array in vars(weights).values() if array is not None):
            raise UserError(f"{run.checkpoint}: weights of layer {number} are not finite; its training diverged")
    return result


def _weights(layer: Any) -> LayerWeights:
    attention = layer.self_attn
    before = layer.normalize_before
    return LayerWeights(
        key=_numpy(layer.fc1.weight),
        value=_numpy(layer.fc2.weight),
        v=_numpy(attention.v_proj.weight),
        o=_numpy(attention.out_proj.weight),
        key_gain=_numpy(layer.final_layer_norm.weight) if before else None,
        v_gain=_numpy(layer.self_attn_layer_norm.weight) if before else None,
    )


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()


def head_count(run: Trained) -> int:
    """Attention heads of a layer."""
    return int(run.model.encoder.sentence_encoder.layers[0].self_attn.num_heads)


def describe(run: Trained) -> dict[str, Any]:
    """What ``about`` of ``parameters.npz`` says of the model beside its sizes: ``normalize_before``, ``tied``, ``table``."""
    encoder = run.model.encoder
    table = encoder.sentence_encoder.embed_tokens.weight
    return {
        "normalize_before": bool(encoder.sentence_encoder.layers[0].normalize_before),
        "tied": encoder.lm_head.weight is table,
        "table": _name(run.model, table),
    }


def _name(model: nn.Module, wanted: nn.Parameter) -> str:
    return next(name for name, parameter in model.named_parameters() if parameter is wanted)
