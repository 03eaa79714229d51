"""Did what came look like a draw from the law that the model stated for it?

Probability integral transforms in, a `Verdict` out, elementwise: `pit` (R,) or (R, P), decisions in rows, is the
probability that the model's law gave to a result as bad or worse, so that a deep loss is near 0. Where the law is the
true one they are independent and uniform. A NaN is passed over. A pit of 0 or 1, which the law called impossible, is
clipped and counted in the notes, and so is one nearer to them than `LEAST_PIT` and `MOST_PIT`.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtrc, erfc, log_ndtr, ndtri

from backtest.coverage_tests import SIZE, Verdict
from backtest.tail_hits import SEED, Hits, TailTest, chi_squared, hits_of, judge_hits, panels, refuse_tail
from data import Floats, ParameterError

LEAST_PIT = 1e-300  # what an impossible loss is clipped to: 37 standard deviations
MOST_PIT = 1.0 - 1e-16  # and an impossible gain: 8.2, for floats near 1 tell no more
FEWEST_FOR_LAW = 10  # decisions below which three parameters are not estimated
# Mean of the likelihood ratio over that of its chi-squared: 1 + BARTLETT / (n - 2), fitted to simulations at n from 10
# to 320, which a test repeats; Bartlett (1937), Proc. Royal Society A 160.
BARTLETT = 5 / 6
_STEPS = 55  # of a golden-section search: its bracket shrinks below 1e-10
_GOLDEN = 0.5 * (math.sqrt(5.0) - 1.0)
_BRACKET = 9.0


def berkowitz(pit: ArrayLike, *, rate: float = 0.01, asymptotic: bool = False) -> Verdict:
    """Are the pits, as normal scores, of mean zero, variance one and without memory? Likelihood ratio, chi-squared(3).

    Berkowitz (2001), "Testing density forecasts", J. Business & Economic Statistics 19: a first-order autoregression
    against N(0, 1), both given the first score. By default Bartlett's correction brings the ratio to its chi-squared,
    which it otherwise exceeds at few decisions. Not testable below FEWEST_FOR_LAW decisions, nor where all scores are
    alike. `rate` is asked for power alone: losses larger until breaches of that rate come twice as often.

    Raises
    ------
    ParameterError
        For a pit outside [0, 1], or a rate that is no tail.
    """
    score, note = _scores(pit)
    told = berkowitz_scores(score.reshape(np.shape(pit)), rate=rate, asymptotic=asymptotic)
    return replace(told, notes=told.notes + note)


def berkowitz_scores(score: ArrayLike, *, rate: float = 0.01, asymptotic: bool = False) -> Verdict:
    """`berkowitz` of normal scores that are at hand: a pit near 1 cannot tell the scores beyond 8 apart."""
    refuse_tail(rate)
    (told,) = panels(score)
    if np.isinf(told).any():
        raise ParameterError("normal scores must be finite, or NaN: clip the pits of 0 and 1 that they are from")
    ratio = np.array([_ratio_and_memory(told[:, p])[0] for p in range(told.shape[1])])
    length, testable = np.isfinite(told).sum(axis=0), np.isfinite(ratio)
    ratio = np.where(testable, ratio, 0.0)
    correction = 1.0 if asymptotic else _correction(length)
    p_value = np.where(testable, chdtrc(3, ratio / correction), 1.0)
    power = np.array([_ratio_power(n, rate, asymptotic) if n >= FEWEST_FOR_LAW else 0.0 for n in length.tolist()])
    shape = np.shape(score)[1:]
    statistic, p_value, power, spoken = (side.reshape(shape) for side in (ratio, p_value, power, testable))
    how = "asymptotic chi-squared(3)" if asymptotic else "chi-squared(3) with Bartlett's correction"
    notes = f"not testable below {FEWEST_FOR_LAW} decisions or where pits are all alike"
    return Verdict(statistic, p_value, power, spoken.astype(bool), f"Berkowitz likelihood ratio, {how}", notes)


def memory(score: ArrayLike) -> Floats:
    """First-order autoregression of normal scores, (P,) or a number; NaN where `berkowitz` is not testable."""
    (told,) = panels(score)
    return np.array([_ratio_and_memory(told[:, p])[1] for p in range(told.shape[1])]).reshape(np.shape(score)[1:])


def berkowitz_tail(pit: ArrayLike, rate: float, *, asymptotic: bool = False) -> Verdict:
    """Are the normal scores, censored above the `rate` quantile, of mean zero and variance one? Likelihood ratio.

    Berkowitz (2001), section 3: only the tail is read, of the rest no more than that it is there; chi-squared(2), or
    by default simulated, without a breach too. Errors as `berkowitz`.
    """
    refuse_tail(rate)
    score, note = _scores(pit)
    cut = float(ndtri(rate))
    hits = hits_of(np.isfinite(score), score < cut, cut - score)
    method = "Berkowitz tail likelihood ratio"
    wanted = chi_squared(2) if asymptotic else None
    notes = note.removeprefix("; ")
    return judge_hits(_TAIL, hits, rate, math.inf, np.shape(pit)[1:], method=method, notes=notes, asymptotic=wanted)


def cumulative_violations(pit: ArrayLike, rate: float, *, asymptotic: bool = False) -> Verdict:
    """Do the depths of the breaches, between 0 and 1, average to half the rate? U, two-sided, simulated or normal.

    Costanzino and Curran (2015), "Backtesting general spectral risk measures", J. Risk Model Validation 9; Du and
    Escanciano (2017), "Backtesting expected shortfall", Management Science 63: H = (rate - pit)+ / rate has the mean
    rate / 2 and the variance rate (1/3 - rate/4). Parameter uncertainty is left out. Above zero where losses were more
    or deeper than forecast. Errors as `berkowitz`.
    """
    return _violations(_DEPTH, "Costanzino-Curran cumulative violations", pit, rate, asymptotic)


def violation_autocorrelation(pit: ArrayLike, rate: float, *, lags: int = 5, asymptotic: bool = False) -> Verdict:
    """Do deep breaches follow each other? Box-Pierce sum of squared autocorrelations of H, chi-squared(lags).

    Du and Escanciano (2017), equation 9: about rate / 2, each autocovariance divided by its own number of terms.
    Undefined without a breach: not testable. Errors as `berkowitz`; ParameterError too for lags below 1.
    """
    return _violations(_clustering(lags), f"Du-Escanciano {lags} autocorrelations", pit, rate, asymptotic, lags)


def mean_violation(pit: ArrayLike, rate: float) -> Floats:
    """Mean of H over the decisions, (P,) or a number: `rate / 2` where the law is right, 0 without a decision."""
    refuse_tail(rate)
    hits, _ = _depths(pit, rate)
    return np.asarray(hits.total(hits.value) / np.maximum(hits.length, 1)).reshape(np.shape(pit)[1:])


def _violations(
    test: TailTest, name: str, pit: ArrayLike, rate: float, asymptotic: bool, lags: int | None = None
) -> Verdict:
    refuse_tail(rate)
    hits, note = _depths(pit, rate)
    said = "not testable without a breach" if test.least else "parameter uncertainty left out"
    law: Callable[[Floats], Floats] | None = None
    if asymptotic:
        law = _two_sided_normal if lags is None else chi_squared(lags)
    return judge_hits(test, hits, rate, math.inf, np.shape(pit)[1:], method=name, notes=said + note, asymptotic=law)


def _depths(pit: ArrayLike, rate: float) -> tuple[Hits, str]:
    told, note = _clipped(pit)
    return hits_of(np.isfinite(told), told <= rate, (rate - told) / rate), note


def _clipped(pit: ArrayLike) -> tuple[Floats, str]:
    """Pits as (R, P) off the ends, and how many were at one; ParameterError for one outside [0, 1]."""
    (told,) = panels(pit)
    if ((told < 0) | (told > 1)).any():
        raise ParameterError(f"a pit must lie in [0, 1], got {told[(told < 0) | (told > 1)][0]}")
    ends = int(((told < LEAST_PIT) | (told > MOST_PIT)).sum())
    note = f"; {ends} pits of 0 or 1, or as good as that, which the law calls impossible, were clipped" if ends else ""
    return np.clip(told, LEAST_PIT, MOST_PIT), note


def _scores(pit: ArrayLike) -> tuple[Floats, str]:
    told, note = _clipped(pit)
    return np.asarray(ndtri(told)), note


def _ratio_and_memory(score: Floats) -> tuple[float, float]:
    """Berkowitz' ratio and the autoregression of (R,) scores; NaN for both where they cannot be told."""
    score = score[np.isfinite(score)]
    if len(score) < FEWEST_FOR_LAW:
        return math.nan, math.nan
    ratio, rho = _ratios(score[:, None])
    return float(ratio[0]), float(rho[0])


