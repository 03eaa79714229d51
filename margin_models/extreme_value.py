"""What would this book lose in a horizon worse than almost all that were seen, at today's volatility?"""

import logging
from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
from sklearn.base import clone

from data import Book, Coverage, Floats, MarketHistory, ParameterError
from margin_models.base import MarginModel, Requirement, TailForecast, VolatilityForecaster
from margin_models.generalised_pareto import fit_tails, refusals, tail_beyond
from margin_models.historical_law import Cohort, charged, sample_of, tails_of
from margin_models.historical_var import FilteredHistoricalVaR

_FIT = 150  # multiplications an excess: 27 starts, some ten Newton steps with a logarithm and a division each


class ExtremeValueVaR(MarginModel):
    """Conditional extreme value theory: a generalised Pareto tail on each book's filtered scenario losses.

    McNeil and Frey (2000), "Estimation of tail-related risk measures for heteroscedastic financial time series: an
    extreme value approach", J. Empirical Finance 7, for portfolios: past returns at today's volatility, dates kept
    together and options revalued, as in `FilteredHistoricalVaR`; beyond the (k + 1)-th largest of n losses, with k / n
    the `share`, the law is fitted by maximum likelihood. It smooths the end of the sample and does not reach beyond it:
    a level above n / (n + 1) is refused (HistoryError), because the empirical quantile must be there to fall back on.
    0.999 takes 999 innovations.

    A fit that fails a gate (`generalised_pareto.refusals`) never becomes a margin: the book is charged the empirical
    quantile, `failures_` counts why, and the first of each kind since the fit goes to the log "marginlab"
    at level INFO. Books whose loss is bounded, such as long options, are refused by right: their tail is no Pareto law.
    Tails that are merely thin are refused at times as well: of samples drawn from a shape of -0.3, 40 % with 25
    exceedances, 21 % with 50 and 5 % with 100 (of a shape of 0.2: 4, 0.1 and 0 %).

    Parameters
    ----------
    volatility : any forecaster of the standard deviation over the horizon; `EwmaVolatility()` where None.
    lookback : how many of the newest horizon returns to standardise; None takes the length of the fit window.
    share : of the losses that lie beyond the threshold, from 1 - level to a half.
    shortfall : charge the expected shortfall rather than the quantile.

    Attributes
    ----------
    filtered_ : the fitted simulation whose losses are looked at.
    failures_ : {why: how many books' fits were refused since this model was fitted}.

    Raises
    ------
    ParameterError
        If the share is below 1 - level or above a half.
    """

    def __init__(
        self,
        volatility: VolatilityForecaster | None = None,
        lookback: int | None = None,
        share: float = 0.1,
        shortfall: bool = False,
    ) -> None:
        self.volatility = volatility
        self.lookback = lookback
        self.share = share
        self.shortfall = shortfall

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Fit the forecaster on the window."""
        self._check(coverage)
        return self._with(FilteredHistoricalVaR(self.volatility, self.lookback).fit(past, coverage), past, coverage)

    def fit_many(self, history: MarketHistory, stops: Sequence[int], window: int, coverage: Coverage) -> Iterator[Self]:
        """The same as a loop of fits, the forecasters of all stops fitted at once."""
        self._check(coverage)
        simulations = FilteredHistoricalVaR(self.volatility, self.lookback).fit_many(history, stops, window, coverage)
        for stop, filtered in zip(stops, simulations, strict=True):
            fresh: Self = clone(self)
            yield fresh._with(filtered, history.rows(max(stop - window, 0), stop), coverage)

    def _with(self, filtered: FilteredHistoricalVaR, past: MarketHistory, coverage: Coverage) -> Self:
        self.filtered_ = filtered
        self.failures_: dict[str, int] = {}
        return super().fit(past, coverage)

    def _check(self, coverage: Coverage) -> None:
        if not 1.0 - coverage.level - 1e-12 <= self.share <= 0.5:
            raise ParameterError(
                f"share must be at least 1 - level ({1.0 - coverage.level:.4g}) and at most 0.5, got {self.share}. "
                "Typical values: 0.05-0.15."
            )

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """The quantile, or the shortfall, where it is a loss, (P,) in the numeraire."""
        return charged(self.tail(past, book), self.shortfall)

    def tail(self, past: MarketHistory, book: Book) -> TailForecast:
        """Quantile and expected shortfall of the fitted law, and the scenario losses whose tail it smooths.

        HistoryError where fewer innovations are known than the level needs.
        """
        empirical = self.filtered_.tail(past, book)
        losses = sample_of(empirical)
        return TailForecast(*tails_of(losses, lambda cohort: self._smoothed(past, cohort, empirical)), losses)

    def _smoothed(self, past: MarketHistory, cohort: Cohort, empirical: TailForecast) -> tuple[Floats, Floats]:
        """Quantile and shortfall of the law fitted to a cohort's losses, the empirical ones where it is refused."""
        losses, at = cohort.losses, cohort.portfolios
        size = losses.shape[1]
        beyond = max(round(self.share * size), 1)
        upper = np.sort(np.partition(losses, size - beyond - 1, axis=1)[:, size - beyond - 1 :], axis=1)
        threshold, excess = upper[:, 0], upper[:, 1:] - upper[:, :1]
        laws = fit_tails(excess)
        reasons = refusals(excess, *laws)
        level = max(self.coverage_.level, 1.0 - beyond / size)  # rounding the share may leave the threshold above it
        var, es = tail_beyond(threshold, laws[0], laws[1], beyond / size, level)
        kept = reasons == ""
        moving = losses.max(axis=1) > losses.min(axis=1)
        self._report(past, [str(reason) for reason in reasons[moving & ~kept]])
        var = np.where(kept, var, empirical.var[at])
        return var, np.maximum(np.where(kept, es, empirical.es[at]), var)

    def explain(self, past: MarketHistory, book: Book) -> Requirement:
        """The empirical margin by underlying, and what the fitted tail adds or takes away."""
        margin = self.margin(past, book)
        simulated = FilteredHistoricalVaR(self.volatility, self.lookback, self.shortfall)
        simulated.volatility_ = self.filtered_.volatility_
        simulated.coverage_, simulated.window_ = self.coverage_, self.window_
        told = simulated.explain(past, book)
        parts = {**told.components, "fitted tail": margin - told.initial}
        return Requirement(book.portfolios, margin, margin, parts, told.worst)

    def multiplications(self, past: MarketHistory, book: Book) -> Floats:
        """Of a revaluation in every past horizon, and of the fit, (P,)."""
        rows = self.window_ if self.lookback is None else self.lookback
        return self.filtered_.multiplications(past, book) + _FIT * round(self.share * rows)

    def _report(self, past: MarketHistory, reasons: list[str]) -> None:
        for reason in dict.fromkeys(reasons):
            count = reasons.count(reason)
            if reason not in self.failures_:
                where = "%d of the books on %r: the empirical quantile stands in for the tail (%s)"
                logging.getLogger("marginlab").info(where, count, past, reason)
            self.failures_[reason] = self.failures_.get(reason, 0) + count
