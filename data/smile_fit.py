"""Which smile goes through these volatilities and lets nobody earn without risk?"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from data.arrays import Floats
from data.quality import sound_smiles
from data.surface import (
    SPLINE,
    SVI,
    butterfly_violation,
    calendar_violation,
    durrleman,
    smile_shape,
    smile_variance,
)
from data.surface_kernels import KNOTS, WING, clamp

OUTSIDE = 3.0  # what leaving the band costs, against moving away from its middle
ANCHOR = 0.0025  # volatility at the forward is wanted to about a quarter of a point
DENSITY = 0.02  # the least g that is asked for: some room above zero between the points of the grid
RISE = 1.002  # the same for total variance against the smile before
CEILING = 30.0  # of exceeding a later quote's total variance, relative: a wish, as quotes need not be free of arbitrage
STRENGTH, HARDER, TRIES = 300.0, 5.0, 4  # of the penalties on arbitrage
_TINY = 1e-4
# Of the clamp; the second derivative of the cubic jumps at its knots, so that both sides of each are looked at.
_DENSITY_GRID = np.sort(
    np.r_[np.linspace(-1.0, 1.0, 81), np.array([-0.5, 0.0, 0.5]) - 1e-9, np.array([-0.5, 0.0, 0.5]) + 1e-9]
)
_SVI_PRIOR = np.array([-0.7, -0.2, 0.0, 0.5])  # ln b, atanh rho, m, ln s in at-the-money deviations
_SVI_PULL = np.array([0.1, 0.1, 0.1, 0.2])
_SVI_REACH = np.array([[-50.0, -12.0, -6.0, -8.0, -6.0], [50.0, 5.0, 6.0, 8.0, 3.5]])
_SMOOTHING = 0.3


@dataclass(frozen=True, eq=False)
class SmileTargets:
    """What a smile of one expiry should go through, N quotes.

    `volatility` (N,) is wanted within `half` (N,), and counts `weight` (N,); `low` and `high` (N,) bound the band that
    should not be left. `atm` is the volatility at the forward, `anchored` whether quotes stand on both sides of it.
    `ceiling` (2, M) is the log-moneyness and total variance of the next expiry's quotes: they bound this one's wings
    where it has no quotes of its own.
    """

    tenor: float
    strike: Floats
    log_moneyness: Floats
    volatility: Floats
    half: Floats
    low: Floats
    high: Floats
    weight: Floats
    atm: float
    anchored: bool
    ceiling: Floats

    @property
    def scale(self) -> float:
        """The at-the-money deviation, the unit of log-moneyness."""
        return float(self.atm * np.sqrt(self.tenor))


@dataclass(frozen=True, eq=False)
class FittedSmile:
    """A smile (7,), its error at each quote (N,) without that quote's strike, and whether it is free of arbitrage."""

    smile: Floats
    left_out: Floats
    free: bool


Reading = Callable[[Floats], Floats]  # figures being searched -> smile (7,)


def fit_svi(targets: SmileTargets, nearer: Floats | None) -> FittedSmile:
    """Raw SVI through the targets, above the smile of the expiry before.

    Starts from the best of the linear problems that remain once m and s are fixed (De Marco and Martini 2009,
    "Quasi-explicit calibration of Gatheral's SVI model").
    """
    unit = targets.scale

    def smile(figures: Floats) -> Floats:
        a, log_b, at_rho, m, log_s = np.clip(figures, *_SVI_REACH)
        b = np.exp(log_b) * unit
        return np.array([targets.tenor, SVI, a * unit**2, b, np.tanh(at_rho), m * unit, np.exp(log_s) * unit])

    def prior(figures: Floats) -> Floats:
        return np.asarray(_SVI_PULL * (figures[1:] - _SVI_PRIOR))

    return _fit(smile, prior, _svi_start(targets), targets, nearer, WING)


def fit_spline(targets: SmileTargets, nearer: Floats | None) -> FittedSmile:
    """The monotone cubic through the targets, smooth in logarithms, above the smile of the expiry before."""

    def smile(figures: Floats) -> Floats:
        knots = targets.scale**2 * np.exp(np.clip(figures, -5.0, 5.0))
        return np.concatenate([[targets.tenor, SPLINE], knots])

    def prior(figures: Floats) -> Floats:
        return np.asarray(_SMOOTHING * np.diff(figures, 2))

    order = np.argsort(targets.log_moneyness)
    at = np.linspace(-KNOTS, KNOTS, 5) * targets.scale
    start = np.interp(at, targets.log_moneyness[order], targets.volatility[order])
    return _fit(smile, prior, 2 * np.log(start / targets.atm), targets, nearer, KNOTS)


def flat_smile(targets: SmileTargets, nearer: Floats | None) -> FittedSmile:
    """One volatility, the weighted mean."""
    share = targets.weight / targets.half
    level = float(np.average(targets.volatility, weights=share))
    smile = np.array([targets.tenor, SVI, level**2 * targets.tenor, 0.0, 0.0, 0.0, 1.0])
    return FittedSmile(smile, np.full(len(share), np.nan), _free(smile, nearer))


