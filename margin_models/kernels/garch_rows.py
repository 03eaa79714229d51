"""How likely are windows of returns under GARCH(1,1) or GJR, and which way does that rise?

Windows sit side by side in the lanes of the vector unit: row t of all of them is one line of memory, and their last
rows are in the same line. Variances go forward in time, h' = omega + (rise or fall) e^2 + beta h, where `rise` answers
a positive residual and `fall` a negative one, and with each goes how it moves with every parameter, v' = beta v + what
the parameter adds (Fiorentini, Calzolari and Panattoni, 1996, equation 5). So one pass, that reads returns and writes
nothing, gives the log-likelihood and its slopes.

Nothing here depends on which lane a window has, nor on its neighbours: every row of a window meets the same operations
in the same order.
"""

import math

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Running = tuple[float, float, float, float, float, float, float, float, float, float, float, float, float, float, float]
Bound = tuple[float, float, float, float, float, float]
Shape = tuple[float, float, float, float]
Bent = tuple[float, float]

LANES = 32  # four vectors of eight doubles: three work while one waits for its own last row
ROWS = 8  # to a turn of the loop: what is summed stays in registers meanwhile
NORMAL, STUDENT, SKEWED = 0, 1, 2

# All that lanes remember is one flat array, a line of LANES numbers after the other: so the compiler sees that lines do
# not overlap, and works on vectors.
MEAN, OMEGA, RISE, FALL, BETA, SPARE = (i * LANES for i in range(6))  # SPARE: degrees of freedom beyond two
SHIFT, STRETCH, ABOVE, BELOW = (i * LANES for i in range(6, 10))  # of a skewed law; one over its scales on either side
FIRST, FIRST_MEAN, BEFORE = (i * LANES for i in range(10, 13))  # row 0's variance, half its slope in the mean; before
VARIANCE, V_MEAN, V_OMEGA, V_RISE, V_FALL, V_BETA = (i * LANES for i in range(13, 19))  # V_MEAN is halved
SCORE, D_MEAN, D_OMEGA, D_RISE, D_FALL, D_BETA, D_TAIL, D_SHIFT, D_SIDE = (i * LANES for i in range(19, 28))
PRODUCT, TAILS, POWER, TAIL_POWER = (i * LANES for i in range(28, 32))
STATE = 32 * LANES

# May fuse products and sums, may not reorder them. What is fused is the compiler's choice in each copy that it makes of
# a function, by itself and within its caller, and two copies may differ in the last bit: so only the caller has one.
_WITHIN = {"fastmath": {"contract", "nsz", "arcp"}, "forceinline": True}
_RENEWED = 16  # rows after which products give their powers of two away; far fewer than would leave a float's range
_MANTISSA, _BIAS = 52, 1023
_FRACTION, _UNIT = (1 << 52) - 1, 1023 << 52
_LN2 = math.log(2.0)


@compiled(inline="always")
def _moved(e: float, square: float, law: Bound, running: Running) -> tuple[float, float, float, float, float, float]:
    """The next row's variance and how it moves with mean (halved), omega, rise, fall and beta."""
    _, omega, rise, fall, beta, _ = law
    h, v_mean, v_omega, v_rise, v_fall, v_beta = running[:6]
    down = square if e < 0.0 else 0.0
    answer = (fall if e < 0.0 else rise) * e
    return (
        (omega + answer * e) + beta * h,
        beta * v_mean - answer,
        beta * v_omega + 1.0,
        beta * v_rise + (square - down),
        beta * v_fall + down,
        beta * v_beta + h,
    )


@compiled(inline="always")
def _student_row(x: float, law: Bound, running: Running) -> Running:
    """One row more under a standardised t law."""
    h, v_mean, v_omega, v_rise, v_fall, v_beta, score, d_mean, d_omega, d_rise, d_fall, d_beta, d_tail = running[:13]
    e, spare = x - law[0], law[5]
    square = e * e
    tail = spare * h + square
    inverse = 1.0 / (h * tail)  # one division gives both
    by_tail = h * inverse
    share = square * by_tail
    slope = ((spare + 3.0) * share - 1.0) * (tail * inverse)  # twice that of the log-likelihood in h
    return (
        *_moved(e, square, law, running),
        score + e * by_tail,
        d_mean + slope * v_mean,
        d_omega + slope * v_omega,
        d_rise + slope * v_rise,
        d_fall + slope * v_fall,
        d_beta + slope * v_beta,
        d_tail + share,
        running[13] * h,
        running[14] * tail,
    )


