"""What is each option worth on each of many forwards, how does that move, and which deviation explains a price?

Black's formula (1976, "The pricing of commodity contracts", J. Financial Economics 3, equation 16), undiscounted:

    call = F N(d1) - K N(d2),    d1 = ln(F/K) / s + s/2,    d2 = d1 - s,    s = sigma sqrt(T), the deviation.

As F phi(d1) = K phi(d2), both normal tails share one exponential, and a price takes one division and no branch: the
loop over scenarios runs in the lanes of the vector unit. A put is priced as it stands and not by parity, so that it
keeps its digits out of the money.
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
FARTHEST = 37.6  # standard deviations; the density beyond, under 1e-307, is out of the exponential's range

# Products and sums may fuse. They may not be reordered, or the rounding in `gaussian` is simplified away, and NaN
# may not be ruled out, because NaN is how a kernel says that it was given one.
_FUSED = {"contract", "nsz"}

_ROOT_TWO_PI = 2.5066282746310002
_ROUNDS_TO_POWER = -0.7213475204444817
_TWO_LN2_HIGH, _TWO_LN2_LOW = 1.3862943607382476, 3.8164298585411754e-10  # the high part has zeros to spare at its end
_ROUNDER = 1.5 * 2.0**52  # what is added to this loses its fraction, and leaves its integer in the lowest bits
_MANTISSA = 52  # bits
_WIDEST = 2.0 * FARTHEST  # a deviation at which every option is worth its bound
_LAST_PLACE = 2.0**-52
_ROUNDING = 4.0 * _LAST_PLACE
_STEPS = 100

# exp(-x/2) = 1 - x/2 + x^2 p(x), |x| <= ln(2), p through the Chebyshev nodes: relative error under 2e-17.
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
# N(-x) = exp(-x^2/2) P(x)/Q(x) where x >= 0; Q begins with x^8. Fitted by us in 60 digits, weighed by min(1, 1e6
# exp(-x^2/2)), because N(d2) counts a million times where the strike is a million forwards: P/Q is within 2e-17 up to
# x = 5.2, relatively within 1e-7 up to FARTHEST, and a half exactly at 0. Fewer powers lose the wings.
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


def _recast(given: types.Type, wanted: types.Type) -> Any:
    """A compiled function that reads the bits of one type as another's; none of Python's functions on floats does."""

    def code(context: Any, builder: Any, _: Any, values: Any) -> Any:
        return builder.bitcast(values[0], context.get_value_type(wanted))

    def recast(_typing: Any, _value: Any) -> tuple[Any, Callable[..., Any]]:
        return wanted(given), code

    return intrinsic(recast)


_bits_of = _recast(types.float64, types.int64)
_float_of = _recast(types.int64, types.float64)


@compiled(inline="always", fastmath=_FUSED)
def _polynomial(x: float, coefficients: tuple[float, ...]) -> float:
    """Its value by Horner's rule, the highest power first."""
    total = coefficients[0]
    for coefficient in coefficients[1:]:
        total = total * x + coefficient
    return total


@compiled(inline="always", fastmath=_FUSED)
def _tail_q(x: float) -> float:
    """Q(x), spared its first product."""
    total = x + _TAIL_Q[0]
    for coefficient in _TAIL_Q[1:]:
        total = total * x + coefficient
    return total


@compiled(inline="always", fastmath=_FUSED)
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


@compiled(inline="always", fastmath=_FUSED)
def _within(d: float) -> float:
    """|d|, at most FARTHEST; NaN stays NaN."""
    x = abs(d)
    return FARTHEST if x > FARTHEST else x


@compiled(inline="always", fastmath=_FUSED)
def _price(
    forward: float, strike: float, log_ratio: float, half_deviation: float, inverse_deviation: float, put: float
) -> float:
    """Where d1 < 0 the tail N(d1) is used, elsewhere 1 - N(-d1), and so for d2: `sure` collects the ones."""
    middle = log_ratio * inverse_deviation
    d1, d2 = middle + half_deviation, middle - half_deviation
    x1, x2 = _within(d1), _within(d2)
    q1, q2 = _tail_q(x1), _tail_q(x2)
    tail1, tail2 = _polynomial(x1, _TAIL_P) * q2, _polynomial(x2, _TAIL_P) * q1
    tails = (tail1 if d1 < 0.0 else -tail1) - (tail2 if d2 < 0.0 else -tail2)
    call = 1.0 - put
    sure = forward * (-put if d1 < 0.0 else call) - (-strike * put if d2 < 0.0 else strike * call)
    price = sure + forward * gaussian(x1) * (tails / (q1 * q2))
    return 0.0 if price < 0.0 else price


@compiled(inline="always", fastmath=_FUSED)
def black_price(
    forward: float, strike: float, log_ratio: float, deviation: float, inverse_deviation: float, put: float
) -> float:
    """Undiscounted value of one option, within 1e-15 of its forward and the last place of its intrinsic value; >= 0.

    Parameters
    ----------
    log_ratio : ln(forward / strike); the value errs by as much of the forward.
    inverse_deviation : 1 / deviation, at most 1 / LEAST_DEVIATION.
    put : 1.0 for a put, 0.0 for a call.
    """
    return _price(forward, strike, log_ratio, 0.5 * deviation, inverse_deviation, put)


