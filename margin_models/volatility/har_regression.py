"""How does tomorrow's realised variance answer to that of the last day, week and month?"""

from dataclasses import dataclass

import numpy as np

from data import Floats, ParameterError


@dataclass(frozen=True, eq=False)
class HarRegression:
    """Least squares of the next realised variance on its mean over each lag: intercept, slopes (L,), rows used."""

    intercept: float
    slopes: Floats
    observations: int


def trailing_means(variance: Floats, lags: tuple[int, ...]) -> Floats:
    """Mean of the newest values up to each row from the longest lag on, (T - longest + 1, L).

    >>> trailing_means(np.array([1.0, 2.0, 6.0]), (1, 2)).tolist()
    [[2.0, 1.5], [6.0, 4.0]]
    """
    rows = len(variance) - max(lags) + 1
    means = [np.lib.stride_tricks.sliding_window_view(variance, lag).mean(axis=1)[-rows:] for lag in lags]
    return np.stack(means, axis=1)


def har_regression(variance: Floats, lags: tuple[int, ...] = (1, 5, 22)) -> HarRegression:
    """The heterogeneous autoregression of (T,) realised variances, one row ahead.

    Corsi (2009), "A simple approximate long-memory model of realized volatility", J. Financial Econometrics 7.

    Raises
    ------
    ParameterError
        If lags are not whole, positive and different, a variance is not finite, or the rows do not tell the slopes
        apart (too few, or the means of the lags are collinear).
    """
    if not lags or min(lags) < 1 or len(set(lags)) < len(lags) or any(lag != int(lag) for lag in lags):
        raise ParameterError(f"lags must be different whole numbers >= 1, got {lags}")
    if len(variance) < max(lags) + len(lags) + 1 or not np.isfinite(variance).all():
        raise ParameterError(f"at least {max(lags) + len(lags) + 1} finite variances are needed, got {variance!r}")
    means = trailing_means(variance, lags)[:-1]
    outcome = variance[-len(means) :]
    unit = float(np.abs(variance).mean()) or 1.0  # variances of 1e-5 beside an intercept of 1 would pass for no rank
    design = np.column_stack([np.ones(len(means)), means / unit])
    found, _, rank, _ = np.linalg.lstsq(design, outcome / unit)
    if rank < design.shape[1]:
        raise ParameterError(f"the means over lags {lags} are collinear in {len(means)} rows: no slopes can be told")
    return HarRegression(unit * float(found[0]), np.asarray(found[1:]), len(means))
