"""What do a constant variance and the returns themselves say about an EGARCH, and where does it stand between fits?"""

import math

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled
from margin_models.kernels.egarch_rows import MEAN_SIZE
from margin_models.kernels.egarch_windows import ANSWER, DEGREES, OMEGA, PERSISTENCE, SIGN
from margin_models.kernels.garch_coordinates import student_constant

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SHARE, CONSTANT, RATIO, TREND, EVIDENCE = 0, 1, 2, 3, 4

_TURN = 8  # rows to a logarithm
_LOG_2PI = math.log(2.0 * math.pi)
_WIDE = math.log(1e6)  # how far ln variance may go from that of EWMA, as in arch


@compiled
def mean_size(degrees: float, student: bool) -> float:
    """E|z| of a standardised t law, or the normal one."""
    if not student:
        return MEAN_SIZE
    return float(2.0 * (degrees - 2.0) / (degrees - 1.0) * math.exp(student_constant(degrees)[0]))


@compiled
def _trend(law: Floats, level: float, rows: int, student: bool) -> float:
    """What becomes of ln variance that begins at ln `level` in so many rows, expected, less ln level."""
    beta, size = law[PERSISTENCE], mean_size(law[DEGREES], student)
    drift = law[OMEGA] + law[ANSWER] * (size - MEAN_SIZE) - (1.0 - beta) * math.log(level)
    return float(drift * (1.0 - beta**rows) / (1.0 - beta))


@compiled
def _tails(returns: Floats, spread: float) -> float:
    """Sum of ln(1 + x^2 / spread)."""
    told, product = 0.0, 1.0
    for i in range(len(returns)):
        product *= 1.0 + returns[i] * returns[i] / spread
        if i % _TURN == 0:
            told += math.log(product)
            product = 1.0
    return told + math.log(product)


@compiled
def gather_evidence(
    returns: Floats,
    begin: Ints,
    end: Ints,
    laws: Floats,
    ahead: Floats,
    student: bool,
    decay: float,
    told: Floats,
) -> None:
    """Fill for each window, (W, 4), what gates want to know.

    The share of the largest square in the sum of squares; the log-likelihood of a constant variance, normal or with the
    degrees of freedom of the fit; the standard deviation that the fit forecasts over the exponentially weighted one,
    which begins at the mean square; and how many times the window's standard deviation is to be expected after as many
    rows as it has (its logarithm is). Windows, the `laws` (W, 5) fitted to them, and the ln variances `ahead` of them
    are as `egarch_walk` has them.
    """
    for w in range(len(begin)):
        own, law, nu = returns[begin[w] : end[w]], laws[w], laws[w, DEGREES]
        total, largest = 0.0, 0.0
        for x in own:
            total += x * x
            largest = max(largest, x * x)
        level = total / len(own)
        moving = level
        for x in own:
            moving = decay * moving + (1.0 - decay) * x * x
        each = -0.5 * (_LOG_2PI + math.log(level) + 1.0)
        told[w, CONSTANT] = len(own) * each
        if student:
            each = student_constant(nu)[0] - 0.5 * math.log(level)
            told[w, CONSTANT] = len(own) * each - 0.5 * (nu + 1.0) * _tails(own, (nu - 2.0) * level)
        told[w, SHARE] = largest / total
        told[w, RATIO] = math.exp(0.5 * ahead[w]) / math.sqrt(moving) if moving > 0.0 else math.inf
        told[w, TREND] = math.exp(0.5 * _trend(law, level, len(own), student))


@compiled
def egarch_logs(returns: Floats, laws: Floats, before: Floats, level: Floats, decay: float) -> Floats:
    """ln of the next row's variance, (T, A), from `returns` (T, A); a NaN is no news.

    `laws` (A, 5) are omega, alpha, gamma, beta and degrees of freedom in the units of the returns, `before` (A,) the ln
    variance before row 0. None goes beyond a millionth to a million times the exponentially weighted variance, which
    begins at `level` (A,) and is the answer where omega is NaN.
    """
    rows, assets = returns.shape
    logs, log, moving = np.empty((rows, assets)), np.empty(assets), level.copy()
    for a in range(assets):
        log[a] = laws[a, OMEGA] + laws[a, PERSISTENCE] * before[a]
    for i in range(rows):
        for a in range(assets):
            x, law = returns[i, a], laws[a]
            if not math.isnan(x):
                moving[a] = decay * moving[a] + (1.0 - decay) * x * x
                z = x * math.exp(-0.5 * log[a])
                log[a] = law[OMEGA] + law[ANSWER] * (abs(z) - MEAN_SIZE) + law[SIGN] * z + law[PERSISTENCE] * log[a]
            usual = math.log(max(moving[a], 1e-8 * level[a])) if level[a] > 0.0 else math.log(moving[a])
            if math.isnan(law[OMEGA]):
                logs[i, a] = usual
            else:
                log[a] = min(max(log[a], usual - _WIDE), usual + _WIDE)
                logs[i, a] = log[a]
    return logs
