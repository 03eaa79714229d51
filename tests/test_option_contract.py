"""Does every margin model keep the contract on options too?"""

import functools
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone

from backtest.lookahead import audit
from data import Book, Coverage, Floats, Instrument, MarketHistory, MarketState
from examples import EXAMPLES, INHOMOGENEOUS
from margin_models import MarginModel
from markets import coins_with_options, option_book

COVERAGE, WINDOW = Coverage(0.98, "2D"), 300
every_model = pytest.mark.parametrize("model", EXAMPLES, ids=repr)


@dataclass(frozen=True)
class Freshly:
    """The option portfolios, listed anew at every decision."""

    portfolios: tuple[str, ...]
    instruments: tuple[Instrument, ...] = ()

    def at(self, state: MarketState) -> Book:
        return option_book(state).at(state)


@functools.lru_cache
def history() -> MarketHistory:
    return coins_with_options()


@functools.lru_cache
def book() -> Book:
    return option_book(history().now).at(history().now)


@functools.lru_cache
def fitted(model: MarginModel) -> MarginModel:
    copy: MarginModel = clone(model)
    return copy.fit(history(), COVERAGE)


def margin(model: MarginModel, held: Book) -> Floats:
    return fitted(model).margin(history(), held)


@every_model
def test_margin_is_finite_never_negative_one_a_portfolio(model: MarginModel) -> None:
    asked = margin(model, book())
    assert asked.shape == (len(book().portfolios),)
    assert np.all(np.isfinite(asked))
    assert np.all(asked >= 0)
    assert asked[book().portfolios.index("short put")] > 0
    assert asked[book().portfolios.index("empty")] == 0


@every_model
def test_components_sum_to_the_margin(model: MarginModel) -> None:
    asked = margin(model, book())
    for told in (fitted(model).requirement(history(), book()), fitted(model).explain(history(), book())):
        assert_allclose(sum(told.components.values()), told.initial, rtol=1e-9, atol=1e-15)
        assert_array_equal(told.initial, asked)
        assert np.all(told.maintenance >= 0)
        assert np.all(told.maintenance <= told.initial)


@every_model
def test_a_sparse_book_posts_what_a_dense_one_does(model: MarginModel) -> None:
    thin = Book(book().instruments, book().portfolios, sparse.csr_array(book().quantity))
    assert_allclose(margin(model, thin), margin(model, book()), rtol=1e-10, atol=1e-14)


@every_model
def test_twice_the_book_posts_twice_the_margin_or_more(model: MarginModel) -> None:
    double = Book(book().instruments, book().portfolios, 2 * book().quantity)
    once, twice = margin(model, book()), margin(model, double)
    if model in INHOMOGENEOUS:
        assert np.all(twice >= 2 * once * (1 - 1e-12))
        assert np.any(twice > 2.001 * once)
    else:
        assert_allclose(twice, 2 * once, rtol=1e-12, atol=1e-15)


@every_model
def test_what_is_listed_and_held_by_nobody_changes_nothing(model: MarginModel) -> None:
    kept = np.array([name != "calendar" for name in book().portfolios])
    fewer = Book(book().instruments, tuple(np.array(book().portfolios)[kept]), book().quantity[kept])
    assert_allclose(margin(model, fewer), margin(model, book())[kept], rtol=1e-12, atol=1e-15)


@every_model
def test_tomorrow_cannot_change_today(model: MarginModel) -> None:
    found = audit(model, history(), Freshly(book().portfolios), COVERAGE, window=WINDOW, rows=2)
    assert found.rows == 2
    assert found.passed, found.leaks
