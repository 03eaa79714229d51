import functools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import ndtr

from data import Book, Coverage, DataError, Floats, HistoryError, Instrument, MarketHistory, ParameterError
from margin_models import EwmaCovariance, GreeksMargin
from margin_models.greeks import net_greeks
from margin_models.greeks_margin import BUCKETS, aggregated, bucket_correlation, bucket_shares, curvature_risk
from markets import BTC, COIN, ETH, INVERSE, coins_with_options, market, option_book, some_books, two_coins
from priced_options import black

COVERAGE, VOL, SCAN = Coverage(0.98, "2D"), 0.5, 0.1


def flat(rows: int = 60) -> MarketHistory:
    """The two coins with a flat volatility of 50 % and neither carry nor rate."""
    coins = two_coins(rows=max(rows, 230)).rows(0, rows)
    surfaces = np.broadcast_to([1.0, 0.0, VOL**2, 0.0, 0.0, 0.0, 1.0], (rows, 2, 1, 7))
    return replace(coins, surfaces=np.ascontiguousarray(surfaces), implied="quotes")


def at_the_money(history: MarketHistory, days: float, right: Any = "call", underlying: str = "BTC") -> Instrument:
    spot = float(history.now.spot[history.underlyings.index(underlying)])
    expiry = str(history.now.time + np.timedelta64(round(days * 86400), "s"))
    return Instrument(f"{underlying}-{days}-{right}", underlying, "option", expiry=expiry, strike=spot, right=right)


@pytest.fixture(scope="module")
def history() -> MarketHistory:
    return flat()


@pytest.fixture(scope="module")
def fitted(history: MarketHistory) -> GreeksMargin:
    return GreeksMargin(scan_range=SCAN).fit(history, COVERAGE)


def test_each_charge_of_an_option_of_thirty_days_by_hand(history: MarketHistory, fitted: GreeksMargin) -> None:
    call = at_the_money(history, 30.0)
    book = Book((call,), ("long", "short"), np.array([[1.0], [-1.0]]))
    told = fitted.explain(history, book)
    spot, root = float(history.now.spot[0]), np.sqrt(30 / 365.25)
    d1 = VOL * root / 2
    density = np.exp(-(d1**2) / 2) / np.sqrt(2 * np.pi)
    assert_allclose(told.components["delta"], SCAN * spot * ndtr(d1), rtol=1e-8)
    assert_allclose(told.components["vega"], spot * density * root * VOL * 0.25, rtol=1e-8)
    now, delta = black(spot, spot, VOL * root), ndtr(d1)
    beyond = [black(spot * (1 + m), spot, VOL * root) - now - delta * spot * m for m in (SCAN, -SCAN)]
    assert min(beyond) > 0  # convex: a short loses beyond its delta both ways
    assert_allclose(told.components["curvature"], [0.0, max(beyond)], rtol=1e-7)
    assert_allclose(told.initial, sum(told.components.values()))
    assert told.worst == ("delta BTC", "delta BTC")


def test_vega_fades_with_tenor_as_published(history: MarketHistory, fitted: GreeksMargin) -> None:
    for days, power in ((7.0, 0.30), (90.0, 0.13)):
        book = Book((at_the_money(history, days),), ("long",), np.ones((1, 1)))
        vega = net_greeks(book, history.now).vega[0, 0]
        assert_allclose(
            fitted.explain(history, book).components["vega"], vega * VOL * 0.25 * (30 / days) ** power, rtol=1e-9
        )


def test_a_linear_book_is_charged_its_delta_alone(history: MarketHistory, fitted: GreeksMargin) -> None:
    book = Book((BTC, ETH, COIN, INVERSE), ("one", "pair"), np.array([[2.0, 0, 0, 0], [1.0, -150.0, 1.0, 5.0]]))
    told = fitted.explain(history, book)
    exposure = book.exposure(history.now) * SCAN
    r = fitted.correlation_[0, 1]
    assert_allclose(told.initial[0], 2 * SCAN * history.now.spot[0])
    x, y = exposure[1]
    assert_allclose(told.initial[1], np.sqrt(x**2 + y**2 + 2 * r * x * y))
    for name in ("vega", "curvature"):
        assert_array_equal(told.components[name], 0.0)


def test_an_option_that_nobody_holds_changes_nothing(history: MarketHistory, fitted: GreeksMargin) -> None:
    quantity = np.array([[1.0, -10.0], [0.0, 3.0]])
    alone = Book((BTC, ETH), ("a", "b"), quantity)
    with_it = Book((BTC, ETH, at_the_money(history, 30.0)), ("a", "b"), np.c_[quantity, [0.0, 0.0]])
    assert_allclose(fitted.margin(history, with_it), fitted.margin(history, alone), rtol=1e-12)
    blind = replace(history, surfaces=None, implied="")
    assert_allclose(fitted.margin(blind, with_it), fitted.margin(history, alone), rtol=1e-12)


