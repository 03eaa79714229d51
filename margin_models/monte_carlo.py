"""What would the worst of ten thousand joint moves of prices and volatilities cost on average?"""

import functools
import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from data import Book, Coverage, Floats, HistoryError, MarketHistory, ParameterError
from margin_models import operations
from margin_models.base import CovarianceEstimator, MarginModel, Requirement, TailForecast, VolatilityForecaster
from margin_models.copula import fit_degrees, student_draws, with_law_of
from margin_models.covariance import LedoitWolfCovariance, correlation_of, weighted_second_moments
from margin_models.kernels.tails import complete, needed, supports
from margin_models.revalue import book_pnl, pnl_by_underlying
from margin_models.scenarios import Scenarios, numeraire_column, usd_moves
from margin_models.volatility.ewma import EwmaVolatility

_LEAST_CHANGES = 20  # changes of implied volatility below which nothing is learned from them


@dataclass(frozen=True, eq=False)
class ImpliedLaw:
    """How 30-day implied volatility changes with its underlying: `beta` (A,) times the move, and a residual.

    Residuals have standard deviation `spread` (A,) and `correlation` (A, A) among themselves, none with the moves.
    """

    beta: Floats
    spread: Floats
    correlation: Floats


def learn_implied(past: MarketHistory, coverage: Coverage) -> ImpliedLaw:
    """Least squares through the origin of implied changes on returns; zeros where there are too few surfaces."""
    moves, changes = past.returns(coverage), past.implied_changes(coverage)
    # A change of exactly nothing is how a history says that it has no surface.
    known = np.isfinite(moves) & (changes != 0.0)
    known &= known.sum(axis=0) >= _LEAST_CHANGES
    moves, changes = np.where(known, moves, 0.0), np.where(known, changes, 0.0)
    squares = (moves**2).sum(axis=0)
    beta = np.divide((moves * changes).sum(axis=0), squares, out=np.zeros(len(squares)), where=squares > 0)
    residual = changes - beta * moves
    spread = np.sqrt((residual**2).sum(axis=0) / np.maximum(known.sum(axis=0), 1))
    joint = weighted_second_moments(residual, np.ones(len(residual))) if len(residual) else np.diag(spread)
    return ImpliedLaw(beta, spread, correlation_of(joint))


@dataclass(frozen=True, eq=False)
class JointLaw:
    """All that joint moves are drawn from.

    `innovations` are A samples, one an underlying, `volatility` (A,) what they are multiplied by; `correlation` (A, A)
    and `degrees` are those of the t copula that holds them together, and the residuals of `implied` too.
    """

    innovations: tuple[Floats, ...]
    volatility: Floats
    correlation: Floats
    degrees: float
    implied: ImpliedLaw


def monte_carlo(law: JointLaw, count: int, seed: int, numeraire: int | None = None) -> Scenarios:
    """`count` draws, the same for the same arguments; innovations count in the numeraire, whose column is given."""
    size = len(law.innovations)
    joint = np.eye(2 * size)
    joint[:size, :size], joint[size:, size:] = law.correlation, law.implied.correlation
    drawn = student_draws(count, joint, law.degrees, seed)
    columns = zip(drawn.T[:size], law.innovations, strict=True)
    moves = np.stack([with_law_of(draw, sample, law.degrees) for draw, sample in columns], axis=1) * law.volatility
    unit = 1.0 if math.isinf(law.degrees) else math.sqrt((law.degrees - 2.0) / law.degrees)
    vol = law.implied.beta * moves + law.implied.spread * unit * drawn[:, size:]
    return Scenarios(np.maximum(usd_moves(moves, numeraire), -1.0), np.maximum(vol, -1.0), _numbered(count))


@functools.lru_cache(maxsize=4)
def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"draw {n}" for n in range(count))


