"""Compile every kernel now, so that nobody waits for it in a first call: `python -m research.warm`."""

import numpy as np
from scipy import sparse

from backtest import compare, option_books, standard_books
from backtest.hit_battery import battery
from backtest.replay import outcomes
from data import Book, Coverage
from data.pricing import greeks, implied_deviation, reprice
from data.proxy_surface import with_proxy_surfaces
from data.sources.synthetic import garch_t
from margin_models import (
    BoostedVolatility,
    CorrelationVaR,
    DccCovariance,
    EwmaVolatility,
    ExtremeValueVaR,
    FilteredHistoricalVaR,
    GarchVolatility,
    HistoricalVaR,
    ScenarioMargin,
    SpanLike,
    StaticMargin,
)


def warm() -> None:
    """A small comparison that calls every kernel with the types it meets in earnest."""
    history = garch_t(420, (0.02, 0.03), seed=1).history
    forecasters = (EwmaVolatility(), GarchVolatility(), GarchVolatility(asymmetric=True), BoostedVolatility(trees=2))
    models = [
        StaticMargin(),
        SpanLike(),
        CorrelationVaR(),
        CorrelationVaR(DccCovariance()),
        HistoricalVaR(),
        ExtremeValueVaR(),
    ]
    told = compare(
        [*models, *(FilteredHistoricalVaR(forecaster) for forecaster in forecasters)],
        history,
        standard_books(history.underlyings, makers=2),
        Coverage(0.9),
        window=400,
        refit_every=100,
        progress=False,
    )
    assert np.isfinite(told.to_frame()["mean_margin"]).all()
    warm_pricing()
    warm_options()
    warm_tests()


def warm_pricing() -> None:
    """One option priced, explained and repriced."""
    forward, call, row = np.full((1, 1), 100.0), np.array([True]), np.zeros(1, dtype=np.intp)
    told = greeks(forward[0], 110.0, 0.5, 0.25, call)
    deviation = implied_deviation(told.price, forward[0], 110.0, call)
    again = reprice(forward, row, np.ones((1, 1)), row, np.full(1, 110.0), deviation, call)
    assert np.allclose(again[0], told.price)


def warm_options() -> None:
    """Option books on a proxy surface, dense and sparse, valued, scanned and closed out."""
    history = with_proxy_surfaces(garch_t(160, (0.02, 0.03), seed=1).history)
    recipe, state = option_books(history.underlyings), history.now
    told = outcomes(history, recipe, Coverage(0.9), window=100, every=20)
    assert np.isfinite(told.loss[:, : len(recipe.structures)]).any()
    model, book = ScenarioMargin().fit(history, Coverage(0.9)), recipe.at(state)
    thin = Book(book.instruments, book.portfolios, sparse.csr_array(book.quantity))
    assert np.allclose(model.margin(history, thin), model.margin(history, book))
    assert np.isfinite(history.implied_changes(Coverage(0.9))).all()


def warm_tests() -> None:
    """The coverage tests of a few breaches, margins moving."""
    rng = np.random.default_rng(1)
    margins = 1.0 + 0.1 * rng.random((300, 2))
    told = battery(rng.random((300, 2)) < 0.05, margins, 0.05)
    assert np.isfinite(told.to_frame()["statistic"]).all()


if __name__ == "__main__":
    warm()
