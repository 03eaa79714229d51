"""What would Synthetix v3 perpetuals have asked of a book?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from data import Book, Floats, MarketHistory
from margin_models.base import MarginModel, Requirement
from margin_models.venues import synthetix
from margin_models.venues.accounts import account, index_prices, perpetual_positions, requirement
from margin_models.venues.checks import named
from margin_models.venues.provenance import Provenance


@dataclass(frozen=True)
class ListedMarket:
    """A perpetual market's parameters and where they are from."""

    market: synthetix.PerpetualMarket
    provenance: Provenance


_DEPLOYMENT = Provenance(
    "S",
    "Synthetixio/synthetix-deployments, tomls/omnibus-base-mainnet-andromeda/perps; initial factors of SCCP-328",
    "2024",
)
PARAMETERS: Mapping[str, ListedMarket] = {
    "BTC": ListedMarket(synthetix.PerpetualMarket(50_000.0, 1.54, 0.02, 0.28, 50.0, 0.0003), _DEPLOYMENT),
    "ETH": ListedMarket(synthetix.PerpetualMarket(350_000.0, 1.16, 0.02, 0.28, 50.0, 0.0003), _DEPLOYMENT),
}


class SynthetixMargin(MarginModel):
    """Synthetix v3 on Base: a share of each market's notional that grows linearly with size over the skew scale.

    Each open market adds a fixed 50 USD. Positions of an underlying net (spot counts as one, and so does a dated
    future); markets add up. Options, which the venue does not list, pay as perpetuals of their notional that offset
    nothing. The liquidation reward and the fill price's skew premium concern equity and are left out. Not linear in
    the book: sizes are units of the underlying in an account of `account_size`.

    Parameters
    ----------
    parameters : each market's; an underlying that is held and not among them is refused, as a skew scale counts in
        units of the underlying and there is none for a coin of any price.
    account_size : USD that one unit of gross notional stands for.
    """

    def __init__(self, parameters: Mapping[str, ListedMarket] = PARAMETERS, account_size: float = 1e6) -> None:
        self.parameters = parameters
        self.account_size = account_size

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """Initial margin, (P,) in the numeraire."""
        return self.requirement(past, book).initial

    def requirement(self, past: MarketHistory, book: Book) -> Requirement:
        """Initial margin by underlying, and maintenance margin.

        ParameterError for an account size <= 0, or an underlying held that has no market.
        """
        state = past.now
        positions = perpetual_positions(account(book, self.account_size), state)
        index = index_prices(state)
        initial, maintenance = np.zeros((2, len(positions.notional)))
        for a in np.unique(positions.column):
            listed = named(self.parameters, state.underlyings[a])
            own = positions.column == a
            told = synthetix.margins(positions.notional[own] / index[a], index[a], listed.market)
            initial[own], maintenance[own] = told.initial, told.maintenance
        parts = dict(zip(state.underlyings, positions.summed(initial).T, strict=True))
        asked = positions.summed(maintenance).sum(axis=1)
        return requirement(book, state, parts, asked, size=self.account_size)
