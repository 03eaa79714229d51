"""Does the implied forecast find the premium that made the market, in the right unit, and never look ahead?"""

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from backtest.lookahead import audit
from backtest.portfolios import standard_books
from data import Clock, Coverage, DataError, Floats, HistoryError, MarketHistory, ParameterError
from data.surface import volatilities_at
from margin_models import FilteredHistoricalVaR
from margin_models.volatility import EwmaVolatility, ImpliedVolatility
from margin_models.volatility.measures import ewma_variance, measured, next_variance
from markets import coins_with_options, two_coins

DAY = Coverage()
PREMIUM = 0.8  # of realised to implied volatility
SLOPE = 0.7


def premium_market(rows: int = 1500, slope: float = 1.0, premium: float = PREMIUM, seed: int = 3) -> MarketHistory:
    """Two coins whose log variance is `slope` times the implied one's about its mean, times premium squared.

    The feature "dvol" is implied volatility in percent a year, "iv" as a fraction; highs and lows make Garman and
    Klass's measure exactly the variance.
    """
    rng = np.random.default_rng(seed)
    wander = np.zeros((rows, 2))
    for i in range(1, rows):
        wander[i] = 0.95 * wander[i - 1] + 0.2 * rng.standard_normal(2)
    wander -= wander.mean(axis=0)
    centre = 2.0 * np.log(np.array([0.6, 0.8]))
    implied = np.exp(centre + wander)
    variance = np.exp(centre + slope * wander) * premium**2 / 365.25
    variance = np.vstack([variance[:1], variance[:-1]])  # what a row says is of the next
    moves = np.sqrt(variance) * np.clip(rng.standard_normal(variance.shape), -2.9, 2.9)
    ends = np.cumsum(moves, axis=0)
    reach = np.sqrt(2.0 * (variance + (2.0 * np.log(2.0) - 1.0) * moves**2)) - np.abs(moves)
    top = np.maximum(ends, ends - moves) + reach * rng.random(reach.shape)
    time = Clock("1D").grid(np.datetime64("2018-01-01", "ns"), np.datetime64("2030-01-01", "ns"))[:rows]
    features = np.stack([100.0 * np.sqrt(implied), np.sqrt(implied)], axis=2)
    high, low = np.exp(top), np.exp(top - reach - np.abs(moves))
    names = ("dvol", "iv")
    return MarketHistory(
        time, ("BTC", "ETH"), np.exp(ends), Clock("1D"), high, low, features=features, feature_names=names
    )


def with_feature(history: MarketHistory, change: Any) -> MarketHistory:
    assert history.features is not None
    panel = history.features.copy()
    change(panel)
    return history.with_features(panel, history.feature_names)


def qlike(forecasts: Floats, returns: Floats) -> float:
    ratio = returns**2 / forecasts**2
    return float(np.mean(ratio - np.log(ratio) - 1.0))


@pytest.fixture(scope="module")
def market() -> MarketHistory:
    return premium_market()


def test_the_premium_that_made_the_market_is_found(market: MarketHistory) -> None:
    """Shrunk to 1 by 100 horizons of 1500, twice."""
    model = ImpliedVolatility("iv").fit(market, DAY)
    assert_allclose(model.slope_, 1.0, atol=1e-6)
    assert_allclose(model.scale_, PREMIUM**2, rtol=0.1)
    told = model.forecasts(market, 1500)
    true = PREMIUM * market.features[:, :, 1] / np.sqrt(365.25)  # type: ignore[index]
    assert_allclose(told / true, 1.0, atol=0.06)
    assert_array_equal(model.known_share_, 1.0)


def test_the_slope_that_made_the_market_is_found_and_drawn_to_one() -> None:
    market = premium_market(slope=SLOPE)
    assert_allclose(ImpliedVolatility("iv", prior=0.0).fit(market, DAY).slope_, SLOPE, atol=1e-6)
    drawn = (50.0 + 1499.0 * SLOPE) / (50.0 + 1499.0)
    assert_allclose(ImpliedVolatility("iv").fit(market, DAY).slope_, drawn, atol=1e-6)
    few = ImpliedVolatility("iv").fit(market.rows(0, 8), DAY)
    assert_allclose(few.slope_, 1.0, atol=0.05)
    assert_allclose(few.scale_, 1.0, atol=0.12)


def test_without_a_prior_the_slope_is_statsmodels_least_squares() -> None:
    import statsmodels.api as sm

    market = replace(premium_market(400, SLOPE), high=None, low=None)
    model = ImpliedVolatility("iv", prior=0.0).fit(market, Coverage(horizon="5D"))
    outcome = next_variance(measured(market, Coverage(horizon="5D"), 400))
    assert market.features is not None
    for a in range(2):
        x = 2.0 * np.log(market.features[: len(outcome), a, 1]) - np.log(365.25)
        y = np.log(np.maximum(outcome[:, a], 0.01 * np.exp(x)))
        known = np.isfinite(y)
        told = sm.OLS(y[known], sm.add_constant(x[known])).fit().params
        assert model.slope_[a] == pytest.approx(told[1], rel=1e-8)
        assert model.centre_[a] == pytest.approx(x[known].mean(), rel=1e-12)


