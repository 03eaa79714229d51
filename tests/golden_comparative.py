"""What does the project say to the golden families that compare models with each other?

Published bootstrap figures are from arch.bootstrap at the seeds 1, 2, 3, ..., one a figure; ours draws the same dates.
"""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from backtest.block_means import StationaryBlocks
from backtest.loss_differences import diebold_mariano, giacomini_white
from backtest.model_confidence_set import model_confidence_set, superior_ability
from data import Floats
from golden_cases import Case

Figures = dict[str, Any]


def pinball(loss: Floats, margin: Floats, alpha: float) -> Floats:
    gap = loss - margin
    return np.asarray(np.where(gap > 0, (1.0 - alpha) * gap, -alpha * gap))


def pair(case: Case) -> tuple[Floats, Floats]:
    """Pinball losses of the forecasts and of the constant, from row 251 on."""
    names = ["data", "columns", "alpha", "violation", "model1", "model2", "rows", "loss", "d", "instruments"]
    data, columns, alpha, violation, model1, model2, rows, loss, d, instruments = case.read(
        *names, optional=["loss", "d", "instruments"]
    )
    first = re.fullmatch(r"(\d+)\.\.N", rows)
    constant = re.fullmatch(r"(?:constant )?(-\d+(?:\.\d+)?)(?: = .*)?", model2)
    said = {
        "the reading of the columns": columns.startswith("r return, q VaR quantile (<0)") and violation == "r<q",
        "model1": model1 in ("q", "q column"),
        "model2": constant is not None,
        "rows": first is not None,
        "loss": loss in (None, "pinball"),
        "d": d in (None, "L1-L2"),
        "instruments": instruments in (None, "[1,d_{t-1}]"),
    }
    for what, understood in said.items():
        if not understood:
            raise case.refuse(what, case.inputs.get(what, columns))
    assert first is not None
    assert constant is not None
    table = case.table(data)
    r, q = (table[name][int(first[1]) - 1 :] for name in ("r", "q"))
    return pinball(-r, -q, alpha), pinball(-r, np.full_like(r, -float(constant[1])), alpha)


def diebold_mariano_family(case: Case) -> Figures:
    """A figure's name says the steps (DM_HLN_h1) or the lags (DM_NW5); a p-value is of the last such one before it."""
    first, second = pair(case)
    told: Figures = {}
    for name in case.expected:
        steps, lags = re.fullmatch(r"DM_HLN_h(\d+)", name), re.fullmatch(r"DM_NW(\d+)", name)
        if steps:
            corrected = diebold_mariano(first, second, int(steps[1]))
            told |= {name: corrected.statistic, "p_t": corrected.p_value, "mean_d": corrected.mean}
        elif lags:
            long_run = diebold_mariano(first, second, lags=int(lags[1]))
            told |= {name: long_run.statistic, "p_norm": long_run.p_value, "mean_d": long_run.mean}
    return told


def giacomini_white_family(case: Case) -> Figures:
    told = giacomini_white(*pair(case))
    return {"GW": told.statistic, "p": told.p_value}


def stationary(case: Case, block: int, reps: int, bootstrap: str | None, seed: int) -> StationaryBlocks:
    if bootstrap not in (None, "stationary"):
        raise case.refuse("bootstrap", bootstrap)
    return StationaryBlocks(block, reps, seed)


def seeds(case: Case) -> range:
    """1, 2, ..., as many as every expected figure has entries."""
    counts = {len(figure) if isinstance(figure, list) else 0 for figure in case.expected.values()}
    if len(counts) != 1 or 0 in counts:
        raise case.refuse("a figure that is not one a seed in", dict(case.expected))
    return range(1, 1 + counts.pop())


def mcs(case: Case) -> Figures:
    names = ("losses", "size", "block_size", "reps", "method", "bootstrap")
    data, size, block, reps, method, bootstrap = case.read(*names, optional=["bootstrap"])
    if method not in ("R", "max"):
        raise case.refuse("method", method)
    losses = np.column_stack(list(case.table(data).values()))
    told = [
        model_confidence_set(losses, stationary(case, block, reps, bootstrap, s), size=size, pairwise=method == "R")
        for s in seeds(case)
    ]
    return {
        "included": [np.flatnonzero(one.included).tolist() for one in told],
        "pvalues": [one.p_value for one in told],
    }


def spa(case: Case) -> Figures:
    """The benchmark is the last or the first column, all others are the models."""
    data, block, reps, bootstrap = case.read("losses", "block_size", "reps", "bootstrap", optional=["bootstrap"])
    losses = np.column_stack(list(case.table(data).values()))
    told: Figures = {}
    for end, column in {"last": losses.shape[1] - 1, "first": 0}.items():
        verdicts = [superior_ability(losses, column, stationary(case, block, reps, bootstrap, s)) for s in seeds(case)]
        for kind in ("lower", "consistent", "upper"):
            told[f"p_{kind}_benchmark_{end}"] = [getattr(verdict, kind) for verdict in verdicts]
    return told


FAMILIES: dict[str, Callable[[Case], Figures]] = {
    "diebold_mariano": diebold_mariano_family,
    "giacomini_white": giacomini_white_family,
    "mcs": mcs,
    "spa": spa,
}
