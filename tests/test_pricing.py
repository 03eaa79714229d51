"""Is a price right to its last digits, do the Greeks follow from it, and does it lead back to its deviation?"""

import math
from dataclasses import astuple, fields
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from data import DataError, ParameterError
from data.pricing import Greeks, black76, black_scholes, greeks, implied_deviation, premium_adjusted, reprice
from priced_options import exact_black, some_options
from research.warm import warm_pricing

FAR = [1e-6, 1e-3, 0.5, 1.0, 2.0, 1e3, 1e6]
DEVIATIONS = [0.0, 1e-300, 1e-16, 1e-8, 1e-4, 0.01, 0.5, 3.0, 9.0, 50.0]

forwards = st.floats(1e-2, 1e6)
moneyness = st.floats(-2.0, 2.0)
deviations = st.floats(0.02, 3.0)


@pytest.fixture(scope="module", autouse=True)
def _warmed() -> None:
    """Nothing is compiled while an example is timed."""
    warm_pricing()


def error(told: float, forward: float, strike: float, deviation: float, call: bool) -> float:
    """Of a price, by its forward; by its strike for a put in the money, whose intrinsic value has the last place."""
    unit = strike if strike > forward and not call else forward
    return float(abs(Decimal(float(told)) - exact_black(forward, strike, deviation, call))) / unit


@pytest.mark.parametrize("spread_of_strikes", [14.0, 0.5, 1e-6, 0.0])
def test_prices_are_right_to_a_quadrillionth_of_the_forward(spread_of_strikes: float) -> None:
    rng = np.random.default_rng(1)
    size = 300
    forward = np.exp(rng.uniform(-3.0, 12.0, size))
    strike = forward * np.exp(spread_of_strikes * rng.uniform(-1.0, 1.0, size))
    deviation = np.where(rng.random(size) < 0.5, rng.uniform(0.01, 6.0, size), 10 ** rng.uniform(-12.0, 1.7, size))
    call = rng.random(size) < 0.5
    told = black76(forward, strike, deviation, call)
    given = zip(told, forward, strike, deviation, call, strict=True)
    assert max(error(*(one.item() for one in row)) for row in given) < 1e-15


@pytest.mark.parametrize("call", [True, False])
def test_prices_are_right_and_finite_at_every_edge(call: bool) -> None:
    for forward in (1e-3, 1.0, 6e4):
        for far in FAR:
            told = black76(forward, forward * far, DEVIATIONS, call)
            errors = [error(p, forward, forward * far, s, call) for p, s in zip(told, DEVIATIONS, strict=True)]
            assert max(errors) < 1e-15


def test_without_deviation_an_option_is_worth_its_intrinsic_value() -> None:
    strike = np.array([90.0, 100.0, 110.0, 1e-4, 1e8])
    for nothing in (0.0, 1e-200):
        assert_array_equal(black76(100.0, strike, nothing, True), np.maximum(100.0 - strike, 0.0))
        assert_array_equal(black76(100.0, strike, nothing, False), np.maximum(strike - 100.0, 0.0))
    forward, group, scale, scale_group, strike, deviation, call = some_options(40, 33)
    gain = np.where(call[:, None], 1.0, -1.0) * (forward[group] - strike[:, None])
    told = reprice(forward, group, 0.0 * scale, scale_group, strike, deviation, call)
    assert_array_equal(told, np.maximum(gain, 0.0))
    at = forward[group, 5]
    assert_array_equal(reprice(forward, group, 0.0 * scale, scale_group, at, deviation, call)[:, 5], np.zeros(40))


def test_a_year_at_the_money_by_hand() -> None:
    # s = 0.5: 100 (2 N(0.25) - 1), N(0.25) = 0.5987063256829237; phi(0.25) = 0.38666811680284924.
    told = greeks(100.0, 100.0, 0.5, 1.0, [True, False], discount=0.9, rate=0.1)
    n, phi = 0.5987063256829237, 0.38666811680284924
    assert_allclose(told.price, 90 * (2 * n - 1), rtol=1e-13)
    assert_allclose(told.delta, [0.9 * n, 0.9 * (n - 1)], rtol=1e-13)
    assert_allclose(told.gamma, 0.9 * phi / 50, rtol=1e-13)
    assert_allclose(told.vega, 90 * phi, rtol=1e-13)
    assert_allclose(told.theta, -90 * phi * 0.25 + 0.1 * told.price, rtol=1e-13)
    assert_allclose(told.vanna, 0.9 * phi * 0.5, rtol=1e-13)
    assert_allclose(told.volga, -90 * phi * 0.125, rtol=1e-13)
    assert_allclose(premium_adjusted(told, 100.0), told.delta - told.price / 100, rtol=1e-15)


