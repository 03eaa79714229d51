"""Does GARCH find the truth, agree with arch, and never pass off a failed fit as a forecast?"""

import logging
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone

from data import Clock, ConvergenceError, Coverage, Floats, HistoryError, MarketHistory
from margin_models import EwmaVolatility, VolatilityForecaster
from margin_models.kernels.recursions import ewma_variance, garch_variance
from margin_models.volatility.garch import (
    BURN,
    PERSISTENCE,
    GarchFit,
    GarchVolatility,
    fit_garch,
    mean_square,
    refusal,
)

TRUE = {"omega": 0.05, "alpha[1]": 0.05, "gamma[1]": 0.08, "beta[1]": 0.86}
DAY = Coverage()


def simulated(rows: int, seed: int = 3, degrees: float | None = None, gamma: float = TRUE["gamma[1]"]) -> Floats:
    """Returns of variance about 1 from GJR with the true parameters, a t law where degrees are given."""
    random = np.random.default_rng(seed)
    shocks = random.standard_normal(rows)
    if degrees is not None:
        shocks = random.standard_t(degrees, rows) * np.sqrt((degrees - 2.0) / degrees)
    alpha = TRUE["alpha[1]"] + 0.5 * (TRUE["gamma[1]"] - gamma)
    returns, variance = np.empty(rows), 1.0
    for i in range(rows):
        returns[i] = np.sqrt(variance) * shocks[i]
        variance = TRUE["omega"] + (alpha + gamma * (returns[i] < 0)) * returns[i] ** 2 + TRUE["beta[1]"] * variance
    return returns


def history(returns: Floats, clock: str = "1D") -> MarketHistory:
    """Underlyings A0, A1, ... from simple returns (T, A) of rows; a NaN is a hole in the price."""
    columns = returns if returns.ndim == 2 else returns[:, None]
    growth: Floats = np.vstack([np.ones(columns.shape[1]), 1.0 + np.nan_to_num(columns)])
    spot = 100.0 * growth.cumprod(axis=0)
    spot[1:][np.isnan(columns)] = np.nan
    first = np.datetime64("2020-01-01", "ns")
    time = Clock(clock).grid(first, first + np.timedelta64(10_000, "D"))[: len(spot)]
    return MarketHistory(time, tuple(f"A{i}" for i in range(columns.shape[1])), spot, Clock(clock))


def assert_served_by_name(model: VolatilityForecaster, past: MarketHistory) -> None:
    """Underlyings of the fit in another order, or some of them, are forecast alike; another one is an error."""
    names, told = np.array(past.underlyings), model.forecasts(past, 30)
    for chosen in ([2, 0, 1], [1], [2, 1]):
        other = MarketHistory(past.time, tuple(names[chosen].tolist()), past.spot[:, chosen].copy(), past.clock)
        assert_array_equal(model.forecasts(other, 30), told[:, chosen])
    assert_array_equal(model.forecasts(past, 30), told)
    strange = MarketHistory(past.time, (names[0], "NEW", names[2]), past.spot, past.clock)
    with pytest.raises(HistoryError, match=f"underlyings of its fit, {', '.join(names)}; got NEW in"):
        model.forecasts(strange, 30)


def assert_nothing_said_of_nothing(model: VolatilityForecaster, past: MarketHistory) -> None:
    """No row asked for has no forecast, and a history without rows none that is known; nor do these disturb others."""
    told, size = model.forecasts(past, 3), len(past.underlyings)
    assert model.forecasts(past, 0).shape == model.forecasts(past.rows(0, 0), 0).shape == (0, size)
    assert_array_equal(model.forecasts(past.rows(0, 0), 2), np.full((2, size), np.nan))
    assert_array_equal(model.forecasts(past, 3), told)


def struck(rows: int = 600, row: int = 300) -> Floats:
    """Normal returns and one day of -500 standard deviations (of 1e-4, so that the price survives it)."""
    returns = 1e-4 * np.random.default_rng(5).standard_normal(rows)
    returns[row] = -500.0 * 1e-4
    return returns