def _free(smile: Floats, nearer: Floats | None) -> bool:
    """Whether no spread earns without risk, and a variance is one beyond the clamp too, where no quote looks."""
    rising = nearer is None or calendar_violation(np.stack([nearer, smile])) >= 0
    return bool(sound_smiles(smile) and butterfly_violation(smile) >= 0 and rising)


def _svi_start(targets: SmileTargets) -> Floats:
    z, ratio = targets.log_moneyness / targets.scale, targets.volatility / targets.atm
    share = targets.weight * targets.atm / (2 * ratio * targets.half)
    best, start = np.inf, np.zeros(5)
    for m in (-1.0, -0.4, 0.0, 0.4, 1.0):
        for s in (0.15, 0.4, 1.0, 2.0):
            root = np.hypot(z - m, s)
            design = np.stack([np.ones_like(z), z - m, root], axis=1)
            a, slope, b = np.linalg.lstsq(design * share[:, None], ratio**2 * share)[0]
            b = max(b, 1e-3)
            rho = np.clip(slope / b, -0.98, 0.98)
            cost = float((((a + b * (rho * (z - m) + root)) - ratio**2) ** 2 * share**2).sum())
            if cost < best:
                best, start = cost, np.array([a, np.log(b), np.arctanh(rho), m, np.log(s)])
    return start


def _fit(
    smile: Reading, prior: Reading, start: Floats, targets: SmileTargets, nearer: Floats | None, reach: float
) -> FittedSmile:
    """Least squares, with penalties on arbitrage that grow until there is none."""
    from scipy.optimize import least_squares

    grid = np.linspace(-1.03 * reach, 1.03 * reach, 83) * targets.scale
    if nearer is not None:
        edge = float(clamp(nearer))
        # The smile before has a kink at its clamp, its highest point, which a grid would step over.
        grid = np.sort(np.r_[grid, -edge, edge])
    floor = np.zeros(len(grid)) if nearer is None else RISE * smile_variance(nearer, grid)
    strength = STRENGTH
    for _ in range(TRIES):

        def residuals(figures: Floats, strength: float = strength) -> Floats:
            row = smile(figures)
            against = strength * _arbitrage(row, grid, floor, targets.scale)
            return np.concatenate([_misses(row, targets), against, _above(row, targets.ceiling), prior(figures)])

        found = least_squares(residuals, start, method="lm", max_nfev=400, xtol=1e-6, ftol=1e-7)
        start, row = found.x, smile(found.x)
        if _free(row, nearer):
            break
        strength *= HARDER
    return FittedSmile(row, _left_out_errors(targets, np.asarray(found.jac), found.fun), _free(row, nearer))


def _within(row: Floats, log_moneyness: Floats) -> Floats:
    """The shape (3, N) at log-moneyness, or at the clamp beyond it."""
    edge = float(clamp(row))
    return smile_shape(row, np.clip(log_moneyness, -edge, edge))


def _misses(row: Floats, targets: SmileTargets) -> Floats:
    """Weighted distance from each target (N,), what leaves its band (N,), and the distance at the forward (1,)."""
    variance = np.maximum(_within(row, np.r_[targets.log_moneyness, 0.0])[0], _TINY * targets.scale**2)
    fitted = np.sqrt(variance / targets.tenor)
    volatility, atm = fitted[:-1], fitted[-1]
    share = targets.weight / targets.half
    outside = np.maximum(volatility - targets.high, 0.0) + np.minimum(volatility - targets.low, 0.0)
    anchor = (atm - targets.atm) / ANCHOR if targets.anchored else 0.0
    return np.concatenate([share * (volatility - targets.volatility), OUTSIDE * share * outside, [anchor]])


def _above(row: Floats, ceiling: Floats) -> Floats:
    """How far total variance exceeds the ceiling (2, M), (M,), weighted."""
    k, most = ceiling
    return np.asarray(CEILING * np.maximum(RISE * _within(row, k)[0] / most - 1.0, 0.0))


def _arbitrage(row: Floats, grid: Floats, floor: Floats, scale: float) -> Floats:
    """How far density and total variance fall below what is asked, in shares; 0 where they do not."""
    short = np.minimum(_within(row, grid)[0] - floor, 0.0) / np.maximum(floor, 0.05 * scale**2)
    at = _DENSITY_GRID * float(clamp(row))
    shape = smile_shape(row, at)
    shape[0] = np.maximum(shape[0], 1e-3 * scale**2)
    return np.concatenate([np.minimum(durrleman(shape, at) - DENSITY, 0.0), short])


def _left_out_errors(targets: SmileTargets, jacobian: Floats, residual: Floats) -> Floats:
    """Error in volatility at each quote (N,) of the fit without its strike, by one Gauss-Newton step from the fit.

    Allen (1974), "The relationship between variable selection and data augmentation", Technometrics 16, by strike
    instead of by observation. The anchor at the forward stays.
    """
    count = len(targets.volatility)
    share = targets.weight / targets.half
    errors = residual[:count] / share
    normal = jacobian.T @ jacobian
    for strike in np.unique(targets.strike):
        mine = np.flatnonzero(targets.strike == strike)
        rows = np.r_[mine, mine + count]
        without = normal - jacobian[rows].T @ jacobian[rows]
        step = np.linalg.lstsq(without, jacobian[rows].T @ residual[rows])[0]
        errors[mine] += jacobian[mine] @ step / share[mine]
    return np.asarray(errors)
