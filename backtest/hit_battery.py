"""What does every test of breaches say of each portfolio, exactly or by simulation?

Where the outcomes can be enumerated the p-values are exact; else they are simulated (`simulated_p_values`). Either way
they are made once for each length and rate.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache, partial

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import ndtr

from backtest.breach_counts import LEFT_OUT, bunchings, chi_squared_1, pof_ratio, probabilities
from backtest.coverage_tests import SIZE, Transitions, conditional_coverage, independence, tuff
from backtest.duration_tests import HAAS, HAAS_MIXED, WEIBULL, waits
from backtest.dynamic_quantile import LAGS, dynamic_quantile_test, judge_on_paths, paths_of
from backtest.simulated_p_values import (
    SEED,
    Counts,
    Flags,
    HitSequences,
    HitTest,
    HitVerdict,
    Measured,
    NullLaw,
    by_portfolio,
    exact_law,
    judge_hits,
    refuse_rate,
    sequences_of,
    uniforms,
)
from data import Floats, ParameterError

Outcomes = Callable[[int, float, float], tuple[Floats, Floats]]


@dataclass(frozen=True, eq=False)
class Battery:
    """One row a test, (K, P): fields as those of `HitVerdict`; ties were broken by numbers from `seed`.

    A portfolio's number is that of its place among the P: `randomised` is another for the same book elsewhere, while
    `p_value` is the same everywhere.
    """

    tests: tuple[str, ...]
    n: Counts
    breaches: Counts
    statistic: Floats
    asymptotic: Floats
    p_value: Floats
    randomised: Floats
    power: Floats
    testable: Flags
    methods: tuple[str, ...]
    notes: tuple[str, ...]
    seed: int

    def __getitem__(self, test: str) -> HitVerdict:
        """One test's verdict; ParameterError for an unknown name."""
        if test not in self.tests:
            raise ParameterError(f"no test {test!r} in this battery, there are {self.tests}")
        k = self.tests.index(test)
        figures = {name: getattr(self, name)[k] for name in _FIGURES}
        return HitVerdict(**figures, method=self.methods[k], notes=self.notes[k])

    def to_frame(self, portfolios: ArrayLike | None = None) -> pd.DataFrame:
        """One row a portfolio and test; portfolios are numbered where no names are given."""
        names = np.arange(len(self.n)) if portfolios is None else np.asarray(portfolios)
        index = pd.MultiIndex.from_product([names, self.tests], names=["portfolio", "test"])
        columns = {name: getattr(self, name).T.ravel() for name in _FIGURES}
        counts = {"n": np.repeat(self.n, len(self.tests)), "breaches": np.repeat(self.breaches, len(self.tests))}
        told = {"method": np.tile(self.methods, len(names)), "notes": np.tile(self.notes, len(names))}
        return pd.DataFrame({**counts, **columns, **told}, index=index)


_FIGURES = tuple(field.name for field in fields(HitVerdict) if field.name not in ("method", "notes"))


def battery(
    hits: ArrayLike,
    margins: ArrayLike | None,
    rate: float,
    *,
    lags: int = LAGS,
    repetitions: int | None = None,
    seed: int = SEED,
) -> Battery:
    """Every test of breaches, portfolio by portfolio.

    Decisions without a position are closed up: breaches that are independent stay so. Portfolios are tested each by
    itself; with many of them, correct what is read for that.

    Parameters
    ----------
    hits : (R, P) or (R,) breaches, oldest first, of decisions whose horizons do not overlap.
    margins : shaped alike, NaN where there was no position; None takes all decisions, at margins that do not vary.
    rate : nominal share of breaches.
    lags : of the dynamic quantile test.
    repetitions : of its simulation on each path of margins; as many as `dynamic_quantile` takes where None.
    seed : of the simulations of the dynamic quantile test, and of the ties of all tests.

    Raises
    ------
    ParameterError
        Where hits are no zeros and ones, margins are shaped otherwise or infinite, hits are found where there was no
        position, the rate is not within (0, 1), or lags are below 1.
    """
    refuse_rate(rate)
    panel, paths = _panels(hits, margins)
    held = np.isfinite(paths)
    tests = (*TESTS, dynamic_quantile_test(lags))
    count = held.sum(axis=0)
    figures = {
        name: np.zeros((len(tests), len(count)), dtype=bool if name == "testable" else float) for name in _FIGURES
    }
    uniform = np.stack([uniforms(test.name, len(count), seed) for test in tests])
    said: list[HitVerdict] = []
    for n in np.unique(count):
        here = np.flatnonzero(count == n)
        closed_up = [np.stack([side[held[:, j], j] for j in here], axis=1) for side in (panel, paths)]
        sequences = sequences_of(closed_up[0])
        said = [judge_hits(test, sequences, rate, uniform[k, here]) for k, test in enumerate(TESTS)]
        regressors = paths_of(closed_up[1], closed_up[1].shape, lags)
        said.append(judge_on_paths(sequences, regressors, rate, lags, uniform[-1, here], repetitions, seed))
        for name, figure in figures.items():
            figure[:, here] = [getattr(verdict, name) for verdict in said]
    methods, notes = (
        tuple(test.method for test in tests),
        (*(test.notes for test in TESTS), said[-1].notes if said else ""),
    )
    names = tuple(test.name for test in tests)
    return Battery(names, count, panel.sum(axis=0), **figures, methods=methods, notes=notes, seed=seed)


