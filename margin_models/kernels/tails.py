"""Where does the tail of a sample begin, and how heavy is it?"""

import math

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Floats = NDArray[np.float64]

CHUNK = 32  # values whose largest is found in one go of the vector unit


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


@compiled(fastmath={"nnan", "nsz"})
def chunk_peaks(losses: Floats, peaks: Floats) -> None:
    """Fill `peaks` (C,) with the largest of each run of CHUNK values; the last run may be shorter. No NaN allowed."""
    for c in range(len(peaks)):
        peak = losses[c * CHUNK]
        for s in range(c * CHUNK + 1, min((c + 1) * CHUNK, len(losses))):
            peak = max(peak, losses[s])
        peaks[c] = peak


@compiled
def upper_tails(losses: Floats, level: float, quantile: Floats, beyond: Floats) -> None:
    """Fill `quantile` (P,) and `beyond` (P,), the mean of the losses at or above it, for each row of (P, S) losses.

    The quantile is the (S + 1) * level order statistic, S must support the level, and only the k largest losses matter.
    Where there are as many runs of CHUNK losses, the k-th largest of their peaks is below none of those k: few losses
    reach it, and only these are sorted.
    """
    portfolios, size = losses.shape
    position = min(max((size + 1) * level, 1.0), float(size))
    lower = math.floor(position + 1e-9)
    fraction = max(position - lower, 0.0)
    kept = size - lower + 1
    peaks = np.empty((size + CHUNK - 1) // CHUNK)
    reaching = np.empty(size)
    for p in range(portfolios):
        row = losses[p]
        chunk_peaks(row, peaks)
        bound = np.sort(peaks)[len(peaks) - kept] if len(peaks) >= kept else -np.inf
        found = 0
        for c in range(len(peaks)):
            if peaks[c] >= bound:
                for s in range(c * CHUNK, min((c + 1) * CHUNK, size)):
                    if row[s] >= bound:
                        reaching[found] = row[s]
                        found += 1
        tail = np.sort(reaching[:found])[found - kept :]
        cut = tail[0]
        if fraction > 0.0 and kept > 1:
            cut += fraction * (tail[1] - tail[0])
        first = 0
        while first < kept - 1 and tail[first] < cut:
            first += 1
        quantile[p] = cut
        beyond[p] = tail[first:].mean()


def book_tails(losses: Floats, level: float) -> tuple[Floats, Floats]:
    """Quantile and mean beyond it for each row of (P, S) losses, (P,) each."""
    quantile, beyond = np.empty((2, len(losses)))
    upper_tails(np.ascontiguousarray(losses), level, quantile, beyond)
    return quantile, beyond