@compiled(nogil=True, fastmath=_FUSED)
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
    prices in a unit of the group's; inverse scales are at most 1 / LEAST_DEVIATION.
    """
    for n in range(len(strike)):
        forwards, logs = forward[group[n]], log_forward[group[n]]
        scales, inverses = scale[scale_group[n]], inverse_scale[scale_group[n]]
        price, log_price, flag = strike[n], log_strike[n], put[n]
        half, inverse = 0.5 * deviation[n], 1.0 / max(deviation[n], LEAST_DEVIATION)
        row = out[n]
        for s in range(len(row)):
            row[s] = _price(forwards[s], price, logs[s] - log_price, half * scales[s], inverse * inverses[s], flag)


@compiled(nogil=True, fastmath=_FUSED)
def price_each(forward: Floats, strike: Floats, log_ratio: Floats, deviation: Floats, put: Floats, out: Floats) -> None:
    """Fill `out` (N,): each option on its own forward."""
    for n in range(len(strike)):
        inverse = 1.0 / max(deviation[n], LEAST_DEVIATION)
        out[n] = black_price(forward[n], strike[n], log_ratio[n], deviation[n], inverse, put[n])


@compiled
def _normal(d: float) -> float:
    """N(d), 0 or 1 from FARTHEST on."""
    x = _within(d)
    tail = 0.0 if x == FARTHEST else gaussian(x) * _polynomial(x, _TAIL_P) / _tail_q(x)
    return tail if d < 0.0 else 1.0 - tail


@compiled
def _density(d: float) -> float:
    """phi(d), 0 from FARTHEST on."""
    return gaussian(d) / _ROOT_TWO_PI if abs(d) < FARTHEST else 0.0


@compiled(nogil=True)
def greeks_each(forward: Floats, log_ratio: Floats, volatility: Floats, root: Floats, put: Floats, out: Floats) -> None:
    """Fill `out` (6, N) with delta, gamma, vega, decay (volatility's share of theta), vanna and volga, undiscounted.

    `root` is the square root of the tenor. Where there is no deviation gamma and decay, whose limits at the money are
    infinite, are 0 everywhere.
    """
    for n in range(len(forward)):
        spread = max(volatility[n] * root[n], LEAST_DEVIATION)
        middle = log_ratio[n] / spread
        d1, d2 = middle + 0.5 * spread, middle - 0.5 * spread
        density = _density(d1)
        inverse_volatility = root[n] / spread
        vega = forward[n] * density * root[n]
        bent = density > 0.0 and spread > LEAST_DEVIATION
        out[0, n] = -_normal(-d1) if put[n] == 1.0 else _normal(d1)
        out[1, n] = density / (forward[n] * spread) if bent else 0.0
        out[2, n] = vega
        out[3, n] = -0.5 * forward[n] * density * volatility[n] / root[n] if bent else 0.0
        out[4, n] = -density * d2 * inverse_volatility if density > 0.0 else 0.0
        out[5, n] = vega * d1 * d2 * inverse_volatility if density > 0.0 else 0.0


@compiled
def _newton_step(worth: float, share: float, slope: float, rare: bool) -> float:
    """By how much to widen the deviation, to first order; NaN where the worth is flat.

    What is straightened is one over the root of minus the logarithm of a rare worth, and the logarithm of what another
    lacks to its bound.
    """
    if slope <= 0.0 or worth <= 0.0 or worth >= 1.0:
        return math.nan
    if rare:
        depth = -math.log(worth)
        return 2.0 * depth * worth / slope * (math.sqrt(depth / -math.log(share)) - 1.0)
    return (1.0 - worth) / slope * math.log((1.0 - worth) / (1.0 - share))


@compiled
def _explained(share: float, distance: float) -> float:
    """The deviation at which a call struck at exp(distance) >= 1 forwards is worth `share` of its bound, 0 < share < 1.

    Newton's steps in a bracket, or half of it where they would leave it. They start from the inflection
    of the worth, sqrt(2 distance) (Manaster and Koehler 1982, "The calculation of implied variances", J. Finance 37),
    or from the deviation that would do at the money, which is never too wide.
    """
    low, high = 0.0, _WIDEST
    deviation = min(max(math.sqrt(2.0 * distance), _ROOT_TWO_PI * share), 0.5 * _WIDEST)
    strike = math.exp(distance)
    rare = False
    for step in range(_STEPS):
        worth = black_price(1.0, strike, -distance, deviation, 1.0 / deviation, 0.0)
        if step == 0:
            rare = worth > share
        if abs(worth - share) <= _LAST_PLACE * share:
            break
        if worth < share:
            low = deviation
        else:
            high = deviation
        slope = _density(0.5 * deviation - distance / deviation)
        tried = deviation + _newton_step(worth, share, slope, rare)
        if not low < tried < high:
            tried = 0.5 * (low + high)
        settled = min(abs(tried - deviation), high - low) <= _ROUNDING * deviation
        deviation = tried
        if settled:
            break
    return deviation


@compiled(nogil=True)
def explain_each(price: Floats, forward: Floats, strike: Floats, log_ratio: Floats, put: Floats, out: Floats) -> None:
    """Fill `out` (N,) with the deviation that explains each price: 0 at intrinsic value, NaN where none does."""
    for n in range(len(price)):
        inside = strike[n] - forward[n] if put[n] == 1.0 else forward[n] - strike[n]
        bound = min(forward[n], strike[n])
        share = (price[n] - max(inside, 0.0)) / bound
        rounding = _ROUNDING * max(forward[n], strike[n]) / bound if inside > 0.0 else 0.0
        if not -rounding <= share < 1.0:
            out[n] = math.nan
        elif share <= rounding:
            out[n] = 0.0
        else:
            out[n] = _explained(share, abs(log_ratio[n]))
