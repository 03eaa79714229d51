"""How do correlations move from day to day, once each underlying's volatility is known?"""

import math
from typing import NamedTuple, Self

import numpy as np
from sklearn.base import clone

from data import Coverage, Floats, HistoryError, MarketHistory, ParameterError
from margin_models.base import CovarianceEstimator, VolatilityForecaster
from margin_models.covariance import LEAST_RETURNS, known_correlations, made_positive, root_mean_square, well_known
from margin_models.kernels.correlations import dcc_loglikelihood, dcc_state
from margin_models.kernels.tails import complete
from margin_models.volatility.ewma import EwmaVolatility

LEAST_HORIZONS = 100  # fewer say little of how correlations move
PERSISTENCE = 0.9999  # the largest sum of news and memory that is searched
LEAST_NEWS = 1e-5  # below, correlations do not answer and their memory means nothing
LEAST_GAIN = 3.0  # of log-likelihood over constant correlations
LEAST_SIGMA = 0.1  # of an underlying's own root mean square: a forecast below is taken for this

_STARTS = [(n, m) for n in (0.01, 0.03, 0.08, 0.2) for m in (0.3, 0.6, 0.85, 0.95) if n + m < PERSISTENCE]
_NEVER = 1e300  # stands for a log-likelihood of -inf, which the search cannot subtract
_BEST = 2  # starts that are followed to their optimum


class Dynamics(NamedTuple):
    """What moves correlations: the weights of the latest innovations and of the row before, and how likely they are.

    `gain` is the log-likelihood over that of correlations that stand still.
    """

    news: float
    memory: float
    loglikelihood: float
    gain: float


def learn_dcc(innovations: Floats, target: Floats) -> Dynamics:
    """The weights of the largest quasi-likelihood of (T, A) innovations, given what correlations return to, (A, A).

    Engle (2002), equation 26, with correlation targeting. Searched with both weights >= 0 and below 1 together, from
    the best two of several starts; correlations that stand still are among the candidates, so that the answer is never
    less likely than they are. The log-likelihood is -inf where the target is singular.
    """
    from scipy.optimize import minimize

    def told(news: float, memory: float) -> float:
        return float(dcc_loglikelihood(innovations, target, news, memory, target))

    def unlikely(free: Floats) -> float:
        return min(-told(*_inside(free)), _NEVER)

    still = Dynamics(0.0, 0.0, told(0.0, 0.0), 0.0)
    if not math.isfinite(still.loglikelihood):
        return still
    found = [still]
    for start in sorted(_STARTS, key=lambda one: -told(*one))[:_BEST]:
        best = minimize(unlikely, _outside(*start), method="Nelder-Mead", tol=1e-5)
        found.append(Dynamics(*_inside(best.x), -float(best.fun), -float(best.fun) - still.loglikelihood))
    return max(found, key=lambda one: one.loglikelihood)


def _inside(free: Floats) -> tuple[float, float]:
    """News and memory from any two numbers: the logits of their sum, as a share of the largest, and of news in it."""
    whole, share = 1.0 / (1.0 + np.exp(-np.clip(free, -40.0, 40.0)))
    return float(PERSISTENCE * whole * share), float(PERSISTENCE * whole * (1.0 - share))


def _outside(news: float, memory: float) -> Floats:
    shares = np.array([(news + memory) / PERSISTENCE, news / (news + memory)])
    return np.asarray(np.log(shares / (1.0 - shares)))


