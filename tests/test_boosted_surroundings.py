"""Does the boosted forecast learn from the calendar, funding, options and a leader, and tune on its window alone?"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from test_boosted import DAY, WINDOW, changed, clustered, fresh, opinion, qlike

from data import Clock, Floats, MarketHistory
from margin_models.volatility import BoostedVolatility
from margin_models.volatility.boosted import TRIED_LEAVES
from margin_models.volatility.predictors import LOOKBACK, NAMES, RISING, known_at
from margin_models.volatility.surroundings import across, calendar_phases, leader_of

START = np.datetime64("2019-01-07", "ns")  # a Monday


def driven(log_vol: Floats, clock: str = "1D", seed: int = 5, **panels: Floats | str) -> MarketHistory:
    """Closes whose next return has this log volatility, (T, A)."""
    random = np.random.default_rng(seed)
    before = np.vstack([np.zeros((1, log_vol.shape[1])), log_vol[:-1]])
    spot = 100.0 * np.exp((0.02 * np.exp(before) * random.standard_normal(log_vol.shape)).cumsum(axis=0))
    time = Clock(clock).grid(START, START + np.timedelta64(20_000, "D"))[: len(spot)]
    given: dict[str, Any] = panels
    return MarketHistory(time, tuple(f"A{i}" for i in range(spot.shape[1])), spot, Clock(clock), **given)


def gain(history: MarketHistory, without: MarketHistory) -> float:
    """By how much the QLIKE of the rows after the window is lower with what one history tells and another does not."""
    losses = []
    for one in (without, history):
        model = BoostedVolatility().fit(one.rows(0, WINDOW), DAY)
        losses.append(qlike(model.forecasts(one, len(one) - WINDOW + 1)[:-1], one.returns(DAY)[WINDOW - 1 :]))
    return losses[0] - losses[1]


def test_a_quiet_weekend_is_forecast_to_be_quiet() -> None:
    days = np.arange(1400)
    history = driven(np.repeat(np.where(days % 7 >= 4, -1.5, 0.0)[:, None], 3, axis=1))
    model = BoostedVolatility().fit(history.rows(0, WINDOW), DAY)
    forecasts = model.forecasts(history, 490)
    weekday = days[-490:] % 7
    quiet, loud = (np.median(forecasts[chosen]) for chosen in (np.isin(weekday, (4, 5, 6)), weekday < 4))
    assert quiet < 0.6 * loud, "e^-1.5 = 0.22 in truth"


def test_funding_and_option_prices_that_know_are_listened_to() -> None:
    random = np.random.default_rng(3)
    told = 0.8 * random.standard_normal((1400, 3))
    plain = driven(told)
    assert gain(replace(plain, funding=1e-4 * told), plain) > 0.2
    surfaces = np.zeros((1400, 3, 1, 7))
    surfaces[..., 0], surfaces[..., 6] = 30 / 365.25, 1.0
    surfaces[..., 2] = ((0.02 * np.exp(told)) ** 2 * 30)[..., None]  # flat smiles: total variance of 30 such days
    priced = replace(plain, surfaces=surfaces, implied="quotes")
    assert gain(priced, plain) > 0.2
    model = BoostedVolatility().fit(priced.rows(0, WINDOW), DAY)
    before, dearer = model.forecasts(priced, 100), surfaces.copy()
    dearer[-30, :, :, 2] *= 4.0
    other = replace(priced, surfaces=dearer)
    after = model.forecasts(other, 100)
    np.testing.assert_array_equal(after, fresh(model, other, 100))
    assert np.all(after[-30] >= before[-30])
    assert not np.array_equal(after[-30], before[-30])


def test_the_leader_is_found_and_helps_the_others() -> None:
    random = np.random.default_rng(8)
    log_vol = np.zeros((1400, 4))
    for t in range(1, 1400):
        log_vol[t, 2] = 0.9 * log_vol[t - 1, 2] + 0.3 * random.standard_normal()
        log_vol[t, [0, 1, 3]] = log_vol[t - 1, 2]
    history = driven(log_vol)
    model = BoostedVolatility().fit(history.rows(0, WINDOW), DAY)
    assert model.leader_ == "A2"
    two = MarketHistory(history.time, ("A0", "A1"), history.spot[:, :2], history.clock)
    assert np.isfinite(model.forecasts(two, 100)).all(), "the leader is not there"


def test_no_one_leads_where_there_is_no_other_and_nothing_moves() -> None:
    ratios = np.random.default_rng(0).random((100, 3))
    assert leader_of(ratios[:, :1], ratios[:, :1], ("A",)) is None
    assert leader_of(ratios[:20], ratios[:20], ("A", "B", "C")) is None, "too few rows"
    assert leader_of(np.ones((100, 2)), np.ones((100, 2)), ("A", "B")) is None
    led = np.column_stack([ratios[1:, 1], ratios[:-1, 0], ratios[:-1, 0]])
    told = np.column_stack([ratios[:-1, 0], ratios[:-1, 1], ratios[:-1, 2]])
    assert leader_of(told, led, ("A", "B", "C")) == "A"


def test_means_across_assets_are_of_those_known_and_one_row_is_like_many() -> None:
    values = np.random.default_rng(1).random((50, 7))
    values[values < 0.2] = np.nan
    values[3] = np.nan
    mean, spread = across(values)
    assert np.isnan([mean[3], spread[3]]).all()
    some = np.delete(np.arange(50), 3)
    np.testing.assert_allclose(mean[some, 0], np.nanmean(values[some], axis=1), rtol=1e-12)
    np.testing.assert_allclose(spread[some, 6], np.nanstd(values[some], axis=1), atol=1e-7)
    for row in range(50):
        np.testing.assert_array_equal(across(values[row : row + 1])[1][0], spread[row])


def test_phases_of_the_day_and_the_week() -> None:
    hours = START + np.arange(0, 24 * 14, 3) * np.timedelta64(1, "h")
    phases = calendar_phases(hours)
    np.testing.assert_array_equal(phases[:56], phases[56:])
    assert len(np.unique(phases[:56], axis=0)) == 56
    np.testing.assert_allclose(phases[:, 0] ** 2 + phases[:, 1] ** 2, 1.0)
    np.testing.assert_allclose(phases[0], [0.0, 1.0, 0.0, 1.0])


@pytest.mark.parametrize("fold", [0, 2, 3])
def test_a_forecast_never_falls_as_what_must_raise_it_rises(fold: int) -> None:
    model = BoostedVolatility().fit(clustered().rows(0, WINDOW), DAY)
    booster = model.boosters_[fold]
    assert booster is not None
    rows = np.random.default_rng(2).gamma(1.0, 1.0, (40, booster.num_feature()))
    moved = 0
    for name in RISING:
        place = NAMES.index(name)
        grid = np.repeat(rows[:, None], 25, axis=1)
        grid[..., place] = np.linspace(0.0, 8.0, 25)
        told = np.asarray(booster.predict(grid.reshape(-1, rows.shape[1]))).reshape(40, 25)
        assert np.all(np.diff(told, axis=1) >= -1e-12), name
        moved += int(np.ptp(told) > 0)
    assert moved >= 3


def test_folds_continue_one_another_and_the_last_starts_afresh() -> None:
    model = BoostedVolatility().fit(clustered().rows(0, WINDOW), DAY)
    assert [0 if booster is None else booster.num_trees() for booster in model.boosters_] == [60, 80, 100, 60]
    data = np.random.default_rng(0).random((50, len(NAMES)))
    one, two = (model.boosters_[fold] for fold in (0, 1))
    assert one is not None
    assert two is not None
    first, second = (np.asarray(booster.predict(data, num_iteration=60)) for booster in (one, two))
    np.testing.assert_allclose(first, second, rtol=1e-12)


def test_predictors_are_as_many_as_their_names() -> None:
    known = known_at(clustered(200), DAY, 1)
    assert known.predictors.shape == (200 - LOOKBACK, 4, len(NAMES))
    np.testing.assert_array_equal(known.ratios, known.predictors[..., 1])
    assert set(RISING) < set(NAMES)


def test_tuning_looks_at_the_window_alone_and_touches_the_speaker_alone() -> None:
    market = clustered()
    past = market.rows(0, WINDOW)
    plain, tuned = BoostedVolatility(), BoostedVolatility(tune=True)
    plain.fit(past, DAY)
    (one,) = tuned.fit_many(market, [WINDOW], WINDOW, DAY)
    (other,) = tuned.fit_many(changed(market, slice(WINDOW, None)), [WINDOW], WINDOW, DAY)
    assert one.chosen_ == other.chosen_
    assert one.chosen_[0] in (30, 60, 120)
    assert one.chosen_[1] in TRIED_LEAVES
    assert plain.chosen_ == (60, 8)
    np.testing.assert_array_equal(opinion(one, 3), opinion(other, 3))
    for fold in range(3):
        np.testing.assert_array_equal(opinion(one, fold), opinion(plain, fold))
    assert one.scale_ == plain.scale_
    if one.chosen_ != plain.chosen_:
        assert not np.array_equal(opinion(one, 3), opinion(plain, 3))


def test_tuning_takes_large_trees_where_there_is_something_to_find_and_small_ones_where_not() -> None:
    """A volatility that four features drive together asks for more than a market without news does."""
    random = np.random.default_rng(6)
    told = random.standard_normal((WINDOW, 3, 2))
    rich = driven(1.2 * np.sign(told[..., 0] * told[..., 1])).with_features(told, ("x", "y"))
    still = driven(np.zeros((WINDOW, 3))).with_features(told, ("x", "y"))
    chosen = [BoostedVolatility(tune=True).fit(history, DAY).chosen_ for history in (rich, still)]
    assert np.prod(chosen[0]) > np.prod(chosen[1])
    assert chosen[1][0] == 30
