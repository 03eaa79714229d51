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
def horizon_means(values: Floats, steps: int, count: int, rows: int) -> Floats:
    """Mean of the `steps` values up to each row that is 0 to `count` - 1 horizons before one of the newest `rows`.

    `values` are (T, A) with T >= rows + count steps - 1, the means (T, A): of what is not NaN, NaN where that is less
    than half and at rows not asked for. Every mean is summed afresh, so that it never depends on how much earlier past
    there is, not by one bit.
    """
    total, assets = values.shape
    means = np.full((total, assets), math.nan)
    done = np.zeros(total, np.bool_)
    for i in range(rows):
        for j in range(count):
            newest = total - 1 - i - j * steps
            if done[newest]:
                continue
            done[newest] = True
            for a in range(assets):
                sum_, seen = 0.0, 0
                for k in range(steps):
                    value = values[newest - k, a]
                    if not math.isnan(value):
                        sum_ += value
                        seen += 1
                if 2 * seen >= steps:
                    means[newest, a] = sum_ / seen
    return means


@compiled
def weighted_means(values: Floats, weights: Floats, stride: int, rows: int) -> Floats:
    """Weighted mean of values[t], values[t - stride], ... at each of the newest `rows` rows, (rows, A).

    `values` are (T, A), `weights` (L,) newest first, T >= rows + (L - 1) stride. What is NaN has no weight; NaN where
    it is more than half of the weight.
    """
    total, assets = values.shape
    enough = 0.5 * weights.sum()
    means = np.full((rows, assets), math.nan)
    for i in range(rows):
        newest = total - rows + i
        for a in range(assets):
            sum_, seen = 0.0, 0.0
            for j in range(len(weights)):
                value = values[newest - j * stride, a]
                if not math.isnan(value):
                    sum_ += weights[j] * value
                    seen += weights[j]
            if seen >= enough:
                means[i, a] = sum_ / seen
    return means


@compiled
def peers_mean(values: Floats) -> Floats:
    """Mean of the other columns of the same row, (T, A); NaN where they have none."""
    rows, assets = values.shape
    means = np.empty((rows, assets))
    for i in range(rows):
        for a in range(assets):
            total, seen = 0.0, 0
            for b in range(assets):
                if b != a and not math.isnan(values[i, b]):
                    total += values[i, b]
                    seen += 1
            means[i, a] = total / seen if seen else math.nan
    return means
