"""Do losses beyond the margin average to what was forecast of them, given that the margin itself was right?

Losses and forecasts (R,) or (R, P) in, positive, decisions in rows; a `Verdict` out, elementwise, as in
`shortfall_tests`. `degrees` names the law whose tail p-values are drawn from: it gives the shape beyond VaR, while VaR
and expected shortfall are the model's own.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtrc, ndtr

from backtest.coverage_tests import SIZE, Verdict
from backtest.tail_hits import (
    SEED,
    Hits,
    Reference,
    TailTest,
    chi_squared,
    drawn_hits,
    hits_of,
    judge_hits,
    panels,
    quantile_of,
    refuse_tail,
    tail_forecasts,
)
from data import Floats, ParameterError
from data.arrays import Bools
from data.laws import unit_tail

FEWEST_TO_BOOTSTRAP = 10  # breaches; below, resamples of a handful of residuals reject correct models too often
_DRAWS, _PATH_DRAWS = 20_000, 5_000  # of residuals, and of a portfolio's own path of forecasts
_MOST_RESIDUALS = 60  # beyond, the t-statistic's law no longer depends on how many there are
_RESAMPLES = 4_000
_ALIKE = 1e-9  # of a size: what differs by less is rounding
_NO_EXCESS = 1e-12  # of ES: a loss that is nearer to it differs by the rounding of both alone
_CELLS = 100_000  # of the tail of a law, over which a mean is taken
_RANKED = "not testable without a breach; the p-value ranks by the same form with the covariance of the stated law"


def exceedance_residuals(
    loss: ArrayLike,
    var: ArrayLike,
    es: ArrayLike,
    rate: float,
    *,
    scale: ArrayLike | None = None,
    degrees: float = math.inf,
    asymptotic: bool = False,
) -> Verdict:
    """Is the mean excess of losses over expected shortfall, in the breaches, above zero? A one-sided t-statistic.

    McNeil and Frey (2000), "Estimation of tail-related risk measures", J. Empirical Finance 7, section 4.2. Residuals
    are divided by `scale` (R,) or (R, P), by ES - VaR where None; a scale of 1 tests them raw. Two breaches at least,
    else not testable; where all residuals are alike the statistic is what it tends to, 1e9 of their sign, or 0 where
    losses were the ES but for rounding. The p-value is simulated for as many breaches of these very scales, or the
    normal one.
    ParameterError as `shortfall_tests.acerbi_szekely_1`.
    """
    refuse_tail(rate, degrees)
    hits, spread, note = _residuals(loss, var, es, scale)
    t = _t_statistic(hits)
    p_value = ndtr(-t)
    for p in _by_count(hits, 2 if not asymptotic else math.inf):
        p_value[p] = _t_reference(spread[hits.of(p)], rate, degrees).p_value(t[p : p + 1])[0]
    how = "asymptotic normal" if asymptotic else f"simulated, seed {SEED}"
    return _verdict(hits, t, p_value, 2, rate, degrees, np.shape(loss)[1:], how, note)


def exceedance_bootstrap(
    loss: ArrayLike, var: ArrayLike, es: ArrayLike, rate: float, *, scale: ArrayLike | None = None
) -> Verdict:
    """The same with the p-value of McNeil and Frey: a bootstrap of the centred residuals, which assumes no law.

    Efron and Tibshirani (1993), An Introduction to the Bootstrap, section 16.4. Not testable below
    FEWEST_TO_BOOTSTRAP breaches. Power is that of the t-test against a normal law. Arguments and errors as
    `exceedance_residuals`.
    """
    refuse_tail(rate)
    hits, _, note = _residuals(loss, var, es, scale)
    t = _t_statistic(hits)
    p_value = np.ones(len(t))
    for p in np.flatnonzero(hits.count >= FEWEST_TO_BOOTSTRAP).tolist():
        p_value[p] = _resampled(hits.value[hits.of(p)], t[p])
    how = f"bootstrap of {_RESAMPLES} resamples, seed {SEED}"
    return _verdict(hits, t, p_value, FEWEST_TO_BOOTSTRAP, rate, math.inf, np.shape(loss)[1:], how, note)


def general_calibration(
    loss: ArrayLike,
    var: ArrayLike,
    es: ArrayLike,
    rate: float,
    *,
    scale: ArrayLike | None = None,
    degrees: float = math.inf,
    asymptotic: bool = False,
) -> Verdict:
    """Does the loss beyond VaR, with the breaches' own share allowed for, average to what ES says? Wald statistic.

    Nolde and Ziegel (2017), "Elicitability and backtesting", Annals of Applied Statistics 11: conditional calibration
    with the instrument ((ES - VaR) / rate, 1) / scale, which leaves the sum of the breaches' excess over ES, squared,
    over the sum of their squares (uncentred); chi-squared(1). `scale` as in `exceedance_residuals`. Two breaches at
    least, else not testable: without one it is singular, and with one it is 1 whatever the loss was. Both too small and
    too large an ES are rejected.
    """
    refuse_tail(rate, degrees)
    hits, _, note = _residuals(loss, var, es, scale)
    return judge_hits(
        _GENERAL,
        hits,
        rate,
        degrees,
        np.shape(loss)[1:],
        method="Nolde-Ziegel general conditional calibration",
        notes=f"not testable below 2 breaches, for the statistic of one is always 1{note}",
        asymptotic=chi_squared(1) if asymptotic else None,
    )


def simple_calibration(
    loss: ArrayLike,
    var: ArrayLike,
    es: ArrayLike,
    rate: float,
    *,
    degrees: float = math.inf,
    asymptotic: bool = False,
) -> Verdict:
    """Are VaR and expected shortfall right together, on average? Wald statistic of both moments, chi-squared(2).

    Nolde and Ziegel (2017): n m' Omega^-1 m, Omega uncentred, of the moments rate - 1{loss > VaR} and
    ES - VaR - (loss - VaR)+ / rate. It is n, the most it can be, with one breach, or where all are alike, whatever they
    were, and nearly that with two or three; ranked by it, few breaches of a right model would be the most extreme of
    all. So the p-value, simulated for these very forecasts, ranks samples by the same form with the Omega of the stated
    law (a score statistic; Rao 1948), which tells in both directions. Its power is that of constant forecasts. Not
    testable without a breach. `asymptotic` reads the statistic itself, and is not testable below two breaches nor where
    all are alike. Other arguments and errors as `exceedance_residuals`.
    """
    refuse_tail(rate, degrees)
    lost, quantile, beyond, note = tail_forecasts(loss, var, es)
    live, spread = np.isfinite(lost), beyond - quantile
    hits = hits_of(live, lost > quantile, (lost - quantile) / spread)
    shape = np.shape(loss)[1:]
    told = judge_hits(
        _WALD if asymptotic else _scored(degrees),
        hits,
        rate,
        degrees,
        (len(hits.length),),
        method="Nolde-Ziegel simple conditional calibration",
        notes=f"{'not testable below 2 breaches that differ' if asymptotic else _RANKED}{note}",
        asymptotic=chi_squared(2) if asymptotic else None,
    )
    statistic, p_value = _wald(hits, rate), told.p_value.copy()
    for p in np.flatnonzero(hits.count > 0).tolist():
        path, own = spread[live[:, p], p], hits.of(p)
        if np.ptp(path) <= _ALIKE * path[0]:
            continue
        alone = Hits(hits.length[p : p + 1], np.zeros_like(hits.time[own]), hits.time[own], hits.value[own])
        statistic[p] = _wald(alone, rate, path)[0]
        p_value[p] = chdtrc(2, statistic[p]) if asymptotic else _scored_p(alone, path, rate, degrees)
    testable = told.testable & ~(asymptotic & _alike(hits))
    sides = np.where(testable, statistic, 0.0), np.where(testable, p_value, 1.0), told.power
    statistic, p_value, power = (np.asarray(side, dtype=np.float64).reshape(shape) for side in sides)
    return Verdict(statistic, p_value, power, testable.reshape(shape), told.method, told.notes)


def _scored_p(hits: Hits, path: Floats, rate: float, degrees: float) -> float:
    """P-value of one series on its own path of ES - VaR."""
    drawn = drawn_hits(len(path), rate)
    few, size = drawn.series < _PATH_DRAWS, min(_PATH_DRAWS, len(drawn.length))
    value = _beyond_var(drawn.value[few], rate, degrees)
    under_law = Hits(drawn.length[:size], drawn.series[few], drawn.time[few], value)
    true = _score(under_law, rate, degrees, path)[under_law.count > 0]
    return float(Reference(np.sort(true), np.empty(0), 1.0).p_value(_score(hits, rate, degrees, path))[0])


def _alike(hits: Hits) -> Bools:
    """Where the breaches of a series, (B,), are one, or do not differ: the Wald statistic is then what it must be."""
    mean = hits.mean(hits.value)
    return np.asarray(hits.total((hits.value - mean[hits.series]) ** 2) <= _ALIKE**2 * hits.count * mean**2)


def _moments(hits: Hits, rate: float, spread: Floats | float) -> tuple[Floats, Floats, Floats, Floats]:
    """Both moments summed over decisions, (B,), and ES - VaR of each breach and its excess over VaR by rate, (K,)."""
    at_hit = np.broadcast_to(np.asarray(spread), (int(hits.length.max(initial=0)),))[hits.time]
    whole = np.sum(spread) if np.ndim(spread) else hits.length.astype(np.float64)
    excess = at_hit * hits.value / rate
    first = np.asarray(rate * hits.length - hits.count, dtype=np.float64)
    return first, np.asarray(whole - hits.total(excess), dtype=np.float64), at_hit, np.asarray(excess)


def _score(hits: Hits, rate: float, degrees: float, spread: Floats | float = 1.0) -> Floats:
    """m' Omega^-1 m, (B,), Omega that of the law: of the moments summed over decisions."""
    first, second, *_ = _moments(hits, rate, spread)
    length = np.maximum(hits.length, 1.0)
    whole, squares = (np.sum(spread), np.sum(np.square(spread))) if np.ndim(spread) else (length, length)
    omega_11, omega_12 = rate * (1.0 - rate) * length, (1.0 - rate) * whole
    omega_22 = (_mean_square(rate, degrees) / rate - 1.0) * squares
    form = first**2 * omega_22 - 2.0 * first * second * omega_12 + second**2 * omega_11
    return np.asarray(form / (omega_11 * omega_22 - omega_12**2))


