"""Does the kernel that fits every window at once find what a plain loop, differences and arch find, in any order?"""

import math
import subprocess
import sys
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from arch.univariate import GARCH, ConstantMean, Normal, SkewStudent, StudentsT, ZeroMean
from numpy.testing import assert_allclose, assert_array_equal

from data import Floats, ParameterError
from margin_models.kernels import garch_coordinates, garch_rows, garch_windows, quasi_newton
from margin_models.kernels.garch_gates import gather_evidence
from margin_models.volatility.garch_fits import BLOCK, TOLERANCE, Innovations, WindowFits, fit_windows

LAWS = [
    Innovations(asymmetric, student, mean, early)
    for asymmetric in (False, True)
    for student in (False, True)
    for mean, early in ((False, False), (True, False), (True, True))
] + [
    Innovations(asymmetric, True, mean, mean, skewed=True)
    for asymmetric, mean in ((False, False), (False, True), (True, True))
]
every_law = pytest.mark.parametrize("law", LAWS, ids=str)


def series(rows: int, seed: int = 0, degrees: float = 6.0) -> Floats:
    """Percent returns that follow GJR-t about a mean."""
    rng = np.random.default_rng(seed)
    shocks = rng.standard_t(degrees, rows) * math.sqrt((degrees - 2.0) / degrees)
    returns, h = np.empty(rows), 1.3
    for t in range(rows):
        returns[t] = math.sqrt(h) * shocks[t]
        h = 0.05 + (0.04 + 0.08 * (returns[t] < 0.0)) * returns[t] ** 2 + 0.87 * h
    return returns + 0.04


def every_window(returns: Floats, window: int, law: Innovations, **told: Any) -> WindowFits:
    begin = np.arange(len(returns) - window + 1)
    return fit_windows(returns, begin, begin + window, law, **told)


def plain_loglikelihood(returns: Floats, law: Innovations, p: dict[str, float]) -> float:
    """Row by row, with nothing saved."""
    centre = returns.mean() if law.constant_mean else 0.0
    if law.early:
        weights = [0.94**i for i in range(75)]
        before = sum(w * (x - centre) ** 2 for w, x in zip(weights, returns, strict=False)) / sum(weights)
    else:
        before = float(np.mean((returns - p["mean"]) ** 2))
    h = p["omega"] + (p["alpha"] + 0.5 * p["gamma"] + p["beta"]) * before
    total, nu, skew = 0.0, p["degrees"], p.get("skewness", 0.0)
    a, b = 0.0, 1.0
    if law.skewed:  # Hansen (1994), equations 10 to 13
        c = math.gamma(0.5 * (nu + 1.0)) / math.gamma(0.5 * nu) / math.sqrt(math.pi * (nu - 2.0))
        a = 4.0 * skew * c * (nu - 2.0) / (nu - 1.0)
        b = math.sqrt(1.0 + 3.0 * skew**2 - a**2)
    for x in returns.tolist():
        e = x - p["mean"]
        if law.student:
            total += math.lgamma(0.5 * (nu + 1.0)) - math.lgamma(0.5 * nu) - 0.5 * math.log(math.pi * (nu - 2.0) * h)
            z = b * e / math.sqrt(h) + a
            z /= 1.0 + (skew if z >= 0.0 else -skew)
            total += math.log(b) - 0.5 * (nu + 1.0) * math.log(1.0 + z * z / (nu - 2.0))
        else:
            total -= 0.5 * (math.log(2.0 * math.pi * h) + e * e / h)
        h = p["omega"] + (p["alpha"] + p["gamma"] * (e < 0.0)) * e * e + p["beta"] * h
    return total


def law_at(fits: WindowFits, w: int) -> dict[str, float]:
    names = ("mean", "omega", "alpha", "gamma", "beta", "degrees", "skewness")
    return {name: float(getattr(fits, name)[w]) for name in names}


