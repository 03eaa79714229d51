"""One instance, or more, of every margin model, forecaster and covariance: the contract runs on each."""

from margin_models import (
    AevoMargin,
    BoostedVolatility,
    CorrelationVaR,
    CovarianceEstimator,
    DeribitPortfolioMargin,
    DerivePmrm2Margin,
    DerivePmrmMargin,
    DeriveSrmMargin,
    DriftMargin,
    DydxMargin,
    EwmaCovariance,
    EwmaVolatility,
    FilteredHistoricalVaR,
    GarchVolatility,
    GreeksMargin,
    HistoricalVaR,
    LedoitWolfCovariance,
    MarginModel,
    MonteCarloES,
    OkxMargin,
    ParadexMargin,
    ScenarioMargin,
    SpanLike,
    SpanRules,
    StaticMargin,
    SynthetixMargin,
    VegaMargin,
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
    AevoMargin(),
    DeribitPortfolioMargin(),
    DeribitPortfolioMargin(account_size=3e7),
    DerivePmrm2Margin(),
    DerivePmrmMargin(),
    DeriveSrmMargin(),
    DriftMargin(),
    DriftMargin(account_size=1e9),
    DydxMargin(),
    OkxMargin(),
    ParadexMargin(),
    SynthetixMargin(),
    VegaMargin(),
]
# Rates that rise with size are the one thing here that does not scale with a linear book: venues' do in large accounts.
INHOMOGENEOUS: list[MarginModel] = [
    model
    for model in EXAMPLES
    if (isinstance(model, StaticMargin) and model.tiers)
    or isinstance(model, SynthetixMargin)
    or getattr(model, "account_size", 1e6) > 1e6
]
