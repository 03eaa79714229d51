"""What does it cost to trade, and how far does a trade move the price?

Windows are rows that end with each row; values are (T,) or (T, A), oldest first.
"""

from dataclasses import dataclass

import numpy as np

from data.arrays import Bools, Floats
from data.clock import Stamps, plain_span
from data.errors import DataError, ParameterError
from data.flow import orderflow_kernels as kernel
from data.flow.orderflow import Sides
from data.flow.windows import changes, lagged, moments, over, refuse_window, window_mean


def kyle_lambda(change: Floats, signed_flow: Floats, window: int) -> Floats:
    """Price impact: the slope of price changes on signed flow over the window, in their units, NaN where flow is still.

    A rolling least-squares estimate of the lambda of Kyle (1985), "Continuous auctions and insider trading",
    Econometrica 53, as in Hasbrouck (2009), "Trading costs and returns for U.S. equities", J. Finance 64,
    here with an intercept. Log returns on flow in quote currency give a share of the price per unit of it.
    """
    refuse_window(window, 3)
    told = moments(signed_flow, change, window)
    return over(told[..., kernel.XY], told[..., kernel.XX])


def amihud_illiquidity(returns: Floats, quote_volume: Floats, window: int) -> Floats:
    """Mean of |return| over traded value, a share of the price per unit of quote currency.

    Amihud (2002), "Illiquidity and stock returns", J. Financial Markets 5, equation 1. Rows without volume stay out.
    """
    return window_mean(over(np.abs(np.asarray(returns, np.float64)), quote_volume), window)


@dataclass(frozen=True, eq=False)
class RollSpread:
    """Roll's measure: spread, autocovariance of price changes, and whether the spread is undefined (and so NaN)."""

    spread: Floats
    covariance: Floats
    undefined: Bools


def roll_spread(price: Floats, window: int) -> RollSpread:
    """The effective spread that bouncing between bid and ask implies, in the unit of `price`: a share for log prices.

    2 sqrt(-cov(change, change before)) over `window` changes, so window - 1 pairs, sample covariance (Roll 1984, "A
    simple implicit measure of the effective bid-ask spread", J. Finance 39). Where the covariance is not
    below 0 there is no such spread: NaN and `undefined`; a hole is NaN and not `undefined`.
    """
    refuse_window(window, 3)
    change = changes(price)
    told = moments(change, lagged(change), window - 1)
    covariance = told[..., kernel.XY] / (told[..., kernel.COUNT] - 1.0)
    bounces = covariance < 0
    spread = np.where(bounces, 2.0 * np.sqrt(np.where(bounces, -covariance, 0.0)), np.nan)
    return RollSpread(spread, covariance, np.isfinite(covariance) & ~bounces)


def quoted_spread(bid: Floats, ask: Floats) -> Floats:
    """Ask less bid over the mid, a share; NaN where the quotes cross or one is unknown. Any shape."""
    bid, ask = np.asarray(bid, np.float64), np.asarray(ask, np.float64)
    return np.where(ask >= bid, over(ask - bid, 0.5 * (bid + ask)), np.nan)


def effective_spread(price: Floats, side: Sides, mid: Floats) -> Floats:
    """2 side (price - mid) / mid of each trade, (R,), a share; NaN without a side.

    `mid` stood just before the trade (Huang and Stoll 1996, "Dealer versus auction markets", J. Financial Economics
    41).
    """
    direction = np.where(np.asarray(side) != 0, np.sign(np.asarray(side, np.float64)), np.nan)
    return 2.0 * direction * over(np.asarray(price, np.float64) - mid, mid)


@dataclass(frozen=True, eq=False)
class RealisedSpreads:
    """One a trade, (R,): the instant from which each is known, and its value as a share of the mid at the trade."""

    known: Stamps
    spread: Floats


def realised_spreads(
    time: Stamps, price: Floats, side: Sides, quoted: Stamps, mid: Floats, delay: str = "5min", stale: str = "1min"
) -> RealisedSpreads:
    """2 side (price - mid after the delay) / mid before: what a maker keeps once the price has answered, (R,).

    Huang and Stoll (1996). Known only once the delay has gone by: join it by `known`. Mids (Q,) are looked up as
    `mid_before` does. Raises DataError unless `quoted` is sorted.
    """
    known = time + plain_span(delay, "delay")
    before, after = mid_before(time, quoted, mid, stale), mid_before(known, quoted, mid, stale)
    return RealisedSpreads(known, effective_spread(price - (after - before), side, before))


def mid_before(at: Stamps, quoted: Stamps, mid: Floats, stale: str = "1min") -> Floats:
    """The mid that stood just before each instant, (R,); NaN before the first, and where it is older than `stale`.

    Raises DataError unless `quoted` (Q,) is sorted.
    """
    if not (quoted[1:] >= quoted[:-1]).all():
        raise DataError("mids must be sorted by time to be looked up at an instant")
    if not len(quoted):
        return np.full(len(at), np.nan)
    place = np.searchsorted(quoted, at, side="left") - 1
    fresh = (place >= 0) & (at - quoted[place] <= plain_span(stale, "stale"))
    return np.where(fresh, np.asarray(mid, np.float64)[place], np.nan)


def depth_slope(distance: Floats, offered: Floats) -> Floats:
    """What is offered per share of distance from the mid: the slope through the origin over K levels, (T,).

    `distance` (K,) > 0 are shares of the mid, `offered` (T, K) all that is offered within each, in quote currency. A
    steep book absorbs trades (the slope of Naes and Skjeltorp 2006, "Order book characteristics and the
    volume-volatility relation", J. Financial Markets 9, here by least squares on levels). NaN where fewer than two
    levels are known. ParameterError for a distance not > 0.
    """
    distance, offered = np.asarray(distance, np.float64), np.asarray(offered, np.float64)
    if not (distance > 0).all():
        raise ParameterError(f"distances from the mid must be > 0, got {distance.tolist()}")
    above, below, known = (np.zeros(offered.shape[:-1]) for _ in range(3))
    for level, away in enumerate(distance):  # one by one: a level that comes only later must not change a rounding
        there = np.isfinite(offered[..., level])
        above += np.where(there, offered[..., level] * away, 0.0)
        below += there * away**2
        known += there
    return np.where(known >= 2, over(above, below), np.nan)
