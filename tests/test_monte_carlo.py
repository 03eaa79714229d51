import functools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from threadpoolctl import threadpool_limits

from data import Book, Coverage, Floats, HistoryError, Instrument, MarketHistory, ParameterError
from data.laws import unit_tail
from margin_models import EwmaCovariance, EwmaVolatility, MonteCarloES
from margin_models.copula import (
    TAIL_DEGREES,
    fit_degrees,
    student_below,
    student_draws,
    student_quantile,
    with_law_of,
)
from margin_models.covariance import correlation_of
from margin_models.monte_carlo import (
    ImpliedLaw,
    JointLaw,
    learn_implied,
    monte_carlo,
    sample_tail,
    worst_share,
)
from margin_models.revalue import book_pnl
from markets import BTC, ETH, book_of, coins_with_options, market, option_book, some_books, two_coins

COVERAGE = Coverage(0.99)
PAIR = np.array([[1.0, 0.6], [0.6, 1.0]])
NONE = ImpliedLaw(np.zeros(2), np.zeros(2), np.eye(2))


@functools.lru_cache
def classic() -> tuple[MarketHistory, MonteCarloES, Book]:
    history = coins_with_options()
    return history, MonteCarloES(scenarios=1000).fit(history, COVERAGE), option_book(history.now)


def unit_book(*quantity: tuple[float, float]) -> tuple[MarketHistory, Book]:
    """Two coins at a price of 1, and books of their perpetuals."""
    days = pd.date_range("2024-01-01", periods=1)
    history = MarketHistory.from_frame(pd.DataFrame(np.ones((1, 2)), index=days, columns=["A", "B"]), clock="1D")
    legs = (Instrument("A-PERP", "A"), Instrument("B-PERP", "B"))
    return history, Book(legs, tuple(map(str, range(len(quantity)))), np.array(quantity))


def law_of(degrees: float, tail: float, sigma: float = 0.02, size: int = 200_000) -> JointLaw:
    """Innovations whose quantiles are exactly those of a Student-t law of unit variance."""
    unit = 1.0 if math.isinf(tail) else math.sqrt((tail - 2) / tail)
    sample = unit * student_quantile(np.arange(1, size) / size, tail)
    return JointLaw((sample, sample), np.array([sigma, sigma]), PAIR, degrees, NONE)


BOOKS = ((1.0, 0.0), (0.0, -1.0), (1.0, -1.0), (1.0, 1.0), (2.0, -0.5))


@pytest.mark.parametrize("degrees", [4.0, math.inf])
def test_a_law_that_is_known_has_the_shortfall_that_is_known(degrees: float) -> None:
    # A t copula with t margins of the same degrees is a multivariate t law: every book's loss is t again.
    history, book = unit_book(*BOOKS)
    scenarios = monte_carlo(law_of(degrees, degrees), 200_000, seed=3)
    told = sample_tail(-book_pnl(book, history.now, scenarios), 0.99)
    weights = np.array(BOOKS)
    sigma = 0.02 * np.sqrt(((weights @ PAIR) * weights).sum(axis=1))
    quantile, beyond = unit_tail(0.99, degrees)
    # 2,000 draws make the shortfall: three standard errors are 3 % (normal) and 7 % (four degrees).
    assert_allclose(told.var, quantile * sigma, rtol=0.03 if math.isinf(degrees) else 0.05)
    assert_allclose(told.es, beyond * sigma, rtol=0.03 if math.isinf(degrees) else 0.07)


