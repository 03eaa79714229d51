"""What does the project say to the golden cases of the margin systems of other venues and clearing houses?"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from data import Floats
from golden_cases import Case
from margin_models.venues import (
    dederi,
    deribit,
    deribit_legacy,
    deribit_standard,
    drift,
    dydx,
    okx,
    paradex,
    span_arrays,
    synthetix,
    vega,
)
from margin_models.venues.provenance import Provenance

Figures = dict[str, Any]

GIVEN = Provenance("S", "the inputs of the case")
YEAR_SECONDS = 365 * 86_400


def deribit_pm(case: Case) -> Figures:
    inputs: object = case.inputs
    return _deribit_matrix(case) if isinstance(inputs, Mapping) else _deribit_linear(case, inputs)


def _deribit_matrix(case: Case) -> Figures:
    """One currency's futures and perpetual: the risk vector has volatility up, unchanged and down in each bucket."""
    coin = _only(case, r"positions_([a-z]+)")
    expiries = {key: key[len("expiry_") : -len("_s")].upper() for key in case.inputs if key.startswith("expiry_")}
    fixed = ("index", "mark", "now_ms", "price_range", "buckets_each_side", "pnl_offset", "annualised_move_risk")
    more = ("min_annualised_move", "mm_factor", "mmp_margin", "open_orders_margin")
    held, *read = case.read(f"positions_{coin}", *fixed, *more, *expiries)
    index, marks, now, width, buckets, kept, annual, least, share, maker, orders, *times = read
    if set(marks) != set(held):
        raise case.refuse("mark", marks)
    years = {name: (at - now / 1000) / YEAR_SECONDS for name, at in zip(expiries.values(), times, strict=True)}
    tenor = [_tenor(case, name, years) for name in held]
    settled = deribit.CurrencyRules(deribit.currency(coin.upper()).dampener, annual, least, kept, np.inf, GIVEN)
    rules = replace(deribit.pair(f"{coin.upper()}_USD"), price_range=width, buckets=buckets, maintenance=share)
    quantity = np.array(list(held.values()))
    gains = deribit.inverse_pnl(quantity, deribit.grid(rules).move)
    vector = deribit.risk_vector(gains.sum(axis=0), rules, settled, index)
    roll, delta = deribit.roll_shock(quantity, tenor, settled), deribit.delta_shock(quantity.sum(), index, rules)
    told = deribit.portfolio_margin(vector, roll, delta, maker, orders, rules.maintenance)
    standard = slice(0, 3 * (2 * buckets + 1), 3)
    perpetual = [row for row, name in enumerate(held) if name.endswith("-PERPETUAL")]
    return {
        "perp_vector": gains[perpetual].sum(axis=0)[standard],
        "aggregated_vector": vector[standard],
        "worst_case": told.worst[0],
        "roll_shock": roll[0],
        "delta_shock": float(delta),
        "risk_matrix_margin": told.risk_matrix[0],
        "initial_margin": told.initial[0],
        "maintenance_margin": told.maintenance[0],
    }


def _tenor(case: Case, name: str, years: Mapping[str, float]) -> float:
    """Years to the expiry of BTC-28JUN24, 0 for BTC-PERPETUAL."""
    suffix = name.partition("-")[2]
    if suffix == "PERPETUAL":
        return 0.0
    if suffix not in years:
        raise case.refuse("instrument", name)
    return years[suffix]


def _deribit_linear(case: Case, positions: object) -> Figures:
    if not isinstance(positions, list):
        raise case.refuse("inputs", positions)
    initial: list[Any] = []
    maintenance: dict[str, dict[str, Any]] = {}
    for position in positions:
        if set(position) != {"pair", "price", "size"} or position["pair"] not in case.params:
            raise case.refuse("position", position)
        given = case.params[position["pair"]]
        if set(given) != {"im", "mm", "slope"}:
            raise case.refuse("parameters", given)
        rule = deribit_standard.LinearPerpetual(given["im"], given["mm"], given["slope"], GIVEN)
        told = deribit_standard.linear_perpetual_margin(position["size"], position["price"], rule)
        initial.append(told.initial)
        maintenance.setdefault(f"MM_{position['size']:g}", {})[position["pair"]] = told.maintenance
    return {"IM": initial, **maintenance}


def drift_imf(case: Case) -> Figures:
    size, factor, weight, kind = case.read("size_units", "imf", "weight", "kind")
    rules = {"liability": drift.liability_weight, "asset": drift.asset_weight}
    if kind not in rules:
        raise case.refuse("kind", kind)
    return {"weight": rules[kind](_whole(case, size * drift.SIZE_PRECISION), factor, weight)}


def dydx_oimf(case: Case) -> Figures:
    base, lower, upper, interest, notional = case.read("base_ppm", "oi_lower", "oi_upper", "oi", "notional")
    tier = dydx.LiquidityTier(base, dydx.MILLION, lower, upper, GIVEN)
    return {"ppm": dydx.initial_ppm(interest, tier), "IM": dydx.initial_margin(notional, interest, tier)}


def exchange_docs(case: Case) -> Figures:
    systems = {
        "paradex/": _paradex_delta,
        "okx/": _okx_composition,
        "dederi/": _dederi_futures,
        "deribit/": _deribit_volatility,
    }
    for prefix, serve in systems.items():
        if case.id.startswith(prefix):
            return serve(case)
    raise case.refuse("system", case.id)


