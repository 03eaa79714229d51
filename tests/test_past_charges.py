"""Is what a book would have been charged, and did lose, at earlier rows what it then was?"""

import pickle
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.base import clone

from backtest.closeout import FREE, closeout
from data import Book, BookRecipe, Coverage, Floats, Instrument, MarketHistory
from margin_models import (
    BoostedVolatility,
    CombinedVolatility,
    CorrelationVaR,
    EwmaVolatility,
    FilteredHistoricalVaR,
    GarchVolatility,
    HarVolatility,
    HistoricalVaR,
    MarginModel,
    RateLimit,
    RobustVaR,
    SpanLike,
    StaticMargin,
)
from margin_models.overlays.memory import Memory, state_of
from margin_models.overlays.past_charges import PastBook, earlier_rows
from margin_models.overlays.proportions import Proportions
from markets import coins_with_options, option_book, some_books, two_coins

COVERAGE = Coverage(0.95, "2D")
ROWS = np.array([150, 201, 260, 330])


@pytest.fixture(scope="module")
def history() -> MarketHistory:
    return two_coins()  # row 200 is a hole


def of_books(history: MarketHistory, rows: np.ndarray = ROWS) -> PastBook:
    return PastBook(some_books().at(history.now), history, rows, Memory())


@pytest.mark.parametrize("model", [HistoricalVaR(lookback=60), CorrelationVaR(), SpanLike()], ids=repr)
def test_charges_are_those_of_the_rebuilt_recipe_at_each_row(model: MarginModel, history: MarketHistory) -> None:
    fitted, recipe = model.fit(history, COVERAGE), some_books()
    told = of_books(history).charges(fitted, "any")
    for row, charge in zip(ROWS, told, strict=True):
        state = history.at(int(row))
        expected = fitted.margin(history.rows(0, int(row) + 1), recipe.at(state))
        assert_allclose(charge[:-1], expected[:-1], rtol=1e-9, atol=1e-15)
    assert np.isnan(told[:, recipe.portfolios.index("empty")]).all()


def test_charges_by_a_model_that_remembers_are_those_of_one_that_forgets_bit_for_bit(history: MarketHistory) -> None:
    """A plain loop: at each row a model fitted afresh, which was never asked before."""
    forecasters = [
        EwmaVolatility(half_life=10),
        EwmaVolatility(half_life=40),
        HarVolatility(),
        BoostedVolatility(trees=5),
    ]
    model = RobustVaR(CombinedVolatility(forecasters, adaptive=False))
    rows = np.array([310, 330, 331, 400])
    book = some_books().at(history.now)
    shares = Proportions.of(book, history.now)
    told = of_books(history, rows).charges(clone(model).fit(history.rows(0, 320), COVERAGE), "any")
    for row, charge in zip(rows.tolist(), told, strict=True):
        then, _ = shares.at(history.at(row))
        alone = clone(model).fit(history.rows(0, 320), COVERAGE)
        gross = then.gross(history.at(row))
        some = gross > 0
        expected = alone.margin(history.rows(0, row + 1), then)[some] / gross[some]
        assert_array_equal(charge[some], expected)


@pytest.mark.parametrize("path", ["end", "worst"])
@pytest.mark.parametrize("horizon", ["1D", "3D"])
def test_losses_are_those_of_a_closeout_that_costs_nothing(history: MarketHistory, path: str, horizon: str) -> None:
    coverage = Coverage(0.95, horizon, path)  # type: ignore[arg-type]
    told = of_books(history).losses(coverage)
    for row, loss in zip(ROWS, told, strict=True):
        book = some_books().at(history.at(int(row)))
        end, worst = closeout(book, history, int(row), coverage, FREE)
        assert_allclose(loss[:-1], (end if path == "end" else worst)[:-1], rtol=1e-9, atol=1e-14)
    assert np.isnan(of_books(history, np.array([len(history) - 2])).losses(Coverage(0.95, "2D"))).all()


def test_losses_count_in_a_coin(history: MarketHistory) -> None:
    coin, coverage = history.valued_in("BTC"), Coverage(0.95, "2D", numeraire="BTC")
    told = of_books(coin).losses(coverage)
    for row, loss in zip(ROWS, told, strict=True):
        book = some_books().at(coin.at(int(row)))
        end, _ = closeout(book, coin, int(row), coverage, FREE)
        assert_allclose(
            loss[:-1], (end / np.maximum(book.gross(coin.at(int(row))), 1e-300))[:-1], rtol=1e-9, atol=1e-14
        )