def in_lanes(windows: list[Floats], law: Innovations, point: Floats) -> tuple[Floats, Floats]:
    """Minus the log-likelihood of windows in units, (L,), and its slopes (L, 7), at one point for every lane."""
    lanes, size, rows = garch_rows.LANES, garch_coordinates.SIZE, -(-max(map(len, windows)) // 8) * 8
    kind = garch_windows.Law(int(law.student) + int(law.skewed), law.constant_mean, law.early)
    x, state = np.zeros(rows * lanes), np.zeros(garch_rows.STATE)
    facts, places = np.ones((lanes, garch_windows.FACTS)), np.zeros((lanes, garch_windows.PLACES), np.int64)
    searches = np.zeros((lanes, quasi_newton.SEARCH + size, size))
    searches[:, quasi_newton.TRIAL] = point
    naturals, rising = np.zeros((lanes, size)), np.zeros(size)
    for lane, one in enumerate(windows):
        garch_windows.load(x, lane, one, kind, facts[lane], places[lane])
    garch_windows.set_laws(facts, searches, kind, naturals, state)
    garch_rows.run(x, places[:, garch_windows.COUNT], kind.innovations, state)
    values, slopes = np.empty(len(windows)), np.zeros((len(windows), size))
    for lane, one in enumerate(windows):
        told = garch_windows.loglikelihood(state, lane, len(one), kind, naturals[lane], rising)
        garch_coordinates.downhill(point, naturals[lane], rising, slopes[lane])
        values[lane] = -told
    return values, slopes


@every_law
def test_slopes_are_differences_in_windows_of_any_length(law: Innovations) -> None:
    returns = series(400)
    windows = [returns[: 400 - short] for short in (0, 1, 2, 3, 4, 57, 149)]
    point = np.array([0.05 * law.constant_mean, math.log(0.04), math.log(0.05), 0.1, 0.6, 0.15, 0.2 * law.skewed])
    _, slopes = in_lanes(windows, law, point)
    for i in range(6 + law.skewed):
        step = np.zeros(7)
        step[i] = 1e-5
        difference = (in_lanes(windows, law, point + step)[0] - in_lanes(windows, law, point - step)[0]) / 2e-5
        assert_allclose(slopes[:, i], difference, atol=2e-5, err_msg=f"coordinate {i}")


@every_law
def test_likelihoods_are_those_of_a_plain_loop_and_no_neighbour_is_higher(law: Innovations) -> None:
    returns = series(503, seed=1)
    fits = every_window(returns, 500, law)
    assert fits.converged.all()
    for w in (0, 3):
        found, own = law_at(fits, w), returns[w : w + 500]
        best = plain_loglikelihood(own, law, found)
        assert best == pytest.approx(fits.loglikelihood[w], abs=1e-8)
        free = ["omega", "beta", *["mean"] * law.constant_mean, *["degrees"] * law.student, *["skewness"] * law.skewed]
        for name in free:
            for factor in (0.99, 1.01):
                assert plain_loglikelihood(own, law, found | {name: factor * found[name]}) < best + 1e-9, name


@pytest.mark.parametrize("law", [one for one in LAWS if one.early or not one.constant_mean], ids=str)
def test_no_window_is_less_likely_than_arch_makes_it(law: Innovations) -> None:
    returns = series(1100, seed=2)
    fits = every_window(returns, 700, law)
    for w in (0, 130, 399):
        own = returns[w : w + 700]
        mean = ConstantMean if law.constant_mean else ZeroMean
        innovations = SkewStudent() if law.skewed else StudentsT() if law.student else Normal()
        process = GARCH(1, int(law.asymmetric), 1)
        model = mean(own, volatility=process, distribution=innovations, rescale=False)
        before = None if law.early else float(np.mean(own**2))
        told = model.fit(disp="off", tol=1e-12, options={"maxiter": 1000}, backcast=before)
        assert fits.loglikelihood[w] > told.loglikelihood - 1e-6
        assert fits.loglikelihood[w] == pytest.approx(told.loglikelihood, abs=1e-4)
        assert fits.beta[w] == pytest.approx(told.params["beta[1]"], abs=2e-3)
        if law.skewed:
            assert fits.skewness[w] == pytest.approx(told.params["lambda"], abs=1e-4)


@every_law
@pytest.mark.parametrize(("tolerance", "apart"), [(1e-13, 2e-7), (TOLERANCE, 5e-6)])
def test_a_walk_ends_where_a_search_of_each_window_alone_ends(law: Innovations, tolerance: float, apart: float) -> None:
    returns = series(560, seed=3)
    walked = every_window(returns, 400, law, tolerance=tolerance)
    alone = every_window(returns, 400, law, blocks=np.arange(161), tolerance=tolerance)
    for name in ("mean", "omega", "alpha", "gamma", "beta"):
        assert_allclose(getattr(walked, name), getattr(alone, name), atol=apart)
    assert_allclose(walked.loglikelihood, alone.loglikelihood, atol=2.0 * tolerance + 1e-9)
    assert walked.evaluations.mean() < 0.25 * alone.evaluations.mean()


@pytest.mark.parametrize("law", [Innovations(a, s, True) for a in (False, True) for s in (False, True)], ids=str)
@pytest.mark.parametrize(("name", "first"), [("sp500", 3600), ("wti", 7000)])
def test_a_walk_over_prices_stays_on_the_highest_summit(name: str, first: int, law: Innovations) -> None:
    """The S&P 500 and oil: windows where a search from the one before alone ends up to 2 below the best."""
    closes = import_module(f"arch.data.{name}").load().iloc[:, 4 if name == "sp500" else 0].dropna()
    returns = 100.0 * closes.pct_change().dropna().to_numpy()[first : first + 1300]
    walked = every_window(returns, 1000, law)
    alone = every_window(returns, 1000, law, blocks=np.arange(301))
    assert np.all(walked.loglikelihood > alone.loglikelihood - 1e-6)


def assert_same(some: WindowFits, others: WindowFits, count: int) -> None:
    for name in ("mean", "omega", "alpha", "gamma", "beta", "degrees", "skewness", "loglikelihood", "evaluations"):
        assert_array_equal(getattr(some, name)[:count], getattr(others, name)[:count], err_msg=name)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_and_what_follows_change_nothing(threads: int) -> None:
    law, returns = Innovations(True, True), series(300 + 3 * BLOCK, seed=4)
    whole = every_window(returns, 300, law, threads=1)
    assert_same(every_window(returns, 300, law, threads=threads), whole, 3 * BLOCK + 1)
    few = every_window(returns[: 300 + BLOCK + 7], 300, law, threads=threads)
    assert_same(few, whole, BLOCK + 8)
    changed = np.append(returns[:450], 9.0 * returns[450:])
    assert_same(every_window(changed, 300, law, threads=threads), whole, 151)


def test_windows_of_other_lengths_beside_it_change_nothing() -> None:
    law, returns = Innovations(student=True), series(900, seed=5)
    begin, end = np.array([0, 100, 17, 300]), np.array([400, 377, 900, 550])
    together = fit_windows(returns, begin, end, law, blocks=np.arange(4))
    for w in range(4):
        alone = fit_windows(returns[begin[w] : end[w]].copy(), np.array([0]), end[w : w + 1] - begin[w], law)
        assert alone.loglikelihood[0] == together.loglikelihood[w]
        assert alone.beta[0] == together.beta[w]


def test_another_process_finds_the_same_bits() -> None:
    code = (
        "import numpy as np; from margin_models.volatility.garch_fits import *; "
        "x = np.random.default_rng(6).standard_t(5, 400); b = np.arange(100); "
        "f = fit_windows(x, b, b + 300, Innovations(True, True), threads=2); "
        "print(np.column_stack([f.omega, f.alpha, f.gamma, f.beta, f.loglikelihood]).tobytes().hex())"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    returns, begin = np.random.default_rng(6).standard_t(5, 400), np.arange(100)
    fits = fit_windows(returns, begin, begin + 300, Innovations(True, True), threads=1)
    here = np.column_stack([fits.omega, fits.alpha, fits.gamma, fits.beta, fits.loglikelihood])
    assert here.tobytes().hex() == told


@pytest.mark.parametrize("factor", [1e-6, 1e4])
def test_laws_scale_with_the_returns(factor: float) -> None:
    returns, law = series(420, seed=7), Innovations(True, True, True)
    some, scaled = every_window(returns, 400, law), every_window(factor * returns, 400, law)
    assert_allclose(scaled.omega, factor**2 * some.omega, rtol=1e-5)
    assert_allclose(scaled.mean, factor * some.mean, atol=1e-6 * factor)
    assert_allclose(scaled.loglikelihood, some.loglikelihood - 400 * math.log(factor), rtol=1e-9)


@pytest.mark.parametrize("skewed", [False, True])
def test_a_mirror_swaps_rises_and_falls(skewed: bool) -> None:
    returns, law = series(400, seed=8), Innovations(True, True, True, skewed=skewed)
    some, mirrored = every_window(returns, 400, law), every_window(-returns, 400, law)
    assert_allclose(mirrored.gamma, -some.gamma, atol=1e-6)
    assert_allclose(mirrored.alpha, some.alpha + some.gamma, atol=1e-6)
    assert_allclose(mirrored.skewness, -some.skewness, atol=1e-6)


def test_the_skewness_of_a_simulated_law_is_found_and_none_where_there_is_none() -> None:
    rng = np.random.default_rng(11)
    uniform, skew, nu = rng.uniform(size=6000), -0.3, 6.0
    shocks = np.asarray(SkewStudent().ppf(uniform, np.array([nu, skew])))
    assert_allclose([shocks.mean(), shocks.std()], [0.0, 1.0], atol=0.05)
    law = Innovations(student=True, constant_mean=True, skewed=True)
    (found,) = every_window(shocks, 6000, law).skewness
    assert found == pytest.approx(skew, abs=4.0 * math.sqrt(2.0 / 6000))
    (none,) = every_window(rng.standard_t(nu, 6000), 6000, law).skewness
    assert none == pytest.approx(0.0, abs=4.0 * math.sqrt(2.0 / 6000))


def test_a_skewed_law_without_skewness_is_a_t_law() -> None:
    returns = series(300)
    plain, skewed = Innovations(True, True, True), Innovations(True, True, True, skewed=True)
    point = np.array([0.05, math.log(0.04), math.log(0.05), 0.1, 0.6, 0.15, 0.0])
    (some, slopes), (others, more) = in_lanes([returns], plain, point), in_lanes([returns], skewed, point)
    assert_allclose(others, some, rtol=1e-13)
    assert_allclose(more[:, :6], slopes[:, :6], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("nu", [2.05, 2.5, 4.0, 19.9, 20.1, 500.0])
def test_the_centre_of_a_t_law_and_its_slope(nu: float) -> None:
    def direct(n: float) -> float:
        return math.lgamma(0.5 * (n + 1.0)) - math.lgamma(0.5 * n) - 0.5 * math.log(math.pi * (n - 2.0))

    value, slope = garch_coordinates.student_constant(nu)
    assert value == pytest.approx(direct(nu), abs=1e-12)
    assert slope == pytest.approx((direct(nu * (1 + 1e-5)) - direct(nu * (1 - 1e-5))) / (2e-5 * nu), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize(("student", "skew"), [(False, 0.0), (True, 0.0), (True, -0.25)])
def test_what_simpler_laws_say_is_what_arithmetic_says(student: bool, skew: float) -> None:
    returns, nu = series(333, seed=9), 5.0
    law = np.array([[0.0, 0.1, 0.05, 0.15, 0.8, nu, skew]])
    told = np.empty((1, 5))
    gather_evidence(returns, np.array([0]), np.array([333]), law, student, 0.94, 0.9, told)
    kind, level = Innovations(student=student, skewed=skew != 0.0), float(np.mean(returns**2))
    still = {"mean": 0.0, "omega": level, "alpha": 0.0, "gamma": 0.0, "beta": 0.0, "degrees": nu, "skewness": skew}
    moving = still | {"omega": 0.0, "alpha": 0.06, "beta": 0.94}
    assert told[0, 0] == pytest.approx(np.max(returns**2) / np.sum(returns**2))
    assert told[0, 1] == pytest.approx(plain_loglikelihood(returns, kind, still), rel=1e-12)
    assert told[0, 2] == pytest.approx(plain_loglikelihood(returns, kind, moving), rel=1e-12)
    one, two, three = (
        plain_loglikelihood(returns, kind, still | {"omega": 0.1, "alpha": 0.05 * k, "gamma": 0.1 * k, "beta": 0.8 * k})
        for k in (1.0, 1.01, 1.02)
    )
    assert told[0, 4] == pytest.approx(min(two - one, three - two), rel=1e-9)
    ewma, ahead = level, 0.1 + 0.9 * level
    for x in returns.tolist():
        ewma, ahead = 0.94 * ewma + 0.06 * x * x, 0.1 + (0.15 if x < 0.0 else 0.05) * x * x + 0.8 * ahead
    assert told[0, 3] == pytest.approx(math.sqrt(ahead / ewma))


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
        fit_windows(returns, np.array([begin]), np.array([end]), Innovations())
