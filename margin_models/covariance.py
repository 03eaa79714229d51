"""How do the underlyings move together over the horizon?"""

from typing import Self

import numpy as np
from numpy.typing import NDArray

from data import Coverage, Floats, HistoryError, MarketHistory, ModelError, ParameterError
from margin_models.base import CovarianceEstimator
from margin_models.kernels.tails import complete

_MEMORY = 10  # half-lives kept: what is older weighs less than a thousandth
_ROUNDING = 1e-8  # how far below zero an eigenvalue of a correlation matrix may be rounded


def refuse_not_psd(covariance: Floats, who: object) -> Floats:
    """The same (A, A) matrix; ModelError, naming `who`, unless it is finite, symmetric and positive semi-definite.

    Up to rounding, and whatever the scale of each underlying: what is looked at are the correlations.
    """
    if not np.isfinite(covariance).all():
        raise ModelError(
            f"{who!r}: a covariance must be finite, got {np.argwhere(~np.isfinite(covariance))[0]} that is not"
        )
    spread = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    scale = np.where(spread > 0, spread, 1.0)
    unit = covariance / np.outer(scale, scale)
    if np.abs(unit - unit.T).max(initial=0.0) > _ROUNDING:
        raise ModelError(f"{who!r}: a covariance must be symmetric, got\n{covariance}")
    try:
        np.linalg.cholesky(unit + _ROUNDING * np.eye(len(unit)))
    except np.linalg.LinAlgError:
        least = np.linalg.eigvalsh(unit)[0]
        raise ModelError(
            f"{who!r}: a covariance must be positive semi-definite, got correlations with an eigenvalue of {least:.3g}"
        ) from None
    return covariance


def weighted_second_moments(returns: Floats, weights: Floats) -> Floats:
    """(A, A) second moments of (S, A) returns about zero; `weights` (S,) need not sum to one."""
    scaled = returns * np.sqrt(weights / weights.sum())[:, None]
    return np.asarray(scaled.T @ scaled)


def correlation_of(covariance: Floats) -> Floats:
    """Correlations behind a covariance, (A, A); what has no variance is uncorrelated with all else."""
    spread = np.sqrt(np.diag(covariance))
    scale = np.where(spread > 0, spread, 1.0)
    correlation: Floats = np.clip(covariance / np.outer(scale, scale), -1.0, 1.0)
    np.fill_diagonal(correlation, 1.0)
    return correlation


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
        weights = ewma_weights(len(returns), 0.5 ** (1.0 / rows))
        return refuse_not_psd(weighted_second_moments(returns[known], weights[known]), self)


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

        super().fit(past, coverage)
        sample, moving = _unit_sample(past, coverage, _rows(self.lookback, self.window_))
        learned = ledoit_wolf(sample[:, moving], assume_centered=True)[1] if moving.any() else 0.0
        self.shrinkage_ = float(learned)
        return self

    def estimate(self, past: MarketHistory) -> Floats:
        """(A, A); HistoryError without two complete returns."""
        moments, scale = _unit_moments(past, self.coverage_, _rows(self.lookback, self.window_))
        target = np.eye(len(moments)) * np.trace(moments) / max((scale > 0).sum(), 1)
        return refuse_not_psd(_shrunk(moments, target, self.shrinkage_, scale), self)


