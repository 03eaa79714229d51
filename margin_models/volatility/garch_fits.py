"""Which GARCH(1,1) or GJR makes each of many windows of returns most likely, and may it forecast?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from data import Floats, ParameterError
from data.threads import pool
from margin_models.kernels.garch_coordinates import (
    C_HEAVY,
    C_LEVEL,
    C_MEAN,
    C_SHARE,
    C_SKEW,
    C_SLACK,
    C_SPLIT,
    N_BETA,
    N_FALL,
    N_MEAN,
    N_NU,
    N_OMEGA,
    N_RISE,
    N_SKEW,
    SIZE,
)
from margin_models.kernels.garch_gates import EVIDENCE, gather_evidence
from margin_models.kernels.garch_rows import NORMAL, SKEWED, STUDENT
from margin_models.kernels.garch_walk import Found, Windows, walk
from margin_models.kernels.garch_windows import Law

LEAST_RETURNS = 250  # below a year of days the parameters are mostly noise
PERSISTENCE = 0.9999  # heavy-tailed hourly series often estimate 1, where no variance can be expected in the long run
DOMINANT = 0.5  # one return with half of the squares says nothing about how variance moves
EWMA_DECAY = 0.94
BLOCK = 128  # windows that one warm start runs through: with fewer, more are searched from all starts
TOLERANCE = 1e-8  # what a Newton step may still promise; forecasts are then good to 1e-5 of themselves

_SAME = 0.1  # log-likelihoods closer than this are equally good
_AT_BOUND = PERSISTENCE - 1e-6
_EXPLOSIVE = 2.0  # log-likelihood gained by each of two hundredths of persistence more
_STARTS = ((0.05, 0.93), (0.2, 0.5), (0.02, 0.975))  # alpha and beta: usual, restless, slow
_LEAST_OMEGA, _MOST_OMEGA = 1e-10, 5.0  # of the mean square
_LIGHTEST, _HEAVIEST = 500.0, 2.05  # degrees of freedom
_MOST_SKEWED = 0.995

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class GarchFit:
    """One estimated series; parameters by arch's names: "mu", "omega", "alpha[1]", "gamma[1]", "beta[1]", "nu"."""

    parameters: Mapping[str, float]
    loglikelihood: float
    converged: bool
    observations: int


@dataclass(frozen=True)
class Innovations:
    """What is estimated besides omega, alpha and beta, and what the variance before a window is.

    `asymmetric` lets falls move variance more than rises do; `student` puts a standardised t law for the normal one,
    `skewed` that of Hansen (1994, "Autoregressive conditional density estimation"), whatever `student` says;
    `constant_mean` estimates a mean, else it is zero. Before a window stands the mean square of its residuals
    (Fiorentini, Calzolari and Panattoni, 1996), or where `early` arch's average of the first 75, whose weights fade by
    0.94. `persistence`, below 1, is the most that is searched; a fit above `PERSISTENCE` may not forecast.
    """

    asymmetric: bool = False
    student: bool = False
    constant_mean: bool = False
    early: bool = False
    persistence: float = PERSISTENCE
    skewed: bool = False

    @property
    def heavy(self) -> bool:
        """Whether there are degrees of freedom to estimate."""
        return self.student or self.skewed


@dataclass(frozen=True, eq=False)
class WindowFits:
    """What was found in W windows, in the units of the returns.

    (W,) each: `mean`, `omega`, `alpha`, `gamma`, `beta`, `degrees` (infinite under a normal law), `skewness` (0 under a
    symmetric law), `loglikelihood`, `converged`, `evaluations` of the likelihood; `refusal` is why a fit may not
    forecast, "" where it may.
    """

    mean: Floats
    omega: Floats
    alpha: Floats
    gamma: Floats
    beta: Floats
    degrees: Floats
    skewness: Floats
    loglikelihood: Floats
    converged: NDArray[np.bool_]
    evaluations: Ints
    refusal: tuple[str, ...]


class Evidence(NamedTuple):
    """What gates know of a fit besides its law: see `gather_evidence`."""

    share: float
    constant: float
    moving: float
    ratio: float
    beyond: float


