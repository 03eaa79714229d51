"""What does the project say to the inputs of each golden family?

Each function turns the inputs of a case into calls of the project's own functions and its answer into the figures'
names. Where a published convention is not the project's, the function says so and builds it from the project's parts.
Returns-side inputs (r below q is a violation; q and e negative) become losses -r above margins -q.
"""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from backtest.coverage_tests import (
    BASEL_1996,
    BASEL_MAR99,
    Transitions,
    basel_multiplier,
    conditional_coverage,
    count_transitions,
    independence,
    kupiec,
    kupiec_region,
    too_many,
    traffic_light,
    tuff,
)
from backtest.kernels import Tally, tally
from data import Coverage, Floats, MarketHistory
from golden_cases import Case
from margin_models.base import VolatilityForecaster
from margin_models.correlation_var import deviation, euler_components
from margin_models.covariance import ewma_weights, weighted_second_moments
from margin_models.historical_var import FilteredHistoricalVaR
from margin_models.kernels.recursions import ewma_variance
from margin_models.kernels.tails import book_tails
from margin_models.volatility.garch import fit_garch, mean_square
from markets import book_of, market

Figures = dict[str, Any]

FORECASTS = ("data", "columns", "alpha", "violation")
EXACT = "exact: sum of Binomial pmf over k with LR(k)>=LR(x)"
AT_BASEL = (250, 0.01)


def forecasts(case: Case) -> tuple[Floats, Floats, Floats, float]:
    """Losses, margins and expected shortfalls (N, 1) of a series of forecasts, and the tail probability."""
    data, columns, alpha, violation = case.read(*FORECASTS)
    if violation != "r<q" or not columns.startswith("r return, q VaR quantile (<0), e ES (<0)"):
        raise case.refuse("the reading of the columns", (columns, violation))
    table = case.table(data)
    return -table["r"][:, None], -table["q"][:, None], -table["e"][:, None], alpha


def kupiec_pof(case: Case) -> Figures:
    if case.has("cases"):
        return {"min_max_x": [kupiec_region(n, p, exact=False) for p, n in case.inputs["cases"]]}
    n, x, p, method = case.read("n", "x", "p", "method", optional=["method"])
    if method not in (None, EXACT):
        raise case.refuse("method", method)
    exact, asymptotic = kupiec(x, n, p), kupiec(x, n, p, exact=False)
    return {
        "LR": exact.statistic,
        "p_value": asymptotic.p_value,
        "p_asymptotic": asymptotic.p_value,
        "p_exact": exact.p_value,
        "p_one_sided_binomial": too_many(x, n, p).p_value,
    }


def kupiec_tuff(case: Case) -> Figures:
    verdict = tuff(*case.read("first_failure", "p"))
    return {"LR": verdict.statistic, "p_value": verdict.p_value}


def christoffersen(case: Case) -> Figures:
    if case.has(*FORECASTS):
        loss, margin, _, p = forecasts(case)
        breached = (loss > margin)[:, 0]
        n, x, steps = len(breached), int(breached.sum()), count_transitions(breached)
    else:
        *counts, n, x, p = case.read("n00", "n01", "n10", "n11", "n", "x", "p")
        steps = Transitions(*counts)
    alone, both = independence(steps, p), conditional_coverage(x, n, steps, p)
    return {
        "N": n,
        "x": x,
        "n00_n01_n10_n11": list(steps),
        "LR_uc": kupiec(x, n, p).statistic,
        "p_uc": kupiec(x, n, p, exact=False).p_value,
        "LR_ind": alone.statistic,
        "p_ind": alone.p_value,
        "LR_cc": both.statistic,
        "p_cc": both.p_value,
    }


def basel_traffic_light(case: Case) -> Figures:
    n, p, x = case.read("n", "p", "x")
    light = traffic_light(x, n, p)
    told = {"cum_prob": light.cumulative, "zone": light.zone}
    if (n, p) != AT_BASEL:
        return told
    multipliers = {"multiplier_1996": BASEL_1996, "multiplier_MAR99": BASEL_MAR99}
    return told | {name: basel_multiplier(x, schedule) for name, schedule in multipliers.items()}


def scored(case: Case, quantile: str, shortfall: str | None) -> tuple[Tally, Tally]:
    """The tally of a case's forecasts: as one portfolio, and each forecast as its own."""
    if case.has(*FORECASTS):
        loss, margin, es, alpha = forecasts(case)
    else:
        names = ["y", quantile, "alpha", *([shortfall] if shortfall else [])]
        y, q, alpha, *e = case.read(*names)
        loss, margin, es = (-np.array(side, dtype=np.float64)[:, None] for side in (y, q, e[0] if e else q))
    apart = tally(loss.T, margin.T, 1.0 - alpha, es.T)
    return tally(loss, margin, 1.0 - alpha, es), apart


