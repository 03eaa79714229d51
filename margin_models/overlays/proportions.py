"""What would a book of the same shares of notional, and of the same size, have held then?"""

import hashlib
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import sparse

from data import Book, Floats, MarketState
from data.arrays import Bools, Places
from data.books import Quantity
from data.valuation import notionals

DIGITS = 12  # of a share, and of a size: what differs by less is the noise of rounding


@dataclass(frozen=True, eq=False)
class Proportions:
    """Every holding of a book as (portfolio, instrument, signed share of the gross notional), (H,) each.

    `gross` (P,) is the gross notional in USD. Both are rounded to `DIGITS` digits, so that the same book rebuilt at two
    instants has the same proportions to the last bit.
    """

    book: Book
    portfolio: Places
    instrument: Places
    share: Floats
    gross: Floats

    @classmethod
    def of(cls, book: Book, state: MarketState) -> Self:
        """Of the book as it is now; DataError where something held has no price."""
        unit = book.known(notionals(book.listing, state), state)
        portfolio, instrument, held = book.holdings()
        worth = held * unit[instrument]
        gross = np.asarray(np.bincount(portfolio, np.abs(worth), minlength=len(book.portfolios)), dtype=np.float64)
        share = np.divide(worth, gross[portfolio], out=np.zeros_like(worth), where=gross[portfolio] > 0)
        return cls(book, portfolio, instrument, np.asarray(np.round(share, DIGITS) + 0.0), _to_digits(gross))

    @property
    def key(self) -> Hashable:
        """Equal where, and only where, two books hold the same shares of the same contracts at the same size."""
        digest = hashlib.blake2b()
        for figures in (self.portfolio, self.instrument, self.share, self.gross):
            digest.update(np.ascontiguousarray(figures).tobytes())
        form = isinstance(self.book.quantity, np.ndarray)
        return self.book.instruments, self.book.portfolios, form, digest.digest()

    def at(self, state: MarketState) -> tuple[Book, Bools]:
        """The book rebuilt, and which portfolios could be, (P,).

        As `BookRecipe.at` does it: the rest is scaled up where a leg is worthless. A portfolio with a leg that has no
        price at that instant could not, and holds nothing. DataError for a dated future without a mark or a curve.
        """
        unit = notionals(self.book.listing, state)
        known = np.ones(len(self.gross), dtype=bool)
        known[self.portfolio[~np.isfinite(unit)[self.instrument]]] = False
        alive = np.isfinite(unit) & (unit > 0)
        share = np.where(alive[self.instrument] & known[self.portfolio], self.share, 0.0)
        whole = np.bincount(self.portfolio, np.abs(share), minlength=len(self.gross))
        scale = np.divide(self.gross, whole, out=np.zeros(len(whole)), where=whole > 0)
        held = share * scale[self.portfolio] / np.where(alive, unit, 1.0)[self.instrument]
        return Book(self.book.instruments, self.book.portfolios, self._filled(held), self.book.listing), known

    def _filled(self, held: Floats) -> Quantity:
        """Contracts of each holding (H,) in the form of the book's own quantities, (P, N)."""
        places, shape = (self.portfolio, self.instrument), self.book.quantity.shape
        if not isinstance(self.book.quantity, np.ndarray):
            return sparse.csr_array((held, places), shape=shape)
        quantity = np.zeros(shape)
        quantity[places] = held
        return quantity


def _to_digits(values: Floats) -> Floats:
    """Figures >= 0 to `DIGITS` significant digits.

    >>> _to_digits(np.array([0.1 + 0.2, 0.0, 123456.7890123456])).tolist()
    [0.3, 0.0, 123456.789012]
    """
    return np.array([float(f"{value:.{DIGITS}g}") for value in values.tolist()], dtype=np.float64)
