"""Which generalised Pareto law makes the excesses beyond a threshold most likely?

The likelihood is followed along theta = shape / scale, where the best shape is the mean of ln(1 + theta y) (Grimshaw,
1993, Technometrics 35): one unknown instead of two. In a table of starts no basin between them is missed, and the best
one is refined by Newton's method kept inside its neighbours.
"""

import math

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Floats = NDArray[np.float64]

# Starts for excesses of mean one: shares of the bound -1 / largest, counted from it, and a geometric row above zero.
BELOW = np.array([0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.97])
ABOVE = 0.01 * 2.0 ** np.arange(16)

_FLAT = 1e-5  # of theta times the largest excess: closer to zero the quotients cancel, and a series takes their place


@compiled
def profile(excess: Floats, theta: float) -> float:
    """Log-likelihood per excess at the best shape for theta, not 0; logarithms are taken of eight factors at a time."""
    total, factor, count = 0.0, 1.0, len(excess)
    for i in range(count):
        factor *= 1.0 + theta * excess[i]
        if i % 8 == 7:
            total += math.log(factor)
            factor = 1.0
    shape = (total + math.log(factor)) / count
    return -math.log(shape / theta) - shape - 1.0


@compiled
def slope(excess: Floats, theta: float, flat: bool) -> tuple[float, float, float, float]:
    """Derivative of the profile and its derivative, the best shape and the best scale; mean excess 1."""
    count = len(excess)
    if flat:
        second, third = 0.0, 0.0
        for y in excess:
            second += y * y
            third += y * y * y
        a, b = 0.5 * second / count, third / (3.0 * count)
        scale = 1.0 - a * theta + b * theta * theta
        first = 1.0 - 2.0 * a * theta + 3.0 * b * theta * theta
        return (a - 2.0 * b * theta) / scale - first, a * a - 2.0 * b + 2.0 * a, theta * scale, scale
    shape, first, bend = 0.0, 0.0, 0.0
    for y in excess:
        share = y / (1.0 + theta * y)
        shape += math.log1p(theta * y)
        first += share
        bend -= share * share
    shape, first, bend = shape / count, first / count, bend / count
    relative = first / shape
    steeper = relative * relative - bend / shape - 1.0 / (theta * theta) - bend
    return 1.0 / theta - relative - first, steeper, shape, shape / theta


@compiled
def refined(excess: Floats, low: float, best: float, high: float, largest: float) -> tuple[float, float]:
    """Shape and scale where the profile peaks between two starts around the best one; mean excess 1."""
    theta, shape, scale = best, math.nan, math.nan
    for _ in range(80):
        rise, bend, shape, scale = slope(excess, theta, abs(theta) * largest < _FLAT)
        if rise > 0.0:
            low = theta
        else:
            high = theta
        moved = theta - rise / bend if bend < 0.0 else 0.5 * (low + high)
        if not low < moved < high:
            moved = 0.5 * (low + high)
        if abs(moved - theta) <= 4e-16 * abs(theta) or moved in (low, high):
            break
        theta = moved
    return shape, scale


@compiled
def fit_excesses(excess: Floats, shape: Floats, scale: Floats, loglikelihood: Floats) -> None:
    """Fill shape, scale and log-likelihood (P,) of the law of each row of (P, k) excesses, all >= 0.

    NaN for a row without variation, and where the likelihood only rises towards an end of the starts.
    """
    rows, count = excess.shape
    starts = np.empty(len(BELOW) + len(ABOVE))
    told = np.empty(len(starts))
    unit = np.empty(count)
    for p in range(rows):
        shape[p], scale[p], loglikelihood[p] = math.nan, math.nan, math.nan
        mean = excess[p].mean()
        if not mean > 0.0:
            continue
        for i in range(count):
            unit[i] = excess[p, i] / mean
        largest = unit.max()
        for j in range(len(starts)):
            below = j < len(BELOW)
            starts[j] = (BELOW[j] - 1.0) / largest if below else ABOVE[j - len(BELOW)]
            told[j] = profile(unit, starts[j])
        best = int(np.argmax(told))
        if 0 < best < len(starts) - 1:
            shape[p], unscaled = refined(unit, starts[best - 1], starts[best], starts[best + 1], largest)
            scale[p] = mean * unscaled
            loglikelihood[p] = -count * (math.log(scale[p]) + shape[p] + 1.0)
