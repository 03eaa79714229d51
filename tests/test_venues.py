import math
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad
from scipy.stats import lognorm

from data import Floats
from margin_models.venues import (
    aevo,
    dederi,
    deribit,
    deribit_legacy,
    drift,
    dydx,
    okx,
    paradex,
    span_arrays,
    synthetix,
    vega,
)

BTC, ETH = deribit.pair("BTC_USD"), deribit.pair("ETH_USD")
SIZES = st.floats(-1e4, 1e4, allow_nan=False)
FEW = settings(max_examples=40, deadline=None)


# --- Deribit ---


def eth_short_perpetual() -> tuple[Floats, Floats]:
    """The position of the recorded response of 15 February 2026: gains before and after the extended weights."""
    gains = deribit.inverse_pnl(np.array([-0.999487053]), deribit.grid(ETH).move)
    return gains, deribit.weighted(gains, ETH, 1949.34)


def test_a_recorded_response_is_recomputed() -> None:
    _, weighted = eth_short_perpetual()
    extended = deribit.grid(ETH).extended
    assert_allclose(weighted[0, extended], [0.219399597] * 2 + [-0.15246412672881357] * 6, rtol=1e-12)
    settled = deribit.currency("ETH")
    vector = deribit.risk_vector(eth_short_perpetual()[0], ETH, settled, 1949.34)
    assert_allclose(vector[0, 0:9:3], [0.13163975819999998, 0.09359358530982659, 0.05931022072747252], rtol=1e-12)
    assert_array_equal(vector[0, extended], np.zeros(8))
    told = deribit.portfolio_margin(vector, deribit.roll_shock([-0.999487053], [0.0], settled))
    assert_allclose(told.initial, 0.157461562, atol=1e-9)
    assert_allclose(told.maintenance, 0.125969249812, atol=1e-9)
    assert told.scenario[0] == 25


def test_the_grid_has_nine_buckets_of_three_volatilities_and_eight_tails() -> None:
    grid = deribit.grid(BTC)
    assert_allclose(grid.move[:27:3], np.linspace(-0.16, 0.16, 9), atol=1e-15)
    assert_array_equal(grid.direction[:3], [1, 0, -1])
    assert grid.extended.sum() == 8
    assert (grid.direction[grid.extended] == 1).all()
    assert grid.names[0] == "price -16%, volatility up"
    assert len(set(grid.names)) == 35


def test_volatility_rules_by_hand() -> None:
    # 7.5 days: 4 ** 0.3 = 1.5157; 120 days: 0.25 ** 0.13 = 0.8351
    shocked = deribit.shocked_volatility([0.6, 0.2, 0.6], [7.5, 7.5, 120.0], BTC)[:, :3]
    assert_allclose(shocked[0], [0.6 * (1 + 0.5 * 4**0.3), 0.6, 0.6 * (1 - 0.25 * 4**0.3)])
    assert_allclose(shocked[1, 0], 0.5)
    assert_allclose(shocked[2], [0.6 * (1 + 0.5 * 0.25**0.13), 0.6, 0.6 * (1 - 0.25 * 0.25**0.13)])
    assert deribit.shocked_volatility([0.6], [0.01], BTC)[0, 2] == 0.0


def test_a_large_linear_future_keeps_part_of_its_tail_after_the_dampener() -> None:
    grid, usd = deribit.grid(BTC), deribit.currency("USD")
    gains = deribit.linear_pnl(np.array([-100.0]), 50_000.0, grid.move)
    vector = deribit.risk_vector(gains, BTC, usd)
    # short 100 coins at 50,000: 16 % of 5m is lost in every weighted upward tail
    assert_allclose(deribit.weighted(gains, BTC, None)[0, grid.extended][2:], -800_000.0)
    assert_allclose(vector[0, -1], -(800_000 - (5 / 0.16 - 1) * 25_000))
    # a gain of 800,000 at -66 % shrinks by 78,125 and 40 % of the rest counts; at -16 % 40 % of it counts
    assert_allclose(vector[0, 27], 0.4 * (800_000 - (0.66 / 0.16 - 1) * 25_000))
    assert_allclose(vector[0, 0], 0.4 * 800_000)


