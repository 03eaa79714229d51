"""What must this book post?"""

import margin_models.ours  # noqa: F401  first: it checks whose `data` is about to be imported
from data import Coverage
from margin_models.base import CovarianceEstimator, MarginModel, Requirement, TailForecast, VolatilityForecaster
from margin_models.correlation_var import CorrelationVaR
from margin_models.covariance import EwmaCovariance, LedoitWolfCovariance
from margin_models.historical_var import FilteredHistoricalVaR, HistoricalVaR
from margin_models.span import SpanLike
from margin_models.static import StaticMargin
from margin_models.volatility import BoostedVolatility, EwmaVolatility, GarchVolatility

__all__ = [
    "BoostedVolatility",
    "CorrelationVaR",
    "CovarianceEstimator",
    "Coverage",
    "EwmaCovariance",
    "EwmaVolatility",
    "FilteredHistoricalVaR",
    "GarchVolatility",
    "HistoricalVaR",
    "LedoitWolfCovariance",
    "MarginModel",
    "Requirement",
    "SpanLike",
    "StaticMargin",
    "TailForecast",
    "VolatilityForecaster",
]
