"""Are the default models clean, and would the audit notice if they were not?"""

import pandas as pd
from sklearn.base import clone
from tqdm.auto import tqdm

from backtest.lookahead import Audit, audit, audit_table
from backtest.planted_leaks import LEAKS, HonestControl
from backtest.portfolios import standard_books
from data import Coverage, MarketHistory
from data.flow.history_features import ohlcv_features
from data.sources.synthetic import garch_t
from margin_models import BoostedVolatility, FilteredHistoricalVaR, MarginModel
from research.default_study import BITCOIN_MODELS, MODELS, STOCK_MODELS

WINDOW = 400


def small(model: MarginModel) -> MarginModel:
    """The same model with a small booster, so that a refit on every row is quick."""
    copy: MarginModel = clone(model)
    if isinstance(copy, FilteredHistoricalVaR) and isinstance(copy.volatility, BoostedVolatility):
        copy.set_params(volatility__trees=5)
    return copy


def audit_market() -> MarketHistory:
    """Three seeded assets with volatility clustering, highs, lows, volumes, and features made of these."""
    history = garch_t(520, (0.02, 0.03, 0.04), seed=11).history
    panel = ohlcv_features(history)
    return history.with_features(panel.values, panel.names)


def audit_default_models(*, rows: int = 20, progress: bool = True) -> pd.DataFrame:
    """One row a default model and a planted leak; `as it should be` is False where the audit disagrees."""
    history, coverage = audit_market(), Coverage(0.98, "1D")
    books = standard_books(history.underlyings, makers=10)

    def one(name: str, model: MarginModel) -> Audit:
        return audit(model, history, books, coverage, window=WINDOW, rows=rows, name=name)

    asked = {**MODELS, **BITCOIN_MODELS, **STOCK_MODELS}
    named = {"honest control": HonestControl(), **{name: small(model) for name, model in asked.items()}}
    clean = [one(name, model) for name, model in tqdm(named.items(), "audit", disable=not progress)]
    leaks = [one(type(leak).__name__, leak) for leak in LEAKS]
    return audit_table(clean, leaks)