def test_a_normal_market_is_charged_the_shortfall_of_a_normal_law() -> None:
    rng = np.random.default_rng(11)
    moves = rng.multivariate_normal([0, 0], 4e-4 * PAIR, 4000)
    days = pd.date_range("2010-01-01", periods=4001)
    prices = np.vstack([np.ones(2), np.cumprod(1 + moves, axis=0)])
    history = MarketHistory.from_frame(pd.DataFrame(prices, index=days, columns=["A", "B"]))
    unit = 1.0 / history.now.spot
    _, book = unit_book(*(tuple(unit * pair) for pair in BOOKS))
    model = MonteCarloES(volatility=EwmaVolatility(half_life=150)).fit(history, COVERAGE)
    weights = np.array(BOOKS)
    sigma = np.sqrt((weights**2 @ model.volatility_.forecast(history) ** 2) + 2 * 4e-4 * 0.6 * weights.prod(axis=1))
    assert model.degrees_ >= 25
    # The window's own tail of 40 returns errs by 6 %.
    assert_allclose(model.margin(history, book), unit_tail(0.99)[1] * sigma, rtol=0.12)


def test_the_same_seed_draws_the_same_numbers_and_another_others() -> None:
    history, model, book = classic()
    again = MonteCarloES(scenarios=1000).fit(history, COVERAGE)
    other = MonteCarloES(scenarios=1000, seed=1).fit(history, COVERAGE)
    assert_array_equal(model.margin(history, book), again.margin(history, book))
    one, two = model.margin(history, book), other.margin(history, book)
    held = one > 0
    assert np.all(one[held] != two[held])
    assert_allclose(one[held], two[held], rtol=0.25)


def test_threads_change_no_bit() -> None:
    history, model, book = classic()
    rng = np.random.default_rng(0)
    correlation = correlation_of(np.cov(rng.standard_normal((60, 12)).T))
    told = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            told.append((student_draws(2001, correlation, 4.0, 0), model.margin(history, book)))
    for one, two in zip(*told, strict=True):
        assert_array_equal(one, two)


def test_more_draws_come_closer_to_the_same_figure() -> None:
    history, _, book = classic()
    many, few, more = (
        MonteCarloES(scenarios=size, degrees=4.0).fit(history, COVERAGE).margin(history, book)
        for size in (100_000, 1_000, 20_000)
    )
    held = many > 0
    many, few, more = many[held], few[held], more[held]
    assert np.abs(more / many - 1).mean() < np.abs(few / many - 1).mean()
    # What only a crash moves, the deep strangle, is made by a handful of draws: in shares of spot it is nothing.
    assert_allclose(more, many, rtol=0.08, atol=2e-4 * history.now.spot[0])


@pytest.mark.parametrize("degrees", [3.0, 6.0, math.inf])
def test_draws_have_the_law_that_was_asked_for(degrees: float) -> None:
    drawn = student_draws(100_000, PAIR, degrees, seed=5)
    assert_allclose(drawn.mean(axis=0), 0.0, atol=1e-15)
    assert_array_equal(drawn[:50_000], -drawn[50_000:])
    for share in (0.005, 0.1, 0.5, 0.9, 0.995):
        below = (drawn <= student_quantile(np.array([share]), degrees)).mean(axis=0)
        assert_allclose(below, share, atol=4 * math.sqrt(share * (1 - share) / 100_000) + 1e-9)
    # Kendall's tau of an elliptical copula is 2 / pi arcsin(r), whatever the degrees.
    pairs = drawn[:50_000] - np.roll(drawn[:50_000], 1, axis=0)
    tau = np.sign(pairs.prod(axis=1)).mean()
    assert tau == pytest.approx(2 / math.pi * math.asin(0.6), abs=0.02)
    assert_array_equal(student_draws(7, PAIR, degrees, 5)[4:], -student_draws(8, PAIR, degrees, 5)[:3])


def test_few_degrees_make_crashes_come_together() -> None:
    history, book = unit_book((1.0, 1.0))
    losses = [
        sample_tail(-book_pnl(book, history.now, monte_carlo(law_of(degrees, math.inf), 50_000, 0)), 0.999).es[0]
        for degrees in (3.0, 8.0, math.inf)
    ]
    assert losses[0] > 1.01 * losses[1]
    assert losses[1] > 1.01 * losses[2]


