"""What does it cost to get out through the order book that is there?"""

from dataclasses import dataclass

import numpy as np

from backtest.closeout import LiquidationCost
from backtest.settlement import settlements
from data import Book, Coverage, Floats, MarketHistory, MarketState
from data.arrays import Bools, Ints, Places
from data.flow.closing import depth_cost


@dataclass(frozen=True)
class BookCost(LiquidationCost):
    """What closing a position costs in the order book of its underlying, by the history's depth.

    A long is sold to the bids and a short bought back from the asks: its notional walks the depth curve, which runs by
    straight lines from nothing offered at `half_spread` through each band, and pays the average distance from the mid.
    What is left beyond the last known band pays that band's distance and, on top, the square-root impact of what is
    left alone, as of a market that refills over the margin period: `impact` of it for a remainder as large as `depth`.
    The book is that at the end of the horizon, when positions are closed, on the notional that was margined; each
    position of each portfolio meets it alone and fresh, an option by its underlying's notional.

    Where a side of the book is not known the cost is that of `LiquidationCost` with the same parameters, and the notes
    of a replay count how often. A side known to offer nothing is no such case: all of it is left beyond the last band.

    >>> depth = np.array([[[1e6, 3e6], [1e6, 3e6]]])
    >>> curve = depth_cost(depth[:, 0], (0.001, 0.005), np.array([2e6]), half_spread=0.0)
    >>> float(curve[0])  # 1e6 at half of 0.1 %, 1e6 at 0.2 %
    2500.0
    """

    def at(self, market: MarketState, underlying: Places, notional: Floats) -> Floats:
        """Cost of closing each signed notional (M,) in USD, on the underlying at that place, by the book as it is."""
        plain = self.of(notional)
        depth = _met(market, underlying, notional)
        known = ~np.isnan(depth).all(axis=1)
        taken = np.abs(notional) * self.size
        left = np.maximum(taken - np.nan_to_num(depth).max(axis=1, initial=0.0), 0.0)
        walked = depth_cost(depth, market.depth_bands, taken, half_spread=self.half_spread)
        impact = left * self.impact * np.sqrt(left / self.depth)
        paid = (walked + impact) / self.size if self.size > 0 else plain
        return np.where(known, paid, plain)


def _met(market: MarketState, underlying: Places, notional: Floats) -> Floats:
    """The depth that each position meets as it is closed, (M, K)."""
    if market.depth is None:
        return np.full((len(notional), 0), np.nan)
    return np.asarray(market.depth[underlying, np.where(notional > 0, 0, 1)])


def closings(book: Book, history: MarketHistory, row: int, coverage: Coverage) -> Ints:
    """How many positions are closed at the end of the horizon from `row`, and at how many the book is not known, (2,).

    What has settled by then is not closed.
    """
    last = row + history.steps(coverage)
    _, instrument, notional = book.positions(history.at(row))
    underlying = book.listing.columns(history.underlyings)[instrument]
    closed = ~settlements(book.listing, history, row + 1, last + 1).by[-1][instrument] & (notional != 0)
    unknown: Bools = np.asarray(np.isnan(_met(history.at(last), underlying, notional)).all(axis=1))
    return np.array([closed.sum(), (closed & unknown).sum()], dtype=np.int64)
