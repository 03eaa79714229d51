from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array

from data import Book, Coverage, Floats, HistoryError, Instrument, MarketHistory, ParameterError
from margin_models import (
    CorrelationVaR,
    FilteredHistoricalVaR,
    HistoricalVaR,
    MarginModel,
    StaticMargin,
    StressedFloor,
)
from margin_models.stressed_floor import as_if_just_past, only_legs, only_underlyings, stressed_windows
from markets import book_of, coins_with_options, market, option_book, some_books, two_coins

COVERAGE = Coverage(0.95)
CALM, WILD = [0.002, -0.002], [0.05, -0.05]
LONG_AGO = market(CALM * 30 + WILD * 30 + CALM * 150)  # wild from row 60 to row 120


def spans(history: MarketHistory, rows: int, count: int = 1) -> list[tuple[int, int]]:
    return [(one.start, one.stop) for one in stressed_windows(history, COVERAGE, rows, count)]


def from_moves(moves: Floats, names: str = "ABCDEF") -> MarketHistory:
    """Daily prices of some underlyings from (T, A) log returns."""
    spot = pd.DataFrame(100 * np.exp(moves.cumsum(axis=0)), columns=list(names[: moves.shape[1]]))
    spot.index = pd.date_range("2020-01-01", periods=len(spot))
    return MarketHistory.from_frame(spot, missing="hole")


def perpetuals(history: MarketHistory, *held: tuple[float, ...]) -> Book:
    """A portfolio a row of USD exposures."""
    listed = tuple(Instrument(f"{name}-PERP", name) for name in history.underlyings)
    price = np.where(np.isnan(history.now.spot), 1.0, history.now.spot)
    return Book(listed, tuple(f"p{n}" for n in range(len(held))), np.array(held) / price)


def test_a_window_that_was_the_wildest_yet_is_remembered_and_only_in_the_past() -> None:
    assert spans(LONG_AGO, 60) == [(0, 60), (30, 90), (60, 120)]
    assert spans(LONG_AGO.rows(0, 61), 60) == [(0, 60)]
    assert spans(LONG_AGO.rows(0, 59), 60) == []
    assert spans(LONG_AGO, 60, 2) == [*spans(LONG_AGO, 60), (90, 150)]


def test_the_list_only_grows() -> None:
    rng = np.random.default_rng(3)
    history = from_moves(rng.standard_t(3, (1500, 3)) * 0.02)
    found: list[tuple[int, int]] = []
    for stop in range(100, 1500, 37):
        told = spans(history.rows(0, stop), 100)
        assert told[: len(found)] == found
        found = told
    assert 5 < len(found) < 25  # of 29


def test_the_worst_window_of_each_underlying_and_side_is_remembered() -> None:
    rng = np.random.default_rng(4)
    history = from_moves(rng.standard_t(3, (1500, 3)) * 0.02)
    returns, told = history.returns(COVERAGE), stressed_windows(history, COVERAGE, 100, 1)
    starts = np.arange(0, 1401, 50)
    moves = np.stack([returns[start : start + 99] for start in starts])
    fall, rise = (np.quantile(moves, share, axis=1, method="weibull") for share in (0.05, 0.95))
    for figures in ((moves**2).mean(axis=1), -fall, rise):
        for a, worst in enumerate(starts[figures.argmax(axis=0)]):
            assert any(one.start == worst and one.remember[a] for one in told)


def test_a_window_ends_where_prices_are_known_and_forgets_what_was_not() -> None:
    history = two_coins()  # row 200 is a hole
    assert np.isfinite(history.spot[[stop - 1 for _, stop in spans(history, 67)]]).all()
    spot = history.spot.copy()
    spot[:130, 1] = np.nan
    late = MarketHistory(history.time, history.underlyings, spot, history.clock)
    told = stressed_windows(late, COVERAGE, 100, 9)
    assert next(one.start for one in told if one.known[1]) >= 120
    assert [one[:2] for one in told if one.remember[0]] == [
        one[:2] for one in stressed_windows(history, COVERAGE, 100, 9) if one.remember[0]
    ]
    gappy = history.spot.copy()
    gappy[::5, 1] = np.nan
    holes = MarketHistory(history.time, history.underlyings, gappy, history.clock)
    assert not any(one.known[1] for one in stressed_windows(holes, COVERAGE, 100, 9))
    assert any(one.known[0] for one in stressed_windows(holes, COVERAGE, 100, 9))