def test_the_parameters_of_a_simulated_gjr_are_found() -> None:
    found = fit_garch(simulated(8000), o=1).parameters
    for name, value in TRUE.items():
        assert found[name] == pytest.approx(value, abs=0.025), name


def test_the_degrees_of_freedom_of_a_simulated_t_are_found() -> None:
    found = fit_garch(simulated(8000, seed=4, degrees=6.0, gamma=0.0), student=True).parameters
    assert found["nu"] == pytest.approx(6.0, abs=1.0)
    assert found["alpha[1]"] == pytest.approx(0.09, abs=0.025)


def test_a_constant_mean_is_found_and_its_backcast_moves_with_it() -> None:
    returns = simulated(3000) + 0.4
    fit = fit_garch(returns, o=1, constant_mean=True)
    assert fit.parameters["mu"] == pytest.approx(0.4, abs=0.04)
    fixed = mean_square(returns - fit.parameters["mu"])
    again = fit_garch(returns - fit.parameters["mu"], o=1, backcast=fixed)
    assert again.loglikelihood == pytest.approx(fit.loglikelihood, abs=1e-6)


def test_the_backcast_may_be_a_number_a_function_or_arch_s_own() -> None:
    returns = simulated(500)
    function, number = fit_garch(returns), fit_garch(returns, backcast=mean_square(returns))
    assert function.parameters == pytest.approx(dict(number.parameters), rel=1e-5)
    assert fit_garch(returns, backcast=None).loglikelihood != pytest.approx(function.loglikelihood, abs=1e-3)


def test_a_fit_repeats_bit_for_bit() -> None:
    returns = simulated(700, degrees=5.0)
    assert fit_garch(returns, o=1, student=True) == fit_garch(returns.copy(), o=1, student=True)


def test_the_filter_is_arch_s_conditional_volatility() -> None:
    from arch.univariate import GARCH, ZeroMean

    returns, backcast = simulated(900), 1.3
    found = ZeroMean(returns, volatility=GARCH(1, 1, 1), rescale=False).fit(disp="off", backcast=backcast)
    omega, alpha, gamma, beta = (np.array([value]) for value in found.params)
    start = omega + (alpha + 0.5 * gamma + beta) * backcast
    variance = garch_variance(returns[:, None], omega, alpha, gamma, beta, start)[:, 0]
    theirs = np.asarray(found.conditional_volatility)
    np.testing.assert_allclose(np.sqrt(np.append(start, variance[:-1])), theirs, rtol=1e-10)


@pytest.mark.parametrize("asymmetric", [False, True])
def test_a_day_of_hourly_variances_is_the_sum_of_arch_s_forecasts(asymmetric: bool) -> None:
    from arch.univariate import GARCH, ZeroMean

    past = history(0.01 * simulated(1500), "1h")
    model = GarchVolatility(asymmetric).fit(past, DAY)
    law, returns = model.laws_["A0"], past.returns(Coverage(horizon="1h"))[:, 0]
    process = ZeroMean(100.0 * returns, volatility=GARCH(1, int(asymmetric), 1), rescale=False)
    gamma = [law.gamma] if asymmetric else []
    fixed = process.fix([1e4 * law.omega, law.alpha, *gamma, law.beta])
    theirs = fixed.forecast(horizon=24, reindex=False).variance.to_numpy().sum() / 1e4
    assert model.forecast(past)[0] ** 2 == pytest.approx(theirs, rel=1e-8)


def test_forecasts_scale_with_the_returns_however_small_they_are() -> None:
    returns = 0.01 * simulated(600)
    large = GarchVolatility().fit(history(returns), DAY).forecast(history(returns))
    small = GarchVolatility().fit(history(1e-4 * returns), DAY).forecast(history(1e-4 * returns))
    np.testing.assert_allclose(small, 1e-4 * large, rtol=1e-4)


def test_squared_returns_over_forecasts_average_one() -> None:
    past = history(np.column_stack([0.01 * simulated(3000), 0.03 * simulated(3000, seed=8)]))
    forecasts = GarchVolatility(asymmetric=True).fit(past, DAY).forecasts(past, 2000)
    innovations = past.returns(DAY)[-1999:] / forecasts[:-1]
    np.testing.assert_allclose(np.mean(innovations**2, axis=0), 1.0, atol=0.08)


