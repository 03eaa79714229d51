from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import ndtr

from data import Book, DataError, Floats, Instrument, Listing, MarketHistory, MarketState
from margin_models.greeks import ContractGreeks, contract_greeks, net_greeks
from margin_models.revalue import instrument_pnl
from margin_models.scenarios import PARALLEL, Scenarios
from markets import BTC, COIN, ETH, INVERSE, coins_with_options, option_book, option_on

BUMP = 5e-4


@pytest.fixture(scope="module")
def history() -> MarketHistory:
    return coins_with_options()


def gains(listing: Listing, state: MarketState, move: float, change: float, elapsed: float = 0.0) -> Floats:
    """What each contract gains by one move of all prices and a relative change of all volatilities."""
    shape = (1, len(state.underlyings))
    return instrument_pnl(
        listing, state, Scenarios(np.full(shape, move), np.full(shape, change), ("one",), term=PARALLEL), elapsed
    )[:, 0]


def simple(right: str, spot: float = 100.0, vol: float = 0.5) -> tuple[Listing, MarketState]:
    """One option of a year on one coin, at the money, without carry or rate."""
    surface = np.array([[[[1.0, 0.0, vol**2, 0.0, 0.0, 0.0, 1.0]]]])
    time = np.array(["2024-01-01"], dtype="datetime64[ns]")
    state = MarketHistory(time, ("BTC",), np.array([[spot]]), surfaces=surface, implied="quotes").now
    expiry = "2024-12-31T06:00"  # 365.25 days on
    either = Instrument("X", "BTC", "option", 3.0, expiry=expiry, strike=100.0, right="call")
    return Listing((either if right == "call" else replace(either, right="put"),)), state


def test_a_years_option_at_the_money_by_hand() -> None:
    # d1 = sigma / 2 = 0.25 and d2 = -0.25; phi(0.25) = 0.3866681, N(0.25) = 0.5987063.
    listing, state = simple("call")
    told = contract_greeks(listing, state)
    density = 0.38666811680284924
    assert_allclose(told.delta, 3 * 100 * 0.5987063256829237, rtol=1e-9)
    assert_allclose(told.gamma, 3 * 100 * density / 0.5, rtol=1e-9)
    assert_allclose(told.vega, 3 * 100 * density, rtol=1e-9)
    assert_allclose(told.theta, -3 * 100 * density * 0.5 / 2, rtol=1e-9)
    assert_allclose(told.vanna, 3 * 100 * density * 0.25 / 0.5, rtol=1e-9)
    assert_allclose(told.volga, 3 * 100 * density * (0.25 * -0.25) / 0.5, rtol=1e-9)
    assert_array_equal(told.premium, 0.0)
    put = contract_greeks(*simple("put"))
    assert_allclose(told.delta - put.delta, 300.0)
    for name in ("gamma", "vega", "theta", "vanna", "volga"):
        assert_allclose(getattr(put, name), getattr(told, name), rtol=1e-9)


def test_every_greek_is_the_slope_of_the_revaluation(history: MarketHistory) -> None:
    listing, state = option_book(history.now).listing, history.now
    told = contract_greeks(listing, state)
    # A relative change of volatility is an absolute one over the option's own: of an option, vega over volatility.
    grid = {(i, j): gains(listing, state, i * BUMP, j * BUMP) for i in (-1, 0, 1) for j in (-1, 0, 1)}
    size = state.spot[listing.columns(state.underlyings)] * listing.multiplier
    assert_allclose((grid[1, 0] - grid[-1, 0]) / (2 * BUMP), told.delta, rtol=1e-4, atol=1e-5 * size.min())
    assert_allclose((grid[1, 0] + grid[-1, 0]) / BUMP**2, told.gamma, rtol=1e-3, atol=1e-5 * size.min())
    option = listing.option
    vol = _volatility(listing, state)
    slope = (grid[0, 1] - grid[0, -1]) / (2 * BUMP)
    assert_allclose(slope[option] / vol, told.vega[option], rtol=1e-4, atol=1e-5 * size.min())
    bend = (grid[0, 1] + grid[0, -1]) / BUMP**2
    assert_allclose(bend[option] / vol**2, told.volga[option], rtol=1e-3, atol=1e-4 * size.min())
    cross = (grid[1, 1] - grid[1, -1] - grid[-1, 1] + grid[-1, -1]) / (4 * BUMP**2)
    assert_allclose(cross[option] / vol, told.vanna[option], rtol=1e-3, atol=1e-4 * size.min())
    for name in ("gamma", "vega", "theta", "vanna", "volga", "premium"):
        assert_array_equal(getattr(told, name)[~option], 0.0)


def _volatility(listing: Listing, state: MarketState) -> Floats:
    from data.valuation import option_terms

    return option_terms(listing, state).volatility


def test_theta_is_what_a_little_time_does(history: MarketHistory) -> None:
    listing, state = option_book(history.now).listing, history.now
    while_ = 1e-5
    lost = gains(listing, state, 0.0, 0.0, while_) / while_
    assert_allclose(contract_greeks(listing, state).theta, lost, rtol=2e-3, atol=1e-3)


