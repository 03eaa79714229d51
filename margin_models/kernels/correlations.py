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
_TURNS = 100  # of alternating projections: what they leave is repaired
_LEAST_EIGENVALUE = 1e-12  # of a correlation matrix: below, it has no inverse root


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
    """A positive semi-definite correlation matrix near a known symmetric one with a unit diagonal, (A, A).

    Negative eigenvalues become zero and the diagonal one again: Rebonato and Jaeckel (1999), "The most general
    methodology to create a valid correlation matrix", section 3. A matrix without negative ones stays as it is; in
    another any pair may move.
    """
    value, vector = np.linalg.eigh(matrix)
    if value[0] >= -_ROUNDING:
        return matrix
    lifted = (vector * np.maximum(value, 0.0)) @ vector.T
    spread = np.sqrt(np.diag(lifted))
    near: Floats = np.clip(0.5 * (lifted + lifted.T) / np.outer(spread, spread), -1.0, 1.0)
    np.fill_diagonal(near, 1.0)
    return near


def implied_correlations(matrix: Floats) -> Floats:
    """The same correlations, (A, A), and for a pair that is NaN what follows from the asset that both move with most.

    That is the product of their correlations with it: the middle of all that it allows, and what holds if the two share
    nothing else. 0 where no asset is known with both.
    """
    told = np.where(np.isnan(matrix), 0.0, matrix)
    np.fill_diagonal(told, 1.0)
    filled = told.copy()
    for i in np.flatnonzero(told.any(axis=1) & ~np.isnan(np.diag(matrix))):
        others = i + 1 + np.flatnonzero(np.isnan(matrix[i, i + 1 :]))
        through = told[others] * told[i]
        best = through[np.arange(len(others)), np.abs(through).argmax(axis=1)]
        filled[i, others] = filled[others, i] = best
    return filled


def reconciled_correlations(matrix: Floats) -> Floats:
    """The same correlations, (A, A), with values for pairs that are NaN that go well with all that is known.

    What others imply; where that is not positive semi-definite, projected on what is and put back where it is known, in
    turn, until it is or `_TURNS` are over: von Neumann's alternating projections, as in Higham (2002), "Computing the
    nearest correlation matrix", IMA J. Numerical Analysis 22, section 3, without Dykstra's correction: any will do.
    """
    told, unknown = implied_correlations(matrix), np.isnan(matrix)
    for _ in range(_TURNS):
        value, vector = np.linalg.eigh(told)
        if value[0] >= -_ROUNDING:
            break
        lifted = (vector * np.maximum(value, 0.0)) @ vector.T
        told = np.where(unknown, np.clip(0.5 * (lifted + lifted.T), -1.0, 1.0), told)
    return told


def positive_completion(matrix: Floats, standing: NDArray[np.int64]) -> Floats:
    """A positive semi-definite correlation matrix, (A, A), of a symmetric one with a unit diagonal or NaN.

    Pairs that are NaN are implied by the others. Where that is positive semi-definite nothing known moves; else assets
    come in order of `standing`, (A,), the best known lowest: what came before stays as it is, and only the pairs of
    those that join move.
    """
    told = implied_correlations(matrix)
    if _is_positive(told):
        return told
    settled = np.empty(0, dtype=np.int64)
    for rank in np.unique(standing):
        both = np.concatenate([settled, np.flatnonzero(standing == rank)])
        block = told[np.ix_(both, both)]
        if not _is_positive(block):
            told[np.ix_(both, both)] = _joined(block, len(settled))
        settled = both
    return told


def _is_positive(matrix: Floats) -> bool:
    return bool(np.linalg.eigvalsh(matrix)[0] >= -_ROUNDING)


def _joined(matrix: Floats, settled: int) -> Floats:
    """A positive semi-definite matrix near one whose first `settled` rows and columns are so already, and stay.

    The others move to where the nearest correlation matrix has them; what it says of them and the settled is carried
    from its root of the settled block to the true one: C -> C N^(-1/2) S^(1/2). As C N^(-1/2) leaves them no more
    variance than they have, so does that.
    """
    near = nearest_correlation(matrix)
    if not settled:
        return near
    kept = matrix[:settled, :settled]
    across = np.clip(near[settled:, :settled] @ _root(near[:settled, :settled], -0.5) @ _root(kept, 0.5), -1.0, 1.0)
    return np.block([[kept, across.T], [across, near[settled:, settled:]]])


def _root(matrix: Floats, power: float) -> Floats:
    value, vector = np.linalg.eigh(matrix)
    moved: Floats = np.power(np.maximum(value, _LEAST_EIGENVALUE), power)
    return np.asarray((vector * np.where(value > _LEAST_EIGENVALUE, moved, 0.0)) @ vector.T)


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
