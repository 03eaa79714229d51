"""Where does the tail of a sample begin, and how heavy is it?"""

import math

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Floats = NDArray[np.float64]


def supports(observations: int, level: float) -> bool:
    """Whether the largest of n observations reaches `level`: level <= n / (n + 1).

    >>> supports(98, 0.99), supports(99, 0.99)
    (False, True)
    """
    return level * (observations + 1) <= observations + 1e-9


def needed(level: float) -> int:
    """The fewest observations whose largest reaches `level`.

    >>> needed(0.99)
    99
    """
    return math.ceil(level / (1.0 - level) - 1e-9)


def upper_quantile(sample: Floats, level: float) -> Floats:
    """The (n + 1) * level order statistic along the last axis (Weibull plotting position); no NaN allowed.

    The sample must support the level.
    """
    return np.asarray(np.quantile(sample, level, axis=-1, method="weibull"), dtype=np.float64)


def complete(returns: Floats) -> NDArray[np.bool_]:
    """Which of (S, A) rows have no hole, (S,)."""
    return np.asarray(np.isfinite(returns).all(axis=1))


@compiled
def upper_tails(losses: Floats, level: float, quantile: Floats, beyond: Floats) -> None:
    """Fill `quantile` (P,) and `beyond` (P,), the mean of the losses at or above it, for each row of (P, S) losses.

    The quantile is the (S + 1) * level order statistic. Only as many of the largest losses are kept as it needs, in a
    heap whose root is the smallest of them; S must support the level.
    """
    portfolios, size = losses.shape
    position = min(max((size + 1) * level, 1.0), float(size))
    lower = int(math.floor(position + 1e-9))
    fraction = max(position - lower, 0.0)
    kept = size - lower + 1
    heap = np.empty(kept)
    for p in range(portfolios):
        for s in range(kept):
            heap[s] = losses[p, s]
        heap.sort()
        for s in range(kept, size):
            value = losses[p, s]
            if value > heap[0]:
                node = 0
                child = 1
                while child < kept:
                    if child + 1 < kept and heap[child + 1] < heap[child]:
                        child += 1
                    if heap[child] >= value:
                        break
                    heap[node] = heap[child]
                    node = child
                    child = 2 * node + 1
                heap[node] = value
        heap.sort()
        cut = heap[0]
        if fraction > 0.0 and kept > 1:
            cut += fraction * (heap[1] - heap[0])
        total = 0.0
        count = 0
        for s in range(kept):
            if heap[s] >= cut:
                total += heap[s]
                count += 1
        quantile[p] = cut
        beyond[p] = total / count


def book_tails(losses: Floats, level: float) -> tuple[Floats, Floats]:
    """Quantile and mean beyond it for each row of (P, S) losses, (P,) each."""
    quantile, beyond = np.empty((2, len(losses)))
    upper_tails(np.ascontiguousarray(losses), level, quantile, beyond)
    return quantile, beyond
