"""What would the published part of OKX's portfolio margin have asked of a book?"""

from collections.abc import Mapping

import numpy as np

from data import Book, Floats, MarketHistory
from margin_models.base import MarginModel, Requirement
from margin_models.revalue import pnl_by_underlying
from margin_models.scenarios import Scenarios
from margin_models.venues import okx
from margin_models.venues.accounts import in_dollars, requirement
from margin_models.venues.checks import named, parameter

CLASSES: Mapping[str, str] = {"BTC": "BTC, ETH", "ETH": "BTC, ETH"}


class OkxMargin(MarginModel):
    """OKX, as far as it is published: the worst price move of each risk unit (MR1), or its extreme move (MR6).

    Each underlying is a risk unit of its own, spot, linear and coin-settled contracts together, counted in USD; units
    add up. Left out, because no page with the figures or the formula was read: the volatility moves of MR1, theta decay
    (MR2), the vega term (MR3), the basis (MR4, of which only the annualised move is known), interest (MR5), the minimum
    charge (MR7, of which only the multipliers are known) and stablecoins (MR9). Options therefore post too little.
    That initial is 1.3 times maintenance is unconfirmed, and so is that all of the extreme move's loss counts. Linear
    in the book.

    Parameters
    ----------
    classes : the parameter set of each underlying.
    other : that of an underlying not among them.
    extreme_share : what part of the loss in the extreme move counts.
    parameters : the sets by name.
    """

    def __init__(
        self,
        classes: Mapping[str, str] = CLASSES,
        other: str = "others",
        extreme_share: float = 1.0,
        parameters: Mapping[str, okx.RiskUnit] = okx.PARAMETERS,
    ) -> None:
        self.classes = classes
        self.other = other
        self.extreme_share = extreme_share
        self.parameters = parameters

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """Initial margin, (P,) in the numeraire."""
        return self.requirement(past, book).initial

    def requirement(self, past: MarketHistory, book: Book) -> Requirement:
        """Both margins from one scan, initial margin by risk unit; ParameterError for what is out of range."""
        parameter("extreme_share", self.extreme_share, 0.0, 1.0)
        state = past.now
        units = [named(self.parameters, self.classes.get(name, self.other)) for name in state.underlyings]
        gains = pnl_by_underlying(book, in_dollars(state), _scenarios(units))
        initial, maintenance = np.zeros((2, *gains.shape[:2]))
        for a in range(len(units)):
            charges = okx.Charges(
                spot_shock=okx.scan_risk(gains[:, a, :-2]),
                extreme_move=self.extreme_share * okx.scan_risk(gains[:, a, -2:]),
            )
            initial[:, a], maintenance[:, a] = okx.margins(charges)
        parts = dict(zip(state.underlyings, initial.T, strict=True))
        return requirement(book, state, parts, maintenance.sum(axis=1))


def _scenarios(units: list[okx.RiskUnit]) -> Scenarios:
    """The moves of MR1 and, last, the two of MR6, each underlying by its own unit; moves that one lacks are 0."""
    most = max(len(okx.spot_moves(unit)) for unit in units)
    columns = []
    for unit in units:
        moves = okx.spot_moves(unit)
        columns.append(np.concatenate([moves, np.zeros(most - len(moves)), okx.extreme_moves(unit)]))
    spot = np.stack(columns, axis=1)
    return Scenarios(spot, np.zeros_like(spot), (*(f"MR1 {n + 1}" for n in range(most)), "MR6 down", "MR6 up"))
