"""How likely did a model's law hold a loss at least as deep as the one that came?

The probability integral transform from the loss side: near 0 where the loss was deeper than nearly all that the law
expected. Where the law is the true one these probabilities are independent and uniform.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from backtest.tail_hits import SEED, panels, pit_at, refuse_infinite, refuse_tail
from data import Floats, ParameterError
from data.laws import unit_tail


def pit_of_law(loss: ArrayLike, var: ArrayLike, rate: float, *, degrees: float = math.inf) -> Floats:
    """The pit of each loss under the elliptical law about zero whose `rate` quantile is `var`; shape of the losses.

    NaN where VaR is not above zero: such a law says nothing. ParameterError for a rate that is no tail, degrees of
    freedom not above 2, an infinite loss, or shapes that differ.
    """
    refuse_tail(rate, degrees)
    lost, quantile = panels(loss, var)
    refuse_infinite(lost)
    known = quantile > 0
    unit = np.divide(lost, quantile, out=np.full_like(lost, np.nan), where=known)
    return pit_at(unit * unit_tail(1.0 - rate, degrees)[0], degrees).reshape(np.shape(loss))


def places(shape: tuple[int, ...], seed: int = SEED) -> Floats:
    """Where within its rank each loss is put, uniform on [0, 1), (...,): by place in the panel, and seeded."""
    return np.random.default_rng(seed).random(shape)


def pit_of_sample(loss: ArrayLike, sample: ArrayLike, *, seed: int = SEED) -> Floats:
    """The pit of each loss among a sample of its law, (..., S) for losses (...,); NaN where either is not known.

    What is NaN in a sample is no draw from it; one that is infinite leaves no pit. The loss has a rank among S + 1,
    ties included, and takes a place by chance within it: where it is one more draw from the law the pit is then
    uniform, however small the sample (Dufour 2006, section 2.2). In the middle of its rank it could take few values,
    which at S of 150 tests of a 1 % tail reject in 26 % of cases, and at 250 in 14 %.
    ParameterError where the shapes do not agree, or a loss is infinite.
    """
    lost, law = np.asarray(loss, dtype=np.float64), np.asarray(sample, dtype=np.float64)
    if law.shape[:-1] != lost.shape or not law.shape[-1]:
        raise ParameterError(f"sample must be {lost.shape} and one axis more, not empty, got {law.shape}")
    refuse_infinite(lost)
    deeper, equal = (law > lost[..., None]).sum(axis=-1), (law == lost[..., None]).sum(axis=-1)
    size = (~np.isnan(law)).sum(axis=-1)
    known = np.isfinite(lost) & (size > 0) & ~np.isinf(law).any(axis=-1)
    return np.where(known, (deeper + places(lost.shape, seed) * (equal + 1.0)) / (size + 1.0), np.nan)
