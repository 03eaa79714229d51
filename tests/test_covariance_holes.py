import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from data import Book, Coverage, Floats, HistoryError, Instrument, MarketHistory, ModelError, ParameterError
from data.sources.synthetic import normal_market
from examples import COVARIANCES
from margin_models import (
    ConstantCorrelationCovariance,
    CorrelationVaR,
    CovarianceEstimator,
    DccCovariance,
    EwmaCovariance,
    EwmaVolatility,
    LedoitWolfCovariance,
)
from margin_models.covariance import known_correlations, sound_covariance, standing, well_known
from margin_models.kernels.correlations import (
    implied_correlations,
    pairwise_correlations,
    positive_completion,
    reconciled_correlations,
)

PAIRWISE = [EwmaCovariance(), LedoitWolfCovariance(), ConstantCorrelationCovariance(), DccCovariance()]


class Told(CovarianceEstimator):
    """Says what it was told."""

    def __init__(self, matrix: Floats) -> None:
        self.matrix = matrix

    def estimate(self, past: MarketHistory) -> Floats:
        return self.matrix


def of_spot(like: MarketHistory, spot: Floats) -> MarketHistory:
    """The first underlyings of a history at other prices."""
    return MarketHistory(like.time, like.underlyings[: spot.shape[1]], spot.copy(), like.clock)


def held(history: MarketHistory, *exposures: list[float]) -> Book:
    """A portfolio for each row of USD exposures."""
    listed = tuple(Instrument(f"{name}-PERP", name) for name in history.underlyings)
    return Book(listed, tuple(f"p{n}" for n in range(len(exposures))), np.array(exposures) / history.spot[-1])


def late_market(correlation: float, seed: int) -> tuple[MarketHistory, MarketHistory]:
    """Three coins of 500 rows and twenty listed one after the other, and the three alone."""
    whole = normal_market(500, (0.04,) * 23, correlation, seed=seed).history
    spot = whole.spot.copy()
    for newcomer in range(20):
        spot[: -24 - newcomer, 3 + newcomer] = np.nan
    return of_spot(whole, spot), of_spot(whole, whole.spot[:, :3])


def two_in_holes(correlation: float = 0.97) -> MarketHistory:
    """Eight coins of which the last two are each known for long enough, and too little together."""
    whole = normal_market(400, (0.04,) * 8, correlation, seed=3).history
    spot = whole.spot.copy()
    spot[:-26, 6] = np.nan
    spot[-26:-13, 7] = np.nan
    return of_spot(whole, spot)


