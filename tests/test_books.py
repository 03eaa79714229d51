from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import sparse

from backtest.closeout import FREE, LiquidationCost, closeout
from backtest.portfolios import Joined, standard_books
from data import Book, BookRecipe, Coverage, DataError, Floats, Instrument, MarketHistory, ParameterError
from markets import BTC, COIN, ETH, INVERSE, book_of, market, some_books, two_coins

DAYS = pd.date_range("2024-01-01", periods=3)


def history_of(**panels: list[float]) -> MarketHistory:
    frames: dict[str, Any] = {name: pd.DataFrame({"BTC": values}, index=DAYS) for name, values in panels.items()}
    return MarketHistory.from_frame(frames.pop("close"), **frames)


def lost(book: Book, history: MarketHistory, coverage: Coverage, cost: LiquidationCost = FREE) -> Floats:
    return closeout(book, history, 0, coverage, cost)[0]


def test_a_recipe_gives_unit_gross_notional_and_its_weights() -> None:
    history = two_coins()
    book = some_books().at(history.now)
    assert_allclose(book.gross(history.now), [1, 1, 1, 1, 1, 0])
    assert_allclose(book.exposure(history.now)[2], [0.5, -0.5])
    assert_allclose(book.exposure(history.now)[4], [0.5, 0.5])  # an inverse contract counts at its face


def test_a_fixed_book_keeps_its_proportions() -> None:
    history = two_coins()
    book = Book((BTC, ETH), ("one",), np.array([[2.0, -30.0]]))
    unit = book.at(history.now)
    assert_allclose(unit.gross(history.now), 1.0)
    assert_allclose(unit.quantity[0, 0] / unit.quantity[0, 1], 2.0 / -30.0)
    thin = Book((BTC, ETH), ("one",), sparse.csr_array(np.array([[2.0, -30.0]]))).at(history.now)
    assert_allclose(thin.exposure(history.now), unit.exposure(history.now))


def test_a_long_perpetual_loses_the_fall_and_the_funding_and_spot_the_fall_alone() -> None:
    history = history_of(close=[100.0, 90.0, 80.0], funding=[0.5, 0.01, 0.02])
    book = Book((BTC, COIN, INVERSE), ("perpetual", "spot", "inverse"), np.eye(3))
    # The inverse contract of 100 USD pays 1 and 2 USD, and its coin gain 1/100 - 1/80 is worth 80 a coin.
    assert_allclose(
        lost(book, history, Coverage(0.99, "2D")), [20 + 0.9 + 1.6, 20, 100 * (80 / 100 - 80 / 80) * -1 + 3]
    )


def test_an_inverse_contract_in_coin_is_the_textbook_formula() -> None:
    history = history_of(close=[100.0, 80.0, 80.0]).valued_in("BTC")
    book = Book((INVERSE,), ("long",), np.array([[1.0]]))
    assert_allclose(lost(book, history, Coverage(numeraire="BTC")), -100 * (1 / 100 - 1 / 80))
    assert_allclose(book.exposure(history.rows(0, 1).now), [[1.0]])


def test_coin_margin_breaches_when_the_dollar_loss_exceeds_it_at_the_later_price() -> None:
    dollars = history_of(close=[100.0, 80.0, 80.0])
    book = Book((BTC,), ("long",), np.array([[1.0]]))
    coin = lost(book, dollars.valued_in("BTC"), Coverage(numeraire="BTC"))
    assert_allclose(coin, lost(book, dollars, Coverage()) / 80.0)


def test_spot_against_an_inverse_future_is_one_book() -> None:
    history = history_of(close=[100.0, 80.0, 80.0])
    book = Book((COIN, INVERSE), ("hedged",), np.array([[1.0, -1.0]]))
    assert_allclose(book.exposure(history.rows(0, 1).now), 0.0)
    assert_allclose(lost(book, history, Coverage()), 0.0, atol=1e-12)


