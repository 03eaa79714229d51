from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Self

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from backtest import LiquidationCost, replay, standard_books
from backtest.replay import Replay, outcomes
from data import Book, Coverage, Floats, HistoryError, Instrument, MarketHistory, ModelError, ParameterError
from margin_models import HistoricalVaR, MarginModel, StaticMargin
from markets import book_of, market, some_books, two_coins

FREE = LiquidationCost(0.0, 0.0)


def run(model: MarginModel, history: MarketHistory, **options: object) -> Replay:
    settings = {"window": 2, "refit_every": 1, "cost": FREE, **options}
    return replay(model, history, book_of(1.0, -1.0), Coverage(), **settings)  # type: ignore[arg-type]


def test_margin_and_loss_are_per_unit_of_gross_notional() -> None:
    told = run(StaticMargin(rate=0.07), market([0.1, -0.2, 0.3]))
    assert_array_equal(told.time, np.array(["2024-01-02", "2024-01-03"], dtype="datetime64[ns]"))
    assert_allclose(told.initial, 0.07)
    assert_allclose(told.loss, [[0.2, -0.2], [-0.3, 0.3]])
    assert_allclose(told.shortfall, [[0.13, 0.0], [0.0, 0.23]])


def test_a_decision_needs_every_price_at_both_ends_and_the_others_are_counted() -> None:
    history = two_coins(300)  # day 200 is missing
    told = replay(StaticMargin(rate=0.1), history, some_books(), Coverage(0.99, "2D"), window=190, refit_every=5)
    assert told.skipped == 2
    assert np.datetime64("2020-07-19", "ns") not in told.time  # the hole itself, and two days before it
    assert np.isnan(told.loss[:, -1]).all()  # the empty portfolio
    assert np.isfinite(told.loss[:, :-1]).all()
    assert_array_equal(told.end - told.time, np.timedelta64(2, "D"))
    assert all(b >= e for e, b in zip(told.end[told.disjoint], told.time[told.disjoint][1:], strict=False))


def test_refits_come_when_they_should_and_see_the_window_alone() -> None:
    seen: list[tuple[int, int]] = []

    class Noting(StaticMargin):
        def fit_many(
            self, history: MarketHistory, stops: Sequence[int], window: int, coverage: Coverage
        ) -> Iterator[Self]:
            seen.extend((stop - window, stop) for stop in stops)
            return super().fit_many(history, stops, window, coverage)

    run(Noting(rate=0.1), market([0.01] * 20), window=10, refit_every=4)
    assert seen == [(0, 10), (4, 14), (8, 18)]


@pytest.mark.parametrize(
    ("margin", "said"),
    [
        (np.array([np.nan, 0.1]), r"initial margin at 2024-01-02.* finite and >= 0, got nan for '\+1'"),
        (np.array([0.1, -0.1]), r"got -0.1 for '-1'"),
        (np.array([0.1, np.inf]), r"got inf for '-1'"),
        (np.array([0.1]), r"shape \(2,\), got \(1,\)"),
        (0.1, r"shape \(2,\), got \(\)"),
    ],
)
def test_a_model_that_breaks_its_promise_is_named(margin: object, said: str) -> None:
    class Broken(MarginModel):
        def margin(self, past: MarketHistory, book: Book) -> Floats:
            return margin  # type: ignore[return-value]

    with pytest.raises(ModelError, match=rf"Broken\(\): {said}" if said.startswith("initial") else said):
        run(Broken(), market([0.1, -0.2, 0.3]))


def test_fits_refused_are_counted_by_symbol_and_by_book() -> None:
    class Refusing(MarginModel):
        def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
            self.failures_: dict[str, str | int] = {"X": "no optimum (after 3 steps)", "too few excesses": 0}
            return super().fit(past, coverage)

        def margin(self, past: MarketHistory, book: Book) -> Floats:
            self.failures_["too few excesses"] += 2  # type: ignore[operator]
            return np.zeros(len(book.portfolios))

    told = run(Refusing(), market([0.01] * 9), window=2, refit_every=4)  # 8 decisions, 2 fits
    assert told.notes == ("X: no optimum (2 fits)", "too few excesses (16 fits)")


