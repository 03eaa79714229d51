from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from data import Floats
from data.pricing import black76
from derive_accounts import (
    ACCOUNTS,
    AUCTION,
    EXPIRIES,
    FORWARD,
    MARKET1,
    MARKET2,
    MARKET_SRM,
    MARKETS,
    OPTIONS,
    RULES1,
    RULES2,
    SPOT,
    SYSTEMS,
    held,
    only,
    pmrm,
    pmrm2,
    srm,
    told,
)
from margin_models.venues import derive_auction, derive_pmrm2, derive_srm
from margin_models.venues.derive_feeds import Expiries, Options
from margin_models.venues.derive_scan import BASIS, Scenario, Shock

FEW = settings(max_examples=30, deadline=None)
every_system = pytest.mark.parametrize("system", SYSTEMS)


def same(left: Any, right: Any) -> None:
    assert_allclose(told(left), told(right), rtol=1e-9, atol=1e-7)


def mark(place: int, spot: float = 1.0, scale: float = 1.0) -> float:
    expiry = OPTIONS.expiry[place]
    deviation = OPTIONS.volatility[place] * scale * np.sqrt(EXPIRIES.tenor[expiry])
    return float(black76(FORWARD[expiry] * spot, OPTIONS.strike[place], deviation, OPTIONS.call[place]))


# --- what every one of the three does ---


@every_system
@FEW
@given(account=ACCOUNTS, more=st.floats(0.0, 1e4))
def test_cash_counts_one_to_one(system: str, account: dict[str, Floats], more: float) -> None:
    before, after = (SYSTEMS[system]({**account, "cash": account["cash"] + add}) for add in (0.0, more))
    assert_allclose(told(after) - told(before), more, rtol=1e-9, atol=1e-6)


@every_system
@FEW
@given(account=ACCOUNTS, more=st.floats(0.0, 20.0))
def test_more_collateral_never_lowers_a_margin(system: str, account: dict[str, Floats], more: float) -> None:
    before, after = (SYSTEMS[system]({**account, "base": account["base"] + add}) for add in (0.0, more))
    assert (told(after) >= told(before) - 1e-6).all()


@every_system
@FEW
@given(account=ACCOUNTS, order=st.permutations(range(6)))
def test_the_order_of_options_does_not_matter(system: str, account: dict[str, Floats], order: list[int]) -> None:
    market = replace(MARKETS[system], options=OPTIONS.only(np.array(order)))
    same(SYSTEMS[system]({**account, "options": account["options"][order]}, market), SYSTEMS[system](account))


@every_system
@FEW
@given(account=ACCOUNTS, place=st.integers(0, 5), part=st.floats(-2.0, 2.0))
def test_a_position_may_be_listed_in_parts(system: str, account: dict[str, Floats], place: int, part: float) -> None:
    twice = np.append(np.arange(6), place)
    quantity = account["options"][twice] * np.where(np.arange(7) == 6, part, 1.0)
    quantity[place] -= quantity[6]
    market = replace(MARKETS[system], options=OPTIONS.only(twice), spot_confidence=0.1)
    whole = replace(MARKETS[system], spot_confidence=0.1)
    same(SYSTEMS[system]({**account, "options": quantity}, market), SYSTEMS[system](account, whole))


@every_system
@FEW
@given(account=ACCOUNTS, times=st.floats(0.1, 10.0))
def test_twice_the_account_has_twice_the_margin(system: str, account: dict[str, Floats], times: float) -> None:
    larger = SYSTEMS[system]({name: value * times for name, value in account.items()})
    assert_allclose(told(larger), told(SYSTEMS[system](account)) * times, rtol=1e-9, atol=1e-6)


@every_system
@FEW
@given(accounts=st.lists(ACCOUNTS, min_size=1, max_size=4))
def test_many_accounts_at_once_are_each_by_itself(system: str, accounts: list[dict[str, Floats]]) -> None:
    together = SYSTEMS[system]({name: np.stack([each[name] for each in accounts]) for name in accounts[0]})
    apart = np.stack([told(SYSTEMS[system](each)) for each in accounts], axis=1)
    assert_allclose(told(together), apart, rtol=1e-9, atol=1e-7)


@every_system
def test_an_empty_account_needs_nothing(system: str) -> None:
    market = replace(MARKETS[system], options=OPTIONS.only(np.zeros(0, dtype=np.intp)))
    assert (told(SYSTEMS[system](held(np.zeros(0), cash=7.0), market)) == 7.0).all()
    assert (told(SYSTEMS[system](held(cash=7.0))) == 7.0).all()


