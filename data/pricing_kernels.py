"""What is each option worth on each of many forwards, how does that move, and which deviation explains a price?

Black's formula (1976, "The pricing of commodity contracts", J. Financial Economics 3, equation 16), undiscounted:

    call = F N(d1) - K N(d2),    d1 = ln(F/K) / s + s/2,    d2 = d1 - s,    s = sigma sqrt(T), the deviation.

As F phi(d1) = K phi(d2), both normal tails share one exponential, and a price takes one division and no branch: the
loops run in the lanes of the vector unit. `call` is call - put - parity away: puts are priced as they are, so that what
is out of the money keeps its digits.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from data.compiled import compiled

Floats = NDArray[np.float64]
Places = NDArray[np.intp]

LEAST_DEVIATION = 1e-100  # counts as none at all; its inverse is finite still
WIDEST_DEVIATION = 76.0  # an option is worth its bound from 2 * FARTHEST on
FARTHEST = 37.6  # standard deviations; the density beyond, under 1e-307, is out of the exponential's range

# Products and sums may fuse. They may not be reordered, or the rounding in `exponential` is simplified away, and NaN
# may not be ruled out, because NaN is how a kernel says that it was given one.
FUSED = {"contract", "nsz"}

_INVERSE_ROOT_TWO_PI = 0.3989422804014327
_ROUNDS_TO_POWER = -0.7213475204444817
_TWO_LN2_HIGH, _TWO_LN2_LOW = 1.3862943607382476, 3.8164298585411754e-10  # the high part has zeros to spare at its end
_ROUNDER = 1.5 * 2.0**52  # what is added to this loses its fraction, and leaves its integer in the lowest bits
_MANTISSA = 52  # bits
_ROUNDING = 4 * 2.220446049250313e-16
_STEPS = 100

# exp(x) = 1 + x + x^2 p(x) where |x| <= ln(2)/2, p by interpolation at Chebyshev nodes: relative error under 2e-17.
_GAUSSIAN = (
    -1.2256047605229649e-11,
    2.6972742622470455e-10,
    -5.3822789960931766e-09,
    9.688094256232178e-08,
    -1.5500992080510639e-06,
    2.1701388933146432e-05,
    -0.0002604166666665644,
    0.002604166666664008,
    -0.020833333333333336,
    0.12500000000000003,
    -0.5,
    1.0,
)
# N(-x) = exp(-x^2/2) P(x)/Q(x) where x >= 0, fitted by us in 60 digits. P/Q is within 2e-17 up to x = 5.3, and further out
# where a tail weighs less: with a strike of a million forwards N(d2) counts a million times. P(0)/Q(0) is a half exactly.
_TAIL_P = (
    0.39894198591231034,
    9.173650550154855,
    98.84828012660229,
    642.9394550615069,
    2724.926998688675,
    7573.36502728295,
    12971.272844912819,
    11127.386863012556,
)
_TAIL_Q = (
    22.994887839325898,
    248.77716249444828,
    1634.581532504186,
    7076.473338361052,
    20545.925840598058,
    38886.32884894553,
    43699.28604998226,
    22254.773726025112,
)


@intrinsic
def _bits_of(_typing: Any, _number: Any) -> tuple[Any, Callable[..., Any]]:
    """The 64 bits of a float, as an integer."""
    return types.int64(types.float64), lambda context, builder, _, given: builder.bitcast(
        given[0], context.get_value_type(types.int64)
    )


@intrinsic
def _float_of(_typing: Any, _bits: Any) -> tuple[Any, Callable[..., Any]]:
    """The float that 64 bits are."""
    return types.float64(types.int64), lambda context, builder, _, given: builder.bitcast(
        given[0], context.get_value_type(types.float64)
    )


@compiled(inline="always", fastmath=FUSED)
def _polynomial(x: float, coefficients: tuple[float, ...]) -> float:
    """Its value by Horner's rule, the highest power first."""
    total = coefficients[0]
    for coefficient in coefficients[1:]:
        total = total * x + coefficient
    return total


@compiled(inline="always", fastmath=FUSED)
def _tail_q(x: float) -> float:
    total = x + _TAIL_Q[0]
    for coefficient in _TAIL_Q[1:]:
        total = total * x + coefficient
    return total


