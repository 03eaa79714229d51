import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from data import ConvergenceError, Floats, ParameterError
from data.compiled import plain
from margin_models.generalised_pareto import (
    LEAST_EXCESSES,
    SHAPES,
    ParetoTail,
    fit_tail,
    fit_tails,
    refusals,
    standard_errors,
    tail_beyond,
)
from margin_models.kernels.pareto import fit_excesses, slope


def drawn(shape: float, scale: float, count: int, seed: int = 1) -> Floats:
    """Excesses of the law by inversion."""
    uniform = np.random.default_rng(seed).random(count)
    return np.asarray(scale * (np.expm1(-shape * np.log(uniform)) / shape if shape else -np.log(uniform)))


def density(excess: Floats, shape: float, scale: float) -> float:
    from scipy.stats import genpareto

    return float(genpareto.logpdf(excess, shape, scale=scale).sum())


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.2, 0.6])
def test_the_law_of_simulated_excesses_is_found_within_three_standard_errors(shape: float) -> None:
    tail = fit_tail(drawn(shape, 2.0, 4000), 0.0)
    assert abs(tail.shape - shape) < 3.0 * tail.shape_error
    assert abs(tail.scale - 2.0) < 3.0 * tail.scale_error
    # asymptotic variance (1 + shape)^2 / n of the shape, 2 scale^2 (1 + shape) / n of the scale (Smith, 1985)
    assert tail.shape_error == pytest.approx((1.0 + shape) / np.sqrt(4000), rel=0.12)
    assert tail.scale_error == pytest.approx(2.0 * np.sqrt(2.0 * (1.0 + shape) / 4000), rel=0.12)


def test_standard_errors_are_as_wide_as_estimates_scatter() -> None:
    laws = fit_tails(drawn(0.2, 1.0, 400 * 300).reshape(400, 300))
    told = [standard_errors(row, 0.2, 1.0) for row in drawn(0.2, 1.0, 20 * 300, seed=4).reshape(20, 300)]
    assert np.std(laws[0]) == pytest.approx(np.mean([one[0] for one in told]), rel=0.12)
    assert np.std(laws[1]) == pytest.approx(np.mean([one[1] for one in told]), rel=0.12)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("shape", [-0.2, 0.05, 0.5])
def test_no_other_law_near_or_far_is_likelier(shape: float, seed: int) -> None:
    excess = drawn(shape, 3.0, 60, seed)
    found, scale, loglikelihood = (float(value[0]) for value in fit_tails(excess[None]))
    assert loglikelihood == pytest.approx(density(excess, found, scale), rel=1e-12)
    for other in np.linspace(-0.45, 1.5, 79):
        for factor in np.geomspace(0.2, 5.0, 41):
            assert density(excess, other, scale * factor) <= loglikelihood + 1e-9


def test_the_information_is_the_curvature_of_the_likelihood() -> None:
    excess = drawn(0.3, 2.0, 500)
    for shape in (0.3, 5e-4, 0.05):
        at, step = np.array([shape, 2.5]), np.array([1e-4, 1e-4])
        hessian = np.empty((2, 2))
        for i in range(2):
            for j in range(2):
                moves = [(s, t) for s in (1, -1) for t in (1, -1)]
                corners = [at + s * step * np.eye(2)[i] + t * step * np.eye(2)[j] for s, t in moves]
                signs = [s * t for s, t in moves]
                told = [density(excess, *corner) for corner in corners]
                hessian[i, j] = sum(sign * value for sign, value in zip(signs, told, strict=True)) / 4e-8
        expected = np.sqrt(np.diag(np.linalg.inv(-hessian))) if np.all(np.linalg.eigvalsh(-hessian) > 0) else np.nan
        assert_allclose(standard_errors(excess, shape, 2.5), np.broadcast_to(expected, 2), rtol=1e-3)


def test_the_quantile_and_the_shortfall_by_hand() -> None:
    """A tenth beyond 10, shape a half, scale 2: at 99.6 % a share of 0.04 of it is left, and 10 + 4 (5 - 1) = 26."""
    tail = ParetoTail(10.0, 0.5, 2.0, 0.1, 0.1, -1.0, 100, 1000)
    assert tail.quantile(0.996) == pytest.approx(26.0)
    assert tail.shortfall(0.996) == pytest.approx((26.0 + 2.0 - 5.0) / 0.5)
    assert tail.quantile(0.9) == pytest.approx(10.0)
    with pytest.raises(ParameterError, match=r"a level from 0.9 up to 1 .* got 0.8"):
        tail.quantile(0.8)
    with pytest.raises(ParameterError, match="got 1"):
        tail.quantile(1.0)