def test_what_cannot_be_replayed_is_refused() -> None:
    with pytest.raises(HistoryError, match=r"window \+ horizon = 5 \+ 1 rows, got 4"):
        run(StaticMargin(rate=0.1), market([0.1, -0.2, 0.3]), window=5)
    with pytest.raises(ParameterError, match="refit_every must be >= 1"):
        run(StaticMargin(rate=0.1), market([0.1, -0.2, 0.3]), refit_every=0)
    gaps = pd.DataFrame({"X": [1.0, np.nan] * 4}, index=pd.date_range("2024-01-01", periods=8))
    with pytest.raises(HistoryError, match="no decision has every price"):
        run(StaticMargin(rate=0.1), MarketHistory.from_frame(gaps, missing="hole"))


def test_a_replay_is_the_same_with_losses_known_beforehand() -> None:
    history, books, coverage = two_coins(250), some_books(), Coverage(0.95)
    known = outcomes(history, books, coverage, window=100)
    one = replay(HistoricalVaR(), history, books, coverage, window=100, refit_every=20)
    two = replay(HistoricalVaR(), history, books, coverage, window=100, refit_every=20, outcome=known)
    assert_array_equal(one.initial, two.initial)
    assert_array_equal(one.loss, two.loss)


def test_only_the_marks_of_what_may_be_held_decide() -> None:
    future = Instrument("X-JUN", "X", "future", expiry="2024-06-28")
    plain = market([0.1, -0.2, 0.3])
    marks = np.array([[101.0, np.nan], [111.0, np.nan], [89.0, np.nan], [115.0, np.nan]])
    listed = replace(plain, listed=("X-JUN", "X-SEP"), marks=marks)
    book = Book((future,), ("long",), np.array([[1.0]]))
    told = replay(StaticMargin(rate=0.1), listed, book, Coverage(), window=2, refit_every=1, cost=FREE)
    assert_allclose(told.loss[:, 0], [1 - 89 / 111, 1 - 115 / 89])


def test_losses_of_another_coverage_are_refused() -> None:
    history = two_coins(250)
    known = outcomes(history, some_books(), Coverage(0.95, "2D"), window=100)
    with pytest.raises(ParameterError, match="told for Coverage"):
        replay(HistoricalVaR(), history, some_books(), Coverage(0.95), window=100, refit_every=20, outcome=known)


def test_coverage_of_the_worst_along_the_way_judges_that_loss() -> None:
    history = two_coins(250)
    told = replay(
        StaticMargin(rate=0.1), history, some_books(), Coverage(0.99, "3D", path="worst"), window=50, refit_every=50
    )
    assert told.loss is told.loss_worst
    live = told.live
    assert np.all(told.loss_worst[live] >= told.loss_end[live])
    assert np.any(told.loss_worst[live] > told.loss_end[live] + 0.01)


def test_in_coin_the_numbers_are_those_of_coin() -> None:
    history = two_coins(300)
    coin = replay(
        HistoricalVaR(), history, some_books(), Coverage(0.95, numeraire="BTC"), window=200, refit_every=50, cost=FREE
    )
    dollars = replay(HistoricalVaR(), history, some_books(), Coverage(0.95), window=200, refit_every=50, cost=FREE)
    rows = np.searchsorted(history.time, coin.time)
    ratio = history.spot[rows, 0] / history.spot[rows + 1, 0]
    assert_allclose(coin.loss[:, 0], dollars.loss[:, 0] * ratio)


def test_one_book_over_time_is_a_table() -> None:
    told = run(StaticMargin(rate=0.07), market([0.1, -0.2, 0.3]))
    assert list(told.book("+1").columns) == ["initial", "maintenance", "loss", "shortfall"]
    with pytest.raises(ParameterError, match="no portfolio 'nobody'"):
        told.book("nobody")
    assert "2 decisions" in repr(told)
    summary = told.summary()
    assert summary["breaches"].tolist() == [1, 1]
    assert_allclose(summary["peak shortfall"], [0.13, 0.23])
    assert_allclose(summary["mean margin"], 0.07)
    assert (
        "&lt;"
        in replay(
            StaticMargin(rate=0.1),
            market([0.1, -0.2, 0.3]),
            book_of(1.0),
            Coverage(),
            window=2,
            refit_every=1,
            name="<b>",
        )._repr_html_()
    )


def test_standard_books_replay_without_a_warning_on_one_underlying() -> None:
    history = market(np.random.default_rng(0).normal(0, 0.02, 200).tolist())
    told = replay(HistoricalVaR(), history, standard_books(("X",)), Coverage(0.95), window=100, refit_every=50)
    assert told.initial.shape == (101, 103)
