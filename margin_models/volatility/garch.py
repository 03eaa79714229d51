"""How volatile is the next horizon if variance follows GARCH or GJR?"""

import logging
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from data import ConvergenceError, Coverage, Floats, HistoryError, MarketHistory
from margin_models.base import VolatilityForecaster
from margin_models.kernels.recursions import ewma_variance, garch_variance

if TYPE_CHECKING:
    from arch._typing import ArrayLike1D, Float64Array1D, Float64Array2D
    from arch.univariate import GARCH
    from arch.univariate.base import ARCHModel, ARCHModelResult

LEAST_RETURNS = 250  # below a year of days the parameters are mostly noise
PERSISTENCE = 0.9999  # heavy-tailed hourly series often estimate 1, where no variance can be expected in the long run
DOMINANT = 0.5  # one return with half of the squares says nothing about how variance moves
EWMA_DECAY = 0.94
BURN = 500  # rows after which beta^500 is left of the value the filter starts from: 4e-5 for a beta of 0.98

_TIGHT, _LOOSE = 1e-12, 1e-6
_SAME = 0.1  # log-likelihoods closer than this are equally good

Backcast = float | Callable[[Floats], float] | None


@dataclass(frozen=True)
class GarchFit:
    """One estimated series; parameters by arch's names: "mu", "omega", "alpha[1]", "gamma[1]", "beta[1]", "nu"."""

    parameters: Mapping[str, float]
    loglikelihood: float
    converged: bool
    observations: int


class Law(NamedTuple):
    """What the filter knows of one asset; `level` is the variance it starts from."""

    omega: float
    alpha: float
    gamma: float
    beta: float
    level: float

    @property
    def persistence(self) -> float:
        """The share of a variance shock that is left a row later, under a symmetric law."""
        return self.alpha + 0.5 * self.gamma + self.beta


class GarchVolatility(VolatilityForecaster):
    """GARCH(1,1) (Bollerslev, 1986) or GJR on one-row returns, summed to the horizon in closed form.

    `fit` estimates each asset by maximum likelihood; between fits the parameters stand still and only the filter moves.
    The mean is zero: over a row it is far smaller than its standard error. The filter starts `BURN` rows before the
    first forecast asked for, at the mean square of the fit's window, and fills holes by expectation. Persistence is
    searched up to 0.9999, because heavy-tailed series of short rows often estimate 1.

    A fit that fails a gate (`refusal`) never becomes a forecast: the asset is forecast by EWMA(0.94) until the next
    fit, `failures_` says why, and one line at level INFO goes to the log "marginlab".

    Parameters
    ----------
    asymmetric : let falls move variance more than rises do (Glosten, Jagannathan and Runkle, 1993).
    student : estimate under a standardised t law rather than the normal.
    fallback : False raises ConvergenceError instead of forecasting by EWMA.

    Attributes
    ----------
    laws_ : {underlying: Law}, one-row parameters.
    failures_ : {underlying: why its fit was refused}, empty where every fit passed.

    Raises
    ------
    HistoryError
        If the window has fewer than 250 returns.
    ConvergenceError
        Without fallback, if the fit of any asset is refused.
    """

    def __init__(self, asymmetric: bool = False, student: bool = False, fallback: bool = True) -> None:
        self.asymmetric = asymmetric
        self.student = student
        self.fallback = fallback

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Estimate every asset on all of `past`."""
        super().fit(past, coverage)
        if len(past) <= LEAST_RETURNS:
            raise HistoryError(f"GARCH needs {LEAST_RETURNS + 1} rows to fit, got {past!r}")
        self._row = replace(coverage, horizon=past.clock.step)
        self.laws_: dict[str, Law] = {}
        self.failures_: dict[str, str] = {}
        for name, returns in zip(past.underlyings, past.returns(self._row).T, strict=True):
            law, reason = self._law(returns[np.isfinite(returns)])
            self.laws_[name] = law
            if reason:
                self.failures_[name] = reason
        self._report(past)
        self._parameters: Floats = np.array(tuple(self.laws_.values())).T.copy()
        self._slope, self._intercept = _to_horizon(tuple(self.laws_.values()), past.steps(coverage))
        return self

    def forecasts(self, past: MarketHistory, count: int) -> Floats:
        """Standard deviation over the horizon at the newest `count` rows, (count, A); NaN before the first row.

        NaN for an asset without any return in the fit's window.
        """
        recent = past.last(count + BURN)
        returns = np.full(recent.spot.shape, np.nan)
        returns[1:] = recent.returns(self._row)
        omega, alpha, gamma, beta, level = self._parameters
        variance = garch_variance(returns, omega, alpha, gamma, beta, level)[-count:]
        forecasts = np.full((count, len(past.underlyings)), np.nan)
        forecasts[count - len(variance) :] = np.sqrt(variance * self._slope + self._intercept)
        return forecasts

    def _law(self, returns: Floats) -> tuple[Law, str]:
        """One asset's law and "", or EWMA and why the fit was refused."""
        level = mean_square(returns) if returns.size else np.nan
        stand_in = Law(0.0, 1.0 - EWMA_DECAY, 0.0, EWMA_DECAY, level)
        if returns.size < LEAST_RETURNS:
            return stand_in, f"{returns.size} returns, {LEAST_RETURNS} needed"
        if not level > 0.0:
            return stand_in, "returns without variation"
        scaled = returns / math.sqrt(level)
        fit = fit_garch(scaled, o=int(self.asymmetric), student=self.student, persistence=PERSISTENCE)
        reason = refusal(fit, scaled)
        return (stand_in, reason) if reason else (_law_of(fit, level), "")

    def _report(self, past: MarketHistory) -> None:
        if not self.failures_:
            return
        why = "; ".join(f"{name}: {reason}" for name, reason in self.failures_.items())
        where = f"GARCH fit refused on {past!r}: {why}"
        if not self.fallback:
            raise ConvergenceError(where)
        logging.getLogger("marginlab").info("%s. EWMA(%s) stands in", where, EWMA_DECAY)


