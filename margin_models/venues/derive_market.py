"""What would Derive's feeds have said of a market, and what does each portfolio hold in it?"""

from dataclasses import dataclass

import numpy as np

from data import Book, Floats, MarketState
from data.curves import discount
from data.valuation import OptionTerms, notionals, option_terms, unit_values
from margin_models.venues.accounts import in_dollars
from margin_models.venues.derive_feeds import YEAR_SECONDS, Expiries, Options


@dataclass(frozen=True, eq=False)
class CurrencyBook:
    """One underlying of a book: the feeds, all of them sure, and the holdings of P portfolios in units of it.

    `quantity` (P, N) of options, `perpetual` (P,) and `base` (P,) >= 0. Dated futures and coin-settled contracts are
    perpetuals of their notional, as is a coin that is owed. Coin-settled options are taken for ones in USD.
    """

    spot: float
    expiries: Expiries
    options: Options
    quantity: Floats
    perpetual: Floats
    base: Floats


def currency_books(book: Book, state: MarketState) -> dict[str, CurrencyBook]:
    """The book by underlying; one that is worthless, or that nobody holds, is left out.

    DataError where something held has no price.
    """
    dollars, listing = in_dollars(state), book.listing
    book.known(unit_values(listing, dollars), state)
    terms, carried = option_terms(listing, dollars), book.held
    held = terms.only(np.isfinite(terms.volatility) & carried[terms.at])
    column = listing.columns(state.underlyings)
    worth = book.known(notionals(listing, dollars), state)
    quantity = book.dense
    spot_kind = np.array([instrument.kind == "spot" for instrument in book.instruments])
    books = {}
    for a, name in enumerate(state.underlyings):
        own = (column == a) & carried
        price = state.spot[a]
        if price > 0 and own.any():
            linear, coins = own & ~listing.option & ~spot_kind, own & spot_kind
            coin = quantity[:, coins] @ (worth[coins] / price)
            perpetual = quantity[:, linear] @ (worth[linear] / price) + np.minimum(coin, 0.0)
            mine = held.only(held.underlying == a)
            feeds = _feeds(mine, book, state, a)
            options = quantity[:, mine.at] * mine.multiplier
            books[name] = CurrencyBook(float(price), *feeds, options, perpetual, np.maximum(coin, 0.0))
    return books


def _feeds(terms: OptionTerms, book: Book, state: MarketState, column: int) -> tuple[Expiries, Options]:
    """Feeds in the venue's years of 365 days; rates and volatilities are such that marks and discounts stay."""
    expiry, first, place = np.unique(book.listing.expiry[terms.at], return_index=True, return_inverse=True)
    seconds = (expiry - state.time) / np.timedelta64(1, "s")
    years = seconds / YEAR_SECONDS
    curve = None if state.curve is None else state.curve[column]
    rate = -np.log(discount(curve, terms.tenor[first])) / years
    sure = np.ones(len(seconds))
    volatility = terms.deviation / np.sqrt(years[place])
    options = Options(place.astype(np.intp), terms.strike, terms.call, volatility, np.ones(len(place)))
    return Expiries.averaging(seconds, terms.forward[first], rate, sure), options
