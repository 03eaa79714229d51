import logging
import time

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from backtest.replay import replay
from data import Book, Coverage, Floats, HistoryError, Instrument, MarketHistory, ParameterError
from margin_models import EwmaVolatility, ExtremeValueVaR, FilteredHistoricalVaR, GarchVolatility
from margin_models.generalised_pareto import fit_tail
from markets import book_of, coins_with_options, market, option_book

DAY = Coverage(0.99)


def heavy(rows: int = 1200, seed: int = 3, degrees: float = 4.0) -> MarketHistory:
    """One underlying with GARCH variance and t innovations, simple daily returns about 1 %."""
    random, variance, returns = np.random.default_rng(seed), 1.0, []
    for shock in random.standard_t(degrees, rows) * np.sqrt((degrees - 2.0) / degrees):
        returns.append(0.01 * np.sqrt(variance) * shock)
        variance = 0.04 + 0.08 * (100.0 * returns[-1]) ** 2 + 0.88 * variance
    return market(returns)


def many_assets(rows: int = 520, assets: int = 20, books: int = 100) -> tuple[MarketHistory, Book]:
    random = np.random.default_rng(5)
    closes = 100.0 * np.exp((0.01 * random.standard_t(4, (rows, assets))).cumsum(axis=0))
    names = [f"A{i}" for i in range(assets)]
    table = pd.DataFrame(closes, index=pd.date_range("2020-01-01", periods=rows), columns=names)
    instruments = tuple(Instrument(f"{name}-PERP", name) for name in names)
    held = random.standard_normal((books, assets))
    return MarketHistory.from_frame(table), Book(instruments, tuple(f"b{i}" for i in range(books)), held)


def test_the_tail_is_that_of_the_filtered_losses() -> None:
    past, book = heavy(), book_of(1.0, -2.0)
    model = ExtremeValueVaR(EwmaVolatility(half_life=20), share=0.1).fit(past, DAY)
    told = model.tail(past, book)
    losses = FilteredHistoricalVaR(EwmaVolatility(half_life=20)).fit(past, DAY).tail(past, book).sample
    assert losses is not None
    assert told.sample is not None
    assert_array_equal(told.sample, losses)
    for p, row in enumerate(losses):
        beyond = round(0.1 * len(row))
        alone = fit_tail(row, float(np.sort(row)[-beyond - 1]))
        assert told.var[p] == pytest.approx(alone.quantile(0.99), rel=1e-9)
        assert told.es[p] == pytest.approx(alone.shortfall(0.99), rel=1e-9)
    assert model.failures_ == {}
    shortfall = ExtremeValueVaR(EwmaVolatility(half_life=20), shortfall=True).fit(past, DAY)
    assert_allclose(shortfall.margin(past, book), told.es)


def test_breaches_are_near_nominal_on_a_heavy_tailed_market() -> None:
    """1,500 days at 99 % out of 500: 15 are expected, with a standard error of 3.9."""
    past = heavy(2000, seed=11)
    result = replay(ExtremeValueVaR(EwmaVolatility(half_life=20)), past, book_of(1.0), DAY, window=500, refit_every=100)
    breaches = int((result.loss > result.initial).sum())
    assert 4 <= breaches <= 27


def test_books_without_a_pareto_tail_have_the_empirical_quantile_counted_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    past = coins_with_options()
    book = option_book(past.now).at(past.now)
    with caplog.at_level(logging.INFO, logger="marginlab"):
        model = ExtremeValueVaR().fit(past, Coverage(0.98, "2D"))
        told = model.tail(past, book)
        first = dict(model.failures_)
        model.margin(past, book)
    assert sum(first.values()) >= 1
    assert model.failures_ == {why: 2 * count for why, count in first.items()}
    assert len(caplog.records) == len(first)
    assert "the empirical quantile stands in" in caplog.text
    empirical = model.filtered_.tail(past, book)
    same = told.var == empirical.var
    assert same[book.portfolios.index("empty")]
    assert sum(first.values()) == int(same.sum()) - 1  # the empty book is no failure
    model.fit(past, Coverage(0.98, "2D"))
    assert model.failures_ == {}


def test_too_few_exceedances_are_flagged() -> None:
    past = heavy(150)
    model = ExtremeValueVaR(lookback=120).fit(past, DAY)
    assert_allclose(model.margin(past, book_of(1.0)), model.filtered_.margin(past, book_of(1.0)))
    assert model.failures_ == {"fewer than 20 exceedances": 1}


def test_explain_splits_by_underlying_and_says_what_the_fit_adds() -> None:
    past, book = many_assets(assets=3, books=4)
    model = ExtremeValueVaR().fit(past, DAY)
    told = model.explain(past, book)
    assert list(told.components) == ["A0", "A1", "A2", "fitted tail"]
    assert_allclose(told.components["fitted tail"], model.margin(past, book) - model.filtered_.margin(past, book))
    assert_allclose(sum(told.components.values()), told.initial)
    assert all(told.worst)


@pytest.mark.parametrize("share", [0.0, 0.005, 0.6, float("nan")])
def test_a_share_that_leaves_the_level_outside_the_tail_is_refused(share: float) -> None:
    with pytest.raises(ParameterError, match=r"share must be at least 1 - level \(0.01\) and at most 0.5, got"):
        ExtremeValueVaR(share=share).fit(heavy(300), DAY)


def test_the_level_may_be_the_threshold_itself() -> None:
    past = heavy(400)
    model = ExtremeValueVaR(share=0.1, lookback=395).fit(past, Coverage(0.9))
    losses: Floats = np.sort(np.asarray(model.tail(past, book_of(1.0)).sample)[0])
    assert model.margin(past, book_of(1.0))[0] == pytest.approx(losses[-round(0.1 * len(losses)) - 1], rel=0.05)


def test_any_forecaster_sets_the_scale() -> None:
    past = heavy(700)
    asked = [
        ExtremeValueVaR(forecaster).fit(past, DAY).margin(past, book_of(1.0))[0]
        for forecaster in (None, EwmaVolatility(), GarchVolatility())
    ]
    assert asked[0] == asked[1] != asked[2]
    assert_allclose(asked, asked[0], rtol=0.5)


def test_a_hundred_books_take_one_pass() -> None:
    past, book = many_assets()
    model = ExtremeValueVaR(lookback=500).fit(past, DAY)
    assert model.margin(past, book).shape == (100,)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        model.margin(past, book)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.1  # 12 ms on a busy machine, of which the fits take one
    assert np.all(model.multiplications(past, book) > model.filtered_.multiplications(past, book))


def test_a_replay_tells_of_the_tails_that_were_refused() -> None:
    result = replay(ExtremeValueVaR(lookback=120), heavy(260), book_of(1.0), DAY, window=200, refit_every=50)
    assert len(result.notes) == 1
    assert "fewer than 20 exceedances" in result.notes[0]


def test_a_level_beyond_the_sample_is_refused_as_there_is_nothing_to_fall_back_on() -> None:
    past = heavy(112)
    with pytest.raises(HistoryError, match=r"a 0.999 quantile needs 999 complete horizon returns, got 100 of 112"):
        ExtremeValueVaR().fit(past, Coverage(0.999)).margin(past, book_of(1.0))
