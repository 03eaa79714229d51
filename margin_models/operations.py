"""How many multiplications does one charge take, as an engine on a chain would count them?

What is shared by all books at an instant (logarithms of strikes, learned parameters) is not counted.
"""

import numpy as np

from data import Book, Floats

BLACK = 57  # of one repriced option: two rational tails, one exponential, a division, discount and units
GREEKS = 120  # of one option's price, delta, vega and second derivatives


def legs(book: Book) -> Floats:
    """Positions of each portfolio, (P,)."""
    return _counted(book, np.ones(len(book.instruments)))


def options(book: Book) -> Floats:
    """Option positions of each portfolio, (P,)."""
    return _counted(book, book.listing.option.astype(np.float64))


def scan(book: Book, scenarios: int) -> Floats:
    """Multiplications of a scan: every leg in every scenario, the options repriced, (P,)."""
    return np.asarray(scenarios * (legs(book) + BLACK * options(book)))


def _counted(book: Book, weight: Floats) -> Floats:
    return np.asarray((book.dense != 0) @ weight)
