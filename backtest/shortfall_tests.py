"""Were the losses beyond the margin as large as the expected shortfall said?

Losses and forecasts (R,) or (R, P) in, positive, decisions in rows; a `Verdict` out, elementwise. `rate` is the nominal
share of breaches. `degrees` names the law that p-values are drawn from: Student-t of that many degrees of freedom,
the normal where infinite. A decision whose loss is NaN is passed over.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betainc

from backtest.coverage_tests import Verdict
from backtest.tail_hits import (
    SEED,
    Hits,
    Reference,
    TailTest,
    hits_of,
    judge_hits,
    panels,
    quantile_of,
    reference,
    refuse_infinite,
    refuse_tail,
    tail_forecasts,
)
from data import Floats, ParameterError
from data.laws import unit_tail

_SAMPLE_DRAWS = 10_000
_AT_ONCE = 2_000_000  # draws held in memory


def acerbi_szekely_1(
    loss: ArrayLike,
    var: ArrayLike,
    es: ArrayLike,
    rate: float,
    *,
    degrees: float = math.inf,
    sample: ArrayLike | None = None,
) -> Verdict:
    """Were breaches as large as expected shortfall, however many there were? Z1, below zero where they were larger.

    Acerbi and Szekely (2014), "Backtesting expected shortfall", Risk, their first test: one minus the mean of loss over
    ES in the breaches. Undefined without a breach: not testable. One-sided; the p-value is simulated from the
    elliptical law or, where given, from the model's own `sample` ((R, S) or (R, P, S)).

    Raises
    ------
    ParameterError
        Unless 0 < VaR < ES wherever a loss is known, no loss is infinite, the shapes agree, and rate and degrees are
        within range.
    """
    return _acerbi_szekely(_Z1, "Acerbi-Szekely Z1", loss, var, es, rate, degrees, sample)


def acerbi_szekely_2(
    loss: ArrayLike,
    var: ArrayLike,
    es: ArrayLike,
    rate: float,
    *,
    degrees: float = math.inf,
    sample: ArrayLike | None = None,
) -> Verdict:
    """Were breaches as many and as large as expected shortfall says? Z2, below zero where they were more or larger.

    Acerbi and Szekely (2014), their second test. Without a breach it is 1, and no evidence against the model. The usual
    critical value of -0.70 at 5 % (250 decisions at 2.5 %) holds for the normal law; Student-t with 3 degrees of
    freedom has -0.81. Arguments and errors as `acerbi_szekely_1`.
    """
    return _acerbi_szekely(_Z2, "Acerbi-Szekely Z2", loss, var, es, rate, degrees, sample)


def critical_value(n: int, rate: float, *, degrees: float = math.inf, size: float = 0.05) -> float:
    """What Z2 falls below with probability `size` where the law is true; ParameterError as `acerbi_szekely_1`.

    >>> round(critical_value(250, 0.025), 1), round(critical_value(250, 0.025, degrees=3), 1)
    (-0.7, -0.8)
    """
    refuse_tail(rate, degrees)
    if n < 1 or not 0 < size < 1:
        raise ParameterError(f"a critical value needs n >= 1 and a size within (0, 1), got {n} and {size}")
    return -float(np.quantile(reference(_Z2, n, rate, degrees).true, 1.0 - size))


def acerbi_szekely_3(loss: ArrayLike, sample: ArrayLike, rate: float) -> Verdict:
    """Do the ranks of the losses, put through each day's law, average to its expected shortfall? Z3.

    Acerbi and Szekely (2014), their third test: the losses' probabilities are ranked, the `n rate` worst are turned
    back into losses by the law of every day, and their mean is held against what uniform probabilities give on average;
    below zero where losses were larger. `sample` (R, S) or (R, P, S) is the law. Not testable where `n rate` is below
    one, nor where the law of some day has no loss in its tail.

    Raises
    ------
    ParameterError
        For shapes that do not agree, a sample that is not finite, or a rate that is no tail.
    """
    refuse_tail(rate)
    losses, law = _with_sample(loss, sample)
    told = [_third(losses[:, p], law[:, p], rate) for p in range(losses.shape[1])]
    statistic, p_value, power, testable = (
        np.array(side).reshape(np.shape(loss)[1:]) for side in zip(*told, strict=True)
    )
    method = f"Acerbi-Szekely Z3, simulated from the sample of the law, seed {SEED}"
    notes = "power is that where the worst ranks come twice as often; not testable below one expected breach"
    return Verdict(statistic, p_value, power, testable.astype(bool), method, notes)


def _first(hits: Hits, rate: float) -> Floats:  # noqa: ARG001  every statistic is asked alike
    return 1.0 - hits.mean(hits.value)


def _second(hits: Hits, rate: float) -> Floats:
    return np.asarray(1.0 - hits.total(hits.value) / np.maximum(hits.length * rate, rate))


def _in_shortfalls(pit: Floats, rate: float, degrees: float) -> Floats:
    return quantile_of(pit, degrees) / unit_tail(1.0 - rate, degrees)[1]


_Z1 = TailTest(_first, _in_shortfalls, np.negative, least=1)
_Z2 = TailTest(_second, _in_shortfalls, np.negative)


def _acerbi_szekely(
    test: TailTest,
    name: str,
    loss: ArrayLike,
    var: ArrayLike,
    es: ArrayLike,
    rate: float,
    degrees: float,
    sample: ArrayLike | None,
) -> Verdict:
    refuse_tail(rate, degrees)
    lost, quantile, beyond, spoilt = tail_forecasts(loss, var, es)
    hits = hits_of(np.isfinite(lost), lost > quantile, lost / beyond)
    shape = np.shape(loss)[1:]
    law = "normal" if math.isinf(degrees) else f"t({degrees:g})"
    notes = ("not testable without a breach" if test.least else "one-sided") + spoilt
    told = judge_hits(test, hits, rate, degrees, shape, method=f"{name} against a {law} law", notes=notes)
    if sample is None:
        return told
    law_of_each = _with_sample(loss, sample)[1]
    extreme = np.atleast_1d(test.extreme(told.statistic)).ravel()
    p_value = np.array(
        [
            _drawn_from(test, lost[:, p], law_of_each[:, p], quantile[:, p], beyond[:, p], rate).p_value(extreme[p])
            for p in range(lost.shape[1])
        ]
    ).reshape(shape)
    method = f"{name}, simulated from the sample of the law, seed {SEED}"
    return Verdict(
        told.statistic,
        np.where(told.testable, p_value, 1.0),
        told.power,
        told.testable,
        method,
        f"{notes}; power as {law}",
    )


def _with_sample(loss: ArrayLike, sample: ArrayLike) -> tuple[Floats, Floats]:
    """Losses (R, P) and their laws (R, P, S); ParameterError where shapes differ or a law is not known."""
    (lost,), law = panels(loss), np.asarray(sample, dtype=np.float64)
    refuse_infinite(lost)
    if law.shape[:-1] != np.shape(loss):
        raise ParameterError(
            f"sample must be the losses' shape and one axis more, got {law.shape} for {np.shape(loss)}"
        )
    law = law.reshape(*lost.shape, law.shape[-1])
    if not law.shape[-1] or not np.isfinite(law[np.isfinite(lost)]).all():
        raise ParameterError("sample must be finite, and not empty, wherever a loss is known")
    return lost, law


def _drawn_from(test: TailTest, lost: Floats, law: Floats, var: Floats, es: Floats, rate: float) -> Reference:
    """A statistic of breaches where the losses (R,) are drawn from the sample (R, S) of each decision."""
    live = np.isfinite(lost)
    law, var, es = law[live], var[live], es[live]
    rng = np.random.default_rng(SEED)
    told, at_once = [], max(_AT_ONCE // max(len(law), 1), 1)
    for start in range(0, _SAMPLE_DRAWS, at_once):
        size = min(at_once, _SAMPLE_DRAWS - start)
        picked = rng.integers(0, law.shape[1], (len(law), size))
        loss = np.take_along_axis(law, picked, axis=1)
        known = np.ones(loss.shape, dtype=bool)
        hits = hits_of(known, loss > var[:, None], loss / es[:, None])
        told.append(test.extreme(test.statistic(hits, rate)[hits.count >= test.least]))
    return Reference(np.sort(np.concatenate(told)), np.empty(0), 1.0)


def _third(lost: Floats, law: Floats, rate: float) -> tuple[float, float, float, bool]:
    """Z3 of one portfolio's (R,) losses under (R, S) laws, its p-value and power, and whether it can be told."""
    live = np.isfinite(lost)
    lost, law = lost[live], -np.sort(-law[live], axis=1)
    n, size = law.shape
    worst = int(n * rate + 1e-9)
    if worst < 1 or (expected := law @ _weights(n, worst, size)).min() <= 0:
        return 0.0, 1.0, 0.0, False
    by_rank = (law / expected[:, None]).mean(axis=0)
    pit = np.sort(((law > lost[:, None]).sum(axis=1) + 0.5 * (law == lost[:, None]).sum(axis=1)) / size)[:worst]
    told = _mean_beyond(pit, by_rank)
    uniform = _least_uniforms(n, worst)
    true = np.sort(-_mean_beyond(uniform, by_rank))
    larger = np.sort(-_mean_beyond(0.5 * uniform, by_rank))
    seen = Reference(true, larger, 0.0)
    return told.item(), seen.p_value(-told).item(), seen.power(), True


