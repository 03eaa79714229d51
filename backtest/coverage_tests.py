"""Did losses exceed the margin as often as the model said, and without bunching together?

Counts in, a `Verdict` out, elementwise: a count is a number or one a portfolio, (P,). `rate` is the nominal share of
breaches, one minus the coverage level. Portfolios are not independent trials, and neither are overlapping horizons:
count on horizons that do not overlap, and read each portfolio's verdict by itself.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtri, xlogy

from backtest.breach_counts import (
    asymptotic_p_values,
    at_least,
    at_most,
    chi_squared_1,
    exact_p_values,
    independence_ratio,
    least_reaching,
    pof_ratio,
    probabilities,
    rejected_by_bunching,
)
from data import Floats, ParameterError
from data.arrays import Bools, Ints

SIZE = 0.05  # of every test whose power is stated
_AT_SIZE = SIZE * (1.0 + 1e-9)  # a p-value that is the size, but for its rounding, rejects
MOST = 10**8  # decisions; the exact tests have a table as long
LEAST_RATE = 1e-9  # of which a first breach can be awaited

BASEL_1996 = (3.0, 3.0, 3.0, 3.0, 3.0, 3.4, 3.5, 3.65, 3.75, 3.85, 4.0)
BASEL_MAR99 = (1.5, 1.5, 1.5, 1.5, 1.5, 1.7, 1.76, 1.83, 1.88, 1.92, 2.0)


@dataclass(frozen=True, eq=False)
class Verdict:
    """What one test says of each portfolio; the arrays have the shape of the counts.

    Parameters
    ----------
    statistic : what was measured, finite.
    p_value : probability of a statistic at least as extreme where the model is right.
    power : probability that the test, at a size of 5 %, rejects where breaches come independently at twice the nominal
        rate. "Not rejected" at a low power is no evidence.
    testable : False where the counts cannot speak for or against.
    method : the test, and how its p-value came about.
    notes : what to know before believing it.
    """

    statistic: Floats
    p_value: Floats
    power: Floats
    testable: Bools
    method: str
    notes: str = ""


@dataclass(frozen=True, eq=False)
class TrafficLight:
    """Basel's zones: `cumulative` is the probability of no more breaches than found, `power` that of leaving green."""

    cumulative: Floats
    zone: NDArray[np.str_]
    power: Floats


class Transitions(NamedTuple):
    """How often no breach (0) or a breach (1) was followed by either; numbers or (P,)."""

    n00: ArrayLike
    n01: ArrayLike
    n10: ArrayLike
    n11: ArrayLike


def kupiec(breaches: ArrayLike, n: ArrayLike, rate: float, *, exact: bool = True) -> Verdict:
    """Is the share of breaches the nominal one? Likelihood ratio of the proportion of failures.

    Kupiec (1995), "Techniques for verifying the accuracy of risk measurement models", J. Derivatives 3(2). The exact
    p-value (the default) is the binomial probability of all counts whose likelihood ratio is no smaller; the asymptotic
    one is chi-squared(1) and, at n = 250 and 1 %, rejects 9.5 % of correct models at a size of 5 %.

    Raises
    ------
    ParameterError
        Where a count is not whole, breaches are not within 0..n, or the rate is not within (0, 1).

    >>> round(float(kupiec(0, 250, 0.01).p_value), 4), round(float(kupiec(0, 250, 0.01, exact=False).p_value), 4)
    (0.0948, 0.025)
    """
    breaches, n = _counts(breaches, n, rate)
    table = exact_p_values if exact else asymptotic_p_values
    p_value = _by_length(n, lambda length, here: table(length, rate)[breaches[here]])
    power = _by_length(n, lambda length, _: _kupiec_power(length, rate, exact))
    how = "exact binomial ordered by likelihood ratio" if exact else "asymptotic chi-squared(1)"
    return Verdict(pof_ratio(breaches, n, rate), p_value, power, n > 0, f"Kupiec proportion of failures, {how}")


def kupiec_region(n: int, rate: float, *, exact: bool = True) -> tuple[int, int]:
    """Fewest and most breaches in n that Kupiec's test does not reject at 5 %; ParameterError as `kupiec`.

    >>> kupiec_region(250, 0.01), kupiec_region(250, 0.01, exact=False)
    ((0, 6), (1, 6))
    """
    _counts(0, n, rate)
    kept = np.flatnonzero((exact_p_values if exact else asymptotic_p_values)(n, rate) > _AT_SIZE)
    return int(kept[0]), int(kept[-1])


