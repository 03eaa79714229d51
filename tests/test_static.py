import functools

import numpy as np
import pytest
from numpy.testing import assert_allclose

from data import Book, Coverage, Floats, HistoryError, Instrument, MarketHistory, ParameterError
from data.pricing import black76
from data.valuation import option_terms, unit_values
from margin_models import StaticMargin
from markets import book_of, coins_with_options, market, option_book

CARRY = Book((Instrument("X-PERP", "X"), Instrument("X", "X", "spot")), ("carry",), np.array([[-2.0, 3.0]]))


def charged(model: StaticMargin, history: MarketHistory, book: Book) -> float:
    return float(model.fit(history, Coverage()).margin(history, book)[0])


def test_isolated_charges_each_position_and_cross_the_net() -> None:
    history = market([0.0])  # X at 100: positions of -200 and +300
    assert charged(StaticMargin(rate=0.1), history, CARRY) == pytest.approx(50.0)
    assert charged(StaticMargin(rate=0.1, cross=True), history, CARRY) == pytest.approx(10.0)


def test_tiers_charge_what_lies_beyond_them_more() -> None:
    tiers = ((250.0, 2.0), (280.0, 3.0))  # of 300: 250 once, 30 twice, 20 three times; 200 stays below
    assert charged(StaticMargin(rate=0.1, tiers=tiers), market([0.0]), CARRY) == pytest.approx(20 + 25 + 6 + 6)


def test_the_rate_is_the_worse_side_of_the_window() -> None:
    history = market([-0.04, 0.01, 0.02, -0.01])  # at 3/4 the 3.75th of 4: shorts 0.0175, longs 0.01 + 0.75 * 0.03
    assert_allclose(StaticMargin().fit(history, Coverage(0.75)).rate_, [0.0325])


def test_a_frozen_rate_does_not_learn_and_a_reviewed_one_steps_up_only() -> None:
    calm, wild = [0.01, -0.01] * 40, [0.05, -0.05] * 40
    history = market(calm + wild + calm + calm)  # 2024-01-01 on, so reviews at the starts of months
    stops = list(range(61, len(history) + 1, 20))
    coverage = Coverage(0.9)
    frozen = [m.rate_[0] for m in StaticMargin().fit_many(history, stops, 60, coverage)]
    stepped = [m.rate_[0] for m in StaticMargin(review="MS").fit_many(history, stops, 60, coverage)]
    assert_allclose(frozen, 0.01, rtol=1e-6)
    assert stepped[0] == frozen[0]
    assert np.all(np.diff(stepped) >= 0)
    assert_allclose(stepped[-1], 0.05, rtol=1e-6)
    first_rise = stops[int(np.argmax(np.diff(stepped) > 0)) + 1]
    assert history.time[first_rise - 1] >= np.datetime64("2024-04-01")  # the wild days began on 2024-03-21


def test_bad_parameters_and_short_windows_are_refused() -> None:
    history = market([-0.04, 0.01, 0.02, -0.01])
    with pytest.raises(HistoryError, match=r"needs 99 horizon returns, got 4"):
        StaticMargin().fit(history, Coverage(0.99))
    with pytest.raises(ParameterError, match=r"must be >= 0, got -0\.1"):
        StaticMargin(rate=-0.1).fit(history, Coverage())
    for tiers in (((0.0, 2.0),), ((10.0, 0.5),), ((10.0, 3.0), (20.0, 2.0))):
        with pytest.raises(ParameterError, match="tiers must rise"):
            StaticMargin(rate=0.1, tiers=tiers).fit(history, Coverage())
    with pytest.raises(ParameterError, match="review must be a pandas offset alias, got 'foo'"):
        StaticMargin(rate=0.1, review="foo").fit(history, Coverage())


def test_a_long_and_a_short_post_the_same() -> None:
    history = market([0.01, -0.02] * 100)
    margin = StaticMargin().fit(history, Coverage()).margin(history, book_of(1.0, -1.0))
    assert margin[0] == margin[1] > 0


