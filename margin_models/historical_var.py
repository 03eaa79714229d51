"""What would this very book have lost in each past horizon, as it was or at today's volatility?"""

from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from data import Book, Coverage, Floats, HistoryError, MarketHistory, ParameterError
from margin_models import operations
from margin_models.base import MarginModel, Requirement, TailForecast, VolatilityForecaster
from margin_models.kernels.tails import book_tails, complete, needed, supports
from margin_models.revalue import book_pnl, pnl_by_underlying
from margin_models.scenarios import Scenarios, historical, usd_moves
from margin_models.volatility.ewma import EwmaVolatility


def at_the_quantile(losses: Floats, level: float) -> tuple[NDArray[np.intp], Floats]:
    """Which scenarios make each book's quantile: indices (P, 2) and their weights (P, 2), which sum to one."""
    size = losses.shape[1]
    position = min(max((size + 1) * level, 1.0), float(size))
    lower = int(np.floor(position + 1e-9)) - 1
    upper = min(lower + 1, size - 1)
    order = np.argsort(losses, axis=1, kind="stable")[:, [lower, upper]]
    share = max(position - (lower + 1), 0.0)
    return order, np.broadcast_to(np.array([1.0 - share, share]), order.shape)


def empirical_tail(book: Book, past: MarketHistory, scenarios: Scenarios, coverage: Coverage) -> TailForecast:
    """The empirical law of a book's loss in each scenario, options revalued as the horizon ends."""
    losses = -book_pnl(book, past.now, scenarios, coverage.years)
    return TailForecast(*book_tails(losses, coverage.level), losses)


def by_underlying(book: Book, past: MarketHistory, scenarios: Scenarios, coverage: Coverage) -> Requirement:
    """The quantile split by underlying, on the scenarios that make it.

    `worst` names the start of the horizon that weighs most.

    A quantile that is a gain is charged as nothing, and so is each of its parts.
    """
    told = empirical_tail(book, past, scenarios, coverage)
    margin = np.maximum(told.var, 0.0)
    picked, weight = at_the_quantile(_sample(told), coverage.level)
    apart = pnl_by_underlying(book, past.now, scenarios, coverage.years)
    chosen = np.take_along_axis(apart, picked[:, None, :], axis=2)
    parts = np.where(margin[:, None] > 0, -(chosen * weight[:, None, :]).sum(axis=2), 0.0)
    heaviest = picked[np.arange(len(picked)), weight.argmax(axis=1)]
    worst = tuple(scenarios.names[row] for row in heaviest)
    return Requirement(book.portfolios, margin, margin, dict(zip(past.underlyings, parts.T, strict=True)), worst)


def _sample(told: TailForecast) -> Floats:
    assert told.sample is not None
    return told.sample


def lookback_rows(lookback: int | None, window: int) -> int:
    """Rows to replay: the lookback, or the fit window where it is None; ParameterError below 1."""
    if lookback is not None and lookback < 1:
        raise ParameterError(f"lookback must be >= 1, got {lookback}. Typical values: 250-1000 rows.")
    return window if lookback is None else lookback


def known_scenarios(moves: Floats, recent: MarketHistory, coverage: Coverage, model: MarginModel) -> Scenarios:
    """The complete rows of (S, A) moves in the numeraire, with what implied volatility did meanwhile.

    HistoryError where they are fewer than the level needs.
    """
    known, level = complete(moves), coverage.level
    if not supports(int(known.sum()), level):
        raise HistoryError(
            f"{model!r}: a {level} quantile needs {needed(level)} complete horizon returns, "
            f"got {known.sum()} of {len(moves)}"
        )
    own = recent.underlyings.index(recent.numeraire) if recent.numeraire in recent.underlyings else None
    implied = recent.implied_changes(coverage)
    return historical(usd_moves(moves[known], own), implied[known], recent.time[: len(moves)][known])


