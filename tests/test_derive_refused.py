from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from data import DataError, ParameterError
from derive_accounts import (
    AUCTION,
    COLLATERALS,
    EXPIRIES,
    MARKET1,
    MARKET2,
    MARKET_SRM,
    OPTIONS,
    RULES1,
    RULES2,
    STANDARD,
    held,
    only,
    pmrm,
    pmrm2,
    srm,
)
from margin_models.venues import (
    derive_auction,
    derive_pmrm,
    derive_pmrm2_rules,
    derive_srm_rules,
)
from margin_models.venues.derive_scan import Scenario, Shock

NAN = np.array(np.nan)
ONE = np.ones(1)
WRONG_INPUTS: dict[str, Callable[[], object]] = {
    "strike": lambda: replace(OPTIONS, strike=-OPTIONS.strike),
    "volatility": lambda: replace(OPTIONS, volatility=-OPTIONS.volatility),
    "NaN volatility": lambda: replace(OPTIONS, volatility=OPTIONS.volatility * np.nan),
    "confidence": lambda: replace(OPTIONS, confidence=OPTIONS.confidence * 1.1),
    "lengths": lambda: replace(OPTIONS, strike=ONE),
    "place": lambda: replace(OPTIONS, expiry=OPTIONS.expiry - 1),
    "put as a number": lambda: replace(OPTIONS, call=OPTIONS.strike),  # type: ignore[arg-type]
    "long expired": lambda: replace(EXPIRIES, seconds=-EXPIRIES.seconds),
    "forward of zero": lambda: replace(EXPIRIES, variable=np.zeros(2)),
    "NaN rate": lambda: replace(EXPIRIES, rate=EXPIRIES.rate * np.nan),
    "unknown expiry": lambda: replace(MARKET2, options=replace(OPTIONS, expiry=OPTIONS.expiry + 1)),
    "unknown expiry, PMRM": lambda: replace(MARKET1, options=replace(OPTIONS, expiry=OPTIONS.expiry + 1)),
    "unknown expiry, SRM": lambda: replace(MARKET_SRM, options=replace(OPTIONS, expiry=OPTIONS.expiry + 1)),
    "spot": lambda: replace(MARKET2, spot=0.0),
    "stable price": lambda: replace(MARKET1, stable_price=np.nan),
    "spot confidence": lambda: replace(MARKET_SRM, spot_confidence=2.0),
    "haircut": lambda: replace(COLLATERALS, haircut=-COLLATERALS.haircut - 1.0),
    "NaN cash": lambda: pmrm2(held(cash=np.nan)),
    "NaN quantity": lambda: pmrm(held(OPTIONS.strike * np.nan)),
    "collateral owed": lambda: srm(held(base=-1.0)),
    "collateral owed, PMRM": lambda: pmrm(held(base=-1.0)),
    "five options": lambda: pmrm2(held(np.zeros(5))),
    "five options, PMRM": lambda: pmrm(held(np.zeros(5))),
    "five options, SRM": lambda: srm(held(np.zeros(5))),
    "worthless coin": lambda: srm(held(), stable=0.0),
    "share of nothing": lambda: derive_auction.solvent_bid(1.0, -1.0, 0, 0.0, AUCTION),
    "share above all": lambda: derive_auction.insolvent_bid(-1.0, 1.1, 0.0),
    "after the auction": lambda: derive_auction.solvent_bid(1.0, -1.0, 14_500, 0.5, AUCTION),
    "reserved above value": lambda: derive_auction.solvent_bid(1.0, -1.0, 0, 0.5, AUCTION, reserved=2.0),
    "before the auction": lambda: derive_auction.discount(-1, AUCTION),
    "price above zero": lambda: derive_auction.insolvent_bid(1.0, 0.5, 0.0),
    "NaN margin": lambda: derive_auction.insolvent_price(0.0, NAN, 0, AUCTION),
}


@pytest.mark.parametrize("case", WRONG_INPUTS)
def test_wrong_inputs_are_refused(case: str) -> None:
    with pytest.raises(DataError, match="must"):
        WRONG_INPUTS[case]()


WRONG_PARAMETERS: dict[str, Callable[[], object]] = {
    "unknown set": lambda: derive_pmrm2_rules.rules("mainnet"),
    "unknown set, PMRM": lambda: derive_pmrm.rules("mainnet"),
    "unknown set, SRM": lambda: derive_srm_rules.rules("mainnet"),
    "unknown set, auction": lambda: derive_auction.rules("mainnet"),
    "no scenario": lambda: replace(RULES2, scenarios=()),
    "NaN factor": lambda: replace(RULES2, initial=np.nan),
    "spot below zero": lambda: Scenario(-0.1, Shock.UP),
    "basis the wrong way": lambda: replace(RULES2.basis, up=0.9),
    "negative shock": lambda: replace(RULES2.volatility, up=-0.1),
    "negative width": lambda: replace(RULES2.skew, width=-1.0),
    "negative discount": lambda: replace(RULES2.discount, long_base=-0.1),
    "negative charge": lambda: replace(RULES2.contingency, option=-0.1),
    "skew in PMRM": lambda: replace(RULES1, scenarios=(Scenario(1.0, Shock.LINEAR),)),
    "negative static charge": lambda: replace(RULES1.static, base=-0.1),
    "no days and no time left": lambda: replace(RULES2.volatility, least_days=0.0).scale(
        replace(EXPIRIES, seconds=np.zeros(2))
    ),
    "maintenance above initial": lambda: replace(STANDARD, perpetual_maintenance=0.5),
    "base above its value": lambda: replace(STANDARD, base=1.5),
    "negative share": lambda: replace(STANDARD.option, call=-0.1),
    "confidence above one": lambda: replace(STANDARD.confidence, option=1.5),
    "cutoff above start": lambda: replace(AUCTION, cutoff=0.99),
    "no time": lambda: replace(AUCTION, slow_seconds=0.0),
}


@pytest.mark.parametrize("case", WRONG_PARAMETERS)
def test_parameters_out_of_range_are_refused(case: str) -> None:
    with pytest.raises(ParameterError, match=r"must|known"):
        WRONG_PARAMETERS[case]()


def test_the_swapped_discounts_of_the_mainnet_script_are_not_taken_for_the_venue_s() -> None:
    tested, script, written = derive_pmrm2_rules.PARAMETERS.values()
    assert tested.provenance.verified
    assert not tested.assumed
    assert not script.provenance.verified
    assert script.discount == tested.discount
    assert "discount" in script.assumed
    assert (written.discount.long_base, written.discount.short_base) == (1.05, 0.95)
    assert written.provenance.label == "M"
    for account in (held(only(0)), held(only(0, 1.0))):
        assert pmrm2(account, rules=script).initial < pmrm2(account, rules=written).initial
