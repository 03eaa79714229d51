"""What does Dederi's portfolio margin make of a book of futures?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from data import Floats
from margin_models.venues.checks import finite, not_negative, parameter, positive
from margin_models.venues.provenance import Provenance

DAYS_A_YEAR = 365.0


@dataclass(frozen=True)
class FuturesGrid:
    """Relative price shocks (S,), and the contingency as a share of the index for every contract held."""

    shocks: tuple[float, ...]
    contingency: float
    provenance: Provenance

    def __post_init__(self) -> None:
        parameter("contingency", self.contingency, 0.0, 1.0)
        for shock in self.shocks:
            parameter("shock", shock, -1.0)


_PAGE = Provenance("V", "wiki.dederi.io, portfolio margin, futures example")
PARAMETERS: Mapping[str, FuturesGrid] = {
    "futures": FuturesGrid(tuple(round(0.03 * step, 2) for step in range(-5, 6)), 0.006, _PAGE),
}
FORMULAS: Mapping[str, Provenance] = {
    "forward": _PAGE,
    "futures_pnl": _PAGE,
    "futures_contingency": _PAGE,
    "futures_margin": Provenance("M", "worst simulated loss plus contingency; the total is not in the example"),
}


def forward(spot: ArrayLike, basis: ArrayLike, days: ArrayLike) -> Floats:
    """Future's price S exp(basis days / 365) from the annualised basis, arguments broadcast.

    DataError for a spot <= 0, days < 0, or NaN.

    >>> round(float(forward(2243.3, 0.08, 20)), 1)
    2253.2
    """
    return np.asarray(
        positive("spot", spot) * np.exp(finite("basis", basis) * not_negative("days", days) / DAYS_A_YEAR)
    )


def futures_pnl(quantity: ArrayLike, price: ArrayLike, rule: FuturesGrid = PARAMETERS["futures"]) -> Floats:
    """Gain of each book in each shock, (P, S): shock times the sum of quantity (P, N) times price (N,)."""
    held = np.atleast_2d(finite("quantity", quantity))
    exposure = held @ np.atleast_1d(positive("price", price))
    return np.asarray(exposure[:, None] * np.array(rule.shocks))


def futures_contingency(quantity: ArrayLike, index: float, rule: FuturesGrid = PARAMETERS["futures"]) -> Floats:
    """0.6 % of the index for every contract of each book, (P,), from quantity (P, N): long and short do not net."""
    held = np.atleast_2d(finite("quantity", quantity))
    return np.asarray(rule.contingency * positive("index", index) * np.abs(held).sum(axis=1))


def futures_margin(
    quantity: ArrayLike, price: ArrayLike, index: float, rule: FuturesGrid = PARAMETERS["futures"]
) -> Floats:
    """Worst loss over the grid plus contingency, (P,)."""
    worst = -futures_pnl(quantity, price, rule).min(axis=1)
    return np.asarray(np.maximum(worst, 0.0) + futures_contingency(quantity, index, rule))
