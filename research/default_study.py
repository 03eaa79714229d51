"""What does `marginlab backtest` ask? The default study, in one place.

Three markets that fall differently: five coins by the hour, bitcoin through fifteen years, and twenty stocks through
2008 and 2020, each with more than a hundred linear books and fourteen models, from a flat rate to a learned volatility
and a fitted tail. A fourth, option books on bitcoin, adds what only options need: grids, Greeks, a quadratic law, a
Monte Carlo and four venues. On stocks, many assets through many years, correlations are followed (DCC); on bitcoin a
stressed period holds a floor, and old losses fade.

Left out: volatility-weighted simulation (Hull and White 1998), as "FHS, EWMA" is that; DCC on bitcoin, which is alone,
and on coins, whose window has too few days to learn it; the age-weighted simulation and the floor on stocks and coins,
where they would be among the dearest; and the floor on options, where it needed twice the margin of a fitted tail.
"""

from functools import partial

from backtest.option_books import OptionRecipe, fridays, structures
from data import Coverage, MarketHistory
from data.flow.history_features import ohlcv_features
from data.flow.panels import with_features
from data.proxy_surface import with_proxy_surfaces
from data.sources.samples import SAMPLES, load
from margin_models import (
    AevoMargin,
    AgeWeightedVaR,
    BoostedVolatility,
    CorrelationBreakdown,
    CorrelationVaR,
    DccCovariance,
    DeltaGammaVaR,
    DeribitPortfolioMargin,
    DerivePmrm2Margin,
    EwmaCovariance,
    EwmaVolatility,
    ExtremeValueVaR,
    FilteredHistoricalVaR,
    GarchVolatility,
    GreeksMargin,
    HistoricalVaR,
    LedoitWolfCovariance,
    MarginModel,
    MonteCarloES,
    ParadexMargin,
    ScenarioMargin,
    SpanLike,
    StaticMargin,
    StressedFloor,
)
from research.study import Market, Study

MODELS: dict[str, MarginModel] = {
    "static, isolated": StaticMargin(),
    "static, cross": StaticMargin(cross=True),
    "static, cross, yearly step-up": StaticMargin(cross=True, review="YS"),
    "SPAN-like": SpanLike(),
    "correlation VaR, EWMA normal": CorrelationVaR(EwmaCovariance(half_life=20)),
    "correlation VaR, Ledoit-Wolf t": CorrelationVaR(LedoitWolfCovariance(), degrees=4),
    "correlation VaR with breakdown": CorrelationBreakdown(EwmaCovariance(half_life=20), window=250),
    "historical VaR": HistoricalVaR(),
    "FHS, EWMA": FilteredHistoricalVaR(EwmaVolatility()),
    "FHS ES, EWMA": FilteredHistoricalVaR(EwmaVolatility(), shortfall=True),
    "extreme value, EWMA": ExtremeValueVaR(EwmaVolatility()),
    "FHS, GARCH": FilteredHistoricalVaR(GarchVolatility()),
    "FHS, GJR-t": FilteredHistoricalVaR(GarchVolatility(asymmetric=True, student=True)),
    "FHS, LightGBM": FilteredHistoricalVaR(BoostedVolatility()),
}

BITCOIN_MODELS: dict[str, MarginModel] = {
    "correlation VaR with stressed floor": StressedFloor(CorrelationVaR(EwmaCovariance(half_life=20))),
    "age-weighted historical VaR": AgeWeightedVaR(decay=0.995),
}
STOCK_MODELS: dict[str, MarginModel] = {"correlation VaR, DCC": CorrelationVaR(DccCovariance())}

OPTION_MODELS: dict[str, MarginModel] = {
    "delta-gamma VaR": DeltaGammaVaR(),
    "price and volatility grid": ScenarioMargin(),
    "Greeks": GreeksMargin(),
    "Monte-Carlo ES": MonteCarloES(scenarios=2000),
    "Deribit portfolio margin": DeribitPortfolioMargin(),
    "Derive PMRM_2": DerivePmrm2Margin(),
    "Paradex portfolio margin": ParadexMargin(),
    "Aevo standard margin": AevoMargin(),
}

