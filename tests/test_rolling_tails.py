import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import approx_fprime

from backtest.closeout import LiquidationCost
from backtest.replay import replay
from data import Book, ConvergenceError, Coverage, Floats, MarketHistory, ParameterError
from data.compiled import plain
from margin_models import MarginModel
from margin_models.generalised_pareto import fit_tail
from margin_models.kernels import ar_garch
from margin_models.kernels.ar_garch import fit_windows
from margin_models.kernels.tails import upper_quantile
from margin_models.rolling_tails import pareto_quantiles, rolling_tails
from margin_models.volatility.ar_garch import BLOCK, FALLBACK_DEGREES, fit_every_window, refusals
from markets import book_of, market

LEVELS = (0.95, 0.99)


def simulated(rows: int, seed: int = 2, degrees: float = 5.0) -> Floats:
    """AR(1)-GARCH(1,1) with t innovations: 0.05, 0.15; 0.05, 0.10, 0.85."""
    random, variance, last = np.random.default_rng(seed), 1.0, 0.0
    series = np.empty(rows)
    for i, shock in enumerate(random.standard_t(degrees, rows) * np.sqrt((degrees - 2.0) / degrees)):
        residual = np.sqrt(variance) * shock
        series[i] = last = 0.05 + 0.15 * last + residual
        variance = 0.05 + 0.10 * residual**2 + 0.85 * variance
    return series


def by_arch(window: Floats, student: bool) -> tuple[float, Floats, float, float]:
    """arch's log-likelihood, parameters, and mean and st.dev. of the next row."""
    from arch.univariate import ARX, GARCH, Normal, StudentsT

    law = StudentsT() if student else Normal()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ARX(window, lags=1, volatility=GARCH(1, 0, 1), distribution=law, rescale=False)
        found = model.fit(disp="off", show_warning=False, tol=1e-12, options={"maxiter": 1000})
        ahead = found.forecast(horizon=1, reindex=False)
    mean, variance = ahead.mean.to_numpy()[-1, 0], ahead.variance.to_numpy()[-1, 0]
    return float(found.loglikelihood), found.params.to_numpy(), float(mean), float(np.sqrt(variance))


@pytest.mark.parametrize("student", [False, True])
def test_windows_are_fitted_as_arch_fits_them(student: bool) -> None:
    series = 0.013 * simulated(1120)
    fits = fit_every_window(series, 700, student=student)
    assert fits.converged.all()
    for w in (0, 1, 90, 210, 255, 256, 300, 420):
        likelihood, parameters, mean, deviation = by_arch(series[w : w + 700] / 0.013, student)
        likelihood -= 699 * np.log(0.013)
        assert fits.loglikelihood[w] == pytest.approx(likelihood, abs=2e-5)
        unit = np.array([0.013, 1.0, 0.013**2, 1.0, 1.0, 1.0])[: len(parameters)]
        assert_allclose(fits.laws[w] / unit, parameters, atol=2e-4, rtol=2e-3)
        assert_allclose([fits.mean[w] / 0.013, fits.deviation[w] / 0.013], [mean, deviation], atol=1e-4)


def test_innovations_are_the_residuals_over_their_forecast() -> None:
    series = simulated(400)
    fits = fit_every_window(series, 350)
    mean, phi, omega, alpha, beta = fits.laws[7]
    residual = series[8:357] - mean - phi * series[7:356]
    variance = (residual / fits.innovations[7]) ** 2
    assert_allclose(variance[1:], omega + alpha * residual[:-1] ** 2 + beta * variance[:-1], rtol=1e-9)
    ahead = omega + alpha * residual[-1] ** 2 + beta * variance[-1]
    assert_allclose([fits.mean[7], fits.deviation[7] ** 2], [mean + phi * series[356], ahead], rtol=1e-9)


