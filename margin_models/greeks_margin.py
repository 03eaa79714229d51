"""What do a book's sensitivities ask for: delta, vega and curvature, charged apart?

After the sensitivity-based methods of ISDA's Standard Initial Margin Model and of the Basel Committee (2019), Minimum
capital requirements for market risk, MAR21; it claims to be neither, as its moves are learned from the market at hand.
"""

from typing import Self

import numpy as np
from sklearn.base import clone

from data import Book, Coverage, Floats, MarketHistory, MarketState, ParameterError
from data.coverage import DAYS_A_YEAR
from data.valuation import option_terms, sensitivities
from margin_models import operations
from margin_models.base import CovarianceEstimator, MarginModel, Requirement
from margin_models.covariance import LedoitWolfCovariance, correlation_of
from margin_models.greeks import option_greeks
from margin_models.repricing import counted
from margin_models.revalue import instrument_pnl, summed_apart
from margin_models.scan_range import worse_side_quantile
from margin_models.scenarios import Scenarios, VolTerm, numeraire_column, usd_moves

BUCKETS = (1.0, 7.0, 14.0, 30.0, 60.0, 90.0, 180.0, 365.0)  # days to expiry that vega is charged at
DIRECTIONS = ("up", "down")


def bucket_shares(days: Floats) -> Floats:
    """How the vega of M options is laid on the two nearest buckets, (M, B), rows summing to one; flat outside.

    >>> bucket_shares(np.array([0.2, 10.5, 60.0]))[:, :5].tolist()
    [[1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0]]
    """
    return np.stack([np.interp(days, BUCKETS, unit) for unit in np.eye(len(BUCKETS))], axis=1)


def bucket_correlation(decay: float) -> Floats:
    """(B, B): the shorter of two tenors over the longer, to the power `decay`.

    To first order exp(-decay |T - U| / min(T, U)), which is MAR21.93; but that one is no correlation matrix from a day
    to a year, as it has negative eigenvalues, and a spread of vega could be charged nothing.
    """
    days = np.array(BUCKETS)
    return np.asarray((np.minimum(days[:, None], days) / np.maximum(days[:, None], days)) ** decay)


def aggregated(charges: Floats, correlation: Floats) -> Floats:
    """Root of the sum over pairs of correlation times both charges (P, n), (P,). MAR21.4."""
    return np.asarray(np.sqrt(np.maximum(((charges @ correlation) * charges).sum(axis=1), 0.0)))


