from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from data import Book, DataError, Floats, Instrument, Listing, MarketHistory, MarketState
from margin_models.repricing import relative_rates
from margin_models.revalue import book_pnl, instrument_pnl, option_pnl, pnl_by_underlying
from margin_models.scenarios import PARALLEL, Scenarios, VolTerm
from markets import coins_with_options, option_book
from priced_options import black

SPOT, CARRY, RATE, VOL = {"BTC": 100.0, "ETH": 10.0}, {"BTC": 0.08, "ETH": -0.03}, 0.04, {"BTC": 0.6, "ETH": 0.9}
NOW = np.datetime64("2024-01-01T00:00", "ns")
YEAR = 365.25


def option(underlying: str, right: Any, moneyness: float, expiry: str, settlement: Any = "linear") -> Instrument:
    strike = moneyness * SPOT[underlying]
    name = f"{underlying}-{expiry}-{strike:g}-{right}-{settlement}"
    kind: Any = "option"
    return Instrument(name, underlying, kind, 2.0, settlement, f"{expiry}T08:00", strike, right)


NEAR, FAR = "2024-01-12", "2024-04-26"
CALL, PUT = option("BTC", "call", 1.0, FAR), option("BTC", "put", 1.0, FAR)
COIN_CALL, COIN_PUT = option("BTC", "call", 0.9, FAR, "inverse"), option("ETH", "put", 1.2, NEAR, "inverse")
WING, SOON = option("ETH", "put", 0.6, NEAR), option("BTC", "call", 1.05, "2024-01-02")
OPTIONS = (CALL, PUT, COIN_CALL, COIN_PUT, WING, SOON, replace(CALL, symbol="365", day_count=365.0))
LINEAR = (
    Instrument("BTC", "BTC", "spot"),
    Instrument("BTC-PERP", "BTC", multiplier=0.5),
    Instrument("ETH-INV", "ETH", multiplier=10.0, settlement="inverse"),
    Instrument("BTC-F", "BTC", "future", expiry=f"{FAR}T08:00"),
)
EVERY = (*OPTIONS, *LINEAR)


def state_of(numeraire: str = "USD", **facts: Any) -> MarketState:
    """Two coins with flat carry, rate and volatility."""
    curves = np.array([[[[0.5, CARRY[a], RATE]] for a in SPOT]])
    surfaces = np.array([[[[0.5, 0.0, 0.5 * VOL[a] ** 2, 0.0, 0.0, 0.0, 1.0]] for a in SPOT]])
    terms = {"curves": curves, "surfaces": surfaces, "implied": "quotes", "numeraire": numeraire}
    spot = np.array([list(SPOT.values())])
    time = pd.DatetimeIndex([NOW]).to_numpy().astype("datetime64[ns]")
    return MarketHistory(time, tuple(SPOT), spot, **{**terms, **facts}).now


def shocks(size: int = 9, seed: int = 1, **facts: Any) -> Scenarios:
    rng = np.random.default_rng(seed)
    spot, vol = rng.uniform(-0.6, 1.5, (size, 2)), rng.uniform(-0.7, 1.5, (size, 2))
    return Scenarios(spot, vol, tuple(map(str, range(size))), **facts)


def shocked_volatility(i: Instrument, tenor: float, scenarios: Scenarios, s: int) -> float:
    a, volatility, term = list(SPOT).index(i.underlying), VOL[i.underlying], scenarios.term
    days = tenor * YEAR
    fade = (30.0 / max(days, term.floor_days)) ** (term.short if days <= 30 else term.long)
    change = scenarios.vol[s, a] * fade
    told = volatility * max(1 + change, 0.0)
    if change > 0:
        told = max(told, term.least)
    strike = i.strike or np.nan
    depth = np.log(strike / (SPOT[i.underlying] * np.exp(CARRY[i.underlying] * tenor))) / (volatility * np.sqrt(tenor))
    if scenarios.skew is not None:
        told *= max(1 + scenarios.skew[s] * min(max(depth, -2), 2), 0)
    if scenarios.wings is not None:
        told *= max(1 + scenarios.wings[s] * min(abs(depth), 2), 0)
    return float(told)


