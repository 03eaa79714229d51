from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from data import Book, Clock, DataError, Floats, Instrument, Listing, MarketHistory, MarketState
from data.curves import curves_of_futures, discount, forward_ratio, with_curves
from data.valuation import notionals, option_terms, prices, sensitivities, unit_values
from priced_options import black

EXPIRY = "2024-07-01T12:00"
CALL = Instrument("C", "BTC", "option", expiry=EXPIRY, strike=110.0, right="call")
PUT = Instrument("P", "BTC", "option", expiry=EXPIRY, strike=110.0, right="put")
COIN_CALL = replace(CALL, symbol="CC", settlement="inverse")
FUTURE = Instrument("F", "BTC", "future", expiry=EXPIRY)
SPOT, PERPETUAL = Instrument("BTC", "BTC", "spot"), Instrument("BTC-PERP", "BTC")
EVERY = Listing((CALL, PUT, COIN_CALL, FUTURE, SPOT, PERPETUAL))
YEARS = 182.5 / 365.25
CARRY, RATE, VOL = 0.08, 0.03, 0.6


def flat(variance: float, tenor: float = 1.0) -> list[float]:
    return [tenor, 0.0, variance * tenor, 0.0, 0.0, 0.0, 1.0]


def state_of(spot: float = 100.0, **facts: Any) -> MarketState:
    """BTC at the start of 2024, with a flat surface, carry and rate unless told otherwise."""
    terms = {
        "curves": np.array([[[[0.25, CARRY, RATE], [1.0, CARRY, RATE]]]]),
        "surfaces": np.array([[[flat(VOL**2)]]]),
        "implied": "quotes",
    }
    time = pd.date_range("2024-01-01", periods=1).to_numpy().astype("datetime64[ns]")
    return MarketHistory(time, ("BTC",), np.array([[spot]]), **{**terms, **facts}).now


def test_premiums_are_black_on_the_forward_of_the_curve() -> None:
    forward, worth, deviation = 100 * np.exp(CARRY * YEARS), np.exp(-RATE * YEARS), VOL * np.sqrt(YEARS)
    got = prices(EVERY, state_of())
    call, put = black(forward, 110, deviation, True), black(forward, 110, deviation, False)
    assert_allclose(got, [worth * call, worth * put, call / forward * 100, forward, 100, 100], rtol=1e-12)


def test_notional_of_an_option_is_that_of_its_underlying_and_its_value_its_premium() -> None:
    state = state_of()
    big = Listing((replace(CALL, multiplier=5.0), FUTURE, SPOT, PERPETUAL))
    assert_allclose(notionals(big, state), [500, 100 * np.exp(CARRY * YEARS), 100, 100])
    assert_allclose(unit_values(big, state), [5 * prices(EVERY, state)[0], 0, 100, 0])


@pytest.mark.parametrize("settlement", ["linear", "inverse"])
def test_sensitivity_is_the_gain_per_relative_move_of_spot(settlement: Any) -> None:
    listing = Listing((replace(CALL, settlement=settlement), replace(PUT, settlement=settlement)))
    up, down = (prices(listing, state_of(spot)) for spot in (100.01, 99.99))
    # The surface sticks to moneyness, so with a flat one the volatility of a strike does not move.
    assert_allclose(sensitivities(listing, state_of()), (up - down) / 2e-4, rtol=1e-6)


def test_the_day_count_is_the_instruments() -> None:
    derive = Listing((replace(CALL, day_count=365.0),))
    assert_allclose(derive.tenor(state_of().time), [182.5 / 365.0])
    assert option_terms(derive, state_of()).tenor[0] > option_terms(Listing((CALL,)), state_of()).tenor[0]


def test_a_listed_option_is_worth_its_mark_and_its_volatility_is_the_marks() -> None:
    state = state_of(listed=("C",), marks=np.array([[12.5]]))
    assert_allclose(prices(EVERY, state)[0], 12.5)
    terms = option_terms(EVERY, state)
    assert_allclose(terms.premium[0], 12.5, rtol=1e-9)
    assert abs(terms.volatility[0] - VOL) > 0.01
    assert_allclose(terms.volatility[1:], VOL)