def test_draws_take_the_quantiles_of_the_sample_and_a_heavy_tail_beyond() -> None:
    sample = np.array([3.0, -2.0, 1.0, 0.5, -0.25])
    at = student_quantile(np.arange(1, 6) / 6, 6.0)
    assert_allclose(with_law_of(at, sample, 6.0), np.sort(sample))
    assert_allclose(with_law_of(0.5 * (at[1:2] + at[2:3]), sample, 6.0), [0.125])
    far = student_quantile(np.array([0.001, 0.999]), 6.0)
    growth = student_quantile(np.array([0.999]), TAIL_DEGREES) / student_quantile(np.array([5 / 6]), TAIL_DEGREES)
    assert_allclose(with_law_of(far, sample, 6.0), [-2.0 * growth[0], 3.0 * growth[0]])
    # A sample of gains alone has no losses beyond it.
    assert_allclose(with_law_of(far, np.abs(sample), 6.0), [0.25, 3.0 * growth[0]])


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=40), st.sampled_from([2.5, 4.0, math.inf]))
def test_a_larger_draw_is_never_a_smaller_move(sample: list[float], degrees: float) -> None:
    drawn = np.sort(student_draws(200, PAIR, degrees, 1)[:, 0])
    moves = with_law_of(drawn, np.array(sample), degrees)
    assert np.all(np.diff(moves) >= -1e-9 * np.abs(moves[1:]).max())


@pytest.mark.parametrize(
    ("truth", "likely"), [(3.0, {2.5, 3.0, 4.0}), (8.0, {6.0, 8.0, 10.0}), (math.inf, {25.0, 50.0})]
)
def test_degrees_are_learned_whatever_the_margins(truth: float, likely: set[float]) -> None:
    drawn = student_draws(4000, PAIR, truth, seed=2)[:2000]  # one half: the other mirrors it
    uniform = student_below(drawn, truth)
    margins = np.stack([student_quantile(uniform[:, 0], math.inf), -np.log1p(-uniform[:, 1])], axis=1)
    assert fit_degrees(margins, PAIR) in likely
    assert fit_degrees(drawn, PAIR) in likely
    dead = np.c_[drawn, np.zeros(2000)]
    assert fit_degrees(dead, np.block([[PAIR, np.zeros((2, 1))], [np.zeros((1, 2)), np.eye(1)]])) in likely
    assert fit_degrees(drawn[:, :1], np.eye(1)) == math.inf


def test_correlations_of_what_never_moves_are_none() -> None:
    told = correlation_of(np.array([[4.0, 0.0, 3.0], [0.0, 0.0, 0.0], [3.0, 0.0, 9.0]]))
    assert_allclose(told, np.array([[1, 0, 0.5], [0, 1, 0], [0.5, 0, 1]]))


def with_volatility(beta: float, noise: float, rows: int = 400) -> MarketHistory:
    """The two coins; BTC's flat volatility answers to its return, ETH has no surface."""
    coins = two_coins(rows)
    moves = np.nan_to_num(coins.spot[1:, 0] / coins.spot[:-1, 0] - 1.0)
    rng = np.random.default_rng(4)
    change = beta * moves + noise * rng.standard_normal(len(moves))
    level = 0.6 * np.cumprod(np.r_[1.0, 1.0 + change])
    surfaces = np.full((rows, 2, 1, 7), np.nan)
    surfaces[:, 0, 0] = 0.0
    surfaces[:, 0, 0, 0], surfaces[:, 0, 0, 6] = 30 / 365.25, 1.0
    surfaces[:, 0, 0, 2] = level**2 * 30 / 365.25
    return replace(coins, surfaces=surfaces, implied="quotes")