def test_the_adjusted_delta_is_the_slope_of_the_value_in_coins(history: MarketHistory) -> None:
    state = history.now
    held = (option_on(state, "ETH", "call"), option_on(state, "ETH", "put", 0.9), ETH, INVERSE)
    book = Book(held, ("one",), np.array([[2.0, -1.0, 3.0, 0.0]]))
    spot = state.spot[1]
    value = float(book.value(state)[0])

    def coins(move: float) -> float:
        gained = gains(book.listing, state, move, 0.0)
        linear = 3.0 * gained[2]
        return float((value + 2.0 * gained[0] - gained[1]) / (spot * (1 + move)) + linear / spot)

    told = net_greeks(book, state)
    assert_allclose(told.adjusted_units[0, 1], (coins(BUMP) - coins(-BUMP)) / (2 * BUMP), rtol=1e-4)
    assert_allclose(told.units[0, 1] - told.adjusted_units[0, 1], value / spot, rtol=1e-9)


def test_books_net_what_their_legs_have_and_agree_with_the_books_exposure(history: MarketHistory) -> None:
    state, book = history.now, option_book(history.now)
    told = net_greeks(book, state)
    assert_allclose(told.delta, book.exposure(state), rtol=1e-9, atol=1e-9)
    assert_allclose(told.units * state.spot, told.delta)
    row = {name: n for n, name in enumerate(book.portfolios)}
    forward = row["synthetic forward"]
    for name in ("gamma", "vega", "vanna", "volga"):
        figure = getattr(told, name)
        assert_allclose(figure[forward], 0.0, atol=1e-6)
        assert_allclose(figure[row["straddle"], 0], 2 * figure[row["long call"], 0], rtol=1e-7)
        assert_array_equal(figure[row["empty"]], 0.0)
        assert_array_equal(figure[row["straddle"], 1], 0.0)
    assert np.all(told.theta[[row["straddle"], row["coin straddle"]]].sum(axis=1) < 0)
    thin = net_greeks(Book(book.instruments, book.portfolios, sparse.csr_array(book.quantity)), state)
    for item in fields(told)[2:]:
        assert_allclose(getattr(thin, item.name), getattr(told, item.name), rtol=1e-12, atol=1e-9)


def test_linear_contracts_have_delta_alone(history: MarketHistory) -> None:
    told = net_greeks(Book((BTC, COIN, INVERSE), ("one",), np.array([[1.0, 2.0, -3.0]])), history.now)
    spot = history.now.spot[0]
    assert_allclose(told.delta, [[3 * spot - 300.0, 0.0]])
    assert_allclose(told.units, [[3 - 300.0 / spot, 0.0]])
    assert_array_equal(told.adjusted_units, told.units)
    assert_array_equal(told.theta, 0.0)


def test_counted_in_a_coin_everything_is_over_its_price_but_units_are_units(history: MarketHistory) -> None:
    book = option_book(history.now)
    usd, coin = (net_greeks(book, history.valued_in(name).now) for name in ("USD", "BTC"))
    for name in ("delta", "gamma", "vega", "theta", "vanna", "volga"):
        assert_allclose(getattr(coin, name) * history.now.spot[0], getattr(usd, name), rtol=1e-12, atol=1e-9)
    assert_allclose(coin.units, usd.units)
    assert_allclose(coin.adjusted_units, usd.adjusted_units)


def test_a_table_has_a_row_a_portfolio_and_underlying(history: MarketHistory) -> None:
    book = option_book(history.now)
    told = net_greeks(book, history.now)
    table = told.to_frame()
    assert list(table.index.names) == ["portfolio", "underlying"]
    assert table.loc[("coin straddle", "ETH"), "vega"] == told.vega[book.portfolios.index("coin straddle"), 1]
    assert "volga" in told._repr_html_()


def test_what_is_held_and_has_no_price_is_refused_and_a_worthless_coin_has_no_greeks(history: MarketHistory) -> None:
    state = history.now
    book = option_book(state)
    with pytest.raises(DataError, match="is held but has neither a mark nor an implied volatility"):
        net_greeks(book, replace(state, surface=None))
    dead = net_greeks(book, replace(state, spot=state.spot * [1, 0]))
    for item in fields(dead)[2:]:
        assert_array_equal(getattr(dead, item.name)[:, 1], 0.0)
    unheld = Book(book.instruments, ("none",), np.zeros((1, len(book.instruments))))
    assert_array_equal(net_greeks(unheld, replace(state, surface=None)).vega, 0.0)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.3, 3.0), st.floats(0.1, 2.0), st.sampled_from(["call", "put"]))
def test_greeks_keep_their_signs_and_the_equation_of_black(spot: float, vol: float, right: str) -> None:
    listing, state = simple(right, 100 * spot, vol)
    told: ContractGreeks = contract_greeks(listing, state)
    sign = 1 if right == "call" else -1
    assert 0 <= sign * told.delta[0] <= 300 * spot * (1 + 1e-12)
    assert told.gamma[0] >= 0
    assert told.vega[0] >= 0
    # Without carry or rate, theta and gamma balance: theta + sigma^2 F^2 gamma / 2 = 0; and vega = sigma T F^2 gamma.
    assert_allclose(told.theta + 0.5 * vol**2 * told.gamma, 0.0, atol=1e-9)
    assert_allclose(told.vega, vol * told.gamma, rtol=1e-9, atol=1e-12)
    d1 = np.log(spot) / vol + vol / 2
    assert_allclose(told.delta, 300 * spot * sign * ndtr(sign * d1), rtol=1e-8, atol=1e-12)
