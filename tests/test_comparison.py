import numpy as np
import pandas as pd
import pytest

from backtest import LiquidationCost, compare, standard_books
from backtest.comparison import default_coverage, default_window, named
from backtest.plots import plot_margin
from backtest.scores import frontier
from data import Book, Coverage, Floats, MarketHistory, ParameterError
from data.sources.synthetic import garch_t
from margin_models import CorrelationVaR, HistoricalVaR, MarginModel, StaticMargin
from markets import market, two_coins


class Mine(MarginModel):
    """The ten lines of a quant's own model."""

    def __init__(self, k: float = 3.0) -> None:
        self.k = k

    def fit(self, past: MarketHistory, coverage: Coverage) -> "Mine":
        self.move_ = self.k * np.nanstd(past.returns(coverage), axis=0)
        return self

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        return np.asarray(np.abs(book.exposure(past.now)) @ self.move_)


def test_a_quant_compares_an_own_model_on_an_own_frame_in_one_call() -> None:
    rng = np.random.default_rng(5)
    closes = pd.DataFrame(
        100 * np.exp(rng.normal(0, 0.02, (700, 2)).cumsum(0)),
        index=pd.date_range("2020", periods=700),
        columns=["A", "B"],
    )
    told = compare([HistoricalVaR(), Mine()], MarketHistory.from_frame(closes), progress=False)
    table = told.to_frame()
    assert set(table.index) == {"HistoricalVaR()", "Mine()"}
    assert table["equal_margin"].is_monotonic_increasing
    assert table["equal_ratio"].iloc[0] == 1.0
    assert (table["equal_low"] <= table["equal_margin"]).all()
    assert (table["equal_margin"] <= table["equal_high"]).all()
    assert "<table" in told._repr_html_()


def test_the_same_comparison_is_the_same_to_the_bit() -> None:
    history = two_coins(400)
    once, again = (compare([HistoricalVaR(150)], history, window=150, progress=False).to_frame() for _ in range(2))
    pd.testing.assert_frame_equal(once, again, check_exact=True)


def test_a_wrong_level_is_told_apart() -> None:
    """A model that believes in 95 % where 99 % is asked: its coverage and Kupiec say so, equal coverage does not."""

    class Wrong(HistoricalVaR):
        def fit(self, past: MarketHistory, coverage: Coverage) -> "Wrong":
            super().fit(past, coverage)
            self.coverage_ = Coverage(0.95, coverage.horizon)
            return self

    history = garch_t(3000, (0.02, 0.03), seed=3).history
    books = standard_books(history.underlyings, makers=20)
    told = compare(
        {"right": HistoricalVaR(), "wrong": Wrong()}, history, books, window=500, refit_every=500, progress=False
    )
    right, wrong = told.scores["right"], told.scores["wrong"]
    assert right.coverage == pytest.approx(0.99, abs=0.004)
    assert wrong.coverage == pytest.approx(0.95, abs=0.01)
    assert wrong.books_rejected == 1.0
    assert right.books_rejected < 0.4
    assert wrong.pinball > right.pinball
    assert wrong.mean_shortfall > 2 * right.mean_shortfall
    assert wrong.equal_margin == pytest.approx(right.equal_margin, rel=0.15)


def test_crises_show_what_was_charged_before_and_what_was_lost() -> None:
    history = market([0.01, -0.01] * 60 + [-0.5] + [0.01, -0.01] * 20)
    told = compare(
        {"static": StaticMargin(), "historical": HistoricalVaR()},
        history,
        coverage=Coverage(0.95),
        window=60,
        refit_every=1,
        cost=LiquidationCost(0, 0),
        progress=False,
    )
    table = told.crises({"crash": ("2024-04-29", "2024-05-05"), "never": ("1999-01-01", "1999-02-01")})
    assert table["crisis"].unique().tolist() == ["crash"]
    assert table["peak shortfall"].tolist() == pytest.approx([0.49, 0.49], abs=0.001)
    assert table["margin before"].between(0.0, 0.02).all()


def test_the_frontier_passes_through_the_margin_as_charged() -> None:
    told = compare([HistoricalVaR()], two_coins(400), coverage=Coverage(0.95), window=150, progress=False)
    run = told["HistoricalVaR()"]
    margin, shortfall = frontier(run, np.array([0.5, 1.0, 2.0]))
    card = told.scores["HistoricalVaR()"]
    assert (margin[1], shortfall[1]) == pytest.approx((card.mean_margin, card.mean_shortfall))
    assert np.all(np.diff(shortfall) <= 0)
    assert plot_margin(run, "BTC long").get_title() == "HistoricalVaR(): BTC long"
    assert len(told.plot_frontier().lines) == 2


def test_models_are_told_apart_by_name() -> None:
    with pytest.raises(ParameterError, match="models must differ"):
        named([HistoricalVaR(), HistoricalVaR()])
    with pytest.raises(ParameterError, match="at least one model"):
        named([])
    told = compare([CorrelationVaR()], two_coins(400), coverage=Coverage(0.95), progress=False)
    with pytest.raises(ParameterError, match="no model 'other'"):
        told["other"]


def test_defaults_follow_the_market() -> None:
    days = pd.date_range("2020-01-01", periods=900, freq="B")
    sessions = MarketHistory.from_frame(pd.DataFrame({"X": 1.0}, index=days))
    assert default_coverage(sessions) == Coverage(0.99, "1B")
    assert default_window(sessions, default_coverage(sessions)) == 300
    assert default_coverage(two_coins()).horizon == "1D"