def test_gains_beyond_what_may_be_offset_do_not_count() -> None:
    settled = replace(deribit.currency("ETH"), most_offset=100.0)
    assert_allclose(deribit.offset([-5.0, 0.01, 10.0], settled, 2000.0), [-5.0, 0.006, 0.05])


def test_the_roll_shock_grows_with_tenor_and_nets_within_an_expiry_only() -> None:
    btc = deribit.currency("BTC")
    assert_allclose(deribit.roll_shock([[2.0, -2.0]], [0.0, 0.5], btc), [2 * 0.01 + 2 * math.expm1(0.0375)])


def test_the_delta_shock_starts_at_its_threshold_and_is_capped() -> None:
    # 20m USD at 50,000 are 400 coins
    assert_allclose(deribit.delta_shock([399.0, -500.0, 5000.0], 50_000.0, BTC), [0.0, 500 * 0.00005 * 100, 500.0])


def test_currencies_add_up_scenario_by_scenario() -> None:
    first, second = np.array([[-5.0, 2.0]]), np.array([[3.0, -4.0]])
    settled = replace(deribit.currency("ETH"), pnl_offset=0.5)
    vector = sum(deribit.offset(each, settled, None) for each in (first, second))
    told = deribit.portfolio_margin(vector, roll=1.0, delta=0.5, market_maker=0.25, open_orders=0.125)
    assert_allclose(told.worst, 3.5)
    assert_allclose((told.risk_matrix, told.initial, told.maintenance), [[5.0], [5.375], [4.0]])
    assert told.scenario[0] == 1


@FEW
@given(st.lists(SIZES, min_size=1, max_size=5), st.floats(0.0, 20.0))
def test_without_a_dampener_the_matrix_is_homogeneous(held: list[float], scale: float) -> None:
    settled = replace(deribit.currency("BTC"), dampener=0.0)
    gains = deribit.inverse_pnl(np.array(held), deribit.grid(BTC).move).sum(axis=0)
    once, more = (
        deribit.portfolio_margin(deribit.risk_vector(g, BTC, settled, 5e4)).worst for g in (gains, scale * gains)
    )
    assert_allclose(more, scale * once, rtol=1e-9, atol=1e-9)


@FEW
@given(st.floats(0.0, 1e6), st.floats(0.0, 1e6))
def test_the_dampener_never_turns_a_loss_into_a_gain(size: float, dampener: float) -> None:
    gains = deribit.linear_pnl(np.array([-size]), 1.0, deribit.grid(BTC).move)
    shrunk = deribit.dampened(gains, BTC, dampener, None)
    assert (shrunk * gains >= 0).all()
    assert (np.abs(shrunk) <= np.abs(gains)).all()


def test_legacy_contingencies_are_those_of_the_page() -> None:
    rules = deribit_legacy.PARAMETERS["BTC"]
    # in strike X calls +10 and puts -20 are 10 net short; strike Y is net long
    options = deribit_legacy.option_contingency([10.0, -20.0, 5.0], [1e5, 1e5, 9e4], rules)
    assert_allclose(options, [0.1])
    # long 100 coins of one future and short 100 of another
    assert_allclose(deribit_legacy.contingency(options, [100.0, -100.0], [0.0], rules), [0.1 + 1.0])
    assert_allclose(deribit_legacy.margin([[-3.0, 2.0]], [1.1]), [4.1])


def test_earlier_legacy_rules_charge_every_option_and_offsetting_vega() -> None:
    rules = deribit_legacy.PARAMETERS["BTC, earlier"]
    options = deribit_legacy.option_contingency([[10.0, -20.0]], [1e5, 1e5], rules)
    assert_allclose(options, [0.3])
    assert_allclose(deribit_legacy.contingency(options, [1.0], [[10.0, -4.0]], rules), [0.3 + 0.25 * 4])
    assert_allclose(deribit_legacy.volatility_shock(7.5, rules), 0.8)


# --- OKX ---


