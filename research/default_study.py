"""What does `marginlab backtest` ask? The default study, in one place.

Three markets that fall differently: five coins by the hour, bitcoin through fifteen years, and twenty stocks through
2008 and 2020. Eleven models, from a flat rate to a learned volatility, and more than a hundred books on each market.
"""

from functools import partial

from data import Coverage
from data.sources.samples import SAMPLES, load
from margin_models import (
    BoostedVolatility,
    CorrelationVaR,
    EwmaCovariance,
    EwmaVolatility,
    FilteredHistoricalVaR,
    GarchVolatility,
    HistoricalVaR,
    LedoitWolfCovariance,
    MarginModel,
    SpanLike,
    StaticMargin,
)
from research.study import Market, Study

MODELS: dict[str, MarginModel] = {
    "static, isolated": StaticMargin(),
    "static, cross": StaticMargin(cross=True),
    "static, cross, yearly step-up": StaticMargin(cross=True, review="YS"),
    "SPAN-like": SpanLike(),
    "correlation VaR, EWMA normal": CorrelationVaR(EwmaCovariance(half_life=20)),
    "correlation VaR, Ledoit-Wolf t": CorrelationVaR(LedoitWolfCovariance(), degrees=4),
    "historical VaR": HistoricalVaR(),
    "FHS, EWMA": FilteredHistoricalVaR(EwmaVolatility()),
    "FHS, GARCH": FilteredHistoricalVaR(GarchVolatility()),
    "FHS, GJR-t": FilteredHistoricalVaR(GarchVolatility(asymmetric=True, student=True)),
    "FHS, LightGBM": FilteredHistoricalVaR(BoostedVolatility()),
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


def default_study() -> Study:
    """The study that `marginlab backtest` runs: 99 % of losses over one day, three markets."""
    coins = Market(
        "coins-hourly",
        "Five coins, hourly, 2017-2019",
        partial(load, "coins-hourly"),
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
        crises=STOCK_CRISES,
        remarks="Adjusted closes of companies that survived to 2022: losses are understated (survivorship).",
    )
    return Study("default", (coins, bitcoin, stocks), MODELS, oracle="static, cross")
