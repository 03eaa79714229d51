"""What is an underlying worth for delivery later, and money paid later worth today?

A curve of one underlying is (K, 3): tenor in years, carry ln(F/S)/tenor and continuously compounded USD rate, both a
year, sorted by tenor; rows of NaN at the end are padding. Without one the forward is spot and the rate is zero.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from data.arrays import Floats
from data.errors import DataError
from data.history import MarketHistory
from data.instruments import Instrument, Listing

TENOR, CARRY, RATE = range(3)


def _accrued(curve: Floats | None, column: int, tenor: Floats) -> Floats:
    """Yearly figure times tenor, (N,): linear between the curve's tenors from zero at zero, the last figure beyond."""
    if curve is None:
        return np.zeros(len(tenor))
    known = np.isfinite(curve[:, column])
    if not known.any():
        return np.zeros(len(tenor))
    at, figure = curve[known, TENOR], curve[known, column]
    within = np.interp(tenor, np.r_[0.0, at], np.r_[0.0, figure * at])
    return np.where(tenor > at[-1], figure[-1] * tenor, within)


def forward_ratio(curve: Floats | None, tenor: Floats) -> Floats:
    """Forward over spot, (N,), at tenors (N,) in years.

    >>> curve = np.array([[0.5, 0.10, 0.0], [1.0, 0.08, 0.0]])
    >>> np.log(forward_ratio(curve, np.array([0.0, 0.25, 0.75, 2.0]))).round(4).tolist()
    [0.0, 0.025, 0.065, 0.16]
    """
    return np.exp(_accrued(curve, CARRY, tenor))


def discount(curve: Floats | None, tenor: Floats) -> Floats:
    """What one USD paid after each tenor (N,) is worth now, (N,)."""
    return np.exp(-_accrued(curve, RATE, tenor))


def curves_of_futures(history: MarketHistory, futures: Sequence[Instrument]) -> Floats:
    """The forward curves that a history's dated futures imply, (T, A, K, 3), K the most futures on one underlying.

    A future counts from its first mark to its expiry; marks tell nothing of the USD rate, which is 0.

    Raises
    ------
    DataError
        If one of them is no future, is not listed, or is on an underlying that the history lacks.
    """
    listing = Listing(tuple(futures))
    column, place = listing.columns(history.underlyings), listing.places(history.listed)
    for instrument, at in zip(futures, place, strict=True):
        if instrument.kind != "future" or at < 0:
            raise DataError(f"a curve is made of listed futures, got {instrument}, the history lists {history.listed}")
    most = int(np.bincount(column, minlength=1).max())
    curves = np.full((len(history), len(history.underlyings), most, 3), np.nan)
    if history.marks is None:
        return curves
    for a in np.unique(column):
        mine = np.flatnonzero(column == a)
        days = (listing.expiry[mine] - history.time[:, None]) / np.timedelta64(1, "D")
        tenor = days / listing.year[mine]
        with np.errstate(divide="ignore", invalid="ignore"):
            carry = np.log(history.marks[:, place[mine]] / history.spot[:, [a]]) / tenor
        known = np.isfinite(carry) & (tenor > 0)
        points = np.stack([tenor, carry, np.zeros_like(tenor)], axis=2)
        points[~known] = np.nan
        order = np.argsort(points[:, :, TENOR], axis=1)  # what is unknown comes last
        curves[:, a, : len(mine)] = np.take_along_axis(points, order[:, :, None], axis=1)
    return curves


def with_curves(history: MarketHistory, futures: Sequence[Instrument]) -> MarketHistory:
    """A history with the curves of its dated futures in place of those it had; raises as `curves_of_futures` does."""
    return replace(history, curves=curves_of_futures(history, futures))
