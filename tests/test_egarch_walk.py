"""Does the kernel that fits every EGARCH at once find what a plain loop, differences and arch find, in any order?"""

import math
from typing import Any

import numpy as np
import pytest
from numba import njit
from numpy.testing import assert_allclose, assert_array_equal

from data import Coverage, Floats, ParameterError
from data.sources import samples
from margin_models.kernels import egarch_rows, egarch_windows, quasi_newton
from margin_models.kernels.egarch_gates import gather_evidence, mean_size
from margin_models.kernels.recursions import ewma_variance
from margin_models.volatility.egarch_fits import BLOCK, EgarchFits, fit_windows, refusal

USUAL = math.sqrt(2.0 / math.pi)
NAMES = ("omega", "alpha", "gamma", "beta", "degrees", "before", "ahead", "loglikelihood", "evaluations")
every_law = pytest.mark.parametrize("student", [False, True], ids=["normal", "t"])


def series(rows: int, seed: int = 0, degrees: float | None = None, beta: float = 0.95, first: float = 0.0) -> Floats:
    """Returns of an EGARCH with alpha 0.15 and gamma -0.08, whose ln variance begins at `first`."""
    rng = np.random.default_rng(seed)
    shocks = rng.standard_normal(rows)
    if degrees is not None:
        shocks = rng.standard_t(degrees, rows) * math.sqrt((degrees - 2.0) / degrees)
    returns, log = np.empty(rows), first
    for t, z in enumerate(shocks.tolist()):
        returns[t] = math.exp(0.5 * log) * z
        log = 0.15 * (abs(z) - USUAL) - 0.08 * z + beta * log
    return returns


def every_window(returns: Floats, window: int, student: bool, **told: Any) -> EgarchFits:
    begin = np.arange(len(returns) - window + 1)
    return fit_windows(returns, begin, begin + window, student, **told)


def law_at(fits: EgarchFits, w: int) -> dict[str, float]:
    return {name: float(getattr(fits, name)[w]) for name in ("omega", "alpha", "gamma", "beta", "degrees")}


def early_square(returns: Floats) -> float:
    weights = 0.94 ** np.arange(min(75, len(returns)))
    return float(np.sum(weights * returns[:75] ** 2) / weights.sum())


def plain_loglikelihood(returns: Floats, p: dict[str, float]) -> tuple[float, float, float]:
    """Row by row: log-likelihood, variance of the row after, and ln of how much of a change of the first is left."""
    log, nu, total, left = p["omega"] + p["beta"] * math.log(early_square(returns)), p["degrees"], 0.0, 0.0
    for x in returns.tolist():
        z = x * math.exp(-0.5 * log)
        if math.isfinite(nu):
            total += (
                math.lgamma(0.5 * (nu + 1.0)) - math.lgamma(0.5 * nu) - 0.5 * (math.log(math.pi * (nu - 2.0)) + log)
            )
            total -= 0.5 * (nu + 1.0) * math.log1p(z * z / (nu - 2.0))
        else:
            total -= 0.5 * (math.log(2.0 * math.pi) + log + z * z)
        left += math.log(abs(p["beta"] - 0.5 * (p["alpha"] * abs(z) + p["gamma"] * z)) + 1e-300)
        log = p["omega"] + p["alpha"] * (abs(z) - USUAL) + p["gamma"] * z + p["beta"] * log
        log = min(max(log, -60.0), 60.0)  # of a law that arch lost its way to
    return total, math.exp(log), left


