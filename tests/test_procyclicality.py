"""Are the measures of responsiveness those of margins whose course is known?"""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest import replay
from backtest.procyclicality import impulse_response, largest_call, peak_to_trough, procyclicality, responsiveness
from data import Book, Coverage, Floats, HistoryError, MarketHistory, ParameterError
from margin_models import (
    CorrelationVaR,
    EwmaCovariance,
    FilteredHistoricalVaR,
    HistoricalVaR,
    MarginModel,
    StaticMargin,
)
from markets import some_books, two_coins

DAYS = pd.date_range("2024-01-01", periods=40).to_numpy()


class Free(MarginModel):
    """Asks for nothing."""

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        return np.zeros(len(book.portfolios))


def test_calls_by_hand() -> None:
    margin = np.array([1.0, 1.5, 1.2, 2.4, 2.0, 3.0, 0.5])[:, None]
    time = DAYS[:7]
    assert largest_call(margin, time, 1) == pytest.approx([1.2])
    assert largest_call(margin, time, 2) == pytest.approx([0.9])
    assert largest_call(margin, time, 5) == pytest.approx([2.0])
    assert largest_call(-margin.cumsum(axis=0), time, 1) == 0.0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1_000), st.integers(1, 10))
def test_daily_calls_are_differences_of_rows(seed: int, days: int) -> None:
    margin = np.random.default_rng(seed).uniform(0.0, 1.0, (40, 3))
    expected = np.maximum((margin[days:] - margin[:-days]).max(axis=0), 0.0)
    np.testing.assert_array_equal(largest_call(margin, DAYS, days), expected)


def test_days_are_time_and_not_rows() -> None:
    time = DAYS[[0, 1, 2, 9, 10]]
    margin = np.array([1.0, 1.0, 1.0, 4.0, 4.5])[:, None]
    assert largest_call(margin, time, 1) == pytest.approx([0.5])  # the gap of a week is no day
    assert largest_call(margin, time, 7) == pytest.approx([3.0])
    hourly = np.arange("2024-01-01", "2024-01-04", dtype="datetime64[h]").astype("datetime64[ns]")
    assert largest_call(np.arange(72.0)[:, None], hourly, 1) == pytest.approx([24.0])


def test_a_table_of_a_replay() -> None:
    run = replay(CorrelationVaR(), two_coins(), some_books(), Coverage(), window=200, refit_every=50)
    told = procyclicality(run, days=(1, 5, 30, 4000))
    assert told.columns.to_list() == ["peak_to_trough", "call_1d", "call_5d", "call_30d", "call_4000d"]
    assert told.loc["long", "peak_to_trough"] == run.initial[:, 0].max() / run.initial[:, 0].min()
    assert told.loc["empty"].isna().all()
    assert told["call_4000d"].isna().all()
    assert (told.iloc[0, 1:4] >= 0).all()
    np.testing.assert_array_equal(told["peak_to_trough"], peak_to_trough(run.initial))
    frozen = replay(StaticMargin(rate=0.1), two_coins(), some_books(), Coverage(), window=200, refit_every=50)
    assert procyclicality(frozen).iloc[0].to_numpy() == pytest.approx([1.0, 0.0, 0.0, 0.0])


@pytest.mark.parametrize("model", [StaticMargin(rate=0.1), StaticMargin()], ids=repr)
def test_a_static_model_does_not_respond(model: MarginModel) -> None:
    told = impulse_response(model, after=60, window=120)
    assert told.margin == pytest.approx(np.ones(len(told.margin)))
    assert told.overshoot == pytest.approx(0.0)
    assert told.half_life == 0.0
    assert told.settled == pytest.approx(1.0)


@pytest.mark.parametrize("half_life", [10.0, 20.0])
def test_ewma_goes_half_of_the_way_when_its_decay_says(half_life: float) -> None:
    # Its variance goes half of the way in one half-life; half of the way of its root, from 1 to 2, is less than that.
    due = half_life * math.log2(1.0 / (1.0 - (1.5**2 - 1.0) / (2.0**2 - 1.0)))
    told = impulse_response(CorrelationVaR(EwmaCovariance(half_life=half_life)), after=300)
    assert told.half_life == pytest.approx(due, rel=0.1)
    assert told.half_life > due  # the mean of roots is late behind the root of the mean
    assert told.settled == pytest.approx(told.due, rel=0.02)
    assert told.due == 2.0
    assert told.overshoot < 0.03


def test_a_small_step_takes_ewma_its_half_life() -> None:
    told = impulse_response(CorrelationVaR(EwmaCovariance(half_life=20)), 1.2, after=300, books=100)
    assert told.half_life == pytest.approx(20.0, rel=0.15)


def test_a_step_in_correlation() -> None:
    told = impulse_response(CorrelationVaR(), 0.8, "correlation", after=250)
    assert told.due == pytest.approx(math.sqrt(1.8))
    assert told.settled == pytest.approx(told.due, rel=0.03)
    assert 10.0 < told.half_life < 25.0
    assert impulse_response(StaticMargin(rate=0.1), 0.8, "correlation", after=40, window=40).half_life == 0.0


def test_a_step_down_settles_below() -> None:
    told = impulse_response(CorrelationVaR(EwmaCovariance(half_life=10)), 0.5, after=200)
    assert told.settled == pytest.approx(0.5, rel=0.03)
    assert told.overshoot < 0.05
    assert told.half_life > 10.0  # the root of a falling variance is slow to follow


def test_the_day_of_the_step_is_the_first_that_a_margin_can_know() -> None:
    told = impulse_response(CorrelationVaR(EwmaCovariance(half_life=1)), 10.0, after=20, window=60)
    assert told.margin[0] > 4.0
    calm = impulse_response(CorrelationVaR(EwmaCovariance(half_life=1)), 1.0, after=20, window=60)
    assert calm.margin[0] == pytest.approx(1.0, abs=0.3)
    assert told.path().index[0] == 1


def test_filtered_history_goes_too_far_and_plain_history_comes_late() -> None:
    told = responsiveness({"filtered": FilteredHistoricalVaR(), "plain": HistoricalVaR()})
    overshoot, half_life = told["overshoot"].to_numpy(), told["half_life"].to_numpy()
    assert overshoot[0] > 0.05 > overshoot[1]
    assert half_life[1] > 2 * half_life[0]
    assert told.index.to_list() == ["filtered", "plain"]


def test_the_same_seed_gives_the_same_path() -> None:
    asked: dict[str, Any] = {"after": 30, "window": 60, "books": 10}
    one, two = (impulse_response(CorrelationVaR(), **asked) for _ in range(2))
    np.testing.assert_array_equal(one.margin, two.margin)
    assert (impulse_response(CorrelationVaR(), seed=1, **asked).margin != one.margin).any()
    assert "half_life" in one._repr_html_()


def test_bad_input_is_refused() -> None:
    for step, kind in ((0.0, "volatility"), (1.0, "correlation"), (2.0, "price"), (0.0, "depth")):
        with pytest.raises(ParameterError):
            impulse_response(StaticMargin(), step, kind)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="one day"):
        impulse_response(StaticMargin(), coverage=Coverage(horizon="2D"))
    with pytest.raises(ParameterError, match="at least 2"):
        impulse_response(StaticMargin(), books=1)
    with pytest.raises(HistoryError, match="no margin before"):
        impulse_response(Free(), after=10, window=10)
    with pytest.raises(ParameterError, match="days"):
        largest_call(np.ones((40, 1)), DAYS, 0)
    with pytest.raises(HistoryError, match="needs as many"):
        largest_call(np.ones((40, 1)), DAYS, 100)
