"""Do models charge what they know, whatever was listed late, and refuse what is no covariance?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from data import Book, Coverage, Floats, HistoryError, Instrument, MarketHistory, ModelError, ParameterError
from data.arrays import Places
from data.sources.synthetic import normal_market
from examples import COVARIANCES
from margin_models import (
    CorrelationBreakdown,
    CorrelationVaR,
    CovarianceEstimator,
    DccCovariance,
    DeltaGammaVaR,
    EwmaCovariance,
    EwmaVolatility,
    LedoitWolfCovariance,
    MarginModel,
)
from margin_models.covariance import LEAST_RETURNS, ewma_weights, known_correlations
from margin_models.kernels.correlations import pairwise_correlations, reconciled_correlations
from markets import two_coins


class Told(CovarianceEstimator):
    """Says what it was told."""

    def __init__(self, matrix: Floats) -> None:
        self.matrix = matrix

    def estimate(self, past: MarketHistory) -> Floats:
        return self.matrix


MODELS = [
    *(CorrelationVaR(one) for one in COVARIANCES),
    *(CorrelationBreakdown(one) for one in COVARIANCES),
    DeltaGammaVaR(),
]


def with_holes(history: MarketHistory, rows: slice | Places, column: int) -> MarketHistory:
    spot = history.spot.copy()
    spot[rows, column] = np.nan
    return MarketHistory(history.time, history.underlyings, spot, history.clock)


def held(history: MarketHistory, *exposures: tuple[float, ...]) -> Book:
    """A portfolio for each row of USD exposures."""
    listed = tuple(Instrument(f"{name}-PERP", name) for name in history.underlyings)
    price = np.where(np.isnan(history.now.spot), 1.0, history.now.spot)
    return Book(listed, tuple(f"p{n}" for n in range(len(exposures))), np.array(exposures) / price)


@pytest.mark.parametrize("model", MODELS, ids=repr)
@pytest.mark.parametrize("young", [1, 3, 25, 150])
def test_a_listing_changes_no_margin_of_what_was_there(model: MarginModel, young: int) -> None:
    three = normal_market(600, (0.03, 0.04, 0.05), 0.7, seed=21).history
    listed = with_holes(three, slice(0, 600 - young), 2)
    alone = MarketHistory(three.time, three.underlyings[:2], three.spot[:, :2].copy(), three.clock)
    told = clone(model).fit(listed, Coverage()).margin(listed, held(listed, (1.0, 0.0, 0.0), (1.0, -1.0, 0.0)))
    expected = clone(model).fit(alone, Coverage()).margin(alone, held(alone, (1.0, 0.0), (1.0, -1.0)))
    assert_allclose(told, expected, rtol=1e-9)


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_who_holds_what_is_known_too_little_of_is_told_its_name(model: MarginModel) -> None:
    three = normal_market(400, (0.03, 0.04, 0.05), 0.7, seed=22).history
    listed = with_holes(three, slice(0, 385), 1)
    fitted = clone(model).fit(listed, Coverage())
    with pytest.raises(HistoryError, match=r"says nothing \(NaN\) of SYN2 \(14 in all\)"):
        fitted.margin(listed, held(listed, (1.0, 0.0, 1.0), (1.0, 1.0, 0.0)))
    assert np.isfinite(fitted.margin(listed, held(listed, (1.0, 0.0, 1.0)))).all()
    assert np.isfinite(fitted.margin(three, held(three, (1.0, 1.0, 1.0)))).all()  # known by then, if not to the fit


def test_two_that_share_no_row_may_be_held_apart_and_not_together() -> None:
    three = normal_market(400, (0.03, 0.04, 0.05), 0.7, seed=23).history
    evens, odds = np.arange(0, 200), np.arange(200, 399)
    apart = with_holes(with_holes(three, evens, 0), odds, 1)
    fitted = CorrelationVaR(LedoitWolfCovariance()).fit(apart, Coverage())
    assert np.isfinite(fitted.margin(apart, held(apart, (1.0, 0.0, 1.0)))).all()
    with pytest.raises(HistoryError, match=r"of SYN1 and SYN2 together \(0 in all\)"):
        fitted.margin(apart, held(apart, (1.0, 1.0, 0.0)))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 9), st.integers(0, 10**6), st.floats(0.0, 0.6))
def test_what_is_known_pair_by_pair_is_part_of_a_positive_semi_definite_matrix(
    size: int, seed: int, holes: float
) -> None:
    rng = np.random.default_rng(seed)
    returns = rng.standard_normal((60, size)) @ rng.standard_normal((size, size))
    returns[rng.random(returns.shape) < holes] = np.nan
    told = known_correlations(returns, ewma_weights(60, 0.97))
    assert_array_equal(told, told.T)
    whole = ~np.isnan(told).any(axis=1)
    assert np.linalg.eigvalsh(told[np.ix_(whole, whole)]).min(initial=0.0) > -1e-9
    assert np.linalg.eigvalsh(reconciled_correlations(told))[0] > -0.01  # what alternating projections leave
    assert np.nanmax(np.abs(told), initial=0.0) <= 1.0
    count = np.isfinite(returns).T.astype(float) @ np.isfinite(returns)
    assert_array_equal(np.isnan(told), count < LEAST_RETURNS)


def test_correlations_with_holes_are_those_of_the_rows_in_common() -> None:
    rng = np.random.default_rng(5)
    returns, weights = rng.standard_normal((50, 3)), rng.random(50)
    returns[rng.random(returns.shape) < 0.2] = np.nan
    told = pairwise_correlations(returns, weights, 1)
    for i in range(3):
        for j in range(3):
            both = np.isfinite(returns[:, [i, j]]).all(axis=1)
            x, y, w = returns[both, i], returns[both, j], weights[both]
            assert told[i, j] == pytest.approx((w * x * y).sum() / np.sqrt((w * x * x).sum() * (w * y * y).sum()))
    stacked = pairwise_correlations(np.stack([returns, returns[::-1]]), np.ones(50), 1)
    assert_allclose(stacked[0], stacked[1], rtol=1e-12)


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        (9e-4 * np.array([[1, -1.0, -1], [-1, 1, -1], [-1, -1, 1]]), "eigenvalue of -1"),
        (np.full((3, 3), np.inf), "must be finite"),
        (np.eye(2), "must have the shape"),
    ],
    ids=["not positive", "infinite", "of two"],
)
def test_no_model_takes_what_is_no_covariance(matrix: Floats, said: str) -> None:
    history = normal_market(300, (0.03, 0.03, 0.03), 0.5, seed=1).history
    for model in (CorrelationVaR(Told(matrix)), CorrelationBreakdown(Told(matrix)), DeltaGammaVaR(Told(matrix))):
        with pytest.raises(ModelError, match=rf"(?s)Told\(matrix=.*{said}"):
            model.fit(history, Coverage()).margin(history, held(history, (1.0, 1.0, 1.0)))


def test_what_nobody_holds_may_be_anything() -> None:
    history = normal_market(300, (0.03, 0.03, 0.03), 0.5, seed=1).history
    matrix = np.diag([9e-4, -1.0, np.nan])
    told = CorrelationVaR(Told(matrix)).fit(history, Coverage()).margin(history, held(history, (1.0, 0.0, 0.0)))
    assert_allclose(told, 2.3263478740 * 0.03, rtol=1e-9)


def test_all_of_the_past_alike_is_the_plain_mean() -> None:
    history = normal_market(300, (0.03, 0.04), 0.5, seed=1).history
    told = EwmaCovariance(half_life=np.inf).fit(history, Coverage()).estimate(history)
    returns = history.returns(Coverage())
    assert_allclose(told, returns.T @ returns / len(returns), rtol=1e-12)
    with pytest.raises(ParameterError, match=r"half_life must lie in \(0, 1e\+09\], got inf"):
        EwmaVolatility(half_life=np.inf).fit(history, Coverage()).forecast(history)


def test_dcc_takes_a_forecast_of_nothing_for_a_little() -> None:
    history = two_coins().rows(0, 200)
    flat = history.spot.copy()
    flat[:150, 1] = flat[149, 1]  # still, and then it moves
    still = MarketHistory(history.time, history.underlyings, flat, history.clock)
    told, _ = DccCovariance().fit(still, Coverage())._innovations(still, 200)
    assert np.isfinite(told[148:]).all()
    assert np.nanmax(np.abs(told)) < 10 * np.sqrt(len(told))
