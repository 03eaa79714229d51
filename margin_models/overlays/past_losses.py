"""What did a book lose over the horizon that started at an earlier row and has ended by now?

As `backtest.closeout` tells it, before any cost of getting out; what is held now was alive throughout, so that nothing
settles on the way.
"""

import numpy as np

from data import Book, Coverage, Floats, MarketHistory
from data.arrays import Places
from data.valuation import prices


def past_loss(book: Book, past: MarketHistory, row: int, coverage: Coverage) -> Floats:
    """Loss (P,) in the numeraire, funding included: at the end of the horizon, or the worst on the way to it.

    NaN where something held has no price at one of the ends. On the way closes, and highs and lows against the net
    linear position, are looked at; options are repriced at closes alone. DataError for a dated future without a mark or
    a curve.
    """
    stop = row + past.steps(coverage) + 1
    rows = np.arange(row + 1, stop)
    looked = rows if coverage.path == "worst" else rows[-1:]
    gain = np.stack([_contract_gain(book, past, row, int(end)) for end in looked])
    loss = _losses(book, gain - _funding_paid(book, past, rows)[-len(looked) :])
    end = loss[:, -1] / past.rates(rows[-1:])
    if coverage.path == "end":
        return np.asarray(end)
    on_the_way = (loss + _swings(book, past, row, rows)) / past.rates(rows)
    return np.asarray(np.where(np.isnan(end), np.nan, np.fmax(np.fmax.reduce(on_the_way, axis=1), end)))


def _contract_gain(book: Book, past: MarketHistory, row: int, end: int) -> Floats:
    """USD gain of one long contract between two rows, (N,); NaN where a price is missing."""
    listing = book.listing
    first, last = prices(listing, past.at(row)), prices(listing, past.at(end))
    spot = past.spot[end, listing.columns(past.underlyings)]
    with np.errstate(invalid="ignore", divide="ignore"):
        change = last / first - 1.0
        coin = change * np.where(last > 0, spot / last, 1.0)  # all of it is lost where the coin dies
    linear = np.where(first > 0, last - first, np.where(np.isnan(first), np.nan, 0.0))
    apart = np.where(listing.option, last - first, np.where(listing.inverse, coin, linear))
    return np.asarray(apart * listing.multiplier)


def _funding_paid(book: Book, past: MarketHistory, rows: Places) -> Floats:
    """USD that one long contract has paid in funding by each of these rows, (h, N)."""
    listing = book.listing
    if past.funding is None:
        return np.zeros((len(rows), len(listing.instruments)))
    column = listing.columns(past.underlyings)
    rate, spot = past.funding[rows][:, column], past.spot[rows][:, column]
    notional = np.where(listing.inverse, 1.0, spot) * listing.multiplier
    return np.asarray(np.cumsum(np.where(listing.perpetual, np.nan_to_num(rate * notional), 0.0), axis=0))


def _losses(book: Book, gain: Floats) -> Floats:
    """Losses (P, h) from gains a contract (h, N); NaN where something held has none."""
    missing = np.asarray(book.size @ np.isnan(gain).T.astype(np.float64)) > 0
    return np.where(missing, np.nan, -np.asarray(book.quantity @ np.nan_to_num(gain).T))


def _swings(book: Book, past: MarketHistory, row: int, rows: Places) -> Floats:
    """What the worse of high and low takes beyond each row's close, (P, h), underlying by underlying."""
    if past.high is None or past.low is None:
        return np.zeros((len(book.portfolios), len(rows)))
    state = past.at(row)
    net = book.linear_exposure(state) * state.rate
    grown = np.nan_to_num(past.spot[rows] / np.where(state.spot > 0, state.spot, np.nan))
    with np.errstate(invalid="ignore", divide="ignore"):
        up = np.nan_to_num(np.maximum(past.high[rows] / past.spot[rows] - 1.0, 0.0), posinf=0.0)
        down = np.nan_to_num(np.minimum(past.low[rows] / past.spot[rows] - 1.0, 0.0))
    return np.asarray(np.maximum(-net, 0.0) @ (grown * up).T + np.maximum(net, 0.0) @ (grown * -down).T)
