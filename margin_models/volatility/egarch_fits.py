"""Which EGARCH(1,1,1) makes each of many windows of returns most likely, and may it forecast?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from data import Floats, ParameterError
from data.threads import pool
from margin_models.kernels.egarch_gates import EVIDENCE, egarch_logs, gather_evidence
from margin_models.kernels.egarch_walk import Found, Plan, walk
from margin_models.kernels.egarch_windows import (
    C_ALPHA,
    C_DRIFT,
    C_GAMMA,
    C_HEAVY,
    C_SLACK,
    LAW,
    SIZE,
    Windows,
    point_of,
)

EWMA_DECAY = 0.94
LEAST_RETURNS = 250  # below a year of days the parameters are mostly noise
PERSISTENCE = 0.9999  # the largest beta that is searched, as GARCH's persistence
DOMINANT = 0.5  # one return with half of the squares says nothing about how variance moves
BLOCK = 128  # windows that one warm start runs through: with fewer, more are searched from all starts
TOLERANCE = 1e-13  # what a Newton step may still promise; forecasts are then good to 1e-8 of themselves

_SAME = 0.1  # log-likelihoods closer than this are equally good
_EXPLOSIVE = 100.0  # times the standard deviation of a window, or one over it, that another such window would bring
_APART = math.log(100.0)  # ln variance: a tenth or ten times the standard deviation, as far as a forecast may go
_MET = 1.0  # ln variance: what may be left of that at the end of a window
_STARTS = (  # alpha, gamma and beta: the usual, and where else summits were found
    (0.12, -0.05, 0.95),
    (0.1, 0.0, 0.8),
    (0.1, 0.0, 0.995),
    (0.5, -0.15, 0.5),
    (0.02, 0.0, 0.98),
    (0.02, 0.1, 0.98),
)
_LIGHTEST, _HEAVIEST, _TYPICAL = 500.0, 2.05, 6.0  # degrees of freedom

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class EgarchFits:
    """What was found in W windows, in the units of the returns.

    (W,) each: `omega`, `alpha`, `gamma`, `beta`, `degrees` (infinite under a normal law), `before` and `ahead`, the
    variances before a window and of the row after it, `loglikelihood`, `converged`, `evaluations` of the likelihood;
    `refusal` is why a fit may not forecast, "" where it may.
    """

    omega: Floats
    alpha: Floats
    gamma: Floats
    beta: Floats
    degrees: Floats
    before: Floats
    ahead: Floats
    loglikelihood: Floats
    converged: NDArray[np.bool_]
    evaluations: Ints
    refusal: tuple[str, ...]


class Evidence(NamedTuple):
    """What gates know of a fit besides its law: see `gather_evidence`."""

    share: float
    constant: float
    ratio: float
    trend: float


def fit_windows(
    returns: Floats,
    begin: Ints,
    end: Ints,
    student: bool = False,
    *,
    blocks: Ints | None = None,
    persistence: float = PERSISTENCE,
    tolerance: float = TOLERANCE,
    threads: int | None = None,
) -> EgarchFits:
    """Maximum likelihood in rows begin[w] to end[w] - 1 of `returns` (T,), for all windows w at once.

    Parameters as arch has them: ln h' = omega + alpha (|z| - (2 / pi)^(1/2)) + gamma z + beta ln h (Nelson, 1991), the
    mean zero, beta from 0 to `persistence` below 1, and before a window the average of its first 75 squares, whose
    weights fade by 0.94. `student` puts a standardised t law for the normal one.

    Windows of one block, which begins at each of `blocks` (every 128 windows where None), follow each other: the first
    is searched from several starts, each other one from where the one before it ended. What a window is told depends
    only on those before it in its block, not on how many follow, nor on the number of `threads` (numba's where None).

    Raises
    ------
    ParameterError
        If a window has a return that is not finite, fewer than 250, or none that differs from zero.
    """
    begin, end = np.asarray(begin, np.int64), np.asarray(end, np.int64)
    returns = np.ascontiguousarray(returns)  # one layout, one compilation
    _check(returns, begin, end)
    first = np.arange(0, len(begin), BLOCK) if blocks is None else np.asarray(blocks, np.int64)
    windows = Windows(returns, begin, end, np.append(first, len(begin)).astype(np.int64))
    found = _walked(windows, Plan(_boxes(student, persistence), _starts(student), tolerance, student), threads)
    told = np.empty((len(begin), EVIDENCE))
    gather_evidence(returns, begin, end, found.laws, found.ahead, student, EWMA_DECAY, told)
    why = list(map(refusal, found.laws.tolist(), found.loglikelihood.tolist(), found.arrived.tolist(), told.tolist()))
    for w in [w for w, reason in enumerate(why) if not reason]:
        why[w] = _unforgotten(returns[begin[w] : end[w]], found.laws[w], found.before[w])
    omega, alpha, gamma, beta, degrees = found.laws.T.copy()
    return EgarchFits(
        omega,
        alpha,
        gamma,
        beta,
        degrees if student else np.full(len(begin), np.inf),
        np.exp(found.before),
        np.exp(found.ahead),
        found.loglikelihood,
        found.arrived,
        found.evaluations,
        tuple(why),
    )


def _walked(windows: Windows, plan: Plan, threads: int | None) -> Found:
    """What is found in all windows, blocks shared out among threads."""
    count, blocks = len(windows.begin), len(windows.block) - 1
    before, ahead, likelihood = np.empty((3, count))
    found = Found(
        np.empty((count, LAW)), before, ahead, likelihood, np.zeros(count, np.bool_), np.zeros(count, np.int64)
    )
    cuts = np.linspace(0, blocks, min(threads or numba.get_num_threads(), max(blocks, 1)) + 1).astype(int)
    work = [pool(len(cuts) - 1).submit(walk, windows, a, b, plan, found) for a, b in pairwise(cuts.tolist())]
    for one in work:
        one.result()
    return found


def _unforgotten(returns: Floats, law: Floats, before: float) -> str:
    """Why a law may not forecast returns (T,) whose filter ends elsewhere from another ln variance; "" if it may.

    The likelihood's own slopes say only that a filter forgets small differences along the way it went (Wintenberger,
    2013): some laws have another way, on which variance falls without end.
    """
    starts = before + np.array([0.0, -_APART, _APART])
    level = np.full(3, np.mean(returns**2))
    ends = egarch_logs(np.repeat(returns[:, None], 3, axis=1), np.tile(law, (3, 1)), starts, level, EWMA_DECAY)[-1]
    apart = float(np.max(np.abs(ends - ends[0])))
    if apart <= _MET:
        return ""
    times = math.exp(0.5 * _APART), math.exp(0.5 * apart)
    return f"the filter does not forget its start: {times[0]:.0f} times the st.dev. then is {times[1]:.3g} times now"


def _check(returns: Floats, begin: Ints, end: Ints) -> None:
    bad = (begin < 0) | (end - begin < LEAST_RETURNS) | (end > len(returns))
    if bad.any():
        w = int(np.argmax(bad))
        raise ParameterError(
            f"window {w} must hold {LEAST_RETURNS} or more of {len(returns)} returns, got rows {begin[w]} to {end[w]}"
        )
    sums = np.concatenate([[0.0], np.cumsum(np.isfinite(returns) & (returns != 0.0))])
    holes = np.concatenate([[0], np.cumsum(~np.isfinite(returns))])
    if ((holes[end] - holes[begin]) > 0).any() or ((sums[end] - sums[begin]) == 0).any():
        raise ParameterError("every window must hold finite returns only, and one that is not zero")


def _boxes(student: bool, persistence: float) -> Floats:
    """Bounds, longest steps, and variances of estimates from one row, of what is searched; what is not stands still.

    (2, 4, 5): with any alpha, and with none below zero.
    """
    box = np.empty((4, SIZE))
    box[:, C_DRIFT] = -9.0, 9.0, 0.3, 0.03
    box[:, C_ALPHA] = -2.0, 4.0, 0.2, 1.0
    box[:, C_GAMMA] = -2.0, 2.0, 0.2, 0.4
    box[:, C_SLACK] = math.log(1.0 - persistence), 0.0, 1.0, 100.0
    box[:, C_HEAVY] = (1.0 / _LIGHTEST, 1.0 / _HEAVIEST, 0.15, 0.4) if student else (0.1, 0.1, 1.0, 1.0)
    held = box.copy()
    held[0, C_ALPHA] = 0.0  # an EGARCH whose variance falls after large returns is rarely invertible
    return np.stack([box, held])


def _starts(student: bool) -> Floats:
    starts = np.zeros((len(_STARTS), SIZE))
    for start, (alpha, gamma, beta) in zip(starts, _STARTS, strict=True):
        level = -0.3 if student else -0.2  # of ln variance about the mean square
        point_of(np.array([(1.0 - beta) * level, alpha, gamma, beta, _TYPICAL]), start)
    return starts


def refusal(law: Sequence[float], likelihood: float, converged: bool, told: Sequence[float]) -> str:
    """Why a fit may not forecast, the first gate it does not pass; "" if it may.

    `law` is omega, alpha, gamma, beta and degrees of freedom, `told` the four facts of `gather_evidence`.
    """
    omega, alpha, gamma, beta, degrees = law
    evidence = Evidence(*told)
    said = f"omega {omega:.4g}, alpha {alpha:.4g}, gamma {gamma:.4g}, beta {beta:.4g}"
    if not evidence.share <= DOMINANT:
        return f"one return makes {evidence.share:.0%} of the sum of squares, at most {DOMINANT:.0%} wanted"
    if not converged:
        return f"the optimiser did not converge: {said}"
    if not all(map(math.isfinite, (omega, alpha, gamma, beta, likelihood, degrees))):
        return f"parameters or log-likelihood not finite: {said}, log-likelihood {likelihood}"
    if not abs(beta) < 1.0:
        return f"beta must lie between -1 and 1: {said}"
    if not 1.0 / _EXPLOSIVE <= evidence.trend <= _EXPLOSIVE:
        return f"an explosive process: as many rows again bring {evidence.trend:.2g} times the st.dev.; {said}"
    if likelihood < evidence.constant - _SAME:
        return f"log-likelihood {likelihood:.2f}, constant variance has {evidence.constant:.2f}"
    if not 0.1 <= evidence.ratio <= 10.0:
        return f"forecast {evidence.ratio:.3g} times EWMA's, between 0.1 and 10 wanted"
    return ""
