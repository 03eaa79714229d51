"""What does somebody hold, and how is that held through the past?

Positions are brought as they stand now. At every earlier instant each keeps its share of the book's notional of now;
an option keeps its moneyness and its days to expiry, struck anew, as the contract itself did not exist then.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backtest.portfolios import listed_instruments
from backtest.strikes import exactly
from data import Book, BookRecipe, DataError, Floats, Instrument, MarketHistory, MarketState, ParameterError
from data.book_file import SETTLES, read_book
from data.chain_market import MONTHS, ChainMarket
from data.valuation import notionals

Positions = tuple[tuple[str, str, float], ...]  # portfolio, symbol, signed contracts
MOST_POSITIONS, MOST_BOOKS, LONGEST_NAME = 500, 20, 80
MOST_READ = 1_000_000  # bytes of a file of positions
_DAY = np.timedelta64(86_400_000_000_000, "ns")
_OPTION = re.compile(
    r"(?P<on>[A-Z0-9.]{1,20})-(?P<day>\d{1,2})(?P<month>[A-Z]{3})(?P<year>\d\d)"
    r"-(?P<strike>\d{1,12}(?:[.dD]\d{1,8})?)-(?P<right>[CP])"
)


@dataclass(frozen=True, eq=False)
class OwnBooks:
    """P portfolios of N contracts, rebuilt to unit gross notional at each decision.

    Parameters
    ----------
    portfolios, contracts : P names; N contracts as they are held now.
    share : (P, N) signed notional of each position now, in units of the portfolio's gross notional.
    gross : (P,) gross notional now, USD.
    time : the instant that is called now.
    spot : (N,) price of each contract's underlying now.
    """

    portfolios: tuple[str, ...]
    contracts: tuple[Instrument, ...]
    share: Floats
    gross: Floats
    time: np.datetime64
    spot: Floats

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """Those that never expire."""
        return tuple(one for one in self.contracts if one.kind != "option")

    @property
    def options_on(self) -> tuple[str, ...]:
        """The underlyings whose surface it takes to know what these books lose."""
        return tuple(dict.fromkeys(one.underlying for one in self.contracts if one.kind == "option"))

    def at(self, state: MarketState) -> Book:
        """The same shares of notional in contracts as old, and as far from the money, as those of now."""
        struck = tuple(self._struck(n, state) for n in range(len(self.contracts)))
        return BookRecipe(struck, self.portfolios, self.share).at(state)

    def _struck(self, n: int, state: MarketState) -> Instrument:
        one = self.contracts[n]
        if one.kind != "option" or one.strike is None:
            return one
        spot = float(state.spot[state.underlyings.index(one.underlying)]) or 1.0  # worthless: nothing can be held of it
        days = (np.datetime64(str(one.expiry), "ns") - self.time) / _DAY
        expiry = str(exactly(state.time, np.array([days]))[0].astype("datetime64[m]"))
        strike = one.strike / self.spot[n] * spot
        return _option(f"{one.underlying}-{expiry}-{strike:.12g}-{n}", one, expiry, strike)


def _option(symbol: str, like: Instrument, expiry: str, strike: float) -> Instrument:
    return Instrument(
        symbol,
        like.underlying,
        "option",
        settlement=like.settlement,
        expiry=expiry,
        strike=strike,
        right=like.right,
    )


def own_books(positions: Positions, history: MarketHistory) -> OwnBooks:
    """The books of some positions, valued at the newest instant at which everything held has a price.

    DataError where a symbol is none of the market's, or nothing has a price; ParameterError as `refuse_no_positions`.
    """
    refuse_no_positions(positions)
    symbols = tuple(dict.fromkeys(symbol for _, symbol, _ in positions))
    state = _newest(history, any(_OPTION.fullmatch(symbol) for symbol in symbols))
    known = contracts(symbols, history, state)
    unknown = [symbol for symbol in symbols if symbol not in known]
    if unknown:
        raise DataError(f"{unknown[0]!r:.100} is no contract of this market at {str(state.time)[:16]} UTC")
    portfolios = tuple(dict.fromkeys(portfolio for portfolio, _, _ in positions))
    quantity = np.zeros((len(portfolios), len(symbols)))
    for portfolio, symbol, held in positions:
        quantity[portfolios.index(portfolio), symbols.index(symbol)] += held
    listed = tuple(known[symbol] for symbol in symbols)
    book = Book(listed, portfolios, quantity)
    value = quantity * book.known(notionals(book.listing, state)[:, None], state)[:, 0]
    gross = np.abs(value).sum(axis=1)
    if not (gross > 0).all():
        raise DataError(f"{portfolios[int(np.argmin(gross))]!r:.100} comes to nothing at {str(state.time)[:16]} UTC")
    spot = state.spot[book.listing.columns(state.underlyings)]
    return OwnBooks(portfolios, listed, value / gross[:, None], gross, state.time, np.asarray(spot))


def _newest(history: MarketHistory, options: bool) -> MarketState:
    """The newest row with every price, and every surface where options are held."""
    known = np.isfinite(history.spot).all(axis=1)
    if options:
        if history.surfaces is None:
            raise DataError(f"options need implied volatility, and {history!r} has none: bring the underlyings alone")
        known &= np.isfinite(history.surfaces[:, :, 0]).all(axis=(1, 2))
    if not known.any():
        raise DataError(f"no row of {history!r} has all that these positions are valued by")
    return history.at(int(np.flatnonzero(known)[-1]))


def contracts(symbols: Sequence[str], history: MarketHistory, state: MarketState) -> Mapping[str, Instrument]:
    """What can be held of a market, by symbol: spot, perpetuals, and the options named that have not expired.

    "BTC", "BTC-PERP" (linear), "BTC-INV" (a coin-settled one, 1 USD, where the market never closes) and names such as
    "BTC-27JUN25-90000-C", coin-settled where "BTC-INV" is.
    """
    inverse = not history.clock.by_session
    known = {one.symbol: one for one in listed_instruments(history.underlyings, inverse)}
    for symbol in symbols:
        told = _OPTION.fullmatch(symbol)
        if told and told["on"] in history.underlyings and history.surfaces is not None:
            expiry = _expiry(told)
            strike = float(told["strike"].upper().replace("D", "."))
            if expiry is not None and expiry > state.time and strike > 0:
                right = "call" if told["right"] == "C" else "put"
                like = Instrument(
                    symbol,
                    told["on"],
                    "option",
                    settlement="inverse" if inverse else "linear",
                    expiry=str(expiry.astype("datetime64[m]")),
                    strike=strike,
                    right=right,  # type: ignore[arg-type]
                )
                known[symbol] = like
    return known


def _expiry(told: re.Match[str]) -> np.datetime64 | None:
    """08:00 UTC of the day that a name tells; None where there is no such day."""
    if told["month"] not in MONTHS:
        return None
    try:
        day = np.datetime64(f"20{told['year']}-{MONTHS.index(told['month']) + 1:02d}-{int(told['day']):02d}")
    except ValueError:
        return None
    settled: np.datetime64 = day.astype("datetime64[ns]") + SETTLES
    return settled


def read_positions(path: Path, history: MarketHistory) -> tuple[Positions, tuple[str, ...]]:
    """Positions of a CSV file (symbol, quantity and, if need be, portfolio), and remarks on the reading.

    SourceError, DataError as `read_book`; ParameterError for a file of another size than that of a book.
    """
    import pandas as pd

    if path.is_file() and path.stat().st_size > MOST_READ:
        raise ParameterError(f"a book is a file of at most {MOST_READ:,} bytes, got {path.stat().st_size:,}")
    text = path.read_text("utf-8-sig", "replace") if path.is_file() else ""
    named = tuple(dict.fromkeys(found[0] for found in _OPTION.finditer(text)))
    state = _newest(history, bool(named) and history.surfaces is not None)
    place = history.rows(0, int(np.searchsorted(history.time, state.time)) + 1).last(1)
    nothing = pd.DataFrame({"symbol": pd.Series(dtype=str), "rule": pd.Series(dtype=str)})
    told = read_book(path, ChainMarket(place, contracts(named, history, state), {}, nothing))
    portfolio, instrument, held = told.book.holdings()
    rows = zip(portfolio.tolist(), instrument.tolist(), held.tolist(), strict=True)
    positions = tuple((told.book.portfolios[p], told.book.instruments[n].symbol, float(q)) for p, n, q in rows)
    refuse_no_positions(positions)
    return positions, told.remarks


def refuse_no_positions(positions: object) -> None:
    """ParameterError unless these are positions, each named once, and so few and short that a page can tell them."""
    if not isinstance(positions, tuple) or len(positions) > MOST_POSITIONS:
        raise ParameterError(f"a book is at most {MOST_POSITIONS} positions, got {positions!r:.100}")
    for one in positions:
        if not _is_position(one):
            raise ParameterError(f"a position is (portfolio, symbol, contracts that are a number), got {one!r:.160}")
    if len({one[:2] for one in positions}) < len(positions):
        raise ParameterError("positions of one portfolio and symbol must be summed to one")
    if len({one[0] for one in positions}) > MOST_BOOKS:
        raise ParameterError(f"at most {MOST_BOOKS} portfolios can be told, got {len({one[0] for one in positions})}")


def _is_position(one: object) -> bool:
    if not isinstance(one, tuple) or len(one) != 3:
        return False
    named = all(isinstance(text, str) and 0 < len(text) <= LONGEST_NAME for text in one[:2])
    return named and type(one[2]) is float and math.isfinite(one[2]) and one[2] != 0.0
