"""How much did each underlying move over its past horizons, and what does their exponential mean say of the next?"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from data import Coverage, Floats, HistoryError, MarketHistory
from data.arrays import Places
from margin_models.kernels.recursions import horizon_means, weighted_means
from margin_models.volatility.predictors import EWMA_DECAY, LOOKBACK, over

SEVERAL = 8  # rows a horizon from which squared returns tell its variance, and bounce in short bars would bias ranges
PRIOR = 100  # horizons: every scale starts as if so many had shown it to be right
EXTREME = 100.0  # squared returns beyond this multiple of their forecast (10 standard deviations) count as this
LEAST_SHARE = 0.01  # of the variance over the longest lag: less passes for this, since the log of 0 says nothing
FARTHEST = 100.0  # times EWMA's variance, up or down: a deviation is forecast within a tenth and ten times EWMA's


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured at the newest `rows` rows and at the 44 horizons before each.

    `returns`, `realised` (T, A) are a row's return and measured variance, T = rows + 44 steps - 1, NaN before the
    history begins; `variance` (T, A) is the mean of `realised` over the horizon up to each row, `ewma` (rows, A) that
    of squared returns with a weight that fades by 0.94 a horizon, both of one row.
    """

    rows: int
    steps: int
    returns: Floats
    realised: Floats
    variance: Floats
    ewma: Floats

    def horizons(self, values: Floats) -> Floats:
        """Mean over the horizon up to each row, (T, A), of figures of each row (T, A)."""
        return horizon_means(values, self.steps, LOOKBACK, self.rows)

    def mean(self, means: Floats, count: int) -> Floats:
        """Mean of the newest `count` horizons at each of the newest rows, (rows, A)."""
        return weighted_means(means, np.ones(count), self.steps, self.rows)


def measured(past: MarketHistory, coverage: Coverage, rows: int) -> Measured:
    """What is known at the newest `rows` rows; NaN at rows before the history's first.

    A row's variance is its squared return, of simple returns in the numeraire. Where a horizon has fewer than eight
    rows and a row has its high and low, it is Garman and Klass's (1980), opened at the close before: of the USD price,
    whatever the numeraire. What that is wrong by, a forecaster's scale corrects.
    """
    recent, returns = _row_returns(past, coverage, rows)
    steps, realised = past.steps(coverage), returns**2
    if steps < SEVERAL and recent.high is not None and recent.low is not None:
        ranges = _from_the_front(_garman_klass(recent.spot, recent.high, recent.low), len(returns))
        realised = np.where(np.isfinite(ranges) & np.isfinite(returns), ranges, realised)
    variance = horizon_means(realised, steps, LOOKBACK, rows)
    return Measured(rows, steps, returns, realised, variance, _fading_mean(returns, steps, rows))


def ewma_variance(past: MarketHistory, coverage: Coverage, rows: int) -> Floats:
    """Exponentially weighted variance of one row at the newest `rows` rows, (rows, A): 0.94 a horizon, 44 of them."""
    _, returns = _row_returns(past, coverage, rows)
    return _fading_mean(returns, past.steps(coverage), rows)


def next_variance(told: Measured) -> Floats:
    """Measured variance of one row over the horizon after each of the newest rows but the last `steps`, (R - h, A)."""
    return told.variance[-told.rows :][told.steps :]


def next_squares(past: MarketHistory, coverage: Coverage) -> Floats:
    """Squared returns over the horizon that follows each row, (T - h, A)."""
    squares: Floats = past.returns(coverage) ** 2
    return squares


def bounded(variance: Floats, ewma: Floats) -> Floats:
    """A variance no farther from EWMA's than a hundredth or a hundred times; as it is where EWMA's is 0 or NaN."""
    known = ewma > 0.0
    return np.where(known, np.clip(variance, ewma / FARTHEST, ewma * FARTHEST), variance)


def scales(ratios: Floats, steps: int, towards: Floats | float = 1.0, prior: float = PRIOR) -> Floats:
    """Mean of each asset's ratios (R, A), outliers bounded, drawn to `towards` by the weight of the prior, (A,)."""
    known = np.isfinite(ratios)
    horizons = known.sum(axis=0) / steps
    total = np.where(known, np.minimum(ratios, EXTREME), 0.0).sum(axis=0) / steps
    return np.asarray((prior * towards + total) / (prior + horizons))


def pooled_scale(ratios: Floats, steps: int, prior: float = PRIOR) -> float:
    """Mean of all ratios (R, A), outliers bounded, drawn to 1; assets of one row are no independent horizons."""
    finite = ratios[np.isfinite(ratios)]
    if not finite.size:
        return 1.0
    horizons = np.isfinite(ratios).any(axis=1).sum() / steps
    return float((prior + horizons * np.minimum(finite, EXTREME).mean()) / (prior + horizons))


def columns_of(past: MarketHistory, fitted: Iterable[str]) -> Places:
    """Where each underlying of `past` stands among those of a fit, (A,); HistoryError for one that the fit had not."""
    places = {name: place for place, name in enumerate(fitted)}
    unknown = [name for name in past.underlyings if name not in places]
    if unknown:
        expected = f"a forecast needs underlyings of its fit, {', '.join(places)}"
        raise HistoryError(f"{expected}; got {', '.join(unknown)} in {past!r}")
    return np.array([places[name] for name in past.underlyings])


def _row_returns(past: MarketHistory, coverage: Coverage, rows: int) -> tuple[MarketHistory, Floats]:
    """The newest rows with a lookback before them, and their returns from row to row, NaN before the first."""
    size = rows + LOOKBACK * past.steps(coverage) - 1
    recent = past.last(size + 1)
    return recent, _from_the_front(recent.returns(replace(coverage, horizon=past.clock.step)), size)


def _fading_mean(returns: Floats, steps: int, rows: int) -> Floats:
    fading = np.power(EWMA_DECAY, np.arange(LOOKBACK, dtype=np.float64))
    return weighted_means(horizon_means(returns**2, steps, LOOKBACK, rows), fading, steps, rows)


def _from_the_front(values: Floats, size: int) -> Floats:
    """The same (T, A) after so many rows of NaN that they are `size`."""
    padded = np.full((size, values.shape[1]), np.nan)
    padded[size - len(values) :] = values
    return padded


def _garman_klass(close: Floats, high: Floats, low: Floats) -> Floats:
    """Variance of each row but the first; NaN where a price is unknown or 0.

    A high or low that the close before, or the row's own, oversteps is taken to reach it: so it is never below 0.
    """
    before, after = close[:-1], close[1:]
    top = np.maximum(np.maximum(high[1:], before), after)
    bottom = np.minimum(np.minimum(low[1:], before), after)
    reach, end = np.log(over(top, bottom)), np.log(over(after, before))
    variance: Floats = 0.5 * reach**2 - (2.0 * np.log(2.0) - 1.0) * end**2
    return variance