def _panels(hits: ArrayLike, margins: ArrayLike | None) -> tuple[Flags, Floats]:
    sequences_of(hits)
    panel = np.asarray(hits, dtype=bool)
    paths = np.ones(panel.shape) if margins is None else np.asarray(margins, dtype=np.float64)
    if paths.shape != panel.shape or np.isinf(paths).any():
        raise ParameterError(f"margins must be shaped as hits {panel.shape} and not infinite, got {paths.shape}")
    if (panel & np.isnan(paths)).any():
        at = np.unravel_index(np.argmax(panel & np.isnan(paths)), panel.shape)
        raise ParameterError(f"a hit needs a margin, got NaN at {tuple(map(int, at))}")
    return by_portfolio(panel).T, by_portfolio(paths).T


# ---- Tests whose outcomes can be enumerated. Each is measured on sequences, and told for all outcomes with how likely
# each is at a true rate: the law at the nominal one, the power at twice that.


def _transitions(sequences: HitSequences) -> Transitions:
    position, n = sequences.position, sequences.n
    again = (waits(sequences) == 1) & (position > 0)
    n11 = sequences.sums(again).astype(np.int64)
    n01 = sequences.count - n11 - sequences.sums(position == 0).astype(np.int64)
    n10 = sequences.count - n11 - sequences.sums(position == n - 1).astype(np.int64)
    return Transitions(max(n - 1, 0) - n01 - n10 - n11, n01, n10, n11)


def _share(sequences: HitSequences, rate: float) -> Measured:
    ratio = pof_ratio(sequences.count, sequences.n, rate)
    return Measured(ratio, chi_squared_1(ratio), ratio, np.full(len(ratio), sequences.n > 0))


def _excess(sequences: HitSequences, rate: float) -> Measured:
    count = sequences.count.astype(np.float64)
    spread = np.sqrt(max(sequences.n, 1) * rate * (1.0 - rate))
    return Measured(count, ndtr((sequences.n * rate - count) / spread), count, np.full(len(count), sequences.n > 0))


def _first(sequences: HitSequences, rate: float) -> Measured:
    first = np.zeros(len(sequences.count), dtype=np.int64)
    some = sequences.count > 0
    first[some] = sequences.position[sequences.first[:-1][some]] + 1
    told = tuff(first, rate)
    return Measured(told.statistic, told.p_value, told.statistic, told.testable)


def _alone(sequences: HitSequences, rate: float) -> Measured:
    told = independence(_transitions(sequences), rate)
    return Measured(told.statistic, told.p_value, told.statistic, told.testable)


def _both(sequences: HitSequences, rate: float) -> Measured:
    told = conditional_coverage(sequences.count, sequences.n, _transitions(sequences), rate)
    p_value = np.where(told.testable, told.p_value, 1.0)
    return Measured(told.statistic, p_value, np.where(told.testable, told.statistic, 0.0), told.testable)


def _shares(n: int, rate: float, true_rate: float) -> tuple[Floats, Floats]:
    return pof_ratio(np.arange(n + 1), n, rate), probabilities(n, true_rate)


def _excesses(n: int, rate: float, true_rate: float) -> tuple[Floats, Floats]:  # noqa: ARG001  all are asked alike
    return np.arange(n + 1.0), probabilities(n, true_rate)


def _firsts(n: int, rate: float, true_rate: float) -> tuple[Floats, Floats]:
    calm = (1.0 - true_rate) ** np.arange(n + 1.0)
    return tuff(np.append(np.arange(1, n + 1), 0), rate).statistic, np.append(true_rate * calm[:-1], calm[-1])


def _bunched(n: int, rate: float, true_rate: float, *, both: bool) -> tuple[Floats, Floats]:
    # What is not enumerated may be the most extreme of all: it bounds p-values from below.
    values, chances = [], []
    for breaches, *table, likely in bunchings(n, true_rate):
        steps = Transitions(*table)
        told = conditional_coverage(breaches, n, steps, rate) if both else independence(steps, rate)
        values.append(np.where(told.testable, told.statistic, 0.0))
        chances.append(likely)
    return np.array([*np.concatenate(values), np.inf]), np.array([*np.concatenate(chances), LEFT_OUT])


@lru_cache(maxsize=64)
def _law(outcomes: Outcomes, n: int, rate: float) -> NullLaw:
    return exact_law(*outcomes(n, rate, rate))


@lru_cache(maxsize=256)
def _power(outcomes: Outcomes, n: int, rate: float) -> float:
    value, chance = outcomes(n, rate, min(2.0 * rate, 1.0))
    return float(chance[_law(outcomes, n, rate).rejects(value, SIZE)].sum())


def _enumerated(
    name: str, method: str, measure: Callable[[HitSequences, float], Measured], outcomes: Outcomes, notes: str
) -> HitTest:
    return HitTest(name, f"{method}, exact", measure, partial(_law, outcomes), partial(_power, outcomes), notes)


KUPIEC = _enumerated(
    "proportion of failures", "Kupiec proportion of failures", _share, _shares, "ordered by likelihood ratio"
)
TOO_MANY = _enumerated(
    "too many breaches",
    "one-sided binomial",
    _excess,
    _excesses,
    "the statistic is the count; the asymptotic law is the normal one",
)
TUFF = _enumerated(
    "time until first failure", "Kupiec time until first failure", _first, _firsts, "not testable without a breach"
)
INDEPENDENCE = _enumerated(
    "independence",
    "Christoffersen independence",
    _alone,
    partial(_bunched, both=False),
    "not testable without a decision after a breach; power is that of noticing the rate, which is not its question; "
    f"a p-value is an upper bound within {LEFT_OUT:g}",
)
CONDITIONAL_COVERAGE = _enumerated(
    "conditional coverage",
    "Christoffersen conditional coverage",
    _both,
    partial(_bunched, both=True),
    f"not testable where independence is not; a p-value is an upper bound within {LEFT_OUT:g}",
)
TESTS = (KUPIEC, TOO_MANY, TUFF, INDEPENDENCE, CONDITIONAL_COVERAGE, HAAS, HAAS_MIXED, WEIBULL)