def _paradex_delta(case: Case) -> Figures:
    spot, perpetual, calls, call_delta, net, hedged = case.read(
        "spot", "perp_qty", "short_calls", "call_delta", "net_pct", "hedged_pct"
    )
    rules = replace(paradex.PARAMETERS["portfolio margin"], net=net, hedged=hedged)
    told = paradex.delta_margin([perpetual, -calls * call_delta], spot, rules)
    return {
        "net_delta": told.net[0],
        "gross_delta": told.gross[0],
        "hedged_delta": told.hedged[0],
        "min_delta_margin": told.margin[0],
    }


def _okx_composition(case: Case) -> Figures:
    names = {
        "MR1": "spot_shock",
        "MR2": "theta_decay",
        "MR3": "vega_term",
        "MR4": "basis",
        "MR5": "interest_rate",
        "MR6": "extreme_move",
        "MR7": "minimum",
        "MR9": "stablecoin",
    }
    read = zip(names.values(), case.read(*names, optional=names), strict=True)
    told = okx.margins(okx.Charges(**{name: value for name, value in read if value is not None}))
    return {"MMR": told.maintenance, "IMR": told.initial}


def _dederi_futures(case: Case) -> Figures:
    spot, basis, days, quantity, share, shocks = case.read("spot", "basis", "days", "qty", "contingency", "shocks")
    rules = dederi.FuturesGrid(tuple(shocks), share, GIVEN)
    price = dederi.forward(spot, basis, days)
    return {
        "forward": price,
        "contingency": dederi.futures_contingency([quantity], spot, rules)[0],
        "pnl": dederi.futures_pnl([quantity], price, rules)[0],
    }


def _deribit_volatility(case: Case) -> Figures:
    days, power, width = case.read("days", "power", "range")
    rules = replace(deribit_legacy.PARAMETERS["BTC"], power=power, volatility_range=width)
    return {"vol_shock": deribit_legacy.volatility_shock(days, rules)}


def span_risk_array(case: Case) -> Figures:
    if case.has("array", "qty"):
        array, quantity = case.read("array", "qty")
        told = span_arrays.combine([array], [quantity])
    else:
        told = span_arrays.combine(*case.read("arrays", "qty"))
    return {
        "portfolio": told.value[0],
        "scan_risk": told.scan_risk[0],
        "active_scenario": int(told.active_scenario[0]),
    }


def synthetix_v3_perps(case: Case) -> Figures:
    return _synthetix_gains(case) if "price_sets" in case.inputs else _synthetix_margins(case)


def _synthetix_gains(case: Case) -> Figures:
    """Positions opened alone in markets without skew, then valued at each set of prices."""
    collateral, markets, price_sets = case.read("collateral", "markets", "price_sets")
    size, entry, scale = _columns(case, list(markets.values()), "size", "entry_price", "skew_scale")
    gain = synthetix.pnl(size, price_sets, synthetix.fill_price(entry, size, 0.0, scale))
    return {"pnl": gain, "available_margin": synthetix.available(collateral, gain)}


def _synthetix_margins(case: Case) -> Figures:
    collateral, positions = case.read("collateral", "positions")
    names = ("size", "price", "skew_scale", "imf", "min_im", "mm_scalar", "min_pos", "liq_ratio")
    size, price, *parameters = _columns(case, positions, *names)
    market = synthetix.PerpetualMarket(*parameters)
    told = synthetix.margins(size, price, market)
    gain = synthetix.pnl(size, price, synthetix.fill_price(price, size, 0.0, market.skew_scale))
    equity = synthetix.available(collateral, gain)
    return {
        "IM": told.initial.sum(),
        "MM": told.maintenance.sum(),
        "available": equity,
        "withdrawable": synthetix.withdrawable(equity, size, price, market),
    }


def vega_lognormal_es(case: Case) -> Figures:
    if case.has("lam", "tau", "mu", "sigma"):
        factors = vega.risk_factors(*case.read("lam", "tau", "mu", "sigma"))
        return {"short": factors.short, "long": factors.long}
    given = case.read("mu", "sigma", "lam")
    return {"VaR": -vega.lognormal_quantile(*given), "ES": -vega.lognormal_shortfall(*given)}


def _columns(case: Case, rows: list[Mapping[str, float]], *names: str) -> list[Floats]:
    for row in rows:
        if set(row) != set(names):
            raise case.refuse("market", row)
    return [np.array([row[name] for row in rows]) for name in names]


def _only(case: Case, pattern: str) -> str:
    """The group of the one input that matches."""
    found = [match[1] for key in case.inputs if (match := re.fullmatch(pattern, key))]
    if len(found) != 1:
        raise case.refuse("inputs", sorted(case.inputs))
    return found[0]


def _whole(case: Case, value: float) -> int:
    if value != int(value):
        raise case.refuse("size", value)
    return int(value)


FAMILIES: dict[str, Callable[[Case], Figures]] = {
    "deribit_pm": deribit_pm,
    "drift_imf": drift_imf,
    "dydx_oimf": dydx_oimf,
    "exchange_docs": exchange_docs,
    "span_risk_array": span_risk_array,
    "synthetix_v3_perps": synthetix_v3_perps,
    "vega_lognormal_es": vega_lognormal_es,
}
