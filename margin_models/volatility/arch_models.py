"""What does arch make of a series of returns?"""

import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from data import Floats
from margin_models.volatility.garch_fits import GarchFit

if TYPE_CHECKING:
    from arch._typing import ArrayLike1D, Float64Array1D, Float64Array2D
    from arch.univariate import GARCH
    from arch.univariate.base import ARCHModel, ARCHModelResult

_TIGHT, _LOOSE = 1e-12, 1e-6

Backcast = float | Callable[[Floats], float] | None


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
