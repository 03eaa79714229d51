"""What does Paradex's portfolio margin ask (24 weighted scenarios, or a minimum on delta)?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data import DataError, Floats
from margin_models.venues.checks import finite, not_negative, parameter, positive
from margin_models.venues.margins import Margins
from margin_models.venues.provenance import Provenance

THIRTY_DAYS = 30.0


@dataclass(frozen=True)
class Scenario:
    """A relative move of spot, a relative move of 30-day implied volatility, and what part of the gain counts."""

    spot: float
    volatility: float
    weight: float = 1.0


@dataclass(frozen=True)
class PortfolioRules:
    """What a portfolio is charged by.

    Parameters
    ----------
    scenarios : in published order.
    short_power, long_power : exponent of 30 / days below 30 days to expiry, and from there on.
    least_days : days to expiry are floored here.
    net, hedged : share of spot charged on net and on hedged delta.
    maintenance : share of the net requirement that is maintenance margin.
    provenance : where they are from.
    """

    scenarios: tuple[Scenario, ...]
    short_power: float
    long_power: float
    least_days: float
    net: float
    hedged: float
    maintenance: float
    provenance: Provenance

    def __post_init__(self) -> None:
        for name in ("short_power", "long_power", "net", "hedged", "maintenance"):
            parameter(name, getattr(self, name), 0.0, 1.0)
        parameter("least_days", self.least_days, 0.0)


UP, DOWN = 0.40, -0.22
# The tails' weights are 16 % over the move, as printed.
TAILS = ((-0.66, 0.24), (-0.33, 0.48), (0.5, 0.32), (1.0, 0.16), (2.0, 0.08), (3.0, 0.0533), (4.0, 0.04), (5.0, 0.032))


def _published() -> tuple[Scenario, ...]:
    inner = [Scenario(step / 100, shock) for step in (12, 8, 4, 0, -4, -8, -12) for shock in (UP, DOWN)]
    return (Scenario(0.16, UP), *inner, Scenario(-0.16, UP), *(Scenario(move, UP, weight) for move, weight in TAILS))


_PAGE = Provenance("S", "docs.paradex.trade, risk, portfolio margin")
PARAMETERS: Mapping[str, PortfolioRules] = {
    "portfolio margin": PortfolioRules(_published(), 0.30, 0.13, 1.0, 0.02, 0.01, 0.50, _PAGE),
}
FORMULAS: Mapping[str, Provenance] = dict.fromkeys(
    ("spot_moves", "shocked_volatility", "scan_risk", "delta_margin", "margins"), _PAGE
)
_RULES = PARAMETERS["portfolio margin"]


@dataclass(frozen=True)
class DeltaMargin:
    """Net, gross and hedged delta of each book, (P,) in units of the underlying, and the margin on them in USD."""

    net: Floats
    gross: Floats
    hedged: Floats
    margin: Floats


def spot_moves(rules: PortfolioRules = _RULES) -> Floats:
    """Relative move of spot in each scenario, (S,)."""
    return np.array([scenario.spot for scenario in rules.scenarios])


def shocked_volatility(volatility: ArrayLike, days: ArrayLike, rules: PortfolioRules = _RULES) -> Floats:
    """Implied volatility of each instrument in each scenario, (N, S), from volatility and days to expiry (N,).

    v (1 + shock (30 / max(1, days))^p), p = 0.30 below 30 days and 0.13 from there on. DataError for a volatility or
    days < 0, or NaN.
    """
    level, tenor = np.atleast_1d(not_negative("volatility", volatility)), np.atleast_1d(not_negative("days", days))
    power = np.where(tenor < THIRTY_DAYS, rules.short_power, rules.long_power)
    scale = (THIRTY_DAYS / np.maximum(tenor, rules.least_days)) ** power
    shock = np.array([scenario.volatility for scenario in rules.scenarios])
    return np.asarray(level[:, None] * np.maximum(1.0 + scale[:, None] * shock, 0.0))


def scan_risk(pnl: ArrayLike, rules: PortfolioRules = _RULES) -> tuple[Floats, NDArray[np.intp]]:
    """Largest weighted loss of each book, (P,) >= 0, and its scenario counted from 1, from gains (P, S) in USD."""
    gains = np.atleast_2d(finite("pnl", pnl))
    weight = np.array([scenario.weight for scenario in rules.scenarios])
    if gains.shape[-1] != weight.size:
        raise DataError(f"gains must be (P, {weight.size}), one column a scenario, got {gains.shape}")
    weighted = gains * weight
    return np.maximum(-weighted.min(axis=1), 0.0), weighted.argmin(axis=1) + 1


def delta_margin(delta: ArrayLike, spot: ArrayLike, rules: PortfolioRules = _RULES) -> DeltaMargin:
    """The minimum on delta of each book from the deltas of its positions, (P, N) or (N,), in units of the underlying.

    (2 % |net| + 1 % hedged) spot, where hedged = (gross - |net|) / 2. DataError for a spot <= 0 or NaN.

    >>> delta_margin([1.0, -1.5], 70_000.0).margin
    array([1400.])
    """
    each = np.atleast_2d(finite("delta", delta))
    net, gross = each.sum(axis=1), np.abs(each).sum(axis=1)
    hedged = 0.5 * (gross - np.abs(net))
    return DeltaMargin(net, gross, hedged, (rules.net * np.abs(net) + rules.hedged * hedged) * positive("spot", spot))


def margins(scan: ArrayLike, least: ArrayLike, provision: ArrayLike = 0.0, rules: PortfolioRules = _RULES) -> Margins:
    """Initial max(scan, least) + provision and maintenance half of the maximum + provision, (P,), in USD.

    `provision` is the funding of the next 8 hours plus the fees of closing out. DataError for what is negative or NaN.
    """
    required = np.maximum(not_negative("scan risk", scan), not_negative("delta margin", least))
    extra = not_negative("provision", provision)
    return Margins(np.asarray(required + extra), np.asarray(rules.maintenance * required + extra))
