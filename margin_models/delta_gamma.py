"""What do a book's deltas and gammas make of normal moves of its underlyings?"""

import logging
from typing import NamedTuple, Self

import numpy as np
from sklearn.base import clone

from data import Book, Coverage, Floats, MarketHistory, ParameterError
from data.arrays import Bools
from data.laws import unit_tail
from margin_models import operations
from margin_models.base import CovarianceEstimator, MarginModel, Requirement, TailForecast
from margin_models.covariance import EwmaCovariance, sound_covariance
from margin_models.greeks import net_greeks
from margin_models.kernels.tails import book_tails, supports
from margin_models.revalue import book_pnl
from margin_models.scenarios import Scenarios, numeraire_column, usd_moves

SOON = 5.0  # horizons to expiry up to which an option is revalued: at seven, a straddle's quadratic errs by 3 %
DRAWS = 2**14  # of a Sobol sequence: tests/test_delta_gamma.py says how near their quantiles are
MONOTONE = 4.0  # standard deviations within which an expansion must rise

_STEPS = 45  # of bisection: what is left of the bracket is close to the rounding of floats
_EDGE = 1.0 - 2.0**-45
_NEAR = 1e-4  # standard deviations
_NODES = 40  # of the integral beyond a quantile


class QuadraticLoss(NamedTuple):
    """Losses mean + sum over j of slope_j z_j + curve_j (z_j^2 - 1) / 2 of P books, with z independent standard normal.

    `mean` is (P,), `slope` and `curve` are (P, A).
    """

    mean: Floats
    slope: Floats
    curve: Floats


def quadratic_loss(decay: Floats, delta: Floats, gamma: Floats, covariance: Floats) -> QuadraticLoss:
    """The law of -(decay + delta r + gamma r^2 / 2) for normal r, brought to its principal axes.

    `decay` (P,) is gained whatever happens, `delta` and `gamma` (P, A) are per relative move r of each underlying, of
    which `covariance` (A, A) is that. Mina and Ulmer (1999), "Delta-gamma four ways", RiskMetrics; Glasserman (2003),
    Monte Carlo Methods in Financial Engineering, section 9.1.2.
    """
    value, vector = np.linalg.eigh(covariance)
    root = vector * np.sqrt(np.maximum(value, 0.0))
    curve, axes = np.linalg.eigh(-np.einsum("ai,pa,aj->pij", root, gamma, root))
    slope = -np.einsum("pa,ai,pij->pj", delta, root, axes)
    return QuadraticLoss(0.5 * curve.sum(axis=1) - decay, slope, curve)


def cumulants(law: QuadraticLoss) -> Floats:
    """The first four cumulants of each loss, (4, P). Mina and Ulmer (1999), section 2.3."""
    slope, curve = law.slope**2, law.curve
    return np.stack(
        [
            law.mean,
            (slope + 0.5 * curve**2).sum(axis=1),
            (3.0 * slope * curve + curve**3).sum(axis=1),
            (12.0 * slope * curve**2 + 3.0 * curve**4).sum(axis=1),
        ]
    )


def cornish_fisher(moments: Floats, level: float) -> tuple[Floats, Floats]:
    """Quantile and expected shortfall, (P,) each, from four cumulants (4, P).

    Cornish and Fisher (1938); the shortfall integrates the same expansion (Boudt, Peterson and Croux, 2008, "Estimation
    and decomposition of downside risk for portfolios with non-normal returns", J. Risk 11). Good for losses that are
    not far from normal; where a book gains by every large move, its loss has an end that the expansion overlooks.
    """
    mean, variance, third, fourth = moments
    spread = np.sqrt(variance)
    unit = np.where(spread > 0, spread, 1.0)
    skew, kurtosis = third / unit**3, fourth / unit**4
    z, beyond = unit_tail(level)
    quantile = z + (z**2 - 1) * skew / 6 + (z**3 - 3 * z) * kurtosis / 24 - (2 * z**3 - 5 * z) * skew**2 / 36
    shortfall = 1 + z * skew / 6 + (z**2 - 1) * kurtosis / 24 - (2 * z**2 - 1) * skew**2 / 36
    return mean + spread * quantile, mean + spread * beyond * shortfall


