"""How do the underlyings move together over the horizon?"""

import math
from typing import Self

import numpy as np

from data import Book, Coverage, Floats, HistoryError, MarketHistory, ModelError, ParameterError
from data.arrays import Bools, Places
from margin_models.base import CovarianceEstimator
from margin_models.kernels.correlations import pairwise_correlations, positive_completion, reconciled_correlations
from margin_models.kernels.tails import complete

LEAST_RETURNS = 20  # of an underlying, or of two in common: fewer say next to nothing of how they move
LONGEST_HALF_LIFE = 1e9  # horizons: more is a slip, and soon beyond what a float counts
_MEMORY = 10  # half-lives kept: what is older weighs less than a thousandth
_ROUNDING = 1e-8  # how far below zero an eigenvalue of a correlation matrix may be rounded


def sound_covariance(estimator: CovarianceEstimator, past: MarketHistory, book: Book) -> Floats:
    """What the fitted estimator says of the underlyings that some portfolio holds, (A, A); 0 for all others.

    What nobody holds never matters: it may be unknown, or anything else. Two of which too little is known together,
    and which no portfolio holds together, get what others imply of them.

    Raises
    ------
    HistoryError
        Where a portfolio holds an underlying, or two together, of which the estimator knows too little (NaN).
    ModelError
        Where the rest is not finite, symmetric and positive semi-definite.
    """
    covariance = estimator.estimate(past)
    size = len(past.underlyings)
    if covariance.shape != (size, size):
        raise ModelError(f"{estimator!r}: a covariance must have the shape {(size, size)}, got {covariance.shape}")
    holds = book.by_underlying(np.ones(len(book.instruments)), past.now, gross=True) > 0
    used, unknown = holds.any(axis=0), np.isnan(covariance)
    block = covariance[np.ix_(used, used)]
    if np.isnan(block).any():
        _refuse_unknown(estimator, past, unknown & (holds.T.astype(np.float64) @ holds > 0))
        block = _completed(block, estimator)
    told = np.zeros_like(covariance)
    told[np.ix_(used, used)] = refuse_not_psd(block, estimator)
    return told


def _completed(covariance: Floats, who: object) -> Floats:
    """The same (A, A) matrix with covariances in place of NaN; all variances are known.

    ModelError, naming `who`, where what is known with all others is no covariance; nothing of that moves.
    """
    unknown = np.isnan(covariance)
    whole = ~unknown.any(axis=1)
    refuse_not_psd(covariance[np.ix_(whole, whole)], who)
    spread = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    most = (1.0 + _ROUNDING) * np.outer(spread, spread)
    if np.isinf(covariance).any() or not (unknown | (np.abs(covariance) <= most)).all():
        refuse_not_psd(np.where(unknown, 0.0, covariance), who)
    scale = np.where(spread > 0, spread, 1.0)
    unit = reconciled_correlations(covariance / np.outer(scale, scale))
    told: Floats = positive_completion(unit, unknown.sum(axis=1)) * np.outer(spread, spread)
    told[np.ix_(whole, whole)] = covariance[np.ix_(whole, whole)]
    return told


def _refuse_unknown(estimator: CovarianceEstimator, past: MarketHistory, missing: Bools) -> None:
    """HistoryError if anything is missing, (A, A): what, and how many returns there are of it."""
    if not missing.any():
        return
    names, blind = past.underlyings, np.flatnonzero(np.diag(missing))
    known = np.isfinite(past.returns(estimator.coverage_))
    if blind.size:
        counts = known[:, blind].sum(axis=0)
        told = ", ".join(f"{names[a]} ({count} in all)" for a, count in zip(blind, counts, strict=True))
    else:
        one, other = np.argwhere(missing)[0]
        counts = (known[:, [one]] & known[:, [other]]).sum(axis=0)
        told = f"{names[one]} and {names[other]} together ({counts[0]} in all)"
    enough = counts.min() >= LEAST_RETURNS
    late = "; enough are known in all, so they are too old, or forecasts that make innovations of them lack"
    raise HistoryError(
        f"{estimator!r} says nothing (NaN) of {told} in {past!r}: what a portfolio holds needs {LEAST_RETURNS} known "
        f"returns among the newest at least, or innovations where it learns from them, and each two of its underlyings "
        f"as many in common{late if enough else ''}"
    )


