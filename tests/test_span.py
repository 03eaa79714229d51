import functools
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from data import Book, Coverage, Floats, HistoryError, Instrument, MarketHistory, ParameterError
from data.compiled import plain
from data.valuation import notionals, unit_values
from margin_models import SpanLike, scan
from margin_models.contributions import leave_one_out, shared_part
from margin_models.intermonth import MATURITIES, calendar_reach, spread_cost
from margin_models.kernels.spreads import spread_credit
from margin_models.span import SpanRules, credit_rates
from markets import book_of, coins_with_options, market, option_book

AB = (Instrument("A-PERP", "A"), Instrument("B-PERP", "B"))


def two(correlation: float) -> MarketHistory:
    rng = np.random.default_rng(3)
    moves = rng.multivariate_normal([0, 0], 4e-4 * np.array([[1, correlation], [correlation, 1]]), 3000)
    days = pd.date_range("2015-01-01", periods=len(moves))
    return MarketHistory.from_frame(pd.DataFrame(100 * np.exp(moves.cumsum(0)), index=days, columns=["A", "B"]))


def test_scan_risk_is_the_scan_range_times_the_net() -> None:
    history = market([0.0])
    model = SpanLike(scan_range=0.1)
    model.fit(market([0.01, -0.02, 0.03]), Coverage())
    assert_allclose(model.margin(history, book_of(2.0, -3.0)), [20.0, 30.0])


def test_an_extreme_move_can_be_what_is_worst() -> None:
    model = SpanLike(scan_range=0.1, rules=SpanRules(extreme=3.0, cover=0.5)).fit(
        market([0.01, -0.02, 0.03]), Coverage()
    )
    told = model.explain(market([0.0]), book_of(1.0))
    assert_allclose(told.initial, [0.1 * 100 * 1.5])
    assert told.worst == ("X: scenario 16 extreme -3x at 0.5 (price -30.0%, vol +0.0%)",)


def test_the_credit_is_what_equal_legs_offset() -> None:
    rates = credit_rates(np.array([[1.0, 0.9, 0.2], [0.9, 1.0, -0.5], [0.2, -0.5, 1.0]]), least=0.3, most=0.7)
    assert_allclose(rates[0, 1], 0.7)  # 1 - sqrt(0.05) = 0.776, capped
    assert rates[0, 2] == 0.0
    assert_allclose(rates[1, 2], -(1 - np.sqrt(0.25)))


def test_a_spread_of_correlated_assets_posts_less_and_a_sum_does_not() -> None:
    history = two(0.9)
    unit = 1.0 / history.now.spot
    book = Book(AB, ("spread", "sum"), np.array([unit * [1, -1], unit]))
    model = SpanLike(rules=SpanRules(least_correlation=0.0)).fit(history, Coverage())
    told = model.explain(history, book)
    apart = model.scan_range_.sum()
    assert_allclose(told.initial[1], apart)
    truth = 2.326 * 0.02 * np.sqrt(2 * (1 - 0.9))
    assert told.initial[0] == pytest.approx(truth, rel=0.15)
    assert told.components["inter-commodity credit"][0] < 0


def test_negative_correlation_credits_the_sum() -> None:
    history = two(-0.9)
    unit = 1.0 / history.now.spot
    book = Book(AB, ("spread", "sum"), np.array([unit * [1, -1], unit]))
    spread, whole = SpanLike().fit(history, Coverage()).margin(history, book)
    assert whole < 0.5 * spread


def test_each_leg_is_used_once() -> None:
    pairs = np.array([0, 0], dtype=np.intp), np.array([1, 2], dtype=np.intp)
    risk, rate = np.array([[3.0, -2.0, -2.0]]), np.array([0.5, 0.4])
    # 2 of A against B at 0.5, then the 1 of A that is left against C at 0.4
    assert_allclose(spread_credit(risk, *pairs, rate), [2 * 2 * 0.5 + 2 * 1 * 0.4])
    assert_allclose(plain(spread_credit)(risk, *pairs, rate), [2.8])