def _ratios(score: Floats) -> tuple[Floats, Floats]:
    """Ratio and autoregression of each column of (n, B) scores; NaN where they do not vary."""
    before, after = score[:-1], score[1:]
    apart, moved = before - before.mean(axis=0), after - after.mean(axis=0)
    spread, whole = (apart**2).sum(axis=0), (moved**2).sum(axis=0)
    some = spread > 1e-20 * len(score)
    rho = np.divide((apart * moved).sum(axis=0), spread, out=np.full_like(spread, np.nan), where=some)
    variance = (whole - rho**2 * spread) / len(after)
    known = variance > 1e-20
    log_variance = np.log(np.where(known, variance, 1.0))
    ratio = (after**2).sum(axis=0) - len(after) * (1.0 + log_variance)
    return np.where(known, np.maximum(ratio, 0.0), np.nan), np.where(known, rho, np.nan)


def _correction(length: NDArray[np.intp] | int) -> Floats:
    return np.asarray(1.0 + BARTLETT / np.maximum(np.asarray(length) - 2.0, 1.0))


@lru_cache(maxsize=64)
def _ratio_power(length: int, rate: float, asymptotic: bool) -> float:
    """Share of series of larger losses that Berkowitz' ratio rejects at 5 %."""
    larger = float(ndtri(rate) / ndtri(2.0 * rate))
    draws = int(np.clip(1_000_000 / length, 100, 4_000))
    scores = larger * np.random.default_rng(SEED).standard_normal((length, draws))
    corrected = _ratios(scores)[0] / (1.0 if asymptotic else _correction(length))
    return float((chdtrc(3, corrected) <= SIZE).mean())