def too_many(breaches: ArrayLike, n: ArrayLike, rate: float) -> Verdict:
    """Are there more breaches than the rate explains? One-sided exact binomial; the statistic is the count itself.

    ParameterError as `kupiec`.
    """
    breaches, n = _counts(breaches, n, rate)
    power = _by_length(n, lambda length, _: at_least(least_reaching(1.0 - SIZE, length, rate) + 1, length, 2 * rate))
    p_value = at_least(breaches, n, rate)
    return Verdict(breaches.astype(np.float64), p_value, power, n > 0, "one-sided exact binomial")


def tuff(first_breach: ArrayLike, rate: float) -> Verdict:
    """Did the first breach come when it should? Time until first failure, asymptotic chi-squared(1).

    Kupiec (1995), equation 4. `first_breach` counts decisions from 1; 0 says there was none, which leaves nothing to
    test (p-value 1). ParameterError for anything but whole numbers >= 0, or a rate not within (0, 1)
    or below LEAST_RATE.
    """
    _refuse_rate(rate)
    if rate < LEAST_RATE:
        raise ParameterError(f"a first breach is due within {1 / LEAST_RATE:g} decisions, got the rate {rate}")
    first = _whole(first_breach, "first_breach")
    ratio = np.where(first > 0, _tuff_ratio(np.maximum(first, 1), rate), 0.0)
    method = "Kupiec time until first failure, asymptotic chi-squared(1)"
    power = np.full(first.shape, _tuff_power(rate))
    return Verdict(ratio, chi_squared_1(ratio), power, first > 0, method, "not testable before the first breach")


def independence(transitions: Transitions, rate: float) -> Verdict:
    """Is a breach as likely after a breach as after none? Likelihood ratio, asymptotic chi-squared(1).

    Christoffersen (1998), "Evaluating interval forecasts", International Economic Review 39, equation 3. Where no
    decision follows a breach, or each does, there is nothing to compare: ratio 0, p-value 1, not testable.

    Raises
    ------
    ParameterError
        Where a count is not whole or negative, or the rate is not within (0, 1).
    """
    _refuse_rate(rate)
    n00, n01, n10, n11 = table = _table(transitions)
    ratio = independence_ratio(*table)
    power = _by_length(n00 + n01 + n10 + n11 + 1, lambda length, _: _bunching_power(length, rate)[0])
    method = "Christoffersen independence, asymptotic chi-squared(1)"
    notes = "breaches that are independent, however many, are what it should accept: its power here is its size"
    return Verdict(ratio, chi_squared_1(ratio), power, _comparable(*table), method, notes)


def conditional_coverage(breaches: ArrayLike, n: ArrayLike, transitions: Transitions, rate: float) -> Verdict:
    """Is the share of breaches right, and do they come independently? Sum of both ratios, asymptotic chi-squared(2).

    Christoffersen (1998), equation 8; as is usual the first ratio is over all n decisions, the second over their n - 1
    transitions. Where independence is not testable neither is this: what is left is the first ratio, told with
    chi-squared(2), and `kupiec` is the test to read. Errors as `kupiec` and `independence`.
    """
    breaches, n = _counts(breaches, n, rate)
    table = _table(transitions)
    _together(breaches, *table)
    ratio = pof_ratio(breaches, n, rate) + independence_ratio(*table)
    power = _by_length(n, lambda length, _: _bunching_power(length, rate)[1])
    method = "Christoffersen conditional coverage, asymptotic chi-squared(2)"
    return Verdict(ratio, np.exp(-0.5 * ratio), power, _comparable(*table), method, "read kupiec where not testable")


def traffic_light(breaches: ArrayLike, n: ArrayLike, rate: float) -> TrafficLight:
    """Basel's zones: green below a cumulative probability of 95 %, yellow below 99.99 %, red from there.

    Basel Committee (1996), Supervisory framework for the use of "backtesting", table 2: at 250 decisions and 1 %,
    yellow from 5 breaches and red from 10. ParameterError as `kupiec`.
    """
    breaches, n = _counts(breaches, n, rate)
    cumulative = at_most(breaches, n, rate)
    zone = np.where(cumulative < 0.95, "green", np.where(cumulative < 0.9999, "yellow", "red"))
    zone = np.where(n > 0, zone, "green")
    power = _by_length(n, lambda length, _: at_least(least_reaching(0.95, length, rate), length, 2 * rate))
    return TrafficLight(cumulative, zone, power)


