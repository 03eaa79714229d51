"""How would a statistic of the breaches come out, were the law that the model states the true one?

Tests of the tail hear of nothing but the breaches: when they came and how deep they went. Here they are laid out as one
flat table for many series at once, those that were observed and those that are drawn, so that one function of the
table is the statistic of both.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtrc, ndtr, ndtri, stdtr, stdtrit

from backtest.coverage_tests import SIZE, Verdict
from data import Floats, ParameterError
from data.arrays import Bools, Places

SEED = 20150413
MOST_RATE = 0.25  # of what is still called a tail
_NODES = 4096  # of the table of quantiles
_MOST_DRAWS, _LEAST_DRAWS, _MOST_HITS = 100_000, 2_000, 1_000_000
_TIE = 1e-9  # of a statistic: two of the same breaches may differ by rounding, and then are equally extreme


@dataclass(frozen=True, eq=False)
class Hits:
    """The breaches of B series: `length` (B,) decisions each; `series`, `time` and `value` (K,) of each breach.

    Ordered by series and then by time. `value` is what a test reads of a breach.
    """

    length: Places
    series: Places
    time: Places
    value: Floats

    @property
    def count(self) -> Places:
        """Breaches of each series, (B,)."""
        return np.bincount(self.series, minlength=len(self.length))

    def total(self, weight: Floats) -> Floats:
        """Sum of (K,) weights over the breaches of each series, (B,)."""
        return np.asarray(np.bincount(self.series, weight, len(self.length)), dtype=np.float64)

    def of(self, series: int) -> slice:
        """Where one series' breaches are."""
        first, last = np.searchsorted(self.series, [series, series + 1])
        return slice(int(first), int(last))

    def mean(self, weight: Floats) -> Floats:
        """Mean of (K,) weights over the breaches of each series, (B,); 0 where there is none."""
        return np.asarray(self.total(weight) / np.maximum(self.count, 1))


@dataclass(frozen=True)
class TailTest:
    """A test of the breaches: `statistic(hits, rate)` (B,), and what it reads of a breach drawn from the law.

    `reading(pit, rate, degrees)` turns the probability of a loss at least as deep into the value of a breach;
    `extreme` maps the statistic to what is large where the model is wrong; below `least` breaches nothing is said.
    """

    statistic: Callable[[Hits, float], Floats]
    reading: Callable[[Floats, float, float], Floats]
    extreme: Callable[[Floats], Floats]
    least: int = 0


@dataclass(frozen=True, eq=False)
class Reference:
    """How extreme a test's statistic comes out under the law, and where losses are larger: sorted arrays."""

    true: Floats
    larger: Floats
    untestable: float  # share of the draws from larger losses that leave nothing to test

    def p_value(self, extreme: Floats) -> Floats:
        """Monte-Carlo p-value, the observed series counted as one of the draws; Dufour (2006), J. Econometrics 133."""
        size = len(self.true)
        at_least = size - np.searchsorted(self.true, extreme - _TIE * np.maximum(np.abs(extreme), 1.0))
        return np.asarray((1.0 + at_least) / (1.0 + size))

    def power(self, p_value: Callable[[Floats], Floats] | None = None) -> float:
        """Share of the series with larger losses that a test of 5 % rejects."""
        rejected = (p_value or self.p_value)(self.larger) <= SIZE
        return float((1.0 - self.untestable) * rejected.mean()) if len(rejected) else 0.0


def refuse_tail(rate: float, degrees: float = math.inf) -> None:
    """ParameterError for a rate that is no tail, or degrees of freedom without a variance."""
    if not 0.0 < rate < MOST_RATE:
        raise ParameterError(f"rate must lie within (0, {MOST_RATE}), got {rate}. Typical values: 0.01, 0.025, 0.05.")
    if not degrees > 2:
        raise ParameterError(f"degrees must be > 2, got {degrees}. Typical values: 3-8, inf for the normal law.")


def panels(*arrays: ArrayLike) -> list[Floats]:
    """Each as (R, P) floats of one common shape; ParameterError where they have none."""
    try:
        told = np.broadcast_arrays(*(np.asarray(array, dtype=np.float64) for array in arrays))
    except ValueError as error:
        raise ParameterError(
            f"losses and forecasts must have one shape, got {[np.shape(a) for a in arrays]}"
        ) from error
    if told[0].ndim not in (1, 2):
        raise ParameterError(f"losses must be (R,) or (R, P), got {told[0].shape}")
    return [array if array.ndim == 2 else array[:, None] for array in told]


def refuse_infinite(lost: Floats) -> None:
    """ParameterError for a loss without bounds: it would be passed over, as one that is not known."""
    if np.isinf(lost).any():
        raise ParameterError(f"losses must be finite, or NaN where not known, got {int(np.isinf(lost).sum())} infinite")


def tail_forecasts(loss: ArrayLike, var: ArrayLike, es: ArrayLike) -> tuple[Floats, Floats, Floats, str]:
    """Losses and forecasts (R, P), and a note of the portfolios whose forecasts are not 0 < VaR < ES at every loss.

    The losses of those become NaN, so that nothing is said of them, and so do forecasts wherever a loss is;
    ParameterError where no portfolio is left, or a loss is infinite.
    """
    lost, quantile, beyond = panels(loss, var, es)
    refuse_infinite(lost)
    wrong = np.isfinite(lost) & ~((quantile > 0) & (beyond > quantile) & np.isfinite(beyond))
    spoilt = wrong.any(axis=0)
    if spoilt.any() and spoilt.all():
        at = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
        raise ParameterError(
            f"a test of the tail needs 0 < VaR < ES, got {quantile[at]:.6g} and {beyond[at]:.6g} in row {at[0]}, "
            f"column {at[1]} ({wrong.sum()} of {wrong.size} in all, no portfolio without)"
        )
    note = f"; {spoilt.sum()} of {spoilt.size} portfolios without 0 < VaR < ES are not testable" if spoilt.any() else ""
    told = np.where(spoilt, np.nan, lost)
    quantile, beyond = (np.where(np.isnan(told), np.nan, side) for side in (quantile, beyond))
    return told, quantile, beyond, note


