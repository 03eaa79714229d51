"""What is known at each row of how volatile the next horizon will be?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data import Coverage, Floats, HistoryError, MarketHistory
from margin_models.kernels.recursions import horizon_means, peers_mean, weighted_means

LOOKBACK = 44  # horizons: the longest window of any predictor
EWMA_DECAY = 0.94  # a horizon
_STILL = 1e-12  # of the mean square: a feature whose variance is less did not move, but for rounding


@dataclass(frozen=True, eq=False)
class Known:
    """What is known at R rows: variance of one row by EWMA and over the last horizon (R, A), predictors (R, A, F)."""

    ewma: Floats
    realised: Floats
    predictors: Floats


def known_at(past: MarketHistory, row: Coverage, steps: int, features: Sequence[str] = ()) -> Known:
    """What is known at every row of `past` that has a lookback before it.

    Predictors are those of prices, ranges and volume, relative to the EWMA of the asset, and then those of `features`.
    """
    rows = len(past) - LOOKBACK * steps
    returns = np.ascontiguousarray(past.returns(row))

    def horizons(values: Floats) -> Floats:
        return horizon_means(values, steps, LOOKBACK, rows)

    def mean(means: Floats, count: int, decay: float = 1.0) -> Floats:
        weights = np.power(decay, np.arange(count, dtype=np.float64))
        return weighted_means(means, weights, steps, rows)

    squares, moves = horizons(returns**2), horizons(returns)
    ewma = mean(squares, LOOKBACK, EWMA_DECAY)
    columns = [over(mean(squares, count), ewma) for count in (LOOKBACK, 1, 5, 22)]
    columns += [over(mean(moves, count), np.sqrt(ewma / (count * steps))) for count in (1, 5)]
    columns += [peers_mean(columns[i]) for i in (1, 2, 4)]
    absent = np.full(past.spot.shape, np.nan)
    high, low, volume = (absent if panel is None else panel for panel in (past.high, past.low, past.volume))
    ranges = horizons(np.log(over(high, low)[1:]) ** 2 / (4.0 * np.log(2.0)))  # Parkinson (1980)
    columns += [over(mean(ranges, count), ewma) for count in (1, 5)]
    traded = horizons(volume[1:].copy())  # a read-only array would be compiled for once more
    columns.append(over(mean(traded, 1), mean(traded, 22)))
    told = feature_panel(past, features)
    predictors = np.stack(columns, axis=2)
    if told is not None:
        predictors = np.concatenate([predictors, feature_predictors(told, steps, rows)], axis=2)
    return Known(ewma, squares[-rows:], predictors)


def feature_panel(past: MarketHistory, names: Sequence[str]) -> Floats | None:
    """The features of these names, (T, A, F), None for no name; HistoryError for one that the history does not have."""
    if not names:
        return None
    lacking = [name for name in names if name not in past.feature_names]
    if lacking or past.features is None:
        raise HistoryError(f"a forecast needs the features {lacking}, {past!r} has {past.feature_names}")
    if tuple(names) == past.feature_names:
        return past.features
    return np.ascontiguousarray(past.features[:, :, [past.feature_names.index(name) for name in names]])


def feature_predictors(told: Floats, steps: int, rows: int) -> Floats:
    """Features (T, A, F) at the newest `rows` rows, relative to their own mean and deviation over the lookback.

    (rows, A, F), each the value now; where a horizon spans several rows, (rows, A, 2 F), the means over the newest
    horizon after them. 0 where a feature did not move, NaN where it is unknown now or at more than half of the
    lookback, or too large to square. T >= rows + 44 steps - 1.
    """
    shape = (rows, told.shape[1], told.shape[2])
    flat = np.array(told.reshape(len(told), -1), np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        means, squares = (horizon_means(values, steps, LOOKBACK, rows) for values in (flat, flat**2))
        centre, size = (weighted_means(values, np.ones(LOOKBACK), steps, rows) for values in (means, squares))
        variance = size - centre**2
        still = variance <= _STILL * size
        deviation = np.sqrt(np.where(still, 1.0, variance))
        newest = (flat[-rows:],) if steps == 1 else (flat[-rows:], means[-rows:])
        apart = [np.where(still, 0.0 * values, (values - centre) / deviation) for values in newest]
    return np.concatenate([values.reshape(shape) for values in apart], axis=2)


def over(above: Floats, below: Floats) -> Floats:
    """Quotient, NaN where there is nothing to divide by."""
    quotient: Floats = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0.0)
    return quotient


def complete(predictors: Floats) -> NDArray[np.bool_]:
    """Whether the longest window has enough returns, (R, A)."""
    return np.isfinite(predictors[..., 0])