@pytest.mark.parametrize("size", [5, 6])
def test_the_gradient_is_that_of_differences(size: int) -> None:
    series = simulated(300)
    free = np.array([0.03, 0.1, -2.5, 2.0, -1.5, -0.7])[:size]

    def value(at: Floats) -> float:
        return ar_garch.shortfall_of(series, 1.1, at, np.empty(size), np.empty(size))

    gradient = np.empty(size)
    ar_garch.shortfall_of(series, 1.1, free, np.empty(size), gradient)
    assert_allclose(gradient, approx_fprime(free, value, 1e-7), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("size", [5, 6])
def test_the_information_is_what_the_score_varies_by(size: int) -> None:
    """Averaged over samples drawn from the law itself, the outer product of the score is the information."""
    law = np.array([0.05, 0.15, 0.05, 0.10, 0.85, 6.0])[:size]
    inverse = (1.0 / 6.0 - ar_garch.THIN) / (ar_garch.HEAVY - ar_garch.THIN)
    persistence = 0.95 / ar_garch.LARGEST
    free = np.array([0.05, 0.15, np.log(0.05), np.log(persistence / (1.0 - persistence)), np.log(0.10 / 0.85), 0.0])
    free[5] = np.log(inverse / (1.0 - inverse))
    free = free[:size]
    outer, told, found, draws = np.zeros((size, size)), np.zeros((size, size)), np.empty((size, size)), 600
    for seed in range(draws):
        random = np.random.default_rng(seed)
        shocks = random.standard_t(6, 300) * np.sqrt(4 / 6) if size > 5 else random.standard_normal(300)
        series, variance = np.empty(301), 1.0
        series[0] = 0.0
        for i, shock in enumerate(shocks):
            residual = np.sqrt(variance) * shock
            series[i + 1] = 0.05 + 0.15 * series[i] + residual
            variance = 0.05 + 0.10 * residual**2 + 0.85 * variance
        gradient = np.empty(size)
        ar_garch.shortfall_of(series, 1.0, free, np.empty(size), gradient)
        ar_garch.information(series, 1.0, law, found)
        outer += np.outer(gradient, gradient) / draws
        told += found / draws
    assert_allclose(np.diag(outer), np.diag(told), rtol=0.25)


def test_the_inverse_is_the_inverse() -> None:
    rows = np.random.default_rng(1).standard_normal((30, 5))
    matrix, out = rows.T @ rows, np.empty((5, 5))
    ar_garch.invert(np.tril(matrix), out)
    assert_allclose(out @ matrix, np.eye(5), atol=1e-6)


def test_a_fit_in_a_block_equals_its_plain_loop() -> None:
    series = simulated(262)
    fits = fit_every_window(series, 260, threads=1)
    unit = float(np.std(series[:260]))
    laws, told, before, arrived = np.empty((3, 5)), np.empty(3), np.empty(3), np.zeros(3, dtype=np.bool_)
    plain(fit_windows)(series / unit, 260, 0, 3, laws, told, before, arrived)
    assert arrived.all()
    assert_allclose(laws * np.array([unit, 1.0, unit**2, 1.0, 1.0]), fits.laws, rtol=1e-9)
    assert_allclose(told - 259 * np.log(unit), fits.loglikelihood, rtol=1e-12)


def test_threads_change_nothing_and_the_future_changes_no_window() -> None:
    series = simulated(300 + 2 * BLOCK)
    one, two = fit_every_window(series, 300, threads=1), fit_every_window(series, 300, threads=2)
    assert_array_equal(one.laws, two.laws)
    changed = np.append(series[:500], 9.0 * series[500:])
    assert_array_equal(fit_every_window(changed, 300).laws[:201], one.laws[:201])


def test_windows_that_cannot_be_fitted_are_refused() -> None:
    series = simulated(400)
    for window in (249, 401):
        with pytest.raises(ParameterError, match=r"a window of 250 to 400 finite rows was expected"):
            fit_every_window(series, window)
    with pytest.raises(ParameterError, match="finite rows"):
        fit_every_window(np.append(series, np.nan), 300)
    with pytest.raises(ConvergenceError, match="from row 4 on do not vary"):
        fit_every_window(np.concatenate([np.arange(6.0) % 2, np.ones(400)]), 300)


# ---- Gates.


@pytest.mark.parametrize("student", [False, True])
def test_one_wild_row_is_no_law_of_variance(student: bool) -> None:
    series = np.random.default_rng(1).standard_normal(600)
    series[300] = -500.0
    fits = fit_every_window(series, 500, student=student)
    assert set(fits.refusal) == {"one residual with more than 50% of the squares"}
    assert_allclose(fits.laws[:, 3:5], np.broadcast_to([0.06, 0.94], (101, 2)))
    assert 0.5 < fits.deviation.min() < fits.deviation.max() < 2.0  # it fades, where a beta of one would keep it
    told = rolling_tails(series, 500, 50, LEVELS)
    assert told.refused == 200
    assert np.isfinite(told.conditional_normal).all()


def test_rows_that_are_mostly_one_value_are_no_t_law() -> None:
    random = np.random.default_rng(0)
    series = np.where(random.random(300) < 0.97, 0.0, random.standard_normal(300))
    fits = fit_every_window(series, 250, student=True)
    assert fits.refused.all()
    assert np.all(fits.deviation > 0.01 * series.std())
    assert np.isfinite(fits.innovations).all()
    assert np.all(fits.laws[:, 5] == FALLBACK_DEGREES)
    steps = np.where(np.arange(300) % 3 == 0, random.standard_normal(300), 1.7)
    assert set(fit_every_window(steps, 250).refusal) == {"one value in more than 50% of the rows"}


def test_a_refused_window_is_forecast_by_ewma_around_its_median() -> None:
    series = np.random.default_rng(1).standard_normal(500)
    series[300] = -300.0
    fits, window = fit_every_window(series, 400), series[100:500]
    squares = (window - np.median(window)) ** 2
    newest: Floats = 0.06 * np.power(0.94, np.arange(300.0))
    floor = 0.01 * np.sort(squares)[:-1].mean()
    variance = (newest * (squares[:99:-1] + floor)).sum()  # older rows weigh 1e-8
    assert fits.mean[100] == pytest.approx(np.median(window))
    assert fits.deviation[100] == pytest.approx(np.sqrt(variance), rel=1e-4)


def test_each_gate_names_what_it_refuses() -> None:
    series = simulated(400)
    fits = fit_every_window(series, 400)
    sound = np.tile(fits.laws, (8, 1))
    likelihood, arrived = np.tile(fits.loglikelihood, 8), np.ones(8, dtype=np.bool_)
    deviation = np.tile(fits.deviation, 8)
    arrived[1], sound[2, 0], sound[3, 3], sound[4, 4] = False, np.nan, -0.01, 1.2
    sound[5, 3:5], likelihood[6], deviation[7] = (1e-9, 0.99999), likelihood[6] - 100.0, 20.0 * deviation[7]
    told = [
        str(refusals(series, 400, sound[i : i + 1], likelihood[i : i + 1], arrived[i : i + 1], deviation[i : i + 1])[0])
        for i in range(8)
    ]
    expected = ("", "did not arrive", "not finite", "out of bounds", "persistence above", "does not answer")
    assert told[0] == ""
    for why, part in zip(told, (*expected, "less likely than", "not within a tenth"), strict=True):
        assert part in why
    low = deviation[:1] / 50.0
    assert "not within a tenth" in refusals(series, 400, sound[:1], likelihood[:1], arrived[:1], low)[0]


@pytest.mark.parametrize("degrees", [np.nan, 5.0])
def test_what_simpler_laws_say_is_what_arithmetic_says(degrees: float) -> None:
    from scipy import stats

    series, window = simulated(262), 260
    found, looped = np.empty((3, 4)), np.empty((3, 4))
    ar_garch.baselines(series, window, 0.94, np.full(3, degrees), found)
    plain(ar_garch.baselines)(series, window, 0.94, np.full(3, degrees), looped)
    assert_allclose(found, looped, rtol=1e-12)
    x = series[2:]
    slope, level = np.polyfit(x[:-1], x[1:], 1)
    residual = x[1:] - level - slope * x[:-1]
    weights: Floats = np.power(0.94, np.arange(75.0))
    variance = [float(weights @ residual[:75] ** 2 / weights.sum())]
    for e in residual:
        variance.append(0.94 * variance[-1] + 0.06 * e**2)

    def told(spread: Floats) -> float:
        if np.isnan(degrees):
            return float(np.sum(stats.norm.logpdf(residual, scale=spread)))
        return float(np.sum(stats.t.logpdf(residual, degrees, scale=spread * np.sqrt((degrees - 2.0) / degrees))))

    moving, still = np.sqrt(variance[:-1]), np.full(259, np.sqrt(np.mean(residual**2)))
    share = np.max(residual**2) / np.sum(residual**2)
    assert_allclose(found[2], [told(still), told(moving), np.sqrt(variance[-1]), share], rtol=1e-9)


def test_a_pareto_quantile_is_that_of_each_row_alone_and_empirical_where_refused() -> None:
    samples = np.random.default_rng(3).standard_t(4, (3, 500))
    samples[2] = 1.0
    told, refused = pareto_quantiles(samples, 50, LEVELS)
    assert refused == 1
    for row, quantiles in zip(samples[:2], told[:2], strict=True):
        tail = fit_tail(row, float(np.sort(row)[-51]))
        assert_allclose(quantiles, [tail.quantile(level) for level in LEVELS], rtol=1e-9)
    assert told[2].tolist() == [1.0, 1.0]


def test_a_pareto_quantile_errs_less_than_an_order_statistic() -> None:
    """300 samples of 250 from a t law with 4 degrees, at 99 %."""
    from scipy.stats import t

    samples = np.random.default_rng(0).standard_t(4, (300, 250))
    fitted, _ = pareto_quantiles(samples, 30, (0.99,))
    errors = np.log(np.stack([fitted[:, 0], upper_quantile(samples, 0.99)]) / t.ppf(0.99, 4))
    assert np.mean(errors[0] ** 2) < 0.8 * np.mean(errors[1] ** 2)
    assert abs(np.mean(errors[0])) < 0.05


def test_levels_outside_the_tail_are_refused() -> None:
    for levels in ((0.5,), (1.0,)):
        with pytest.raises(ParameterError, match=r"levels from 1 - 50/300 up to 1"):
            rolling_tails(simulated(400), 300, 50, levels)


def test_breaches_on_the_law_itself_are_near_nominal() -> None:
    told = rolling_tails(simulated(2500), 500, 60, LEVELS)
    assert told.unconverged == 0
    assert told.refused < 0.06 * len(told.loss)  # sampling noise: shapes below a half, variances that only fade
    for model in (told.conditional_evt, told.conditional_t):
        rates = (told.loss[:, None] > model).mean(axis=0)
        assert_allclose(rates, [0.05, 0.01], atol=0.012)
    assert (told.loss > told.conditional_normal[:, 1]).mean() > 0.011  # a normal law is too thin


class Foretold(MarginModel):
    """Charges the quantile of the window that ends now, as a simple return of a long position."""

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        losses = -100.0 * np.diff(np.log(past.spot[:, 0]))[-300:]
        fits = fit_every_window(losses, 300)
        quantile = fits.mean + fits.deviation * pareto_quantiles(fits.innovations, 40, (0.95,))[0][:, 0]
        return np.asarray(book.exposure(past.now)[:, 0] * -np.expm1(-quantile / 100.0))


def test_the_walk_forward_is_what_a_replay_says() -> None:
    losses = simulated(340, seed=9)
    past = market(np.expm1(-losses / 100.0).tolist())
    told = rolling_tails(losses, 300, 40, (0.95,))
    free = LiquidationCost(half_spread=0.0, impact=0.0)
    result = replay(Foretold(), past, book_of(1.0), Coverage(0.95), window=301, refit_every=1, cost=free)
    assert result.loss.shape == (40, 1)
    assert_allclose(-100.0 * np.log1p(-result.loss[:, 0]), told.loss, rtol=1e-9)
    assert_allclose(-100.0 * np.log1p(-result.initial[:, 0]), told.conditional_evt[:, 0], rtol=1e-4)
