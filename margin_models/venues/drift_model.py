"""What would Drift have asked of a book?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from data import Book, Floats, MarketHistory
from margin_models.base import MarginModel, Requirement
from margin_models.venues import drift
from margin_models.venues.accounts import account, index_prices, perpetual_positions, requirement
from margin_models.venues.checks import known_or_other, parameter
from margin_models.venues.provenance import Provenance


@dataclass(frozen=True)
class PerpetualRules:
    """Margins of a market as shares of notional, and the share that they grow with per root of a unit of size."""

    initial: float
    maintenance: float
    size_factor: float
    provenance: Provenance

    def __post_init__(self) -> None:
        parameter("initial", self.initial, self.maintenance, 1.0)
        parameter("maintenance", self.maintenance, 0.0, 1.0)
        parameter("size_factor", self.size_factor, 0.0)


# Markets' ratios live on chain; no page that lists them was read.
_MEMORY = Provenance("M", "a perpetual of 20x leverage; the ratios and size factors on chain were not read")
PARAMETERS: Mapping[str, PerpetualRules] = {
    "BTC": PerpetualRules(0.05, 0.03, 0.00045, _MEMORY),
    "ETH": PerpetualRules(0.05, 0.03, 0.0002, _MEMORY),
    "other": PerpetualRules(0.10, 0.05, 0.0, _MEMORY),
}


class DriftMargin(MarginModel):
    """Drift: a share of each market's notional that grows with the root of its size.

    Both margins grow alike. Positions of an underlying net (spot counts as one, and so does a dated future); markets
    add up. Options, which the venue does not list, pay as perpetuals of their notional that offset nothing. More than
    linear in the book once the size factor binds: size is counted in units of the underlying.

    Parameters
    ----------
    parameters : rules of each underlying, and of any "other" (no size factor, as its unit may be worth anything).
    account_size : USD that one unit of gross notional stands for.
    """

    def __init__(self, parameters: Mapping[str, PerpetualRules] = PARAMETERS, account_size: float = 1e6) -> None:
        self.parameters = parameters
        self.account_size = account_size

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """Initial margin, (P,) in the numeraire."""
        return self.requirement(past, book).initial

    def requirement(self, past: MarketHistory, book: Book) -> Requirement:
        """Initial margin by underlying, and maintenance margin; ParameterError for an account size <= 0."""
        state = past.now
        positions = perpetual_positions(account(book, self.account_size), state)
        value = np.abs(positions.notional)
        size = value / index_prices(state)[positions.column]
        initial, maintenance = value.copy(), value.copy()
        for a, name in enumerate(state.underlyings):
            rules = known_or_other(self.parameters, name)
            own = positions.column == a
            initial[own] *= drift.margin_fraction(size[own], rules.size_factor, rules.initial)
            maintenance[own] *= drift.margin_fraction(size[own], rules.size_factor, rules.maintenance)
        parts = dict(zip(state.underlyings, positions.summed(initial).T, strict=True))
        asked = positions.summed(maintenance).sum(axis=1)
        return requirement(book, state, parts, asked, size=self.account_size)