def _mean_beyond(pit: Floats, by_rank: Floats) -> Floats:
    """One minus the mean standing of the worst, (...,), from their probabilities (..., k)."""
    rank = np.minimum((pit * len(by_rank)).astype(np.intp), len(by_rank) - 1)
    return np.asarray(1.0 - by_rank[rank].mean(axis=-1))


@lru_cache(maxsize=16)
def _weights(n: int, worst: int, size: int) -> Floats:
    """Expected share, (S,), of the `worst` of n uniforms that fall in each of S equal cells."""
    edge = np.linspace(0.0, 1.0, size + 1)
    order = np.arange(1, worst + 1)[:, None]
    return np.asarray(np.diff(betainc(order, n - order + 1.0, edge).mean(axis=0)))


@lru_cache(maxsize=8)
def _least_uniforms(n: int, worst: int) -> Floats:
    """The `worst` smallest of n uniforms, ascending, (B, worst): partial sums of exponentials over their whole sum."""
    rng = np.random.default_rng((SEED, n))
    sums = rng.standard_exponential((max(_AT_ONCE // worst // 2, 2_000) if worst > 100 else 10_000, worst)).cumsum(
        axis=1
    )
    rest = rng.standard_gamma(n + 1.0 - worst, len(sums))
    return np.asarray(sums / (sums[:, -1] + rest)[:, None])
