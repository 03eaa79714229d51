"""Does EGARCH forecast what arch and long paths say, know nothing of tomorrow, and never pass off a failed fit?"""

import logging
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from test_egarch_walk import USUAL, every_law, series
from test_garch import (
    assert_nothing_said_of_nothing,
    assert_served_by_name,
    history,
    simulated,
    struck,
)

from data import ConvergenceError, Coverage, Floats, HistoryError
from data.sources.synthetic import garch_t
from margin_models import ArchVolatility, EgarchVolatility
from margin_models.kernels.recursions import ewma_variance
from margin_models.volatility.egarch import BURN

DAY = Coverage()


def explosive(seed: int) -> Floats:
    """Returns whose ln variance moves away from where it began without end."""
    returns = series(900, seed, beta=1.01, first=0.1)
    return np.asarray(0.3 * returns / np.abs(returns).max())


@every_law
def test_one_row_is_what_arch_forecasts(student: bool) -> None:
    from arch.univariate import StudentsT

    past = history(np.column_stack([0.01 * series(900, degrees=5.0), 0.03 * series(900, seed=8, degrees=6.0)]))
    theirs = ArchVolatility(None, StudentsT() if student else None).fit(past, DAY).forecasts(past, 20)
    assert_allclose(EgarchVolatility(student).fit(past, DAY).forecasts(past, 20), theirs, rtol=1e-5)


def test_several_rows_are_the_mean_of_many_paths() -> None:
    past = history(0.01 * series(900))
    model = EgarchVolatility().fit(past, Coverage(horizon="5D"))
    law, first = model.laws_["A0"], 2.0 * math.log(EgarchVolatility().fit(past, DAY).forecast(past)[0])
    log, total, rng = np.full(400_000, first), np.zeros(400_000), np.random.default_rng(1)
    for _ in range(5):
        total += np.exp(log)
        z = rng.standard_normal(len(log))
        log = law.omega + law.alpha * (np.abs(z) - USUAL) + law.gamma * z + law.beta * log
    assert model.forecast(past)[0] == pytest.approx(math.sqrt(total.mean()), rel=2e-3)


def test_several_rows_under_a_t_law_are_near_what_arch_s_paths_say() -> None:
    from arch.univariate import StudentsT

    past, coverage = history(0.01 * series(900, degrees=6.0)), Coverage(horizon="5D")
    ours = EgarchVolatility(student=True).fit(past, coverage).forecasts(past, 50)
    assert_allclose(ours, ArchVolatility(None, StudentsT()).fit(past, coverage).forecasts(past, 50), rtol=5e-3)


def test_squared_returns_over_forecasts_average_one() -> None:
    past = history(np.column_stack([0.01 * series(3000), 0.03 * series(3000, seed=8)]))
    forecasts = EgarchVolatility().fit(past, DAY).forecasts(past, 2000)
    innovations = past.returns(DAY)[-1999:] / forecasts[:-1]
    assert_allclose(np.mean(innovations**2, axis=0), 1.0, atol=0.08)


@pytest.mark.parametrize("horizon", ["1D", "3D"])
@every_law
def test_a_forecast_knows_nothing_of_later_rows(student: bool, horizon: str) -> None:
    returns = np.column_stack([0.01 * series(700), 0.01 * series(700, seed=4)])
    changed = returns.copy()
    changed[600:, 0], changed[600:, 1] = -0.5, np.nan
    model = EgarchVolatility(student).fit(history(returns[:500]), Coverage(horizon=horizon))
    kept = model.forecasts(history(returns), 301)[:200]
    assert_array_equal(model.forecasts(history(changed), 301)[:200], kept)


def test_forecasts_do_not_depend_on_the_past_before_the_filter_starts() -> None:
    past = history(0.01 * series(BURN + 700))
    model = EgarchVolatility().fit(past.last(600), DAY)
    assert_array_equal(model.forecasts(past, 50), model.forecasts(past.last(50 + BURN), 50))


def test_rows_before_the_history_have_no_forecast_and_its_first_row_has_the_one_before() -> None:
    past = history(0.01 * series(400))
    model = EgarchVolatility().fit(past, DAY)
    forecasts, law = model.forecasts(past, 403)[:, 0], model.laws_["A0"]
    assert np.isnan(forecasts[:2]).all()
    assert np.isfinite(forecasts[2:]).all()
    assert 2.0 * math.log(forecasts[2]) == pytest.approx(law.omega + law.beta * math.log(law.before))