def refuse_not_psd(covariance: Floats, who: object) -> Floats:
    """The same (A, A) matrix; ModelError, naming `who`, unless it is finite, symmetric and positive semi-definite.

    Up to rounding, and whatever the scale of each underlying: what is looked at are the correlations.
    """
    if not np.isfinite(covariance).all():
        raise ModelError(
            f"{who!r}: a covariance must be finite, got {np.argwhere(~np.isfinite(covariance))[0]} that is not"
        )
    variance = np.diag(covariance)
    spread = np.sqrt(np.maximum(variance, 0.0))
    scale = np.where(spread > 0, spread, 1.0)
    unit = covariance / np.outer(scale, scale)
    if np.abs(unit - unit.T).max(initial=0.0) > _ROUNDING:
        raise ModelError(f"{who!r}: a covariance must be symmetric, got\n{covariance}")
    # Without a variance there is no scale to round on: nothing may be left of the whole row.
    if not (covariance[variance <= 0.0] == 0.0).all() or not _has_a_root(unit):
        least = np.linalg.eigvalsh(unit)[0]
        raise ModelError(
            f"{who!r}: a covariance must be positive semi-definite, got correlations with an eigenvalue of {least:.3g}"
        )
    return covariance


def _has_a_root(correlation: Floats) -> bool:
    try:
        np.linalg.cholesky(correlation + _ROUNDING * np.eye(len(correlation)))
    except np.linalg.LinAlgError:
        return False
    return True


def weighted_second_moments(returns: Floats, weights: Floats) -> Floats:
    """(A, A) second moments of (S, A) returns about zero; `weights` (S,) need not sum to one."""
    scaled = returns * np.sqrt(weights / weights.sum())[:, None]
    return np.asarray(scaled.T @ scaled)


def correlation_of(covariance: Floats) -> Floats:
    """Correlations behind a covariance, (A, A); what has no variance is uncorrelated with all else.

    HistoryError where the covariance is NaN, which is how estimators say that they know too little.
    """
    if np.isnan(covariance).any():
        blind = np.flatnonzero(np.isnan(covariance).any(axis=1))
        raise HistoryError(f"correlations need a known covariance of every underlying, that of {blind} is NaN")
    spread = np.sqrt(np.diag(covariance))
    scale = np.where(spread > 0, spread, 1.0)
    correlation: Floats = np.clip(covariance / np.outer(scale, scale), -1.0, 1.0)
    np.fill_diagonal(correlation, 1.0)
    return correlation


def known_correlations(returns: Floats, weights: Floats) -> Floats:
    """Correlations of (S, A) returns, (A, A); NaN where fewer than `LEAST_RETURNS` tell them.

    Each pair from the rows that know both. What is not NaN is part of a positive semi-definite matrix: where holes
    make it none, the pairs of what is known for less (`standing`) move, and what has no hole stays as it is. Two that
    never moved together have a correlation of zero.
    """
    told = pairwise_correlations(returns, weights, 0)
    known = np.isfinite(returns)
    told = np.where(np.isnan(told), 0.0, told)
    if known.all():
        told[:] = told if len(returns) >= LEAST_RETURNS else np.nan
        return told
    count = known.astype(np.float64)
    told[count.T @ count < LEAST_RETURNS] = np.nan
    return made_positive(told, returns, weights)


def made_positive(correlation: Floats, returns: Floats, weights: Floats) -> Floats:
    """The same correlations, (A, A), part of a positive semi-definite matrix; what is NaN stays so.

    Where they are not, the pairs of what is known for less in (S, A) returns move.
    """
    told = positive_completion(correlation, standing(returns, weights))
    return np.where(np.isnan(correlation), np.nan, told)


def standing(returns: Floats, weights: Floats) -> Places:
    """How well each underlying of (S, A) returns is known, (A,): 0 without a hole, and 1 more for each tenth missing.

    A tenth of the weights, (S,), of the rows that know anything.
    """
    known = np.isfinite(returns)
    some = known.any(axis=1)
    missing = weights[some] @ ~known[some] / max(weights[some].sum(), np.finfo(float).tiny)
    holes = (~known[some]).any(axis=0)
    return np.where(holes, np.maximum(np.ceil(10.0 * missing), 1.0), 0.0).astype(np.int64)