def plain_gain(i: Instrument, scenarios: Scenarios, s: int, elapsed: float) -> float:
    """USD that one contract gains in one scenario, from nothing but flat carry, rate and volatility."""
    a = list(SPOT).index(i.underlying)
    spot, carry = SPOT[i.underlying], CARRY[i.underlying]
    later = spot * (1 + scenarios.spot[s, a])
    shift = 0.0 if scenarios.rate is None else scenarios.rate[s]
    tenor = (np.datetime64(i.expiry, "ns") - NOW) / np.timedelta64(1, "D") / i.day_count if i.expiry else 0.0
    left = max(tenor - elapsed, 0.0)
    if i.kind == "future":
        # The carry that is left when the horizon ends.
        return float(i.multiplier * (later * np.exp((carry + shift) * left) - spot * np.exp(carry * tenor)))
    if i.kind != "option":
        return float((i.multiplier if i.settlement == "linear" else i.multiplier / spot) * (later - spot))
    forwards = spot * np.exp(carry * tenor), later * np.exp((carry + shift) * left)
    deviations = VOL[i.underlying] * np.sqrt(tenor), shocked_volatility(i, tenor, scenarios, s) * np.sqrt(left)
    yearly = RATE if i.settlement == "linear" else carry
    worths = np.exp(-yearly * tenor), np.exp(-(yearly + shift) * left)
    prices = [black(f, i.strike or np.nan, d, i.right == "call") for f, d in zip(forwards, deviations, strict=True)]
    return float(i.multiplier * (worths[1] * prices[1] - worths[0] * prices[0]))


def plain(scenarios: Scenarios, elapsed: float, instruments: tuple[Instrument, ...] = EVERY) -> Floats:
    weight = np.ones(len(scenarios)) if scenarios.weight is None else scenarios.weight
    size = range(len(scenarios))
    return np.array([[plain_gain(i, scenarios, s, elapsed) * weight[s] for s in size] for i in instruments])


FORMS: list[dict[str, Any]] = [
    {},
    {"term": PARALLEL},
    {"term": VolTerm(0.3, 0.13, 7.0, 0.7)},
    {"weight": np.linspace(0.1, 1, 9)},
    {"skew": np.linspace(-0.9, 0.9, 9)},
    {"wings": np.linspace(-0.4, 0.5, 9)},
    {"rate": np.linspace(-0.05, 0.1, 9)},
    {
        "rate": np.linspace(-0.05, 0.1, 9),
        "skew": np.full(9, 0.1),
        "weight": np.full(9, 0.5),
        "term": VolTerm(least=0.8),
    },
]


@pytest.mark.parametrize("elapsed", [0.0, 1.0 / YEAR, 20.0 / YEAR])
@pytest.mark.parametrize("facts", FORMS, ids=lambda facts: "+".join(facts) or "plain")
def test_every_instrument_gains_what_a_plain_loop_says(facts: dict[str, Any], elapsed: float) -> None:
    scenarios = shocks(**facts)
    told = instrument_pnl(Listing(EVERY), state_of(), scenarios, elapsed)
    assert_allclose(told, plain(scenarios, elapsed), rtol=1e-9, atol=1e-9)


def test_the_options_alone_are_the_options_of_the_whole() -> None:
    listing, scenarios = Listing((LINEAR[0], *OPTIONS)), shocks()
    whole = instrument_pnl(listing, state_of(), scenarios)
    assert_array_equal(option_pnl(listing, state_of(), scenarios), whole[1:])


