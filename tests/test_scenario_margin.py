import functools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from data import Book, Coverage, Floats, Instrument, MarketHistory, ParameterError
from data.pricing import black76
from data.valuation import option_terms, unit_values
from margin_models import SpanLike, StaticMargin
from margin_models.base import MarginModel
from margin_models.contributions import leave_one_out, shared_part
from margin_models.scenario_margin import ScenarioGrid, ScenarioMargin
from margin_models.scenarios import VolTerm
from margin_models.span import SpanRules
from markets import book_of, coins_with_options, market, option_book

COVERAGE = Coverage(0.98, "2D")
LITERAL = ScenarioGrid((-0.1, 0.0, 0.1), (-0.2, 0.3), ((-0.4, 0.5), (0.4, 0.5)))
MODELS: list[MarginModel] = [
    ScenarioMargin(),
    ScenarioMargin(apart=True, initial=1.3),
    ScenarioMargin(LITERAL, learned=False),
    SpanLike(),
    SpanLike(rules=SpanRules(rate_shock=0.01)),
    StaticMargin(),
    StaticMargin(cross=True),
]
every_model = pytest.mark.parametrize("model", MODELS, ids=repr)


@functools.cache
def coins(numeraire: str = "USD") -> MarketHistory:
    return coins_with_options().valued_in(numeraire)


@functools.cache
def fitted(model: MarginModel, numeraire: str = "USD") -> MarginModel:
    return model.fit(coins(numeraire), replace(COVERAGE, numeraire=numeraire))


def margins(model: MarginModel, book: Book) -> dict[str, float]:
    return dict(zip(book.portfolios, fitted(model).margin(coins(), book), strict=True))


def by_hand(moves: Floats, vols: Floats, weights: Floats, elapsed: float) -> Floats:
    """Gain of the straddle of the option book in each scenario, by Black-76 on its own."""
    book = option_book(coins().now)
    held = book.dense[book.portfolios.index("straddle")]
    pair = Book(book.instruments, ("straddle",), held[None])
    terms = option_terms(pair.listing, coins().now)
    gain = np.zeros(len(moves))
    for n in np.flatnonzero(held):
        i = int(np.flatnonzero(terms.at == n)[0])
        left = terms.tenor[i] - elapsed
        share = left / terms.tenor[i]
        forward = coins().now.spot[0] * (terms.forward[i] / coins().now.spot[0]) ** share * (1 + moves)
        fade = VolTerm().scale(np.array([365.25 * terms.tenor[i]]))[0]
        deviation = terms.volatility[i] * (1 + fade * vols) * np.sqrt(left)
        call = np.full(len(moves), terms.call[i])
        value = terms.discount[i] ** share * black76(forward, np.full(len(moves), terms.strike[i]), deviation, call)
        gain += value - unit_values(pair.listing, coins().now)[n]
    return gain * weights


def test_the_margin_is_the_worst_of_the_literal_grid() -> None:
    moves = np.array([-0.1, -0.1, 0.0, 0.0, 0.1, 0.1, -0.4, 0.4])
    vols = np.array([-0.2, 0.3, -0.2, 0.3, -0.2, 0.3, 0.0, 0.0])
    weights = np.array([1.0] * 6 + [0.5] * 2)
    for elapsed in (True, False):
        model = ScenarioMargin(LITERAL, learned=False, elapsed=elapsed, initial=1.2).fit(coins(), COVERAGE)
        gain = by_hand(moves, vols, weights, 2 / 365.25 if elapsed else 0.0)
        told = model.explain(coins(), option_book(coins().now))
        row = told.portfolios.index("straddle")
        assert gain.argmin() == 2
        assert told.initial[row] == pytest.approx(1.2 * -gain.min())
        assert told.worst[row] == "price +0, vol -0.2"


def test_a_linear_book_pays_the_learned_range_times_its_net() -> None:
    history = market([0.01, -0.02] * 100)
    model = ScenarioMargin().fit(history, Coverage())
    assert_allclose(model.margin(history, book_of(2.0, -3.0)), 0.02 * history.now.spot[0] * np.array([2.0, 3.0]))


