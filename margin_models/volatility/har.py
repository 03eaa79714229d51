"""How volatile is the next horizon, if log variance answers to that of the last day, week and month?"""

from copy import copy
from dataclasses import dataclass
from typing import Self

import numpy as np

from data import Coverage, Floats, HistoryError, MarketHistory, ParameterError
from data.arrays import Bools
from margin_models.base import VolatilityForecaster
from margin_models.volatility.measures import (
    LEAST_SHARE,
    SEVERAL,
    Measured,
    bounded,
    columns_of,
    measured,
    next_squares,
    next_variance,
    pooled_scale,
    scales,
)
from margin_models.volatility.predictors import LOOKBACK, over
from margin_models.volatility.remembered import Panels, Remembered, remembered

LEAST_HORIZONS = 20  # with a target, in the window of a fit


class HarVolatility(VolatilityForecaster):
    """Heterogeneous autoregression of log realised variance, direct: the target is the next horizon as a whole.

    Corsi (2009), "A simple approximate long-memory model of realized volatility", J. Financial Econometrics 7; in logs,
    where errors are near normal (Andersen, Bollerslev and Diebold, 2007), with the leverage terms of Corsi and Reno
    (2012). All logs are relative to the asset's own mean over the window, so that assets may share slopes and keep
    their levels. Realised variance is as `measures.measured` has it: squared returns where a horizon has eight rows or
    more, else Garman and Klass's range where there are highs and lows. A horizon that hardly moved passes for a
    hundredth of the variance over the longest lag; a lag that is not known takes the value of the next longer one.

    Slopes are ridge estimates drawn to equal shares of the lags, and to 0 for leverage and jumps, as if `prior`
    horizons had shown those: the lags overlap, so that plain least squares tells their sum far better than each, and
    in a short window plays them against each other. exp of the fitted log is scaled to the mean of what was realised
    (Duan, 1983), then to squared returns over the horizon, each scale shrunk.

    Of six coins, in windows of 730 days, its QLIKE for a day or two was below EWMA's for five; for the sixth one leap
    outweighs all other days. In windows of fifty horizons it was above EWMA's for most: prefer EWMA there.

    A forecast depends on its row and the 44 horizons before it. EWMA (0.94 a horizon) stands in where less than half of
    the longest lag is known, where nothing moved in it, and for an asset without a level of its own. Forecasts within
    the window of the fit know its few coefficients, as GARCH's do; they are not out-of-fold.

    Parameters
    ----------
    pooled : one set of slopes for all assets, or each asset its own.
    lags : horizons to average over, rising, 44 at most.
    leverage : whether falls over 1 and 5 horizons, in recent standard deviations, count.
    jumps : whether realised over bipower variance counts, where a horizon has eight rows or more.
    prior : horizons' weight of equal shares; 0 is plain least squares.

    Attributes
    ----------
    names_ : (F,) the regressors.
    slopes_, intercept_ : (F, A) and (A,), the same for all assets where pooled.
    level_ : (A,) mean log variance of one row in the window, NaN for an asset not known long enough.
    scale_, ewma_scale_ : (A,) and a number, what the variances are multiplied by.

    Raises
    ------
    ParameterError
        If lags are not whole, rising and within 1 to 44, or the prior is negative.
    HistoryError
        If the window has fewer rows than the longest lag and 20 horizons.
    """

    def __init__(
        self,
        pooled: bool = True,
        lags: tuple[int, ...] = (1, 5, 22),
        leverage: bool = True,
        jumps: bool = True,
        prior: float = 50.0,
    ) -> None:
        self.pooled = pooled
        self.lags = lags
        self.leverage = leverage
        self.jumps = jumps
        self.prior = prior

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Learn levels, slopes and scales from every horizon that ended within `past`."""
        self._check()
        super().fit(past, coverage)
        self._refuse_short(past)
        self._underlyings = past.underlyings
        told = measured(past, coverage, len(past))
        known = self._regressors(told)
        self.names_ = known.names
        self.level_ = _mean_of_known(known.newest)
        outcome = next_variance(told)
        target = np.log(np.maximum(outcome, LEAST_SHARE * known.longest[: len(outcome)])) - self.level_
        self._learn(self._relative(known)[:, : len(outcome)], target, told.steps)
        self._calibrate(known, told, outcome, next_squares(past, coverage))
        self._memo = remembered(past.time, _panels(past), self._combined(told, known))
        return self

    def forecasts(self, past: MarketHistory, count: int) -> Floats:
        """Standard deviation over the horizon at the newest `count` rows, (count, A).

        NaN where half of the EWMA's weight is on holes or before the first row: about 11 horizons. Coefficients are
        found by name: HistoryError for an underlying that was not among those of the fit.
        """
        if past.underlyings != self._underlyings:
            return self._in_order_of(past).forecasts(past, count)
        if not count or not len(past):
            return np.full((count, len(past.underlyings)), np.nan)
        lookback = LOOKBACK * past.steps(self.coverage_)
        recent = past.last(count + lookback)
        panels, rows = _panels(recent), len(recent)
        known = np.full(recent.spot.shape, np.nan)
        start, stop = self._memo.recall(recent.time, panels, lookback, known) if rows > lookback else (rows, rows)
        first = max(rows - count, 0)
        for begin, end in ((first, rows),) if start == stop else ((first, start), (stop, rows)):
            if begin < end:
                told = measured(recent.rows(max(begin - lookback, 0), end), self.coverage_, end - begin)
                known[begin:end] = self._combined(told, self._regressors(told))
        self._memo = remembered(recent.time, panels, known)
        forecasts = np.full((count, len(past.underlyings)), np.nan)
        forecasts[count - min(count, rows) :] = known[first:]
        return forecasts

    def _combined(self, told: Measured, known: "_Regressors") -> Floats:
        """The forecast, EWMA's where there is none, (R, A)."""
        har = self.scale_ * np.exp(self._fitted(known))
        ewma = self.ewma_scale_ * told.ewma
        return np.asarray(np.sqrt(told.steps * np.where(np.isfinite(har), bounded(har, ewma), ewma)))

    def _in_order_of(self, past: MarketHistory) -> Self:
        """The same fit for the underlyings of another history, with nothing remembered."""
        other, columns = copy(self), columns_of(past, self._underlyings)
        other._underlyings, other._memo = past.underlyings, Remembered(self._memo.time[:1], (), self.level_[None])
        for name in ("level_", "intercept_", "slopes_", "scale_"):
            setattr(other, name, getattr(self, name)[..., columns])
        return other

    def _check(self) -> None:
        lags = self.lags
        whole = bool(lags) and all(lag == int(lag) for lag in lags)
        if not whole or not 1 <= lags[0] <= lags[-1] <= LOOKBACK or any(np.diff(lags) <= 0):
            raise ParameterError(
                f"HarVolatility.lags must rise within 1 to {LOOKBACK}, got {lags}. Typical: (1, 5, 22)"
            )
        if not 0.0 <= self.prior < np.inf:
            raise ParameterError(
                f"HarVolatility.prior must be >= 0 horizons, got {self.prior}. Typical values: 20-100."
            )

    def _refuse_short(self, past: MarketHistory) -> None:
        steps = past.steps(self.coverage_)
        needed = (max(self.lags) + LEAST_HORIZONS) * steps + 1
        if len(past) < needed:
            where = f"a HAR of lags up to {max(self.lags)} over {steps} rows a horizon"
            raise HistoryError(f"{where} needs {needed} rows to fit, got {past!r}")

    def _regressors(self, told: Measured) -> "_Regressors":
        longest = told.mean(told.variance, max(self.lags))
        longest = np.where(longest > 0.0, longest, np.nan)
        least = np.log(LEAST_SHARE * longest)
        lagged = [_log(told.mean(told.variance, lag), least) for lag in self.lags]
        for shorter in range(len(lagged) - 2, -1, -1):
            lagged[shorter] = np.where(np.isnan(lagged[shorter]), lagged[shorter + 1], lagged[shorter])
        others = self._falls(told, longest) | self._jumps(told)
        return _Regressors(
            (*(f"lag {lag}" for lag in self.lags), *others), longest, np.stack(lagged), [*others.values()]
        )

    def _falls(self, told: Measured, longest: Floats) -> dict[str, Floats]:
        """Mean returns below 0 over 1 and 5 horizons, in standard deviations of that mean; 0 where unknown."""
        if not self.leverage:
            return {}
        moves = told.horizons(told.returns)
        return {
            f"fall {count}": np.nan_to_num(
                np.minimum(told.mean(moves, count), 0.0) / np.sqrt(longest / (count * told.steps))
            )
            for count in (1, 5)
        }

    def _jumps(self, told: Measured) -> dict[str, Floats]:
        """Log of realised over bipower variance in the newest horizon, not below 0 (Barndorff-Nielsen and Shephard)."""
        if not self.jumps or told.steps < SEVERAL:
            return {}
        absolute = np.abs(told.returns)
        products = np.full_like(absolute, np.nan)
        products[1:] = 0.5 * np.pi * absolute[1:] * absolute[:-1]
        newest = slice(-told.rows, None)
        share = over(told.variance[newest], told.horizons(products)[newest])
        return {"jump": np.log(np.clip(np.nan_to_num(share, nan=1.0), 1.0, 1.0 / LEAST_SHARE))}

    def _relative(self, known: "_Regressors") -> Floats:
        """All regressors, (F, R, A), the lags relative to the asset's level."""
        return np.stack([*(known.lagged - self.level_), *known.others])

    def _fitted(self, known: "_Regressors") -> Floats:
        """Log variance of one row, (R, A); added term by term: a matrix product may round with the rows there are."""
        fitted: Floats = self.level_ + self.intercept_
        for slope, values in zip(self.slopes_, self._relative(known), strict=True):
            fitted = fitted + slope * values
        return fitted

    def _learn(self, regressors: Floats, target: Floats, steps: int) -> None:
        useful = np.isfinite(target) & np.isfinite(regressors).all(axis=0)
        lags = len(self.lags)
        shares = np.concatenate([np.full(lags, 1.0 / lags), np.zeros(len(regressors) - lags)])
        chosen = [useful] if self.pooled else [_only(useful, asset) for asset in range(useful.shape[1])]
        found = [_ridge(regressors[:, one].T, target[one], shares, self.prior * steps) for one in chosen]
        each = np.column_stack(found * (useful.shape[1] if self.pooled else 1))
        self.intercept_, self.slopes_ = each[0], each[1:]

    def _calibrate(self, known: "_Regressors", told: Measured, outcome: Floats, squares: Floats) -> None:
        steps, rows = told.steps, len(outcome)
        plain = np.exp(self._fitted(known))[:rows]
        realised = over(outcome, plain)
        smearing = np.full(len(self.level_), pooled_scale(realised, steps)) if self.pooled else scales(realised, steps)
        seen = over(squares, steps * smearing * plain)
        self.scale_ = smearing * scales(seen, steps, pooled_scale(seen, steps) if self.pooled else 1.0)
        self.ewma_scale_ = pooled_scale(over(squares, steps * told.ewma[:rows]), steps)