@pytest.mark.parametrize("elapsed", [0.0, 3.0 / YEAR])
def test_long_call_and_short_put_are_a_forward_in_every_scenario(elapsed: float) -> None:
    scenarios = shocks(50, wings=np.full(50, 0.2), term=VolTerm(least=0.9))
    call, put = instrument_pnl(Listing((CALL, PUT)), state_of(), scenarios, elapsed)
    tenor = float(Listing((CALL,)).tenor(NOW)[0])
    left = tenor - elapsed
    later = 100 * (1 + scenarios.spot[:, 0]) * np.exp(0.08 * left)
    forward = np.exp(-RATE * left) * (later - 100) - np.exp(-RATE * tenor) * (100 * np.exp(0.08 * tenor) - 100)
    assert_allclose(call - put, 2.0 * forward, rtol=1e-10, atol=1e-10)


def test_what_expires_on_the_way_is_worth_its_intrinsic_value() -> None:
    scenarios = shocks(40)
    for instrument in (SOON, replace(SOON, right="put"), replace(SOON, settlement="inverse")):
        listing, state = Listing((instrument,)), state_of()
        now = -instrument_pnl(listing, state, scenarios, 5.0 / YEAR)[0]
        later = 100 * (1 + scenarios.spot[:, 0])
        intrinsic = np.maximum((later - 105.0) * (1 if instrument.right == "call" else -1), 0.0)
        premium = now + 2.0 * intrinsic
        assert_allclose(premium, premium[0], rtol=1e-10)
        assert premium[0] > 0


def test_in_coin_a_dollar_gained_is_worth_less_where_the_coin_has_risen() -> None:
    scenarios, listing = shocks(30), Listing(EVERY)
    usd = instrument_pnl(listing, state_of(), scenarios, 0.01)
    coin = instrument_pnl(listing, state_of("BTC"), scenarios, 0.01)
    later = SPOT["BTC"] * (1 + scenarios.spot[:, 0])
    assert_allclose(coin, usd / later, rtol=1e-12, atol=1e-14)
    assert_allclose(relative_rates(state_of("BTC"), scenarios), 1 + scenarios.spot[:, 0])
    assert_array_equal(relative_rates(state_of(), scenarios), 1.0)


def test_a_coin_settled_option_is_worth_blacks_price_over_the_forward_in_coins() -> None:
    scenarios, state = shocks(30), state_of()
    gain = instrument_pnl(Listing((COIN_CALL,)), state, scenarios)[0]
    tenor = float(Listing((COIN_CALL,)).tenor(NOW)[0])
    strike, fade = 90.0, (30 / (tenor * YEAR)) ** 0.13

    def coins(spot: float, change: float) -> float:
        forward = spot * np.exp(0.08 * tenor)
        return float(black(forward, strike, 0.6 * max(1 + change * fade, 0.0) * np.sqrt(tenor), True) / forward)

    before = coins(100.0, 0.0) * 100.0
    for s in range(30):
        later = 100.0 * (1 + scenarios.spot[s, 0])
        assert_allclose(gain[s], 2.0 * (coins(later, scenarios.vol[s, 0]) * later - before), rtol=1e-9, atol=1e-10)


def test_nothing_happens_where_nothing_happens() -> None:
    still = Scenarios(np.zeros((2, 2)), np.zeros((2, 2)), ("a", "b"))
    assert_allclose(instrument_pnl(Listing(EVERY), state_of(), still), 0.0, atol=1e-12)
    none = Scenarios(np.zeros((0, 2)), np.zeros((0, 2)), ())
    assert instrument_pnl(Listing(EVERY), state_of(), none).shape == (len(EVERY), 0)
    assert book_pnl(Book(EVERY, ("one",), np.ones((1, len(EVERY)))), state_of(), none).shape == (1, 0)


def test_time_alone_takes_from_who_is_long_an_option_without_carry() -> None:
    still = Scenarios(np.zeros((1, 2)), np.zeros((1, 2)), ("still",))
    flat = state_of(curves=None)
    lost = -instrument_pnl(Listing(OPTIONS), flat, still, 0.5 / YEAR)[:, 0]
    assert np.all(lost > 0)


