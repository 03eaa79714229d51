"""Does a replay keep the law that a model stated, as it stated it and no more?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from backtest import LiquidationCost, replay
from backtest.law_verdicts import law_verdicts
from backtest.pit_kernels import sample_pits
from backtest.pits import pit_of_law, pit_of_sample, places
from backtest.replay import Replay
from backtest.tail_path import TailPath
from data import Book, BookRecipe, Coverage, Floats, Instrument, MarketHistory, ModelError
from data.compiled import plain
from data.sources.synthetic import garch_t
from margin_models import AgeWeightedVaR, CorrelationVaR, HistoricalVaR, MarginModel, MonteCarloES, StaticMargin
from margin_models.base import TailForecast
from markets import book_of, market, some_books, two_coins

FREE = LiquidationCost(0.0, 0.0)


class Stating(MarginModel):
    """Charges nothing, and states a law of three losses in hundreds."""

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        return np.zeros(len(book.portfolios))

    def tail(self, past: MarketHistory, book: Book) -> TailForecast | None:
        gross = book.gross(past.now)
        return TailForecast(0.1 * gross, 0.2 * gross, np.array([0.0, 0.25, 0.5]) * gross[:, None])


class Halfway(Stating):
    def tail(self, past: MarketHistory, book: Book) -> TailForecast | None:
        return None if len(past) < 3 else super().tail(past, book)


def law_of(told: Replay) -> TailPath:
    assert told.tail is not None
    return told.tail


def run(model: MarginModel) -> Replay:
    history = market([0.1, -0.2, 0.3])
    return replay(model, history, book_of(2.0, -1.0, 0.0), Coverage(), window=2, refit_every=1, cost=FREE)


def test_a_law_is_kept_per_unit_of_gross_notional_and_its_pit_by_its_sample() -> None:
    told = law_of(run(Stating()))
    assert_allclose(told.var, [[0.1, 0.1, np.nan]] * 2)
    assert_allclose(told.es, [[0.2, 0.2, np.nan]] * 2)
    # losses 0.2 and -0.2, then -0.3 and 0.3, among 0, 0.25 and 0.5
    assert_array_equal(np.floor(4.0 * told.pit), [[2, 3, np.nan], [3, 1, np.nan]])
    assert len(np.unique(told.pit[np.isfinite(told.pit)] % 0.25)) == 4
    assert_array_equal(told.pit, law_of(run(Stating())).pit)


def test_decisions_without_a_law_are_holes_and_a_model_without_any_has_none() -> None:
    told = law_of(run(Halfway()))
    assert np.isnan(told.var[0]).all()
    assert_allclose(told.var[1, :2], 0.1)
    assert run(StaticMargin(rate=0.1)).tail is None


class Faltering(Stating):
    """A law with a sample, one without, one whose sample is not known, and none."""

    def tail(self, past: MarketHistory, book: Book) -> TailForecast | None:
        law = super().tail(past, book)
        assert law is not None
        assert law.sample is not None
        laws = (law, TailForecast(law.var, law.es), TailForecast(law.var, law.es, law.sample * np.nan), None)
        return laws[(len(past) - 2) % 4]


def test_laws_and_samples_that_are_missing_now_and_then_are_noted_as_what_they_are() -> None:
    history, book = market([0.1] * 9), book_of(2.0, -1.0)
    told = replay(Faltering(), history, book, Coverage(), window=2, refit_every=3, cost=FREE)
    assert told.notes == (
        "no law stated at 2 of 8 decisions",
        "a law without a sample at 2 of 8 decisions",
        "a sample with infinite losses or none known, and so no pit, at 2 of 8 decisions",
    )
    assert_array_equal(np.isfinite(law_of(told).pit[:, 0]), [True, False, False, False] * 2)
    assert run(Stating()).notes == run(StaticMargin(rate=0.1)).notes == ()


@pytest.mark.parametrize("charge", [True, False])
def test_a_law_is_stated_once_a_decision_whether_or_not_the_margin_is_read_off_it(charge: bool) -> None:
    asked: list[int] = []

    class Counting(Stating):
        def margin(self, past: MarketHistory, book: Book) -> Floats:
            told = self.tail(past, book) if charge else None
            return super().margin(past, book) if told is None else told.var

        def tail(self, past: MarketHistory, book: Book) -> TailForecast | None:
            assert "tail" in vars(self) or not charge
            asked.append(len(past))
            return super().tail(past, book)

    model = Counting()
    run(model)
    assert asked == [2, 3]
    assert "tail" not in vars(model)


def test_what_a_margin_asks_of_another_past_or_book_is_not_its_law() -> None:
    class Elsewhere(Stating):
        def margin(self, past: MarketHistory, book: Book) -> Floats:
            told = self.tail(past.rows(0, 1), book)
            return np.zeros(len(book.portfolios)) if told is None else told.var

    assert_allclose(law_of(run(Elsewhere())).var[:, 0], 0.1)


@pytest.mark.parametrize(
    ("law", "said"),
    [
        (TailForecast(np.array([0.1, np.nan, 0.0]), np.full(3, 0.2)), r"must be finite for '-1', got VaR nan"),
        (TailForecast(np.full(3, 0.1), np.array([0.2, 0.2, np.inf])), r"must be finite for '\+0'"),
        (TailForecast(np.full(3, 0.3), np.full(3, 0.2)), r"not below its VaR for '\+2', got VaR 0.3 and ES 0.2"),
        (TailForecast(np.full(2, 0.1), np.full(2, 0.2)), r"must have a VaR, an ES and a row"),
        (TailForecast(np.full(3, 0.1), np.full(3, 0.2), np.zeros((2, 9))), r"must have a VaR, an ES and a row"),
        (TailForecast(np.full(3, 0.1), np.full(3, 0.2), np.zeros(3)), r"must have a VaR, an ES and a row"),
    ],
)
def test_a_law_that_is_none_is_refused_with_the_model_named(law: TailForecast, said: str) -> None:
    class Broken(Stating):
        def tail(self, past: MarketHistory, book: Book) -> TailForecast | None:
            return law

    with pytest.raises(ModelError, match=rf"Broken\(\): the law at 2024-01-02.* {said}"):
        run(Broken())


@pytest.mark.parametrize("model", [HistoricalVaR(), MonteCarloES(scenarios=200), CorrelationVaR(), AgeWeightedVaR()])
@pytest.mark.parametrize("numeraire", ["USD", "BTC"])
def test_laws_fit_margins_and_losses_in_dollars_and_in_coin(model: MarginModel, numeraire: str) -> None:
    coverage = Coverage(0.95, "2D", numeraire=numeraire)
    told = replay(model, two_coins(300), some_books(), coverage, window=200, refit_every=50, cost=FREE)
    law, live = law_of(told), told.live
    asked = law.es if isinstance(model, MonteCarloES) else law.var
    assert_allclose(told.initial[live], np.maximum(asked[live], 0.0), rtol=1e-12, atol=1e-15)
    assert np.isnan(law.var[~live]).all()
    if isinstance(model, HistoricalVaR | MonteCarloES):
        beyond = told.loss > law.var
        assert_array_equal(law.pit[live & beyond] <= 0.06, True)
        assert_array_equal(law.pit[live & ~beyond] >= 0.04, True)
        assert beyond.any()
    elif isinstance(model, CorrelationVaR):
        stated = live & (law.var > 1e-9)
        assert_array_equal(law.pit[stated] < 0.05, (told.loss > law.var)[stated])
        assert np.isnan(law.pit[~stated]).all()
    else:
        assert np.isnan(law.pit).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 6), st.integers(1, 40), st.integers(0, 10**6))
def test_pits_of_a_sample_are_those_of_its_definition(books: int, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sample, loss = np.round(rng.normal(size=(books, size)), 1), np.round(rng.normal(size=books), 1)
    loss[rng.random(books) < 0.1] = np.nan
    sample[rng.random((books, size)) < 0.01] = np.nan
    for kernel in (sample_pits, plain(sample_pits)):
        pit = np.empty(books)
        kernel(sample, loss, places(loss.shape, seed), pit)
        assert_array_equal(pit, pit_of_sample(loss, sample, seed=seed))


@pytest.mark.parametrize("degrees", [None, 4.0])
def test_an_elliptical_law_gives_pits_without_a_sample(degrees: float | None) -> None:
    truth = garch_t(700, (0.02, 0.03), seed=3).history
    both = BookRecipe.of(
        (Instrument("A", "SYN1"), Instrument("B", "SYN2")), {"long": {"A": 1}, "pair": {"A": 1, "B": -1}}
    )
    told = replay(CorrelationVaR(degrees=degrees), truth, both, Coverage(), window=100, refit_every=50)
    assert told.tail is not None
    pit, var = told.tail.pit, told.tail.var
    assert np.isfinite(pit).all()
    assert ((told.loss > var) == (pit < 0.01)).all()
    unit = np.inf if degrees is None else degrees
    np.testing.assert_allclose(pit, pit_of_law(told.loss, var, 0.01, degrees=unit), rtol=1e-9)
    verdicts = law_verdicts(told)
    assert verdicts.loc["Berkowitz", "testable"] == 1.0
