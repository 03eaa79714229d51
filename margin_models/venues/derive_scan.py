"""What are Derive's scenarios, and what is each of its options worth in them?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from data import Floats, ParameterError
from data.pricing import black76
from margin_models.venues.checks import parameter
from margin_models.venues.derive_feeds import Expiries, Options

MONTH_SECONDS = 30 * 86_400
BASIS = "basis contingency"


class Shock(Enum):
    """What a scenario does to implied volatility."""

    DOWN = "volatility down"
    NONE = "volatility unchanged"
    UP = "volatility up"
    LINEAR = "linear skew"
    ABSOLUTE = "absolute skew"

    @property
    def skews(self) -> bool:
        """Whether it changes the smile's shape and leaves spot alone."""
        return self in (Shock.LINEAR, Shock.ABSOLUTE)


@dataclass(frozen=True)
class Scenario:
    """Spot times `spot` (1.18 is up 18 %), volatility as `shock` says; `dampening` is the share of P&L that counts."""

    spot: float
    shock: Shock
    dampening: float = 1.0

    def __post_init__(self) -> None:
        parameter("spot", self.spot, 0.0)
        parameter("dampening", self.dampening, 0.0)

    @property
    def name(self) -> str:
        """How a report calls it."""
        return f"spot {100 * (self.spot - 1):+.3g} %, {self.shock.value}"


@dataclass(frozen=True)
class VolatilityRules:
    """How a shock of 30-day volatility spreads to other tenors.

    Parameters
    ----------
    up, down : relative change of volatility at 30 days.
    short_power, long_power : exponent of 30 / days up to 30 days to expiry, and beyond.
    least_days : days to expiry are floored here.
    least_up : volatility shocked up is at least this.
    """

    up: float
    down: float
    short_power: float = 0.30
    long_power: float = 0.13
    least_days: float = 1.0
    least_up: float = 0.0

    def __post_init__(self) -> None:
        for name in ("up", "down", "least_days", "least_up"):
            parameter(name, getattr(self, name), 0.0)

    def scale(self, expiries: Expiries) -> Floats:
        """What the change at 30 days is multiplied with, (E,)."""
        power = np.where(expiries.seconds <= MONTH_SECONDS, self.short_power, self.long_power)
        floored = np.maximum(expiries.seconds, self.least_days * 86_400)
        if not (floored > 0).all():
            raise ParameterError(f"least_days must be > 0 where an option expires now, got {self.least_days}")
        return np.asarray((MONTH_SECONDS / floored) ** power)

    def multiplier(self, shock: Shock, expiries: Expiries) -> Floats:
        """What volatility is multiplied with, (E,); 1 for a skew, which is no matter of the tenor alone."""
        if shock is Shock.UP:
            return 1.0 + self.up * self.scale(expiries)
        if shock is Shock.DOWN:
            return np.maximum(1.0 - self.down * self.scale(expiries), 0.0)
        return np.ones(len(expiries))


@dataclass(frozen=True)
class BasisRules:
    """Each expiry's forward moved alone, times `up` and times `down`; add + per_year T of the worse loss counts."""

    up: float
    down: float
    add: float
    per_year: float

    def __post_init__(self) -> None:
        parameter("up", self.up, 1.0)
        parameter("down", self.down, 0.0, 1.0)
        parameter("add", self.add, 0.0)
        parameter("per_year", self.per_year, 0.0)

    def contingency(self, now: Floats, up: Floats, down: Floats, expiries: Expiries) -> Floats:
        """P&L <= 0 of the basis contingency, (...), from the values of each expiry, (..., E) each."""
        worse = np.minimum(np.minimum(up, down) - now, 0.0)
        return np.asarray((worse * (self.add + self.per_year * expiries.tenor)).sum(axis=-1))


@dataclass(frozen=True, eq=False)
class UnitValues:
    """What one of each option is worth in USD: now (N,), in the scenarios (N, S), with the basis up and down (N,)."""

    now: Floats
    shocked: Floats
    basis_up: Floats
    basis_down: Floats


@dataclass(frozen=True, eq=False)
class ScanMargin:
    """The margin of each account and its parts, (...) each in USD unless said otherwise; P&L > 0 is a gain.

    Parameters
    ----------
    initial, maintenance : net margin by the venue's convention: >= 0 is healthy, < 0 is cash missing.
    mark_to_market : of everything, cash included.
    values : the parts of `mark_to_market`.
    scenario_pnl : (..., S).
    basis : P&L of the basis contingency.
    worst : the place of the worst scenario, S where the basis contingency is the worst.
    initial_factor, maintenance_factor : what multiplies the worst P&L.
    maintenance_contingencies, initial_contingencies : subtracted from both margins, and from the initial one besides.
    names : of the scenarios and the basis contingency, (S + 1,).
    """

    initial: Floats
    maintenance: Floats
    mark_to_market: Floats
    values: Mapping[str, Floats]
    scenario_pnl: Floats
    basis: Floats
    worst: NDArray[np.intp]
    initial_factor: float
    maintenance_factor: float
    maintenance_contingencies: Mapping[str, Floats]
    initial_contingencies: Mapping[str, Floats]
    names: tuple[str, ...]

    @property
    def worst_pnl(self) -> Floats:
        """The worst P&L before factors and contingencies, (...)."""
        return np.asarray(np.minimum(self.scenario_pnl.min(axis=-1), self.basis))

    @property
    def worst_scenario(self) -> NDArray[np.str_]:
        """Its name, (...)."""
        return np.asarray(np.array(self.names)[self.worst])


def names(scenarios: Sequence[Scenario]) -> tuple[str, ...]:
    """Names of the scenarios in their order and, last, of the basis contingency."""
    return (*(scenario.name for scenario in scenarios), BASIS)


def worst_place(scenario_pnl: Floats, basis: Floats) -> NDArray[np.intp]:
    """Where the least P&L is, (...), from (..., S) and (...): the first of several, S where none is below the basis."""
    first = scenario_pnl.argmin(axis=-1)
    return np.asarray(np.where(scenario_pnl.min(axis=-1) < basis, first, scenario_pnl.shape[-1]), dtype=np.intp)


def reprice(
    options: Options, expiries: Expiries, discount: Floats, scenarios: Sequence[Scenario], volatility: Floats
) -> Floats:
    """USD value of one of each option in each scenario, (N, S): Black-76 on variable * spot + fixed, discounted.

    `discount` (E,) and `volatility` (N, S), already shocked. DataError for a volatility < 0, or a forward of 0.
    """
    at = options.expiry
    if not len(options):
        return np.zeros((0, len(scenarios)))
    spot = np.array([1.0 if scenario.shock.skews else scenario.spot for scenario in scenarios])
    forward = expiries.variable[at, None] * spot + expiries.fixed[at, None]
    deviation = volatility * np.sqrt(expiries.tenor)[at, None]
    return discount[at, None] * black76(forward, options.strike[:, None], deviation, options.call[:, None])


def confidence_share(confidence: Floats, threshold: float, factor: float) -> Floats:
    """Share of notional charged for feeds so sure: (1 - confidence) factor below the threshold, any shape."""
    return np.asarray(np.where(confidence < threshold, (1.0 - confidence) * factor, 0.0))