def test_a_price_that_falls_to_nothing_leaves_calls_nothing_and_puts_their_strike() -> None:
    gone = Scenarios(np.full((1, 2), -1.0), np.zeros((1, 2)), ("gone",))
    state = state_of(curves=None)
    gain = instrument_pnl(Listing((CALL, PUT, *LINEAR[:2])), state, gone)[:, 0]
    call, put = (-instrument_pnl(Listing((i,)), state, gone, 1.0)[0, 0] for i in (CALL, PUT))
    assert_allclose(gain, [-call, -put, -100.0, -50.0], rtol=1e-9)
    assert_allclose(
        -put + 2 * black(100.0, 100.0, 0.6 * np.sqrt(Listing((PUT,)).tenor(NOW)[0]), False), 200.0, rtol=1e-9
    )


def test_volatility_never_falls_below_nothing() -> None:
    crushed = Scenarios(np.zeros((1, 2)), np.full((1, 2), -1.0), ("crushed",))
    short = option("BTC", "call", 0.8, NEAR)
    gain = instrument_pnl(Listing((short,)), state_of(curves=None), crushed)[0, 0]
    tenor = float(Listing((short,)).tenor(NOW)[0])
    assert_allclose(gain, 2 * (20.0 - black(100.0, 80.0, 0.6 * np.sqrt(tenor), True)), rtol=1e-9)


@pytest.mark.parametrize("size", [1, 127, 128, 300])
@pytest.mark.parametrize("rate", [False, True])
def test_a_sparse_book_gains_what_a_dense_one_does_and_both_what_their_contracts_do(size: int, rate: bool) -> None:
    scenarios = shocks(size, rate=np.full(size, 0.02)) if rate else shocks(size)
    rng = np.random.default_rng(5)
    quantity = rng.standard_normal((7, len(EVERY))) * (rng.random((7, len(EVERY))) < 0.5)
    names = tuple(map(str, range(7)))
    dense, thin = Book(EVERY, names, quantity), Book(EVERY, names, sparse.csr_array(quantity))
    for state in (state_of(), state_of("ETH")):
        unit = instrument_pnl(dense.listing, state, scenarios, 0.01)
        for book in (dense, thin):
            assert_allclose(book_pnl(book, state, scenarios, 0.01), quantity @ unit, rtol=1e-10, atol=1e-10)
            apart = pnl_by_underlying(book, state, scenarios, 0.01)
            assert apart.shape == (7, 2, size)
            assert_allclose(apart.sum(axis=1), quantity @ unit, rtol=1e-10, atol=1e-10)


def test_each_underlying_answers_to_its_own_column_alone() -> None:
    scenarios, state = shocks(20), state_of()
    book = Book(EVERY, ("one",), np.ones((1, len(EVERY))))
    still = replace(scenarios, spot=scenarios.spot * [1, 0], vol=scenarios.vol * [1, 0])
    assert_allclose(pnl_by_underlying(book, state, still)[:, 0], pnl_by_underlying(book, state, scenarios)[:, 0])
    assert_allclose(pnl_by_underlying(book, state, still)[:, 1], 0.0, atol=1e-12)


def test_the_classic_books_gain_what_their_legs_do() -> None:
    history = coins_with_options()
    book, scenarios = option_book(history.now), shocks(200)
    unit = instrument_pnl(book.listing, history.now, scenarios, 2.0 / YEAR)
    quantity = book.quantity
    assert isinstance(quantity, np.ndarray)
    whole = book_pnl(book, history.now, scenarios, 2.0 / YEAR)
    assert_allclose(whole, quantity @ unit, rtol=1e-9, atol=1e-7)
    # A butterfly of calls can lose no more than it cost, once it expires.
    row = book.portfolios.index("butterfly")
    expired = book_pnl(book, history.now, scenarios, 40.0 / YEAR)[row]
    assert_allclose(expired.min(), -float(book.value(history.now)[row]), rtol=1e-9)


