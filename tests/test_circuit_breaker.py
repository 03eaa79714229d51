"""Does the breaker trip in the row that is too fast, and charge for what may still come?"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from backtest.lookahead import audit
from backtest.portfolios import standard_books
from data import Book, Coverage, Floats, MarketHistory, ParameterError
from margin_models import CircuitBreaker, HistoricalVaR, StaticMargin
from markets import book_of, coins_with_options, market, option_book, two_coins

COVERAGE = Coverage(0.95)
CALM = [0.01, -0.01] * 60
RATE = StaticMargin(rate=0.1)


def breaker(latency: int = 1, usual: int = 50, **parameters: float) -> CircuitBreaker:
    """Around a flat rate."""
    return CircuitBreaker(RATE, latency, usual, **parameters)  # type: ignore[arg-type]


def share(history: MarketHistory, model: CircuitBreaker, quantity: float = 1.0) -> float:
    """What the breaker adds now, per unit of gross notional."""
    book = book_of(quantity).at(history.now)
    return float(model.fit(history, COVERAGE).requirement(history, book).components["circuit breaker"][0])


def on(history: MarketHistory, model: CircuitBreaker, count: int = 1) -> list[list[bool]]:
    """Falls and rises of the one underlying."""
    told: list[list[bool]] = model.alarms(history, count)[:, 0].tolist()
    return told


def test_a_crash_trips_in_its_own_row_and_charges_the_speed_times_latency_to_longs() -> None:
    crash = market([*CALM, -0.2])
    assert on(crash, breaker(), 2) == [[False, False], [True, False]]
    assert share(crash, breaker()) == pytest.approx(0.2)
    assert share(crash, breaker(), -1.0) == 0.0
    asked = breaker().fit(crash, COVERAGE).requirement(crash, book_of(1.0).at(crash.now))
    assert asked.initial[0] == pytest.approx(0.1 + 0.2)
    assert asked.maintenance[0] == asked.initial[0]


def test_a_squeeze_trips_for_shorts() -> None:
    squeeze = market([*CALM, 0.3])
    assert on(squeeze, breaker()) == [[False, True]]
    assert share(squeeze, breaker(), -1.0) == pytest.approx(0.3)
    assert share(squeeze, breaker()) == 0.0


def test_speed_is_over_the_latency_window_and_in_its_deviations() -> None:
    slide = market([*CALM, 0.0, -0.1, -0.1])
    one, two = breaker(latency=1), breaker(latency=2)
    assert share(slide, one) == pytest.approx(0.1)
    assert share(slide, two) == pytest.approx(1 - 0.9**2)
    usual = 1.4826 * 0.01
    assert one.speeds(slide)[0, 0, 0] == pytest.approx(0.1 / usual)
    assert two.speeds(slide)[0, 0, 0] == pytest.approx((1 - 0.9**2) / (usual * np.sqrt(2)))


def test_what_is_usual_ends_before_the_latency_window() -> None:
    one = breaker(usual=10)
    swings = [0.01, -0.01] * 10 + [0.1, -0.1] * 3
    # Of the ten rows before the newest, five are wild: the median lies half way.
    assert one.speeds(market(swings))[0, 0, 0] == pytest.approx(0.1 / (1.4826 * (0.01 + 0.1) / 2))


def test_a_low_is_seen_where_the_close_has_come_back() -> None:
    calm = market([*CALM, 0.0])
    low = calm.spot.copy()
    low[-1] *= 0.8
    wick = replace(calm, low=low, high=calm.spot * 1.0)
    assert share(calm, breaker()) == 0.0
    assert share(wick, breaker()) == pytest.approx(0.2)


def test_an_alarm_goes_off_only_below_release_and_after_the_cool_off() -> None:
    usual = 1.4826 * 0.01
    after = [-6 * usual, -3 * usual, -1.5 * usual, -3 * usual, -4.9 * usual]
    path = market([*CALM, *after])
    fell = [state[0] for state in on(path, breaker(trip=5.0, release=2.0, cooloff=1), 6)]
    assert fell == [False, True, True, False, False, False]  # 3 keeps it on, below 2 ends it, 4.9 does not trip
    slower = [state[0] for state in on(path, breaker(trip=5.0, release=2.0, cooloff=3), 6)]
    assert slower == [False, True, True, True, True, True]
    held = breaker(trip=5.0, release=2.0, cooloff=3)
    assert share(path.rows(0, len(path) - 2), held) == pytest.approx(6 * usual)  # the largest of the cool-off
    assert share(path, held) == pytest.approx(4.9 * usual)


def test_an_alarm_does_not_last_for_ever() -> None:
    usual = 1.4826 * 0.01
    long = market([*CALM, 6 * usual, *[3 * usual] * 70])
    model = breaker(usual=110, release=1e-6)
    told = [state[1] for state in on(long, model, 71)]
    assert told == [True] * 60 + [False] * 11


def test_a_hole_neither_trips_nor_releases() -> None:
    spot = market([*CALM, -0.2, 0.0, 0.0]).spot.copy()
    spot[-2] = np.nan
    holed = replace(market([*CALM, -0.2, 0.0, 0.0]), spot=spot)
    told = breaker(cooloff=1).alarms(holed, 3)[:, 0, 0].tolist()
    assert told == [True, True, True]  # the newest has no close before it to compare with
    assert np.isnan(breaker().speeds(holed, 2)[:, 0]).all()


def test_a_short_past_and_a_peg_are_no_error() -> None:
    short = market([0.01, -0.5])
    assert not breaker().alarms(short, 10).any()
    assert breaker().alarms(short, 10).shape == (10, 1, 2)
    peg = market([0.0] * 60 + [-0.1])
    assert share(peg, breaker()) == pytest.approx(0.1)
    assert share(market([0.0] * 61), breaker()) == 0.0


@settings(max_examples=60, deadline=None)
@given(
    moves=st.lists(st.floats(-0.3, 0.3), min_size=5, max_size=40),
    latency=st.integers(1, 4),
    cooloff=st.integers(1, 6),
    count=st.integers(1, 30),
)
def test_alarms_are_those_of_a_plain_loop_and_of_each_row_alone(
    moves: list[float], latency: int, cooloff: int, count: int
) -> None:
    history = market([*CALM[:20], *moves])
    model = CircuitBreaker(RATE, latency, 10, 4.0, 2.0, cooloff)
    told = model.alarms(history, count)
    speed = model.speeds(history, max(len(history), count))
    assert_array_equal(told, _plainly(speed, cooloff)[-count:])
    for back in range(min(count, len(history))):
        assert_array_equal(told[-1 - back], model.alarms(history.rows(0, len(history) - back))[0])


def _plainly(speed: Floats, cooloff: int, trip: float = 4.0, release: float = 2.0) -> Floats:
    """The recursion as it reads."""
    told = np.zeros(speed.shape, dtype=bool)
    for column in np.ndindex(speed.shape[1:]):
        last, alarmed = -1, False
        for row, now in enumerate(speed[(slice(None), *column)]):
            if now >= trip:
                last, alarmed = row, True
            elif alarmed and ((now < release and row - last >= cooloff) or row - last >= 60):
                alarmed = False
            told[(row, *column)] = alarmed
    return told


@settings(max_examples=40, deadline=None)
@given(falls=st.lists(st.floats(0.0, 0.9), min_size=2, max_size=2), quantity=st.sampled_from([1.0, -1.0, 0.0]))
def test_the_faster_the_fall_the_more_is_asked(falls: list[float], quantity: float) -> None:
    less, more = sorted(falls)
    book = book_of(quantity)
    asked = []
    for fall in (less, more):
        history = market([*CALM, -fall])
        told = breaker().fit(history, COVERAGE).margin(history, book.at(history.now))
        asked.append(float(told[0]))
    assert asked[1] >= asked[0] * (1 - 1e-12)


def test_options_are_revalued_so_that_a_flat_straddle_pays_both_ways() -> None:
    history = coins_with_options(300)
    spot = history.spot.copy()
    spot[-1, 0] *= 0.7
    crash = replace(history, spot=spot, low=None, high=None)
    book = option_book(crash.now)
    model = CircuitBreaker(RATE, latency=1).fit(crash, COVERAGE)
    share = dict(zip(book.portfolios, model.requirement(crash, book).components["circuit breaker"], strict=True))
    fall = 1 - crash.spot[-1, 0] / crash.spot[-2, 0]
    assert share["long call"] < fall * crash.spot[-1, 0]  # no more than its premium
    assert share["short put"] > 0.5 * fall * crash.spot[-1, 0]
    assert share["synthetic forward"] == pytest.approx(fall * crash.spot[-1, 0], rel=0.1)
    assert share["coin straddle"] == 0.0  # of ETH, which stood still
    assert share["empty"] == 0.0


def test_it_scales_with_the_book_and_sees_no_tomorrow() -> None:
    history = two_coins()
    spot = history.spot.copy()
    spot[330:, 0] *= 0.6
    crash = replace(history, spot=spot, low=None, high=None)
    model = CircuitBreaker(HistoricalVaR())
    books = standard_books(crash.underlyings, makers=4)
    past = crash.rows(0, 332)
    book = books.at(past.now)
    fitted = model.fit(past, COVERAGE)
    assert fitted.requirement(past, book).components["circuit breaker"].max() > 0.3
    double = Book(book.instruments, book.portfolios, 2 * book.quantity)
    assert_allclose(fitted.margin(past, double), 2 * fitted.margin(past, book))
    found = audit(model, crash.rows(0, 376), books, COVERAGE, window=300, rows=20)
    assert found.passed, found.leaks


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"latency": 0}, "latency >= 1"),
        ({"usual": 9}, "usual >= 10"),
        ({"trip": 1.0, "release": 2.0}, "release <= trip"),
        ({"release": 0.0}, "0 < release"),
        ({"cooloff": 0}, "1 to 60"),
        ({"cooloff": 61}, "1 to 60"),
    ],
)
def test_parameters_out_of_range_are_refused(parameters: dict[str, float], said: str) -> None:
    history = market(CALM)
    model = CircuitBreaker(RATE).set_params(**parameters)
    with pytest.raises(ParameterError, match=said):
        model.fit(history, COVERAGE)
    with pytest.raises(ParameterError, match=said):
        model.alarms(history)