def test_a_forecast_knows_nothing_of_later_rows() -> None:
    returns = 0.01 * simulated(800)
    changed = np.append(returns[:700], 7.0 * returns[700:])
    model = GarchVolatility().fit(history(returns[:600]), DAY)
    kept = model.forecasts(history(returns), 800)[:700]
    np.testing.assert_array_equal(model.forecasts(history(changed), 800)[:700], kept)


def test_forecasts_do_not_depend_on_the_past_before_the_filter_starts() -> None:
    past = history(0.01 * simulated(1200))
    model = GarchVolatility().fit(past.last(600), DAY)
    np.testing.assert_array_equal(model.forecasts(past, 50), model.forecasts(past.last(50 + BURN), 50))


def test_rows_before_the_history_have_no_forecast_and_its_first_row_has_the_level() -> None:
    past = history(0.01 * simulated(400))
    model = GarchVolatility().fit(past, DAY)
    forecasts = model.forecasts(past, 403)[:, 0]
    law = model.laws_["A0"]
    assert np.isnan(forecasts[:2]).all()
    assert np.isfinite(forecasts[2:]).all()
    assert forecasts[2] == pytest.approx(np.sqrt(law.omega + law.persistence * law.level))


def test_a_hole_moves_the_forecast_by_expectation_only() -> None:
    returns = 0.01 * simulated(700)
    returns[650] = np.nan  # one price is missing, and so are two returns
    past = history(returns)
    model = GarchVolatility(asymmetric=True).fit(past, DAY)
    law, variance = model.laws_["A0"], model.forecasts(past, 60)[:, 0] ** 2
    assert np.isfinite(variance).all()
    hole = len(past) - 60
    at = 651 - hole  # the return of row 650 ends at price row 651
    for row in (at, at + 1):
        assert variance[row] == pytest.approx(law.omega + law.persistence * variance[row - 1])


def test_a_refit_forgets_and_equals_a_fresh_fit() -> None:
    past = history(0.01 * simulated(900))
    model = GarchVolatility().fit(past.rows(0, 500), DAY)
    again, fresh = model.fit(past.rows(400, 900), DAY), clone(model).fit(past.rows(400, 900), DAY)
    assert again.laws_ == fresh.laws_
    np.testing.assert_array_equal(again.forecasts(past, 30), fresh.forecasts(past, 30))


def test_persistence_is_held_just_inside_its_bound_and_that_is_no_failure() -> None:
    random = np.random.default_rng(0)
    returns, variance = np.empty(3000), 1.0
    for i in range(3000):  # heavy tails about a law whose shares sum to 1.01
        returns[i] = np.sqrt(variance) * 0.6 * random.standard_t(2.5)
        variance = min(0.002 + 0.06 * returns[i] ** 2 + 0.95 * variance, 50.0)
    scaled = returns / np.sqrt(mean_square(returns))
    free, held = fit_garch(scaled, student=True), fit_garch(scaled, student=True, persistence=PERSISTENCE)
    shares = [fit.parameters["alpha[1]"] + fit.parameters["beta[1]"] for fit in (free, held)]
    assert shares == pytest.approx([1.0, PERSISTENCE], abs=2e-6)
    assert "persistence 1.0000" in refusal(free, scaled)
    assert refusal(held, scaled) == ""


def test_three_observations_are_refused_though_arch_reports_success() -> None:
    returns = np.array([0.1, -0.5, 0.3]) / np.sqrt(0.35 / 3)
    fit = fit_garch(returns)
    assert fit.converged
    assert "3 returns, 250 needed" in refusal(fit, returns)


@pytest.mark.parametrize("row", [0, 300, 599])
def test_a_day_of_minus_500_standard_deviations_is_refused(row: int) -> None:
    returns = struck(row=row)
    scaled = returns / np.sqrt(mean_square(returns))
    assert "one return makes 100% of the sum of squares" in refusal(fit_garch(scaled), scaled)