@dataclass(frozen=True, eq=False)
class _Regressors:
    """At R rows: variance over the longest lag (R, A), logs of the lags (L, R, A), other regressors (R, A) each."""

    names: tuple[str, ...]
    longest: Floats
    lagged: Floats
    others: list[Floats]

    @property
    def newest(self) -> Floats:
        """Log variance over the shortest lag, (R, A)."""
        return np.asarray(self.lagged[0])


def _panels(past: MarketHistory) -> Panels:
    """Everything that forecasts depend on, as integers: a NaN equals itself."""
    rates = None if past.numeraire == "USD" else past.rates(np.arange(len(past)))
    panels = (past.time, past.spot, past.high, past.low, rates)
    return tuple(None if panel is None else panel.view(np.int64) for panel in panels)


def _log(variance: Floats, least: Floats) -> Floats:
    """Logs, none below `least`; NaN where either is."""
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(variance), least)


def _mean_of_known(values: Floats) -> Floats:
    """Mean of what is finite in each column, (A,); NaN where nothing is."""
    known = np.isfinite(values)
    return over(np.where(known, values, 0.0).sum(axis=0), known.sum(axis=0))


def _only(useful: Bools, asset: int) -> Bools:
    one = np.zeros_like(useful)
    one[:, asset] = useful[:, asset]
    return one


def _ridge(design: Floats, target: Floats, shares: Floats, weight: float) -> Floats:
    """Intercept and slopes (1 + F,), drawn to (0, shares) as if `weight` rows had shown these; those for no row.

    The prior's rows vary in each regressor as the sample does, independently.
    """
    if not len(target):
        return np.concatenate([[0.0], shares])
    centre, middle = design.mean(axis=0), target.mean()
    apart = design - centre
    spread = np.diag(apart.var(axis=0) * weight)
    slopes = np.linalg.lstsq(apart.T @ apart + spread, apart.T @ (target - middle) + spread @ shares)[0]
    return np.concatenate([[middle - centre @ slopes], slopes])
