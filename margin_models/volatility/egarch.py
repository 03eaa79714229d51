"""How volatile is the next horizon if the logarithm of variance answers to returns of either sign?"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, Self

import numpy as np
from sklearn.base import clone

from data import ConvergenceError, Coverage, Floats, HistoryError, MarketHistory
from margin_models.base import VolatilityForecaster
from margin_models.kernels.egarch_gates import egarch_logs
from margin_models.kernels.recursions import ewma_variance
from margin_models.volatility.egarch_fits import BLOCK, EWMA_DECAY, LEAST_RETURNS, Ints, fit_windows
from margin_models.volatility.garch_fits import spans_among
from margin_models.volatility.measures import FARTHEST, columns_of

BURN = 1000  # rows of filter before the first forecast asked for: beta^1000 is left of what it starts from
_FAR = 0.05  # of a window new since the one before it: then where that ended is no better a start than any
_LEAST = 1e-8  # of the mean square: EWMA's variance of an asset that stands still falls no lower, as in the filter
_STRATA = 500  # equal shares of a t law that stand for its innovations over several rows

_ROOT_2_OVER_PI = np.sqrt(2.0 / np.pi)


class EgarchLaw(NamedTuple):
    """What the filter knows of one asset, in the units of its returns.

    ln h' = omega + alpha (|z| - (2 / pi)^(1/2)) + gamma z + beta ln h; `degrees` of freedom are infinite under a normal
    law, `before` is the variance before the window and `level` its mean square. Where a fit was refused, all but the
    level are NaN.
    """

    omega: float
    alpha: float
    gamma: float
    beta: float
    degrees: float
    before: float
    level: float


Verdict = tuple[EgarchLaw, str]  # a law, and why one was refused, "" where none was


class EgarchVolatility(VolatilityForecaster):
    """EGARCH(1,1,1) (Nelson, 1991) on one-row returns, in arch's parametrisation, on its own kernel.

    Each asset is estimated by maximum likelihood with a mean of zero; between fits the parameters stand still and only
    the filter moves. It starts 1000 rows before the first forecast asked for, its variance within a millionth and a
    million times EWMA's; what is forecast for one row is within a tenth and ten times the standard deviation that EWMA
    has at that row, the gate of a fit kept between fits. A hole is no news: the fit closes it up, and the forecast
    stands until the next return.

    Over one row the variance is the filter's, so bounded. Over several, E h_k = exp(omega_k + beta^(k-1) ln h_1) times
    the product of E exp(beta^j (alpha (|z| - (2 / pi)^(1/2)) + gamma z)) over j = 0 ... k - 2, in closed form under a
    normal law (Nelson 1991, theorem A1.2) and summed. Under a t law that expectation is infinite: its innovations are
    taken from the middles of 500 equal shares of it, scaled to unit variance, which `ArchVolatility` draws its paths
    from.

    `fit_many` takes every window of every asset in one call, each from where the one before it ended; its forecasts are
    those of a loop of fits to 1e-7 of themselves, and to the bit where a twentieth of each window is new or the window
    before it ended later. Returns without clusters have summits nearly as high as each other: then a walk can end on
    the lower. Searched are laws whose filter forgets its start within the window (Wintenberger, 2013): beyond them a
    likelihood is chaos, where arch ends now and then. Where that leads nowhere, alpha is held at zero or above.

    A fit that fails a gate never becomes a forecast: the asset is forecast by EWMA(0.94) until the next fit,
    `failures_` says why, and one line at level INFO goes to the log "marginlab". Refused are fewer than 250 returns, a
    return with half of the squares, no convergence, a beta of 1 and more, a law that leads to a hundred times the
    standard deviation or a hundredth of it within as many rows as it was fitted to, a likelihood below a constant
    variance's, a forecast outside a tenth to ten times EWMA's, and a filter that does not forget its start: one that
    began the window at a tenth or ten times the standard deviation ends it far from where the fit's own does.

    Parameters
    ----------
    student : estimate under a standardised t law rather than the normal.
    fallback : False raises ConvergenceError instead of forecasting by EWMA.

    Attributes
    ----------
    laws_ : {underlying: EgarchLaw}, one-row parameters.
    failures_ : {underlying: why its fit was refused}, empty where every fit passed.

    Raises
    ------
    HistoryError
        If a window has fewer than 250 returns.
    ConvergenceError
        Without fallback, if the fit of any asset is refused.
    """

    def __init__(self, student: bool = False, fallback: bool = True) -> None:
        self.student = student
        self.fallback = fallback

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Estimate every asset on all of `past`."""
        (verdicts,) = self._verdicts(past, [len(past)], len(past), coverage)
        return self._with(verdicts, past, coverage)

    def fit_many(self, history: MarketHistory, stops: Sequence[int], window: int, coverage: Coverage) -> Iterator[Self]:
        """Estimate every asset on the `window` rows before every stop at once."""
        verdicts = self._verdicts(history, stops, window, coverage)
        for stop, one in zip(stops, verdicts, strict=True):
            fresh: Self = clone(self)
            yield fresh._with(one, history.rows(max(stop - window, 0), stop), coverage)

    def forecasts(self, past: MarketHistory, count: int) -> Floats:
        """Standard deviation over the horizon at the newest `count` rows, (count, A); NaN before the first row.

        NaN for an asset without any return in the fit's window. Over one row none is beyond a tenth or ten times the
        standard deviation that EWMA(0.94) has at the same row. Laws are found by name: HistoryError for an underlying
        that was not among those of the fit.
        """
        forecasts, columns = np.full((count, len(past.underlyings)), np.nan), columns_of(past, self.laws_)
        if not count or not len(past):
            return forecasts
        recent = past.last(count + BURN)
        returns = np.full(recent.spot.shape, np.nan)
        returns[1:] = recent.returns(replace(self.coverage_, horizon=past.clock.step))
        logs = _filtered(returns, np.array(tuple(self.laws_.values()))[columns])[-count:]
        total = np.exp(logs[:, None] * self._powers[columns].T + self._constants[columns].T).sum(axis=1)
        forecasts[count - len(logs) :] = np.sqrt(total)
        return forecasts

    def _with(self, verdicts: Sequence[Verdict], past: MarketHistory, coverage: Coverage) -> Self:
        super().fit(past, coverage)
        named = list(zip(past.underlyings, verdicts, strict=True))
        self.laws_: dict[str, EgarchLaw] = {name: law for name, (law, _) in named}
        self.failures_: dict[str, str] = {name: why for name, (_, why) in named if why}
        self._report(past)
        steps = past.steps(coverage)
        ahead = [_to_horizon(law, steps) for law in self.laws_.values()]
        self._powers: Floats = np.array([powers for powers, _ in ahead])  # (A, steps)
        self._constants: Floats = np.array([constants for _, constants in ahead])
        return self

    def _verdicts(
        self, history: MarketHistory, stops: Sequence[int], window: int, coverage: Coverage
    ) -> list[list[Verdict]]:
        """What may forecast each asset from each stop on."""
        for stop in stops:
            if min(stop, window) <= LEAST_RETURNS:
                raise HistoryError(
                    f"EGARCH needs {LEAST_RETURNS + 1} rows to fit, got {history.rows(max(stop - window, 0), stop)!r}"
                )
        returns = history.returns(replace(coverage, horizon=history.clock.step))
        known = [np.flatnonzero(np.isfinite(column)) for column in returns.T]
        ends = [stop - 1 for stop in stops]  # n rows have n - 1 returns
        where = [spans_among(rows, ends, window - 1) for rows in known]
        series = [column[rows] for column, rows in zip(returns.T, known, strict=True)]
        return [list(one) for one in zip(*_verdicts_of(series, where, self.student), strict=True)]

    def _report(self, past: MarketHistory) -> None:
        if not self.failures_:
            return
        why = "; ".join(f"{name}: {reason}" for name, reason in self.failures_.items())
        where = f"EGARCH fit refused on {past!r}: {why}"
        if not self.fallback:
            raise ConvergenceError(where)
        logging.getLogger("marginlab").info("%s. EWMA(%s) stands in", where, EWMA_DECAY)


