"""Do realised measures and range volatilities give what a hand computes, and find a variance that is known?"""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import DataError, Floats, HistoryError, ParameterError
from data.flow.range_volatility import (
    close_to_close,
    garman_klass,
    garman_klass_overnight,
    parkinson,
    rogers_satchell,
    sound_bars,
    yang_zhang,
)
from data.flow.realised import (
    bipower_variation,
    median_variance,
    minimum_variance,
    preaveraged_variance,
    realised_covariance,
    realised_kernel,
    realised_quarticity,
    realised_semivariances,
    realised_variance,
    subsampled_variance,
    two_scale_variance,
)

R = np.array([0.01, -0.02, 0.03, 0.0])
ON_BARS = (parkinson, garman_klass, garman_klass_overnight, rogers_satchell, yang_zhang)
ROBUST = (bipower_variation, median_variance, minimum_variance)


def test_measures_by_hand() -> None:
    assert realised_variance(R) == pytest.approx(14e-4)
    assert realised_semivariances(R) == pytest.approx((4e-4, 10e-4))
    assert bipower_variation(R) == pytest.approx(math.pi / 2 * (2e-4 + 6e-4 + 0))
    assert median_variance(R) == pytest.approx(math.pi / (6 - 4 * math.sqrt(3) + math.pi) * 4 / 2 * (4e-4 + 4e-4))
    assert minimum_variance(R) == pytest.approx(math.pi / (math.pi - 2) * 4 / 3 * (1e-4 + 4e-4 + 0))
    assert realised_quarticity(R) == pytest.approx(4 / 3 * (1e-8 + 16e-8 + 81e-8))
    assert realised_covariance(R, R[::-1]) == pytest.approx(2 * (-0.02 * 0.03))
    # Weights at 1/2: Parzen's 1/4, twice.
    assert realised_kernel(R, 1) == pytest.approx(14e-4 + 0.5 * (-2e-4 - 6e-4))
    assert realised_kernel(R, 0) == pytest.approx(14e-4)
    # Two grids: (-0.01, 0.03) of all four steps, (0.01) of two.
    assert subsampled_variance(R, 2) == pytest.approx(0.5 * (1e-4 + 9e-4 + 2 * 1e-4))
    assert two_scale_variance(R, 2) == pytest.approx(2 * (6e-4 - 7e-4))


def test_an_interval_a_row_and_a_hole_in_one_alone() -> None:
    two = np.stack([R, 2 * R])
    two[0, 2] = math.nan
    for measure in (realised_variance, *ROBUST):
        told = measure(two)
        assert np.isnan(told[0])
        assert told[1] == measure(2 * R)


def _walk(count: int, days: int, noise: float = 0.0) -> Floats:
    """Returns of days of a price with a variance of 1e-4 a day, observed with noise."""
    rng = np.random.default_rng(11)
    price = np.cumsum(rng.normal(0, 1e-2 / math.sqrt(count), (days, count + 1)), axis=1)
    return np.diff(price + rng.normal(0, noise, price.shape), axis=1)


@pytest.mark.parametrize("measure", [realised_variance, *ROBUST])
def test_measures_find_the_variance_of_a_walk(measure: Any) -> None:
    assert measure(_walk(390, 400)).mean() == pytest.approx(1e-4, rel=0.02)


@pytest.mark.parametrize("measure", ROBUST)
def test_a_jump_moves_the_robust_measures_little(measure: Any) -> None:
    jumped = _walk(390, 400)
    jumped[:, 100] += 0.02
    assert realised_variance(jumped).mean() == pytest.approx(5e-4, rel=0.05)
    assert measure(jumped).mean() < 1.3e-4


@pytest.mark.parametrize(
    "measure",
    [
        lambda r: realised_kernel(r, 60),
        lambda r: two_scale_variance(r, 60),
        preaveraged_variance,
        lambda r: preaveraged_variance(r, 1.0),
    ],
)
def test_noise_robust_measures_find_the_variance_beneath(measure: Any) -> None:
    noisy = _walk(2340, 300, noise=2e-4)
    assert realised_variance(noisy).mean() > 2.5e-4
    assert measure(noisy).mean() == pytest.approx(1e-4, rel=0.05)


def test_noise_without_a_price_beneath_is_no_variance() -> None:
    noise = np.diff(np.random.default_rng(3).normal(0, 1e-3, (400, 2341)), axis=1)
    for measure in (preaveraged_variance, lambda r: two_scale_variance(r, 60)):
        assert abs(measure(noise).mean()) < 5e-4 * realised_variance(noise).mean()


@given(st.lists(st.floats(-0.1, 0.1), min_size=12, max_size=40), st.integers(0, 10))
def test_semivariances_add_up_and_the_kernel_is_never_negative(values: list[float], lags: int) -> None:
    r = np.array(values)
    assert sum(realised_semivariances(r)) == pytest.approx(realised_variance(r))
    assert realised_kernel(r, lags) >= 0


