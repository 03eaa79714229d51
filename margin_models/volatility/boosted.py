"""How volatile is the next horizon, if a boosted ensemble corrects EWMA from what the market did lately?"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from data import Coverage, Floats, HistoryError, MarketHistory, ParameterError
from data.clock import Stamps
from margin_models.base import VolatilityForecaster
from margin_models.kernels.recursions import horizon_means, peers_mean, weighted_means

if TYPE_CHECKING:
    from lightgbm import Booster

LOOKBACK = 44  # horizons: the longest window of any predictor
EWMA_DECAY = 0.94  # a horizon
LEAST_ROWS = 50  # a fold, beyond the horizon that separates it from what it is trained on
LEAST_LEAF = 20  # horizons of one asset; rows of overlapping horizons are not independent
PRIOR = 100  # horizons: every leaf and scale starts as if so many had shown EWMA to be right
EXTREME = 100.0  # squared returns beyond this multiple of their forecast (10 standard deviations) count as this

Panels = tuple[NDArray[np.int64] | None, ...]


@dataclass(frozen=True, eq=False)
class _Known:
    """What is known at R rows: variance of one row by EWMA and over the last horizon (R, A), predictors (R, A, F)."""

    ewma: Floats
    realised: Floats
    predictors: Floats


@dataclass(frozen=True, eq=False)
class _Memo:
    """Forecasts (R, A), and copies of the stamps (R,) and panels (R, ...) that they came from."""

    time: Stamps
    panels: Panels
    forecasts: Floats


class BoostedVolatility(VolatilityForecaster):
    """LightGBM, pooled over assets, multiplies the EWMA variance by what recent rows say about the next horizon.

    The target is the realised variance of the next horizon over the EWMA variance; the loss is the gamma deviance,
    which is QLIKE and so is consistent for the mean under a noisy proxy (Patton, 2011). Predictors are realised
    variance over 1, 5, 22 and 44 horizons, ranges (Parkinson, 1980) where there are highs and lows, signed returns,
    volume against its own past where there is any, and what the other assets did; all relative to the asset's own EWMA.
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

    Attributes
    ----------
    starts_ : (folds,) datetime64, the instants from which each booster speaks, the last one the fit's last row.
    boosters_ : (folds,) the boosters, None where there was nothing to learn from.
    scale_, ewma_scale_ : what the variances are multiplied by.

    Raises
    ------
    ParameterError
        If the ensemble has no tree, no split, no step or fewer than two folds.
    HistoryError
        If the window has fewer than 45 horizons plus `folds` times (a horizon plus 50 rows).
    """

    def __init__(
        self, trees: int = 60, leaves: int = 8, learning_rate: float = 0.05, folds: int = 4, seed: int = 0
    ) -> None:
        self.trees = trees
        self.leaves = leaves
        self.learning_rate = learning_rate
        self.folds = folds
        self.seed = seed

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Train one booster a block, and one on all of `past`."""
        self._check()
        super().fit(past, coverage)
        self._steps, self._row = past.steps(coverage), replace(coverage, horizon=past.clock.step)
        self._refuse_short(past)
        first = LOOKBACK * self._steps
        known = _known(past, self._row, self._steps)
        target = _over(known.realised[self._steps :], known.ewma[: -self._steps])
        rows = len(known.ewma)
        starts = np.append(rows * np.arange(1, self.folds) // self.folds, rows - 1)
        self.starts_ = past.time[first + starts]
        self.boosters_ = [self._train(known.predictors, target[: start - self._steps + 1]) for start in starts]
        corrections = self._corrections(known, past.time[first:])
        self._calibrate(known, corrections, past.returns(coverage)[first:])
        forecasts = np.full(past.spot.shape, np.nan)
        forecasts[first:] = self._combine(known, corrections)
        self._memo = _Memo(past.time.copy(), _copies(_panels(past)), forecasts)
        return self

    def forecasts(self, past: MarketHistory, count: int) -> Floats:
        """Standard deviation over the horizon at the newest `count` rows, (count, A).

        NaN at rows with less than 44 horizons before them, and where half of the EWMA's weight is on holes.
        """
        recent = past.last(count + LOOKBACK * self._steps)
        panels = _panels(recent)
        known = np.full(recent.spot.shape, np.nan)
        start, stop = self._recall(recent.time, panels, known)
        for begin, end in ((LOOKBACK * self._steps, start), (stop, len(recent))):
            if begin < end:
                known[begin:end] = self._forecast_rows(recent, begin, end)
        self._memo = _Memo(recent.time.copy(), _copies(panels), known)
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

    def _refuse_short(self, past: MarketHistory) -> None:
        needed = (LOOKBACK + 1) * self._steps + self.folds * (self._steps + LEAST_ROWS)
        if len(past) < needed:
            where = f"boosted volatility over {self._steps} rows a horizon in {self.folds} folds"
            raise HistoryError(f"{where} needs {needed} rows to fit, got {past!r}")

    def _train(self, predictors: Floats, target: Floats) -> "Booster | None":
        """A booster from the rows that have a target (R, A); None where they are too few for one split."""
        import lightgbm

        useful = np.isfinite(target) & _complete(predictors[: len(target)])
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

    def _corrections(self, known: _Known, time: Stamps) -> Floats:
        """What the booster of each row's time multiplies EWMA by, (R, A); NaN where EWMA speaks for itself."""
        corrections = np.full(known.ewma.shape, np.nan)
        speaker = np.searchsorted(self.starts_, time, side="right") - 1
        complete = _complete(known.predictors)
        for i, booster in enumerate(self.boosters_):
            chosen = complete & (speaker == i)[:, None]
            if booster is not None and chosen.any():
                corrections[chosen] = booster.predict(known.predictors[chosen], num_threads=1)
        return corrections

    def _calibrate(self, known: _Known, corrections: Floats, returns: Floats) -> None:
        """Scale both kinds of forecast to the squared returns over the horizon, (R - h, A), that followed them."""
        plain = _over(returns**2, self._steps * known.ewma[: len(returns)])
        self.scale_ = _shrunk_mean(plain / corrections[: len(returns)], self._steps)
        self.ewma_scale_ = _shrunk_mean(plain, self._steps)

    def _combine(self, known: _Known, corrections: Floats) -> Floats:
        factor = np.where(np.isnan(corrections), self.ewma_scale_, self.scale_ * corrections)
        combined: Floats = np.sqrt(self._steps * known.ewma * factor)
        return combined

    def _forecast_rows(self, past: MarketHistory, start: int, stop: int) -> Floats:
        """Forecasts at rows [start, stop), (stop - start, A), whatever was forecast before."""
        known = _known(past.rows(start - LOOKBACK * self._steps, stop), self._row, self._steps)
        return self._combine(known, self._corrections(known, past.time[start:stop]))

    def _recall(self, time: Stamps, panels: Panels, known: Floats) -> tuple[int, int]:
        """Write into `known` (R, A) the forecasts made before that still hold; the rows [start, stop) they are for.

        One holds only if every panel of its row and of the lookback before is bitwise the same: another history with
        the same stamps, or one changed in place, gets its own.
        """
        memo, lookback = self._memo, LOOKBACK * self._steps
        here, there = int(np.searchsorted(time, memo.time[0])), int(np.searchsorted(memo.time, time[0]))
        size = min(len(time) - here, len(memo.time) - there)
        if size <= lookback or not _same(panels, memo.panels, slice(here, here + size), slice(there, there + size)):
            return lookback, lookback
        known[here + lookback : here + size] = memo.forecasts[there + lookback : there + size]
        return here + lookback, here + size


def _known(past: MarketHistory, row: Coverage, steps: int) -> _Known:
    """What is known at every row of `past` that has a lookback before it."""
    rows = len(past) - LOOKBACK * steps
    returns = np.ascontiguousarray(past.returns(row))

    def horizons(values: Floats) -> Floats:
        return horizon_means(values, steps, LOOKBACK, rows)

    def mean(means: Floats, count: int, decay: float = 1.0) -> Floats:
        weights = np.power(decay, np.arange(count, dtype=np.float64))
        return weighted_means(means, weights, steps, rows)

    squares, moves = horizons(returns**2), horizons(returns)
    ewma = mean(squares, LOOKBACK, EWMA_DECAY)
    columns = [_over(mean(squares, count), ewma) for count in (LOOKBACK, 1, 5, 22)]
    columns += [_over(mean(moves, count), np.sqrt(ewma / (count * steps))) for count in (1, 5)]
    columns += [peers_mean(columns[i]) for i in (1, 2, 4)]
    absent = np.full(past.spot.shape, np.nan)
    high, low, volume = (absent if panel is None else panel for panel in (past.high, past.low, past.volume))
    ranges = horizons(np.log(_over(high, low)[1:]) ** 2 / (4.0 * np.log(2.0)))  # Parkinson (1980)
    columns += [_over(mean(ranges, count), ewma) for count in (1, 5)]
    traded = horizons(volume[1:].copy())  # a read-only array would be compiled for once more
    columns.append(_over(mean(traded, 1), mean(traded, 22)))
    return _Known(ewma, squares[-rows:], np.stack(columns, axis=2))


def _over(above: Floats, below: Floats) -> Floats:
    """Quotient, NaN where there is nothing to divide by."""
    quotient: Floats = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0.0)
    return quotient


