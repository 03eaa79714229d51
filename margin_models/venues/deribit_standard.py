"""What does Deribit's standard margin ask of linear perpetuals?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from margin_models.venues.checks import finite, parameter, positive
from margin_models.venues.margins import Margins
from margin_models.venues.provenance import Provenance


@dataclass(frozen=True)
class LinearPerpetual:
    """Initial and maintenance share of notional of a vanishing position, and what one coin of size adds to both."""

    initial: float
    maintenance: float
    slope: float
    provenance: Provenance

    def __post_init__(self) -> None:
        parameter("initial", self.initial, self.maintenance, 1.0)
        parameter("maintenance", self.maintenance, 0.0, 1.0)
        parameter("slope", self.slope, 0.0)


_PAGE = Provenance("V", "support.deribit.com, Linear Perpetual")
PARAMETERS: Mapping[str, LinearPerpetual] = {
    "BTC_USDC": LinearPerpetual(0.02, 0.01, 0.00005, _PAGE),
    "SOL_USDC": LinearPerpetual(0.04, 0.02, 0.000005, _PAGE),
}
FORMULAS: Mapping[str, Provenance] = {"linear_perpetual_margin": _PAGE}


def linear_perpetual_margin(size: ArrayLike, price: ArrayLike, rule: LinearPerpetual) -> Margins:
    """Margins in USDC of positions of `size` coins, arguments broadcast: (base + slope |size|) |size| price.

    DataError for a price <= 0 or NaN.

    >>> linear_perpetual_margin(25, 100_000.0, PARAMETERS["BTC_USDC"])
    Margins(initial=array(53125.), maintenance=array(28125.))
    """
    held = np.abs(finite("size", size))
    notional, grown = held * positive("price", price), rule.slope * held
    return Margins(np.asarray((rule.initial + grown) * notional), np.asarray((rule.maintenance + grown) * notional))