@lru_cache(maxsize=64)
def _mean_square(rate: float, degrees: float) -> float:
    """Of a breach's excess over VaR, in ES - VaR, under the law; above 1, its mean."""
    pit = rate * (np.arange(_CELLS) + 0.5) / _CELLS
    return float(np.mean(_beyond_var(pit, rate, degrees) ** 2))


@lru_cache(maxsize=16)
def _scored(degrees: float) -> TailTest:
    return TailTest(lambda hits, rate: _score(hits, rate, degrees), _beyond_var, np.positive, least=1)


def _wald(hits: Hits, rate: float, spread: Floats | float = 1.0) -> Floats:
    """n m' Omega^-1 m of each series, (B,), whose ES - VaR is the path `spread` (R,), or 1.

    Where singular it is n, which it tends to, or 0 without a breach.
    """
    length = hits.length.astype(np.float64)
    first, second, at_hit, excess = _moments(hits, rate, spread)
    squares = np.sum(np.square(spread)) if np.ndim(spread) else length
    omega_11 = rate**2 * length + (1.0 - 2.0 * rate) * hits.count
    omega_12 = rate * second - hits.total(at_hit - excess)
    omega_22 = squares + hits.total(excess * (excess - 2.0 * at_hit))
    determinant = omega_11 * omega_22 - omega_12**2
    known = determinant > 1e-12 * omega_11 * omega_22
    form = first**2 * omega_22 - 2.0 * first * second * omega_12 + second**2 * omega_11
    limit = np.where(hits.count > 0, length, 0.0)
    return np.where(known, np.minimum(form / np.where(known, determinant, 1.0), length), limit)


