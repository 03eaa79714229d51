"""What do the lanes of a vector of windows say of each one's law?"""

import math
from typing import NamedTuple

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
    natural_of,
    skewed_shape,
    skewed_slopes,
    student_constant,
)
from margin_models.kernels.garch_rows import (
    ABOVE,
    BEFORE,
    BELOW,
    BETA,
    D_BETA,
    D_FALL,
    D_MEAN,
    D_OMEGA,
    D_RISE,
    D_SHIFT,
    D_SIDE,
    D_TAIL,
    FALL,
    FIRST,
    FIRST_MEAN,
    LANES,
    MEAN,
    NORMAL,
    OMEGA,
    POWER,
    PRODUCT,
    RISE,
    SCORE,
    SHIFT,
    SKEWED,
    SPARE,
    STRETCH,
    TAIL_POWER,
    TAILS,
    logarithm,
)
from margin_models.kernels.quasi_newton import TRIAL

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# What is known of a lane's window: an array (FACTS,) of a return's own unit and, in it, the mean, the variance before
# row 0 and the lowest minus log-likelihood so far; ...
UNIT, CENTRE, BACKCAST, BEST, FACTS = 0, 1, 2, 3, 4
# ... and an array (PLACES,) of rows, which window it is (-1: none), where its block ends, which start is being tried,
# and in how many windows all of them are due.
COUNT, WINDOW, LAST, START, DUE, PLACES = 0, 1, 2, 3, 4, 5

_EARLY, _FADE = 75, 0.94
_LOG_2PI = math.log(2.0 * math.pi)
_ABREAST = 8


class Law(NamedTuple):
    """What is fitted: the law of innovations, whether there is a mean, and what the variance before a window is.

    `early`: of the first 75 squares with weights that fade by 0.94, as arch has it; else the mean square of all
    residuals (Fiorentini, Calzolari and Panattoni, 1996), which moves with the mean.
    """

    innovations: int
    constant_mean: bool
    early: bool


@compiled
def _total(values: Floats) -> float:
    """Eight sums side by side, then added in one order: an order that the compiler may not choose."""
    a = b = c = d = e = f = g = h = 0.0
    whole = len(values) // _ABREAST * _ABREAST
    for i in range(0, whole, _ABREAST):
        a += values[i]
        b += values[i + 1]
        c += values[i + 2]
        d += values[i + 3]
        e += values[i + 4]
        f += values[i + 5]
        g += values[i + 6]
        h += values[i + 7]
    for i in range(whole, len(values)):
        a += values[i]
    return ((a + b) + (c + d)) + ((e + f) + (g + h))


@compiled
def mean_square(values: Floats, centre: float) -> float:
    """About a centre; summed as `_total` does."""
    a = b = c = d = e = f = g = h = 0.0
    whole = len(values) // _ABREAST * _ABREAST
    for i in range(0, whole, _ABREAST):
        a += (values[i] - centre) ** 2
        b += (values[i + 1] - centre) ** 2
        c += (values[i + 2] - centre) ** 2
        d += (values[i + 3] - centre) ** 2
        e += (values[i + 4] - centre) ** 2
        f += (values[i + 5] - centre) ** 2
        g += (values[i + 6] - centre) ** 2
        h += (values[i + 7] - centre) ** 2
    for i in range(whole, len(values)):
        a += (values[i] - centre) ** 2
    return (((a + b) + (c + d)) + ((e + f) + (g + h))) / len(values)


@compiled
def _early_square(values: Floats, centre: float) -> float:
    total, weights, weight = 0.0, 0.0, 1.0
    for i in range(min(_EARLY, len(values))):
        total += weight * (values[i] - centre) * (values[i] - centre)
        weights += weight
        weight *= _FADE
    return total / weights


@compiled
def load(x: Floats, lane: int, values: Floats, law: Law, fact: Floats, place: Ints) -> None:
    """Put a window into a lane, scaled to unit mean square about its mean."""
    centre = _total(values) / len(values) if law.constant_mean else 0.0
    square = mean_square(values, centre)
    unit = math.sqrt(square)
    place[COUNT], fact[UNIT], fact[CENTRE] = len(values), unit, centre / unit
    fact[BACKCAST] = _early_square(values, centre) / square if law.early else 1.0
    inverse = 1.0 / unit
    at = len(x) - len(values) * LANES + lane
    for t in range(len(values)):
        x[at + t * LANES] = values[t] * inverse


