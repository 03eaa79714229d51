"""Does getting out cost what the book that is there says?"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from backtest import LiquidationCost, compare, replay
from backtest.book_cost import BookCost, closings
from backtest.closeout import FREE, closeout
from data import Book, Coverage, Floats, Instrument, MarketHistory
from data.flow.closing import depth_cost
from margin_models import HistoricalVaR
from markets import BTC, book_of, coins_with_options, market, some_books, two_coins

COVERAGE = Coverage(0.8)
BANDS = (0.001, 0.01, 0.05)
RATE = HistoricalVaR()
BIDS, ASKS = [1e6, 3e6, 5e6], [2e6, 4e6, 4e6]
NAN = float("nan")


def deep(history: MarketHistory, bids: list[float] = BIDS, asks: list[float] = ASKS) -> MarketHistory:
    """The same book at every row, of every underlying."""
    shape = (len(history), len(history.underlyings), 2, 3)
    return history.with_depth(np.broadcast_to(np.array([bids, asks]), shape).copy(), BANDS)


def share(history: MarketHistory, size: float, sign: float = 1.0, *, half_spread: float = 0.0) -> float:
    """The cost of closing one unit of notional that stands for `size` USD, as a share of it."""
    cost = BookCost(half_spread=half_spread, impact=0.01, size=size, depth=1e8)
    return float(cost.at(history.now, np.zeros(1, dtype=np.intp), np.array([sign]))[0])


def test_a_position_walks_the_curve_by_hand() -> None:
    history = deep(market([0.0]))
    assert share(history, 1e6) == pytest.approx(0.0005)  # a long sells half way into the nearest band
    assert share(history, 2e6) == pytest.approx((1e6 * 0.0005 + 1e6 * (0.001 + 0.0055) / 2) / 2e6)
    within = 1e6 * 0.0005 + 2e6 * 0.0055 + 2e6 * 0.03
    assert share(history, 5e6) == pytest.approx(within / 5e6)
    assert share(history, 7e6) == pytest.approx((within + 2e6 * (0.05 + 0.01 * np.sqrt(2e6 / 1e8))) / 7e6)
    # A short buys the asks; nothing more is offered from 1 % to 5 %, so what is left pays 5 %.
    bought = 2e6 * 0.0005 + 2e6 * 0.0055
    assert share(history, 4e6, -1.0) == pytest.approx(bought / 4e6)
    assert share(history, 5e6, -1.0) == pytest.approx((bought + 1e6 * (0.05 + 0.01 * 0.1)) / 5e6)


def test_half_the_spread_is_paid_by_the_smallest_position() -> None:
    history = deep(market([0.0]))
    assert share(history, 1e-3, half_spread=0.0004) == pytest.approx(0.0004)
    assert share(history, 1e6, half_spread=0.0004) == pytest.approx((0.0004 + 0.001) / 2)
    assert share(history, 1e6, half_spread=0.002) == pytest.approx(0.002)  # wider than the nearest band


def test_a_book_of_one_side_takes_one_side() -> None:
    history = deep(market([0.0]), asks=[0.0, 0.0, 0.0])
    assert share(history, 1e6) == pytest.approx(0.0005)
    assert share(history, 1e6, -1.0) == pytest.approx(0.05 + 0.01 * 0.1)


def test_an_unknown_side_costs_by_the_law_and_an_unknown_band_is_passed_over() -> None:
    history = deep(market([0.0]), bids=[1e6, NAN, 5e6], asks=[NAN, NAN, NAN])
    law = LiquidationCost(half_spread=0.0, impact=0.01, size=1e6, depth=1e8)
    assert share(history, 1e6, -1.0) == pytest.approx(law.of(np.array([1.0]))[0])
    assert share(market([0.0]), 1e6) == pytest.approx(law.of(np.array([1.0]))[0])  # no depth at all
    assert share(history, 3e6) == pytest.approx((1e6 * 0.0005 + 2e6 * (0.001 + 0.0255) / 2) / 3e6)
    near = deep(market([0.0]), bids=[1e6, 3e6, NAN])  # and beyond the last that is known the law goes on
    assert share(near, 4e6) == pytest.approx((500 + 11_000 + 1e6 * (0.01 + 0.01 * 0.1)) / 4e6)


CURVES = st.lists(st.none() | st.floats(0.0, 1e7), min_size=3, max_size=3)


@settings(max_examples=100, deadline=None)
@given(steps=CURVES, sizes=st.lists(st.floats(1.0, 1e9), min_size=2, max_size=2), half=st.sampled_from([0.0, 0.002]))
def test_a_larger_position_never_costs_less_a_dollar(
    steps: list[float | None], sizes: list[float], half: float
) -> None:
    known = np.cumsum([0.0 if step is None else step for step in steps])
    bids = [NAN if step is None else float(at) for step, at in zip(steps, known, strict=True)]
    history = deep(market([0.0]), bids=bids)
    less, more = (share(history, size, half_spread=half) for size in sorted(sizes))
    assert half <= less <= more * (1 + 1e-9)


@settings(max_examples=60, deadline=None)
@given(steps=CURVES, taken=st.floats(1.0, 3e7), half=st.sampled_from([0.0, 0.002]))
def test_the_walk_is_that_of_a_plain_loop(steps: list[float | None], taken: float, half: float) -> None:
    curve, level = [], 0.0
    for step in steps:
        level += step or 0.0
        curve.append(NAN if step is None else level)
    told = depth_cost(np.array([curve]), BANDS, np.array([taken]), half_spread=half)[0]
    assert told == pytest.approx(_plainly(curve, taken, half), rel=1e-9)


def _plainly(curve: list[float], taken: float, half: float) -> float:
    paid, before, near = 0.0, 0.0, half
    for offered, band in zip(curve, BANDS, strict=True):
        if np.isnan(offered):
            continue
        reach = max(band, half)
        part = min(max(taken - before, 0.0), offered - before)
        if offered > before:
            paid += part * (near + (reach - near) * part / (offered - before) / 2)
        before, near = offered, reach
    return paid + max(taken - before, 0.0) * near


def test_a_replayed_loss_meets_the_book_that_is_there_at_the_end() -> None:
    history = deep(market([0.0, 0.0]))
    assert history.depth is not None
    depth = np.array(history.depth)
    depth[0], depth[2] = depth[0] * 100, depth[2] / 100
    moved = history.with_depth(depth, BANDS)
    cost = BookCost(half_spread=0.0, impact=0.0, size=1e6)
    book = book_of(1.0, -1.0).at(moved.at(0))
    end, worst = closeout(book, moved, 0, Coverage(), cost)
    assert_allclose(end, [0.0005, 0.00025])
    assert_allclose(worst, end)
    thin, _ = closeout(book, moved, 1, Coverage(), cost)
    assert_allclose(thin[0], (1e4 * 0.0005 + 2e4 * 0.0055 + 2e4 * 0.03 + 95e4 * 0.05) / 1e6)
    assert_allclose(closeout(book, moved, 0, Coverage(), FREE)[0], 0.0)


def test_the_cost_is_the_same_in_any_numeraire() -> None:
    coins = two_coins().rows(0, 40)
    flat = replace(deep(coins), spot=np.broadcast_to(coins.spot[10], coins.spot.shape).copy())
    books, cost = some_books().at(flat.at(0)), BookCost()
    dollars = closeout(books, flat, 0, Coverage(), cost)[0]
    coin = closeout(books, flat.valued_in("BTC"), 0, Coverage(numeraire="BTC"), cost)[0]
    assert_allclose(coin * flat.spot[0, 0], dollars)


def test_an_option_meets_the_book_by_its_underlyings_notional_and_what_settles_meets_none() -> None:
    history = deep(coins_with_options(210).rows(0, 60))
    stamp = str(history.time[40] + np.timedelta64(12, "h"))[:19]
    call = Instrument("C", "BTC", "option", strike=30_000.0, right="call", expiry=str(history.time[-1])[:19])
    gone = replace(call, symbol="G", expiry=stamp)
    book = Book((BTC, call, gone), ("perpetual", "option", "settled"), np.eye(3))
    cost = BookCost(half_spread=0.0, impact=0.0, size=1.0)
    with_cost, free = (closeout(book, history, 40, Coverage(), paid)[0] for paid in (cost, FREE))
    paid = with_cost - free
    assert paid[0] > 0
    assert paid[1] == pytest.approx(paid[0], rel=1e-9)
    assert paid[2] == pytest.approx(0.0, abs=1e-9)
    assert closings(book, history, 40, Coverage()).tolist() == [2, 0]


def _blind(history: MarketHistory) -> MarketHistory:
    """Without the asks of every other row."""
    depth: Floats = np.array(deep(history).depth)
    depth[::2, :, 1] = NAN
    return history.with_depth(depth, BANDS)


def test_a_replay_says_how_often_the_book_was_not_known() -> None:
    history, books = _blind(market([0.01, -0.01] * 10)), book_of(1.0, -1.0)
    run = replay(RATE, history, books, COVERAGE, cost=BookCost(), window=5, refit_every=5)
    blind = int((np.arange(5, 21) % 2 == 0).sum())
    assert run.notes == (f"depth unknown at {blind} of 32 closings: charged by the square-root law",)
    known = replay(RATE, deep(history), books, COVERAGE, cost=BookCost(), window=5, refit_every=5)
    assert known.notes == ()
    unasked = replay(RATE, history, books, COVERAGE, window=5, refit_every=5)
    assert unasked.notes == ()
    assert (known.loss > replay(RATE, deep(history), books, COVERAGE, cost=FREE, window=5, refit_every=5).loss).all()


def test_a_comparison_takes_it_by_cost() -> None:
    history = _blind(market([0.01, -0.01] * 10))
    told = compare({"rate": RATE}, history, book_of(1.0, -1.0), COVERAGE, window=5, cost=BookCost(), progress=False)
    assert told.replays["rate"].notes[0].startswith("depth unknown at 8 of 32")
