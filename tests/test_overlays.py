"""Do overlays keep what the model says, and stand on each other in any order?"""

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from backtest import replay
from data import Book, Coverage, Floats, MarketHistory, ParameterError
from margin_models import (
    Buffer,
    CircuitBreaker,
    CorrelationVaR,
    FilteredHistoricalVaR,
    FlooredBy,
    GarchVolatility,
    HistoricalVaR,
    LiquidityAddOn,
    MarginModel,
    OracleAddOn,
    RateLimit,
    SplitConformal,
    StaticMargin,
    StressedFloor,
    StressedWeight,
)
from margin_models.base import Requirement
from margin_models.overlays.base import changed_by
from markets import book_of, market, some_books, two_coins

COVERAGE = Coverage(0.95)
WRAPS: list[Callable[[MarginModel], MarginModel]] = [
    lambda model: FlooredBy(model, StaticMargin(rate=0.05)),
    lambda model: CircuitBreaker(model, trip=1.0, release=0.5),
    lambda model: LiquidityAddOn(model, 1e7, assumed_volume=1e8),
    lambda model: OracleAddOn(model, assumed=0.5),
]


def asked_of(model: MarginModel, history: MarketHistory, book: Book) -> Requirement:
    return model.fit(history, COVERAGE).requirement(history, book)


def test_the_larger_of_two_charges_portfolio_by_portfolio() -> None:
    history, books = two_coins(), some_books()
    book = books.at(history.now)
    one, two = CorrelationVaR(), StaticMargin(rate=0.025)
    low, high = (asked_of(model, history, book).initial for model in (one, two))
    told = asked_of(FlooredBy(one, two), history, book)
    assert_array_equal(told.initial, np.maximum(low, high))
    assert_allclose(told.components["floor"], np.maximum(high - low, 0.0))
    assert (high > low).any()
    assert (low > high).any()
    assert_array_equal(told.initial, asked_of(FlooredBy(two, one), history, book).initial)
    named = FlooredBy(HistoricalVaR(), two).fit(history, COVERAGE)
    plain, floored = named.model_.explain(history, book), named.explain(history, book)
    assert floored.worst == tuple(
        "" if higher else name for higher, name in zip(high > plain.initial, plain.worst, strict=True)
    )


def test_a_floor_under_itself_changes_nothing() -> None:
    history = two_coins()
    book = some_books().at(history.now)
    told = asked_of(FlooredBy(HistoricalVaR(), HistoricalVaR()), history, book)
    assert_array_equal(told.initial, HistoricalVaR().fit(history, COVERAGE).margin(history, book))
    assert not told.components["floor"].any()


def test_a_floor_counts_the_work_of_both() -> None:
    history = two_coins()
    book = some_books().at(history.now)
    both = FlooredBy(HistoricalVaR(), HistoricalVaR(lookback=100)).fit(history, COVERAGE)
    expected = both.model_.multiplications(history, book) + both.floor_.multiplications(history, book)
    assert_array_equal(both.multiplications(history, book), expected)
    assert (expected[:3] > 0).all()


@pytest.mark.parametrize("order", list(permutations(range(len(WRAPS)))), ids=str)
def test_overlays_compose_in_any_order(order: tuple[int, ...]) -> None:
    history, model = two_coins(240), HistoricalVaR()
    wrapped: MarginModel = model
    for place in order:
        wrapped = WRAPS[place](wrapped)
    book = some_books().at(history.now)
    told, bare = asked_of(wrapped, history, book), asked_of(model, history, book)
    assert np.isfinite(told.initial).all()
    assert (told.initial >= bare.initial).all()
    assert (told.maintenance <= told.initial).all()
    assert (told.maintenance >= 0).all()
    assert_allclose(sum(told.components.values()), told.initial, atol=1e-15)
    assert told.initial[-1] == 0.0  # the empty one
    assert {"floor", "circuit breaker", "liquidity", "concentration", "oracle"} <= set(told.components)


def test_a_stack_is_replayed_with_the_models_own_way_to_fit_many() -> None:
    history, books = two_coins(240), some_books()
    stack = CircuitBreaker(FlooredBy(FilteredHistoricalVaR(), StaticMargin()))
    run = replay(stack, history, books, COVERAGE, window=120, refit_every=10)
    plain = replay(FilteredHistoricalVaR(), history, books, COVERAGE, window=120, refit_every=10)
    live = run.live
    assert (run.initial[live] >= plain.initial[live]).all()
    assert run.tail is None


