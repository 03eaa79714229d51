import numpy as np
import pytest
from numpy.testing import assert_allclose

from data import ParameterError
from margin_models.volatility.har_regression import har_regression, trailing_means


def test_a_recursion_without_noise_is_found_exactly() -> None:
    variance = np.random.default_rng(1).gamma(2.0, 1e-5, 80).tolist()
    for _ in range(200):
        means = [np.mean(variance[-lag:]) for lag in (1, 5, 22)]
        variance.append(2e-6 + 0.4 * means[0] + 0.3 * means[1] + 0.1 * means[2])
    found = har_regression(np.array(variance[58:]))  # from where every outcome follows the recursion
    assert found.intercept == pytest.approx(2e-6, rel=1e-6)
    assert_allclose(found.slopes, [0.4, 0.3, 0.1], rtol=1e-6)
    assert found.observations == len(variance) - 58 - 22


def test_two_lags_by_hand() -> None:
    """Outcomes 4, 1, 7 on means (2, 1.5), (4, 3), (1, 2.5): three rows, three unknowns, no residual."""
    variance = np.array([1.0, 2.0, 4.0, 1.0, 7.0])
    found = har_regression(variance, (1, 2))
    fitted = found.intercept + trailing_means(variance, (1, 2))[:-1] @ found.slopes
    assert_allclose(fitted, [4.0, 1.0, 7.0])
    assert found.observations == 3


@pytest.mark.parametrize("lags", [(), (0, 5), (5, 5), (1, 2.5)])
def test_lags_that_are_none_are_refused(lags: tuple[int, ...]) -> None:
    with pytest.raises(ParameterError, match="different whole numbers"):
        har_regression(np.ones(100), lags)


def test_rows_that_cannot_tell_are_refused() -> None:
    with pytest.raises(ParameterError, match="at least 26 finite variances"):
        har_regression(np.arange(25.0))
    with pytest.raises(ParameterError, match="at least 26 finite variances"):
        har_regression(np.append(np.arange(40.0), np.nan))
    with pytest.raises(ParameterError, match="collinear"):
        har_regression(np.ones(100))
