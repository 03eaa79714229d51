"""What does Derive's second portfolio margin (PMRM_2) ask?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data import DataError, Floats
from margin_models.venues.checks import finite, not_negative
from margin_models.venues.derive_feeds import Expiries, Market, Options, by_expiry, confident
from margin_models.venues.derive_pmrm2_rules import PortfolioRules, SkewRules
from margin_models.venues.derive_scan import (
    ScanMargin,
    Scenario,
    Shock,
    UnitValues,
    confidence_share,
    names,
    reprice,
    worst_place,
)
from margin_models.venues.provenance import Provenance

# On chain this is the least number above 0, and nothing is divided by less.
LEAST_WIDTH = 1e-18
_VECTORS = Provenance("V", "derivexyz/v2-core at 7736900, test/risk-managers/unit-tests/PMRM_2/portfolio_cases", "2025")
FORMULAS: Mapping[str, Provenance] = dict.fromkeys(
    ("unit_values", "shocked_volatility", "skew_multiplier", "static_discounts", "margins"), _VECTORS
)


@dataclass(frozen=True, eq=False)
class Collaterals:
    """C assets that count as collateral, (C,) each.

    Parameters
    ----------
    price : USD.
    confidence : of the price feed, 0 to 1.
    haircut : share of value not counted in either margin.
    initial_haircut : share not counted besides in the initial margin.
    cancelling : whether the asset moves with spot in the scenarios, and so offsets the risk of what was sold.
    """

    price: Floats
    confidence: Floats
    haircut: Floats
    initial_haircut: Floats
    cancelling: NDArray[np.bool_]

    def __post_init__(self) -> None:
        for name in ("price", "haircut", "initial_haircut"):
            not_negative(f"{name} of a collateral", getattr(self, name))
        confident("confidence of a collateral", self.confidence)

    def __len__(self) -> int:
        return self.price.size


_NONE = np.zeros(0)
NO_COLLATERAL = Collaterals(_NONE, _NONE, _NONE, _NONE, np.zeros(0, dtype=np.bool_))


@dataclass(frozen=True, eq=False)
class CollateralMarket(Market):
    """What the feeds of a portfolio margin say, and those of what counts as collateral."""

    collaterals: Collaterals = NO_COLLATERAL


@dataclass(frozen=True, eq=False)
class Holdings:
    """What one account holds, or many: every array may lead with further axes, (...) below, the same for all.

    Parameters
    ----------
    cash : (...) in the stablecoin, negative if borrowed.
    options : signed quantities (..., N).
    perpetual : signed quantity (...) in units of the underlying.
    unsettled : P&L and funding of the perpetual not yet in cash, (...) USD.
    collaterals : quantities (..., C) >= 0.
    """

    cash: Floats
    options: Floats
    perpetual: Floats
    unsettled: Floats
    collaterals: Floats

    def __post_init__(self) -> None:
        for name in ("cash", "options", "perpetual", "unsettled"):
            finite(name, getattr(self, name))
        not_negative("collaterals", self.collaterals)


def unit_values(options: Options, expiries: Expiries, rules: PortfolioRules) -> UnitValues:
    """What one of each option is worth now, in every scenario and with the forward alone moved, whoever holds it.

    The four repricings are one call, (N, S + 3). Scenarios of a skew leave spot as it is. DataError as `reprice`.
    """
    basis = rules.basis
    scenarios = (*rules.scenarios, *(Scenario(spot, Shock.NONE) for spot in (1.0, basis.up, basis.down)))
    volatility = shocked_volatility(options, expiries, scenarios, rules)
    value = reprice(options, expiries, expiries.discount, scenarios, volatility)
    return UnitValues(value[:, -3], value[:, :-3], value[:, -2], value[:, -1])


def shocked_volatility(
    options: Options, expiries: Expiries, scenarios: tuple[Scenario, ...], rules: PortfolioRules
) -> Floats:
    """Implied volatility of each option in each scenario, (N, S).

    Up max(v (1 + up m), least), down v max(1 - down m, 0), m = (30 / days)^p; skewed v max(multiplier, 0).
    """
    shocks = {scenario.shock for scenario in scenarios}
    changed = {shock: rules.volatility.multiplier(shock, expiries)[options.expiry] for shock in shocks}
    for shock in shocks:
        if shock.skews:
            changed[shock] = np.maximum(skew_multiplier(options, expiries, shock, rules.skew), 0.0)
    shocked = {shock: options.volatility * multiplier for shock, multiplier in changed.items()}
    if Shock.UP in shocked:
        shocked[Shock.UP] = np.maximum(shocked[Shock.UP], rules.volatility.least_up)
    return np.stack([shocked[scenario.shock] for scenario in scenarios], axis=1)


def skew_multiplier(options: Options, expiries: Expiries, shock: Shock, rules: SkewRules) -> Floats:
    """What a skew scenario multiplies each volatility with, (N,), possibly < 0.

    1 + k cap / k*, at most 1 + cap for k >= 0 and at least 1 - cap below, k = ln(K / F) or its absolute value,
    cap = base + slope sqrt(T), k* = max(least, width sqrt(T) (volatility + slope sqrt(T))). Where a long tenor makes
    the cap negative the bounds hold as written: min(., cap) for k >= 0 and max(., -cap) below.
    """
    root = np.sqrt(expiries.tenor)
    linear = shock is Shock.LINEAR
    base, slope = (rules.linear_cap, rules.linear_slope) if linear else (rules.absolute_cap, rules.absolute_slope)
    reach = root * rules.width * (rules.volatility + rules.volatility_slope * root)
    full = np.maximum(np.maximum(reach, rules.least_width), LEAST_WIDTH)[options.expiry]
    cap = (base + slope * root)[options.expiry]
    moneyness = np.log(options.strike / expiries.forward[options.expiry])
    k = moneyness if linear else np.abs(moneyness)
    change = k * cap / full
    return 1.0 + np.where(k >= 0, np.minimum(change, cap), np.maximum(change, -cap))


def static_discounts(expiries: Expiries, rules: PortfolioRules) -> tuple[Floats, Floats]:
    """What an expiry's value is multiplied with where it is held, and where it is owed, (E,) each.

    Held long_base exp(-T (r long_rate + long_add)); owed short_base exp(T (r short_rate + short_add)), at most what
    undoes the discounting at the rate r.
    """
    rate, tenor, static = expiries.counted_rate, expiries.tenor, rules.discount
    held = static.long_base * np.exp(-tenor * (rate * static.long_rate + static.long_add))
    owed = static.short_base * np.exp(tenor * (rate * static.short_rate + static.short_add))
    return held, np.minimum(owed, 1.0 / expiries.discount)


def margins(
    holdings: Holdings, market: CollateralMarket, rules: PortfolioRules, units: UnitValues | None = None
) -> ScanMargin:
    """Net initial and maintenance margin of each account, (...), and their parts; >= 0 is healthy.

    Initial: worst P&L (initial + max(peg threshold - stable price, 0) peg factor) - both contingencies + value; the
    maintenance margin without the peg and the initial contingencies. `units` are those of the market, if at hand.
    DataError for quantities that do not fit the market.
    """
    _fits(holdings, market)
    units = unit_values(market.options, market.expiries, rules) if units is None else units
    options, now = _option_pnl(holdings, market, rules, units)
    collateral = holdings.collaterals * market.collaterals.price / market.stable_price
    pnl = options + _linear_pnl(holdings, market, rules, collateral)
    basis = _basis(holdings, market, rules, units, now)
    always, initially = _contingencies(holdings, market, rules, collateral)
    values = {
        "cash": np.asarray(holdings.cash),
        "options": np.asarray(now.sum(axis=-1)),
        "collaterals": np.asarray(collateral.sum(axis=-1)),
        "perpetual": np.asarray(holdings.unsettled),
    }
    worth = sum(values.values(), np.zeros(()))
    worst = np.minimum(pnl.min(axis=-1), basis)
    peg = max(rules.contingency.peg_threshold - market.stable_price, 0.0) * rules.contingency.peg_factor
    charged = sum(always.values(), np.zeros(()))
    return ScanMargin(
        np.asarray(worst * (rules.initial + peg) - charged - sum(initially.values(), np.zeros(())) + worth),
        np.asarray(worst * rules.maintenance - charged + worth),
        np.asarray(worth),
        values,
        pnl,
        basis,
        worst_place(pnl, basis),
        rules.initial + peg,
        rules.maintenance,
        always,
        initially,
        names(rules.scenarios),
    )


def _fits(holdings: Holdings, market: CollateralMarket) -> None:
    needed = (len(market.options), len(market.collaterals))
    given = (np.shape(holdings.options)[-1], np.shape(holdings.collaterals)[-1])
    if given != needed:
        raise DataError(f"holdings must be of {needed[0]} options and {needed[1]} collaterals, got {given}")


def _option_pnl(
    holdings: Holdings, market: CollateralMarket, rules: PortfolioRules, units: UnitValues
) -> tuple[Floats, Floats]:
    """Dampened P&L of all options, (..., S), and the value of each expiry now, (..., E)."""
    place, count = market.options.expiry, len(market.expiries)
    now = by_expiry(holdings.options, units.now[:, None], place, count)
    shocked = by_expiry(holdings.options, units.shocked, place, count)
    held, owed = (factor[:, None] for factor in static_discounts(market.expiries, rules))
    pnl = shocked * np.where(shocked >= 0, held, owed) - now
    # A skew may turn the other way as well: whichever way it turns, each expiry loses.
    skews = np.array([scenario.shock.skews for scenario in rules.scenarios])
    total = np.where(skews, -np.abs(pnl), pnl).sum(axis=-2)
    return total * _dampening(rules), now[..., 0]


def _linear_pnl(holdings: Holdings, market: CollateralMarket, rules: PortfolioRules, collateral: Floats) -> Floats:
    """Dampened P&L of the perpetual and of the collateral that moves with spot, (..., S)."""
    move = np.array([scenario.spot for scenario in rules.scenarios]) - 1.0
    exposed = np.asarray(holdings.perpetual) * market.perpetual_price
    exposed = exposed + (collateral * market.collaterals.cancelling).sum(axis=-1)
    return np.asarray(exposed)[..., None] * move * _dampening(rules)


def _basis(
    holdings: Holdings, market: CollateralMarket, rules: PortfolioRules, units: UnitValues, now: Floats
) -> Floats:
    both = np.stack([units.basis_up, units.basis_down], axis=1)
    moved = by_expiry(holdings.options, both, market.options.expiry, len(market.expiries))
    return rules.basis.contingency(now, moved[..., 0], moved[..., 1], market.expiries)


def _contingencies(
    holdings: Holdings, market: CollateralMarket, rules: PortfolioRules, collateral: Floats
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """What is charged in both margins, and what the initial margin is charged besides, (...) each."""
    charged, assets = rules.contingency, market.collaterals
    perpetual = np.abs(holdings.perpetual) * market.spot
    naked = market.options.naked_shorts(holdings.options) * market.spot
    always = {
        "perpetual": np.asarray(perpetual * charged.perpetual),
        "options": np.asarray(naked * charged.option),
        "collaterals": np.asarray((collateral * assets.haircut).sum(axis=-1)),
    }
    initially = {
        "perpetual": np.asarray(perpetual * charged.initial_perpetual),
        "options": np.asarray(naked * charged.initial_option),
        "collaterals": np.asarray((collateral * assets.initial_haircut).sum(axis=-1)),
        "confidence": _confidence(holdings, market, rules, collateral),
    }
    return always, initially


def _confidence(holdings: Holdings, market: CollateralMarket, rules: PortfolioRules, collateral: Floats) -> Floats:
    """The charge for feeds that are not sure, (...): each asset by its own feeds and spot's; the perpetual's counts
    for the perpetual and the options of who holds one.
    """
    spot = market.spot_confidence
    shared = np.where(np.asarray(holdings.perpetual) != 0, min(spot, market.perpetual_confidence), spot)
    expiry = market.options.least_confidence(holdings.options, market.expiries, shared)
    gross = market.options.gross(holdings.options, len(market.expiries))
    limits = rules.contingency.confidence_threshold, rules.contingency.confidence_factor
    return np.asarray(
        np.abs(holdings.perpetual) * market.spot * confidence_share(shared, *limits)
        + (gross * market.spot * confidence_share(expiry, *limits)).sum(axis=-1)
        + (collateral * confidence_share(np.minimum(market.collaterals.confidence, spot), *limits)).sum(axis=-1)
    )


def _dampening(rules: PortfolioRules) -> Floats:
    return np.array([scenario.dampening for scenario in rules.scenarios])
