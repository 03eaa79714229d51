"""How volatile was a market, read off the open, high, low and close of its bars?

Each gives the standard deviation of a log return over `periods` bars (1: of one bar; 252 or 365 daily bars: a year)
from the newest `window` bars, (T,) or (T, A). A bar that cannot be (high below low, open or close outside of them, a
price not > 0) is left out; at least half of a full window must be sound, or the figure is NaN.
"""

import math

import numpy as np

from data.arrays import Bools, Floats
from data.errors import DataError, ParameterError
from data.flow.windows import lagged, logarithm, refuse_window, window_mean, window_variance

_LN2 = math.log(2.0)


def sound_bars(opening: Floats, high: Floats, low: Floats, close: Floats) -> Bools:
    """Whether each bar can be: all prices > 0 and finite, and low <= opening, close <= high.

    >>> sound_bars(*np.array([[3.0, 3.0], [4.0, 2.9], [2.0, 2.0], [2.5, 2.5]])).tolist()
    [True, False]
    """
    prices = [np.asarray(price, np.float64) for price in (opening, high, low, close)]
    if len({price.shape for price in prices}) > 1:
        raise DataError(f"bars need four columns of one shape, got {[price.shape for price in prices]}")
    at, top, bottom, end = prices
    known = np.isfinite(at + top + bottom + end) & (bottom > 0)
    return np.asarray(known & (top >= np.maximum(at, end)) & (bottom <= np.minimum(at, end)))


def close_to_close(close: Floats, window: int, periods: float = 1.0) -> Floats:
    """Sample standard deviation of the window - 1 log returns between `window` closes."""
    refuse_window(window, 3)
    logs = logarithm(close)
    return _deviation(window_variance(logs - lagged(logs), window - 1), periods)


def parkinson(opening: Floats, high: Floats, low: Floats, close: Floats, window: int, periods: float = 1.0) -> Floats:
    """Mean of ln(H/L)^2 / (4 ln 2): no drift, no jumps between bars.

    Parkinson (1980), "The extreme value method for estimating the variance of the rate of return", J. Business 53.
    """
    _, top, bottom, _ = _logs(opening, high, low, close)
    return _deviation(window_mean((top - bottom) ** 2 / (4.0 * _LN2), window), periods)


def garman_klass(
    opening: Floats, high: Floats, low: Floats, close: Floats, window: int, periods: float = 1.0
) -> Floats:
    """Mean of ln(H/L)^2 / 2 - (2 ln 2 - 1) ln(C/O)^2; biased by drift, blind to jumps between bars.

    Garman and Klass (1980), "On the estimation of security price volatilities from historical data", J. Business 53.
    """
    return _deviation(window_mean(_garman_klass(opening, high, low, close), window), periods)


def garman_klass_overnight(
    opening: Floats,
    high: Floats,
    low: Floats,
    close: Floats,
    window: int,
    periods: float = 1.0,
) -> Floats:
    """Garman and Klass plus the squared jump from the close before to the open, as Yang and Zhang (2000) extend it."""
    at, _, _, end = _logs(opening, high, low, close)
    jump = (at - lagged(end)) ** 2
    return _deviation(window_mean(jump + _garman_klass(opening, high, low, close), window), periods)


def rogers_satchell(
    opening: Floats,
    high: Floats,
    low: Floats,
    close: Floats,
    window: int,
    periods: float = 1.0,
) -> Floats:
    """Mean of ln(H/C) ln(H/O) + ln(L/C) ln(L/O): right under any drift, blind to jumps between bars.

    Rogers and Satchell (1991), "Estimating variance from high, low and closing prices", Ann. Applied Probability 1.
    """
    return _deviation(window_mean(_rogers_satchell(opening, high, low, close), window), periods)


def yang_zhang(opening: Floats, high: Floats, low: Floats, close: Floats, window: int, periods: float = 1.0) -> Floats:
    """Variance of overnight jumps + k that of open to close + (1 - k) Rogers-Satchell: right under drift and jumps.

    k = 0.34 / (1.34 + (n + 1)/(n - 1)), n = window (Yang and Zhang 2000, "Drift-independent volatility estimation based
    on high, low, open, and close prices", J. Business 73).
    """
    refuse_window(window, 2)
    at, _, _, end = _logs(opening, high, low, close)
    k = 0.34 / (1.34 + (window + 1) / (window - 1))
    overnight, within = window_variance(at - lagged(end), window), window_variance(end - at, window)
    inside = window_mean(_rogers_satchell(opening, high, low, close), window)
    return _deviation(overnight + k * within + (1.0 - k) * inside, periods)


def _garman_klass(opening: Floats, high: Floats, low: Floats, close: Floats) -> Floats:
    at, top, bottom, end = _logs(opening, high, low, close)
    return 0.5 * (top - bottom) ** 2 - (2.0 * _LN2 - 1.0) * (end - at) ** 2


def _rogers_satchell(opening: Floats, high: Floats, low: Floats, close: Floats) -> Floats:
    at, top, bottom, end = _logs(opening, high, low, close)
    return (top - end) * (top - at) + (bottom - end) * (bottom - at)


def _logs(opening: Floats, high: Floats, low: Floats, close: Floats) -> list[Floats]:
    """Log prices of sound bars, NaN of others."""
    sound = sound_bars(opening, high, low, close)
    return [np.where(sound, logarithm(price), np.nan) for price in (opening, high, low, close)]


def _deviation(variance: Floats, periods: float) -> Floats:
    """Standard deviation over so many bars; Garman-Klass can be below 0 on few bars, which is NaN."""
    if not 0 < periods < math.inf:
        raise ParameterError(f"periods must be > 0 and finite, got {periods}")
    return np.asarray(np.sqrt(periods * np.where(variance >= 0, variance, np.nan)))
