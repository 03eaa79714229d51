"""Is a portfolio charged by what is known of its own holdings, whatever others hold?"""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.base import clone

from data import Book, Coverage, Floats, HistoryError, Instrument, MarketHistory
from data.sources.synthetic import normal_market
from margin_models import (
    AgeWeightedVaR,
    ExtremeValueVaR,
    FilteredHistoricalVaR,
    HistoricalVaR,
    MarginModel,
    StressedFloor,
)
from margin_models.historical_law import MOST_RATIO, cohorts, known_horizons, rescaled

COVERAGE = Coverage(0.9)
MODELS = [
    HistoricalVaR(),
    HistoricalVaR(120, shortfall=True),
    FilteredHistoricalVaR(shortfall=True),
    AgeWeightedVaR(0.99),
    AgeWeightedVaR(0.99, shortfall=True),
    ExtremeValueVaR(share=0.15),
    StressedFloor(HistoricalVaR(100), window=60),
    StressedFloor(HistoricalVaR(100), HistoricalVaR(shortfall=True), window=80, windows=2),
]
HOLDINGS = np.array(
    [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1], [1, -1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, -1]]
)


def full_of_holes(seed: int) -> MarketHistory:
    """Four coins and 400 days: listings at random, a stretch unknown, and single days missing."""
    rng = np.random.default_rng(seed)
    whole = normal_market(400, (0.03, 0.05, 0.04, 0.02), 0.6, seed=seed).history
    spot = whole.spot.copy()
    for a in range(4):
        if rng.random() < 0.5:
            spot[: rng.integers(1, 250), a] = np.nan
        if rng.random() < 0.5:
            start = rng.integers(0, 380)
            spot[start : start + rng.integers(1, 25), a] = np.nan
        if rng.random() < 0.5:
            spot[rng.random(400) < 0.03, a] = np.nan
    spot[-1] = whole.spot[-1]
    return MarketHistory(whole.time, whole.underlyings, spot, whole.clock)


def perpetuals(history: MarketHistory, exposures: Floats) -> Book:
    """A portfolio for each row of USD exposures."""
    listed = tuple(Instrument(f"{name}-PERP", name) for name in history.underlyings)
    return Book(listed, tuple(f"p{n}" for n in range(len(exposures))), exposures / history.now.spot)


def alone(book: Book, place: int) -> Book:
    return Book(book.instruments, book.portfolios[place : place + 1], book.dense[place : place + 1])


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_a_portfolio_is_charged_alike_alone_and_in_company(model: MarginModel) -> None:
    apart = 0
    for seed in range(12):
        history = full_of_holes(seed)
        book = perpetuals(history, HOLDINGS)
        fitted = clone(model).fit(history, COVERAGE)
        told = fitted.requirement(history, book)
        each = [fitted.requirement(history, alone(book, place)) for place in range(len(HOLDINGS))]
        assert_allclose(told.initial, [one.initial[0] for one in each], rtol=1e-9, atol=1e-15)
        assert_allclose(told.maintenance, [one.maintenance[0] for one in each], rtol=1e-9, atol=1e-15)
        sparse = Book(book.instruments, book.portfolios, csr_array(book.quantity))
        assert_allclose(fitted.margin(history, sparse), told.initial, rtol=1e-12)
        apart += len(np.unique([fitted.multiplications(history, alone(book, n))[0] for n in (0, 1, 2, 3)])) > 1
    assert apart >= 6  # the singles did not know the same rows


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_what_explains_a_margin_in_company_is_what_explains_it_alone(model: MarginModel) -> None:
    for seed in range(4):
        history = full_of_holes(seed)
        book = perpetuals(history, HOLDINGS)
        fitted = clone(model).fit(history, COVERAGE)
        told = fitted.explain(history, book)
        assert_allclose(sum(told.components.values()), told.initial, rtol=1e-9, atol=1e-14)
        assert_allclose(told.initial, fitted.margin(history, book), rtol=1e-9, atol=1e-15)
        for place in (0, 1, 4, 7):
            own = fitted.explain(history, alone(book, place))
            assert told.worst[place] == own.worst[0]
            for name, part in own.components.items():
                assert_allclose(told.components[name][place], part[0], rtol=1e-6, atol=1e-12)
        asked = fitted.multiplications(history, book)
        assert_allclose(asked[4], fitted.multiplications(history, alone(book, 4))[0])


@pytest.mark.parametrize("model", MODELS[:6], ids=repr)
def test_a_listing_in_another_portfolio_costs_no_row(model: MarginModel) -> None:
    """What is asked of the first coin, beside a holder of one listed 130 days ago, is what it is in a market of one."""
    whole = normal_market(500, (0.03, 0.05), 0.6, seed=4).history
    spot = whole.spot.copy()
    spot[:-130, 1] = np.nan
    late = MarketHistory(whole.time, whole.underlyings, spot, whole.clock)
    one = MarketHistory(whole.time, whole.underlyings[:1], np.ascontiguousarray(spot[:, :1]), whole.clock)
    told = clone(model).fit(late, COVERAGE).margin(late, perpetuals(late, np.eye(2)))
    expected = clone(model).fit(one, COVERAGE).margin(one, perpetuals(one, np.eye(1)))
    assert_allclose(told[0], expected[0], rtol=1e-12)
    law = clone(model).fit(late, COVERAGE).tail(late, perpetuals(late, np.eye(2)))
    assert law is not None
    if law.sample is not None:
        known = np.isfinite(law.sample).sum(axis=1)
        longest = len(law.sample[0])
        assert known.tolist() == [longest, min(129, longest)]