@compiled(inline="always", fastmath=FUSED)
def gaussian(x: float) -> float:
    """exp(-x^2/2) for |x| <= FARTHEST, to a unit in the last place.

    As 2^n exp(-rest/2), n added to the bits of the exponent (Cody and Waite 1980, "Software manual", chapter 6).
    """
    square = x * x
    shifted = square * _ROUNDS_TO_POWER + _ROUNDER
    power = shifted - _ROUNDER
    rest = square + power * _TWO_LN2_HIGH + power * _TWO_LN2_LOW
    told: float = _float_of(_bits_of(_polynomial(rest, _GAUSSIAN)) + (_bits_of(shifted) << _MANTISSA))
    return told


@compiled(inline="always", fastmath=FUSED)
def _within(d: float) -> float:
    """|d|, at most FARTHEST; NaN stays NaN."""
    x = abs(d)
    return FARTHEST if x > FARTHEST else x


@compiled(inline="always", fastmath=FUSED)
def black_price(
    forward: float, strike: float, log_ratio: float, half: float, inverse_deviation: float, put: float
) -> float:
    """Undiscounted value of one option, within 1e-15 of the larger of forward and strike; never negative.

    Parameters
    ----------
    log_ratio : ln(forward / strike), to an absolute error that the value shares, times strike.
    inverse_deviation : 1 / deviation; finite, so 1 / LEAST_DEVIATION at most.
    put : 1.0 for a put, 0.0 for a call.

    Where d1 < 0 the tail N(d1) is used, elsewhere 1 - N(-d1), and so for d2: `sure` collects the ones.
    """
    middle = log_ratio * inverse_deviation
    d1, d2 = middle + half, middle - half
    x1, x2 = _within(d1), _within(d2)
    q1, q2 = _tail_q(x1), _tail_q(x2)
    tail1, tail2 = _polynomial(x1, _TAIL_P) * q2, _polynomial(x2, _TAIL_P) * q1
    tails = (tail1 if d1 < 0.0 else -tail1) - (tail2 if d2 < 0.0 else -tail2)
    call = 1.0 - put
    sure = forward * (-put if d1 < 0.0 else call) - (-strike * put if d2 < 0.0 else strike * call)
    price = sure + forward * gaussian(x1) * tails / (q1 * q2)
    return 0.0 if price < 0.0 else price


@compiled(nogil=True, fastmath=FUSED)
def reprice(
    forward: Floats,
    log_forward: Floats,
    group: Places,
    scale: Floats,
    inverse_scale: Floats,
    scale_group: Places,
    strike: Floats,
    log_strike: Floats,
    deviation: Floats,
    put: Floats,
    out: Floats,
) -> None:
    """Fill `out` (N, S): option n on forward[group[n]] with deviation[n] * scale[scale_group[n]], scenario by scenario.

    Forwards and their logarithms are (G, S), scales and their inverses (H, S), the rest (N,). Logarithms may be of
    prices in any unit, the same for both; inverses are of at least LEAST_DEVIATION.
    """
    for n in range(len(strike)):
        forwards, logs = forward[group[n]], log_forward[group[n]]
        scales, inverses = scale[scale_group[n]], inverse_scale[scale_group[n]]
        price, log_price, spread, flag = strike[n], log_strike[n], deviation[n], put[n]
        inverse = 1.0 / max(spread, LEAST_DEVIATION)
        row = out[n]
        for s in range(len(row)):
            row[s] = black_price(
                forwards[s], price, logs[s] - log_price, 0.5*spread * scales[s], inverse * inverses[s], flag
            )


@compiled(nogil=True, fastmath=FUSED)
def price_each(forward: Floats, strike: Floats, log_ratio: Floats, deviation: Floats, put: Floats, out: Floats) -> None:
    """Fill `out` (N,): option n on its own forward."""
    for n in range(len(strike)):
        inverse = 1.0 / max(deviation[n], LEAST_DEVIATION)
        out[n] = black_price(forward[n], strike[n], log_ratio[n], deviation[n], inverse, put[n])


@compiled
def _normal(d: float) -> float:
    """N(d)."""
    x = _within(d)
    tail = gaussian(x) * _polynomial(x, _TAIL_P) / _tail_q(x)
    return tail if d < 0.0 else 1.0 - tail


