"""How likely are windows of returns under GARCH(1,1) or GJR, and which way does that rise?

Windows sit side by side in the lanes of the vector unit: row t of all of them is one line of memory. Variances go
forward in time, h' = omega + (rise or fall) e^2 + beta h, where `rise` answers a positive residual and `fall` a
negative one. The gradient comes back against time: with the slope s of a row's log-likelihood in its h, the adjoint
a = s + beta a' makes each parameter's slope one sum over rows (Griewank and Walther 2008, "Evaluating derivatives",
chapter 3), where a forward pass would carry five more recursions.

Nothing here depends on which lane a window has, nor on its neighbours: every row of a window meets the same operations
in the same order.
"""

import math

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
State = tuple[float, float, float, float, float, float, float, float, float]

LANES = 16  # two vectors of eight doubles: one works while the other waits for a division
AHEAD, ROWS = 8, 4  # to a turn of the loop forwards and back: what is summed stays in registers meanwhile
NORMAL, STUDENT, SKEWED = 0, 1, 2

# All that lanes remember is one flat array, a line of LANES numbers after the other: so the compiler sees that lines do
# not overlap, and works on vectors.
MEAN, OMEGA, RISE, FALL, BETA, SPARE = (i * LANES for i in range(6))  # SPARE: degrees of freedom beyond two
VARIANCE, ADJOINT = 6 * LANES, 7 * LANES
D_MEAN, D_OMEGA, D_RISE, D_FALL, D_BETA, D_TAIL = (i * LANES for i in range(8, 14))
PRODUCT, TAILS, POWER, TAIL_POWER = (i * LANES for i in range(14, 18))
RECENT = 18 * LANES  # the variances of AHEAD rows
STATE = (18 + AHEAD) * LANES
SUMS = ADJOINT  # what a pass starts from nothing begins here

_FUSED = {"contract", "nsz", "arcp"}  # may fuse products and sums, may not reorder them
_RENEWED = 16  # rows after which products give their powers of two away; far fewer than would leave a float's range
_MANTISSA, _BIAS = 52, 1023
_FRACTION, _UNIT = (1 << 52) - 1, 1023 << 52
_LN2 = math.log(2.0)


@compiled(inline="always")
def next_variance(x: float, h: float, mean: float, omega: float, rise: float, fall: float, beta: float) -> float:
    """The variance of the row after x, whose own is h."""
    e = x - mean
    answer = fall if e < 0.0 else rise
    return (omega + answer * (e * e)) + beta * h


@compiled(fastmath=_FUSED)
def _eight_variances(x: Floats, t: int, state: Floats) -> None:
    """Note the variances of eight rows, (8, LANES), and go on to the one after."""
    x0, x1, x2, x3 = x[t], x[t + 1], x[t + 2], x[t + 3]
    x4, x5, x6, x7 = x[t + 4], x[t + 5], x[t + 6], x[t + 7]
    for lane in range(LANES):
        mean, omega, rise, fall = state[MEAN + lane], state[OMEGA + lane], state[RISE + lane], state[FALL + lane]
        beta, h = state[BETA + lane], state[VARIANCE + lane]
        state[RECENT + lane] = h
        h = next_variance(x0[lane], h, mean, omega, rise, fall, beta)
        state[RECENT + LANES + lane] = h
        h = next_variance(x1[lane], h, mean, omega, rise, fall, beta)
        state[RECENT + 2 * LANES + lane] = h
        h = next_variance(x2[lane], h, mean, omega, rise, fall, beta)
        state[RECENT + 3 * LANES + lane] = h
        h = next_variance(x3[lane], h, mean, omega, rise, fall, beta)
        state[RECENT + 4 * LANES + lane] = h
        h = next_variance(x4[lane], h, mean, omega, rise, fall, beta)
        state[RECENT + 5 * LANES + lane] = h
        h = next_variance(x5[lane], h, mean, omega, rise, fall, beta)
        state[RECENT + 6 * LANES + lane] = h
        h = next_variance(x6[lane], h, mean, omega, rise, fall, beta)
        state[RECENT + 7 * LANES + lane] = h
        state[VARIANCE + lane] = next_variance(x7[lane], h, mean, omega, rise, fall, beta)