def fit_windows(
    returns: Floats,
    begin: Ints,
    end: Ints,
    law: Innovations,
    *,
    blocks: Ints | None = None,
    tolerance: float = TOLERANCE,
    threads: int | None = None,
) -> WindowFits:
    """Maximum likelihood in rows begin[w] to end[w] - 1 of `returns` (T,), for all windows w at once.

    Windows of one block, which begins at each of `blocks` (every 128 windows where None), follow each other: the first
    is searched from several starts, each other one from where the one before it ended. What a window is told depends
    only on those before it in its block, not on how many follow, nor on the number of `threads` (numba's where None).

    Raises
    ------
    ParameterError
        If a window has a return that is not finite, fewer than 250, or none that differs from zero.
    """
    _check(returns, begin, end)
    windows, found = search_windows(returns, begin, end, law, blocks=blocks, tolerance=tolerance, threads=threads)
    evidence = np.empty((len(found.laws), EVIDENCE))
    gather_evidence(windows.returns, begin, end, found.laws, law.heavy, EWMA_DECAY, _AT_BOUND, evidence)
    each = zip(
        found.laws.tolist(), found.loglikelihood.tolist(), found.arrived.tolist(), evidence.tolist(), strict=True
    )
    refused = tuple(
        _reason(one, likelihood, arrived, count, Evidence(*known))
        for (one, likelihood, arrived, known), count in zip(each, (end - begin).tolist(), strict=True)
    )
    degrees = found.laws[:, N_NU] if law.heavy else np.full(len(found.laws), np.inf)
    rise, fall = found.laws[:, N_RISE], found.laws[:, N_FALL]
    columns = found.laws[:, N_MEAN], found.laws[:, N_OMEGA], rise, fall - rise, found.laws[:, N_BETA], degrees
    return WindowFits(*columns, found.laws[:, N_SKEW], found.loglikelihood, found.arrived, found.evaluations, refused)


def search_windows(
    returns: Floats,
    begin: Ints,
    end: Ints,
    law: Innovations,
    *,
    blocks: Ints | None = None,
    tolerance: float = TOLERANCE,
    threads: int | None = None,
) -> tuple[Windows, Found]:
    """What `fit_windows` finds in windows that are known to be sound, before any gate."""
    count = len(begin)
    first = np.arange(0, count, BLOCK) if blocks is None else np.asarray(blocks, np.int64)
    returns = np.ascontiguousarray(returns)  # one layout, one compilation
    windows = Windows(returns, begin, end, np.append(first, count).astype(np.int64))
    found = Found(np.empty((count, SIZE)), np.empty(count), np.zeros(count, np.bool_), np.zeros(count, np.int64))
    kind = Law(SKEWED if law.skewed else STUDENT if law.student else NORMAL, law.constant_mean, law.early)
    box, starts = _box(law), _starts()
    cuts = np.linspace(0, len(first), min(threads or numba.get_num_threads(), max(len(first), 1)) + 1).astype(int)
    work = [
        pool(len(cuts) - 1).submit(walk, windows, a, b, kind, box, starts, tolerance, found)
        for a, b in pairwise(cuts.tolist())
    ]
    for one in work:
        one.result()
    return windows, found


def refusal(fit: GarchFit, returns: Floats) -> str:
    """Why a zero-mean GARCH(1,1) or GJR fit to `returns` (T,) may not become a forecast; "" if it may.

    arch reports success on three observations, and after one day of -500 standard deviations.
    """
    found = fit.parameters
    law = np.zeros((1, SIZE))
    law[0, N_OMEGA], law[0, N_RISE], law[0, N_BETA] = found["omega"], found["alpha[1]"], found["beta[1]"]
    law[0, N_FALL], law[0, N_NU] = found["alpha[1]"] + found.get("gamma[1]", 0.0), found.get("nu", math.inf)
    told = np.empty((1, EVIDENCE))
    with np.errstate(invalid="ignore"):
        gather_evidence(
            returns, np.array([0]), np.array([len(returns)]), law, "nu" in found, EWMA_DECAY, _AT_BOUND, told
        )
    return _reason(law[0].tolist(), fit.loglikelihood, fit.converged, fit.observations, Evidence(*told[0].tolist()))


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