@compiled
def _density(d: float) -> float:
    """phi(d), 0 from FARTHEST on."""
    return _INVERSE_ROOT_TWO_PI * gaussian(d) if abs(d) < FARTHEST else 0.0


@compiled
def greeks_each(
    forward: Floats, strike: Floats, log_ratio: Floats, volatility: Floats, root: Floats, put: Floats, out: Floats
) -> None:
    """Fill `out` (6, N) with delta, gamma, vega, decay (the gain by the year, volatility's doing), vanna and volga.

    Undiscounted, `root` being the square root of the tenor. What grows without bound as an option at the money runs out
    of deviation, gamma and decay, is 0 where there is none.
    """
    for n in range(len(strike)):
        spread = max(volatility[n] * root[n], LEAST_DEVIATION)
        d1 = log_ratio[n] / spread + 0.5 * spread
        d2 = d1 - spread if abs(log_ratio[n]) > 0.0 else -0.5 * spread
        density = _density(d1)
        by_volatility = root[n] / spread  # 1 / sigma, and 0 at expiry
        vega = forward[n] * density * root[n]
        some = spread > LEAST_DEVIATION and density > 0.0
        out[0, n] = -_normal(-d1) if put[n] == 1.0 else _normal(d1)
        out[1, n] = density / (forward[n] * spread) if some else 0.0
        out[2, n] = vega
        out[3, n] = -0.5 * forward[n] * density * volatility[n] / root[n] if some else 0.0
        out[4, n] = -density * d2 * by_volatility if density > 0.0 else 0.0
        out[5, n] = vega * d1 * d2 * by_volatility if density > 0.0 else 0.0


@compiled
def _explained(share: float, moneyness: float) -> float:
    """The deviation at which an option out of the money is worth `share` of its bound, 0 < share < 1.

    Its strike lies exp(moneyness) >= 1 forwards away. Newton's steps within a bracket, where one would leave it a
    bisection. The worth has its inflection at sqrt(2 moneyness) (Manaster and Koehler 1982); below, -1/2 power of minus
    its logarithm, and above, the logarithm of what lacks to the bound, are near enough to straight to be solved for.
    """
    low, high = 0.0, WIDEST_DEVIATION
    deviation = math.sqrt(2.0 * moneyness)
    strike = math.exp(moneyness)
    deviation = min(max(deviation, 1e-3), 0.5 * high)
    worth = black_price(1.0, strike, -moneyness, deviation, 1.0 / deviation, 0.0)
    below = share < worth
    for _ in range(_STEPS):
        if worth < share:
            low = deviation
        else:
            high = deviation
        slope = _density(-moneyness / deviation + 0.5 * deviation)
        step = math.nan
        if below and worth > 0.0 and slope > 0.0:
            ours, theirs = -math.log(worth), -math.log(share)
            step = 2.0 * ours * worth / slope * (math.sqrt(ours / theirs) - 1.0)
        elif not below and worth < 1.0 and slope > 0.0:
            step = (1.0 - worth) / slope * math.log((1.0 - worth) / (1.0 - share))
        tried = deviation + step
        if not low < tried < high:
            tried = 0.5 * (low + high)
        if abs(tried - deviation) <= _ROUNDING * deviation:
            return tried
        deviation = tried
        worth = black_price(1.0, strike, -moneyness, deviation, 1.0 / deviation, 0.0)
    return deviation


@compiled
def explain_each(price: Floats, forward: Floats, strike: Floats, log_ratio: Floats, put: Floats, out: Floats) -> None:
    """Fill `out` (N,) with the deviation at which each option is worth its price: 0 at intrinsic value, NaN if none is."""
    for n in range(len(price)):
        inner = strike[n] - forward[n] if put[n] == 1.0 else forward[n] - strike[n]
        bound = min(forward[n], strike[n])
        share = (price[n] - max(inner, 0.0)) / bound
        rounding = _ROUNDING * max(forward[n], strike[n]) / bound
        if inner <= 0.0:
            rounding = 0.0
        if not -rounding <= share < 1.0:
            out[n] = math.nan
        elif share <= rounding:
            out[n] = 0.0
        else:
            out[n] = _explained(share, abs(log_ratio[n]))
