"""Do breaches come after waits as long as those of independent breaches?

Sequences of breaches in, (R,) or one a column (R, P), without holes: decisions whose horizons do not overlap, oldest
first. P-values are by simulation, for the asymptotic laws are poor at the few breaches that a backtest has.
"""

from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from numpy.typing import ArrayLike

from backtest.breach_counts import chi_squared_1, pof_ratio
from backtest.coverage_tests import tuff
from backtest.hit_kernels import LEAST_SHAPE, MOST_SHAPE, weibull_each
from backtest.simulated_p_values import (
    SEED,
    Counts,
    Flags,
    HitSequences,
    HitTest,
    HitVerdict,
    Measured,
    judge_panel,
    sequences_of,
    simulated_law,
    simulated_power,
    surprise,
)
from data import Floats

LEAST_DURATIONS = 3


@dataclass(frozen=True, eq=False)
class WeibullFit:
    """Durations between breaches as a Weibull law, one a sequence, (P,) all.

    Parameters
    ----------
    shape : likeliest shape; below 1 breaches bunch, and 1 is independence. 1 where nothing is fitted.
    loglik, loglik_exponential : log-likelihood at that shape, and at shape 1; 0 where nothing is fitted.
    durations : spells, those censored at either end included.
    testable : False below three durations.
    at_bound : the shape stands at the end of what is allowed, as durations all alike make it.
    """

    shape: Floats
    loglik: Floats
    loglik_exponential: Floats
    durations: Counts
    testable: Flags
    at_bound: Flags

    @property
    def ratio(self) -> Floats:
        """Likelihood ratio of that shape against 1, >= 0."""
        return np.maximum(2.0 * (self.loglik - self.loglik_exponential), 0.0)


def haas(hits: ArrayLike, rate: float, *, mixed: bool = True, seed: int = SEED) -> HitVerdict:
    """Are the waits for each breach those of the nominal rate? Sum of Kupiec's ratio over all waits.

    Haas (2001), "New methods in backtesting", caesar: the sum is asymptotically chi-squared(x) with x breaches; `mixed`
    adds the ratio of the share of breaches and a degree of freedom. The spell after the last breach is not used.
    Without a breach there is nothing to test.

    Raises
    ------
    ParameterError
        Where hits are no zeros and ones, or the rate is not within (0, 1).
    """
    return judge_panel(HAAS_MIXED if mixed else HAAS, hits, rate, seed)


def weibull(hits: ArrayLike, rate: float, *, seed: int = SEED) -> HitVerdict:
    """Does the chance of a breach stay the same since the last one? Likelihood ratio of a Weibull shape of 1.

    Christoffersen and Pelletier (2004), "Backtesting value-at-risk: a duration-based approach", Journal of Financial
    Econometrics 2; asymptotically chi-squared(1). Spells at both ends are censored. Below three durations it is not
    testable. The rate matters to the p-value alone. Errors as `haas`.
    """
    return judge_panel(WEIBULL, hits, rate, seed)


def weibull_fit(hits: ArrayLike | HitSequences) -> WeibullFit:
    """The likeliest Weibull law of the durations of each sequence; ParameterError where hits are no zeros and ones."""
    sequences = hits if isinstance(hits, HitSequences) else sequences_of(hits)
    found = np.empty((len(sequences.first) - 1, 4))
    room = np.empty(int(sequences.count.max(initial=0)) + 2)
    weibull_each(sequences.position, sequences.first, sequences.n, room, found)
    shape, loglik, exponential, durations = found.T
    at_bound = (shape <= LEAST_SHAPE * 1.001) | (shape >= MOST_SHAPE * 0.999)
    return WeibullFit(
        shape, loglik, exponential, durations.astype(np.int64), durations >= LEAST_DURATIONS, np.asarray(at_bound)
    )


def waits(sequences: HitSequences) -> Counts:
    """Decisions up to and including each breach since the one before it, or since the start, (H,)."""
    before = np.concatenate([[-1], sequences.position[:-1]])
    before[sequences.first[:-1][sequences.count > 0]] = -1
    return np.asarray(sequences.position - before)


def haas_measure(sequences: HitSequences, rate: float, *, mixed: bool) -> Measured:
    """Haas's statistic of each sequence; ranked by asymptotic p-value, as degrees of freedom are breaches."""
    count = sequences.count
    ratio = sequences.sums(_wait_ratios(sequences.n, rate)[waits(sequences)])
    if mixed:
        ratio = ratio + np.where(count > 0, pof_ratio(count, sequences.n, rate), 0.0)
    testable = count > 0
    extreme = np.where(testable, surprise(np.maximum(count + mixed, 1), ratio), 0.0)
    return Measured(ratio, np.exp(-extreme), extreme, testable)


def weibull_measure(sequences: HitSequences, rate: float) -> Measured:  # noqa: ARG001  every test is asked alike
    """The likelihood ratio of each sequence."""
    fit = weibull_fit(sequences)
    return Measured(fit.ratio, chi_squared_1(fit.ratio), fit.ratio, fit.testable)


@lru_cache(maxsize=64)
def _wait_ratios(n: int, rate: float) -> Floats:
    """Kupiec's ratio of every wait 0..n, 0 for the first of them."""
    return tuff(np.arange(n + 1), rate).statistic


def _simulated(name: str, method: str, measure: partial[Measured], notes: str) -> HitTest:
    return HitTest(name, method, measure, partial(simulated_law, measure), partial(simulated_power, measure), notes)


HAAS = _simulated(
    "time between failures",
    "Haas time between failures, simulated",
    partial(haas_measure, mixed=False),
    "not testable without a breach; ranked by its asymptotic p-value, as degrees of freedom are breaches",
)
HAAS_MIXED = _simulated(
    "mixed Kupiec",
    "Haas mixed Kupiec, simulated",
    partial(haas_measure, mixed=True),
    "not testable without a breach; ranked by its asymptotic p-value, as degrees of freedom are breaches",
)
WEIBULL = _simulated(
    "Weibull durations",
    "Christoffersen-Pelletier Weibull durations, simulated",
    partial(weibull_measure),
    "not testable below three durations; power is that of noticing the rate, which is not its question",
)
