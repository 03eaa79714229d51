"""What do a history's own rows tell that a forecaster may use: ranges, bounce, illiquidity, implied volatility?"""

from collections.abc import Mapping

import numpy as np

from data.arrays import Floats
from data.coverage import DAYS_A_YEAR
from data.errors import HistoryError
from data.flow.liquidity import amihud_illiquidity, roll_spread
from data.flow.panels import FeaturePanel, on_rows
from data.flow.range_volatility import close_to_close, garman_klass, parkinson, rogers_satchell
from data.flow.windows import lagged, log_changes, logarithm, over, window_mean
from data.history import MarketHistory
from data.surface import volatilities_at

_DEVIATION = "standard deviation of a log return over one row"
_SHARE = "share"
_QUARTER_DELTA = 0.6745  # standard deviations at which a straddle's wings have a delta of about 25 %
Told = Mapping[str, tuple[str, Floats]]


def ohlcv_features(history: MarketHistory, window: int = 20) -> FeaturePanel:
    """What closes, and highs, lows and volume where there are any, say over the newest `window` rows.

    Names: close_to_close, roll (of log prices), roll_undefined (1 where Roll's covariance is not below 0); with highs
    and lows parkinson, garman_klass, rogers_satchell, close_location; with volume amihud, and volume_change and
    amihud_change (of a quarter of the window) against the mean of the window. A market that never closes opens at the
    close before; a high or low that this oversteps is taken to reach it.
    """
    spot = history.spot
    bounce = roll_spread(logarithm(spot), window)
    known = np.isfinite(bounce.covariance)
    told: dict[str, tuple[str, Floats]] = {
        "close_to_close": (_DEVIATION, close_to_close(spot, window)),
        "roll": (_SHARE, bounce.spread),
        "roll_undefined": ("1 or 0", np.where(known, bounce.undefined, np.nan)),
    }
    if history.high is not None and history.low is not None:
        told |= _range_features(spot, history.high, history.low, window)
    if history.volume is not None:
        value = history.volume * spot
        told["volume_change"] = ("ln", logarithm(over(history.volume, window_mean(history.volume, window))))
        amihud = amihud_illiquidity(log_changes(spot), value, window)
        lately = amihud_illiquidity(log_changes(spot), value, max(window // 4, 1))
        told["amihud"] = ("share a USD", amihud)
        told["amihud_change"] = ("ln", logarithm(over(lately, amihud)))
    return on_rows(history, told)


def _range_features(close: Floats, high: Floats, low: Floats, window: int) -> Told:
    opening = lagged(close)
    bars = (opening, np.maximum(high, opening), np.minimum(low, opening), close)
    location = np.where(high >= low, over(2.0 * close - high - low, high - low), np.nan)
    return {
        "parkinson": (_DEVIATION, parkinson(*bars, window)),
        "garman_klass": (_DEVIATION, garman_klass(*bars, window)),
        "rogers_satchell": (_DEVIATION, rogers_satchell(*bars, window)),
        "close_location": ("-1 at the low, 1 at the high", location),
    }


def surface_features(history: MarketHistory) -> FeaturePanel:
    """Implied volatility of a history's surfaces at each row, in volatilities a year.

    Names: implied_level, at the money at 30 days; implied_slope, its change per unit of log-moneyness there;
    implied_skew, 30 days at -0.67 standard deviations less +0.67 (about 25-delta put less call); implied_wings, the
    mean of both less the level; implied_term, 90 days less 7 days at the money (flat beyond the first and last tenor).
    Under a proxy surface they are the proxy's. HistoryError without surfaces.
    """
    if history.surfaces is None:
        raise HistoryError(f"features of surfaces need a history with surfaces, got {history!r}")
    flat = history.surfaces.reshape(-1, *history.surfaces.shape[2:])
    zero = np.zeros(len(flat))

    def at(moneyness: Floats, days: float) -> Floats:
        return volatilities_at(flat, moneyness, days / DAYS_A_YEAR)

    level = at(zero, 30.0)
    width = np.where(np.isfinite(level), _QUARTER_DELTA * level * np.sqrt(30.0 / DAYS_A_YEAR), 0.0)
    put, call, near = at(-width, 30.0), at(width, 30.0), np.full(len(flat), 0.01)
    figures = {
        "implied_level": ("share a year", level),
        "implied_slope": ("share a year, a unit of log-moneyness", (at(near, 30.0) - at(-near, 30.0)) / 0.02),
        "implied_skew": ("share a year", put - call),
        "implied_wings": ("share a year", 0.5 * (put + call) - level),
        "implied_term": ("share a year", at(zero, 90.0) - at(zero, 7.0)),
    }
    return on_rows(history, {name: (unit, told.reshape(history.spot.shape)) for name, (unit, told) in figures.items()})