def pinball(case: Case) -> Figures:
    together, apart = scored(case, "q", None)
    return {"mean_loss": together.pinball[0], "loss": apart.pinball}


def fz0_loss(case: Case) -> Figures:
    together, apart = scored(case, "v", "e")
    if together.fz0_count[0] < together.count[0]:
        raise case.refuse("an expected shortfall above its quantile, or not below zero, in", case.inputs)
    return {"mean_FZ0": together.fz0_total[0] / together.fz0_count[0], "loss": apart.fz0_total}


def historical_simulation(case: Case) -> Figures:
    """Rolling forecasts as R's quarks makes them: its quantile, its filter's start and its weights are not ours."""
    data, p, window, count, method, decay = case.read("data", "p", "nwin", "nout", "method", "lambda_")
    tails = {"plain": _plain_tail, "vwhs": _rescaled_tail, "age": _aged_tail}
    if method not in tails:
        raise case.refuse("method", method)
    losses = -case.table(data)["ret"]
    ends = range(len(losses) - count, len(losses))
    forecast = np.array([tails[method](losses[end - window : end], p, decay) for end in ends])
    return {
        "breaches_VaR_ES": [int((losses[-count:] > side).sum()) for side in forecast.T],
        "VaR_ES_first": forecast[0],
        "VaR_ES_last": forecast[-1],
    }


def _plain_tail(losses: Floats, p: float, decay: float | None = None) -> tuple[float, float]:
    """R's default quantile (type 7) and the mean above it: ours at the level that picks the same order statistic."""
    position = (len(losses) - 1) * p + 1
    quantile, beyond = book_tails(losses[None], position / (len(losses) + 1))
    if (losses == quantile).any():  # ours counts the loss at the quantile as beyond it
        beyond = losses[losses > quantile].mean(keepdims=True)
    return float(quantile[0]), float(beyond[0])


def _rescaled_tail(losses: Floats, p: float, decay: float | None) -> tuple[float, float]:
    """Hull and White (1998): at the volatility of the window's last day, filtered from the variance of the window."""
    start = np.array([losses.var(ddof=1)])
    filtered = ewma_variance(losses[:-1, None] ** 2, decay or 0.94, start)[:, 0]
    variance = np.concatenate([start, filtered])
    return _plain_tail(losses * np.sqrt(variance[-1] / variance), p)


def _aged_tail(losses: Floats, p: float, decay: float | None) -> tuple[float, float]:
    """Boudoukh, Richardson and Whitelaw (1998): weights by age, the quantile interpolated between cumulated weights."""
    weights = ewma_weights(len(losses), decay or 0.98)
    order = np.argsort(losses, kind="stable")
    quantile = np.interp(p, np.cumsum(weights[order]) / weights.sum(), losses[order])
    above = losses > quantile
    return float(quantile), float(np.average(losses[above], weights=weights[above]))


def ewma(case: Case) -> Figures:
    """A listing may begin with the newest return or with the oldest; the filter starts from zero."""
    listed, decay = case.read("x_listed", "lam")
    squares = np.array(listed)[:, None] ** 2
    ordered = {"first": squares[::-1], "last": squares}
    told = {
        f"sd_ewma_listed_{end}_heaviest": np.sqrt(ewma_variance(side.copy(), decay, np.zeros(1))[-1, 0])
        for end, side in ordered.items()
    }
    equal = weighted_second_moments(np.array(listed)[:, None], np.ones(len(listed)))
    return told | {"sd_equal_zero_mean": np.sqrt(equal[0, 0])}


def ledoit_wolf(case: Case) -> Figures:
    """Raw returns about their mean; the project's estimator takes them about zero and at unit variance."""
    from sklearn.covariance import ledoit_wolf as shrunk

    (rows,) = case.read("X")
    centred = np.array(rows) - np.mean(rows, axis=0)
    moments = weighted_second_moments(centred, np.ones(len(centred)))
    _, shrinkage = shrunk(np.array(rows))
    covariance = (1.0 - shrinkage) * moments + shrinkage * np.eye(len(moments)) * np.trace(moments) / len(moments)
    return {"shrinkage": shrinkage, "cov_diag": np.diag(covariance), "cov_01": covariance[0, 1]}


