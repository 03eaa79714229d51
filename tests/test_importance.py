"""Is what is said to drive a forecast what drives it, and what it is said to have seen what it saw?"""

import json
from xml.etree import ElementTree as XML

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from backtest import replay
from backtest.replay import Replay
from data import Coverage, HistoryError, MarketHistory, ParameterError
from data.sources.synthetic import garch_t
from margin_models import BoostedVolatility, RobustVaR
from research.importance import FLOW, GROUPS, effects, group_of, importance, importance_svg, predictor_names
from research.lab_job import long_and_short
from research.sightings import BASKET, Sightings, crash_days, in_words, what_it_saw

DAY = Coverage()
SMALL = BoostedVolatility(trees=20)


@pytest.fixture(scope="module")
def history() -> MarketHistory:
    return garch_t(560, (0.02, 0.03), seed=21).history


@pytest.fixture(scope="module")
def fitted(history: MarketHistory) -> BoostedVolatility:
    return BoostedVolatility(trees=20).fit(history.rows(0, 400), DAY)


@pytest.fixture(scope="module")
def run(history: MarketHistory) -> Replay:
    books = long_and_short(history.underlyings)
    return replay(RobustVaR(), history, books, DAY, window=300, refit_every=100, name="robust")


def told_of_market(history: MarketHistory, rows: int, seed: int) -> MarketHistory:
    """The history with one feature that foretells the size of the next return, and one that knows nothing."""
    rng = np.random.default_rng(seed)
    size = np.abs(np.diff(np.log(history.spot), axis=0, append=history.spot[-1:]))
    return history.with_features(np.stack([size, rng.standard_normal(size.shape)], axis=2), ("told", "noise"))


@pytest.mark.parametrize("count", [100, 300])
def test_effects_add_up_to_the_forecast(history: MarketHistory, fitted: BoostedVolatility, count: int) -> None:
    """Rows after the fit and, of the longer one, those within it, where other boosters and EWMA speak."""
    found = effects(fitted, history, count)
    assert_allclose(found.over_ewma * found.ewma, fitted.forecasts(history, count), rtol=1e-12)
    assert np.isfinite(found.effect[-100:]).all()
    assert found.effect.shape == (count, 2, len(found.names))


def test_effects_over_several_rows_a_horizon(history: MarketHistory) -> None:
    two_days = Coverage(0.99, "2D")
    told = told_of_market(history, len(history), 3)
    fitted = BoostedVolatility(trees=10).fit(told.rows(0, 450), two_days)
    found = effects(fitted, told, 50)
    assert found.effect.shape[2] == len(found.names)
    assert found.names[-4:] == ("told (feature)", "noise (feature)", "told (feature) over 1", "noise (feature) over 1")
    assert_allclose(found.over_ewma * found.ewma, fitted.forecasts(told, 50), rtol=1e-12)


def test_what_foretells_is_found_to_drive(history: MarketHistory) -> None:
    told = importance(told_of_market(history, len(history), 3), DAY, SMALL, window=400, refit_every=80)
    summary = told.summary()
    assert summary.index[0] == "told (feature)"
    assert summary["gain, %"]["told (feature)"] > 5 * summary["gain, %"]["noise (feature)"]
    assert told.by_group().columns[0] == FLOW
    assert FLOW in told.sentence
    assert FLOW in importance_svg(told)


def test_the_walk_is_that_of_a_replay(history: MarketHistory) -> None:
    told = importance(history, DAY, SMALL, window=400, refit_every=30, every=2)
    assert_array_equal(told.time, history.time[[399, 459, 519]])
    assert_allclose(told.gain.sum(axis=1), 1.0)
    second = BoostedVolatility(trees=20).fit(history.rows(60, 460), DAY)
    found = effects(second, history.rows(0, 518), 59).effect[::2]
    assert_allclose(told.effect[1], np.abs(found).mean(axis=(0, 1)))
    table = told.to_frame()
    assert table.shape == (3, 2 * len(told.names))
    assert_allclose(table["effect"].to_numpy(), told.effect)
    assert_allclose(told.by_group().sum(axis=1), told.effect.sum(axis=1))
    again = importance(history, DAY, SMALL, window=400, refit_every=30, every=2)
    assert_array_equal(again.effect, told.effect)
    assert importance_svg(again) == importance_svg(told)
    XML.fromstring(importance_svg(told))


def test_tomorrow_changes_no_importance_of_today(history: MarketHistory) -> None:
    short = importance(history.rows(0, 500), DAY, SMALL, window=400, refit_every=50)
    whole = importance(history, DAY, SMALL, window=400, refit_every=50)
    assert_array_equal(short.effect[:2], whole.effect[:2])


