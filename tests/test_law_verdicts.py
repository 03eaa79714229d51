"""Are true laws kept and false ones found, and are models without a law told apart from both?"""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from backtest import LiquidationCost, compare, replay, score
from backtest.comparison import Comparison
from backtest.coverage_tests import kupiec
from backtest.date_losses import date_losses, law_losses
from backtest.law_verdicts import NO_LAW, NO_PIT, law_verdicts, nearest_degrees, share_rejected, tail_trials
from backtest.lookahead import audit
from backtest.replay import Replay
from backtest.tail_hits import pit_at
from backtest.tail_path import TailPath
from data import Book, Coverage, Floats, Instrument, MarketHistory, ParameterError
from data.laws import unit_tail
from data.sources.synthetic import garch_t
from margin_models import CorrelationVaR, HistoricalVaR, MarginModel, StaticMargin
from margin_models.base import TailForecast
from markets import two_coins
from research.study import Study, run_study
from research.tables import as_json, headline, text
from research.user_data import market_of

LEVEL = 0.99
BOOKS = 300


def stated(loss: Floats, var: Floats | float, es: Floats | float, pit: Floats | None = None, days: int = 1) -> Replay:
    """A replay of losses (R, P) under one law, or one a decision."""
    time = np.datetime64("2010-01-01", "ns") + np.arange(len(loss)) * np.timedelta64(1, "D")
    names = tuple(f"book {p}" for p in range(loss.shape[1]))
    var, es = (np.broadcast_to(np.asarray(side, dtype=np.float64), loss.shape) for side in (var, es))
    law = TailPath(var, es, np.full(loss.shape, np.nan) if pit is None else pit)
    end = time + days * np.timedelta64(1, "D")
    return Replay("told", Coverage(LEVEL, f"{days}D"), time, end, names, var, var, loss, loss, tail=law)


def drawn(rows: int, degrees: float = math.inf, seed: int = 5) -> Replay:
    """Books of a true law of unit variance."""
    rng = np.random.default_rng(seed)
    loss = rng.standard_normal((rows, BOOKS))
    if not math.isinf(degrees):
        loss *= np.sqrt((degrees - 2.0) / rng.chisquare(degrees, loss.shape))
    return stated(loss, *unit_tail(LEVEL, degrees), pit_at(loss, degrees))


def wronged(run: Replay, excess: float = 1.0, whole: float = 1.0) -> Replay:
    """The law with its ES - VaR, and then all of it, scaled."""
    assert run.tail is not None
    var, es = run.tail.var, run.tail.var + excess * (run.tail.es - run.tail.var)
    return replace(run, tail=TailPath(whole * var, whole * es, run.tail.pit))


@pytest.mark.parametrize("degrees", [math.inf, 4.0])
@pytest.mark.parametrize("rows", [250, 1000])
def test_true_laws_are_rejected_no_more_than_the_size(rows: int, degrees: float) -> None:
    run = drawn(rows, degrees)
    most = 0.05 + 3.0 * math.sqrt(0.05 * 0.95 / BOOKS)
    table = law_verdicts(run)
    assert (table["rejected"].dropna() <= most).all()
    assert (table["discovered"].dropna() <= 0.02).all()
    assert share_rejected(run) <= most
    shaped = table["method"].str.contains("normal 300" if math.isinf(degrees) else r"t\(4\) 300", regex=True)
    assert shaped.sum() == 4


def test_false_laws_are_found() -> None:
    run = drawn(1000)
    shallow = law_verdicts(wronged(run, excess=0.5))["rejected"]
    assert shallow["McNeil-Frey exceedance residuals"] > 0.5
    assert shallow["Acerbi-Szekely Z1"] > 0.35
    assert share_rejected(wronged(run, excess=0.5)) < 0.25  # what Z2 hardly sees
    halved = law_verdicts(wronged(run, whole=0.5))
    assert halved["rejected"]["Acerbi-Szekely Z2"] == halved["discovered"]["Acerbi-Szekely Z2"] == 1.0
    assert share_rejected(wronged(run, whole=0.5)) == 1.0
    late = law_verdicts(replace(run, tail=replace(run.tail, pit=run.tail.pit**2)))["rejected"]  # type: ignore[union-attr,type-var]
    assert (late[["Berkowitz", "Berkowitz, tail", "cumulative violations"]] == 1.0).all()


def test_a_heavy_law_is_not_held_against_the_normal_one() -> None:
    run = drawn(500, 3.0)
    assert_allclose(nearest_degrees(tail_trials(run), LEVEL), 3.0)
    table = law_verdicts(run)["rejected"]
    assert table["Acerbi-Szekely Z1"] <= 0.09  # against a normal law 23 %