def _filtered(returns: Floats, laws: Floats) -> Floats:
    """ln of the next row's variance, (T, A), within a hundredth and a hundred times EWMA's."""
    level = laws[:, 6].copy()
    with np.errstate(divide="ignore"):  # an asset that stood still
        logs = egarch_logs(returns, laws[:, :5].copy(), np.log(laws[:, 5]), level, EWMA_DECAY)
        usual = np.log(np.maximum(ewma_variance(returns**2, EWMA_DECAY, level), _LEAST * level))
    return np.clip(logs, usual - np.log(FARTHEST), usual + np.log(FARTHEST))


def _verdicts_of(series: Sequence[Floats], spans: Sequence[tuple[Ints, Ints]], student: bool) -> list[list[Verdict]]:
    """What may forecast each asset after each window, rows begin to end - 1 of its returns without holes."""
    offsets = np.cumsum([0, *(len(one) for one in series)])[:-1]
    returns = np.concatenate(series)
    begin = np.concatenate([first + offset for (first, _), offset in zip(spans, offsets, strict=True)])
    end = np.concatenate([stop + offset for (_, stop), offset in zip(spans, offsets, strict=True)])
    level = np.array([np.mean(returns[a:b] ** 2) if b > a else np.nan for a, b in zip(begin, end, strict=True)])
    good = (end - begin >= LEAST_RETURNS) & (level > 0.0)
    whose = np.repeat(np.arange(len(series)), [len(first) for first, _ in spans])[good]
    place = np.arange(len(whose)) - np.searchsorted(whose, whose)  # among the asset's windows
    new = np.diff(end[good], prepend=0)
    far = (new < 0) | (new > _FAR * (end - begin)[good])  # a later window never steers an earlier one
    blocks = np.flatnonzero((place % BLOCK == 0) | far)
    fits = fit_windows(returns, begin[good], end[good], student, blocks=blocks)
    columns = (fits.omega, fits.alpha, fits.gamma, fits.beta, fits.degrees, fits.before)
    fitted = zip(*(column.tolist() for column in columns), strict=True)
    found = iter(zip(fitted, fits.refusal, strict=True))
    told = []
    for own, count, whole in zip(level.tolist(), (end - begin).tolist(), good.tolist(), strict=True):
        law, why = EgarchLaw._make([np.nan] * 6 + [own]), "returns without variation"
        if whole:
            parameters, why = next(found)
            law = law if why else EgarchLaw._make((*parameters, own))
        elif count < LEAST_RETURNS:
            why = f"{count} returns, {LEAST_RETURNS} needed"
        told.append((law, why))
    ends = np.cumsum([len(first) for first, _ in spans]).tolist()
    return [told[stop - len(first) : stop] for (first, _), stop in zip(spans, ends, strict=True)]