@pytest.mark.parametrize(
    "wrong",
    [{"cover": 1.5}, {"extreme": 0.5}, {"most_credit": -1.0}, {"rate_shock": -0.1}, {"short_option_minimum": 2}],
)
def test_rules_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match=rf"SpanRules\.{next(iter(wrong))} must lie in"):
        SpanRules(**wrong)


@pytest.mark.parametrize("wrong", [{"scan_range": -0.1}, {"vol_range": -0.1}, {"maintenance": 1.1}])
def test_parameters_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        SpanLike().set_params(**wrong).fit(market([0.01, -0.02, 0.03]), Coverage())


def test_one_margin_scans_the_grid_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SpanLike().fit(two(0.9), Coverage())
    scanned = Mock(side_effect=scan.scan_pnl)
    monkeypatch.setattr("margin_models.span.scan_pnl", scanned)
    model.margin(two(0.9), Book(AB, ("sum",), np.ones((1, 2))))
    scanned.assert_called_once()


# Options

COVERAGE = Coverage(0.98, "2D")


@functools.cache
def coins() -> MarketHistory:
    return coins_with_options()


@functools.cache
def fitted(rules: SpanRules) -> SpanLike:
    return SpanLike(rules=rules).fit(coins(), COVERAGE)


PLAIN = SpanRules(short_option_minimum=0.0, intermonth=False)


def posted(rules: SpanRules = PLAIN) -> dict[str, float]:
    book = option_book(coins().now)
    return dict(zip(book.portfolios, fitted(rules).margin(coins(), book), strict=True))


def alone(symbol: int, quantity: float) -> float:
    """The margin of one instrument of the option book by itself."""
    whole = option_book(coins().now)
    book = Book((whole.instruments[symbol],), ("alone",), np.array([[quantity]]))
    return float(fitted(PLAIN).margin(coins(), book)[0])


def test_the_sixteen_keep_the_order_of_the_risk_arrays() -> None:
    scenarios = SpanLike(scan_range=0.3, vol_range=0.2).fit(market([0.01, -0.02, 0.03]), Coverage()).scenarios()
    thirds = [0, 0, 0.1, 0.1, -0.1, -0.1, 0.2, 0.2, -0.2, -0.2, 0.3, 0.3, -0.3, -0.3, 0.9, -0.9]
    assert_allclose(scenarios.spot[:, 0], thirds, atol=1e-15)
    assert_allclose(scenarios.vol[:, 0], [0.2, -0.2] * 7 + [0.0, 0.0])
    assert scenarios.weight is not None
    assert_allclose(scenarios.weight, [1.0] * 14 + [0.33, 0.33])


def test_a_future_has_the_risk_array_that_mcmillan_prints() -> None:
    """McMillan, Options as a Strategic Investment, chapter 34: an S&P 500 future of scan range 10,000, in dollars."""
    model = SpanLike(scan_range=0.1, rules=SpanRules(extreme=2.0, cover=0.35))
    model.fit(market([0.01, -0.02, 0.03]), Coverage())
    array = scan.scan_pnl(book_of(1000.0), market([0.0]).now, model.scenarios())[0, 0]
    thirds = [0, 0, 3330, 3330, -3330, -3330, 6670, 6670, -6670, -6670, 10_000, 10_000, -10_000, -10_000, 7000, -7000]
    assert_allclose(array, thirds, atol=5)


def test_a_written_call_is_scanned_as_in_the_covered_write_of_mcmillan() -> None:
    """Long an underlying and short a call: what the call's array takes from the future's, scenario by scenario."""
    model, book = fitted(PLAIN), option_book(coins().now)
    told = model.explain(coins(), book)
    covered = book.portfolios.index("covered call")
    held = book.dense[covered]
    first, second = np.flatnonzero(held)
    arrays = scan.contract_scan(book.listing, coins().now, model.scenarios(), COVERAGE.years)
    array = held[first] * arrays[first] + held[second] * arrays[second]
    assert_allclose(told.components["scan BTC"][covered], -array.min())
    assert f"scenario {array.argmin() + 1} " in told.worst[covered]


