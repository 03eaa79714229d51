"""What would this very book have lost in each past horizon, as it was or at today's volatility?"""

from collections.abc import Iterator, Sequence
from typing import Self

from sklearn.base import clone

from data import Book, Coverage, Floats, MarketHistory
from margin_models import operations
from margin_models.base import MarginModel, Requirement, TailForecast, VolatilityForecaster
from margin_models.historical_law import (
    KnownHorizons,
    by_underlying,
    charged,
    empirical_tail,
    floored,
    known_horizons,
    lookback_rows,
    past_moves,
    rescaled,
    unconverted,
)
from margin_models.volatility.ewma import EwmaVolatility


class HistoricalVaR(MarginModel):
    """Historical simulation: the loss quantile of today's book over past horizon returns.

    Reads the past afresh at each decision, so nothing goes stale between refits. Hendricks (1996), "Evaluation of
    value-at-risk models using historical data", FRBNY Economic Policy Review 2.

    Each portfolio is replayed in the horizons that are known of all that it holds itself: a hole or a late listing
    elsewhere costs it nothing.

    Parameters
    ----------
    lookback : how many of the newest horizon returns to replay; None takes as many rows as the fit window has.
    shortfall : charge the expected shortfall, the mean loss at or beyond the quantile, rather than the quantile.
    """

    def __init__(self, lookback: int | None = None, shortfall: bool = False) -> None:
        self.lookback = lookback
        self.shortfall = shortfall

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """The quantile, or the shortfall, where it is a loss, (P,) in the numeraire."""
        return charged(self.tail(past, book), self.shortfall)

    def tail(self, past: MarketHistory, book: Book) -> TailForecast:
        """The empirical law, the sample NaN in horizons with a hole in what a portfolio holds.

        HistoryError where fewer complete returns remain to some portfolio than the level needs.
        """
        return empirical_tail(book, past, self._horizons(past, book), self.coverage_)

    def explain(self, past: MarketHistory, book: Book) -> Requirement:
        """The margin by underlying, and the past horizon that made it (of a shortfall, one that did)."""
        return by_underlying(book, past, self._horizons(past, book), self.coverage_, self.shortfall)

    def multiplications(self, past: MarketHistory, book: Book) -> Floats:
        """Of a revaluation in every past horizon, (P,)."""
        return operations.scan(book, 1) * self._horizons(past, book).counts(book)

    def _horizons(self, past: MarketHistory, book: Book | None = None) -> KnownHorizons:
        recent = past.last(lookback_rows(self.lookback, self.window_) + past.steps(self.coverage_))
        return known_horizons(past_moves(recent, self.coverage_), recent, self.coverage_, self, book)


class FilteredHistoricalVaR(MarginModel):
    """Filtered historical simulation: past returns over the volatility forecast at their start, times today's forecast.

    Barone-Adesi, Giannopoulos and Vosper (1999), "VaR without correlations for portfolios of derivative securities",
    J. Futures Markets 19. Dates are kept together, so dependence survives, and options are revalued in full. With
    `EwmaVolatility` this is the volatility-weighted simulation of Hull and White (1998), "Incorporating volatility
    updating into the historical simulation method for value-at-risk", J. Risk 1.

    What is filtered are USD moves; where all is counted in a coin, its own scenario converts the gains afterwards. No
    forecast is taken for less than a tenth of the asset's own root mean square over the lookback
    (`historical_law.floored`), and no move grows by more than ten times (`historical_law.rescaled`): an asset that
    stood still and then moved keeps its move, neither lost nor blown up without end. Each portfolio is replayed in the
    horizons known of all that it holds, as in `HistoricalVaR`.

    Parameters
    ----------
    volatility : any forecaster of the standard deviation over the horizon; `EwmaVolatility()` where None.
    lookback : how many of the newest horizon returns to standardise; None takes the length of the fit window.
    shortfall : charge the expected shortfall, the mean loss at or beyond the quantile, rather than the quantile.

    Attributes
    ----------
    volatility_ : the fitted forecaster, of USD returns where all is counted in a coin of the market.
    """

    def __init__(
        self, volatility: VolatilityForecaster | None = None, lookback: int | None = None, shortfall: bool = False
    ) -> None:
        self.volatility = volatility
        self.lookback = lookback
        self.shortfall = shortfall

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Fit the forecaster on the window."""
        return self._with(self._forecaster().fit(*unconverted(past, coverage)), past, coverage)

    def fit_many(self, history: MarketHistory, stops: Sequence[int], window: int, coverage: Coverage) -> Iterator[Self]:
        """The same as a loop of fits, the forecasters of all stops fitted at once."""
        told, counted = unconverted(history, coverage)
        forecasters = self._forecaster().fit_many(told, stops, window, counted)
        for stop, fitted in zip(stops, forecasters, strict=True):
            fresh: Self = clone(self)
            yield fresh._with(fitted, history.rows(max(stop - window, 0), stop), coverage)

    def _forecaster(self) -> VolatilityForecaster:
        fresh: VolatilityForecaster = EwmaVolatility() if self.volatility is None else clone(self.volatility)
        return fresh

    def _with(self, fitted: VolatilityForecaster, past: MarketHistory, coverage: Coverage) -> Self:
        self.volatility_ = fitted
        return super().fit(past, coverage)

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """The quantile, or the shortfall, where it is a loss, (P,) in the numeraire."""
        return charged(self.tail(past, book), self.shortfall)

    def tail(self, past: MarketHistory, book: Book) -> TailForecast:
        """The filtered law, the sample NaN in horizons with a hole in what a portfolio holds.

        HistoryError where fewer innovations are known to some portfolio than the level needs.
        """
        return empirical_tail(book, past, self._horizons(past, book), self.coverage_)

    def explain(self, past: MarketHistory, book: Book) -> Requirement:
        """The margin by underlying, and the past horizon whose innovations made it."""
        return by_underlying(book, past, self._horizons(past, book), self.coverage_, self.shortfall)

    def multiplications(self, past: MarketHistory, book: Book) -> Floats:
        """Of a revaluation in every past horizon, (P,)."""
        return operations.scan(book, 1) * self._horizons(past, book).counts(book)

    def moves_now(self, past: MarketHistory) -> Floats:
        """Past horizon returns of USD prices at today's volatility, (S, A), oldest first; NaN where unknown."""
        rows = self._rows(past)
        told, coverage = unconverted(past, self.coverage_)
        moves = told.last(rows).returns(coverage)
        sigma = floored(self.volatility_.forecasts(told, min(rows, len(past))), moves)
        return rescaled(moves, sigma)

    def _rows(self, past: MarketHistory) -> int:
        return lookback_rows(self.lookback, self.window_) + past.steps(self.coverage_)

    def _horizons(self, past: MarketHistory, book: Book | None = None) -> KnownHorizons:
        return known_horizons(self.moves_now(past), past.last(self._rows(past)), self.coverage_, self, book)
