"""How volatile is the next horizon if variance follows GARCH or GJR?"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, Self

import numpy as np
from sklearn.base import clone

from data import ConvergenceError, Coverage, Floats, HistoryError, MarketHistory
from margin_models.base import VolatilityForecaster
from margin_models.kernels.garch_gates import mean_squares
from margin_models.kernels.recursions import garch_variance
from margin_models.volatility.arch_models import fit_garch, mean_square
from margin_models.volatility.garch_fits import (
    BLOCK,
    EWMA_DECAY,
    LEAST_RETURNS,
    PERSISTENCE,
    GarchFit,
    Innovations,
    Ints,
    fit_windows,
    refusal,
    spans_among,
)
from margin_models.volatility.measures import columns_of

__all__ = [
    "BURN",
    "LEAST_RETURNS",
    "PERSISTENCE",
    "GarchFit",
    "GarchVolatility",
    "Law",
    "fit_garch",
    "mean_square",
    "refusal",
]

BURN = 500  # rows after which beta^500 is left of the value the filter starts from: 4e-5 for a beta of 0.98
_FAR = 0.1  # of a window new since the one before it: then where that ended is no better a start than any


class Law(NamedTuple):
    """What the filter knows of one asset; `level` is the variance it starts from."""

    omega: float
    alpha: float
    gamma: float
    beta: float
    level: float

    @property
    def persistence(self) -> float:
        """The share of a variance shock that is left a row later, under a symmetric law."""
        return self.alpha + 0.5 * self.gamma + self.beta


Verdict = tuple[Law, str]  # a law, and why another one was refused, "" where none was


class GarchVolatility(VolatilityForecaster):
    """GARCH(1,1) (Bollerslev, 1986) or GJR on one-row returns, summed to the horizon in closed form.

    Each asset is estimated by maximum likelihood, on its own kernel; between fits the parameters stand still and only
    the filter moves. The mean is zero: over a row it is far smaller than its standard error. The filter starts `BURN`
    rows before the first forecast asked for, at the mean square of the fit's window, and fills holes by expectation.
    Persistence is searched up to 0.9999, because heavy-tailed series of short rows often estimate 1.

    `fit_many` takes every window of every asset in one call, each from where the one before it ended, unless that is
    later or more than a tenth of the rows are new; its forecasts are those of a loop of fits to 1e-5 of themselves,
    mostly to 1e-6. A likelihood may have two summits nearly as high: then either way can end on the lower.

    A fit that fails a gate (`refusal`) never becomes a forecast: the asset is forecast by EWMA(0.94) until the next
    fit, `failures_` says why, and one line at level INFO goes to the log "marginlab".

    Parameters
    ----------
    asymmetric : let falls move variance more than rises do (Glosten, Jagannathan and Runkle, 1993).
    student : estimate under a standardised t law rather than the normal.
    fallback : False raises ConvergenceError instead of forecasting by EWMA.
    skewed : estimate under Hansen's skewed t law (1994), with or without `student`. It moves the parameters only: over
        a longer horizon than a row falls are taken to make half of the squares, as arch takes them.

    Attributes
    ----------
    laws_ : {underlying: Law}, one-row parameters.
    failures_ : {underlying: why its fit was refused}, empty where every fit passed.

    Raises
    ------
    HistoryError
        If a window has fewer than 250 returns.
    ConvergenceError
        Without fallback, if the fit of any asset is refused.
    """

    def __init__(
        self, asymmetric: bool = False, student: bool = False, fallback: bool = True, skewed: bool = False
    ) -> None:
        self.asymmetric = asymmetric
        self.student = student
        self.fallback = fallback
        self.skewed = skewed

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Estimate every asset on all of `past`."""
        (verdicts,) = self._verdicts(past, [len(past)], len(past), coverage)
        return self._with(verdicts, past, coverage)

    def fit_many(self, history: MarketHistory, stops: Sequence[int], window: int, coverage: Coverage) -> Iterator[Self]:
        """Estimate every asset on the `window` rows before every stop at once."""
        verdicts = self._verdicts(history, stops, window, coverage)
        for stop, one in zip(stops, verdicts, strict=True):
            fresh: Self = clone(self)
            yield fresh._with(one, history.rows(max(stop - window, 0), stop), coverage)

    def forecasts(self, past: MarketHistory, count: int) -> Floats:
        """Standard deviation over the horizon at the newest `count` rows, (count, A); NaN before the first row.

        NaN for an asset without any return in the fit's window. Laws are found by name: HistoryError for an underlying
        that was not among those of the fit.
        """
        forecasts, columns = np.full((count, len(past.underlyings)), np.nan), columns_of(past, self.laws_)
        if not count or not len(past):
            return forecasts
        recent = past.last(count + BURN)
        returns = np.full(recent.spot.shape, np.nan)
        returns[1:] = recent.returns(self._row)
        omega, alpha, gamma, beta, level = np.take(self._parameters, columns, axis=1)
        variance = garch_variance(returns, omega, alpha, gamma, beta, level)[-count:]
        forecasts[count - len(variance) :] = np.sqrt(variance * self._slope[columns] + self._intercept[columns])
        return forecasts

    def _with(self, verdicts: Sequence[Verdict], past: MarketHistory, coverage: Coverage) -> Self:
        super().fit(past, coverage)
        self._row = replace(coverage, horizon=past.clock.step)
        self.laws_: dict[str, Law] = {name: law for name, (law, _) in zip(past.underlyings, verdicts, strict=True)}
        self.failures_: dict[str, str] = {
            name: reason for name, (_, reason) in zip(past.underlyings, verdicts, strict=True) if reason
        }
        self._report(past)
        laws = tuple(self.laws_.values())
        self._parameters: Floats = np.array(laws).T.copy()
        self._slope, self._intercept = _to_horizon(laws, past.steps(coverage))
        return self

    def _verdicts(
        self, history: MarketHistory, stops: Sequence[int], window: int, coverage: Coverage
    ) -> list[list[Verdict]]:
        """What may forecast each asset from each stop on."""
        for stop in stops:
            if min(stop, window) <= LEAST_RETURNS:
                raise HistoryError(
                    f"GARCH needs {LEAST_RETURNS + 1} rows to fit, got {history.rows(max(stop - window, 0), stop)!r}"
                )
        returns = history.returns(replace(coverage, horizon=history.clock.step))
        known = [np.flatnonzero(np.isfinite(column)) for column in returns.T]
        ends = [stop - 1 for stop in stops]  # n rows have n - 1 returns
        where = [spans_among(rows, ends, window - 1) for rows in known]
        series = [column[rows] for column, rows in zip(returns.T, known, strict=True)]
        kind = Innovations(self.asymmetric, self.student, skewed=self.skewed)
        return [list(one) for one in zip(*verdicts_of(series, where, kind), strict=True)]

    def _report(self, past: MarketHistory) -> None:
        if not self.failures_:
            return
        why = "; ".join(f"{name}: {reason}" for name, reason in self.failures_.items())
        where = f"GARCH fit refused on {past!r}: {why}"
        if not self.fallback:
            raise ConvergenceError(where)
        logging.getLogger("marginlab").info("%s. EWMA(%s) stands in", where, EWMA_DECAY)


