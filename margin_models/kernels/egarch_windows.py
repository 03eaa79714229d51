"""What do the lanes of a vector of windows say of each one's EGARCH, and in which coordinates?

Searched are the drift of ln variance about where it usually is, the answers alpha and gamma, ln(1 - beta) and one over
the degrees of freedom: a long valley becomes short and straight in them, and every bound is the side of a box.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled
from margin_models.kernels.egarch_rows import (
    ADJOINT,
    AHEAD,
    ALPHA,
    BETA,
    COUNT,
    D_ALPHA,
    D_BETA,
    D_GAMMA,
    D_OMEGA,
    D_TAIL,
    DRIFT,
    GAMMA,
    HIGHEST,
    LANES,
    LOGS,
    LOWEST,
    MEAN_SIZE,
    RETURN,
    ROW,
    SHOCK,
    SPARE,
    SQUARES,
    STRETCH,
    STRETCH_POWER,
    TAIL_POWER,
    TAILS,
    TURN,
    logarithm,
)
from margin_models.kernels.egarch_rows import LOG as LOG_LINE
from margin_models.kernels.garch_coordinates import student_constant
from margin_models.kernels.garch_windows import mean_square
from margin_models.kernels.quasi_newton import TRIAL

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

C_DRIFT, C_ALPHA, C_GAMMA, C_SLACK, C_HEAVY, SIZE = 0, 1, 2, 3, 4, 5
OMEGA, ANSWER, SIGN, PERSISTENCE, DEGREES, LAW = 0, 1, 2, 3, 4, 5  # alpha, gamma and beta have lines of that name above

# What is known of a lane's window: an array (FACTS,) of a return's own unit and, in it, the ln variance before row 0
# and the lowest minus log-likelihood so far; ...
UNIT, BEFORE, BEST, FACTS = 0, 1, 2, 3
# ... and an array (PLACES,) of rows, which window it is (-1: none), where its block ends, which start is being tried,
# in how many windows all of them are due, which box is searched now and which had the lowest, and how often a search
# went beyond what is invertible.
ROWS, WINDOW, LAST, START, DUE, HELD, KEPT, BEYOND, PLACES = 0, 1, 2, 3, 4, 5, 6, 7, 8

_USUAL_LOG, _USUAL_SIZE = -0.2, 0.75  # what ln variance and |z| are about, in heavy-tailed returns of unit mean square
_EARLY, _FADE = 75, 0.94
_LOG_2PI = math.log(2.0 * math.pi)


class Windows(NamedTuple):
    """W windows of returns without holes: rows begin[w] to end[w] - 1 of `returns`; block b is windows block[b] on."""

    returns: Floats
    begin: Ints
    end: Ints
    block: Ints


@compiled
def _early_square(values: Floats) -> float:
    """Of the first 75 returns with weights that fade by 0.94, as arch has it."""
    total, weights, weight = 0.0, 0.0, 1.0
    for i in range(min(_EARLY, len(values))):
        total += weight * values[i] * values[i]
        weights += weight
        weight *= _FADE
    return total / weights


@compiled
def log_before(values: Floats) -> float:
    """ln of the variance before a window, over its mean square: that of its early returns, within the bounds of any."""
    early = _early_square(values) / mean_square(values, 0.0)
    return min(max(math.log(early), LOWEST), HIGHEST) if early > 0.0 else LOWEST


@compiled
def load(tape: Floats, lane: int, values: Floats, fact: Floats, place: Ints) -> None:
    """Put a window into a lane, scaled to unit mean square."""
    unit, before = math.sqrt(mean_square(values, 0.0)), place[ROWS]
    place[ROWS], fact[UNIT], fact[BEFORE] = len(values), unit, log_before(values)
    inverse = 1.0 / unit
    for t in range(len(values)):
        tape[t // TURN, t % TURN * ROW + RETURN + lane] = values[t] * inverse
    for t in range(len(values), before):
        tape[t // TURN, t % TURN * ROW + RETURN + lane] = 0.0


@compiled
def law_of(point: Floats, law: Floats) -> None:
    """Omega, alpha, gamma, beta and degrees of freedom, (5,), from coordinates."""
    slack = math.exp(point[C_SLACK])
    law[OMEGA] = point[C_DRIFT] + point[C_ALPHA] * (MEAN_SIZE - _USUAL_SIZE) + slack * _USUAL_LOG
    law[ANSWER], law[SIGN] = point[C_ALPHA], point[C_GAMMA]
    law[PERSISTENCE], law[DEGREES] = 1.0 - slack, 1.0 / point[C_HEAVY]


@compiled
def point_of(law: Floats, point: Floats) -> None:
    """Coordinates (5,) of a law in units."""
    slack = 1.0 - law[PERSISTENCE]
    point[C_DRIFT] = law[OMEGA] - law[ANSWER] * (MEAN_SIZE - _USUAL_SIZE) - slack * _USUAL_LOG
    point[C_ALPHA], point[C_GAMMA] = law[ANSWER], law[SIGN]
    point[C_SLACK], point[C_HEAVY] = math.log(slack), 1.0 / law[DEGREES]


@compiled
def change_unit(point: Floats, before: float, after: float) -> None:
    """The coordinates of the same law where returns are counted in another unit."""
    point[C_DRIFT] += math.exp(point[C_SLACK]) * 2.0 * math.log(before / after)


@compiled
def set_laws(facts: Floats, places: Ints, searches: Floats, laws: Floats, state: Floats) -> int:
    """Write each lane's law at its trial point into the state; how many turns have to be run."""
    rows = 0
    for lane in range(LANES):
        law = laws[lane]
        law_of(searches[lane, TRIAL], law)
        state[DRIFT + lane] = law[OMEGA] - law[ANSWER] * MEAN_SIZE
        state[ALPHA + lane], state[GAMMA + lane], state[BETA + lane] = law[ANSWER], law[SIGN], law[PERSISTENCE]
        state[SPARE + lane], state[COUNT + lane] = 1.0 / (law[DEGREES] - 2.0), places[lane, ROWS]
        first = law[OMEGA] + law[PERSISTENCE] * facts[lane, BEFORE]
        state[AHEAD + lane] = min(max(first, LOWEST), HIGHEST)
        rows = max(rows, places[lane, ROWS])
    return (rows + TURN - 1) // TURN


