from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from data import Coverage, Floats, HistoryError, MarketHistory, ModelError, ParameterError
from data.compiled import plain
from data.sources.synthetic import correlation_break, normal_market
from examples import COVARIANCES
from margin_models import (
    ConstantCorrelationCovariance,
    CorrelationVaR,
    CovarianceEstimator,
    DccCovariance,
    EwmaCovariance,
    EwmaVolatility,
    GarchVolatility,
    LedoitWolfCovariance,
)
from margin_models.covariance import (
    constant_correlation,
    constant_correlation_shrinkage,
    correlation_of,
    refuse_not_psd,
    weighted_second_moments,
)
from margin_models.dcc import LEAST_HORIZONS, Dynamics, learn_dcc, refusal
from margin_models.kernels.correlations import dcc_loglikelihood, dcc_state
from markets import market, two_coins

EQUAL = 0.5 * np.eye(3) + 0.5


def innovations_of(news: float, memory: float, rows: int, seed: int) -> Floats:
    """Drawn from DCC(1,1) around correlations of a half."""
    rng = np.random.default_rng(seed)
    state, drawn = EQUAL.copy(), np.empty((rows, 3))
    for t in range(rows):
        drawn[t] = np.linalg.cholesky(correlation_of(state)) @ rng.standard_normal(3)
        state = (1 - news - memory) * EQUAL + news * np.outer(drawn[t], drawn[t]) + memory * state
    return drawn


# ---- Kernels.


def test_the_compiled_filter_and_likelihood_equal_their_plain_loops() -> None:
    drawn = innovations_of(0.1, 0.8, 60, 1)
    drawn[[3, 17], [0, 2]] = np.nan
    for kernel in (dcc_state, dcc_loglikelihood):
        told = kernel(drawn, EQUAL, 0.1, 0.8, EQUAL)
        assert np.isfinite(told).all()
        assert_allclose(told, plain(kernel)(drawn, EQUAL, 0.1, 0.8, EQUAL), rtol=1e-13)


def test_the_likelihood_is_that_of_normal_laws_one_after_the_other() -> None:
    drawn, expected, state = innovations_of(0.1, 0.8, 40, 2), 0.0, EQUAL.copy()
    for z in drawn:
        r = correlation_of(state)
        expected -= 0.5 * (np.linalg.slogdet(r)[1] + z @ np.linalg.solve(r, z))
        state = 0.1 * EQUAL + 0.1 * np.outer(z, z) + 0.8 * state
    assert dcc_loglikelihood(drawn, EQUAL, 0.1, 0.8, EQUAL) == pytest.approx(expected, rel=1e-12)
    assert_allclose(dcc_state(drawn, EQUAL, 0.1, 0.8, EQUAL), state, rtol=1e-12)


def test_a_hole_is_no_news_to_its_pairs_and_its_row_no_evidence() -> None:
    drawn = innovations_of(0.1, 0.8, 5, 3)
    holed = np.insert(drawn, 5, [1.0, np.nan, -1.0], axis=0)
    before, after = (dcc_state(some, EQUAL, 0.1, 0.8, EQUAL) for some in (drawn, holed))
    assert_allclose(after[1], (0.1 * EQUAL + 0.9 * before)[1], rtol=1e-12)
    told = dcc_state(holed[:, ::2], EQUAL[::2, ::2], 0.1, 0.8, EQUAL[::2, ::2])
    assert_allclose(after[::2, ::2], told, rtol=1e-12)  # as if the other were not there
    assert dcc_loglikelihood(holed, EQUAL, 0.1, 0.8, EQUAL) == dcc_loglikelihood(drawn, EQUAL, 0.1, 0.8, EQUAL)


def test_singular_correlations_have_no_likelihood() -> None:
    assert dcc_loglikelihood(np.ones((4, 2)), np.ones((2, 2)), 0.0, 0.0, np.ones((2, 2))) == -np.inf


# ---- Learning.