def test_arch_itself_reports_success_after_that_day() -> None:
    returns = struck(row=599)
    assert fit_garch(returns / np.sqrt(mean_square(returns))).converged


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"converged": False}, "did not converge"),
        ({"loglikelihood": np.nan}, "not finite"),
        ({"loglikelihood": -1e6}, "log-likelihood -1000000.00"),
        ({"omega": -0.1}, "out of bounds"),
        ({"alpha[1]": 0.02, "gamma[1]": -0.05}, "out of bounds"),
        ({"alpha[1]": 0.0, "gamma[1]": 0.0}, "does not answer"),
        ({"beta[1]": 0.95}, "persistence 1.04"),
        ({"omega": 200.0}, "times EWMA's"),
    ],
)
def test_each_gate_names_what_it_refuses(changes: dict[str, float], said: str) -> None:
    returns = simulated(400)
    good = fit_garch(returns, o=1)
    assert refusal(good, returns) == ""
    outer = {name: value for name, value in changes.items() if name in ("converged", "loglikelihood")}
    inner = {name: value for name, value in changes.items() if name not in outer}
    bad: GarchFit = replace(good, **outer, parameters={**good.parameters, **TRUE, **inner})  # type: ignore[arg-type]
    assert said in refusal(bad, returns)


def test_a_refused_asset_is_forecast_by_ewma_recorded_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    returns = np.column_stack([0.01 * simulated(600), struck(), 0.02 * simulated(600, seed=9)])
    returns[:-4, 2] = np.nan
    past = history(returns)
    with caplog.at_level(logging.INFO, logger="marginlab"):
        model = GarchVolatility().fit(past, DAY)
    assert sorted(model.failures_) == ["A1", "A2"]
    assert "3 returns" in model.failures_["A2"]
    assert len(caplog.records) == 1
    assert all(words in caplog.text for words in ("A1: one return", "A2: 3 returns", "EWMA(0.94)", "601 rows"))
    law, squares = model.laws_["A1"], past.returns(DAY)[:, 1:2] ** 2
    assert list(law[:4]) == pytest.approx([0.0, 0.06, 0.0, 0.94])
    expected = np.sqrt(ewma_variance(squares, 0.94, np.array([law.level]))[-1, 0])
    assert model.forecast(past)[1] == pytest.approx(expected)


def test_a_fit_that_passes_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    model = GarchVolatility().fit(history(0.01 * simulated(600)), DAY)
    assert model.failures_ == {}
    assert not caplog.records


def test_ewma_over_a_horizon_is_flat() -> None:
    past = history(struck(), "1h")
    day = GarchVolatility().fit(past, DAY).forecast(past)
    hour = GarchVolatility().fit(past, Coverage(horizon="1h")).forecast(past)
    np.testing.assert_allclose(day, np.sqrt(24.0) * hour, rtol=1e-12)


def test_without_fallback_a_refused_asset_is_an_error_that_names_it() -> None:
    past = history(np.column_stack([0.01 * simulated(600), struck()]))
    with pytest.raises(ConvergenceError, match=r"601 rows of 1D.*A1: one return"):
        GarchVolatility(fallback=False).fit(past, DAY)


def explosive(alpha: float, beta: float, rows: int = 900, seed: int = 0) -> Floats:
    """Returns whose variance grows without end: E ln(alpha z^2 + beta) > 0 (Nelson, 1990)."""
    random = np.random.default_rng(seed)
    returns, variance = np.empty(rows), 1e-12
    for i in range(rows):
        returns[i] = np.sqrt(variance) * random.standard_normal()
        variance = 1e-14 + alpha * returns[i] ** 2 + beta * variance
    return np.asarray(0.3 * returns / np.abs(returns).max())


@pytest.mark.parametrize(("alpha", "beta"), [(0.2, 0.9), (0.3, 0.8), (0.1, 0.95)])
def test_an_explosive_process_is_refused(alpha: float, beta: float) -> None:
    past = history(np.column_stack([explosive(alpha, beta), 0.01 * simulated(900)]))
    assert np.mean(np.log(alpha * np.random.default_rng(1).standard_normal(100_000) ** 2 + beta)) > 0.0
    model = GarchVolatility().fit(past, DAY)
    assert list(model.failures_) == ["A0"]
    assert "an explosive process: log-likelihood rises" in model.failures_["A0"]


