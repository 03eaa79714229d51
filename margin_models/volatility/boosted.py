"""How volatile is the next horizon, if a boosted ensemble corrects EWMA from what the market did lately?"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from data import Coverage, Floats, HistoryError, MarketHistory, ParameterError
from data.arrays import Places
from data.clock import Stamps
from margin_models.base import VolatilityForecaster
from margin_models.volatility.continued import Growth, Settings, binned, grown
from margin_models.volatility.measures import measured
from margin_models.volatility.predictors import LOOKBACK, NAMES, RISING, AllBut, Known, complete, known_at, over
from margin_models.volatility.remembered import panels_of, remembered
from margin_models.volatility.surroundings import leader_of

if TYPE_CHECKING:
    from lightgbm import Booster

__all__ = ["LEAST_ROWS", "LOOKBACK", "BoostedVolatility"]

LEAST_ROWS = 50  # a fold, beyond the horizon that separates it from what it is trained on
LEAST_LEAF = 20  # horizons of one asset; rows of overlapping horizons are not independent
PRIOR = 100  # horizons: every leaf and scale starts as if so many had shown EWMA to be right
EXTREME = 100.0  # squared returns beyond this multiple of their forecast (10 standard deviations) count as this
CONTINUED = 3  # a fold's booster adds to the one before a third as many trees as that one began with
TRIED_LEAVES, TRIED_TREES = (4, 8, 16), (0.5, 1.0, 2.0)  # tuning: leaves, and multiples of `trees`


class BoostedVolatility(VolatilityForecaster):
    """LightGBM, pooled over assets, multiplies the EWMA variance by what recent rows say about the next horizon.

    The target is the realised variance of the next horizon over the EWMA variance, by ranges (Garman and Klass, 1980)
    where a horizon has few rows and these have highs and lows: one squared return says little of the variance behind
    it. The loss is the gamma deviance, which is QLIKE and so is consistent for the mean under a noisy proxy (Patton,
    2011). Predictors (`predictors.NAMES`)
    are realised variance over 1, 5, 22 and 44 horizons, ranges (Parkinson, 1980) where there are highs and lows, signed
    returns, volume against its own past where there is any, what the other assets and the market did, the asset that
    leads it, implied variance and funding where there are any, and the calendar; prices and variances relative to the
    asset's own EWMA. The forecast never falls as recent variance, a range or implied variance rises (`RISING`).
    The history's features join them, each relative to its own mean and deviation over the lookback: its value now and,
    where a horizon spans several rows, its mean over one; what is unknown stays so, as LightGBM has branches for it.
    Every window has a fixed length: a forecast depends on its row and the 44 horizons before it alone.

    Forecasts within the window of the fit are out-of-fold: its rows are split into blocks in time, a block is forecast
    by the booster that saw only targets known when the block starts, the first block by EWMA. These boosters continue
    one another: each adds a third of `trees`, grown on what was known by then, with the bins of the first block. A full
    ensemble that saw everything speaks from the fit's last row on. EWMA also stands in for an asset with less than half
    a lookback of returns. Each kind of forecast is scaled so that squared returns over it average about 1 in the
    window.

    Parameters
    ----------
    trees : of the ensemble that speaks.
    growth : leaves of a tree, and how far it steps.
    folds : blocks in time.
    seed : LightGBM's.
    features : names of the history's features to use; None takes all it has, () none, `AllBut` all but those it names,
        and no tree splits on a predictor it names.
    tune : choose leaves (4, 8, 16) and trees (half, once, twice) of the ensemble that speaks by the loss on the
        window's last block of ensembles that saw what was known when it starts; no later row, and no other booster, is
        touched by it.

    Attributes
    ----------
    features_ : names of the features used; what is forecast later must have them too.
    leader_ : the asset that led the others in the first block, None where none can be told.
    starts_ : (folds,) datetime64, the instants from which each booster speaks, the last one the fit's last row.
    boosters_ : (folds,) the boosters, None where there was nothing to learn from.
    chosen_ : trees and leaves of the ensemble that speaks.
    scale_, ewma_scale_ : what the variances are multiplied by.

    Raises
    ------
    ParameterError
        If the ensemble has no tree, no split, no step or fewer than two folds, or a feature is named that the history
        does not have, or one to use twice.
    HistoryError
        If the window has fewer than 45 horizons plus `folds` times (a horizon plus 50 rows), or a history to forecast
        on lacks a feature that was learned from.
    """

    def __init__(
        self,
        trees: int = 60,
        growth: Growth = Growth(),  # noqa: B008  frozen
        folds: int = 4,
        seed: int = 0,
        features: Sequence[str] | AllBut | None = None,
        tune: bool = False,
    ) -> None:
        self.trees = trees
        self.growth = growth
        self.folds = folds
        self.seed = seed
        self.features = features
        self.tune = tune

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Train one booster a block, and one on all of `past`."""
        self._check()
        super().fit(past, coverage)
        self._steps, self._row = past.steps(coverage), replace(coverage, horizon=past.clock.step)
        self._refuse_short(past)
        self.features_ = self._chosen(past)
        first = LOOKBACK * self._steps
        known = known_at(past, self._row, self._steps, self.features_)
        rows = len(known.ewma)
        target = np.minimum(over(self._realised(past, known)[self._steps :], known.ewma[: -self._steps]), EXTREME)
        starts = np.append(rows * np.arange(1, self.folds) // self.folds, rows - 1)
        self.starts_ = past.time[first + starts]
        self.leader_ = leader_of(known.ratios, target[: starts[0] - self._steps + 1], past.underlyings)
        known = known.led_by(self._leader(past))
        self.boosters_ = self._train(known, target, starts)
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

    def _realised(self, past: MarketHistory, known: Known) -> Floats:
        """What variance was over the horizon up to each row, (R, A): of ranges where a horizon has few rows."""
        ranges = measured(past, self.coverage_, len(known.ewma)).variance[-len(known.ewma) :]
        return np.where(np.isfinite(ranges), ranges, known.realised)

    def _check(self) -> None:
        self.growth.check("BoostedVolatility")
        for name, holds, expected, typical in (
            ("trees", self.trees >= 1, ">= 1", "30-200"),
            ("folds", self.folds >= 2, ">= 2", "3-6"),
        ):
            if not holds:
                got = f"got {getattr(self, name)}. Typical values: {typical}."
                raise ParameterError(f"BoostedVolatility.{name} must be {expected}, {got}")

    def _chosen(self, past: MarketHistory) -> tuple[str, ...]:
        """The names of the features to learn from; ParameterError for one that the history lacks, or told twice."""
        asked: Sequence[str] | AllBut = AllBut() if self.features is None else self.features
        there = past.feature_names
        if isinstance(asked, AllBut):
            fits, expected = asked.fits(there), f"names among {there} or the predictors"
        else:  # one name alone would pass for a sequence of its letters
            fits = not isinstance(asked, str) and len(set(asked)) == len(asked) and set(asked) <= set(there)
            expected = f"None or differing names among {there}"
        if not fits:
            raise ParameterError(f"BoostedVolatility.features must be {expected}, got {self.features!r}")
        return asked.features(there) if isinstance(asked, AllBut) else tuple(asked)

    def _refuse_short(self, past: MarketHistory) -> None:
        needed = (LOOKBACK + 1) * self._steps + self.folds * (self._steps + LEAST_ROWS)
        if len(past) < needed:
            where = f"boosted volatility over {self._steps} rows a horizon in {self.folds} folds"
            raise HistoryError(f"{where} needs {needed} rows to fit, got {past!r}")

    def _leader(self, past: MarketHistory) -> int | None:
        return past.underlyings.index(self.leader_) if self.leader_ in past.underlyings else None

    def _train(self, known: Known, target: Floats, starts: Places) -> "list[Booster | None]":
        """The booster of every fold, each from the rows that had a target (R, A) by its start."""
        self.chosen_ = self.trees, self.growth.leaves
        settings = self._settings(known.predictors.shape[2])
        unseen = self.features.unseen if isinstance(self.features, AllBut) else []
        by_then = [_Rows.of(known, target, 0, start - self._steps + 1).blind_to(unseen) for start in starts]
        boosters: list[Booster | None] = [None] * len(starts)
        previous, bins = None, None
        for fold, rows in enumerate(by_then[:-1]):
            if rows.enough(self._steps):
                data = binned(*rows, settings, bins)
                bins = bins or data
                trees = self.trees if previous is None else max(self.trees // CONTINUED, 1)
                previous = boosters[fold] = grown(data, settings, trees, previous)
        if by_then[-1].enough(self._steps):
            if self.tune:
                last = _Rows.of(known, target, int(starts[-2]), len(target))
                self.chosen_ = self._tuned(by_then[-2], last, settings)
            trees, leaves = self.chosen_
            boosters[-1] = grown(binned(*by_then[-1], settings), {**settings, "num_leaves": leaves}, trees)
        return boosters

    def _tuned(self, before: "_Rows", after: "_Rows", settings: Settings) -> tuple[int, int]:
        """Trees and leaves by the gamma deviance of later rows; as given where either part is too small to tell."""
        if not (before.enough(self._steps) and after.enough(self._steps)):
            return self.chosen_
        counts = sorted({max(int(share * self.trees), 1) for share in TRIED_TREES})
        found: dict[tuple[int, int], float] = {}
        for leaves in TRIED_LEAVES:
            booster = grown(binned(*before, settings), {**settings, "num_leaves": leaves}, counts[-1])
            for trees in counts:
                told = np.asarray(booster.predict(after.predictors, num_iteration=trees, num_threads=1))
                found[trees, leaves] = float(np.mean(np.log(told) + after.goal / told))
        return min(found, key=found.__getitem__)

    def _settings(self, predictors: int) -> Settings:
        return {
            "objective": "gamma",
            "boost_from_average": False,
            "min_data_in_leaf": LEAST_LEAF * self._steps,
            "lambda_l2": float(PRIOR * self._steps),
            "feature_fraction": 0.5,  # many predictors tell nothing in a given market
            "monotone_constraints": [int(name in RISING) for name in NAMES] + [0] * (predictors - len(NAMES)),
            "seed": self.seed,
            "num_threads": 1,
            **self.growth.settings,
        }

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
        known = known_at(lookback, self._row, self._steps, self.features_).led_by(self._leader(past))
        return self._combine(known, self._corrections(known, past.time[start:stop]))


class _Rows(NamedTuple):
    """Pooled rows that can be learned from: predictors (R, F) and targets (R,)."""

    predictors: Floats
    goal: Floats

    @classmethod
    def of(cls, known: Known, target: Floats, start: int, stop: int) -> Self:
        """Those of rows [start, stop) whose targets (R, A) and lookback are known."""
        predictors, goal = known.predictors[start:stop], target[start:stop]
        useful = np.isfinite(goal) & complete(predictors)
        return cls(predictors[useful], goal[useful])

    def blind_to(self, places: Sequence[int]) -> Self:
        """The same with these predictors unknown: LightGBM does not split on what is known nowhere."""
        if not places:
            return self
        predictors = self.predictors.copy()
        predictors[:, places] = np.nan
        return self._replace(predictors=predictors)

    def enough(self, steps: int) -> bool:
        """Whether there is one split to be made, and anything moved."""
        return len(self.goal) >= 2 * LEAST_LEAF * steps and bool(self.goal.any())


def _shrunk_mean(ratios: Floats, steps: int) -> float:
    """Mean of squared standardised returns (R, A), outliers bounded, drawn to 1 by the weight of the prior."""
    finite = ratios[np.isfinite(ratios)]
    if not finite.size:
        return 1.0
    horizons = np.isfinite(ratios).any(axis=1).sum() / steps
    return float((PRIOR + horizons * np.minimum(finite, EXTREME).mean()) / (PRIOR + horizons))