def test_refused_fits_are_told_once_through_any_number_of_overlays() -> None:
    history, book = market([0.0] * 330), book_of(1.0, -1.0)
    garch = FilteredHistoricalVaR(GarchVolatility())
    inner = replay(garch, history, book, COVERAGE, window=260, refit_every=40)
    assert inner.notes
    wrapped: MarginModel = garch
    for _ in range(4):
        wrapped = CircuitBreaker(wrapped)
        assert replay(wrapped, history, book, COVERAGE, window=260, refit_every=40).notes == inner.notes


def test_a_share_may_be_a_relief_and_maintenance_follows() -> None:
    def told(initial: list[float], maintenance: list[float]) -> Requirement:
        size = len(initial)
        parts: dict[str, Floats] = {"margin": np.array(initial)}
        return Requirement(("a", "b", "c", "d")[:size], np.array(initial), np.array(maintenance), parts)

    asked = told([2.0, 2.0, 0.0, 1.0], [1.0, 2.0, 0.0, 0.5])
    moved = changed_by(asked, "more", np.array([2.0, -1.0, 3.0, -5.0]))
    assert_allclose(moved.initial, [4.0, 1.0, 3.0, 0.0])
    assert_allclose(moved.maintenance, [2.0, 1.0, 3.0, 0.0])
    assert_allclose(moved.components["more"], [2.0, -1.0, 3.0, -1.0])


CRISIS = market([0.002, -0.002] * 30 + [0.05, -0.05] * 30 + [0.002, -0.002] * 60)


def test_a_quarter_of_the_margin_is_that_of_the_crisis() -> None:
    book = book_of(1.0, -1.0, 0.0).at(CRISIS.now)
    calm = asked_of(HistoricalVaR(lookback=60), CRISIS, book).initial
    worst = asked_of(StressedFloor(HistoricalVaR(lookback=60), window=60), CRISIS, book).initial
    told = asked_of(StressedWeight(HistoricalVaR(lookback=60), window=60), CRISIS, book)
    assert worst[0] > 5 * calm[0] > 0
    assert_allclose(told.initial, 0.75 * calm + 0.25 * worst)
    assert_allclose(told.components["stressed weight"], 0.25 * (worst - calm))
    assert_allclose(told.maintenance, told.initial)
    whole = asked_of(StressedWeight(HistoricalVaR(lookback=60), weight=1.0, window=60), CRISIS, book)
    assert_allclose(whole.initial, worst)


def test_a_floor_at_a_quarter_of_the_crisis_is_another_thing() -> None:
    book = book_of(1.0).at(CRISIS.now)
    model = HistoricalVaR(lookback=110)  # that has part of the crisis in its own lookback
    calm = asked_of(model, CRISIS, book).initial
    worst = asked_of(StressedFloor(StaticMargin(rate=1e-6), window=60), CRISIS, book).initial
    floored = asked_of(StressedFloor(model, window=60, weight=0.25), CRISIS, book).initial
    weighed = asked_of(StressedWeight(model, window=60), CRISIS, book).initial
    assert_allclose(floored, np.maximum(calm, 0.25 * worst))
    assert_allclose(weighed, calm + 0.25 * np.maximum(worst - calm, 0.0))
    assert (weighed > floored).all()


@pytest.mark.parametrize("weight", [0.0, 1.01, float("nan")])
def test_a_weight_out_of_range_is_refused(weight: float) -> None:
    with pytest.raises(ParameterError, match=r"weight in \(0, 1\]"):
        StressedWeight(HistoricalVaR(), weight=weight, window=60).fit(CRISIS, COVERAGE)


PAST_LOOKING: list[Callable[[MarginModel], MarginModel]] = [
    lambda model: RateLimit(model),
    lambda model: Buffer(model),
    lambda model: SplitConformal(model),
]


@pytest.mark.parametrize("ours", WRAPS)
@pytest.mark.parametrize("theirs", PAST_LOOKING)
def test_overlays_of_the_market_and_of_past_charges_stand_on_each_other(
    ours: Callable[[MarginModel], MarginModel], theirs: Callable[[MarginModel], MarginModel]
) -> None:
    history = two_coins(240)
    book = some_books().at(history.now)
    for stack in (ours(theirs(StaticMargin())), theirs(ours(StaticMargin()))):
        told = asked_of(stack, history, book)
        assert np.isfinite(told.initial).all()
        assert (told.initial[:-1] > 0).all()
        assert told.initial[-1] == 0.0
        assert (told.maintenance <= told.initial).all()
        assert_allclose(sum(told.components.values()), told.initial, atol=1e-15)