def mean_square(residuals: Floats) -> float:
    """The variance before the sample, as Fiorentini, Calzolari and Panattoni (1996) take it."""
    return float(np.mean(residuals**2))


def fit_garch(
    returns: Floats,
    *,
    p: int = 1,
    o: int = 0,
    q: int = 1,
    power: float = 2.0,
    student: bool = False,
    constant_mean: bool = False,
    backcast: Backcast = mean_square,
    persistence: float = 1.0,
) -> GarchFit:
    """Maximum likelihood by arch, to a tolerance (1e-12) at which the result is reproducible on one thread.

    Parameters
    ----------
    returns : (T,), finite, of about unit variance: arch's optimiser minds the scale.
    p, o, q, power : lags of squares, of negative squares and of variance; power 1 moves st.dev. instead (TARCH).
    student : a standardised t law with estimated degrees of freedom rather than the normal.
    constant_mean : estimate a mean, else it is zero.
    backcast : the variance before row 0: a number, a function of the residuals (evaluated at every step of the
        optimiser, so that it moves with the mean), or None for arch's own, an EWMA of the first 75 squares.
    persistence : the largest sum of alpha, gamma / 2 and beta that is searched.
    """
    from arch.univariate import ConstantMean, Normal, StudentsT, ZeroMean

    mean = ConstantMean if constant_mean else ZeroMean
    law = StudentsT() if student else Normal()
    model = mean(returns, volatility=_process(p, o, q, power, backcast, persistence), distribution=law, rescale=False)
    found = _maximise(model, _TIGHT, backcast, None)
    if found.convergence_flag:  # mostly a line search stopped by rounding: a restart tells that from a failure
        found = _maximise(model, _LOOSE, backcast, _inside(_named(found), persistence))
    parameters = MappingProxyType(_named(found))
    return GarchFit(parameters, float(found.loglikelihood), found.convergence_flag == 0, len(returns))


def refusal(fit: GarchFit, returns: Floats) -> str:
    """Why a zero-mean GARCH(1,1) or GJR fit to `returns` (T,) may not become a forecast; "" if it may.

    arch reports success on three observations, and after one day of -500 standard deviations.
    """
    law = _law_of(fit, 1.0)
    if fit.observations < LEAST_RETURNS:
        return f"{fit.observations} returns, {LEAST_RETURNS} needed"
    share = float(np.max(returns**2) / np.sum(returns**2))
    if share > DOMINANT:
        return f"one return makes {share:.0%} of the sum of squares, at most {DOMINANT:.0%} wanted"
    if not fit.converged:
        return "the optimiser did not converge"
    if not np.isfinite([*fit.parameters.values(), fit.loglikelihood]).all():
        return f"parameters or log-likelihood not finite: {dict(fit.parameters)}"
    if min(law.omega, law.alpha + 1e-8, law.alpha + law.gamma + 1e-8, law.beta + 1e-8) <= 0.0:
        return f"parameters out of bounds: {dict(fit.parameters)}"
    if law.alpha + 0.5 * law.gamma < 1e-4:
        return f"variance does not answer to returns (alpha {law.alpha:.2g}, beta {law.beta:.4f})"
    if law.persistence > PERSISTENCE + 1e-6:
        return f"persistence {law.persistence:.6f}, at most {PERSISTENCE} wanted"
    return _refusal_against_baselines(fit, law, returns)