def test_known_dynamics_are_learned() -> None:
    drawn = innovations_of(0.05, 0.9, 4000, 4)
    found = learn_dcc(drawn, correlation_of(weighted_second_moments(drawn, np.ones(len(drawn)))))
    assert found.news == pytest.approx(0.05, abs=0.015)
    assert found.memory == pytest.approx(0.9, abs=0.04)


def test_noise_around_constant_correlations_is_not_taken_for_dynamics() -> None:
    accepted = 0
    for seed in range(60):
        drawn = np.random.default_rng(seed).standard_normal((400, 3)) @ np.linalg.cholesky(EQUAL).T
        found = learn_dcc(drawn, correlation_of(weighted_second_moments(drawn, np.ones(400))))
        accepted += not refusal(found, 400)
    assert accepted <= 2  # of sixty at two to three per cent


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(100, 300))
def test_what_is_learned_stays_in_bounds_and_is_no_less_likely_than_standing_still(seed: int, rows: int) -> None:
    drawn = np.random.default_rng(seed).standard_t(3, (rows, 3))
    target = correlation_of(weighted_second_moments(drawn, np.ones(rows)))
    found = learn_dcc(drawn, target)
    assert found.news >= 0
    assert found.memory >= 0
    assert found.news + found.memory < 1
    assert found.loglikelihood >= dcc_loglikelihood(drawn, target, 0.0, 0.0, target)


@pytest.mark.parametrize(
    ("found", "rows", "said"),
    [
        (Dynamics(0.05, 0.9, -1.0, 9.0), LEAST_HORIZONS, ""),
        (Dynamics(0.05, 0.9, -1.0, 9.0), LEAST_HORIZONS - 1, "99 complete horizons, 100 needed"),
        (Dynamics(0.05, 0.9, -np.inf, 9.0), 200, "singular"),
        (Dynamics(0.05, 0.95, -1.0, 9.0), 200, "out of bounds"),
        (Dynamics(-0.05, 0.9, -1.0, 9.0), 200, "out of bounds"),
        (Dynamics(0.0, 0.9, -1.0, 9.0), 200, "do not answer"),
        (Dynamics(0.05, 0.9, -1.0, 2.9), 200, "hardly likelier than constant"),
    ],
)
def test_a_fit_passes_all_gates_or_says_why_not(found: Dynamics, rows: int, said: str) -> None:
    assert said in refusal(found, rows)
    assert bool(refusal(found, rows)) == bool(said)


# ---- DCC as an estimator.


def test_dcc_follows_a_break_that_a_long_window_misses() -> None:
    history = correlation_break(900, 860, (0.02, 0.02, 0.02), before=0.1, after=0.9, seed=5).history
    wild = correlation_break(800, 400, (0.02, 0.02, 0.02), before=0.1, after=0.9, seed=6).history
    dcc, still = (one.fit(wild, Coverage()) for one in (DccCovariance(), LedoitWolfCovariance(lookback=800)))
    level = [correlation_of(one.estimate(history))[0, 1] for one in (dcc, still)]
    assert level[0] > level[1] + 0.2


def test_dcc_is_the_forecast_volatility_times_filtered_correlations() -> None:
    history = two_coins()
    fitted = DccCovariance(EwmaVolatility(half_life=10)).fit(history, Coverage())
    told = fitted.estimate(history)
    assert_allclose(np.sqrt(np.diag(told)), fitted.volatility_.forecast(history), rtol=2e-3)  # burnt in longer
    assert correlation_of(told)[0, 1] == pytest.approx(3e-4 / np.sqrt(4e-4 * 6e-4), abs=0.1)  # as drawn


def test_where_horizons_overlap_every_h_th_return_is_taken() -> None:
    history = normal_market(1200, (0.02, 0.03), 0.6, seed=7).history
    for horizon in ("1D", "5D"):
        fitted = DccCovariance().fit(history, Coverage(horizon=horizon))
        assert fitted.news_ < 0.1, "independent rows must not look as if correlations moved"
        assert correlation_of(fitted.estimate(history))[0, 1] == pytest.approx(0.6, abs=0.12)


