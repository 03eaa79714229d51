"""What does the project say to the golden cases of predictive laws, shortfalls and evidence?

Returns-side inputs (r below q is a violation; q and e negative) become losses -r above forecasts -q and -e.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import ndtr

from backtest.calibration_tests import exceedance_residuals, general_calibration, simple_calibration
from backtest.e_backtests import EvidencePath, evidence_path
from backtest.law_tests import (
    berkowitz_scores,
    berkowitz_tail,
    cumulative_violations,
    mean_violation,
    memory,
    violation_autocorrelation,
)
from backtest.shortfall_tests import acerbi_szekely_1, acerbi_szekely_2, critical_value
from backtest.stakes import Constant, Gree, Grel, Stake
from data import Floats
from golden_cases import Case

Figures = dict[str, Any]

LAWS = {"normal": np.inf, "t3": 3.0, "t4": 4.0, "t5": 5.0, "t6": 6.0, "t10": 10.0}
FORECASTS = ("data", "columns", "alpha", "violation")
BY_HAND = ("r", "q", "e", "alpha")


def told(case: Case, *more: str) -> tuple[dict[str, Floats], float, list[Any]]:
    """Losses, var, es and what else a series holds, by name; the tail probability; and the further inputs."""
    if "r" in case.inputs:
        *given, alpha, scale, violation = case.read(*BY_HAND, "s", "violation", optional=["s", "violation"])
        series = dict(zip("rqe", (np.array(side, dtype=np.float64) for side in given), strict=True))
        series |= {} if scale is None else {"s": np.array(scale, dtype=np.float64)}
        rest = [None] * len(more)
    else:
        data, columns, alpha, violation, *rest = case.read(*FORECASTS, *more)
        if not columns.startswith("r return, q VaR quantile (<0), e ES (<0)"):
            raise case.refuse("the reading of the columns", columns)
        series = case.table(data)
    if violation not in (None, "r<q"):
        raise case.refuse("violation", violation)
    return {"loss": -series["r"], "var": -series["q"], "es": -series["e"], **series}, alpha, rest


def acerbi_szekely(case: Case) -> Figures:
    if case.has("T", "alpha", "dist"):
        length, alpha, laws = case.read("T", "alpha", "dist")
        if unknown := set(laws) - LAWS.keys():
            raise case.refuse("law", unknown)
        sizes = {"crit_5pct": 0.05, "crit_1pct": 0.01}
        return {
            name: [critical_value(length, alpha, degrees=LAWS[law], size=size) for law in laws]
            for name, size in sizes.items()
        }
    series, alpha, _ = told(case)
    forecast = series["loss"], series["var"], series["es"], alpha
    first = acerbi_szekely_1(*forecast)
    return {"Z1": first.statistic if first.testable else None, "Z2": acerbi_szekely_2(*forecast).statistic}


def berkowitz_ratios(case: Case) -> Figures:
    series, alpha, (column,) = told(case, "pit_normal")
    if column != "z column":
        raise case.refuse("normal scores in", column)
    score = series["z"]
    whole, tail = berkowitz_scores(score, asymptotic=True), berkowitz_tail(ndtr(score), alpha, asymptotic=True)
    percent = f"{100 * alpha:g}"
    return {
        "LR3": whole.statistic,
        "p": whole.p_value,
        "rho": memory(score),
        f"tail{percent}_LR": tail.statistic,
        f"tail{percent}_p": tail.p_value,
        "rugarch_variant_LR": rugarch_ratio(score),
    }


def rugarch_ratio(score: Floats) -> float:
    """R's package takes one mean off all scores, and of the first residual, which has no lag, only the variance."""
    centred = score - score.mean()
    before, after = centred[:-1], centred[1:]
    residual = after - before * (before @ after) / (before @ before)
    variance = (centred[0] ** 2 + residual @ residual) / (len(score) - 1)
    return float(score[1:] @ score[1:] - residual @ residual / variance - len(after) * np.log(variance))


def cumulated(case: Case) -> Figures:
    if case.has("u", "alpha"):
        pit, alpha = case.read("u", "alpha")
        lags = 5
    else:
        series, alpha, (column, lags) = told(case, "pit", "lags")
        if column != "u=Phi(z), column z":
            raise case.refuse("pits in", column)
        pit = ndtr(series["z"])
    mean = cumulative_violations(pit, alpha, asymptotic=True)
    clustered = violation_autocorrelation(pit, alpha, lags=lags, asymptotic=True)
    return {
        "H_mean": mean_violation(pit, alpha),
        "U": mean.statistic,
        "p_U": mean.p_value,
        f"C{lags}": clustered.statistic,
        f"p_C{lags}": clustered.p_value,
    }


def residuals(case: Case) -> Figures:
    """The cases test residuals that are not standardised."""
    series, alpha, _ = told(case)
    verdict = exceedance_residuals(series["loss"], series["var"], series["es"], alpha, scale=1.0, asymptotic=True)
    return {"t": verdict.statistic, "p_one_sided_normal": verdict.p_value}


def calibration(case: Case) -> Figures:
    series, alpha, _ = told(case)
    forecast = series["loss"], series["var"], series["es"], alpha
    simple = simple_calibration(*forecast, asymptotic=True)
    general = general_calibration(*forecast, scale=series["s"], asymptotic=True)
    return {
        "t_simple": simple.statistic,
        "p_simple": simple.p_value,
        "t_general": general.statistic,
        "p_general": general.p_value,
    }


def e_backtest(case: Case) -> Figures:
    if case.has("hits", "p", "lam"):
        hits, rate, share = case.read("hits", "p", "lam")
        return {"M": evidence_path(hits, 0.5, rate, stake=Constant(share)).capital}
    series, alpha, (cap, first) = told(case, "cap", "lambda1")
    if first != 0:
        raise case.refuse("a stake on the first day", first)
    stakes: dict[str, Stake] = {"const_0.01": Constant(0.01), "GREE": Gree(cap), "GREL": Grel(cap)}
    figures: Figures = {}
    for name, stake in stakes.items():
        loss, var = series["loss"], series["var"]
        figures |= _evidence(f"ES_{name}", evidence_path(loss, var, alpha, es=series["es"], stake=stake))
        figures |= _evidence(f"VaR_{name}", evidence_path(loss, var, alpha, stake=stake))
    return figures


def _evidence(name: str, path: EvidencePath) -> Figures:
    days = {f"{name}_first_day_ge_{level}": int(path.first_day(level)) or None for level in (2, 5, 10)}
    return {name: [path.capital[-1], path.highest], **days}


FAMILIES: dict[str, Callable[[Case], Figures]] = {
    "acerbi_szekely": acerbi_szekely,
    "berkowitz": berkowitz_ratios,
    "costanzino_curran_du_escanciano": cumulated,
    "e_backtest": e_backtest,
    "mcneil_frey_exceedance_residuals": residuals,
    "nolde_ziegel_calibration": calibration,
}