def test_percent_and_fractions_say_the_same_in_their_units(market: MarketHistory) -> None:
    one = ImpliedVolatility("iv").fit(market, DAY).forecasts(market, 500)
    other = ImpliedVolatility("dvol", unit=0.01).fit(market, DAY).forecasts(market, 500)
    assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize(("feature", "unit", "level"), [("dvol", 1.0, r"\d\d\.\d+"), ("iv", 0.01, r"0\.00\d+")])
def test_an_implausible_unit_is_refused(market: MarketHistory, feature: str, unit: float, level: str) -> None:
    with pytest.raises(DataError, match=rf"of BTC .*must be a fraction a year.* median of {level} a year"):
        ImpliedVolatility(feature, unit).fit(market, DAY)


def test_a_coin_that_stood_still_is_no_wrong_unit(market: MarketHistory) -> None:
    spot = market.spot.copy()
    spot[200:, 1] = spot[200, 1] * (1.0 + 1e-6 * (np.arange(len(spot) - 200) % 2))
    still = replace(market, spot=spot, high=None, low=None)
    model = ImpliedVolatility("iv").fit(still, DAY)
    assert np.isfinite(model.forecasts(still, 1400)).all()
    assert model.forecast(still)[1] < 1e-4, "no farther than ten times EWMA"


def test_out_of_sample_qlike_is_better_than_ewma_s(market: MarketHistory) -> None:
    returns = market.returns(DAY)[799:]
    models = (EwmaVolatility(), ImpliedVolatility("iv"))
    losses = [qlike(m.fit(market.rows(0, 800), DAY).forecasts(market, 701)[:-1], returns) for m in models]
    assert losses[1] < losses[0] - 0.05


def test_a_forecast_and_a_fit_know_nothing_of_later_rows(market: MarketHistory) -> None:
    model = ImpliedVolatility("iv").fit(market.rows(0, 800), DAY)
    spot = market.spot.copy()
    spot[900:] *= 1.5
    other = with_feature(replace(market, spot=spot, high=None, low=None), lambda panel: panel[900:].__imul__(1.7))
    base = replace(market, high=None, low=None)
    assert_array_equal(model.forecasts(other, 1500)[:900], model.forecasts(base, 1500)[:900])
    assert not np.array_equal(model.forecasts(other, 100), model.forecasts(base, 100))
    again = ImpliedVolatility("iv").fit(other.rows(0, 900), DAY)
    assert_array_equal(again.scale_, ImpliedVolatility("iv").fit(base.rows(0, 900), DAY).scale_)


def test_row_by_row_equals_all_at_once_bit_for_bit(market: MarketHistory) -> None:
    model = ImpliedVolatility("iv").fit(market.rows(0, 800), DAY)
    whole = model.forecasts(market, 300)
    for back in (0, 1, 17, 100):
        assert_array_equal(model.forecasts(market.rows(0, 1500 - back), 200)[-150:], whole[150 - back : 300 - back])


@pytest.mark.parametrize("horizon", ["1D", "2D"])
def test_the_audit_finds_nothing_with_surfaces(horizon: str) -> None:
    history = coins_with_options(320)
    books, model = standard_books(history.underlyings, makers=5), FilteredHistoricalVaR(ImpliedVolatility())
    found = audit(model, history, books, Coverage(0.95, horizon), window=100, rows=6)
    assert found.passed, found.leaks


def test_ranges_that_are_too_wide_are_corrected_by_squared_returns(market: MarketHistory) -> None:
    """Highs and lows twice as far say four times the variance; what is forecast is the returns', but for shrinking."""
    assert market.high is not None
    assert market.low is not None
    wide = replace(market, high=market.high**2 / market.spot, low=market.low**2 / market.spot)
    told = [ImpliedVolatility("iv").fit(one, DAY) for one in (market, wide)]
    ratio = (wide.returns(DAY) / told[1].forecasts(wide, 1500)[:-1]) ** 2
    assert_allclose(ratio.mean(axis=0), 1.0, atol=0.2)


def test_the_surface_is_read_at_the_money_at_the_horizon() -> None:
    """A day lies before the first tenor, of 7 days; 14 days between 7 and 30."""
    history = coins_with_options()
    assert history.surfaces is not None
    for horizon, days in (("1D", 7.0), ("14D", 14.0)):
        coverage = Coverage(horizon=horizon)
        model = ImpliedVolatility().fit(history, coverage)
        told = model._variance(history, 3)
        surfaces = history.surfaces[-3:, 0]
        expected = volatilities_at(surfaces, np.zeros(3), days / 365.25) ** 2 / 365.25
        assert_allclose(told[:, 0], expected, rtol=1e-12)