def test_any_forecaster_serves_and_its_refusals_are_told() -> None:
    history = two_coins()
    fitted = DccCovariance(GarchVolatility()).fit(history, Coverage())
    assert isinstance(fitted.volatility_, GarchVolatility)
    short = DccCovariance().fit(history.rows(0, 80), Coverage())
    assert "complete horizons, 100 needed" in short.failures_["correlations"]
    assert (short.news_, short.memory_) == (0.0, 0.0)


def test_twins_leave_correlations_constant_and_semi_definite() -> None:
    one = two_coins()
    twins = MarketHistory(one.time, ("A", "B"), np.repeat(one.spot[:, :1], 2, axis=1), one.clock)
    fitted = DccCovariance().fit(twins, Coverage())
    assert "singular" in fitted.failures_["correlations"]
    assert correlation_of(fitted.estimate(twins))[0, 1] == pytest.approx(1.0)


def test_dcc_refuses_what_it_cannot_do() -> None:
    history = two_coins()
    with pytest.raises(ParameterError, match="lookback must be >= 1 or None, got 0"):
        DccCovariance(lookback=0).fit(history, Coverage())
    with pytest.raises(HistoryError, match="correlations need 20 innovations of one underlying, got 0"):
        DccCovariance().fit(history.rows(0, 5), Coverage())
    late = history.spot.copy()
    late[:, 1] = np.nan
    blind = MarketHistory(history.time, history.underlyings, late, history.clock)
    fitted = DccCovariance().fit(history, Coverage())
    told = fitted.estimate(blind)
    assert np.isnan(told[1]).all()
    assert np.isfinite(told[0, 0])


# ---- Shrinkage to constant correlation.


def loop_shrinkage(sample: Floats) -> float:
    """Ledoit and Wolf (2004), appendix B, term by term."""
    n, size = sample.shape
    s = np.array([[np.mean(sample[:, i] * sample[:, j]) for j in range(size)] for i in range(size)])
    pairs = [(i, j) for i in range(size) for j in range(size) if i != j]
    average = np.mean([s[i, j] / np.sqrt(s[i, i] * s[j, j]) for i, j in pairs])

    def covariation(k: int, i: int, j: int) -> float:
        return float(np.mean((sample[:, k] ** 2 - s[k, k]) * (sample[:, i] * sample[:, j] - s[i, j])))

    pi = sum(np.mean((sample[:, i] * sample[:, j] - s[i, j]) ** 2) for i in range(size) for j in range(size))
    rho = sum(np.mean((sample[:, i] ** 2 - s[i, i]) ** 2) for i in range(size))
    for i, j in pairs:
        weighted = np.sqrt(s[j, j] / s[i, i]) * covariation(i, i, j) + np.sqrt(s[i, i] / s[j, j]) * covariation(j, i, j)
        rho += 0.5 * average * weighted
    gamma = sum((average * np.sqrt(s[i, i] * s[j, j]) - s[i, j]) ** 2 for i, j in pairs)
    return float(np.clip((pi - rho) / gamma / n, 0.0, 1.0))