def worst_share(losses: Floats, level: float) -> tuple[NDArray[np.intp], Floats]:
    """Which scenarios make each book's expected shortfall, worst first: indices (P, k) and the weights (k,) they share.

    The worst (1 - level) S of S, the last of them in part. Acerbi and Tasche (2002), "On the coherence of expected
    shortfall", J. Banking and Finance 26, definition 2.6: so defined it is subadditive on any common scenarios.
    """
    size = losses.shape[1]
    worst = max((1.0 - level) * size, 1.0)
    whole = math.floor(worst + 1e-9)
    weight = np.r_[np.ones(whole), max(worst - whole, 0.0)] / worst
    weight = weight[: size if weight[-1] > 1e-12 else whole]
    candidates = np.argpartition(losses, size - len(weight), axis=1)[:, size - len(weight) :]
    order = np.argsort(-np.take_along_axis(losses, candidates, axis=1), axis=1, kind="stable")
    return np.take_along_axis(candidates, order, axis=1), weight


def sample_tail(losses: Floats, level: float) -> TailForecast:
    """Quantile, the (S + 1) level order statistic, and expected shortfall of each row of (P, S) losses."""
    size = losses.shape[1]
    position = min((size + 1) * level, float(size))
    lower = math.floor(position + 1e-9)
    share = max(position - lower, 0.0)
    top = np.partition(losses, lower - 1, axis=1)[:, lower - 1 :]
    top.sort(axis=1)
    var = top[:, 0] if lower == size else (1.0 - share) * top[:, 0] + share * top[:, 1]
    picked, weight = worst_share(losses, level)
    es = (np.take_along_axis(losses, picked, axis=1) * weight).sum(axis=1)
    return TailForecast(var, np.maximum(es, var), losses)


