"""How likely is each number, and each bunching, of breaches, when they come independently at a given rate?

Exact enumerations behind the coverage tests: what a p-value or a power would otherwise take from an asymptotic law that
is poor at the few breaches a backtest has. A rate is clipped to 1, so that twice a nominal rate always is one.
"""

from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from scipy.special import bdtr, bdtrc, chdtri, erfc, gammaln, xlog1py, xlogy

from data import Floats
from data.arrays import Ints

LEFT_OUT = 1e-12  # what an enumeration of bunchings leaves out is less likely
_DEVIATIONS = 8  # of a count enumerated on either side of its mean; what is left out is less likely than LEFT_OUT


def pof_ratio(breaches: Ints, n: Ints | int, rate: float) -> Floats:
    """Likelihood ratio of the share of breaches found against `rate`, >= 0; Kupiec (1995), equation 3."""
    found = log_likelihood(breaches, np.asarray(n), breaches / np.maximum(n, 1))
    return np.maximum(2.0 * (found - xlogy(breaches, rate) - xlog1py(n - breaches, -rate)), 0.0)


def independence_ratio(n00: Ints, n01: Ints, n10: Ints, n11: Ints) -> Floats:
    """Likelihood ratio of two rates, after a breach and after none, against one, >= 0; Christoffersen (1998)."""
    after_none, after_breach = n00 + n01, n10 + n11
    hits, steps = n01 + n11, after_none + after_breach
    apart = log_likelihood(n01, after_none, n01 / np.maximum(after_none, 1))
    apart += log_likelihood(n11, after_breach, n11 / np.maximum(after_breach, 1))
    return np.maximum(2.0 * (apart - log_likelihood(hits, steps, hits / np.maximum(steps, 1))), 0.0)


def chi_squared_1(ratio: Floats) -> Floats:
    """Probability that chi-squared with one degree of freedom is at least `ratio`."""
    return np.asarray(erfc(np.sqrt(0.5 * ratio)))


def log_likelihood(breaches: Ints, n: Ints, share: Floats) -> Floats:
    """Of that many independent breaches in n, 0 log 0 being 0."""
    return np.asarray(xlogy(breaches, share) + xlogy(n - breaches, 1.0 - share))


def at_most(breaches: Ints, n: Ints, rate: float) -> Floats:
    """Binomial probability of no more than `breaches` in n."""
    return np.asarray(np.where(n > 0, bdtr(breaches, np.maximum(n, 1), min(rate, 1.0)), 1.0))


def at_least(breaches: Ints | int, n: Ints | int, rate: float) -> Floats:
    """Binomial probability of `breaches` or more in n."""
    one = np.maximum(breaches, 1)
    return np.asarray(np.where(np.asarray(breaches) > 0, bdtrc(one - 1.0, np.maximum(n, 1), min(rate, 1.0)), 1.0))


def least_reaching(probability: float, n: int, rate: float) -> int:
    """The smallest count whose cumulative binomial probability is at least `probability`."""
    return bisect_left(
        range(n + 1), probability, key=lambda count: float(at_most(np.asarray(count), np.asarray(n), rate))
    )


def probabilities(n: int, rate: float) -> Floats:
    """Binomial probability of 0..n breaches, (n + 1,)."""
    count = np.arange(n + 1)
    ways = gammaln(n + 1.0) - gammaln(count + 1.0) - gammaln(n - count + 1.0)
    return np.asarray(np.exp(ways + xlogy(count, min(rate, 1.0)) + xlog1py(n - count, -min(rate, 1.0))))


@lru_cache(maxsize=64)
def exact_p_values(n: int, rate: float) -> Floats:
    """P-value of each count 0..n, (n + 1,): the probability of all counts whose likelihood ratio is no smaller.

    Ratios within rounding of each other count as equal.
    """
    ratio = pof_ratio(np.arange(n + 1), n, rate)
    order = np.argsort(-ratio, kind="stable")
    falling = ratio[order]
    cumulative = np.cumsum(probabilities(n, rate)[order])
    last = np.searchsorted(-falling, -(ratio * (1.0 - 1e-9) - 1e-12), side="right") - 1
    return np.minimum(cumulative[last], 1.0)


