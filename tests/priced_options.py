"""Which options do tests price, and what are they worth, plainly and to sixty digits?"""

import math
from decimal import Decimal, localcontext

import numpy as np
from numpy.typing import NDArray

from data import Floats

Bools = NDArray[np.bool_]
Places = NDArray[np.intp]

_PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")
_DIGITS = 60
_FARTHEST = 16  # N(-16) is 1e-57


def some_options(
    options: int, scenarios: int, groups: int = 3, seed: int = 0
) -> tuple[Floats, Places, Floats, Places, Floats, Floats, Bools]:
    """Arguments of `reprice`: some forwards and scales, and options on them."""
    rng = np.random.default_rng(seed)
    level = np.exp(rng.uniform(-3.0, 11.0, (groups, 1)))
    forward = level * np.exp(0.1 * rng.standard_t(3, (groups, scenarios)))
    scale = np.exp(0.3 * rng.standard_normal((2, scenarios)))
    scale[:, :: max(scenarios // 3, 1)] = 0.0
    group, scale_group = rng.integers(0, groups, options), rng.integers(0, 2, options)
    strike = level[group, 0] * np.exp(0.4 * rng.standard_normal(options))
    return forward, group, scale, scale_group, strike, rng.uniform(0.0, 1.5, options), rng.random(options) < 0.5


def black(forward: float, strike: float, deviation: float, call: bool = True) -> float:
    """Black (1976) on the forward, undiscounted, written out once more."""
    sign = 1 if call else -1
    if deviation == 0:
        return max(sign * (forward - strike), 0.0)
    d1 = math.log(forward / strike) / deviation + deviation / 2
    first, second = (0.5 * math.erfc(-sign * d / math.sqrt(2)) for d in (d1, d1 - deviation))
    return sign * (forward * first - strike * second)


def exact_black(forward: float | Decimal, strike: float | Decimal, deviation: float | Decimal, call: bool) -> Decimal:
    """Black's formula by N(d) = 1/2 + phi(d) (d + d^3/3 + d^5/15 + ...), a series whose terms have all one sign."""
    with localcontext() as context:
        context.prec = _DIGITS
        f, k, s = Decimal(forward), Decimal(strike), Decimal(deviation)
        sign = 1 if call else -1
        if s == 0:
            return max(sign * (f - k), Decimal(0))
        d1 = (f / k).ln() / s + s / 2
        return sign * (f * _normal(sign * d1) - k * _normal(sign * (d1 - s)))


def _normal(d: Decimal) -> Decimal:
    if abs(d) > _FARTHEST:
        return Decimal(int(d > 0))
    term = total = d
    power = 1
    while abs(term) > Decimal(10) ** -_DIGITS:
        power += 2
        term *= d * d / power
        total += term
    return Decimal("0.5") + total * (-d * d / 2).exp() / (2 * _PI).sqrt()
