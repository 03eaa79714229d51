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
    student_constant,
)
from margin_models.kernels.garch_rows import (
    ADJOINT,
    AHEAD,
    BETA,
    D_BETA,
    D_FALL,
    D_MEAN,
    D_OMEGA,
    D_RISE,
    D_TAIL,
    FALL,
    LANES,
    MEAN,
    NORMAL,
    OMEGA,
    POWER,
    PRODUCT,
    RISE,
    SPARE,
    TAIL_POWER,
    TAILS,
    VARIANCE,
    logarithm,
)
from margin_models.kernels.quasi_newton import TRIAL

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# What is known of a lane's window: an array (FACTS,) of a return's own unit and, in it, the mean, the variance before
# row 0 and the lowest minus log-likelihood so far; ...
UNIT, CENTRE, BEFORE, BEST, FACTS = 0, 1, 2, 3, 4
# ... and an array (PLACES,) of rows, which window it is (-1: none), where its block ends, which start is being tried,
# and in how many windows all of them are due.
COUNT, WINDOW, LAST, START, DUE, PLACES = 0, 1, 2, 3, 4, 5

_EARLY, _FADE = 75, 0.94
_LOG_2PI = math.log(2.0 * math.pi)
_SUMS = {"contract", "nsz", "reassoc"}


class Law(NamedTuple):
    """What is fitted: the law of innovations, whether there is a mean, and what the variance before a window is.

    `early`: of the first 75 squares with weights that fade by 0.94, as arch has it; else the mean square of all
    residuals (Fiorentini, Calzolari and Panattoni, 1996), which moves with the mean.
    """

    innovations: int
    constant_mean: bool
    early: bool


@compiled(fastmath=_SUMS)
def _mean(values: Floats) -> float:
    total = 0.0
    for i in range(len(values)):
        total += values[i]
    return total / len(values)


@compiled(fastmath=_SUMS)
def _mean_square(values: Floats, centre: float) -> float:
    total = 0.0
    for i in range(len(values)):
        total += (values[i] - centre) * (values[i] - centre)
    return total / len(values)


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
    centre = _mean(values) if law.constant_mean else 0.0
    square = _mean_square(values, centre)
    unit = math.sqrt(square)
    place[COUNT], fact[UNIT], fact[CENTRE] = len(values), unit, centre / unit
    fact[BEFORE] = _early_square(values, centre) / square if law.early else 1.0
    inverse = 1.0 / unit
    for t in range(len(values)):
        x[t, lane] = values[t] * inverse


@compiled
def _variance_before(fact: Floats, mean: float, law: Law) -> tuple[float, float]:
    """The variance before the window, and how it moves with the mean."""
    if law.early:
        return fact[BEFORE], 0.0
    apart = mean - fact[CENTRE]
    return fact[BEFORE] + apart * apart, 2.0 * apart


@compiled
def set_laws(facts: Floats, places: Ints, searches: Floats, law: Law, naturals: Floats, state: Floats) -> int:
    """Write each lane's trial law and first variance into the state; how many rows have to be run."""
    rows = 0
    for lane in range(LANES):
        natural = naturals[lane]
        natural_of(searches[lane, TRIAL], natural)
        before, _ = _variance_before(facts[lane], natural[N_MEAN], law)
        answer = 0.5 * (natural[N_RISE] + natural[N_FALL]) + natural[N_BETA]
        state[MEAN + lane], state[OMEGA + lane] = natural[N_MEAN], natural[N_OMEGA]
        state[RISE + lane], state[FALL + lane] = natural[N_RISE], natural[N_FALL]
        state[BETA + lane], state[SPARE + lane] = natural[N_BETA], natural[N_NU] - 2.0
        state[VARIANCE + lane] = natural[N_OMEGA] + answer * before
        rows = max(rows, places[lane, COUNT])
    return (rows + AHEAD - 1) // AHEAD * AHEAD


@compiled
def loglikelihood(
    state: Floats, lane: int, fact: Floats, rows: int, law: Law, natural: Floats, rising: Floats
) -> float:
    """One lane's log-likelihood, and its slopes (7,) in the law, from the sums over its rows."""
    bits = state.view(np.int64)
    before, moved = _variance_before(fact, natural[N_MEAN], law)
    first, half = state[ADJOINT + lane], 0.5 * (natural[N_RISE] + natural[N_FALL])
    rising[N_MEAN] = state[D_MEAN + lane] + first * (half + natural[N_BETA]) * moved
    rising[N_OMEGA] = state[D_OMEGA + lane] + first
    rising[N_RISE] = state[D_RISE + lane] + 0.5 * first * before
    rising[N_FALL] = state[D_FALL + lane] + 0.5 * first * before
    rising[N_BETA] = state[D_BETA + lane] + first * before
    rising[N_NU], rising[N_SKEW] = 0.0, 0.0
    logs = logarithm(state, bits, PRODUCT, POWER, lane)
    if law.innovations == NORMAL:
        return float(-0.5 * (logs + state[D_TAIL + lane] + rows * _LOG_2PI))
    nu, spare = natural[N_NU], natural[N_NU] - 2.0
    tails = logarithm(state, bits, TAILS, TAIL_POWER, lane) - logs - rows * math.log(spare)
    centre, moved = student_constant(nu)
    rising[N_NU] = rows * moved - 0.5 * (tails - (nu + 1.0) / spare * state[D_TAIL + lane])
    return float(rows * centre - 0.5 * (logs + (nu + 1.0) * tails))
