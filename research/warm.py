"""Compile every kernel now, so that nobody waits for it in a first call: `python -m research.warm`."""

import numpy as np

from backtest import compare, standard_books
from data import Coverage
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


if __name__ == "__main__":
    warm()
