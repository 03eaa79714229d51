"""Is a surface what its figures say, between, beyond and without them, and is arbitrage seen where it is?"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import Floats
from data.compiled import plain
from data.surface import (
    butterfly_violation,
    calendar_violation,
    durrleman,
    implied_volatility,
    smile_shape,
    smile_variance,
    volatilities_at,
)
from data.surface_kernels import (
    KNOTS,
    WING,
    clamp,
    panel_volatilities,
    smile_shapes,
    smile_variances,
    surface_volatilities,
)

NEAR = [0.1, 0.0, 0.01, 0.05, -0.3, 0.02, 0.15]
FAR = [0.5, 0.0, 0.06, 0.10, -0.3, 0.02, 0.30]
CUBIC = [1.0, 1.0, 0.30, 0.22, 0.20, 0.205, 0.24]
PADDING = [np.nan] * 7
SURFACE = np.array([NEAR, FAR, CUBIC, PADDING])


def _svi(smile: Floats, k: Floats) -> Floats:
    """The clamped formula, a second time, in numpy."""
    _, _, a, b, rho, m, s = smile
    edge = WING * np.sqrt(a + b * (-rho * m + np.hypot(m, s)))
    k = np.clip(k, -edge, edge)
    return np.asarray(a + b * (rho * (k - m) + np.sqrt((k - m) ** 2 + s**2)))


def _pchip(smile: Floats, k: Floats, derivative: int = 0) -> Floats:
    from scipy.interpolate import PchipInterpolator

    knots = np.linspace(-KNOTS, KNOTS, 5) * np.sqrt(smile[4])
    return np.asarray(PchipInterpolator(knots, smile[2:])(np.clip(k, knots[0], knots[-1]), derivative))


# Kernels

POINTS = np.linspace(-2.0, 2.0, 23)
TENORS = np.linspace(-0.1, 1.4, 23)
CALLS: list[tuple[Callable[..., Any], tuple[Any, ...], tuple[int, ...]]] = [
    (smile_variances, (SURFACE[0], POINTS), (23,)),
    (smile_variances, (SURFACE[2], POINTS), (23,)),
    (smile_shapes, (SURFACE[1], POINTS), (3, 23)),
    (smile_shapes, (SURFACE[2], POINTS / 3), (3, 23)),
    (surface_volatilities, (SURFACE, POINTS, TENORS), (23,)),
    (panel_volatilities, (np.stack([SURFACE, SURFACE[::-1]]), np.full(2, 0.1), 0.3), (2,)),
]


@pytest.mark.parametrize(("kernel", "arguments", "shape"), CALLS)
def test_a_compiled_loop_equals_its_plain_loop(
    kernel: Callable[..., Any], arguments: tuple[Any, ...], shape: tuple[int, ...]
) -> None:
    told, expected = np.empty(shape), np.empty(shape)
    kernel(*arguments, told)
    plain(kernel)(*arguments, expected)
    assert np.isfinite(expected).any()
    np.testing.assert_allclose(told, expected, rtol=1e-13, atol=1e-15)


@given(
    st.floats(0.001, 1.0),
    st.floats(0.0, 2.0),
    st.floats(-0.99, 0.99),
    st.floats(-1.0, 1.0),
    st.floats(0.01, 2.0),
)
def test_raw_svi_is_its_formula_up_to_the_clamp(a: float, b: float, rho: float, m: float, s: float) -> None:
    smile = np.array([1.0, 0.0, a, b, rho, m, s])
    k = np.linspace(-8.0, 8.0, 41)
    np.testing.assert_allclose(smile_variance(smile, k), _svi(smile, k), rtol=1e-12)


@given(st.lists(st.floats(0.01, 2.0), min_size=5, max_size=5))
def test_the_cubic_is_scipys_pchip_and_flat_outside(variance: list[float]) -> None:
    smile = np.array([1.0, 1.0, *variance])
    k = np.linspace(-4.0, 4.0, 57) * np.sqrt(variance[2])
    np.testing.assert_allclose(smile_variance(smile, k), _pchip(smile, k), rtol=1e-10)
    inside = k[np.abs(k) < KNOTS * np.sqrt(variance[2]) * 0.999]
    off_knots = inside[np.abs(inside / np.sqrt(variance[2]) - np.round(inside / np.sqrt(variance[2]))) > 1e-6]
    shape = smile_shape(smile, off_knots)
    for order in range(3):
        expected = _pchip(smile, off_knots, order)
        np.testing.assert_allclose(shape[order], expected, rtol=1e-8, atol=1e-8 * (1 + np.abs(expected).max()))


@pytest.mark.parametrize("smile", [NEAR, FAR, CUBIC])
def test_derivatives_are_those_of_the_variance(smile: list[float]) -> None:
    row, step = np.array(smile), 1e-5
    k = np.linspace(-0.33, 0.31, 40)
    low, mid, high = (smile_variance(row, k + shift) for shift in (-step, 0.0, step))
    shape = smile_shape(row, k)
    np.testing.assert_allclose(shape[0], mid, rtol=1e-12)
    np.testing.assert_allclose(shape[1], (high - low) / (2 * step), atol=1e-7)
    np.testing.assert_allclose(shape[2], (high - 2 * mid + low) / step**2, atol=2e-4)


# Between, beyond, without


def test_total_variance_is_linear_in_tenor_at_fixed_moneyness() -> None:
    k = np.array([-0.4, 0.0, 0.3])
    for tenor, share in ((0.1, 0.0), (0.2, 0.25), (0.3, 0.5), (0.5, 1.0)):
        expected = (1 - share) * smile_variance(SURFACE[0], k) + share * smile_variance(SURFACE[1], k)
        told = implied_volatility(SURFACE, k, np.full(3, tenor))
        np.testing.assert_allclose(told**2 * tenor, expected, rtol=1e-12)


def test_volatility_is_flat_before_the_first_and_beyond_the_last_tenor() -> None:
    k = np.array([-0.2, 0.0, 0.2])
    for tenors, smile in (((-1.0, 0.0, 0.01, 0.1), SURFACE[0]), ((1.0, 1.5, 9.0), SURFACE[2])):
        for tenor in tenors:
            told = implied_volatility(SURFACE, k, np.full(3, tenor))
            np.testing.assert_allclose(told, np.sqrt(smile_variance(smile, k) / smile[0]), rtol=1e-12)


def test_volatility_is_flat_beyond_the_clamp() -> None:
    edge = clamp(SURFACE[0])
    assert edge == pytest.approx(WING * np.sqrt(_svi(SURFACE[0], np.zeros(1))[0]))
    k = np.array([-9.0, -edge, edge, 9.0])
    left, at_left, at_right, right = implied_volatility(SURFACE, k, np.full(4, 0.1))
    assert (left, right) == (at_left, at_right)
    assert left != right


def test_what_is_unknown_stays_unknown() -> None:
    k, tenor = np.array([0.0, np.nan, 0.0]), np.array([0.3, 0.3, np.nan])
    assert np.isnan(implied_volatility(SURFACE, k, tenor)).tolist() == [False, True, True]
    assert np.isnan(implied_volatility(np.array([PADDING]), np.zeros(2), np.ones(2))).all()
    assert np.isnan(smile_variance(np.array([1.0, 0, -0.1, 0, 0, 0, 1]), np.zeros(1))).all()


def test_padding_changes_nothing() -> None:
    k, tenor = np.linspace(-1, 1, 9), np.linspace(0, 2, 9)
    np.testing.assert_array_equal(implied_volatility(SURFACE, k, tenor), implied_volatility(SURFACE[:3], k, tenor))


def test_a_panel_of_surfaces_is_read_surface_by_surface() -> None:
    k = np.array([0.0, -0.2, 0.0])
    panel = volatilities_at(np.stack([SURFACE, SURFACE, np.full((4, 7), np.nan)]), k, 0.3)
    np.testing.assert_array_equal(panel[:2], implied_volatility(SURFACE, k[:2], np.full(2, 0.3)))
    assert np.isnan(panel[2])


# Arbitrage


def test_the_smile_of_axel_vogt_has_a_butterfly_arbitrage() -> None:
    """Gatheral and Jacquier (2014), example 3.1 and figure 1: g falls below zero between k = 0.5 and 1.5."""
    smile = np.array([1.0, 0.0, -0.0410, 0.1331, 0.3060, 0.3586, 0.4153])
    grid = np.linspace(-1.5, 1.5, 601)
    g = durrleman(smile_shape(smile, grid), grid)
    assert butterfly_violation(smile, grid) == g.min() < -0.01
    assert 0.5 < grid[g < 0].min() < grid[g < 0].max() < 1.5
    assert butterfly_violation(smile, np.linspace(-1.0, 0.4, 99)) > 0


def test_durrlemans_g_is_the_sign_of_the_density() -> None:
    """g phi(d2) / sqrt(w) is the density of the log price over its forward: it holds one in all, and one on average."""
    smile = np.array([0.25, 0.0, 0.02, 0.08, -0.3, 0.0, 0.2])
    k = np.linspace(-8.0, 8.0, 20001)
    shape = smile_shape(smile, k)
    d2 = -k / np.sqrt(shape[0]) - np.sqrt(shape[0]) / 2
    density = durrleman(shape, k) * np.exp(-(d2**2) / 2) / np.sqrt(2 * np.pi * shape[0])
    assert np.trapezoid(density, k) == pytest.approx(1.0, abs=1e-8)
    assert np.trapezoid(density * np.exp(k), k) == pytest.approx(1.0, abs=1e-8)


def test_flat_volatility_has_g_of_one() -> None:
    flat = np.array([1.0, 0.0, 0.25, 0.0, 0.0, 0.0, 1.0])
    assert butterfly_violation(flat) == 1.0
    assert butterfly_violation(np.array([1.0, 0.0, -0.25, 0.0, 0.0, 0.0, 1.0])) == -np.inf


def test_calendar_violation_is_the_least_slope_of_total_variance() -> None:
    flat = [[0.25, 0, 0.09, 0, 0, 0, 1], [1.0, 0, 0.25, 0, 0, 0, 1], [2.0, 0, 0.23, 0, 0, 0, 1]]
    assert calendar_violation(np.array(flat[:1])) == np.inf
    assert calendar_violation(np.array([*flat[:2], PADDING])) == pytest.approx(0.16 / 0.75)
    assert calendar_violation(np.array(flat)) == pytest.approx(-0.02)
