"""How likely is so extreme a statistic where breaches come independently at the nominal rate?

A law is made once for each length, rate and test, and remembered: by enumeration where that can be done, else by
simulation (Dufour 2006, "Monte Carlo tests with nuisance parameters", Journal of Econometrics 133). After that a
p-value is a look-up, so that thousands of books cost little more than one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeVar
from zlib import crc32

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaincc, gammaln

from backtest.coverage_tests import SIZE
from data import Floats, ParameterError

Counts = NDArray[np.int64]
Flags = NDArray[np.bool_]
Kind = TypeVar("Kind", bound=np.generic)

SEED = 20060713
REPETITIONS = (99_999, 19_999, 9_999, 1_999, 999)  # one more is a multiple of 20: 5 % of them is a whole number
_POWER = 9_999
_MOST_BREACHES = 10_000_000  # of all repetitions together, and a fifth of it of those held at once
_FAR = 1e-290  # a probability below which its leading term is taken
_TIE, _NOUGHT = 1e-9, 1e-12  # statistics within this of each other, relatively or at all, are equal but for rounding


@dataclass(frozen=True, eq=False)
class HitSequences:
    """N sequences of n decisions, by where their breaches are.

    Parameters
    ----------
    position : of each breach within its sequence, 0..n - 1, sequence after sequence, (H,).
    first : where in `position` each sequence begins, and the last ends, (N + 1,).
    n : decisions of each sequence.
    """

    position: Counts
    first: Counts
    n: int

    @property
    def count(self) -> Counts:
        """Breaches of each sequence, (N,)."""
        return np.diff(self.first)

    @property
    def owner(self) -> Counts:
        """Sequence of each breach, (H,)."""
        return np.repeat(np.arange(len(self.first) - 1), self.count)

    def sums(self, weight: Floats | Flags) -> Floats:
        """Sum over the breaches of each sequence of a weight a breach (H,), (N,)."""
        total: Floats = np.bincount(self.owner, weight.astype(np.float64), len(self.first) - 1).astype(np.float64)
        return total


class Measured(NamedTuple):
    """A test's statistic of each sequence, (N,) all.

    `extreme` is what ranks sequences: the statistic, or its `surprise` where degrees of freedom differ between them
    (Beran 1988, prepivoting). `testable` is False where there is nothing to compare.
    """

    statistic: Floats
    asymptotic: Floats
    extreme: Floats
    testable: Flags


@dataclass(frozen=True, eq=False)
class NullLaw:
    """How a statistic is distributed where the model is right.

    Parameters
    ----------
    value : what it can be, or was in a simulation, ascending, (K,).
    above : probability, or number of simulated ones, of `value[k]` or more, and 0 at the end, (K + 1,).
    itself : 1 for a simulated law, in which what is tested is one more draw; 0 for an exact one.
    """

    value: Floats
    above: Floats
    itself: int

    def p_value(self, observed: ArrayLike) -> Floats:
        """Probability of a value at least as large, ties included: (1 + count) / (1 + N) of a simulated law."""
        return np.asarray(np.minimum((self._reached(observed) + self.itself) / (self.above[0] + self.itself), 1.0))

    def randomised(self, observed: ArrayLike, uniform: ArrayLike) -> Floats:
        """P-value whose ties are broken by chance: uniform on (0, 1) where the model is right, however few the values.

        Dufour (2006), section 2.2: what is observed takes a place by chance among its ties, itself included; a uniform
        number (0, 1) decides. Never above `p_value`.
        """
        beyond = self.above[np.searchsorted(self.value, self._blurred(observed, 1.0), side="right")]
        ties = self._reached(observed) - beyond + self.itself
        return np.asarray(np.minimum((beyond + np.asarray(uniform) * ties) / (self.above[0] + self.itself), 1.0))

    def rejects(self, observed: ArrayLike, size: float) -> Flags:
        """Whether `p_value` is at most `size`, without asking for each."""
        kept = int(np.count_nonzero(self.above + self.itself > size * (self.above[0] + self.itself)))
        if kept > len(self.value):  # not even what lies beyond all values
            return np.zeros(np.shape(observed), dtype=bool)
        highest = self._blurred(self.value[kept - 1], 1.0) if kept else -np.inf
        return np.asarray(np.asarray(observed, dtype=np.float64) > highest)

    def _reached(self, observed: ArrayLike) -> Floats:
        return self.above[np.searchsorted(self.value, self._blurred(observed, -1.0), side="left")]

    def _blurred(self, observed: ArrayLike, sign: float) -> Floats:
        values = np.asarray(observed, dtype=np.float64)
        return values + sign * (_TIE * np.abs(values) + _NOUGHT)


Measure = Callable[[HitSequences, float], Measured]


@dataclass(frozen=True)
class HitTest:
    """A test of sequences of breaches; `law` and `power` answer for a length and a rate, and remember."""

    name: str
    method: str
    measure: Measure
    law: Callable[[int, float], NullLaw]
    power: Callable[[int, float], float]
    notes: str = ""


@dataclass(frozen=True, eq=False)
class HitVerdict:
    """What one test says of each portfolio, (P,) all.

    Parameters
    ----------
    statistic : finite, and without meaning where not testable.
    asymptotic : p-value of the asymptotic law.
    p_value : exact, or by simulation; conservative where the statistic is discrete, 1 where not testable.
    randomised : the same with ties broken by chance (seeded), so that 5 % of right models are rejected at 5 %. The
        number that breaks them goes with the column: the same breaches in another place have another one. Read it over
        many books; of a single book `p_value` is the one to quote.
    power : probability that `p_value` is at most 5 % where breaches come independently at twice the nominal rate.
    testable : False where the breaches cannot speak for or against.
    """

    statistic: Floats
    asymptotic: Floats
    p_value: Floats
    randomised: Floats
    power: Floats
    testable: Flags
    method: str
    notes: str = ""


def sequences_of(hits: ArrayLike) -> HitSequences:
    """Columns of (R, P) breaches, or the one of (R,); ParameterError for anything but flags or zeros and ones."""
    panel = np.asarray(hits)
    if panel.ndim not in (1, 2) or not np.isin(panel, (0, 1)).all():
        raise ParameterError(f"hits must be (R,) or (R, P) of zeros and ones, got {panel.dtype} of shape {panel.shape}")
    columns = by_portfolio(panel.astype(bool))
    position = np.nonzero(columns)[1]
    return HitSequences(position, np.concatenate([[0], columns.sum(axis=1).cumsum()]), len(panel))


def by_portfolio(panel: NDArray[Kind]) -> NDArray[Kind]:
    """A panel (R,) or (R, P) with portfolios in rows, (P, R)."""
    return panel[None] if panel.ndim == 1 else panel.T


def refuse_rate(rate: float) -> None:
    """ParameterError for a rate that is not within (0, 1)."""
    if not 0.0 < rate < 1.0:
        raise ParameterError(f"rate must lie within (0, 1), got {rate}. Typical values: 0.01, 0.025, 0.05.")


def repetitions_for(n: int, rate: float) -> int:
    """How often a law is simulated: less often the more breaches a sequence has, and the less discrete it is.

    >>> repetitions_for(250, 0.01), repetitions_for(100_000, 0.01)
    (99999, 9999)
    """
    return next((count for count in REPETITIONS if count * n * rate <= _MOST_BREACHES), REPETITIONS[-1])


def draw_sequences(n: int, rate: float, repetitions: int, seed: int | tuple[int, ...]) -> HitSequences:
    """Independent breaches at `rate`: one long sequence, its gaps geometric, cut into pieces of n."""
    rng = np.random.default_rng(seed)
    total, share = n * repetitions, min(rate, 1.0)
    due = int(total * share + 8.0 * np.sqrt(total * share)) + 16
    gaps = rng.geometric(share, due)
    place = np.minimum(gaps, total + 1).cumsum() - 1
    while place[-1] < total:
        gaps = rng.geometric(share, due)
        place = np.concatenate([place, place[-1] + np.minimum(gaps, total + 1).cumsum()])
    first = np.searchsorted(place, np.arange(repetitions + 1) * n)
    return HitSequences(place[: first[-1]] % max(n, 1), first, n)


def simulated(measure: Measure, n: int, nominal: float, rate: float, repetitions: int, seed: int) -> Iterator[Measured]:
    """A test of the nominal rate on sequences drawn at `rate`, so many at a time as memory holds with ease."""
    batch = int(max(_MOST_BREACHES / (5.0 * max(n * rate, 1.0)), 1.0))
    for start in range(0, repetitions, batch):
        drawn = draw_sequences(n, rate, min(batch, repetitions - start), (seed, start))
        yield measure(drawn, nominal)


def simulated_law(measure: Measure, n: int, rate: float, repetitions: int | None = None, seed: int = SEED) -> NullLaw:
    """Law of what a test ranks by, from independent breaches at the nominal rate; remembered.

    As many repetitions as `repetitions_for` says where none are given. ParameterError as `refuse_rate`.
    """
    refuse_rate(rate)
    return _law(measure, n, rate, repetitions or repetitions_for(n, rate), seed)


def simulated_power(measure: Measure, n: int, rate: float, repetitions: int | None = None, seed: int = SEED) -> float:
    """How often that law's p-value is at most 5 % where breaches come independently at twice the rate; remembered.

    From 9,999 repetitions at most: its standard error is half a per cent at the worst. Errors as `simulated_law`.
    """
    refuse_rate(rate)
    return _power(measure, n, rate, repetitions or repetitions_for(n, rate), seed)


@lru_cache(maxsize=128)
def _law(measure: Measure, n: int, rate: float, repetitions: int, seed: int) -> NullLaw:
    drawn = simulated(measure, n, rate, rate, repetitions, seed)
    return law_of_draws(np.concatenate([told.extreme for told in drawn]))


@lru_cache(maxsize=1024)
def _power(measure: Measure, n: int, rate: float, repetitions: int, seed: int) -> float:
    law = _law(measure, n, rate, repetitions, seed)
    drawn = simulated(measure, n, rate, 2.0 * rate, min(repetitions, _POWER), seed + 1)
    return float(np.concatenate([law.rejects(told.extreme, SIZE) & told.testable for told in drawn]).mean())


def law_of_draws(draws: Floats) -> NullLaw:
    """The law that draws (N,) of a statistic stand for."""
    return NullLaw(np.sort(draws), np.arange(len(draws), -1.0, -1.0), 1)


def exact_law(value: Floats, probability: Floats) -> NullLaw:
    """The law of a statistic from all that it can be and how likely each is, two arrays alike, in any order."""
    if not len(value):  # nothing can happen in no decisions
        value, probability = np.zeros(1), np.ones(1)
    order = np.argsort(value, kind="stable")
    above = np.concatenate([probability[order][::-1].cumsum()[::-1], [0.0]])
    return NullLaw(value[order], above, 0)


def surprise(freedom: ArrayLike, statistic: Floats) -> Floats:
    """Minus the logarithm of the chi-squared probability of at least `statistic`, however small that is."""
    half, x = 0.5 * np.asarray(freedom, dtype=np.float64), 0.5 * statistic
    likely = gammaincc(half, x)
    far = x + gammaln(half) - (half - 1.0) * np.log(np.maximum(x, 1.0))  # first term of the expansion in 1 / x
    return np.where(likely > _FAR, -np.log(np.maximum(likely, _FAR)), far)


def uniforms(name: str, count: int, seed: int = SEED) -> Floats:
    """The numbers that break the ties of the test of that name, one a portfolio in their order.

    By place, and not by what a book's breaches were: books without a breach, of which there are many, would else all
    have one number, and be rejected together or not at all.
    """
    return np.random.default_rng((seed, crc32(name.encode()))).random(count)


def p_values(law: NullLaw, told: Measured, uniform: Floats) -> tuple[Floats, Floats]:
    """Conservative and randomised p-values; 1 where there is nothing to test."""
    found = law.p_value(told.extreme), law.randomised(told.extreme, uniform)
    return np.where(told.testable, found[0], 1.0), np.where(told.testable, found[1], 1.0)


def judge_hits(test: HitTest, hits: HitSequences, rate: float, uniform: Floats) -> HitVerdict:
    """One test of every sequence, its ties broken by `uniform` (N,); ParameterError as `refuse_rate`."""
    refuse_rate(rate)
    told = test.measure(hits, rate)
    p_value, randomised = p_values(test.law(hits.n, rate), told, uniform)
    power = np.full(len(p_value), test.power(hits.n, rate))
    return HitVerdict(
        told.statistic, told.asymptotic, p_value, randomised, power, told.testable, test.method, test.notes
    )


def judge_panel(test: HitTest, hits: ArrayLike, rate: float, seed: int = SEED) -> HitVerdict:
    """One test of every column of (R, P) breaches; errors as `sequences_of` and `refuse_rate`."""
    sequences = sequences_of(hits)
    return judge_hits(test, sequences, rate, uniforms(test.name, len(sequences.count), seed))
