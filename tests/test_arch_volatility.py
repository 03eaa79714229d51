"""Does each process of arch forecast what arch says, know nothing of tomorrow, and never pass off a failed fit?"""

import logging
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from test_garch import history, simulated, struck
from threadpoolctl import threadpool_limits

from data import ConvergenceError, Coverage, Floats, HistoryError, MarketHistory, ParameterError
from margin_models import ArchVolatility, EwmaVolatility, FilteredHistoricalVaR, GarchVolatility
from margin_models.kernels.recursions import ewma_variance
from margin_models.volatility.arch_volatility import BURN, Stated

DAY = Coverage()


def process(name: str) -> Any:
    """Made anew: importing arch takes two seconds, which collecting tests must not."""
    from arch import univariate

    made: dict[str, Callable[[], Any]] = {
        "EGARCH": lambda: univariate.EGARCH(1, 1, 1),
        "FIGARCH": univariate.FIGARCH,
        "HARCH": lambda: univariate.HARCH([1, 5, 22]),
        "APARCH": univariate.APARCH,
        "TARCH": lambda: univariate.GARCH(1, 1, 1, power=1.0),
        "GJR": lambda: univariate.GARCH(1, 1, 1),
        "GARCH": lambda: univariate.GARCH(1, 0, 1),
        "MIDAS": univariate.MIDASHyperbolic,
        "RiskMetrics": univariate.RiskMetrics2006,
    }
    return made[name]()


def theirs(returns: Floats, name: str, horizon: int = 1, **asked: Any) -> Floats:
    """arch's own variances of the newest row, (horizon,), in the units of the returns (T,), found on one thread too."""
    from arch.univariate import ZeroMean

    level = float(np.mean(returns**2))
    model = ZeroMean(returns / np.sqrt(level), volatility=process(name), rescale=False)
    with threadpool_limits(1):
        fit = model.fit(disp="off", tol=1e-12, show_warning=False, options={"maxiter": 1000})
    told = fit.forecast(horizon=horizon, reindex=False, **asked).variance.to_numpy()[-1]
    return np.asarray(level * told)


@pytest.fixture(scope="module")
def past() -> MarketHistory:
    return history(np.column_stack([0.01 * simulated(900), 0.03 * simulated(900, seed=8, degrees=6.0)]))


@pytest.mark.parametrize("name", ["EGARCH", "FIGARCH", "HARCH", "APARCH", "TARCH", "MIDAS", "RiskMetrics"])
def test_one_row_is_what_arch_forecasts(past: MarketHistory, name: str) -> None:
    forecast = ArchVolatility(process(name)).fit(past, DAY).forecast(past)
    expected = [np.sqrt(theirs(column, name)[0]) for column in past.returns(DAY).T]
    np.testing.assert_allclose(forecast, expected, rtol=1e-8)


@pytest.mark.parametrize("name", ["FIGARCH", "HARCH", "GJR", "MIDAS"])
def test_several_rows_are_the_sum_of_arch_s_formula(past: MarketHistory, name: str) -> None:
    forecast = ArchVolatility(process(name)).fit(past, Coverage(horizon="5D")).forecast(past)
    expected = [np.sqrt(theirs(column, name, 5).sum()) for column in past.returns(DAY).T]
    np.testing.assert_allclose(forecast, expected, rtol=1e-8)


@pytest.mark.parametrize("name", ["EGARCH", "APARCH"])
def test_without_a_formula_several_rows_are_near_a_long_simulation_of_arch_s(past: MarketHistory, name: str) -> None:
    forecast = ArchVolatility(process(name)).fit(past, Coverage(horizon="5D")).forecast(past)
    draws = np.random.default_rng(1).standard_normal((100_000, 5))
    asked: dict[str, Any] = {"method": "simulation", "simulations": len(draws), "rng": lambda size: draws}
    expected = [np.sqrt(theirs(column, name, 5, **asked).sum()) for column in past.returns(DAY).T]
    np.testing.assert_allclose(forecast, expected, rtol=2e-3)