@lru_cache(maxsize=64)
def asymptotic_p_values(n: int, rate: float) -> Floats:
    """Chi-squared(1) p-value of each count 0..n, (n + 1,)."""
    return chi_squared_1(pof_ratio(np.arange(n + 1), n, rate))


@lru_cache(maxsize=64)
def rejected_by_bunching(n: int, rate: float, true_rate: float, size: float) -> tuple[float, float]:
    """How often independence and conditional coverage are rejected at `size`, breaches being independent.

    Both tests are Christoffersen's (1998) with asymptotic critical values. Enumerated are the number of breaches, the
    number of runs they form, and whether a run touches either end: all that the transition counts depend on.
    """
    alone, together = 0.0, 0.0
    for breaches, n00, n01, n10, n11, likely in bunchings(n, min(true_rate, 1.0)):
        ratio = independence_ratio(n00, n01, n10, n11)
        alone += float(likely[ratio > chdtri(1, size)].sum())
        together += float(likely[ratio + pof_ratio(breaches, n, rate) > chdtri(2, size)].sum())
    return alone, together


def bunchings(n: int, rate: float) -> Iterator[tuple[Ints, Ints, Ints, Ints, Ints, Floats]]:
    """Breaches, transition counts and probability of all likely sequences, one batch a way to begin and end."""
    breaches, runs = _likely_runs(n, rate)
    each = xlogy(breaches, rate) + xlog1py(n - breaches, -rate)
    for begins in (0, 1):
        for ends in (0, 1):
            calm = runs + 1 - begins - ends
            ways = _log_compositions(breaches, runs) + _log_compositions(n - breaches, calm)
            n01, n10, n11 = runs - begins, runs - ends, breaches - runs
            possible = np.isfinite(ways) & (n01 >= 0) & (n10 >= 0)
            counts = (breaches, n - 1 - n01 - n10 - n11, n01, n10, n11)
            b, n00, n01, n10, n11 = (count[possible] for count in counts)
            yield b, n00, n01, n10, n11, np.exp(ways[possible] + each[possible])


def _likely_runs(n: int, rate: float) -> tuple[Ints, Ints]:
    """Numbers of breaches in n, and of the runs they form, that are not too far from what is expected, flat."""
    mean, spread = n * rate, np.sqrt(n * rate * (1.0 - rate))
    breaches = _around(mean, spread, n)[:, None]
    mixed = breaches * (n - breaches) / max(n, 1)  # runs expected of so many breaches, and about n times their variance
    reach = int(_DEVIATIONS * np.sqrt((mixed**2).max() / max(n, 1))) + 2 * _DEVIATIONS
    runs = np.round(mixed).astype(np.int64) + np.arange(-reach, reach + 1)
    breaches, runs = np.broadcast_arrays(breaches, runs)
    known = (runs >= 0) & (runs <= np.minimum(breaches, n - breaches + 1))
    return breaches[known], runs[known]


def _around(mean: float, spread: float, most: int) -> Ints:
    reach = _DEVIATIONS * (spread + 2.0)
    return np.arange(max(int(mean - reach), 0), min(int(mean + reach), most) + 1)


def _log_compositions(total: Ints, parts: Ints) -> Floats:
    """Log of the number of ways to write `total` as that many positive whole numbers; -inf where there is none."""
    possible = (parts >= 1) & (parts <= total)
    whole, cuts = np.where(possible, total, 1), np.where(possible, parts, 1)
    ways = gammaln(whole) - gammaln(cuts) - gammaln(whole - cuts + 1.0)
    return np.where(possible, ways, np.where((total == 0) & (parts == 0), 0.0, -np.inf))