def _complete(predictors: Floats) -> NDArray[np.bool_]:
    """Whether the longest window has enough returns, (R, A)."""
    return np.isfinite(predictors[..., 0])


def _shrunk_mean(ratios: Floats, steps: int) -> float:
    """Mean of squared standardised returns (R, A), outliers bounded, drawn to 1 by the weight of the prior."""
    finite = ratios[np.isfinite(ratios)]
    if not finite.size:
        return 1.0
    horizons = np.isfinite(ratios).any(axis=1).sum() / steps
    return float((PRIOR + horizons * np.minimum(finite, EXTREME).mean()) / (PRIOR + horizons))


def _panels(past: MarketHistory) -> Panels:
    """Everything that forecasts depend on, as integers: a NaN equals itself."""
    rates = None if past.numeraire == "USD" else past.rates(np.arange(len(past)))
    panels = (past.time, past.spot, past.high, past.low, past.volume, rates)
    return tuple(None if panel is None else panel.view(np.int64) for panel in panels)


def _copies(panels: Panels) -> Panels:
    return tuple(None if panel is None else panel.copy() for panel in panels)


def _same(panels: Panels, others: Panels, rows: slice, other_rows: slice) -> bool:
    """Whether these rows of all panels are bitwise the same."""
    return all(
        panel is other if panel is None or other is None else np.array_equal(panel[rows], other[other_rows])
        for panel, other in zip(panels, others, strict=True)
    )