def test_maintenance_and_initial_are_factors_on_one_scan() -> None:
    model = ScenarioMargin(initial=1.3, maintenance=1.0).fit(coins(), COVERAGE)
    book = option_book(coins().now)
    for told in (model.requirement(coins(), book), model.explain(coins(), book)):
        assert_allclose(told.initial, 1.3 * told.maintenance)
        assert_array_equal(told.initial, model.margin(coins(), book))


def test_moving_together_nets_what_apart_adds() -> None:
    """Long one coin and short the other: together their equal moves offset, apart each is charged."""
    unit = 1.0 / coins().now.spot
    legs = (Instrument("BTC-PERP", "BTC"), Instrument("ETH-PERP", "ETH"))
    book = Book(legs, ("pair", "sum"), np.array([unit * [1, -1], unit]))
    one, apart = (ScenarioMargin(LITERAL, learned=False, apart=flag) for flag in (False, True))
    assert_allclose(fitted(one).margin(coins(), book), [0.0, 0.4], atol=1e-12)  # 0.4 at half weight, or 0.1: twice
    assert_allclose(fitted(apart).margin(coins(), book), [0.4, 0.4])


def test_components_by_underlying_may_be_gains_when_all_move_together() -> None:
    told = fitted(ScenarioMargin(LITERAL, learned=False)).explain(coins(), option_book(coins().now)).to_frame()
    pair = told.loc["volatility pair"]
    assert pair["scan BTC"] > 0 > pair["scan ETH"]
    assert told.loc["empty", "worst"] == ""


@every_model
@pytest.mark.parametrize("numeraire", ["USD", "BTC"])
def test_option_books_keep_the_contract(model: MarginModel, numeraire: str) -> None:
    one, history = fitted(model, numeraire), coins(numeraire)
    book = option_book(history.now)
    margin = one.margin(history, book)
    assert np.isfinite(margin).all()
    assert (margin >= 0).all()
    assert margin[book.portfolios.index("empty")] == 0
    assert (np.delete(margin, book.portfolios.index("empty")) > 0).all()
    for told in (one.requirement(history, book), one.explain(history, book)):
        assert_allclose(sum(told.components.values()), told.initial, rtol=1e-9, atol=1e-9)
        assert_array_equal(told.initial, margin)
    double = Book(book.instruments, book.portfolios, 2 * book.quantity)
    assert_allclose(one.margin(history, double), 2 * margin, rtol=1e-12)
    thin = Book(book.instruments, book.portfolios, sparse.csr_array(book.quantity))
    assert_allclose(one.margin(history, thin), margin, rtol=1e-9)
    each = [one.margin(history, Book(book.instruments, ("one",), row[None]))[0] for row in np.asarray(book.quantity)]
    assert_allclose(each, margin, rtol=1e-9)


@every_model
def test_no_long_option_posts_more_than_its_value(model: MarginModel) -> None:
    book = option_book(coins().now)
    value = dict(zip(book.portfolios, book.value(coins().now), strict=True))
    for name in ("long call", "coin straddle"):
        assert 0 < margins(model, book)[name] <= value[name] * getattr(model, "initial", 1.0)


