"""Where does a loss stand among the losses of a sample?"""

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Floats = NDArray[np.float64]


@compiled
def sample_pits(sample: Floats, loss: Floats, place: Floats, pit: Floats) -> None:
    """Fill `pit` (P,) with the share of each row of (P, S) losses that is as deep as `loss` (P,), or deeper.

    The loss takes the `place` (P,), from 0 to 1, within its rank among those that are known (not NaN) and itself. NaN
    where it is not known, where none of the sample is, and where one is infinite.
    """
    portfolios, size = sample.shape
    for p in range(portfolios):
        row, lost = sample[p], loss[p]
        deeper, reaching, known, endless = 0, 0, 0, 0
        for s in range(size):
            deeper += row[s] > lost
            reaching += row[s] >= lost
            known += row[s] == row[s]
            endless += abs(row[s]) == np.inf
        if known == 0 or endless > 0 or not abs(lost) < np.inf:
            pit[p] = np.nan
        else:
            pit[p] = (deeper + place[p] * (reaching - deeper + 1.0)) / (known + 1.0)
