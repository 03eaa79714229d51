"""What does each position add to the margin of its portfolio?

Where the margin is the loss in one scenario, a position adds its own loss there (Euler; Tasche 1999, Risk contributions
and performance measurement); what no scenario explains goes pro rata, so that the parts sum to the margin. Leaving each
position out works for any model, and what its parts do not sum to belongs to no position alone: it is shared.
"""

import numpy as np

from data import Book, Floats, MarketHistory
from data.arrays import Places
from margin_models.base import MarginModel


def euler_on_scenario(book: Book, unit: Floats, worst: Places) -> Floats:
    """Loss of each position in the scenario that is worst for its portfolio, (P, N).

    `unit` (N, S) is the gain of one contract; `worst` names the scenario a position, (P, N), or a portfolio, (P, 1). By
    Euler's theorem this is the marginal margin times the position wherever the worst scenario is the only one.
    """
    loss: Floats = -book.dense * unit[np.arange(len(unit)), worst]
    return loss + 0.0  # without negative zeros


def completed(parts: Floats, margin: Floats, book: Book) -> Floats:
    """(P, N) parts that sum to the margin (P,): what is missing is shared in proportion to their sizes.

    A portfolio whose parts are all zero shares its margin equally among what it holds.
    """
    size = np.abs(parts)
    size = np.where(size.sum(axis=1, keepdims=True) > 0, size, (book.dense != 0) * 1.0)
    whole = size.sum(axis=1, keepdims=True)
    share = np.divide(size, whole, out=np.zeros_like(size), where=whole > 0)
    return np.asarray(parts + (margin - parts.sum(axis=1))[:, None] * share)


def leave_one_out(model: MarginModel, past: MarketHistory, book: Book) -> Floats:
    """Margin less the margin without each instrument, (P, N), zero for what is not held; `shared_part` is the rest.

    For any fitted model; one evaluation an instrument held. Negative for a hedge.
    """
    margin, quantity = model.margin(past, book), book.dense
    parts = np.zeros(quantity.shape)
    for n in np.flatnonzero(book.held):
        without = quantity.copy()
        without[:, n] = 0.0
        parts[:, n] = margin - model.margin(past, Book(book.instruments, book.portfolios, without, book.listing))
    parts[quantity == 0] = 0.0
    return parts


def shared_part(parts: Floats, margin: Floats) -> Floats:
    """What of each margin (P,) its parts (P, N) do not sum to, (P,): negative where positions add to each other's risk.

    Two positions that hedge each other ask for less together than apart, so that each alone seems to add too little
    and the rest is positive.

    >>> shared_part(np.array([[30.0, -10.0]]), np.array([100.0])).tolist()
    [80.0]
    """
    return np.asarray(margin - parts.sum(axis=1))
