"""What does a small market of Derive's say of an account?"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st

from data import Floats
from margin_models.venues import (
    derive_auction,
    derive_pmrm,
    derive_pmrm2,
    derive_pmrm2_rules,
    derive_srm,
    derive_srm_rules,
)
from margin_models.venues.derive_feeds import Expiries, Market, Options

SPOT, STABLE = 1_500.0, 1.0
DAY = 86_400.0
FORWARD = np.array([1_505.0, 1_540.0])
EXPIRIES = Expiries.averaging(np.array([6.0, 90.0]) * DAY, FORWARD, np.array([0.05, 0.10]), np.ones(2))
OPTIONS = Options(
    np.array([0, 0, 0, 1, 1, 1]),
    np.array([1_500.0, 1_500.0, 1_800.0, 1_200.0, 1_600.0, 1_600.0]),
    np.array([True, False, True, False, True, False]),
    np.array([0.8, 0.8, 0.9, 0.7, 0.65, 0.65]),
    np.ones(6),
)
COLLATERALS = derive_pmrm2.Collaterals(
    np.array([SPOT, 1.0]), np.ones(2), np.array([0.015, 0.08]), np.array([0.005, 0.02]), np.array([True, False])
)
RULES2 = derive_pmrm2_rules.rules("test vectors")
RULES1 = derive_pmrm.rules("test vectors")
STANDARD = derive_srm_rules.rules("test vectors")
AUCTION = derive_auction.rules("test vectors")
MARKET2 = derive_pmrm2.CollateralMarket(SPOT, 1.0, STABLE, 1_505.0, 1.0, EXPIRIES, OPTIONS, COLLATERALS)
MARKET1 = Market(SPOT, 1.0, STABLE, 1_505.0, 1.0, EXPIRIES, OPTIONS)
MARKET_SRM = derive_srm.Market(SPOT, 1.0, 1_505.0, 1.0, EXPIRIES, OPTIONS)
NOTHING = np.zeros(6)


def held(options: Floats = NOTHING, cash: Any = 0.0, perpetual: Any = 0.0, base: Any = 0.0) -> dict[str, Floats]:
    return {
        "options": np.asarray(options, np.float64),
        "cash": np.asarray(cash, np.float64),
        "perpetual": np.asarray(perpetual, np.float64),
        "base": np.asarray(base, np.float64),
    }


def only(place: int, quantity: float = -1.0) -> Floats:
    return np.where(np.arange(6) == place, quantity, 0.0)


def pmrm2(account: Mapping[str, Floats], market: derive_pmrm2.CollateralMarket = MARKET2, rules: Any = RULES2) -> Any:
    stables = np.zeros_like(account["base"])
    collaterals = np.stack([account["base"], stables], axis=-1)[..., : len(market.collaterals)]
    settling = np.zeros_like(account["cash"])
    return derive_pmrm2.margins(
        derive_pmrm2.Holdings(account["cash"], account["options"], account["perpetual"], settling, collaterals),
        market,
        rules,
    )


def pmrm(account: Mapping[str, Floats], market: Market = MARKET1) -> Any:
    holdings = derive_pmrm.Holdings(
        account["cash"], account["options"], account["perpetual"], np.zeros_like(account["cash"]), account["base"]
    )
    return derive_pmrm.margins(holdings, market, RULES1)


def srm(account: Mapping[str, Floats], market: derive_srm.Market = MARKET_SRM, stable: float = STABLE) -> Any:
    holdings = derive_srm.Holdings(
        account["options"], account["perpetual"], np.zeros_like(account["cash"]), account["base"]
    )
    part = derive_srm.currency_margin(holdings, market, stable, STANDARD)
    return derive_srm.margins(account["cash"], {"ETH": part})


SYSTEMS: dict[str, Callable[..., Any]] = {"PMRM_2": pmrm2, "PMRM": pmrm, "SRM": srm}
MARKETS: dict[str, Any] = {"PMRM_2": MARKET2, "PMRM": MARKET1, "SRM": MARKET_SRM}
SIZES = st.floats(-20.0, 20.0).map(lambda size: round(size, 3))
ACCOUNTS = st.fixed_dictionaries(
    {
        "options": st.lists(SIZES, min_size=6, max_size=6).map(np.array),
        "cash": st.floats(-1e4, 1e4).map(np.asarray),
        "perpetual": SIZES.map(np.asarray),
        "base": st.floats(0.0, 20.0).map(np.asarray),
    }
)


def told(margin: Any) -> Floats:
    return np.array([margin.initial, margin.maintenance, margin.mark_to_market])