def torn_market(seed: int) -> MarketHistory:
    """Two to six coins with late listings, outages and scattered holes."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(2, 7))
    whole = normal_market(200, (0.04,) * size, float(rng.choice([0.3, 0.9, 0.99])), seed=seed).history
    spot = whole.spot.copy()
    for column in range(size):
        if rng.random() < 0.6:
            spot[: rng.integers(0, 185), column] = np.nan
        if rng.random() < 0.5:
            first = int(rng.integers(100, 199))
            spot[first : first + int(rng.integers(1, 25)), column] = np.nan
        if rng.random() < 0.4:
            spot[rng.random(200) < 0.3, column] = np.nan
    spot[-1] = whole.spot[-1]
    return of_spot(whole, spot)


# ---- Whom the shrinkage is learned from.


def legacy_market(legacy: slice) -> tuple[MarketHistory, MarketHistory]:
    """Sixty coins of the newest 200 of 500 rows beside one that is known in some rows, and the sixty alone."""
    rng = np.random.default_rng(0)
    moves = 0.03 * (np.sqrt(0.3) * rng.standard_normal((500, 1)) + np.sqrt(0.7) * rng.standard_normal((500, 61)))
    spot = 100.0 * np.exp(moves.cumsum(axis=0))
    spot[:300, :60] = np.nan
    known = np.zeros(500, dtype=bool)
    known[legacy] = True
    spot[~known, 60] = np.nan
    like = normal_market(500, (0.03,) * 61, 0.0, seed=1).history
    alone = like.rows(300, 500)
    return of_spot(like, spot), of_spot(alone, spot[300:, :60])


@pytest.mark.parametrize("estimator", [LedoitWolfCovariance(), ConstantCorrelationCovariance()], ids=repr)
@pytest.mark.parametrize("legacy", [slice(0, 500), slice(0, 290)], ids=["alive", "delisted"])
def test_one_coin_with_a_long_past_is_not_the_market(estimator: CovarianceEstimator, legacy: slice) -> None:
    whole, alone = legacy_market(legacy)
    told, expected = (clone(estimator).fit(one, Coverage()) for one in (whole, alone))
    assert told.shrinkage_ == pytest.approx(expected.shrinkage_, rel=0.05)
    assert told.shrinkage_ > 0.05


def test_dynamic_correlations_too_are_learned_from_the_market() -> None:
    rng, size = np.random.default_rng(2), 6
    returns = rng.standard_normal((900, size))
    returns[:400, 1:] = np.nan  # 500 of five coins, 900 of one
    assert well_known(returns, 100).all()
    returns[:860, 1:] = np.nan
    assert_array_equal(well_known(returns, 100), np.arange(size) == 0)
    assert not well_known(returns[:19]).any()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.integers(0, 10**6), st.floats(0.0, 0.95))
def test_what_is_well_known_has_enough_rows_and_more_returns_than_any_one(size: int, seed: int, holes: float) -> None:
    rng = np.random.default_rng(seed)
    returns = rng.standard_normal((90, size))
    returns[rng.random(returns.shape) < holes * rng.random(size)] = np.nan
    known, enough = np.isfinite(returns), well_known(returns)
    best = known.sum(axis=0).max()
    assert enough.any() == (best >= 20)
    if enough.any():
        rows = known[:, enough].all(axis=1).sum()
        assert rows >= 20
        assert rows * enough.sum() >= best
        by_count = np.argsort(-known.sum(axis=0), kind="stable")
        for n in range(1, size + 1):
            common = known[:, by_count[:n]].all(axis=1).sum()
            assert common < 20 or common * n <= rows * enough.sum()


# ---- What newcomers and holes may move.


@pytest.mark.parametrize("estimator", [EwmaCovariance(), LedoitWolfCovariance(), DccCovariance()], ids=repr)
@pytest.mark.parametrize("correlation", [0.7, 0.95])
def test_newcomers_move_nothing_that_has_no_hole(estimator: CovarianceEstimator, correlation: float) -> None:
    for seed in range(4):
        late, alone = late_market(correlation, seed)
        told = clone(estimator).fit(late, Coverage()).estimate(late)[:3, :3]
        assert_allclose(told, clone(estimator).fit(alone, Coverage()).estimate(alone), rtol=1e-12)


def test_the_repair_moves_only_what_is_known_for_less() -> None:
    late, _ = late_market(0.7, 1)
    returns, weights = late.returns(Coverage()), np.ones(499)
    raw, told = pairwise_correlations(returns, weights, 20), known_correlations(returns, weights)
    assert np.linalg.eigvalsh(raw)[0] < -0.01
    assert np.linalg.eigvalsh(told)[0] > -1e-9
    assert_array_equal(told[:3, :3], raw[:3, :3])
    assert 0.0 < np.abs(told - raw).max() < 0.2
    assert_array_equal(standing(returns, weights), [0, 0, 0] + 20 * [10])


def test_standing_counts_tenths_of_the_weight_that_is_missing() -> None:
    returns, weights = np.ones((11, 4)), np.array([5.0, *np.ones(10)])
    returns[0] = np.nan  # nobody knows it: no hole
    returns[[1], 1] = np.nan
    returns[[1, 2], 2] = np.nan
    returns[:, 3] = np.nan
    assert_array_equal(standing(returns, weights), [0, 1, 2, 10])


@pytest.mark.parametrize("estimator", PAIRWISE[:3], ids=repr)
def test_two_that_nobody_holds_together_move_nobody(estimator: CovarianceEstimator) -> None:
    history = two_in_holes()
    model = CorrelationVaR(clone(estimator)).fit(history, Coverage())
    portfolios = ([1.0, 0, 0, 0, 0, 0, -1, 0], [1.0, 0, 0, 0, 0, 0, 0, -1], [1.0, -1, 0, 0, 0, 0, 0, 0])
    together = model.margin(history, held(history, *portfolios))
    alone = [model.margin(history, held(history, one))[0] for one in portfolios]
    assert_allclose(together, alone, rtol=1e-6)
    assert together.max() < 0.03  # all move together: a spread is little
    with pytest.raises(HistoryError, match="SYN7 and SYN8 together"):
        model.margin(history, held(history, [0.0, 0, 0, 0, 0, 0, 1, -1]))


@pytest.mark.parametrize("estimator", COVARIANCES, ids=repr)
def test_whatever_is_torn_is_a_covariance_and_each_portfolio_its_own(estimator: CovarianceEstimator) -> None:
    for seed in range(8):
        history = torn_market(seed)
        size = len(history.underlyings)
        try:
            model = CorrelationVaR(clone(estimator)).fit(history, Coverage())
        except HistoryError:
            continue
        known = ~np.isnan(model.covariance_.estimate(history))
        pairs = [(i, j) for i in range(size) for j in range(i + 1) if known[i, j]]
        if not pairs:
            continue
        rows = [[float(k == i) - 0.7 * float(k == j) for k in range(size)] for i, j in pairs]
        covariance = sound_covariance(model.covariance_, history, held(history, *rows))
        spread = np.sqrt(np.diag(covariance))
        spread[spread == 0] = 1.0
        assert np.linalg.eigvalsh(covariance / np.outer(spread, spread))[0] > -1e-8
        together = model.margin(history, held(history, *rows))
        alone = [model.margin(history, held(history, one))[0] for one in rows]
        assert_allclose(together, alone, rtol=0.03)


def test_an_estimate_with_holes_is_refused_for_what_is_wrong_with_the_rest() -> None:
    history = normal_market(300, (0.03,) * 4, 0.5, seed=1).history
    book = held(history, [1.0, 1, 1, 0], [1.0, 1, 0, 1])
    good = 1e-4 * (0.5 * np.eye(4) + 0.5)
    good[2, 3] = good[3, 2] = np.nan
    assert_allclose(sound_covariance(Told(good).fit(history, Coverage()), history, book)[2, 3], 2.5e-5, rtol=1e-9)
    for place, value in (((0, 0), -1e-4), ((0, 1), 3e-4), ((1, 2), 3e-4), ((0, 2), np.inf), ((2, 2), np.inf)):
        bad = good.copy()
        bad[place] = bad[place[::-1]] = value
        with pytest.raises(ModelError, match="a covariance must be"):
            sound_covariance(Told(bad).fit(history, Coverage()), history, book)


# ---- Completion.


def test_an_unknown_pair_is_what_the_best_witness_says() -> None:
    told = np.array([[1.0, 0.8, 0.1], [0.8, 1.0, np.nan], [0.1, np.nan, 1.0]])
    assert implied_correlations(told)[1, 2] == pytest.approx(0.08)
    more = np.array([[1.0, 0.8, 0.1, -0.9], [0.8, 1, np.nan, -0.8], [0.1, np.nan, 1, 0.5], [-0.9, -0.8, 0.5, 1]])
    assert implied_correlations(more)[2, 1] == pytest.approx(-0.4)
    nobody = np.array([[1.0, np.nan], [np.nan, np.nan]])
    assert_array_equal(implied_correlations(nobody), np.eye(2))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(3, 40), st.integers(0, 10**6))
def test_a_completion_is_a_correlation_matrix_and_keeps_the_best_known(
    old: int, new: int, rows: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    size = old + new
    best = rng.standard_normal((rows, old))  # of fewer rows than assets: a singular block
    matrix = np.eye(size)
    matrix[:old, :old] = pairwise_correlations(best, np.ones(rows), 0)
    matrix[old:, :] = rng.uniform(-1.0, 1.0, (new, size))
    matrix[rng.random((size, size)) < 0.2] = np.nan
    matrix[:old, :old] = pairwise_correlations(best, np.ones(rows), 0)
    matrix = np.tril(matrix, -1) + np.tril(matrix, -1).T + np.eye(size)
    ranks = np.concatenate([np.zeros(old), rng.integers(1, 4, new)]).astype(np.int64)
    told = positive_completion(matrix, ranks)
    assert_array_equal(told[:old, :old], matrix[:old, :old])
    assert_array_equal(np.diag(told), 1.0)
    assert_array_equal(told, told.T)
    assert np.abs(told).max() <= 1.0 + 1e-12
    assert np.linalg.eigvalsh(told)[0] > -1e-9


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 7), st.integers(0, 10**6))
def test_what_has_a_completion_keeps_all_that_is_known(size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    whole = pairwise_correlations(rng.standard_normal((60, size)) + rng.standard_normal((60, 1)), np.ones(60), 0)
    torn = whole.copy()
    torn[0, 1] = torn[1, 0] = np.nan
    told = reconciled_correlations(torn)
    assert_array_equal(told[~np.isnan(torn)], whole[~np.isnan(torn)])
    assert np.linalg.eigvalsh(told)[0] > -1e-6
    assert_array_equal(positive_completion(whole, np.arange(size)), whole)


# ---- What is refused.


@pytest.mark.parametrize("half_life", [0.0, -1.0, np.nan, 2e9, 1e307, 1e308])
def test_a_half_life_beyond_reason_is_refused(half_life: float) -> None:
    history = normal_market(100, (0.03, 0.04), 0.5, seed=1).history
    for estimator in (EwmaCovariance(half_life), EwmaVolatility(half_life)):
        fitted = estimator.fit(history, Coverage())
        with pytest.raises(ParameterError, match=r"half_life must lie in \(0, 1e\+09\].*, got"):
            fitted.estimate(history) if isinstance(fitted, EwmaCovariance) else fitted.forecast(history)


def test_who_lacks_innovations_is_told_so() -> None:
    history = two_in_holes()
    model = CorrelationVaR(DccCovariance()).fit(history, Coverage())
    with pytest.raises(HistoryError, match=r"SYN7 \(25 in all\).*innovations where it learns from them.* enough are"):
        model.margin(history, held(history, [0.0, 0, 0, 0, 0, 0, 1, 0]))
