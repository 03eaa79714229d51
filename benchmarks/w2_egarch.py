"""W2: how fast is EGARCH fitted to every window of 20 assets, on one core and two, and is it ever worse than arch?"""

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from arch.univariate import EGARCH, Normal, StudentsT, ZeroMean
from race import Measurement, race
from w2_garch import ASSETS, REFITS, TIMED, WINDOW, every_window, real

from data import Floats
from margin_models.volatility.egarch_fits import EgarchFits, fit_windows

NO_WORSE, SIGMA = 1e-6, 1e-4  # log-likelihood; relative
GOAL = 150.0  # on one core, over arch as it comes


def workload(compared: int = 120) -> list[Measurement]:
    """Ours against arch's own fit, as it comes.

    Log-likelihood and forecast are compared with the best of arch's at its tightest from several starts, on so many
    random windows of each law, half of them simulated, half of the S&P 500 and the Nasdaq.
    """
    simulated, results = [simulate(seed) for seed in range(ASSETS)], []
    for student in (False, True):
        name = "EGARCH-t" if student else "EGARCH"
        for kind, series in (("simulated", simulated), ("real", real())):
            print(f"W2: {name}, {kind}: {differences(series, student, compared // 2)}", flush=True)
        results += timed(name, simulated, student)
    return results


def timed(name: str, series: Sequence[Floats], student: bool) -> list[Measurement]:
    """A fit of ours on one core and on two, gates and all, over one of arch's."""
    rng, (own, blocks), fits = np.random.default_rng(2), every_window(series), ASSETS * REFITS
    chosen = [
        series[a][k : k + WINDOW]
        for a, k in np.column_stack([rng.integers(0, ASSETS, TIMED), rng.integers(1, REFITS, TIMED)]).tolist()
    ]
    took = race(
        {
            "one core": lambda: fit_windows(*own, student, blocks=blocks, threads=1),
            "two cores": lambda: fit_windows(*own, student, blocks=blocks, threads=2),
            "arch": lambda: [model(one, student).fit(disp="off", show_warning=False) for one in chosen],
        },
        rounds=3,
    )
    micro = {key: 1e3 * took[key] / (TIMED if key == "arch" else fits) for key in took}
    print(f"W2: {name}: microseconds a fit: " + ", ".join(f"{key} {one:.1f}" for key, one in micro.items()), flush=True)
    return [
        Measurement(
            "W2",
            f"{name}, {ASSETS} assets x {REFITS} refits on {WINDOW} rows, {cores}",
            "arch naive",
            micro["arch"] / micro[cores],
            goal,
            took[cores],
            micro["arch"] * fits / 1e3,
        )
        for cores, goal in (("one core", GOAL), ("two cores", 1.5 * GOAL))
    ]


def differences(series: Sequence[Floats], student: bool, count: int) -> str:
    """How far the best of arch's fits is above ours at most where its filter forgets its start, and more."""
    (returns, begin, end), blocks = every_window(series)
    fits = fit_windows(returns, begin, end, student, blocks=blocks, threads=2)
    worse, apart, lower, seen = -math.inf, 0.0, 0, 0
    for w in np.random.default_rng(3).choice(len(begin), min(count, len(begin)), replace=False).tolist():
        own = returns[begin[w] : end[w]]
        unit = math.sqrt(np.mean(own**2))
        found = [one for one in arch_fits(own / unit, student) if invertible(one)]
        if not found or fits.refusal[w]:
            continue
        best = max(found, key=lambda one: float(one.loglikelihood))
        gap = float(best.loglikelihood) - len(own) * math.log(unit) - float(fits.loglikelihood[w])
        seen, worse, lower = seen + 1, max(worse, gap), lower + (gap < -1e-3)
        if abs(gap) < NO_WORSE:
            theirs = unit * math.sqrt(best.forecast(horizon=1, reindex=False).variance.to_numpy()[0, 0])
            apart = max(apart, abs(math.sqrt(fits.ahead[w]) / theirs - 1.0))
    missed = ": MISSED" if worse > NO_WORSE or apart > SIGMA else ""
    return (
        f"{seen} windows: log-likelihood at most {worse:.1e} below arch's, {lower} times over 1e-3 above it; "
        f"sigma within {apart:.1e}; {refused(fits)}; goals {NO_WORSE:g} and {SIGMA:g}{missed}"
    )


def refused(fits: EgarchFits) -> str:
    return f"{sum(map(bool, fits.refusal))} of {len(fits.refusal)} refused, {fits.evaluations.mean():.1f} evaluations"


def model(returns: Floats, student: bool) -> Any:
    law = StudentsT() if student else Normal()
    return ZeroMean(returns, volatility=EGARCH(1, 1, 1), distribution=law, rescale=False)


def arch_fits(returns: Floats, student: bool) -> list[Any]:
    """arch's converged fits from its own start and from two of ours."""
    found = []
    for start in (None, (0.0, 0.15, -0.05, 0.95), (0.0, 0.1, 0.0, 0.8)):
        first = None if start is None else np.array([*start, *[6.0] * student])
        told = model(returns, student).fit(
            disp="off", tol=1e-12, show_warning=False, options={"maxiter": 1000}, starting_values=first
        )
        found += [told] * (told.convergence_flag == 0)
    return found


def invertible(told: Any) -> bool:
    """Whether ln variances forget what they began from: beyond that arch's likelihoods are chaos."""
    z, (alpha, gamma, beta) = told.std_resid, told.params.to_numpy()[1:4]
    left = np.log(np.abs(beta - 0.5 * (alpha * np.abs(z) + gamma * z)) + 1e-300)
    return bool(left.sum() < 0.0)


def simulate(seed: int) -> Floats:
    """EGARCH returns of a random law, as long as all windows need."""
    rng, rows = np.random.default_rng(seed), WINDOW + REFITS + 200
    alpha, gamma, beta = rng.uniform(0.08, 0.25), rng.uniform(-0.15, 0.0), rng.uniform(0.85, 0.98)
    nu, level = rng.uniform(4.0, 10.0), rng.uniform(-0.7, 1.4)
    shocks = rng.standard_t(nu, rows) * math.sqrt((nu - 2.0) / nu)
    returns, log = np.empty(rows), level
    for t, z in enumerate(shocks.tolist()):
        returns[t] = math.exp(0.5 * log) * z
        log = (1.0 - beta) * level + alpha * (abs(z) - math.sqrt(2.0 / math.pi)) + gamma * z + beta * log
    return np.asarray(returns[200:])


if __name__ == "__main__":
    for result in workload(int(sys.argv[1]) if len(sys.argv) > 1 else 120):
        print(result.line())
