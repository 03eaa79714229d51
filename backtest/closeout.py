"""What did the book lose over the margin period, and what did it cost to get out?"""

from dataclasses import dataclass, replace

import numpy as np

from backtest.settlement import Settled, payoffs, settlements
from data import Book, Coverage, DataError, Floats, MarketHistory, MarketState, ParameterError
from data.arrays import Places
from data.valuation import OptionTerms, option_terms, prices, sensitivities


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

    def at(self, market: MarketState, underlying: Places, notional: Floats) -> Floats:  # noqa: ARG002  size is enough
        """Cost of closing each signed notional (M,) in USD, on the underlying at that place, in the market as it is.

        Here it is that of `of`, whatever the market.
        """
        return self.of(notional)


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
    done = settlements(book.listing, history, first, last)
    portfolio, instrument, notional = book.positions(history.at(row))
    rate = history.rates(np.arange(row, last))
    gain = _contract_gains(book, history, row, done, first, last)
    # A price missing on the way blanks the row for the books that hold it, and for no other.
    missing = np.asarray(book.size @ np.isnan(gain).T.astype(np.float64)) > 0
    loss = np.where(missing, np.nan, -np.asarray(book.quantity @ np.nan_to_num(gain).T))
    if missing[:, -1].any():
        _refuse_unpriced(book, gain[-1], history.time[last - 1])
    # Positions are closed at the later price and in the market that is there then, but the cost is charged on the
    # notional that was margined, in USD; what settles by itself costs nothing.
    underlying = book.listing.columns(history.underlyings)[instrument]
    asked = cost.at(history.at(last - 1), underlying, notional * rate[0])
    charged = np.where(done.by[-1][instrument], 0.0, asked)
    loss = loss + np.bincount(portfolio, charged, minlength=len(book.portfolios))[:, None]
    ends = loss / rate[1:]
    worst = np.fmax.reduce(_worst_on_the_way(book, history, row, done, loss), axis=1)
    return np.asarray(ends[:, -1]), np.maximum(worst, ends[:, -1])


def _worst_on_the_way(book: Book, history: MarketHistory, row: int, done: Settled, loss: Floats) -> Floats:
    """Worst loss within each row in the numeraire, (P, h), from the USD loss at its close (P, h).

    Where the numeraire is an underlying that moves, a loss counts at the price that this very move brings.
    """
    first, last = row + 1, row + 1 + len(done.by)
    rate = history.rates(np.arange(first, last))
    if history.high is None or history.low is None:
        return np.asarray(loss / rate)
    up, down = _extremes(history, first, last)
    ways = [_gains_of_moves(book, history, row, done, move, first) for move in (up, down)]
    swing = np.maximum(-np.minimum(*ways), 0.0)
    if history.numeraire not in history.underlyings:
        return np.asarray((loss + swing.sum(axis=2)) / rate)
    own = history.underlyings.index(history.numeraire)
    others = loss + np.delete(swing, own, axis=2).sum(axis=2)
    moved = [
        (others - way[:, :, own]) / (rate * (1.0 + move[:, own])) for way, move in zip(ways, (up, down), strict=True)
    ]
    return np.asarray(np.fmax(others / rate, np.fmax(*moved)))


def _extremes(history: MarketHistory, first: int, last: int) -> tuple[Floats, Floats]:
    """Relative move from each row's close to its high, >= 0, and to its low, <= 0, (h, A) each; 0 where unknown."""
    assert history.high is not None
    assert history.low is not None
    spot = history.spot[first:last]
    with np.errstate(invalid="ignore", divide="ignore"):
        up = np.nan_to_num(np.maximum(history.high[first:last] / spot - 1.0, 0.0), posinf=0.0)
        down = np.nan_to_num(np.minimum(history.low[first:last] / spot - 1.0, 0.0), neginf=0.0)
    return up, np.maximum(down, LEAST_PRICE - 1.0)


def _refuse_unpriced(book: Book, gain: Floats, time: np.datetime64) -> None:
    """DataError for the first instrument held whose gain (N,) is unknown at the end of the horizon."""
    n = int(np.flatnonzero(book.held & np.isnan(gain))[0])
    raise DataError(f"{book.instruments[n].symbol} is held but has no price at {time}, the end of the horizon")


def _contract_gains(book: Book, history: MarketHistory, row: int, done: Settled, first: int, last: int) -> Floats:
    """USD gain of one long contract from `row` to each later row, (h, N); 0 where nothing is held."""
    listing = book.listing
    column = listing.columns(history.underlyings)
    start = prices(listing, history.at(row))
    end = np.stack([prices(listing, history.at(r)) for r in range(first, last)])
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


def _gains_of_moves(book: Book, history: MarketHistory, row: int, done: Settled, move: Floats, first: int) -> Floats:
    """USD gained as each underlying moves on from each row's close by (h, A), apart by underlying, (P, h, A).

    Options are repriced, and what has settled no longer moves.
    """
    unit = sensitivities(book.listing, history.at(row))
    unit = np.where(book.listing.option, 0.0, np.nan_to_num(unit))
    grown = np.nan_to_num(
        history.spot[first : first + len(move)] / np.where(history.spot[row] > 0, history.spot[row], np.nan)
    )
    column = book.listing.columns(history.underlyings)
    gains = np.empty((len(book.portfolios), *move.shape))
    for step, moved in enumerate(move):
        contract = unit * (grown[step] * moved)[column]
        if book.listing.option.any():
            contract = contract + _option_gains(book, option_terms(book.listing, history.at(first + step)), moved)
        onto = np.zeros((len(column), move.shape[1]))
        onto[np.arange(len(column)), column] = np.where(done.by[step], 0.0, contract)
        gains[:, step] = book.quantity @ onto
    return gains


def _option_gains(book: Book, terms: OptionTerms, move: Floats) -> Floats:
    """USD gained by one contract as its underlying makes a relative move (A,), (N,); 0 for what is no option."""
    there = replace(terms, forward=terms.forward * (1.0 + move[terms.underlying]))
    gains = np.zeros(len(book.instruments))
    gains[terms.at] = np.nan_to_num(there.premium - terms.premium) * terms.multiplier
    return gains
