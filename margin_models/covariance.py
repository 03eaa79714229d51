"""How do the underlyings move together over the horizon?"""

from typing import Self

import numpy as np
from numpy.typing import NDArray

from data import Coverage, Floats, HistoryError, MarketHistory, ParameterError
from margin_models.base import CovarianceEstimator
from margin_models.kernels.tails import complete

_MEMORY = 10  # half-lives kept: what is older weighs less than a thousandth


def weighted_second_moments(returns: Floats, weights: Floats) -> Floats:
    """(A, A) second moments of (S, A) returns about zero; `weights` (S,) need not sum to one."""
    scaled = returns * np.sqrt(weights / weights.sum())[:, None]
    return np.asarray(scaled.T @ scaled)


def ewma_weights(rows: int, decay: float) -> Floats:
    """Weights of `rows` observations, oldest first: the newest weighs 1, the one before `decay`, and so on."""
    return np.asarray(decay ** np.arange(rows - 1, -1, -1.0))


def _complete_returns(past: MarketHistory, coverage: Coverage, rows: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Returns of the newest `rows` horizons, and which of them are known for every underlying (two at least)."""
    returns = past.last(rows + past.steps(coverage)).returns(coverage)
    known = complete(returns)
    if known.sum() < 2:
        raise HistoryError(
            f"a covariance needs 2 returns known for every underlying, got {known.sum()} in {len(past)} rows"
        )
    return returns, known


class EwmaCovariance(CovarianceEstimator):
    """Exponentially weighted second moments about zero.

    J.P. Morgan/Reuters (1996), RiskMetrics Technical Document, 4th ed., section 5.2. A row with a hole is left out but
    still ages the others.

    Parameters
    ----------
    half_life : horizons after which an observation weighs half.
    """

    def __init__(self, half_life: float = 20.0) -> None:
        self.half_life = half_life

    def estimate(self, past: MarketHistory) -> Floats:
        """(A, A); ParameterError if the half-life is not positive, HistoryError without two complete returns."""
        if not self.half_life > 0:
            raise ParameterError(f"half_life must be > 0, got {self.half_life}. Typical values: 10-60 horizons.")
        rows = self.half_life * past.steps(self.coverage_)
        returns, known = _complete_returns(past, self.coverage_, int(np.ceil(_MEMORY * rows)))
        return weighted_second_moments(returns[known], ewma_weights(len(returns), 0.5 ** (1.0 / rows))[known])


class LedoitWolfCovariance(CovarianceEstimator):
    """Second moments about zero, shrunk towards uncorrelated underlyings.

    Ledoit and Wolf (2004), "A well-conditioned estimator for large-dimensional covariance matrices", J. Multivariate
    Analysis 88, as scikit-learn implements it. Returns are brought to unit variance first and back afterwards, so that
    what is shrunk are the correlations. The intensity is learned by `fit`; where horizons overlap it is learned on
    every h-th return, so that the observations it counts are independent. The moments are taken afresh at each
    decision.

    Parameters
    ----------
    lookback : rows to estimate on; None takes the fit window.

    Attributes
    ----------
    shrinkage_ : weight of the target, in [0, 1].
    """

    def __init__(self, lookback: int | None = None) -> None:
        self.lookback = lookback

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Learn `shrinkage_`; ParameterError for a lookback below 1, HistoryError without two complete returns."""
        from sklearn.covariance import ledoit_wolf

        if self.lookback is not None and self.lookback < 1:
            raise ParameterError(f"lookback must be >= 1 or None, got {self.lookback}. Typical values: 250-1000 rows.")
        super().fit(past, coverage)
        returns, known = _complete_returns(past, coverage, self.lookback or self.window_)
        apart = returns[:: -past.steps(coverage)][::-1]
        sample = apart[complete(apart)]
        sample = sample if len(sample) > 1 else returns[known]
        scale = _scale(sample)
        moving = scale > 0
        learned = ledoit_wolf(sample[:, moving] / scale[moving], assume_centered=True)[1] if moving.any() else 0.0
        self.shrinkage_ = float(learned)
        return self

    def estimate(self, past: MarketHistory) -> Floats:
        """(A, A); HistoryError without two complete returns."""
        returns, known = _complete_returns(past, self.coverage_, self.lookback or self.window_)
        sample = returns[known]
        scale = _scale(sample)
        moving = scale > 0
        moments = weighted_second_moments(sample / np.where(moving, scale, 1.0), np.ones(len(sample)))
        shrunk = (1.0 - self.shrinkage_) * moments
        np.fill_diagonal(shrunk, np.diag(shrunk) + self.shrinkage_ * np.trace(moments) / max(moving.sum(), 1))
        # What never moved keeps a variance of zero: its scale is zero.
        return np.asarray(shrunk * np.outer(scale, scale))


def _scale(sample: Floats) -> Floats:
    """Root mean square of each underlying, (A,)."""
    return np.asarray(np.sqrt((sample**2).mean(axis=0)))
