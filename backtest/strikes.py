"""Which expiries and strikes would a market list now?"""

from collections.abc import Callable

import numpy as np

from data import Floats
from data.clock import Stamps
from data.surface import implied_volatility

REACH, GRID = 10.0, np.linspace(0.0, 1.0, 65)  # log-strikes are sought this far either way, on ever finer grids
_DAY, _MORNING = np.timedelta64(86_400_000_000_000, "ns"), np.timedelta64(8, "h")
_LADDER = np.array([1.0, 2.0, 5.0])

Expiries = Callable[[np.datetime64, Floats], Stamps]


def fridays(time: np.datetime64, days: Floats) -> Stamps:
    """The first Fridays 08:00 UTC at least so many days (N,) after an instant, (N,): the expiries coin markets list.

    >>> fridays(np.datetime64("2024-01-01"), np.array([1.0, 11.5])).astype("datetime64[h]").astype(str).tolist()
    ['2024-01-05T08', '2024-01-19T08']
    """
    least = _later(time, days) - _MORNING
    date = least.astype("datetime64[D]")
    date = date + (date < least)
    past_friday = (date.astype(np.int64) - 1) % 7  # the second day of 1970 was one
    return np.asarray((date + (7 - past_friday) % 7).astype("datetime64[ns]") + _MORNING)


def exactly(time: np.datetime64, days: Floats) -> Stamps:
    """So many days (N,) after an instant, at the next whole minute, (N,)."""
    later = _later(time, days)
    minute = later.astype("datetime64[m]")
    return np.asarray((minute + (minute < later)).astype("datetime64[ns]"))


def _later(time: np.datetime64, days: Floats) -> Stamps:
    return np.asarray(time + (days * (_DAY / np.timedelta64(1, "ns"))).astype("timedelta64[ns]"))


def log_strikes(surface: Floats, tenor: Floats, depth: Floats) -> Floats:
    """The log-moneyness ln(K/F) at which Black's d1 is `depth` (N,) on a surface, (N,); NaN where it never is.

    d1 falls as the strike rises on any smile without arbitrage, so that there is one (Fukasawa 2012, "The normalizing
    transformation of the implied volatility smile", theorem 2.8); of several the lowest is taken.

    >>> flat = np.array([[1.0, 0.0, 0.25, 0.0, 0.0, 0.0, 1.0]])  # volatility 50 %
    >>> log_strikes(flat, np.array([1.0]), np.array([0.25])).round(6).tolist()  # d1 = -k / 0.5 + 0.25
    [0.0]
    """
    low, width, row = np.full(len(tenor), -REACH), 2 * REACH, np.arange(len(tenor))
    root = np.sqrt(tenor)[:, None]
    for _ in range(3):
        k = low[:, None] + width * GRID
        deviation = implied_volatility(surface, k, tenor[:, None]) * root
        gap = k + (depth[:, None] - 0.5 * deviation) * deviation
        right = (gap > 0).argmax(axis=1)  # 0 where there is none, or nothing left of it
        low, width = k[row, right - 1], width / (len(GRID) - 1)
    before, after = gap[row, right - 1], gap[row, right]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((right > 0) & (after > before), low - width * before / (after - before), np.nan)


def listed_strikes(strike: Floats, spot: float, step: float) -> Floats:
    """Strikes rounded to those that are listed: multiples of a round figure up to `step` of spot, (N,).

    >>> listed_strikes(np.array([63_211.0, 71_850.0]), 63_000.0, 0.01).tolist()
    [63000.0, 72000.0]
    """
    power = 10.0 ** np.floor(np.log10(step * spot))
    size = power * _LADDER[_LADDER * power <= step * spot * (1 + 1e-12)][-1]
    digits = int(np.ceil(-np.log10(size))) + 1
    return np.asarray(np.round(np.maximum(np.round(strike / size), 1.0) * size, digits))
