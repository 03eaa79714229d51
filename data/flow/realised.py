"""How much did a price move within an interval, jumps, noise and all?

Each takes log returns (..., M) of intervals, oldest first, and gives a figure an interval, (...). A NaN among the
returns of an interval makes its figure NaN. HistoryError where an interval has fewer returns than the measure needs.
Variances are of the whole interval, in squared log returns.
"""

import math

import numpy as np

from data.arrays import Floats
from data.errors import HistoryError, ParameterError


def realised_variance(returns: Floats) -> Floats:
    """Sum of squared returns (Andersen and Bollerslev 1998, "Answering the skeptics", Int. Economic Review 39)."""
    return _sum(_known(returns, 1) ** 2)


def realised_semivariances(returns: Floats) -> tuple[Floats, Floats]:
    """Sums of squared returns below and above 0; together the realised variance.

    Barndorff-Nielsen, Kinnebrock and Shephard (2010), "Measuring downside risk: realised semivariance".
    """
    r = _known(returns, 1)
    return _sum(np.minimum(r, 0.0) ** 2), _sum(np.maximum(r, 0.0) ** 2)


def bipower_variation(returns: Floats) -> Floats:
    """pi/2 sum |r| |r before|, which a single jump hardly moves; no small-sample factor.

    Barndorff-Nielsen and Shephard (2004), "Power and bipower variation with stochastic volatility and jumps", J.
    Financial Econometrics 2.
    """
    r = np.abs(_known(returns, 2))
    return math.pi / 2.0 * _sum(r[..., 1:] * r[..., :-1])


def median_variance(returns: Floats) -> Floats:
    """medRV: squared medians of three neighbours, robust to a jump and to a return of 0.

    Andersen, Dobrev and Schaumburg (2012), "Jump-robust volatility estimation using nearest neighbor truncation", J.
    Econometrics 169.
    """
    r = np.abs(_known(returns, 3))
    middle = np.median(np.stack([r[..., 2:], r[..., 1:-1], r[..., :-2]]), axis=0)
    return _scaled(math.pi / (6.0 - 4.0 * math.sqrt(3.0) + math.pi), r, 2) * _sum(middle**2)


def minimum_variance(returns: Floats) -> Floats:
    """minRV: squared minima of two neighbours (Andersen, Dobrev and Schaumburg 2012)."""
    r = np.abs(_known(returns, 2))
    return _scaled(math.pi / (math.pi - 2.0), r, 1) * _sum(np.minimum(r[..., 1:], r[..., :-1]) ** 2)


def realised_quarticity(returns: Floats) -> Floats:
    """M/3 sum r^4: what the variance of realised variance is proportional to.

    Barndorff-Nielsen and Shephard (2002), "Econometric analysis of realized volatility", J. Royal Statistical Society B
    64.
    """
    r = _known(returns, 1)
    return np.asarray(_sum(r**4) * (len(r.T) / 3.0))


def realised_kernel(returns: Floats, bandwidth: int) -> Floats:
    """Variance in spite of noise: autocovariances up to `bandwidth` lags under Parzen weights k(h / (bandwidth + 1)).

    Barndorff-Nielsen, Hansen, Lunde and Shephard (2009), "Realized kernels in practice", Econometrics Journal 12,
    without averaging at the ends; never below 0. ParameterError for a negative bandwidth.
    """
    if bandwidth < 0:
        raise ParameterError(f"bandwidth must be >= 0, got {bandwidth}. Typical: 5-30 lags.")
    r = _known(returns, bandwidth + 1)
    size = r.shape[-1]
    total = _sum(r**2)
    for lag in range(1, bandwidth + 1):
        total = total + 2.0 * parzen(lag / (bandwidth + 1.0)) * _sum(r[..., lag:] * r[..., : size - lag])
    return np.maximum(total, 0.0)