def root_mean_square(returns: Floats, weights: Floats) -> Floats:
    """Of each underlying, (A,), from its own known rows of (S, A); NaN where fewer than `LEAST_RETURNS` are."""
    known = np.isfinite(returns)
    square, weight = weights @ np.where(known, returns, 0.0) ** 2, weights @ known
    enough = known.sum(axis=0) >= LEAST_RETURNS
    return np.asarray(np.sqrt(np.divide(square, weight, out=np.full_like(square, np.nan), where=enough & (weight > 0))))


def well_known(returns: Floats, least: int = LEAST_RETURNS) -> Bools:
    """Which underlyings of (S, A) returns to learn from together, (A,): those with the most returns in common rows.

    Of all sets of at least `least` common rows that are looked at, the one of the most rows times underlyings. They
    grow one by one, from the best known on: by an underlying's own returns, and by those that it shares with others.
    Thus neither one with a long past of its own, nor a newcomer, stands for a market.
    """
    known = np.isfinite(returns)
    known &= known.sum(axis=0) >= least
    count = known.astype(np.float64)
    most, enough = 0, np.zeros(known.shape[1], dtype=bool)
    for rank in (count.sum(axis=0), count.T @ count.sum(axis=1)):
        order = np.argsort(-rank, kind="stable")
        shared = np.logical_and.accumulate(known[:, order], axis=1).sum(axis=0)
        cells = np.where(shared >= least, shared * np.arange(1, len(order) + 1), 0)
        if cells.max(initial=0) > most:
            most, enough = int(cells.max()), np.zeros_like(enough)
            enough[order[: int(cells.argmax()) + 1]] = True
    return enough


def ewma_weights(rows: int, decay: float) -> Floats:
    """Weights of `rows` observations, oldest first: the newest weighs 1, the one before `decay`, and so on."""
    return np.asarray(decay ** np.arange(rows - 1, -1, -1.0))


class EwmaCovariance(CovarianceEstimator):
    """Exponentially weighted second moments about zero.

    J.P. Morgan/Reuters (1996), RiskMetrics Technical Document, 4th ed., section 5.2. Each variance is of an
    underlying's own returns, each correlation of those that two have in common: a hole, or a late listing, takes
    nothing from the others, and still ages what was before it.

    Parameters
    ----------
    half_life : horizons after which an observation weighs half, 1e9 at most; infinite for all of the past alike.
    """

    def __init__(self, half_life: float = 20.0) -> None:
        self.half_life = half_life

    def estimate(self, past: MarketHistory) -> Floats:
        """(A, A), NaN for fewer than `LEAST_RETURNS`; ParameterError for a half-life out of range."""
        if not (0 < self.half_life <= LONGEST_HALF_LIFE or self.half_life == math.inf):
            raise ParameterError(
                f"half_life must lie in (0, {LONGEST_HALF_LIFE:g}] or be infinite, got {self.half_life}. "
                f"Typical values: 10-60 horizons."
            )
        steps = past.steps(self.coverage_)
        rows = self.half_life * steps
        kept = len(past) if math.isinf(rows) else max(math.ceil(_MEMORY * rows), 2 * LEAST_RETURNS)
        returns = past.last(kept + steps).returns(self.coverage_)
        weights = ewma_weights(len(returns), 0.5 ** (1.0 / rows))
        scale = root_mean_square(returns, weights)
        return known_correlations(returns, weights) * np.outer(scale, scale)


