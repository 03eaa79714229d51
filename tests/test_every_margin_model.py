"""Does every margin model keep the contract?"""

import functools
import importlib
import inspect
import pkgutil
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone

import margin_models
from backtest.lookahead import audit
from backtest.portfolios import standard_books
from data import Book, BookRecipe, Coverage, Floats, MarketHistory
from examples import COVARIANCES, EXAMPLES, FORECASTERS, INHOMOGENEOUS
from margin_models import CovarianceEstimator, MarginModel, StaticMargin, VolatilityForecaster
from markets import some_books, two_coins

COVERAGE, WINDOW = Coverage(0.98, "2D"), 300
every_model = pytest.mark.parametrize("model", EXAMPLES, ids=repr)


@pytest.fixture(scope="module")
def history() -> MarketHistory:
    return two_coins()


@pytest.fixture(scope="module")
def books() -> BookRecipe:
    return some_books()


def fresh(model: MarginModel) -> MarginModel:
    copy: MarginModel = clone(model)
    return copy


@functools.lru_cache
def fitted_on(model: MarginModel) -> MarginModel:
    return fresh(model).fit(two_coins(), COVERAGE)


def margin_now(model: MarginModel, history: MarketHistory, book: Book) -> Floats:
    return fitted_on(model).margin(history, book)


def concrete(base: type[Any]) -> set[type[Any]]:
    for module in pkgutil.walk_packages(margin_models.__path__, "margin_models."):
        importlib.import_module(module.name)
    found, waiting = set(), [base]
    while waiting:
        one = waiting.pop()
        waiting += one.__subclasses__()
        if one.__module__.startswith("margin_models.") and not inspect.isabstract(one):
            found.add(one)
    return found


@pytest.mark.parametrize(
    ("base", "instances"),
    [(MarginModel, EXAMPLES), (VolatilityForecaster, FORECASTERS), (CovarianceEstimator, COVARIANCES)],
)
def test_every_concrete_class_has_an_example(base: type[Any], instances: list[Any]) -> None:
    assert concrete(base) == {type(instance) for instance in instances}


@every_model
def test_margin_is_finite_never_negative_one_a_portfolio(
    model: MarginModel, history: MarketHistory, books: BookRecipe
) -> None:
    margin = margin_now(model, history, books.at(history.now))
    assert margin.shape == (len(books.portfolios),)
    assert np.all(np.isfinite(margin))
    assert np.all(margin >= 0)
    assert margin[0] > 0


@every_model
def test_an_empty_portfolio_posts_nothing(model: MarginModel, history: MarketHistory, books: BookRecipe) -> None:
    assert margin_now(model, history, books.at(history.now))[books.portfolios.index("empty")] == 0


@every_model
def test_twice_the_book_posts_twice_the_margin(model: MarginModel, history: MarketHistory, books: BookRecipe) -> None:
    book = books.at(history.now)
    double = Book(book.instruments, book.portfolios, 2 * book.quantity)
    once, twice = margin_now(model, history, book), margin_now(model, history, double)
    if model in INHOMOGENEOUS:
        assert np.all(twice[:3] > 2 * once[:3])
    else:
        assert_allclose(twice, 2 * once, atol=1e-15)


@every_model
def test_a_sparse_book_posts_what_a_dense_one_does(
    model: MarginModel, history: MarketHistory, books: BookRecipe
) -> None:
    book = books.at(history.now)
    thin = Book(book.instruments, book.portfolios, sparse.csr_array(book.quantity))
    assert_allclose(margin_now(model, history, thin), margin_now(model, history, book), rtol=1e-12, atol=1e-15)


@every_model
def test_components_sum_to_the_margin(model: MarginModel, history: MarketHistory, books: BookRecipe) -> None:
    fitted, book = fitted_on(model), books.at(history.now)
    margin = fitted.margin(history, book)
    for asked in (fitted.requirement(history, book), fitted.explain(history, book)):
        assert_allclose(sum(asked.components.values()), asked.initial, rtol=1e-9, atol=1e-15)
        assert_array_equal(asked.initial, margin)
        assert np.all(asked.maintenance <= asked.initial)
        assert list(asked.to_frame().index) == list(book.portfolios)


@every_model
def test_a_stated_tail_is_ordered(model: MarginModel, history: MarketHistory, books: BookRecipe) -> None:
    tail = fitted_on(model).tail(history, books.at(history.now))
    if tail is not None:
        assert np.all(tail.es >= tail.var)


@every_model
def test_refit_forgets(model: MarginModel, history: MarketHistory, books: BookRecipe) -> None:
    book = books.at(history.now)
    again = fresh(model).fit(history.rows(0, 320), Coverage(0.9)).fit(history, COVERAGE)
    assert_array_equal(again.margin(history, book), margin_now(model, history, book))


@every_model
def test_fitting_leaves_the_parameters_alone_and_clones_are_independent(
    model: MarginModel, history: MarketHistory
) -> None:
    before = repr(model)
    fitted = fitted_on(model)
    assert repr(fitted) == before == repr(fresh(fitted))
    assert not any(name.endswith("_") for name in vars(fresh(fitted)))


# A reviewed rate may only rise, so it depends on the fits before it: test_static says how.
@pytest.mark.parametrize("model", [model for model in EXAMPLES if not getattr(model, "review", None)], ids=repr)
def test_fit_many_gives_what_a_loop_of_fits_gives(
    model: MarginModel, history: MarketHistory, books: BookRecipe
) -> None:
    stops = [310, 345, 400]
    for stop, fitted in zip(stops, model.fit_many(history, stops, WINDOW, COVERAGE), strict=True):
        learned_until = stops[0] if isinstance(model, StaticMargin) else stop
        alone = fresh(model).fit(history.rows(learned_until - WINDOW, learned_until), COVERAGE)
        past = history.rows(0, stop)
        book = books.at(past.now)
        # A walk through windows and a search of each end within a hair of each other: `TOLERANCE` of the fits says why.
        near = 1e-7 if "GarchVolatility" in repr(model) else 0.0
        assert_allclose(fitted.margin(past, book), alone.margin(past, book), rtol=near, atol=0.0)


@every_model
def test_tomorrow_cannot_change_today(model: MarginModel) -> None:
    history = two_coins()
    found = audit(model, history, standard_books(history.underlyings, makers=5), COVERAGE, window=WINDOW, rows=6)
    assert found.rows == 6
    assert found.passed, found.leaks


@every_model
def test_an_asset_that_defaults_leaves_the_others_chargeable(model: MarginModel) -> None:
    alive = two_coins()
    spot = alive.spot.copy()
    spot[-30:, 1] = 0.0
    dead = MarketHistory(alive.time, alive.underlyings, spot, alive.clock)
    fitted = fresh(model).fit(dead, COVERAGE)
    book = some_books().at(dead.now)
    margin = fitted.margin(dead, book)
    assert np.all(np.isfinite(margin))
    assert np.all(margin[:3] > 0)