def test_a_butterfly_posts_less_than_its_legs_and_at_most_what_it_costs() -> None:
    book, state = option_book(coins().now), coins().now
    legs = book.dense[book.portfolios.index("butterfly")]
    apart = sum(alone(int(n), float(legs[n])) for n in np.flatnonzero(legs))
    cost = float(legs @ np.nan_to_num(unit_values(book.listing, state)))
    assert posted()["butterfly"] < 0.1 * apart
    assert 0 < posted()["butterfly"] < cost


def test_a_long_call_and_a_short_put_post_like_a_forward() -> None:
    """C - P = discount (F - K), and F moves with spot: the scan range times discounted forward, and a little carry."""
    book, state = option_book(coins().now), coins().now
    forward = float(book.exposure(state)[book.portfolios.index("synthetic forward"), 0])
    told = fitted(PLAIN)
    assert posted()["synthetic forward"] == pytest.approx(told.scan_range_[0] * forward, rel=0.01)
    assert forward == pytest.approx(state.spot[0], rel=0.01)


def test_a_long_option_never_posts_more_than_it_is_worth() -> None:
    state = coins().now
    wild = SpanLike(scan_range=0.9, vol_range=0.9).fit(coins(), COVERAGE)
    book = option_book(state)
    value = dict(zip(book.portfolios, book.value(state), strict=True))
    margin = dict(zip(book.portfolios, wild.margin(coins(), book), strict=True))
    for name in ("long call", "straddle", "coin straddle"):
        assert margin[name] <= value[name]
    assert margin["long call"] > 0.9 * value["long call"]


def test_a_covered_call_posts_less_than_its_coin_and_more_than_none() -> None:
    btc = [i.symbol for i in option_book(coins().now).instruments].index("BTC")
    assert 0.5 * alone(btc, 1.0) < posted()["covered call"] < alone(btc, 1.0)


def test_the_minimum_binds_for_a_deep_short_strangle_and_charges_shorts_alone() -> None:
    rules = SpanRules(short_option_minimum=0.002, intermonth=False)
    told = fitted(rules).explain(coins(), option_book(coins().now))
    frame = told.to_frame()
    spot = coins().now.spot
    assert frame.loc["deep short strangle", "initial"] == pytest.approx(2 * 0.002 * spot[0])
    assert posted()["deep short strangle"] < 2 * 0.002 * spot[0]
    assert frame.loc["long call", "short-option minimum"] == 0
    assert frame.loc["volatility pair", "short-option minimum"] == 0
    assert frame.loc["volatility pair", "initial"] >= 30 * 0.002 * spot[1]


def test_two_delta_neutral_straddles_do_not_offset() -> None:
    """Their gamma loses whichever way each coin goes, so correlation earns them next to nothing."""
    told = fitted(PLAIN).explain(coins(), option_book(coins().now)).to_frame()
    pair = told.loc["volatility pair"]
    assert 0 <= -pair["inter-commodity credit"] < 0.05 * (pair["scan BTC"] + pair["scan ETH"])


def test_contributions_are_the_losses_in_the_worst_scenario() -> None:
    model, book = fitted(PLAIN), option_book(coins().now)
    parts = model.contributions(coins(), book)
    assert_allclose(parts.sum(axis=1), model.margin(coins(), book), rtol=1e-12, atol=1e-9)
    symbols = [instrument.symbol for instrument in book.instruments]
    coin, written = parts[book.portfolios.index("covered call")][[symbols.index("BTC"), 2]]
    assert coin > 0 > written


def test_contributions_with_charges_credits_and_a_minimum_still_sum() -> None:
    model, book = fitted(SpanRules(short_option_minimum=0.01)), option_book(coins().now)
    margin = model.margin(coins(), book)
    left_out = leave_one_out(model, coins(), book)
    for parts, rest in ((model.contributions(coins(), book), 0.0), (left_out, shared_part(left_out, margin))):
        assert_allclose(parts.sum(axis=1) + rest, margin, rtol=1e-12, atol=1e-9)
        assert not parts[book.portfolios.index("empty")].any()
    assert_allclose(model.contributions(coins(), book)[np.asarray(book.quantity) == 0], 0)