def _refusal_against_baselines(fit: GarchFit, law: Law, returns: Floats) -> str:
    """The two gates that need the returns: a likelihood and a forecast that simpler models do not contradict."""
    level = np.array([mean_square(returns)])
    ewma = ewma_variance(returns[:, None] ** 2, EWMA_DECAY, level)[:, 0]
    before = np.concatenate([level, ewma[:-1]])
    degrees = fit.parameters.get("nu")
    for name, variance in (("constant variance", np.full(len(returns), level)), ("EWMA", before)):
        baseline = _loglikelihood(returns, variance, degrees)
        if fit.loglikelihood < baseline - _SAME:
            return f"log-likelihood {fit.loglikelihood:.2f}, {name} has {baseline:.2f}"
    omega, alpha, gamma, beta, _ = (np.array([value]) for value in law)
    forecast = garch_variance(returns[:, None], omega, alpha, gamma, beta, level)[-1, 0]
    ratio = math.sqrt(forecast / ewma[-1]) if ewma[-1] > 0.0 else math.inf
    return "" if 0.1 <= ratio <= 10.0 else f"forecast {ratio:.3g} times EWMA's, between 0.1 and 10 wanted"


def _loglikelihood(returns: Floats, variance: Floats, degrees: float | None) -> float:
    """Of zero-mean returns (T,) with variances (T,): normal, or standardised t with so many degrees of freedom."""
    squares = returns**2 / variance
    if degrees is None:
        return float(-0.5 * np.sum(np.log(2.0 * math.pi * variance) + squares))
    constant = math.lgamma(0.5 * (degrees + 1.0)) - math.lgamma(0.5 * degrees) - 0.5 * math.log(math.pi * (degrees - 2))
    tails = 0.5 * (degrees + 1.0) * np.log1p(squares / (degrees - 2.0))
    return float(np.sum(constant - 0.5 * np.log(variance) - tails))


def _process(p: int, o: int, q: int, power: float, backcast: Backcast, persistence: float) -> "GARCH":
    """arch's recursion with our bound on persistence, and a backcast that follows the residuals if it is a function."""
    from arch.univariate import GARCH

    class Bounded(GARCH):
        def constraints(self) -> tuple[Floats, Floats]:
            left, right = super().constraints()
            right[-1] = -persistence  # the last row bounds it by 1
            return left, right

        def compute_variance(
            self,
            parameters: "Float64Array1D",
            resids: "ArrayLike1D",
            sigma2: "Float64Array1D",
            start: "float | Float64Array1D",
            var_bounds: "Float64Array2D",
        ) -> "Float64Array1D":
            if callable(backcast):
                start = backcast(np.asarray(resids)) ** (power / 2.0)
            return super().compute_variance(parameters, resids, sigma2, start, var_bounds)

    return Bounded(p, o, q, power)


def _maximise(model: "ARCHModel", tolerance: float, backcast: Backcast, start: Floats | None) -> "ARCHModelResult":
    fixed = None if callable(backcast) else backcast
    with warnings.catch_warnings():  # arch edits the global filters; what it warns of, its flag says as well
        return model.fit(
            disp="off",
            show_warning=False,
            tol=tolerance,
            options={"maxiter": 1000},
            backcast=fixed,
            starting_values=start,
        )


def _named(found: "ARCHModelResult") -> dict[str, float]:
    return {str(name): float(value) for name, value in found.params.items()}


def _inside(parameters: Mapping[str, float], persistence: float) -> Floats:
    """The same parameters a hair inside what may be searched: rounding can leave them just outside."""
    moved = dict(parameters)
    for name, value in parameters.items():
        if name.startswith(("alpha", "beta")):
            moved[name] = max(value, 0.0)
        if name.startswith("gamma"):
            moved[name] = max(value, -moved.get(name.replace("gamma", "alpha"), 0.0))
    shares = {"alpha": 1.0, "gamma": 0.5, "beta": 1.0}
    total = sum(shares.get(name.split("[")[0], 0.0) * value for name, value in moved.items())
    shrink = min(1.0, persistence / total if total > 0.0 else 1.0) * (1.0 - 1e-6)
    moved |= {name: shrink * value for name, value in moved.items() if "[" in name}
    moved["omega"] *= 1.0 + 1e-6
    if "nu" in moved:
        moved["nu"] = min(max(moved["nu"], 2.05), 500.0)
    return np.array(tuple(moved.values()))


def _law_of(fit: GarchFit, scale: float) -> Law:
    """Parameters of returns of variance `scale` from a fit to returns of variance 1."""
    found = fit.parameters
    return Law(scale * found["omega"], found["alpha[1]"], found.get("gamma[1]", 0.0), found["beta[1]"], scale)


def _to_horizon(laws: tuple[Law, ...], steps: int) -> tuple[Floats, Floats]:
    """Slope and intercept (A,) that take the next row's variance to the sum of the next `steps` expected ones.

    E h_k = omega (1 + phi + ... + phi^(k-2)) + phi^(k-1) h_1 with the persistence phi (Bollerslev, 1986), summed term
    by term: the geometric formula cancels where phi is near 1.
    """
    phi = np.array([law.persistence for law in laws])
    shares = phi ** np.arange(steps)[:, None]
    omega = np.array([law.omega for law in laws])
    intercept: Floats = omega * (shares.cumsum(axis=0).sum(axis=0) - shares.sum(axis=0))
    return shares.sum(axis=0), intercept