def test_a_forecast_stands_until_the_next_return() -> None:
    returns = 0.01 * series(700)
    returns[650] = np.nan  # one price is missing, and so are two returns
    past = history(returns)
    forecasts = EgarchVolatility().fit(past, DAY).forecasts(past, len(past))[:, 0]
    assert np.isfinite(forecasts).all()
    assert forecasts[650] == forecasts[651] == forecasts[652]
    assert len(set(forecasts[640:650])) == len(set(forecasts[653:663])) == 10


def test_a_crash_of_500_standard_deviations_leaves_forecasts_finite() -> None:
    returns = 1e-4 * series(900)
    model = EgarchVolatility().fit(history(returns[:600]), Coverage(horizon="3D"))
    returns[800] = -0.05
    forecasts = model.forecasts(history(returns), 300)
    assert np.isfinite(forecasts).all()
    assert forecasts[-99] > 10.0 * forecasts[-101]


def test_a_refit_forgets_and_equals_a_fresh_fit() -> None:
    past = history(0.01 * series(900))
    model = EgarchVolatility().fit(past.rows(0, 500), DAY)
    again, fresh = model.fit(past.rows(400, 900), DAY), clone(model).fit(past.rows(400, 900), DAY)
    assert again.laws_ == fresh.laws_
    assert_array_equal(again.forecasts(past, 30), fresh.forecasts(past, 30))


@every_law
def test_fit_many_equals_the_loop_of_fits_holes_refusals_and_all(student: bool) -> None:
    returns = np.column_stack([0.01 * series(900), struck(900, 600), 0.02 * series(900, seed=9, degrees=5.0)])
    returns[100:260:7, 0], returns[:500, 2] = np.nan, np.nan
    past, stops, model = history(returns), [600, 601, 602, 650, 700, 901], EgarchVolatility(student)
    for stop, fitted in zip(stops, model.fit_many(past, stops, 500, DAY), strict=True):
        alone = clone(model).fit(past.rows(stop - 500, stop), DAY)
        assert fitted.failures_ == alone.failures_
        assert (fitted.window_, fitted.coverage_) == (alone.window_, alone.coverage_)
        recent, exact = past.rows(0, stop), stop not in (601, 602)
        assert_allclose(fitted.forecasts(recent, 20), alone.forecasts(recent, 20), rtol=0.0 if exact else 1e-7)
    assert "A1" in fitted.failures_


def test_later_rows_and_later_stops_change_no_fit() -> None:
    returns = np.column_stack([0.01 * series(800), 0.02 * series(800, seed=9)])
    changed = returns.copy()
    changed[500:] = np.where(np.arange(300)[:, None] % 3, np.nan, 0.07)
    few = list(EgarchVolatility().fit_many(history(returns), list(range(400, 500, 9)), 350, DAY))
    many = EgarchVolatility().fit_many(history(changed), list(range(400, 780, 9)), 350, DAY)
    for one, other in zip(few, many, strict=False):
        assert one.laws_ == other.laws_


def test_refused_assets_are_forecast_by_ewma_recorded_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    returns = np.column_stack([0.01 * series(600), struck(), 0.02 * series(600, seed=9), np.zeros(600)])
    returns[:-3, 2] = np.nan
    past = history(returns)
    with caplog.at_level(logging.INFO, logger="marginlab"):
        model = EgarchVolatility().fit(past, Coverage(horizon="2D"))
    assert sorted(model.failures_) == ["A1", "A2", "A3"]
    assert len(caplog.records) == 1
    words = ("A1: one return makes 100%", "A2: 2 returns, 250 needed", "A3: returns without variation", "EWMA(0.94)")
    assert all(word in caplog.text for word in words)
    squares = past.returns(DAY)[:, 1:2] ** 2
    expected = ewma_variance(squares, 0.94, np.array([model.laws_["A1"].level]))[-10:, 0]
    assert_allclose(model.forecasts(past, 10)[:, 1], np.sqrt(2.0 * expected), rtol=1e-12)
    assert model.forecast(past)[3] == 0.0
    moved = history(np.vstack([returns, np.full((5, 4), 0.01)]))
    assert model.forecast(moved)[3] > 0.0


def test_three_observations_are_refused() -> None:
    returns = np.column_stack([0.01 * series(600), np.append(np.full(597, np.nan), [0.01, -0.05, 0.03])])
    assert EgarchVolatility().fit(history(returns), DAY).failures_ == {"A1": "2 returns, 250 needed"}


