"""Do features that tell of tomorrow's volatility make the boosted forecast better, and never see tomorrow?"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pytest
from sklearn.base import clone
from test_boosted import DAY, WINDOW, clustered, fresh, qlike

from backtest.lookahead import audit
from backtest.portfolios import standard_books
from data import Clock, Coverage, Floats, HistoryError, MarketHistory, ParameterError
from data.sources.synthetic import garch_t
from margin_models import FilteredHistoricalVaR
from margin_models.volatility import BoostedVolatility
from margin_models.volatility.predictors import LOOKBACK, feature_predictors

FEATURES = ("pressure", "noise")
# The last row of `clustered()` without features, as LightGBM 4 has it: a change of it is a change of model.
PINNED = (0.03751505708588028, 0.00909499490732635, 0.035434607935410305, 0.03486054740876872)


def foretold(rows: int = 1400, assets: int = 3, clock: str = "1D", seed: int = 4) -> MarketHistory:
    """Normal returns whose log volatility is the feature "pressure" of the row before; "noise" is nothing."""
    random = np.random.default_rng(seed)
    pressure = 0.8 * random.standard_normal((rows, assets))
    volatility = 0.02 * np.exp(np.vstack([np.zeros((1, assets)), pressure[:-1]]))
    spot = 100.0 * np.exp((volatility * random.standard_normal((rows, assets))).cumsum(axis=0))
    first = np.datetime64("2019-01-01", "ns")
    time = Clock(clock).grid(first, first + np.timedelta64(20_000, "D"))[:rows]
    features = np.stack([pressure, random.standard_normal((rows, assets))], axis=2)
    names = tuple(f"A{i}" for i in range(assets))
    return MarketHistory(time, names, spot, Clock(clock)).with_features(features, FEATURES)


def out_of_sample(history: MarketHistory, features: Sequence[str] | None) -> float:
    """QLIKE of the rows after the window."""
    model = BoostedVolatility(features=features).fit(history.rows(0, WINDOW), DAY)
    forecasts = model.forecasts(history, len(history) - WINDOW + 1)[:-1]
    return qlike(forecasts, history.returns(DAY)[WINDOW - 1 :])


@pytest.fixture(scope="module")
def market() -> MarketHistory:
    return foretold()


def test_a_feature_that_tells_of_tomorrow_makes_the_forecast_better(market: MarketHistory) -> None:
    """What can be known leaves a QLIKE of 1.27 (of a squared normal); the rest is not having known it."""
    with_all, without = out_of_sample(market, None), out_of_sample(market, ())
    assert with_all < without - 0.5
    assert with_all < 1.27 + 0.3
    assert out_of_sample(market, ("pressure",)) < without - 0.5
    assert abs(out_of_sample(market, ("noise",)) - without) < 0.1


def test_a_history_without_features_is_forecast_as_it_was() -> None:
    history = clustered()
    for features in (None, ()):
        model = BoostedVolatility(features=features).fit(history.rows(0, WINDOW), DAY)
        np.testing.assert_allclose(model.forecast(history), PINNED, rtol=1e-9)
        assert model.features_ == ()


def test_no_feature_asked_for_is_no_feature_there_bit_for_bit(market: MarketHistory) -> None:
    bare = replace(market, features=None, feature_names=())
    with_, without = (
        BoostedVolatility(features=()).fit(history.rows(0, WINDOW), DAY).forecasts(history, 300)
        for history in (market, bare)
    )
    np.testing.assert_array_equal(with_, without)


def test_the_named_features_are_found_wherever_they_stand(market: MarketHistory) -> None:
    assert market.features is not None
    turned = market.with_features(market.features[:, :, ::-1], FEATURES[::-1])
    model = BoostedVolatility(features=FEATURES).fit(market.rows(0, WINDOW), DAY)
    other = clone(model).fit(turned.rows(0, WINDOW), DAY)
    np.testing.assert_array_equal(other.forecasts(turned, 300), model.forecasts(market, 300))
    assert model.features_ == other.features_ == FEATURES


@pytest.mark.parametrize("wrong", [("pressure", "vpin"), ("noise", "noise"), "noise"])
def test_unknown_or_repeated_names_are_refused(market: MarketHistory, wrong: Any) -> None:
    with pytest.raises(ParameterError, match=r"features must be .*'pressure', 'noise'.*got"):
        BoostedVolatility(features=wrong).fit(market.rows(0, WINDOW), DAY)


def test_a_history_that_lacks_what_was_learned_from_is_refused(market: MarketHistory) -> None:
    model = BoostedVolatility().fit(market.rows(0, WINDOW), DAY)
    bare = replace(market, features=None, feature_names=())
    with pytest.raises(HistoryError, match=r"needs the features \['pressure', 'noise'\]"):
        model.forecast(bare)


def test_the_same_fit_twice_is_bitwise_the_same(market: MarketHistory) -> None:
    model = BoostedVolatility().fit(market.rows(0, WINDOW), DAY)
    again = clone(model).fit(market.rows(0, WINDOW), DAY)
    np.testing.assert_array_equal(again.forecasts(market, 500), model.forecasts(market, 500))


def test_row_by_row_equals_all_at_once_bit_for_bit(market: MarketHistory) -> None:
    model = BoostedVolatility().fit(market.rows(0, WINDOW), DAY)
    whole = fresh(model, market, 300)
    for stop in range(len(market) - 20, len(market) + 1):
        recent = model.forecasts(market.rows(0, stop), 100)
        np.testing.assert_array_equal(recent, whole[300 - (len(market) - stop) - 100 : 300 - (len(market) - stop)])


@pytest.mark.parametrize("features", [None, ("noise", "pressure")], ids=["all", "named"])
def test_a_feature_that_differs_gives_new_forecasts(market: MarketHistory, features: tuple[str, ...] | None) -> None:
    assert market.features is not None
    panel = market.features.copy()
    model = BoostedVolatility(features=features).fit(market.rows(0, WINDOW), DAY)
    before = model.forecasts(market.with_features(panel, FEATURES), 300)
    panel[-20, 1, 0] += 2.0
    history = market.with_features(panel, FEATURES)
    after = model.forecasts(history, 300)
    np.testing.assert_array_equal(after, fresh(model, history, 300))
    assert not np.array_equal(after[-20], before[-20])
    np.testing.assert_array_equal(after[:-20], before[:-20])


def test_unknown_features_are_no_hindrance(market: MarketHistory) -> None:
    assert market.features is not None
    panel = market.features.copy()
    panel[np.random.default_rng(0).random(panel.shape) < 0.2] = np.nan
    panel[:, 2] = np.nan
    holed = market.with_features(panel, FEATURES)
    model = BoostedVolatility().fit(holed.rows(0, WINDOW), DAY)
    assert np.isfinite(model.forecasts(holed, 500)).all()
    assert out_of_sample(holed, None) < out_of_sample(market, ()) - 0.1, "what is known still tells"
    nothing = market.with_features(np.full_like(panel, np.nan), FEATURES)
    np.testing.assert_array_equal(
        BoostedVolatility().fit(nothing.rows(0, WINDOW), DAY).forecasts(nothing, 100),
        BoostedVolatility(features=()).fit(market.rows(0, WINDOW), DAY).forecasts(market, 100),
    )


def test_a_day_of_hours_takes_the_mean_over_the_day_too() -> None:
    hourly = foretold(2600, 2, "1h")
    model = BoostedVolatility().fit(hourly.rows(0, 2200), DAY)
    booster = model.boosters_[-1]
    assert booster is not None
    daily = BoostedVolatility().fit(foretold(assets=2).rows(0, WINDOW), DAY).boosters_[-1]
    assert daily is not None
    assert booster.num_feature() == daily.num_feature() + len(FEATURES)
    assert np.isfinite(model.forecasts(hourly, 1000)).all()


def plain(told: Floats, steps: int, row: int) -> tuple[float, float]:
    """One feature (T,) now, and its mean over the last horizon, in deviations from its lookback's mean."""
    past = told[row - LOOKBACK * steps + 1 : row + 1]
    return (told[row] - past.mean()) / past.std(), (past[-steps:].mean() - past.mean()) / past.std()