@compiled(inline="always")
def _normal_row(x: float, law: Bound, running: Running) -> Running:
    """The same under the normal law; the product for the tail stays, and the sum for it is of e^2 / h."""
    h, v_mean, v_omega, v_rise, v_fall, v_beta, score, d_mean, d_omega, d_rise, d_fall, d_beta, d_tail = running[:13]
    e = x - law[0]
    square = e * e
    inverse = 1.0 / h
    standard = square * inverse
    slope = (standard - 1.0) * inverse
    return (
        *_moved(e, square, law, running),
        score + e * inverse,
        d_mean + slope * v_mean,
        d_omega + slope * v_omega,
        d_rise + slope * v_rise,
        d_fall + slope * v_fall,
        d_beta + slope * v_beta,
        d_tail + standard,
        running[13] * h,
        running[14],
    )


@compiled(inline="always")
def _skewed_row(x: float, law: Bound, shape: Shape, running: Running, bent: Bent) -> tuple[Running, Bent]:
    """The same under Hansen's skewed t law, with the sums that its shift and its two scales need."""
    h, v_mean, v_omega, v_rise, v_fall, v_beta, score, d_mean, d_omega, d_rise, d_fall, d_beta, d_tail = running[:13]
    e, spare, root = x - law[0], law[5], math.sqrt(h)
    long = shape[1] * e
    at = long + shape[0] * root
    side = shape[3] if at < 0.0 else shape[2]
    signed = -shape[3] if at < 0.0 else shape[2]
    u = at * side
    square = u * u
    tail = spare * h + square
    inverse = 1.0 / (h * tail)
    by_tail = h * inverse
    push, share = u * side * by_tail, square * by_tail
    slope = ((spare + 3.0) * push * long - 1.0) * (tail * inverse)
    now = (
        *_moved(e, e * e, law, running),
        score + push,
        d_mean + slope * v_mean,
        d_omega + slope * v_omega,
        d_rise + slope * v_rise,
        d_fall + slope * v_fall,
        d_beta + slope * v_beta,
        d_tail + share,
        running[13] * h,
        running[14] * tail,
    )
    return now, (bent[0] + push * root, bent[1] + share * signed)


@compiled(inline="always")
def _law(state: Floats, lane: int) -> Bound:
    return (
        state[MEAN + lane],
        state[OMEGA + lane],
        state[RISE + lane],
        state[FALL + lane],
        state[BETA + lane],
        state[SPARE + lane],
    )


