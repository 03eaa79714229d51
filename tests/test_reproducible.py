"""Do threads and processes leave what every model charges and every forecaster says as it was, to the last bit?"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial

import numba
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from threadpoolctl import threadpool_info, threadpool_limits

from backtest.portfolios import standard_books
from backtest.replay import replay
from data import Book, Coverage, Floats, MarketHistory
from data.sources.synthetic import garch_t
from examples import EXAMPLES, FORECASTERS
from margin_models import (
    BoostedQuantile,
    BoostedTail,
    BoostedVolatility,
    Buffer,
    CombinedVolatility,
    ConformalTracking,
    ContinuedQuantile,
    CorrelationVaR,
    EwmaVolatility,
    FilteredHistoricalVaR,
    FlooredBy,
    GarchVolatility,
    HarVolatility,
    HistoricalVaR,
    MarginModel,
    RateLimit,
    RobustVaR,
    SplitConformal,
    StressedWeight,
    VolatilityForecaster,
)
from margin_models.overlays.base import Overlay
from markets import coins_with_options, some_books
from research.engines import run

DAY, WINDOW, ROWS, REFIT = Coverage(0.98), 300, 24, 12
# As they are put to work: tuned, refitted, combined, continued along a walk, laid over one another.
AT_WORK: list[VolatilityForecaster] = [
    *FORECASTERS,
    CombinedVolatility([EwmaVolatility(), HarVolatility(), BoostedVolatility(trees=5)], adaptive=False),
]
CHARGED: list[MarginModel] = [
    *EXAMPLES,
    BoostedTail(learner=ContinuedQuantile(trees=6)),
    Buffer(ConformalTracking(RobustVaR(GarchVolatility()), lookback=30), lookback=10, every=3),
]


@cache
def market() -> MarketHistory:
    """Two coins with ranges, volume, funding, option prices and two features."""
    coins = coins_with_options(WINDOW + ROWS)
    told = np.random.default_rng(11).standard_normal((*coins.spot.shape, 2))
    return coins.with_features(told, ("pressure", "rate"))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Every pool of threads at so many."""
    before = numba.get_num_threads()
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    try:
        with threadpool_limits(count):
            yield
    finally:
        numba.set_num_threads(before)


def with_threads(model: MarginModel, count: int) -> MarginModel:
    """The same, what takes a number of threads taking this one."""
    fresh: MarginModel = clone(model)
    if isinstance(fresh, BoostedTail):
        fresh.set_params(learner=clone(fresh.learner or BoostedQuantile()).set_params(threads=count))
    return fresh


def charged(model: MarginModel) -> str:
    """A digest of every component, initial and maintenance margin and law of a walk with a refit in it."""
    history, recipe, digest = market(), some_books(), hashlib.sha256()
    stops = list(range(WINDOW, WINDOW + ROWS, REFIT))
    for stop, fitted in zip(stops, model.fit_many(history, stops, WINDOW, DAY), strict=True):
        for now in range(stop, stop + REFIT, 3):
            past = history.rows(0, now)
            book = recipe.at(past.now)
            asked, law = fitted.requirement(past, book), fitted.tail(past, book)
            told = [asked.initial, asked.maintenance, *asked.components.values()]
            told += [] if law is None else [law.var, law.es]
            digest.update(np.concatenate(told).tobytes())
    return digest.hexdigest()


def said(forecaster: VolatilityForecaster) -> str:
    """A digest of forecasts at the newest rows after each of two fits."""
    digest = hashlib.sha256()
    for fitted in forecaster.fit_many(market(), [WINDOW, WINDOW + REFIT], WINDOW, DAY):
        digest.update(fitted.forecasts(market(), ROWS).tobytes())
    return digest.hexdigest()


def asked(count: int = 1) -> dict[str, Callable[[], str]]:
    """What gives a digest, by its name."""
    charges = {f"{place} {one!r}": partial(charged, with_threads(one, count)) for place, one in enumerate(CHARGED)}
    return {**charges, **{repr(one): partial(said, one) for one in AT_WORK}}