@every_model
def test_what_each_position_adds_sums_to_the_margin(model: MarginModel) -> None:
    book, one = option_book(coins().now), fitted(model)
    margin, left_out = one.margin(coins(), book), leave_one_out(one, coins(), book)
    assert left_out.shape == book.quantity.shape
    assert not left_out[book.dense == 0].any()
    assert_allclose(left_out.sum(axis=1) + shared_part(left_out, margin), margin, rtol=1e-12, atol=1e-9)
    if isinstance(one, ScenarioMargin | SpanLike):
        assert_allclose(one.contributions(coins(), book).sum(axis=1), margin, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("apart", [False, True])
def test_contributions_are_marginal_margins(apart: bool) -> None:
    """Euler: position times the derivative of the margin, where one scenario is clearly the worst."""
    model = fitted(ScenarioMargin(LITERAL, learned=False, apart=apart))
    assert isinstance(model, ScenarioMargin)
    book = option_book(coins().now)
    parts = model.contributions(coins(), book)
    for name in ("covered call", "risk reversal", "short coin call", "volatility pair"):
        p = book.portfolios.index(name)
        for n in np.flatnonzero(book.dense[p]):
            bump = np.tile(book.dense[p], (2, 1))
            bump[:, n] *= (1 + 1e-5, 1 - 1e-5)
            up, down = model.margin(coins(), Book(book.instruments, ("up", "down"), bump))
            assert parts[p, n] == pytest.approx((up - down) / 2e-5, rel=1e-5)


def test_moves_together_in_coin_are_the_dollar_moves_behind_them() -> None:
    """All coins fall by m counted in BTC: by m / (1 - m) in dollars, and the loss is paid in the cheaper coin."""
    history = coins("BTC")
    model = fitted(ScenarioMargin(ScenarioGrid((-0.25,)), learned=False, elapsed=False), "BTC")
    legs = (Instrument("BTC-PERP", "BTC"), Instrument("ETH-PERP", "ETH"))
    book = Book(legs, ("BTC", "ETH"), np.diag(1.0 / history.now.spot))
    assert_allclose(model.margin(history, book) * history.now.spot[0], [0.25, 0.25])
    call = option_book(history.now)
    fall = fitted(ScenarioMargin(ScenarioGrid((-0.2,)), learned=False, elapsed=False)).margin(coins(), call)[0]
    assert model.margin(history, call)[0] == pytest.approx(fall / (0.8 * history.now.spot[0]))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"prices": ()}, "a grid needs price and vol moves"),
        ({"vols": ()}, "a grid needs price and vol moves"),
        ({"prices": (np.nan,)}, "each of prices must be a finite number, got nan"),
        ({"prices": (0.1, "0.2")}, "each of prices must be a finite number, got '0.2'"),
        ({"prices": 0.1}, r"prices must be moves such as .*, got 0\.1"),
        ({"prices": "0.1"}, r"prices must be moves such as .*, got '0\.1'"),
        ({"prices": None}, "prices must be moves such as .*, got None"),
        ({"vols": 0.3}, r"vols must be moves such as .*, got 0\.3"),
        ({"vols": (True,)}, "each of vols must be a finite number, got True"),
        ({"tails": ((-0.2, -1.0),)}, "weight of a tail"),
        ({"tails": 3.0}, r"tails must be pairs such as .*, got 3\.0"),
        ({"tails": (3.0, 0.33)}, r"a tail must be a price move and its share, .*, got 3\.0"),
        ({"tails": ((3.0,),)}, r"a tail must be a price move and its share, .*, got \(3\.0,\)"),
        ({"tails": ((3.0, "a third"),)}, "each figure of a tail must be a finite number, got 'a third'"),
        ({"term": 0.3}, r"term must be a VolTerm, got 0\.3, a float"),
    ],
)
def test_grids_that_say_nothing_are_refused(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ParameterError, match=told):
        ScenarioGrid(**{"prices": (0.1,), **wrong})


def test_grids_of_lists_and_of_numpys_numbers_are_taken() -> None:
    moves: Any = [np.float64(-0.1), 0, np.float32(0.5)]
    assert ScenarioGrid(moves, np.array([0.2]), [[-0.5, 0.5]]).scenarios(np.ones(1), np.ones(1)).spot.shape == (4, 1)  # type: ignore[arg-type]


def test_parameters_out_of_order_are_refused() -> None:
    with pytest.raises(ParameterError, match=r"0 <= maintenance <= initial, got 1\.2 and 1\.0"):
        ScenarioMargin(maintenance=1.2).fit(coins(), COVERAGE)
    with pytest.raises(ParameterError, match="cannot be below -1"):
        ScenarioMargin(ScenarioGrid((-1.5,)), learned=False).fit(coins(), COVERAGE)
