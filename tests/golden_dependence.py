"""What does the project say to the golden cases of dependence?"""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from data import Floats
from golden_cases import Case
from margin_models.covariance import correlation_of
from margin_models.kernels.correlations import dcc_loglikelihood, dcc_state
from margin_models.kernels.recursions import garch_variance

Figures = dict[str, Any]

GARCH = ("mu", "omega", "alpha1", "beta1")
JOINT = {"[Joint]dcca1": "dcca1", "[Joint]dccb1": "dccb1"}


def marginals(case: Case, given: dict[str, float], columns: dict[str, Floats]) -> Floats:
    """(4, A) parameters in the order of the columns; those of the joint law, repeated here, must be the case's."""
    for name, value in given.items():
        asset = re.fullmatch(r"\[(.+)\]\.(\w+)", name)
        known = asset is not None and asset[1] in columns and asset[2] in GARCH
        if not known and not (name in JOINT and value == case.inputs[JOINT[name]]):
            raise case.refuse("the parameter", (name, value))
    return np.array([[given[f"[{column}].{name}"] for column in columns] for name in GARCH])


def dcc(case: Case) -> Figures:
    """A filter of given parameters. Its likelihood begins at the target; rmgarch's with one innovation of ones more."""
    data, given, h0, target_is, news, memory = case.read("data", "marginals", "h0", "Qbar", "dcca1", "dccb1")
    if h0 != "mean e^2":
        raise case.refuse("h0", h0)
    if target_is != "cov(z) ddof=1":
        raise case.refuse("Qbar", target_is)
    columns = case.table(data)
    mu, omega, alpha, beta = marginals(case, given, columns)
    residuals = np.column_stack(list(columns.values())) - mu
    start = (residuals**2).mean(axis=0)
    ahead = garch_variance(residuals, omega, alpha, np.zeros(len(mu)), beta, start)
    variance = np.vstack([start, ahead[:-1]])
    z = residuals / np.sqrt(variance)
    target = np.cov(z, rowvar=False)
    forecast = correlation_of(dcc_state(z, target, news, memory, target))
    marginal = -0.5 * (np.log(2.0 * np.pi * variance)).sum()
    ones = dcc_state(np.ones((1, len(mu))), target, news, memory, target)
    return {
        "R_last": correlation_of(dcc_state(z[:-1], target, news, memory, target)),
        "R_forecast_1": forecast,
        "H_forecast_1": forecast * np.sqrt(np.outer(ahead[-1], ahead[-1])),
        "sigma_last": np.sqrt(variance[-1]),
        "loglik_own": marginal + dcc_loglikelihood(z, target, news, memory, target),
        "loglik_rmgarch": marginal + dcc_loglikelihood(z, target, news, memory, ones),
    }


FAMILIES: dict[str, Callable[[Case], Figures]] = {"dcc": dcc}
