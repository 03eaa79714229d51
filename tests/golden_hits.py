"""What does the project say to the golden cases of the tests that look at breaches alone, in their order?"""

from collections.abc import Callable
from typing import Any

from scipy.special import chdtrc

from backtest.duration_tests import haas, weibull, weibull_fit
from backtest.dynamic_quantile import degrees_of_freedom, dynamic_quantile, with_squared_loss
from golden_cases import Case
from golden_families import FORECASTS, forecasts

Figures = dict[str, Any]


def series_alone(case: Case, *more: str) -> Case:
    """The case without the inputs of those names, for what reads a series of forecasts and nothing else."""
    kept = {name: value for name, value in case.inputs.items() if name not in more}
    return Case(case.family, case.id, kept, case.expected, case.relative, case.absolute, case.folder)


def dynamic_quantiles(case: Case) -> Figures:
    *_, lags = case.read(*FORECASTS, "lags")
    loss, margin, _, rate = forecasts(series_alone(case, "lags"))
    hits = loss > margin
    plain = dynamic_quantile(hits, margin, rate, lags=lags)
    squared = with_squared_loss(hits, margin, loss, rate, lags=lags)
    freedom = [degrees_of_freedom(hits, margin, rate, lags=lags, losses=y)[0] for y in (None, loss)]
    return {
        "DQ_em": plain.statistic[0],
        "p_em": plain.asymptotic[0],
        "df_em": freedom[0],
        "DQ_gas": squared.statistic[0],
        "p_gas": squared.p_value[0],
        "df_gas": freedom[1],
    }


def durations(case: Case) -> Figures:
    """A published statistic with its degrees of freedom, or the tests of a series of forecasts."""
    if case.has("LR", "df"):
        statistic, freedom = case.read("LR", "df")
        return {"p_value": chdtrc(freedom, statistic)}
    loss, margin, _, rate = forecasts(case)
    hits = loss > margin
    count = int(hits.sum())
    fit, shape = weibull_fit(hits), weibull(hits, rate)
    alone, mixed = haas(hits, rate, mixed=False), haas(hits, rate, mixed=True)
    return {
        "b": fit.shape[0],
        "LR": shape.statistic[0],
        "p_value": shape.asymptotic[0],
        "loglik": fit.loglik[0],
        "loglik_exp": fit.loglik_exponential[0],
        "TBFI_LR": alone.statistic[0],
        "df_ind": count,
        "p_ind": alone.asymptotic[0],
        "TBF_LR": mixed.statistic[0],
        "df_mixed": count + 1,
        "p_mixed": mixed.asymptotic[0],
    }


FAMILIES: dict[str, Callable[[Case], Figures]] = {"dq": dynamic_quantiles, "duration": durations}
