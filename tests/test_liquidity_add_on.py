"""Does the add-on charge what closing costs, and for how long it takes?"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from backtest.book_cost import BookCost
from backtest.lookahead import audit
from backtest.portfolios import standard_books
from backtest.procyclicality import impulse_response
from data import Book, Coverage, HistoryError, Instrument, MarketHistory, ParameterError
from data.flow.closing import lately_traded
from margin_models import HistoricalVaR, LiquidityAddOn, StaticMargin
from markets import book_of, market, two_coins

COVERAGE = Coverage(0.95)
RATE = StaticMargin(rate=0.1)
BANDS = (0.001, 0.01, 0.05)
BIDS, ASKS = [1e6, 3e6, 5e6], [2e6, 4e6, 4e6]
STEADY = [0.02, 1 / 1.02 - 1] * 40
NAN = float("nan")


def traded(usd: float = 1e8) -> MarketHistory:
    """A market that moves about 2 % a day and trades so much."""
    history = market(STEADY)
    return replace(history, volume=usd / history.spot)


def deep(history: MarketHistory, bids: list[float] = BIDS, asks: list[float] = ASKS) -> MarketHistory:
    shape = (len(history), len(history.underlyings), 2, 3)
    return history.with_depth(np.broadcast_to(np.array([bids, asks]), shape).copy(), BANDS)


def components(model: LiquidityAddOn, history: MarketHistory, quantity: float = 1.0) -> dict[str, float]:
    book = book_of(quantity).at(history.now)
    asked = model.fit(history, COVERAGE).requirement(history, book)
    return {name: float(share[0]) for name, share in asked.components.items()}


def test_the_depth_is_walked_by_hand() -> None:
    history = deep(market(STEADY))
    alone = LiquidityAddOn(RATE, 2e6, half_spread=0.0, participation=None)
    assert components(alone, history)["liquidity"] == pytest.approx((1e6 * 0.0005 + 1e6 * (0.001 + 0.0055) / 2) / 2e6)
    assert components(alone, history, -1.0)["liquidity"] == pytest.approx(0.0005)


def test_it_is_what_the_closeout_will_charge_for_one_position() -> None:
    history = deep(traded())
    cost = BookCost(half_spread=0.0002, impact=0.0, size=4e6)
    alone = LiquidityAddOn(RATE, 4e6, half_spread=0.0002)
    for quantity in (1.0, -1.0):
        paid = cost.at(history.now, np.zeros(1, dtype=np.intp), np.array([quantity]))
        assert components(alone, history, quantity)["liquidity"] == pytest.approx(paid[0])


def test_without_a_depth_the_root_of_the_share_of_volume_is_paid() -> None:
    history = traded(1e8)
    sigma = np.sqrt(np.mean(np.diff(history.spot[-31:, 0]) ** 2 / history.spot[-31:-1, 0] ** 2))
    told = components(LiquidityAddOn(RATE, 1e6, half_spread=0.0001, impact=1.5), history)
    assert told["liquidity"] == pytest.approx(0.0001 + 1.5 * sigma * np.sqrt(0.01))
    blind = components(LiquidityAddOn(RATE, 1e6, half_spread=0.0001, impact=1.5), deep(history, [NAN] * 3))
    assert blind["liquidity"] == pytest.approx(told["liquidity"])


def test_what_the_book_does_not_offer_pays_its_edge_and_the_root() -> None:
    history = deep(traded(1e8))
    sigma = lately_traded(history, 30.0).volatility[0]
    within = 1e6 * 0.0005 + 2e6 * 0.0055 + 2e6 * 0.03
    beyond = 2e6 * (0.05 + sigma * np.sqrt(0.02))
    told = components(LiquidityAddOn(RATE, 7e6, half_spread=0.0), history)
    assert told["liquidity"] == pytest.approx((within + beyond) / 7e6)


def test_a_position_of_many_days_is_charged_for_them() -> None:
    history, book = traded(1e8), book_of(1.0)
    model = LiquidityAddOn(RATE, 9e7, participation=0.1)
    told = model.concentration(history, book.at(history.now))
    assert_allclose(told.of_volume, [[0.9]])
    assert_allclose(told.days, [[9.0]])
    assert components(model, history)["concentration"] == pytest.approx(0.1 * (np.sqrt(9.0) - 1.0))
    longer = model.fit(history, Coverage(0.95, "4D")).requirement(history, book.at(history.now))
    assert longer.components["concentration"][0] == pytest.approx(0.1 * (np.sqrt(9.0 / 4.0) - 1.0))
    small = LiquidityAddOn(RATE, 1e7, participation=0.1)  # closed within the day
    assert components(small, history)["concentration"] == 0.0
    assert components(LiquidityAddOn(RATE, 9e7, participation=None), history)["concentration"] == 0.0


def test_underlyings_lengthen_by_their_share() -> None:
    coins = two_coins()
    steady = replace(coins, volume=np.array([1e9, 1e7]) / coins.spot)
    instruments = tuple(Instrument(f"{name}-PERP", name) for name in coins.underlyings)
    book = Book(instruments, ("three to one",), np.array([[3.0, -1.0]]) / coins.spot[-1])
    model = LiquidityAddOn(RATE, 4e6 / 4, participation=0.1).fit(steady, COVERAGE)
    days = model.concentration(steady, book).days[0]
    assert_allclose(days, [0.03, 1.0], rtol=1e-6)
    four = LiquidityAddOn(RATE, 4e6, participation=0.1).fit(steady, COVERAGE)
    asked = four.requirement(steady, book)
    bare = four.model_.margin(steady, book)
    assert_allclose(asked.components["concentration"], bare * 0.25 * (np.sqrt(4.0) - 1.0), rtol=1e-6)


def test_legs_on_one_side_meet_the_book_together() -> None:
    history = deep(market(STEADY))
    legs = tuple(Instrument(symbol, "X") for symbol in ("A", "B"))
    book = Book(legs, ("both", "one", "apart"), np.array([[0.5, 0.5], [1.0, 0.0], [0.5, -0.5]])).at(history.now)
    model = LiquidityAddOn(RATE, 2e6, half_spread=0.0, participation=None).fit(history, COVERAGE)
    both, one, apart = model.cost(history, book)
    assert both == pytest.approx(one)
    assert apart == pytest.approx((1e6 * 0.0005 + 1e6 * 0.00025) / 2e6)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.floats(1e3, 1e10), min_size=2, max_size=2),
    known=st.booleans(),
    sign=st.sampled_from([1.0, -1.0]),
)
def test_a_larger_account_never_pays_less_a_dollar(sizes: list[float], known: bool, sign: float) -> None:
    history = deep(traded()) if known else traded()
    less, more = (sum(components(LiquidityAddOn(RATE, size), history, sign).values()) for size in sorted(sizes))
    assert 0.1 < less <= more * (1 + 1e-9)


@settings(max_examples=40, deadline=None)
@given(shrunk=st.floats(0.0, 1.0), size=st.floats(1e4, 1e8))
def test_a_thinner_market_never_costs_less(shrunk: float, size: float) -> None:
    model, full = LiquidityAddOn(RATE, size), deep(traded())
    thin = deep(traded(), (shrunk * np.array(BIDS)).tolist(), (shrunk * np.array(ASKS)).tolist())
    assert components(model, thin)["liquidity"] >= components(model, full)["liquidity"] * (1 - 1e-12)
    quiet = deep(traded(1e8 * max(shrunk, 0.01)))
    assert sum(components(model, quiet).values()) >= sum(components(model, full).values()) * (1 - 1e-12)


def test_volume_that_is_not_known_is_refused_or_assumed() -> None:
    silent = market(STEADY)
    with pytest.raises(HistoryError, match=r"cost of closing X at .* needs its volume"):
        components(LiquidityAddOn(RATE), silent)
    told = components(LiquidityAddOn(RATE, assumed_volume=1e8), silent)
    assert_allclose(list(told.values()), list(components(LiquidityAddOn(RATE), traded(1e8)).values()))
    none = replace(silent, volume=np.zeros_like(silent.spot))
    with pytest.raises(HistoryError, match="got 0 USD a day"):
        components(LiquidityAddOn(RATE), none)
    with pytest.raises(HistoryError, match="volatility of nan"):
        components(LiquidityAddOn(RATE, assumed_volume=1e8), silent.rows(0, 1))
    empty = book_of(0.0).at(silent.now)
    assert LiquidityAddOn(RATE).fit(silent, COVERAGE).margin(silent, empty)[0] == 0.0


def test_volume_and_volatility_are_a_days_and_pass_over_holes() -> None:
    hours = market(STEADY)
    daily = replace(hours, volume=1e8 / hours.spot)
    volume = np.array(daily.volume)
    volume[-3] = np.nan
    holed = lately_traded(replace(daily, volume=volume), 30.0)
    assert_allclose(holed.volume, 1e8)
    clock = MarketHistory(
        np.arange(len(hours)).astype("datetime64[h]").astype("datetime64[ns]"),
        ("X",),
        hours.spot,
        type(hours.clock)("1h"),
        volume=1e8 / hours.spot,
    )
    told, then = lately_traded(clock, 1.0), lately_traded(daily, 24.0)
    assert_allclose(told.volume, 24 * then.volume)
    assert_allclose(told.volatility, np.sqrt(24) * then.volatility)


def test_the_cost_is_the_same_in_any_numeraire() -> None:
    coins = deep(two_coins())
    instruments = (Instrument("ETH-PERP", "ETH"),)
    book = Book(instruments, ("one",), np.array([[1.0]])).at(coins.now)
    model = LiquidityAddOn(HistoricalVaR(), 3e6)
    dollars = model.fit(coins, COVERAGE).cost(coins, book)
    priced = coins.valued_in("BTC")
    coin = model.fit(priced, Coverage(0.95, numeraire="BTC")).cost(priced, book)
    assert_allclose(coin * coins.spot[-1, 0], dollars)


def test_no_tomorrow() -> None:
    history = deep(two_coins().rows(0, 380))
    books = standard_books(history.underlyings, makers=4)
    found = audit(LiquidityAddOn(HistoricalVaR(), 1e7), history, books, COVERAGE, window=250, rows=10)
    assert found.passed, found.leaks


def test_margin_answers_a_depth_that_halves_at_once_and_a_bare_model_does_not() -> None:
    walks = LiquidityAddOn(RATE, 1e6, half_spread=0.0, impact=0.0, participation=None, assumed_volume=1e8)
    told = impulse_response(walks, 0.5, "depth", window=20, before=5, after=20, books=4)
    # A million out of a million within 1 %: half of that on average; then half a million so, and the rest at the edge.
    assert_allclose(told.margin, (0.1 + 0.0075) / (0.1 + 0.005))
    assert told.settled == pytest.approx(told.margin[0])
    assert np.isnan(told.due)
    bare = impulse_response(RATE, 0.5, "depth", window=20, before=5, after=20, books=4)
    assert_allclose(bare.margin, 1.0)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"account_size": 0.0}, "account_size > 0"),
        ({"participation": 0.0}, "participation > 0"),
        ({"assumed_volume": -1.0}, "assumed_volume > 0"),
        ({"half_spread": -0.1}, "half_spread"),
        ({"impact": NAN}, "impact >= 0"),
    ],
)
def test_parameters_out_of_range_are_refused(parameters: dict[str, float], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        LiquidityAddOn(RATE).set_params(**parameters).fit(traded(), COVERAGE)