def test_a_dated_future_trades_at_its_mark_and_is_never_priced_at_spot() -> None:
    future = Instrument("BTC-JUN", "BTC", "future", expiry="2024-06-28")
    history = history_of(close=[100.0, 90.0, 90.0])
    book = Book((future,), ("long",), np.array([[1.0]]))
    with pytest.raises(DataError, match="BTC-JUN is a dated future without a mark"):
        book.exposure(history.now)
    marks = np.array([[110.0], [95.0], [94.0]])
    listed = MarketHistory(history.time, ("BTC",), history.spot, history.clock, listed=("BTC-JUN",), marks=marks)
    assert_allclose(book.exposure(listed.rows(0, 1).now), [[110.0]])
    assert_allclose(lost(book, listed, Coverage()), 15.0)
    with pytest.raises(DataError, match="expiry must be an ISO instant in UTC, without a zone, got 'soon'"):
        Instrument("BTC-JUN", "BTC", "future", expiry="soon")


def test_a_default_is_lost_at_full_notional() -> None:
    closes = pd.DataFrame({"BTC": [100.0, 1.0, 1.0], "ETH": 10.0}, index=DAYS)
    history = MarketHistory.from_frame(closes, defaults={"BTC": "2024-01-02"})
    book = some_books().at(history.at(0))
    told = dict(zip(book.portfolios, lost(book, history, Coverage()), strict=True))
    assert told == pytest.approx({"long": 1, "short": -1, "pair": 0.5, "carry": 0, "coin": 0.5, "empty": 0})
    after = some_books().at(history.at(1))
    assert_allclose(after.gross(history.at(1)), [0, 0, 1, 0, 1, 0])  # what is left is scaled up


def test_the_worst_along_the_way_is_seen_through_highs_and_lows() -> None:
    history = history_of(close=[100.0, 100.0, 102.0], high=[100, 115, 103], low=[100, 70, 99])
    book = Book((BTC,), ("long", "short"), np.array([[1.0], [-1.0]]))
    end, worst = closeout(book, history, 0, Coverage(0.99, "2D"), FREE)
    assert_allclose(end, [-2.0, 2.0])
    assert_allclose(worst, [30.0, 15.0])


def test_the_worst_of_closes_alone_is_the_worst_close() -> None:
    history = market([-0.3, 0.5])
    end, worst = closeout(book_of(1.0, -1.0), history, 0, Coverage(0.99, "2D"), FREE)
    assert_allclose(end, [-5.0, 5.0])
    assert_allclose(worst, [30.0, 5.0])


def test_getting_out_costs_more_a_dollar_the_larger_the_position() -> None:
    cost = LiquidationCost(half_spread=0.001, impact=0.01, size=1e6, depth=1e8)
    assert_allclose(cost.of(np.array([0.0, 1.0, -4.0])), [0.0, 0.001 + 0.01 * 0.1, 4 * (0.001 + 0.01 * 0.2)])
    history = market([0.0, 0.0])
    assert_allclose(lost(book_of(1.0).at(history.at(0)), history, Coverage(), cost), [0.002])
    with pytest.raises(ParameterError, match="depth > 0"):
        LiquidationCost(depth=0.0)


def test_getting_out_costs_the_same_in_any_numeraire() -> None:
    history = two_coins()
    books, cost = some_books().at(history.at(10)), LiquidationCost()
    flat = MarketHistory(history.time[:2], history.underlyings, history.spot[[10, 10]], history.clock)
    dollars = closeout(books, flat, 0, Coverage(), cost)[0]
    coin = closeout(books, flat.valued_in("BTC"), 0, Coverage(numeraire="BTC"), cost)[0]
    assert_allclose(coin * flat.spot[0, 0], dollars)


@pytest.mark.parametrize("thin", [False, True])
def test_a_hole_on_the_way_concerns_the_books_that_hold_it_alone(thin: bool) -> None:
    days = pd.date_range("2024-01-01", periods=3)
    closes = pd.DataFrame({"A": [100.0, 50.0, 100.0], "B": [10.0, np.nan, 10.0]}, index=days)
    history = MarketHistory.from_frame(closes, missing="hole")
    quantity = np.array([[1.0, 0.0], [1.0, 1.0]])
    listed = (Instrument("A-PERP", "A"), Instrument("B-PERP", "B"))
    book = Book(listed, ("A alone", "both"), sparse.csr_array(quantity) if thin else quantity)
    end, worst = closeout(book, history, 0, Coverage(0.99, "2D"), FREE)
    assert_allclose(end, [0.0, 0.0])
    assert_allclose(worst, [50.0, 0.0])