def test_the_exponential_law_is_the_limit() -> None:
    one = np.ones(1)
    limit = tail_beyond(one, 0.0 * one, 2.0 * one, 0.1, 0.999)
    near = tail_beyond(one, 1e-9 * one, 2.0 * one, 0.1, 0.999)
    assert_allclose(limit, [[1.0 + 2.0 * np.log(100.0)], [3.0 + 2.0 * np.log(100.0)]])
    assert_allclose(near, limit, rtol=1e-7)


def test_the_slope_of_the_profile_has_no_step_where_the_series_begins() -> None:
    excess = drawn(0.1, 1.0, 80)
    excess = excess / excess.mean()
    for theta in (3e-6, -3e-6):
        assert_allclose(slope(excess, theta, True), slope(excess, theta, False), rtol=1e-4, atol=1e-9)


def test_excesses_of_an_exponential_moment_ratio_have_a_shape_of_nothing() -> None:
    """Where the mean square is twice the squared mean the profile peaks at zero, where the quotients are 0 / 0."""
    excess = np.append(drawn(-0.2, 1.0, 99), 0.0)
    low, high = 0.0, 50.0
    for _ in range(200):  # the last value that makes it so
        excess[-1] = 0.5 * (low + high)
        low, high = (excess[-1], high) if np.mean(excess**2) < 2.0 * np.mean(excess) ** 2 else (low, excess[-1])
    shape, scale, _ = fit_tails(excess[None])
    assert abs(shape[0]) < 1e-6
    assert scale[0] == pytest.approx(excess.mean(), rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.floats(-0.4, 0.8), st.integers(20, 120), st.integers(0, 10**6), st.floats(1e-6, 1e6))
def test_a_fit_scales_and_forgets_the_order(shape: float, count: int, seed: int, factor: float) -> None:
    excess = drawn(shape, 1.0, count, seed)
    once, scaled = fit_tails(excess[None]), fit_tails(factor * excess[None])
    if np.isfinite(once[0][0]):
        assert_allclose(scaled[0], once[0], rtol=1e-7, atol=1e-9)
        assert_allclose(scaled[1], factor * once[1], rtol=1e-7)
        assert_allclose(fit_tails(excess[None, ::-1])[1], once[1], rtol=1e-7)


def test_the_kernel_equals_its_plain_loop() -> None:
    excess = np.stack([drawn(shape, 2.0, 40, seed) for seed, shape in enumerate((-0.4, -0.1, 0.0, 0.3, 0.8, 0.1))])
    excess[-1] = 0.0
    looped = np.empty((3, len(excess)))
    with np.errstate(all="ignore"):
        plain(fit_excesses)(excess, *looped)
    assert_allclose(looped, np.array(fit_tails(excess)), rtol=1e-9)
    assert np.isnan(looped[:, -1]).all()
    assert np.isfinite(looped[:, :-1]).all()


def test_each_gate_names_what_it_refuses() -> None:
    uniform = np.linspace(0.01, 1.0, 40)  # the likelihood is greatest where the law ends at the largest value
    heavy = np.exp(np.linspace(-3.0, 5.0, 40))
    rows = np.stack([drawn(0.2, 1.0, 40), uniform, heavy, np.ones(40), np.zeros(40), heavy**3])
    told = refusals(rows, *fit_tails(rows)).tolist()
    assert told[0] == ""
    assert "no maximum" in told[1] or "a shape outside" in told[1]
    assert told[2:5] == [f"a shape outside {SHAPES[0]} to {SHAPES[1]}"] + 2 * ["exceedances without variation"]
    assert told[5] == "no maximum of the likelihood inside"
    few = rows[:1, : LEAST_EXCESSES - 1]
    assert refusals(few, *fit_tails(few)).tolist() == [f"fewer than {LEAST_EXCESSES} exceedances"]
    assert_array_equal(refusals(rows[:1], np.zeros(1), np.ones(1), np.array([np.inf])) == "", False)


def test_a_refused_tail_is_an_error_that_says_why() -> None:
    losses = drawn(0.2, 1.0, 500)
    with pytest.raises(ConvergenceError, match=r"beyond 5.5 is refused: fewer than 20"):
        fit_tail(losses, 5.5)
    with pytest.raises(ConvergenceError, match=r"500 losses, none beyond 1000"):
        fit_tail(losses, 1000.0)
    with pytest.raises(ParameterError, match="must be finite"):
        fit_tail(np.append(losses, np.nan), 1.0)
    with pytest.raises(ParameterError, match="must be finite"):
        fit_tail(losses, np.inf)
