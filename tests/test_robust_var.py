"""Is the pooled tail what its definition says, and steadier than a book's own?"""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from backtest.replay import replay
from data import Book, BookRecipe, Coverage, HistoryError, Instrument, MarketHistory, ParameterError
from data.sources.synthetic import garch_t
from margin_models import EwmaVolatility, FilteredHistoricalVaR, RobustVaR
from margin_models.kernels.tails import upper_quantile
from markets import book_of, coins_with_options, market, option_book, some_books, two_coins

DAY = Coverage(0.99)


def test_the_margin_is_the_own_anchor_times_the_pooled_ratio() -> None:
    past = two_coins()
    book = some_books().at(past.now)
    told = RobustVaR(EwmaVolatility(half_life=20), multiple=10).fit(past, DAY).tail(past, book)
    filtered = FilteredHistoricalVaR(EwmaVolatility(half_life=20)).fit(past, DAY)
    own = filtered.tail(past, book).sample
    assert own is not None
    moves = filtered.moves_now(past)
    pool = []
    for column in moves.T:
        for losses in (-column, column):
            known = losses[np.isfinite(losses)]
            pool.append(known / np.quantile(known, 0.9, method="weibull"))
    ratio = np.quantile(np.concatenate(pool), 0.99, method="weibull")
    deep = np.concatenate(pool)
    for p, row in enumerate(own):
        anchored = max(np.quantile(row[np.isfinite(row)], 0.9, method="weibull"), 0.0)
        assert told.var[p] == pytest.approx(ratio * anchored, rel=1e-12)
        assert told.es[p] == pytest.approx(deep[deep >= ratio].mean() * anchored, rel=1e-12)
    assert told.sample is None


def test_options_keep_the_quantile_of_their_own_sample() -> None:
    past = coins_with_options()
    book = option_book(past.now)
    mine = RobustVaR().fit(past, DAY).tail(past, book)
    theirs = FilteredHistoricalVaR().fit(past, DAY).tail(past, book)
    assert_allclose(mine.var, theirs.var)
    assert_allclose(mine.es, theirs.es)


def test_the_pooled_tail_is_steadier_where_the_truth_is_one_tail() -> None:
    """Ten books of equal laws: the spread of 99 % margins over their volatility is chance, and pooling lessens it."""
    truth = garch_t(700, (0.02,) * 10, seed=5).history
    recipe = BookRecipe.of(
        tuple(Instrument(f"P{n}", name) for n, name in enumerate(truth.underlyings)),
        {name: {f"P{n}": 1.0} for n, name in enumerate(truth.underlyings)},
    )
    spread = {}
    for model in (FilteredHistoricalVaR(), RobustVaR()):
        run = replay(model, truth, recipe, DAY, window=400, refit_every=100, every=20)
        moves = np.log(run.initial)
        spread[type(model)] = (moves - moves.mean(axis=1, keepdims=True)).std()
    assert spread[RobustVaR] < spread[FilteredHistoricalVaR]


def test_breaches_are_near_nominal_where_volatility_is_all_that_differs() -> None:
    """1,600 days of two assets at 99 %: 32 are expected, standard error 5.6."""
    truth = garch_t(2100, (0.02, 0.03), seed=9).history
    recipe = BookRecipe.of((Instrument("A", "SYN1"), Instrument("B", "SYN2")), {"a": {"A": 1.0}, "b": {"B": -1.0}})
    run = replay(RobustVaR(), truth, recipe, DAY, window=500, refit_every=200)
    assert 17 <= int(run.breached.sum()) <= 50


def test_what_it_explains_sums_to_the_margin_and_names_the_pool() -> None:
    past = two_coins()
    book = some_books().at(past.now)
    told = RobustVaR().fit(past, DAY).explain(past, book)
    assert_allclose(sum(told.components.values()), told.initial, atol=1e-9)
    assert "pooled tail" in told.components


def test_a_multiple_below_one_and_a_market_that_stands_still_are_refused() -> None:
    past = two_coins()
    with pytest.raises(ParameterError, match=r"multiple must be at least 1, got 0\.5"):
        RobustVaR(multiple=0.5).fit(past, DAY)
    still = market([0.0] * 300)
    with pytest.raises(HistoryError, match="a tail"):
        RobustVaR().fit(still, DAY).margin(still, book_of(1.0))


def test_the_pool_uses_what_is_known_of_each_underlying() -> None:
    past = two_coins()
    moves = FilteredHistoricalVaR().fit(past, DAY).moves_now(past)
    known = moves[:, 1][np.isfinite(moves[:, 1])]
    assert upper_quantile(known, 0.95) > 0.0


def rarely_moving(share: float) -> tuple[MarketHistory, Book]:
    """An asset of every day and one that jumps 10 % up and down in turn on a share of days; that one long and short."""
    random, rows = np.random.default_rng(1), 700
    jumps = np.zeros(rows)
    days = np.flatnonzero(random.random(rows) < share)
    jumps[days] = np.where(np.arange(len(days)) % 2, 0.1, -0.1)
    daily = 0.02 * random.standard_normal(rows)
    spot = np.asarray(100.0 * np.cumprod(1.0 + np.column_stack([daily, jumps]), axis=0), dtype=np.float64)
    time = np.arange(rows).astype("datetime64[D]").astype("datetime64[ns]")
    instruments = (Instrument("A-PERP", "A"), Instrument("B-PERP", "B"))
    held = np.array([[0.0, 1.0 / spot[-1, 1]], [0.0, -1.0 / spot[-1, 1]], [1.0 / spot[-1, 0], 0.0]])
    return MarketHistory(time, ("A", "B"), spot), Book(instruments, ("B long", "B short", "A long"), held)


@pytest.mark.parametrize("shortfall", [False, True])
def test_an_asset_that_moves_on_4_days_of_100_is_charged_for_its_own_quantile(shortfall: bool) -> None:
    """Its 95 % quantile is nothing, and so is any multiple of it; the empirical one at 99 % is a jump."""
    history, book = rarely_moving(0.036)
    past = history.rows(200, 700)
    own, ours = (
        model.fit(past, DAY).margin(history, book)
        for model in (
            FilteredHistoricalVaR(EwmaVolatility(), shortfall=shortfall),
            RobustVaR(EwmaVolatility(), shortfall=shortfall),
        )
    )
    assert (ours[:2] > 0.01).all()
    assert_allclose(ours[:2], own[:2])
    assert ours[2] != own[2], "an asset of every day keeps the pooled tail"
