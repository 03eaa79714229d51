"""Which market is recalibrated every night, and with which models?

A study file for `marginlab nightly --study`: it names what is loaded, what competes, and how careful the gates are.
Prices come from the file that MARGINLAB_PRICES names: one wide table of daily closes, dates first, a column an asset.
"""

import os

import pandas as pd

from data import Coverage, DataError, MarketHistory
from margin_models import EwmaVolatility, FilteredHistoricalVaR, HistoricalVaR, StaticMargin
from research.gates import Limits
from research.study import Market, Study


def load() -> MarketHistory:
    """All closes there are; the night cuts them at its as-of."""
    path = os.environ.get("MARGINLAB_PRICES", "prices.csv")
    if not os.path.exists(path):
        raise DataError(f"MARGINLAB_PRICES must name a file of closes, got {path}")
    closes = pd.read_csv(path, index_col=0, parse_dates=True)
    return MarketHistory.from_frame(closes, clock="1D", source=path)


def study() -> Study:
    """One market, three models: the first is in force from the first night on, the others have to beat it."""
    market = Market("coins", "Coins by the day", load, Coverage(0.99, "1D"), window=500, refit_every=20)
    models = {
        "static": StaticMargin(),
        "historical": HistoricalVaR(),
        "FHS, EWMA": FilteredHistoricalVaR(EwmaVolatility()),
    }
    return Study("coins", (market,), models)


def limits() -> Limits:
    """A challenger is watched for thirty nights; the rest is as it comes."""
    return Limits(shadow=30)
