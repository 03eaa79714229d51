"""How likely are windows of returns under EGARCH(1,1,1), and which way does that rise?

Windows sit side by side in the lanes of the vector unit. Forward in time goes l = ln variance (Nelson 1991, eq. 2.1 in
the form of arch): z = x exp(-l / 2), l' = omega + alpha (|z| - E|z|) + gamma z + beta l, with the normal law's E|z|
whatever the law. Against time goes the adjoint a = s + b a' of each l, where s is the slope of a row's log-likelihood
in its own l and b = beta - (alpha |z| + gamma z) / 2; each parameter's slope is then one sum over rows (Griewank and
Walther 2008, "Evaluating derivatives", chapter 3). For a given return |z| is smooth in l, so slopes have no kinks.

Nothing here depends on which lane a window has, nor on its neighbours: every row of a window meets the same operations
in the same order, and rows after its last add nothing.
"""

import math
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from data.compiled import compiled

Floats = NDArray[np.float64]

LANES = 16
TURN = 4  # rows to a turn of either loop: what is summed stays in registers meanwhile
# A turn of the tape is one flat line: of each of its rows the returns, ln variances and innovations of every lane.
RETURN, LOG, SHOCK = 0, LANES, 2 * LANES
ROW = 3 * LANES
LINE = TURN * ROW

# All that lanes remember is one flat array as well, so that the compiler sees that its lines do not overlap.
DRIFT, ALPHA, GAMMA, BETA, SPARE = (i * LANES for i in range(5))  # drift: omega - alpha E|z|; spare: 1 / (nu - 2)
AHEAD = 5 * LANES  # ln variance of the row that comes next, forwards
ADJOINT, D_OMEGA, D_ALPHA, D_GAMMA, D_BETA, D_TAIL = (i * LANES for i in range(6, 12))
LOGS, SQUARES, TAILS, TAIL_POWER, STRETCH, STRETCH_POWER, COUNT = (i * LANES for i in range(12, 19))
STATE = 19 * LANES
SUMS, SUMMED = ADJOINT, TAILS  # what begins at nothing

MEAN_SIZE = math.sqrt(2.0 / math.pi)  # E|z| of the normal law
LOWEST, HIGHEST = math.log(1e-8), math.log(1e10)  # ln variance, of the mean square, beyond which none goes

_RENEWED = 4  # turns after which products give their powers of two away; far fewer than would leave a float's range
_MANTISSA, _BIAS = 52, 1023
_FRACTION, _UNIT = (1 << 52) - 1, 1023 << 52
_LN2 = math.log(2.0)
_HALVES = -0.5 / _LN2
_ROUND = 1.5 * 2.0**52  # added to a small number and taken away, it leaves the nearest whole one

# 2^f for |f| <= 1/2 to 3e-16: its Chebyshev series up to the tenth power, rearranged.
_P1, _P2, _P3 = 0.69314718055995, 0.24022650695910158, 0.05550410866444768
_P4, _P5, _P6 = 0.009618129107587253, 0.0013333558230170627, 0.00015403530463727982
_P7, _P8, _P9 = 1.5252657257186041e-05, 1.3215432534254118e-06, 1.020869083593037e-07
_P10 = 7.074194562613105e-09


def _reinterpreted(typed: Any) -> Any:
    """How numba reads the bits of its argument as a number of another type: it costs nothing and runs in vectors."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.bitcast(given[0], context.get_value_type(signature.return_type))

    return typed, generate


def _as_whole(typing: Any, value: Any) -> Any:  # noqa: ARG001  numba's signature
    return _reinterpreted(types.int64(types.float64))


def _as_float(typing: Any, value: Any) -> Any:  # noqa: ARG001
    return _reinterpreted(types.float64(types.int64))


_bits: Any = intrinsic(_as_whole)
_of_bits: Any = intrinsic(_as_float)


@compiled(inline="always")
def inverse_deviation(log: float) -> float:
    """exp(-log / 2) to a few units of the last place, for |log| < 1000, without a branch."""
    shifted = log * _HALVES + _ROUND
    f = log * _HALVES - (shifted - _ROUND)
    f2 = f * f
    f4 = f2 * f2
    low = (1.0 + _P1 * f) + f2 * (_P2 + _P3 * f)
    high = (_P4 + _P5 * f) + f2 * (_P6 + _P7 * f)
    top = (_P8 + _P9 * f) + f2 * _P10
    scale: float = _of_bits((_bits(shifted) + _BIAS) << _MANTISSA)
    return (low + f4 * (high + f4 * top)) * scale


@compiled(inline="always")
def _shock_and_next(x: float, log: float, drift: float, alpha: float, gamma: float, beta: float) -> tuple[float, float]:
    """A row's innovation, and the ln variance of the row after."""
    inverse = inverse_deviation(log)
    after = (drift + beta * log) + (alpha * abs(x) + gamma * x) * inverse
    return x * inverse, min(max(after, LOWEST), HIGHEST)


