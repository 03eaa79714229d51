"""What does it cost to close so much, and how much is traded in a day?"""

from typing import NamedTuple

import numpy as np

from data.arrays import Floats
from data.clock import plain_span
from data.history import MarketHistory


class Trading(NamedTuple):
    """How each underlying traded lately, (A,): USD a day, and the deviation of a day's return; NaN where unknown."""

    volume: Floats
    volatility: Floats


def days_a_row(history: MarketHistory) -> float:
    """Days that one row of a history stands for: a session is one."""
    if history.clock.by_session:
        return 1.0
    return float(plain_span(history.clock.step, "clock") / np.timedelta64(1, "D"))


def lately_traded(past: MarketHistory, days: float) -> Trading:
    """Mean volume and root mean square return of the known rows among those of the newest `days`, one at least."""
    each = days_a_row(past)
    rows = max(round(days / each), 1)
    recent = past.last(rows + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        moves = recent.spot[1:] / recent.spot[:-1] - 1.0
    volume = np.full(len(past.underlyings), np.nan)
    if recent.volume is not None:
        volume = _known_mean((recent.spot * recent.volume)[-rows:]) / each
    return Trading(volume, np.sqrt(_known_mean(moves**2) / each))


def _known_mean(values: Floats) -> Floats:
    """Mean of the finite values of each column, (A,); NaN where there is none."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.asarray(np.divide(total, count, out=np.full(values.shape[1], np.nan), where=count > 0))


def depth_cost(depth: Floats, bands: tuple[float, ...], taken: Floats, *, half_spread: float) -> Floats:
    """USD that taking (M,) USD out of depth curves (M, K) costs against the mid, (M,); beyond them at the last band.

    Unknown bands between known ones are passed over, and a curve of none is half the spread.
    """
    known = ~np.isnan(depth)
    offered = np.maximum.accumulate(np.where(known, depth, 0.0), axis=1)
    reach = np.where(known, np.maximum(np.asarray(bands, dtype=np.float64), half_spread), half_spread)
    distance = np.maximum.accumulate(reach, axis=1)
    near = np.pad(distance, ((0, 0), (1, 0)), constant_values=half_spread)[:, :-1]
    before = np.pad(offered, ((0, 0), (1, 0)))[:, :-1]
    width = offered - before
    share = np.clip(taken[:, None] - before, 0.0, width)
    # A share of the band rather than a slope: a band may offer next to nothing.
    into = np.divide(share, width, out=np.zeros_like(width), where=width > 0)
    last = distance[:, -1] if depth.shape[1] else np.full(len(taken), half_spread)
    beyond = np.maximum(taken - offered.max(axis=1, initial=0.0), 0.0)
    return np.asarray((share * (near + (distance - near) * into / 2.0)).sum(axis=1) + beyond * last)