def test_what_has_expired_or_has_no_volatility_is_never_priced_when_held() -> None:
    gone = replace(CALL, symbol="old", expiry="2023-12-29T08:00")
    for instrument, state, why in [
        (gone, state_of(), "old is held but has expired"),
        (CALL, state_of(surfaces=None, implied=""), "neither a mark nor an implied volatility"),
        (replace(FUTURE, expiry="2023-12-29"), state_of(), "is held but has expired"),
    ]:
        book = Book((instrument, PERPETUAL), ("one",), np.array([[1.0, 1.0]]))
        for ask in (book.gross, book.exposure, book.value, book.linear_exposure):
            if ask != book.linear_exposure or instrument.kind == "future":
                with pytest.raises(DataError, match=why):
                    ask(state)
        unheld = Book((instrument, PERPETUAL), ("one",), np.array([[0.0, 1.0]]))
        assert_allclose(unheld.gross(state), [100.0])


def test_a_future_without_mark_or_curve_is_refused() -> None:
    with pytest.raises(DataError, match="F is a dated future without a mark or a curve"):
        prices(EVERY, state_of(curves=None))


def test_where_the_coin_is_worthless_a_put_is_worth_its_strike() -> None:
    state = state_of(0.0)
    assert_allclose(prices(Listing((CALL, PUT)), state), [0.0, 110.0])
    assert_allclose(sensitivities(Listing((CALL, PUT)), state), [0.0, 0.0])


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"strike": 0.0}, "strike must be > 0, got 0.0"),
        ({"strike": float("nan")}, "strike must be > 0"),
        ({"right": None}, "right must be 'call' or 'put'"),
        ({"expiry": None}, "a future or option, and nothing else, has an expiry"),
        ({"kind": "future"}, "a future has no strike"),
        ({"day_count": 0.0}, "day_count must be > 0"),
        ({"strike": "110"}, "strike must be > 0, got 110"),
        ({"expiry": "2024-07-01T12:00+00:00"}, "without a zone"),
        ({"symbol": ""}, "needs a symbol"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(facts: dict[str, Any], why: str) -> None:
    with pytest.raises(DataError, match=why):
        replace(CALL, **facts)


def test_forwards_are_linear_in_accrued_carry_and_flat_in_carry_beyond() -> None:
    curve = np.array([[0.5, 0.10, 0.02], [1.0, 0.08, 0.03], [np.nan, np.nan, np.nan]])
    tenor: Floats = np.array([0.0, 0.25, 0.5, 0.75, 1.0, 3.0])
    assert_allclose(np.log(forward_ratio(curve, tenor)), [0, 0.025, 0.05, 0.065, 0.08, 0.24])
    assert_allclose(-np.log(discount(curve, tenor)), [0, 0.005, 0.01, 0.02, 0.03, 0.09])
    assert_allclose(forward_ratio(None, tenor), 1.0)
    assert_allclose(forward_ratio(np.full((2, 3), np.nan), tenor), 1.0)


def test_futures_make_a_curve_that_prices_them_and_what_lies_between() -> None:
    near, far = (Instrument(f"F{month}", "BTC", "future", expiry=f"2024-{month}-01") for month in ("03", "07"))
    days = pd.date_range("2024-02-01", periods=3, freq="30D").to_numpy().astype("datetime64[ns]")
    marks = np.array([[101.0, 104.0], [np.nan, 103.0], [np.nan, 102.0]])
    history = MarketHistory(days, ("BTC",), np.full((3, 1), 100.0), Clock("30D"), listed=("F03", "F07"), marks=marks)
    curves = curves_of_futures(history, (far, near))
    tenor = np.array([29.0, 151.0]) / 365.25
    assert_allclose(curves[0, 0], np.column_stack([tenor, np.log([1.01, 1.04]) / tenor, [0.0, 0.0]]))
    assert np.isnan(curves[1, 0, 1]).all()
    told = with_curves(history, (near, far))
    between = Instrument("F05", "BTC", "future", expiry="2024-05-01")
    got = prices(Listing((near, far, between)), told.at(0))
    assert_allclose(got[:2], [101.0, 104.0])
    assert 101.0 < got[2] < 104.0
    assert_allclose(prices(Listing((replace(between, expiry="2024-06-01"),)), told.at(2)), 100 * 1.02 ** (61 / 91))
    with pytest.raises(DataError, match="a curve is made of listed futures"):
        curves_of_futures(history, (PERPETUAL,))
