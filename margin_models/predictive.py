"""How many times what a model asks must this book post, by what books like it lost in states like this?"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple, Self

import numpy as np
from sklearn.base import clone

from data import Book, Coverage, Floats, HistoryError, MarketHistory, ParameterError
from data.arrays import Ints
from margin_models import operations
from margin_models.base import MarginModel, Requirement
from margin_models.book_features import book_features, market_rows, trained_on, training_books
from margin_models.historical_var import FilteredHistoricalVaR
from margin_models.tail_learners import BoostedQuantile, TailLearner
from margin_models.volatility.predictors import LOOKBACK

FOLDS = 4  # blocks in time of the training rows; the first is never forecast
TRUSTS = (0.0, 0.25, 0.5, 0.75, 1.0)  # shares of the learned multiplier, the rest one constant
_HEDGED = 1e-9  # of gross notional: a training book of which less is asked has no ratio


class _Rows(NamedTuple):
    """Training rows in order of time: row of the window, features (R, F), loss over what the base asked (R,)."""

    row: Ints
    features: Floats
    ratio: Floats


class BoostedTail(MarginModel):
    """A base model's margin times a quantile, learned from features of the book and the market, of loss over margin.

    It learns from training books (each underlying bought and sold, the basket, pairs), rebuilt at unit gross notional
    at each row of the second half of the window whose horizon ended within it: what each lost at the end of the
    horizon, by spot, over what the base asked for it then, fitted on what was known when the row's block of time began.
    The loss is the pinball loss, whose minimum is the margin at which the next unit costs as much in capital as it
    saves in shortfall: charging `capital_cost` times 1 - level a unit of margin and one a unit of shortfall, its
    quantile is 1 - capital_cost (1 - level).

    The learned multiplier is blended with the plain quantile of all ratios by the share, among none to all, that lost
    least out of fold: each later block of training rows is forecast by a learner that saw only horizons that had ended
    when it begins. Any book may be charged; one of options counts by its deltas and by what the base asks for it.

    Parameters
    ----------
    base : the model whose margin is multiplied; `FilteredHistoricalVaR()` where None.
    learner : `BoostedQuantile()` where None. With `ContinuedQuantile` the fits of a walk continue one another, and what
        they give depends on the first.
    floor : a model whose margin is the least that is asked, such as a grid's; None for none.
    bounds : least and largest multiplier.
    capital_cost : of a unit of margin, over (1 - level) units of shortfall; 1 aims at the level.

    Attributes
    ----------
    base_, floor_, learner_ : as fitted.
    constant_ : the quantile of all ratios.
    trust_ : share of the learned multiplier in the blend.

    Raises
    ------
    ParameterError
        If the bounds are no range of positive numbers, or the cost aims at no quantile above a half.
    HistoryError
        If the first half of the window is too short for the base, there is no training row after 44 horizons, or none
        has all prices.
    """

    def __init__(
        self,
        base: MarginModel | None = None,
        learner: TailLearner | None = None,
        floor: MarginModel | None = None,
        bounds: tuple[float, float] = (0.5, 2.0),
        capital_cost: float = 1.0,
    ) -> None:
        self.base = base
        self.learner = learner
        self.floor = floor
        self.bounds = bounds
        self.capital_cost = capital_cost

    def fit(self, past: MarketHistory, coverage: Coverage) -> Self:
        """Learn the multiplier from the window alone."""
        return self._fit_after(None, past, coverage)

    def fit_many(self, history: MarketHistory, stops: Sequence[int], window: int, coverage: Coverage) -> Iterator[Self]:
        """A loop of fits, in which a learner that continues follows the one before."""
        before: TailLearner | None = None
        for stop in stops:
            fresh: Self = clone(self)
            yield fresh._fit_after(before, history.rows(max(stop - window, 0), stop), coverage)
            before = fresh.learner_

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        """Multiplier times the base's margin, and no less than the floor, (P,) in the numeraire."""
        return self.requirement(past, book).initial

    def multiplier(self, past: MarketHistory, book: Book, asked: Floats) -> Floats:
        """What the base's margin (P,) is multiplied by, (P,), within the bounds."""
        steps = past.steps(self.coverage_)
        recent = past.last(LOOKBACK * steps + 1)
        known = market_rows(recent, self.coverage_).predictors[-1]
        returns = recent.returns(replace(self.coverage_, horizon=past.clock.step))
        features = book_features(book.exposure(past.now), asked, known, returns, steps)
        return self._blended(self.learner_.predict(features), self.constant_, self.trust_)

    def requirement(self, past: MarketHistory, book: Book) -> Requirement:
        """The base's components, what the multiplier adds or takes away, and what the floor adds."""
        return self._multiplied(self.base_.requirement(past, book), past, book)

    def explain(self, past: MarketHistory, book: Book) -> Requirement:
        """The same with the base's finest components."""
        return self._multiplied(self.base_.explain(past, book), past, book)

    def multiplications(self, past: MarketHistory, book: Book) -> Floats:
        """Of the base, of the floor and of the features, (P,)."""
        asked = self.base_.multiplications(past, book) + LOOKBACK * past.steps(self.coverage_) * operations.legs(book)
        return asked if self.floor_ is None else asked + self.floor_.multiplications(past, book)

    def _multiplied(self, told: Requirement, past: MarketHistory, book: Book) -> Requirement:
        multiplied = told.initial * self.multiplier(past, book, told.initial)
        margin = multiplied
        parts = {**told.components, "learned multiplier": multiplied - told.initial}
        if self.floor_ is not None:
            margin = np.maximum(multiplied, self.floor_.margin(past, book))
            parts["floor"] = margin - multiplied
        return Requirement(book.portfolios, margin, margin, parts, told.worst)

    def _fit_after(self, before: TailLearner | None, past: MarketHistory, coverage: Coverage) -> Self:
        level = self._level(coverage)
        super().fit(past, coverage)
        rows, starts = self._training_rows(past, coverage)
        learner: TailLearner = BoostedQuantile() if self.learner is None else self.learner
        self.constant_ = float(np.quantile(rows.ratio, level, method="weibull"))
        self.trust_ = self._trust(rows, starts, past.steps(coverage), learner, level)
        self.learner_ = learner.after(before).fit(rows.features, rows.ratio, level)
        self.base_ = self._base().fit(past, coverage)
        self.floor_ = None if self.floor is None else clone(self.floor).fit(past, coverage)
        return self

    def _base(self) -> MarginModel:
        fresh: MarginModel = FilteredHistoricalVaR() if self.base is None else clone(self.base)
        return fresh

    def _level(self, coverage: Coverage) -> float:
        low, high = self.bounds
        if not 0 < low <= high < np.inf:
            raise ParameterError(f"BoostedTail.bounds must be 0 < low <= high, got {self.bounds}. Typical: (0.5, 2).")
        level = 1.0 - self.capital_cost * (1.0 - coverage.level)
        if not 0.5 < level < 1.0:
            raise ParameterError(
                f"BoostedTail.capital_cost must be > 0 and aim at a quantile above 0.5, got {self.capital_cost}, which "
                f"aims at {level:.4g}. Typical values: 0.5-2."
            )
        return level

    def _blended(self, learned: Floats, constant: float, trust: float) -> Floats:
        blend: Floats = np.clip(constant + trust * (learned - constant), *self.bounds)
        return blend

    def _training_rows(self, past: MarketHistory, coverage: Coverage) -> tuple[_Rows, Ints]:
        """All training rows, and the rows of the window (FOLDS,) at which their blocks start."""
        steps = past.steps(coverage)
        first, last = max(len(past) // 2, LOOKBACK * steps), len(past) - steps
        if first + FOLDS > last:
            raise HistoryError(f"a learned tail needs {(LOOKBACK + 1) * steps + FOLDS} rows, got {past!r}")
        starts = first + (last - first) * np.arange(FOLDS) // FOLDS
        columns = trained_on(past, first)
        recipe = training_books(tuple(name for name, kept in zip(past.underlyings, columns, strict=True) if kept))
        predictors = market_rows(past, coverage).predictors
        moves, gains = past.returns(replace(coverage, horizon=past.clock.step)), past.returns(coverage)
        whole = np.all(np.isfinite(gains[:last, columns]) & (past.spot[:last, columns] > 0), axis=1)
        usable = np.flatnonzero(whole) if recipe.portfolios else np.empty(0, dtype=np.intp)
        told: list[_Rows] = []
        for start, stop in pairwise([*starts, last]):
            base = self._base().fit(past.rows(0, start + 1), coverage)
            for row in usable[(usable >= start) & (usable < stop)].tolist():
                known, at = past.rows(0, row + 1), row - LOOKBACK * steps
                book = recipe.at(known.now)
                exposure, asked = book.exposure(known.now), base.margin(known, book)
                features = book_features(exposure, asked, predictors[at], moves[at:row], steps)
                useful = asked > _HEDGED * np.abs(exposure).sum(axis=1)
                lost = -(exposure @ np.where(columns, gains[row], 0.0))
                told.append(_Rows(np.full(useful.sum(), row), features[useful], lost[useful] / asked[useful]))
        if not any(len(one.row) for one in told):
            raise HistoryError(f"a learned tail has nothing to learn from: no row with every price in {past!r}")
        return _Rows(*(np.concatenate(parts) for parts in zip(*told, strict=True))), starts

    def _trust(self, rows: _Rows, starts: Ints, steps: int, learner: TailLearner, level: float) -> float:
        """The share of the learned multiplier that lost least on the blocks after the first; 0 where none can tell."""
        losses = np.zeros(len(TRUSTS))
        for start, stop in zip(starts[1:], [*starts[2:], rows.row[-1] + 1], strict=True):
            before, block = rows.row + steps <= start, (rows.row >= start) & (rows.row < stop)
            if not (before.any() and block.any()):
                continue
            constant = float(np.quantile(rows.ratio[before], level, method="weibull"))
            fitted = learner.after(None).fit(rows.features[before], rows.ratio[before], level)
            learned = fitted.predict(rows.features[block])
            for place, trust in enumerate(TRUSTS):
                gap = rows.ratio[block] - self._blended(learned, constant, trust)
                losses[place] += np.maximum(level * gap, (level - 1.0) * gap).sum()
        return TRUSTS[int(losses.argmin())]