def test_leaving_a_hedge_out_shows_that_it_hedges() -> None:
    history, unit = two(0.9), 1.0 / two(0.9).now.spot
    book = Book(AB, ("spread",), np.array([unit * [1.0, -0.2]]))
    model = SpanLike().fit(history, Coverage())
    whole, first = (model.margin(history, Book(AB, ("x",), unit * [[1.0, b]]))[0] for b in (-0.2, 0.0))
    second = model.margin(history, Book(AB, ("x",), unit * [[0.0, -0.2]]))[0]
    raw = np.array([whole - second, whole - first])
    assert raw[1] < 0
    told = leave_one_out(model, history, book)
    assert_allclose(told[0], raw)
    assert_allclose(shared_part(told, np.array([whole])), [whole - raw.sum()])


def test_the_net_figure_takes_the_option_value_off() -> None:
    model, book, state = fitted(PLAIN), option_book(coins().now), coins().now
    gross, net = model.margin(coins(), book), model.net_of_option_value(coins(), book)
    unit = np.where(book.listing.option, np.nan_to_num(unit_values(book.listing, state)), 0.0)
    assert_allclose(gross - net, book.quantity @ unit)
    by_name = dict(zip(book.portfolios, net, strict=True))
    assert by_name["long call"] < 0 < by_name["short put"]
    assert by_name["empty"] == 0


def test_maintenance_is_a_share_of_the_same_scan() -> None:
    model = SpanLike(maintenance=0.8).fit(coins(), COVERAGE)
    for told in (f(coins(), option_book(coins().now)) for f in (model.requirement, model.explain)):
        assert_allclose(told.maintenance, 0.8 * told.initial)


def test_the_volatility_range_is_the_worse_side_of_the_window_and_25_percent_without_surfaces() -> None:
    model, bare = fitted(PLAIN), SpanLike().fit(replace(coins(), surfaces=None, implied=""), COVERAGE)
    changes = coins().implied_changes(COVERAGE)
    quoted = np.isfinite(coins().returns(COVERAGE)).all(axis=1)
    for a in range(2):
        moves = changes[quoted, a]
        sides = [np.quantile(side, 0.98, method="weibull") for side in (moves, -moves)]
        assert model.vol_range_[a] == pytest.approx(max(sides))
    assert model.vol_learned_.all()
    assert_allclose(bare.vol_range_, 0.25)
    assert not bare.vol_learned_.any()
    assert_allclose(SpanLike(vol_range=0.4).fit(coins(), COVERAGE).vol_range_, 0.4)


def test_a_margin_counted_in_coin_is_what_the_same_moves_cost_in_coin() -> None:
    """A perpetual loses its scan range in the numeraire; the put worth dollars is worth more coin after a fall."""
    history = coins().valued_in("BTC")
    coverage = replace(COVERAGE, numeraire="BTC")
    model = SpanLike(rules=PLAIN).fit(history, coverage)
    book = option_book(history.now)
    told = model.explain(history, book)
    for n, name in ((0, "BTC"), (1, "ETH")):
        perpetual = Book((Instrument(f"{name}-PERP", name),), ("long",), np.array([[1.0]]))
        whole = model.scan_range_[n] * perpetual.gross(history.now)
        assert_allclose(model.margin(history, perpetual), whole)
    # by hand: the loss of the long call over the scenarios of BTC alone
    call = Book(book.instruments[:1], ("call",), np.array([[1.0]]))
    counted = model.scenarios().spot[:, 0]
    dollars = replace(model.scenarios(), spot=np.stack([counted / (1 - counted), 0 * counted], axis=1))
    gain = scan.contract_scan(call.listing, coins().now, dollars, coverage.years)[0]
    lost = -gain / (1 + dollars.spot[:, 0]) / history.now.spot[0]
    assert told.initial[book.portfolios.index("long call")] == pytest.approx(lost.max())


