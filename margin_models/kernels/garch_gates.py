"""What do simpler laws, and the returns themselves, say about a fit?"""

import math

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled
from margin_models.kernels.garch_coordinates import (
    N_BETA,
    N_FALL,
    N_MEAN,
    N_NU,
    N_OMEGA,
    N_RISE,
    N_SKEW,
    skewed_shape,
    student_constant,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SHARE, CONSTANT, MOVING, RATIO, BEYOND, EVIDENCE = 0, 1, 2, 3, 4, 5

_TURN = 8  # rows to a logarithm


@compiled
def mean_squares(returns: Floats, begin: Ints, end: Ints, told: Floats) -> None:
    """Fill the mean square of each window, (W,); NaN of an empty one."""
    for w in range(len(begin)):
        total = 0.0
        for i in range(begin[w], end[w]):
            total += returns[i] * returns[i]
        told[w] = total / (end[w] - begin[w]) if end[w] > begin[w] else math.nan


@compiled(inline="always")
def _turned(e: float, h: float, skew: float, shift: float, stretch: float) -> float:
    """The square that a skewed t law weighs as a symmetric one weighs e^2."""
    if skew == 0.0:
        return e * e
    at = stretch * e + shift * math.sqrt(h)
    u = at / (1.0 - skew if at < 0.0 else 1.0 + skew)
    return u * u


@compiled
def _loglikelihood(returns: Floats, law: Floats, times: float, student: bool) -> float:
    """Of a whole window if the answers and beta were so many times what they are."""
    rise, fall, beta = times * law[N_RISE], times * law[N_FALL], times * law[N_BETA]
    level, nu, logs = 0.0, law[N_NU], 0.0
    for i in range(len(returns)):
        level += (returns[i] - law[N_MEAN]) ** 2 / len(returns)
    h, spare = law[N_OMEGA] + (0.5 * (rise + fall) + beta) * level, nu - 2.0
    shift, stretch = skewed_shape(nu, law[N_SKEW]) if student else (0.0, 1.0)
    for i in range(len(returns)):
        e = returns[i] - law[N_MEAN]
        turned = _turned(e, h, law[N_SKEW], shift, stretch) if student else e * e
        logs += math.log(h)
        logs += (nu + 1.0) * math.log1p(turned / (spare * h)) if student else e * e / h
        h = law[N_OMEGA] + (fall if e < 0.0 else rise) * e * e + beta * h
    centre = student_constant(nu)[0] + math.log(stretch) if student else -0.5 * math.log(2.0 * math.pi)
    return len(returns) * centre - 0.5 * logs


@compiled
def _gain_beyond(returns: Floats, law: Floats, student: bool) -> float:
    """How much a likelihood still rises where variance explodes: the less of its gains by the next two hundredths."""
    some, more = _loglikelihood(returns, law, 1.01, student), _loglikelihood(returns, law, 1.02, student)
    return min(some - _loglikelihood(returns, law, 1.0, student), more - some)


@compiled
def gather_evidence(
    returns: Floats, begin: Ints, end: Ints, laws: Floats, student: bool, decay: float, bound: float, told: Floats
) -> None:
    """Fill for each window, (W, 5), what gates want to know.

    The share of the largest square in the sum of squares; the log-likelihoods of a constant and of an exponentially
    weighted variance, normal or with the degrees of freedom of the fit; the standard deviation that the fit forecasts
    over the exponentially weighted one; and how much the likelihood still rises beyond where persistence is at its
    `bound` (minus infinity where it is below). Windows, and the `laws` (W, 7) fitted to them, are as `garch_walk` has
    them; every variance begins at the mean square about the fitted mean.
    """
    for w in range(len(begin)):
        rows, law = end[w] - begin[w], laws[w]
        total, largest = 0.0, 0.0
        for i in range(begin[w], end[w]):
            square = (returns[i] - law[N_MEAN]) ** 2
            total += square
            largest = max(largest, square)
        level = total / rows
        inverse, spare, skew, nu = 1.0 / level, law[N_NU] - 2.0, law[N_SKEW], law[N_NU]
        shift, stretch = skewed_shape(nu, skew) if student else (0.0, 1.0)
        unit = math.sqrt(inverse)
        omega, rise, fall, beta = law[N_OMEGA] * inverse, law[N_RISE], law[N_FALL], law[N_BETA]
        h, ahead = 1.0, omega + 0.5 * (rise + fall) + beta
        still, moving, variances, squares = 1.0, 1.0, 1.0, 0.0
        still_logs, moving_logs, logs = 0.0, 0.0, 0.0
        for i in range(begin[w], end[w]):
            e = returns[i] - law[N_MEAN]
            square = e * e * inverse
            if student:
                still *= spare + _turned(e * unit, 1.0, skew, shift, stretch)
                moving *= spare * h + _turned(e * unit, h, skew, shift, stretch)
            else:
                squares += square / h
            variances *= h
            if (i - begin[w]) % _TURN == 0:
                still_logs += math.log(still)
                moving_logs += math.log(moving)
                logs += math.log(variances)
                still, moving, variances = 1.0, 1.0, 1.0
            h = decay * h + (1.0 - decay) * square
            ahead = omega + (fall if e < 0.0 else rise) * square + beta * ahead
        still_logs, moving_logs = still_logs + math.log(still), moving_logs + math.log(moving)
        logs += math.log(variances)
        scale = 0.5 * rows * math.log(level)
        if student:
            each, half = rows * (student_constant(nu)[0] + math.log(stretch)) - scale, 0.5 * (nu + 1.0)
            usual = rows * math.log(spare)
            told[w, CONSTANT] = each - half * (still_logs - usual)
            told[w, MOVING] = each - half * (moving_logs - usual) + 0.5 * nu * logs
        else:
            each = -0.5 * rows * math.log(2.0 * math.pi) - scale
            told[w, CONSTANT], told[w, MOVING] = each - 0.5 * rows, each - 0.5 * (logs + squares)
        told[w, SHARE] = largest / total
        told[w, RATIO] = math.sqrt(ahead / h) if h > 0.0 else math.inf
        persistence = 0.5 * (rise + fall) + beta
        told[w, BEYOND] = -math.inf
        if persistence >= bound:
            told[w, BEYOND] = _gain_beyond(returns[begin[w] : end[w]], law, student)
