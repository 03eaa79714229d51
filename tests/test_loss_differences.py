import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from scipy.stats import t as student

from backtest.block_means import CircularBlocks, StationaryBlocks
from backtest.loss_differences import Difference, diebold_mariano, giacomini_white, resampled_difference
from data import Floats, ParameterError


def moving_average(draws: int, rows: int, steps: int, seed: int = 0) -> Floats:
    """Differences of zero mean as overlapping horizons of `steps` rows give them, (rows, draws)."""
    noise = np.random.default_rng(seed).standard_normal((rows + steps - 1, draws))
    return np.asarray(np.sum([noise[lag : lag + rows] for lag in range(steps)], axis=0) / np.sqrt(steps))


def test_a_hand_computed_case() -> None:
    """d = (1, 3, 2): mean 2, variance 2/3 over n, corrected by sqrt(2/3)."""
    told = diebold_mariano(np.array([2.0, 4.0, 3.0]), np.ones(3))
    assert told.statistic == pytest.approx(np.sqrt(2 / 3) * 2 / np.sqrt(2 / 9))
    assert told.p_value == pytest.approx(2 * student.sf(float(told.statistic), 2))
    assert (float(told.mean), bool(told.testable), told.notes) == (2.0, True, "")


def test_newey_and_west_weigh_autocovariances() -> None:
    difference = np.array([1.0, 3.0, 2.0, 5.0])  # centred -7/4, 1/4, -3/4, 9/4
    centred = difference - difference.mean()
    variance = (centred**2).sum() + 2 * 0.5 * (centred[1:] * centred[:-1]).sum()
    told = diebold_mariano(difference, np.zeros(4), lags=1)
    assert told.statistic == pytest.approx(difference.mean() / np.sqrt(variance / 16))
    assert told.p_value == pytest.approx(2 * norm.sf(float(told.statistic)))


def test_the_conditional_test_is_the_regression_of_one_on_moments() -> None:
    first, second = np.random.default_rng(2).standard_normal((2, 400))
    difference = first - second
    moments = np.column_stack([difference[1:], difference[:-1] * difference[1:]])
    fitted, *_ = np.linalg.lstsq(moments, np.ones(399), rcond=None)
    r_squared = (moments @ fitted) @ (moments @ fitted) / 399
    assert giacomini_white(first, second).statistic == pytest.approx(399 * r_squared)


@pytest.mark.parametrize("steps", [1, 5])
def test_size_holds_where_horizons_overlap(steps: int) -> None:
    """2,000 repetitions: 5 % within five standard errors and what 250 dates leave of the asymptotics."""
    difference = moving_average(2000, 250, steps)
    nothing = np.zeros_like(difference)
    rejected = (diebold_mariano(difference, nothing, steps).p_value < 0.05).mean()
    assert rejected == pytest.approx(0.05, abs=0.025 + 0.02 * (steps > 1))
    if steps > 1:  # what pooling them as independent does
        assert (diebold_mariano(difference, nothing).p_value < 0.05).mean() > 0.3
    conditional = (giacomini_white(difference, nothing, steps).p_value < 0.05).mean()
    assert conditional < 0.09


def test_power_grows_with_the_difference() -> None:
    difference = moving_average(500, 250, 1)
    nothing = np.zeros_like(difference)
    power = [(diebold_mariano(difference + by, nothing).p_value < 0.05).mean() for by in (0.0, 0.1, 0.2, 0.3)]
    assert np.all(np.diff(power) > 0)
    assert power[-1] > 0.98


def test_a_difference_that_can_be_foretold_is_found_though_its_mean_is_zero() -> None:
    rng = np.random.default_rng(5)
    difference = np.zeros(500)
    for row in range(1, 500):
        difference[row] = 0.4 * difference[row - 1] + rng.standard_normal()
    difference -= difference.mean()
    assert diebold_mariano(difference, np.zeros(500)).p_value == pytest.approx(1.0)
    assert giacomini_white(difference, np.zeros(500)).p_value < 1e-3


def test_draws_agree_with_the_asymptotic_law() -> None:
    difference = moving_average(1, 1000, 5, seed=3)[:, 0] + 0.15
    drawn = resampled_difference(difference, np.zeros(1000), StationaryBlocks(25, 4000, 1))
    assert drawn.statistic == pytest.approx(diebold_mariano(difference, np.zeros(1000), 5).statistic, rel=0.1)
    assert drawn.p_value == pytest.approx(diebold_mariano(difference, np.zeros(1000), 5).p_value, abs=0.02)