@compiled
def run_variances(x: Floats, rows: int, state: Floats, variance: Floats) -> None:
    """Fill the variances of the first `rows` rows, a multiple of eight, from that of row 0."""
    flat = variance.reshape(variance.size)
    for t in range(0, rows, AHEAD):
        _eight_variances(x, t, state)
        for i in range(AHEAD * LANES):
            flat[t * LANES + i] = state[RECENT + i]


@compiled(inline="always")
def _student_row(
    x: float, h: float, mean: float, rise: float, fall: float, beta: float, spare: float, sums: State
) -> State:
    """The sums with one more row under a standardised t law; the adjoint among them is that of the row after."""
    adjoint, d_mean, d_omega, d_rise, d_fall, d_beta, d_tail, product, tails = sums
    e = x - mean
    square = e * e
    tail = spare * h + square
    inverse = 1.0 / (h * tail)  # one division gives both
    by_tail = h * inverse
    weight = (spare + 3.0) * by_tail
    slope = 0.5 * (tail * inverse) * (weight * square - 1.0)
    down = square if e < 0.0 else 0.0
    answer = fall if e < 0.0 else rise
    d_mean += weight * e - 2.0 * (answer * e) * adjoint
    d_omega += adjoint
    d_rise += adjoint * (square - down)
    d_fall += adjoint * down
    d_beta += adjoint * h
    d_tail += square * by_tail
    return slope + beta * adjoint, d_mean, d_omega, d_rise, d_fall, d_beta, d_tail, product * h, tails * tail


@compiled(inline="always")
def _normal_row(x: float, h: float, mean: float, rise: float, fall: float, beta: float, sums: State) -> State:
    """The same under the normal law; `tails` stays, and the sum for the tail is of e^2 / h."""
    adjoint, d_mean, d_omega, d_rise, d_fall, d_beta, d_tail, product, tails = sums
    e = x - mean
    square = e * e
    inverse = 1.0 / h
    standard = square * inverse
    slope = 0.5 * inverse * (standard - 1.0)
    down = square if e < 0.0 else 0.0
    answer = fall if e < 0.0 else rise
    d_mean += inverse * e - 2.0 * (answer * e) * adjoint
    d_omega += adjoint
    d_rise += adjoint * (square - down)
    d_fall += adjoint * down
    d_beta += adjoint * h
    return slope + beta * adjoint, d_mean, d_omega, d_rise, d_fall, d_beta, d_tail + standard, product * h, tails


@compiled(inline="always")
def _sums(state: Floats, lane: int) -> State:
    return (
        state[ADJOINT + lane],
        state[D_MEAN + lane],
        state[D_OMEGA + lane],
        state[D_RISE + lane],
        state[D_FALL + lane],
        state[D_BETA + lane],
        state[D_TAIL + lane],
        state[PRODUCT + lane],
        state[TAILS + lane],
    )


@compiled(inline="always")
def _keep(state: Floats, lane: int, sums: State) -> None:
    state[ADJOINT + lane], state[D_MEAN + lane], state[D_OMEGA + lane] = sums[0], sums[1], sums[2]
    state[D_RISE + lane], state[D_FALL + lane], state[D_BETA + lane] = sums[3], sums[4], sums[5]
    state[D_TAIL + lane], state[PRODUCT + lane], state[TAILS + lane] = sums[6], sums[7], sums[8]