class HistoricalVaR(MarginModel):
    """Historical simulation: the loss quantile of today's book over past horizon returns.

    Reads the past afresh at each decision, so nothing goes stale between refits. Hendricks (1996), "Evaluation of
    value-at-risk models using historical data", FRBNY Economic Policy Review 2.

    Parameters
    ----------
    lookback : how many of the newest horizon returns to replay; None takes as many rows as the fit window has.
    """

    def __init__(self, lookback: int | None = None) -> None:
        self.lookback = lookback

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """The quantile where it is a loss, (P,) in the numeraire."""
        return np.maximum(self.tail(past, book).var, 0.0)

    def tail(self, past: MarketHistory, book: Book) -> TailForecast:
        """The empirical law; HistoryError where fewer complete returns remain than the level needs."""
        return empirical_tail(book, past, self._scenarios(past), self.coverage_)

    def explain(self, past: MarketHistory, book: Book) -> Requirement:
        """The margin by underlying, and the past horizon that made it."""
        return by_underlying(book, past, self._scenarios(past), self.coverage_)

    def multiplications(self, past: MarketHistory, book: Book) -> Floats:
        """Of a revaluation in every past horizon, (P,)."""
        return operations.scan(book, len(self._scenarios(past)))

    def _scenarios(self, past: MarketHistory) -> Scenarios:
        recent = past.last(lookback_rows(self.lookback, self.window_) + past.steps(self.coverage_))
        return known_scenarios(recent.returns(self.coverage_), recent, self.coverage_, self)


class FilteredHistoricalVaR(MarginModel):
    """Filtered historical simulation: past returns over the volatility forecast at their start, times today's forecast.

    Barone-Adesi, Giannopoulos and Vosper (1999), "VaR without correlations for portfolios of derivative securities",
    J. Futures Markets 19. Dates are kept together, so dependence survives.

    Parameters
    ----------
    volatility : any forecaster of the standard deviation over the horizon; `EwmaVolatility()` where None.
    lookback : how many of the newest horizon returns to standardise; None takes the length of the fit window.

    Attributes
    ----------
    volatility_ : the fitted forecaster.
    """

    def __init__(self, volatility: VolatilityForecaster | None = None, lookback: int | None = None) -> None:
        self.volatility = volatility
        self.lookback = lookback

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Fit the forecaster on the window."""
        forecaster = EwmaVolatility() if self.volatility is None else clone(self.volatility)
        self.volatility_: VolatilityForecaster = forecaster.fit(past, coverage)
        return super().fit(past, coverage)

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """The quantile where it is a loss, (P,) in the numeraire."""
        return np.maximum(self.tail(past, book).var, 0.0)

    def tail(self, past: MarketHistory, book: Book) -> TailForecast:
        """The filtered law; HistoryError where fewer innovations are known than the level needs."""
        return empirical_tail(book, past, self._scenarios(past), self.coverage_)

    def explain(self, past: MarketHistory, book: Book) -> Requirement:
        """The margin by underlying, and the past horizon whose innovations made it."""
        return by_underlying(book, past, self._scenarios(past), self.coverage_)

    def multiplications(self, past: MarketHistory, book: Book) -> Floats:
        """Of a revaluation in every past horizon, (P,)."""
        return operations.scan(book, len(self._scenarios(past)))

    def _scenarios(self, past: MarketHistory) -> Scenarios:
        """Innovations at today's volatility."""
        recent = past.last(lookback_rows(self.lookback, self.window_) + past.steps(self.coverage_))
        moves = recent.returns(self.coverage_)
        sigma = self.volatility_.forecasts(past, len(recent))
        start = sigma[: len(moves)]
        ratio = np.divide(sigma[-1], start, out=np.full_like(start, np.nan), where=start > 0)
        # An asset that has defaulted no longer moves, whatever its volatility was.
        filtered = np.where(moves == 0.0, 0.0, moves * ratio)
        return known_scenarios(filtered, recent, self.coverage_, self)
