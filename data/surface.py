"""What volatility does the option market imply for a strike and a tenor?

A smile is seven numbers: tenor in years, form, five figures. Form 0 is raw SVI, total variance
w(k) = a + b (rho (k - m) + sqrt((k - m)^2 + s^2)) with the figures (a, b, rho, m, s), k = ln(K/F) (Gatheral 2004, "A
parsimonious arbitrage-free implied volatility parameterization"). Form 1 is a shape-preserving cubic through the total
variances at k = z sqrt(w(0)), z = -2..2. A surface is (K, 7), sorted by tenor; rows of NaN at the end are padding.
"""

from itertools import pairwise

import numpy as np

from data.arrays import Floats
from data.surface_kernels import (
    clamp,
    panel_volatilities,
    smile_shapes,
    smile_variances,
    surface_volatilities,
)

TENOR = 0
SVI, SPLINE = 0.0, 1.0


def implied_volatility(surface: Floats, log_moneyness: Floats, tenor: Floats) -> Floats:
    """Volatility as a fraction, (N,), at log-moneyness (N,) and tenors (N,) in years; NaN without a smile.

    Total variance is linear in tenor at fixed log-moneyness, which no calendar spread can exploit (Gatheral and
    Jacquier 2014, lemma 5.1); volatility is flat before the first and beyond the last tenor, and beyond the clamp of
    each smile. A tenor at or below zero is read off the first smile.

    >>> flat = np.array([[0.25, 0, 0.09, 0, 0, 0, 1], [1.0, 0, 0.25, 0, 0, 0, 1]])
    >>> implied_volatility(flat, np.zeros(4), np.array([0.0, 0.25, 0.5, 2.0])).round(4).tolist()
    [0.6, 0.6, 0.5354, 0.5]
    """
    k, years = np.broadcast_arrays(np.asarray(log_moneyness, np.float64), np.asarray(tenor, np.float64))
    out = np.empty(k.shape)
    surface_volatilities(surface, k.ravel(), years.ravel(), out.reshape(-1))
    return out


def volatilities_at(surfaces: Floats, log_moneyness: Floats, tenor: float) -> Floats:
    """Volatility at log-moneyness (M,) and one tenor of each of M surfaces (M, K, 7), (M,); NaN without a smile."""
    out = np.empty(len(surfaces))
    panel_volatilities(np.asarray(surfaces, np.float64), np.asarray(log_moneyness, np.float64), float(tenor), out)
    return out


def smile_variance(smile: Floats, log_moneyness: Floats) -> Floats:
    """Total variance of one smile (7,) at log-moneyness (N,), (N,); flat beyond the clamp, NaN where negative.

    The clamp stands WING at-the-money deviations from the forward for SVI, KNOTS for the cubic.
    """
    k = np.asarray(log_moneyness, np.float64)
    out = np.empty(k.shape)
    smile_variances(smile, k.ravel(), out.reshape(-1))
    return out


def smile_shape(smile: Floats, log_moneyness: Floats) -> Floats:
    """Total variance and its first and second derivative, (3, N), not clamped."""
    out = np.empty((3, len(log_moneyness)))
    smile_shapes(smile, log_moneyness, out)
    return out


def durrleman(shape: Floats, log_moneyness: Floats) -> Floats:
    """Durrleman's g(k), (N,), of a smile's shape (3, N): the implied density is positive where g is.

    Gatheral and Jacquier (2014), "Arbitrage-free SVI volatility surfaces", equation 2.1.
    """
    w, slope, bend = shape
    return np.asarray((1 - log_moneyness * slope / (2 * w)) ** 2 - slope**2 / 4 * (1 / w + 0.25) + bend / 2)


def clamp_grid(smile: Floats, points: int = 401) -> Floats:
    """Log-moneyness evenly spaced from clamp to clamp, (points,)."""
    edge = float(clamp(smile))
    return np.linspace(-edge, edge, points)


def butterfly_violation(smile: Floats, grid: Floats | None = None) -> float:
    """The smallest g(k) on a grid of log-moneyness, a fine one within the clamp by default; arbitrage below zero.

    Minus infinity where the total variance is not positive.
    """
    at = clamp_grid(smile) if grid is None else grid
    shape = smile_shape(smile, at)
    if not (shape[0] > 0).all():
        return -np.inf
    return float(durrleman(shape, at).min())


def calendar_violation(surface: Floats, grid: Floats | None = None) -> float:
    """The smallest slope of total variance in tenor between neighbouring smiles; arbitrage below zero.

    On a grid of log-moneyness, by default a fine one within the clamps of both neighbours. Infinite for one smile.
    """
    known = surface[np.isfinite(surface[:, TENOR])]
    worst = np.inf
    for near, far in pairwise(known):
        at = np.concatenate([clamp_grid(near), clamp_grid(far)]) if grid is None else grid
        rise = smile_variance(far, at) - smile_variance(near, at)
        worst = min(worst, float(rise.min() / (far[TENOR] - near[TENOR])))
    return worst
