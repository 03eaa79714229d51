"""W6: how fast are 12 models x 500 portfolios x 2,500 days scored: Kupiec, Christoffersen, pinball and FZ0?"""

import numpy as np
from race import Measurement, race
from scipy.stats import chi2

from backtest.coverage_tests import Transitions, conditional_coverage, independence, kupiec
from backtest.kernels import tally
from data import Floats

MODELS, DAYS, PORTFOLIOS = 12, 2500, 500
LEVEL = 0.99


def workload() -> list[Measurement]:
    """Ours against whole-array numpy with scipy's chi-squared tails, on the same arrays."""
    rng = np.random.default_rng(0)
    loss = rng.standard_t(5, (DAYS, PORTFOLIOS))
    margin = 2.9 * np.exp(0.2 * rng.standard_normal((MODELS, DAYS, PORTFOLIOS)))
    es = 1.3 * margin
    for ours, theirs in zip(one_pass(loss, margin, es), whole_arrays(loss, margin, es), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-9)
    took = race({"ours": lambda: one_pass(loss, margin, es), "peer": lambda: whole_arrays(loss, margin, es)})
    metric = f"score {MODELS} models x {PORTFOLIOS} portfolios x {DAYS} days"
    return [
        Measurement("W6", metric, "vectorised numpy", took["peer"] / took["ours"], 10.0, took["ours"], took["peer"])
    ]


def one_pass(loss: Floats, margin: Floats, es: Floats) -> tuple[Floats, ...]:
    """P-values of the three tests, mean pinball and mean FZ0, each (models, portfolios)."""
    told = [tally(loss, one, LEVEL, tail) for one, tail in zip(margin, es, strict=True)]
    count, breaches = (np.array([getattr(one, name) for one in told]) for name in ("count", "breaches"))
    steps = Transitions(*(np.array([getattr(one, name) for one in told]) for name in Transitions._fields))
    return (
        kupiec(breaches, count, 1 - LEVEL, exact=False).p_value,
        independence(steps, 1 - LEVEL).p_value,
        conditional_coverage(breaches, count, steps, 1 - LEVEL).p_value,
        np.array([one.pinball for one in told]),
        np.array([one.fz0_total / one.fz0_count for one in told]),
    )


def whole_arrays(loss: Floats, margin: Floats, es: Floats) -> tuple[Floats, ...]:
    """The same as one would write it in numpy."""
    rate, days = 1 - LEVEL, len(loss)
    hit = loss > margin
    x = hit.sum(1)
    before, after = hit[:, :-1], hit[:, 1:]
    n11, n10, n01 = (before & after).sum(1), (before & ~after).sum(1), (~before & after).sum(1)
    n00 = days - 1 - n11 - n10 - n01
    gap = loss - margin
    uc = 2 * (likelihood(x, days - x) - x * np.log(rate) - (days - x) * np.log1p(-rate))
    ind = 2 * (likelihood(n01, n00) + likelihood(n11, n10) - likelihood(n01 + n11, n00 + n10))
    pinball = np.maximum(LEVEL * gap, -rate * gap).mean(1)
    fz0 = (hit * gap / (rate * es) + margin / es + np.log(es) - 1).mean(1)
    return chi2.sf(uc, 1), chi2.sf(ind, 1), chi2.sf(uc + ind, 2), pinball, fz0


def likelihood(hits: np.ndarray, others: np.ndarray) -> Floats:
    """Log likelihood of hits and others at their own share, 0 log 0 being 0."""
    share = hits / np.maximum(hits + others, 1)
    logs = np.log(np.where(hits > 0, share, 1.0)), np.log(np.where(others > 0, 1 - share, 1.0))
    return np.asarray(hits * logs[0] + others * logs[1])
