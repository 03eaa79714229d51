"""Compile every kernel now, so that nobody waits for it in a first call: `python -m research.warm`."""

import numpy as np

from backtest import compare, standard_books
from data import Coverage
from data.pricing import greeks, implied_deviation, reprice
from data.sources.synthetic import garch_t
from margin_models import (
    BoostedVolatility,
    CorrelationVaR,
    EwmaVolatility,
    FilteredHistoricalVaR,
    GarchVolatility,
    HistoricalVaR,
    SpanLike,
    StaticMargin,
)


def warm() -> None:
    """A small comparison that calls every kernel with the types it meets in earnest."""
    history = garch_t(420, (0.02, 0.03), seed=1).history
    forecasters = (EwmaVolatility(), GarchVolatility(), GarchVolatility(asymmetric=True), BoostedVolatility(trees=2))
    models = [StaticMargin(), SpanLike(), CorrelationVaR(), HistoricalVaR()]
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


def warm_pricing() -> None:
    """One option priced, explained and repriced."""
    forward, call, row = np.full((1, 1), 100.0), np.array([True]), np.zeros(1, dtype=np.intp)
    told = greeks(forward[0], 110.0, 0.5, 0.25, call)
    deviation = implied_deviation(told.price, forward[0], 110.0, call)
    again = reprice(forward, row, np.ones((1, 1)), row, np.full(1, 110.0), deviation, call)
    assert np.allclose(again[0], told.price)


if __name__ == "__main__":
    warm()
