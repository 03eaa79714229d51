"""How often does the evidence against a right model ever reach 1/alpha, and when does that against a wrong one?"""

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm.auto import tqdm

from backtest.e_backtests import evidence_path
from backtest.size_of_laws import ERRORS, FEWER_FOR_POWER, RIGHT, TailPanel, Truth, tail_panel, too_small, too_thin
from backtest.stakes import Constant, Gree, Grel, Stake
from backtest.tail_hits import refuse_tail
from data import ParameterError

ALPHAS = (0.5, 0.2, 0.1, 0.05)
STAKES: tuple[Stake, ...] = (Constant(), Gree(), Grel())
KINDS = ("VaR", "ES")

_BLOCK = 500  # paths told together
_FEWER_WITH_GREL = 4  # of the paths: it tells all e-values again every day, and takes ten times as long as the others

Days = NDArray[np.int64]


def size_of_evidence(
    ns: Sequence[int],
    rate: float,
    repetitions: int,
    seed: int,
    *,
    stakes: Sequence[Stake] = STAKES,
    progress: bool = False,
) -> pd.DataFrame:
    """One row a length, forecast (VaR, ES), stake and threshold: how often capital was ever there, and when.

    All lengths are the first days of the same paths. Columns: `repetitions`, a quarter of those asked for where the
    stake is `Grel`; `alpha`, one over the threshold and the most that `share`
    may be where the forecasts are right; `share` and its `error`; `holds`, whether it is at most alpha within three
    standard errors; `power` where breaches come at twice the rate and `power_of_tail` where they come as they should
    and the losses beyond are larger than said (as in `size_of_laws`), from a fifth of the repetitions; `median_day` and
    `median_day_of_tail`, counted from 1, among the paths that arrived (NaN without any).

    Raises
    ------
    ParameterError
        For a rate that is no tail, or no length, stake or repetition.
    """
    refuse_tail(2.0 * rate)
    if repetitions < 1 or not len(ns) or min(ns) < 1 or not stakes:
        raise ParameterError(f"a study needs lengths >= 1, a stake and a repetition, got {tuple(ns)}, {repetitions}")
    fewer = max(repetitions // FEWER_FOR_POWER, 1)
    asked = ((RIGHT, repetitions), (too_small(rate), fewer), (too_thin(rate), fewer))
    days = [
        _first_days(max(ns), rate, truth, size, seed + k, stakes, progress) for k, (truth, size) in enumerate(asked)
    ]
    rows = [
        _row(n, *bet, alpha, *(side[bet][at] for side in days))
        for n in ns
        for bet in product(KINDS, map(str, stakes))
        for at, alpha in enumerate(ALPHAS)
    ]
    return pd.DataFrame(rows).set_index(["n", "evidence", "stake", "threshold"])


def _first_days(
    n: int, rate: float, truth: Truth, repetitions: int, seed: int, stakes: Sequence[Stake], progress: bool
) -> dict[tuple[str, str], Days]:
    """By forecast and stake: the day, (thresholds, repetitions), on which each path arrived at each; 0 for never."""
    told: dict[tuple[str, str], list[Days]] = {bet: [] for bet in product(KINDS, map(str, stakes))}
    for start in tqdm(range(0, repetitions, _BLOCK), desc="evidence", disable=not progress):
        panel = tail_panel(n, min(_BLOCK, repetitions - start), rate, truth, (seed, start))
        for kind, stake in product(KINDS, stakes):
            left = max(_repetitions(stake, repetitions) - start, 0)
            if left:
                told[kind, str(stake)].append(_arrivals(panel, kind, stake, left))
    return {bet: np.concatenate(blocks, axis=1) for bet, blocks in told.items()}


def _arrivals(panel: TailPanel, kind: str, stake: Stake, most: int) -> Days:
    loss, var, es = (side[:, :most] for side in (panel.loss, panel.var, panel.es))
    path = evidence_path(loss, var, panel.rate, es=es if kind == "ES" else None, stake=stake)
    return np.stack([path.first_day(1.0 / alpha) for alpha in ALPHAS])


def _repetitions(stake: Stake, asked: int) -> int:
    return max(asked // _FEWER_WITH_GREL, 1) if isinstance(stake, Grel) else asked


def _row(
    n: int, kind: str, stake: str, alpha: float, right: Days, small: Days, thin: Days
) -> dict[str, str | float | bool]:
    share = _share(right, n)
    return {
        "n": n,
        "evidence": kind,
        "stake": stake,
        "threshold": 1.0 / alpha,
        "repetitions": len(right),
        "alpha": alpha,
        "share": share,
        "error": math.sqrt(share * (1.0 - share) / len(right)),
        "holds": share <= alpha + ERRORS * math.sqrt(alpha * (1.0 - alpha) / len(right)),
        "power": _share(small, n),
        "median_day": _median(small, n),
        "power_of_tail": _share(thin, n),
        "median_day_of_tail": _median(thin, n),
    }


def _share(days: Days, n: int) -> float:
    return float(((days > 0) & (days <= n)).mean())


def _median(days: Days, n: int) -> float:
    arrived = days[(days > 0) & (days <= n)]
    return float(np.median(arrived)) if len(arrived) else math.nan