def test_black_scholes_is_black_on_the_discounted_forward() -> None:
    # Haug 1998, pages 2 to 8.
    assert black_scholes(60.0, 65.0, 0.3, 0.25, 0.08, 0.0, True) == pytest.approx(2.1334, abs=5e-5)
    assert black_scholes(100.0, 95.0, 0.2, 0.5, 0.1, 0.05, False) == pytest.approx(2.4648, abs=5e-5)


@given(forwards, moneyness, deviations)
def test_call_less_put_is_forward_less_strike(forward: float, log: float, deviation: float) -> None:
    strike = forward * math.exp(log)
    call, put = black76(forward, strike, deviation, [True, False])
    assert abs((call - put) - (forward - strike)) <= 2e-15 * (forward + strike)


@given(forwards, moneyness, st.floats(0.0, 5.0), st.booleans(), st.floats(1e-3, 1e3))
def test_prices_scale_with_money_and_swap_with_its_sides(
    forward: float, log: float, deviation: float, call: bool, factor: float
) -> None:
    strike = forward * math.exp(log)
    price = black76(forward, strike, deviation, call)
    room = 3e-15 * (forward + strike)
    assert abs(black76(factor * forward, factor * strike, deviation, call) - factor * price) <= factor * room
    assert abs(black76(strike, forward, deviation, not call) - price) <= room


@given(forwards, moneyness, st.floats(0.0, 60.0), st.floats(0.0, 1.0), st.booleans())
def test_prices_lie_within_their_bounds_and_rise_with_deviation(
    forward: float, log: float, deviation: float, wider: float, call: bool
) -> None:
    strike = forward * math.exp(log)
    less, more = black76(forward, strike, [deviation, deviation + wider], call)
    room = 1e-15 * (forward + strike)
    assert 0.0 <= less <= more + room
    assert max(forward - strike if call else strike - forward, 0.0) - room <= less
    assert more <= (forward if call else strike) + room


def by_differences(forward: float, strike: float, volatility: float, tenor: float, call: bool) -> dict[str, float]:
    """Greeks from differences of prices of sixty digits, a billionth apart."""
    with localcontext() as context:
        context.prec = 60
        f, v, t = Decimal(forward), Decimal(volatility), Decimal(tenor)
        h = Decimal("1e-12")
        df, dv, dt = f * h, v * h, t * h

        def at(i: int, j: int, k: int = 0) -> Decimal:
            return exact_black(f + i * df, Decimal(strike), (v + j * dv) * (t + k * dt).sqrt(), call)

        return {
            "delta": float((at(1, 0) - at(-1, 0)) / (2 * df)),
            "gamma": float((at(1, 0) - 2 * at(0, 0) + at(-1, 0)) / df**2),
            "vega": float((at(0, 1) - at(0, -1)) / (2 * dv)),
            "theta": float((at(0, 0, -1) - at(0, 0, 1)) / (2 * dt)),
            "vanna": float((at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)) / (4 * df * dv)),
            "volga": float((at(0, 1) - 2 * at(0, 0) + at(0, -1)) / dv**2),
        }


@settings(max_examples=40, deadline=None)
@given(st.floats(1e-2, 1e5), moneyness, st.floats(0.05, 3.0), st.floats(0.01, 2.0), st.booleans())
@example(100.0, 0.0, 0.6, 1.0, True)
def test_greeks_are_the_derivatives_of_the_price(
    forward: float, log: float, volatility: float, tenor: float, call: bool
) -> None:
    strike = forward * math.exp(log)
    told = greeks(forward, strike, volatility, tenor, call)
    for name, expected in by_differences(forward, strike, volatility, tenor, call).items():
        natural = {"gamma": 1 / forward, "delta": 1.0, "vanna": 1.0}.get(name, forward)
        assert_allclose(getattr(told, name), expected, rtol=1e-10, atol=1e-13 * natural, err_msg=name)


