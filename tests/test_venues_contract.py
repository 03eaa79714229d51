import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import DataError, ParameterError
from margin_models import venues
from margin_models.venues import (
    aevo,
    checks,
    dederi,
    deribit,
    deribit_legacy,
    deribit_standard,
    derive_pmrm2,
    drift,
    dydx,
    okx,
    paradex,
    span_arrays,
    synthetix,
    vega,
)
from margin_models.venues.provenance import Provenance

# What serves several venues, or several systems of one.
SHARED = {"accounts", "catalogue", "checks", "derive_feeds", "derive_market", "derive_scan", "margins", "provenance"}
MODULES = [
    importlib.import_module(f"{venues.__name__}.{one.name}")
    for one in pkgutil.iter_modules(venues.__path__)
    if one.name not in SHARED and not one.name.endswith("_model")
]
BTC = deribit.pair("BTC_USD")
FEW = settings(max_examples=40, deadline=None)
FACTORS = vega.RiskFactors(np.array(0.1), np.array(0.11))


def facts(value: object) -> list[Any]:
    if is_dataclass(value):
        return [] if value is derive_pmrm2.NO_COLLATERAL else [value]
    return list(value.values()) if isinstance(value, Mapping) else []


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_every_published_constant_says_where_it_is_from(module: ModuleType) -> None:
    known = [fact for name, value in vars(module).items() if name.isupper() and name[0] != "_" for fact in facts(value)]
    assert known
    for fact in known:
        label = fact if isinstance(fact, Provenance) else fact.provenance
        assert label.label in {"V", "S", "3P", "M"}
        assert label.source


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_every_formula_says_how_sure_it_is(module: Any) -> None:
    public = {
        name
        for name, value in inspect.getmembers(module, inspect.isfunction)
        if value.__module__ == module.__name__ and not name.startswith("_")
    }
    assert public == set(module.FORMULAS)


def test_what_is_not_verified_does_not_claim_to_be() -> None:
    assert deribit.FORMULAS["portfolio_margin"].verified
    assert not deribit.FORMULAS["delta_shock"].verified
    assert deribit.FORMULAS["weighted"].label == "3P"
    assert okx.FORMULAS["margins"].label == "M"
    assert dydx.PARAMETERS["mid"].provenance == Provenance(
        "V", "dydxprotocol/v4-chain, genesis liquidity tiers", "genesis"
    )


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_a_venue_imports_what_venues_share_and_no_other_venue(module: ModuleType) -> None:
    imported = re.findall(r"margin_models\.venues(?:\.(\w+))? import", inspect.getsource(module))
    others = {name for name in imported if not name.startswith("derive_") or "derive_" not in module.__name__}
    assert others <= {"checks", "margins", "provenance"}


MONOTONE: dict[str, Callable[[float], Any]] = {
    "aevo": lambda size: aevo.short_option_margin(-size, 100.0, 105.0, True, 2.0).initial,
    "dederi": lambda size: dederi.futures_margin([size], [100.0], 100.0)[0],
    "deribit": lambda size: deribit.portfolio_margin(
        deribit.risk_vector(
            deribit.inverse_pnl(np.array([size]), deribit.grid(BTC).move), BTC, deribit.currency("BTC"), 5e4
        )
    ).initial[0],
    "deribit_standard": lambda size: (
        deribit_standard.linear_perpetual_margin(size, 100.0, deribit_standard.PARAMETERS["BTC_USDC"]).initial
    ),
    "drift": lambda size: drift.perpetual_margin(int(size * 1e9), int(size * 1e8), 1000, 500),
    "dydx": lambda size: dydx.initial_margin(int(size * 1e6), 0, dydx.tier("small")),
    "okx": lambda size: okx.minimum_charge(size * 100),
    "paradex": lambda size: paradex.scan_risk(size * paradex.spot_moves())[0][0],
    "synthetix": lambda size: synthetix.margins(size, 10.0, synthetix.PerpetualMarket(1e5, 2.0, 0.01)).initial,
    "vega": lambda size: vega.maintenance_margin(size, (0.0, 0.0), (90.0, 110.0), 100.0, FACTORS, 0.1),
}


@pytest.mark.parametrize("venue", MONOTONE)
@FEW
@given(size=st.floats(0.0, 1e4), more=st.floats(0.0, 1e4))
def test_a_larger_position_never_posts_less(venue: str, size: float, more: float) -> None:
    small, large = float(MONOTONE[venue](size)), float(MONOTONE[venue](size + more))
    assert 0.0 <= small <= large * (1 + 1e-12) + 1e-12


