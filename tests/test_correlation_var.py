import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from data import Coverage, HistoryError, MarketHistory, ParameterError
from data.laws import unit_tail
from margin_models import CorrelationVaR, EwmaCovariance, LedoitWolfCovariance
from margin_models.correlation_var import euler_components
from markets import book_of, market, some_books, two_coins


def test_half_life_of_one_row_on_two_known_moves() -> None:
    history = market([0.0] * 38 + [0.03, 0.06], start=100.0)
    fitted = CorrelationVaR(EwmaCovariance(half_life=1)).fit(history, Coverage(0.99))
    variance = 0.03**2 / 4 + 0.06**2 / 2  # the newest weighs as much as all before it
    assert_allclose(fitted.margin(history, book_of(1.0)), [2.3263479 * variance**0.5 * 100 * 1.03 * 1.06], rtol=1e-7)


@pytest.mark.parametrize("degrees", [np.inf, 2.5, 4.0, 30.0, 400.0])
def test_the_unit_tail_is_that_of_scipy(degrees: float) -> None:
    law = stats.norm() if np.isinf(degrees) else stats.t(degrees, scale=np.sqrt((degrees - 2) / degrees))
    quantile, beyond = unit_tail(0.99, degrees)
    assert_allclose(quantile, law.ppf(0.99), rtol=1e-9)
    assert_allclose(beyond, law.expect(lambda x: x, lb=law.ppf(0.99)) / 0.01, rtol=1e-6)


@pytest.mark.parametrize(("degrees", "tolerance"), [(400.0, 5e-3), (1e6, 2e-6), (1e15, 1e-12)])
def test_a_tail_of_many_degrees_is_almost_normal(degrees: float, tolerance: float) -> None:
    assert_allclose(unit_tail(0.99, degrees), unit_tail(0.99), rtol=tolerance)


def test_a_model_of_many_degrees_states_a_shortfall() -> None:
    history, book = market([0.03, -0.06, 0.02] * 7), book_of(1.0)
    tails = [CorrelationVaR(degrees=n).fit(history, Coverage()).tail(history, book).es for n in (400, 1e6, None)]
    assert_allclose(tails[0], tails[2], rtol=5e-3)
    assert_allclose(tails[1], tails[2], rtol=2e-6)


def test_components_are_those_of_the_textbook() -> None:
    covariance = np.diag([0.05**2, 0.12**2])  # Jorion (2007), chapter 7: CAD and EUR, z = 1.65
    parts = euler_components(np.array([[2.0, 1.0]]), covariance, 1.65)[0] * 1e6
    assert_allclose(parts, [105630.42594, 152107.81336], rtol=1e-9)


def test_ledoit_wolf_shrinks_towards_no_correlation_and_keeps_the_variances() -> None:
    history = two_coins()
    shrunk = LedoitWolfCovariance().fit(history, Coverage()).estimate(history)
    raw = EwmaCovariance(half_life=1e9).fit(history, Coverage()).estimate(history)
    correlation = [c[0, 1] / np.sqrt(c[0, 0] * c[1, 1]) for c in (shrunk, raw)]
    assert 0 < correlation[0] < correlation[1] < 1
    assert_allclose(np.diag(shrunk), np.diag(raw), rtol=1e-6)
    assert np.linalg.eigvalsh(shrunk).min() > 0


def test_bad_parameters_and_no_history_are_refused() -> None:
    history = market([0.01, 0.02] * 10)
    with pytest.raises(ParameterError, match=r"half_life must lie in \(0, 1e\+09\] or be infinite, got 0"):
        CorrelationVaR(EwmaCovariance(half_life=0)).fit(history, Coverage()).margin(history, book_of(1.0))
    with pytest.raises(ParameterError, match="degrees must be > 2, got 2"):
        CorrelationVaR(degrees=2).fit(history, Coverage()).margin(history, book_of(1.0))
    with pytest.raises(ParameterError, match="lookback must be >= 20 or None, got 19"):
        LedoitWolfCovariance(lookback=19).fit(history, Coverage())
    short = history.rows(0, 20)
    with pytest.raises(HistoryError, match=r"says nothing \(NaN\) of X \(19 in all\)"):
        CorrelationVaR().fit(short, Coverage()).margin(short, book_of(1.0))
    with pytest.raises(HistoryError, match="needs 20 returns of one underlying, got 19"):
        LedoitWolfCovariance().fit(short, Coverage())


def test_what_never_moved_has_no_variance() -> None:
    history = two_coins()
    pegged = np.column_stack([history.spot, np.where(np.isnan(history.spot[:, 0]), np.nan, 1.0)])
    market_ = MarketHistory(history.time, ("BTC", "ETH", "PEG"), pegged, history.clock)
    covariance = LedoitWolfCovariance().fit(market_, Coverage()).estimate(market_)
    assert_allclose(covariance[2], 0.0)
    assert_allclose(covariance[:2, :2], LedoitWolfCovariance().fit(history, Coverage()).estimate(history))


def test_a_hedge_offsets() -> None:
    history = two_coins()
    book = some_books().at(history.now)
    margin = dict(zip(book.portfolios, CorrelationVaR().fit(history, Coverage()).margin(history, book), strict=True))
    assert margin["pair"] < 0.6 * margin["long"]
    assert margin["carry"] == pytest.approx(0.0, abs=1e-12)