def test_the_floor_of_a_book_never_falls_whatever_others_do() -> None:
    rng, scale = np.random.default_rng(0), np.full((2600, 6), 0.01)
    scale[100:200, 0] = 0.05
    for n, at in enumerate((700, 1100, 1500, 1900)):
        scale[at : at + 300, 1:] = 0.05 * (1 + 0.2 * n)  # later and wilder, elsewhere
    history = from_moves(scale * rng.standard_normal(scale.shape))
    floors = []
    for stop in (500, 1450, 1850, 2600):
        past = history.rows(0, stop)
        model = StressedFloor(HistoricalVaR(250)).fit(past, Coverage(0.99))
        held = perpetuals(past, (1, 0, 0, 0, 0, 0), (-1, 0, 0, 0, 0, 0), (1, -1, 0, 0, 0, 0))
        floors.append(model.requirement(past, held).initial)
    assert np.all(np.diff(floors, axis=0) >= -1e-12)
    assert floors[0][0] > 0.08
    assert_allclose(floors[-1][:2], floors[0][:2], rtol=1e-9)


def test_a_listing_lowers_no_floor() -> None:
    rng = np.random.default_rng(2)
    moves = np.where(np.arange(1000) < 250, 0.06, 0.015)[:, None] * rng.standard_normal((1000, 3))
    history = from_moves(moves)
    model, floors = StressedFloor(HistoricalVaR(250)), []
    for listed in (0, 600, 990):
        spot = history.spot.copy()
        spot[:listed, 2] = np.nan
        past = MarketHistory(history.time, history.underlyings, spot, history.clock)
        fitted = model.fit(past.rows(0, 900 if listed == 990 else 1000), Coverage(0.95))
        stressed = list(fitted._stresses(past, perpetuals(past, (1, 0, 0), (1, 0, 0.01))))
        asked = [one.of_all(one.model.margin(one.past, one.book) * one.asked, 2) for one in stressed]
        floors.append(np.max(asked, axis=0))
    assert_allclose(floors[1], floors[0], rtol=0.02)
    assert_allclose([one[0] for one in floors], floors[0][0], rtol=1e-9)
    assert floors[2][1] == pytest.approx(floors[2][0])  # a leg on what was not there neither asks nor offsets


def test_fewer_underlyings_are_the_same_history_and_book() -> None:
    history = coins_with_options()
    cut = only_underlyings(history, np.array([False, True]))
    assert cut.underlyings == ("ETH",)
    assert_array_equal(cut.spot[:, 0], history.spot[:, 1])
    assert cut.surfaces is not None
    assert history.surfaces is not None
    assert_array_equal(cut.surfaces[:, 0], history.surfaces[:, 1])
    book = some_books().at(history.now)
    legs = only_legs(book, ("ETH",))
    assert_allclose(legs.exposure(cut.now)[:, 0], book.exposure(history.now)[:, 1])
    sparse = Book(book.instruments, book.portfolios, csr_array(book.dense))
    assert_array_equal(only_legs(sparse, ("ETH",)).dense, legs.dense)
    assert only_legs(book, ("BTC", "ETH")) is book


def test_what_just_happened_has_the_windows_returns_and_todays_state() -> None:
    history = coins_with_options()
    told = as_if_just_past(history, 210, 300, 2)
    assert_allclose(
        told.returns(Coverage(horizon="2D")), history.rows(210, 300).returns(Coverage(horizon="2D")), atol=1e-12
    )
    assert told.now.time == history.now.time
    assert_array_equal(told.now.spot, history.now.spot)
    for name in ("curve", "surface"):
        assert_array_equal(getattr(told.now, name), getattr(history.now, name))
    changes = told.implied_changes(Coverage(horizon="2D"))
    own = history.rows(210, 300).implied_changes(Coverage(horizon="2D"))
    assert_array_equal(changes[-1], 0.0)  # no change from then to now
    assert_allclose(changes[:-3], own[:-3], atol=1e-12)


def test_a_rate_of_exchange_and_a_mark_end_as_they_are_now() -> None:
    coins = two_coins().rows(0, 150)
    rate, marks = np.linspace(1.0, 2.0, 150), 100.0 + np.arange(150.0)[:, None]
    history = replace(coins, fx={"EUR": rate}, listed=("M",), marks=marks)
    told = as_if_just_past(history, 10, 60, 1)
    assert told.fx["EUR"][-1] == pytest.approx(2.0)
    assert_allclose(told.fx["EUR"][1:] / told.fx["EUR"][:-1], rate[11:60] / rate[10:59])
    assert told.marks is not None
    assert told.marks[-1] == 249.0
    assert np.isnan(told.marks[:-1]).all()


def test_depth_and_features_are_those_of_then_and_end_today() -> None:
    rng, coins = np.random.default_rng(1), two_coins().rows(0, 150)
    history = coins.with_features(rng.random((150, 2, 3)), ("a", "b", "c"))
    history = history.with_depth(rng.random((150, 2, 2, 2)).cumsum(axis=3), (0.01, 0.02))
    told = as_if_just_past(history, 10, 60, 1, np.array([False, True]))
    for name in ("features", "depth"):
        then, whole = getattr(told, name), getattr(history, name)
        assert_array_equal(then[:-1], whole[10:59, 1:])
        assert_array_equal(then[-1], whole[-1, 1:])


