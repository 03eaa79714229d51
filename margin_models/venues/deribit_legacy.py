"""What did Deribit's portfolio margin ask before the extended risk matrix?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from data import DataError, Floats
from margin_models.venues.checks import finite, not_negative, parameter, positive
from margin_models.venues.provenance import Provenance

THIRTY_DAYS = 30.0


@dataclass(frozen=True)
class LegacyRules:
    """The parameters of the legacy model.

    Parameters
    ----------
    price_range : largest relative price move, both ways.
    volatility_range : change of implied volatility at 30 days.
    power : exponent of 30 / days.
    option_charge : coin per option: of the net short per strike, or of all options.
    every_option : whether all options are charged, long and short.
    futures_charge : share of futures that offset each other.
    vega_charge : share of vega that offsets across expiries.
    provenance : where they are from.
    """

    price_range: float
    volatility_range: float
    power: float
    option_charge: float
    every_option: bool
    futures_charge: float
    vega_charge: float
    provenance: Provenance

    def __post_init__(self) -> None:
        for name in ("price_range", "volatility_range", "power", "option_charge", "futures_charge", "vega_charge"):
            parameter(name, getattr(self, name), 0.0, 1.0)


_PAGE = Provenance("S", "deribit.com, pages/docs/portfoliomargin")
_EARLIER = Provenance("S", "deribit.com, pages/docs/portfoliomargin, an earlier version")
PARAMETERS: Mapping[str, LegacyRules] = {
    "BTC": LegacyRules(0.10, 0.38, 0.30, 0.01, False, 0.01, 0.0, _PAGE),
    "BTC, earlier": LegacyRules(0.125, 0.40, 0.50, 0.01, True, 0.02, 0.25, _EARLIER),
}
FORMULAS: Mapping[str, Provenance] = {
    "volatility_shock": Provenance("V", "deribit.com, pages/docs/portfoliomargin, 15-day example"),
    "offsetting": _PAGE,
    "option_contingency": _PAGE,
    "contingency": _PAGE,
    "margin": _PAGE,
}


def volatility_shock(days: ArrayLike, rules: LegacyRules) -> Floats:
    """Largest change of implied volatility at these days to expiry, same shape: range (30 / days)^power.

    DataError for days <= 0 or NaN.

    >>> round(float(volatility_shock(15, PARAMETERS["BTC"])), 6)
    0.467835
    """
    return np.asarray(rules.volatility_range * (THIRTY_DAYS / positive("days", days)) ** rules.power)


def offsetting(amount: ArrayLike) -> Floats:
    """How much of the signed amounts (P, E) of each book is held long and short at once, (P,)."""
    each = np.atleast_2d(finite("amount", amount))
    return np.asarray(np.minimum(np.maximum(each, 0.0).sum(axis=1), np.maximum(-each, 0.0).sum(axis=1)))


def option_contingency(quantity: ArrayLike, strike: ArrayLike, rules: LegacyRules) -> Floats:
    """Coin charged for the options of each book, (P,), from quantity (P, N) and strike (N,).

    Per strike, calls and puts net: +10 calls and -20 puts are 10 net short. (An earlier version charged every option.)
    """
    held, at = np.atleast_2d(finite("quantity", quantity)), np.atleast_1d(positive("strike", strike))
    if held.shape[1] != at.size:
        raise DataError(f"quantity must be (P, N) for {at.size} strikes, got {held.shape}")
    if rules.every_option:
        return np.asarray(rules.option_charge * np.abs(held).sum(axis=1))
    levels, index = np.unique(at, return_inverse=True)
    member = (index[:, None] == np.arange(levels.size)).astype(np.float64)
    return np.asarray(rules.option_charge * np.maximum(-(held @ member), 0.0).sum(axis=1))


def contingency(options: ArrayLike, futures: ArrayLike, vega: ArrayLike, rules: LegacyRules) -> Floats:
    """All contingencies of each book in coin, (P,).

    `options` (P,) of `option_contingency`; `futures` (P, E) signed coin of each future; `vega` (P, E) net by expiry.
    """
    charged = rules.futures_charge * offsetting(futures) + rules.vega_charge * offsetting(vega)
    return np.asarray(not_negative("option contingency", options) + charged)


def margin(pnl: ArrayLike, charged: ArrayLike) -> Floats:
    """Maintenance margin of each book in coin, (P,): the largest loss over gains (P, S) plus the contingencies (P,)."""
    gains = np.atleast_2d(finite("pnl", pnl))
    return np.asarray(np.maximum(-gains.min(axis=1), 0.0) + not_negative("contingency", charged))
