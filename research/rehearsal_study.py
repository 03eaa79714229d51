"""What do rehearsed nights recalibrate?

Twenty US stocks by the session: a window of history that weighs every day alike is in force, and a volatility that
moves, an EWMA's or a GARCH's, is watched for ten nights before it may take its place.
"""

from data import Coverage, MarketHistory
from data.sources.samples import load
from margin_models import EwmaVolatility, FilteredHistoricalVaR, GarchVolatility, HistoricalVaR, RateLimit
from research.limits import Limits
from research.study import Market, Study

ROWS, WINDOW = 2000, 500


def prices() -> MarketHistory:
    """The newest eight years; fetched once, if they are not in the store."""
    return load("us-stocks", progress=False).last(ROWS)


def study() -> Study:
    """One market, three models, the first of them in force from the first night on."""
    market = Market("us-stocks", "20 US stocks", prices, Coverage(0.99, "1B"), window=WINDOW, refit_every=63)
    models = {
        "historical": HistoricalVaR(),
        "FHS, EWMA": FilteredHistoricalVaR(EwmaVolatility()),
        "FHS, GARCH, slow to fall": RateLimit(
            FilteredHistoricalVaR(GarchVolatility(student=True)), fall=0.1, lookback=20
        ),
    }
    return Study("rehearsal", (market,), models)


def limits() -> Limits:
    """As they come, but for the nights that a challenger is watched."""
    return Limits(shadow=10)


def of_files(files: list[str]) -> Study:
    """The same models on prices of one's own, read as `marginlab compare FILES` reads them."""
    from pathlib import Path

    from research.user_data import Prices, market_of

    prices = Prices(tuple(Path(file) for file in files))
    return Study("rehearsal", (market_of(prices.read(), prices.title()),), study().models)