@compiled
def loglikelihood(
    state: Floats, lane: int, before: float, rows: int, student: bool, law: Floats, slope: Floats
) -> float:
    """One lane's log-likelihood, and the slopes (5,) of minus it in coordinates, from the sums over its rows.

    Minus infinity where the filter is not invertible: where ln variances do not forget what they began from, the
    returns do not tell them, and the likelihood is chaos (Wintenberger 2013, "Continuous invertibility and stable QML
    estimation of the EGARCH(1,1) model", Scand. J. Stat. 40).
    """
    if logarithm(state, STRETCH, STRETCH_POWER, lane) > 0.0:
        return -math.inf
    first, all_, logs = state[ADJOINT + lane], state[D_OMEGA + lane], state[LOGS + lane]
    slack = 1.0 - law[PERSISTENCE]
    slope[C_DRIFT] = -all_
    slope[C_ALPHA] = -(state[D_ALPHA + lane] + first * MEAN_SIZE - all_ * _USUAL_SIZE)
    slope[C_GAMMA] = -state[D_GAMMA + lane]
    slope[C_SLACK] = slack * (state[D_BETA + lane] + first * before - all_ * _USUAL_LOG)
    slope[C_HEAVY] = 0.0
    if not student:
        return float(-0.5 * (logs + state[SQUARES + lane] + rows * _LOG_2PI))
    nu, tails = law[DEGREES], logarithm(state, TAILS, TAIL_POWER, lane)
    centre, moved = student_constant(nu)
    rising = rows * moved - 0.5 * (tails - (nu + 1.0) / (nu - 2.0) * state[D_TAIL + lane])
    slope[C_HEAVY] = rising * nu * nu
    return float(rows * centre - 0.5 * (logs + (nu + 1.0) * tails))


@compiled
def log_ahead(tape: Floats, lane: int, rows: int, law: Floats) -> float:
    """ln variance of the row after a lane's window, in its unit, under the law that was last run."""
    t = rows - 1
    log, z = tape[t // TURN, t % TURN * ROW + LOG_LINE + lane], tape[t // TURN, t % TURN * ROW + SHOCK + lane]
    ahead = law[OMEGA] + law[ANSWER] * (abs(z) - MEAN_SIZE) + law[SIGN] * z + law[PERSISTENCE] * log
    return float(min(max(ahead, LOWEST), HIGHEST))