@compiled(fastmath=_FUSED)
def _four_students(x: Floats, variance: Floats, t: int, state: Floats) -> None:
    x0, x1, x2, x3 = x[t], x[t + 1], x[t + 2], x[t + 3]
    h0, h1, h2, h3 = variance[t], variance[t + 1], variance[t + 2], variance[t + 3]
    for lane in range(LANES):
        mean, rise, fall = state[MEAN + lane], state[RISE + lane], state[FALL + lane]
        beta, spare = state[BETA + lane], state[SPARE + lane]
        sums = _student_row(x3[lane], h3[lane], mean, rise, fall, beta, spare, _sums(state, lane))
        sums = _student_row(x2[lane], h2[lane], mean, rise, fall, beta, spare, sums)
        sums = _student_row(x1[lane], h1[lane], mean, rise, fall, beta, spare, sums)
        _keep(state, lane, _student_row(x0[lane], h0[lane], mean, rise, fall, beta, spare, sums))


@compiled(fastmath=_FUSED)
def _four_normals(x: Floats, variance: Floats, t: int, state: Floats) -> None:
    x0, x1, x2, x3 = x[t], x[t + 1], x[t + 2], x[t + 3]
    h0, h1, h2, h3 = variance[t], variance[t + 1], variance[t + 2], variance[t + 3]
    for lane in range(LANES):
        mean, rise, fall = state[MEAN + lane], state[RISE + lane], state[FALL + lane]
        beta = state[BETA + lane]
        sums = _normal_row(x3[lane], h3[lane], mean, rise, fall, beta, _sums(state, lane))
        sums = _normal_row(x2[lane], h2[lane], mean, rise, fall, beta, sums)
        sums = _normal_row(x1[lane], h1[lane], mean, rise, fall, beta, sums)
        _keep(state, lane, _normal_row(x0[lane], h0[lane], mean, rise, fall, beta, sums))


@compiled(fastmath=_FUSED)
def _start(x: Floats, variance: Floats, count: int, lane: int, law: int, state: Floats) -> None:
    """Begin a lane's sums at its last row, with the rows that do not fill a turn of the loop."""
    for line in range(SUMS, RECENT, LANES):
        state[line + lane] = 0.0
    state[PRODUCT + lane], state[TAILS + lane] = 1.0, 1.0
    mean, rise, fall = state[MEAN + lane], state[RISE + lane], state[FALL + lane]
    beta, spare = state[BETA + lane], state[SPARE + lane]
    for t in range(count - 1, count - count % ROWS - 1, -1):
        if law == NORMAL:
            sums = _normal_row(x[t, lane], variance[t, lane], mean, rise, fall, beta, _sums(state, lane))
        else:
            sums = _student_row(x[t, lane], variance[t, lane], mean, rise, fall, beta, spare, _sums(state, lane))
        _keep(state, lane, sums)


@compiled
def renew(bits: Ints, product: int, power: int) -> None:
    """Move the powers of two of a line of products to a line of whole numbers, exactly; the bits are the state's."""
    for lane in range(LANES):
        one = bits[product + lane]
        bits[power + lane] += (one >> _MANTISSA) - _BIAS
        bits[product + lane] = (one & _FRACTION) | _UNIT


@compiled
def logarithm(state: Floats, bits: Ints, product: int, power: int, lane: int) -> float:
    """Of the product of all rows, once its powers of two have been moved."""
    told: float = math.log(state[product + lane]) + _LN2 * bits[power + lane]
    return told


@compiled
def sum_back(x: Floats, variance: Floats, counts: Ints, law: int, state: Floats) -> None:
    """Fill every lane's sums over its first `counts` rows, last row first; lanes that are longer begin earlier."""
    bits = state.view(np.int64)
    top = 0
    for lane in range(LANES):
        top = max(top, counts[lane] // ROWS)
    while top >= 0:
        until = -1
        for lane in range(LANES):
            turns = counts[lane] // ROWS
            if turns == top:
                _start(x, variance, counts[lane], lane, law, state)
            elif turns < top:
                until = max(until, turns)
        for turn in range(top - 1, max(until, 0) - 1, -1):
            t = turn * ROWS
            if law == NORMAL:
                _four_normals(x, variance, t, state)
            else:
                _four_students(x, variance, t, state)
            if t % _RENEWED == 0:
                renew(bits, PRODUCT, POWER)
                renew(bits, TAILS, TAIL_POWER)
        top = until
