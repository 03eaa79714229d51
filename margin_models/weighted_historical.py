"""What would this very book have lost in each past horizon, the recent ones counting more?"""

import numpy as np

from data import Book, Floats, HistoryError, MarketHistory, ParameterError
from data.arrays import Places
from margin_models import operations
from margin_models.base import MarginModel, Requirement, TailForecast
from margin_models.covariance import ewma_weights
from margin_models.historical_law import (
    Cohort,
    KnownHorizons,
    alike,
    charged,
    known_horizons,
    lookback_rows,
    past_moves,
    picks_of,
    split,
    tails_of,
)
from margin_models.kernels.tails import needed

_ROUNDING = 1e-9


def effective_observations(weights: Floats) -> float:
    """How many equal weights say as much as these: (sum w)^2 / sum w^2 (Kish, 1965, Survey Sampling, section 11.7).

    >>> effective_observations(np.ones(250))
    250.0
    """
    return float(weights.sum() ** 2 / (weights**2).sum())


def at_the_weighted_quantile(losses: Floats, weights: Floats, level: float) -> tuple[Places, Floats]:
    """Which of (P, S) losses with weights (S,) make each book's quantile: places (P, 2) and shares, which sum to one.

    A loss stands at the weight cumulated up to it times n / (n + 1), with n the effective observations; between two the
    quantile is linear. With equal weights that is the (n + 1) level order statistic.
    """
    size = effective_observations(weights)
    order = np.argsort(losses, axis=1, kind="stable")
    stands = np.cumsum(weights[order], axis=1) * (size / (size + 1.0) / weights.sum())
    upper = np.minimum((stands < level - _ROUNDING).sum(axis=1), losses.shape[1] - 1)
    ends = np.stack([np.maximum(upper - 1, 0), upper], axis=1)
    low, high = np.take_along_axis(stands, ends, axis=1).T
    share = np.clip(np.divide(level - low, high - low, out=np.ones(len(low)), where=high > low), 0.0, 1.0)
    tied = np.equal(*np.take_along_axis(losses, np.take_along_axis(order, ends, axis=1), axis=1).T)
    share = np.where(tied | (share > 1.0 - _ROUNDING), 1.0, share)
    return np.take_along_axis(order, ends, axis=1), np.stack([1.0 - share, share], axis=1)


def beyond_the_weighted_quantile(losses: Floats, weights: Floats, quantile: Floats) -> tuple[Places, Floats]:
    """Places (P, S) and weights, which sum to one, of the losses at or beyond each book's quantile (P,)."""
    counted = weights * (losses >= np.minimum(quantile, losses.max(axis=1))[:, None])
    every = np.broadcast_to(np.arange(losses.shape[1]), losses.shape)
    return every, counted / counted.sum(axis=1, keepdims=True)


def weighted_tail(losses: Floats, weights: Floats, level: float) -> tuple[Floats, Floats]:
    """Quantile and mean loss at or beyond it of (P, S) losses with weights (S,), (P,) each.

    Between two losses the quantile is never above the larger, and of two equal ones it is exactly that.
    """
    places, share = at_the_weighted_quantile(losses, weights, level)
    low, high = np.take_along_axis(losses, places, axis=1).T
    quantile = np.minimum(low + share[:, 1] * (high - low), high)
    every, counted = beyond_the_weighted_quantile(losses, weights, quantile)
    return quantile, np.asarray((np.take_along_axis(losses, every, axis=1) * counted).sum(axis=1))


class AgeWeightedVaR(MarginModel):
    """Historical simulation in which each horizon counts a little less than the one after it.

    Boudoukh, Richardson and Whitelaw (1998), "The best of both worlds", Risk 11. Weights are those of `EwmaCovariance`:
    a horizon with a hole in what a portfolio holds is left out of its own but still ages the others. Old losses fade
    instead of dropping out, at the price of fewer effective observations: a decay of 0.98 has 99 at most, one too few
    in any window for a level of 0.99.

    Parameters
    ----------
    decay : weight of a horizon over that of the next, in (0, 1]; 1 is `HistoricalVaR`.
    lookback : how many of the newest horizon returns to replay; None takes as many rows as the fit window has.
    shortfall : charge the weighted mean loss at or beyond the quantile rather than the quantile.
    """

    def __init__(self, decay: float = 0.99, lookback: int | None = None, shortfall: bool = False) -> None:
        self.decay = decay
        self.lookback = lookback
        self.shortfall = shortfall

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """The quantile, or the shortfall, where it is a loss, (P,) in the numeraire."""
        return charged(self.tail(past, book), self.shortfall)

    def tail(self, past: MarketHistory, book: Book) -> TailForecast:
        """Quantile and expected shortfall; it has no sample, as its losses do not count alike.

        HistoryError where the level needs more effective observations than there are, ParameterError for a decay or a
        lookback out of range.
        """
        horizons, weights = self._weighted(past, book)
        losses, level = horizons.losses(book, past, self.coverage_), self.coverage_.level
        tails = tails_of(losses, lambda cohort: weighted_tail(cohort.losses, weights[cohort.scenarios], level))
        return TailForecast(*tails)

    def explain(self, past: MarketHistory, book: Book) -> Requirement:
        """The margin by underlying, and the past horizon that weighs most in it."""
        horizons, weights = self._weighted(past, book)
        told = self.tail(past, book)

        def pick(cohort: Cohort) -> tuple[Places, Floats]:
            own = weights[cohort.scenarios]
            if self.shortfall:
                return beyond_the_weighted_quantile(cohort.losses, own, told.var[cohort.portfolios])
            return at_the_weighted_quantile(cohort.losses, own, self.coverage_.level)

        picks = picks_of(horizons.losses(book, past, self.coverage_), pick)
        return split(book, past, horizons.scenarios, self.coverage_, charged(told, self.shortfall), *picks)

    def multiplications(self, past: MarketHistory, book: Book) -> Floats:
        """Of a revaluation in every past horizon, (P,)."""
        return operations.scan(book, 1) * self._weighted(past, book)[0].counts(book)

    def _weighted(self, past: MarketHistory, book: Book | None = None) -> tuple[KnownHorizons, Floats]:
        """Past horizons and their weights, (S,)."""
        if not 0.0 < self.decay <= 1.0:
            raise ParameterError(f"decay must lie in (0, 1], got {self.decay}. Typical values: 0.98-0.995.")
        recent = past.last(lookback_rows(self.lookback, self.window_) + past.steps(self.coverage_))
        moves, level = past_moves(recent, self.coverage_), self.coverage_.level
        horizons = known_horizons(moves, recent, self.coverage_, self, book)
        weights = ewma_weights(len(moves), self.decay ** (1.0 / past.steps(self.coverage_)))[horizons.rows]
        known = (
            np.ones((1, len(weights)), dtype=bool)
            if horizons.known is None
            else horizons.known[[who[0] for who in alike(horizons.known)]]
        )
        for own in (weights[some] for some in known):
            size = effective_observations(own)
            if level > (size + _ROUNDING) / (size + 1.0):
                raise HistoryError(
                    f"{self!r}: a {level} quantile needs {needed(level)} effective observations, got {size:.1f} of "
                    f"{len(own)} horizons: lengthen the lookback or raise the decay"
                )
        return horizons, weights