@pytest.mark.parametrize(
    "model", [GarchVolatility(), GarchVolatility(True, True), GarchVolatility(True, skewed=True)], ids=repr
)
def test_fit_many_equals_the_loop_of_fits_holes_refusals_and_all(model: GarchVolatility) -> None:
    returns = np.column_stack([0.01 * simulated(900), struck(900, 600), 0.02 * simulated(900, seed=9, degrees=5.0)])
    returns[100:260:7, 0], returns[:500, 2] = np.nan, np.nan
    past, stops = history(returns), [600, 601, 602, 650, 700, 901]
    for stop, fitted in zip(stops, model.fit_many(past, stops, 500, DAY), strict=True):
        alone = clone(model).fit(past.rows(stop - 500, stop), DAY)
        assert fitted.failures_ == alone.failures_
        assert (fitted.window_, fitted.coverage_) == (alone.window_, alone.coverage_)
        recent = past.rows(0, stop)
        np.testing.assert_allclose(fitted.forecasts(recent, 20), alone.forecasts(recent, 20), rtol=1e-5)
    assert "A1" in fitted.failures_


def test_later_rows_and_later_stops_change_no_fit() -> None:
    returns = np.column_stack([0.01 * simulated(800), 0.02 * simulated(800, seed=9)])
    changed = returns.copy()
    changed[500:] = np.where(np.arange(300)[:, None] % 3, np.nan, 0.07)
    few = list(GarchVolatility().fit_many(history(returns), list(range(400, 500, 9)), 350, DAY))
    many = GarchVolatility().fit_many(history(changed), list(range(400, 780, 9)), 350, DAY)
    for one, other in zip(few, many, strict=False):
        assert one.laws_ == other.laws_


def test_a_short_window_among_many_is_refused() -> None:
    with pytest.raises(HistoryError, match="needs 251 rows"):
        next(GarchVolatility().fit_many(history(0.01 * simulated(600)), [240, 500], 300, DAY))


def test_an_asset_without_variation_is_refused_and_forecast_at_nothing() -> None:
    model = GarchVolatility().fit(history(np.zeros(400)), DAY)
    assert model.failures_ == {"A0": "returns without variation"}
    assert model.forecast(history(np.zeros(400)))[0] == 0.0


def test_an_asset_without_any_price_has_no_forecast() -> None:
    returns = np.column_stack([0.01 * simulated(400), np.full(400, np.nan)])
    past = history(returns)
    assert np.isnan(GarchVolatility().fit(past, DAY).forecast(past)).tolist() == [False, True]


def test_a_window_below_250_returns_is_refused() -> None:
    with pytest.raises(HistoryError, match="needs 251 rows"):
        GarchVolatility().fit(history(0.01 * simulated(249)), DAY)


def test_stops_that_walk_back_are_fitted_as_alone() -> None:
    past, stops = history(0.01 * np.column_stack([simulated(700), simulated(700, seed=9)])), [700, 430, 400, 410, 405]
    fits = list(GarchVolatility(asymmetric=True, student=True).fit_many(past, stops, 380, DAY))
    for place in (0, 1, 2, 4):  # what comes later begins where the one before it ended
        stop = stops[place]
        alone = GarchVolatility(asymmetric=True, student=True).fit(past.rows(stop - 380, stop), DAY)
        assert (fits[place].laws_, fits[place].failures_) == (alone.laws_, alone.failures_)


def test_laws_are_found_by_name_and_an_unknown_name_is_refused() -> None:
    past = history(np.column_stack([0.01 * simulated(500), 0.03 * simulated(500, seed=8), struck(500)]))
    assert_served_by_name(GarchVolatility().fit(past, Coverage(horizon="2D")), past)


def test_no_row_asked_for_or_none_known_is_no_forecast() -> None:
    past = history(0.01 * simulated(400))
    for model in (GarchVolatility(), EwmaVolatility()):
        assert_nothing_said_of_nothing(model.fit(past, DAY), past)