def test_every_predictor_has_a_group() -> None:
    groups = {group_of(name) for name in predictor_names((), 1)}
    assert groups == set(GROUPS)


def test_a_market_that_stands_still_drives_nothing(history: MarketHistory) -> None:
    flat = MarketHistory(history.time, history.underlyings, np.full_like(history.spot, 100.0))
    told = importance(flat, DAY, SMALL, window=400, refit_every=80)
    assert np.isnan(told.gain).all()
    assert "most by nothing" in told.sentence
    XML.fromstring(importance_svg(told))


def test_what_cannot_be_told_is_refused(history: MarketHistory, fitted: BoostedVolatility, run: Replay) -> None:
    with pytest.raises(ParameterError, match="refit_every and every"):
        importance(history, DAY, window=400, refit_every=0)
    with pytest.raises(HistoryError, match="a window of 1 to 560 rows, got 600"):
        importance(history, DAY, window=600, refit_every=10)
    with pytest.raises(HistoryError, match="is told by 94 rows"):
        effects(fitted, history.rows(0, 60), 50)
    with pytest.raises(ParameterError, match="no portfolio 'astrology'"):
        what_it_saw(history, run, window=300, portfolio="astrology")
    with pytest.raises(ParameterError, match="crashes must be >= 1"):
        what_it_saw(history, run, window=300, crashes=0)
    with pytest.raises(HistoryError, match="is no row of"):
        what_it_saw(history.rows(0, 320), run, SMALL, window=300, crashes=3)


def test_crash_days_are_the_largest_losses(history: MarketHistory, run: Replay) -> None:
    loss = run.book(BASKET)["loss"].to_numpy()
    assert crash_days(run, BASKET, 4) == np.argsort(-loss)[:4].tolist()
    overlapping = replay(
        RobustVaR(), history, long_and_short(history.underlyings), Coverage(0.99, "5D"), window=300, refit_every=200
    )
    picked = crash_days(overlapping, BASKET, 5)
    assert (np.diff(np.sort(picked)) >= 5).all()


def test_what_it_saw_is_told_from_the_eve(history: MarketHistory, run: Replay) -> None:
    seen = what_it_saw(history, run, SMALL, window=300, crashes=3)
    table = seen.to_frame()
    book = run.book(BASKET)
    assert table["loss"].max() == book["loss"].max()
    assert table["eve"].is_monotonic_increasing
    for crisis, row in table.iterrows():
        at = history.time.searchsorted(row["eve"].to_datetime64())
        again = BoostedVolatility(trees=20).fit(history.rows(at - 299, at + 1), DAY)
        over = effects(again, history.rows(0, at + 1), 1).over_ewma[0]
        assert row["forecast_eve"] == pytest.approx(np.exp(np.log(over).mean()))
        assert row["margin_eve"] == book["initial"].iloc[at - 299]
        assert row["loss"] == book["loss"].iloc[at - 299]
        assert row["margin_peak"] == book["initial"].iloc[at - 299 : at - 297].max()
        assert str(row["worst"])[:10] == crisis
    assert "of 3 eves" in seen.sentence
    assert "robust" in seen.sentence
    assert [one["crisis"] for one in json.loads(seen.to_json())["crises"]] == list(table.index)


def test_named_periods_are_told_and_others_said_to_be_missing(history: MarketHistory, run: Replay) -> None:
    day = [str(stamp)[:10] for stamp in history.time]
    periods = {
        "<b>autumn</b>": (day[400], day[420]),
        "long ago": ("1999-01-01", "1999-02-01"),
        "later": ("2040-01-01",) * 2,
    }
    seen = what_it_saw(history, run, SMALL, window=300, periods=periods)
    (one,) = seen.seen
    book = run.book(BASKET).iloc[399 - 299 : 421 - 299]
    assert str(one.eve)[:10] == day[399]
    assert one.loss == book["loss"].max()
    assert one.margin_peak == book["initial"].max()
    assert one.margin_then == book["initial"].iloc[book["loss"].argmax()]
    assert [note.partition(" cannot")[0] for note in seen.notes] == ["long ago", "later"]
    assert "<b>" not in seen._repr_html_()
    empty = what_it_saw(history, run, SMALL, window=300, periods={})
    assert isinstance(empty, Sightings)
    assert empty.to_frame().empty
    assert "0 of 0" in empty.sentence
    assert "<table" in empty._repr_html_()


def test_drivers_in_words() -> None:
    assert in_words({"volume": 0.001}) == "nothing in particular"
    assert (
        in_words({"vpin (feature) over 1": -0.2, "return over 5": 0.1}, most=1)
        == "vpin (feature) over 1 horizon: -18 %"
    )
