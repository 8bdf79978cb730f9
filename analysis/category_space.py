"""The space in which categories are tested: each row less what tokens of its form and token count have in common.

The rows of frequent tokens drift another way than those of rare ones, so that less the common vector alone all frequent words point
one way, and any list of frequent words would look like a cluster. Within each stratum (category_strata.py) the least-squares line of the
rows over log(1 + token count) is taken off, and the rest divided by its norm. The line is the same whichever of the stratum's tokens form a
category, so that the permutation test stays exact.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from category_strata import Strata
from neighbours import unit_rows

Space = Literal["matched", "centred", "raw"]
SPACES: tuple[str, ...] = get_args(Space)
WORDS = {
    "matched": "less the trend over log token count of their stratum",
    "centred": "less the common vector",
    "raw": "as they are",
}


def category_rows(
    values: NDArray[np.floating], strata: Strata, counts: NDArray[np.integer], space: Space = "matched"
) -> NDArray[np.float32]:
    """Unit rows float32 (rows, dim) of a table `values` (rows, dim), zero for rows in no stratum; `counts` int (rows,).

    "matched": less their stratum's trend; "centred": less the mean of all rows of the strata (the common vector); "raw".
    """
    inside = strata.of_row >= 0
    result = np.zeros(values.shape, np.float32)
    if space == "matched":
        for rows in strata.rows:
            result[rows] = _residual(values[rows], np.log1p(counts[rows]))
    else:
        centre = values[inside].mean(axis=0, dtype=np.float64) if space == "centred" else 0.0
        result[inside] = values[inside] - centre
    return unit_rows(result)


def _residual(values: NDArray[np.floating], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows (n, dim) less their least-squares line over `x` (n,); less their mean where x does not vary.

    A row that fixes the line by itself, because all others have one other x, has no residual and becomes zero.
    """
    centred = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
    apart = x - x.mean()
    square = float(apart @ apart)
    if square == 0:
        return centred
    residual = centred - np.outer(apart, apart @ centred / square)
    residual[1 / len(x) + apart**2 / square > 1 - 1e-9] = 0  # the leverage: 1 where the line goes through the row
    return residual
