import numpy as np
import pytest
from numpy.testing import assert_allclose

from data import Book, Coverage, HistoryError, Instrument, MarketHistory, ParameterError
from margin_models import StaticMargin
from markets import book_of, market

CARRY = Book((Instrument("X-PERP", "X"), Instrument("X", "X", "spot")), ("carry",), np.array([[-2.0, 3.0]]))


def charged(model: StaticMargin, history: MarketHistory, book: Book) -> float:
    return float(model.fit(history, Coverage()).margin(history, book)[0])


def test_isolated_charges_each_position_and_cross_the_net() -> None:
    history = market([0.0])  # X at 100: positions of -200 and +300
    assert charged(StaticMargin(rate=0.1), history, CARRY) == pytest.approx(50.0)
    assert charged(StaticMargin(rate=0.1, cross=True), history, CARRY) == pytest.approx(10.0)


def test_tiers_charge_what_lies_beyond_them_more() -> None:
    tiers = ((250.0, 2.0), (280.0, 3.0))  # of 300: 250 once, 30 twice, 20 three times; 200 stays below
    assert charged(StaticMargin(rate=0.1, tiers=tiers), market([0.0]), CARRY) == pytest.approx(20 + 25 + 6 + 6)


def test_the_rate_is_the_worse_side_of_the_window() -> None:
    history = market([-0.04, 0.01, 0.02, -0.01])  # at 3/4 the 3.75th of 4: shorts 0.0175, longs 0.01 + 0.75 * 0.03
    assert_allclose(StaticMargin().fit(history, Coverage(0.75)).rate_, [0.0325])


def test_a_frozen_rate_does_not_learn_and_a_reviewed_one_steps_up_only() -> None:
    calm, wild = [0.01, -0.01] * 40, [0.05, -0.05] * 40
    history = market(calm + wild + calm + calm)  # 2024-01-01 on, so reviews at the starts of months
    stops = list(range(61, len(history) + 1, 20))
    coverage = Coverage(0.9)
    frozen = [m.rate_[0] for m in StaticMargin().fit_many(history, stops, 60, coverage)]
    stepped = [m.rate_[0] for m in StaticMargin(review="MS").fit_many(history, stops, 60, coverage)]
    assert_allclose(frozen, 0.01, rtol=1e-6)
    assert stepped[0] == frozen[0]
    assert np.all(np.diff(stepped) >= 0)
    assert_allclose(stepped[-1], 0.05, rtol=1e-6)
    first_rise = stops[int(np.argmax(np.diff(stepped) > 0)) + 1]
    assert history.time[first_rise - 1] >= np.datetime64("2024-04-01")  # the wild days began on 2024-03-21


def test_bad_parameters_and_short_windows_are_refused() -> None:
    history = market([-0.04, 0.01, 0.02, -0.01])
    with pytest.raises(HistoryError, match=r"needs 99 horizon returns, got 4"):
        StaticMargin().fit(history, Coverage(0.99))
    with pytest.raises(ParameterError, match=r"must be >= 0, got -0\.1"):
        StaticMargin(rate=-0.1).fit(history, Coverage())
    for tiers in (((0.0, 2.0),), ((10.0, 0.5),), ((10.0, 3.0), (20.0, 2.0))):
        with pytest.raises(ParameterError, match="tiers must rise"):
            StaticMargin(rate=0.1, tiers=tiers).fit(history, Coverage())
    with pytest.raises(ParameterError, match="review must be a pandas offset alias, got 'foo'"):
        StaticMargin(rate=0.1, review="foo").fit(history, Coverage())


def test_a_long_and_a_short_post_the_same() -> None:
    history = market([0.01, -0.02] * 100)
    margin = StaticMargin().fit(history, Coverage()).margin(history, book_of(1.0, -1.0))
    assert margin[0] == margin[1] > 0
