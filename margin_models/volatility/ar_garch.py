"""What does an AR(1)-GARCH(1,1), fitted anew to every window of a series, say of the row after it?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data import ConvergenceError, Floats, ParameterError
from data.arrays import Bools
from data.threads import pool
from margin_models.kernels.ar_garch import LARGEST, baselines, filter_windows, fit_windows

LEAST_WINDOW = 250
BLOCK = 256  # windows that one warm start runs through
EWMA_DECAY = 0.94
FALLBACK_DEGREES = 4.0  # of freedom, under a t law: a tail heavier than that of most daily returns
DOMINANT = 0.5  # one residual with half of the squares says nothing about how variance moves
ALIKE = 0.5  # of the rows with one and the same value: a t law can make them as likely as it likes

_SAME = 0.1  # log-likelihoods closer than this are equally good
_STILL = 1e-4  # an alpha below it: variance does not answer
_FLOOR = 0.01  # of the window's mean square without the largest, which the fallback never falls below


@dataclass(frozen=True, eq=False)
class WindowFits:
    """W fitted windows in the units of the series.

    `laws` (W, 5) or (W, 6) are mean, autoregression, omega, alpha, beta and, under a t law, its degrees of freedom;
    `mean` and `deviation` (W,) are of the row after each window, `innovations` (W, window - 1) standardised residuals.
    `converged` (W,) says where the optimiser arrived, `refusal` (W,) why a gate refused the fit, "" where none did. A
    refused window has the law of EWMA(0.94) around its median instead, with a hundredth of the mean square there
    (without the largest) as a floor and, under a t law, 4 degrees of freedom: all but `loglikelihood` and `converged`
    are then of that.
    """

    laws: Floats
    loglikelihood: Floats
    converged: NDArray[np.bool_]
    mean: Floats
    deviation: Floats
    innovations: Floats
    refusal: NDArray[np.str_]

    @property
    def refused(self) -> Bools:
        """Where a fit was refused, (W,)."""
        return np.asarray(self.refusal != "")


def fit_every_window(series: Floats, window: int, *, student: bool = False, threads: int = 2) -> WindowFits:
    """Maximum likelihood, normal or standardised t, in each of the len(series) - window + 1 windows of (T,) rows.

    The variance before a window's first residual is arch's: an average of the first 75 squared residuals of the least
    squares autoregression with weights that fade by 0.94. Windows are fitted in blocks, each with a warm start from the
    one before it and from a table of others, so that the number of threads changes nothing. A fit that fails a gate
    (`refusals`) never becomes a forecast.

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
    reasons = refusals(scaled, window, laws, told, arrived, ahead[:, 1])
    if (reasons != "").any():
        _fall_back(scaled, window, laws, reasons != "")
        filter_windows(scaled, laws, before, ahead, innovations)
    mean, deviation = unit * ahead.T
    laws[:, 0] *= unit
    laws[:, 2] *= unit**2
    return WindowFits(laws, told - (window - 1) * np.log(unit), arrived, mean, deviation, innovations, reasons)


def refusals(
    series: Floats, window: int, laws: Floats, loglikelihood: Floats, arrived: Bools, deviation: Floats
) -> NDArray[np.str_]:
    """Why each of W fits may not forecast, "" where it may; all in the units that were fitted.

    The gates: an optimiser that arrived, one value in no more than half of the rows and one residual with no more than
    half of the squares, a law inside its bounds, a variance that does more than fade from where it began, a likelihood
    of no less than constant variance and EWMA have around the least squares autoregression, and a forecast within a
    tenth and ten times EWMA's.
    """
    degrees = laws[:, 5] if laws.shape[1] > 5 else np.full(len(laws), np.nan)
    simpler = np.empty((len(laws), 4))
    baselines(series, window, EWMA_DECAY, degrees, simpler)
    alpha, beta = laws[:, 3], laws[:, 4]
    persistence = alpha + beta
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = deviation / simpler[:, 2]
        gates = {
            "the optimiser did not arrive": ~arrived,
            f"one value in more than {ALIKE:.0%} of the rows": _most_alike(series, window) > ALIKE,
            f"one residual with more than {DOMINANT:.0%} of the squares": ~(simpler[:, 3] <= DOMINANT),
            "parameters or log-likelihood not finite": ~np.isfinite(np.column_stack([laws, loglikelihood])).all(axis=1),
            "parameters out of bounds": ~((laws[:, 2] > 0.0) & (alpha >= 0.0) & (beta >= 0.0)),
            f"persistence above {LARGEST}": ~(persistence <= LARGEST * (1.0 + 1e-12)),
            "variance does not answer to returns": (alpha < _STILL) & (persistence > 1.0 - _STILL),
            "less likely than constant variance": ~(loglikelihood >= simpler[:, 0] - _SAME),
            "less likely than EWMA": ~(loglikelihood >= simpler[:, 1] - _SAME),
            "a forecast not within a tenth and ten times EWMA's": ~((ratio >= 0.1) & (ratio <= 10.0)),
        }
    return np.asarray(np.select(list(gates.values()), list(gates), ""))


def _most_alike(series: Floats, window: int) -> Floats:
    """The largest share of each window's rows that have one value, (W,), where it may be more than half; else 0."""
    value, count = np.unique(series, return_counts=True)
    share = np.zeros(len(series) - window + 1)
    for common in value[2 * count > window]:
        seen = np.concatenate([[0], np.cumsum(series == common)])
        share = np.maximum(share, (seen[window:] - seen[:-window]) / window)
    return share


def _fall_back(series: Floats, window: int, laws: Floats, refused: Bools) -> None:
    """Give refused windows the law that makes the filter an exponentially weighted average around their median."""
    for w in np.flatnonzero(refused):
        rows = series[w : w + window]
        centre = float(np.median(rows))
        squares = np.sort((rows - centre) ** 2)
        usual = float(squares[:-1].mean()) or float(squares.mean())
        laws[w, :5] = centre, 0.0, (1.0 - EWMA_DECAY) * _FLOOR * usual, 1.0 - EWMA_DECAY, EWMA_DECAY
        laws[w, 5:] = FALLBACK_DEGREES