def expansion_holds(moments: Floats, level: float) -> Bools:
    """Whether the Cornish-Fisher quantiles of four cumulants (4, P) rise from -4 to 4 standard deviations, (P,).

    Where they do not, what comes out is the quantile of no law (Maillard, 2012, "A user's guide to the Cornish Fisher
    expansion", who asks it of every quantile, which no skewed quadratic form gives). A level beyond 3 is held to one
    more than itself.
    """
    _, variance, third, fourth = moments
    unit = np.where(variance > 0, variance, 1.0)
    skew, kurtosis = third / unit**1.5, fourth / unit**2
    square, slope = kurtosis / 8.0 - skew**2 / 6.0, skew / 3.0
    rest = 1.0 - kurtosis / 8.0 + 5.0 * skew**2 / 36.0
    reach = max(MONOTONE, abs(unit_tail(level)[0]) + 1.0)
    ends = square * reach**2 + rest - np.abs(slope) * reach
    turn = np.divide(-slope, 2.0 * square, out=np.full_like(slope, np.inf), where=square > 0)
    lowest = np.where(np.abs(turn) < reach, rest + 0.5 * slope * np.where(np.isfinite(turn), turn, 0.0), np.inf)
    return np.asarray(np.minimum(ends, lowest) > 0.0)


def saddlepoint(law: QuadraticLoss, level: float) -> tuple[Floats, Floats]:
    """Quantile and expected shortfall of each loss, (P,) each.

    Lugannani and Rice (1980), "Saddle point approximation for the distribution of the sum of independent random
    variables", Advances in Applied Probability 12, inverted by bisection; Feuerverger and Wong (2000), "Computation of
    value-at-risk for nonlinear portfolios", J. Risk 3. The shortfall is the mean beyond the quantile under the
    saddlepoint density (Daniels, 1954), whose constant cancels.
    """
    spread = np.sqrt(cumulants(law)[1])
    unit = np.where(spread > 0, spread, 1.0)[:, None]
    slope, curve = law.slope / unit, law.curve / unit
    # A saddle t ends where 1 - curve t does: as t = s / (1 - |s| + end |s|) it has s between -1 and 1.
    ends = np.maximum(np.stack([-curve, curve]).max(axis=2), 0.0)
    low, high = -np.ones(len(spread)), np.ones(len(spread))
    for _ in range(_STEPS):
        middle = 0.5 * (low + high)
        beyond = _beyond(_at_saddle(middle, ends, slope, curve))
        low, high = np.where(beyond > 1.0 - level, middle, low), np.where(beyond > 1.0 - level, high, middle)
    found = 0.5 * (low + high)
    value = _at_saddle(found, ends, slope, curve).value
    mass, weighted = np.zeros((2, len(spread)))
    for node, weight in zip(*np.polynomial.legendre.leggauss(_NODES), strict=True):
        told = _at_saddle(found + 0.5 * (1.0 + node) * (1.0 - found), ends, slope, curve)
        mass, weighted = mass + weight * told.mass, weighted + weight * told.mass * told.value
    shortfall = np.divide(weighted, mass, out=value.copy(), where=mass > 0)
    return law.mean + spread * value, law.mean + spread * np.maximum(shortfall, value)


class _Saddle(NamedTuple):
    """Of losses of unit variance around zero, (P,) each: the value whose saddle is `t` and what tells its probability.

    `signed_root` and `bend` are Lugannani and Rice's, `skew` the third cumulant, and `mass` the density of s there.
    """

    t: Floats
    value: Floats
    signed_root: Floats
    bend: Floats
    skew: Floats
    mass: Floats


def _at_saddle(share: Floats, ends: Floats, slope: Floats, curve: Floats) -> _Saddle:
    share = np.clip(share, -_EDGE, _EDGE)
    size = np.abs(share)
    room = 1.0 - size + np.where(share > 0, ends[1], ends[0]) * size
    t = share / room
    at = t[:, None]
    rest = np.maximum(1.0 - curve * at, 1e-90)
    value = (0.5 * curve * (1.0 / rest - 1.0) + slope**2 * at * (1.0 - 0.5 * curve * at) / rest**2).sum(axis=1)
    generated = (-0.5 * np.log(rest) - 0.5 * curve * at + 0.5 * (slope * at) ** 2 / rest).sum(axis=1)
    bend = np.sqrt((0.5 * (curve / rest) ** 2 + slope**2 / rest**3).sum(axis=1))
    root = np.sqrt(np.maximum(2.0 * (t * value - generated), 0.0))
    skew = (3.0 * slope**2 * curve + curve**3).sum(axis=1)
    return _Saddle(t, value, np.sign(t) * root, bend, skew, np.exp(-0.5 * root**2) * bend / room**2)


