"""Does a limited margin rise and fall no faster than it may?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from backtest.replay import replay
from data import Book, Coverage, Floats, MarketHistory, ParameterError
from margin_models import HistoricalVaR, MarginModel, RateLimit
from margin_models.overlays.rate_limit import rate_limited
from markets import book_of, market, two_coins

COVERAGE = Coverage(0.95)
FLAT = market([0.0] * 9)  # ten days


class Told(MarginModel):
    """Charges a told share of gross notional at each row."""

    def __init__(self, shares: tuple[float, ...]) -> None:
        self.shares = shares

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        return self.shares[len(past) - 1] * book.gross(past.now)


def charged(model: MarginModel, history: MarketHistory = FLAT) -> Floats:
    """Charge per unit of gross notional at each row, in a walk with one fit."""
    fitted, book = model.fit(history, COVERAGE), book_of(2.0)
    walk = (history.rows(0, stop) for stop in range(1, len(history) + 1))
    return np.array([fitted.margin(past, book)[0] / book.gross(past.now)[0] for past in walk])


def test_only_falls_are_limited_unless_told_otherwise() -> None:
    shares = (0.1, 0.1, 0.3, 0.1, 0.1, 0.4, 0.1, 0.1, 0.1, 0.1)
    told = charged(RateLimit(Told(shares)))
    assert_allclose(told, [0.1, 0.1, 0.3, 0.27, 0.243, 0.4, 0.36, 0.324, 0.2916, 0.26244])


def test_a_limited_rise_leaves_less_than_the_model_asks_and_says_so() -> None:
    shares = (0.1, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3)
    model = RateLimit(Told(shares), rise=0.5)
    assert_allclose(charged(model)[:5], [0.1, 0.15, 0.225, 0.3, 0.3])
    past, book = FLAT.rows(0, 3), book_of(2.0)
    asked = model.fit(past, COVERAGE).requirement(past, book)
    assert_allclose(asked.components["rate limit"], -0.075 * 200)
    assert_allclose(asked.components["margin"] + asked.components["rate limit"], asked.initial)
    assert_allclose(asked.maintenance, asked.initial)


def test_after_the_lookback_a_peak_is_forgotten() -> None:
    shares = (0.1, 0.9, *[0.1] * 8)
    assert_allclose(charged(RateLimit(Told(shares), fall=0.01, lookback=3))[[4, 5]], [0.9 * 0.99**3, 0.1])


def test_a_limit_is_a_day_whatever_the_gap() -> None:
    charge = np.array([[1.0], [np.nan], [0.5]])
    assert_allclose(rate_limited(charge, np.arange(3.0), np.inf, 0.1), 0.81)
    assert_allclose(rate_limited(charge[[0, 2]], np.array([0.0, 0.25]), np.inf, 0.1), 0.9**0.25)
    assert np.isnan(rate_limited(charge[:2], np.arange(2.0), np.inf, 0.1)).all()


def test_what_was_charged_nothing_may_rise_at_once() -> None:
    charge = np.array([[0.0], [0.2], [1.0]])
    assert_allclose(rate_limited(charge, np.arange(3.0), 0.5, 0.1), 0.3)


@settings(max_examples=100, deadline=None)
@given(
    path=st.lists(st.floats(0.01, 1.0), min_size=2, max_size=30),
    rise=st.floats(0.01, 2.0) | st.just(np.inf),
    fall=st.floats(0.01, 1.0),
)
def test_no_step_is_larger_than_allowed_and_none_smaller_than_needed(
    path: list[float], rise: float, fall: float
) -> None:
    charge, days = np.array(path)[:, None], np.arange(float(len(path)))
    told = np.array([rate_limited(charge[: n + 1], days[: n + 1], rise, fall)[0] for n in range(len(path))])
    ratio = told[1:] / told[:-1]
    assert np.all(ratio <= (1 + rise) * (1 + 1e-12))
    assert np.all(ratio >= (1 - fall) * (1 - 1e-12))
    free = ~np.isclose(ratio, 1 + rise) & ~np.isclose(ratio, 1 - fall)
    assert_allclose(told[1:][free], charge[1:, 0][free])
    if np.isinf(rise):
        faded = [max(path[j] * (1 - fall) ** (n - j) for j in range(n + 1)) for n in range(len(path))]
        assert_allclose(told, faded)


def test_a_replay_never_falls_faster() -> None:
    history = two_coins(400)
    book = book_of(1.0)
    single = MarketHistory(history.time, ("X", "Y"), history.spot, history.clock)
    limited = replay(
        RateLimit(HistoricalVaR(lookback=40), fall=0.03), single, book, COVERAGE, window=100, refit_every=9
    )
    free = replay(HistoricalVaR(lookback=40), single, book, COVERAGE, window=100, refit_every=9)
    days = np.diff(limited.time) / np.timedelta64(1, "D")
    # One in a hundred of a peak sixty days ago is left at most, and then it is forgotten.
    assert np.all(limited.initial[1:, 0] >= limited.initial[:-1, 0] * 0.97**days * (1 - 1e-9))
    assert np.all(limited.initial >= free.initial)
    assert limited.initial.mean() > 1.02 * free.initial.mean()


def test_without_a_past_it_is_the_model() -> None:
    past = FLAT.rows(0, 1)
    assert_array_equal(RateLimit(Told((0.3,))).fit(past, COVERAGE).margin(past, book_of(1.0)), [30.0])


def test_one_around_another_keeps_its_components_apart() -> None:
    shares = (0.1, 0.9, *[0.1] * 8)
    asked = RateLimit(RateLimit(Told(shares), fall=0.2), fall=0.1).fit(FLAT, COVERAGE).explain(FLAT, book_of(1.0))
    assert {"margin", "rate limit", "rate limit again"} == set(asked.components)
    assert_allclose(sum(asked.components.values()), asked.initial)
    assert_allclose(asked.initial, 90 * 0.9**8)


@pytest.mark.parametrize("wrong", [{"rise": 0.0}, {"fall": 0.0}, {"fall": 1.1}, {"lookback": 0}, {"rise": np.nan}])
def test_what_is_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ParameterError):
        RateLimit(HistoricalVaR(), **wrong).fit(FLAT, COVERAGE)  # type: ignore[arg-type]
