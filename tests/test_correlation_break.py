"""Do margins survive correlations that break, as planted in markets whose law is known?"""

from functools import lru_cache

import numpy as np
import pytest

from backtest.coverage_tests import too_many
from backtest.plots import plot_break
from backtest.replay import Replay, replay
from data import BookRecipe, Coverage, Instrument, ParameterError
from data.sources.synthetic import SyntheticMarket, correlation_break
from margin_models import CorrelationBreakdown, CorrelationVaR, EwmaCovariance, HistoricalVaR, LedoitWolfCovariance
from margin_models.base import CovarianceEstimator, MarginModel

ROWS, AT, WINDOW = 1000, 600, 400
COVERAGE = Coverage(0.99)
SIGMA = (0.02, 0.02, 0.03, 0.03)
ESTIMATORS = [EwmaCovariance(60), LedoitWolfCovariance()]
# Which book relies on correlations that end: a hedge on high ones, diversification on low ones.
BREAKS = {"pair": (0.9, 0.1), "basket": (0.1, 0.9)}


@lru_cache
def planted(before: float, after: float) -> SyntheticMarket:
    return correlation_break(ROWS, AT, SIGMA, before=before, after=after, seed=4)


def books() -> BookRecipe:
    listed = tuple(Instrument(f"SYN{a}-PERP", f"SYN{a}") for a in range(1, 5))
    held = {
        "pair": {"SYN1-PERP": 1.5, "SYN3-PERP": -1.0},
        "basket": {instrument.symbol: 1.0 for instrument in listed},
        "single": {"SYN1-PERP": 1.0},
    }
    return BookRecipe.of(listed, held)


@lru_cache
def run(model: MarginModel, before: float, after: float) -> Replay:
    return replay(model, planted(before, after).history, books(), COVERAGE, window=WINDOW, refit_every=50)


def p_value_after(told: Replay, portfolio: str) -> float:
    """Of as many breaches in the 250 decisions that follow the break, had each a chance of 1 %."""
    inside = told.breached[AT - WINDOW : AT - WINDOW + 250, told.portfolios.index(portfolio)]
    return float(too_many(int(inside.sum()), len(inside), 1 - COVERAGE.level).p_value)


@pytest.mark.parametrize("book", BREAKS)
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_a_break_is_survived_with_the_add_on_and_not_without(estimator: CovarianceEstimator, book: str) -> None:
    without, with_ = (
        run(model, *BREAKS[book]) for model in (CorrelationVaR(estimator), CorrelationBreakdown(estimator))
    )
    # What forgets in 60 days has learned the new correlations by the middle of these 250.
    assert p_value_after(without, book) < (0.15 if isinstance(estimator, EwmaCovariance) else 0.01)
    assert p_value_after(with_, book) > 0.25


@pytest.mark.parametrize("book", BREAKS)
def test_history_alone_does_not_know_of_a_break_to_come(book: str) -> None:
    assert p_value_after(run(HistoricalVaR(), *BREAKS[book]), book) < 0.01


@pytest.mark.parametrize("book", BREAKS)
def test_the_add_on_covers_the_true_quantile_on_the_day_of_the_break(book: str) -> None:
    told, market = run(CorrelationBreakdown(LedoitWolfCovariance()), *BREAKS[book]), planted(*BREAKS[book])
    row = AT - WINDOW + 1
    recipe, p = books(), told.portfolios.index(book)
    state = market.history.at(row + WINDOW - 1)
    truth = market.quantile(recipe.at(state).exposure(state), COVERAGE.level)[row + WINDOW - 1, p]
    short = run(CorrelationVaR(LedoitWolfCovariance()), *BREAKS[book]).initial[row, p]
    assert short < 0.7 * truth
    assert told.initial[row, p] > 0.97 * truth


def test_a_book_of_one_underlying_pays_nothing_for_it() -> None:
    without, with_ = (
        run(model, 0.9, 0.1) for model in (CorrelationVaR(ESTIMATORS[1]), CorrelationBreakdown(ESTIMATORS[1]))
    )
    p = without.portfolios.index("single")
    np.testing.assert_allclose(with_.initial[:, p], without.initial[:, p], rtol=1e-12)


def test_the_figure_shows_both_margins_the_loss_and_the_break() -> None:
    from matplotlib import pyplot

    runs = [run(model, 0.9, 0.1) for model in (CorrelationVaR(ESTIMATORS[1]), CorrelationBreakdown(ESTIMATORS[1]))]
    history = planted(0.9, 0.1).history
    axes = plot_break(runs, "pair", history.time[AT])
    legend = axes.get_legend()
    assert legend is not None
    labels = [text.get_text() for text in legend.get_texts()]
    after = [int(told.breached[told.time >= history.time[AT], 0].sum()) for told in runs]
    assert [label.rpartition(" (")[2] for label in labels[:2]] == [f"{n} breaches after the break)" for n in after]
    assert after[0] > 5 * max(after[1], 1)
    pyplot.close("all")
    with pytest.raises(ParameterError, match="no portfolio 'none' in this replay"):
        plot_break(runs, "none", history.time[AT])
    with pytest.raises(ParameterError, match="one run at least"):
        plot_break([], "pair", history.time[AT])
