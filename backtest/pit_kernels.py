"""Where does a loss stand among the losses of a sample?"""

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Floats = NDArray[np.float64]


@compiled
def sample_pits(sample: Floats, loss: Floats, pit: Floats) -> None:
    """Fill `pit` (P,) with the share of each row of (P, S) losses that is as deep as `loss` (P,), or deeper.

    The loss takes the middle of its rank among S + 1. NaN where the loss or any of the sample is not known.
    """
    portfolios, size = sample.shape
    for p in range(portfolios):
        row, lost = sample[p], loss[p]
        deeper, reaching, unknown = 0, 0, 0
        for s in range(size):
            deeper += row[s] > lost
            reaching += row[s] >= lost
            unknown += not abs(row[s]) < np.inf
        if unknown > 0 or not abs(lost) < np.inf:
            pit[p] = np.nan
        else:
            pit[p] = (0.5 * (deeper + reaching) + 0.5) / (size + 1.0)