@every_law
@pytest.mark.parametrize("row", [0, 300, 599])
def test_a_day_of_minus_500_standard_deviations_is_refused(row: int, student: bool) -> None:
    model = EgarchVolatility(student).fit(history(struck(row=row)), DAY)
    assert "one return makes 100% of the sum of squares" in model.failures_["A0"]


@every_law
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_explosive_process_is_refused(seed: int, student: bool) -> None:
    past = history(np.column_stack([explosive(seed), 0.01 * series(900)]))
    model = EgarchVolatility(student).fit(past, DAY)
    assert list(model.failures_) == ["A0"]
    assert "explosive process" in model.failures_["A0"] or "did not converge" in model.failures_["A0"]


def test_a_fit_that_passes_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert EgarchVolatility().fit(history(0.01 * simulated(600)), DAY).failures_ == {}
    assert not caplog.records


def test_without_fallback_a_refused_asset_is_an_error_that_names_it() -> None:
    past = history(np.column_stack([0.01 * series(600), struck()]))
    with pytest.raises(ConvergenceError, match=r"601 rows of 1D.*A1: one return"):
        EgarchVolatility(fallback=False).fit(past, DAY)


def test_a_short_window_is_refused_alone_and_among_many() -> None:
    with pytest.raises(HistoryError, match="needs 251 rows"):
        EgarchVolatility().fit(history(0.01 * series(249)), DAY)
    with pytest.raises(HistoryError, match="needs 251 rows"):
        next(EgarchVolatility().fit_many(history(0.01 * series(600)), [240, 500], 300, DAY))


def test_an_asset_without_any_price_has_no_forecast() -> None:
    past = history(np.column_stack([0.01 * series(400), np.full(400, np.nan)]))
    assert np.isnan(EgarchVolatility().fit(past, DAY).forecast(past)).tolist() == [False, True]


def test_a_law_whose_filter_does_not_forget_its_start_is_refused() -> None:
    """Its likelihood's slopes fade within the window; begun earlier, its filter falls to a thousandth of EWMA's."""
    past = garch_t(1400, (0.02, 0.03, 0.01, 0.02), seed=3044).history
    model = EgarchVolatility().fit(past.rows(500, 1000), DAY)
    assert list(model.failures_) == ["SYN1"]
    assert "the filter does not forget its start" in model.failures_["SYN1"]
    for first in (300, 0):
        longer = model.forecast(past.rows(first, 1000))
        assert_allclose(longer, model.forecast(past.rows(500, 1000)), rtol=1e-2)


@pytest.mark.parametrize(("away", "bound"), [(9.0, 10.0), (-9.0, 0.1)])
def test_no_forecast_of_one_row_leaves_a_tenth_to_ten_times_ewma(away: float, bound: float) -> None:
    past = history(0.01 * series(900))
    model = EgarchVolatility().fit(past, DAY)
    law = model.laws_["A0"]
    model.laws_["A0"] = law._replace(omega=math.log(law.level) + away, alpha=0.0, gamma=0.0, beta=0.0)
    ewma = ewma_variance(past.returns(DAY) ** 2, 0.94, np.array([law.level]))
    assert_allclose(model.forecasts(past, 700), bound * np.sqrt(ewma[-700:]), rtol=1e-12)


def test_stops_that_walk_back_are_fitted_as_alone() -> None:
    past, stops = garch_t(700, (0.02, 0.03, 0.01), seed=5).history, [700, 430, 400]
    for stop, fitted in zip(stops, EgarchVolatility().fit_many(past, stops, 380, DAY), strict=True):
        alone = EgarchVolatility().fit(past.rows(stop - 380, stop), DAY)
        assert (fitted.laws_, fitted.failures_) == (alone.laws_, alone.failures_)


def test_laws_are_found_by_name_and_an_unknown_name_is_refused() -> None:
    past = history(np.column_stack([0.01 * series(500), 0.03 * series(500, seed=8), struck(500)]))
    assert_served_by_name(EgarchVolatility().fit(past, Coverage(horizon="2D")), past)


def test_no_row_asked_for_or_none_known_is_no_forecast() -> None:
    past = history(0.01 * series(400))
    assert_nothing_said_of_nothing(EgarchVolatility().fit(past, DAY), past)
