"""How does OKX's portfolio margin add up its charges MR1 to MR9?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from data import DataError, Floats, ParameterError
from margin_models.venues.checks import finite, named, not_negative, parameter
from margin_models.venues.margins import Margins
from margin_models.venues.provenance import Provenance


@dataclass(frozen=True)
class RiskUnit:
    """Price moves of an underlying's risk unit and the move of its basis.

    Parameters
    ----------
    moves : relative price moves of the spot shock (MR1), one side; 0 and the other side belong to the grid too.
    extreme : relative price move of the extreme move (MR6), both sides.
    basis : annualised move of the basis (MR4).
    provenance : where they are from.
    """

    moves: tuple[float, ...]
    extreme: float
    basis: float
    provenance: Provenance

    def __post_init__(self) -> None:
        for name, value in (
            *(("moves", move) for move in self.moves),
            ("extreme", self.extreme),
            ("basis", self.basis),
        ):
            parameter(name, value, 0.0, 1.0)


@dataclass(frozen=True)
class MinimumCharge:
    """Multipliers of the raw minimum charge (MR7): `multiplier[k]` on the part up to `bound[k]` USD, the last above."""

    bound: tuple[float, ...]
    multiplier: tuple[float, ...]
    provenance: Provenance

    def __post_init__(self) -> None:
        rising = all(low < high for low, high in zip((0.0, *self.bound), self.bound, strict=False))
        if not rising or len(self.multiplier) != len(self.bound) + 1:
            raise ParameterError(
                f"tiers need rising bounds and one multiplier more, got {self.bound} {self.multiplier}"
            )


@dataclass(frozen=True)
class Charges:
    """The charges of each risk unit, (P,) or scalars, in USD, all >= 0; `minimum` (MR7) is after its multipliers."""

    spot_shock: ArrayLike = 0.0  # MR1
    theta_decay: ArrayLike = 0.0  # MR2
    vega_term: ArrayLike = 0.0  # MR3
    basis: ArrayLike = 0.0  # MR4
    interest_rate: ArrayLike = 0.0  # MR5
    extreme_move: ArrayLike = 0.0  # MR6
    minimum: ArrayLike = 0.0  # MR7
    stablecoin: ArrayLike = 0.0  # MR9


_JANUARY = Provenance("S", "OKX will further adjust portfolio margin parameters", "2025-01-06")
PARAMETERS: Mapping[str, RiskUnit] = {
    "BTC, ETH": RiskUnit((0.04, 0.08, 0.12), 0.24, 0.05, _JANUARY),
    "majors": RiskUnit((0.06, 0.12, 0.18), 0.36, 0.15, _JANUARY),
    "others": RiskUnit((0.08, 0.16, 0.25), 0.50, 0.30, _JANUARY),
}
MINIMUM_CHARGE = MinimumCharge(
    (10_000.0, 70_000.0, 170_000.0, 300_000.0, 470_000.0, 700_000.0), (1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0), _JANUARY
)
# Not found in a page of the venue's.
INITIAL_OVER_MAINTENANCE = 1.3

_COMPOSITION = Provenance("S", "OKX will update margin calculation rules for the portfolio margin mode", "2024-12-30")
FORMULAS: Mapping[str, Provenance] = {
    "risk_unit": _JANUARY,
    "spot_moves": _JANUARY,
    "extreme_moves": _JANUARY,
    "scan_risk": _COMPOSITION,
    "minimum_charge": Provenance("S", "OKX adjusts scaling factor logic in portfolio margin mode, worked example"),
    "maintenance_margin": _COMPOSITION,
    "margins": Provenance("M", "initial = 1.3 maintenance, unconfirmed"),
}


def risk_unit(name: str) -> RiskUnit:
    """The parameters of this class of underlyings; ParameterError for one that is not known."""
    return named(PARAMETERS, name)


def spot_moves(unit: RiskUnit) -> Floats:
    """Price moves of MR1 from the lowest to the highest, 0 among them, (S,).

    >>> spot_moves(risk_unit("BTC, ETH"))
    array([-0.12, -0.08, -0.04,  0.  ,  0.04,  0.08,  0.12])
    """
    up = np.array(unit.moves)
    return np.concatenate([-up[::-1], [0.0], up])


def extreme_moves(unit: RiskUnit) -> Floats:
    """The two price moves of MR6, (2,)."""
    return np.array([-unit.extreme, unit.extreme])


def scan_risk(pnl: ArrayLike) -> Floats:
    """Largest loss over the scenarios, (P,) >= 0, from gains (P, S): MR1 and MR6 are such."""
    gains = np.atleast_2d(finite("pnl", pnl))
    if gains.shape[-1] == 0:
        raise DataError("scan risk needs at least one scenario, got none")
    return np.asarray(np.maximum(-gains.min(axis=-1), 0.0))


def minimum_charge(raw: ArrayLike, tiers: MinimumCharge = MINIMUM_CHARGE) -> Floats:
    """MR7 from the raw minimum charge in USD, same shape: each tier's multiplier on the part that lies in the tier.

    >>> minimum_charge(30_000.0)
    array(50000.)
    """
    charge = not_negative("raw minimum charge", raw)
    low, high = np.array([0.0, *tiers.bound]), np.array([*tiers.bound, np.inf])
    part = np.clip(charge[..., None], low, high) - low
    return np.asarray(part @ np.array(tiers.multiplier))


def maintenance_margin(charges: Charges) -> Floats:
    """max(max(MR1, MR2, MR6) + MR3 + MR4 + MR5, MR7) + MR9 in USD; DataError for a charge that is negative or NaN."""
    mr = {name: not_negative(name, value) for name, value in vars(charges).items()}
    market = np.maximum(np.maximum(mr["spot_shock"], mr["theta_decay"]), mr["extreme_move"])
    risk = market + mr["vega_term"] + mr["basis"] + mr["interest_rate"]
    return np.asarray(np.maximum(risk, mr["minimum"]) + mr["stablecoin"])


def margins(charges: Charges) -> Margins:
    """Initial (1.3 times maintenance: from memory, unconfirmed) and maintenance margin in USD."""
    maintenance = maintenance_margin(charges)
    return Margins(np.asarray(INITIAL_OVER_MAINTENANCE * maintenance), maintenance)
