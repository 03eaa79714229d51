"""Which loss will the next row exceed with small probability, by four laws fitted to every window before it?"""

from dataclasses import dataclass

import numpy as np

from data import Floats, ParameterError
from margin_models.generalised_pareto import fit_tails, refusals, tail_beyond
from margin_models.volatility.ar_garch import WindowFits, fit_every_window


@dataclass(frozen=True, eq=False)
class RollingTails:
    """What R rows lost, `loss` (R,), and the quantiles (R, L) that the window before each forecast.

    `unconverged` windows have a volatility whose fit did not arrive. Of the `refused`, these among them, a gate refused
    the volatility (`volatility.ar_garch.refusals`; EWMA stands in) or the tail (`generalised_pareto.refusals`; the
    empirical quantile does). Both are counted over the models.
    """

    loss: Floats
    conditional_evt: Floats
    conditional_normal: Floats
    conditional_t: Floats
    unconditional_evt: Floats
    unconverged: int
    refused: int


def rolling_tails(losses: Floats, window: int, exceedances: int, levels: tuple[float, ...]) -> RollingTails:
    """Walk forward over (T,) losses: refit on each window of rows, forecast the next, T - window times.

    McNeil and Frey (2000), section 3: an AR(1)-GARCH(1,1) by normal quasi-likelihood with the generalised Pareto law,
    the normal law, or (fitted anew) a t law of its innovations; and the generalised Pareto law of the losses as they
    are. The threshold is the (k + 1)-th largest, with k `exceedances`.

    Raises
    ------
    ParameterError
        If a level lies outside [1 - k / window, 1), the window is out of range, or a loss is not finite.
    """
    from scipy import stats

    if not (0 < exceedances < window - 1 and all(1.0 - exceedances / window <= level < 1.0 for level in levels)):
        raise ParameterError(
            f"levels from 1 - {exceedances}/{window} up to 1 and fewer exceedances than rows wanted, got {levels}"
        )
    normal, student = fit_every_window(losses, window), fit_every_window(losses, window, student=True)
    windows = np.lib.stride_tricks.sliding_window_view(losses, window)[:-1]
    innovations, refused_inside = pareto_quantiles(normal.innovations[:-1], exceedances, levels)
    raw, refused_outside = pareto_quantiles(windows, exceedances, levels)
    degrees = student.laws[:-1, 5:]
    return RollingTails(
        losses[window:],
        _at(normal, innovations),
        _at(normal, np.asarray(stats.norm.ppf(levels))),
        _at(student, stats.t.ppf(levels, degrees) * np.sqrt((degrees - 2.0) / degrees)),
        raw,
        int((~normal.converged[:-1]).sum() + (~student.converged[:-1]).sum()),
        refused_inside + refused_outside + int(normal.refused[:-1].sum() + student.refused[:-1].sum()),
    )


def pareto_quantiles(samples: Floats, exceedances: int, levels: tuple[float, ...]) -> tuple[Floats, int]:
    """Quantiles (R, L) of each row of (R, n) samples by the tail beyond its (k + 1)-th largest value.

    Where a gate refuses the fit the quantile is empirical; how often that was is told beside.
    """
    size = samples.shape[1]
    upper = np.sort(np.partition(samples, size - exceedances - 1, axis=1)[:, size - exceedances - 1 :], axis=1)
    threshold = upper[:, 0]
    excess = upper[:, 1:] - threshold[:, None]
    shape, scale, loglikelihood = fit_tails(excess)
    refused = refusals(excess, shape, scale, loglikelihood) != ""
    share = exceedances / size
    told = np.stack([tail_beyond(threshold, shape, scale, share, level)[0] for level in levels], axis=1)
    if refused.any():
        told[refused] = np.quantile(samples[refused], levels, axis=1, method="weibull").T
    return told, int(refused.sum())


def _at(fits: WindowFits, quantiles: Floats) -> Floats:
    """Quantiles of the standardised innovation, (L,) or (R, L), as losses of the row after each window but the last."""
    return np.asarray(fits.mean[:-1, None] + fits.deviation[:-1, None] * quantiles)
