"""Does the audit see into what is tuned, refitted and remembered inside a model?"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Self

import numpy as np
import pytest

from backtest.lookahead import Audit, audit
from backtest.portfolios import standard_books
from data import Book, Coverage, MarketHistory
from margin_models import (
    BoostedTail,
    BoostedVolatility,
    CombinedVolatility,
    ContinuedQuantile,
    EwmaVolatility,
    FilteredHistoricalVaR,
    HarVolatility,
    HistoricalVaR,
    MarginModel,
    RobustVaR,
)
from margin_models.base import Requirement
from margin_models.overlays import Buffer, ConformalTracking, RateLimit, SplitConformal
from margin_models.overlays.base import changed_by
from markets import coins_with_options

WINDOW, ROWS = 260, 4
DAY = Coverage(0.95)
TUNED = BoostedVolatility(trees=6, tune=True)
INSIDE: list[MarginModel] = [
    FilteredHistoricalVaR(TUNED),
    RobustVaR(CombinedVolatility([EwmaVolatility(), HarVolatility(), TUNED])),
    BoostedTail(RobustVaR(HarVolatility()), ContinuedQuantile(trees=6)),
    Buffer(RobustVaR(TUNED), lookback=10, every=2),
    RateLimit(FilteredHistoricalVaR(TUNED), lookback=10),
    SplitConformal(FilteredHistoricalVaR(TUNED), lookback=40),
    ConformalTracking(Buffer(HistoricalVaR(lookback=100), lookback=10, every=2), lookback=30),
]


@cache
def market() -> MarketHistory:
    """Two coins with ranges, volume, funding, option prices, a feature of each and one that concerns both."""
    coins = coins_with_options(330)
    random = np.random.default_rng(2)
    own, rate = random.standard_normal(coins.spot.shape), random.standard_normal(len(coins))
    return coins.with_features(np.stack([own, np.repeat(rate[:, None], 2, axis=1)], axis=2), ("flow", "rate"))


def found(model: MarginModel) -> Audit:
    books = standard_books(market().underlyings, makers=3)
    return audit(model, market(), books, DAY, window=WINDOW, rows=ROWS)


@pytest.mark.parametrize("model", INSIDE, ids=repr)
def test_what_is_tuned_refitted_and_remembered_inside_never_sees_tomorrow(model: MarginModel) -> None:
    told = found(model)
    assert told.rows == ROWS
    assert told.passed, told.leaks


def test_tuning_was_at_work_where_it_was_audited() -> None:
    fits = TUNED.fit_many(market(), range(WINDOW, len(market()), 10), WINDOW, DAY)
    assert len({fitted.chosen_ for fitted in fits}) > 1


class TunedOnTomorrow(FilteredHistoricalVaR):
    """Takes, of several half-lives, the one that does best on the rows after the window."""

    def fit_many(self, history: MarketHistory, stops: Sequence[int], window: int, coverage: Coverage) -> Iterator[Self]:
        for stop in stops:
            later = history.rows(0, min(stop + 10, len(history)))
            yield type(self)(EwmaVolatility(half_life=self._best(later, stop - window, stop, coverage))).fit(
                history.rows(stop - window, stop), coverage
            )

    def _best(self, later: MarketHistory, start: int, stop: int, coverage: Coverage) -> float:
        returns, losses = later.returns(coverage)[stop - 1 :], {}
        for half_life in (3.0, 4.0, 6.0, 8.0, 12.0, 20.0, 40.0, 80.0):
            fitted = EwmaVolatility(half_life=half_life).fit(later.rows(start, stop), coverage)
            told = fitted.forecasts(later, len(later) - stop + 1)[: len(returns)] ** 2
            losses[half_life] = np.nansum(np.log(told) + returns**2 / told)
        return min(losses, key=losses.__getitem__)


class RefittedTooLate(FilteredHistoricalVaR):
    """Learns, at every other refit, from a window that ends a row after it."""

    def fit_many(self, history: MarketHistory, stops: Sequence[int], window: int, coverage: Coverage) -> Iterator[Self]:
        late = [min(stop + place % 2, len(history)) for place, stop in enumerate(stops)]
        return super().fit_many(history, late, window, coverage)


class SmoothedBothWays(Buffer):
    """Remembers the whole history, and charges the mean of what the model asks now and a row later."""

    def fit_many(self, history: MarketHistory, stops: Sequence[int], window: int, coverage: Coverage) -> Iterator[Self]:
        for fitted in super().fit_many(history, stops, window, coverage):
            fitted.whole_ = history
            yield fitted

    def _over(self, asked: Requirement, past: MarketHistory, book: Book) -> Requirement:
        later = self.whole_.rows(0, min(len(past) + 1, len(self.whole_)))
        return changed_by(asked, self.own, 0.5 * (self.model_.margin(later, book) - asked.initial))


class TunedAfterwards(BoostedVolatility):
    """Says more or less of the boosted correction by what would have suited the rows after the window."""

    def fit_many(self, history: MarketHistory, stops: Sequence[int], window: int, coverage: Coverage) -> Iterator[Self]:
        for stop, fitted in zip(stops, super().fit_many(history, stops, window, coverage), strict=True):
            later = history.rows(0, min(stop + 10, len(history)))
            told = fitted.forecasts(later, len(later) - stop + 1)[:-1] ** 2
            surprise = later.returns(coverage)[stop - 1 :] ** 2 / told
            fitted.scale_ *= 1.0 + 0.1 * float(np.nansum(surprise))
            yield fitted


PLANTED = [
    TunedOnTomorrow(),
    RefittedTooLate(HarVolatility()),
    SmoothedBothWays(RobustVaR()),
    FilteredHistoricalVaR(TunedAfterwards(trees=6)),
    Buffer(TunedOnTomorrow(), lookback=10, every=2),
]


@pytest.mark.parametrize("model", PLANTED, ids=repr)
def test_a_leak_planted_inside_is_caught(model: MarginModel) -> None:
    assert not found(model).passed