def test_without_a_breach_most_tests_say_nothing() -> None:
    rows = 300
    run = stated(np.full((rows, 3), -0.1) * np.linspace(1.0, 2.0, rows)[:, None], 1.0, 1.2)
    table = law_verdicts(run)
    assert table["testable"]["McNeil-Frey exceedance residuals"] == 0.0
    assert table["rejected"].isna()["Acerbi-Szekely Z1"]
    second = table.loc[["Acerbi-Szekely Z2"], ["testable", "rejected", "median_p"]].to_numpy()
    assert second.tolist() == [[1.0, 0.0, 1.0]]
    assert table["notes"]["Berkowitz"] == NO_PIT
    assert share_rejected(run) == 0.0


def test_decisions_without_a_tail_are_passed_over_and_books_without_any_are_not_testable() -> None:
    run = drawn(250)
    assert run.tail is not None
    var, es, loss = run.tail.var.copy(), run.tail.es.copy(), run.loss.copy()
    var[::5, 0], var[:, 1], es[:, 2] = 1e-9, -0.1, var[:, 2]
    loss[:, 3] = np.nan
    holed = replace(run, loss_end=loss, loss_worst=loss, tail=TailPath(var, es, run.tail.pit))
    assert np.isfinite(tail_trials(holed).loss[:, :5]).sum(axis=0).tolist() == [200, 0, 0, 0, 250]
    table = law_verdicts(holed)
    assert table.loc["Acerbi-Szekely Z2", "testable"] == (BOOKS - 3) / BOOKS
    assert "of trials without 0 < VaR < ES passed over" in table["notes"]["Acerbi-Szekely Z2"]
    untold = replace(run, tail=TailPath(np.where(np.arange(250)[:, None] % 2, np.nan, run.tail.var), es, run.tail.pit))
    notes = law_verdicts(untold)["notes"]["Acerbi-Szekely Z2"]
    assert "50 % of trials without a law passed over; " in notes
    assert "0.17 % of trials without 0 < VaR < ES passed over" in notes
    nothing = replace(holed, tail=TailPath(-var - 1.0, es, run.tail.pit))
    assert law_verdicts(nothing)["testable"].tolist()[:5] == [0.0] * 5
    assert np.isnan(share_rejected(nothing))
    assert np.isnan(score(nothing).fz0)


def test_overlapping_horizons_are_not_tested_twice() -> None:
    rng = np.random.default_rng(2)
    loss = rng.standard_normal((600, 20))
    every = stated(loss, *unit_tail(LEVEL), pit_at(loss, math.inf), days=3)
    alone = stated(loss[::3], *unit_tail(LEVEL), pit_at(loss[::3], math.inf))
    told, expected = law_verdicts(every), law_verdicts(alone)
    assert told.equals(expected)


def test_a_model_without_a_law_has_the_same_rows_and_no_figures() -> None:
    run = replace(drawn(300), tail=None)
    table = law_verdicts(run)
    assert list(table.index) == list(law_verdicts(drawn(300)).index)
    assert table[["rejected", "discovered", "median_p", "median_power"]].isna().all(axis=None)
    assert set(table["notes"]) == {NO_LAW}
    card = score(run)
    assert (card.states_law, card.power) == (0.0, score(drawn(300)).power)
    assert math.isnan(card.fz0)
    assert math.isnan(card.law_rejected)
    with pytest.raises(ParameterError, match="told states none"):
        law_losses(run)


def test_the_scores_of_a_law_by_hand() -> None:
    loss = np.array([[2.0, 0.0], [0.5, 5.0], [0.0, 0.1]])
    var, es = np.array([[1.0, 0.0]] * 3), np.array([[2.0, 0.0]] * 3)  # the second book's law has no tail
    run = stated(loss, var, es)
    expected = np.array([(1.0 / 0.01 + 1.0) / 2.0, 0.5, 0.5]) + math.log(2.0) - 1.0
    assert_allclose(law_losses(run), expected)
    card = score(run)
    assert card.fz0 == pytest.approx(expected.mean())
    assert card.states_law == 1.0
    assert card.power == pytest.approx(float(kupiec(0, 3, 0.01).power))
    assert card.law_rejected == 1.0  # one breach of three at 1 %, and one book without a tail
    assert_allclose(law_losses(run, np.array([[False, False]] + [[True, False]] * 2)), [np.nan, *expected[1:]])
    assert_allclose(date_losses(run, "fz0", margin=var, es=es), expected)


