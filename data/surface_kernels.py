"""Which loops does an implied-volatility surface need?

A smile is (7,): tenor, form, five figures. Form 0 is raw SVI, form 1 a monotone cubic through five total variances.
"""

import math

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Floats = NDArray[np.float64]

WING = 5.0  # raw SVI is trusted to this many at-the-money deviations either way; beyond, volatility is flat
KNOTS = 2.0  # the same of the cubic, whose outer knots stand there


@compiled
def svi(smile: Floats, k: float) -> tuple[float, float, float]:
    """Raw SVI total variance and its first two derivatives at one log-moneyness."""
    a, b, rho, m, s = smile[2], smile[3], smile[4], smile[5], smile[6]
    away = k - m
    root = math.sqrt(away * away + s * s)
    return a + b * (rho * away + root), b * (rho + away / root), b * s * s / (root * root * root)


@compiled
def _inner_slope(left: float, right: float) -> float:
    """Harmonic mean of two neighbouring slopes, 0 where they differ in sign (Fritsch and Butland 1984)."""
    return 0.0 if left * right <= 0.0 else 2.0 * left * right / (left + right)


@compiled
def _end_slope(near: float, far: float) -> float:
    """Three-point slope at an end, held to the shape of the data (Moler 2004, Numerical Computing with MATLAB, 3.4)."""
    slope = 1.5 * near - 0.5 * far
    if slope * near <= 0.0:
        return 0.0
    if near * far <= 0.0 and abs(slope) > 3.0 * abs(near):
        return 3.0 * near
    return slope


@compiled
def _knot_slope(smile: Floats, j: int) -> float:
    """Slope of the cubic at knot j, a unit between knots."""
    if j == 0:
        return _end_slope(smile[3] - smile[2], smile[4] - smile[3])
    if j == 4:
        return _end_slope(smile[6] - smile[5], smile[5] - smile[4])
    return _inner_slope(smile[2 + j] - smile[1 + j], smile[3 + j] - smile[2 + j])


@compiled
def cubic(smile: Floats, k: float) -> tuple[float, float, float]:
    """The monotone cubic's total variance and its first two derivatives at one log-moneyness within the knots."""
    unit = math.sqrt(smile[4])
    at = k / unit + KNOTS
    j = min(max(int(at), 0), 3)
    u = at - j
    low, high = smile[2 + j], smile[3 + j]
    rise, start, end = high - low, _knot_slope(smile, j), _knot_slope(smile, j + 1)
    c2, c3 = 3.0 * rise - 2.0 * start - end, start + end - 2.0 * rise
    variance = low + u * (start + u * (c2 + u * c3))
    first = start + u * (2.0 * c2 + 3.0 * u * c3)
    second = 2.0 * c2 + 6.0 * u * c3
    return variance, first / unit, second / (unit * unit)


@compiled
def clamp(smile: Floats) -> float:
    """The log-moneyness beyond which a smile's volatility is flat, either way."""
    if smile[1] == 1.0:
        return KNOTS * math.sqrt(smile[4])
    return WING * math.sqrt(max(svi(smile, 0.0)[0], 0.0))


@compiled
def clamped_variance(smile: Floats, k: float) -> float:
    """Total variance of one smile; NaN where it is negative, which a fitted one never is."""
    edge = clamp(smile)
    k = min(max(k, -edge), edge)
    variance = cubic(smile, k)[0] if smile[1] == 1.0 else svi(smile, k)[0]
    return variance if variance >= 0.0 else math.nan


@compiled(nogil=True)
def smile_variances(smile: Floats, k: Floats, out: Floats) -> None:
    """Clamped total variance at each log-moneyness (N,), into out (N,)."""
    for i in range(len(k)):
        out[i] = clamped_variance(smile, k[i])


@compiled(nogil=True)
def smile_shapes(smile: Floats, k: Floats, out: Floats) -> None:
    """Total variance and its first two derivatives, not clamped, at each log-moneyness (N,), into out (3, N)."""
    for i in range(len(k)):
        out[0, i], out[1, i], out[2, i] = cubic(smile, k[i]) if smile[1] == 1.0 else svi(smile, k[i])


@compiled
def _point(surface: Floats, count: int, k: float, tenor: float) -> float:
    """Volatility at one point of a surface whose first `count` smiles are known."""
    if count == 0 or math.isnan(k) or math.isnan(tenor):
        return math.nan
    if tenor <= surface[0, 0]:
        return math.sqrt(clamped_variance(surface[0], k) / surface[0, 0])
    if tenor >= surface[count - 1, 0]:
        return math.sqrt(clamped_variance(surface[count - 1], k) / surface[count - 1, 0])
    j = 1
    while surface[j, 0] < tenor:
        j += 1
    share = (tenor - surface[j - 1, 0]) / (surface[j, 0] - surface[j - 1, 0])
    near, far = clamped_variance(surface[j - 1], k), clamped_variance(surface[j], k)
    return math.sqrt((near + share * (far - near)) / tenor)


@compiled
def _known(surface: Floats) -> int:
    """How many smiles come before the padding."""
    count = 0
    while count < len(surface) and not math.isnan(surface[count, 0]):
        count += 1
    return count


@compiled(nogil=True)
def surface_volatilities(surface: Floats, k: Floats, tenor: Floats, out: Floats) -> None:
    """Implied volatility at each (log-moneyness, tenor) (N,), into out (N,): total variance linear in tenor."""
    count = _known(surface)
    for i in range(len(k)):
        out[i] = _point(surface, count, k[i], tenor[i])


@compiled(nogil=True)
def panel_volatilities(surfaces: Floats, k: Floats, tenor: float, out: Floats) -> None:
    """Implied volatility at log-moneyness k (M,) and one tenor of each of M surfaces (M, K, 7), into out (M,)."""
    for i in range(len(surfaces)):
        out[i] = _point(surfaces[i], _known(surfaces[i]), k[i], tenor)