def _box(law: Innovations) -> Floats:
    """Bounds, longest steps, and variances of estimates from one row, of what is searched; what is not stands still."""
    box = np.empty((4, SIZE))
    box[:, C_MEAN] = (-1.0, 1.0, 0.3, 1.0) if law.constant_mean else (0.0, 0.0, 1.0, 1.0)
    box[:, C_LEVEL] = math.log(_LEAST_OMEGA), math.log(_MOST_OMEGA), 1.5, 250.0
    box[:, C_SLACK] = math.log(1.0 - law.persistence), -1e-3, 1.5, 250.0
    box[:, C_SHARE] = 0.0, 1.0, 0.3, 1.0
    box[:, C_SPLIT] = (0.0, 1.0, 0.5, 40.0) if law.asymmetric else (0.5, 0.5, 1.0, 1.0)
    box[:, C_HEAVY] = (1.0 / _LIGHTEST, 1.0 / _HEAVIEST, 0.15, 0.4) if law.heavy else (0.1, 0.1, 1.0, 1.0)
    box[:, C_SKEW] = (-_MOST_SKEWED, _MOST_SKEWED, 0.3, 2.0) if law.skewed else (0.0, 0.0, 1.0, 1.0)
    return box


def _starts() -> Floats:
    starts = np.zeros((len(_STARTS), SIZE))
    alpha, beta = np.array(_STARTS).T
    starts[:, C_LEVEL] = starts[:, C_SLACK] = np.log(1.0 - alpha - beta)
    starts[:, C_SHARE], starts[:, C_SPLIT], starts[:, C_HEAVY] = alpha / (alpha + beta), 0.5, 0.15
    return starts


def _reason(law: list[float], likelihood: float, converged: bool, count: int, evidence: Evidence) -> str:
    """The first gate that a fit does not pass; "" if there is none."""
    omega, rise, fall, beta = law[N_OMEGA], law[N_RISE], law[N_FALL], law[N_BETA]
    answer, persistence = 0.5 * (rise + fall), 0.5 * (rise + fall) + beta
    said = f"omega {omega:.4g}, alpha {rise:.4g}, gamma {fall - rise:.4g}, beta {beta:.4g}"
    if count < LEAST_RETURNS:
        return f"{count} returns, {LEAST_RETURNS} needed"
    if not evidence.share <= DOMINANT:
        return f"one return makes {evidence.share:.0%} of the sum of squares, at most {DOMINANT:.0%} wanted"
    if not converged:
        return "the optimiser did not converge"
    if not all(map(math.isfinite, (omega, rise, fall, beta, likelihood))) or math.isnan(law[N_NU]):
        return f"parameters or log-likelihood not finite: {said}, log-likelihood {likelihood}"
    if min(omega, rise + 1e-8, fall + 1e-8, beta + 1e-8) <= 0.0:
        return f"parameters out of bounds: {said}"
    if answer < 1e-4:
        return f"variance does not answer to returns (alpha {answer:.2g}, beta {beta:.4f})"
    if persistence > PERSISTENCE + 1e-6:
        return f"persistence {persistence:.6f}, at most {PERSISTENCE} wanted"
    if evidence.beyond > _EXPLOSIVE:
        return f"an explosive process: log-likelihood rises by {evidence.beyond:.1f} with persistence beyond 1"
    for name, baseline in (("constant variance", evidence.constant), ("EWMA", evidence.moving)):
        if likelihood < baseline - _SAME:
            return f"log-likelihood {likelihood:.2f}, {name} has {baseline:.2f}"
    if not 0.1 <= evidence.ratio <= 10.0:
        return f"forecast {evidence.ratio:.3g} times EWMA's, between 0.1 and 10 wanted"
    return ""


def spans_among(known: NDArray[np.intp], stops: Sequence[int], window: int) -> tuple[Ints, Ints]:
    """Where among `known` rows, sorted, the `window` rows before each stop begin and end."""
    last = np.asarray(stops, np.int64)
    return (
        np.searchsorted(known, np.maximum(last - window, 0)).astype(np.int64),
        np.searchsorted(known, last).astype(np.int64),
    )