def _general(hits: Hits, rate: float) -> Floats:  # noqa: ARG001  every statistic is asked alike
    squares = hits.total(hits.value**2)
    return np.asarray(hits.total(hits.value) ** 2 / np.where(squares > 0, squares, 1.0))


def _beyond_var(pit: Floats, rate: float, degrees: float) -> Floats:
    quantile, beyond = unit_tail(1.0 - rate, degrees)
    return np.asarray((quantile_of(pit, degrees) - quantile) / (beyond - quantile))


def _beyond_es(pit: Floats, rate: float, degrees: float) -> Floats:
    return _beyond_var(pit, rate, degrees) - 1.0


_GENERAL = TailTest(_general, _beyond_es, np.positive, least=2)
_WALD = TailTest(_wald, _beyond_var, np.positive, least=2)


def _residuals(loss: ArrayLike, var: ArrayLike, es: ArrayLike, scale: ArrayLike | None) -> tuple[Hits, Floats, str]:
    """The breaches with their excess over ES per scale, (ES - VaR) per scale of each, (K,), and what was left out."""
    lost, quantile, beyond, note = tail_forecasts(loss, var, es)
    unit = beyond - quantile if scale is None else panels(lost, np.reshape(scale, _rows(scale, lost)))[1]
    live, hit = np.isfinite(lost), lost > quantile
    if not (unit[live] > 0).all():
        raise ParameterError("the scale of residuals must be > 0 wherever a loss is known")
    spread = hits_of(live, hit, (beyond - quantile) / unit)
    excess = lost - beyond
    excess = np.where(np.abs(excess) > _NO_EXCESS * beyond, excess, 0.0)
    return hits_of(live, hit, excess / unit), spread.value, note