@pytest.mark.parametrize("steps", [1, 6])
def test_predictors_of_features_are_standard_scores_of_the_lookback(steps: int) -> None:
    told = np.random.default_rng(2).standard_normal((LOOKBACK * steps + 30, 2, 3)) * [1.0, 50.0, 1e-3] + [0.0, 9.0, 1.0]
    found = feature_predictors(told, steps, 20)
    assert found.shape == (20, 2, 3 if steps == 1 else 6)
    for row in (0, 7, 19):
        for asset, name in np.ndindex(2, 3):
            now, mean = plain(told[:, asset, name], steps, len(told) - 20 + row)
            assert found[row, asset, name] == pytest.approx(now, rel=1e-6, abs=1e-9)
            if steps > 1:
                assert found[row, asset, 3 + name] == pytest.approx(mean, rel=1e-6, abs=1e-9)


def test_a_feature_that_stands_still_tells_nothing_and_an_unknown_one_is_unknown() -> None:
    told = np.full((LOOKBACK + 10, 1, 2), 0.1)
    told[-1, 0, 0] = np.nan
    found = feature_predictors(told, 1, 5)
    np.testing.assert_array_equal(found[:, 0, 1], 0.0)
    assert np.isnan(found[-1, 0, 0])
    np.testing.assert_array_equal(found[:-1, 0, 0], 0.0)
    assert np.isnan(feature_predictors(told * 1e200, 1, 5)).all(), "too large to square"


def with_noise(history: MarketHistory) -> MarketHistory:
    told = np.random.default_rng(1).standard_normal((*history.spot.shape, 2)) + 3.0
    return history.with_features(told, FEATURES)


class JoinedTooEarly(FilteredHistoricalVaR):
    """Learns from features of two rows later, as one does who joins figures on their date and not on their release."""

    def fit_many(self, history: MarketHistory, stops: Sequence[int], window: int, coverage: Coverage) -> Iterator[Self]:
        assert history.features is not None
        early = history.with_features(np.roll(history.features, -2, axis=0), history.feature_names)
        return super().fit_many(early, stops, window, coverage)


def test_the_audit_rewrites_features_and_finds_who_sees_them_early_alone() -> None:
    history = with_noise(garch_t(520, (0.02, 0.03), seed=11).history)
    books = standard_books(history.underlyings, makers=2)
    honest, early = (
        audit(kind(BoostedVolatility(trees=5)), history, books, Coverage(0.98), window=400, rows=3)
        for kind in (FilteredHistoricalVaR, JoinedTooEarly)
    )
    assert honest.passed
    assert not early.passed
