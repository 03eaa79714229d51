"""How volatile is the next horizon if variance follows a process of the arch package?"""

import copy
import inspect
import logging
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from threadpoolctl import threadpool_limits

from data import ConvergenceError, Coverage, Floats, HistoryError, MarketHistory, ParameterError
from margin_models.base import VolatilityForecaster
from margin_models.kernels.recursions import ewma_variance
from margin_models.volatility.garch_fits import DOMINANT, EWMA_DECAY, LEAST_RETURNS, Ints

if TYPE_CHECKING:
    from arch.univariate.base import ARCHModel, ARCHModelResult
    from arch.univariate.distribution import Distribution
    from arch.univariate.volatility import VolatilityProcess

BURN = 2000  # rows of filter before the first forecast asked for: RiskMetrics2006 still weighs its start by 0.4 % then
PATHS = 500  # simulated where a process has no formula beyond one row

_TIGHT, _LOOSE = 1e-12, 1e-6
_WIDE = 1e6  # times EWMA's variance: what arch, too, lets no recursion leave
_SAME = 0.1  # log-likelihoods closer than this are equally good
_SEED = 1991


class FittedProcess(NamedTuple):
    """What the filter knows of one asset, in returns scaled to unit variance.

    `parameters` are the process' by arch's names, `shape` the distribution's, `backcast` the variance before the
    window as the process counts it (its logarithm, say), `level` the mean square of the returns as they were. Where a
    fit was refused, the first three are empty and EWMA starts at the level.
    """

    parameters: dict[str, float]
    shape: dict[str, float]
    backcast: tuple[float, ...]
    level: float
    refused: bool


class Stated:
    """An object of arch as parameters show it: `made`, under a text without the address that arch puts into its own."""

    def __init__(self, made: Any) -> None:
        self.made = made

    def __repr__(self) -> str:
        names = [name for name in inspect.signature(type(self.made)).parameters if name not in ("random_state", "seed")]
        held = vars(self.made)
        values = {name: held.get(name, held.get(f"_{name}")) for name in names}
        told = (f"{name}={_plain(value)}" for name, value in values.items())
        return f"{type(self.made).__name__}({', '.join(told)})"


