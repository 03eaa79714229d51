"""What would dYdX v4 have asked of a book?"""

from collections.abc import Mapping

import numpy as np

from data import Book, Floats, MarketHistory
from margin_models.base import MarginModel, Requirement
from margin_models.venues import dydx
from margin_models.venues.accounts import perpetual_positions, requirement
from margin_models.venues.checks import named
from margin_models.venues.dydx import LiquidityTier

GENESIS_TIERS: Mapping[str, str] = {"BTC": "large", "ETH": "large"}


class DydxMargin(MarginModel):
    """dYdX v4: a share of each market's notional, set by its liquidity tier and raised with its open interest.

    Positions of an underlying net (spot counts as one, and so does a dated future); markets add up. Options, which the
    venue does not list, pay as perpetuals of their notional that offset nothing. On-chain rounding is left out. Linear
    in the book, as open interest is the market's and not the account's.

    Parameters
    ----------
    tiers : name of the liquidity tier of each underlying.
    other : that of an underlying not among them: the widest tier that is not a safety measure.
    open_interest : USD, of every market; a replay knows none, and 0 leaves margins at their base.
    parameters : the tiers by name.
    """

    def __init__(
        self,
        tiers: Mapping[str, str] = GENESIS_TIERS,
        other: str = "long-tail",
        open_interest: float = 0.0,
        parameters: Mapping[str, LiquidityTier] = dydx.PARAMETERS,
    ) -> None:
        self.tiers = tiers
        self.other = other
        self.open_interest = open_interest
        self.parameters = parameters

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """Initial margin, (P,) in the numeraire."""
        return self.requirement(past, book).initial

    def requirement(self, past: MarketHistory, book: Book) -> Requirement:
        """Initial margin by underlying, and maintenance margin; ParameterError for a tier that is not known."""
        state = past.now
        rules = [self._tier(name) for name in state.underlyings]
        initial = np.array([float(dydx.initial_fraction(self.open_interest, rule)) for rule in rules])
        maintenance = np.array([rule.initial * rule.maintenance / dydx.MILLION**2 for rule in rules])
        positions = perpetual_positions(book, state)
        gross = positions.summed(np.abs(positions.notional))
        parts = dict(zip(state.underlyings, (gross * initial).T, strict=True))
        return requirement(book, state, parts, gross @ maintenance)

    def _tier(self, underlying: str) -> LiquidityTier:
        return named(self.parameters, self.tiers.get(underlying, self.other))
