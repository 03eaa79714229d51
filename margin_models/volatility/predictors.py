"""What is known at each row of how volatile the next horizon will be?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from data import Coverage, Floats, HistoryError, MarketHistory
from margin_models.kernels.recursions import horizon_means, peers_mean, weighted_means
from margin_models.volatility.surroundings import across, calendar_phases, funding_paid, implied_variance

LOOKBACK = 44  # horizons: the longest window of any predictor
EWMA_DECAY = 0.94  # a horizon
# In this order; those of named features come after them.
NAMES = (
    *("variance over 44", "variance over 1", "variance over 5", "variance over 22", "return over 1", "return over 5"),
    *("others' variance over 1", "others' variance over 5", "others' return over 1", "range over 1", "range over 5"),
    *("volume", "market's variance over 1", "dispersion of variance over 1", "implied variance", "funding"),
    *("funding lately", "sine of the day", "cosine of the day", "sine of the week", "cosine of the week"),
    *("leader's variance over 1", "leader's return over 1"),
)
# Where theory has a sign: variance clusters, ranges estimate it and option prices expect it.
RISING = ("variance over 1", "variance over 5", "range over 1", "range over 5", "implied variance")
_VARIANCE, _MOVE = NAMES.index("variance over 1"), NAMES.index("return over 1")
_LED = NAMES.index("leader's variance over 1")
_STILL = 1e-12  # of the mean square: a feature whose variance is less did not move, but for rounding


@dataclass(frozen=True)
class AllBut:
    """Everything that is known but what is named; a name that is told twice counts once.

    Parameters
    ----------
    names : of `NAMES`, of a history's features, or of both: whatever has the name is left out.
    of_features : of a history's features alone, where a predictor may be called the same.
    of_predictors : of `NAMES` alone, where a feature may be called the same.
    """

    names: tuple[str, ...] = ()
    of_features: tuple[str, ...] = ()
    of_predictors: tuple[str, ...] = ()

    def features(self, there: Sequence[str]) -> tuple[str, ...]:
        """Which of a history's features are left.

        >>> AllBut(("vpin", "funding")).features(("vpin", "rate"))
        ('rate',)
        """
        return tuple(name for name in there if name not in {*self.names, *self.of_features})

    def fits(self, there: Sequence[str]) -> bool:
        """Whether a history with these features, or `NAMES`, has all that is named, each where it is named."""
        # One name alone would pass for a sequence of its letters.
        if any(isinstance(names, str) for names in (self.names, self.of_features, self.of_predictors)):
            return False
        known = {*there, *NAMES}.issuperset(self.names)
        return known and set(there).issuperset(self.of_features) and set(NAMES).issuperset(self.of_predictors)

    @property
    def unseen(self) -> list[int]:
        """Places among `NAMES` that are left out."""
        return [place for place, name in enumerate(NAMES) if name in {*self.names, *self.of_predictors}]


@dataclass(frozen=True, eq=False)
class Known:
    """What is known at R rows: variance of one row by EWMA and over the last horizon (R, A), predictors (R, A, F)."""

    ewma: Floats
    realised: Floats
    predictors: Floats

    @property
    def ratios(self) -> Floats:
        """Variance over the last horizon, relative to EWMA, (R, A)."""
        return self.predictors[..., _VARIANCE]

    def led_by(self, place: int | None) -> Self:
        """The same with what the asset at a place did lately told to all; unknown where there is no leader."""
        if place is None:
            return self
        predictors = self.predictors.copy()
        predictors[..., _LED] = self.predictors[:, place, _VARIANCE, None]
        predictors[..., _LED + 1] = self.predictors[:, place, _MOVE, None]
        return replace(self, predictors=predictors)


def known_at(past: MarketHistory, row: Coverage, steps: int, features: Sequence[str] = ()) -> Known:
    """What is known at every row of `past` that has a lookback before it, but for its leader.

    Predictors are those of `NAMES`, most relative to the EWMA of the asset, and then those of `features`.
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
    columns += across(columns[1])
    implied, paid = implied_variance(past.last(rows)), funding_paid(past)
    columns.append(absent[-rows:] if implied is None else over(implied * row.years, ewma))
    carried = horizons(absent if paid is None else paid)
    columns += [over(mean(carried, count) * steps, np.sqrt(ewma * steps)) for count in (22, 1)]
    columns += [np.repeat(phase[:, None], returns.shape[1], axis=1) for phase in calendar_phases(past.time[-rows:]).T]
    columns += 2 * [absent[-rows:]]
    predictors = np.stack(columns, axis=2)
    told = feature_panel(past, features)
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
