"""What would a Vega market have asked of a book?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from data import Book, Coverage, Floats, HistoryError, MarketHistory
from margin_models.base import MarginModel, Requirement
from margin_models.venues import vega
from margin_models.venues.accounts import index_prices, perpetual_positions, requirement
from margin_models.venues.checks import parameter
from margin_models.venues.provenance import Provenance


@dataclass(frozen=True)
class MarketRules:
    """What a market is proposed with.

    Parameters
    ----------
    tail : risk aversion, the probability beyond which losses are averaged.
    tau : years over which a position may have to be closed out.
    slippage : share of the mark price that closing costs where the order book is not known.
    levels : what maintenance margin is multiplied by for the further levels.
    provenance : where they are from.
    """

    tail: float
    tau: float
    slippage: float
    levels: vega.Levels
    provenance: Provenance

    def __post_init__(self) -> None:
        parameter("tail", self.tail, 1e-12, 1.0 - 1e-12)
        parameter("tau", self.tau, 1e-12)
        parameter("slippage", self.slippage, 0.0, 1.0)


_FEATURES = Provenance("S", "vegaprotocol/vega, core/integration/features/verified, a test market; slippage our choice")
PARAMETERS: Mapping[str, MarketRules] = {
    "test market": MarketRules(1e-6, 0.001, 0.001, vega.Levels(1.2, 1.5, 1.7), _FEATURES),
}


class VegaMargin(MarginModel):
    """Vega: lognormal expected shortfall of each market at a volatility learned from the window, times a factor.

    The risk factor of a long and of a short differ. Positions of an underlying net (spot counts as one, and so does a
    dated future); markets add up. Options, which the venue does not list, pay as perpetuals of their notional that
    offset nothing. A history has no order book, so that slippage is its linear share, and there are no open orders.
    Linear in the book.

    Parameters
    ----------
    rules : of every market; each real one states its own.
    drift : of the price, a year.

    Attributes
    ----------
    volatility_ : (A,) annual standard deviation of horizon returns; NaN where an underlying has fewer than two.
    """

    def __init__(self, rules: MarketRules = PARAMETERS["test market"], drift: float = 0.0) -> None:
        self.rules = rules
        self.drift = drift

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Learn `volatility_`."""
        returns = past.returns(coverage)
        self.volatility_ = np.full(len(past.underlyings), np.nan)
        for a, column in enumerate(returns.T):
            moves = column[np.isfinite(column)]
            if len(moves) > 1:
                self.volatility_[a] = moves.std(ddof=1) / np.sqrt(coverage.years)
        return super().fit(past, coverage)

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """Initial margin, (P,) in the numeraire."""
        return self.requirement(past, book).initial

    def requirement(self, past: MarketHistory, book: Book) -> Requirement:
        """Initial margin by underlying, and maintenance margin; HistoryError where a held one has no volatility."""
        parameter("drift", self.drift, -100.0, 100.0)  # a year: e to that power is a number
        state, rules = past.now, self.rules
        positions = perpetual_positions(book, state)
        volatility = self.volatility_[positions.column]
        for column in positions.column[np.isnan(volatility)]:
            raise HistoryError(f"{state.underlyings[column]} is held but had fewer than two returns to learn from")
        mark = index_prices(state)[positions.column]
        factors = vega.risk_factors(rules.tail, rules.tau, self.drift, volatility)
        alone = vega.maintenance_margin(
            positions.notional / mark, (0.0, 0.0), (np.inf, np.inf), mark, factors, rules.slippage
        )
        asked = positions.summed(alone)
        parts = dict(zip(state.underlyings, (rules.levels.initial * asked).T, strict=True))
        return requirement(book, state, parts, asked.sum(axis=1))
