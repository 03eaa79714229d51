"""What do the calendar, the funding, the option market and the other assets tell of an asset's next horizon?"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data import Floats, MarketHistory
from data.clock import Stamps
from data.coverage import DAYS_A_YEAR

_MINUTES, _WEEK = 24 * 60, 7
_MONTH = 30.0 / DAYS_A_YEAR  # the tenor whose at-the-money volatility is quoted most
_LEAST_SHARED = 30  # rows that two assets must share before one can lead the other
_MONDAY = 3  # days from the first Monday back to 1970-01-01, a Thursday


def _turns(count: int) -> Floats:
    """Sine and cosine of `count` equal parts of a turn, (count, 2)."""
    angle = 2.0 * np.pi * np.arange(count) / count
    return np.stack([np.sin(angle), np.cos(angle)], axis=1)


# Looked up and never computed afresh: a vectorised sine may differ by a bit with the length of its argument.
_DAY_TURNS, _WEEK_TURNS = _turns(_MINUTES), _turns(_WEEK)


def calendar_phases(time: Stamps) -> Floats:
    """Sine and cosine of the time of the day, to the minute, and of the day of the week, in UTC, (R, 4).

    >>> calendar_phases(np.array(["2024-01-01T06:00"], "datetime64[ns]")).round(3) + 0.0  # a Monday
    array([[1., 0., 0., 1.]])
    """
    minute = time.astype("datetime64[m]").astype(np.int64)
    weekday = (minute // _MINUTES + _MONDAY) % _WEEK
    return np.concatenate([_DAY_TURNS[minute % _MINUTES], _WEEK_TURNS[weekday]], axis=1)


def implied_variance(history: MarketHistory) -> Floats | None:
    """Variance a year of the strike at the money at 30 days, (T, A), NaN without a smile; None without surfaces."""
    from data.surface import volatilities_at

    if history.surfaces is None:
        return None
    flat = history.surfaces.reshape(-1, *history.surfaces.shape[2:])
    return np.asarray(volatilities_at(flat, np.zeros(len(flat)), _MONTH).reshape(history.spot.shape) ** 2)


def funding_paid(history: MarketHistory) -> Floats | None:
    """What a long paid at each row, (T, A), 0 where nothing was due; None where the history has no funding."""
    return None if history.funding is None else np.nan_to_num(history.funding)


def across(values: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation over the assets of each row of (R, A), each repeated for every asset, (R, A).

    NaN where no asset is known. Summed column by column, so that a row's figures never depend on its neighbours.
    """
    known = np.isfinite(values)
    count, total, squares = (np.zeros(len(values)) for _ in range(3))
    for column in range(values.shape[1]):
        value = np.where(known[:, column], values[:, column], 0.0)
        count += known[:, column]
        total += value
        squares += value * value
    seen = np.where(count > 0, count, np.nan)
    mean = total / seen
    spread = np.sqrt(np.maximum(squares / seen - mean * mean, 0.0))
    return np.repeat(mean[:, None], values.shape[1], axis=1), np.repeat(spread[:, None], values.shape[1], axis=1)


def leader_of(ratios: Floats, targets: Floats, names: Sequence[str]) -> str | None:
    """The asset whose last horizon told most of the next one of the others; None where none can be told.

    By the mean over the others of the correlation of the roots of its variance ratio (R, A) and their targets (R, A),
    on rows that both have; roots, so that one wild day does not decide.
    """
    told, followed = np.sqrt(ratios[: len(targets)]), np.sqrt(targets)
    scores = np.full(len(names), -np.inf)
    for place in range(len(names)):
        found = [_correlation(told[:, place], followed[:, other]) for other in range(len(names)) if other != place]
        known = [one for one in found if np.isfinite(one)]
        if known:
            scores[place] = sum(known) / len(known)
    best = int(scores.argmax())
    return names[best] if np.isfinite(scores[best]) else None


def _correlation(first: Floats, second: Floats) -> float:
    both: NDArray[np.bool_] = np.isfinite(first) & np.isfinite(second)
    if both.sum() < _LEAST_SHARED:
        return np.nan
    x, y = first[both] - first[both].mean(), second[both] - second[both].mean()
    size = float((x * x).sum() * (y * y).sum())
    return float((x * y).sum()) / np.sqrt(size) if size > 0 else np.nan