COIN_CRISES = {
    "December 2017": ("2017-12-21", "2017-12-24"),
    "January 2018": ("2018-01-15", "2018-01-18"),
    "February 2018": ("2018-02-04", "2018-02-07"),
    "September 2018": ("2018-09-05", "2018-09-07"),
    "November 2018": ("2018-11-14", "2018-11-26"),
    "February 2019": ("2019-02-23", "2019-02-26"),
    "September 2019": ("2019-09-23", "2019-09-27"),
}
BITCOIN_CRISES = {
    "April 2013": ("2013-04-09", "2013-04-17"),
    "China ban 2013": ("2013-12-04", "2013-12-19"),
    "March 2020": ("2020-03-08", "2020-03-20"),
    "May 2021": ("2021-05-12", "2021-05-24"),
    "LUNA 2022": ("2022-05-05", "2022-05-14"),
    "June 2022": ("2022-06-10", "2022-06-20"),
    "FTX 2022": ("2022-11-05", "2022-11-14"),
}
STOCK_CRISES = {
    "LTCM 1998": ("1998-08-20", "1998-10-15"),
    "September 2001": ("2001-09-07", "2001-09-28"),
    "Autumn 2008": ("2008-09-08", "2008-12-05"),
    "August 2011": ("2011-07-29", "2011-08-26"),
    "March 2020": ("2020-02-20", "2020-04-03"),
}


def coins_with_features() -> MarketHistory:
    """Five coins by the hour with what their ranges and volume tell: the only market here that has any.

    Of closes alone there is no order flow to be had, so that bitcoin by the day and stocks have no features.
    """
    coins = load("coins-hourly")
    return with_features(coins, ohlcv_features(coins))


def bitcoin_with_proxy() -> MarketHistory:
    """Bitcoin by the day with proxy surfaces: its option market, as far as closes can tell."""
    return with_proxy_surfaces(load("btc-daily"))


def bitcoin_option_books(underlyings: tuple[str, ...]) -> OptionRecipe:
    """The classic structures, long and short, but for those on futures, which need a curve, and riskless boxes."""
    chosen = {
        name: legs
        for name, legs in structures().items()
        if "box" not in name and all(leg.kind != "future" for leg in legs)
    }
    return OptionRecipe(underlyings, chosen, True, fridays)


def default_study() -> Study:
    """The study that `marginlab backtest` runs: 99 % of losses over one day, four markets."""
    coins = Market(
        "coins-hourly",
        "Five coins, hourly, 2017-2019",
        coins_with_features,
        Coverage(0.99, "1D"),
        window=75 * 24,
        refit_every=28 * 24 // 4,
        every=4,
        crises=COIN_CRISES,
        remarks="BTC, ETH, LTC, XRP, EOS. Margin is set every four hours; horizons of 24 hours overlap.",
    )
    bitcoin = Market(
        "btc-daily",
        "Bitcoin, daily, 2011-2025",
        partial(load, "btc-daily"),
        Coverage(0.99, "1D"),
        window=500,
        refit_every=63,
        models=BITCOIN_MODELS,
        crises=BITCOIN_CRISES,
        remarks="Closes only, so range-based features and intraday lows are not to be had. "
        f"Licence: {SAMPLES['btc-daily'].licence}.",
    )
    stocks = Market(
        "us-stocks",
        "Twenty US stocks, daily, 1990-2022",
        partial(load, "us-stocks"),
        Coverage(0.99, "1B"),
        window=750,
        refit_every=252,
        models=STOCK_MODELS,
        crises=STOCK_CRISES,
        remarks="Adjusted closes of companies that survived to 2022: losses are understated (survivorship).",
    )
    options = Market(
        "btc-options",
        "Options on bitcoin, daily, 2012-2025",
        bitcoin_with_proxy,
        Coverage(0.99, "1D"),
        window=500,
        refit_every=13,
        every=5,
        books=bitcoin_option_books,
        models=OPTION_MODELS,
        crises=BITCOIN_CRISES,
        remarks="There is no free history of implied volatility over these years: surfaces are a proxy made of "
        "realised volatility with the smile of another time. The table tells how models treat option books, not what "
        "options cost. Coin-settled options of 30 and 90 days, struck at each decision, every five days.",
    )
    return Study("default", (coins, bitcoin, stocks, options), MODELS, oracle="static, cross")
