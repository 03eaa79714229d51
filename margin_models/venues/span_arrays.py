"""What does a book of published SPAN risk arrays lose in the worst of their scenarios?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data import DataError, Floats
from margin_models.venues.checks import finite
from margin_models.venues.provenance import Provenance

FORMULAS: Mapping[str, Provenance] = {
    "combine": Provenance("V", "McMillan, Options as a Strategic Investment, chapter 34 pp. 668-670"),
}


@dataclass(frozen=True)
class PortfolioArray:
    """The risk array of each book: `value` (P, S) gains, `scan_risk` (P,) >= 0, `active_scenario` (P,) from 1."""

    value: Floats
    scan_risk: Floats
    active_scenario: NDArray[np.intp]


def combine(arrays: ArrayLike, quantity: ArrayLike) -> PortfolioArray:
    """Risk arrays (N, S) of one long contract each, held in quantities (P, N) or (N,), as one array a book.

    An array holds the gain of one long contract in each scenario, in money; the published ones have 16, the last two
    extreme and already at their cover fraction. Scan risk is the largest loss, 0 where no scenario loses; of scenarios
    that lose alike the first is active. DataError for NaN or for arrays and quantities that do not fit.

    >>> combine([[100.0, -100.0], [30.0, -70.0]], [1.0, -1.0]).scan_risk
    array([30.])
    """
    table = np.atleast_2d(finite("risk arrays", arrays))
    held = np.atleast_2d(finite("quantity", quantity))
    if table.ndim != 2 or held.ndim != 2 or held.shape[1] != table.shape[0] or table.shape[1] == 0:
        raise DataError(f"risk arrays (N, S) need quantities (P, N), got {table.shape} and {held.shape}")
    value = held @ table
    return PortfolioArray(value, np.maximum(-value.min(axis=1), 0.0), value.argmin(axis=1) + 1)