@every_system
def test_unsure_feeds_cost_initial_margin_alone(system: str) -> None:
    account = held(only(0), perpetual=2.0, base=3.0)
    sure, unsure = (SYSTEMS[system](account, replace(MARKETS[system], spot_confidence=c)) for c in (1.0, 0.2))
    assert unsure.initial < sure.initial
    assert unsure.maintenance == sure.maintenance


@every_system
def test_the_feed_of_a_perpetual_matters_to_who_holds_one(system: str) -> None:
    market = replace(MARKETS[system], perpetual_confidence=0.1)
    same(SYSTEMS[system](held(only(0)), market), SYSTEMS[system](held(only(0))))
    both = [SYSTEMS[system](held(only(0), perpetual=1.0), m).initial for m in (market, MARKETS[system])]
    assert both[0] < both[1]


# --- feeds ---


def test_the_forward_becomes_the_settlement_price_over_the_last_half_hour() -> None:
    last = Expiries.averaging(np.array([0.0, 450.0, 1_800.0, 1e6]), np.full(4, 2_000.0), np.zeros(4), np.ones(4))
    assert_allclose(last.variable, [0.0, 500.0, 2_000.0, 2_000.0])
    assert_allclose(last.forward, 2_000.0)


def test_a_call_held_makes_up_for_a_put_sold_at_its_strike() -> None:
    quantity = np.array([[-2.0, 1.5, 0.0, -1.0, 0.0, 0.0], [1.0, -3.0, -1.0, 0.0, -1.0, -1.0]])
    assert_allclose(OPTIONS.naked_shorts(quantity), [0.5 + 1.0, 2.0 + 1.0 + 2.0])


def test_what_is_held_and_sold_of_one_contract_nets_before_it_is_counted() -> None:
    twice = OPTIONS.only(np.array([0, 0, 1]))
    assert_allclose(twice.gross(np.array([3.0, -1.0, -4.0]), 2), [6.0, 0.0])


# --- PMRM_2 ---


def test_pmrm2_of_a_perpetual_by_hand() -> None:
    margin = pmrm2(held(perpetual=1.0))
    assert_allclose(margin.worst_pnl, -0.18 * 1_505)
    assert_allclose(margin.maintenance, -0.8 * 0.18 * 1_505 - 0.015 * SPOT)
    assert_allclose(margin.initial, -0.18 * 1_505 - (0.015 + 0.005) * SPOT)
    assert margin.worst_scenario == "spot -18 %, volatility up"


def test_pmrm2_of_a_short_call_by_hand() -> None:
    margin = pmrm2(held(only(0)))
    years = 6 / 365
    discount = np.exp(-0.05 * years)
    up = 1 + 0.5 * (30 / 6) ** 0.30
    owed = min(1 / discount, 1.04 * np.exp(years * (0.05 * 0.5 + 0.08)))
    worst = -(discount * mark(0, 1.18, up) * owed - discount * mark(0))
    assert_allclose(margin.mark_to_market, -discount * mark(0))
    assert_allclose(margin.worst_pnl, worst)
    assert_allclose(margin.initial, worst - 0.005 * SPOT - discount * mark(0))
    assert_allclose(margin.maintenance, 0.8 * worst - 0.003 * SPOT - discount * mark(0))


def test_pmrm2_margins_are_the_sum_of_their_parts() -> None:
    margin = pmrm2(held(np.array([-3.0, 2.0, 5.0, -1.0, -2.0, 4.0]), 100.0, -2.0, 3.0))
    always, initially = sum(margin.maintenance_contingencies.values()), sum(margin.initial_contingencies.values())
    value = sum(margin.values.values())
    assert_allclose(margin.mark_to_market, value)
    assert_allclose(margin.maintenance, margin.worst_pnl * 0.8 - always + value)
    assert_allclose(margin.initial, margin.worst_pnl * 1.0 - always - initially + value)


def test_pmrm2_names_the_basis_contingency_where_no_scenario_is_worse() -> None:
    assert pmrm2(held(cash=1.0)).worst_scenario == BASIS
    assert pmrm2(held(cash=1.0)).worst == len(RULES2.scenarios)