holdings = st.lists(st.floats(-5, 5), min_size=len(EVERY), max_size=len(EVERY))


@settings(max_examples=40, deadline=None)
@given(holdings, holdings, st.floats(-3, 3), st.permutations(range(len(EVERY))))
def test_gains_add_up_scale_and_do_not_mind_the_order(
    one: list[float], other: list[float], scale: float, order: list[int]
) -> None:
    a, b = np.array(one), np.array(other)
    scenarios, state = shocks(5), state_of()
    book = Book(EVERY, ("a", "b", "sum", "scaled"), np.array([a, b, a + b, scale * a]))
    told = book_pnl(book, state, scenarios, 0.01)
    assert_allclose(told[2], told[0] + told[1], rtol=1e-9, atol=1e-8)
    assert_allclose(told[3], scale * told[0], rtol=1e-9, atol=1e-8)
    mixed = Book(tuple(EVERY[n] for n in order), ("a",), a[None, order])
    assert_allclose(book_pnl(mixed, state, scenarios, 0.01)[0], told[0], rtol=1e-9, atol=1e-8)
    double = Scenarios(np.tile(scenarios.spot, (2, 1)), np.tile(scenarios.vol, (2, 1)), scenarios.names * 2)
    assert_array_equal(book_pnl(book, state, double, 0.01)[:, 5:], told)


@pytest.mark.parametrize(
    ("instrument", "facts", "why"),
    [
        (CALL, {"surfaces": None, "implied": ""}, "is held but has neither a mark nor an implied volatility"),
        (replace(CALL, expiry="2023-12-29T08:00"), {}, "is held but has expired"),
    ],
)
def test_what_is_held_and_has_no_price_is_refused(instrument: Instrument, facts: dict[str, Any], why: str) -> None:
    state, scenarios = state_of(**facts), shocks()
    pair = (instrument, LINEAR[0])
    for ask in (book_pnl, pnl_by_underlying):
        for quantity in (np.array([[1.0, 1.0]]), sparse.csr_array(np.array([[1.0, 1.0]]))):
            with pytest.raises(DataError, match=why):
                ask(Book(pair, ("one",), quantity), state, scenarios)
        with pytest.raises(DataError, match=why):
            ask(Book(pair, ("one",), np.array([[1.0, 1.0]])), state, replace(scenarios, rate=np.zeros(9)))
    unheld = book_pnl(Book(pair, ("one",), np.array([[0.0, 1.0]])), state, scenarios)
    assert_allclose(unheld[0], 100.0 * scenarios.spot[:, 0])
    assert np.isnan(instrument_pnl(Listing(pair), state, scenarios)[0]).all()


def test_what_is_written_on_a_worthless_coin_no_longer_moves() -> None:
    dead, scenarios = replace(state_of(), spot=np.array([100.0, 0.0])), shocks()
    told = instrument_pnl(Listing((COIN_PUT, WING, LINEAR[2])), dead, scenarios)
    assert_array_equal(told, 0.0)
    assert_array_equal(book_pnl(Book((WING,), ("one",), np.ones((1, 1))), dead, scenarios), 0.0)


def test_the_number_of_threads_never_changes_a_figure() -> None:
    history = coins_with_options()
    state, rng = history.now, np.random.default_rng(3)
    book = option_book(state)
    thin = Book(book.instruments, book.portfolios, sparse.csr_array(book.quantity))
    moves = 0.1 * rng.standard_normal((400, 2))
    scenarios = Scenarios(moves, 2 * moves, tuple(map(str, range(400))))
    for held in (book, thin):
        assert_array_equal(book_pnl(held, state, scenarios, threads=3), book_pnl(held, state, scenarios))