def basel_multiplier(breaches: ArrayLike, schedule: tuple[float, ...]) -> Floats:
    """Capital multiplier for breaches in 250 decisions at 1 %, by `BASEL_1996` or `BASEL_MAR99`; the last holds beyond.

    Basel Committee (1996), table 2; Basel Framework, MAR99, table 1 (in force from 2023). ParameterError for a negative
    or broken count.
    """
    return np.asarray(schedule)[np.minimum(_whole(breaches, "breaches"), len(schedule) - 1)]


def count_transitions(breached: Bools) -> Transitions:
    """Transitions between consecutive rows of (R, P) or (R,) breaches, oldest first; each (P,) or a number."""
    before, after = breached[:-1], breached[1:]
    pairs = ((~before, ~after), (~before, after), (before, ~after), (before, after))
    return Transitions(*((first & second).sum(axis=0) for first, second in pairs))


def _counts(breaches: ArrayLike, n: ArrayLike, rate: float) -> tuple[Ints, Ints]:
    _refuse_rate(rate)
    found, total = _together(_whole(breaches, "breaches"), _whole(n, "n"))
    if (found > total).any():
        at = np.unravel_index(np.argmax(found > total), found.shape)
        raise ParameterError(f"breaches must be at most n, got {found[at]} in {total[at]}")
    return found, total


def _together(*counts: Ints) -> tuple[Ints, ...]:
    """Counts in one shape; ParameterError where there is none."""
    try:
        return np.broadcast_arrays(*counts)
    except ValueError as error:
        shapes = ", ".join(str(count.shape) for count in counts)
        raise ParameterError(f"counts must have one shape, or be single numbers, got {shapes}") from error


def _whole(values: ArrayLike, name: str) -> Ints:
    numbers = np.asarray(values)
    if not (np.isfinite(numbers) & (numbers >= 0) & (numbers <= MOST) & (numbers == np.floor(numbers))).all():
        raise ParameterError(f"{name} must be whole numbers in 0..{MOST:g}, got {numbers}")
    return numbers.astype(np.int64)


def _refuse_rate(rate: float) -> None:
    if not 0.0 < rate < 1.0:
        raise ParameterError(f"rate must lie within (0, 1), got {rate}. Typical values: 0.01, 0.025, 0.05.")


def _table(transitions: Transitions) -> tuple[Ints, Ints, Ints, Ints]:
    n00, n01, n10, n11 = _together(*(_whole(count, "transitions") for count in transitions))
    return n00, n01, n10, n11


def _comparable(n00: Ints, n01: Ints, n10: Ints, n11: Ints) -> Bools:
    return np.asarray((n00 + n01 > 0) & (n10 + n11 > 0))


def _by_length(n: Ints, figure: Callable[[int, Bools], ArrayLike]) -> Floats:
    """`figure(length, where n is that length)` laid out like n, asked once a distinct length."""
    answer = np.empty(n.shape)
    for length in np.unique(n).tolist():
        here = n == length
        answer[here] = figure(length, here)
    return answer


@lru_cache(maxsize=64)
def _kupiec_power(n: int, rate: float, exact: bool) -> float:
    table = (exact_p_values if exact else asymptotic_p_values)(n, rate)
    return float(probabilities(n, 2 * rate)[table <= _AT_SIZE].sum())


def _bunching_power(n: int, rate: float) -> tuple[float, float]:
    return rejected_by_bunching(n, rate, 2 * rate, SIZE)


def _tuff_ratio(first: Ints, rate: float) -> Floats:
    # Summed in this very order: where the rate is 1 / first only rounding is left, and published figures carry it.
    found = np.log(1.0 / first) + xlogy(first - 1, 1.0 - 1.0 / first)
    return np.asarray(np.maximum(2.0 * (found - np.log(rate) - (first - 1) * np.log(1.0 - rate)), 0.0))


def _tuff_power(rate: float) -> float:
    """Probability, at twice the rate, of a first breach before or after what is not rejected."""
    critical = chdtri(1, SIZE)
    due = round(1.0 / rate)
    calm = 1.0 - min(2.0 * rate, 1.0)

    def too_far(first: int) -> bool:
        return bool(_tuff_ratio(np.asarray(first), rate) > critical)

    earliest = 1 + bisect_left(range(1, due + 1), True, key=lambda first: not too_far(first))
    latest = due - 1 + bisect_left(range(due, 20 * due + 20), True, key=too_far)
    return float(1.0 - calm ** (earliest - 1) + calm**latest)
