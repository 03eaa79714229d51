"""What did Derive's first portfolio margin (PMRM) ask?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from data import DataError, Floats
from margin_models.venues.checks import finite, named, not_negative, parameter
from margin_models.venues.derive_feeds import Expiries, Market, Options, by_expiry
from margin_models.venues.derive_scan import (
    BasisRules,
    ScanMargin,
    Scenario,
    Shock,
    UnitValues,
    VolatilityRules,
    confidence_share,
    names,
    reprice,
    worst_place,
)
from margin_models.venues.provenance import Provenance


@dataclass(frozen=True)
class StaticRules:
    """What is charged beyond scenarios, as shares of notional at spot, and the discount of option values.

    Parameters
    ----------
    base, perpetual, option : of the base asset held, of perpetuals and of naked short options.
    peg_threshold, peg_factor : the initial factor grows by peg_factor times what the stablecoin lacks to the threshold.
    confidence_threshold, confidence_factor : (1 - confidence) factor of notional where feeds are less sure than that.
    discount : an expiry worth more than 0 counts with this share of its value at no tenor,
    rate, rate_add : falling at the rate times `rate` plus `rate_add`.
    """

    base: float
    perpetual: float
    option: float
    peg_threshold: float
    peg_factor: float
    confidence_threshold: float
    confidence_factor: float
    discount: float
    rate: float
    rate_add: float

    def __post_init__(self) -> None:
        for name in vars(self):
            parameter(name, getattr(self, name), 0.0)


@dataclass(frozen=True)
class PortfolioRules:
    """Everything that PMRM charges by; `initial` multiplies the worst P&L and the static contingency."""

    scenarios: tuple[Scenario, ...]
    volatility: VolatilityRules
    basis: BasisRules
    static: StaticRules
    initial: float
    provenance: Provenance

    def __post_init__(self) -> None:
        parameter("number of scenarios", len(self.scenarios), 1)
        parameter("initial", self.initial, 0.0)
        parameter("number of skew scenarios", sum(scenario.shock.skews for scenario in self.scenarios), 0, 0)


def grid(moves: tuple[float, ...]) -> tuple[Scenario, ...]:
    """Volatility up, unchanged and down at each move of spot, from the highest down."""
    shocks = (Shock.UP, Shock.NONE, Shock.DOWN)
    return tuple(Scenario(1.0 + move, shock) for move in sorted(moves, reverse=True) for shock in shocks)


_GRID = grid((0.0, 0.05, 0.10, 0.15, -0.05, -0.10, -0.15))
_VECTORS = Provenance(
    "V", "derivexyz/v2-core at 7736900, test/risk-managers/unit-tests/PMRM/testAndVerifyScenarios.json", "2023"
)
_SCRIPT = Provenance("S", "derivexyz/v2-core at f469730, scripts/config-mainnet.sol; docs.derive.xyz, Portfolio Margin")
PARAMETERS: Mapping[str, PortfolioRules] = {
    "test vectors": PortfolioRules(
        _GRID,
        VolatilityRules(0.45, 0.3),
        BasisRules(1.05, 0.95, 0.25, 0.01),
        StaticRules(0.02, 0.02, 0.01, 0.98, 2.0, 0.6, 0.5, 0.95, 4.0, 0.05),
        1.3,
        _VECTORS,
    ),
    "mainnet script": PortfolioRules(
        (Scenario(1.2, Shock.UP), *_GRID, Scenario(0.8, Shock.UP)),
        VolatilityRules(0.6, 0.3),
        BasisRules(1.05, 0.95, 1.0, 1.2),
        StaticRules(0.03, 0.03, 0.02, 0.99, 4.0, 0.55, 1.0, 0.95, 1.0, 0.12),
        1.25,
        _SCRIPT,
    ),
}
FORMULAS: Mapping[str, Provenance] = {
    **dict.fromkeys(("unit_values", "static_discount", "margins", "rules"), _VECTORS),
    "grid": _SCRIPT,
}


@dataclass(frozen=True, eq=False)
class Holdings:
    """What one account holds, or many: every array may lead with further axes, (...) below, the same for all.

    Parameters
    ----------
    cash : (...) in the stablecoin, negative if borrowed.
    options : signed quantities (..., N).
    perpetual : signed quantity (...) in units of the underlying.
    unsettled : P&L and funding of the perpetual not yet in cash, (...) USD.
    base : units of the underlying itself (...) >= 0.
    """

    cash: Floats
    options: Floats
    perpetual: Floats
    unsettled: Floats
    base: Floats

    def __post_init__(self) -> None:
        for name in ("cash", "options", "perpetual", "unsettled"):
            finite(name, getattr(self, name))
        not_negative("base", self.base)


def rules(name: str) -> PortfolioRules:
    """The parameters of this name; ParameterError for one that is not known."""
    return named(PARAMETERS, name)


def unit_values(options: Options, expiries: Expiries, rules: PortfolioRules) -> UnitValues:
    """What one of each option is worth now, in every scenario and with the forward alone moved, undiscounted.

    Volatility up v (1 + up m), down v max(1 - down m, 0), m = (30 / days)^p. DataError as `reprice`.
    """
    basis = rules.basis
    scenarios = (*rules.scenarios, *(Scenario(spot, Shock.NONE) for spot in (1.0, basis.up, basis.down)))
    multiplier = {shock: rules.volatility.multiplier(shock, expiries) for shock in {s.shock for s in scenarios}}
    each = np.stack([multiplier[scenario.shock][options.expiry] for scenario in scenarios], axis=1)
    value = reprice(options, expiries, np.ones(len(expiries)), scenarios, options.volatility[:, None] * each)
    return UnitValues(value[:, -3], value[:, :-3], value[:, -2], value[:, -1])


def static_discount(expiries: Expiries, rules: PortfolioRules) -> Floats:
    """What the value of an expiry is multiplied with where it is above 0, (E,)."""
    decay = expiries.counted_rate * rules.static.rate + rules.static.rate_add
    return rules.static.discount * np.exp(-expiries.tenor * decay)


def margins(holdings: Holdings, market: Market, rules: PortfolioRules, units: UnitValues | None = None) -> ScanMargin:
    """Net initial and maintenance margin of each account, (...), and their parts; >= 0 is healthy.

    Maintenance: worst P&L - static contingency + value. Initial: (worst P&L - static contingency) (initial +
    max(peg threshold - stable price, 0) peg factor) - confidence contingency + value. `units` are those of the market,
    if at hand. DataError for quantities that do not fit the market.
    """
    if np.shape(holdings.options)[-1] != len(market.options):
        raise DataError(f"holdings must be of {len(market.options)} options, got {np.shape(holdings.options)[-1]}")
    units = unit_values(market.options, market.expiries, rules) if units is None else units
    every = np.column_stack([units.now, units.basis_up, units.basis_down, units.shocked])
    value = by_expiry(holdings.options, every, market.options.expiry, len(market.expiries))
    now, shocked = value[..., 0], value[..., 3:]
    discounted = np.where(shocked > 0, static_discount(market.expiries, rules)[:, None], 1.0) * shocked
    base = np.asarray(holdings.base * market.spot / market.stable_price)
    move = np.array([scenario.spot for scenario in rules.scenarios]) - 1.0
    exposed = base + np.asarray(holdings.perpetual) * market.perpetual_price
    dampening = np.array([scenario.dampening for scenario in rules.scenarios])
    pnl = ((discounted - now[..., None]).sum(axis=-2) + exposed[..., None] * move) * dampening
    basis = rules.basis.contingency(now, value[..., 1], value[..., 2], market.expiries)
    values = {
        "cash": np.asarray(holdings.cash),
        "options": np.asarray(now.sum(axis=-1)),
        "base": base,
        "perpetual": np.asarray(holdings.unsettled),
    }
    worth = sum(values.values(), np.zeros(()))
    static = _static(holdings, market, rules)
    confidence = _confidence(holdings, market, rules)
    factor = rules.initial + max(rules.static.peg_threshold - market.stable_price, 0.0) * rules.static.peg_factor
    charged = sum(static.values(), np.zeros(()))
    loss = np.minimum(pnl.min(axis=-1), basis) - charged
    return ScanMargin(
        np.asarray(loss * factor - confidence + worth),
        np.asarray(loss + worth),
        np.asarray(worth),
        values,
        pnl,
        basis,
        worst_place(pnl, basis),
        factor,
        1.0,
        static,
        # What the factor adds to the static contingency is the initial margin's alone.
        {"confidence": confidence, "static": np.asarray(charged * (factor - 1.0))},
        names(rules.scenarios),
    )


def _static(holdings: Holdings, market: Market, rules: PortfolioRules) -> dict[str, Floats]:
    static, naked = rules.static, market.options.naked_shorts(holdings.options)
    return {
        "perpetual": np.asarray(np.abs(holdings.perpetual) * static.perpetual * market.spot),
        "base": np.asarray(holdings.base * static.base * market.spot),
        "options": np.asarray(naked * static.option * market.spot),
    }


def _confidence(holdings: Holdings, market: Market, rules: PortfolioRules) -> Floats:
    """The charge for feeds that are not sure, (...), in the initial margin alone and without its factor."""
    least = min(market.spot_confidence, market.perpetual_confidence)
    shared = np.where(np.asarray(holdings.perpetual) != 0, least, market.spot_confidence)
    expiry = market.options.least_confidence(holdings.options, market.expiries, shared)
    gross = market.options.gross(holdings.options, len(market.expiries))
    limits = rules.static.confidence_threshold, rules.static.confidence_factor
    linear = np.abs(holdings.perpetual) + holdings.base
    charged = linear * confidence_share(shared, *limits) + (gross * confidence_share(expiry, *limits)).sum(axis=-1)
    return np.asarray(charged * market.spot)
