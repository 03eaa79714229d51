"""Are freqtrade's files read, funding rates in the clothes of candles too?"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data import SourceError
from data.records import BARS, FUNDING, INDEX, TRADES, UNKNOWN
from data.sources.csv_batches import STRANGE
from raw_text import SHARED, layout, put, put_json, read, said

MS = 1704067200000
START = "2024-01-01T00:00:00.000000"
NEEDS_SHARED = pytest.mark.skipif(not SHARED.is_dir(), reason="no reference folder beside the checkout")


def test_trades_in_json(tmp_path: Path) -> None:
    rows = [[MS, "12", None, "sell", 42000.5, 0.25, 1], [MS, "x", "limit", "buy", "1", 2, 3], [MS, "13"]]
    path = put_json(tmp_path, "BTC_USDT-trades.json.gz", rows)
    records = read(path)
    assert (layout(path), records.kind, records.symbol) == ("freqtrade trades in JSON", TRADES, "BTC_USDT")
    assert said(records, "time", "price", "size", "side", "id")[:2] == [
        (START, 42000.5, 0.25, -1, 12),
        (START, 1, 2, 1, UNKNOWN),
    ]
    assert np.isnan(records["price"]).tolist() == [False, False, True]


def test_trades_in_csv_with_blanks_around(tmp_path: Path) -> None:
    names = ",timestamp,id,type,side,price,amount,cost,date"
    rows = [f"0,{MS}, 7,    ,buy, 23438.0,  0.013, 0, x", f"1,{MS}, 8,    ,hold, 23437.5,  0.001, 0, x"]
    records = read(put(tmp_path, "ETH_USDT-trades.csv", names, *rows))
    assert said(records, "time", "id", "side", "price", "size") == [
        (START, 7, 1, 23438, 0.013),
        (START, 8, STRANGE, 23437.5, 0.001),
    ]


def candles(folder: Path, name: str) -> Path:
    date = pd.date_range("2024-01-01", periods=3, freq="8h", tz="UTC").as_unit("ms")
    frame = pd.DataFrame({"date": date, "open": [0.0001, 0.0002, np.nan]})
    for column in ("high", "low", "close", "volume"):
        frame[column] = [1.0, 2.0, 3.0]
    path = folder / name
    frame.to_feather(path)
    return path


def test_candles_are_what_their_name_says(tmp_path: Path) -> None:
    bars = read(candles(tmp_path, "BTC_USDT-8h.feather"))
    assert (bars.kind, bars.symbol) == (BARS, "BTC_USDT")
    assert said(bars, "opened", "time", "close")[0] == (START, "2024-01-01T08:00:00.000000", 1)
    futures = read(candles(tmp_path, "BTC_USDT_USDT-8h-futures.feather"))
    assert (futures.kind, futures.symbol) == (BARS, "BTC_USDT_USDT")
    mark = read(candles(tmp_path, "BTC_USDT_USDT-8h-mark.feather"))
    assert (mark.kind, said(mark, "time", "value")[0]) == (INDEX, ("2024-01-01T08:00:00.000000", 1))


def test_funding_rates_stand_in_open(tmp_path: Path) -> None:
    funding = read(candles(tmp_path, "BTC_USDT_USDT-8h-funding_rate.feather"))
    assert funding.kind is FUNDING
    assert said(funding, "time", "rate")[:2] == [(START, 0.0001), ("2024-01-01T08:00:00.000000", 0.0002)]
    assert np.isnan(funding["rate"][2])


def test_trades_in_feather(tmp_path: Path) -> None:
    frame = pd.DataFrame({"timestamp": [MS], "id": ["7"], "type": [None], "side": ["sell"], "price": [2.5]})
    frame = frame.assign(amount=3.0, cost=7.5)
    frame.to_feather(tmp_path / "BTC_USDT-trades.feather")
    records = read(tmp_path / "BTC_USDT-trades.feather")
    assert said(records, "time", "id", "side", "price", "size") == [(START, 7, -1, 2.5, 3)]


def test_a_damaged_feather_is_an_error(tmp_path: Path) -> None:
    path = candles(tmp_path, "BTC_USDT-8h.feather")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(SourceError, match="expected a arrow file"):
        read(path)


@pytest.mark.shared
@NEEDS_SHARED
def test_the_real_list_is_as_pandas_reads_it() -> None:
    (path,) = SHARED.rglob("public_trades_list.csv")
    records, frame = read(path), pd.read_csv(path)
    np.testing.assert_array_equal(records["price"], frame["price"])
    np.testing.assert_array_equal(records["id"], frame["id"])
    np.testing.assert_array_equal(records["side"], np.where(frame["side"] == "buy", 1, -1))
    told = pd.DatetimeIndex(frame["date"]).tz_localize(None).to_numpy("datetime64[ns]")
    np.testing.assert_array_equal(records["time"], told)
