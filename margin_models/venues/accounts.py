"""What does a venue see of a book?

A venue counts in USD and in accounts of a size, a book in its numeraire and in units of gross notional. Here one is
turned into the other, the same way for every venue.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from data import Book, Floats, MarketState, ParameterError
from data.arrays import Places
from data.valuation import notionals
from margin_models.base import Requirement

_ROUNDING = 1e-12


def in_dollars(state: MarketState) -> MarketState:
    """The same instant counted in USD."""
    return replace(state, numeraire="USD", rate=1.0)


def account(book: Book, size: float) -> Book:
    """The book with `size` times its quantities; ParameterError as `account_size`."""
    return Book(book.instruments, book.portfolios, book.quantity * account_size(size), book.listing)


def account_size(size: float) -> float:
    """USD that one unit of gross notional stands for, as a replay's books are of one unit each.

    ParameterError for a size that is not > 0 and finite.
    """
    if not 0.0 < size < np.inf:
        raise ParameterError(f"account_size must be > 0 USD and finite, got {size}. Typical values: 1e5-1e8.")
    return size


def index_prices(state: MarketState) -> Floats:
    """USD price of each underlying, (A,); 1 where there is none, since nothing with a value is held there."""
    return np.where(state.spot > 0, state.spot, 1.0)


def bought_and_sold(book: Book, bought: Floats, sold: Floats, state: MarketState) -> tuple[Floats, Floats]:
    """What figures a contract bought (N,), and one sold (N,), come to in each underlying, (P, A) each, >= 0."""
    long = book.by_underlying(bought, state, gross=True) + book.by_underlying(bought, state)
    short = book.by_underlying(sold, state, gross=True) - book.by_underlying(sold, state)
    return 0.5 * np.maximum(long, 0.0), 0.5 * np.maximum(short, 0.0)


def requirement(
    book: Book,
    state: MarketState,
    components: Mapping[str, Floats],
    maintenance: Floats,
    worst: tuple[str, ...] = (),
    size: float = 1.0,
) -> Requirement:
    """What accounts of `size` post in USD, the components (P,) of initial and the maintenance margin (P,), a unit."""
    share = 1.0 / (size * state.rate)
    parts = {name: part * share for name, part in components.items()}
    initial = sum(parts.values(), np.zeros(len(book.portfolios)))
    return Requirement(book.portfolios, initial, np.minimum(maintenance * share, initial), parts, worst)


@dataclass(frozen=True, eq=False)
class PerpetualPositions:
    """A book as a venue of perpetuals sees it: M positions by (portfolio, underlying), USD `notional` (M,), signed.

    Spot, perpetuals and futures of an underlying, linear or inverse, are one position: their net. A venue that lists no
    options takes each for a perpetual of its notional in a market of its own, so that none offsets another.
    """

    portfolio: Places
    column: Places
    notional: Floats
    shape: tuple[int, int]

    def summed(self, charge: Floats) -> Floats:
        """Charges (M,) added up by portfolio and underlying, (P, A)."""
        portfolios, underlyings = self.shape
        at = self.portfolio * underlyings + self.column
        flat = np.bincount(at, weights=charge, minlength=portfolios * underlyings)
        return np.asarray(flat, dtype=np.float64).reshape(self.shape)


def perpetual_positions(book: Book, state: MarketState) -> PerpetualPositions:
    """The positions of every portfolio; DataError where something held has no price."""
    dollars = in_dollars(state)
    linear = np.where(book.listing.option, 0.0, notionals(book.listing, dollars))
    net = book.by_underlying(linear, state)
    # What rounding leaves of a hedge is no position: some venues charge for having one at all.
    net = np.where(np.abs(net) > _ROUNDING * book.by_underlying(linear, state, gross=True), net, 0.0)
    portfolio, column = np.nonzero(net)
    notional = net[portfolio, column]
    if book.listing.option.any():
        holder, instrument, held = book.positions(dollars)
        own = book.listing.option[instrument]
        portfolio = np.concatenate([portfolio, holder[own]])
        column = np.concatenate([column, book.listing.columns(state.underlyings)[instrument[own]]])
        notional = np.concatenate([notional, held[own]])
    return PerpetualPositions(portfolio, column, notional, net.shape)


def worst_of(names: tuple[str, ...], place: Places, margin: Floats) -> tuple[str, ...]:
    """The name at each portfolio's place, "" where nothing is asked."""
    return tuple(names[at] if asked > 0 else "" for at, asked in zip(place.tolist(), margin.tolist(), strict=True))
