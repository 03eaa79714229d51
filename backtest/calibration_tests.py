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
from data.laws import unit_tail

FEWEST_TO_BOOTSTRAP = 10  # breaches; below, resamples of a handful of residuals reject correct models too often
_DRAWS, _PATH_DRAWS = 20_000, 5_000  # of residuals, and of a portfolio's own path of forecasts
_MOST_RESIDUALS = 60  # beyond, the t-statistic's law no longer depends on how many there are
_RESAMPLES = 4_000
_ALIKE = 1e-9  # of a size: what differs by less is rounding


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
    else not testable. The p-value is simulated for as many breaches of these very scales, or the normal one.
    ParameterError as `shortfall_tests.acerbi_szekely_1`.
    """
    refuse_tail(rate, degrees)
    hits, spread, note = _residuals(loss, var, es, scale)
    t = _t_statistic(hits)
    p_value = ndtr(-t)
    for p in np.flatnonzero((hits.count >= 2) & (not asymptotic)).tolist():
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
    over the sum of their squares (uncentred); chi-squared(1). `scale` as in `exceedance_residuals`. A breach at least,
    else singular and not testable. Both too small and too large an ES are rejected.
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
        notes=f"singular, so not testable, without a breach{note}",
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
    ES - VaR - (loss - VaR)+ / rate. Singular, and not testable, without a breach. The p-value is simulated for these
    very forecasts; its power is that of constant ones. Arguments and errors as `exceedance_residuals`.
    """
    refuse_tail(rate, degrees)
    lost, quantile, beyond, note = tail_forecasts(loss, var, es)
    live, spread = np.isfinite(lost), beyond - quantile
    hits = hits_of(live, lost > quantile, (lost - quantile) / spread)
    told = judge_hits(
        _SIMPLE,
        hits,
        rate,
        degrees,
        np.shape(loss)[1:],
        method="Nolde-Ziegel simple conditional calibration",
        notes=f"singular, so not testable, without a breach{note}",
        asymptotic=chi_squared(2) if asymptotic else None,
    )
    statistic, p_value = np.ravel(told.statistic).copy(), np.ravel(told.p_value).copy()
    for p in np.flatnonzero(np.ravel(told.testable)).tolist():
        path, own = spread[live[:, p], p], hits.of(p)
        if np.ptp(path) <= _ALIKE * path[0]:
            continue
        alone = Hits(hits.length[p : p + 1], np.zeros_like(hits.time[own]), hits.time[own], hits.value[own])
        statistic[p] = _wald(alone, rate, path)[0]
        p_value[p] = _simple_p(path, statistic[p], rate, degrees, asymptotic)
    shape = np.shape(loss)[1:]
    return Verdict(statistic.reshape(shape), p_value.reshape(shape), told.power, told.testable, told.method, told.notes)


def _simple_p(path: Floats, wald: float, rate: float, degrees: float, asymptotic: bool) -> float:
    if asymptotic:
        return float(chdtrc(2, wald))
    drawn = drawn_hits(len(path), rate)
    few = drawn.series < _PATH_DRAWS
    size = min(_PATH_DRAWS, len(drawn.length))
    value = _beyond_var(drawn.value[few], rate, degrees)
    hits = Hits(drawn.length[:size], drawn.series[few], drawn.time[few], value)
    return float(
        Reference(np.sort(_wald(hits, rate, path)[hits.count > 0]), np.empty(0), 1.0).p_value(np.array([wald]))[0]
    )


def _wald(hits: Hits, rate: float, spread: Floats | float = 1.0) -> Floats:
    """n m' Omega^-1 m of each series, (B,), whose ES - VaR is the path `spread` (R,), or 1; 0 where singular."""
    length = hits.length.astype(np.float64)
    at_hit = np.broadcast_to(np.asarray(spread), (int(hits.length.max(initial=0)),))[hits.time]
    whole = np.sum(spread) if np.ndim(spread) else length
    squares = np.sum(np.square(spread)) if np.ndim(spread) else length
    excess = at_hit * hits.value / rate
    first = rate * length - hits.count
    second = whole - hits.total(excess)
    omega_11 = rate**2 * length + (1.0 - 2.0 * rate) * hits.count
    omega_12 = rate * second - hits.total(at_hit - excess)
    omega_22 = squares + hits.total(excess * (excess - 2.0 * at_hit))
    determinant = omega_11 * omega_22 - omega_12**2
    known = determinant > 1e-12 * omega_11 * omega_22
    form = first**2 * omega_22 - 2.0 * first * second * omega_12 + second**2 * omega_11
    return np.where(known, form / np.where(known, determinant, 1.0), 0.0)


def _general(hits: Hits, rate: float) -> Floats:  # noqa: ARG001  every statistic is asked alike
    squares = hits.total(hits.value**2)
    return np.asarray(hits.total(hits.value) ** 2 / np.where(squares > 0, squares, 1.0))


def _beyond_var(pit: Floats, rate: float, degrees: float) -> Floats:
    quantile, beyond = unit_tail(1.0 - rate, degrees)
    return np.asarray((quantile_of(pit, degrees) - quantile) / (beyond - quantile))


def _beyond_es(pit: Floats, rate: float, degrees: float) -> Floats:
    return _beyond_var(pit, rate, degrees) - 1.0


_GENERAL = TailTest(_general, _beyond_es, np.positive, least=1)
_SIMPLE = TailTest(_wald, _beyond_var, np.positive, least=1)


def _residuals(loss: ArrayLike, var: ArrayLike, es: ArrayLike, scale: ArrayLike | None) -> tuple[Hits, Floats, str]:
    """The breaches with their excess over ES per scale, (ES - VaR) per scale of each, (K,), and what was left out."""
    lost, quantile, beyond, note = tail_forecasts(loss, var, es)
    unit = beyond - quantile if scale is None else panels(lost, np.reshape(scale, _rows(scale, lost)))[1]
    live, hit = np.isfinite(lost), lost > quantile
    if not (unit[live] > 0).all():
        raise ParameterError("the scale of residuals must be > 0 wherever a loss is known")
    spread = hits_of(live, hit, (beyond - quantile) / unit)
    return hits_of(live, hit, (lost - beyond) / unit), spread.value, note


def _rows(scale: ArrayLike, lost: Floats) -> tuple[int, ...]:
    """The shape in which a scale goes beside (R, P) losses: a number, one a decision, or one each."""
    shape = np.shape(scale)
    return (len(lost), 1) if shape == (len(lost),) else shape


def _t_statistic(hits: Hits) -> Floats:
    """Mean over its standard error, (B,); 0 below two breaches or where all are alike."""
    count, mean = hits.count, hits.mean(hits.value)
    squares = hits.total((hits.value - mean[hits.series]) ** 2)
    error = np.sqrt(squares / np.maximum(count - 1, 1) / np.maximum(count, 1))
    return np.divide(mean, error, out=np.zeros_like(mean), where=(count > 1) & (error > _ALIKE * np.abs(mean)))


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
    value = spread * _beyond_es(_uniforms(draws, len(spread), rate), rate, degrees)
    return Reference(np.sort(_t_of_rows(value)), np.empty(0), 1.0)


def _uniforms(draws: int, count: int, rate: float) -> Floats:
    return np.asarray(rate * (1.0 - np.random.default_rng((SEED, count)).random((draws, count))))


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
    """One-sided bootstrap p-value of a mean above zero; 1 where residuals are all alike."""
    if np.ptp(residual) <= _ALIKE * np.abs(residual).max():
        return 1.0
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
