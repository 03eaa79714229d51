"""What must this book post?"""

import margin_models.ours  # noqa: F401  first: it checks whose `data` is about to be imported
from data import Coverage
from margin_models.base import CovarianceEstimator, MarginModel, Requirement, TailForecast, VolatilityForecaster
from margin_models.correlation_breakdown import CorrelationBreakdown
from margin_models.correlation_stress import Severity
from margin_models.correlation_var import CorrelationVaR
from margin_models.covariance import ConstantCorrelationCovariance, EwmaCovariance, LedoitWolfCovariance
from margin_models.dcc import DccCovariance
from margin_models.delta_gamma import DeltaGammaVaR
from margin_models.extreme_value import ExtremeValueVaR
from margin_models.greeks_margin import GreeksMargin
from margin_models.historical_var import FilteredHistoricalVaR, HistoricalVaR
from margin_models.monte_carlo import MonteCarloES
from margin_models.overlays import (
    Buffer,
    CircuitBreaker,
    ConformalTracking,
    FlooredBy,
    LiquidityAddOn,
    LookbackFloor,
    OracleAddOn,
    RateLimit,
    SplitConformal,
    StressedWeight,
)
from margin_models.predictive import BoostedTail
from margin_models.robust_var import RobustVaR
from margin_models.scenario_margin import ScenarioGrid, ScenarioMargin
from margin_models.scenarios import Scenarios, VolTerm
from margin_models.span import SpanLike, SpanRules
from margin_models.static import StaticMargin
from margin_models.stressed_floor import StressedFloor
from margin_models.tail_learners import BoostedQuantile, ContinuedQuantile, TailLearner
from margin_models.venues import (
    AevoMargin,
    DeribitPortfolioMargin,
    DerivePmrm2Margin,
    DerivePmrmMargin,
    DeriveSrmMargin,
    DriftMargin,
    DydxMargin,
    OkxMargin,
    ParadexMargin,
    SynthetixMargin,
    VegaMargin,
)
from margin_models.volatility import (
    AllBut,
    ArchVolatility,
    BoostedVolatility,
    CombinedVolatility,
    EgarchVolatility,
    EwmaVolatility,
    GarchVolatility,
    Growth,
    HarVolatility,
    ImpliedVolatility,
)
from margin_models.weighted_historical import AgeWeightedVaR

__all__ = [
    "AevoMargin",
    "AgeWeightedVaR",
    "AllBut",
    "ArchVolatility",
    "BoostedQuantile",
    "BoostedTail",
    "BoostedVolatility",
    "Buffer",
    "CircuitBreaker",
    "CombinedVolatility",
    "ConformalTracking",
    "ConstantCorrelationCovariance",
    "ContinuedQuantile",
    "CorrelationBreakdown",
    "CorrelationVaR",
    "CovarianceEstimator",
    "Coverage",
    "DccCovariance",
    "DeltaGammaVaR",
    "DeribitPortfolioMargin",
    "DerivePmrm2Margin",
    "DerivePmrmMargin",
    "DeriveSrmMargin",
    "DriftMargin",
    "DydxMargin",
    "EgarchVolatility",
    "EwmaCovariance",
    "EwmaVolatility",
    "ExtremeValueVaR",
    "FilteredHistoricalVaR",
    "FlooredBy",
    "GarchVolatility",
    "GreeksMargin",
    "Growth",
    "HarVolatility",
    "HistoricalVaR",
    "ImpliedVolatility",
    "LedoitWolfCovariance",
    "LiquidityAddOn",
    "LookbackFloor",
    "MarginModel",
    "MonteCarloES",
    "OkxMargin",
    "OracleAddOn",
    "ParadexMargin",
    "RateLimit",
    "Requirement",
    "RobustVaR",
    "ScenarioGrid",
    "ScenarioMargin",
    "Scenarios",
    "Severity",
    "SpanLike",
    "SpanRules",
    "SplitConformal",
    "StaticMargin",
    "StressedFloor",
    "StressedWeight",
    "SynthetixMargin",
    "TailForecast",
    "TailLearner",
    "VegaMargin",
    "VolTerm",
    "VolatilityForecaster",
]