# Options: 35 days to expiry, revalued two days on with the price down or up by the rate, or where it is

COVERAGE = Coverage(0.98, "2D")


@functools.cache
def coins() -> MarketHistory:
    return coins_with_options()


def asked(model: StaticMargin) -> dict[str, float]:
    book = option_book(coins().now)
    return dict(zip(book.portfolios, model.fit(coins(), COVERAGE).margin(coins(), book), strict=True))


def value_after(move: float) -> Floats:
    """USD value of one contract of each instrument two days on at a moved price, by Black-76; 0 for what is linear."""
    book, state = option_book(coins().now), coins().now
    terms = option_terms(book.listing, state)
    spot, left = state.spot[terms.underlying], terms.tenor - 2 / 365.25
    share = left / terms.tenor
    forward = spot * (terms.forward / spot) ** share * (1 + move)
    value = np.zeros(len(book.instruments))
    value[terms.at] = terms.discount**share * black76(
        forward, terms.strike, terms.volatility * np.sqrt(left), terms.call
    )
    return value


def gains(portfolio: str) -> Floats:
    """Gain of each position of a portfolio of options alone at -10 %, 0 and +10 %, (3, N)."""
    book = option_book(coins().now)
    now = np.where(book.listing.option, unit_values(book.listing, coins().now), 0.0)
    held = np.asarray(book.quantity)[book.portfolios.index(portfolio)]
    return np.array([held * (value_after(move) - now) for move in (-0.1, 0.0, 0.1)])


@pytest.mark.parametrize("name", ["long call", "short put", "straddle", "butterfly", "risk reversal", "calendar"])
def test_options_pay_the_worst_of_three_prices_alone_or_net(name: str) -> None:
    by_position = gains(name)
    assert asked(StaticMargin(rate=0.1))[name] == pytest.approx(-by_position.min(axis=0).sum())
    assert asked(StaticMargin(rate=0.1, cross=True))[name] == pytest.approx(-by_position.sum(axis=1).min())


def test_a_long_straddle_pays_its_decay_when_it_is_netted() -> None:
    assert gains("straddle").sum(axis=1).argmin() == 1
    assert 0 < asked(StaticMargin(rate=0.1, cross=True))["straddle"] < 0.2 * asked(StaticMargin(rate=0.1))["straddle"]


def test_a_tier_multiplies_what_a_large_option_position_pays() -> None:
    size = coins().now.spot[0]  # one option on one coin
    tiers = ((0.5 * size, 2.0),)  # half counts once, half twice
    plain, stepped = asked(StaticMargin(rate=0.1)), asked(StaticMargin(rate=0.1, tiers=tiers))
    assert stepped["short put"] == pytest.approx(1.5 * plain["short put"])
    net, stepped = (asked(StaticMargin(rate=0.1, cross=True, tiers=t)) for t in ((), tiers))
    same = net["short put"] / 0.1  # the linear position that loses as much
    assert stepped["short put"] == pytest.approx(0.1 * (same + max(same - 0.5 * size, 0.0)))
    assert stepped["synthetic forward"] == pytest.approx(1.5 * net["synthetic forward"], rel=0.01)
    assert stepped["coin straddle"] == net["coin straddle"]


def test_linear_portfolios_beside_options_pay_what_they_did() -> None:
    book = option_book(coins().now)
    linear = np.where(book.listing.option, 0.0, np.asarray(book.quantity))
    beside = Book(book.instruments, book.portfolios, linear)
    kept = np.flatnonzero(~book.listing.option)
    alone = Book(tuple(book.instruments[n] for n in kept), book.portfolios, linear[:, kept])
    for model in (StaticMargin(tiers=((3e4, 2.0),)), StaticMargin(cross=True, tiers=((3e4, 2.0),))):
        model.fit(coins(), COVERAGE)
        assert_allclose(model.margin(coins(), beside), model.margin(coins(), alone), rtol=1e-12)