def in_lanes(windows: list[Floats], student: bool, point: Floats) -> tuple[Floats, Floats]:
    """Minus the log-likelihood of windows in units, (L,), and its slopes (L, 5), at one point for every lane."""
    lanes, size, turn = egarch_rows.LANES, egarch_windows.SIZE, egarch_rows.TURN
    tape = np.zeros((-(-max(map(len, windows)) // turn), egarch_rows.LINE))
    facts, places = np.ones((lanes, egarch_windows.FACTS)), np.zeros((lanes, egarch_windows.PLACES), np.int64)
    searches = np.zeros((lanes, quasi_newton.SEARCH + size, size))
    searches[:, quasi_newton.TRIAL] = point
    laws, state = np.zeros((lanes, egarch_windows.LAW)), np.zeros(egarch_rows.STATE)
    for lane, one in enumerate(windows):
        egarch_windows.load(tape, lane, one, facts[lane], places[lane])
    turns = egarch_windows.set_laws(facts, places, searches, laws, state)
    egarch_rows.run_forward(tape, turns, state)
    egarch_rows.sum_back(tape, turns, student, state)
    values, slopes = np.empty(len(windows)), np.zeros((len(windows), size))
    for lane, one in enumerate(windows):
        before, law = facts[lane, egarch_windows.BEFORE], laws[lane]
        values[lane] = -egarch_windows.loglikelihood(state, lane, before, len(one), student, law, slopes[lane])
    return values, slopes


def arch_fits(returns: Floats, student: bool) -> list[tuple[float, float, dict[str, float]]]:
    """Log-likelihood, forecast and parameters of arch's converged fits, from its own start and from ours, in units."""
    from arch.univariate import EGARCH, Normal, StudentsT, ZeroMean

    law = StudentsT() if student else Normal()
    model = ZeroMean(returns, volatility=EGARCH(1, 1, 1), distribution=law, rescale=False)
    found = []
    for start in (None, (0.0, 0.15, -0.05, 0.95), (0.0, 0.1, 0.0, 0.8)):
        first = None if start is None else np.array([*start, *[6.0] * student])
        told = model.fit(disp="off", tol=1e-12, show_warning=False, options={"maxiter": 300}, starting_values=first)
        if told.convergence_flag == 0:
            ahead = float(told.forecast(horizon=1, reindex=False).variance.to_numpy()[0, 0])
            values = dict(zip(("omega", "alpha", "gamma", "beta", "degrees"), told.params.tolist(), strict=False))
            found.append((float(told.loglikelihood), ahead, {"degrees": math.inf} | values))
    return found


def test_the_vector_s_exponential_is_that_of_the_library() -> None:
    def many(values: Floats) -> Floats:
        told = np.empty_like(values)
        for i in range(len(values)):
            told[i] = egarch_rows.inverse_deviation(values[i])
        return told

    logs = np.append(np.random.default_rng(0).uniform(-60.0, 60.0, 5000), [0.0, -0.0, 1e-300, 700.0, -700.0])
    run: Any = njit(many)
    assert_allclose(run(logs), np.exp(-0.5 * logs), rtol=2e-14)


@every_law
def test_slopes_are_differences_in_windows_of_any_length(student: bool) -> None:
    returns = series(400, degrees=6.0)
    windows = [returns[: 400 - short] for short in (0, 1, 2, 3, 4, 57, 149)]
    point = np.array([0.005, 0.18, -0.07, math.log(0.06), 0.15])
    _, slopes = in_lanes(windows, student, point)
    for i in range(4 + student):
        step = np.zeros(5)
        step[i] = 1e-6
        difference = (in_lanes(windows, student, point + step)[0] - in_lanes(windows, student, point - step)[0]) / 2e-6
        assert_allclose(slopes[:, i], difference, rtol=2e-6, atol=2e-5, err_msg=f"coordinate {i}")


@every_law
def test_likelihoods_are_those_of_a_plain_loop_and_no_neighbour_is_higher(student: bool) -> None:
    returns = series(503, seed=1, degrees=5.0 if student else None)
    fits = every_window(returns, 500, student)
    assert fits.converged.all()
    for w in (0, 3):
        found, own = law_at(fits, w), returns[w : w + 500]
        best, ahead, _ = plain_loglikelihood(own, found)
        assert best == pytest.approx(fits.loglikelihood[w], abs=1e-8)
        assert fits.ahead[w] == pytest.approx(ahead, rel=1e-6)
        assert fits.before[w] == pytest.approx(early_square(own), rel=1e-12)
        for name in ["omega", "alpha", "gamma", "beta", *["degrees"] * student]:
            for factor in (0.999, 1.001):
                assert plain_loglikelihood(own, found | {name: factor * found[name]})[0] < best + 1e-9, name


MARKETS = {
    "usual": lambda: series(2000, seed=3),
    "heavy": lambda: series(2000, seed=4, degrees=5.0),
    "sp500": lambda: returns_of("sp500", 0, 5000),
    "wti": lambda: returns_of("wti", 0, 8000),
}


def returns_of(name: str, first: int, stop: int) -> Floats:
    known = samples.load(name).returns(Coverage(horizon="1B"))[:, 0]
    return np.asarray(known[np.isfinite(known)][first:stop])


@every_law
@pytest.mark.parametrize("market", MARKETS)
def test_no_window_is_less_likely_than_arch_makes_it(market: str, student: bool) -> None:
    """From three starts each; where arch ends beyond what is invertible, nothing can be compared."""
    returns, window, compared = MARKETS[market](), 1000, 0
    begin = np.linspace(0, len(returns) - window, 10).astype(int)
    fits = fit_windows(returns, begin, begin + window, student, blocks=np.arange(10))
    for w, first in enumerate(begin.tolist()):
        own = returns[first : first + window]
        unit = math.sqrt(np.mean(own**2))
        theirs = [one for one in arch_fits(own / unit, student) if plain_loglikelihood(own / unit, one[2])[2] < 0.0]
        if not theirs or not fits.converged[w]:
            continue
        likelihood, ahead, _ = max(theirs, key=lambda one: one[0])
        compared += 1
        ours = fits.loglikelihood[w] + window * math.log(unit)
        assert ours > likelihood - 1e-6, (first, fits.alpha[w], fits.beta[w])
        if ours < likelihood + 1e-6:
            assert math.sqrt(fits.ahead[w]) == pytest.approx(unit * math.sqrt(ahead), rel=1e-4)
    assert compared >= 8


@every_law
def test_a_walk_ends_where_a_search_of_each_window_alone_ends(student: bool) -> None:
    returns = series(760, seed=3, degrees=6.0)
    walked = every_window(returns, 600, student)
    alone = every_window(returns, 600, student, blocks=np.arange(161))
    for name in ("omega", "alpha", "gamma", "beta"):
        assert_allclose(getattr(walked, name), getattr(alone, name), atol=1e-6)
    assert_allclose(walked.ahead, alone.ahead, rtol=2e-7)
    assert walked.evaluations.mean() < 0.25 * alone.evaluations.mean()


def assert_same(some: EgarchFits, others: EgarchFits, count: int) -> None:
    for name in NAMES:
        assert_array_equal(getattr(some, name)[:count], getattr(others, name)[:count], err_msg=name)
    assert some.refusal[:count] == others.refusal[:count]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_and_what_follows_change_nothing(threads: int) -> None:
    returns = series(300 + 3 * BLOCK, seed=4, degrees=5.0)
    whole = every_window(returns, 300, True, threads=1)
    assert_same(every_window(returns, 300, True, threads=threads), whole, 3 * BLOCK + 1)
    assert_same(every_window(returns[: 300 + BLOCK + 7], 300, True, threads=threads), whole, BLOCK + 8)
    changed = np.append(returns[:450], 9.0 * returns[450:])
    assert_same(every_window(changed, 300, True, threads=threads), whole, 151)


@every_law
def test_windows_of_other_lengths_beside_it_change_nothing(student: bool) -> None:
    returns = series(900, seed=5)
    begin, end = np.array([0, 100, 17, 300]), np.array([400, 377, 900, 550])
    together = fit_windows(returns, begin, end, student, blocks=np.arange(4))
    for w in range(4):
        alone = fit_windows(returns[begin[w] : end[w]].copy(), np.array([0]), end[w : w + 1] - begin[w], student)
        for name in NAMES:
            assert getattr(alone, name)[0] == getattr(together, name)[w], name


@pytest.mark.parametrize("factor", [1e-6, 1e4])
def test_laws_scale_with_the_returns(factor: float) -> None:
    returns = series(640, seed=7)
    some, scaled = every_window(returns, 600, True), every_window(factor * returns, 600, True)
    assert_allclose(scaled.omega, some.omega + (1.0 - some.beta) * 2.0 * math.log(factor), atol=1e-5)
    assert_allclose(scaled.ahead, factor**2 * some.ahead, rtol=1e-5)
    assert_allclose(scaled.loglikelihood, some.loglikelihood - 600 * math.log(factor), rtol=1e-9)


def test_a_mirror_turns_the_answer_to_signs_around() -> None:
    returns = series(620, seed=8)
    some, mirrored = every_window(returns, 600, False), every_window(-returns, 600, False)
    assert_allclose(mirrored.gamma, -some.gamma, atol=1e-6)
    assert_allclose(mirrored.alpha, some.alpha, atol=1e-6)


def test_a_law_whose_filter_forgets_nothing_is_never_found() -> None:
    wild = np.array([0.0, -0.3, 0.2, math.log(0.01), 0.1])
    assert in_lanes([series(300)], False, wild)[0][0] == math.inf
    quiet = 0.01 * np.random.default_rng(0).standard_normal(900)
    fits = every_window(quiet, 600, False)
    for w in np.flatnonzero(fits.converged).tolist()[::60]:
        assert plain_loglikelihood(quiet[w : w + 600], law_at(fits, w))[2] < 0.0


@every_law
def test_what_a_constant_variance_and_the_returns_say_is_what_arithmetic_says(student: bool) -> None:
    returns, nu = series(333, seed=9), 5.0
    law, told = np.array([[-0.02, 0.1, -0.05, 0.9, nu]]), np.empty((1, 4))
    gather_evidence(returns, np.array([0]), np.array([333]), law, np.array([0.3]), student, 0.94, told)
    level, degrees = float(np.mean(returns**2)), nu if student else math.inf
    still = {"omega": math.log(level), "alpha": 0.0, "gamma": 0.0, "beta": 0.0, "degrees": degrees}
    assert told[0, 0] == pytest.approx(np.max(returns**2) / np.sum(returns**2))
    assert told[0, 1] == pytest.approx(plain_loglikelihood(returns, still)[0], rel=1e-12)
    moving = ewma_variance(returns[:, None] ** 2, 0.94, np.array([level]))[-1, 0]
    assert told[0, 2] == pytest.approx(math.exp(0.15) / math.sqrt(moving))
    log = math.log(level)
    for _ in range(333):
        log = -0.02 + 0.1 * (mean_size(nu, student) - USUAL) + 0.9 * log
    assert told[0, 3] == pytest.approx(math.exp(0.5 * log) / math.sqrt(level))


def test_the_mean_size_of_a_t_law_is_that_of_its_quantiles() -> None:
    from scipy import stats

    for nu in (2.5, 4.0, 30.0):
        size = 2.0 * stats.t.expect(lambda x: x, (nu,), lb=0.0) * math.sqrt((nu - 2.0) / nu)
        assert mean_size(nu, True) == pytest.approx(size, rel=1e-6)


@pytest.mark.parametrize(
    ("law", "facts", "said"),
    [
        ({}, {}, ""),
        ({}, {"converged": False}, "did not converge"),
        ({"alpha": math.nan}, {}, "not finite"),
        ({}, {"likelihood": math.inf}, "not finite"),
        ({"beta": 1.0}, {}, "beta must lie between -1 and 1"),
        ({}, {"share": 0.51}, "one return makes 51% of the sum of squares"),
        ({}, {"share": math.nan}, "of the sum of squares"),
        ({}, {"trend": 1e3}, "an explosive process"),
        ({}, {"trend": 1e-3}, "an explosive process"),
        ({}, {"likelihood": -510.2}, "log-likelihood -510.20, constant variance has -510.00"),
        ({}, {"ratio": 11.0}, "forecast 11 times EWMA's"),
        ({}, {"ratio": 0.09}, "forecast 0.09 times EWMA's"),
    ],
)
def test_each_gate_names_what_it_refuses(law: dict[str, float], facts: dict[str, Any], said: str) -> None:
    values = {"omega": 0.0, "alpha": 0.1, "gamma": -0.05, "beta": 0.95, "degrees": 6.0} | law
    told: dict[str, Any] = {"likelihood": -500.0, "converged": True, "share": 0.1, "trend": 1.0, "ratio": 1.0} | facts
    evidence = (told["share"], -510.0, told["ratio"], told["trend"])
    why = refusal(tuple(values.values()), told["likelihood"], told["converged"], evidence)
    assert said in why if said else why == ""


@pytest.mark.parametrize(
    ("returns", "begin", "end"),
    [
        (np.ones(300), 0, 249),
        (np.ones(300), -1, 299),
        (np.ones(300), 0, 301),
        (np.append(np.ones(299), np.nan), 0, 300),
        (np.zeros(300), 0, 300),
    ],
)
def test_a_window_that_cannot_be_fitted_is_refused(returns: Floats, begin: int, end: int) -> None:
    with pytest.raises(ParameterError, match="window"):
        fit_windows(returns, np.array([begin]), np.array([end]))