def test_ewma_stands_in_where_no_implied_volatility_is_known(market: MarketHistory) -> None:
    def holes(panel: Floats) -> None:
        panel[700:720, 0] = np.nan
        panel[720:730, 0] = 0.0
        panel[730:740, 0] = -0.5
        panel[740:750, 0] = 1e200
        panel[:, 1] = np.nan

    holed = with_feature(market, holes)
    model = ImpliedVolatility("iv").fit(holed.rows(0, 760), DAY)
    told, ewma = model.forecasts(holed, 1500), np.sqrt(model.ewma_scale_ * ewma_variance(holed, DAY, 1500))
    assert_array_equal(told[700:750, 0], ewma[700:750, 0])
    assert_array_equal(told[:, 1], ewma[:, 1])
    assert not (told[750:, 0] == ewma[750:, 0]).any()
    assert_allclose(model.known_share_, [1.0 - 50 / 760, 0.0])
    peers = EwmaVolatility().fit(holed, DAY).forecasts(holed, 1500)
    assert not (np.isfinite(peers) & np.isnan(told)).any(), "never NaN where EWMA speaks"


def test_a_history_without_surfaces_is_forecast_by_ewma_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    history = two_coins()
    with caplog.at_level(logging.INFO, "marginlab"):
        model = ImpliedVolatility().fit(history, DAY)
    assert "no implied volatility of BTC, ETH" in caplog.text
    assert_array_equal(model.forecasts(history, 50), np.sqrt(model.ewma_scale_ * ewma_variance(history, DAY, 50)))


def test_a_day_of_half_hours_is_forecast_as_a_day() -> None:
    rng = np.random.default_rng(4)
    rows, days = 48 * 200, 200
    daily = np.repeat(0.03 * np.exp(0.4 * rng.standard_normal(days)), 48)[:, None]
    moves = daily / np.sqrt(48) * rng.standard_normal((rows, 1))
    told = np.vstack([daily[1:], daily[-1:]]) * np.sqrt(365.25) / PREMIUM
    time = Clock("30min").grid(np.datetime64("2020-01-01", "ns"), np.datetime64("2025-01-01", "ns"))[:rows]
    history = MarketHistory(
        time,
        ("BTC",),
        np.exp(np.cumsum(moves, axis=0)),
        Clock("30min"),
        features=told[:, :, None],
        feature_names=("iv",),
    )
    model = ImpliedVolatility("iv", prior=0.0).fit(history, DAY)
    ratio = (history.returns(DAY) / model.forecasts(history, rows)[:-48]) ** 2
    assert 0.8 < np.nanmean(ratio) < 1.2
    short = Coverage(horizon="8h")
    eight = ImpliedVolatility("iv").fit(history, short).forecast(history)
    assert eight[0] == pytest.approx(ImpliedVolatility("iv").fit(history, DAY).forecast(history)[0] / 3**0.5, rel=0.2)


def test_in_coin_the_forecast_is_of_returns_in_coin(market: MarketHistory) -> None:
    coin, coverage = market.valued_in("BTC"), Coverage(numeraire="BTC")
    model = ImpliedVolatility("iv").fit(coin.rows(0, 1000), coverage)
    told = model.forecasts(coin, 500)
    assert 0.8 < np.mean((coin.returns(coverage)[-499:] / told[:-1]) ** 2) < 1.25


def test_prices_in_other_units_change_nothing(market: MarketHistory) -> None:
    assert market.high is not None
    assert market.low is not None
    units = np.array([1e-5, 1e4])
    other = replace(market, spot=market.spot * units, high=market.high * units, low=market.low * units)
    told = [ImpliedVolatility("iv").fit(one, DAY).forecasts(one, 500) for one in (market, other)]
    assert_allclose(told[0], told[1], rtol=1e-9)


def test_a_refit_forgets(market: MarketHistory) -> None:
    model = ImpliedVolatility("iv").fit(market.rows(0, 400), Coverage(horizon="2D"))
    again, new = model.fit(market.rows(300, 1200), DAY), clone(model).fit(market.rows(300, 1200), DAY)
    assert_array_equal(again.forecasts(market, 700), new.forecasts(market, 700))


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"feature": "iv", "unit": 0.0}, r"unit must be > 0.*got 0\.0"),
        ({"unit": 0.01}, r"unit must be .*surfaces.*got 0\.01 for None"),
        ({"feature": "iv", "prior": -1.0}, "prior must be >= 0 horizons"),
    ],
)
def test_arguments_out_of_range_are_refused(market: MarketHistory, wrong: dict[str, Any], expected: str) -> None:
    with pytest.raises(ParameterError, match=expected):
        ImpliedVolatility(**wrong).fit(market, DAY)


def test_a_history_that_cannot_tell_is_refused(market: MarketHistory) -> None:
    with pytest.raises(HistoryError, match=r"needs the features \['vix'\]"):
        ImpliedVolatility("vix").fit(market, DAY)
    with pytest.raises(HistoryError, match=r"over 2 rows a horizon needs 13 rows, got .*12 rows"):
        ImpliedVolatility("iv").fit(market.rows(0, 12), Coverage(horizon="2D"))
    bare = replace(market, features=None, feature_names=())
    with pytest.raises(HistoryError, match="needs the features"):
        ImpliedVolatility("iv").fit(market, DAY).forecast(bare)
