"""How volatile is the next horizon, if realised variance keeps its usual ratio to what options imply?"""

import logging
from typing import Self

import numpy as np

from data import Coverage, DataError, Floats, HistoryError, MarketHistory, ParameterError
from data.surface import volatilities_at
from margin_models.base import VolatilityForecaster
from margin_models.volatility.measures import (
    LEAST_SHARE,
    bounded,
    ewma_variance,
    measured,
    next_squares,
    next_variance,
    pooled_scale,
    scales,
)
from margin_models.volatility.predictors import feature_panel, over

LEAST_HORIZONS = 5  # in the window of a fit
LEAST_KNOWN = 10  # horizons with an implied volatility before its scale is judged
PLAUSIBLE = (0.02, 3.0)  # a year
STEEPEST = 2.0  # slope, and 0 the flattest: implied volatility that says the contrary is noise
APART = 10.0  # times what EWMA says, up or down: with an implausible level, a scale that cannot be

_log = logging.getLogger("marginlab")


class ImpliedVolatility(VolatilityForecaster):
    """At-the-money implied variance over the horizon, times the ratio that realised variance had to it in the window.

    Log realised variance of the next horizon is regressed on log implied variance, each asset alone (Christensen and
    Prabhala, 1998, "The relation between implied and realized volatility", J. Financial Economics 50). The slope,
    between 0 and 2, is drawn to 1 as if `prior` horizons had shown it, so that few rows learn a ratio alone; the ratio
    is the mean of realised over implied, then of squared returns over the forecast, both shrunk to 1. Realised variance
    is as `measures.measured` has it.

    The surface is read at the forward, linear in total variance between tenors, and at its shortest tenor for a horizon
    that is shorter: a day is forecast from the volatility of the nearest expiry. Of a proxy surface the forecast is a
    proxy's too. EWMA (0.94 a horizon, 44 of them) stands in at rows where an asset's implied volatility is not known.

    Parameters
    ----------
    feature : the history's feature that holds implied volatility, an index such as DVOL; None reads its surfaces.
    unit : what 1 in the feature is as a fraction a year: 0.01 for one in percent.
    prior : horizons' weight of a slope of 1.

    Attributes
    ----------
    slope_, scale_ : (A,) of log realised on log implied variance; of the forecast variance.
    centre_ : (A,) mean log implied variance of a row, about which the slope turns; 0 where none is known.
    ewma_scale_ : what the stand-in's variance is multiplied by.
    known_share_ : (A,) share of the window's rows with an implied volatility. Where it is 0, EWMA is all there is, and
        one line at level INFO goes to the log "marginlab".

    Raises
    ------
    ParameterError
        If the unit is not positive, the prior negative, or a unit is given without a feature.
    HistoryError
        If the window has fewer than 6 horizons, or a history lacks the feature.
    DataError
        If implied volatility is outside 2 % to 300 % a year and more than ten times off what realised volatility was,
        as fractions taken for percent are, or percent for fractions.
    """

    def __init__(self, feature: str | None = None, unit: float = 1.0, prior: float = 50.0) -> None:
        self.feature = feature
        self.unit = unit
        self.prior = prior

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Learn each asset's premium from every horizon that ended within `past`."""
        self._check()
        super().fit(past, coverage)
        self._refuse_short(past)
        told, implied = measured(past, coverage, len(past)), self._variance(past, len(past))
        self._refuse_implausible(implied, told.ewma, past)
        self.known_share_ = np.isfinite(implied).mean(axis=0)
        self._tell_unknown(past)
        outcome, squares = next_variance(told), next_squares(past, coverage)
        self._learn(np.log(implied[: len(outcome)]), outcome, told.steps)
        realised = over(outcome, self._turned(implied)[: len(outcome)])
        premium = scales(realised, told.steps)
        seen = over(squares, told.steps * premium * self._turned(implied)[: len(squares)])
        self.scale_ = premium * scales(seen, told.steps)
        self.ewma_scale_ = pooled_scale(over(squares, told.steps * told.ewma[: len(squares)]), told.steps)
        return self

    def forecasts(self, past: MarketHistory, count: int) -> Floats:
        """Standard deviation over the horizon at the newest `count` rows, (count, A).

        NaN where neither implied volatility nor half of the EWMA's weight is known.
        """
        ewma = self.ewma_scale_ * ewma_variance(past, self.coverage_, count)
        implied = self.scale_ * self._turned(self._variance(past, count))
        variance = np.where(np.isfinite(implied), bounded(implied, ewma), ewma)
        return np.asarray(np.sqrt(past.steps(self.coverage_) * variance))

    def _check(self) -> None:
        if not 0.0 < self.unit < np.inf or (self.feature is None and self.unit != 1.0):
            expected = "> 0, and 1 where surfaces are read, which are in fractions"
            raise ParameterError(f"ImpliedVolatility.unit must be {expected}, got {self.unit} for {self.feature!r}")
        if not 0.0 <= self.prior < np.inf:
            raise ParameterError(f"ImpliedVolatility.prior must be >= 0 horizons, got {self.prior}. Typical: 20-100.")

    def _refuse_short(self, past: MarketHistory) -> None:
        steps = past.steps(self.coverage_)
        needed = (LEAST_HORIZONS + 1) * steps + 1
        if len(past) < needed:
            raise HistoryError(f"an implied premium over {steps} rows a horizon needs {needed} rows, got {past!r}")

    def _variance(self, past: MarketHistory, count: int) -> Floats:
        """Implied variance of one row at the newest `count` rows, (count, A); NaN where unknown or not positive."""
        recent = past.last(count)
        told = np.full((count, len(past.underlyings)), np.nan)
        known = self._volatility(recent)
        if known is not None:
            told[count - len(recent) :] = known
        a_row = self.coverage_.years / past.steps(self.coverage_)
        with np.errstate(over="ignore"):
            variance = told**2 * a_row
        return np.where((told > 0.0) & (variance > 0.0) & np.isfinite(variance), variance, np.nan)

    def _volatility(self, recent: MarketHistory) -> Floats | None:
        """As a fraction a year, (R, A); None where the history has no surface."""
        if self.feature is not None:
            panel = feature_panel(recent, (self.feature,))
            assert panel is not None
            return np.asarray(self.unit * panel[:, :, 0])
        if recent.surfaces is None:
            return None
        flat = recent.surfaces.reshape(-1, *recent.surfaces.shape[2:])
        return volatilities_at(flat, np.zeros(len(flat)), self.coverage_.years).reshape(recent.spot.shape)

    def _refuse_implausible(self, implied: Floats, ewma: Floats, past: MarketHistory) -> None:
        """Both an implausible level and far from what was realised: a coin that stood still is no wrong unit."""
        a_year = past.steps(self.coverage_) / self.coverage_.years
        for a, name in enumerate(past.underlyings):
            both = np.isfinite(implied[:, a]) & (ewma[:, a] > 0.0)
            if both.sum() < LEAST_KNOWN * past.steps(self.coverage_):
                continue
            level = float(np.sqrt(np.median(implied[both, a]) * a_year))
            ratio = float(np.sqrt(np.median(implied[both, a] / ewma[both, a])))
            if not PLAUSIBLE[0] <= level <= PLAUSIBLE[1] and not 1.0 / APART <= ratio <= APART:
                where = f"implied volatility of {name} in {past!r}" + (
                    f", feature {self.feature!r}" * bool(self.feature)
                )
                got = f"a median of {level:.4g} a year, {ratio:.3g} times realised, with unit={self.unit}"
                raise DataError(f"{where} must be a fraction a year, 0.6 for 60 %: got {got}")

    def _tell_unknown(self, past: MarketHistory) -> None:
        unknown = [name for name, share in zip(past.underlyings, self.known_share_, strict=True) if not share]
        if unknown:
            _log.info("no implied volatility of %s in %r: EWMA stands in", ", ".join(unknown), past)

    def _learn(self, x: Floats, outcome: Floats, steps: int) -> None:
        """Centre and slope of each asset's regression, the slope drawn to 1."""
        useful = np.isfinite(x) & np.isfinite(outcome)
        count = np.maximum(useful.sum(axis=0), 1)
        self.centre_ = np.where(useful, x, 0.0).sum(axis=0) / count
        y = np.log(np.maximum(outcome, LEAST_SHARE * np.exp(x)))
        middle = np.where(useful, y, 0.0).sum(axis=0) / count
        across, along = np.where(useful, x - self.centre_, 0.0), np.where(useful, y - middle, 0.0)
        spread = (across**2).sum(axis=0)
        told = np.where(spread > 0.0, (across * along).sum(axis=0) / np.where(spread > 0.0, spread, 1.0), 1.0)
        told = np.clip(told, 0.0, STEEPEST)
        horizons = useful.sum(axis=0) / steps
        self.slope_ = np.where(
            horizons > 0.0, (self.prior + horizons * told) / np.maximum(self.prior + horizons, 1e-300), 1.0
        )

    def _turned(self, implied: Floats) -> Floats:
        """Implied variance (R, A) after the slope, before the scale."""
        return np.asarray(np.exp(self.centre_ + self.slope_ * (np.log(implied) - self.centre_)))