@compiled
def _turn_forward(line: Floats, state: Floats) -> None:
    for lane in range(LANES):
        drift, alpha, gamma = state[DRIFT + lane], state[ALPHA + lane], state[GAMMA + lane]
        beta, log = state[BETA + lane], state[AHEAD + lane]
        for i in range(TURN):
            line[i * ROW + LOG + lane] = log
            shock, log = _shock_and_next(line[i * ROW + RETURN + lane], log, drift, alpha, gamma, beta)
            line[i * ROW + SHOCK + lane] = shock
        state[AHEAD + lane] = log


@compiled
def run_forward(tape: Floats, turns: int, state: Floats) -> None:
    """Fill ln variances and innovations of so many turns of the `tape` (turns, LINE) from the one ahead."""
    for turn in range(turns):
        _turn_forward(tape[turn], state)


@compiled(inline="always")
def _turn_back(line: Floats, first: float, student: bool, state: Floats) -> None:
    """Sums with the rows of one more turn, the first of which is row `first`."""
    for lane in range(LANES):
        alpha, gamma, beta = state[ALPHA + lane], state[GAMMA + lane], state[BETA + lane]
        count, spare = state[COUNT + lane], state[SPARE + lane] if student else 0.0
        half = 0.5 * (1.0 / spare + 3.0) if student else 0.0
        adjoint, d_omega, d_alpha = state[ADJOINT + lane], state[D_OMEGA + lane], state[D_ALPHA + lane]
        d_gamma, d_beta, d_tail = state[D_GAMMA + lane], state[D_BETA + lane], state[D_TAIL + lane]
        logs, squares, tails = state[LOGS + lane], state[SQUARES + lane], state[TAILS + lane]
        stretch = state[STRETCH + lane]
        for j in range(TURN):
            i = TURN - 1 - j
            log, z = line[i * ROW + LOG + lane], line[i * ROW + SHOCK + lane]
            square, size = z * z, abs(z)
            d_alpha += adjoint * size
            d_gamma += adjoint * z
            d_beta += adjoint * log
            if student:
                share = square * spare
                tail = 1.0 + share
                weight = share / tail
                slope = half * weight - 0.5
                d_tail += weight
                tails *= tail
            else:
                slope = 0.5 * square - 0.5
                squares += square
            within = first + i < count
            free = within & (log > LOWEST) & (log < HIGHEST)
            passed = beta - 0.5 * (alpha * size + gamma * z)
            stretch *= abs(passed) if within else 1.0
            moved = slope + passed * adjoint
            adjoint = moved if free else 0.0
            d_omega += adjoint
            logs += log if within else 0.0
        state[ADJOINT + lane], state[D_OMEGA + lane], state[D_ALPHA + lane] = adjoint, d_omega, d_alpha
        state[D_GAMMA + lane], state[D_BETA + lane], state[D_TAIL + lane] = d_gamma, d_beta, d_tail
        state[LOGS + lane], state[SQUARES + lane], state[TAILS + lane] = logs, squares, tails
        state[STRETCH + lane] = stretch


@compiled
def _normal_turn_back(line: Floats, first: float, state: Floats) -> None:
    _turn_back(line, first, False, state)


@compiled
def _student_turn_back(line: Floats, first: float, state: Floats) -> None:
    _turn_back(line, first, True, state)


@compiled
def _renew(state: Floats, product: int, power: int) -> None:
    """Move the powers of two of a line of products to another line, exactly."""
    for lane in range(LANES):
        bits: int = _bits(state[product + lane])
        state[power + lane] += (bits >> _MANTISSA) - _BIAS
        state[product + lane] = _of_bits((bits & _FRACTION) | _UNIT)


@compiled
def sum_back(tape: Floats, turns: int, student: bool, state: Floats) -> None:
    """Fill every lane's sums over its rows, the newest first; a line of the state counts them, as floats."""
    for i in range(SUMS, SUMMED):
        state[i] = 0.0
    for lane in range(LANES):
        state[TAILS + lane] = state[STRETCH + lane] = 1.0
        state[TAIL_POWER + lane] = state[STRETCH_POWER + lane] = 0.0
    for turn in range(turns - 1, -1, -1):
        if student:
            _student_turn_back(tape[turn], float(turn * TURN), state)
        else:
            _normal_turn_back(tape[turn], float(turn * TURN), state)
        if turn % _RENEWED == 0:
            _renew(state, STRETCH, STRETCH_POWER)
            if student:
                _renew(state, TAILS, TAIL_POWER)


@compiled
def logarithm(state: Floats, product: int, power: int, lane: int) -> float:
    """Of a product over a lane's rows, once its powers of two have been moved.

    TAILS are 1 + z^2 / (nu - 2); STRETCH is by how much a change of the first ln variance changes the one ahead.
    """
    told: float = math.log(state[product + lane]) + _LN2 * state[power + lane]
    return told