NAMES = tuple(asked())
LAID_OVER = [isinstance(one, Overlay | BoostedTail) for one in CHARGED]
PREDICTIVE = tuple(name for place, name in enumerate(NAMES) if place >= len(CHARGED) or LAID_OVER[place])


@cache
def alone(name: str) -> str:
    """Told by this process at one thread."""
    with threads(1):
        return asked()[name]()


def words(names: Sequence[str]) -> dict[str, str]:
    return {name: asked()[name]() for name in names}


def test_every_forecaster_and_overlay_is_asked() -> None:
    assert {repr(one) for one in FORECASTERS} <= set(NAMES)
    overlays = [one for one in EXAMPLES if isinstance(one, Overlay)]
    assert len(overlays) >= 10
    assert all(any(name.endswith(repr(one)) for name in NAMES) for one in overlays)


@pytest.mark.parametrize("name", NAMES)
def test_two_threads_change_no_bit(name: str) -> None:
    with threads(2):
        assert asked(2)[name]() == alone(name)


def test_two_processes_that_share_what_is_asked_change_no_bit() -> None:
    """One of them asks for its share backwards: what came before must not matter either."""
    shares = [PREDICTIVE[::2], PREDICTIVE[1::2][::-1]]
    one, other = run(words, shares, jobs=2, labels=["forwards", "backwards"], progress=False)
    there = {**one, **other}
    assert there.keys() == set(PREDICTIVE)
    assert [name for name in PREDICTIVE if there[name] != alone(name)] == []


def wide() -> MarketHistory:
    return garch_t(WINDOW + ROWS, tuple(np.linspace(0.01, 0.05, 16)), seed=3).history


@pytest.mark.parametrize("forecaster", AT_WORK, ids=repr)
def test_forecasts_of_many_assets_keep_their_bits_at_two_threads(forecaster: VolatilityForecaster) -> None:
    history, told = wide(), []
    for count in (1, 2):
        with threads(count):
            fitted: VolatilityForecaster = clone(forecaster).fit(history.rows(0, WINDOW), DAY)
            told.append(fitted.forecasts(history, ROWS))
    assert_array_equal(told[0], told[1])


LARGE: list[MarginModel] = [
    FilteredHistoricalVaR(HarVolatility()),
    Buffer(FilteredHistoricalVaR(), lookback=4, every=5),
    RateLimit(HistoricalVaR(lookback=200), lookback=3),
    SplitConformal(HistoricalVaR(lookback=120), lookback=5),
    FlooredBy(HistoricalVaR(), CorrelationVaR()),
    StressedWeight(FilteredHistoricalVaR(), window=120),
]


@pytest.mark.parametrize("model", LARGE, ids=repr)
def test_a_replay_of_many_books_keeps_its_bits_where_two_threads_are_to_be_had(model: MarginModel) -> None:
    """Products of this size are shared out by BLAS, whose last bit shows it: `replay` holds it at one thread."""
    history, told = garch_t(WINDOW + 5, tuple(np.linspace(0.01, 0.05, 40)), seed=3).history, []
    books = standard_books(history.underlyings, makers=400)
    for count in (1, 2):
        with threads(count):
            told.append(replay(model, history, books, DAY, window=WINDOW, refit_every=3).initial)
    assert_array_equal(told[0], told[1])
    assert np.nanmean(told[0]) > 0


class Planted(MarginModel):
    """Asks for a little more in another process, or with other threads."""

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        pools = sum(pool["num_threads"] for pool in threadpool_info())
        return np.full(len(book.portfolios), os.getpid() + 0.01 * pools)


def planted(_: bool) -> str:
    return charged(Planted())


def test_a_model_that_does_depend_on_them_is_found_out() -> None:
    told = []
    for count in (1, 2):
        with threads(count):
            told.append(charged(Planted()))
    here, there = told[0], run(planted, [False, True], jobs=2, labels=["one", "other"], progress=False)
    assert told[0] != told[1]
    assert here not in there