def test_composition_takes_the_worst_market_charge_and_the_minimum() -> None:
    some = okx.Charges(spot_shock=5.0, theta_decay=7.0, extreme_move=6.0, vega_term=1.0, basis=2.0, interest_rate=3.0)
    assert okx.maintenance_margin(some) == 13.0
    assert okx.maintenance_margin(replace(some, minimum=20.0, stablecoin=4.0)) == 24.0
    assert_allclose(okx.margins(replace(some, minimum=[0.0, 20.0])).initial, [16.9, 26.0])


def test_the_published_example_of_the_scaling_factor() -> None:
    minimum = okx.minimum_charge(30_000.0)
    assert minimum == 50_000.0
    assert okx.maintenance_margin(okx.Charges(spot_shock=40_000.0, minimum=minimum)) == 50_000.0


def test_each_tier_multiplies_what_lies_in_it() -> None:
    by_hand = [10_000, 10_000 + 2 * 60_000 + 4 * 100_000, 10e3 + 120e3 + 400e3 + 780e3 + 1360e3 + 2300e3 + 12 * 1e5]
    assert_allclose(okx.minimum_charge([10_000.0, 170_000.0, 800_000.0]), by_hand)


def test_scan_grids_of_the_risk_units() -> None:
    assert_allclose(okx.extreme_moves(okx.risk_unit("majors")), [-0.36, 0.36])
    assert_allclose(okx.spot_moves(okx.risk_unit("others")), [-0.25, -0.16, -0.08, 0, 0.08, 0.16, 0.25])
    assert_allclose(okx.scan_risk([[-1.0, 4.0], [2.0, 3.0]]), [1.0, 0.0])


# --- Paradex ---


def test_there_are_24_scenarios_as_published() -> None:
    rules = paradex.PARAMETERS["portfolio margin"]
    assert len(set(rules.scenarios)) == 24
    spot, weight = paradex.spot_moves(), np.array([scenario.weight for scenario in rules.scenarios])
    assert_allclose(spot[[0, 1, 15, 16, 23]], [0.16, 0.12, -0.16, -0.66, 5.0])
    tails = np.abs(spot) > 0.16
    assert_allclose(weight[tails], 0.16 / np.abs(spot[tails]), atol=0.005)
    assert_array_equal(weight[~tails], 1.0)


def test_paradex_volatility_by_hand() -> None:
    shocked = paradex.shocked_volatility([0.5, 0.5, 0.5], [0.2, 30.0, 480.0])
    assert_allclose(shocked[:, 0], 0.5 * (1 + 0.4 * np.array([30**0.3, 1.0, 16**-0.13])))
    assert_allclose(shocked[:, 2], 0.5 * (1 - 0.22 * np.array([30**0.3, 1.0, 16**-0.13])))


def test_paradex_margin_of_a_perpetual_is_its_scan_risk() -> None:
    gains = 70_000.0 * paradex.spot_moves()
    scan, scenario = paradex.scan_risk(gains)
    assert_allclose(scan, 11_200.0)
    assert scenario[0] == 16
    told = paradex.margins(scan, paradex.delta_margin([1.0], 70_000.0).margin, provision=50.0)
    assert_allclose(told.initial, 11_250.0)
    assert_allclose(told.maintenance, 5_650.0)


def test_the_delta_minimum_binds_on_a_hedged_book() -> None:
    least = paradex.delta_margin([[3.0, -3.0]], 100.0)
    assert_allclose((least.net, least.hedged, least.margin), [[0.0], [3.0], [3.0]])
    assert_allclose(paradex.margins([0.0], least.margin), [[3.0], [1.5]])


# --- Aevo, dederi ---


def test_short_options_by_hand() -> None:
    told = aevo.short_option_margin(
        [-1.0, -1.0, -2.0, 3.0], 100.0, [100.0, 103.0, 50.0, 100.0], [True, True, False, True], [4.0, 2.0, 0.1, 4.0]
    )
    assert_allclose(told.initial, [19.0, 14.0, 20.2, 0.0])
    assert_allclose(told.maintenance, [14.0, 12.0, 20.2, 0.0])