@pytest.mark.parametrize("name", ["GARCH", "GJR"])
def test_a_garch_process_forecasts_what_garch_volatility_does(name: str) -> None:
    past = history(0.01 * simulated(3000))
    for coverage in (DAY, Coverage(horizon="5D")):
        ours = GarchVolatility(asymmetric=name == "GJR").fit(past, coverage).forecasts(past, 200)
        told = ArchVolatility(process(name)).fit(past, coverage).forecasts(past, 200)
        np.testing.assert_allclose(told, ours, rtol=0.01)


@pytest.mark.parametrize("horizon", ["1D", "3D"])
@pytest.mark.parametrize("name", ["EGARCH", "FIGARCH", "HARCH", "APARCH", "RiskMetrics"])
def test_a_forecast_knows_nothing_of_later_rows(name: str, horizon: str) -> None:
    returns = np.column_stack([0.01 * simulated(700), 0.01 * simulated(700, seed=4)])
    changed = returns.copy()
    changed[600:, 0], changed[600:, 1] = -0.5, np.nan
    model = ArchVolatility(process(name)).fit(history(returns[:500]), Coverage(horizon=horizon))
    kept = model.forecasts(history(returns), 301)[:200]
    np.testing.assert_array_equal(model.forecasts(history(changed), 301)[:200], kept)
    alone = model.forecasts(history(returns[:599]), 200)
    np.testing.assert_allclose(kept[1:], alone[1:], rtol=1e-12)


def test_the_filter_forgets_what_is_older_than_its_start() -> None:
    past = history(0.01 * simulated(BURN + 700))
    model = ArchVolatility().fit(past.last(600), DAY)
    np.testing.assert_array_equal(model.forecasts(past, 50), model.forecasts(past.last(50 + BURN), 50))


def test_rows_before_the_history_have_no_forecast_and_its_first_has_the_backcast(past: MarketHistory) -> None:
    model = ArchVolatility(process("HARCH")).fit(past, Coverage(horizon="2D"))
    forecasts = model.forecasts(past, len(past) + 3)
    assert np.isnan(forecasts[:3]).all()
    assert np.isfinite(forecasts[3:]).all()
    law = model.laws_["A0"]
    omega, *shares = law.parameters.values()
    assert forecasts[3, 0] ** 2 == pytest.approx(2.0 * law.level * (omega + sum(shares) * law.backcast[0]))
    assert model.forecasts(past.rows(0, 0), 2).shape == (2, 2)


@pytest.mark.parametrize("horizon", ["1D", "3D"])
def test_a_forecast_stands_until_the_next_return(horizon: str) -> None:
    returns = 0.01 * simulated(700)
    returns[650] = np.nan  # one price is missing, and so are two returns
    past = history(returns)
    model = ArchVolatility().fit(past, Coverage(horizon=horizon))
    forecasts = model.forecasts(past, len(past))[:, 0]
    assert np.isfinite(forecasts).all()
    assert forecasts[650] == forecasts[651] == forecasts[652]
    assert len(set(forecasts[640:650])) == len(set(forecasts[653:663])) == 10


def test_a_short_listed_asset_has_forecasts_over_a_horizon_longer_than_its_past() -> None:
    returns = np.column_stack([0.01 * simulated(400), 0.01 * simulated(400, seed=5)])
    model = ArchVolatility(process("HARCH")).fit(history(returns), Coverage(horizon="5D"))
    late = returns.copy()
    late[:-7, 1] = np.nan
    for past in (history(late), history(returns[:10]), history(returns[:1])):
        assert np.isfinite(model.forecasts(past, 5)[-2:]).all()


def test_a_crash_of_500_standard_deviations_leaves_forecasts_finite() -> None:
    returns = 1e-4 * simulated(900)
    model = ArchVolatility().fit(history(returns[:600]), Coverage(horizon="3D"))
    returns[800] = -0.05
    forecasts = model.forecasts(history(returns), 300)
    assert np.isfinite(forecasts).all()
    assert forecasts[-99] > 10.0 * forecasts[-101]