class ArchVolatility(VolatilityForecaster):
    """Any variance process of arch (Sheppard, 2024) on one-row returns: EGARCH, FIGARCH, HARCH, APARCH, MIDAS and more.

    Where GARCH(1,1) or GJR will do, `GarchVolatility` is faster and fits many windows at once. Here each asset of each
    window is a fit of arch's, by maximum likelihood to a tolerance of 1e-12, of returns without a mean, scaled to unit
    variance. Between fits the parameters stand still and the process' own recursion runs from 2000 rows before the
    first forecast asked for, or as many as FIGARCH truncates at. A hole is no news: the fit closes it up, and the
    forecast stands until the next return.

    Over one row the variance is the recursion's. Over several it is the sum of the process' own formula (GARCH and
    FIGARCH with power 2, HARCH, symmetric MIDAS); where it has none (EGARCH, APARCH, other powers), of the mean over
    500 simulated paths, whose innovations have the fitted distribution and are the same at every row and in every call.
    The simulated st.dev. is off by about 0.03 % over 5 rows of a normal EGARCH, 0.3 % over 24 rows under a t law. Until
    the longest lag is known, one row's variance counts once for every row. No variance leaves a millionth to a million
    times EWMA's.

    Over one row 500 forecasts of 3 assets take a few milliseconds. Over 24 rows a formula takes up to a tenth of a
    second, simulation half a second or more, and minutes for FIGARCH with another power than 2, whose every path
    carries its 1000 lags. Models that ask for a whole window of forecasts at every decision feel it.

    A refused fit never becomes a forecast: EWMA(0.94) stands in until the next fit, `failures_` says why, and one line
    at level INFO goes to the log "marginlab". Refused are fewer than 250 returns, a return with half of the squares, no
    convergence, parameters that are not finite, a process of two parameters and more that is less likely than constant
    variance, and a forecast outside a tenth to ten times EWMA's.

    `research.model_files` keeps this forecaster with its default process and distribution only: others are objects of
    arch, and no plain data.

    Parameters
    ----------
    process : of arch.univariate, never changed; None for EGARCH(1,1,1) (Nelson, 1991).
    distribution : of arch.univariate, never changed; None for Normal().
    fallback : False raises ConvergenceError instead of forecasting by EWMA.

    Attributes
    ----------
    laws_ : {underlying: FittedProcess}.
    failures_ : {underlying: why its fit was refused}, empty where every fit passed.

    Raises
    ------
    ParameterError
        If process or distribution is nothing of arch's kind, or a FixedVariance, which knows no future.
    HistoryError
        If a window has fewer than 250 returns.
    ConvergenceError
        Without fallback, if the fit of any asset is refused.
    """

    def __init__(
        self,
        process: "VolatilityProcess | None" = None,
        distribution: "Distribution | None" = None,
        fallback: bool = True,
    ) -> None:
        self.process = process
        self.distribution = distribution
        self.fallback = fallback

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name, arch's objects as `Stated`: two equal configurations read the same."""
        told: dict[str, Any] = super().get_params(deep)
        return {name: Stated(value) if _foreign(value) else value for name, value in told.items()}

    def __sklearn_clone__(self) -> Self:
        return type(self)(copy.deepcopy(self.process), copy.deepcopy(self.distribution), self.fallback)

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Estimate every asset on all of `past`."""
        if len(past) <= LEAST_RETURNS:
            raise HistoryError(f"arch needs {LEAST_RETURNS + 1} rows to fit, got {past!r}")
        super().fit(past, coverage)
        returns = past.returns(replace(coverage, horizon=past.clock.step))
        verdicts = [self._verdict(column[np.isfinite(column)]) for column in returns.T]
        named = list(zip(past.underlyings, verdicts, strict=True))
        self.laws_: dict[str, FittedProcess] = {name: law for name, (law, _) in named}
        self.failures_: dict[str, str] = {name: why for name, (_, why) in named if why}
        self._report(past)
        return self

    def forecasts(self, past: MarketHistory, count: int) -> Floats:
        """Standard deviation over the horizon at the newest `count` rows, (count, A); NaN before the first row.

        NaN for an asset without any return in the fit's window.
        """
        process, distribution = self._made()
        recent = past.last(count + max(BURN, getattr(process, "truncation", 0)))
        answer = np.full((count, len(past.underlyings)), np.nan)
        if not len(recent):
            return answer
        returns, steps = recent.returns(replace(self.coverage_, horizon=past.clock.step)), past.steps(self.coverage_)
        asked = min(count, len(recent))
        for a, law in enumerate(self.laws_.values()):
            known = np.isfinite(returns[:, a])
            rows = np.append(0, known.cumsum())[-asked:]
            filtered = _Filter(process, distribution, law, returns[known, a])
            answer[count - asked :, a] = np.sqrt(filtered.over(steps, rows))
        return answer

    def _made(self) -> tuple["VolatilityProcess", "Distribution"]:
        """Copies to work on: recursions leave their scratch space in the object."""
        from arch.univariate import EGARCH, FixedVariance, Normal
        from arch.univariate.distribution import Distribution
        from arch.univariate.volatility import VolatilityProcess

        process = EGARCH(1, 1, 1) if self.process is None else copy.deepcopy(_bare(self.process))
        distribution = Normal() if self.distribution is None else copy.deepcopy(_bare(self.distribution))
        if not isinstance(process, VolatilityProcess) or isinstance(process, FixedVariance):
            raise ParameterError(f"process must be a variance process of arch that can forecast, got {process!r}")
        if not isinstance(distribution, Distribution):
            raise ParameterError(f"distribution must be one of arch, got {distribution!r}")
        return process, distribution

    def _verdict(self, returns: Floats) -> tuple[FittedProcess, str]:
        """What may forecast one asset after its returns (T,) without holes, and why the fit may not, "" if it may."""
        level = float(np.mean(returns**2)) if len(returns) else np.nan
        none = FittedProcess({}, {}, (), level, True)
        made = self._made()
        if len(returns) < LEAST_RETURNS:
            return none, f"{len(returns)} returns, {LEAST_RETURNS} needed"
        if not level > 0.0:
            return none, "returns without variation"
        share = float(np.max(returns**2)) / (level * len(returns))
        if not share <= DOMINANT:
            return none, f"one return makes {share:.0%} of the sum of squares, at most {DOMINANT:.0%} wanted"
        law, why = _estimated(*made, returns / np.sqrt(level), level)
        return (none, why) if why else (law, "")

    def _report(self, past: MarketHistory) -> None:
        if not self.failures_:
            return
        why = "; ".join(f"{name}: {reason}" for name, reason in self.failures_.items())
        where = f"arch fit refused on {past!r}: {why}"
        if not self.fallback:
            raise ConvergenceError(where)
        logging.getLogger("marginlab").info("%s. EWMA(%s) stands in", where, EWMA_DECAY)


class _Filter:
    """Variances of one asset, in units of the level: entry m of (M + 1,) is the forecast after m of its M returns."""

    def __init__(
        self, process: "VolatilityProcess", distribution: "Distribution", law: FittedProcess, returns: Floats
    ) -> None:
        self._process, self._distribution, self._law = process, distribution, law
        self._unit = law.level if law.level > 0.0 else 1.0
        self._returns = np.append(returns / np.sqrt(self._unit), 0.0)  # one more: the newest forecast has bounds, too
        start = np.array([law.level / self._unit])
        moving = ewma_variance(self._returns[:-1, None] ** 2, EWMA_DECAY, start)[:, 0]
        self.ewma: Floats = np.concatenate([start, moving])
        # A market that stood still may move again: bounds about nothing would hold its variance there.
        self._least, self._most = np.maximum(self.ewma / _WIDE, 1e-8), np.maximum(self.ewma * _WIDE, 100.0)

    def one_row(self) -> Floats:
        """By the process' own recursion, or EWMA's where its fit was refused."""
        if self._law.refused:
            return self.ewma
        variance = np.zeros(len(self._returns))
        with np.errstate(all="ignore"):
            self._process.compute_variance(*self._parameters(variance))
        return variance

    def over(self, steps: int, rows: Ints) -> Floats:
        """The sum over `steps` rows, in squared returns, after each number of returns in `rows`."""
        one_row = self.one_row()
        total = steps * one_row
        first = max(_longest_lag(self._process), int(rows.min()))
        if steps > 1 and not self._law.refused and first < len(total):
            told = self._several(first - 1, steps).sum(axis=1)[:-1]
            total[first:] = np.clip(told, steps * self._least[first:], steps * self._most[first:])
        return np.asarray(self._unit * total[rows])

    def _parameters(self, variance: Floats) -> tuple[Floats, Floats, Floats, "float | Floats", Floats]:
        values, backcast = np.array(tuple(self._law.parameters.values())), self._law.backcast
        bounds = np.column_stack([self._least, self._most]) ** (getattr(self._process, "power", 2.0) / 2.0)
        start = backcast[0] if len(backcast) == 1 else np.array(backcast)
        return values, self._returns, variance, start, np.ascontiguousarray(bounds)

    def _several(self, start: int, steps: int) -> Floats:
        """Expected variances of the next rows, (M - start, steps), by the process' formula or else by simulation."""
        values, returns, _, backcast, bounds = self._parameters(np.empty(0))
        where = values, returns, backcast, bounds, start, steps
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                told = self._process.forecast(*where, method="analytic")
            except (ValueError, NotImplementedError):  # how arch says that there is no formula
                draws = _innovations(self._distribution, self._law.shape, steps)
                told = self._process.forecast(*where, method="simulation", simulations=PATHS, rng=lambda _: draws)
        return np.asarray(told.forecasts)