def test_the_last_moment_near_the_strike_keeps_its_delta() -> None:
    # Of a logarithm of 1e-9 the rounded ratio would leave seven digits.
    forward, strike, deviation = 60_000.0, 60_000.00003, 1e-9
    step = Decimal(forward) * Decimal("1e-16")
    up, down = (exact_black(Decimal(forward) + sign * step, strike, deviation, True) for sign in (1, -1))
    told = greeks(forward, strike, deviation, 1.0, True)
    assert_allclose(told.delta, float((up - down) / (2 * step)), rtol=1e-11)


@given(forwards, moneyness, deviations, st.floats(0.1, 1.0), st.floats(-0.1, 0.1), st.booleans())
def test_greeks_take_the_discount_and_the_yield_of_the_price(
    forward: float, log: float, deviation: float, discount: float, rate: float, call: bool
) -> None:
    strike = forward * math.exp(log)
    bare = greeks(forward, strike, deviation, 1.0, call)
    told = greeks(forward, strike, deviation, 1.0, call, discount, rate)
    assert bare.price == black76(forward, strike, deviation, call)
    for field in fields(Greeks):
        extra = rate * discount * bare.price if field.name == "theta" else 0.0
        assert_allclose(getattr(told, field.name), discount * getattr(bare, field.name) + extra, rtol=1e-12)


@pytest.mark.parametrize(("volatility", "tenor"), [(0.0, 1.0), (0.6, 0.0), (0.0, 0.0), (1e-120, 1.0)])
def test_greeks_without_deviation(volatility: float, tenor: float) -> None:
    for call, delta in ((True, [0.0, 0.5, 1.0]), (False, [-1.0, -0.5, 0.0])):
        told = greeks(np.array([90.0, 100.0, 110.0]), 100.0, volatility, tenor, call)
        assert_array_equal(told.delta, delta)
        for name in ("gamma", "theta"):
            assert_array_equal(getattr(told, name), np.zeros(3))
        phi = 1 / math.sqrt(2 * math.pi)
        assert_allclose(told.vega, [0.0, 100 * phi * math.sqrt(tenor), 0.0], rtol=1e-15)
        assert_allclose(told.vanna, [0.0, 0.5 * phi * math.sqrt(tenor), 0.0], rtol=1e-15)
        assert_allclose(told.volga, np.zeros(3), atol=1e-15)


def test_greeks_are_finite_at_every_edge() -> None:
    grids = [np.array(FAR), np.array([0.0, 1e-150, 1e-8, 0.5, 50.0]), np.array([0.0, 1e-9, 1.0, 4.0])]
    strike, volatility, tenor = (np.ravel(one) for one in np.meshgrid(*grids))
    for call in (True, False):
        told = greeks(1.0, strike, volatility, tenor, call, 0.9, 0.05)
        assert np.isfinite(astuple(told)).all()
        assert (np.abs(told.delta) <= 0.9).all()
        assert (told.gamma >= 0).all()
        assert (told.vega >= 0).all()


@given(forwards, st.floats(-5.0, 5.0), st.floats(0.01, 6.0), st.booleans())
@example(100.0, 0.0, 0.01, True)
def test_a_price_leads_back_to_its_deviation(forward: float, log: float, deviation: float, call: bool) -> None:
    strike = forward * math.exp(log)
    price = black76(forward, strike, deviation, call)
    told = implied_deviation(price, forward, strike, call)
    vega = float(greeks(forward, strike, deviation, 1.0, call).vega)
    room = 8e-15 * max(forward, strike)
    if vega > 1e3 * room:
        assert abs(told - deviation) <= room / vega + 1e-14 * deviation
    if np.isfinite(told):
        assert abs(black76(forward, strike, told, call) - price) <= room
    else:
        assert price >= min(forward, strike) * (1 - 1e-14)


@given(st.floats(0.0, 12.0), st.floats(-250.0, -1.0))
def test_the_rarest_price_out_of_the_money_has_its_deviation(log: float, power: float) -> None:
    strike, price = math.exp(log), 10.0**power
    told = implied_deviation(price, 1.0, strike, True)
    assert 0.0 < told < 30.0
    assert_allclose(black76(1.0, strike, told, True), price, rtol=1e-10, atol=1e-15)
    if log > 0.1:  # nearer by, prices below 1e-16 of the forward are rounding
        assert_allclose(black76(1.0, strike, told, True), price, rtol=1e-10)