def bars(days: int, drift: float = 0.0, jump: float = 0.0) -> tuple[Floats, Floats, Floats, Floats]:
    """Open, high, low, close of days of 200 steps with a variance of 1e-4, and jumps between them."""
    rng = np.random.default_rng(5)
    path = np.cumsum(rng.normal(drift / 200, 1e-2 / math.sqrt(200), (days, 200)), axis=1)
    start = np.cumsum(np.append(0.0, path[:-1, -1])) + np.cumsum(rng.normal(0, jump, days))
    high, low = np.maximum(path.max(axis=1), 0), np.minimum(path.min(axis=1), 0)
    return tuple(np.exp(start + part) for part in (np.zeros(days), high, low, path[:, -1]))  # type: ignore[return-value]


@pytest.mark.parametrize("estimator", ON_BARS)
def test_ranges_find_the_volatility_of_a_walk(estimator: Any) -> None:
    # 200 steps miss the extremes of a path by a little: ranges are biased down, by 5 to 8 % here.
    told = estimator(*bars(3000), 3000)[-1]
    assert 0.90e-2 < told < 1.005e-2
    assert estimator(*bars(3000), 3000, 365.0)[-1] == pytest.approx(told * math.sqrt(365))


def test_drift_free_estimators_stay_right_under_drift_and_yang_zhang_sees_jumps() -> None:
    drifting = bars(3000, drift=0.03)
    assert rogers_satchell(*drifting, 3000)[-1] < 1.02e-2
    assert parkinson(*drifting, 3000)[-1] > 1.5e-2
    jumping = bars(3000, jump=0.02)
    assert yang_zhang(*jumping, 3000)[-1] == pytest.approx(math.sqrt(5e-4), rel=0.05)
    assert garman_klass_overnight(*jumping, 3000)[-1] == pytest.approx(math.sqrt(5e-4), rel=0.05)
    assert garman_klass(*jumping, 3000)[-1] < 1.02e-2


def test_ranges_by_hand() -> None:
    one = np.array([[100.0, 100.0], [110.0, 110.0], [95.0, 95.0], [105.0, 105.0]])
    bar = one[0], one[1], one[2], one[3]
    up, width, end = math.log(1.1), math.log(110 / 95), math.log(1.05)
    down = math.log(0.95)
    assert parkinson(*bar, 2)[-1] == pytest.approx(width / math.sqrt(4 * math.log(2)))
    assert garman_klass(*bar, 2)[-1] == pytest.approx(math.sqrt(width**2 / 2 - (2 * math.log(2) - 1) * end**2))
    assert rogers_satchell(*bar, 2)[-1] == pytest.approx(math.sqrt((up - end) * up + (down - end) * down))
    assert close_to_close(np.array([100.0, 110.0, 100.0]), 3, 4.0)[-1] == pytest.approx(2 * math.sqrt(2) * up)


@pytest.mark.parametrize("wrong", [(1, 9.0), (2, 11.5), (0, 0.0), (3, math.nan), (2, -1.0), (1, math.inf)])
def test_a_bar_that_cannot_be_is_left_out(wrong: tuple[int, float]) -> None:
    good = np.tile([[10.0], [12.0], [9.0], [11.0]], 6)
    bad = good.copy()
    bad[wrong[0], 2] = wrong[1]
    assert sound_bars(bad[0], bad[1], bad[2], bad[3]).tolist() == [True, True, False, True, True, True]
    sound: tuple[Any, ...] = (parkinson, garman_klass, rogers_satchell)
    for estimator in sound:
        assert estimator(*bad, 4).tolist() == pytest.approx(estimator(*good, 4).tolist(), nan_ok=True)
        assert np.isnan(estimator(*bad, 1)[2])


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: median_variance(R[:2]), HistoryError, "at least 3 returns"),
        (lambda: realised_kernel(R, 4), HistoryError, "at least 5 returns"),
        (lambda: realised_kernel(R, -1), ParameterError, "bandwidth must be >= 0, got -1"),
        (lambda: subsampled_variance(R, 0), ParameterError, "step must be >= 1, got 0"),
        (lambda: two_scale_variance(R, 1), ParameterError, "step must be >= 2, got 1"),
        (lambda: preaveraged_variance(R, 0.0), ParameterError, "theta must be > 0"),
        (lambda: preaveraged_variance(R, 5.0), HistoryError, "pre-averaging over 10 steps needs 20 returns, got 4"),
        (lambda: sound_bars(R, R, R, R[1:]), DataError, "one shape"),
        (lambda: parkinson(R, R, R, R, 2, 0.0), ParameterError, "periods must be > 0"),
        (lambda: close_to_close(R, 2), ParameterError, "at least 3 rows, got 2"),
    ],
)
def test_what_cannot_be_is_refused(call: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        call()