def _estimated(
    process: "VolatilityProcess", distribution: "Distribution", scaled: Floats, level: float
) -> tuple[FittedProcess, str]:
    """arch's maximum on returns (T,) of unit variance, and why it may not forecast."""
    from arch.univariate import ZeroMean

    found = _maximum(ZeroMean(scaled, volatility=process, distribution=distribution, rescale=False))
    named = [(str(name), float(value)) for name, value in found.params.items()]
    backcast = tuple(np.atleast_1d(process.backcast(scaled)).tolist())
    own, shape = dict(named[: process.num_params]), dict(named[process.num_params :])
    law = FittedProcess(own, shape, backcast, level, False)
    said = ", ".join(f"{name} {value:.4g}" for name, value in named)
    if found.convergence_flag:
        return law, f"the optimiser did not converge: {said}"
    if not np.isfinite([value for _, value in named]).all() or not np.isfinite(found.loglikelihood):
        return law, f"parameters or log-likelihood not finite: {said}, log-likelihood {found.loglikelihood}"
    constant = _constant(distribution, shape, scaled)
    if process.num_params > 1 and found.loglikelihood < constant - _SAME:
        return law, f"log-likelihood {found.loglikelihood:.2f}, constant variance has {constant:.2f}"
    filtered = _Filter(process, distribution, law._replace(level=1.0), scaled)
    ratio = float(np.sqrt(filtered.one_row()[-1] / filtered.ewma[-1]))
    return law, "" if 0.1 <= ratio <= 10.0 else f"forecast {ratio:.3g} times EWMA's, between 0.1 and 10 wanted"


