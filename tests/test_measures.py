"""Is the variance of a row its range's where that is known, and does no outlier make a scale?"""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from data import Coverage
from data.flow.range_volatility import garman_klass
from margin_models.volatility.measures import bounded, measured, pooled_scale, scales
from markets import two_coins

DAY = Coverage()


def test_ranges_are_those_of_garman_and_klass_opened_at_the_close_before() -> None:
    market = two_coins()
    assert market.high is not None
    assert market.low is not None
    before = np.vstack([market.spot[:1], market.spot[:-1]])
    bars = before, np.maximum(market.high, before), np.minimum(market.low, before), market.spot
    assert_allclose(measured(market, DAY, 100).realised[-100:], (garman_klass(*bars, 1) ** 2)[-100:], rtol=1e-9)


def test_a_variance_is_bounded_only_where_ewma_moved() -> None:
    told = bounded(np.array([1.0, 1e9, 1e-9, 3.0, 3.0]), np.array([1.0, 1.0, 1.0, 0.0, np.nan]))
    assert_allclose(told, [1.0, 100.0, 0.01, 3.0, 3.0])


def test_a_row_without_high_or_low_is_measured_by_its_return() -> None:
    market = two_coins()
    assert market.high is not None
    high = market.high.copy()
    high[-5:, 0] = np.nan
    told = measured(replace(market, high=high), DAY, 3)
    whole = measured(market, DAY, 3)
    assert_array_equal(told.realised[-5:, 0], whole.returns[-5:, 0] ** 2)
    assert_array_equal(told.realised[:-5], whole.realised[:-5])
    assert not np.array_equal(whole.realised[-5:, 0], whole.returns[-5:, 0] ** 2)


def test_one_outlier_does_not_make_a_scale() -> None:
    """A ratio of a million counts 100; the prior of 100 horizons draws the mean of 50 others and it to 1."""
    ratios = np.ones((51, 2))
    ratios[7] = [1e6, np.nan]
    assert_allclose(scales(ratios, 1), [(100.0 + 50.0 + 100.0) / 151.0, 1.0])
    assert pooled_scale(ratios, 1) == pytest.approx((100.0 + 51.0 * (100.0 + 100.0) / 101.0) / 151.0)
    assert_allclose(scales(np.full((4, 1), np.nan), 1, 0.7), 0.7)