def test_calm_after_a_storm_costs_what_the_storm_did() -> None:
    book, price = book_of(1.0, -1.0, 0.0), LONG_AGO.now.spot[0]
    model = StressedFloor(HistoricalVaR(lookback=100), window=60)
    told = model.fit(LONG_AGO, COVERAGE).requirement(LONG_AGO, book)
    assert_allclose(told.initial / price, [0.05, 0.05, 0.0], rtol=1e-9)
    assert_allclose(told.components["margin"] / price, [0.002, 0.002, 0.0], rtol=1e-9)
    assert_allclose(told.components["stressed floor"] / price, [0.048, 0.048, 0.0], rtol=1e-9)
    assert told.worst[0] == f"window from {str(LONG_AGO.time[30])[:10]}"  # the first that saw it
    assert told.worst[2] == ""
    assert_allclose(sum(model.explain(LONG_AGO, book).components.values()), told.initial)


def test_the_floor_is_not_looked_for_ahead_and_never_lowers() -> None:
    inner = HistoricalVaR(lookback=50)
    model = StressedFloor(inner, window=60)
    for stop in (61, 90, 122, 200, 400):
        past, book = LONG_AGO.rows(0, stop), book_of(1.0)
        floored, bare = (one.fit(past, COVERAGE).margin(past, book)[0] for one in (model, inner))
        assert floored >= bare
        assert (floored / past.now.spot[0] > 0.04) == (stop >= 90)


def test_before_the_first_window_there_is_no_floor() -> None:
    past, book = LONG_AGO.rows(0, 59), book_of(1.0)
    told = StressedFloor(HistoricalVaR(), window=60).fit(past, COVERAGE).requirement(past, book)
    assert_array_equal(told.components["stressed floor"], 0.0)


def test_weight_scales_the_floor_and_the_stressed_model_may_be_another() -> None:
    book, price = book_of(1.0), LONG_AGO.now.spot[0]
    for weight in (0.5, 1.0, 2.0):
        model = StressedFloor(HistoricalVaR(100), CorrelationVaR(), window=60, weight=weight)
        asked = model.fit(LONG_AGO, COVERAGE).margin(LONG_AGO, book)[0]
        assert asked == pytest.approx(weight * 1.6448536 * 0.05 * price, rel=0.02)


def test_option_books_are_revalued_under_stress() -> None:
    history = coins_with_options()
    book = option_book(history.now).at(history.now)
    model = StressedFloor(FilteredHistoricalVaR(), window=120).fit(history, COVERAGE)
    told = model.requirement(history, book)
    apart = []
    holds = book.by_underlying(np.ones(len(book.instruments)), history.now, gross=True) > 0
    for start, stop, known, remember in stressed_windows(history, COVERAGE, 120, 1):
        assert known.all()
        fitted = HistoricalVaR().fit(history.rows(start, stop), COVERAGE)
        asked = (holds & remember).any(axis=1)
        apart.append(fitted.margin(as_if_just_past(history, start, stop, 1), book) * asked)
    bare = FilteredHistoricalVaR().fit(history, COVERAGE).margin(history, book)
    assert_array_equal(told.initial, np.max([bare, *apart], axis=0))
    assert np.any(told.components["stressed floor"] > 0)


def test_a_frozen_model_stays_frozen_under_a_floor() -> None:
    history = two_coins()
    book = some_books().at(history.now)
    models: tuple[MarginModel, ...] = (StaticMargin(), StressedFloor(StaticMargin(), window=120, weight=1e-9))
    told = [[m.margin(history, book) for m in model.fit_many(history, [200, 420], 150, COVERAGE)] for model in models]
    assert_array_equal(told[1], told[0])
    assert_array_equal(told[1][0], told[1][1])


def test_multiplications_count_every_window() -> None:
    past, book = LONG_AGO, book_of(1.0)
    bare, floored = (
        model.fit(past, COVERAGE).multiplications(past, book)[0]
        for model in (HistoricalVaR(100), StressedFloor(HistoricalVaR(100), window=60))
    )
    assert floored == bare + 3 * 59  # returns in sixty rows


@pytest.mark.parametrize(
    "model", [StressedFloor(window=1), StressedFloor(windows=0), StressedFloor(weight=0.0)], ids=repr
)
def test_parameters_out_of_range_are_refused(model: StressedFloor) -> None:
    with pytest.raises(ParameterError, match="needs window >= 2 rows, windows >= 1 and weight > 0"):
        model.fit(LONG_AGO, COVERAGE)


def test_a_window_too_short_for_the_stressed_model_is_refused() -> None:
    model = StressedFloor(HistoricalVaR(100), window=15).fit(LONG_AGO, COVERAGE)
    with pytest.raises(HistoryError, match="19 complete horizon returns, got 14 of 14"):
        model.margin(LONG_AGO, book_of(1.0))