def parzen(x: float) -> float:
    """Parzen's weight at x >= 0: 1 at 0, 0 from 1 on, smooth between.

    >>> [parzen(x) for x in (0.0, 0.5, 1.0)]
    [1.0, 0.25, 0.0]
    """
    if x <= 0.5:
        return 1.0 - 6.0 * x**2 + 6.0 * x**3
    return 2.0 * float(max(1.0 - x, 0.0)) ** 3


def realised_covariance(returns: Floats, others: Floats) -> Floats:
    """Sum of products of the returns of two assets over the same steps.

    Barndorff-Nielsen and Shephard (2004), "Econometric analysis of realized covariation", Econometrica 72.
    """
    return _sum(_known(returns, 1) * _known(others, 1))


def subsampled_variance(returns: Floats, step: int) -> Floats:
    """Mean, over the `step` grids there are, of the realised variance of returns over `step` steps.

    Each grid leaves out steps at its ends, so its variance is scaled to all M (Zhang, Mykland and Ait-Sahalia 2005, "A
    tale of two time scales", J. American Statistical Association 100). ParameterError for a step below 1.
    """
    if step < 1:
        raise ParameterError(f"step must be >= 1, got {step}")
    r = _known(returns, 2 * step - 1)
    variances = []
    for start in range(step):
        count = (r.shape[-1] - start) // step
        blocks = r[..., start : start + count * step].reshape(*r.shape[:-1], count, step)
        variances.append(_sum(blocks.sum(axis=-1) ** 2) * (r.shape[-1] / (count * step)))
    return np.asarray(np.mean(variances, axis=0))


def two_scale_variance(returns: Floats, step: int) -> Floats:
    """Subsampled variance less the noise in it, told by the returns of one step; may be below 0 on few returns.

    Zhang, Mykland and Ait-Sahalia (2005), with their small-sample factor. ParameterError for a step below 2.
    """
    if step < 2:
        raise ParameterError(f"step must be >= 2, got {step}. Typical: 5-30.")
    share = 1.0 / step
    slow, fast = subsampled_variance(returns, step), realised_variance(returns)
    return np.asarray((slow - share * fast) / (1.0 - share))


def preaveraged_variance(returns: Floats, theta: float = 0.5) -> Floats:
    """Variance in spite of noise: squares of returns averaged over theta sqrt(M) steps, less what noise is left.

    Weights g(x) = min(x, 1 - x) (Jacod, Li, Mykland, Podolskij and Vetter 2009, "Microstructure noise in the continuous
    case: the pre-averaging approach", Stochastic Processes and their Applications 119, with its
    finite sums); may be below 0 on few returns. ParameterError unless theta > 0.
    """
    if not 0 < theta < math.inf:
        raise ParameterError(f"theta must be > 0, got {theta}. Typical: 0.3-1.")
    r = _known(returns, 4)
    size = r.shape[-1]
    width = max(2, math.ceil(theta * math.sqrt(size)))
    if width > size // 2:
        raise HistoryError(f"pre-averaging over {width} steps needs {2 * width} returns, got {size}")
    grid = np.arange(width + 1) / width
    weight = np.minimum(grid, 1.0 - grid)
    steepness, mass = width * float((np.diff(weight) ** 2).sum()), float((weight**2).sum()) / width
    # Added one by one: a matrix product may round one interval otherwise where there are more intervals.
    averaged = sum(weight[j] * r[..., j - 1 : size - width + j] for j in range(1, width))
    squares = _sum(np.asarray(averaged) ** 2)
    noise = steepness / (mass * width**2) * realised_variance(r) / 2.0
    return np.asarray(squares * size / ((size - width + 2) * width * mass) - noise)


def _known(returns: Floats, least: int) -> Floats:
    values = np.asarray(returns, np.float64)
    if values.ndim < 1 or values.shape[-1] < least:
        raise HistoryError(f"this measure needs at least {least} returns an interval, got the shape {values.shape}")
    return values


def _sum(terms: Floats) -> Floats:
    return np.asarray(terms.sum(axis=-1))


def _scaled(constant: float, returns: Floats, lost: int) -> float:
    """The constant, and the factor for the terms lost at the ends."""
    size = len(returns.T)
    return constant * size / (size - lost)