@compiled
def _variance_before(fact: Floats, mean: float, law: Law) -> tuple[float, float]:
    """The variance before the window, and how it moves with the mean."""
    if law.early:
        return fact[BACKCAST], 0.0
    apart = mean - fact[CENTRE]
    return fact[BACKCAST] + apart * apart, 2.0 * apart


@compiled
def set_laws(facts: Floats, searches: Floats, law: Law, naturals: Floats, state: Floats) -> None:
    """Write each lane's trial law, and what its variance begins with, into the state."""
    for lane in range(LANES):
        natural = naturals[lane]
        natural_of(searches[lane, TRIAL], natural)
        before, moved = _variance_before(facts[lane], natural[N_MEAN], law)
        answer = 0.5 * (natural[N_RISE] + natural[N_FALL]) + natural[N_BETA]
        state[MEAN + lane], state[OMEGA + lane] = natural[N_MEAN], natural[N_OMEGA]
        state[RISE + lane], state[FALL + lane] = natural[N_RISE], natural[N_FALL]
        state[BETA + lane], state[SPARE + lane] = natural[N_BETA], natural[N_NU] - 2.0
        state[FIRST + lane], state[FIRST_MEAN + lane] = natural[N_OMEGA] + answer * before, 0.5 * answer * moved
        state[BEFORE + lane] = before
        if law.innovations == SKEWED:
            state[SHIFT + lane], state[STRETCH + lane] = skewed_shape(natural[N_NU], natural[N_SKEW])
            state[ABOVE + lane], state[BELOW + lane] = 1.0 / (1.0 + natural[N_SKEW]), 1.0 / (1.0 - natural[N_SKEW])


@compiled
def loglikelihood(state: Floats, lane: int, rows: int, law: Law, natural: Floats, rising: Floats) -> float:
    """One lane's log-likelihood, and its slopes (7,) in the law, from the sums over its rows."""
    bits = state.view(np.int64)
    rising[N_OMEGA], rising[N_BETA] = 0.5 * state[D_OMEGA + lane], 0.5 * state[D_BETA + lane]
    rising[N_RISE], rising[N_FALL] = 0.5 * state[D_RISE + lane], 0.5 * state[D_FALL + lane]
    rising[N_NU], rising[N_SKEW] = 0.0, 0.0
    logs = logarithm(state, bits, PRODUCT, POWER, lane)
    if law.innovations == NORMAL:
        rising[N_MEAN] = state[SCORE + lane] + state[D_MEAN + lane]
        return float(-0.5 * (logs + state[D_TAIL + lane] + rows * _LOG_2PI))
    nu, spare = natural[N_NU], natural[N_NU] - 2.0
    rising[N_MEAN] = (nu + 1.0) * state[SCORE + lane] + state[D_MEAN + lane]
    tails = logarithm(state, bits, TAILS, TAIL_POWER, lane) - logs - rows * math.log(spare)
    centre, moved = student_constant(nu)
    rising[N_NU] = rows * moved - 0.5 * (tails - (nu + 1.0) / spare * state[D_TAIL + lane])
    if law.innovations == SKEWED:
        rising[N_MEAN] += (nu + 1.0) * (state[STRETCH + lane] - 1.0) * state[SCORE + lane]
        centre += math.log(state[STRETCH + lane])
        _skew(state, lane, rows, natural, rising)
    return float(rows * centre - 0.5 * (logs + (nu + 1.0) * tails))


@compiled
def _skew(state: Floats, lane: int, rows: int, natural: Floats, rising: Floats) -> None:
    """Add to the slopes in degrees of freedom and skewness what they do through shift, stretch and the two scales."""
    shift, stretch, weight = state[SHIFT + lane], state[STRETCH + lane], natural[N_NU] + 1.0
    long = state[D_TAIL + lane] - shift * state[D_SHIFT + lane]
    nu, skew = skewed_slopes(
        natural[N_NU], natural[N_SKEW], -weight * state[D_SHIFT + lane], (rows - weight * long) / stretch
    )
    rising[N_NU] += nu
    rising[N_SKEW] = skew + weight * state[D_SIDE + lane]