def _constant(distribution: "Distribution", shape: dict[str, float], scaled: Floats) -> float:
    """Log-likelihood of unit variance: processes of two parameters and more can do as well, all of arch's."""
    told = distribution.loglikelihood(np.array(tuple(shape.values())), scaled, np.ones(len(scaled)))
    return float(np.sum(told))


def _maximum(model: "ARCHModel") -> "ARCHModelResult":
    """To the tight tolerance, or where that is not reached, to a loose one.

    Both from arch's own start: from where the first ended, the second may leap away and still report success. At one
    thread, as the search adds up by BLAS, whose last bit depends on how many share the work.
    """
    with threadpool_limits(1), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # what arch warns of, its flag says as well
        options = {"maxiter": 200}  # where more would be needed, little is left to be gained
        found = model.fit(disp="off", show_warning=False, tol=_TIGHT, options=options)
        if not found.convergence_flag:
            return found
        return model.fit(disp="off", show_warning=False, tol=_LOOSE, options=options)


def _innovations(distribution: "Distribution", shape: dict[str, float], steps: int) -> Floats:
    """Draws of the fitted distribution, (PATHS, steps), one from each of PATHS equal shares of it in every column."""
    strata = np.tile(np.arange(PATHS)[:, None], (1, steps))
    shares = (np.random.default_rng(_SEED).permuted(strata, axis=0) + 0.5) / PATHS
    told = np.asarray(distribution.ppf(shares.ravel(), np.array(tuple(shape.values())))).reshape(shares.shape)
    centred = told - told.mean(axis=0)
    return np.asarray(centred / np.sqrt(np.mean(centred**2, axis=0)))


def _longest_lag(process: "VolatilityProcess") -> int:
    """Returns that the formulas of arch take for granted."""
    return max(1, *(int(np.max(getattr(process, name, 0))) for name in ("p", "o", "q", "m", "lags")))


def _foreign(value: object) -> bool:
    return value is not None and not isinstance(value, bool | Stated)


def _bare(value: Any) -> Any:
    return value.made if isinstance(value, Stated) else value


def _plain(value: Any) -> Any:
    return np.asarray(value).tolist() if isinstance(value, np.ndarray | np.generic) else value
