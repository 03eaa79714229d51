"""Which books is a model tried on when nobody brings their own?"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

import numpy as np

from data import Book, BookRecipe, DataError, Instrument, MarketHistory, MarketState

MOST_PAIRS = 20
Holdings = dict[str, dict[str, float]]


class Books(Protocol):
    """Whatever gives a Book at any instant: a `Book` (its proportions), a `BookRecipe`, several of them joined.

    One whose contracts differ by decision (backtest/option_books.py) also has `options_on` and `futures_on`: the
    underlyings whose surface, and whose curve, it takes to value what it may hold.
    """

    @property
    def portfolios(self) -> tuple[str, ...]:
        """P names."""

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """N contracts that may be held, but for those that are struck at each decision."""

    def at(self, state: MarketState) -> Book:
        """The book at unit gross notional now."""


@dataclass(frozen=True, eq=False)
class Joined:
    """Several books or recipes judged together; DataError where two portfolios share a name."""

    parts: tuple[Books, ...]

    def __post_init__(self) -> None:
        if len(set(self.portfolios)) < len(self.portfolios):
            raise DataError(f"portfolios must differ in name, got {self.portfolios}")

    @property
    def portfolios(self) -> tuple[str, ...]:
        """Every part's portfolios, in order."""
        return tuple(name for part in self.parts for name in part.portfolios)

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """Every part's instruments; one that two parts share appears once."""
        return tuple(dict.fromkeys(instrument for part in self.parts for instrument in part.instruments))

    @property
    def options_on(self) -> tuple[str, ...]:
        """Underlyings on which some part strikes options."""
        return tuple(dict.fromkeys(name for part in self.parts for name in struck_on(part)[0]))

    @property
    def futures_on(self) -> tuple[str, ...]:
        """Underlyings on which some part rolls futures."""
        return tuple(dict.fromkeys(name for part in self.parts for name in struck_on(part)[1]))

    def at(self, state: MarketState) -> Book:
        """One book of all that the parts hold at this instant; an instrument two parts share appears once."""
        books = [part.at(state) for part in self.parts]
        instruments = tuple(dict.fromkeys(instrument for book in books for instrument in book.instruments))
        place = {instrument: n for n, instrument in enumerate(instruments)}
        blocks = []
        for book in books:
            block = np.zeros((len(book.portfolios), len(instruments)))
            block[:, [place[i] for i in book.instruments]] = book.dense
            blocks.append(block)
        return Book(instruments, self.portfolios, np.vstack(blocks))


def struck_on(books: Books) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The underlyings on which options, and on which futures, are struck at each decision."""
    return getattr(books, "options_on", ()), getattr(books, "futures_on", ())


def joined(books: Books | Sequence[Books]) -> Books:
    """One source of books from one or several."""
    if isinstance(books, Sequence):
        return books[0] if len(books) == 1 else Joined(tuple(books))
    return books


def listed_instruments(underlyings: Sequence[str], inverse: bool = True) -> tuple[Instrument, ...]:
    """Spot, a linear perpetual and (where `inverse`) a coin-settled one of each underlying.

    >>> [i.symbol for i in listed_instruments(["BTC"])]
    ['BTC', 'BTC-PERP', 'BTC-INV']
    """
    listed = []
    for name in underlyings:
        listed += [Instrument(name, name, "spot"), Instrument(f"{name}-PERP", name)]
        if inverse:
            listed.append(Instrument(f"{name}-INV", name, settlement="inverse"))
    return tuple(listed)


def directional(underlyings: Sequence[str]) -> Holdings:
    """Each underlying long and short."""
    return {
        f"{name} {side}": {f"{name}-PERP": s} for name in underlyings for side, s in (("long", 1.0), ("short", -1.0))
    }


def pairs(underlyings: Sequence[str]) -> Holdings:
    """Spreads of two underlyings, equal notional; at most MOST_PAIRS of them, evenly chosen."""
    every = list(combinations(underlyings, 2))
    chosen = every[:: max(-(-len(every) // MOST_PAIRS), 1)]
    return {f"{a} against {b}": {f"{a}-PERP": 1.0, f"{b}-PERP": -1.0} for a, b in chosen}


def baskets(underlyings: Sequence[str]) -> Holdings:
    """All underlyings long, and short, in equal notional."""
    return {f"basket {side}": {f"{u}-PERP": s for u in underlyings} for side, s in (("long", 1.0), ("short", -1.0))}


def hedged(underlyings: Sequence[str]) -> Holdings:
    """Each underlying in spot, 80 % of it hedged: with the others' basket, or its own perpetual where it is alone."""
    books: Holdings = {}
    for name in underlyings:
        others = [u for u in underlyings if u != name] or [name]
        books[f"{name} hedged"] = {name: 1.0, **{f"{u}-PERP": -0.8 / len(others) for u in others}}
    return books


def market_makers(underlyings: Sequence[str], count: int, seed: int, inverse: bool = True) -> Holdings:
    """Seeded inventories over all instruments; each maker hedges a random share of its net with the first perpetual."""
    rng = np.random.default_rng(seed)
    symbols = [i.symbol for i in listed_instruments(underlyings, inverse)]
    books: Holdings = {}
    for n in range(count):
        held = rng.standard_normal(len(symbols)) * (rng.random(len(symbols)) < 0.7)
        held[rng.integers(len(symbols))] += 1.0
        held[symbols.index(f"{underlyings[0]}-PERP")] -= rng.uniform(0.0, 0.9) * held.sum()
        books[f"maker {n:03d}"] = {s: float(w) for s, w in zip(symbols, held, strict=True) if w != 0.0}
    return books


def standard_books(
    underlyings: Sequence[str], *, makers: int = 100, seed: int = 20240229, inverse: bool = True
) -> BookRecipe:
    """Long, short, pairs, baskets, hedged and seeded market-maker books.

    >>> len(standard_books(("BTC", "ETH")).portfolios)
    109
    """
    holdings = directional(underlyings) | hedged(underlyings)
    if len(underlyings) > 1:
        holdings |= pairs(underlyings) | baskets(underlyings)
    return BookRecipe.of(
        listed_instruments(underlyings, inverse), holdings | market_makers(underlyings, makers, seed, inverse)
    )


def default_books(history: MarketHistory) -> BookRecipe:
    """The standard books of a market, with coin-settled contracts only where it trades around the clock.

    A market that counts sessions lists none: nobody posts shares against a contract on the same share.
    """
    return standard_books(history.underlyings, inverse=not history.clock.by_session)