def verdicts_of(series: Sequence[Floats], spans: Sequence[tuple[Ints, Ints]], kind: Innovations) -> list[list[Verdict]]:
    """What may forecast each asset after each window, rows begin to end - 1 of its returns without holes."""
    offsets = np.cumsum([0, *(len(one) for one in series)])[:-1]
    returns = np.concatenate(series)
    begin = np.concatenate([first + offset for (first, _), offset in zip(spans, offsets, strict=True)])
    end = np.concatenate([stop + offset for (_, stop), offset in zip(spans, offsets, strict=True)])
    level = np.empty(len(begin))
    mean_squares(returns, begin, end, level)
    good = (end - begin >= LEAST_RETURNS) & (level > 0.0)
    whose = np.repeat(np.arange(len(series)), [len(first) for first, _ in spans])[good]
    place = np.arange(len(whose)) - np.searchsorted(whose, whose)  # among the asset's windows
    new = np.diff(end[good], prepend=0)
    far = (new < 0) | (new > _FAR * (end - begin)[good])  # a later window never steers an earlier one
    fits = fit_windows(returns, begin[good], end[good], kind, blocks=np.flatnonzero((place % BLOCK == 0) | far))
    rows = zip(fits.omega.tolist(), fits.alpha.tolist(), fits.gamma.tolist(), fits.beta.tolist(), strict=True)
    fitted = iter(zip(rows, fits.refusal, strict=True))
    told = []
    for own, count, whole in zip(level.tolist(), (end - begin).tolist(), good.tolist(), strict=True):
        law, why = Law(0.0, 1.0 - EWMA_DECAY, 0.0, EWMA_DECAY, own), "returns without variation"
        if whole:
            found, why = next(fitted)
            law = law if why else Law(*found, own)
        elif count < LEAST_RETURNS:
            why = f"{count} returns, {LEAST_RETURNS} needed"
        told.append((law, why))
    ends = np.cumsum([len(first) for first, _ in spans]).tolist()
    return [told[stop - len(first) : stop] for (first, _), stop in zip(spans, ends, strict=True)]


def _to_horizon(laws: tuple[Law, ...], steps: int) -> tuple[Floats, Floats]:
    """Slope and intercept (A,) that take the next row's variance to the sum of the next `steps` expected ones.

    E h_k = omega (1 + phi + ... + phi^(k-2)) + phi^(k-1) h_1 with the persistence phi (Bollerslev, 1986), summed term
    by term: the geometric formula cancels where phi is near 1.
    """
    phi = np.array([law.persistence for law in laws])
    shares = phi ** np.arange(steps)[:, None]
    omega = np.array([law.omega for law in laws])
    intercept: Floats = omega * (shares.cumsum(axis=0).sum(axis=0) - shares.sum(axis=0))
    return shares.sum(axis=0), intercept