@pytest.mark.parametrize(
    ("moneyness", "slope", "expected"),
    [
        # Published beside cases 128 and 61: strike 1367 on 2745.249, 616, 5931, 9988, with a cap of -5.776.
        (np.log(1_367 / 2_745.2490272903915), -10.0, 6.776482842615451),
        (np.log(616 / 2_745.2490272903915), -10.0, 7.734152138281604),
        (np.log(5_931 / 2_745.2490272903915), -10.0, -4.776482842615451),
        (np.log(9_988 / 2_745.2490272903915), -10.0, -4.819966534680605),
    ],
)
def test_a_skew_of_negative_cap_follows_the_published_figures(moneyness: float, slope: float, expected: float) -> None:
    one = np.ones(1)
    expiries = Expiries.averaging(np.array([11_076_452.0]), one, one, one)
    option = Options(np.array([0]), np.exp(np.array([moneyness])), np.array([True]), one, one)
    rules = replace(RULES2.skew, linear_slope=slope)
    assert_allclose(derive_pmrm2.skew_multiplier(option, expiries, Shock.LINEAR, rules), expected, rtol=1e-12)


def test_every_expiry_loses_in_a_skew_whichever_way_it_is_held() -> None:
    skews = replace(RULES2, scenarios=(Scenario(1.0, Shock.LINEAR), Scenario(1.0, Shock.ABSOLUTE)))
    for sign in (-1.0, 1.0):
        assert (pmrm2(held(only(2, sign)), rules=skews).scenario_pnl < 0).all()


def test_pmrm2_does_not_value_a_rate_below_zero() -> None:
    def at(rate: float) -> Any:
        expiries = replace(EXPIRIES, rate=np.full(2, rate))
        return pmrm2(held(np.array([1.0, -2.0, 1.0, 1.0, -1.0, 1.0])), replace(MARKET2, expiries=expiries))

    same(at(-0.3), at(0.0))


def test_an_expired_option_is_worth_what_it_settles_at() -> None:
    expiries = Expiries.averaging(np.zeros(2), FORWARD, np.zeros(2), np.ones(2))
    margin = pmrm2(held(only(0)), replace(MARKET2, expiries=expiries))
    assert_allclose(margin.mark_to_market, -5.0)
    assert_allclose(margin.worst_pnl, 0.0, atol=1e-12)


def test_a_stablecoin_below_its_peg_raises_the_initial_factor() -> None:
    margin = pmrm2(held(only(0)), replace(MARKET2, stable_price=0.9))
    assert_allclose(margin.initial_factor, 1.0 + 0.08 * 2.0)
    assert margin.maintenance == pmrm2(held(only(0))).maintenance


def test_unit_values_once_serve_every_account() -> None:
    units = derive_pmrm2.unit_values(OPTIONS, EXPIRIES, RULES2)
    assert units.shocked.shape == (6, len(RULES2.scenarios))
    account = held(np.array([-3.0, 2.0, 5.0, -1.0, -2.0, 4.0]))
    none = np.asarray(0.0)
    holdings = derive_pmrm2.Holdings(none, account["options"], none, none, np.zeros(2))
    same(derive_pmrm2.margins(holdings, MARKET2, RULES2, units), pmrm2(account))


# --- PMRM ---


def test_pmrm_of_a_perpetual_as_published() -> None:
    margin = pmrm(held(perpetual=1.0))
    assert_allclose(told(margin), [-332.475, -255.75, 0.0], atol=1e-12)


def test_pmrm_discounts_only_what_is_worth_more_than_nothing() -> None:
    long, short = pmrm(held(only(0, 1.0))), pmrm(held(only(0)))
    static = 0.95 * np.exp(-6 / 365 * (4 * 0.05 + 0.05))
    quiet = [s.spot == 1.0 and s.shock is Shock.NONE for s in RULES1.scenarios].index(True)
    assert_allclose(long.scenario_pnl[quiet], (static - 1.0) * mark(0))
    assert_allclose(short.scenario_pnl[quiet], 0.0, atol=1e-12)


def test_pmrm_margins_are_the_sum_of_their_parts() -> None:
    account = held(np.array([-3.0, 2.0, 5.0, -1.0, -2.0, 4.0]), 100.0, -2.0, 3.0)
    margin = pmrm(account, replace(MARKET1, spot_confidence=0.3, stable_price=0.95))
    always, initially = sum(margin.maintenance_contingencies.values()), sum(margin.initial_contingencies.values())
    assert_allclose(margin.initial_factor, 1.3 + 0.03 * 2)
    assert_allclose(margin.maintenance, margin.worst_pnl - always + margin.mark_to_market)
    expected = margin.worst_pnl * margin.initial_factor - always - initially + margin.mark_to_market
    assert_allclose(margin.initial, expected)


# --- SRM ---


