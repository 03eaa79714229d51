"""Are missed breaches and false alarms counted as they are, and drawn as counted?"""

from collections.abc import Iterator

import matplotlib
import numpy as np
import pytest
from numpy.testing import assert_allclose

from backtest import replay
from backtest.alarm_plots import alarm_trade_off, plot_alarms
from data import Coverage, HistoryError, MarketHistory, ParameterError
from margin_models import CircuitBreaker, StaticMargin
from markets import book_of, market

COVERAGE = Coverage(0.95)
RATE = StaticMargin(rate=0.05)
USUAL = 1.4826 * 0.01
# Two falls that go on, one that does not, and one loss out of the blue.
MOVES = [0.01, -0.01] * 40 + [-0.04, -0.07] + [0.01, -0.01] * 8 + [-0.08, -0.10] + [0.01, -0.01] * 8
MOVES += [-0.04] + [0.01, -0.01] * 8 + [-0.06] + [0.01, -0.01] * 4
BREAKER = CircuitBreaker(RATE, latency=1, usual=50, cooloff=1, release=2.0)


@pytest.fixture(autouse=True)
def off_screen() -> Iterator[None]:
    from matplotlib import pyplot

    matplotlib.use("Agg")
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def history() -> MarketHistory:
    return market(MOVES)


def test_the_trade_off_by_hand(history: MarketHistory) -> None:
    run = replay(RATE, history, book_of(1.0, -1.0), COVERAGE, window=60, refit_every=20)
    told = alarm_trade_off(run, history, book_of(1.0, -1.0), BREAKER, trips=(2.5, 5.0, 50.0))
    # The long breaches on -7 %, -8 %, -10 % and -6 %; of these -7 % follows -4 % (2.7 usual) and -10 % follows -8 %.
    assert told["breaches"].tolist() == [4.0, 4.0, 4.0]
    assert_allclose(told["missed"], [0.5, 0.75, 1.0])
    calm = run.live.sum() - 4
    # Above 2.5: -4 %, -7 %, -8 %, -10 %, -4 % and -6 %, two of them just before a breach; above 5: -8 % and -10 %.
    assert_allclose(told["false"], [4 / calm, 1 / calm, 0.0])
    assert_allclose(told["precision"].iloc[:2], [2 / 6, 1 / 2])
    assert np.isnan(told["precision"].iloc[2])


def test_a_higher_level_misses_more_and_cries_less(history: MarketHistory) -> None:
    run = replay(RATE, history, book_of(1.0, -1.0), COVERAGE, window=60, refit_every=20)
    told = alarm_trade_off(run, history, book_of(1.0, -1.0), BREAKER)
    assert (np.diff(told["missed"]) >= 0).all()
    assert (np.diff(told["false"]) <= 0).all()


def test_the_curve_has_a_point_a_level(history: MarketHistory) -> None:
    run = replay(RATE, history, book_of(1.0, -1.0), COVERAGE, window=60, refit_every=20)
    told = alarm_trade_off(run, history, book_of(1.0, -1.0), BREAKER, trips=(2.0, 4.0, 6.0))
    ax = plot_alarms(told, "X")
    assert_allclose(np.asarray(ax.lines[1].get_ydata()), 100 * told["missed"])
    assert_allclose(np.asarray(ax.lines[1].get_xdata()), 100 * told["false"])
    assert_allclose(np.asarray(ax.lines[2].get_ydata())[1], 100 - 100 * told["false"].max())
    assert [text.get_text() for text in ax.texts] == ["2", "4", "6"]
    assert ax.get_title().startswith("X:")


def test_what_does_not_belong_together_is_refused(history: MarketHistory) -> None:
    run = replay(RATE, history, book_of(1.0, -1.0), COVERAGE, window=60, refit_every=20)
    with pytest.raises(ParameterError, match="other books"):
        alarm_trade_off(run, history, book_of(1.0, 2.0), BREAKER)
    with pytest.raises(HistoryError, match="no row of"):
        alarm_trade_off(run, history.rows(0, 100), book_of(1.0, -1.0), BREAKER)
    with pytest.raises(ParameterError, match="release <= trip"):
        alarm_trade_off(run, history, book_of(1.0, -1.0), BREAKER, trips=(-1.0,))