ALIKE = np.random.default_rng(1).standard_normal(50)


@pytest.mark.parametrize("by", [0.0, 1.0 / 3.0])
def test_identical_losses_and_constant_differences_are_not_testable(by: float) -> None:
    told: list[Difference] = [
        diebold_mariano(ALIKE + by, ALIKE),
        diebold_mariano(ALIKE + by, ALIKE, 4),
        diebold_mariano(ALIKE + by, ALIKE, lags=3),
        giacomini_white(ALIKE + by, ALIKE),
        resampled_difference(ALIKE + by, ALIKE, StationaryBlocks(5, 50)),
    ]
    for one in told:
        assert (float(one.statistic), float(one.p_value), bool(one.testable)) == (0.0, 1.0, False)
        assert "nothing to test" in one.notes


def test_draws_that_are_all_the_same_dates_test_nothing() -> None:
    told = resampled_difference(ALIKE, np.zeros(50), CircularBlocks(50, 20))
    assert (float(told.p_value), bool(told.testable)) == (1.0, False)


def test_a_single_date_that_differs_gives_finite_figures() -> None:
    once = np.zeros(30)
    for row in (0, 12, 29):
        once[:] = 0.0
        once[row] = 1.0
        for told in (diebold_mariano(once, np.zeros(30), 3), giacomini_white(once, np.zeros(30))):
            assert np.isfinite([told.mean, told.statistic, told.p_value]).all()
            assert 0.0 <= told.p_value <= 1.0


def test_a_negative_variance_is_replaced_and_said() -> None:
    swings = np.tile([1.0, -1.0], 20) + 0.01 * np.arange(40)
    told = diebold_mariano(swings, np.zeros(40), 2)
    assert "Bartlett" in told.notes
    assert np.isfinite(told.statistic)
    assert told.testable


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.floats(1e-6, 1e6))
def test_the_sign_follows_the_order_and_units_do_not_matter(seed: int, horizon: int, unit: float) -> None:
    first, second = np.random.default_rng(seed).standard_normal((2, 40, 3))
    for test in (diebold_mariano, giacomini_white):
        one, other = test(first, second, horizon), test(unit * second, unit * first, horizon)
        np.testing.assert_allclose(one.mean * unit, -other.mean, rtol=1e-9, atol=1e-12 * unit)
        np.testing.assert_allclose(one.p_value, other.p_value, rtol=1e-6, atol=1e-12)
    alone = diebold_mariano(first[:, 1], second[:, 1], horizon)
    assert alone.statistic == pytest.approx(diebold_mariano(first, second, horizon).statistic[1])


def test_what_cannot_be_compared_is_refused() -> None:
    known = np.arange(5.0)
    with pytest.raises(ParameterError, match="losses must be finite"):
        diebold_mariano(known, np.where(known == 2, np.nan, known))
    with pytest.raises(ParameterError, match=r"got \(5,\) and \(4,\)"):
        giacomini_white(known, known[:4])
    with pytest.raises(ParameterError, match=">= 2 dates"):
        diebold_mariano(known[:1], known[:1])
    with pytest.raises(ParameterError, match="horizon must be 1 to 4 rows"):
        diebold_mariano(known, 2 * known, 5)
    with pytest.raises(ParameterError, match="lags 0 to 4"):
        diebold_mariano(known, 2 * known, lags=5)
    with pytest.raises(ParameterError, match="at least three dates"):
        giacomini_white(known, 2 * known, 3)
    with pytest.raises(ParameterError, match="one series"):
        resampled_difference(known[:, None], 2 * known[:, None], StationaryBlocks(2))


def test_short_samples_of_long_horizons_reject_as_often_as_the_notes_say() -> None:
    difference = moving_average(4_000, 30, 5, seed=8)
    told = diebold_mariano(difference, np.zeros_like(difference), 5)
    assert (told.p_value < 0.05).mean() == pytest.approx(0.11, abs=0.015)
    assert "11 % with 6" in told.notes
    assert diebold_mariano(difference, np.zeros_like(difference)).notes == ""


@pytest.mark.parametrize("seed", [5, 22, 37, 46, 48])
def test_a_variance_of_rounding_alone_counts_as_none(seed: int) -> None:
    """With a period of two days the autocovariance takes the variance away, but for what floats leave."""
    rng = np.random.default_rng(seed)
    first = rng.random() * np.ones(3) + np.array([1.0, -1.0, 0.0]) * rng.random()
    told = diebold_mariano(first, np.zeros(3), 2)
    assert abs(told.statistic) < 1e3
    assert "Bartlett" in told.notes