def test_dederi_charges_gross_contracts_and_nets_their_moves() -> None:
    assert_allclose(dederi.futures_margin([[10.0, -10.0]], [100.0, 110.0], 100.0), [0.15 * 100.0 + 0.006 * 100 * 20])


# --- dYdX, Drift ---


@FEW
@given(st.integers(0, 10**13), st.integers(0, 2 * 10**14), st.sampled_from(sorted(dydx.PARAMETERS)))
def test_margin_in_whole_numbers_is_the_fraction_rounded_up(notional: int, interest: int, name: str) -> None:
    rule = dydx.tier(name)
    margin = dydx.initial_margin(notional, interest, rule)
    fraction = float(dydx.initial_fraction(interest / dydx.MILLION, rule))
    assert margin >= notional * dydx.initial_ppm(interest, rule) / dydx.MILLION - 1e-3
    assert abs(margin - notional * fraction) <= 1 + notional * 1.1e-6
    assert dydx.maintenance_margin(notional, rule) <= margin + 1


def test_open_interest_caps_by_hand() -> None:
    mid = dydx.tier("mid")
    assert_allclose(dydx.initial_fraction([0.0, 40e6, 70e6, 100e6, 1e9], mid), [0.05, 0.05, 0.525, 1.0, 1.0])
    assert dydx.initial_ppm(70_000_000 * dydx.MILLION, mid) == 525_000
    assert dydx.maintenance_margin(1_000_001, mid) == 30_001
    step = dydx.LiquidityTier(100_000, 500_000, 10, 10, mid.provenance)
    assert [dydx.initial_ppm(interest, step) for interest in (10, 11)] == [100_000, dydx.MILLION]


@FEW
@given(st.integers(0, 10**22), st.integers(0, 10**22), st.integers(0, 10**6), st.integers(0, 11_000))
def test_weights_worsen_with_size(size: int, more: int, factor: int, weight: int) -> None:
    small, large = size, size + more
    assert drift.liability_weight(large, factor, weight) >= drift.liability_weight(small, factor, weight) >= weight
    assert drift.asset_weight(large, factor, weight) <= drift.asset_weight(small, factor, weight) <= weight


@FEW
@given(st.integers(0, 10**9), st.integers(0, 10**5), st.integers(0, 20_000))
def test_the_weight_in_whole_numbers_is_the_fraction_rounded(size: int, factor: int, weight: int) -> None:
    fraction = drift.margin_fraction(float(size), factor / drift.FACTOR_PRECISION, weight / drift.WEIGHT_PRECISION)
    told = drift.liability_weight(size * drift.SIZE_PRECISION, factor, weight)
    assert abs(told - float(fraction) * drift.WEIGHT_PRECISION) <= 2.0


def test_a_perpetual_grows_its_ratio_with_size() -> None:
    # 100 units: root 1,000,000; ratio 1000 - 200 + 1e6 * 500 // 1e7 = 850, so the base of 10 % stands
    assert drift.perpetual_margin(100 * drift.SIZE_PRECISION, 2_000_000, 500, 1000) == 200_000
    assert drift.perpetual_margin(10_000 * drift.SIZE_PRECISION, 2_000_000, 500, 1000) == 2_000_000 * 1300 // 10_000
    assert drift.asset_weight(10**15, 0, 12_000) == 12_000


# --- Synthetix, Vega, SPAN ---


def test_a_trade_against_the_skew_fills_at_a_discount() -> None:
    assert_allclose(synthetix.fill_price(100.0, [10.0, -10.0], 20.0, 1000.0), [102.5, 101.5])


def test_an_empty_market_posts_nothing_and_withdrawals_keep_the_reward() -> None:
    market = synthetix.PerpetualMarket([100.0, 100.0], 2.0, 0.01, 0.5, 1000.0, 0.05)
    told = synthetix.margins([0.0, -2.0], [30_000.0, 30_000.0], market)
    assert_allclose(told.initial, [0.0, 4000.0])
    assert_allclose(told.maintenance, [0.0, 2500.0])
    assert_allclose(synthetix.withdrawable(10_000.0, [0.0, -2.0], [3e4, 3e4], market), 3000.0)
    assert_allclose(synthetix.available([5.0], [[1.0, -7.0]]), [-1.0])
    assert_allclose(synthetix.liquidation_limit(0.001, 1e6, 1.5, 30.0), 45_000.0)