def test_bad_books_are_refused_by_name() -> None:
    history = two_coins()
    with pytest.raises(DataError, match="'DOGE-PERP', which is not among"):
        BookRecipe.of((BTC,), {"x": {"DOGE-PERP": 1.0}})
    with pytest.raises(DataError, match="needs the underlying 'DOGE'"):
        Book((Instrument("DOGE-PERP", "DOGE"),), ("x",), np.ones((1, 1))).exposure(history.now)
    with pytest.raises(DataError, match="must differ in symbol"):
        Book((BTC, BTC), ("x",), np.ones((1, 2)))
    with pytest.raises(DataError, match=r"= \(1, 1\), got \(1, 2\)"):
        Book((BTC,), ("x",), np.ones((1, 2)))
    with pytest.raises(DataError, match="finite"):
        Book((BTC,), ("x",), np.array([[np.nan]]))
    with pytest.raises(DataError, match="has no price"):
        some_books().at(history.at(200))
    for wrong in (
        {"kind": "future"},
        {"kind": "warrant"},
        {"multiplier": 0.0},
        {"kind": "spot", "settlement": "inverse"},
    ):
        with pytest.raises(DataError):
            Instrument("X", "X", **wrong)


def test_standard_books_are_seeded_and_of_every_kind() -> None:
    books = standard_books(("A", "B", "C"))
    again = standard_books(("A", "B", "C"))
    assert np.array_equal(books.weight, again.weight)
    kinds = {name.split()[-1] if not name.startswith("maker") else "maker" for name in books.portfolios}
    assert {"long", "short", "hedged", "maker"} <= kinds
    assert len(books.portfolios) == 6 + 3 + 3 + 2 + 100
    assert len(standard_books(("A",)).portfolios) == 103
    assert len([n for n in standard_books([f"S{i}" for i in range(20)]).portfolios if " against " in n]) <= 20


def test_several_books_are_judged_as_one() -> None:
    history = two_coins()
    fixed = Book((ETH,), ("fixed",), np.array([[3.0]]))
    both = Joined((some_books(), fixed))
    book = both.at(history.now)
    assert book.portfolios[-1] == "fixed"
    assert_allclose(book.exposure(history.now)[-1], [0.0, 1.0])
    with pytest.raises(DataError, match="differ in name"):
        Joined((fixed, fixed))


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_a_sparse_book_tells_its_holdings_as_a_dense_one_does(form: Any) -> None:
    quantity = np.array([[2.0, 0.0, -3.0], [0.0, 0.0, 5.0]])
    book = Book((BTC, ETH, COIN), ("one", "two"), form(quantity))
    assert_allclose(book.dense, quantity)
    assert [list(part) for part in book.holdings()] == [[0, 0, 1], [0, 2, 2], [2.0, -3.0, 5.0]]
    state = two_coins().now
    unit = np.array([1.0, np.nan, 10.0])
    assert_allclose(book.by_underlying(unit, state), [[2.0 - 30.0, 0.0], [50.0, 0.0]])
    assert_allclose(book.by_underlying(unit, state, gross=True), [[32.0, 0.0], [50.0, 0.0]])


def test_a_figure_that_is_unknown_matters_where_it_is_held() -> None:
    book, state = Book((BTC, ETH), ("one",), np.array([[1.0, 0.0]])), two_coins().now
    unit = np.array([[1.0, 2.0], [np.nan, 4.0]])
    assert_allclose(book.known(unit, state), [[1.0, 2.0], [0.0, 4.0]])
    with pytest.raises(DataError, match="BTC-PERP is held but has no price"):
        book.known(unit[::-1], state)
