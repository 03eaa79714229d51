"""How does a variance forecast follow the returns, row after row?

Every kernel gives at row i the forecast made there, from the rows up to and including i. A missing return (NaN) is no
news: it never makes a forecast NaN.
"""

import math

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Floats = NDArray[np.float64]


@compiled
def ewma_variance(squared: Floats, decay: float, start: Floats) -> Floats:
    """Exponentially weighted variance (RiskMetrics, 1996): h' = decay h + (1 - decay) squared, (T, A).

    `squared` (T, A) are squared returns, `start` (A,) the variance before row 0; a NaN leaves the variance as it was.
    """
    rows, assets = squared.shape
    variance = np.empty((rows, assets))
    state = start.copy()
    for i in range(rows):
        for a in range(assets):
            if not math.isnan(squared[i, a]):
                state[a] = decay * state[a] + (1.0 - decay) * squared[i, a]
            variance[i, a] = state[a]
    return variance


@compiled
def garch_variance(returns: Floats, omega: Floats, alpha: Floats, gamma: Floats, beta: Floats, start: Floats) -> Floats:
    """Next row's variance, h' = omega + (alpha + gamma 1{r < 0}) r^2 + beta h, (T, A).

    Bollerslev (1986) where gamma is 0, else Glosten, Jagannathan and Runkle (1993). `returns` are (T, A), all else
    (A,); `start` is the variance of row 0's return. For a NaN the squared return is replaced by its expectation under
    a symmetric law: h' = omega + (alpha + gamma / 2 + beta) h.
    """
    rows, assets = returns.shape
    variance = np.empty((rows, assets))
    state = start.copy()
    for i in range(rows):
        for a in range(assets):
            r = returns[i, a]
            if math.isnan(r):
                news = (alpha[a] + 0.5 * gamma[a]) * state[a]
            elif r < 0.0:
                news = (alpha[a] + gamma[a]) * r * r
            else:
                news = alpha[a] * r * r
            state[a] = omega[a] + news + beta[a] * state[a]
            variance[i, a] = state[a]
    return variance


@compiled
def trailing_average(values: Floats, weights: Floats, rows: int) -> Floats:
    """Weighted mean of what is not NaN, at each of the newest `rows` rows, (rows, A).

    `values` (T, A), `weights` (L,) newest first, T >= rows + L - 1. NaN where under half of the weight is observed.
    Every window is summed afresh: a row's value never depends on how much earlier past there is, not by one bit.
    """
    total, assets = values.shape
    enough = 0.5 * weights.sum()
    averages = np.empty((rows, assets))
    for i in range(rows):
        newest = total - rows + i
        weighted, seen = np.zeros(assets), np.zeros(assets)
        for j in range(len(weights)):
            for a in range(assets):
                if not math.isnan(values[newest - j, a]):
                    weighted[a] += weights[j] * values[newest - j, a]
                    seen[a] += weights[j]
        for a in range(assets):
            averages[i, a] = weighted[a] / seen[a] if seen[a] >= enough else math.nan
    return averages


@compiled
def peers_average(values: Floats) -> Floats:
    """Mean of the other columns of the same row, (T, A); NaN where they have none."""
    rows, assets = values.shape
    averages = np.empty((rows, assets))
    for i in range(rows):
        for a in range(assets):
            total, seen = 0.0, 0
            for b in range(assets):
                if b != a and not math.isnan(values[i, b]):
                    total += values[i, b]
                    seen += 1
            averages[i, a] = total / seen if seen else math.nan
    return averages
