"""In which coordinates is the likelihood of GARCH searched?

In these a long valley becomes short and straight, and every bound is the side of a box: the mean, the logarithms of
omega and of 1 - persistence, the share of persistence that answers to returns, how much of that answers falls, one over
the degrees of freedom, and Hansen's skewness. What a law does not have stands still.
"""

import math

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Floats = NDArray[np.float64]

C_MEAN, C_LEVEL, C_SLACK, C_SHARE, C_SPLIT, C_HEAVY, C_SKEW = range(7)
SIZE = 7
N_MEAN, N_OMEGA, N_RISE, N_FALL, N_BETA, N_NU, N_SKEW = range(7)


@compiled
def natural_of(point: Floats, natural: Floats) -> None:
    """Mean, omega, answers to rises and to falls, beta, degrees of freedom and skewness, (7,), from coordinates."""
    persistence = 1.0 - math.exp(point[C_SLACK])
    answer = 2.0 * persistence * point[C_SHARE]
    natural[N_MEAN], natural[N_OMEGA] = point[C_MEAN], math.exp(point[C_LEVEL])
    natural[N_RISE], natural[N_FALL] = answer * (1.0 - point[C_SPLIT]), answer * point[C_SPLIT]
    natural[N_BETA] = persistence * (1.0 - point[C_SHARE])
    natural[N_NU], natural[N_SKEW] = 1.0 / point[C_HEAVY], point[C_SKEW]


@compiled
def downhill(point: Floats, natural: Floats, rising: Floats, slope: Floats) -> None:
    """Slopes of minus the log-likelihood in coordinates, from those of the log-likelihood in the law, (7,) each."""
    persistence = natural[N_BETA] + 0.5 * (natural[N_RISE] + natural[N_FALL])
    share, split = point[C_SHARE], point[C_SPLIT]
    answering = 2.0 * ((1.0 - split) * rising[N_RISE] + split * rising[N_FALL])
    slope[C_MEAN], slope[C_LEVEL] = -rising[N_MEAN], -rising[N_OMEGA] * natural[N_OMEGA]
    slope[C_SLACK] = (share * answering + (1.0 - share) * rising[N_BETA]) * (1.0 - persistence)
    slope[C_SHARE] = -persistence * (answering - rising[N_BETA])
    slope[C_SPLIT] = -2.0 * persistence * share * (rising[N_FALL] - rising[N_RISE])
    slope[C_HEAVY] = rising[N_NU] * natural[N_NU] * natural[N_NU]
    slope[C_SKEW] = -rising[N_SKEW]


@compiled
def student_constant(nu: float) -> tuple[float, float]:
    """ln of the density of a standardised t law at its centre, and how that moves with the degrees of freedom.

    ln G(x + 1/2) - ln G(x) with x = nu / 2 by its recurrence up to x = 10, and from there by its asymptotic series
    (Tricomi and Erdelyi 1951, "The asymptotic expansion of a ratio of gamma functions").
    """
    x, factor, slope = 0.5 * nu, 1.0, 0.0
    while x < 10.0:
        inverse = 1.0 / (x * (x + 0.5))
        factor *= x * x * inverse
        slope += 0.5 * inverse
        x += 1.0
    r = 1.0 / x
    s = r * r
    series = r * (-1.0 / 8.0 + s * (1.0 / 192.0 + s * (-1.0 / 640.0 + s * (17.0 / 14336.0 - s * 31.0 / 18432.0))))
    bend = r * (
        0.5 + r * (1.0 / 8.0 + s * (-1.0 / 64.0 + s * (1.0 / 128.0 + s * (-17.0 / 2048.0 + s * 31.0 / 2048.0))))
    )
    ratio = 0.5 * math.log(x * factor * factor / (math.pi * (nu - 2.0))) + series
    return ratio, 0.5 * (bend + slope - 1.0 / (nu - 2.0))


@compiled
def skewed_shape(nu: float, skew: float) -> tuple[float, float]:
    """Shift and stretch that give a t law with two scales no mean and unit variance: a and b of Hansen (1994, eq. 10).

    Its density at z is b times that of a standardised t law at (b z + a) / (1 - skew) left of -a / b, and at
    (b z + a) / (1 + skew) right of there.
    """
    shift = 4.0 * skew * math.exp(student_constant(nu)[0]) * (nu - 2.0) / (nu - 1.0)
    return shift, math.sqrt(1.0 + 3.0 * skew * skew - shift * shift)


@compiled
def skewed_slopes(nu: float, skew: float, by_shift: float, by_stretch: float) -> tuple[float, float]:
    """How a function moves with degrees of freedom and skewness, if that is how it moves with shift and stretch."""
    centre, moved = student_constant(nu)
    shift, stretch = skewed_shape(nu, skew)
    shift_by_skew = 4.0 * math.exp(centre) * (nu - 2.0) / (nu - 1.0)
    shift_by_nu = shift * (moved + 1.0 / (nu - 2.0) - 1.0 / (nu - 1.0))
    both = by_shift - by_stretch * shift / stretch
    return both * shift_by_nu, both * shift_by_skew + by_stretch * 3.0 * skew / stretch