def test_a_scale_of_returns_is_a_scale_of_forecasts() -> None:
    returns = 0.01 * simulated(600)
    large = ArchVolatility().fit(history(returns), DAY).forecast(history(returns))
    small = ArchVolatility().fit(history(1e-4 * returns), DAY).forecast(history(1e-4 * returns))
    np.testing.assert_allclose(small, 1e-4 * large, rtol=1e-4)


def test_a_distribution_is_estimated_with_the_process() -> None:
    from arch.univariate import StudentsT

    past = history(0.01 * simulated(3000, seed=4, degrees=6.0, gamma=0.0))
    model = ArchVolatility(process("GARCH"), StudentsT()).fit(past, DAY)
    assert model.laws_["A0"].shape["nu"] == pytest.approx(6.0, abs=2.0)
    assert list(model.laws_["A0"].parameters) == ["omega", "alpha[1]", "beta[1]"]


def test_a_refit_forgets_repeats_bit_for_bit_and_leaves_the_given_objects_alone(past: MarketHistory) -> None:
    from arch.univariate import StudentsT

    given: Any = process("EGARCH")
    law = StudentsT()
    before = [{name: repr(value) for name, value in vars(one).items()} for one in (given, law)]
    model = ArchVolatility(given, law).fit(past.rows(0, 400), Coverage(horizon="2D"))
    again, fresh = model.fit(past, Coverage(horizon="3D")), clone(model).fit(past, Coverage(horizon="3D"))
    assert again.laws_ == fresh.laws_
    np.testing.assert_array_equal(again.forecasts(past, 30), fresh.forecasts(past, 30))
    assert given is model.process
    assert [{name: repr(value) for name, value in vars(one).items()} for one in (given, law)] == before
    assert vars(given)["_arrays"] is None


def test_a_clone_is_a_copy_and_reads_the_same() -> None:
    from arch.univariate import StudentsT

    model = ArchVolatility(process("HARCH"), StudentsT(), fallback=False)
    copy = clone(model)
    assert repr(copy) == repr(model) == repr(ArchVolatility(process("HARCH"), StudentsT(), fallback=False))
    assert "process=HARCH(lags=[1, 5, 22])" in repr(model)
    assert "distribution=StudentsT()" in repr(model)
    assert copy.process is not model.process
    assert type(copy.process) is type(model.process)
    assert repr(FilteredHistoricalVaR(copy)) == repr(clone(FilteredHistoricalVaR(model)))
    assert "0x" not in repr(FilteredHistoricalVaR(model))
    assert repr(ArchVolatility()) == "ArchVolatility()"


def test_parameters_read_from_one_forecaster_make_another(past: MarketHistory) -> None:
    model = ArchVolatility(process("HARCH"))
    other = ArchVolatility().set_params(**model.get_params())
    assert isinstance(other.get_params()["process"], Stated)
    assert repr(clone(other)) == repr(model)
    assert other.fit(past, DAY).laws_ == model.fit(past, DAY).laws_


def test_a_fitted_forecaster_survives_a_pickle(past: MarketHistory) -> None:
    model = ArchVolatility(process("APARCH")).fit(past, DAY)
    back = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(back.forecasts(past, 20), model.forecasts(past, 20))


def test_a_refused_asset_is_forecast_by_ewma_recorded_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    returns = np.column_stack([0.01 * simulated(600), struck(), 0.02 * simulated(600, seed=9), np.zeros(600)])
    returns[:-4, 2] = np.nan
    past = history(returns)
    with caplog.at_level(logging.INFO, logger="marginlab"):
        model = ArchVolatility().fit(past, Coverage(horizon="2D"))
    assert sorted(model.failures_) == ["A1", "A2", "A3"]
    assert len(caplog.records) == 1
    words = ("A1: one return makes 100%", "A2: 3 returns, 250 needed", "A3: returns without variation", "EWMA(0.94)")
    assert all(word in caplog.text for word in words)
    squares = past.returns(DAY)[:, 1:2] ** 2
    expected = ewma_variance(squares, 0.94, np.array([model.laws_["A1"].level]))[-10:, 0]
    np.testing.assert_allclose(model.forecasts(past, 10)[:, 1], np.sqrt(2.0 * expected), rtol=1e-12)
    assert model.forecast(past)[3] == 0.0
    moved = history(np.vstack([returns, np.full((5, 4), 0.01)]))
    assert model.forecast(moved)[3] > 0.0


