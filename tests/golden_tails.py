"""What does the project say to the golden cases of tails: a Pareto law, a walk forward of quantiles, a regression?"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from data import Floats
from golden_cases import Case
from margin_models.generalised_pareto import fit_tail
from margin_models.rolling_tails import rolling_tails
from margin_models.volatility.har_regression import har_regression

Figures = dict[str, Any]

MCNEIL_FREY = "AR(1)-GARCH(1,1) normal PML on losses=-log returns x100; POT on residuals u=z_(k+1)"
SLOPES = {1: "b_d", 5: "b_w", 22: "b_m"}


def evt_gpd(case: Case) -> Figures:
    data, threshold = case.read("data", "u")
    tail = fit_tail(_only_column(case, data), float(threshold))
    return {
        "n_exceed": tail.exceedances,
        "xi": tail.shape,
        "beta": tail.scale,
        "se_xi": tail.shape_error,
        "se_beta": tail.scale_error,
        "loglik": tail.loglikelihood,
    }


def har(case: Case) -> Figures:
    data, lags, y = case.read("data", "lags", "y")
    told, table = re.fullmatch(r"(\w+)_\{t\+1\}", y), case.table(data)
    if told is None or told[1] not in table or not set(lags) <= set(SLOPES):
        raise case.refuse("the regression", (y, lags))
    found = har_regression(table[told[1]], tuple(lags))
    slopes = {SLOPES[lag]: slope for lag, slope in zip(lags, found.slopes, strict=True)}
    return {"beta0": found.intercept, "n": found.observations, **slopes}


def mcneil_frey_backtest(case: Case) -> Figures:
    """Breaches of one-day quantiles, refitted every day.

    Counts are floats, so that the case's relative tolerance holds for those of another's fits ("own"). What was
    published is agreed with where a count is within `accept_abs` of it; any other count is told as it is.
    """
    data, window, k, quantiles, model = case.read("data", "window", "k", "quantiles", "model")
    if model != MCNEIL_FREY:
        raise case.refuse("the model", model)
    told = rolling_tails(_losses(case, data), window, k, tuple(quantiles))
    assert told.unconverged == 0
    assert told.refused == 0
    forecasts = {
        "conditional_EVT": told.conditional_evt,
        "conditional_normal": told.conditional_normal,
        "conditional_t": told.conditional_t,
        "unconditional_EVT": told.unconditional_evt,
    }
    counts = {name: (told.loss[:, None] > one).sum(axis=0) for name, one in forecasts.items()}
    accepted, published = case.expected.get("accept_abs", 0), case.expected.get("published", {})
    return {
        "n_test": len(told.loss),
        "own_violations": {name: count.astype(np.float64) for name, count in counts.items()},
        "published": {name: _within(count, published.get(name), accepted) for name, count in counts.items()},
        "accept_abs": accepted,
    }


def _within(counts: Floats, published: list[int] | None, accepted: int) -> list[int]:
    """The published counts where ours are near enough, ours where not."""
    ours = [int(count) for count in counts]
    theirs = ours if published is None else published
    return [that if abs(this - that) <= accepted else this for this, that in zip(ours, theirs, strict=True)]


def _losses(case: Case, data: str) -> Floats:
    """Minus log returns in per cent, of a series of log returns or of levels."""
    values = _only_column(case, data)
    if data.endswith("_logret.csv"):
        return -100.0 * values
    if not data.endswith("_levels.csv"):
        raise case.refuse("a series of neither levels nor log returns", data)
    return -100.0 * np.diff(np.log(values))


def _only_column(case: Case, data: str) -> Floats:
    columns: Mapping[str, Floats] = case.table(data)
    if len(columns) != 1:
        raise case.refuse("which column is meant of", sorted(columns))
    return next(iter(columns.values()))


FAMILIES: dict[str, Callable[[Case], Figures]] = {
    "evt_gpd": evt_gpd,
    "har": har,
    "mcneil_frey_2000_backtest": mcneil_frey_backtest,
}