def _rows(scale: ArrayLike, lost: Floats) -> tuple[int, ...]:
    """The shape in which a scale goes beside (R, P) losses: a number, one a decision, or one each."""
    shape = np.shape(scale)
    return (len(lost), 1) if shape == (len(lost),) else shape


def _t_statistic(hits: Hits) -> Floats:
    """Mean over its standard error, (B,), which is at least _ALIKE of the mean; 0 below two breaches."""
    count, mean = hits.count, hits.mean(hits.value)
    squares = hits.total((hits.value - mean[hits.series]) ** 2)
    error = np.sqrt(squares / np.maximum(count - 1, 1) / np.maximum(count, 1))
    error = np.maximum(error, _ALIKE * np.abs(mean))
    return np.divide(mean, error, out=np.zeros_like(mean), where=(count > 1) & (error > 0.0))


def _by_count(hits: Hits, least: float) -> list[int]:
    """Portfolios of `least` breaches or more, those of as many together."""
    order = np.argsort(hits.count, kind="stable")
    return [int(p) for p in order[hits.count[order] >= least]]


def _t_reference(spread: Floats, rate: float, degrees: float) -> Reference:
    """The t-statistic of breaches whose ES - VaR per scale are `spread` (k,), drawn from the law."""
    if np.ptp(spread) <= _ALIKE * spread[0]:
        return _even_reference(len(spread), rate, degrees)
    return _drawn_reference(spread, rate, degrees)


@lru_cache(maxsize=512)
def _even_reference(count: int, rate: float, degrees: float) -> Reference:
    return _drawn_reference(np.ones(count), rate, degrees)


def _drawn_reference(spread: Floats, rate: float, degrees: float) -> Reference:
    draws = min(_DRAWS, max(2_000_000 // len(spread), 2_000))
    return Reference(np.sort(_t_of_rows(spread * _drawn_excess(draws, len(spread), rate, degrees))), np.empty(0), 1.0)


@lru_cache(maxsize=2)
def _drawn_excess(draws: int, count: int, rate: float, degrees: float) -> Floats:
    """Excess over ES of so many breaches (draws, count), in ES - VaR; of one count for many books, so kept a while."""
    pit = rate * (1.0 - np.random.default_rng((SEED, count)).random((draws, count)))
    return _beyond_es(np.asarray(pit), rate, degrees)


def _t_of_rows(value: Floats) -> Floats:
    count = value.shape[1]
    return np.asarray(value.mean(axis=1) * math.sqrt(count) / value.std(axis=1, ddof=1))


@lru_cache(maxsize=256)
def _t_power(length: int, rate: float, degrees: float, least: int) -> float:
    """Probability that the t-test rejects where losses are larger until breaches come twice as often."""
    drawn = drawn_hits(length, rate, degrees)
    hits = Hits(drawn.length, drawn.series, drawn.time, _beyond_es(drawn.value, rate, degrees))
    count = hits.count
    most = np.minimum(count, _MOST_RESIDUALS)
    critical = np.full(_MOST_RESIDUALS + 1, np.inf)
    for k in np.unique(most[most >= least]).tolist():
        critical[k] = np.quantile(_even_reference(k, rate, degrees).true, 1.0 - SIZE)
    return float(np.mean((count >= least) & (_t_statistic(hits) > critical[most])))


def _resampled(residual: Floats, t: float) -> float:
    """One-sided bootstrap p-value of a mean above zero; where residuals are all alike their sign decides."""
    if np.ptp(residual) <= _ALIKE * np.abs(residual).max():
        return 1.0 / (1 + _RESAMPLES) if t > 0 else 1.0
    rng = np.random.default_rng(SEED)
    drawn = (residual - residual.mean())[rng.integers(0, len(residual), (_RESAMPLES, len(residual)))]
    spread = drawn.std(axis=1, ddof=1)
    standing = np.divide(
        drawn.mean(axis=1) * math.sqrt(len(residual)), spread, out=np.zeros_like(spread), where=spread > 0
    )
    return float((1 + (standing >= t).sum()) / (1 + _RESAMPLES))


def _verdict(
    hits: Hits,
    t: Floats,
    p_value: Floats,
    least: int,
    rate: float,
    degrees: float,
    shape: tuple[int, ...],
    how: str,
    note: str,
) -> Verdict:
    testable = hits.count >= least
    power = [_t_power(n, rate, degrees, least) if n else 0.0 for n in hits.length.tolist()]
    told = (np.where(testable, t, 0.0), np.where(testable, p_value, 1.0), np.array(power))
    statistic, p_value, powers = (array.reshape(shape) for array in told)
    method = f"McNeil-Frey exceedance residuals, {how}"
    notes = f"one-sided; not testable below {least} breaches{note}"
    return Verdict(statistic, p_value, powers, testable.reshape(shape), method, notes)