def test_vega_of_two_tenors_offsets_by_the_correlation_of_their_buckets(
    history: MarketHistory, fitted: GreeksMargin
) -> None:
    near, far = at_the_money(history, 30.0), at_the_money(history, 90.0)
    book = Book((near, far), ("near", "far", "spread"), np.array([[1.0, 0], [0, -1.0], [1.0, -1.0]]))
    one, other, spread = fitted.explain(history, book).components["vega"]
    correlation = (30 / 90) ** 0.1
    assert_allclose(spread, np.sqrt(one**2 + other**2 - 2 * correlation * one * other), rtol=1e-9)


def test_vega_of_two_underlyings_offsets_by_the_correlation_of_their_returns(
    history: MarketHistory, fitted: GreeksMargin
) -> None:
    legs = (at_the_money(history, 30.0), at_the_money(history, 30.0, underlying="ETH"))
    book = Book(legs, ("one", "other", "pair"), np.array([[1.0, 0], [0, -15.0], [1.0, -15.0]]))
    one, other, pair = fitted.explain(history, book).components["vega"]
    assert 0.1 < fitted.correlation_[0, 1] < 0.95
    assert_allclose(pair, np.sqrt(one**2 + other**2 - 2 * fitted.correlation_[0, 1] * one * other), rtol=1e-9)


def test_curvature_of_two_underlyings_adds_by_the_squared_correlation(
    history: MarketHistory, fitted: GreeksMargin
) -> None:
    legs = (at_the_money(history, 30.0), at_the_money(history, 30.0, underlying="ETH"))
    quantity = np.array([[-1.0, 0], [0, -15.0], [-1.0, -15.0], [-1.0, 15.0]])
    one, other, both, hedged = fitted.explain(history, Book(legs, tuple("abcd"), quantity)).components["curvature"]
    assert_allclose(both, np.sqrt(one**2 + other**2 + 2 * fitted.correlation_[0, 1] ** 2 * one * other), rtol=1e-9)
    assert_allclose(hedged, one)  # what gains beyond its delta gives nothing back


def test_curvature_takes_the_worse_of_up_and_down(history: MarketHistory, fitted: GreeksMargin) -> None:
    spot = float(history.now.spot[0])
    high = replace(at_the_money(history, 7.0), strike=1.12 * spot)
    low = replace(at_the_money(history, 7.0, "put"), strike=0.88 * spot)
    book = Book((high, low), ("short call", "short put"), -np.eye(2))
    risk = curvature_risk(book, history.now, fitted.scan_range_)
    assert risk.shape == (2, 2, 2)
    assert risk[0, 0, 0] > 2 * risk[0, 0, 1] > 0
    assert risk[1, 0, 1] > 2 * risk[1, 0, 0] > 0
    assert_allclose(fitted.explain(history, book).components["curvature"], risk[:, 0].max(axis=1))
    hedge = np.array([[-1.0, net_greeks(book, history.now).units[1, 0] * -1.0]])
    hedged = Book((low, replace(BTC, multiplier=1.0)), ("hedged",), hedge)
    assert fitted.explain(history, hedged).worst[0].startswith(("curvature BTC down", "vega BTC 7d"))


def test_in_coin_the_range_counts_in_coins(history: MarketHistory) -> None:
    state = history.valued_in("BTC").now
    book = Book((at_the_money(history, 30.0),), ("short",), -np.ones((1, 1)))
    spot, deviation = float(state.spot[0]), VOL * np.sqrt(30 / 365.25)
    up, down = curvature_risk(book, state, np.array([SCAN, SCAN]))[0, 0]
    # A dollar gained while the coin moves by r counts 1 / (1 + r): a tenth in coins is r = 1 / 9 up and 1 / 11 down.
    for told, move in ((up, 1 / 9), (down, -1 / 11)):
        gain = black(spot * (1 + move), spot, deviation) - black(spot, spot, deviation)
        assert_allclose(told, (gain - ndtr(deviation / 2) * spot * move) / (spot * (1 + move)), rtol=1e-7)


def test_moves_and_correlations_are_learned() -> None:
    history = coins_with_options()
    model = GreeksMargin().fit(history, COVERAGE)
    assert np.all((model.scan_range_ > 0.04) & (model.scan_range_ < 0.12))
    truth = 3e-4 / np.sqrt(4e-4 * 6e-4)
    assert model.correlation_[0, 1] == pytest.approx(truth, abs=0.1)
    other = GreeksMargin(covariance=EwmaCovariance(half_life=20)).fit(history, COVERAGE)
    assert other.correlation_[0, 1] != model.correlation_[0, 1]
    assert_array_equal(np.diag(other.correlation_), 1.0)