class DccCovariance(CovarianceEstimator):
    """Dynamic conditional correlations between returns over their forecast volatility, times today's forecasts.

    Engle (2002), "Dynamic conditional correlation", J. Business and Economic Statistics 20; DCC(1,1) with correlation
    targeting. `fit` learns how fast correlations move, from underlyings that are known for long together; each decision
    filters them anew up to now, each pair by the rows that know both; where that is no correlation matrix, the pairs of
    what is known for less move. A row is a whole horizon: where horizons overlap, every h-th return is taken, the last
    ending now. A fit that fails a gate leaves correlations constant until the next one, and `failures_` says why. A
    forecast of less than a tenth of an underlying's root mean square return is taken for that tenth, so that what stood
    still tells how far it moves.

    Parameters
    ----------
    volatility : any forecaster of the standard deviation over the horizon; `EwmaVolatility()` where None.
    lookback : rows that are filtered; None takes the length of the fit window.

    Attributes
    ----------
    volatility_ : the fitted forecaster.
    news_, memory_ : weights of the latest innovations and of the row before, >= 0 and below 1 together.
    target_ : (A, A) correlations that they return to, NaN where too little was known.
    failures_ : {underlying, or "correlations": why a fit was refused}.

    Raises
    ------
    HistoryError
        Where no underlying has enough innovations to learn from.
    """

    def __init__(self, volatility: VolatilityForecaster | None = None, lookback: int | None = None) -> None:
        self.volatility = volatility
        self.lookback = lookback

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Fit the forecaster, then learn how correlations move; ParameterError for a lookback below 1."""
        if self.lookback is not None and self.lookback < 1:
            raise ParameterError(f"lookback must be >= 1 or None, got {self.lookback}. Typical values: 250-1000 rows.")
        super().fit(past, coverage)
        forecaster = EwmaVolatility() if self.volatility is None else clone(self.volatility)
        self.volatility_: VolatilityForecaster = forecaster.fit(past, coverage)
        innovations, _ = self._innovations(past, self.window_)
        enough = well_known(innovations, LEAST_HORIZONS)
        if not enough.any():
            enough = well_known(innovations)
        if not enough.any():
            most = np.isfinite(innovations).sum(axis=0).max(initial=0)
            raise HistoryError(
                f"{self!r}: correlations need {LEAST_RETURNS} innovations of one underlying, got {most} in {past!r}"
            )
        self._unit: Floats
        self._unit, self.target_ = _unit_and_target(innovations)
        self._learn((innovations / self._unit)[:, enough], self.target_[np.ix_(enough, enough)])
        return self

    def estimate(self, past: MarketHistory) -> Floats:
        """(A, A) for the horizon that starts now; NaN for an underlying without a forecast, or too few innovations."""
        innovations, sigma = self._innovations(past, self.lookback or self.window_)
        unit, target = self._unit, self.target_
        if np.isnan(target).any():  # what the fit knew too little of may be known by now
            newest = _unit_and_target(innovations)
            unit = np.where(np.isnan(np.diag(target)), newest[0], unit)
            target = np.where(np.isnan(target), newest[1], target)
        state = dcc_state(innovations / unit, target, self.news_, self.memory_, target)
        spread = np.sqrt(np.diag(state))
        correlation = np.clip(state / np.outer(spread, spread), -1.0, 1.0)
        np.fill_diagonal(correlation, np.where(np.isnan(spread), np.nan, 1.0))
        return made_positive(correlation, innovations, np.ones(len(innovations))) * np.outer(sigma, sigma)

    def _innovations(self, past: MarketHistory, rows: int) -> tuple[Floats, Floats]:
        """Returns over the forecast at their start, a horizon apart, (S, A), NaN where unknown; forecasts now, (A,)."""
        steps = past.steps(self.coverage_)
        recent = past.last(rows + steps)
        moves = recent.returns(self.coverage_)
        sigma = self.volatility_.forecasts(past, len(recent))
        least = LEAST_SIGMA * root_mean_square(moves, np.ones(len(moves)))
        start = np.maximum(sigma[: len(moves)], np.where(np.isnan(least), 0.0, least))
        ratio = np.divide(moves, start, out=np.full_like(moves, np.nan), where=start > 0)
        # What stands still needs no forecast to have been no news.
        told: Floats = np.where(moves == 0.0, 0.0, ratio)
        return np.ascontiguousarray(told[::-steps][::-1]), np.where(past.spot[-1] == 0.0, 0.0, sigma[-1])

    def _learn(self, innovations: Floats, target: Floats) -> None:
        self.failures_: dict[str, str] = dict(getattr(self.volatility_, "failures_", {}))
        found = learn_dcc(np.ascontiguousarray(innovations), np.ascontiguousarray(target))
        reason = refusal(found, int(complete(innovations).sum()))
        if reason:
            self.failures_["correlations"] = reason
        self.news_, self.memory_ = (0.0, 0.0) if reason else (found.news, found.memory)


def _unit_and_target(innovations: Floats) -> tuple[Floats, Floats]:
    """Root mean squares, (A,), 1 where there is none, and the correlations of (S, A) innovations."""
    weights = np.ones(len(innovations))
    unit = root_mean_square(innovations, weights)
    return np.where(unit > 0, unit, 1.0), known_correlations(innovations, weights)


def refusal(found: Dynamics, rows: int) -> str:
    """Why a fit on so many complete rows may not move correlations; "" if it may.

    The least gain is the level that 15 of 600 fits to constant correlations reached (2, 3 and 6 assets, 250-1000 rows,
    normal and Student-t with 5 degrees), and more than nine in ten to 500 rows of ones that move by news of 0.03 and
    memory of 0.95. It was simulated, as memory means nothing where correlations are constant, and the likelihood ratio
    has no chi-square law there.
    """
    if rows < LEAST_HORIZONS:
        return f"{rows} complete horizons, {LEAST_HORIZONS} needed"
    if not math.isfinite(found.loglikelihood):
        return "the correlations they return to are singular"
    if not (found.news >= 0.0 and found.memory >= 0.0 and found.news + found.memory < 1.0):
        return f"weights out of bounds: {found.news:.4g} and {found.memory:.4g}"
    if found.news < LEAST_NEWS:
        return f"correlations do not answer to returns (news {found.news:.2g})"
    if found.gain < LEAST_GAIN:
        return f"hardly likelier than constant correlations: by {found.gain:.2g} of log-likelihood, {LEAST_GAIN} needed"
    return ""