def test_a_rate_shock_moves_a_future_and_not_a_perpetual() -> None:
    state = coins().now
    expiry = str(state.time + np.timedelta64(365, "D"))[:16]
    legs = (Instrument("BTC-PERP", "BTC"), Instrument("BTC-F", "BTC", "future", expiry=expiry))
    book = Book(legs, ("perpetual", "future"), np.eye(2))
    shocked = fitted(replace(PLAIN, rate_shock=0.02))
    still, moved = fitted(PLAIN).margin(coins(), book), shocked.margin(coins(), book)
    assert moved[0] == pytest.approx(still[0])
    price, range_, years = notionals(book.listing, state)[1], shocked.scan_range_[0], 363 / 365.25
    spot = state.spot[0]
    later = spot * (price / spot) ** (363 / 365)  # two days nearer to expiry
    assert moved[1] == pytest.approx(price - later * (1 - range_) * np.exp(-0.02 * years), rel=1e-9)
    assert "rate -2.00%" in shocked.explain(coins(), book).worst[1]
    assert len(shocked.scenarios()) == 32


# Spreads between expiries


def test_the_reach_of_maturities_is_the_quantile_of_what_the_basis_did() -> None:
    """A carry that is flat over tenors moves the gap between two maturities by its change times their distance."""
    rng = np.random.default_rng(5)
    carry = 0.05 + 0.01 * rng.standard_normal(400)
    history = market(list(0.01 * rng.standard_normal(399)))
    curves = np.stack([np.full(400, 0.5), carry, np.zeros(400)], axis=1)[:, None, None, :]
    reach = calendar_reach(replace(history, curves=curves), Coverage(0.95))
    change = np.quantile(np.abs(np.diff(carry)), 0.95, method="weibull")
    assert_allclose(reach[0], change * MATURITIES, atol=1e-12)


def test_a_calendar_spread_pays_what_its_scan_hides() -> None:
    state = coins().now
    near, far = (str(state.time + np.timedelta64(d, "D"))[:16] for d in (30, 180))
    legs = tuple(Instrument(e, "BTC", "future", expiry=e) for e in (near, far))
    price = notionals(Book(legs, (), np.empty((0, 2))).listing, state)
    book = Book(legs, ("spread", "outright"), np.array([1 / price * [1, -1], 1 / price * [1, 1]]))
    told = fitted(SpanRules()).explain(coins(), book).to_frame()
    assert told.loc["spread", "scan BTC"] == pytest.approx(0, abs=1e-12)
    reach = fitted(SpanRules()).reach_[0]
    assert told.loc["spread", "initial"] == pytest.approx(np.interp(180 / 365.25, MATURITIES, reach) - reach[2])
    assert told.loc["outright", "inter-month charge"] == 0
    assert posted_spread(PLAIN, book)[0] == pytest.approx(0, abs=1e-12)


def posted_spread(rules: SpanRules, book: Book) -> Floats:
    return fitted(rules).margin(coins(), book)


def test_cheap_spreads_are_formed_first_and_what_costs_nothing_comes_before() -> None:
    reach = np.array([0.0, 0.0, 0.02, 0.05])
    # 3 of the 5 sold at the second are matched free with the first, 2 with the third at 0.02; 1 of the third is left
    assert_allclose(spread_cost(np.array([[3.0, -5.0, 3.0, 0.0]]), reach), [2 * 0.02], atol=1e-10)
    assert_allclose(spread_cost(np.array([[1.0, 1.0, 1.0, 1.0]]), reach), [0.0])


def test_a_charge_that_is_asked_for_needs_curves() -> None:
    bare = replace(coins(), curves=None)
    with pytest.raises(HistoryError, match=r"inter-month charge for BTC .* needs curves .* 49 horizons, got 0"):
        SpanLike(rules=SpanRules(intermonth=True)).fit(bare, COVERAGE)
    assert not SpanLike().fit(bare, COVERAGE).reach_.any()
    assert SpanLike(rules=SpanRules(intermonth=True)).fit(coins(), COVERAGE).reach_.any()
