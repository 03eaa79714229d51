"""What does an AR(1)-GARCH(1,1), fitted anew to every window of a series, say of the row after it?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data import ConvergenceError, Floats, ParameterError
from data.threads import pool
from margin_models.kernels.ar_garch import filter_windows, fit_windows

LEAST_WINDOW = 250
BLOCK = 256  # windows that one warm start runs through


@dataclass(frozen=True, eq=False)
class WindowFits:
    """W fitted windows in the units of the series.

    `laws` (W, 5) or (W, 6) are mean, autoregression, omega, alpha, beta and, under a t law, its degrees of freedom;
    `mean` and `deviation` (W,) are of the row after each window, `innovations` (W, window - 1) standardised residuals.
    `converged` (W,) says where the optimiser arrived.
    """

    laws: Floats
    loglikelihood: Floats
    converged: NDArray[np.bool_]
    mean: Floats
    deviation: Floats
    innovations: Floats


def fit_every_window(series: Floats, window: int, *, student: bool = False, threads: int = 2) -> WindowFits:
    """Maximum likelihood, normal or standardised t, in each of the len(series) - window + 1 windows of (T,) rows.

    The variance before a window's first residual is arch's: an average of the first 75 squared residuals of the least
    squares autoregression with weights that fade by 0.94. Windows are fitted in blocks, each with a warm start from the
    one before it and from a table of others, so that the number of threads changes nothing.

    Raises
    ------
    ParameterError
        If a row is not finite, or windows have fewer than 250 rows or more than there are.
    ConvergenceError
        If a window's rows do not vary.
    """
    if not (LEAST_WINDOW <= window <= len(series) and np.isfinite(series).all()):
        raise ParameterError(f"a window of {LEAST_WINDOW} to {len(series)} finite rows was expected, got {window}")
    count = len(series) - window + 1
    moves = np.concatenate([[0], np.cumsum(series[1:] != series[:-1])])
    still = np.flatnonzero(moves[window - 1 :] - moves[:count] < 2)
    if still.size:
        raise ConvergenceError(f"the {window} rows from row {still[0]} on do not vary: no variance can be fitted")
    unit = float(np.std(series[:window]))
    scaled = np.ascontiguousarray(series / unit)
    laws, told, before = np.empty((count, 6 if student else 5)), np.empty(count), np.empty(count)
    arrived = np.zeros(count, dtype=np.bool_)
    blocks = [(first, min(first + BLOCK, count)) for first in range(0, count, BLOCK)]
    work = [pool(threads).submit(fit_windows, scaled, window, *block, laws, told, before, arrived) for block in blocks]
    for one in work:
        one.result()
    ahead, innovations = np.empty((count, 2)), np.empty((count, window - 1))
    filter_windows(scaled, laws, before, ahead, innovations)
    mean, deviation = unit * ahead.T
    laws[:, 0] *= unit
    laws[:, 2] *= unit**2
    return WindowFits(laws, told - (window - 1) * np.log(unit), arrived, mean, deviation, innovations)