class LedoitWolfCovariance(CovarianceEstimator):
    """Second moments about zero, shrunk towards uncorrelated underlyings.

    Ledoit and Wolf (2004), "A well-conditioned estimator for large-dimensional covariance matrices", J. Multivariate
    Analysis 88, as scikit-learn implements it. What is shrunk are the correlations: each of the returns that two have
    in common, as each variance is of an underlying's own. The intensity is learned by `fit`, on underlyings that are
    known for long; where horizons overlap on every h-th return, so that the observations it counts are independent.
    The moments are taken afresh at each decision.

    Parameters
    ----------
    lookback : rows to estimate on, `LEAST_RETURNS` at least; None takes the fit window.

    Attributes
    ----------
    shrinkage_ : weight of the target, in [0, 1].
    """

    def __init__(self, lookback: int | None = None) -> None:
        self.lookback = lookback

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Learn `shrinkage_`; ParameterError for a short lookback, HistoryError without `LEAST_RETURNS` of one."""
        from sklearn.covariance import ledoit_wolf

        super().fit(past, coverage)
        sample = _unit_sample(past, self, _rows(self.lookback, self.window_))
        self.shrinkage_ = float(ledoit_wolf(sample, assume_centered=True)[1]) if sample.shape[1] else 0.0
        return self

    def estimate(self, past: MarketHistory) -> Floats:
        """(A, A), NaN for fewer than `LEAST_RETURNS`."""
        correlation, scale = _newest(past, self.coverage_, _rows(self.lookback, self.window_))
        return _shrunk(correlation, np.eye(len(scale)), self.shrinkage_) * np.outer(scale, scale)


class ConstantCorrelationCovariance(CovarianceEstimator):
    """Second moments about zero, their correlations shrunk towards their own average.

    Ledoit and Wolf (2004), "Honey, I shrunk the sample covariance matrix", J. Portfolio Management 30: the average
    correlation says more of most pairs of similar assets than zero does. All else is as in `LedoitWolfCovariance`.

    Parameters
    ----------
    lookback : rows to estimate on, `LEAST_RETURNS` at least; None takes the fit window.

    Attributes
    ----------
    shrinkage_ : weight of the target, in [0, 1].
    """

    def __init__(self, lookback: int | None = None) -> None:
        self.lookback = lookback

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Learn `shrinkage_`; ParameterError for a short lookback, HistoryError without `LEAST_RETURNS` of one."""
        super().fit(past, coverage)
        self.shrinkage_ = constant_correlation_shrinkage(_unit_sample(past, self, _rows(self.lookback, self.window_)))
        return self

    def estimate(self, past: MarketHistory) -> Floats:
        """(A, A), NaN for fewer than `LEAST_RETURNS`."""
        correlation, scale = _newest(past, self.coverage_, _rows(self.lookback, self.window_))
        target, moving = np.eye(len(scale)), np.flatnonzero(scale > 0)
        target[np.ix_(moving, moving)] = constant_correlation(correlation[np.ix_(moving, moving)])
        return _shrunk(correlation, target, self.shrinkage_) * np.outer(scale, scale)


def constant_correlation(covariance: Floats) -> Floats:
    """The same variances, all > 0, and every correlation their average, (A, A); correlations that are NaN count not.

    Positive semi-definite where the covariance is: the average of A assets is then never below -1 / (A - 1), which is
    also where it is held if some are NaN.
    """
    size = len(covariance)
    spread = np.sqrt(np.diag(covariance))
    level = np.ones_like(covariance)
    apart = (covariance / np.outer(spread, spread))[~np.eye(size, dtype=bool)]
    known = apart[np.isfinite(apart)]
    if size > 1:
        level *= max(float(known.mean()), -1.0 / (size - 1)) if len(known) else 0.0
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
    if lookback is not None and lookback < LEAST_RETURNS:
        raise ParameterError(
            f"lookback must be >= {LEAST_RETURNS} or None, got {lookback}. Typical values: 250-1000 rows."
        )
    return window if lookback is None else lookback


def _unit_sample(past: MarketHistory, estimator: CovarianceEstimator, rows: int) -> Floats:
    """Returns over horizons apart, (n, A') at unit variance, of what is known for long and moved.

    Where fewer than two complete horizons are apart, those that overlap stand in. HistoryError where nothing is known.
    """
    steps = past.steps(estimator.coverage_)
    returns = past.last(rows + steps).returns(estimator.coverage_)
    enough = well_known(returns)
    if not enough.any():
        most = np.isfinite(returns).sum(axis=0).max(initial=0)
        raise HistoryError(f"{estimator!r}: needs {LEAST_RETURNS} returns of one underlying, got {most} in {past!r}")
    returns = returns[:, enough]
    apart = returns[::-steps][::-1]
    sample = apart[complete(apart)]
    sample = sample if len(sample) > 1 else returns[complete(returns)]
    scale = np.sqrt((sample**2).mean(axis=0))
    return np.asarray(sample[:, scale > 0] / scale[scale > 0])


def _newest(past: MarketHistory, coverage: Coverage, rows: int) -> tuple[Floats, Floats]:
    """Correlations (A, A) and root mean squares (A,) of the newest returns."""
    returns = past.last(rows + past.steps(coverage)).returns(coverage)
    weights = np.ones(len(returns))
    return known_correlations(returns, weights), root_mean_square(returns, weights)


def _shrunk(correlation: Floats, target: Floats, share: float) -> Floats:
    """A share of the way from the correlations to a target."""
    return np.asarray((1.0 - share) * correlation + share * target)