def test_only_the_holder_of_a_scarce_asset_is_refused() -> None:
    whole = normal_market(500, (0.03, 0.05), 0.6, seed=4).history
    spot = whole.spot.copy()
    spot[:-50, 1] = np.nan
    late = MarketHistory(whole.time, whole.underlyings, spot, whole.clock)
    fitted = HistoricalVaR().fit(late, Coverage(0.99))
    assert fitted.margin(late, perpetuals(late, np.array([[1.0, 0.0], [0.0, 0.0]])))[0] > 0.05
    with pytest.raises(HistoryError, match=r"got 49 of 499 \(SYN2 has 49\)"):
        fitted.margin(late, perpetuals(late, np.array([[1.0, 0.0], [1.0, 0.1]])))


def test_rows_are_those_complete_for_each_portfolio() -> None:
    rng = np.random.default_rng(1)
    for seed in range(30):
        history = full_of_holes(seed)
        book = perpetuals(history, np.where(rng.random((9, 4)) < 0.4, 1.0, 0.0))
        moves = history.returns(COVERAGE)
        told = known_horizons(moves, history, COVERAGE, HistoricalVaR(), book)
        losses = told.losses(book, history, COVERAGE)
        for p, quantity in enumerate(book.dense):
            if quantity.any():
                expected = np.isfinite(moves[:, quantity != 0]).all(axis=1)
                assert_array_equal(np.flatnonzero(told.rows)[np.isfinite(losses[p])], np.flatnonzero(expected))
                gains = np.nan_to_num(moves[expected]) @ (quantity * history.now.spot)
                assert_allclose(losses[p][np.isfinite(losses[p])], -gains, rtol=1e-9, atol=1e-12)
        assert_array_equal(told.counts(book), np.isfinite(losses).sum(axis=1))


def test_portfolios_that_know_the_same_are_judged_together() -> None:
    hole = np.nan
    losses = np.array([[1.0, 2.0, 3.0], [hole, 1.0, 2.0], [4.0, 5.0, 6.0]])
    told = {tuple(one.portfolios): (one.scenarios.tolist(), one.losses.tolist()) for one in cohorts(losses)}
    assert told == {(1,): ([1, 2], [[1.0, 2.0]]), (0, 2): ([0, 1, 2], [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])}
    (whole,) = cohorts(losses[[0, 2]])
    assert whole.portfolios.tolist() == [0, 1]


def test_the_holes_of_others_take_no_crisis_from_the_floor() -> None:
    """The crisis of A stands in a window with holes of A and others of B: together too many, each alone few."""
    rng = np.random.default_rng(5)
    moves = 0.01 * rng.standard_normal((900, 2))
    moves[10:40, 0] = 0.10 * rng.standard_normal(30)
    spot = 100 * np.exp(moves.cumsum(axis=0))
    spot[np.arange(45, 250, 30), 0] = np.nan
    spot[np.arange(60, 239, 30), 1] = np.nan
    time = normal_market(900, (0.01,), 0.0, seed=1).history.time
    history = MarketHistory(time, ("A", "B"), spot)
    fitted = StressedFloor(HistoricalVaR(250)).fit(history.last(400), Coverage(0.99))
    book = perpetuals(history, np.array([[1.0, 0.0], [0.0, 1.0]]))
    told, own = fitted.requirement(history, book), fitted.requirement(history, alone(book, 0))
    assert told.initial[0] == pytest.approx(own.initial[0], rel=1e-12)
    assert told.initial[0] > 0.1
    assert told.worst[0] == own.worst[0] == f"window from {str(time[0])[:10]}"


# ---- The day after a peg broke.


def test_no_move_grows_by_more_than_the_bound() -> None:
    moves = np.array([[0.01, -0.03], [-0.02, 0.0], [0.03, 0.02]])
    sigma = np.array([[0.01, 1e-4], [0.02, 0.0], [np.nan, 0.001], [0.04, 0.0073]])
    told = rescaled(moves, sigma)
    assert_allclose(told, [[0.04, -0.3], [-0.04, 0.0], [np.nan, 0.146]], rtol=1e-12)


def test_a_peg_that_broke_yesterday_is_not_said_to_vanish_today() -> None:
    rng = np.random.default_rng(0)
    moves = 1e-4 * rng.standard_normal(502)
    moves[-1] = -0.03
    time = normal_market(502, (0.01,), 0.0, seed=1).history.time
    spot = np.asarray(100.0 * np.cumprod(1.0 + moves)[:, None], dtype=np.float64)
    history = MarketHistory(time, ("PEG",), spot)
    book = perpetuals(history, np.ones((1, 1)))
    model = FilteredHistoricalVaR(lookback=500, shortfall=True).fit(history, Coverage(0.99))
    sample = model.tail(history, book).sample
    assert sample is not None
    assert sample.max() == pytest.approx(0.03 * MOST_RATIO, rel=1e-9)
    assert model.margin(history, book)[0] < 0.1