class ConstantCorrelationCovariance(CovarianceEstimator):
    """Second moments about zero, their correlations shrunk towards their own average.

    Ledoit and Wolf (2004), "Honey, I shrunk the sample covariance matrix", J. Portfolio Management 30: the average
    correlation says more of most pairs of similar assets than zero does. All else is as in `LedoitWolfCovariance`.

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
        super().fit(past, coverage)
        sample, moving = _unit_sample(past, coverage, _rows(self.lookback, self.window_))
        self.shrinkage_ = constant_correlation_shrinkage(sample[:, moving])
        return self

    def estimate(self, past: MarketHistory) -> Floats:
        """(A, A); HistoryError without two complete returns."""
        moments, scale = _unit_moments(past, self.coverage_, _rows(self.lookback, self.window_))
        moving = scale > 0
        target = np.zeros_like(moments)
        target[np.ix_(moving, moving)] = constant_correlation(moments[np.ix_(moving, moving)])
        return refuse_not_psd(_shrunk(moments, target, self.shrinkage_, scale), self)


def constant_correlation(covariance: Floats) -> Floats:
    """The same variances, all > 0, and every correlation their average, (A, A).

    Positive semi-definite where the covariance is: the average of A assets is then never below -1 / (A - 1).
    """
    spread = np.sqrt(np.diag(covariance))
    level = np.ones_like(covariance)
    if len(spread) > 1:
        correlation = covariance / np.outer(spread, spread)
        level *= (correlation.sum() - len(spread)) / (len(spread) * (len(spread) - 1))
        np.fill_diagonal(level, 1.0)
    return np.asarray(level * np.outer(spread, spread))


def constant_correlation_shrinkage(sample: Floats) -> float:
    """The weight of the constant-correlation target that loses least, in [0, 1], from (n, A) returns about zero.

    Ledoit and Wolf (2004), appendix B: (pi - rho) / gamma / n. No asset may stand still. 0 for fewer than three, whose
    target is the sample itself.
    """
    size, assets = sample.shape
    if assets < 3:
        return 0.0
    moments = weighted_second_moments(sample, np.ones(size))
    target, square = constant_correlation(moments), sample**2
    gamma = float(((target - moments) ** 2).sum())
    if gamma == 0.0:
        return 1.0
    pi = square.T @ square / size - moments**2
    # theta[i, j]: how the estimate of variance i moves with that of the covariance of i and j.
    theta = (square * sample).T @ sample / size - np.diag(moments)[:, None] * moments
    spread = np.sqrt(np.diag(moments))
    average = target[0, 1] / (spread[0] * spread[1])
    apart = theta * spread / spread[:, None]
    rho = np.trace(pi) + average * (apart.sum() - np.trace(apart))
    return float(np.clip((pi.sum() - rho) / gamma / size, 0.0, 1.0))


def _rows(lookback: int | None, window: int) -> int:
    if lookback is not None and lookback < 1:
        raise ParameterError(f"lookback must be >= 1 or None, got {lookback}. Typical values: 250-1000 rows.")
    return window if lookback is None else lookback


def _unit_sample(past: MarketHistory, coverage: Coverage, rows: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Returns over horizons apart, (n, A) at unit variance, and which assets moved, (A,).

    Where fewer than two complete horizons are apart, those that overlap stand in.
    """
    returns, known = _complete_returns(past, coverage, rows)
    apart = returns[:: -past.steps(coverage)][::-1]
    sample = apart[complete(apart)]
    sample = sample if len(sample) > 1 else returns[known]
    scale = _scale(sample)
    return sample / np.where(scale > 0, scale, 1.0), scale > 0


def _unit_moments(past: MarketHistory, coverage: Coverage, rows: int) -> tuple[Floats, Floats]:
    """Second moments at unit variance, (A, A), of all the newest returns, and their scale, (A,)."""
    returns, known = _complete_returns(past, coverage, rows)
    sample = returns[known]
    scale = _scale(sample)
    return weighted_second_moments(sample / np.where(scale > 0, scale, 1.0), np.ones(len(sample))), scale


def _shrunk(moments: Floats, target: Floats, share: float, scale: Floats) -> Floats:
    """A share of the way from moments to target, and back to scale: what never moved keeps a variance of zero."""
    return np.asarray(((1.0 - share) * moments + share * target) * np.outer(scale, scale))


def _scale(sample: Floats) -> Floats:
    """Root mean square of each underlying, (A,)."""
    return np.asarray(np.sqrt((sample**2).mean(axis=0)))