def test_how_volatility_follows_price_is_learned_where_there_are_surfaces() -> None:
    told = learn_implied(with_volatility(-1.5, 0.02), COVERAGE)
    assert told.beta[0] == pytest.approx(-1.5, abs=0.2)
    assert told.spread[0] == pytest.approx(0.02, rel=0.1)
    assert_array_equal([told.beta[1], told.spread[1]], 0.0)
    assert_array_equal(told.correlation, np.eye(2))
    none = learn_implied(two_coins(), COVERAGE)
    assert_array_equal([none.beta, none.spread], 0.0)
    assert_array_equal(learn_implied(with_volatility(-1.5, 0.02).rows(0, 15), COVERAGE).beta, 0.0)


def test_volatility_is_drawn_with_its_price() -> None:
    implied = ImpliedLaw(np.array([-2.0, 0.5]), np.array([0.05, 0.1]), np.array([[1.0, 0.8], [0.8, 1.0]]))
    drawn = monte_carlo(replace(law_of(8.0, 8.0), implied=implied), 100_000, 0)
    rest: Floats = np.asarray(drawn.vol - implied.beta * drawn.spot)
    assert_allclose(rest.std(axis=0), implied.spread, rtol=0.03)
    assert np.asarray(np.corrcoef(rest.T))[0, 1] == pytest.approx(0.8, abs=0.02)
    assert np.abs(np.asarray(np.corrcoef(rest[:, 0], drawn.spot[:, 0]))[0, 1]) < 0.02
    assert_array_equal(monte_carlo(law_of(8.0, 8.0), 1000, 0).vol, 0.0)


def test_a_law_of_volatility_is_what_a_hedged_straddle_pays_for() -> None:
    history, model, book = classic()
    blind = MonteCarloES(scenarios=1000).fit(replace(history, surfaces=None, implied=""), COVERAGE)
    blind.degrees_ = model.degrees_
    assert_array_equal(blind.implied_.spread, 0.0)
    row = book.portfolios.index("hedged short straddle")
    assert model.margin(history, book)[row] > 1.05 * blind.margin(history, book)[row]


def test_prices_never_fall_by_more_than_all_and_coin_moves_become_usd_moves() -> None:
    sample = np.linspace(-3, 3, 101)
    law = JointLaw((sample, sample), np.array([0.5, 0.4]), PAIR, 4.0, NONE)
    usd, coin = monte_carlo(law, 2000, 0), monte_carlo(law, 2000, 0, numeraire=0)
    assert usd.spot.min() == -1.0
    assert coin.spot.min() >= -1.0
    inside = (usd.spot[:, 0] < 0.9) & (usd.spot.min(axis=1) > -1.0) & (coin.spot.min(axis=1) > -1.0)
    assert inside.sum() > 1000
    assert_allclose(coin.spot[inside] * (1 - usd.spot[inside, :1]), usd.spot[inside], atol=1e-12)


@pytest.mark.parametrize("level", [0.9, 0.985, 0.99])
def test_the_tail_is_that_of_the_sorted_sample(level: float) -> None:
    losses = np.random.default_rng(1).standard_normal((5, 250))
    told = sample_tail(losses, level)
    assert_allclose(told.var, np.quantile(losses, level, axis=1, method="weibull"))
    ordered = np.sort(losses, axis=1)[:, ::-1]
    worst = (1 - level) * 250
    whole = int(worst + 1e-9)
    expected = (ordered[:, :whole].sum(axis=1) + (worst - whole) * ordered[:, whole]) / worst
    assert_allclose(told.es, expected)
    picked, weight = worst_share(losses, level)
    assert weight.sum() == pytest.approx(1.0)
    assert_array_equal(picked[:, 0], losses.argmax(axis=1))


@given(st.lists(st.integers(-5, 5), min_size=20, max_size=60), st.floats(0.55, 0.95))
def test_the_shortfall_is_never_below_the_quantile_with_ties_or_without(values: list[int], level: float) -> None:
    told = sample_tail(np.array([values], dtype=float), level)
    assert told.es[0] >= told.var[0]


quantities = st.lists(st.floats(-5, 5), min_size=13, max_size=13)