def each(underlyings: tuple[str, ...]) -> Book:
    """A book long each underlying."""
    held = tuple(Instrument(f"{name}-PERP", name) for name in underlyings)
    return Book(held, underlyings, np.eye(len(held)))


class Knowing(MarginModel):
    """States the law that each row of a market obeys, where book p holds asset p alone: VaR and ES, (T, P), a unit."""

    def __init__(self, var: Floats, es: Floats) -> None:
        self.var = var
        self.es = es

    def margin(self, past: MarketHistory, book: Book) -> Floats:
        return self.tail(past, book).var

    def tail(self, past: MarketHistory, book: Book) -> TailForecast:
        size = np.abs(book.exposure(past.now)).sum(axis=1)
        return TailForecast(size * self.var[len(past) - 1], size * self.es[len(past) - 1])


def test_the_true_law_of_a_garch_market_is_kept_and_one_that_is_too_light_is_found() -> None:
    truth, apart = garch_t(1200, (0.02,) * 12, correlation=0.0, seed=3), np.eye(12)
    var, es = truth.quantile(apart, 0.95), truth.shortfall(apart, 0.95)
    told = {}
    for stretch in (1.0, 0.3):
        run = replay(
            Knowing(var, var + stretch * (es - var)),
            truth.history,
            each(truth.history.underlyings),
            Coverage(0.95),
            window=2,
            refit_every=10_000,
            cost=LiquidationCost(0.0, 0.0),
        )
        told[stretch] = law_verdicts(run)["rejected"]["McNeil-Frey exceedance residuals"]
        assert stretch < 1.0 or share_rejected(run) <= 3 / 12
    assert told[1.0] <= 3 / 12  # of a binomial(12, 5 %), more come in 2 of 1000
    assert told[0.3] >= 9 / 12


def test_a_law_that_sees_tomorrow_is_caught_though_its_margin_does_not() -> None:
    class Peeking(StaticMargin):
        def tail(self, past: MarketHistory, book: Book) -> TailForecast | None:
            whole = past.spot if past.spot.base is None else past.spot.base
            far = np.full(len(book.portfolios), float(np.nanmean(np.abs(whole))))
            return TailForecast(far, far)

    history = two_coins(320)
    told = {
        model: audit(model, history, each(("BTC",)), Coverage(0.95), window=100, rows=4)
        for model in (Peeking(rate=0.1), CorrelationVaR(), HistoricalVaR(), StaticMargin(rate=0.1))
    }
    assert [one.passed for one in told.values()] == [False, True, True, True]


def test_only_models_that_state_a_law_are_compared_by_it_and_the_table_says_so() -> None:
    history = garch_t(700, (0.02, 0.03), seed=4).history
    models = {"static": StaticMargin(cross=True), "history": HistoricalVaR(), "normal": CorrelationVaR()}
    told = compare(models, history, coverage=Coverage(0.95), window=300, progress=False)
    assert told.law_losses is not None
    assert set(told.law_losses.models) == {"history", "normal"}
    assert "by FZ0 of the stated law" in told.law_losses.sentence
    shown = headline(told)
    assert shown.loc[["static"], ["FZ0", "law"]].to_numpy().tolist() == [["-", "no law"]]
    assert float(shown["FZ0"]["history"]) == pytest.approx(told.scores["history"].fz0, abs=0.006)
    assert float(shown["power"]["history"]) == pytest.approx(100 * told.scores["history"].power, abs=0.6)
    assert told.summary()["law rejected, %"].isna()["static"]
    assert Comparison("alone", {"static": told["static"]}).law_losses is None
    unranked = Comparison("hindsight", told.replays, unranked=("history",))
    assert unranked.law_losses is not None
    assert unranked.law_losses.models == ("normal",)


def test_a_study_tells_both_comparisons() -> None:
    market = market_of(garch_t(560, (0.02, 0.03), seed=4).history, "A small market", level=0.95)
    static: dict[str, MarginModel] = {"static": StaticMargin(cross=True)}
    laws: dict[str, MarginModel] = {"history": HistoricalVaR(), "normal": CorrelationVaR()}
    both = run_study(Study("small", (market,), static | laws), progress=False)
    assert "by FZ0 of the stated law" in text(both)
    (told,) = json.loads(as_json(both))["markets"]
    assert {row["model"] for row in told["law_confidence_set"]["tests"]} == {"history", "normal"}
    assert {row["model"]: row["states_law"] for row in told["models"]} == {"static": 0.0, "history": 1.0, "normal": 1.0}
    alone = run_study(Study("small", (market,), static), progress=False)
    assert "by FZ0 of the stated law" not in text(alone)
    assert json.loads(as_json(alone))["markets"][0]["law_confidence_set"] is None