def _to_horizon(law: EgarchLaw, steps: int) -> tuple[Floats, Floats]:
    """Powers and constants (steps,): ln E h_k = power ln h_1 + constant."""
    powers, constants = np.ones(steps), np.zeros(steps)
    if np.isnan(law.omega):
        return powers, constants
    for k in range(1, steps):
        powers[k] = law.beta * powers[k - 1]
        constants[k] = constants[k - 1] + law.omega * powers[k - 1]
    constants[1:] += np.cumsum(_log_mean_answers(law, powers[:-1]))
    return powers, constants


def _log_mean_answers(law: EgarchLaw, shares: Floats) -> Floats:
    """ln E exp(share (alpha (|z| - (2 / pi)^(1/2)) + gamma z)) for each of the shares."""
    if not len(shares):
        return shares
    from scipy import stats

    alpha, gamma = shares * law.alpha, shares * law.gamma
    if np.isinf(law.degrees):
        rise, fall = alpha + gamma, alpha - gamma
        sides = [stats.norm.logcdf(one) + 0.5 * one**2 for one in (rise, fall)]
        return np.asarray(np.logaddexp(*sides) - _ROOT_2_OVER_PI * alpha)
    middles = (np.arange(_STRATA) + 0.5) / _STRATA
    z = np.asarray(stats.t.ppf(middles, law.degrees))
    z /= np.sqrt(np.mean(z**2))
    answers = np.multiply.outer(alpha, np.abs(z) - _ROOT_2_OVER_PI) + np.multiply.outer(gamma, z)
    return np.asarray(np.logaddexp.reduce(answers, axis=1) - np.log(_STRATA))
