"""What does a fixed rate, set before the test begins, ask for?"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Self

import numpy as np
import pandas as pd
from sklearn.base import clone

from data import Book, Coverage, Floats, MarketHistory, MarketState, ParameterError
from data.clock import Stamps
from data.valuation import notionals
from margin_models import operations
from margin_models.base import MarginModel, Requirement
from margin_models.scan import contract_scan, scan_pnl
from margin_models.scan_range import worse_side_quantile
from margin_models.scenarios import Scenarios

Tiers = tuple[tuple[float, float], ...]


def tiered(notional: Floats, tiers: Tiers) -> Floats:
    """Notional weighted by tier: what lies beyond each threshold counts with that tier's multiple.

    >>> tiered(np.array([50.0, 300.0]), ((100.0, 2.0),))
    array([ 50., 500.])
    """
    size = np.abs(notional)
    weighted, before = size.copy(), 1.0
    for threshold, multiple in tiers:
        weighted += (multiple - before) * np.maximum(size - threshold, 0.0)
        before = multiple
    return weighted


class StaticMargin(MarginModel):
    """A rate on notional per underlying, fitted on the first window for the coverage and then frozen.

    A position in options pays the most it loses when its underlying moves down or up by the rate, or not at all, with
    volatility unchanged and the time of the horizon gone by: revalued, so that a long option never pays more than it is
    worth.

    Parameters
    ----------
    cross : True charges the net of all positions in one underlying; False (isolated) each position alone.
    rate : share of notional for every underlying; None learns one each, the larger of the long's and the short's loss
        quantile.
    tiers : (notional, multiple) pairs, rising: notional beyond each is charged `multiple` times the rate. An option
        position alone counts with its underlying's notional; a net with options counts as the linear one that would
        lose as much.
    review : pandas offset alias of dated reviews ("YS": each 1 January); at the first refit after each the rate is
        learned again and may only step up. None never reviews.

    Attributes
    ----------
    rate_ : (A,) share of notional.
    """

    def __init__(
        self, cross: bool = False, rate: float | None = None, tiers: Tiers = (), review: str | None = None
    ) -> None:
        self.cross = cross
        self.rate = rate
        self.tiers = tiers
        self.review = review

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Learn `rate_`; ParameterError for a bad rate, tiers or review, HistoryError for a window too short."""
        self._check()
        if self.rate is None:
            self.rate_ = worse_side_quantile(past, coverage)
        else:
            self.rate_ = np.full(len(past.underlyings), float(self.rate))
        return super().fit(past, coverage)

    def fit_many(self, history: MarketHistory, stops: Sequence[int], window: int, coverage: Coverage) -> Iterator[Self]:
        """The fit of the first stop at every stop, stepped up at the reviews."""
        current, reviewed = None, None
        for stop in stops:
            now = history.time[stop - 1]
            if current is None or self._due(reviewed, now):
                fresh = clone(self).fit(history.rows(max(stop - window, 0), stop), coverage)
                if current is not None:
                    fresh.rate_ = np.maximum(fresh.rate_, current.rate_)
                current, reviewed = fresh, now
            yield current

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """Rate times notional, (P,) in the numeraire."""
        return np.asarray(self._by_underlying(past, book).sum(axis=1))

    def explain(self, past: MarketHistory, book: Book) -> Requirement:
        """The margin by underlying."""
        parts, margin = self._by_underlying(past, book), self.margin(past, book)
        return Requirement(book.portfolios, margin, margin, dict(zip(past.underlyings, parts.T, strict=True)))

    def _by_underlying(self, past: MarketHistory, book: Book) -> Floats:
        """(P, A) charges."""
        if self.cross:
            return self._net(past.now, book)
        portfolio, instrument, notional = book.positions(past.now)
        column = book.listing.columns(past.underlyings)[instrument]
        rate = self.rate_[column]
        if book.listing.option.any():
            bought, sold = self._rates_alone(past.now, book)
            rate = np.where(notional > 0, bought[instrument], sold[instrument])
        size = len(past.underlyings)
        flat = np.bincount(
            portfolio * size + column,
            weights=tiered(notional, self.tiers) * rate,
            minlength=len(book.portfolios) * size,
        )
        return np.asarray(flat, dtype=np.float64).reshape(len(book.portfolios), size)

    def _net(self, state: MarketState, book: Book) -> Floats:
        """(P, A) charges of everything in an underlying taken together."""
        if not book.listing.option.any():
            return np.asarray(tiered(book.exposure(state), self.tiers) * self.rate_)
        pnl = scan_pnl(book, state, self._moves(), state.years_ahead(self.coverage_))
        risk = np.maximum(-pnl.min(axis=2), 0.0)
        size = np.divide(risk, self.rate_, out=np.zeros_like(risk), where=self.rate_ > 0)
        multiple = np.divide(tiered(size, self.tiers), size, out=np.ones_like(size), where=size > 0)
        return np.asarray(risk * multiple)

    def _rates_alone(self, state: MarketState, book: Book) -> tuple[Floats, Floats]:
        """Share of notional that one contract bought, and one sold, must post, (N,) each; 0 where unpriced."""
        listing = book.listing
        rate = self.rate_[listing.columns(state.underlyings)]
        worth = notionals(listing, state) / state.rate
        pnl = (
            contract_scan(listing, state, self._moves(), state.years_ahead(self.coverage_))
            / np.where(worth > 0, worth, 1.0)[:, None]
        )
        bought, sold = (np.nan_to_num(np.maximum((side * pnl).max(axis=1), 0.0)) for side in (-1.0, 1.0))
        return np.where(listing.option, bought, rate), np.where(listing.option, sold, rate)

    def _moves(self) -> Scenarios:
        spot = np.array([[-1.0], [0.0], [1.0]]) * self.rate_
        return Scenarios(np.maximum(spot, -1.0), np.zeros_like(spot), ("down", "still", "up"))

    def multiplications(self, past: MarketHistory, book: Book) -> Floats:  # noqa: ARG002  the same at any instant
        """Of the rates, or of three prices for every option, (P,)."""
        return np.asarray(operations.legs(book) + 3 * operations.BLACK * operations.options(book))

    def _due(self, reviewed: np.datetime64 | None, now: np.datetime64) -> bool:
        """Whether a review date lies in (reviewed, now]."""
        if self.review is None or reviewed is None:
            return False
        dates: Stamps = pd.date_range(reviewed, now, freq=self.review, normalize=True, inclusive="right").to_numpy()
        return bool(((dates > reviewed) & (dates <= now)).any())

    def _check(self) -> None:
        try:
            pd.tseries.frequencies.to_offset(self.review)
        except ValueError as error:
            typical = 'Typical values: "YS", "QS", "MS".'
            raise ParameterError(f"review must be a pandas offset alias, got {self.review!r}. {typical}") from error
        if self.rate is not None and not 0 <= self.rate < np.inf:
            raise ParameterError(f"StaticMargin.rate must be >= 0, got {self.rate}. Typical values: 0.02-0.20.")
        steps = ((0.0, 1.0), *self.tiers)
        if any(not (b[0] > a[0] and b[1] >= a[1]) for a, b in pairwise(steps)):
            raise ParameterError(f"tiers must rise in notional (> 0) and multiple (>= 1), got {self.tiers}")
