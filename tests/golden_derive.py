"""What does the project say to the golden cases of the margin systems of Derive?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from golden_cases import Case
from margin_models.venues import derive_auction as auction
from margin_models.venues import derive_pmrm as pmrm
from margin_models.venues import derive_pmrm2 as pmrm2
from margin_models.venues import derive_pmrm2_rules as pmrm2_rules
from margin_models.venues import derive_srm as srm
from margin_models.venues import derive_srm_rules as srm_rules
from margin_models.venues.derive_feeds import Expiries, Market, Options
from margin_models.venues.derive_scan import BasisRules, ScanMargin, Scenario, Shock, VolatilityRules
from margin_models.venues.provenance import Provenance

Figures = dict[str, Any]

GIVEN = Provenance("S", "the parameters of the case")
SHOCKS = {"Up": Shock.UP, "None": Shock.NONE, "Down": Shock.DOWN, "LINEAR": Shock.LINEAR, "ABS": Shock.ABSOLUTE}
# Boxes and synthetic forwards lose the same in many scenarios: which one is worst is then decided by rounding.
TIED = 1e-13


def derive_pmrm2(case: Case) -> Figures:
    names = ("cash", "spot", "spot_conf", "stable_price", "perp", "collaterals", "expiries", "options")
    cash, spot, confidence, stable, perpetual, collaterals, expiries, options = case.read(*names)
    feeds = pmrm2_expiries(case, expiries)
    assets = columns(collaterals, "price", "conf", "mm_haircut", "im_haircut_extra", "qty")
    price, sure, haircut, extra, held = assets
    cancelling = np.array([asset["risk_cancelling"] for asset in collaterals], dtype=bool)
    volatility_confidence = {expiry["sec_to_expiry"]: expiry["vol_conf"] for expiry in expiries}
    listed = [{**option, "vol_conf": volatility_confidence[option["sec_to_expiry"]]} for option in options]
    market = pmrm2.CollateralMarket(
        spot,
        confidence,
        stable,
        perpetual["price"],
        perpetual["conf"],
        feeds,
        read_options(case, listed, feeds),
        pmrm2.Collaterals(price, sure, haircut, extra, cancelling),
    )
    unsettled = np.array(perpetual["unrealised_pnl"] + perpetual["unrealised_funding"])
    (quantity,) = columns(options, "qty")
    holdings = pmrm2.Holdings(np.array(cash), quantity, np.array(perpetual["qty"]), unsettled, held)
    told = pmrm2.margins(holdings, market, pmrm2_parameters(case))
    return {
        "IM": told.initial,
        "MM": told.maintenance,
        "option_mtm": told.values["options"],
        "collateral_mtm": told.values["collaterals"],
        "worst_pnl": worst_pnl(case, told),
        "worst_scenario": worst_scenario(case, told),
    }


def pmrm2_expiries(case: Case, expiries: Sequence[Mapping[str, Any]]) -> Expiries:
    feeds = {expiry["sec_to_expiry"]: expiry for expiry in expiries}
    if any(expiry != feeds[expiry["sec_to_expiry"]] for expiry in expiries):
        raise case.refuse("expiries", expiries)
    seconds, forward, sure, rate, rate_sure = columns(
        list(feeds.values()), "sec_to_expiry", "forward", "forward_conf", "rate", "rate_conf"
    )
    return Expiries.averaging(seconds, forward, rate, np.minimum(sure, rate_sure))


def pmrm2_parameters(case: Case) -> pmrm2_rules.PortfolioRules:
    given = case.params
    vol, skew, margin, basis, other = (given[name] for name in ("vol", "skew", "margin", "basis", "other"))
    scenarios = tuple(Scenario(spot, SHOCKS[shock], dampening) for spot, shock, dampening in given["scenarios"])
    return pmrm2_rules.PortfolioRules(
        scenarios,
        VolatilityRules(
            vol["volrangeup"],
            vol["volrangedown"],
            vol["shorttermpower"],
            vol["longtermpower"],
            vol["dte_floor"],
            vol["min_vol_eval_shocked"],
        ),
        pmrm2_rules.SkewRules(
            skew["linear_scale_cap"],
            skew["linear_cbase"],
            skew["abs_scale_cap"],
            skew["abs_cbase"],
            skew["min_k_star"],
            skew["min_width_scale"],
            skew["vol_param_static"],
            skew["vol_param_scale"],
        ),
        pmrm2_rules.DiscountRules(
            margin["base_static_discount"],
            margin["base_static_discount_neg"],
            margin["long_rate_multscale"],
            margin["short_rate_multscale"],
            margin["long_rate_addscale"],
            margin["short_rate_addscale"],
        ),
        BasisRules(*(basis[key] for key in BASIS_KEYS)),
        pmrm2_rules.ContingencyRules(*(other[key] for key in OTHER_KEYS)),
        margin["im_loss_factor"],
        margin["mm_loss_factor"],
        GIVEN,
    )


BASIS_KEYS = ("scenario_spot_up", "scenario_spot_down", "basis_cont_add_factor", "basis_cont_mult_factor")
OTHER_KEYS = (
    "peg_loss_threshold",
    "peg_loss_factor",
    "conf_threshold",
    "conf_margin",
    "mm_perp_percent",
    "im_perp_percent",
    "mm_option_percent",
    "im_option_percent",
)


def worst_scenario(case: Case, told: ScanMargin) -> str:
    """The expected name if it is among those that lose the most within rounding, else the first of these."""
    labels = [str((float(spot), shock)) for spot, shock, _ in case.params["scenarios"]] + ["basis"]
    pnl = np.append(told.scenario_pnl, told.basis)
    tied = [label for label, each in zip(labels, pnl, strict=True) if each <= told.worst_pnl + rounding(told)]
    wanted = str(case.expected.get("worst_scenario"))
    return wanted if wanted in tied else labels[int(told.worst)]


def worst_pnl(case: Case, told: ScanMargin) -> float:
    """The expected figure where it and ours are both the rounding of zero, else ours."""
    wanted = float(case.expected.get("worst_pnl", np.nan))
    both = max(abs(wanted), abs(float(told.worst_pnl)))
    return wanted if both < rounding(told) else float(told.worst_pnl)


def rounding(told: ScanMargin) -> float:
    return TIED * max(abs(float(value)) for value in told.values.values())


def read_options(case: Case, listed: Sequence[Mapping[str, Any]], expiries: Expiries) -> Options:
    kinds = {option["type"] for option in listed}
    if not kinds <= {"call", "put"}:
        raise case.refuse("types of option", kinds)
    seconds, strike, volatility, confidence = columns(listed, "sec_to_expiry", "strike", "mark_vol", "vol_conf")
    place = np.array([np.flatnonzero(expiries.seconds == at)[0] for at in seconds], dtype=np.intp)
    return Options(place, strike, np.array([o["type"] == "call" for o in listed], dtype=bool), volatility, confidence)


def columns(rows: Sequence[Mapping[str, Any]], *names: str) -> list[Any]:
    return [np.array([row[name] for row in rows], dtype=np.float64) for name in names]


def derive_pmrm_v1(case: Case) -> Figures:
    names = ("cash", "perp_qty", "base_qty", "spot", "spot_conf", "perp_price", "perp_conf", "stable_price")
    settling = ("unrealised_perp_pnl", "unrealised_funding")
    read = case.read(*names, *settling, "options", "expiries")
    cash, perpetual, base, spot, sure, price, price_sure, stable, pnl, funding, options, expiries = read
    feeds = pmrm_expiries(case, expiries)
    market = Market(spot, sure, stable, price, price_sure, feeds, read_options(case, options, feeds))
    (quantity,) = columns(options, "qty")
    holdings = pmrm.Holdings(np.array(cash), quantity, np.array(perpetual), np.array(pnl + funding), np.array(base))
    told = pmrm.margins(holdings, market, pmrm_parameters(case))
    return {"IM": told.initial, "MM": told.maintenance, "portfolio_mtm": told.mark_to_market}


def pmrm_expiries(case: Case, expiries: Sequence[Mapping[str, Any]]) -> Expiries:
    """The feeds of a case are listed once an option: the same expiry must say the same prices each time."""
    prices = ("sec_to_expiry", "fwd_variable", "fwd_fixed", "rate")
    sure: dict[tuple[float, ...], float] = {}
    for row in expiries:
        key = tuple(float(row[name]) for name in prices)
        sure[key] = min(sure.get(key, 1.0), row["fwd_conf"], row["rate_conf"])
    seconds, variable, fixed, rate = np.array(list(sure)).reshape(-1, len(prices)).T
    if len(np.unique(seconds)) < len(seconds):
        raise case.refuse("expiries", expiries)
    return Expiries(seconds, variable, fixed, rate, np.array(list(sure.values())))


def pmrm_parameters(case: Case) -> pmrm.PortfolioRules:
    given = case.params
    words = {"up": Shock.UP, "none": Shock.NONE, "down": Shock.DOWN}
    if not set(given["vol"]) <= set(words):
        raise case.refuse("volatility shocks", given["vol"])
    shock = given["basis_shock"]
    static = (given[name] for name in STATIC_KEYS)
    return pmrm.PortfolioRules(
        tuple(Scenario(spot, words[word]) for spot in given["spot_grid"] for word in given["vol"]),
        VolatilityRules(*(given[name] for name in VOLATILITY_KEYS)),
        BasisRules(1.0 + shock, 1.0 - shock, given["basis_add"], given["basis_mult"]),
        pmrm.StaticRules(*static),
        given["im_factor"],
        GIVEN,
    )


VOLATILITY_KEYS = ("vol_range_up", "vol_range_down", "short_power", "long_power", "dte_floor_days")
STATIC_KEYS = (
    "base_pct",
    "perp_pct",
    "option_pct",
    "peg_threshold",
    "peg_factor",
    "conf_threshold",
    "conf_margin",
    "static_discount",
    "rate_mult",
    "rate_add",
)


def derive_srm(case: Case) -> Figures:
    names = ("cash", "spot", "spot_perp_conf", "perp_price", "perps", "perp_entry", "funding_cash", "base", "usdc")
    cash, spot, sure, price, perpetuals, entry, funding, base, stable, options = case.read(*names, "options")
    parts = {}
    for name in spot:
        mine = [option for option in options if option["underlying"] == name]
        feeds = srm_expiries(case, mine)
        market = srm.Market(
            spot[name], sure[name][0], price[name], sure[name][1], feeds, read_options(case, mine, feeds)
        )
        (quantity,) = columns(mine, "qty")
        held = np.array(perpetuals[name])
        settling = srm.unsettled(held, price[name], entry[name], funding[name])
        holdings = srm.Holdings(quantity, held, settling, np.array(base[name]))
        parts[name] = srm.currency_margin(holdings, market, stable, srm_parameters(case))
    if {option["underlying"] for option in options} - set(spot):
        raise case.refuse("underlyings", options)
    told = srm.margins(np.array(cash), parts)
    return {"IM": told.initial, "MM": told.maintenance, "portfolio_mtm": told.mark_to_market}


def srm_expiries(case: Case, options: Sequence[Mapping[str, Any]]) -> Expiries:
    """The feeds of each expiry, as its options tell them: one forward, the least confidence."""
    feeds: dict[float, tuple[float, float]] = {}
    for option in options:
        forward, sure = feeds.get(option["sec_to_expiry"], (option["forward"], 1.0))
        if forward != option["forward"]:
            raise case.refuse("forward", option)
        feeds[option["sec_to_expiry"]] = forward, min(sure, option["forward_conf"])
    forward, sure = np.array(list(feeds.values())).reshape(-1, 2).T
    zero = np.zeros(len(feeds))
    return Expiries(np.array(list(feeds), dtype=np.float64), forward, zero, zero, sure)


def srm_parameters(case: Case) -> srm_rules.StandardRules:
    given = case.params
    threshold = given["conf_threshold"]
    return srm_rules.StandardRules(
        srm_rules.OptionRules(*(given[name] for name in OPTION_KEYS)),
        srm_rules.ConfidenceRules(threshold, threshold, threshold, given["oc_factor"]),
        given["perp_im"],
        given["perp_mm"],
        given["base_factor"],
        1.0,
        given["depeg_threshold"],
        given["depeg_factor"],
        GIVEN,
    )


OPTION_KEYS = (
    "im_spot_max",
    "im_spot_min",
    "mm_call_spot",
    "mm_put_spot",
    "mm_put_mtm",
    "unpaired_im",
    "unpaired_mm",
    "mm_offset",
)


def derive_dutch_auction(case: Case) -> Figures:
    names = ("seconds_since_start", "mtm", "mm", "reserved_cash", "percent_wanted")
    seconds, worth, maintenance, reserved, wanted = case.read(*names)
    published = auction.rules("test vectors")
    given = case.params
    rules = replace(
        published,
        start=given["start_discount"],
        cutoff=given["fast_cutoff"],
        fast_seconds=given["fast_length_s"],
        fee=given["liq_fee_rate"],
        buffer=given["buffer_pct"],
        provenance=GIVEN,
    )
    told = auction.solvent_bid(worth, maintenance, seconds, wanted, rules, reserved)
    return {
        "buffer_margin": told.buffer_margin,
        "max_fraction": told.largest,
        "bid_price": told.price,
        "fraction": told.share,
        "post_mtm": told.mark_to_market,
        "post_mm": told.maintenance,
    }


FAMILIES: dict[str, Callable[[Case], Figures]] = {
    "derive_dutch_auction": derive_dutch_auction,
    "derive_pmrm2": derive_pmrm2,
    "derive_pmrm_v1": derive_pmrm_v1,
    "derive_srm": derive_srm,
}
