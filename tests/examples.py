"""One instance, or more, of every margin model, forecaster and covariance: the contract runs on each."""

from margin_models import (
    BoostedVolatility,
    CorrelationVaR,
    CovarianceEstimator,
    EwmaCovariance,
    EwmaVolatility,
    FilteredHistoricalVaR,
    GarchVolatility,
    GreeksMargin,
    HistoricalVaR,
    LedoitWolfCovariance,
    MarginModel,
    MonteCarloES,
    ScenarioMargin,
    SpanLike,
    SpanRules,
    StaticMargin,
    VolatilityForecaster,
)

FORECASTERS: list[VolatilityForecaster] = [
    EwmaVolatility(half_life=10),
    GarchVolatility(),
    GarchVolatility(asymmetric=True, student=True),
    BoostedVolatility(trees=5),
]
COVARIANCES: list[CovarianceEstimator] = [EwmaCovariance(half_life=20), LedoitWolfCovariance()]
EXAMPLES: list[MarginModel] = [
    StaticMargin(),
    StaticMargin(rate=0.05),
    StaticMargin(cross=True),
    StaticMargin(cross=True, review="MS"),
    StaticMargin(tiers=((0.3, 2.0),)),
    SpanLike(),
    SpanLike(scan_range=0.1, rules=SpanRules(least_correlation=0.0)),
    HistoricalVaR(),
    HistoricalVaR(lookback=150),
    *(CorrelationVaR(covariance) for covariance in COVARIANCES),
    CorrelationVaR(degrees=4),
    *(FilteredHistoricalVaR(forecaster) for forecaster in FORECASTERS),
    GreeksMargin(),
    MonteCarloES(scenarios=500),
    ScenarioMargin(),
    ScenarioMargin(apart=True, initial=1.3),
]
# A rate that rises with size is the one thing here that does not scale with the book.
INHOMOGENEOUS: list[MarginModel] = [model for model in EXAMPLES if isinstance(model, StaticMargin) and model.tiers]
