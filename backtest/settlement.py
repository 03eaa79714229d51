"""What is paid when a contract expires before its holder is out?

It settles at the first known spot at or after its expiry.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data import Floats, Listing, MarketHistory


@dataclass(frozen=True, eq=False)
class Settled:
    """Which contracts have settled by each of h rows, (h, N), and the spot they settled at, (N,), NaN if not yet."""

    by: NDArray[np.bool_]
    spot: Floats


def settlements(listing: Listing, history: MarketHistory, first: int, last: int) -> Settled:
    """The settlements of rows [first, last)."""
    column = listing.columns(history.underlyings)
    reached = history.time[first:last, None] >= listing.expiry
    spot = history.spot[first:last, column]
    by = np.asarray(np.logical_or.accumulate(reached & np.isfinite(spot), axis=0))
    row = by.argmax(axis=0)
    at = np.where(by.any(axis=0), spot[row, np.arange(len(column))], np.nan)
    return Settled(by, np.asarray(at))


def payoffs(listing: Listing, spot: Floats) -> Floats:
    """USD per unit of the underlying that each contract is worth as it settles at these prices (N,)."""
    sign = np.where(listing.call, 1.0, -1.0)
    return np.where(listing.option, np.maximum(sign * (spot - listing.strike), 0.0), spot)
