"""In a market whose quantile is known, does each model find it, and does a misspecified one fail?

Every test is one draw of a seeded market; the bands are 99.9 % binomial ones, each divided among the models of its test
(Bonferroni), so that a right model fails one seed in a thousand.
"""

import numpy as np
import pytest
from scipy import stats

from backtest import LiquidationCost, replay
from data import BookRecipe, Coverage, Instrument, MarketHistory
from data.sources.synthetic import SyntheticMarket, correlation_break, garch_t, jumps, normal_market
from margin_models import (
    BoostedVolatility,
    CorrelationVaR,
    EwmaCovariance,
    EwmaVolatility,
    FilteredHistoricalVaR,
    GarchVolatility,
    HistoricalVaR,
    LedoitWolfCovariance,
    MarginModel,
    SpanLike,
    StaticMargin,
)

COVERAGE, WINDOW = Coverage(0.99), 1000


def long_books(history: MarketHistory) -> BookRecipe:
    """Long, short and spread of the first assets, and the basket."""
    names = history.underlyings
    instruments = tuple(Instrument(f"{u}-PERP", u) for u in names)
    held = {"long": {f"{names[0]}-PERP": 1.0}, "short": {f"{names[0]}-PERP": -1.0}}
    held["basket"] = {f"{u}-PERP": 1.0 for u in names}
    return BookRecipe.of(instruments, held)


def breaches(model: MarginModel, market: SyntheticMarket, refit_every: int = 250) -> tuple[np.ndarray, int]:
    """Breaches of each book, (P,), and the trials."""
    told = replay(
        model,
        market.history,
        long_books(market.history),
        COVERAGE,
        window=WINDOW,
        refit_every=refit_every,
        cost=LiquidationCost(0.0, 0.0),
    )
    return (told.loss > told.initial).sum(axis=0), len(told.time)


def band(trials: int, tests: int, rate: float = 0.01) -> tuple[int, int]:
    """Counts that a right model leaves once in a thousand, over all tests together."""
    tail = 0.001 / 2 / tests
    law = stats.binom(trials, rate)
    return int(law.ppf(tail)), int(law.isf(tail))


NORMAL = {
    "normal VaR, EWMA": CorrelationVaR(EwmaCovariance(half_life=250)),
    "normal VaR, Ledoit-Wolf": CorrelationVaR(LedoitWolfCovariance()),
    "historical": HistoricalVaR(),
    "FHS, EWMA": FilteredHistoricalVaR(EwmaVolatility(half_life=100)),
}


@pytest.mark.parametrize("name", NORMAL)
def test_models_hold_their_coverage_on_a_normal_market(name: str) -> None:
    market = normal_market(7000, (0.02, 0.03), 0.5, seed=21)
    count, trials = breaches(NORMAL[name], market)
    low, high = band(trials, 3 * len(NORMAL))
    assert np.all((low <= count) & (count <= high)), (name, count, (low, high))


GARCH_T = {
    "FHS, GARCH": FilteredHistoricalVaR(GarchVolatility()),
    "FHS, GJR-t": FilteredHistoricalVaR(GarchVolatility(asymmetric=True, student=True)),
    "FHS, EWMA": FilteredHistoricalVaR(EwmaVolatility()),
    "FHS, LightGBM": FilteredHistoricalVaR(BoostedVolatility()),
}


@pytest.mark.parametrize("name", GARCH_T)
def test_filtered_models_hold_their_coverage_on_garch_t(name: str) -> None:
    market = garch_t(6000, (0.02, 0.03), 0.5, seed=22)
    count, trials = breaches(GARCH_T[name], market)
    low, high = band(trials, 3 * len(GARCH_T))
    assert np.all((low <= count) & (count <= high)), (name, count, (low, high))


def test_a_normal_quantile_fails_on_garch_t() -> None:
    market = garch_t(6000, (0.02, 0.03), 0.5, degrees=4.0, seed=22)
    count, trials = breaches(CorrelationVaR(EwmaCovariance(half_life=20)), market)
    assert np.all(count > band(trials, 3)[1]), (count, band(trials, 3))


def test_a_student_quantile_holds_on_independent_student_returns() -> None:
    market = garch_t(7000, (0.02, 0.03), 0.5, alpha=0.0, beta=0.0, degrees=5.0, seed=23)
    count, trials = breaches(CorrelationVaR(LedoitWolfCovariance(), degrees=5.0), market)
    low, high = band(trials, 3)
    assert np.all((low <= count) & (count <= high)), (count, (low, high))


def test_frozen_and_scanned_rates_hold_on_a_market_that_does_not_change() -> None:
    """Their rate is the larger of two quantiles of one window, so they may cover more but not less."""
    market = normal_market(7000, (0.02, 0.03), 0.5, seed=24)
    for model in (StaticMargin(), SpanLike()):
        count, trials = breaches(model, market)
        # The rate itself is an order statistic of 1,000 returns: its own error widens the upper end.
        share = stats.beta(1000 * 0.01 + 1, 1000 * 0.99).isf(0.001 / 6)
        assert np.all(count <= stats.binom(trials, share).isf(0.001 / 6)), (model, count)


def test_jumps_that_a_normal_law_cannot_see_are_seen_by_history() -> None:
    market = jumps(7000, (0.02, 0.03), 0.5, probability=0.02, jump_mean=-0.08, jump_volatility=0.04, seed=25)
    low, high = band(6000, 3)
    count, trials = breaches(HistoricalVaR(), market)
    assert trials == pytest.approx(6000, abs=10)
    assert low <= count[0] <= high
    assert low <= count[2] <= high
    normal, _ = breaches(CorrelationVaR(LedoitWolfCovariance()), market)
    assert normal[0] > high


def test_a_correlation_break_makes_the_basket_breach_until_it_is_learned() -> None:
    market = correlation_break(6000, 3000, (0.02, 0.02), before=-0.5, after=0.9, seed=26)
    told = replay(
        CorrelationVaR(LedoitWolfCovariance()),
        market.history,
        long_books(market.history),
        COVERAGE,
        window=WINDOW,
        refit_every=250,
        cost=LiquidationCost(0.0, 0.0),
    )
    hit = (told.loss > told.initial)[:, told.portfolios.index("basket")]
    row = np.searchsorted(market.history.time, told.time)
    at_once, learned = hit[(row >= 3000) & (row < 3400)], hit[row >= 4200]
    assert at_once.mean() > 0.04
    assert learned.sum() <= band(len(learned), 1)[1]
