"""How much of a book's risk do opposite legs offset?"""

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Floats = NDArray[np.float64]


@compiled
def spread_credit(risk: Floats, first: NDArray[np.intp], second: NDArray[np.intp], rate: Floats) -> Floats:
    """Credit of each book, (P,), from pairs taken in order.

    `risk` (P, A) is scan risk with the sign of the position. A pair (first, second) at a rate > 0 offsets legs of
    opposite sign, at a rate < 0 legs of the same sign; risk used up by one pair is not there for the next.
    """
    books, size = risk.shape
    credit = np.zeros(books)
    left = np.empty(size)
    for p in range(books):
        for a in range(size):
            left[a] = risk[p, a]
        for k in range(len(rate)):
            i, j = first[k], second[k]
            if left[i] * left[j] * rate[k] < 0.0:
                matched = min(abs(left[i]), abs(left[j]))
                credit[p] += 2.0 * matched * abs(rate[k])
                left[i] -= matched * np.sign(left[i])
                left[j] -= matched * np.sign(left[j])
    return credit