class GreeksMargin(MarginModel):
    """Delta, vega and curvature charges, added up.

    Delta: exposure times a quantile move of each underlying, netted with the correlations of returns. Vega: vega times
    volatility times a relative move that fades with tenor as `VolTerm` says, netted over tenor buckets and underlyings;
    the correlation of two is the product of that of their tenors and that of their returns (MAR21.94). Curvature:
    what a book loses beyond its delta when an underlying moves by its quantile move, up or down, whichever is worse and
    nothing where it gains (MAR21.5); underlyings are netted with squared correlations. Like both originals
    it charges nothing for the passing of time. Correlations are learned by `fit`.

    Parameters
    ----------
    vol_move : relative move of 30-day implied volatility.
    scan_range : the move of every underlying; None learns one each from the window at the coverage.
    covariance : how correlations are estimated; `LedoitWolfCovariance()` where None.
    tenor_decay : how fast the vega of different tenors stops offsetting, see `bucket_correlation`. The default is a
        choice of ours: a month and a year correlate by .78.

    Attributes
    ----------
    scan_range_ : (A,) relative moves.
    correlation_ : (A, A) correlations of returns.
    """

    def __init__(
        self,
        vol_move: float = 0.25,
        scan_range: float | None = None,
        covariance: CovarianceEstimator | None = None,
        tenor_decay: float = 0.1,
    ) -> None:
        self.vol_move = vol_move
        self.scan_range = scan_range
        self.covariance = covariance
        self.tenor_decay = tenor_decay

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Learn moves and correlations; ParameterError for what is out of range, HistoryError for a short window."""
        self._check()
        if self.scan_range is None:
            self.scan_range_ = worse_side_quantile(past, coverage)
        else:
            self.scan_range_ = np.full(len(past.underlyings), float(self.scan_range))
        estimator = LedoitWolfCovariance() if self.covariance is None else clone(self.covariance)
        self.correlation_ = correlation_of(estimator.fit(past, coverage).estimate(past))
        return super().fit(past, coverage)

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """The sum of the three charges, (P,) in the numeraire."""
        return np.asarray(sum(self._charges(self._parts(past.now, book)).values()))

    def requirement(self, past: MarketHistory, book: Book) -> Requirement:
        """The three charges, and the largest single part of them for each book."""
        return self.explain(past, book)

    def multiplications(self, past: MarketHistory, book: Book) -> Floats:
        """Of the Greeks, two revaluations and the correlations between underlyings, (P,)."""
        size = len(past.underlyings)
        return np.asarray(operations.scan(book, 2) + operations.GREEKS * operations.options(book) + 3 * size * size)

    def explain(self, past: MarketHistory, book: Book) -> Requirement:
        """The three charges, and the largest single part of them for each book."""
        parts = self._parts(past.now, book)
        charges = self._charges(parts)
        margin = np.asarray(sum(charges.values()))
        names = _labels(past.underlyings)
        apart = np.hstack([np.abs(part).reshape(len(margin), -1) for part in parts])
        worst = tuple(names[top] if row[top] > 0 else "" for row, top in zip(apart, apart.argmax(axis=1), strict=True))
        return Requirement(book.portfolios, margin, margin, charges, worst)

    def _parts(self, state: MarketState, book: Book) -> tuple[Floats, Floats, Floats]:
        """Before netting: delta (P, A), vega (P, A B) and curvature (P, A, 2)."""
        delta = book.exposure(state) * self.scan_range_
        if not book.listing.option.any():
            size = len(delta), delta.shape[1]
            return delta, np.zeros((size[0], size[1] * len(BUCKETS))), np.zeros((*size, len(DIRECTIONS)))
        vega = np.asarray(book.quantity @ book.known(vega_risk(book, state, self.vol_move), state))
        return delta, vega, curvature_risk(book, state, self.scan_range_)

    def _charges(self, parts: tuple[Floats, Floats, Floats]) -> dict[str, Floats]:
        delta, vega, curvature = parts
        across = np.asarray(np.kron(self.correlation_, bucket_correlation(self.tenor_decay)), dtype=np.float64)
        return {
            "delta": aggregated(delta, self.correlation_),
            "vega": aggregated(vega, across),
            "curvature": aggregated(np.maximum(curvature.max(axis=2), 0.0), self.correlation_**2),
        }

    def _check(self) -> None:
        for name, low, high in (("vol_move", 0.0, 10.0), ("scan_range", 0.0, 10.0), ("tenor_decay", 0.0, 10.0)):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ParameterError(f"GreeksMargin.{name} must lie in [{low:g}, {high:g}], got {value}")


def vega_risk(book: Book, state: MarketState, vol_move: float) -> Floats:
    """Gain of one contract when volatility rises by its move, laid on underlyings and buckets, (N, A B).

    In the numeraire; NaN where an option is unpriced.
    """
    terms = option_terms(book.listing, state)
    size = len(state.underlyings), len(BUCKETS)
    laid = np.zeros((len(book.instruments), *size))
    known = np.isfinite(terms.volatility)
    laid[terms.at[~known & (state.spot[terms.underlying] != 0)]] = np.nan
    priced = terms.only(known)
    days = DAYS_A_YEAR * priced.tenor
    gain = option_greeks(priced, state).vega * priced.volatility * vol_move * VolTerm().scale(days) / state.rate
    laid[priced.at, priced.underlying] = gain[:, None] * bucket_shares(days)
    return laid.reshape(len(laid), -1)


def curvature_risk(book: Book, state: MarketState, scan_range: Floats) -> Floats:
    """Loss beyond delta as each underlying moves up and down by its scan range, (P, A, 2) in the numeraire.

    Volatilities and time stand still; a fall is never beyond the whole price.
    """
    moves = np.clip(usd_moves(np.stack([scan_range, -scan_range]), numeraire_column(state)), -1.0, None)
    shocks = Scenarios(moves, np.zeros_like(moves), DIRECTIONS)
    column = book.listing.columns(state.underlyings)
    linear = sensitivities(book.listing, state)[:, None] * moves[:, column].T * counted(state, shocks)
    beyond = linear - instrument_pnl(book.listing, state, shocks)
    return summed_apart(book, np.where(book.listing.option[:, None], beyond, 0.0), state)


def _labels(underlyings: tuple[str, ...]) -> list[str]:
    """Names of all parts, in the order of `_parts`."""
    return [
        *(f"delta {name}" for name in underlyings),
        *(f"vega {name} {days:g}d" for name in underlyings for days in BUCKETS),
        *(f"curvature {name} {way}" for name in underlyings for way in DIRECTIONS),
    ]
