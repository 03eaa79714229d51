"""What are correlations where returns have holes, and how do they follow the innovations, row after row?

Dynamic conditional correlation, DCC(1,1): Engle (2002), "Dynamic conditional correlation", J. Business and Economic
Statistics 20, equations 18 and 26. A hole is no news to the pairs it is part of.
"""

import math

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Floats = NDArray[np.float64]

LEAST_PIVOT = 1e-10  # of a correlation matrix: below, it is singular and has no density
_ROUNDING = 1e-10  # how far below zero the eigenvalue of a correlation matrix may be rounded


def pairwise_correlations(returns: Floats, weights: Floats, least: int) -> Floats:
    """Correlations about zero of (..., S, A) returns weighing (S,), each from the rows where both are known.

    NaN for a pair that stood still in those rows, or of fewer than `least` of them; the diagonal is one, or NaN for an
    asset of fewer than `least` rows. Positive semi-definite where nothing has a hole.
    """
    known = np.isfinite(returns)
    scaled = np.where(known, returns, 0.0) * np.sqrt(weights)[:, None]
    across = np.swapaxes(scaled, -1, -2)
    moments = across @ scaled
    if known.all():
        count = np.full(moments.shape, float(len(weights)))
        square = np.diagonal(moments, axis1=-2, axis2=-1)
        scale = np.sqrt(square)[..., :, None] * np.sqrt(square)[..., None, :]
    else:
        there = known.astype(np.float64)
        count = np.swapaxes(there, -1, -2) @ there
        square = across**2 @ there  # [i, j]: of i, in the rows that know j
        scale = np.sqrt(square) * np.sqrt(np.swapaxes(square, -1, -2))
    told: Floats = np.divide(moments, scale, out=np.full_like(moments, np.nan), where=(scale > 0) & (count >= least))
    told = np.clip(told, -1.0, 1.0)
    each = np.arange(returns.shape[-1])
    told[..., each, each] = np.where(count[..., each, each] >= least, 1.0, np.nan)
    return told


def nearest_correlation(matrix: Floats) -> Floats:
    """A positive semi-definite correlation matrix near a symmetric one with a unit diagonal, (A, A).

    Negative eigenvalues become zero and the diagonal one again: Rebonato and Jaeckel (1999), "The most general
    methodology to create a valid correlation matrix", section 3. A matrix without negative ones stays as it is, and
    what is NaN stays so: it counts as zero for the others, and the matrix would be one with zeros in its place.
    """
    unknown = np.isnan(matrix)
    filled = np.where(unknown, 0.0, matrix)
    np.fill_diagonal(filled, 1.0)
    value, vector = np.linalg.eigh(filled)
    if value[0] >= -_ROUNDING:
        return matrix
    lifted = (vector * np.maximum(value, 0.0)) @ vector.T
    spread = np.sqrt(np.diag(lifted))
    near = np.clip(0.5 * (lifted + lifted.T) / np.outer(spread, spread), -1.0, 1.0)
    np.fill_diagonal(near, 1.0)
    if unknown.any():
        near[unknown] = 0.0
        np.fill_diagonal(near, 1.0)
        least = min(np.linalg.eigvalsh(near)[0], 0.0)
        near = (near - least * np.eye(len(near))) / (1.0 - least)
    return np.where(unknown, np.nan, near)


@compiled
def dcc_advance(state: Floats, innovations: Floats, target: Floats, news: float, memory: float) -> None:
    """One row on, in place: Q' = (1 - news - memory) target + news z z' + memory Q, all (A, A); z is (A,).

    Where z_i or z_j is a hole, Q_ij stands in for z_i z_j: other pairs learn from the row as if it were whole.
    """
    assets = len(innovations)
    for i in range(assets):
        for j in range(i + 1):
            product = innovations[i] * innovations[j]
            if math.isnan(product):
                product = state[i, j]
            state[i, j] = (1.0 - news - memory) * target[i, j] + news * product + memory * state[i, j]
            state[j, i] = state[i, j]


@compiled
def dcc_state(innovations: Floats, target: Floats, news: float, memory: float, start: Floats) -> Floats:
    """The matrix Q of the row after the last of (T, A) innovations, (A, A); `start` is that of row 0."""
    state = start.copy()
    for t in range(len(innovations)):
        dcc_advance(state, innovations[t], target, news, memory)
    return state


@compiled
def dcc_loglikelihood(innovations: Floats, target: Floats, news: float, memory: float, start: Floats) -> float:
    """Sum over complete rows of -(ln |R| + z' R^-1 z) / 2, with R the correlations of Q; -inf where R is singular.

    The part of the normal log-likelihood that correlations move; arguments as in `dcc_state`. By Cholesky's factor of
    R, row by row.
    """
    rows, assets = innovations.shape
    state = start.copy()
    factor = np.zeros((assets, assets))
    solved = np.empty(assets)
    total = 0.0
    for t in range(rows):
        known = True
        for i in range(assets):
            if math.isnan(innovations[t, i]):
                known = False
        if known:
            part = 0.0
            for i in range(assets):
                for j in range(i + 1):
                    value = state[i, j] / math.sqrt(state[i, i] * state[j, j])
                    for k in range(j):
                        value -= factor[i, k] * factor[j, k]
                    if i > j:
                        factor[i, j] = value / factor[j, j]
                    elif value > LEAST_PIVOT:
                        factor[i, i] = math.sqrt(value)
                    else:
                        return -math.inf
                rest = innovations[t, i]
                for k in range(i):
                    rest -= factor[i, k] * solved[k]
                solved[i] = rest / factor[i, i]
                part += 2.0 * math.log(factor[i, i]) + solved[i] * solved[i]
            total -= 0.5 * part
        dcc_advance(state, innovations[t], target, news, memory)
    return total