class MonteCarloES(MarginModel):
    """Expected shortfall of the fully revalued book over joint draws of prices and implied volatilities.

    After what the Options Clearing Corporation tells of STANS (86 FR 9410, 2021): Monte Carlo, a t copula, expected
    shortfall at 99 %. Marginal laws are those of past returns over the volatility forecast at their start, times
    today's forecast; beyond the outermost of them tails are Student-t (margin_models/copula.py), so that what only a
    crash moves is charged for one worse than the window's. Implied volatilities follow their underlyings by a
    regression learned by `fit`, where the history has surfaces. Every book of every decision meets the same random
    numbers, so that a book never posts more than its parts.

    Parameters
    ----------
    scenarios : how many draws, at least as many as the level needs.
    volatility : any forecaster of the standard deviation over the horizon; `EwmaVolatility()` where None.
    covariance : how correlations are estimated, afresh at each decision; `LedoitWolfCovariance()` where None.
    degrees : degrees of freedom of the t copula, > 2, `math.inf` for a normal one; None learns them from the window.
    lookback : rows whose innovations are drawn from; None takes the length of the fit window.
    seed : of the random numbers.

    Attributes
    ----------
    volatility_, covariance_ : the fitted forecaster and estimator.
    degrees_ : degrees of freedom in use.
    implied_ : how implied volatility follows.
    """

    def __init__(
        self,
        scenarios: int = 10_000,
        volatility: VolatilityForecaster | None = None,
        covariance: CovarianceEstimator | None = None,
        degrees: float | None = None,
        lookback: int | None = None,
        seed: int = 0,
    ) -> None:
        self.scenarios = scenarios
        self.volatility = volatility
        self.covariance = covariance
        self.degrees = degrees
        self.lookback = lookback
        self.seed = seed

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Fit both parts, the copula and the regression; ParameterError for what is out of range."""
        self._check(coverage)
        super().fit(past, coverage)
        forecaster = EwmaVolatility() if self.volatility is None else clone(self.volatility)
        estimator = LedoitWolfCovariance() if self.covariance is None else clone(self.covariance)
        self.volatility_: VolatilityForecaster = forecaster.fit(past, coverage)
        self.covariance_: CovarianceEstimator = estimator.fit(past, coverage)
        self.implied_ = learn_implied(past, coverage)
        self.degrees_ = self._learned_degrees(past) if self.degrees is None else float(self.degrees)
        return self

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """The expected shortfall where it is a loss, (P,) in the numeraire."""
        return np.maximum(self.tail(past, book).es, 0.0)

    def tail(self, past: MarketHistory, book: Book) -> TailForecast:
        """The law of the loss over all draws; HistoryError where fewer innovations are known than the level needs."""
        return self._tail(past, book, self.draws(past))

    def multiplications(self, past: MarketHistory, book: Book) -> Floats:  # noqa: ARG002  the same at any instant
        """Of a revaluation in every draw, (P,)."""
        return operations.scan(book, self.scenarios)

    def explain(self, past: MarketHistory, book: Book) -> Requirement:
        """The margin by underlying, over the draws that make it, and the worst of them."""
        scenarios = self.draws(past)
        apart = pnl_by_underlying(book, past.now, scenarios, past.now.years_ahead(self.coverage_))
        told = self._tail(past, book, scenarios)
        assert told.sample is not None
        margin = np.maximum(told.es, 0.0)
        picked, weight = worst_share(told.sample, self.coverage_.level)
        parts = (np.take_along_axis(apart, picked[:, None, :], axis=2) * weight).sum(axis=2)
        parts = np.where(margin[:, None] > 0, 0.0 - parts, 0.0)
        rows = zip(picked[:, 0], margin, strict=True)
        worst = tuple(_told(scenarios, past.underlyings, row) if charged > 0 else "" for row, charged in rows)
        return Requirement(book.portfolios, margin, margin, dict(zip(past.underlyings, parts.T, strict=True)), worst)

    def _tail(self, past: MarketHistory, book: Book, scenarios: Scenarios) -> TailForecast:
        losses = -book_pnl(book, past.now, scenarios, past.now.years_ahead(self.coverage_))
        return sample_tail(losses, self.coverage_.level)

    def draws(self, past: MarketHistory) -> Scenarios:
        """The scenarios that every book meets now."""
        innovations, today = self._innovations(past, self.lookback or self.window_)
        known, level = [column[np.isfinite(column)] for column in innovations.T], self.coverage_.level
        for a, sample in enumerate(known):
            if past.spot[-1, a] == 0.0:
                known[a], today[a] = np.zeros(1), 0.0
            elif not supports(len(sample), level) or not np.isfinite(today[a]):
                raise HistoryError(
                    f"{self!r}: the {level} tail of {past.underlyings[a]} needs {needed(level)} innovations and a "
                    f"volatility forecast, got {len(sample)} and {today[a]}"
                )
        correlation = correlation_of(self.covariance_.estimate(past))
        law = JointLaw(tuple(known), today, correlation, self.degrees_, self.implied_)
        return monte_carlo(law, self.scenarios, self.seed, numeraire_column(past))

    def _innovations(self, past: MarketHistory, rows: int) -> tuple[Floats, Floats]:
        """Returns over the forecast at their start, (S, A), NaN where unknown; and today's forecast, (A,)."""
        recent = past.last(rows + past.steps(self.coverage_))
        moves = recent.returns(self.coverage_)
        sigma = self.volatility_.forecasts(past, len(recent))
        start = sigma[: len(moves)]
        return np.divide(moves, start, out=np.full_like(moves, np.nan), where=start > 0), sigma[-1].copy()

    def _learned_degrees(self, past: MarketHistory) -> float:
        innovations, _ = self._innovations(past, len(past))
        # A column of an asset that has defaulted says nothing of the others.
        sample = np.where(past.spot[-1] == 0.0, 0.0, innovations)
        return fit_degrees(sample[complete(sample)], correlation_of(self.covariance_.estimate(past)))

    def _check(self, coverage: Coverage) -> None:
        if not supports(self.scenarios, coverage.level):
            least = needed(coverage.level)
            raise ParameterError(
                f"scenarios must be >= {least} at {coverage.level}, got {self.scenarios}. Typical: 10000."
            )
        if self.degrees is not None and not self.degrees > 2:
            raise ParameterError(f"degrees must be > 2, got {self.degrees}. Typical values: 3-8.")
        if self.lookback is not None and self.lookback < 1:
            raise ParameterError(f"lookback must be >= 1 or None, got {self.lookback}. Typical values: 250-1000 rows.")
        if self.seed < 0:
            raise ParameterError(f"seed must be >= 0, got {self.seed}")


def _told(scenarios: Scenarios, underlyings: tuple[str, ...], row: np.intp) -> str:
    """A draw in words."""
    moves = ", ".join(f"{name} {100 * move:+.1f}%" for name, move in zip(underlyings, scenarios.spot[row], strict=True))
    return f"{scenarios.names[row]}: {moves}"
