"""What did the book lose over the margin period, and what did it cost to get out?"""

from dataclasses import dataclass, replace

import numpy as np

from backtest.settlement import payoffs, settlements
from data import Book, Coverage, DataError, Floats, MarketHistory, ParameterError
from data.valuation import OptionTerms, option_terms, prices


@dataclass(frozen=True)
class LiquidationCost:
    """What closing a position costs, as a share of its notional: half the spread, and an impact that grows with size.

    The square-root law of market impact: Almgren, Thum, Hauptmann and Li (2005), "Direct estimation of equity market
    impact", Risk 18; Toth et al. (2011), Phys. Rev. X 1, 021006.

    Parameters
    ----------
    half_spread : share of notional paid whatever the size.
    impact : share of notional paid on top for a position as large as `depth`.
    size : USD that one unit of gross notional stands for (books are rebuilt to unit gross notional).
    depth : USD that the market absorbs over the margin period at the cost `impact`.

    Raises
    ------
    ParameterError
        If a parameter is negative, or the depth not positive.
    """

    half_spread: float = 0.0001
    impact: float = 0.0005
    size: float = 1e6
    depth: float = 1e8

    def __post_init__(self) -> None:
        if not (self.half_spread >= 0 and self.impact >= 0 and self.size >= 0 and self.depth > 0):
            raise ParameterError(f"a liquidation cost needs parameters >= 0 and a depth > 0, got {self}")

    def of(self, notional: Floats) -> Floats:
        """Cost of closing each signed notional, same shape and unit."""
        size = np.abs(notional)
        return np.asarray(size * (self.half_spread + self.impact * np.sqrt(size * self.size / self.depth)))


FREE = LiquidationCost(0.0, 0.0)
LEAST_PRICE = 1e-12  # share of a forward


def closeout(
    book: Book, history: MarketHistory, row: int, coverage: Coverage, cost: LiquidationCost
) -> tuple[Floats, Floats]:
    """Loss at the end of the horizon that starts at `row`, and the worst along the way, (P,) each, in the numeraire.

    Minus the change in value, funding and closeout cost included, revalued in the numeraire at the later instant. The
    worst adds to each row's loss at its close the further move to its high or low against the net position; where
    several underlyings move inside one row these need not have met, so it is an upper bound for a book that loses most
    at an extreme; options are repriced at both extremes, not between them. Rows between the ends without a price are
    passed over.

    Raises
    ------
    DataError
        If something held has no price at one of the ends.
    """
    steps = history.steps(coverage)
    first, last = row + 1, row + steps + 1
    portfolio, _, notional = book.positions(history.at(row))
    rate = history.rates(np.arange(row, last))
    gain = _contract_gains(book, history, row, first, last)
    # A price missing on the way blanks the row for the books that hold it, and for no other.
    missing = np.asarray(book.size @ np.isnan(gain).T.astype(np.float64)) > 0
    loss = np.where(missing, np.nan, -np.asarray(book.quantity @ np.nan_to_num(gain).T))
    if missing[:, -1].any():
        _refuse_unpriced(book, gain[-1], history.time[last - 1])
    # Positions are closed at the later price, but the cost is charged on the notional that was margined, in USD.
    exit_cost = np.bincount(portfolio, cost.of(notional * rate[0]), minlength=len(book.portfolios))
    swing = _adverse_swing(book, history, row, first, last)
    ends = (loss + exit_cost[:, None]) / rate[1:]
    worst = np.fmax.reduce((loss + swing + exit_cost[:, None]) / rate[1:], axis=1)
    return np.asarray(ends[:, -1]), np.maximum(worst, ends[:, -1])


def _refuse_unpriced(book: Book, gain: Floats, time: np.datetime64) -> None:
    """DataError for the first instrument held whose gain (N,) is unknown at the end of the horizon."""
    n = int(np.flatnonzero(book.held & np.isnan(gain))[0])
    raise DataError(f"{book.instruments[n].symbol} is held but has no price at {time}, the end of the horizon")


