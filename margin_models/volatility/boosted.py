"""How volatile is the next horizon, if a boosted ensemble corrects EWMA from what the market did lately?"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import numpy as np

from data import Coverage, Floats, HistoryError, MarketHistory, ParameterError
from data.clock import Stamps
from margin_models.base import VolatilityForecaster
from margin_models.volatility.predictors import LOOKBACK, Known, complete, known_at, over
from margin_models.volatility.remembered import panels_of, remembered

if TYPE_CHECKING:
    from lightgbm import Booster

__all__ = ["LEAST_ROWS", "LOOKBACK", "BoostedVolatility"]

LEAST_ROWS = 50  # a fold, beyond the horizon that separates it from what it is trained on
LEAST_LEAF = 20  # horizons of one asset; rows of overlapping horizons are not independent
PRIOR = 100  # horizons: every leaf and scale starts as if so many had shown EWMA to be right
EXTREME = 100.0  # squared returns beyond this multiple of their forecast (10 standard deviations) count as this


class BoostedVolatility(VolatilityForecaster):
    """LightGBM, pooled over assets, multiplies the EWMA variance by what recent rows say about the next horizon.

    The target is the realised variance of the next horizon over the EWMA variance; the loss is the gamma deviance,
    which is QLIKE and so is consistent for the mean under a noisy proxy (Patton, 2011). Predictors are realised
    variance over 1, 5, 22 and 44 horizons, ranges (Parkinson, 1980) where there are highs and lows, signed returns,
    volume against its own past where there is any, and what the other assets did; all relative to the asset's own EWMA.
    The history's features join them, each relative to its own mean and deviation over the lookback: its value now and,
    where a horizon spans several rows, its mean over one; what is unknown stays so, as LightGBM has branches for it.
    Every window has a fixed length: a forecast depends on its row and the 44 horizons before it alone.

    Forecasts within the window of the fit are out-of-fold: its rows are split into blocks in time, a block is forecast
    by the booster that saw only targets known when the block starts, the first block by EWMA. The booster that saw
    everything speaks from the fit's last row on. EWMA also stands in for an asset with less than half a lookback of
    returns. Each kind of forecast is scaled so that squared returns over it average about 1 in the window.

    Parameters
    ----------
    trees, leaves, learning_rate : size of the ensemble.
    folds : blocks in time.
    seed : LightGBM's.
    features : names of the history's features to use; None takes all it has, () none.

    Attributes
    ----------
    features_ : names of the features used; what is forecast later must have them too.
    starts_ : (folds,) datetime64, the instants from which each booster speaks, the last one the fit's last row.
    boosters_ : (folds,) the boosters, None where there was nothing to learn from.
    scale_, ewma_scale_ : what the variances are multiplied by.

    Raises
    ------
    ParameterError
        If the ensemble has no tree, no split, no step or fewer than two folds, or a feature is named that the history
        does not have, or twice.
    HistoryError
        If the window has fewer than 45 horizons plus `folds` times (a horizon plus 50 rows), or a history to forecast
        on lacks a feature that was learned from.
    """

    def __init__(
        self,
        trees: int = 60,
        leaves: int = 8,
        learning_rate: float = 0.05,
        folds: int = 4,
        seed: int = 0,
        features: Sequence[str] | None = None,
    ) -> None:
        self.trees = trees
        self.leaves = leaves
        self.learning_rate = learning_rate
        self.folds = folds
        self.seed = seed
        self.features = features

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Train one booster a block, and one on all of `past`."""
        self._check()
        super().fit(past, coverage)
        self._steps, self._row = past.steps(coverage), replace(coverage, horizon=past.clock.step)
        self._refuse_short(past)
        self.features_ = self._chosen(past)
        first = LOOKBACK * self._steps
        known = known_at(past, self._row, self._steps, self.features_)
        target = over(known.realised[self._steps :], known.ewma[: -self._steps])
        rows = len(known.ewma)
        starts = np.append(rows * np.arange(1, self.folds) // self.folds, rows - 1)
        self.starts_ = past.time[first + starts]
        self.boosters_ = [self._train(known.predictors, target[: start - self._steps + 1]) for start in starts]
        corrections = self._corrections(known, past.time[first:])
        self._calibrate(known, corrections, past.returns(coverage)[first:])
        forecasts = np.full(past.spot.shape, np.nan)
        forecasts[first:] = self._combine(known, corrections)
        self._memo = remembered(past.time, panels_of(past, self.features_), forecasts)
        return self

    def forecasts(self, past: MarketHistory, count: int) -> Floats:
        """Standard deviation over the horizon at the newest `count` rows, (count, A).

        NaN at rows with less than 44 horizons before them, and where half of the EWMA's weight is on holes.
        """
        recent = past.last(count + LOOKBACK * self._steps)
        panels = panels_of(recent, self.features_)
        known = np.full(recent.spot.shape, np.nan)
        start, stop = self._memo.recall(recent.time, panels, LOOKBACK * self._steps, known)
        for begin, end in ((LOOKBACK * self._steps, start), (stop, len(recent))):
            if begin < end:
                known[begin:end] = self._forecast_rows(recent, begin, end)
        self._memo = remembered(recent.time, panels, known)
        forecasts = np.full((count, len(past.underlyings)), np.nan)
        forecasts[-len(known) :] = known[-count:]
        return forecasts

    def _check(self) -> None:
        for name, holds, expected, typical in (
            ("trees", self.trees >= 1, ">= 1", "30-200"),
            ("leaves", self.leaves >= 2, ">= 2", "4-16"),
            ("learning_rate", self.learning_rate > 0, "> 0", "0.02-0.1"),
            ("folds", self.folds >= 2, ">= 2", "3-6"),
        ):
            if not holds:
                got = f"got {getattr(self, name)}. Typical values: {typical}."
                raise ParameterError(f"BoostedVolatility.{name} must be {expected}, {got}")

    def _chosen(self, past: MarketHistory) -> tuple[str, ...]:
        """The names of the features to learn from; ParameterError for one that the history lacks, or told twice."""
        if self.features is None:
            return past.feature_names
        names = tuple(self.features)
        # One name alone would pass for a sequence of its letters.
        if isinstance(self.features, str) or len(set(names)) < len(names) or not set(names) <= {*past.feature_names}:
            expected = f"None or differing names among {past.feature_names}"
            raise ParameterError(f"BoostedVolatility.features must be {expected}, got {self.features!r}")
        return names

    def _refuse_short(self, past: MarketHistory) -> None:
        needed = (LOOKBACK + 1) * self._steps + self.folds * (self._steps + LEAST_ROWS)
        if len(past) < needed:
            where = f"boosted volatility over {self._steps} rows a horizon in {self.folds} folds"
            raise HistoryError(f"{where} needs {needed} rows to fit, got {past!r}")

    def _train(self, predictors: Floats, target: Floats) -> "Booster | None":
        """A booster from the rows that have a target (R, A); None where they are too few for one split."""
        import lightgbm

        useful = np.isfinite(target) & complete(predictors[: len(target)])
        goal = np.minimum(target[useful], EXTREME)
        if len(goal) < 2 * LEAST_LEAF * self._steps or not goal.any():
            return None
        settings = {
            "objective": "gamma",
            "metric": "none",  # the metric would refuse a target of 0, the objective does not
            "num_leaves": self.leaves,
            "learning_rate": self.learning_rate,
            "boost_from_average": False,
            "min_data_in_leaf": LEAST_LEAF * self._steps,
            "lambda_l2": float(PRIOR * self._steps),
            "max_bin": 63,
            "seed": self.seed,
            "num_threads": 1,
            "deterministic": True,
            "force_col_wise": True,
            "verbosity": -1,
        }
        data = lightgbm.Dataset(predictors[: len(target)][useful], goal, params=settings)
        return lightgbm.train(settings, data, num_boost_round=self.trees)

    def _corrections(self, known: Known, time: Stamps) -> Floats:
        """What the booster of each row's time multiplies EWMA by, (R, A); NaN where EWMA speaks for itself."""
        corrections = np.full(known.ewma.shape, np.nan)
        speaker = np.searchsorted(self.starts_, time, side="right") - 1
        whole = complete(known.predictors)
        for i, booster in enumerate(self.boosters_):
            chosen = whole & (speaker == i)[:, None]
            if booster is not None and chosen.any():
                corrections[chosen] = booster.predict(known.predictors[chosen], num_threads=1)
        return corrections

    def _calibrate(self, known: Known, corrections: Floats, returns: Floats) -> None:
        """Scale both kinds of forecast to the squared returns over the horizon, (R - h, A), that followed them."""
        plain = over(returns**2, self._steps * known.ewma[: len(returns)])
        self.scale_ = _shrunk_mean(plain / corrections[: len(returns)], self._steps)
        self.ewma_scale_ = _shrunk_mean(plain, self._steps)

    def _combine(self, known: Known, corrections: Floats) -> Floats:
        factor = np.where(np.isnan(corrections), self.ewma_scale_, self.scale_ * corrections)
        combined: Floats = np.sqrt(self._steps * known.ewma * factor)
        return combined

    def _forecast_rows(self, past: MarketHistory, start: int, stop: int) -> Floats:
        """Forecasts at rows [start, stop), (stop - start, A), whatever was forecast before."""
        lookback = past.rows(start - LOOKBACK * self._steps, stop)
        known = known_at(lookback, self._row, self._steps, self.features_)
        return self._combine(known, self._corrections(known, past.time[start:stop]))


def _shrunk_mean(ratios: Floats, steps: int) -> float:
    """Mean of squared standardised returns (R, A), outliers bounded, drawn to 1 by the weight of the prior."""
    finite = ratios[np.isfinite(ratios)]
    if not finite.size:
        return 1.0
    horizons = np.isfinite(ratios).any(axis=1).sum() / steps
    return float((PRIOR + horizons * np.minimum(finite, EXTREME).mean()) / (PRIOR + horizons))
