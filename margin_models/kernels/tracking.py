"""Which multiple of its margins would have let through the breaches that were asked for, and no more?"""

import math

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Floats = NDArray[np.float64]


@compiled
def tracked(ratio: Floats, rate: float, gains: Floats, lowest: float, highest: float) -> Floats:
    """Log multipliers before each of T outcomes and after the last, (T + 1, P): x' = x + gain (1{r > e^x} - rate).

    `ratio` (T, P) is loss over margin, NaN where there is no news; `gains` (T,). The multiplier starts at one and stays
    within [`lowest`, `highest`], both in logarithms.
    """
    rows, portfolios = ratio.shape
    path = np.zeros((rows + 1, portfolios))
    for p in range(portfolios):
        x = min(max(0.0, lowest), highest)
        path[0, p] = x
        for t in range(rows):
            r = ratio[t, p]
            if not math.isnan(r):
                breached = 1.0 if r > math.exp(x) else 0.0
                x = min(max(x + gains[t] * (breached - rate), lowest), highest)
            path[t + 1, p] = x
    return path