def hits_of(live: Bools, hit: Bools, value: Floats) -> Hits:
    """The table of (R, P) breaches, each portfolio a series; decisions that are not live are passed over."""
    row, series = np.nonzero(hit & live)
    order = np.argsort(series, kind="stable")
    row, series = row[order], series[order]
    time = row if live.all() else (live.cumsum(axis=0) - 1)[row, series]
    return Hits(live.sum(axis=0), series, time, value[row, series])


def quantile_of(pit: Floats | float, degrees: float) -> Floats:
    """The loss of the unit law that is exceeded with probability `pit`."""
    if math.isinf(degrees):
        return np.asarray(-ndtri(pit))
    if np.size(pit) > _NODES:
        return _tabled_quantile(np.asarray(pit), degrees)
    return np.asarray(-stdtrit(degrees, pit) * math.sqrt((degrees - 2) / degrees))


def _tabled_quantile(pit: Floats, degrees: float) -> Floats:
    """The same of many draws, to 1e-5 of itself: its logarithm is nearly a line in that of the pit between nodes."""
    scale, tail = math.sqrt((degrees - 2) / degrees), np.log(np.minimum(pit, 1.0 - pit))
    node = np.linspace(tail.min(), min(float(tail.max()), math.log(0.25)), _NODES)
    exact = np.log(-stdtrit(degrees, np.exp(node)) * scale)
    found = np.where(pit < 0.5, 1.0, -1.0) * np.exp(np.interp(tail, node, exact))
    near = tail > node[-1]  # about the middle the logarithm runs away
    found[near] = -stdtrit(degrees, pit[near]) * scale
    return np.asarray(found)


def pit_at(loss: Floats, degrees: float) -> Floats:
    """The probability that the unit law exceeds a loss."""
    if math.isinf(degrees):
        return np.asarray(ndtr(-loss))
    return np.asarray(stdtr(degrees, -loss * math.sqrt(degrees / (degrees - 2))))


def chi_squared(degrees: int) -> Callable[[Floats], Floats]:
    """Asymptotic p-values of a statistic."""

    def p_value(statistic: Floats) -> Floats:
        return np.asarray(chdtrc(degrees, statistic))

    return p_value


@lru_cache(maxsize=4)
def drawn_hits(length: int, rate: float, degrees: float | None = None) -> Hits:
    """Series whose breaches are independent and come at `rate`; `value` is the probability of a loss as deep.

    With `degrees`, the losses are those of that law scaled up until breaches come at twice the rate, while the
    probabilities remain those that the model states.
    """
    share = rate if degrees is None else 2.0 * rate
    draws = int(np.clip(_MOST_HITS / (length * share), _LEAST_DRAWS, _MOST_DRAWS))
    rng = np.random.default_rng((SEED, length, degrees is None))
    expected = draws * length * share
    gaps = rng.geometric(share, int(expected + 12.0 * math.sqrt(expected) + 12.0))
    place = gaps.cumsum() - 1
    series, time = np.divmod(place[place < draws * length], length)
    pit = share * (1.0 - rng.random(len(series)))
    if degrees is not None:
        up = float(quantile_of(rate, degrees) / quantile_of(share, degrees))
        pit = np.minimum(pit_at(up * quantile_of(pit, degrees), degrees), rate)
    return Hits(np.full(draws, length), series, time, pit)


@lru_cache(maxsize=256)
def reference(test: TailTest, length: int, rate: float, degrees: float) -> Reference:
    """A test's statistic on series of that length, drawn once."""
    ranked = []
    for law in (None, degrees):
        hits = drawn_hits(length, rate, law)
        read = replace(hits, value=test.reading(hits.value, rate, degrees))
        kept = read.count >= test.least
        ranked.append(np.sort(test.extreme(test.statistic(read, rate)[kept])))
    true, larger = ranked
    return Reference(true, larger, 1.0 - float(kept.mean()))


def judge_hits(
    test: TailTest,
    hits: Hits,
    rate: float,
    degrees: float,
    shape: tuple[int, ...],
    *,
    method: str,
    notes: str = "",
    asymptotic: Callable[[Floats], Floats] | None = None,
) -> Verdict:
    """The verdict on each series, in `shape`: simulated p-values, or those of `asymptotic(extremity)` where given."""
    testable = (hits.count >= test.least) & (hits.length > 0)
    statistic = np.where(testable, test.statistic(hits, rate), 0.0)
    p_value, power = np.ones(len(testable)), np.zeros(len(testable))
    for length in np.unique(hits.length[hits.length > 0]).tolist():
        here = hits.length == length
        told = reference(test, length, rate, degrees)
        p_value[here] = (asymptotic or told.p_value)(test.extreme(statistic[here]))
        power[here] = told.power(asymptotic)
    p_value = np.where(testable, p_value, 1.0)
    how = "asymptotic" if asymptotic else f"simulated, seed {SEED}"
    by_length = p_value.reshape(shape), power.reshape(shape)
    return Verdict(statistic.reshape(shape), *by_length, testable.reshape(shape), f"{method}, {how}", notes)