def _beyond(at: _Saddle) -> Floats:
    """Probability of a larger loss, (P,)."""
    from scipy.special import ndtr

    w = at.signed_root
    near = np.abs(w) < _NEAR  # the mean: both fractions are infinite there and differ by a sixth of the skewness
    u = np.where(near, 1.0, at.t * at.bend)
    fractions = np.where(near, -at.skew / 6.0, 1.0 / u - 1.0 / np.where(near, 1.0, w))
    return np.asarray(ndtr(-w) + fractions * np.exp(-0.5 * w**2) / np.sqrt(2.0 * np.pi))


class DeltaGammaVaR(MarginModel):
    """`CorrelationVaR` with the gammas and the decay of options: a quantile of a quadratic form of normal moves.

    Mina and Ulmer (1999), "Delta-gamma four ways", RiskMetrics. Implied volatilities stand still and gammas hold
    however far prices move, so that what is far from its strike, and whatever lives on volatility, is for the models
    that revalue. The moves are normal: a heavy tail and a curve need each other's company in draws (`MonteCarloES`).
    For a book without options it asks what `CorrelationVaR` does.

    Near its expiry an option is no quadratic form and decays unevenly: a portfolio with an option that has at most
    `SOON` horizons to live is revalued in full in `DRAWS` draws of the same normal moves. One of long options alone
    never posts more than they are worth (in a coin of the market: at its price as the horizon ends, at that quantile).

    Parameters
    ----------
    covariance : how co-movement is estimated; `EwmaCovariance()` where None.
    expansion : take the Cornish-Fisher expansion of four cumulants rather than the saddlepoint approximation, which
        is as good as exact (tests/test_delta_gamma.py) and stands in where the expansion does not rise
        (`expansion_holds`).

    Attributes
    ----------
    covariance_ : the fitted estimator.
    failures_ : {why the quadratic form or its expansion was left: for how many portfolios since this model was fitted};
        the first of each kind goes to the log "marginlab" at level INFO.

    Raises
    ------
    HistoryError, ModelError
        If the estimator says nothing of what is held, or what it says is no covariance (`sound_covariance`).
    ParameterError
        If options are near their expiry and the level is beyond what the draws reach.
    """

    def __init__(self, covariance: CovarianceEstimator | None = None, expansion: bool = False) -> None:
        self.covariance = covariance
        self.expansion = expansion

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Fit the estimator."""
        estimator = EwmaCovariance() if self.covariance is None else clone(self.covariance)
        self.covariance_: CovarianceEstimator = estimator.fit(past, coverage)
        self.failures_: dict[str, int] = {}
        return super().fit(past, coverage)

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """The quantile where it is a loss, (P,) in the numeraire."""
        return np.maximum(self.tail(past, book).var, 0.0)

    def tail(self, past: MarketHistory, book: Book) -> TailForecast:
        """Quantile and expected shortfall of the quadratic form, or of draws near an expiry."""
        covariance = sound_covariance(self.covariance_, past, book)
        var, es = self._quadratic(past, book, covariance)
        soon = self._soon(past, book)
        if soon.any():
            self._report(past, f"options with at most {SOON:g} horizons to live are revalued in draws", soon)
            var[soon], es[soon] = self._drawn(past, _chosen(book, soon), covariance)
        return TailForecast(var, np.maximum(es, var))

    def explain(self, past: MarketHistory, book: Book) -> Requirement:
        """What the deltas alone would ask for, and what gammas and decay add to it or spare."""
        margin, exposure = self.margin(past, book), book.exposure(past.now)
        covariance = sound_covariance(self.covariance_, past, book)
        alone = quadratic_loss(np.zeros(len(margin)), exposure, np.zeros_like(exposure), covariance)
        delta = unit_tail(self.coverage_.level)[0] * np.sqrt(cumulants(alone)[1])
        parts = {"delta": delta, "gamma and decay": margin - delta}
        return Requirement(book.portfolios, margin, margin, parts)

    def multiplications(self, past: MarketHistory, book: Book) -> Floats:
        """Of the Greeks and of the principal axes (ten times the cube of their number), or of the draws, (P,)."""
        greeks = operations.legs(book) + operations.GREEKS * operations.options(book)
        drawn = np.where(self._soon(past, book), operations.scan(book, DRAWS), 0.0)
        return np.asarray(greeks + 10 * len(past.underlyings) ** 3 + drawn)

    def _quadratic(self, past: MarketHistory, book: Book, covariance: Floats) -> tuple[Floats, Floats]:
        law, level = self._law(past, book, covariance), self.coverage_.level
        told = np.array(saddlepoint(law, level))
        if self.expansion:
            moments = cumulants(law)
            holds = expansion_holds(moments, level)
            told = np.where(holds, cornish_fisher(moments, level), told)
            if not holds.all():
                self._report(past, "the expansion does not rise: the saddlepoint stands in", ~holds)
        var, es = np.minimum(told, _most(past, book, covariance, level))
        return var, es

    def _law(self, past: MarketHistory, book: Book, covariance: Floats) -> QuadraticLoss:
        if not book.listing.option.any():
            delta = book.exposure(past.now)
            return quadratic_loss(np.zeros(len(delta)), delta, np.zeros_like(delta), covariance)
        told = net_greeks(book, past.now)
        decay = told.theta.sum(axis=1) * past.now.years_ahead(self.coverage_)
        return quadratic_loss(decay, told.delta, told.gamma, covariance)

    def _soon(self, past: MarketHistory, book: Book) -> Bools:
        """Which portfolios hold an option near its expiry, (P,)."""
        near = SOON * past.now.years_ahead(self.coverage_)
        expiring = book.listing.option & (book.listing.tenor(past.now.time) <= near)
        return np.asarray(book.size @ expiring.astype(np.float64) > 0)

    def _drawn(self, past: MarketHistory, book: Book, covariance: Floats) -> tuple[Floats, Floats]:
        level = self.coverage_.level
        if not supports(DRAWS, level):
            raise ParameterError(f"{self!r}: {DRAWS} draws reach a level of {DRAWS / (DRAWS + 1.0):.6f}, got {level}")
        spot = np.maximum(usd_moves(_normal_draws(covariance), numeraire_column(past)), -1.0)
        scenarios = Scenarios(spot, np.zeros_like(spot), tuple(str(n) for n in range(DRAWS)))
        return book_tails(-book_pnl(book, past.now, scenarios, past.now.years_ahead(self.coverage_)), level)

    def _report(self, past: MarketHistory, reason: str, which: Bools) -> None:
        count = int(which.sum())
        if reason not in self.failures_:
            logging.getLogger("marginlab").info("%d of the books on %r: %s", count, past, reason)
        self.failures_[reason] = self.failures_.get(reason, 0) + count


def _normal_draws(covariance: Floats) -> Floats:
    """The same `DRAWS` draws of normal moves at each call, (S, A), spread evenly over the largest axes above all."""
    from scipy.special import ndtri
    from scipy.stats import qmc

    value, vector = np.linalg.eigh(covariance)
    moving = np.flatnonzero(value > 0.0)[::-1]
    if not moving.size:
        return np.zeros((DRAWS, len(value)))
    even = qmc.Sobol(len(moving), rng=np.random.default_rng(0)).random(DRAWS)
    return np.asarray(ndtri(even) @ (vector[:, moving] * np.sqrt(value[moving])).T)


def _chosen(book: Book, which: Bools) -> Book:
    """Some of the portfolios, (P,)."""
    names = tuple(name for name, kept in zip(book.portfolios, which, strict=True) if kept)
    return Book(book.instruments, names, book.quantity[np.flatnonzero(which)], book.listing)


def _most(past: MarketHistory, book: Book, covariance: Floats, level: float) -> Floats:
    """The most that quantile and shortfall can be of long options alone, (2, P): their value; else infinite.

    In a coin a loss counts at the coin's later price: the value over 1 + q is linear in q / (1 + q), of which the
    covariance is. Where nobody holds the coin, that is unknown here and there is no bound.
    """
    option, own = book.listing.option.astype(np.float64), numeraire_column(past)
    others, net, gross = book.size @ (1.0 - option), book.quantity @ option, book.size @ option
    bounded = (others == 0) & (gross > 0) & (net >= gross * (1.0 - 1e-12))
    spread = 0.0 if own is None else float(np.sqrt(covariance[own, own]))
    most = np.full((2, len(book.portfolios)), np.inf)
    if bounded.any() and (own is None or spread > 0):
        owned = _chosen(book, bounded).value(past.now)
        most[:, bounded] = owned * (1.0 + spread * np.array(unit_tail(level))[:, None])
    return most
