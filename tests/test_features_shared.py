"""Do the features say what is known of real books and klines?"""

from pathlib import Path

import numpy as np
import pytest

from data import MarketHistory
from data.flow.book import follow, mid
from data.flow.feature_sets import quote_features, taker_features
from data.flow.history_features import ohlcv_features
from data.flow.panels import ALL, VIX, feature_panel, series_of, with_features
from data.records import Records
from data.sources.recognise import read_records

SHARED = Path(__file__).parents[2] / "shared" / "data"
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not SHARED.is_dir(), reason="the reference folder is not beside the checkout"),
]
DEPTH_DIFFS = ("usdm/btcusdt_20240808.gz", "spot/btcusdt_20240808.gz", "cm/btcusd_perp_20240808.gz")


def daily(symbol: str) -> Records:
    (records,) = read_records(SHARED / "djienne+Hurst_Crypto" / "data" / f"{symbol}.csv")
    return records


@pytest.mark.parametrize("name", DEPTH_DIFFS)
def test_order_flow_moves_with_the_mid(name: str) -> None:
    quotes = follow(read_records(SHARED / "nkaz001+hftbacktest" / "examples" / name)).quotes
    step = np.timedelta64(5 * 10**9, "ns")
    grid = np.arange(quotes["time"][0] + step, quotes["time"][-1], step)
    flow = quote_features(quotes, "BTC", grid[:-1], grid[1:])[0]
    assert flow.name == "order_flow_imbalance"
    move = np.diff(mid(quotes)[np.searchsorted(quotes["time"], grid, side="left") - 1])
    both = np.isfinite(flow.values) & np.isfinite(move)
    assert both.sum() > 60
    assert np.corrcoef(flow.values[both], move[both])[0, 1] > 0.5


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT", "LTCUSDT"])
def test_daily_klines_tell_the_flow(symbol: str) -> None:
    records = daily(symbol)
    told = {one.name: one.values for one in taker_features(records, symbol, 50)}
    assert all(np.isfinite(values[110:]).all() for values in told.values())
    assert (np.abs(told["taker_imbalance"]) < 0.5).all()
    move = np.diff(np.log(records["close"]))
    assert np.corrcoef(told["taker_imbalance"][1:], move)[0, 1] > 0.2
    assert np.nanmedian(told["kyle_lambda"]) > 0


def test_klines_and_vix_on_a_daily_history() -> None:
    klines = daily("BTCUSDT").where(slice(60, None))  # a bar before ends at 00:28
    (vix,) = read_records(SHARED / "lukmol+gamlss-btc-VaR" / "data" / "vix.csv")
    time = klines["time"]
    close, high, low, volume = (klines[name][:, None] for name in ("close", "high", "low", "volume"))
    history = MarketHistory(time, ("BTC",), close, high=high, low=low, volume=volume)
    level = series_of(vix, "value", ALL, VIX)
    joined = feature_panel(time, ("BTC",), [*taker_features(klines, "BTC"), level.told(level.values, "vix", "percent")])
    both = ohlcv_features(history).beside(joined)
    known = dict(zip(both.names, np.isfinite(both.values[110:, 0]).mean(axis=0), strict=True))
    assert known.pop("roll") < 1.0  # a trend has no such spread
    assert min(known.values()) > 0.99
    assert with_features(history, both).feature_names == both.names
    # The VIX of a Saturday is Friday's.
    saturday = int(np.flatnonzero(time == np.datetime64("2024-03-10"))[0])
    assert both.known_at[saturday, 0, -1] == np.datetime64("2024-03-09")
