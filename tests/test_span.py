from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from data import Book, Coverage, Instrument, MarketHistory, ParameterError
from data.compiled import plain
from margin_models import SpanLike
from margin_models.kernels.spreads import spread_credit
from margin_models.span import credit_rates
from markets import book_of, market

AB = (Instrument("A-PERP", "A"), Instrument("B-PERP", "B"))


def two(correlation: float) -> MarketHistory:
    rng = np.random.default_rng(3)
    moves = rng.multivariate_normal([0, 0], 4e-4 * np.array([[1, correlation], [correlation, 1]]), 3000)
    days = pd.date_range("2015-01-01", periods=len(moves))
    return MarketHistory.from_frame(pd.DataFrame(100 * np.exp(moves.cumsum(0)), index=days, columns=["A", "B"]))


def test_scan_risk_is_the_scan_range_times_the_net() -> None:
    history = market([0.0])
    model = SpanLike(scan_range=0.1)
    model.fit(market([0.01, -0.02, 0.03]), Coverage())
    assert_allclose(model.margin(history, book_of(2.0, -3.0)), [20.0, 30.0])


def test_an_extreme_move_can_be_what_is_worst() -> None:
    model = SpanLike(scan_range=0.1, extreme=3.0, cover=0.5).fit(market([0.01, -0.02, 0.03]), Coverage())
    told = model.explain(market([0.0]), book_of(1.0))
    assert_allclose(told.initial, [0.1 * 100 * 1.5])
    assert "extreme -3x" in told.worst[0]


def test_the_credit_is_what_equal_legs_offset() -> None:
    rates = credit_rates(np.array([[1.0, 0.9, 0.2], [0.9, 1.0, -0.5], [0.2, -0.5, 1.0]]), least=0.3, most=0.7)
    assert_allclose(rates[0, 1], 0.7)  # 1 - sqrt(0.05) = 0.776, capped
    assert rates[0, 2] == 0.0
    assert_allclose(rates[1, 2], -(1 - np.sqrt(0.25)))


def test_a_spread_of_correlated_assets_posts_less_and_a_sum_does_not() -> None:
    history = two(0.9)
    unit = 1.0 / history.now.spot
    book = Book(AB, ("spread", "sum"), np.array([unit * [1, -1], unit]))
    model = SpanLike(least_correlation=0.0).fit(history, Coverage())
    told = model.explain(history, book)
    apart = model.scan_range_.sum()
    assert_allclose(told.initial[1], apart)
    truth = 2.326 * 0.02 * np.sqrt(2 * (1 - 0.9))
    assert told.initial[0] == pytest.approx(truth, rel=0.15)
    assert told.components["inter-commodity credit"][0] < 0


def test_negative_correlation_credits_the_sum() -> None:
    history = two(-0.9)
    unit = 1.0 / history.now.spot
    book = Book(AB, ("spread", "sum"), np.array([unit * [1, -1], unit]))
    spread, whole = SpanLike().fit(history, Coverage()).margin(history, book)
    assert whole < 0.5 * spread


def test_each_leg_is_used_once() -> None:
    pairs = np.array([0, 0], dtype=np.intp), np.array([1, 2], dtype=np.intp)
    risk, rate = np.array([[3.0, -2.0, -2.0]]), np.array([0.5, 0.4])
    # 2 of A against B at 0.5, then the 1 of A that is left against C at 0.4
    assert_allclose(spread_credit(risk, *pairs, rate), [2 * 2 * 0.5 + 2 * 1 * 0.4])
    assert_allclose(plain(spread_credit)(risk, *pairs, rate), [2.8])


@pytest.mark.parametrize("wrong", [{"cover": 1.5}, {"extreme": 0.5}, {"most_credit": -1.0}, {"scan_range": -0.1}])
def test_parameters_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        SpanLike(**wrong).fit(market([0.01, -0.02, 0.03]), Coverage())


def test_one_margin_scans_the_grid_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SpanLike().fit(two(0.9), Coverage())
    grid = Mock(return_value=model.moves())
    monkeypatch.setattr(model, "moves", grid)
    model.margin(two(0.9), Book(AB, ("sum",), np.ones((1, 2))))
    grid.assert_called_once()
