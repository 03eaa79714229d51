"""Do the tests of a stated law tell a true one from a false one, at few observations too?"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri

from backtest.calibration_tests import (
    exceedance_bootstrap,
    exceedance_residuals,
    general_calibration,
    simple_calibration,
)
from backtest.coverage_tests import Verdict
from backtest.law_tests import (
    BARTLETT,
    berkowitz,
    berkowitz_scores,
    berkowitz_tail,
    cumulative_violations,
    mean_violation,
    memory,
    violation_autocorrelation,
)
from backtest.pits import pit_of_law, pit_of_sample
from backtest.shortfall_tests import acerbi_szekely_1, acerbi_szekely_2, acerbi_szekely_3, critical_value
from backtest.tail_hits import drawn_hits, pit_at, quantile_of
from data import Floats, ParameterError
from data.laws import unit_tail

Judge = Callable[..., Verdict]
RATE = 0.01
VAR, ES = unit_tail(1.0 - RATE)
OF_SHORTFALL: list[Judge] = [
    acerbi_szekely_1,
    acerbi_szekely_2,
    exceedance_residuals,
    exceedance_bootstrap,
    general_calibration,
    simple_calibration,
]
OF_PITS: list[Judge] = [berkowitz_tail, cumulative_violations, violation_autocorrelation]
WITHOUT_A_BREACH = {acerbi_szekely_2, berkowitz_tail, cumulative_violations}


def normal(rows: int, books: int, seed: int = 3) -> Floats:
    return np.random.default_rng(seed).standard_normal((rows, books))


def judged(test: Judge, loss: Floats, **more: Any) -> Verdict:
    """Losses against the standard normal law."""
    if test in OF_PITS:
        return test(pit_of_law(loss, VAR, RATE), RATE, **more)
    return test(loss, VAR, ES, RATE, **more)


@pytest.mark.parametrize("rows", [250, 500])
@pytest.mark.parametrize("test", [*OF_SHORTFALL, *OF_PITS])
def test_displayed_p_values_reject_no_more_than_their_size(test: Judge, rows: int) -> None:
    books = 400 if test is exceedance_bootstrap else 5_000
    verdict = judged(test, normal(rows, books))
    assert (verdict.p_value <= 0.05).mean() <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / books)


@pytest.mark.parametrize("test", [acerbi_szekely_2, exceedance_residuals, berkowitz_tail, cumulative_violations])
def test_power_is_how_often_larger_losses_are_rejected(test: Judge) -> None:
    books = 4_000
    verdict = judged(test, normal(500, books) * VAR / unit_tail(1.0 - 2 * RATE)[0])
    rejected = (verdict.p_value <= 0.05).mean()
    assert rejected == pytest.approx(verdict.power[0], abs=4 * math.sqrt(0.25 / books))
    assert rejected > 0.1


@pytest.mark.parametrize("rows", [1, 2, 250, 100_000])
@pytest.mark.parametrize("test", [*OF_SHORTFALL, *OF_PITS])
def test_degenerate_counts_get_an_answer(test: Judge, rows: int) -> None:
    for hits in (0, 1, 2):
        loss = np.zeros(rows)
        loss[:hits] = 3.0
        verdict = judged(test, loss)
        assert np.isfinite([verdict.statistic, verdict.p_value, verdict.power]).all()
        assert 0.0 <= verdict.p_value <= 1.0
        if not verdict.testable:
            assert verdict.p_value == 1.0
        if hits == 0:
            assert bool(verdict.testable) is (test in WITHOUT_A_BREACH)


def test_no_decision_is_not_testable() -> None:
    for test in [*OF_SHORTFALL, *OF_PITS]:
        verdict = judged(test, np.array([[np.nan, 3.0], [np.nan, 0.0]]))
        assert not verdict.testable[0]
        assert verdict.p_value[0] == 1.0


@pytest.mark.parametrize("test", [*OF_SHORTFALL, *OF_PITS, berkowitz])
def test_each_portfolio_is_judged_by_itself_and_without_its_holes(test: Judge) -> None:
    loss = 1.4 * normal(300, 4)
    holed = np.insert(loss, [10, 200], np.nan, axis=0)
    holed[:, 1] = np.append(loss[:, 1], [0.0, 0.0])

    def verdict(side: Floats) -> Verdict:
        return berkowitz(pit_of_law(side, VAR, RATE)) if test is berkowitz else judged(test, side)

    together, alone = verdict(holed), verdict(loss[:, 2])
    assert together.statistic[2] == pytest.approx(float(alone.statistic), rel=1e-12)
    assert together.p_value[2] == alone.p_value


def test_z_statistics_by_hand() -> None:
    loss, var, es = np.array([1.0, 3.0, 2.5, 0.0]), np.full(4, 2.0), np.array([3.0, 3.0, 2.5, 3.0])
    assert acerbi_szekely_1(loss, var, es, 0.2).statistic == pytest.approx(0.0)
    assert acerbi_szekely_2(loss, var, es, 0.2).statistic == pytest.approx(1.0 - 2.0 / 0.8)


def test_heavier_tails_have_a_lower_critical_value() -> None:
    values = [critical_value(250, 0.025, degrees=d) for d in (math.inf, 10.0, 3.0)]
    assert values[0] > values[1] > values[2]
    assert critical_value(250, 0.025, size=0.0001) == pytest.approx(-1.8, abs=0.15)


def test_a_sample_of_the_law_gives_the_p_values_of_the_law() -> None:
    scale = np.random.default_rng(5).uniform(0.5, 3.0, 250)[:, None]
    law = normal(250, 4_000, seed=6) * scale
    loss = 1.25 * scale[:, 0] * normal(250, 1, seed=9)[:, 0]
    var, es = VAR * scale[:, 0], ES * scale[:, 0]
    for test in (acerbi_szekely_1, acerbi_szekely_2):
        drawn = test(loss, var, es, RATE, sample=law)
        assert drawn.p_value == pytest.approx(float(test(loss, var, es, RATE).p_value), abs=0.03)


def test_z3_accepts_the_true_law_and_rejects_a_thin_one() -> None:
    law = normal(400, 1_000, seed=2)
    loss = normal(400, 150, seed=4)
    wide = np.broadcast_to(law[:, None, :], (400, 150, 1_000))
    true = acerbi_szekely_3(loss, wide, 0.025)
    assert true.statistic.mean() == pytest.approx(0.0, abs=0.03)
    assert (true.p_value <= 0.05).mean() <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 150)
    thin = acerbi_szekely_3(1.6 * loss, wide, 0.025)
    assert (thin.p_value <= 0.05).mean() > 0.8
    assert not acerbi_szekely_3(loss[:30, 0], law[:30], 0.025).testable


def test_simple_calibration_is_the_wald_statistic_written_out() -> None:
    rng = np.random.default_rng(8)
    spread = rng.uniform(0.5, 2.0, 200)
    loss = rng.standard_normal(200)
    var, es, rate = 1.5 * spread, 2.1 * spread, 0.05
    hit = loss > var
    moment = np.c_[rate - hit, es - var - np.maximum(loss - var, 0) / rate]
    mean = moment.mean(axis=0)
    wald = 200 * mean @ np.linalg.solve(moment.T @ moment / 200, mean)
    assert simple_calibration(loss, var, es, rate).statistic == pytest.approx(wald, rel=1e-9)
    assert simple_calibration(loss, var, es, rate, asymptotic=True).statistic == pytest.approx(wald, rel=1e-9)


def test_simple_calibration_notices_too_many_breaches() -> None:
    var, es = unit_tail(0.975)
    loss = normal(250, 4_000) * var / unit_tail(0.95)[0]
    simulated, asymptotic = (simple_calibration(loss, var, es, 0.025, asymptotic=one) for one in (False, True))
    rejected = [(verdict.p_value <= 0.05).mean() for verdict in (simulated, asymptotic)]
    assert rejected[0] > 0.6 > rejected[1] > 0.15
    assert simulated.power[0] == pytest.approx(rejected[0], abs=0.03)
    larger = simple_calibration(2.0 * loss, var, es, 0.025)
    assert (larger.p_value <= 0.05).mean() > 0.99


def test_simple_calibration_is_not_misled_by_one_breach_or_breaches_alike() -> None:
    var, es = unit_tail(0.975)
    for breaches, depth, rejects in ((1, 2.3, False), (1, 1000.0, True), (60, 1000.0, True), (250, 5.0, True)):
        loss = np.zeros(250)
        loss[:breaches] = depth
        verdict = simple_calibration(loss, var, es, 0.025)
        assert verdict.statistic == pytest.approx(250.0, rel=1e-9)
        assert float(verdict.p_value <= 0.01) == rejects
        plain = simple_calibration(loss, var, es, 0.025, asymptotic=True)
        assert (bool(plain.testable), float(plain.p_value), float(plain.statistic)) == (False, 1.0, 0.0)


def test_general_calibration_needs_two_breaches() -> None:
    loss = np.zeros(250)
    loss[7] = 1000.0
    one = general_calibration(loss, VAR, ES, RATE)
    assert (bool(one.testable), float(one.p_value)) == (False, 1.0)
    loss[9] = 999.0
    assert general_calibration(loss, VAR, ES, RATE).testable


def test_simple_calibration_draws_for_its_own_path_of_forecasts() -> None:
    scale = np.exp(np.random.default_rng(1).normal(0.0, 0.7, (250, 1)))
    loss = scale * normal(250, 300, seed=12)
    verdict = simple_calibration(loss, 1.645 * scale, 2.063 * scale, 0.05)
    assert (verdict.p_value <= 0.05).mean() <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


@pytest.mark.parametrize("test", [exceedance_residuals, exceedance_bootstrap])
def test_residuals_all_alike_are_judged_as_those_that_nearly_are(test: Judge) -> None:
    for depth, sign in ((3.0, 1.0), (2.4, -1.0)):
        alike, nearly = np.zeros(300), np.zeros(300)
        alike[:12], nearly[:12] = depth, depth + 1e-6 * np.arange(12)
        verdict, limit = test(alike, VAR, ES, RATE), test(nearly, VAR, ES, RATE)
        assert verdict.statistic == pytest.approx(sign * 1e9)
        assert verdict.p_value == limit.p_value
        assert bool(verdict.testable)
        assert float(verdict.p_value < 0.001) == (sign > 0)
    assert exceedance_residuals(alike, VAR, ES, RATE, asymptotic=True).p_value == 1.0


@settings(max_examples=25, deadline=None)
@given(st.floats(0.1, 50.0), st.integers(0, 1_000))
def test_no_unit_of_account_changes_a_verdict(unit: float, seed: int) -> None:
    loss = 1.3 * normal(250, 2, seed=seed)
    for test in (acerbi_szekely_1, acerbi_szekely_2, exceedance_residuals, general_calibration, simple_calibration):
        one, other = test(loss, VAR, ES, RATE), test(unit * loss, unit * VAR, unit * ES, RATE)
        assert other.statistic == pytest.approx(one.statistic, rel=1e-9, abs=1e-12)
        assert other.p_value == pytest.approx(one.p_value, abs=1e-3)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1_000))
def test_the_order_of_days_does_not_matter_where_no_memory_is_tested(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pit = rng.random(200)
    shuffled = rng.permutation(pit)
    for test in (berkowitz_tail, cumulative_violations):
        assert test(shuffled, 0.05).statistic == pytest.approx(float(test(pit, 0.05).statistic), rel=1e-9, abs=1e-12)


def test_autocorrelations_are_those_written_out() -> None:
    pit = np.random.default_rng(4).random(300)
    depth = np.maximum(0.05 - pit, 0) / 0.05 - 0.025
    covariance = [depth[j:] @ depth[: len(depth) - j] / (len(depth) - j) for j in range(4)]
    told = violation_autocorrelation(pit, 0.05, lags=3).statistic
    assert told == pytest.approx(300 * sum((c / covariance[0]) ** 2 for c in covariance[1:]), rel=1e-9)
    assert mean_violation(pit, 0.05) == pytest.approx(depth.mean() + 0.025)


def test_clustered_breaches_are_seen() -> None:
    pit = np.random.default_rng(4).uniform(0.05, 1.0, 500)
    pit[100:110] = 0.001
    assert violation_autocorrelation(pit, 0.05).p_value < 0.01
    pit[100:110], pit[::50] = 0.5, 0.001
    assert violation_autocorrelation(pit, 0.05).p_value > 0.1


def test_the_tail_ratio_is_the_largest_there_is() -> None:
    from scipy.optimize import minimize
    from scipy.stats import norm

    score = 1.3 * normal(400, 1, seed=21)[:, 0]
    cut = ndtri(0.05)
    below = score < cut

    def minus(guess: Floats) -> float:
        mean, scale = guess[0], math.exp(guess[1])
        tail = norm.logpdf(score[below], mean, scale).sum()
        return -float(tail + (~below).sum() * norm.logsf(cut, mean, scale))

    found = minimize(minus, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-11})
    ratio = 2 * (minus(np.zeros(2)) - found.fun)
    assert berkowitz_tail(norm.cdf(score), 0.05).statistic == pytest.approx(ratio, rel=1e-7)


def test_the_likelihood_ratio_has_the_mean_its_correction_says() -> None:
    # The quadratic form it tends to has the mean 3 exactly, and takes most of the noise away.
    rows, series = 20, 30_000
    score = normal(rows, series, seed=17)
    ratio = berkowitz_scores(score, asymptotic=True).statistic
    after, before, n = score[1:], score[:-1], rows - 1
    form = n * after.mean(0) ** 2 + n / 2 * ((after**2).mean(0) - 1) ** 2 + (after * before).sum(0) ** 2 / n
    less_noise = ratio - form + 3.0
    error = 3 * less_noise.std() / math.sqrt(series) / 3
    assert less_noise.mean() / 3 == pytest.approx(1 + BARTLETT / (rows - 2), abs=error + 0.003)


def test_berkowitz_sees_mean_spread_and_memory() -> None:
    score = normal(500, 1, seed=30)[:, 0]
    assert berkowitz_scores(score).p_value > 0.05
    chained = score.copy()
    for t in range(1, 500):
        chained[t] = 0.4 * chained[t - 1] + math.sqrt(1 - 0.16) * score[t]
    assert memory(chained) == pytest.approx(0.4, abs=0.1)
    for wrong in (score + 0.3, 1.3 * score, chained):
        assert berkowitz_scores(wrong).p_value < 0.01


def test_an_impossible_result_is_clipped_and_said_so() -> None:
    pit = np.random.default_rng(2).random(100)
    pit[[3, 50]] = 0.0, 1.0
    for verdict in (berkowitz(pit), berkowitz_tail(pit, 0.05), cumulative_violations(pit, 0.05)):
        assert "2 pits of 0 or 1" in verdict.notes
        assert np.isfinite(verdict.statistic)
    assert berkowitz(pit).statistic > berkowitz(np.clip(pit, 0.01, 0.99)).statistic
    assert "clipped" not in berkowitz(np.clip(pit, 0.01, 0.99)).notes


def test_pits_beyond_the_rounding_of_one_are_told_apart_or_counted() -> None:
    pit = np.random.default_rng(2).random(100)
    ratios = []
    for deep in (1e-16, 1e-30, 1e-200):
        pit[3] = deep
        ratios.append([float(test(pit, rate=0.05).statistic) for test in (berkowitz, berkowitz_tail)])
        assert "clipped" not in berkowitz(pit).notes
    assert (np.diff(ratios, axis=0) > 1.0).all()
    pit[3] = 1e-305
    assert "1 pits of 0 or 1" in berkowitz_tail(pit, 0.05).notes


def test_few_or_constant_pits_are_not_testable() -> None:
    for pit in (np.full(300, 0.5), np.array([0.1, 0.5]), np.full(20, np.nan)):
        verdict = berkowitz(pit)
        assert (bool(verdict.testable), float(verdict.p_value)) == (False, 1.0)
        assert np.isfinite(verdict.power)


def test_pits_of_the_true_law_are_uniform() -> None:
    heavy = np.random.default_rng(3).standard_t(4, 20_000) * math.sqrt(0.5)
    var, _ = unit_tail(0.99, 4)
    for pit in (
        pit_of_law(heavy, var, 0.01, degrees=4),
        pit_of_sample(heavy[:4000], np.random.default_rng(7).standard_t(4, (4000, 200)) * math.sqrt(0.5)),
    ):
        assert np.quantile(pit, [0.01, 0.1, 0.5, 0.9]) == pytest.approx([0.01, 0.1, 0.5, 0.9], abs=0.02)
    assert pit_of_law(np.array([var]), var, 0.01, degrees=4) == pytest.approx(0.01)
    assert np.isnan(pit_of_law(np.array([1.0]), 0.0, 0.01)).all()


@pytest.mark.parametrize("degrees", [math.inf, 3.0])
def test_drawn_breaches_come_as_often_and_as_deep_as_said(degrees: float) -> None:
    true, larger = drawn_hits(250, 0.02), drawn_hits(250, 0.02, degrees)
    assert true.count.mean() == pytest.approx(5.0, rel=0.02)
    assert larger.count.mean() == pytest.approx(10.0, rel=0.02)
    assert true.value.mean() == pytest.approx(0.01, rel=0.01)
    assert larger.value.max() <= 0.02
    assert (np.diff(true.series * 250 + true.time) > 0).all()
    pit = np.array([1e-6, 0.01, 0.2])
    assert pit_at(quantile_of(pit, degrees), degrees) == pytest.approx(pit)


@pytest.mark.parametrize("test", OF_SHORTFALL)
def test_forecasts_without_a_tail_are_refused_or_flagged(test: Judge) -> None:
    with pytest.raises(ParameterError, match="0 < VaR < ES"):
        test(np.ones(5), 2.0, 1.0, RATE)
    loss = normal(250, 2)
    verdict = test(loss, np.array([VAR, 0.0]), np.array([ES, 0.0]), RATE)
    assert not verdict.testable[1]
    assert verdict.p_value[1] == 1.0
    assert "1 of 2 portfolios" in verdict.notes


def test_bad_input_is_refused() -> None:
    with pytest.raises(ParameterError, match="rate must lie"):
        acerbi_szekely_2(np.ones(5), 1.0, 2.0, 0.5)
    with pytest.raises(ParameterError, match="degrees must be"):
        acerbi_szekely_2(np.ones(5), 1.0, 2.0, RATE, degrees=2.0)
    with pytest.raises(ParameterError, match="one shape"):
        acerbi_szekely_2(np.ones(5), np.ones(4), 2.0, RATE)
    with pytest.raises(ParameterError, match="scale of residuals"):
        exceedance_residuals(np.ones(5), 1.0, 2.0, RATE, scale=0.0)
    with pytest.raises(ParameterError, match="sample must be"):
        acerbi_szekely_3(np.ones(5), np.ones((4, 10)), RATE)
    with pytest.raises(ParameterError, match="must lie in"):
        berkowitz(np.array([0.2, 1.2]))
    with pytest.raises(ParameterError, match="lags must be"):
        violation_autocorrelation(np.full(5, 0.5), RATE, lags=0)
    with pytest.raises(ParameterError, match="must be finite"):
        berkowitz_scores(np.array([np.inf, 0.0]))
    with pytest.raises(ParameterError, match="critical value"):
        critical_value(0, RATE)


@pytest.mark.parametrize("endless", [math.inf, -math.inf])
def test_a_loss_without_bounds_is_refused_and_never_passed_over(endless: float) -> None:
    loss = np.append(normal(20, 1)[:, 0], endless)
    sample = normal(21, 50)
    calls: list[Callable[[], object]] = [
        *(partial(test, loss, VAR, ES, RATE) for test in OF_SHORTFALL),
        partial(acerbi_szekely_2, loss, VAR, ES, RATE, sample=sample),
        partial(acerbi_szekely_3, loss, sample, 0.1),
        partial(pit_of_law, loss, VAR, RATE),
        partial(pit_of_sample, loss, sample),
    ]
    for call in calls:
        with pytest.raises(ParameterError, match="1 infinite"):
            call()


@pytest.mark.parametrize("degrees", [3.0, 4.5, 10.0])
def test_quantiles_of_many_draws_are_those_of_each(degrees: float) -> None:
    pit = np.concatenate([np.geomspace(1e-12, 0.4, 6000), np.linspace(0.3, 0.99999, 4000)])
    alone = np.array([float(quantile_of(one, degrees)) for one in pit])
    np.testing.assert_allclose(quantile_of(pit, degrees), alone, rtol=1e-5, atol=1e-9)
