"""The loss of a masked LM that learned no context: it knows the token counts, and copies what masking leaves visible.

Of the tokens to be predicted, fairseq replaces most by `<mask>`, leaves a share u as they are (`leave_unmasked_prob`) and replaces a share
r by random tokens, drawn evenly (`random_token_prob`); Devlin et al. 2019, u = r = 0.1. A visible token t was left as it is with
probability f(t) = u p(t) / (u p(t) + r / V), with p the unigram distribution of V tokens. The best prediction without any context
then costs, in bits a token to be predicted,

    (1 - u - r) H + r H + sum over t of (u p(t) + r / V) h(f(t)),

with H the entropy of p and h that of a coin. At u = 0.1 this lies between 0.9 H and 0.9 H + 0.2: most of what a validation loss falls below
the unigram entropy early in training is copying, and a loss 10 % below the entropy is just what copying cannot reach.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def copying_loss(counts: NDArray[np.integer], kept: float, replaced: float) -> float | None:
    """In bits, from the token counts int (V,) of the tokens that masking draws from; None without any count."""
    total = counts.sum()
    if not len(counts) or total <= 0:
        return None
    p = counts / total
    entropy = float(-(p[p > 0] * np.log2(p[p > 0])).sum())
    visible = kept * p + replaced / len(p)
    share = np.divide(kept * p, visible, out=np.zeros_like(p), where=visible > 0)
    return (1 - kept) * entropy + float((visible * _coin(share)).sum())


def copying_loss_of(config: Mapping[str, Any], counts: NDArray[np.integer], counted: NDArray[np.bool_]) -> float | None:
    """Of a run by its fairseq configuration, for a masked LM whose random tokens are drawn evenly; else None."""
    task = config.get("task")
    if not isinstance(task, Mapping) or task.get("freq_weighted_replacement"):
        return None
    shares = [task.get(name) for name in ("leave_unmasked_prob", "random_token_prob")]
    if not all(isinstance(share, int | float) and 0 <= share < 1 for share in shares):
        return None
    return copying_loss(counts[counted], float(shares[0]), float(shares[1]))


def _coin(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Entropy in bits of a coin that falls on one side with these probabilities."""
    inside = (share > 0) & (share < 1)
    x = np.where(inside, share, 0.5)
    return np.where(inside, -(x * np.log2(x) + (1 - x) * np.log2(1 - x)), 0.0)
