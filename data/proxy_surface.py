"""What might options have implied where nobody recorded it?

A stand-in, never a quote: the volatility at the forward is learnt from realised volatility, the smile is the average
one. Calibrated on BTC's DVOL (daily, November 2022 to November 2025, with Binance daily closes from 2018) and on
Deribit's BTC and ETH chains of January to April 2026.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from data.arrays import Floats
from data.clock import Clock, plain_span, sessions_in
from data.coverage import DAYS_A_YEAR, SESSIONS_A_YEAR
from data.history import MarketHistory
from data.surface import SVI

PROXY = "proxy: realised volatility with Deribit's average smile of early 2026"

TENORS = (7.0, 30.0, 90.0, 180.0)  # days
FEWEST_DAYS = 30.0  # of returns before the first surface

# Level and term structure: least squares of log volatility on 1,102 days of DVOL (30 days) and on ten chains of BTC and
# ETH whose closes were at hand (7 to 180 days). Half-lives from a grid: 45 days and a year fit best. A tenth at three
# days costs nothing in level (both miss DVOL by 14 %, root mean square) and brings the size of daily changes nearer to
# DVOL's 4.6 %: 1.9 % instead of 1.1 %. So these surfaces move less than quoted ones do.
HALF_LIVES = (3.0, 45.0, 365.0)  # days: shocks, the present level, the long run
SHOCK_SHARE = 0.1
PREMIUM = 0.97  # implied over realised volatility
REVERSION = 11.6  # a year: what is left of a deviation from the long run after 30 days is a factor 0.39

# The smile: raw SVI in at-the-money deviations, least squares on the mean of 32 surfaces at 7, 30, 90 and 180 days over
# three deviations either way, with s held at 2 so that it stays free of arbitrage; off by at most 1.6 % of the level.
SLOPE, SKEW, SHIFT, CURVATURE = 0.556, -0.197, 0.153, 2.0  # b, rho, m, s
LARGEST_DEVIATION = 2.9  # at the forward until expiry; beyond 3.0 the smile would break butterfly arbitrage


def with_proxy_surfaces(history: MarketHistory) -> MarketHistory:
    """A history with proxy surfaces, labelled as such; what surfaces it had are replaced."""
    return replace(history, surfaces=proxy_surfaces(history), implied=PROXY)


def proxy_surfaces(history: MarketHistory) -> Floats:
    """Surfaces (T, A, 4, 7) at 7, 30, 90 and 180 days, as data/surface.py has them; row t is made of rows <= t.

    Total variance at the forward is that of an exponentially reverting variance: with x = REVERSION * tenor,
    PREMIUM^2 * tenor * (long + (now - long) * (1 - exp(-x)) / x), capped at LARGEST_DEVIATION squared, which holds
    volatility to 414 % at 180 days. `now` mixes exponentially weighted squared log returns of half-lives 3 and 45 days,
    `long` has a half-life of a year; a return over a hole counts once, spread over its rows. The smile is one shape in
    at-the-money deviations, so that neither butterflies nor calendars are violated at any level below the cap.

    NaN until there are 30 days of returns, where a price has not moved at all, and from a default on.
    """
    shock, present, long = (_ewma(_variance_rates(history), history.clock, days) for days in HALF_LIVES)
    now = SHOCK_SHARE * shock + (1 - SHOCK_SHARE) * present
    tenor = np.array(TENORS) / DAYS_A_YEAR
    x = REVERSION * tenor
    reverting = long[..., None] + (now - long)[..., None] * (-np.expm1(-x) / x)
    total = np.minimum(PREMIUM**2 * tenor * reverting, LARGEST_DEVIATION**2)
    total[~(total > 0)] = np.nan
    total[np.broadcast_to((history.spot == 0)[..., None], total.shape)] = np.nan
    return _smiles(total, tenor)


def _row_years(clock: Clock) -> float:
    sessions = sessions_in(clock.step)
    if sessions is not None:
        return sessions / SESSIONS_A_YEAR
    return float(plain_span(clock.step, "clock.step") / np.timedelta64(1, "D")) / DAYS_A_YEAR


def _variance_rates(history: MarketHistory) -> pd.DataFrame:
    """Squared log return a year that ended at each row, (T, A); NaN in holes and after a default."""
    price = pd.DataFrame(np.where(history.spot > 0, history.spot, np.nan))
    row = pd.DataFrame(np.broadcast_to(np.arange(float(len(price)))[:, None], price.shape)).where(price.notna())
    gap = row - row.ffill().shift()
    ratio = (price / price.ffill().shift()).to_numpy(np.float64)
    return pd.DataFrame(np.log(ratio) ** 2 / (gap.to_numpy(np.float64) * _row_years(history.clock)))


def _ewma(rates: pd.DataFrame, clock: Clock, days: float) -> Floats:
    """Exponentially weighted mean of the rates so far, (T, A); NaN before there are enough."""
    rows_a_day = 1.0 / (_row_years(clock) * DAYS_A_YEAR)
    fewest = int(np.ceil(FEWEST_DAYS * rows_a_day))
    return np.array(rates.ewm(halflife=days * rows_a_day, min_periods=max(fewest, 1)).mean().to_numpy(np.float64))


def _smiles(total: Floats, tenor: Floats) -> Floats:
    """The average smile at each total variance (..., K) of the forward, (..., K, 7)."""
    unit = np.sqrt(total)
    base = 1.0 - SLOPE * (np.hypot(SHIFT, CURVATURE) - SKEW * SHIFT)
    figures = (
        np.broadcast_to(tenor, total.shape),
        np.full(total.shape, SVI),
        base * total,
        SLOPE * unit,
        np.full(total.shape, SKEW),
        SHIFT * unit,
        CURVATURE * unit,
    )
    smiles = np.stack(figures, axis=-1)
    # Padding is whole rows of NaN.
    smiles[np.isnan(total)] = np.nan
    return smiles