def test_options_are_repriced_and_unknown_where_nothing_is_quoted() -> None:
    history = coins_with_options()
    book = option_book(history.now)
    assert history.surfaces is not None
    surfaces = history.surfaces.copy()
    surfaces[390] = np.nan
    holed = replace(history, surfaces=surfaces)
    rows = np.array([390, 395, 400])
    then = PastBook(book, holed, rows, Memory())
    charges, losses = then.charges(SpanLike().fit(holed, COVERAGE), "any"), then.losses(COVERAGE)
    optioned = [p for p, name in enumerate(book.portfolios) if name != "empty"]
    assert np.isnan(charges[0, optioned]).all()
    assert np.isnan(losses[0, optioned]).all()
    for k in (1, 2):
        rebuilt, known = Proportions.of(book, holed.now).at(holed.at(int(rows[k])))
        end, _ = closeout(rebuilt, holed, int(rows[k]), COVERAGE, FREE)
        gross = rebuilt.gross(holed.at(int(rows[k])))
        assert known.all()
        assert_allclose(losses[k, optioned], (end[optioned] / gross[optioned]), rtol=1e-9)
        assert np.all(charges[k, optioned] > 0)


def late(history: MarketHistory, listed: int) -> MarketHistory:
    """The same market, ETH listed late."""
    spot = history.spot.copy()
    spot[:listed, 1] = np.nan
    return MarketHistory(history.time, history.underlyings, spot, history.clock)


def test_a_late_listing_hides_nothing_of_what_others_hold(history: MarketHistory) -> None:
    young = late(history, 280)
    recipe, fitted = some_books(), HistoricalVaR(lookback=60).fit(young, COVERAGE)
    rows = np.array([150, 290, 400])
    told = PastBook(recipe.at(young.now), young, rows, Memory()).charges(fitted, "any")
    alone = BookRecipe(recipe.instruments, recipe.portfolios[:2], recipe.weight[:2])
    assert_allclose(told[:, :2], PastBook(alone.at(young.now), young, rows, Memory()).charges(fitted, "any"))
    pair = told[:, recipe.portfolios.index("pair")]
    assert np.isnan(pair[:2]).all()  # not listed; listed for too short a time to be charged
    assert pair[2] > 0


class Counting(MarginModel):
    """Counts how often it is asked."""

    asked = 0

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        Counting.asked += 1
        return 0.1 * book.gross(past.now) * (1.0 + 0.01 * (len(past) % 7))


def walked(model: MarginModel, history: MarketHistory, stops: range, *, afresh: bool) -> Floats:
    """Margins at each stop, of one fit kept or of a new one each."""
    kept, told = model.fit(history.rows(0, stops[0]), COVERAGE), []
    for stop in stops:
        past = history.rows(0, stop)
        if afresh:
            kept = type(model)(**model.get_params(deep=False)).fit(history.rows(0, stops[0]), COVERAGE)
        told.append(kept.margin(past, some_books().at(past.now)))
    return np.array(told)


def test_memory_saves_charges_and_changes_no_figure(history: MarketHistory) -> None:
    stops = range(300, 320)
    for inner in (Counting(), HistoricalVaR(lookback=60), FilteredHistoricalVaR()):
        model = RateLimit(inner, fall=0.02, lookback=20)
        assert_array_equal(walked(model, history, stops, afresh=False), walked(model, history, stops, afresh=True))
    Counting.asked = 0
    walked(RateLimit(Counting(), lookback=20), history, stops, afresh=False)
    assert Counting.asked == 20 + 2 * len(stops) - 1  # all rows once, and now at each decision


def test_what_is_stored_on_disk_remembers_nothing_and_charges_the_same(history: MarketHistory) -> None:
    fitted, book = RateLimit(HistoricalVaR(lookback=60), fall=0.01).fit(history, COVERAGE), some_books().at(history.now)
    told = fitted.margin(history, book)
    stored = pickle.dumps(fitted)
    assert len(stored) < 5000
    assert_array_equal(pickle.loads(stored).margin(history, book), told)


def test_another_past_with_the_same_stamps_is_another_past(history: MarketHistory) -> None:
    other = replace(history, spot=np.where(np.arange(len(history))[:, None] < 250, history.spot, 1.3 * history.spot))
    for model in (RateLimit(HistoricalVaR(lookback=60), fall=0.01), RateLimit(StaticMargin(), fall=0.01)):
        fitted, again = model.fit(history, COVERAGE), RateLimit(**model.get_params(deep=False)).fit(history, COVERAGE)
        book = some_books().at(history.now)
        first = fitted.margin(history, book)
        assert_array_equal(fitted.margin(other, book), again.margin(other, book))
        assert_array_equal(fitted.margin(history, book), first)