def parametric_var(case: Case) -> Figures:
    position, sigma, corr, z = case.read("position_musd", "sigma", "corr", "z")
    exposure, spread = 1e6 * np.array([position]), np.array(sigma)
    correlation = np.full((len(spread), len(spread)), corr) if np.ndim(corr) == 0 else np.array(corr)
    np.fill_diagonal(correlation, 1.0)
    covariance = correlation * np.outer(spread, spread)
    component = euler_components(exposure, covariance, z)[0]
    return {
        "var_usd": z * deviation(exposure, covariance)[0],
        "individual": z * deviation(np.diag(exposure[0]), covariance),
        "component": component,
        "marginal": component / exposure[0],
    }


def garch(case: Case) -> Figures:
    data, model, o, power, dist, h0 = case.read(
        "data", "model", "o", "power", "dist", "h0", optional=["o", "power", "dist", "h0"]
    )
    law = _law(case, model, o, power, dist)
    fit = fit_garch(_returns(case, data), constant_mean=True, backcast=_backcast(case, h0), **law)
    short = {name.removesuffix("[1]"): value for name, value in fit.parameters.items()}
    return {"loglik": fit.loglikelihood, **fit.parameters, **short}


def _law(case: Case, model: str, o: str | None, power: str | None, dist: str | None) -> dict[str, Any]:
    """The process that a case names: in words, or as arch's arguments, which must be the model's."""
    said = re.fullmatch(r"constant mean, (GARCH|GJR|TARCH)\(1,1(?:,1)?\), (normal|t)", model)
    name, tail = (
        (said[1].lower(), said[2]) if said else (model.removesuffix("_t"), "t" if model.endswith("_t") else None)
    )
    laws = {"garch": (0, 2.0), "gjr": (1, 2.0), "tarch": (1, 1.0)}
    if name not in laws or dist not in (None, "normal", "t", "StudentsT", "studentst"):
        raise case.refuse("the model", (model, dist))
    asymmetry, exponent = laws[name]
    if (int(o or asymmetry), float(power or exponent)) != laws[name]:
        raise case.refuse("a model of other orders than its name says", (model, o, power))
    student = tail == "t" or dist in ("t", "StudentsT", "studentst")
    return {"o": asymmetry, "power": exponent, "student": student}


def _backcast(case: Case, h0: str | None) -> Callable[[Floats], float] | None:
    """The variance before the sample: the mean square where a case says so, else arch's own."""
    if h0 is None:
        return None
    if h0 != "mean squared residual (e0^2=h0=mean e^2)":
        raise case.refuse("h0", h0)
    return mean_square


def _returns(case: Case, data: str) -> Floats:
    if data.startswith("data/"):
        return case.table(data)["ret"]
    if data != "arch.data.sp500 Adj Close, 100*pct_change, 5030 obs 1999-2018":
        raise case.refuse("data", data)
    from arch.data import sp500

    closes = sp500.load()["Adj Close"].to_numpy(np.float64)
    return np.asarray(100.0 * (closes[1:] / closes[:-1] - 1.0))


class Told(VolatilityForecaster):
    """A forecaster that says what a case says."""

    def __init__(self, sigma: tuple[float, ...] = ()) -> None:
        self.sigma = sigma

    def forecasts(self, past: MarketHistory, count: int) -> Floats:
        return np.array(self.sigma)[-count:, None]


def fhs(case: Case) -> Figures:
    """One unit of an asset that moved by these returns, in per cent; R's quantile of what the model replays."""
    r, sigma, sigma_next, p = case.read("r", "sigma", "sigma_next", "p")
    past = market([0.01 * move for move in r])
    model = FilteredHistoricalVaR(Told((*sigma, sigma_next))).fit(past, Coverage(0.51))
    losses = model.tail(past, book_of(1.0)).sample
    assert losses is not None
    pnl = -100.0 * losses[0] / past.now.spot[0]
    return {"scenario_pnl": pnl, "VaR_type7": _plain_tail(-pnl, p)[0]}


STATISTICS: dict[str, Callable[[Case], Figures]] = {
    "christoffersen": christoffersen,
    "ewma": ewma,
    "fhs": fhs,
    "fz0_loss": fz0_loss,
    "garch": garch,
    "historical_simulation": historical_simulation,
    "kupiec_pof": kupiec_pof,
    "kupiec_tuff": kupiec_tuff,
    "ledoit_wolf": ledoit_wolf,
    "parametric_var": parametric_var,
    "pinball": pinball,
    "traffic_light": basel_traffic_light,
}

# An optimiser leaves a parameter near its bound, not on it, and published fits say where theirs stopped.
FLOORS = {"garch": 1e-6}
