"""How are the statistics of a hundred thousand sequences of breaches computed, one sequence after another?

Sequences are held as the positions of their breaches: those of sequence i are `position[first[i]:first[i + 1]]`, each
within 0..n - 1. What a sequence costs then goes with its breaches and not with its length.
"""

from math import exp, log, sqrt

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

LEAST_SHAPE, MOST_SHAPE = 0.001, 10.0  # durations that are all alike have no likeliest shape
_STEPS, _NEAR = 100, 1e-13
COLLINEAR = 1e-9  # of a regressor's variance, left over by the regressors before it


@compiled(nogil=True)
def weibull_slope(logs: Floats, count: int, whole: int, whole_logs: float, shape: float) -> tuple[float, float, float]:
    """Slope and curvature in the shape of the mean log-likelihood, and the log of the sum of powers; logs <= 0."""
    total, first, second = 0.0, 0.0, 0.0
    for i in range(count):
        power = exp(shape * logs[i])
        total += power
        first += power * logs[i]
        second += power * logs[i] * logs[i]
    mean = first / total
    slope = 1.0 / shape + whole_logs / whole - mean
    return slope, -1.0 / (shape * shape) - (second / total - mean * mean), log(total)


@compiled(nogil=True)
def weibull_shape(logs: Floats, count: int, whole: int, whole_logs: float) -> float:
    """Likeliest shape: the slope falls throughout, so Newton's steps are kept between what is too low and too high."""
    low, high, shape = LEAST_SHAPE, MOST_SHAPE, 1.0
    for _ in range(_STEPS):
        slope, curvature, _sum = weibull_slope(logs, count, whole, whole_logs, shape)
        if slope > 0.0:
            low = shape
        else:
            high = shape
        step = shape - slope / curvature
        if not low < step < high:
            step = 0.5 * (low + high)
        if abs(step - shape) <= _NEAR * shape:
            return step
        shape = step
    return shape


@compiled(nogil=True)
def weibull_each(position: Counts, first: Counts, n: int, logs: Floats, out: Floats) -> None:
    """Of each sequence (N, 4): shape, log-likelihood at it and at shape 1, durations (0 to 2: nothing else is told).

    `logs` is room for two more durations than the longest sequence has breaches.
    """
    for i in range(len(first) - 1):
        start, stop = first[i], first[i + 1]
        count, whole, whole_logs, longest = 0, 0, 0.0, 0.0
        before = -1
        for j in range(start, stop + 1):
            # The spell before the first breach and the one after the last are censored; none where there is no spell.
            last = j == stop
            ended = n - 1 if last else position[j]
            duration = ended - before
            censored = last or before < 0
            before = ended
            if start == stop or (censored and (duration == 0 if last else duration == 1)):
                continue
            logs[count] = log(duration)
            longest = max(longest, logs[count])
            if not censored:
                whole += 1
                whole_logs += logs[count]
            count += 1
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = 1.0, 0.0, 0.0, count
        if count < 3:
            continue
        for j in range(count):
            logs[j] -= longest
        scaled = whole_logs - whole * longest
        shape = weibull_shape(logs, count, whole, scaled)
        constant = whole * log(whole) - whole - whole_logs
        for column, b in ((1, shape), (2, 1.0)):
            powers = weibull_slope(logs, count, whole, scaled, b)[2] + b * longest
            out[i, column] = constant + whole * (log(b) - powers) + b * whole_logs
        out[i, 0] = shape


@compiled(nogil=True)
def lag_products(position: Counts, start: int, stop: int, n: int, lags: int, products: Floats) -> None:
    """Sums over rows lags..n - 1 of products of the breach j and k rows earlier, (lags + 1, lags + 1), about means."""
    products[:] = 0.0
    for j in range(start, stop):
        for k in range(j, stop):
            apart = position[k] - position[j]
            if apart > lags:
                break
            for lag in range(lags + 1 - apart):
                if lags <= position[k] + lag < n:
                    products[lag, lag + apart] += 1.0
    rows = n - lags
    for j in range(lags + 1):
        for k in range(lags, j, -1):
            products[j, k] -= products[j, j] * products[k, k] / rows
            products[k, j] = products[j, k]


@compiled(nogil=True)
def regress_on_lags(
    position: Counts, first: Counts, n: int, rate: float, turned: Floats, lean: Floats, fit: Floats, rank: Counts
) -> None:
    """Regress the hits of each sequence on a constant and on their own lags.

    The lags are turned into orthonormal regressors, `turned` (N, lags, lags) by row, one a lag that is not collinear
    with those before it and zero for others; `lean` (N, lags) are the hits' coefficients on them. `fit` (N,) is the sum
    of squares explained, `rank` (N,) the number of regressors that do it.
    """
    lags = turned.shape[1]
    rows = n - lags
    products, along = np.zeros((lags + 1, lags + 1)), np.zeros(lags)
    for i in range(len(first) - 1):
        lag_products(position, first[i], first[i + 1], n, lags, products)
        surplus = products[0, 0] / rows - rate
        fit[i], rank[i] = rows * surplus * surplus, 1
        turned[i] = 0.0
        lean[i] = 0.0
        for j in range(lags):
            hits = products[j + 1, j + 1]
            variance = hits - hits * hits / rows
            left = variance
            for k in range(j):
                along[k] = 0.0
                for m in range(k + 1):
                    along[k] += turned[i, k, m] * products[m + 1, j + 1]
                left -= along[k] * along[k]
            if left <= COLLINEAR * max(variance, 1.0):
                continue
            turned[i, j, j] = 1.0
            for k in range(j):
                for m in range(k + 1):
                    turned[i, j, m] -= along[k] * turned[i, k, m]
            scale = 1.0 / sqrt(left)
            for m in range(j + 1):
                turned[i, j, m] *= scale
                lean[i, j] += turned[i, j, m] * products[0, m + 1]
            fit[i] += lean[i, j] * lean[i, j]
            rank[i] += 1


@compiled(nogil=True)
def add_path(
    position: Counts,
    first: Counts,
    path: Floats,
    varies: NDArray[np.bool_],
    path_of: Counts,
    turned: Floats,
    lean: Floats,
    fit: Floats,
    rank: Counts,
) -> None:
    """Add one regressor to those of `regress_on_lags`: `fit` and `rank` grow where it is not collinear with them.

    Sequence i takes the row `path_of[i]` of `path` (V, n): mean 0 and sum of squares 1 over rows lags..n - 1, and 0
    before; a row that does not vary (V,) adds nothing.
    """
    lags, n = turned.shape[1], path.shape[1]
    along = np.zeros(lags + 1)
    for i in range(len(first) - 1):
        if not varies[path_of[i]]:
            continue
        row = path[path_of[i]]
        along[:] = 0.0
        for j in range(first[i], first[i + 1]):
            at = position[j]
            for lag in range(min(lags, n - 1 - at) + 1):
                along[lag] += row[at + lag]
        left, explained = 1.0, along[0]
        for j in range(lags):
            share = 0.0
            for m in range(j + 1):
                share += turned[i, j, m] * along[m + 1]
            left -= share * share
            explained -= share * lean[i, j]
        if left > COLLINEAR:
            fit[i] += explained * explained / left
            rank[i] += 1
