"""How does a figure stand against its own newest rows?

Values are (T,) or (T, A), oldest first; a window is so many rows ending with each. A window that is not full, or of
which less than half is known, gives NaN: a hole is left out and never filled.
"""

import numpy as np

from data.arrays import Floats
from data.errors import ParameterError
from data.flow import orderflow_kernels as kernel


def moments(x: Floats, y: Floats, window: int, least: int | None = None) -> Floats:
    """Count, means and central sums of products of pairs over the window, (T, ..., 6) in the kernel's order.

    `least` is how many pairs must be known, by default half of the window, and at least 2. Raises ParameterError unless
    the window has two rows and x and y one shape.
    """
    refuse_window(window, 2)
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.shape != y.shape:
        raise ParameterError(f"x and y of a window must have one shape, got {x.shape} and {y.shape}")
    out = np.empty((*_table(x).shape, 6))
    kernel.window_moments(_table(x), _table(y), window, max(2, (window + 1) // 2) if least is None else least, out)
    return out.reshape(*x.shape, 6)


def window_mean(values: Floats, window: int) -> Floats:
    """Mean of the known values of the window, in their unit."""
    refuse_window(window, 1)
    values = np.asarray(values, np.float64)
    if window == 1:
        return np.where(np.isfinite(values), values, np.nan)
    return moments(values, values, window, (window + 1) // 2)[..., kernel.MEAN_X]


def window_variance(values: Floats, window: int) -> Floats:
    """Sample variance, n - 1 degrees of freedom, of the known values of the window."""
    told = moments(values, values, window)
    return np.asarray(told[..., kernel.XX] / (told[..., kernel.COUNT] - 1.0))


def lagged(values: Floats, rows: int = 1) -> Floats:
    """The value so many rows before; NaN in the first rows."""
    refuse_window(rows, 1)
    values = np.asarray(values, np.float64)
    before = np.full(values.shape, np.nan)
    before[rows:] = values[:-rows]
    return before


def changes(values: Floats, rows: int = 1) -> Floats:
    """Value less the value so many rows before."""
    return np.asarray(values, np.float64) - lagged(values, rows)


def log_changes(values: Floats, rows: int = 1) -> Floats:
    """ln of the value over the value so many rows before; NaN unless both are > 0 and finite."""
    return changes(logarithm(values), rows)


def logarithm(values: Floats) -> Floats:
    """ln where the value is > 0 and finite, NaN elsewhere."""
    values = np.asarray(values, np.float64)
    sound = np.isfinite(values) & (values > 0)
    return np.asarray(np.log(np.where(sound, values, 1.0)) + np.where(sound, 0.0, np.nan))


def over(above: Floats, below: Floats) -> Floats:
    """Quotient; NaN unless the divisor is > 0."""
    above, below = np.broadcast_arrays(np.asarray(above, np.float64), np.asarray(below, np.float64))
    return np.asarray(np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0.0))


def refuse_window(window: int, least: int) -> None:
    """ParameterError unless the window has at least so many rows."""
    if window < least:
        raise ParameterError(f"a window must have at least {least} rows, got {window}")


def _table(values: Floats) -> Floats:
    """A copy (T, A) that the kernels compiled once can read: rows one after another, writeable."""
    return np.array(values, np.float64, order="C").reshape(len(values), -1)
