"""How do correlations follow the innovations, row after row, and how likely does that make them?

Dynamic conditional correlation, DCC(1,1): Engle (2002), "Dynamic conditional correlation", J. Business and Economic
Statistics 20, equations 18 and 26. A row with a hole is no news.
"""

import math

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Floats = NDArray[np.float64]

LEAST_PIVOT = 1e-10  # of a correlation matrix: below, it is singular and has no density


@compiled
def dcc_advance(state: Floats, innovations: Floats, target: Floats, news: float, memory: float) -> None:
    """One row on, in place: Q' = (1 - news - memory) target + news z z' + memory Q, all (A, A); z is (A,).

    Where z has a hole, Q stands in for z z'.
    """
    assets = len(innovations)
    known = True
    for i in range(assets):
        if math.isnan(innovations[i]):
            known = False
    for i in range(assets):
        for j in range(i + 1):
            product = innovations[i] * innovations[j] if known else state[i, j]
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
