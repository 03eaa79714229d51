"""What would Paradex's portfolio margin have asked of a book?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data import Book, Floats, MarketHistory, MarketState
from data.valuation import sensitivities
from margin_models.base import MarginModel, Requirement
from margin_models.revalue import pnl_by_underlying
from margin_models.scenarios import Scenarios, VolTerm
from margin_models.venues import paradex
from margin_models.venues.accounts import bought_and_sold, in_dollars, index_prices, requirement, worst_of

LEAST = "minimum on delta"


@dataclass(frozen=True, eq=False)
class _Scan:
    """Scan risk, its scenario from 1, and the minimum on delta, (P, A) each."""

    risk: Floats
    scenario: NDArray[np.intp]
    least: Floats


class ParadexMargin(MarginModel):
    """Paradex: the worst of 24 weighted scenarios of each underlying, or a minimum on its delta; underlyings add up.

    Adding up is our reading, as the page states its minimum for one underlying. Everything counts in USD: coin-settled
    contracts gain there what linear ones do, and spot is a linear position. Futures and options move with spot at an
    unchanged carry. The provision for funding and fees is 0. Linear in the book.

    Parameters
    ----------
    rules : scenarios and shares.
    """

    def __init__(self, rules: paradex.PortfolioRules = paradex.PARAMETERS["portfolio margin"]) -> None:
        self.rules = rules

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """Initial margin, (P,) in the numeraire."""
        return self.requirement(past, book).initial

    def requirement(self, past: MarketHistory, book: Book) -> Requirement:
        """Both margins from one scan, by underlying; what is worst in the underlying that asks most."""
        state = past.now
        scan = self._scan(book, state)
        told = paradex.margins(scan.risk, scan.least, rules=self.rules)
        names = tuple(f"{name}: {what}" for name in state.underlyings for what in (LEAST, *self.scenarios(1).names))
        top = told.initial.argmax(axis=1)
        rows = np.arange(len(top))
        scanned = scan.risk[rows, top] >= scan.least[rows, top]
        place = top * (len(self.rules.scenarios) + 1) + np.where(scanned, scan.scenario[rows, top], 0)
        parts = dict(zip(state.underlyings, told.initial.T, strict=True))
        worst = worst_of(names, place, told.initial.sum(axis=1))
        return requirement(book, state, parts, told.maintenance.sum(axis=1), worst)

    def scenarios(self, underlyings: int) -> Scenarios:
        """The venue's scenarios, the same for every underlying; weights are applied by the venue's own function."""
        rules = self.rules
        vol = np.array([scenario.volatility for scenario in rules.scenarios])
        names = tuple(f"price {s.spot:+.0%}, volatility {s.volatility:+.0%}" for s in rules.scenarios)
        term = VolTerm(rules.short_power, rules.long_power, rules.least_days)
        across = (1, underlyings)
        return Scenarios(
            np.tile(paradex.spot_moves(rules)[:, None], across), np.tile(vol[:, None], across), names, term=term
        )

    def _scan(self, book: Book, state: MarketState) -> _Scan:
        dollars, index = in_dollars(state), index_prices(state)
        gains = pnl_by_underlying(book, dollars, self.scenarios(len(index)))
        delta = book.known(sensitivities(book.listing, state), state)
        risk, least = np.zeros((2, *gains.shape[:2]))
        scenario = np.zeros(gains.shape[:2], dtype=np.intp)
        up, down = bought_and_sold(book, np.maximum(delta, 0.0), np.maximum(delta, 0.0), state)
        back_down, back_up = bought_and_sold(book, np.maximum(-delta, 0.0), np.maximum(-delta, 0.0), state)
        for a, price in enumerate(index):
            risk[:, a], scenario[:, a] = paradex.scan_risk(gains[:, a], self.rules)
            # Net and gross are all that counts, so that each side may go in as one position.
            sides = np.stack([up[:, a] + back_up[:, a], -(down[:, a] + back_down[:, a])], axis=1)
            least[:, a] = paradex.delta_margin(sides / price, price, self.rules).margin
        return _Scan(risk, scenario, least)