@pytest.mark.parametrize("change", ["size", "share", "sign"])
def test_another_book_is_another_book(history: MarketHistory, change: str) -> None:
    recipe = some_books()
    book = recipe.at(history.now)
    changes: dict[str, Callable[[], Book]] = {
        "size": lambda: Book(book.instruments, book.portfolios, 1e7 * book.dense),
        "share": lambda: BookRecipe(book.instruments, book.portfolios, recipe.weight[::-1].copy()).at(history.now),
        "sign": lambda: Book(book.instruments, book.portfolios, -book.dense),
    }
    other = changes[change]()
    inner = HistoricalVaR(lookback=60) if change == "sign" else StaticMargin(tiers=((0.3, 2.0),))
    model = RateLimit(inner, fall=0.01, lookback=10)
    fitted = model.fit(history, COVERAGE)
    first = fitted.margin(history, book)
    told = fitted.margin(history, other)
    assert_array_equal(told, RateLimit(**model.get_params(deep=False)).fit(history, COVERAGE).margin(history, other))
    assert not np.array_equal(first, told)


def test_a_size_is_kept_where_the_charge_depends_on_it(history: MarketHistory) -> None:
    model = StaticMargin(tiers=((0.3, 2.0),)).fit(history, COVERAGE)
    unit = some_books().at(history.now)
    large = Book(unit.instruments, unit.portfolios, 1e3 * unit.dense)
    told = PastBook(large, history, ROWS, Memory()).charges(model, "any")
    now = model.margin(history, large) / np.maximum(large.gross(history.now), 1e-300)
    assert_allclose(told[:, :-1], np.broadcast_to(now[:-1], told[:, :-1].shape), rtol=1e-9)


def test_a_model_keeps_its_state_only_where_it_learned_the_same(history: MarketHistory) -> None:
    early, now = history.rows(0, 300), history.rows(50, 350)
    for model, same in ((HistoricalVaR(), True), (FilteredHistoricalVaR(), True), (StaticMargin(), False)):
        fitted = type(model)().fit(early, COVERAGE), type(model)().fit(now, COVERAGE)
        assert (state_of(fitted[0]) == state_of(fitted[1])) is same
    garch = [FilteredHistoricalVaR(GarchVolatility()).fit(past, COVERAGE) for past in (early, now)]
    assert state_of(garch[0]) != state_of(garch[1])

    class Local(Counting):
        """Cannot be pickled."""

    assert state_of(Local().fit(early, COVERAGE)) != state_of(Local().fit(early, COVERAGE))


@settings(max_examples=60, deadline=None)
@given(
    weights=st.lists(
        st.lists(st.floats(-5, 5).map(lambda x: round(x, 3)), min_size=4, max_size=4), min_size=1, max_size=4
    ),
    row=st.integers(0, 419).filter(lambda row: row != 200),
    sparse=st.booleans(),
)
def test_a_rebuilt_book_has_the_same_shares_and_size(weights: list[list[float]], row: int, sparse: bool) -> None:
    history, instruments = two_coins(), some_books().instruments
    book = BookRecipe(instruments, tuple(map(str, range(len(weights)))), np.array(weights)).at(history.now)
    given_book = Book(book.instruments, book.portfolios, csr_array(book.quantity)) if sparse else book
    then, known = Proportions.of(given_book, history.now).at(history.at(row))
    expected = BookRecipe(instruments, book.portfolios, np.array(weights)).at(history.at(row))
    assert known.all()
    assert_allclose(then.dense, expected.dense, rtol=1e-9, atol=1e-10 * np.abs(expected.dense).max(initial=0))
    again = Proportions.of(then, history.at(row))
    assert again.key == Proportions.of(again.at(history.at(row))[0], history.at(row)).key


def test_rows_are_those_that_are_there(history: MarketHistory) -> None:
    assert earlier_rows(history.rows(0, 6), 10, 1).tolist() == [0, 1, 2, 3, 4]
    assert earlier_rows(history.rows(0, 1), 10, 1).tolist() == []
    assert earlier_rows(history.rows(0, 10), 2, 4).tolist() == [1, 5]


def test_a_dated_future_without_a_curve_is_unknown_then(history: MarketHistory) -> None:
    dated = Instrument("BTC-FUT", "BTC", "future", expiry="2022-01-01T08:00")
    marks = np.where(np.arange(len(history)) < 300, np.nan, history.spot[:, 0])[:, None]
    listed = replace(history, listed=("BTC-FUT",), marks=marks)
    book = BookRecipe.of((dated,), {"future": {"BTC-FUT": 1.0}}).at(listed.now)
    then = PastBook(book, listed, np.array([250, 350]), Memory())
    charges, losses = then.charges(HistoricalVaR(lookback=60).fit(listed, COVERAGE), "any"), then.losses(COVERAGE)
    assert np.isnan(charges[0, 0])
    assert np.isnan(losses[0, 0])
    assert charges[1, 0] > 0
    assert np.isfinite(losses[1, 0])
