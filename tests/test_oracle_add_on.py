"""Does the add-on answer a feed that is not sure, or has stopped?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from backtest.lookahead import audit
from backtest.portfolios import standard_books
from data import Coverage, DataError, Floats, HistoryError, MarketHistory, ParameterError
from margin_models import HistoricalVaR, OracleAddOn, StaticMargin
from markets import coins_with_options, option_book, some_books, two_coins

COVERAGE = Coverage(0.95)
RATE = StaticMargin(rate=0.1)
NAN = float("nan")


def told_by(history: MarketHistory, *newest: tuple[float, float]) -> MarketHistory:
    """The history with oracles that were sure until the newest rows, of BTC and ETH."""
    sure: Floats = np.ones((len(history), 2, 1))
    for back, confidences in enumerate(reversed(newest)):
        sure[-1 - back, :, 0] = confidences
    return history.with_features(sure, ("oracle_confidence",))


def added(history: MarketHistory, model: OracleAddOn) -> dict[str, float]:
    book = some_books().at(history.now)
    share = model.fit(history, COVERAGE).requirement(history, book).components["oracle"]
    return dict(zip(book.portfolios, share.tolist(), strict=True))


def test_the_rule_by_hand() -> None:
    share = added(told_by(two_coins(), (0.5, 0.9)), OracleAddOn(RATE))
    assert share["long"] == pytest.approx(0.5)
    assert share["short"] == pytest.approx(0.5)
    assert share["pair"] == pytest.approx(0.25)  # half of it is ETH, which is sure
    assert share["carry"] == pytest.approx(0.5)  # both legs hang on the same feed
    assert share["empty"] == 0.0


@pytest.mark.parametrize(("confidence", "charged"), [(0.5499, True), (0.55, False), (1.0, False), (0.0, True)])
def test_the_threshold_itself_is_sure_enough(confidence: float, charged: bool) -> None:
    share = added(told_by(two_coins(), (confidence, 1.0)), OracleAddOn(RATE, factor=0.8))
    assert share["long"] == pytest.approx(0.8 * (1 - confidence) if charged else 0.0)


def test_it_is_added_to_initial_margin_alone() -> None:
    history = told_by(two_coins(), (0.2, 0.2))
    book = some_books().at(history.now)
    fitted = OracleAddOn(RATE).fit(history, COVERAGE)
    asked, bare = fitted.requirement(history, book), fitted.model_.requirement(history, book)
    assert_allclose(asked.maintenance, bare.maintenance)
    assert_allclose(asked.initial[:5], bare.initial[:5] + 0.8)


def test_a_feed_that_stopped_is_not_sure_at_all() -> None:
    stopped = told_by(two_coins(), (0.9, 1.0), (NAN, 1.0), (NAN, 1.0))
    assert added(stopped, OracleAddOn(RATE))["long"] == pytest.approx(1.0)
    assert added(stopped, OracleAddOn(RATE, stale="1D"))["long"] == pytest.approx(1.0)
    assert added(stopped, OracleAddOn(RATE, stale="2D"))["long"] == 0.0
    assert added(told_by(two_coins(), (0.4, 1.0), (NAN, 1.0)), OracleAddOn(RATE, stale="2D"))["long"] == pytest.approx(
        0.6
    )


def test_options_count_by_their_underlyings_notional() -> None:
    history = told_by(coins_with_options(), (0.4, 1.0))
    book = option_book(history.now)
    asked = OracleAddOn(HistoricalVaR()).fit(history, COVERAGE).requirement(history, book)
    share = dict(zip(book.portfolios, asked.components["oracle"].tolist(), strict=True))
    assert share["straddle"] == pytest.approx(0.6 * 2 * history.spot[-1, 0])
    assert share["coin straddle"] == 0.0


def test_without_a_feed_it_says_so_at_the_fit_or_takes_what_is_assumed() -> None:
    with pytest.raises(HistoryError, match=r"no feature 'oracle_confidence' .* got none at all"):
        OracleAddOn(RATE).fit(two_coins(), COVERAGE)
    with pytest.raises(HistoryError, match=r"no feature 'sure' .* got \('oracle_confidence',\)"):
        OracleAddOn(RATE, feature="sure").fit(told_by(two_coins()), COVERAGE)
    with pytest.raises(HistoryError, match="no feature"):
        next(iter(OracleAddOn(RATE).fit_many(two_coins(), [300], 200, COVERAGE)))
    assert added(two_coins(), OracleAddOn(RATE, assumed=0.3))["long"] == pytest.approx(0.7)


@settings(max_examples=40, deadline=None)
@given(confidences=st.lists(st.floats(0.0, 1.0), min_size=2, max_size=2))
def test_the_less_sure_the_more_is_asked(confidences: list[float]) -> None:
    less, more = sorted(confidences)
    history, model = two_coins(220), OracleAddOn(RATE)
    unsure, sure = (added(told_by(history, (value, 1.0)), model)["long"] for value in (less, more))
    assert unsure >= sure


def test_no_tomorrow() -> None:
    rng = np.random.default_rng(3)
    coins = two_coins()
    wavering = coins.with_features(rng.random((len(coins), 2, 1)), ("oracle_confidence",))
    books = standard_books(coins.underlyings, makers=4)
    found = audit(OracleAddOn(HistoricalVaR()), wavering, books, COVERAGE, window=300, rows=10)
    assert found.passed, found.leaks


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(DataError, match="confidence of the oracle of BTC within 0 to 1, got 1"):
        added(told_by(two_coins(), (1.5, 1.0)), OracleAddOn(RATE))
    for parameters in ({"threshold": 1.1}, {"factor": -1.0}, {"assumed": 2.0}, {"stale": "soon"}):
        with pytest.raises(ParameterError):
            OracleAddOn(RATE).set_params(**parameters).fit(told_by(two_coins()), COVERAGE)
