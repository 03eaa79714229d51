"""Do the compiled recursions do what the plain loops say, and what a hand says?"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from data import Floats
from data.compiled import plain
from margin_models.kernels.recursions import ewma_variance, garch_variance, horizon_means, peers_mean, weighted_means


def _holed(rows: int, assets: int) -> Floats:
    random = np.random.default_rng(7)
    values: Floats = random.standard_normal((rows, assets))
    values[random.random((rows, assets)) < 0.2] = np.nan
    return values


def _fading(count: int) -> Floats:
    return np.power(0.9, np.arange(count, dtype=np.float64))


def _per_asset(value: float) -> Floats:
    return value * np.array([1.0, 1.1, 0.9])


CALLS: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    (ewma_variance, (_holed(60, 3) ** 2, 0.94, np.ones(3))),
    (garch_variance, (_holed(60, 3), *map(_per_asset, (0.05, 0.06, 0.08, 0.8, 1.0)))),
    (horizon_means, (_holed(60, 3), 4, 5, 30)),
    (weighted_means, (_holed(60, 3), _fading(6), 5, 30)),
    (peers_mean, (_holed(60, 3),)),
]


@pytest.mark.parametrize(("kernel", "arguments"), CALLS, ids=[kernel.__name__ for kernel, _ in CALLS])
def test_a_compiled_recursion_equals_its_plain_loop(kernel: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    expected = plain(kernel)(*arguments)
    assert np.isfinite(expected).any()
    np.testing.assert_array_equal(kernel(*arguments), expected)


def test_a_recursion_leaves_its_starting_variance_as_it_was() -> None:
    start = np.ones(3)
    ewma_variance(_holed(9, 3) ** 2, 0.94, start)
    garch_variance(_holed(9, 3), start, start, start, start, start)
    np.testing.assert_array_equal(start, 1.0)


def test_ewma_by_hand_with_a_hole() -> None:
    variance = ewma_variance(np.array([[1.0], [np.nan], [4.0]]), 0.5, np.array([2.0]))
    assert variance[:, 0].tolist() == [1.5, 1.5, 2.75]


def test_gjr_by_hand_fall_hole_and_rise() -> None:
    """0.1 + 0.3 x 4 + 0.5 x 1, then 0.1 + (0.2 + 0.5) x 1.8 by expectation, then 0.1 + 0.1 x 1 + 0.5 x 1.36."""
    omega, alpha, gamma, beta, start = (np.array([value]) for value in (0.1, 0.1, 0.2, 0.5, 1.0))
    variance = garch_variance(np.array([[-2.0], [np.nan], [1.0]]), omega, alpha, gamma, beta, start)
    np.testing.assert_allclose(variance[:, 0], [1.8, 1.36, 0.88], rtol=1e-15)


def test_horizon_means_by_hand_only_where_asked_for() -> None:
    values = np.array([[9.0], [1.0], [3.0], [np.nan], [7.0], [np.nan], [np.nan]])
    means = horizon_means(values, 2, 3, 1)[:, 0]
    np.testing.assert_array_equal(means, [np.nan, np.nan, 2.0, np.nan, 7.0, np.nan, np.nan])


def test_weighted_means_by_hand_newest_first_every_other_row() -> None:
    """(1 x 5 + 0.5 x 3) / 1.5 at the last row; a hole under the heavier weight leaves less than half before it."""
    values = np.array([[1.0], [2.0], [3.0], [np.nan], [5.0]])
    means = weighted_means(values, np.array([1.0, 0.5]), 2, 2)[:, 0]
    np.testing.assert_allclose(means, [np.nan, 6.5 / 1.5], rtol=1e-15)


def test_peers_mean_by_hand_leaves_out_oneself_and_holes() -> None:
    means = peers_mean(np.array([[1.0, 3.0, np.nan], [np.nan, 2.0, np.nan]]))
    np.testing.assert_array_equal(means, [[3.0, 1.0, 2.0], [2.0, np.nan, 2.0]])


@pytest.mark.parametrize("earlier", [0, 1, 13])
def test_window_means_do_not_depend_on_the_past_before_their_window(earlier: int) -> None:
    values, weights = _holed(80, 2) * 1e3, _fading(5)
    longest = weighted_means(horizon_means(values, 3, 5, 20), weights, 3, 20)
    cut = values[80 - 20 - 14 - earlier :]
    np.testing.assert_array_equal(weighted_means(horizon_means(cut, 3, 5, 20), weights, 3, 20), longest)
    newest = weighted_means(horizon_means(values[-15:], 3, 5, 1), weights, 3, 1)
    np.testing.assert_array_equal(newest, longest[-1:])