def test_a_fit_that_passes_logs_nothing(past: MarketHistory, caplog: pytest.LogCaptureFixture) -> None:
    assert ArchVolatility().fit(past, DAY).failures_ == {}
    assert not caplog.records


def test_a_forecast_far_from_ewma_s_is_refused() -> None:
    returns = 0.01 * np.random.default_rng(2).standard_normal(600)
    returns[500:] *= 0.01
    from arch.univariate import ConstantVariance

    model = ArchVolatility(ConstantVariance()).fit(history(returns), DAY)
    assert "times EWMA's, between 0.1 and 10 wanted" in model.failures_["A0"]


def test_a_fit_that_does_not_converge_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from arch.univariate import ZeroMean

    whole = ZeroMean.fit
    monkeypatch.setattr(ZeroMean, "fit", lambda self, **asked: whole(self, **{**asked, "options": {"maxiter": 1}}))
    past = history(0.01 * simulated(600))
    assert "did not converge" in ArchVolatility().fit(past, DAY).failures_["A0"]
    with pytest.raises(ConvergenceError, match=r"601 rows of 1D.*A0: the optimiser did not converge"):
        ArchVolatility(fallback=False).fit(past, DAY)


def test_a_process_that_explains_less_than_a_constant_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from arch.univariate import ZeroMean

    whole, far = ZeroMean.fit, np.array([0.36, 8.0, -7.9, 0.95])

    def astray(self: ZeroMean, **asked: Any) -> Any:
        """What arch once ended on, and called a success."""
        found = whole(self, **asked)
        found._params, found._loglikelihood = far, -826_755.8
        return found

    monkeypatch.setattr(ZeroMean, "fit", astray)
    model = ArchVolatility().fit(history(0.01 * simulated(600)), DAY)
    assert "log-likelihood -826755.80, constant variance has -8" in model.failures_["A0"]


@pytest.mark.parametrize("name", ["EGARCH", "GJR", "HARCH", "MIDAS"])
def test_returns_without_clusters_are_fitted_all_the_same(name: str) -> None:
    returns = 0.01 * np.random.default_rng(6).standard_normal((600, 6))
    model = ArchVolatility(process(name)).fit(history(returns), DAY)
    # An EGARCH of noise has no summit to speak of: where arch's search ends hangs on the last bits of the machine.
    assert len(model.failures_) <= (3 if name == "EGARCH" else 1)
    np.testing.assert_allclose(model.forecast(history(returns)), 0.01, rtol=0.4)


def test_an_asset_without_any_price_has_no_forecast() -> None:
    past = history(np.column_stack([0.01 * simulated(400), np.full(400, np.nan)]))
    assert np.isnan(ArchVolatility().fit(past, DAY).forecast(past)).tolist() == [False, True]


def test_a_window_below_250_returns_is_refused() -> None:
    with pytest.raises(HistoryError, match="needs 251 rows"):
        ArchVolatility().fit(history(0.01 * simulated(249)), DAY)


def test_what_is_no_process_or_distribution_of_arch_is_refused(past: MarketHistory) -> None:
    from arch.univariate import FixedVariance, Normal

    wrong: list[Any] = [Normal(), FixedVariance(np.ones(900)), EwmaVolatility(), "EGARCH"]
    for one in wrong:
        with pytest.raises(ParameterError, match="process must be a variance process of arch"):
            ArchVolatility(one).fit(past, DAY)
    with pytest.raises(ParameterError, match="distribution must be one of arch"):
        ArchVolatility(None, process("HARCH")).fit(past, DAY)