@compiled(inline="always")
def _running(state: Floats, lane: int) -> Running:
    return (
        state[VARIANCE + lane],
        state[V_MEAN + lane],
        state[V_OMEGA + lane],
        state[V_RISE + lane],
        state[V_FALL + lane],
        state[V_BETA + lane],
        state[SCORE + lane],
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
def _keep(state: Floats, lane: int, now: Running) -> None:
    state[VARIANCE + lane], state[V_MEAN + lane], state[V_OMEGA + lane] = now[0], now[1], now[2]
    state[V_RISE + lane], state[V_FALL + lane], state[V_BETA + lane] = now[3], now[4], now[5]
    state[SCORE + lane], state[D_MEAN + lane], state[D_OMEGA + lane] = now[6], now[7], now[8]
    state[D_RISE + lane], state[D_FALL + lane], state[D_BETA + lane] = now[9], now[10], now[11]
    state[D_TAIL + lane], state[PRODUCT + lane], state[TAILS + lane] = now[12], now[13], now[14]


@compiled(**_WITHIN)
def _eight_students(x: Floats, state: Floats) -> None:
    """Eight rows of all lanes, (8 * LANES,)."""
    for lane in range(LANES):
        law = _law(state, lane)
        now = _student_row(x[lane], law, _running(state, lane))
        now = _student_row(x[LANES + lane], law, now)
        now = _student_row(x[2 * LANES + lane], law, now)
        now = _student_row(x[3 * LANES + lane], law, now)
        now = _student_row(x[4 * LANES + lane], law, now)
        now = _student_row(x[5 * LANES + lane], law, now)
        now = _student_row(x[6 * LANES + lane], law, now)
        _keep(state, lane, _student_row(x[7 * LANES + lane], law, now))


@compiled(**_WITHIN)
def _eight_normals(x: Floats, state: Floats) -> None:
    for lane in range(LANES):
        law = _law(state, lane)
        now = _normal_row(x[lane], law, _running(state, lane))
        now = _normal_row(x[LANES + lane], law, now)
        now = _normal_row(x[2 * LANES + lane], law, now)
        now = _normal_row(x[3 * LANES + lane], law, now)
        now = _normal_row(x[4 * LANES + lane], law, now)
        now = _normal_row(x[5 * LANES + lane], law, now)
        now = _normal_row(x[6 * LANES + lane], law, now)
        _keep(state, lane, _normal_row(x[7 * LANES + lane], law, now))


@compiled(inline="always")
def _shape(state: Floats, lane: int) -> Shape:
    return state[SHIFT + lane], state[STRETCH + lane], state[ABOVE + lane], state[BELOW + lane]


@compiled(**_WITHIN)
def _eight_skewed(x: Floats, state: Floats) -> None:
    for lane in range(LANES):
        law, shape = _law(state, lane), _shape(state, lane)
        bent = (state[D_SHIFT + lane], state[D_SIDE + lane])
        now, bent = _skewed_row(x[lane], law, shape, _running(state, lane), bent)
        now, bent = _skewed_row(x[LANES + lane], law, shape, now, bent)
        now, bent = _skewed_row(x[2 * LANES + lane], law, shape, now, bent)
        now, bent = _skewed_row(x[3 * LANES + lane], law, shape, now, bent)
        now, bent = _skewed_row(x[4 * LANES + lane], law, shape, now, bent)
        now, bent = _skewed_row(x[5 * LANES + lane], law, shape, now, bent)
        now, bent = _skewed_row(x[6 * LANES + lane], law, shape, now, bent)
        now, bent = _skewed_row(x[7 * LANES + lane], law, shape, now, bent)
        _keep(state, lane, now)
        state[D_SHIFT + lane], state[D_SIDE + lane] = bent


@compiled
def _start(x: Floats, count: int, lane: int, law: int, state: Floats) -> None:
    """Begin a lane at its first row, with the rows that do not fill a turn of the loop."""
    for line in range(SCORE, STATE, LANES):
        state[line + lane] = 0.0
    before = state[BEFORE + lane]
    state[VARIANCE + lane], state[V_MEAN + lane] = state[FIRST + lane], state[FIRST_MEAN + lane]
    state[V_OMEGA + lane], state[V_BETA + lane] = 1.0, before
    state[V_RISE + lane], state[V_FALL + lane] = 0.5 * before, 0.5 * before
    state[PRODUCT + lane], state[TAILS + lane] = 1.0, 1.0
    first = len(x) // LANES - count
    for t in range(first, first + count % ROWS):
        if law == NORMAL:
            now = _normal_row(x[t * LANES + lane], _law(state, lane), _running(state, lane))
        elif law == SKEWED:
            bent = (state[D_SHIFT + lane], state[D_SIDE + lane])
            now, bent = _skewed_row(
                x[t * LANES + lane], _law(state, lane), _shape(state, lane), _running(state, lane), bent
            )
            state[D_SHIFT + lane], state[D_SIDE + lane] = bent
        else:
            now = _student_row(x[t * LANES + lane], _law(state, lane), _running(state, lane))
        _keep(state, lane, now)


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


@compiled(forceinline=True)
def run(x: Floats, counts: Ints, law: int, state: Floats) -> None:
    """Fill every lane's sums over the last `counts` rows of x, (R * LANES,); lanes that are longer begin earlier."""
    bits = state.view(np.int64)
    turns, top = len(x) // (ROWS * LANES), 0
    for lane in range(LANES):
        top = max(top, counts[lane] // ROWS)
    while top >= 0:
        until = -1
        for lane in range(LANES):
            own = counts[lane] // ROWS
            if own == top:
                _start(x, counts[lane], lane, law, state)
            elif own < top:
                until = max(until, own)
        for turn in range(turns - top, turns - max(until, 0)):
            rows = x[turn * ROWS * LANES : (turn + 1) * ROWS * LANES]
            if law == NORMAL:
                _eight_normals(rows, state)
            elif law == SKEWED:
                _eight_skewed(rows, state)
            else:
                _eight_students(rows, state)
            if (turns - turn) * ROWS % _RENEWED == ROWS:
                renew(bits, PRODUCT, POWER)
                renew(bits, TAILS, TAIL_POWER)
        top = until
