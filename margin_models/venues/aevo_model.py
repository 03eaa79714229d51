"""What would Aevo's standard margin have asked of a book?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from data import Book, Floats, MarketHistory, MarketState
from data.valuation import unit_values
from margin_models.base import MarginModel, Requirement
from margin_models.venues import aevo
from margin_models.venues.accounts import bought_and_sold, in_dollars, index_prices, requirement
from margin_models.venues.checks import parameter
from margin_models.venues.provenance import Provenance


@dataclass(frozen=True)
class Perpetual:
    """Initial and maintenance margin of a perpetual, shares of notional."""

    initial: float
    maintenance: float
    provenance: Provenance

    def __post_init__(self) -> None:
        parameter("initial", self.initial, self.maintenance, 1.0)
        parameter("maintenance", self.maintenance, 0.0, 1.0)


PARAMETERS: Mapping[str, Perpetual] = {
    "perpetual": Perpetual(0.05, 0.03, Provenance("S", "docs.aevo.xyz, ETH perpetual futures; other coins not read")),
}


class AevoMargin(MarginModel):
    """Aevo's standard margin: each short option by how far out of the money it is, perpetuals by notional.

    An option sold posts max(15 % - out-of-the-money share, 10 %) of spot, 10 % for maintenance; its mark is left out,
    as the account's value holds it. An option bought is paid in full and lends nothing to the rest of the account: it
    posts its premium, which is the most it can lose. Nothing offsets but linear contracts of one underlying, spot
    among them. Coin-settled options pay as those in USD. Linear in the book.

    Parameters
    ----------
    options, perpetual : what is charged.
    """

    def __init__(
        self,
        options: aevo.ShortOption = aevo.PARAMETERS["standard"],
        perpetual: Perpetual = PARAMETERS["perpetual"],
    ) -> None:
        self.options = options
        self.perpetual = perpetual

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """Initial margin, (P,) in the numeraire."""
        return self.requirement(past, book).initial

    def requirement(self, past: MarketHistory, book: Book) -> Requirement:
        """Linear contracts, options bought and options sold; DataError where something held has no price."""
        state = past.now
        linear = np.abs(book.linear_exposure(in_dollars(state))).sum(axis=1)
        bought, initial, maintenance = self._options(book, state)
        parts = {
            "linear": self.perpetual.initial * linear,
            "options bought": bought,
            "options sold": initial,
        }
        return requirement(book, state, parts, self.perpetual.maintenance * linear + bought + maintenance)

    def _options(self, book: Book, state: MarketState) -> tuple[Floats, Floats, Floats]:
        """Premium of what is bought, and both margins of what is sold, (P,) each."""
        listing, option = book.listing, book.listing.option
        if not option.any():
            none = np.zeros(len(book.portfolios))
            return none, none, none
        premium = np.where(option, book.known(np.where(option, unit_values(listing, state), 0.0), state), 0.0)
        spot = index_prices(state)[listing.columns(state.underlyings)]
        strike = np.where(option, listing.strike, spot)
        told = aevo.short_option_margin(-1.0, spot, strike, listing.call, 0.0, self.options)
        worth = np.where(option & (state.spot[listing.columns(state.underlyings)] > 0), listing.multiplier, 0.0)
        bought, initial = bought_and_sold(book, premium, told.initial * worth, state)
        _, maintenance = bought_and_sold(book, premium, told.maintenance * worth, state)
        return bought.sum(axis=1), initial.sum(axis=1), maintenance.sum(axis=1)