def _contract_gains(book: Book, history: MarketHistory, row: int, first: int, last: int) -> Floats:
    """USD gain of one long contract from `row` to each later row, (h, N); 0 where nothing is held."""
    listing = book.listing
    column = listing.columns(history.underlyings)
    start = prices(listing, history.at(row))
    end = np.stack([prices(listing, history.at(r)) for r in range(first, last)])
    done = settlements(listing, history, first, last)
    end = np.where(done.by, payoffs(listing, done.spot), end)
    spot = history.spot[first:last, column]
    with np.errstate(invalid="ignore", divide="ignore"):
        change = end / start - 1.0
        # An inverse contract gains coin, worth the spot of the later instant (all of it is lost where the coin dies).
        coin = change * np.where(end > 0, spot / end, 1.0)
        # An option that settles in coin pays coin at its expiry, and that coin is held to the end.
        kept = np.where(done.by & listing.inverse & (done.spot > 0), spot / done.spot, 1.0)
    linear = np.where(start > 0, end - start, 0.0)
    gain = np.where(listing.option, end * kept - start, np.where(listing.inverse, coin, linear)) * listing.multiplier
    gain -= _funding_paid(book, history, first, last)
    return np.where(book.held, gain, 0.0)


def _funding_paid(book: Book, history: MarketHistory, first: int, last: int) -> Floats | float:
    """USD that one long contract has paid in funding by each row, (h, N)."""
    if history.funding is None:
        return 0.0
    column = book.listing.columns(history.underlyings)
    rate, spot = history.funding[first:last, column], history.spot[first:last, column]
    notional = np.where(book.listing.inverse, 1.0, spot) * book.listing.multiplier
    paid = np.where(book.listing.perpetual, np.nan_to_num(rate * notional), 0.0)
    return np.asarray(np.cumsum(paid, axis=0))


def _adverse_swing(book: Book, history: MarketHistory, row: int, first: int, last: int) -> Floats:
    """USD lost from each row's close to its high or low against the net position, (P, h)."""
    if history.high is None or history.low is None:
        return np.zeros((len(book.portfolios), last - first))
    spot = history.spot[first:last]
    with np.errstate(invalid="ignore", divide="ignore"):
        up = np.nan_to_num(np.maximum(history.high[first:last] / spot - 1.0, 0.0), posinf=0.0)
        down = np.nan_to_num(np.maximum(1.0 - history.low[first:last] / spot, 0.0), posinf=0.0)
    exposure = book.linear_exposure(history.at(row)) * history.rates(np.array([row]))[0]
    moved = np.nan_to_num(spot / np.where(history.spot[row] > 0, history.spot[row], np.nan))
    if book.listing.option.any():
        return _swing_with_options(book, history, exposure, moved, up, -down, first)
    long, short = np.maximum(exposure, 0.0), np.maximum(-exposure, 0.0)
    return np.asarray(long @ (down * moved).T + short @ (up * moved).T)


def _swing_with_options(
    book: Book, history: MarketHistory, exposure: Floats, moved: Floats, up: Floats, down: Floats, first: int
) -> Floats:
    """The same with options repriced at the high and at the low of their underlying, (P, h)."""
    swing = np.empty((len(book.portfolios), len(up)))
    for step in range(len(up)):
        terms = option_terms(book.listing, history.at(first + step))
        ways = [exposure * (moved[step] * way[step]) + _option_gains(book, terms, way[step]) for way in (up, down)]
        swing[:, step] = np.maximum(-np.minimum(*ways), 0.0).sum(axis=1)
    return swing


def _option_gains(book: Book, terms: OptionTerms, move: Floats) -> Floats:
    """USD gained on the options of each underlying as it makes a relative move (A,), (P, A)."""
    # A low of zero is a price that a logarithm cannot take.
    there = replace(terms, forward=terms.forward * np.maximum(1.0 + move[terms.underlying], LEAST_PRICE))
    gain = np.nan_to_num(there.premium - terms.premium) * terms.multiplier
    onto = np.zeros((len(book.instruments), len(move)))
    onto[terms.at, terms.underlying] = gain
    return np.asarray(book.quantity @ onto)