@pytest.mark.parametrize("seed", range(4))
def test_the_intensity_is_that_of_the_papers_sums(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sample = rng.standard_t(4, (150, 5)) @ rng.standard_normal((5, 5)) * np.array([1.0, 2.0, 0.5, 3.0, 1.0])
    told = constant_correlation_shrinkage(sample)
    assert 0.0 < told < 1.0
    assert told == pytest.approx(loop_shrinkage(sample), rel=1e-10)


def test_shrinkage_beats_the_sample_where_all_correlations_are_alike() -> None:
    truth = 0.6 * np.ones((20, 20)) + 0.4 * np.eye(20)
    history = normal_market(60, (0.02,) * 20, truth, seed=8).history
    told = ConstantCorrelationCovariance().fit(history, Coverage())
    raw = EwmaCovariance(half_life=1e9).fit(history, Coverage())
    errors = [np.abs(correlation_of(one.estimate(history)) - truth).mean() for one in (told, raw)]
    assert told.shrinkage_ > 0.5
    assert errors[0] < 0.5 * errors[1]
    assert_allclose(np.diag(told.estimate(history)), np.diag(raw.estimate(history)), rtol=1e-6)


def test_two_assets_have_nothing_to_shrink_and_one_that_stands_still_is_left_out() -> None:
    assert constant_correlation_shrinkage(np.ones((10, 2))) == 0.0
    three = normal_market(300, (0.02, 0.03, 0.04), 0.5, seed=9).history
    pegged = np.column_stack([three.spot, np.ones(300)])
    with_peg = MarketHistory(three.time, (*three.underlyings, "PEG"), pegged, three.clock)
    told = ConstantCorrelationCovariance().fit(with_peg, Coverage()).estimate(with_peg)
    assert_array_equal(told[3], 0.0)
    assert_allclose(told[:3, :3], ConstantCorrelationCovariance().fit(three, Coverage()).estimate(three), rtol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 8), st.integers(0, 10**6))
def test_a_constant_correlation_is_never_below_what_is_semi_definite(size: int, seed: int) -> None:
    root = np.random.default_rng(seed).standard_normal((size, size + 1))
    covariance = root @ root.T
    average = correlation_of(covariance)[~np.eye(size, dtype=bool)].mean()
    least = np.linalg.eigvalsh(correlation_of(constant_correlation(covariance)))[0]
    assert least > -1e-12
    assert_allclose(least, min(1.0 - average, 1.0 + (size - 1) * average), atol=1e-12)


# ---- What every estimator promises.


@pytest.mark.parametrize("estimator", COVARIANCES, ids=repr)
@pytest.mark.parametrize(("assets", "rows"), [(1, 60), (3, 150), (30, 40)])
def test_every_estimate_is_symmetric_and_positive_semi_definite(
    estimator: CovarianceEstimator, assets: int, rows: int
) -> None:
    history = normal_market(rows, tuple(np.linspace(0.001, 0.1, assets)), 0.3, seed=10).history
    told = clone(estimator).fit(history, Coverage()).estimate(history)
    assert told.shape == (assets, assets)
    assert_array_equal(told, told.T)
    assert np.linalg.eigvalsh(correlation_of(told)).min() > -1e-10


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        ([[1.0, 2.0], [2.0, 1.0]], "positive semi-definite, got correlations with an eigenvalue of -1"),
        ([[1e-8, 2e-8], [2e-8, 1e-8]], "positive semi-definite"),
        ([[0.0, 1.0], [1.0, 1.0]], "positive semi-definite"),
        ([[0.0, 5e-9], [5e-9, 1e-4]], "positive semi-definite"),
        ([[-5e-9]], "positive semi-definite"),
        ([[-1.0, 0.0], [0.0, 1.0]], "positive semi-definite"),
        ([[1.0, 0.5], [0.4, 1.0]], "symmetric"),
        ([[1.0, np.nan], [np.nan, 1.0]], "finite"),
    ],
)
def test_a_matrix_that_is_no_covariance_is_refused(matrix: Any, said: str) -> None:
    with pytest.raises(ModelError, match=f"'mine': a covariance must be {said}"):
        refuse_not_psd(np.array(matrix), "mine")


def test_a_matrix_that_is_one_passes_untouched() -> None:
    for matrix in (np.ones((3, 3)), np.zeros((2, 2)), np.diag([1e-12, 1e6])):
        assert refuse_not_psd(matrix, "mine") is matrix


def test_every_estimator_serves_a_model() -> None:
    history = market([0.01, -0.02, 0.03] * 60)
    for estimator in COVARIANCES:
        fitted = CorrelationVaR(clone(estimator)).fit(history, Coverage())
        assert fitted.covariance_.estimate(history).shape == (1, 1)
