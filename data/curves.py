"""What is an underlying worth for delivery later, and money paid later worth today?

A curve of one underlying is (K, 3): tenor in years, carry ln(F/S)/tenor and continuously compounded USD rate, both a
year, sorted by tenor; rows of NaN at the end are padding. Without one the forward is spot and the rate is zero.
"""

import numpy as np

from data.history import Floats

TENOR, CARRY, RATE = range(3)


def _accrued(curve: Floats | None, column: int, tenor: Floats) -> Floats:
    """Yearly figure times tenor, (N,): linear between the curve's tenors from zero at zero, the last figure beyond."""
    if curve is None:
        return np.zeros(len(tenor))
    known = np.isfinite(curve[:, column])
    if not known.any():
        return np.zeros(len(tenor))
    at, figure = curve[known, TENOR], curve[known, column]
    within = np.interp(tenor, np.r_[0.0, at], np.r_[0.0, figure * at])
    return np.where(tenor > at[-1], figure[-1] * tenor, within)


def forward_ratio(curve: Floats | None, tenor: Floats) -> Floats:
    """Forward over spot, (N,), at tenors (N,) in years.

    >>> curve = np.array([[0.5, 0.10, 0.0], [1.0, 0.08, 0.0]])
    >>> np.log(forward_ratio(curve, np.array([0.0, 0.25, 0.75, 2.0]))).round(4).tolist()
    [0.0, 0.025, 0.065, 0.16]
    """
    return np.exp(_accrued(curve, CARRY, tenor))


def discount(curve: Floats | None, tenor: Floats) -> Floats:
    """What one USD paid after each tenor (N,) is worth now, (N,)."""
    return np.exp(-_accrued(curve, RATE, tenor))