def test_srm_of_a_short_call_by_hand() -> None:
    at, away = srm(held(only(0))), srm(held(only(2)))
    assert_allclose(told(at), [-0.15 * SPOT - mark(0), -0.075 * SPOT - mark(0), -mark(0)])
    assert_allclose(away.initial, -0.10 * SPOT - mark(2))


def test_srm_of_a_deep_put_grows_with_its_mark() -> None:
    deep = replace(OPTIONS, strike=np.where(np.arange(6) == 1, 4_500.0, OPTIONS.strike))
    margin = srm(held(only(1)), replace(MARKET_SRM, options=deep))
    worth = float(black76(FORWARD[0], 4_500.0, 0.8 * np.sqrt(6 / 365), False))
    assert_allclose(margin.maintenance, -1.075 * worth)
    assert_allclose(margin.initial, -1.05 * 1.075 * worth)


def test_srm_of_a_spread_is_what_it_can_lose_where_that_is_less() -> None:
    spread = held(np.array([-1.0, 0.0, 1.0, 0.0, 0.0, 0.0]))
    deep = replace(MARKET_SRM, spot=1_900.0)
    part = srm(spread, deep).currencies["ETH"]
    assert_allclose(part.bounded.initial, [-300.0, 0.0])
    assert part.worst_price[0] == 1_800.0
    assert_allclose(srm(spread, deep).initial, max(-300.0, -0.15 * 1_900 - mark(0)))


def test_srm_charges_calls_that_no_call_held_covers() -> None:
    part = srm(held(np.array([-3.0, 0.0, 1.0, 0.0, 0.0, 0.0]))).currencies["ETH"]
    assert_allclose(part.bounded.initial[0], -3 * 300.0 - 1.2 * 2 * FORWARD[0])
    assert_allclose(part.bounded.maintenance[0], -3 * 300.0 - 1.1 * 2 * FORWARD[0])


def test_srm_of_a_depegged_coin_by_hand() -> None:
    account = held(only(0, -2.0), perpetual=-3.0)
    assert_allclose(srm(account).initial - srm(account, stable=0.9).initial, (0.98 - 0.9) * 1.2 * (2 + 3) * SPOT)
    assert srm(account).maintenance == srm(account, stable=0.9).maintenance


def test_srm_adds_currencies() -> None:
    part = srm(held(only(0))).currencies["ETH"]
    both = derive_srm.margins(np.asarray(10.0), {"ETH": part, "BTC": part})
    assert_allclose(told(both) - 10.0, 2 * told(srm(held(only(0)))))


# --- the auction ---


def test_a_second_bid_leaves_the_cash_of_the_first_alone() -> None:
    # Published case 4, second bid: a tenth of what there was, a ninth of what is left.
    bid = derive_auction.solvent_bid(
        118.42583427825202, -81.73109368534716, 30, 0.1 / 0.9, AUCTION, reserved=11.047987360634837
    )
    assert_allclose(bid.largest, 0.524290585958138816)
    assert_allclose(bid.price, 11.047987360634837)
    assert_allclose(bid.mark_to_market, 117.5429497591516)
    assert_allclose(bid.maintenance, -60.3743195418254)


def test_the_fee_of_an_auction_as_published() -> None:
    assert_allclose(derive_auction.starting_fee(120.62841481094006, -101.76853486036431, AUCTION), 1.322084630165343)


@FEW
@given(
    worth=st.floats(1.0, 1e4), missing=st.floats(0.1, 1e4), seconds=st.floats(0.0, 14_000.0), kept=st.floats(0.0, 0.9)
)
def test_the_largest_lot_brings_the_buffer_margin_to_zero(
    worth: float, missing: float, seconds: float, kept: float
) -> None:
    bid = derive_auction.solvent_bid(worth, -missing, seconds, 1.0, AUCTION, reserved=kept * worth)
    left = derive_auction.buffer_margin(bid.maintenance, bid.mark_to_market, AUCTION)
    assert bid.ended
    assert 0 < bid.largest <= 1
    assert_allclose(left, 0.0, atol=1e-9 * (worth + missing))


def test_an_insolvent_account_costs_more_the_longer_it_waits() -> None:
    price = derive_auction.insolvent_price(-50.0, -250.0, [0, 300, 600, 9_000], AUCTION)
    assert_allclose(price, [-50.0, -150.0, -250.0, -250.0])
    assert_allclose(derive_auction.insolvent_price(20.0, -250.0, 0, AUCTION), 0.0)
    assert derive_auction.insolvent_price(20.0, 1.0, 600, AUCTION) == 0.0
