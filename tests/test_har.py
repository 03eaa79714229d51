"""Does HAR find the slopes of a market made by them, and never look ahead of its row?"""

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from test_garch import assert_nothing_said_of_nothing, assert_served_by_name

from data import Clock, Coverage, Floats, HistoryError, MarketHistory, ParameterError
from data.sources.synthetic import garch_t
from margin_models.volatility import EwmaVolatility, HarVolatility
from margin_models.volatility.measures import measured, next_variance
from margin_models.volatility.predictors import LOOKBACK

DAY = Coverage()
TRUE_SLOPES = np.array([0.35, 0.35, 0.2])
WINDOW = 900
PLAIN: dict[str, Any] = {"leverage": False, "jumps": False, "prior": 0.0}


def har_market(rows: int = 1400, assets: int = 3, clock: str = "1D", inner: int = 1, seed: int = 5) -> MarketHistory:
    """The log variance of each block of `inner` rows follows HAR with the true slopes, about levels that differ.

    Where a block is one row, its high and low are such that Garman and Klass's measure is exactly its variance.
    """
    rng = np.random.default_rng(seed)
    level = np.log(np.array([4e-4, 1e-3, 2.5e-3, 4e-3])[:assets])
    log = np.tile(level, (rows // inner, 1))
    for i in range(1, len(log)):
        means = [np.log(np.exp(log[max(i - lag, 0) : i]).mean(axis=0)) - level for lag in (1, 5, 22)]
        log[i] = level + TRUE_SLOPES @ np.array(means) - 0.1 + 0.45 * rng.standard_normal(assets)
    variance = np.repeat(np.exp(log), inner, axis=0) / inner
    moves = np.sqrt(variance) * np.clip(rng.standard_normal(variance.shape), -2.9, 2.9)
    ends = np.cumsum(moves, axis=0)
    reach = np.sqrt(2.0 * (variance + (2.0 * np.log(2.0) - 1.0) * moves**2)) - np.abs(moves)
    above = reach * rng.random(reach.shape)
    top = np.maximum(ends, ends - moves) + above
    first = np.datetime64("2015-01-01", "ns")
    time = Clock(clock).grid(first, first + np.timedelta64(20_000, "D"))[: len(ends)]
    high, low = np.exp(top), np.exp(top - reach - np.abs(moves))
    return MarketHistory(time, tuple("ABCD"[:assets]), np.exp(ends), Clock(clock), high, low)


def compounded(moves: Floats) -> Floats:
    """Prices from 1 on, (T + 1, A), of simple returns (T, A)."""
    return np.asarray(np.cumprod(1.0 + np.vstack([np.zeros((1, moves.shape[1])), moves]), axis=0), np.float64)


def closes(history: MarketHistory) -> MarketHistory:
    return replace(history, high=None, low=None)


def with_spot(history: MarketHistory, spot: Floats) -> MarketHistory:
    """Other closes, highs and lows moved along."""
    if history.high is None or history.low is None:
        return replace(history, spot=spot)
    ratio = spot / history.spot
    return replace(history, spot=spot, high=history.high * ratio, low=history.low * ratio)


def after(history: MarketHistory, row: int, factor: float = 1.4) -> MarketHistory:
    """Another future: from `row` on every other price is higher."""
    spot = history.spot.copy()
    spot[row:] *= factor ** (1 + np.arange(len(spot) - row) % 2)[:, None]
    return with_spot(history, spot)


def fresh(model: HarVolatility, past: MarketHistory, count: int) -> Floats:
    """What a copy of the fitted model says with nothing to remember."""
    copy: HarVolatility = pickle.loads(pickle.dumps(model))
    copy.forecasts(replace(past, time=past.time + np.timedelta64(36_500, "D")), 1)
    return copy.forecasts(past, count)


def qlike(forecasts: Floats, returns: Floats) -> float:
    ratio = returns**2 / forecasts**2
    return float(np.mean(ratio - np.log(ratio) - 1.0))


@pytest.fixture(scope="module")
def market() -> MarketHistory:
    return har_market()


@pytest.fixture(scope="module")
def fitted(market: MarketHistory) -> HarVolatility:
    return HarVolatility().fit(market.rows(0, WINDOW), DAY)


def test_the_slopes_that_made_the_market_are_found() -> None:
    """From 12000 days, whose standard errors are 0.01 to 0.02; alone, from a third of that."""
    long = har_market(4000, 3, seed=9)
    model = HarVolatility(**PLAIN).fit(long, DAY)
    assert model.names_ == ("lag 1", "lag 5", "lag 22")
    assert_allclose(model.slopes_[:, 0], TRUE_SLOPES, atol=0.06)
    assert_array_equal(model.slopes_, model.slopes_[:, :1].repeat(3, axis=1))
    alone = HarVolatility(pooled=False, **PLAIN).fit(long, DAY)
    assert_allclose(alone.slopes_, np.tile(TRUE_SLOPES[:, None], 3), atol=0.1)
    assert len({*alone.slopes_[0]}) == 3


@pytest.mark.parametrize("pooled", [True, False])
def test_without_a_prior_it_is_least_squares_of_statsmodels(market: MarketHistory, pooled: bool) -> None:
    """Regressors made with pandas, estimates by statsmodels; a prior draws the slopes towards equal shares."""
    import pandas as pd
    import statsmodels.api as sm

    past = market.rows(0, WINDOW)
    model = HarVolatility(pooled, **PLAIN).fit(past, DAY)
    assert past.high is not None
    assert past.low is not None
    spot = pd.DataFrame(past.spot)
    high = np.maximum(np.maximum(past.high, spot), spot.shift())
    low = np.minimum(np.minimum(past.low, spot), spot.shift())
    ranges = 0.5 * np.log(high / low) ** 2 - (2 * np.log(2) - 1) * np.log(spot / spot.shift()) ** 2
    lags = [np.log(ranges.rolling(lag, min_periods=(lag + 1) // 2).mean()).iloc[11:] for lag in (1, 5, 22)]
    level = lags[0].mean()
    assert_allclose(model.level_, level, rtol=1e-9)
    target = (np.log(ranges).shift(-1).iloc[11:] - level).to_numpy()[:-1]
    design = np.stack([(lag - level).to_numpy()[:-1] for lag in lags], axis=2)
    columns = [np.arange(3)] if pooled else [np.array([a]) for a in range(3)]
    for chosen in columns:
        told = sm.OLS(target[:, chosen].ravel(), sm.add_constant(design[:, chosen].reshape(-1, 3))).fit().params
        assert model.intercept_[chosen[0]] == pytest.approx(told[0], rel=1e-6)
        assert_allclose(model.slopes_[:, chosen[0]], told[1:], rtol=1e-6)
    drawn = HarVolatility(pooled, **{**PLAIN, "prior": 1e9}).fit(past, DAY)
    assert_allclose(drawn.slopes_, 1.0 / 3.0, atol=1e-4)


def test_out_of_sample_qlike_is_better_than_ewma_s(market: MarketHistory) -> None:
    """Pooled and alone, with ranges and on closes alone; with ranges by 0.05 at least."""
    for history, margin in ((market, 0.05), (closes(market), 0.0)):
        returns = history.returns(DAY)[WINDOW - 1 :]
        models = (EwmaVolatility(), HarVolatility(), HarVolatility(pooled=False))
        losses = [
            qlike(m.fit(history.rows(0, WINDOW), DAY).forecasts(history, 1400 - WINDOW + 1)[:-1], returns)
            for m in models
        ]
        assert max(losses[1:]) < losses[0] - margin


def test_on_garch_it_is_as_good_as_ewma_within_noise() -> None:
    """Where the truth is near an EWMA; over three seeds they were within 0.01 of each other."""
    history = closes(garch_t(2400, (0.02, 0.03, 0.04), seed=3).history)
    returns = history.returns(DAY)[999:]
    losses = [
        qlike(m.fit(history.rows(0, 1000), DAY).forecasts(history, 1401)[:-1], returns)
        for m in (EwmaVolatility(), HarVolatility())
    ]
    assert losses[1] < losses[0] + 0.03


@pytest.mark.parametrize("pooled", [True, False])
def test_squared_returns_over_the_forecast_average_one_in_the_window(market: MarketHistory, pooled: bool) -> None:
    """Shrunk towards 1 by 100 horizons of 900, so not quite."""
    past = market.rows(0, WINDOW)
    forecasts = HarVolatility(pooled).fit(past, DAY).forecasts(past, WINDOW)
    ratio = (past.returns(DAY) / forecasts[:-1]) ** 2
    assert_allclose(np.nanmean(ratio, axis=0), 1.0, atol=0.1)


@pytest.mark.parametrize("bare", [False, True])
def test_a_forecast_knows_nothing_of_later_rows(market: MarketHistory, bare: bool) -> None:
    history = closes(market) if bare else market
    model = HarVolatility().fit(history.rows(0, WINDOW), DAY)
    other, row = after(history, WINDOW + 100), WINDOW + 100
    kept, told = fresh(model, history, 1400), fresh(model, other, 1400)
    assert_array_equal(told[:row], kept[:row])
    assert not np.array_equal(told[row:], kept[row:])


def test_a_fit_knows_no_horizon_that_has_not_ended() -> None:
    """The last row of the window has no target: changing what follows cannot reach the fit, changing it does."""
    history, coverage = har_market(600), Coverage(horizon="3D")
    whole = HarVolatility().fit(history.rows(0, 500), coverage)
    other = HarVolatility().fit(after(history, 500).rows(0, 500), coverage)
    inside = HarVolatility().fit(after(history, 499).rows(0, 500), coverage)
    assert_array_equal(whole.slopes_, other.slopes_)
    assert_array_equal(whole.scale_, other.scale_)
    assert not np.array_equal(whole.slopes_, inside.slopes_)


def test_row_by_row_equals_all_at_once_bit_for_bit(market: MarketHistory, fitted: HarVolatility) -> None:
    whole = fresh(fitted, market, 500)
    walking: HarVolatility = pickle.loads(pickle.dumps(fitted))
    for stop in range(len(market) - 40, len(market) + 1):
        recent = walking.forecasts(market.rows(0, stop), 200)
        assert_array_equal(recent, whole[300 - (len(market) - stop) : 500 - (len(market) - stop)])


def test_a_forecast_does_not_depend_on_how_much_earlier_past_there_is(
    market: MarketHistory, fitted: HarVolatility
) -> None:
    for earlier in (0, 1, 77):
        recent = fresh(fitted, market.last(60 + LOOKBACK + earlier), 60)
        assert_array_equal(recent, fresh(fitted, market, 60))


def test_another_history_with_the_same_stamps_gets_its_own_forecasts(
    market: MarketHistory, fitted: HarVolatility
) -> None:
    for row in (1300, 950, 1399, 200):
        other = after(market, row)
        assert_array_equal(fitted.forecasts(other, 700), fresh(fitted, other, 700))
        assert_array_equal(fitted.forecasts(market, 700), fresh(fitted, market, 700))
    for stop, count in ((1200, 300), (1000, 990), (1390, 20), (30, 30), (1400, 1400), (44, 10), (45, 60)):
        past = market.rows(0, stop)
        assert_array_equal(fitted.forecasts(past, count), fresh(fitted, past, count))


def test_prices_in_other_units_change_nothing_and_returns_twice_as_large_double_it(market: MarketHistory) -> None:
    past = market.rows(0, WINDOW)
    assert past.high is not None
    assert past.low is not None
    plain = HarVolatility().fit(past, DAY).forecasts(past, 500)
    units = np.array([1e-6, 3.0, 1e5])
    scaled = replace(past, spot=past.spot * units, high=past.high * units, low=past.low * units)
    assert_allclose(HarVolatility().fit(scaled, DAY).forecasts(scaled, 500), plain, rtol=1e-9)
    calm, halved = (closes(with_spot(closes(past), compounded(size * past.returns(DAY)))) for size in (0.1, 0.05))
    told = [HarVolatility().fit(one, DAY).forecasts(one, 500) for one in (calm, halved)]
    assert_allclose(told[0], 2.0 * told[1], rtol=1e-9)


def test_assets_in_another_order_are_forecast_the_same(market: MarketHistory) -> None:
    past, order = market.rows(0, WINDOW), [2, 0, 1]
    assert past.high is not None
    assert past.low is not None
    other = MarketHistory(
        past.time, ("C", "A", "B"), past.spot[:, order], past.clock, past.high[:, order], past.low[:, order]
    )
    for pooled in (True, False):
        told = HarVolatility(pooled).fit(past, DAY).forecasts(past, 300)
        assert_allclose(HarVolatility(pooled).fit(other, DAY).forecasts(other, 300), told[:, order], rtol=1e-9)


def test_alone_an_asset_does_not_hear_of_the_others(market: MarketHistory) -> None:
    past = market.rows(0, WINDOW)
    assert past.high is not None
    assert past.low is not None
    alone = MarketHistory(past.time, ("B",), past.spot[:, 1:2], past.clock, past.high[:, 1:2], past.low[:, 1:2])
    told = HarVolatility(pooled=False).fit(past, DAY).forecasts(past, 300)[:, 1]
    assert_allclose(HarVolatility(pooled=False).fit(alone, DAY).forecasts(alone, 300)[:, 0], told, rtol=1e-9)


@pytest.mark.parametrize("pooled", [True, False])
def test_holes_late_listings_and_assets_that_never_traded(pooled: bool) -> None:
    history = har_market(900, 4)
    panels: dict[str, Any] = {name: np.array(getattr(history, name)) for name in ("spot", "high", "low")}
    for name in panels:
        panels[name][[300, 301, 640, 899]] = np.nan
        panels[name][: 900 - 20, 3] = np.nan
        panels[name][:, 2] = np.nan
    holed = replace(history, **panels)
    model, ewma = HarVolatility(pooled).fit(holed, DAY), EwmaVolatility().fit(holed, DAY)
    told, peers = model.forecasts(holed, 900), ewma.forecasts(holed, 900)
    assert not (np.isfinite(peers) & np.isnan(told)).any(), "never NaN where EWMA speaks"
    assert np.isnan(told[:, 2]).all()
    assert np.isfinite(told[-1, [0, 1, 3]]).all()
    assert np.isnan(model.level_[2])


def test_an_asset_without_a_level_is_forecast_by_ewma(market: MarketHistory) -> None:
    spot = market.spot.copy()
    spot[:WINDOW, 2] = np.nan
    late = closes(replace(market, spot=spot, high=None, low=None))
    model = HarVolatility().fit(late.rows(0, WINDOW), DAY)
    squares = late.returns(DAY)[-LOOKBACK:, 2] ** 2
    weights = 0.94 ** np.arange(LOOKBACK)[::-1]
    expected = np.sqrt(model.ewma_scale_ * weights @ squares / weights.sum())
    assert model.forecast(late)[2] == pytest.approx(expected, rel=1e-12)


def test_a_coin_that_stood_still_keeps_the_others_and_comes_back(market: MarketHistory) -> None:
    spot = closes(market).spot.copy()
    spot[500:560, 1] = spot[500, 1]  # two months, longer than any lag
    spot[3::3, 2] = spot[2:-1:3, 2]  # a third of its returns are 0
    still = closes(replace(market, spot=spot, high=None, low=None))
    model = HarVolatility(pooled=False).fit(still.rows(0, WINDOW), DAY)
    told = model.forecasts(still, 1400)
    assert np.isfinite(told[20:]).all()
    assert told[559, 1] == 0.0
    assert (told[600:, 1] > 0.0).all()
    assert (told[20:, [0, 2]] > 0.0).all()
    flat = closes(replace(market, spot=np.full(spot.shape, 7.0), high=None, low=None))
    assert_array_equal(HarVolatility().fit(flat, DAY).forecast(flat), 0.0)


def test_no_forecast_is_beyond_a_tenth_or_ten_times_ewma(market: MarketHistory) -> None:
    """Slopes and scales that went wild meet the bound, the same either way."""
    model = HarVolatility().fit(market.rows(0, WINDOW), DAY)
    ewma = np.sqrt(model.ewma_scale_ * measured(market, DAY, 400).ewma)
    for factor, bound in ((1e9, 10.0), (1e-9, 0.1)):
        wild: HarVolatility = pickle.loads(pickle.dumps(model))
        wild.scale_ = factor * model.scale_
        assert_allclose(fresh(wild, market, 400), bound * ewma, rtol=1e-12)


def test_the_prior_weighs_in_horizons_not_in_rows() -> None:
    """One lag: its slope is the mean of least squares' and 1, by the rows and the prior's horizons of three rows."""
    past, coverage = har_market(600, 1), Coverage(horizon="3D")
    drawn, plain = (
        HarVolatility(lags=(1,), leverage=False, prior=prior).fit(past, coverage).slopes_[0, 0] for prior in (50.0, 0.0)
    )
    rows = 600 - 3 - 2  # three have no target, the first two no horizon of two returns behind them
    assert drawn == pytest.approx((rows * plain + 150.0) / (rows + 150.0), rel=1e-9)


def test_a_day_of_half_hours_is_forecast_as_a_day() -> None:
    """48 squared returns tell a day: the slopes of days are found, and jumps are a regressor."""
    history = har_market(48 * 400, 2, "30min", inner=48)
    fit_rows = 48 * 300
    model = HarVolatility(leverage=False).fit(history.rows(0, fit_rows), DAY)
    assert model.names_ == ("lag 1", "lag 5", "lag 22", "jump")
    assert model.slopes_[:3, 0].sum() == pytest.approx(0.9, abs=0.15)
    told = model.forecasts(history, 48 * 100)
    ratio = (history.returns(DAY)[-48 * 99 :] / told[: 48 * 99]) ** 2
    assert 0.7 < ratio.mean() < 1.4
    assert_array_equal(model.forecasts(after(history, fit_rows + 480), 48 * 100)[:480], told[:480])
    realised = next_variance(measured(history, DAY, 1))
    assert realised.shape == (0, 2)


def test_a_jump_is_told_from_a_wild_day() -> None:
    """The regressor is the log of realised over bipower variance: near 0 in a diffusion, large after one jump."""
    history = har_market(48 * 70, 1, "30min", inner=48)
    spot = history.spot.copy()
    spot[-10:] *= 1.3
    jumped = with_spot(history, spot)
    model = HarVolatility(leverage=False)
    model.fit(history, DAY)
    values = [model._regressors(measured(one, DAY, 1)).others[0][0, 0] for one in (history, jumped)]
    r = jumped.returns(Coverage(horizon="30min"))[-48:, 0]
    before = jumped.returns(Coverage(horizon="30min"))[-49:-1, 0]
    bipower = np.pi / 2 * np.mean(np.abs(r * before))
    assert values[1] == pytest.approx(np.log(np.mean(r**2) / bipower), rel=1e-9)
    assert values[0] < 0.6 < 2.0 < values[1]


def test_falls_raise_the_forecast_where_falls_came_before_wild_days() -> None:
    rng = np.random.default_rng(2)
    log, moves = np.zeros(3000), np.zeros(3000)
    for i in range(1, 3000):
        shock = rng.standard_normal()
        log[i] = 0.9 * log[i - 1] - 0.25 * min(moves[i - 1] / np.exp(log[i - 1]) / 0.01, 0.0)
        moves[i] = 0.01 * np.exp(min(log[i] - 1.0, 1.5)) * shock
    time = Clock("1D").grid(np.datetime64("2015-01-01", "ns"), np.datetime64("2030-01-01", "ns"))[:3000]
    history = MarketHistory(time, ("A",), compounded(moves[1:, None]), Clock("1D"))
    model = HarVolatility().fit(history, DAY)
    assert model.names_[3:] == ("fall 1", "fall 5")
    assert model.slopes_[3:, 0].sum() < -0.02, "a fall is negative"


def test_in_coin_the_forecast_is_of_returns_in_coin(market: MarketHistory) -> None:
    coin, coverage = market.valued_in("A"), Coverage(numeraire="A")
    model = HarVolatility().fit(coin.rows(0, WINDOW), coverage)
    told = model.forecasts(coin, 300)
    assert 0.7 < np.mean((coin.returns(coverage)[-299:] / told[:-1]) ** 2) < 1.4
    spot = market.spot.copy()
    spot[-30:, 0] *= 1.1
    other = replace(coin, spot=spot)
    assert_array_equal(model.forecasts(other, 300), fresh(model, other, 300))
    with pytest.raises(HistoryError, match="counts in A"):
        HarVolatility().fit(market, coverage)


def test_a_refit_forgets_and_equals_a_fresh_fit(market: MarketHistory) -> None:
    model = HarVolatility().fit(market.rows(0, WINDOW), DAY)
    model.forecasts(market, 500)
    again = model.fit(market.rows(400, 1300), DAY)
    new = clone(model).fit(market.rows(400, 1300), DAY)
    assert_array_equal(again.forecasts(market, 1000), new.forecasts(market, 1000))


def test_a_short_window_is_refused_with_the_rows_it_needs(market: MarketHistory) -> None:
    with pytest.raises(HistoryError, match=r"lags up to 22 over 1 rows a horizon needs 43 rows to fit, got .*42 rows"):
        HarVolatility().fit(market.rows(0, 42), DAY)
    told = HarVolatility().fit(market.rows(0, 43), DAY).forecasts(market, 5)
    assert np.isfinite(told).all()
    with pytest.raises(HistoryError, match="needs 85 rows"):
        HarVolatility().fit(market.rows(0, 84), Coverage(horizon="2D"))


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"lags": ()}, r"lags must rise within 1 to 44, got \(\)"),
        ({"lags": (5, 1)}, "lags must rise"),
        ({"lags": (0, 5)}, "lags must rise"),
        ({"lags": (1, 45)}, "lags must rise"),
        ({"lags": (1, 2.5)}, "lags must rise"),
        ({"prior": -1.0}, r"prior must be >= 0 horizons, got -1\.0"),
        ({"prior": float("nan")}, "prior must be"),
    ],
)
def test_arguments_out_of_range_are_refused(market: MarketHistory, wrong: dict[str, Any], expected: str) -> None:
    with pytest.raises(ParameterError, match=expected):
        HarVolatility(**wrong).fit(market, DAY)


@pytest.mark.parametrize("pooled", [True, False])
def test_coefficients_are_found_by_name_and_an_unknown_name_is_refused(pooled: bool, market: MarketHistory) -> None:
    past = closes(market)
    assert_served_by_name(HarVolatility(pooled).fit(past.rows(0, WINDOW), DAY), past)


def test_no_row_asked_for_or_none_known_is_no_forecast(market: MarketHistory) -> None:
    assert_nothing_said_of_nothing(HarVolatility().fit(market.rows(0, WINDOW), DAY), market)
