"""Are the tail captured per operation and the breaks of subadditivity what they claim to be?"""

import numpy as np
import pandas as pd
from numpy.testing import assert_allclose

from backtest.subadditivity import subadditivity
from backtest.tail_capture import tail_captured
from data import Book, Coverage, Floats, MarketHistory
from margin_models import HistoricalVaR, MarginModel, MonteCarloES, ScenarioMargin, SpanLike, SpanRules, StaticMargin
from markets import book_of, coins_with_options, option_book, two_coins

COVERAGE = Coverage(0.98, "2D")


class Flat(MarginModel):
    """A share of the square of gross notional, in so many multiplications."""

    def __init__(self, share: float = 1.0, power: float = 1.0, effort: float = 10.0) -> None:
        self.share, self.power, self.effort = share, power, effort

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        return self.share * book.gross(past.now) ** self.power

    def multiplications(self, past: MarketHistory, book: Book) -> Floats:
        return np.full(len(book.portfolios), self.effort)


def test_captured_and_beyond_are_shares_of_the_yardstick() -> None:
    history = two_coins()
    book = Book(book_of(1.0).instruments, ("small", "large"), np.array([[1.0], [3.0]]))
    history = MarketHistory.from_frame(pd.DataFrame({"X": history.spot[:150, 0]}, index=pd.RangeIndex(150).map(_day)))
    models: dict[str, MarginModel] = {"half": Flat(0.5), "double": Flat(2.0, effort=1e3)}
    told = tail_captured(models, Flat(effort=1e6), history, book, COVERAGE)
    assert list(told.index) == ["half", "double", "yardstick"]
    assert_allclose(told["captured"], [0.5, 1.0, 1.0])
    assert_allclose(told["beyond"], [0.0, 1.0, 0.0])
    assert_allclose(told["per million"], [0.5e5, 1e3, 1.0])


def _day(n: int) -> pd.Timestamp:
    return pd.Timestamp("2024-01-01") + pd.Timedelta(days=n)


def test_scans_catch_most_of_the_yardstick_with_a_fraction_of_its_arithmetic() -> None:
    history = coins_with_options()
    book = option_book(history.now)
    told = tail_captured([SpanLike(), StaticMargin(cross=True)], MonteCarloES(scenarios=2000), history, book, COVERAGE)
    effort = told["multiplications"]
    assert np.isfinite(effort).all()
    assert (effort.iloc[:-1] < 0.1 * effort.iloc[-1]).all()
    assert (told["captured"] > 0.3).all()


def test_expected_shortfall_and_bare_grids_never_break_and_what_does_is_named() -> None:
    history = coins_with_options()
    book = option_book(history.now)
    models: dict[str, MarginModel] = {
        "es": MonteCarloES(scenarios=500),
        "grid": ScenarioMargin(),
        "minimum": SpanLike(rules=SpanRules(short_option_minimum=0.01)),
        "var": HistoricalVaR(),
        "square": Flat(power=2.0),
    }
    told = subadditivity(models, history, book, COVERAGE)
    rows = told.to_dict("index")
    assert rows["es"]["broken"] == rows["grid"]["broken"] == 0
    assert rows["square"]["broken"] > 0
    assert rows["square"]["largest excess"] > 0.5
    assert rows["square"]["where"].split(",")[0] in book.portfolios
    assert (told["tried"] == 21 * len(book.portfolios)).all()