def test_no_deviation_explains_a_price_outside_its_bounds() -> None:
    call = [-1e-9, 0.0, 100.0, 101.0, math.nan, math.inf]
    assert_array_equal(implied_deviation(call, 100.0, 110.0, True), [math.nan, 0.0] + [math.nan] * 4)
    put = [9.99, 10.0, 110.0, 109.0]
    assert_array_equal(np.isnan(implied_deviation(put, 100.0, 110.0, False)), [True, False, True, False])
    assert implied_deviation(10.0, 100.0, 110.0, False) == 0.0


def test_rounding_at_the_intrinsic_value_is_no_loss() -> None:
    forward, strike = 61234.56789, 23456.789
    intrinsic = forward - strike
    below = np.nextafter(intrinsic, 0.0)
    assert_array_equal(implied_deviation([below, intrinsic], forward, strike, True), [0.0, 0.0])


def test_nothing_is_priced_where_there_is_nothing() -> None:
    none = np.zeros(0, np.intp)
    assert reprice(np.ones((1, 3)), none, np.ones((1, 3)), none, np.ones(0), np.ones(0), none > 0).shape == (0, 3)
    assert black76([], [], [], np.zeros(0, bool)).shape == (0,)
    one = np.zeros(2, np.intp)
    assert reprice(np.ones((1, 0)), one, np.ones((1, 0)), one, np.ones(2), np.ones(2), one > 0).shape == (2, 0)


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ((0.0, 1.0, 0.1), "forward must be > 0 and finite, got 0"),
        ((math.nan, 1.0, 0.1), "forward must be > 0"),
        ((math.inf, 1.0, 0.1), "forward must be > 0 and finite"),
        ((1.0, [1.0, -2.0], 0.1), "strike must be > 0 and finite, got -2.0 to 1.0"),
        ((1.0, 1.0, -0.1), "deviation must be >= 0 and finite, got -0.1"),
        ((1.0, 1.0, [0.1, math.nan]), "deviation must be >= 0"),
        (([1.0, 2.0], [1.0, 2.0, 3.0], 0.1), "arguments must broadcast"),
    ],
)
def test_what_cannot_be_priced_is_said(given_: tuple[float, float, float], said: str) -> None:
    with pytest.raises(DataError, match=said):
        black76(*given_, True)


def test_what_has_no_greeks_is_said() -> None:
    with pytest.raises(DataError, match="volatility must be >= 0"):
        greeks(1.0, 1.0, -0.5, 1.0, True)
    with pytest.raises(DataError, match="tenor must be >= 0"):
        greeks(1.0, 1.0, 0.5, -1.0, True)
    with pytest.raises(DataError, match="discount must be >= 0"):
        greeks(1.0, 1.0, 0.5, 1.0, True, discount=math.nan)
    with pytest.raises(DataError, match="rate must be finite"):
        greeks(1.0, 1.0, 0.5, 1.0, True, rate=math.inf)
    with pytest.raises(DataError, match="tenor must be >= 0"):
        black_scholes(1.0, 1.0, 0.5, -1.0, 0.0, 0.0, True)
    with pytest.raises(DataError, match="strike must be > 0"):
        implied_deviation(1.0, 1.0, 0.0, True)


def test_what_cannot_be_repriced_is_said() -> None:
    forward, group, scale, scale_group, strike, deviation, call = some_options(5, 4)
    with pytest.raises(DataError, match=r"group must lie in \[0, 3\), got 3 to 3"):
        reprice(forward, np.full(5, 3), scale, scale_group, strike, deviation, call)
    with pytest.raises(DataError, match="scale_group must lie in"):
        reprice(forward, group, scale, np.full(5, -1), strike, deviation, call)
    with pytest.raises(DataError, match="forward and scale must be"):
        reprice(forward, group, scale[:, :2], scale_group, strike, deviation, call)
    with pytest.raises(DataError, match=r"must be \(N,\) alike"):
        reprice(forward, group, scale, scale_group, strike[:3], deviation, call)
    with pytest.raises(DataError, match="scale must be >= 0"):
        reprice(forward, group, -scale - 1.0, scale_group, strike, deviation, call)
    unfit: list[Any] = [np.empty((4, 5)), np.empty((5, 4), np.float32), np.empty((4, 5)).T]
    for out in unfit:
        with pytest.raises(DataError, match=r"out must be \(5, 4\), float64"):
            reprice(forward, group, scale, scale_group, strike, deviation, call, out=out)
    with pytest.raises(ParameterError, match="threads must be >= 1"):
        reprice(*some_options(5, 4), threads=0)