WRONG_INPUTS: dict[str, Callable[[], object]] = {
    "negative spot": lambda: aevo.short_option_margin(-1, -100.0, 100.0, True, 1.0),
    "negative mark": lambda: aevo.short_option_margin(-1, 100.0, 100.0, True, -1.0),
    "NaN quantity": lambda: dederi.futures_pnl([np.nan], [100.0]),
    "zero price": lambda: deribit_standard.linear_perpetual_margin(1.0, 0.0, deribit_standard.PARAMETERS["BTC_USDC"]),
    "expired option": lambda: deribit.shocked_volatility([0.5], [0.0], BTC),
    "move of -100 %": lambda: deribit.inverse_pnl(np.array([1.0]), [-1.0]),
    "wrong grid": lambda: deribit.weighted(np.zeros((2, 9)), BTC, None),
    "negative index": lambda: deribit.offset([1.0], deribit.currency("BTC"), -1.0),
    "NaN gain": lambda: deribit.portfolio_margin([[0.0, np.nan]]),
    "legacy strikes": lambda: deribit_legacy.option_contingency([1.0], [1.0, 2.0], deribit_legacy.PARAMETERS["BTC"]),
    "fractional size": lambda: drift.asset_weight(1.5, 10, 9000),  # type: ignore[arg-type]
    "negative notional": lambda: dydx.initial_margin(-1, 0, dydx.tier("mid")),
    "infinite interest": lambda: dydx.initial_fraction([np.inf], dydx.tier("mid")),
    "negative charge": lambda: okx.maintenance_margin(okx.Charges(basis=-1.0)),
    "NaN raw charge": lambda: okx.minimum_charge([1.0, np.nan]),
    "no scenario": lambda: okx.scan_risk(np.zeros((2, 0))),
    "wrong scenarios": lambda: paradex.scan_risk([[1.0, 2.0]]),
    "negative volatility": lambda: paradex.shocked_volatility([-0.1], [3.0]),
    "arrays that do not fit": lambda: span_arrays.combine([[1.0, 2.0]], [1.0, 2.0]),
    "NaN array": lambda: span_arrays.combine([[1.0, np.nan]], [1.0]),
    "zero skew scale": lambda: synthetix.PerpetualMarket(0.0),
    "negative fees": lambda: synthetix.liquidation_limit(-0.1, 1.0, 1.0, 1.0),
    "tail of 1": lambda: vega.risk_factors(1.0, 0.1, 0.0, 1.0),
    "NaN exit price": lambda: vega.maintenance_margin(1.0, (0.0, 0.0), (np.nan, 1.0), 1.0, FACTORS, 0.1),
    "negative orders": lambda: vega.maintenance_margin(1.0, (-1.0, 0.0), (1.0, 1.0), 1.0, FACTORS, 0.1),
}


@pytest.mark.parametrize("case", WRONG_INPUTS)
def test_wrong_inputs_are_refused(case: str) -> None:
    with pytest.raises(DataError, match=r"must|need"):
        WRONG_INPUTS[case]()


WRONG_PARAMETERS: dict[str, Callable[[], object]] = {
    "unknown tier": lambda: dydx.tier("huge"),
    "unknown risk unit": lambda: okx.risk_unit("DOGE"),
    "unknown pair": lambda: deribit.pair("DOGE_USD"),
    "unknown currency": lambda: deribit.currency("DOGE"),
    "NaN range": lambda: replace(BTC, price_range=np.nan),
    "offset above 1": lambda: replace(deribit.currency("BTC"), pnl_offset=1.1),
    "maintenance above initial": lambda: replace(deribit_standard.PARAMETERS["BTC_USDC"], maintenance=0.5),
    "maintenance share": lambda: deribit.portfolio_margin([[0.0]], maintenance=1.5),
    "ppm above a million": lambda: replace(dydx.tier("mid"), initial=2_000_000),
    "caps the wrong way round": lambda: replace(dydx.tier("mid"), lower=10**15),
    "tiers that fall": lambda: replace(okx.MINIMUM_CHARGE, bound=(2.0, 1.0), multiplier=(1.0, 2.0, 3.0)),
    "a multiplier short": lambda: replace(okx.MINIMUM_CHARGE, multiplier=(1.0, 2.0)),
    "levels out of order": lambda: vega.Levels(1.3, 1.2, 1.4),
    "least above the money": lambda: replace(aevo.PARAMETERS["standard"], least=0.2),
    "shock below -100 %": lambda: replace(dederi.PARAMETERS["futures"], shocks=(-1.5,)),
    "power": lambda: replace(paradex.PARAMETERS["portfolio margin"], short_power=3.0),
    "legacy share": lambda: replace(deribit_legacy.PARAMETERS["BTC"], futures_charge=-0.1),
    "extreme": lambda: replace(okx.risk_unit("majors"), extreme=1.5),
}


@pytest.mark.parametrize("case", WRONG_PARAMETERS)
def test_parameters_out_of_range_are_refused(case: str) -> None:
    with pytest.raises(ParameterError, match=r"must|known|need"):
        WRONG_PARAMETERS[case]()


def test_an_error_counts_what_is_wrong() -> None:
    with pytest.raises(DataError, match=r"price must be > 0, got -2.0 \(2 of 3 values\)"):
        checks.positive("price", [1.0, -2.0, 0.0])