def test_lognormal_tail_means_are_integrals() -> None:
    mu, sigma, tail = 0.1, 0.4, 0.05
    law = lognorm(sigma, scale=math.exp(mu))
    assert_allclose(vega.lognormal_quantile(mu, sigma, tail), law.ppf(tail), rtol=1e-12)
    mean = quad(law.ppf, 0.0, tail)[0] / tail
    assert_allclose(vega.lognormal_shortfall(mu, sigma, tail), mean, rtol=1e-7)
    time, volatility = 0.25, 0.8
    over = lognorm(volatility * math.sqrt(time), scale=math.exp((mu - 0.5 * volatility**2) * time))
    factors = vega.risk_factors(tail, time, mu, volatility)
    assert_allclose(factors.long, 1 - quad(over.ppf, 0.0, tail)[0] / tail, rtol=1e-6)
    assert_allclose(factors.short, quad(over.ppf, 1 - tail, 1.0)[0] / tail - 1, rtol=1e-5)


def test_the_factors_that_the_feature_files_quote() -> None:
    factors = vega.risk_factors(1e-6, 0.1, 0.0, 1.0)
    assert_allclose(factors, [0.800728208, 3.5569036], atol=2e-7)
    assert_allclose(vega.risk_factors(0.01, 0.0, 0.0, 1.0), [0.0, 0.0], atol=1e-15)


FACTORS = vega.RiskFactors(np.array(0.1), np.array(0.11))


def test_the_worked_example_of_the_margin_calculator() -> None:
    # long 10 with buys of 4 and sells of 8; the bids close 10 at 110: min(14 * 34, 144 * 14 * 0.25) + 14 * 0.1 * 144
    told = vega.maintenance_margin(10.0, (4.0, 8.0), (110.0, 220.0), 144.0, FACTORS, 0.25)
    assert_allclose(told, 677.6)
    levels = vega.margin_levels(told, vega.Levels(1.1, 1.2, 1.3))
    assert_allclose([levels[name] for name in levels], 677.6 * np.array([1.0, 1.1, 1.2, 1.3]))


def test_a_thin_book_costs_the_slippage_factor_and_orders_cost_no_slippage() -> None:
    thin = vega.maintenance_margin(-10.0, (0.0, 0.0), (np.inf, np.inf), 144.0, FACTORS, 0.25)
    assert_allclose(thin, 10 * 144 * (0.25 + 0.11))
    assert_allclose(vega.maintenance_margin(0.0, (4.0, 0.0), (np.inf, np.inf), 144.0, FACTORS, 0.25), 4 * 144 * 0.1)
    assert vega.maintenance_margin(0.0, (0.0, 0.0), (1.0, 1.0), 144.0, FACTORS, 0.25) == 0.0


@FEW
@given(st.lists(SIZES, min_size=2, max_size=4), st.floats(0.0, 50.0), st.randoms(use_true_random=False))
def test_risk_arrays_scale_and_do_not_mind_the_order(held: list[float], scale: float, shuffle: Any) -> None:
    arrays = np.random.default_rng(1).normal(size=(len(held), 16))
    order = shuffle.sample(range(len(held)), len(held))
    told = span_arrays.combine(arrays, held)
    again = span_arrays.combine(arrays[order], scale * np.array(held)[order])
    assert_allclose(again.scan_risk, scale * told.scan_risk, rtol=1e-9, atol=1e-6)


def test_a_book_that_cannot_lose_has_no_scan_risk() -> None:
    told = span_arrays.combine([[1.0, 2.0], [5.0, 3.0]], [[1.0, 0.0], [0.0, -1.0]])
    assert_allclose(told.scan_risk, [0.0, 5.0])
    assert_array_equal(told.active_scenario, [1, 1])