def test_a_synthetic_forward_is_charged_as_a_forward_and_the_classics_sensibly() -> None:
    history = coins_with_options()
    book = option_book(history.now)
    told = GreeksMargin().fit(history, COVERAGE).explain(history, book)
    row = {name: n for n, name in enumerate(book.portfolios)}
    assert_allclose(told.components["vega"][row["synthetic forward"]], 0.0, atol=1e-6 * told.initial[0])
    assert_allclose(told.components["curvature"][row["synthetic forward"]], 0.0, atol=1e-6 * told.initial[0])
    assert told.components["curvature"][row["straddle"]] == 0.0
    assert told.components["curvature"][row["hedged short straddle"]] > 0.0
    assert told.initial[row["butterfly"]] < told.initial[row["short strangle"]]
    assert told.initial[row["empty"]] == 0.0
    assert told.worst[row["empty"]] == ""
    assert told.worst[row["coin straddle"]] == "vega ETH 30d"


def test_counted_in_a_coin_a_short_straddle_is_charged_about_as_much_and_linear_legs_have_no_curvature() -> None:
    history = coins_with_options()
    book = option_book(history.now)
    usd = GreeksMargin().fit(history, COVERAGE).explain(history, book)
    coins = history.valued_in("BTC")
    coverage = replace(COVERAGE, numeraire="BTC")
    model = GreeksMargin().fit(coins, coverage)
    coin = model.explain(coins, book)
    row = book.portfolios.index("hedged short straddle")
    price = float(history.now.spot[0])
    assert_allclose(coin.components["vega"][row] * price, usd.components["vega"][row], rtol=1e-9)
    assert_allclose(coin.components["curvature"][row] * price, usd.components["curvature"][row], rtol=0.25)
    linear = some_books().at(coins.now)
    assert_array_equal(model.explain(coins, linear).components["curvature"], 0.0)


def test_buckets_share_vega_and_correlate_less_the_further_apart() -> None:
    shares = bucket_shares(np.array([0.5, 45.0, 1000.0]))
    assert_allclose(shares.sum(axis=1), 1.0)
    assert_allclose(shares[1, 3:5], [0.5, 0.5])
    assert shares[2, -1] == 1.0
    correlation = bucket_correlation(0.1)
    assert_allclose(correlation[3, 7], (30 / 365) ** 0.1)
    assert_array_equal(np.diag(correlation), 1.0)
    assert np.all(np.diff(correlation[0]) < 0)
    for decay in (0.0, 0.01, 0.1, 1.0, 10.0):
        assert np.linalg.eigvalsh(bucket_correlation(decay)).min() > -1e-9


@pytest.mark.parametrize("wrong", [{"vol_move": -0.1}, {"scan_range": 11.0}, {"tenor_decay": np.nan}])
def test_parameters_out_of_range_are_refused(wrong: dict[str, Any], history: MarketHistory) -> None:
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        GreeksMargin(**wrong).fit(history, COVERAGE)


def test_a_short_window_and_an_option_without_a_price_are_refused(history: MarketHistory, fitted: GreeksMargin) -> None:
    with pytest.raises(HistoryError, match="needs 49 horizon returns"):
        GreeksMargin().fit(market([0.01] * 10), Coverage(0.98))
    book = Book((at_the_money(history, 30.0),), ("long",), np.ones((1, 1)))
    with pytest.raises(DataError, match="neither a mark nor an implied volatility"):
        fitted.margin(replace(history, surfaces=None, implied=""), book)


@functools.lru_cache
def classic() -> tuple[MarketHistory, GreeksMargin]:
    history = coins_with_options()
    return history, GreeksMargin().fit(history, COVERAGE)


holding = st.lists(st.floats(-5, 5), min_size=13, max_size=13)


@settings(max_examples=40, deadline=None)
@given(holding, holding, st.floats(0.01, 100))
def test_charges_scale_with_the_book_and_a_whole_never_pays_more_than_its_parts(
    one: list[float], other: list[float], scale: float
) -> None:
    history, model = classic()
    book = option_book(history.now)
    a, b = np.array(one), np.array(other)
    assert len(book.instruments) == len(a)
    margin = model.margin(history, Book(book.instruments, tuple("abcd"), np.array([a, b, a + b, scale * a])))
    whole: Floats = margin[0] + margin[1]
    assert margin[2] <= whole * (1 + 1e-9) + 1e-6
    assert_allclose(margin[3], scale * margin[0], rtol=1e-7, atol=1e-6)


def test_aggregation_by_hand() -> None:
    correlation = np.array([[1.0, 0.5], [0.5, 1.0]])
    assert_allclose(aggregated(np.array([[3.0, 4.0], [3.0, -4.0]]), correlation), [np.sqrt(37), np.sqrt(13)])
    assert len(BUCKETS) == 8
