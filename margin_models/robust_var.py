"""What would this book lose, if the shape of its tail is read off all underlyings at once?"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

import numpy as np
from sklearn.base import clone

from data import Book, Coverage, Floats, HistoryError, MarketHistory, ParameterError
from data.arrays import Bools
from margin_models.base import MarginModel, Requirement, TailForecast, VolatilityForecaster
from margin_models.historical_law import Cohort, charged, sample_of, tails_of
from margin_models.historical_var import FilteredHistoricalVaR
from margin_models.kernels.tails import book_tails, needed, upper_quantile

_LEAST = 0.75  # level of an anchor


class TailShape(NamedTuple):
    """Value at risk and expected shortfall at the level, as multiples of the quantile at the anchor."""

    var: float
    es: float


class RobustVaR(MarginModel):
    """Filtered historical simulation whose quantile rests on a less extreme one, the anchor, that more losses support.

    A 99 % quantile of 500 losses rests on five of them, and changes with each. The 95 % quantile of the book's own
    filtered losses rests on twenty-five; what lies between the two is taken from the losses of every underlying, long
    and short, each over its own quantile at the anchor, in one pool. Eurex's PRISMA replaces a quantile in this way
    ("robust VaR", by the ratio of t quantiles); here the ratio is learned. It supposes that standardised tails are
    alike across books, which holds where volatility is what tells them apart, and fails for books whose loss is
    bounded or bends: portfolios that hold options keep the quantile of their own sample. So do those whose quantile at
    the anchor is no loss, as of an asset that rarely moves: no multiple of nothing says what lies further out.

    Parameters
    ----------
    volatility, lookback, shortfall : as of `FilteredHistoricalVaR`.
    multiple : how many times as often as the level's the anchor is breached: 5 makes it 95 % for 99 %. The anchor is
        never below 75 %, where a quantile no longer tells how wide a law is.

    Attributes
    ----------
    filtered_ : the fitted simulation whose losses are looked at.

    Raises
    ------
    ParameterError
        If the multiple is below 1.
    HistoryError
        If no underlying has a tail to pool, or fewer innovations are known than the level needs.
    """

    def __init__(
        self,
        volatility: VolatilityForecaster | None = None,
        lookback: int | None = None,
        multiple: float = 5.0,
        shortfall: bool = False,
    ) -> None:
        self.volatility = volatility
        self.lookback = lookback
        self.multiple = multiple
        self.shortfall = shortfall

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Fit the forecaster on the window."""
        self._check()
        return self._with(self._simulation().fit(past, coverage), past, coverage)

    def fit_many(self, history: MarketHistory, stops: Sequence[int], window: int, coverage: Coverage) -> Iterator[Self]:
        """The same as a loop of fits, the forecasters of all stops fitted at once."""
        self._check()
        simulations = self._simulation().fit_many(history, stops, window, coverage)
        for stop, filtered in zip(stops, simulations, strict=True):
            fresh: Self = clone(self)
            yield fresh._with(filtered, history.rows(max(stop - window, 0), stop), coverage)

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """The quantile, or the shortfall, where it is a loss, (P,) in the numeraire."""
        return charged(self.tail(past, book), self.shortfall)

    def tail(self, past: MarketHistory, book: Book) -> TailForecast:
        """Quantile and expected shortfall; no sample, because that of the book's own losses has another tail."""
        empirical = self.filtered_.tail(past, book)
        shape, own = self._shape(past), _holds_options(book)

        def pooled(cohort: Cohort) -> tuple[Floats, Floats]:
            anchored = book_tails(cohort.losses, self._anchor)[0]
            kept = own[cohort.portfolios] | (anchored <= 0.0)
            var = np.where(kept, empirical.var[cohort.portfolios], shape.var * anchored)
            return var, np.where(kept, empirical.es[cohort.portfolios], shape.es * anchored)

        return TailForecast(*tails_of(sample_of(empirical), pooled))

    def explain(self, past: MarketHistory, book: Book) -> Requirement:
        """The quantile of the book's own sample by underlying, and what the pooled tail adds or takes away."""
        margin, told = self.margin(past, book), self.filtered_.explain(past, book)
        parts = {**told.components, "pooled tail": margin - told.initial}
        return Requirement(book.portfolios, margin, margin, parts, told.worst)

    def multiplications(self, past: MarketHistory, book: Book) -> Floats:
        """Of a revaluation in every past horizon, and one for the pooled shape, (P,)."""
        return self.filtered_.multiplications(past, book) + 1.0

    def _check(self) -> None:
        if not self.multiple >= 1.0:
            raise ParameterError(f"multiple must be at least 1, got {self.multiple}. Typical values: 2.5-10.")

    @property
    def _anchor(self) -> float:
        """The level of the anchor; that of the coverage where this is below 75 % itself."""
        level = self.coverage_.level
        return min(max(1.0 - self.multiple * (1.0 - level), _LEAST), level)

    def _simulation(self) -> FilteredHistoricalVaR:
        return FilteredHistoricalVaR(self.volatility, self.lookback, self.shortfall)

    def _with(self, filtered: FilteredHistoricalVaR, past: MarketHistory, coverage: Coverage) -> Self:
        self.filtered_ = filtered
        return super().fit(past, coverage)

    def _shape(self, past: MarketHistory) -> TailShape:
        """The pooled tail of every underlying that has one, long and short, each loss over its own quantile."""
        level = self.coverage_.level
        columns = [moves[np.isfinite(moves)] for moves in self.filtered_.moves_now(past).T]
        told = [sign * moves for moves in columns if len(moves) >= needed(level) for sign in (-1.0, 1.0)]
        quantiles = [float(upper_quantile(losses, self._anchor)) for losses in told]
        pool = [losses / quantile for losses, quantile in zip(told, quantiles, strict=True) if quantile > 0.0]
        if not pool:
            raise HistoryError(f"{self!r}: no underlying of {past!r} has {needed(level)} innovations and a tail")
        var, es = book_tails(np.concatenate(pool)[None, :], level)
        return TailShape(max(float(var[0]), 1.0), max(float(es[0]), 1.0))


def _holds_options(book: Book) -> Bools:
    """Which portfolios hold an option, (P,)."""
    portfolio, instrument, quantity = book.holdings()
    holds = np.zeros(len(book.portfolios), dtype=bool)
    holds[portfolio[(quantity != 0) & book.listing.option[instrument]]] = True
    return holds