def _tail_ratio(hits: Hits, rate: float) -> Floats:
    """Likelihood ratio of a censored normal, (B,): a search in one number, the cut in the law's own units.

    With a = (cut - mean) / scale and w = 1 / scale the likelihood of the scores cut - e is
    (n - x) log N(-a) + x log w - sum (a - e w)^2 / 2, and largest where w (w sum e^2 - a sum e) = x.
    """
    count, first, second = hits.count.astype(np.float64), hits.total(hits.value), hits.total(hits.value**2)
    second = np.maximum(second, np.finfo(np.float64).tiny)
    rest, cut = hits.length - count, float(ndtri(rate))

    def likelihood(a: Floats) -> Floats:
        root = np.sqrt((a * first) ** 2 + 4.0 * count * second)
        # The form of the root that does not cancel.
        w = np.where(a > 0, (a * first + root) / (2.0 * second), 2.0 * count / np.where(a > 0, 1.0, root - a * first))
        squares = count * a**2 - 2.0 * a * w * first + w**2 * second
        return np.asarray(rest * log_ndtr(-a) - 0.5 * squares + count * np.log(w))

    true = rest * float(log_ndtr(-cut)) - 0.5 * (count * cut**2 - 2.0 * cut * first + second)
    some = count > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        best = _largest(likelihood, len(count))
    return np.where(some, np.maximum(2.0 * (np.where(some, best, 0.0) - true), 0.0), -2.0 * rest * log_ndtr(-cut))


def _largest(function: Callable[[Floats], Floats], size: int) -> Floats:
    """The largest value of each of `size` single-peaked functions on the bracket; Kiefer (1953)."""
    low, high = np.full(size, -_BRACKET), np.full(size, _BRACKET)
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = function(left), function(right)
    for _ in range(_STEPS):
        up = at_left < at_right
        low, high = np.where(up, left, low), np.where(up, high, right)
        fresh = np.where(up, low + _GOLDEN * (high - low), high - _GOLDEN * (high - low))
        value = function(fresh)
        left, right = np.where(up, right, fresh), np.where(up, fresh, left)
        at_left, at_right = np.where(up, at_right, value), np.where(up, value, at_left)
    return np.maximum(at_left, at_right)


def _depth_score(hits: Hits, rate: float) -> Floats:
    length = np.maximum(hits.length, 1)
    return np.asarray((hits.total(hits.value) / length - rate / 2) * np.sqrt(length / (rate * (1 / 3 - rate / 4))))


@lru_cache(maxsize=16)
def _clustering(lags: int) -> TailTest:
    if lags < 1:
        raise ParameterError(f"lags must be >= 1, got {lags}")

    def box_pierce(hits: Hits, rate: float) -> Floats:
        variance = _autocovariance(hits, rate, 0)
        variance = np.where(variance > 0, variance, np.inf)
        told = [_autocovariance(hits, rate, lag) / variance for lag in range(1, lags + 1)]
        return np.asarray(hits.length * np.square(told).sum(axis=0))

    return TailTest(box_pierce, _depth_of, np.positive, least=1)


def _autocovariance(hits: Hits, rate: float, lag: int) -> Floats:
    """Mean product of H - rate / 2 with itself `lag` decisions earlier, (B,), without writing out H's zeros."""
    length, mean = hits.length, rate / 2
    later = np.searchsorted(_place(hits), _place(hits) + lag)
    met = np.minimum(later, max(len(later) - 1, 0))
    both = (hits.series[met] == hits.series) & (hits.time[met] == hits.time + lag)
    products = hits.total(np.where(both, hits.value * hits.value[met], 0.0))
    ends = hits.total(hits.value * (hits.time >= lag)) + hits.total(
        hits.value * (hits.time < length[hits.series] - lag)
    )
    terms = np.maximum(length - lag, 0)
    return np.asarray((products - mean * ends + terms * mean**2) / np.maximum(terms, 1))


def _place(hits: Hits) -> NDArray[np.intp]:
    """Where each breach stands were all series laid end to end, (K,), ascending."""
    return np.asarray(hits.series * (int(hits.length.max(initial=0)) + 1) + hits.time)


def _depth_of(pit: Floats, rate: float, degrees: float) -> Floats:  # noqa: ARG001  the law is in the pit
    return (rate - pit) / rate


def _below_cut(pit: Floats, rate: float, degrees: float) -> Floats:  # noqa: ARG001  the law is in the pit
    return np.asarray(float(ndtri(rate)) - ndtri(np.maximum(pit, LEAST_PIT)))


def _two_sided_normal(score: Floats) -> Floats:
    return np.asarray(erfc(score / math.sqrt(2.0)))


_TAIL = TailTest(_tail_ratio, _below_cut, np.positive)
_DEPTH = TailTest(_depth_score, _depth_of, np.abs)
