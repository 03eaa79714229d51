from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from data import Coverage, HistoryError, MarketHistory, ParameterError
from margin_models import (
    CorrelationVaR,
    FilteredHistoricalVaR,
    HistoricalVaR,
    MarginModel,
    StaticMargin,
    StressedFloor,
)
from margin_models.stressed_floor import as_if_just_past, stressed_windows
from markets import book_of, coins_with_options, market, option_book, some_books, two_coins

COVERAGE = Coverage(0.95)
CALM, WILD = [0.002, -0.002], [0.05, -0.05]
LONG_AGO = market(CALM * 30 + WILD * 30 + CALM * 150)  # wild from row 60 to row 120


def test_the_wildest_window_is_found_and_only_in_the_past() -> None:
    assert stressed_windows(LONG_AGO, COVERAGE, 60, 1) == [(60, 120)]
    assert stressed_windows(LONG_AGO.rows(0, 61), COVERAGE, 60, 3) == [(0, 60)]
    assert stressed_windows(LONG_AGO.rows(0, 59), COVERAGE, 60, 3) == []
    several = stressed_windows(LONG_AGO, COVERAGE, 60, 3)
    assert several[0] == (60, 120)
    assert len(several) == 3
    assert all(stop <= start for (_, stop), (start, _) in zip(sorted(several), sorted(several)[1:], strict=False))


def test_a_window_ends_where_every_price_is_known_and_has_few_holes() -> None:
    history = two_coins()  # row 200 is a hole
    assert (101, 201) not in stressed_windows(history, COVERAGE, 100, 9)
    spot = history.spot.copy()
    spot[:130, 1] = np.nan
    late = MarketHistory(history.time, history.underlyings, spot, history.clock)
    assert min(start for start, _ in stressed_windows(late, COVERAGE, 100, 9)) >= 120
    ends = [stop - 1 for _, stop in stressed_windows(history, COVERAGE, 67, 9)]
    assert np.isfinite(history.spot[ends]).all()


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


def test_calm_after_a_storm_costs_what_the_storm_did() -> None:
    book, price = book_of(1.0, -1.0, 0.0), LONG_AGO.now.spot[0]
    model = StressedFloor(HistoricalVaR(lookback=100), window=60)
    told = model.fit(LONG_AGO, COVERAGE).requirement(LONG_AGO, book)
    assert_allclose(told.initial / price, [0.05, 0.05, 0.0], rtol=1e-9)
    assert_allclose(told.components["margin"] / price, [0.002, 0.002, 0.0], rtol=1e-9)
    assert_allclose(told.components["stressed floor"] / price, [0.048, 0.048, 0.0], rtol=1e-9)
    assert told.worst[0] == f"window from {str(LONG_AGO.time[60])[:10]}"
    assert told.worst[2] == ""
    assert_allclose(sum(model.explain(LONG_AGO, book).components.values()), told.initial)


def test_the_floor_is_not_looked_for_ahead_and_never_lowers() -> None:
    inner = HistoricalVaR(lookback=50)
    model = StressedFloor(inner, window=60, windows=9)
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
        model = StressedFloor(HistoricalVaR(100), CorrelationVaR(), window=60, windows=1, weight=weight)
        asked = model.fit(LONG_AGO, COVERAGE).margin(LONG_AGO, book)[0]
        assert asked == pytest.approx(weight * 1.6448536 * 0.05 * price, rel=0.02)


def test_option_books_are_revalued_under_stress() -> None:
    history = coins_with_options()
    book = option_book(history.now).at(history.now)
    model = StressedFloor(FilteredHistoricalVaR(), window=120, windows=3).fit(history, COVERAGE)
    told = model.requirement(history, book)
    apart = []
    for start, stop in stressed_windows(history, COVERAGE, 120, 3):
        fitted = HistoricalVaR().fit(history.rows(start, stop), COVERAGE)
        apart.append(fitted.margin(as_if_just_past(history, start, stop, 1), book))
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
        for model in (HistoricalVaR(100), StressedFloor(HistoricalVaR(100), window=60, windows=2))
    )
    assert floored == bare + 2 * 59  # returns in sixty rows


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