@settings(max_examples=40, deadline=None)
@given(quantities, quantities)
def test_a_book_never_posts_more_than_its_parts(one: list[float], other: list[float]) -> None:
    history, model, book = classic()
    a, b = np.array(one), np.array(other)
    assert len(book.instruments) == len(a)
    told = model.tail(history, Book(book.instruments, tuple("abc"), np.array([a, b, a + b]))).es
    assert told[2] <= told[0] + told[1] + 1e-9 * (np.abs(told).sum() + 1)


def test_explained_by_underlying_and_by_the_worst_draw() -> None:
    history, model, book = classic()
    told = model.explain(history, book)
    assert_allclose(sum(told.components.values()), told.initial, rtol=1e-9, atol=1e-9)
    row = {name: n for n, name in enumerate(book.portfolios)}
    assert_allclose(told.components["ETH"][row["straddle"]], 0.0, atol=1e-9)
    assert told.components["ETH"][row["coin straddle"]] > 0
    assert "BTC -" in told.worst[row["short put"]]
    assert told.worst[row["empty"]] == ""
    tail = model.tail(history, book)
    assert tail.sample is not None
    assert tail.sample.shape == (len(book.portfolios), 1000)
    assert_allclose(np.maximum(tail.es, 0.0), model.margin(history, book))


def test_in_coin_a_short_put_asks_for_more_coins_than_its_dollars_buy_now() -> None:
    history, model, book = classic()
    coins = history.valued_in("BTC")
    fitted = MonteCarloES(scenarios=1000).fit(coins, replace(COVERAGE, numeraire="BTC"))
    row = book.portfolios.index("short put")
    price = float(history.now.spot[0])
    in_coin, in_usd = fitted.margin(coins, book)[row] * price, model.margin(history, book)[row]
    assert 1.0 < in_coin / in_usd < 1.35


def test_a_calmer_market_asks_for_less() -> None:
    calm, wild = [0.005, -0.005] * 100, [0.04, -0.04] * 60
    after = [*calm, *wild, *calm[:80]]
    model = MonteCarloES(volatility=EwmaVolatility(half_life=5)).fit(market(after), Coverage(0.95))
    charged = [
        model.margin(history, book_of(1.0))[0] / history.now.spot[0] for history in (market(after[:320]), market(after))
    ]
    assert charged[1] < 0.3 * charged[0]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"scenarios": 98}, "scenarios must be >= 99 at 0.99, got 98"),
        ({"degrees": 2.0}, "degrees must be > 2, got 2.0"),
        ({"lookback": 0}, "lookback must be >= 1 or None, got 0"),
        ({"seed": -1}, "seed must be >= 0, got -1"),
    ],
)
def test_parameters_out_of_range_are_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ParameterError, match=why):
        MonteCarloES(**wrong).fit(two_coins(), COVERAGE)


def test_too_few_innovations_are_refused() -> None:
    history = two_coins()
    model = MonteCarloES(lookback=50).fit(history, COVERAGE)
    with pytest.raises(HistoryError, match=r"tail of BTC needs 99 innovations and a .* got (49|50) and"):
        model.margin(history, some_books().at(history.now))


def test_parts_are_arguments_and_degrees_may_be_given() -> None:
    history = two_coins()
    book = Book((BTC, ETH), ("pair",), np.array([[1.0, -150.0]]))
    margins: list[Floats] = []
    for model in (
        MonteCarloES(degrees=math.inf),
        MonteCarloES(degrees=3.0),
        MonteCarloES(degrees=3.0, covariance=EwmaCovariance(half_life=10)),
        MonteCarloES(degrees=3.0, volatility=EwmaVolatility(half_life=40)),
        MonteCarloES(degrees=3.0, lookback=200),
    ):
        fitted = model.fit(history, COVERAGE)
        assert fitted.degrees_ == model.degrees
        margins.append(fitted.margin(history, book))
    assert len({float(margin[0]) for margin in margins}) == len(margins)
